from __future__ import annotations

import numpy as np
import pytest
import torch

from pose.estimator import Poses
from pose.tracker import Tracker

SHAPE = (480, 856)


def people(*lefts: float, confidence: float = 0.9) -> Poses:
    """People standing side by side, each with a left edge; the first joint tells who is who."""
    boxes = torch.tensor([[left, 100.0, left + 60, 280.0] for left in lefts]).reshape(-1, 4)
    keypoints = torch.zeros(len(lefts), 17, 3)
    keypoints[:, 0, 0] = torch.tensor(lefts)
    return Poses(boxes, keypoints, torch.full((len(lefts),), confidence))


def test_a_person_keeps_the_number_and_the_own_joints_while_walking() -> None:
    tracker = Tracker(15.0)
    for step in range(30):
        tracked = tracker.update(people(100 + 3 * step, 600 - 3 * step), SHAPE)
        if step:
            assert sorted(tracked.track_ids) == [1, 2]
            by_track = dict(zip(tracked.track_ids, tracked.keypoints[:, 0, 0].tolist(), strict=True))
            assert by_track == {1: 100 + 3 * step, 2: 600 - 3 * step}
            np.testing.assert_allclose(tracked.boxes[:, 0], tracked.keypoints[:, 0, 0])


def test_a_person_who_is_back_in_time_keeps_the_number_and_one_who_is_late_does_not() -> None:
    for absent, number in ((10, 1), (60, 2)):
        tracker = Tracker(15.0, lost_s=1.0)
        for _ in range(5):
            tracker.update(people(300), SHAPE)
        for _ in range(absent):
            assert len(tracker.update(people(), SHAPE)) == 0
        for _ in range(5):
            tracked = tracker.update(people(300), SHAPE)
        assert tracked.track_ids == [number]


def test_a_faint_sighting_keeps_a_track_alive_but_starts_none() -> None:
    tracker = Tracker(15.0)
    assert len(tracker.update(people(300, confidence=0.15), SHAPE)) == 0
    tracker.update(people(300), SHAPE)
    tracker.update(people(300), SHAPE)
    assert tracker.update(people(302, confidence=0.15), SHAPE).track_ids == [1]


def test_streams_number_their_people_apart_from_each_other() -> None:
    first, second = Tracker(15.0), Tracker(15.0)
    for step in range(5):
        a = first.update(people(100 + step, 600), SHAPE)
        if step == 2:
            third = Tracker(15.0)
            third.update(people(50), SHAPE)
        b = second.update(people(400 + step), SHAPE)
    assert sorted(a.track_ids) == [1, 2]
    assert b.track_ids == [1]


def test_numbering_goes_on_where_another_tracker_ended() -> None:
    tracker = Tracker(15.0, first=7)
    tracker.update(people(100, 600), SHAPE)
    assert sorted(tracker.update(people(100, 600), SHAPE).track_ids) == [7, 8]
    assert tracker.next_number == 9


def test_the_time_that_a_lost_person_is_remembered_follows_the_frame_rate() -> None:
    for rate, number in ((15.0, 1), (2.0, 2)):
        tracker = Tracker(15.0, lost_s=1.0)
        for _ in range(5):
            tracker.update(people(300), SHAPE)
        tracker.expect(rate)
        for _ in range(6):
            tracker.update(people(), SHAPE)
        for _ in range(5):
            tracked = tracker.update(people(300), SHAPE)
        assert tracked.track_ids == [number]
    with pytest.raises(ValueError, match="frame_rate must be a positive number"):
        tracker.expect(0.0)


def test_an_empty_first_frame_is_fine() -> None:
    tracked = Tracker(15.0).update(people(), SHAPE)
    assert tracked.track_ids == []
    assert tracked.keypoints.shape == (0, 17, 3)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_frame_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="frame_rate must be a positive number"):
        Tracker(rate)
