"""Calibration footage as it is gathered, without a camera."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.behaviours import BEHAVIOURS, Kind
from service.calibration.gathering import Gathering, clip_footage
from service.cameras.config import CameraConfig
from service.documents.results import ClipInfo, FrameScore, PersonScore
from service.live.frames import Scored
from tests.doubles.scores import scored_frame
from tests.doubles.servers import clip_result

RATE_HZ = 15.0

Step = tuple[float, int]


def gathered(steps: Sequence[Step]) -> tuple[Gathering, list[Scored]]:
    """What is gathered of frames that follow each other at these steps, with so many people in each."""
    gathering, frames, moment = Gathering(BEHAVIOURS), [], 1000.0
    for number, (step, people) in enumerate(steps):
        moment += step
        poses = {person: np.full((17, 3), number + person / 10) for person in range(people)}
        frames.append(scored_frame(moment, poses))
        gathering.add(frames[-1])
    return gathering, frames


@given(
    st.lists(st.tuples(st.sampled_from([0.05, 0.3, 1.1, 1.9, 2.5, 700.0]), st.integers(0, 2)), min_size=1, max_size=80)
)
def test_every_pose_is_kept_once_and_no_recording_has_a_silence(steps: list[Step]) -> None:
    gathering, frames = gathered(steps)
    gaps = np.diff([one.captured_at for one in frames])
    assert gathering.seconds == pytest.approx(gaps[gaps <= 2].sum())
    assert gathering.poses == sum(people for _, people in steps)
    recordings = gathering.hand_over().recordings
    poses = [
        (moment, track.track_id, *joints)
        for recording in recordings
        for track in recording.tracks
        for moment, joints in zip(track.times.tolist(), track.keypoints.reshape(-1, 51).tolist(), strict=True)
    ]
    given_poses = [
        (one.captured_at, track, *joints)
        for one in frames
        for track, joints in zip(one.track_ids, one.keypoints.reshape(-1, 51).tolist(), strict=True)
    ]
    assert sorted(poses) == sorted(given_poses)
    for recording in recordings:
        assert (np.diff(recording.frame_times) <= 2).all()
        assert np.ptp(recording.frame_times) <= 601
        for track in recording.tracks:
            assert np.isin(track.times, recording.frame_times).all()
    assert gathering.hand_over().recordings == []
    gathering.add(scored_frame(1e6, {1: np.zeros((17, 3))}))
    assert gathering.hand_over().recordings == []


@pytest.mark.slow
def test_an_empty_scene_takes_little_memory_and_counts_as_footage() -> None:
    gathering, _ = gathered([(1 / RATE_HZ, 0)] * round(RATE_HZ * 1200))
    assert gathering.seconds == pytest.approx(1200, abs=0.1)
    recordings = gathering.hand_over().recordings
    assert sum(len(recording.frame_times) for recording in recordings) < 1300
    assert sum(np.ptp(recording.frame_times) for recording in recordings) == pytest.approx(1200, abs=5)


def test_late_frames_are_left_out_and_gathering_ends_when_memory_does(monkeypatch: pytest.MonkeyPatch) -> None:
    gathering, frames = gathered([(0.1, 1)] * 5)
    gathering.add(frames[2])
    assert gathering.poses == 5
    monkeypatch.setattr("service.calibration.gathering._MOST_POSES", 7)
    for step in range(1, 5):
        gathering.add(scored_frame(1000.5 + step, {1: np.zeros((17, 3))}))
    assert gathering.full.is_set()
    assert gathering.poses == 7


def test_the_view_is_taken_with_the_footage_where_there_are_pictures() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (36, 64, 3), np.uint8)
    watched, fed = Gathering(BEHAVIOURS), Gathering(BEHAVIOURS)
    for moment in range(20):
        frame = scored_frame(float(moment))
        watched.add(dataclasses.replace(frame, image=picture))
        fed.add(frame)
    seen, unseen = watched.hand_over(), fed.hand_over()
    assert seen.view is not None
    assert seen.view.valid.shape == (90, 160)
    assert seen.size == (frame.width, frame.height)
    assert (unseen.view, unseen.size) == (None, None)


def test_footage_of_a_clip_is_looked_at_for_what_the_camera_looks_for() -> None:
    """Somebody stands at one place for a minute, which only a camera that asks for loitering looks for."""
    joints = [(200.0 + 10 * (joint % 2), 100.0 + 10 * joint, 0.9) for joint in range(17)]
    person = PersonScore(track=1, box=(190.0, 90.0, 240.0, 270.0), keypoints=joints, score=None, level=None)
    frames = [
        FrameScore(index=number, time_s=number / 10, score=None, level=None, people=[person]) for number in range(600)
    ]
    result = clip_result().model_copy(
        update={"clip": ClipInfo(frames=600, fps=10.0, width=640, height=480, duration_s=60.0), "frames": frames}
    )
    asking = CameraConfig.model_validate(
        {"url": "skeletons:", "behaviours": {"loitering": "warning"}, "loitering": {"seconds": 40}}
    )
    life = clip_footage(result, asking.looked_for).life
    assert Kind.LOITERING in life.kinds
    assert life.peaks(Kind.LOITERING, 10.0) == [pytest.approx(1.5, abs=0.1)]
    usual = CameraConfig(url="skeletons:").looked_for
    assert Kind.LOITERING not in clip_footage(result, usual).life.kinds
