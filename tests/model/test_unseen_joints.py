"""Joints that were not seen decide nothing: on made-up poses, and on the normal life of a real shop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from model.dataset import PoseClip, read_split
from model.motion import MOTION_FEATURES, motion_features
from model.scorer import Scorer, WindowScores, seen_shares
from pose.windows import Windows, slice_track

SURE = 0.5
CLIPS = 20
"""The first clips of the training split: 17 minutes of people in view."""


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(Checkpoint.load(DEFAULT_CHECKPOINT))


def windows(n: int, seed: int, unseen: float) -> Windows:
    source = torch.Generator().manual_seed(seed)
    poses = torch.cat([torch.randn(n, 8, 18, 2, generator=source) * 60 + 300, torch.full((n, 8, 18, 1), 0.9)], dim=3)
    poses[..., 2] *= torch.rand(n, 8, 18, generator=source) >= unseen
    return Windows.of_poses(poses, np.arange(n), np.ones(n))


@given(st.integers(0, 1000))
def test_the_seen_joints_of_a_window_count_once_on_average(seed: int) -> None:
    some = windows(6, seed, 0.4)
    np.testing.assert_allclose(seen_shares(some).mean(axis=1), 1.0)
    some.poses[0, :, 4, 2] = 0
    assert seen_shares(some)[0, 4] == 0


def test_without_unseen_joints_the_likelihood_is_the_flow_s_own(scorer: Scorer) -> None:
    whole = windows(20, 0, 0.0)
    np.testing.assert_allclose(scorer.score(whole).nll, scorer.nll(whole.tensor))


def test_a_wrist_that_is_lost_and_found_elsewhere_has_no_speed() -> None:
    still = torch.randn(18, 3, generator=torch.Generator().manual_seed(0)) * 50 + 200
    still[:, 2] = 0.9
    poses = still.repeat(1, 8, 1, 1)
    poses[0, 3, 4] = torch.tensor([5000.0, -700.0, 0.0])
    measured = dict(zip(MOTION_FEATURES, motion_features(poses, 15.0)[0].tolist(), strict=True))
    assert measured["limbs"] == measured["fastest joint"] == 0.0


def scored(clips: list[PoseClip], scorer: Scorer, change: Callable[[Tensor], Tensor]) -> WindowScores:
    batches: list[Windows] = []
    cameras: list[NDArray[np.int64]] = []
    for number, clip in enumerate(clips):
        for track in clip.tracks:
            own = slice_track(track.person, track.frames / 15.0, change(track.keypoints.clone()), scorer.spec)
            batches.append(own)
            cameras.append(np.full(len(own), number))
    return scorer.score(Windows.concatenate(batches), np.concatenate(cameras))


@pytest.fixture(scope="module")
def clips(test_data: Path) -> list[PoseClip]:
    """Normal life in a shop."""
    first = read_split(test_data / "poselift" / "pose" / "train")[:CLIPS]
    assert sum(len(track.frames) for clip in first for track in clip.tracks) / 15 > 17 * 60
    return first


@pytest.fixture(scope="module")
def untouched(clips: list[PoseClip], scorer: Scorer) -> WindowScores:
    return scored(clips, scorer, lambda keypoints: keypoints)


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["low confidence", "one joint"])
def test_normal_life_stays_normal_where_joints_are_not_seen(
    lost: str, clips: list[PoseClip], untouched: WindowScores, scorer: Scorer
) -> None:
    rng = np.random.default_rng(0)

    def lose(keypoints: Tensor) -> Tensor:
        if lost == "low confidence":
            keypoints[keypoints[..., 2] < SURE] = 0
        else:
            rows = np.flatnonzero(rng.random(len(keypoints)) < 0.1)
            keypoints[rows, rng.integers(0, 17, len(rows))] = 0
        return keypoints

    touched = scored(clips, scorer, lose)
    assert touched.level.max() < scorer.calibration.threshold(false_alarms_per_day=24.0)
    assert np.median(touched.level) == pytest.approx(np.median(untouched.level), abs=0.1)
    assert len(touched.level) > 0.85 * len(untouched.level)
