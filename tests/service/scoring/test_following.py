"""People who are found and followed through the frames of a clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pose.estimator import Poses
from pose.source import Frame
from service.scoring.following import followed
from tests.doubles.walkers import RATE_HZ, person


class Estimator:
    """Sees one walker in every picture, and counts the pictures of each call."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Poses]:
        first = sum(self.batches)
        self.batches.append(len(images))
        return [person(0, (first + number) / RATE_HZ) for number in range(len(images))]


def frames(count: int) -> Iterator[Frame]:
    for number in range(count):
        yield Frame("clip", number, number / RATE_HZ, np.zeros((480, 640, 3), np.uint8))


@pytest.mark.parametrize(("count", "batches"), [(0, []), (3, [3]), (4, [4]), (10, [4, 4, 2])])
def test_every_frame_comes_back_once_in_order_with_one_call_per_batch(count: int, batches: list[int]) -> None:
    estimator: Any = Estimator()
    found = [one for some in followed(frames(count), estimator, 4) for one in some]
    assert [frame.sequence for frame, _ in found] == [*range(count)]
    assert estimator.batches == batches


def test_a_person_keeps_one_number_from_batch_to_batch() -> None:
    estimator: Any = Estimator()
    found = [people for some in followed(frames(12), estimator, 4) for _, people in some]
    assert {track for people in found for track in people.track_ids} == {1}
    assert all(people.track_ids == [1] for people in found[4:])
