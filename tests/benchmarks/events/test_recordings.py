from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.events.recordings import Collector, PoseRecording
from pose.estimator import Poses
from tests.doubles.walkers import person

FRAMES = 60
RATE_HZ = 30.0


@pytest.fixture
def recording() -> PoseRecording:
    """Somebody who walks on the spot for two seconds, joined by another in every second frame."""
    collector = Collector()
    for index in range(FRAMES):
        one, other = person(0, index / RATE_HZ), person(300, index / RATE_HZ)
        both = Poses(*(torch.cat(pair) for pair in zip(_parts(one), _parts(other), strict=True)))
        collector.add(index / RATE_HZ, both if index % 2 else one)
    return collector.recording((640, 480))


def _parts(poses: Poses) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return poses.boxes, poses.keypoints, poses.confidences


def test_a_recording_is_the_same_after_it_was_kept(recording: PoseRecording, tmp_path: Path) -> None:
    recording.save(tmp_path / "folder" / "one.npz")
    again = PoseRecording.load(tmp_path / "folder" / "one.npz")
    assert again.size == recording.size == (640, 480)
    for name in ("times", "frames", "boxes", "keypoints", "confidences"):
        np.testing.assert_array_equal(getattr(again, name), getattr(recording, name))


def test_a_recording_becomes_the_document_that_the_api_takes(recording: PoseRecording) -> None:
    sequence = recording.sequence()
    assert (sequence.width, sequence.height, len(sequence.frames)) == (640, 480, FRAMES)
    assert [len(frame.people) for frame in sequence.frames[:3]] == [1, 2, 1]
    assert sequence.frames[0].people[0].confidence == pytest.approx(0.9)
    assert not any(frame.tracked for frame in sequence.frames)


def test_confidences_above_one_are_one(recording: PoseRecording) -> None:
    recording.keypoints[0, 3, 2] = 1.02
    assert recording.sequence().frames[0].people[0].keypoints[3][2] == 1.0


def test_a_lower_rate_takes_every_nth_frame(recording: PoseRecording) -> None:
    slow = recording.at_rate(5.0)
    assert slow.fps == pytest.approx(5.0)
    assert len(slow.times) == FRAMES // 6
    for number, rows in enumerate(slow.people):
        np.testing.assert_array_equal(slow.keypoints[rows], recording.keypoints[recording.people[6 * number]])
    assert recording.at_rate(100.0).fps == recording.fps


def test_hidden_joints_are_unseen_and_the_same_for_the_same_seed(recording: PoseRecording) -> None:
    hidden = recording.hiding(0.3, 0)
    unseen = (hidden.keypoints == 0).all(axis=-1)
    assert unseen.mean() == pytest.approx(0.3, abs=0.03)
    np.testing.assert_array_equal(hidden.keypoints[~unseen], recording.keypoints[~unseen])
    np.testing.assert_array_equal(hidden.keypoints, recording.hiding(0.3, 0).keypoints)
    assert (hidden.keypoints != recording.hiding(0.3, 1).keypoints).any()


def test_people_are_followed_for_a_calibration(recording: PoseRecording) -> None:
    footage = recording.footage()
    assert len(footage.frame_times) == FRAMES
    assert len(footage.tracks[0].times) == FRAMES
