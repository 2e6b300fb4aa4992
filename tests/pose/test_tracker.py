from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pose.estimator import Poses
from pose.tracker import LOST_S, TrackedPoses, Tracker
from tests.doubles.puppet import falling, film, script, standing, walking

SHAPE = (480, 856)
RATE_HZ = 15.0


def people(*lefts: float, confidence: float = 0.9) -> Poses:
    """People standing side by side, each with a left edge; the first joint tells who is who."""
    boxes = torch.tensor([[left, 100.0, left + 60, 280.0] for left in lefts]).reshape(-1, 4)
    keypoints = torch.zeros(len(lefts), 17, 3)
    keypoints[:, 0, 0] = torch.tensor(lefts)
    return Poses(boxes, keypoints, torch.full((len(lefts),), confidence))


def bodies(boxes: NDArray[np.float64], keypoints: NDArray[np.float64]) -> Poses:
    """People with joints, ``(M, 4)`` and ``(M, 17, 3)``."""
    found = torch.from_numpy(boxes.astype(np.float32)), torch.from_numpy(keypoints.astype(np.float32))
    return Poses(*found, torch.full((len(boxes),), 0.9))


def watch(tracker: Tracker, *frames: Poses, rate_hz: float = RATE_HZ, start_s: float = 0.0) -> list[TrackedPoses]:
    return [tracker.update(poses, SHAPE, start_s + number / rate_hz) for number, poses in enumerate(frames)]


def test_a_person_keeps_the_number_and_the_own_joints_while_walking() -> None:
    tracker = Tracker()
    for step in range(30):
        tracked = tracker.update(people(100 + 3 * step, 600 - 3 * step), SHAPE, step / RATE_HZ)
        assert tracked.track_ids == [1, 2]
        assert tracked.keypoints[:, 0, 0].tolist() == [100 + 3 * step, 600 - 3 * step]
        np.testing.assert_allclose(tracked.boxes[:, 0], tracked.keypoints[:, 0, 0])


@pytest.mark.parametrize("rate_hz", [2.0, 5.0, 10.0, 30.0])
def test_somebody_who_walks_keeps_the_number_at_every_frame_rate(rate_hz: float) -> None:
    # A body height of 180 pixels, and 0.8 of it a second.
    steps = range(round(3 * rate_hz))
    frames = [people(100 + 144 * step / rate_hz, 700 - 144 * step / rate_hz) for step in steps]
    apart = [poses for poses in frames if abs(float(poses.boxes[0, 0] - poses.boxes[1, 0])) > 90]
    assert {number for tracked in watch(Tracker(), *apart, rate_hz=rate_hz) for number in tracked.track_ids} == {1, 2}


@pytest.mark.parametrize("rate_hz", [4.0, 5.0, 10.0, 30.0])
@pytest.mark.parametrize("direction", [0.0, 90.0, 180.0])
def test_somebody_who_falls_keeps_the_number(rate_hz: float, direction: float) -> None:
    fallen = film(script((2.0, standing), (3.0, falling(direction))), 5.0, fps=rate_hz)
    frames = [bodies(fallen.boxes[[row]], fallen.keypoints[[row]]) for row in range(len(fallen.times))]
    assert {tuple(one.track_ids) for one in watch(Tracker(), *frames, rate_hz=rate_hz)} == {(1,)}


@pytest.mark.parametrize("rate_hz", [5.0, 10.0, 30.0])
def test_people_who_pass_each_other_keep_their_numbers(rate_hz: float) -> None:
    left = film(walking(0.7), 4.0, fps=rate_hz, place=(-2.4, 6.0))
    right = film(walking(0.7), 4.0, fps=rate_hz, facing=180.0, place=(2.4, 7.0))
    frames = [
        bodies(np.stack([left.boxes[row], right.boxes[row]]), np.stack([left.keypoints[row], right.keypoints[row]]))
        for row in range(len(left.times))
    ]
    assert {tuple(one.track_ids) for one in watch(Tracker(), *frames, rate_hz=rate_hz)} == {(1, 2)}


@pytest.mark.parametrize(("absent_s", "number"), [(0.6, 1), (2.5, 1), (LOST_S + 1, 2)])
@pytest.mark.parametrize("rate_hz", [3.0, 15.0])
def test_a_person_who_is_back_in_time_keeps_the_number_and_one_who_is_late_does_not(
    absent_s: float, number: int, rate_hz: float
) -> None:
    tracker = Tracker()
    watch(tracker, *[people(300)] * 5, rate_hz=rate_hz)
    away = round(absent_s * rate_hz)
    unseen = watch(tracker, *[people()] * away, rate_hz=rate_hz, start_s=5 / rate_hz)
    assert not any(len(tracked) for tracked in unseen)
    back = watch(tracker, *[people(300)] * 5, rate_hz=rate_hz, start_s=(5 + away) / rate_hz)
    assert back[-1].track_ids == [number]


def test_one_long_gap_in_the_recording_forgets_everybody() -> None:
    tracker = Tracker()
    watch(tracker, *[people(300)] * 5)
    assert tracker.update(people(300), SHAPE, 600.0).track_ids == [2]


def test_a_faint_sighting_keeps_a_track_alive_but_starts_none() -> None:
    tracker = Tracker()
    assert len(tracker.update(people(300, confidence=0.15), SHAPE, 0.0)) == 0
    watch(tracker, *[people(300)] * 2, start_s=0.1)
    assert tracker.update(people(302, confidence=0.15), SHAPE, 0.3).track_ids == [1]


def test_somebody_found_with_little_confidence_counts_from_the_second_sighting() -> None:
    tracker = Tracker()
    watch(tracker, *[people(50)] * 3, rate_hz=5.0)
    first, second = watch(tracker, *[people(50, 300, confidence=0.3)] * 2, rate_hz=5.0, start_s=0.6)
    assert (first.track_ids, second.track_ids) == ([1], [1, 2])


def test_somebody_found_twice_is_one_person_where_frames_are_far_apart() -> None:
    still = film(standing, 0.1)
    again = bodies(
        np.stack([still.boxes[0], still.boxes[0] + 4]),
        np.stack([still.keypoints[0], still.keypoints[0] + np.array([3.0, 2.0, 0.0])]),
    )
    assert {tuple(one.track_ids) for one in watch(Tracker(), *[again] * 6, rate_hz=5.0)[1:]} == {(1,)}


def test_two_people_close_to_each_other_are_two() -> None:
    still = film(standing, 0.1)
    beside = bodies(
        np.stack([still.boxes[0], still.boxes[0] + np.array([25.0, 0.0, 25.0, 0.0])]),
        np.stack([still.keypoints[0], still.keypoints[0] + np.array([25.0, 0.0, 0.0])]),
    )
    assert {tuple(one.track_ids) for one in watch(Tracker(), *[beside] * 6)} == {(1, 2)}


def test_who_leaves_the_picture_does_not_come_back_as_somebody_else() -> None:
    tracker = Tracker()
    out = [people(max(40.0 - 12 * step, -50.0)) for step in range(8)]
    clipped = [Poses(poses.boxes.clip(0, None), poses.keypoints, poses.confidences) for poses in out]
    assert watch(tracker, *clipped)[-1].track_ids == [1]
    watch(tracker, *[people()] * 8, start_s=8 / RATE_HZ)
    entering = Poses(torch.tensor([[0.0, 150.0, 40.0, 330.0]]), torch.zeros(1, 17, 3), torch.tensor([0.9]))
    assert watch(tracker, *[entering] * 2, start_s=16 / RATE_HZ)[-1].track_ids == [2]


def test_a_gap_without_frames_is_time_too() -> None:
    tracker = Tracker()
    assert watch(tracker, *[people(300)] * 4)[-1].track_ids == [1]
    # Within the box of the first person, but a third as tall.
    small = Poses(torch.tensor([[300.0, 160.0, 360.0, 220.0]]), torch.zeros(1, 17, 3), torch.tensor([0.9]))
    assert watch(tracker, *[small] * 3, start_s=2.2)[-1].track_ids == [2]


def test_streams_number_their_people_apart_from_each_other() -> None:
    first, second = Tracker(), Tracker()
    for step in range(5):
        a = first.update(people(100 + step, 600), SHAPE, step / RATE_HZ)
        if step == 2:
            Tracker().update(people(50), SHAPE, 0.0)
        b = second.update(people(400 + step), SHAPE, step / RATE_HZ)
    assert a.track_ids == [1, 2]
    assert b.track_ids == [1]


def test_numbering_goes_on_where_another_tracker_ended() -> None:
    tracker = Tracker(first=7)
    assert [tracked.track_ids for tracked in watch(tracker, *[people(100, 600)] * 2)] == [[7, 8]] * 2
    assert tracker.next_number == 9


def test_numbers_stay_when_the_frame_rate_changes() -> None:
    tracker, time_s = Tracker(), 0.0
    for rate_hz in (30.0, 4.0, 30.0, 2.0, 15.0):
        for _ in range(20):
            time_s += 1 / rate_hz
            drift = 10 * time_s
            assert tracker.update(people(50 + drift, 500 - drift), SHAPE, time_s).track_ids == [1, 2]


def test_an_empty_first_frame_is_fine() -> None:
    tracked = Tracker().update(people(), SHAPE, 0.0)
    assert tracked.track_ids == []
    assert tracked.keypoints.shape == (0, 17, 3)


@pytest.mark.parametrize("time_s", [1.0, 0.5, math.nan, math.inf])
def test_a_time_that_does_not_increase_is_refused(time_s: float) -> None:
    tracker = Tracker()
    tracker.update(people(300), SHAPE, 1.0)
    with pytest.raises(ValueError, match="capture times must be finite and increase"):
        tracker.update(people(300), SHAPE, time_s)


@pytest.mark.parametrize("lost_s", [0.0, -1.0, math.nan, math.inf])
def test_an_impossible_memory_is_refused(lost_s: float) -> None:
    with pytest.raises(ValueError, match="lost_s must be a positive number"):
        Tracker(lost_s=lost_s)


@given(st.integers(0, 2**31), st.integers(0, 64), st.floats(0.01, 2.0))
def test_whatever_is_found_everybody_has_one_number_and_memory_is_bounded(seed: int, most: int, gap: float) -> None:
    rng = np.random.default_rng(seed)
    tracker = Tracker()
    for step in range(8):
        count = int(rng.integers(0, most + 1))
        corner, size = rng.uniform(-50, 900, (count, 2)), rng.choice([0.0, 1.0, 60.0, 400.0], (count, 2))
        joints = rng.uniform(-50, 900, (count, 17, 3))
        joints[..., 2] = rng.choice([0.0, 0.2, 0.9], (count, 17))
        found = Poses(
            torch.from_numpy(np.hstack([corner, corner + size]).astype(np.float32)),
            torch.from_numpy(joints.astype(np.float32)),
            torch.from_numpy(rng.uniform(0, 1, count).astype(np.float32)),
        )
        tracked = tracker.update(found, SHAPE, step * gap)
        assert len(set(tracked.track_ids)) == len(tracked) <= count
        assert all(0 < number < tracker.next_number for number in tracked.track_ids)
