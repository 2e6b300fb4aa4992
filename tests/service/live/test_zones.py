from __future__ import annotations

import numpy as np
import pytest

from service.live.zones import Zone, resting_in, standing_in

LEFT: Zone = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
TRIANGLE: Zone = ((0.6, 1.0), (1.0, 1.0), (1.0, 0.6))


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ((10, 10, 50, 90), True),
        ((90, 10, 170, 90), False),
        ((20, 10, 160, 90), True),
        ((160, 10, 196, 96), True),
        ((150, 10, 170, 60), False),
        ((-30, 50, -10, 120), True),
    ],
)
def test_a_person_is_in_a_zone_when_the_feet_are(box: tuple[float, ...], inside: bool) -> None:
    assert standing_in([box], [LEFT, TRIANGLE], (200, 100)).tolist() == [inside]


@pytest.mark.parametrize(
    ("box", "inside"),
    [((10, 10, 50, 90), True), ((90, 10, 170, 90), False), ((20, 10, 160, 90), True), ((160, 75, 196, 96), True)],
)
def test_a_person_rests_in_a_zone_when_the_middle_of_the_box_is_in_it(box: tuple[float, ...], inside: bool) -> None:
    assert resting_in([box], [LEFT, TRIANGLE], (200, 100)).tolist() == [inside]


def test_who_lies_in_a_bed_rests_in_it_although_the_lower_edge_of_the_box_is_not() -> None:
    bed: Zone = ((0.2, 0.2), (0.8, 0.2), (0.8, 0.6), (0.2, 0.6))
    box = (50, 25, 150, 65)
    assert resting_in([box], [bed], (200, 100)).tolist() == [True]
    assert standing_in([box], [bed], (200, 100)).tolist() == [False]


def test_nobody_is_in_no_zone_and_a_zone_can_be_empty() -> None:
    assert standing_in([(0, 0, 1, 1)], [], (10, 10)).tolist() == [False]
    assert standing_in(np.empty((0, 4)), [LEFT], (10, 10)).shape == (0,)
