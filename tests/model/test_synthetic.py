import dataclasses
import math
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.research.synthetic import KINDS, SyntheticRow, synthetic_table
from model.checkpoint import Checkpoint, Provenance
from model.config import DAFlowConfig
from model.dataset import PersonTrack, PoseClip, clip_windows, hold_out
from model.flow import DAFlow
from model.footage import PoseFootage
from model.motion import MOTION_FEATURES, PAIR_FEATURES
from model.parts import Footage, fit_parts, motion_values, pair_values
from model.scorer import RawScorer
from model.synthetic import SyntheticAnomaly, synthetic, track_height
from pose.skeleton import COCO_JOINTS
from pose.windows import Windows, WindowSpec

RATE_HZ = 15.0
SPEC = WindowSpec(length=8, rate_hz=RATE_HZ)
ARMS = [COCO_JOINTS.index(f"{side}_{joint}") for side in ("left", "right") for joint in ("elbow", "wrist")]
OTHERS = [joint for joint in range(17) if joint not in ARMS]
UPRIGHT = (
    *((0, 10), (3, 7), (-3, 7), (6, 9), (-6, 9)),
    *((18, 32), (-18, 32), (24, 60), (-24, 60), (25, 85), (-25, 85)),
    *((12, 88), (-12, 88), (12, 128), (-12, 128), (12, 168), (-12, 168)),
)
"""A person of 170 pixels, COCO joints from the top of the head."""


def walker(number: int, frames: int = 120, *, first: int = 0, speed: float = 40.0, seed: int = 0) -> PersonTrack:
    """Somebody who walks to the right at so many pixels a second and swings arms and legs."""
    rng = np.random.default_rng(1000 * seed + number)
    times = np.arange(frames) / RATE_HZ
    keypoints = np.full((frames, 17, 3), 0.9)
    keypoints[..., :2] = np.array(UPRIGHT) + rng.uniform(100, 400, 2) + rng.normal(0, 0.5, (frames, 17, 2))
    pace = speed * np.exp(np.repeat(rng.normal(0, 0.3, frames // 15 + 1), 15)[:frames])
    keypoints[..., 0] += np.cumsum(pace)[:, None] / RATE_HZ
    phase = rng.uniform(0, 6, 17)
    keypoints[:, 7:, 0] += 8 * np.sin(2 * math.pi * times[:, None] + phase[7:])
    return PersonTrack(number, first + np.arange(frames), torch.from_numpy(keypoints).float())


@pytest.fixture(scope="module")
def clips() -> list[PoseClip]:
    return [
        PoseClip("01_0001", (walker(1), walker(2, 90, first=20))),
        PoseClip("01_0002", (walker(5, 200, seed=1),)),
        PoseClip("01_0003", ()),
    ]


def equal(first: PoseClip, second: PoseClip) -> bool:
    return first.name == second.name and [
        (track.person, track.frames.tolist(), track.keypoints.tolist()) for track in first.tracks
    ] == [(track.person, track.frames.tolist(), track.keypoints.tolist()) for track in second.tracks]


def speeds(clip: PoseClip, feature: str = "speed") -> NDArray[np.float64]:
    values = motion_values(clip_windows(clip, SPEC, frame_rate_hz=RATE_HZ), SPEC)
    return np.asarray(values[:, MOTION_FEATURES.index(feature)])


@pytest.mark.parametrize("kind", get_args(SyntheticAnomaly))
def test_the_clips_given_stay_and_the_same_seed_gives_the_same(clips: list[PoseClip], kind: SyntheticAnomaly) -> None:
    before = [track.keypoints.clone() for clip in clips for track in clip.tracks]
    first, second = synthetic(clips, kind, RATE_HZ, 3), synthetic(clips, kind, RATE_HZ, 3)
    after = [track.keypoints for clip in clips for track in clip.tracks]
    assert all(torch.equal(own, other) for own, other in zip(before, after, strict=True))
    assert [clip.name for clip in first] == [clip.name for clip in clips]
    assert all(equal(own, other) for own, other in zip(first, second, strict=True))
    assert not equal(first[0], clips[0])
    for track in (track for clip in first for track in clip.tracks):
        assert (np.diff(track.frames) > 0).all()
        assert len(track.frames) == len(track.keypoints)
        assert torch.isfinite(track.keypoints).all()
        assert track.frames.dtype == np.int64
        assert track.keypoints.dtype == torch.float32


@pytest.mark.parametrize("kind", ["noise", "splice", "flailing", "fall", "lunges", "rush"])
def test_another_seed_gives_another(clips: list[PoseClip], kind: SyntheticAnomaly) -> None:
    assert not equal(synthetic(clips, kind, RATE_HZ, 0)[0], synthetic(clips, kind, RATE_HZ, 3)[0])


@pytest.mark.parametrize("kind", ["noise", "flailing", "lunges"])
def test_times_and_people_are_kept(clips: list[PoseClip], kind: SyntheticAnomaly) -> None:
    for own, other in zip(synthetic(clips, kind, RATE_HZ, 0), clips, strict=True):
        for track, before in zip(own.tracks, other.tracks, strict=True):
            assert track.person == before.person
            assert track.frames.tolist() == before.frames.tolist()
            assert torch.equal(track.keypoints[..., 2], before.keypoints[..., 2])


def test_reversal_twice_is_the_clip_and_once_keeps_who_is_there_together(clips: list[PoseClip]) -> None:
    once = synthetic(clips, "reversal", RATE_HZ, 0)
    assert all(equal(own, other) for own, other in zip(synthetic(once, "reversal", RATE_HZ, 0), clips, strict=True))
    assert once[0].tracks[1].frames.tolist() == list(range(119 - 109, 119 - 20 + 1))
    assert torch.equal(once[0].tracks[0].keypoints[0], clips[0].tracks[0].keypoints[-1])


@pytest.mark.parametrize(("kind", "factor"), [("double speed", 2.0), ("half speed", 0.5)])
def test_double_and_half_speed_scale_the_speed(clips: list[PoseClip], kind: SyntheticAnomaly, factor: float) -> None:
    changed = synthetic(clips, kind, RATE_HZ, 0)
    assert np.median(speeds(changed[1])) == pytest.approx(factor * np.median(speeds(clips[1])), rel=0.1)
    assert len(changed[1].frame_span()) == pytest.approx(200 / factor, abs=1)


def test_a_splice_changes_arms_alone_and_keeps_their_size(clips: list[PoseClip]) -> None:
    for own, other in zip(synthetic(clips, "splice", RATE_HZ, 0), clips, strict=True):
        for track, before in zip(own.tracks, other.tracks, strict=True):
            count = len(track.frames)
            assert track.frames.tolist() == before.frames[:count].tolist()
            assert torch.equal(track.keypoints[:, OTHERS], before.keypoints[:count, OTHERS])
            assert not torch.equal(track.keypoints[:, ARMS], before.keypoints[:count, ARMS])
            reach = (track.keypoints[:, 9, :2] - track.keypoints[:, 5, :2]).norm(dim=-1)
            assert reach.mean().item() == pytest.approx(53, rel=0.2)
    assert len(synthetic(clips, "splice", RATE_HZ, 0)[1].tracks[0].frames) == 120


def test_flailing_moves_wrists_twice_as_far_as_elbows_and_nothing_else(clips: list[PoseClip]) -> None:
    own, other = synthetic(clips, "flailing", RATE_HZ, 0)[1].tracks[0], clips[1].tracks[0]
    shift = own.keypoints - other.keypoints
    assert not shift[:, OTHERS].any()
    torch.testing.assert_close(shift[:, 9], 2 * shift[:, 7], atol=1e-3, rtol=0)
    assert shift[:, 9, :2].abs().max().item() == pytest.approx(0.2 * track_height(other), rel=0.05)


def test_a_falling_person_stands_first_and_ends_lying_where_the_feet_were(clips: list[PoseClip]) -> None:
    for clip, before in zip(synthetic(clips, "fall", RATE_HZ, 0), clips, strict=True):
        for track, standing in zip(clip.tracks, before.tracks, strict=True):
            middle = len(standing.frames) // 2
            assert track.frames.tolist() == standing.frames[middle:].tolist()
            torch.testing.assert_close(track.keypoints[0], standing.keypoints[middle], atol=1e-3, rtol=0)
            extent = track.keypoints[..., :2].amax(1) - track.keypoints[..., :2].amin(1)
            assert extent[0, 1] > 2 * extent[0, 0]
            assert (extent[10:, 0] > 2 * extent[10:, 1]).all()
            feet = track.keypoints[:, 15:17, :2].mean(1)
            torch.testing.assert_close(feet, feet[:1].expand_as(feet), atol=1e-2, rtol=0)


def test_lunges_are_fast_to_either_side_and_leave_the_shape(clips: list[PoseClip]) -> None:
    changed = synthetic(clips, "lunges", RATE_HZ, 0)
    shift = changed[1].tracks[0].keypoints - clips[1].tracks[0].keypoints
    torch.testing.assert_close(shift, shift[:, :1].expand_as(shift), atol=1e-3, rtol=0)
    assert not shift[..., 1].any()
    height = track_height(clips[1].tracks[0])
    assert shift[..., 0].max().item() == pytest.approx(height / 2, rel=0.05)
    assert shift[..., 0].min().item() == pytest.approx(-height / 2, rel=0.05)
    assert speeds(changed[1]).max() > speeds(clips[1]).max() + 1


def test_a_rushing_person_has_a_companion_of_the_same_height_and_they_meet_fast(clips: list[PoseClip]) -> None:
    changed = synthetic(clips, "rush", RATE_HZ, 0)
    assert [track.person for track in changed[0].tracks] == [1, 2, 3, 4]
    own, other = changed[1].tracks
    assert own.frames.tolist() == other.frames.tolist() == clips[1].tracks[0].frames[:120].tolist()
    assert track_height(own) == pytest.approx(track_height(other), rel=0.05)
    torso = [track.keypoints[:, [5, 6, 11, 12], :2].mean(1) for track in (own, other)]
    distance = (torso[0] - torso[1]).norm(dim=-1) / track_height(own)
    assert distance.min().item() == pytest.approx(0.3, abs=0.05)
    assert distance.max().item() == pytest.approx(1.3, abs=0.05)
    windows = clip_windows(changed[1], SPEC, frame_rate_hz=RATE_HZ)
    _, values = pair_values(windows, np.zeros(len(windows), np.int64), SPEC)
    assert values[:, PAIR_FEATURES.index("relative speed")].max() > 0.5


def test_people_without_frames_are_left_out() -> None:
    nobody = PersonTrack(3, np.empty(0, np.int64), torch.empty((0, 17, 3)))
    for kind in KINDS:
        changed = synthetic([PoseClip("a", (walker(1), walker(2), nobody))], kind, RATE_HZ, 0)
        assert all(len(track.frames) for track in changed[0].tracks)


def test_impossible_anomalies_are_refused(clips: list[PoseClip]) -> None:
    with pytest.raises(ValueError, match="unknown anomaly 'dance': choose one of reversal, double speed"):
        synthetic(clips, "dance", RATE_HZ, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="frame_rate_hz must be a positive number, got 0"):
        synthetic(clips, "lunges", 0, 0)
    for kind in ("splice", "rush"):
        with pytest.raises(ValueError, match=f"{kind} needs another person"):
            synthetic(clips[1:2], kind, RATE_HZ, 0)


@pytest.fixture(scope="module")
def split() -> list[PoseClip]:
    return [PoseClip(f"01_{i:04d}", (walker(1, 300, seed=i), walker(2, 300, seed=i, speed=45.0))) for i in range(10)]


@pytest.fixture(scope="module")
def untrained(split: list[PoseClip]) -> Checkpoint:
    """A flow that has seen one batch of windows, for its scale."""
    torch.manual_seed(0)
    config = DAFlowConfig(length=8)
    flow = DAFlow(config)
    windows = Windows.concatenate([clip_windows(clip, SPEC, frame_rate_hz=RATE_HZ) for clip in split[:2]])
    flow.train()
    with torch.no_grad():
        flow.nll(windows.tensor)
    return Checkpoint("untrained", config, SPEC, flow.eval().state_dict(), Provenance("", "", "", 0, 1, None, None, {}))


@pytest.fixture(scope="module")
def rows(split: list[PoseClip], untrained: Checkpoint) -> list[SyntheticRow]:
    return synthetic_table(untrained, split, RATE_HZ, 0)


def test_the_table_has_every_score_and_motion_finds_hasty_movement(rows: list[SyntheticRow]) -> None:
    by_name = {row.score: row for row in rows}
    assert list(by_name)[:3] == ["pose", "pose, typicality", "motion"]
    assert {"pose + motion, sum", "pose + motion, smallest p"} <= by_name.keys()
    for row in rows:
        assert tuple(row.auc) == KINDS
        assert all(0 <= value <= 1 for value in row.auc.values())
        assert row.mean == pytest.approx(np.mean(list(row.auc.values())))
    motion = by_name["motion"].auc
    assert motion["lunges"] > 0.9
    assert motion["flailing"] > 0.9
    assert motion["reversal"] == pytest.approx(0.5, abs=0.02)
    assert motion["half speed"] < 0.5 < motion["double speed"]


def test_the_checkpoints_own_parts_are_used(
    split: list[PoseClip], untrained: Checkpoint, rows: list[SyntheticRow]
) -> None:
    recordings = [PoseFootage.of_clip(clip, RATE_HZ) for clip in hold_out(split, 0.3, 0)[0]]
    footage = [Footage(own.windows(SPEC), own.frame_times) for own in recordings]
    scorer = RawScorer.of_checkpoint(untrained)
    parts = fit_parts(footage, [scorer.nll(own.windows.tensor) for own in footage], SPEC)
    fitted = dataclasses.replace(untrained, parts=parts)
    assert synthetic_table(fitted, split, RATE_HZ, 0) == rows
    without = dataclasses.replace(fitted, parts=dataclasses.replace(parts, pair=None))
    assert [row.score for row in synthetic_table(without, split, RATE_HZ, 0)] == [
        "pose",
        "pose, typicality",
        "motion",
        "pose + motion, sum",
        "pose + motion, smallest p",
    ]
