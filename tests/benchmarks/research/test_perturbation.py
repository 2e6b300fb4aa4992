import math
from typing import get_args

import numpy as np
import pytest
import torch

from benchmarks.research.perturbation import Perturbation, perturbed
from model.dataset import PersonTrack, PoseClip
from model.synthetic import track_height
from tests.model.skeletons import swaying

KINDS: tuple[Perturbation, ...] = get_args(Perturbation)


def person(number: int, frames: int = 400, seed: int = 0) -> PersonTrack:
    numbers = 5 + np.arange(frames) + np.arange(frames) // 100 * 20
    return PersonTrack(number, numbers, torch.from_numpy(swaying(frames, seed)).float())


@pytest.fixture(scope="module")
def clip() -> PoseClip:
    return PoseClip("01_0001", (person(1), person(4, seed=7)))


def equal(first: PoseClip, second: PoseClip) -> bool:
    return first.name == second.name and [
        (track.person, track.frames.tolist(), track.keypoints.tolist()) for track in first.tracks
    ] == [(track.person, track.frames.tolist(), track.keypoints.tolist()) for track in second.tracks]


@pytest.mark.parametrize("kind", KINDS)
def test_level_0_changes_nothing_and_is_a_copy(clip: PoseClip, kind: Perturbation) -> None:
    same = perturbed(clip, kind, 0.0, seed=3)
    assert equal(same, clip)
    for own, other in zip(same.tracks, clip.tracks, strict=True):
        assert own.keypoints.data_ptr() != other.keypoints.data_ptr()
        assert not np.shares_memory(own.frames, other.frames)


@pytest.mark.parametrize("kind", KINDS)
def test_the_clip_given_stays_as_it_is(clip: PoseClip, kind: Perturbation) -> None:
    before = [track.keypoints.clone() for track in clip.tracks]
    perturbed(clip, kind, 0.5, seed=3)
    assert all(torch.equal(own, track.keypoints) for own, track in zip(before, clip.tracks, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_and_another_seed_another(clip: PoseClip, kind: Perturbation) -> None:
    assert equal(perturbed(clip, kind, 0.3, seed=3), perturbed(clip, kind, 0.3, seed=3))
    assert not equal(perturbed(clip, kind, 0.3, seed=3), perturbed(clip, kind, 0.3, seed=4))


@pytest.mark.parametrize("kind", KINDS)
def test_a_person_is_perturbed_the_same_way_with_and_without_others(clip: PoseClip, kind: Perturbation) -> None:
    alone = PoseClip(clip.name, clip.tracks[1:])
    assert equal(perturbed(alone, kind, 0.3, 3), PoseClip(clip.name, perturbed(clip, kind, 0.3, 3).tracks[1:]))


def test_people_and_clips_do_not_share_their_noise(clip: PoseClip) -> None:
    twins = PoseClip("a", (person(1), person(2)))
    first, second = perturbed(twins, "noise", 0.1, 0).tracks
    assert not torch.equal(first.keypoints, second.keypoints)
    renamed = perturbed(PoseClip("b", twins.tracks), "noise", 0.1, 0).tracks[0]
    assert not torch.equal(first.keypoints, renamed.keypoints)


@pytest.mark.parametrize("level", [0.01, 0.1])
def test_noise_has_the_standard_deviation_asked_for(clip: PoseClip, level: float) -> None:
    for own, other in zip(perturbed(clip, "noise", level, 0).tracks, clip.tracks, strict=True):
        shift = (own.keypoints - other.keypoints)[..., :2] / track_height(other)
        assert shift.std().item() == pytest.approx(level, rel=0.05)
        assert shift.mean().item() == pytest.approx(0, abs=0.05 * level)
        between = np.corrcoef(shift[:, 3, 0], shift[:, 9, 0])[0, 1]
        assert abs(between) < 0.2
        assert torch.equal(own.keypoints[..., 2], other.keypoints[..., 2])


def test_a_higher_level_scales_the_same_noise(clip: PoseClip) -> None:
    shifts = [
        perturbed(clip, "noise", level, 0).tracks[0].keypoints - clip.tracks[0].keypoints for level in (0.05, 0.1)
    ]
    torch.testing.assert_close(2 * shifts[0], shifts[1], atol=1e-3, rtol=0)


def test_jitter_moves_the_whole_person_anew_in_every_frame(clip: PoseClip) -> None:
    for own, other in zip(perturbed(clip, "jitter", 0.05, 0).tracks, clip.tracks, strict=True):
        shift = (own.keypoints - other.keypoints)[..., :2] / track_height(other)
        torch.testing.assert_close(shift, shift[:, :1].expand_as(shift), atol=1e-5, rtol=0)
        assert shift[:, 0].std().item() == pytest.approx(0.05, rel=0.1)
        assert abs(np.corrcoef(shift[:-1, 0, 0], shift[1:, 0, 0])[0, 1]) < 0.2


@pytest.mark.parametrize("level", [0.1, 0.5, 1.0])
def test_lost_joints_have_no_confidence_and_lie_somewhere_on_the_person(clip: PoseClip, level: float) -> None:
    for own, other in zip(perturbed(clip, "joints", level, 0).tracks, clip.tracks, strict=True):
        lost = own.keypoints[..., 2] == 0
        assert lost.float().mean().item() == pytest.approx(level, abs=0.02)
        assert torch.equal(own.keypoints[~lost], other.keypoints[~lost])
        assert (own.keypoints[lost] != other.keypoints[lost]).any(dim=1).all()
        box = other.keypoints[..., :2]
        assert (own.keypoints[..., :2] >= box.amin(1, keepdim=True)).all()
        assert (own.keypoints[..., :2] <= box.amax(1, keepdim=True)).all()


@pytest.mark.parametrize("level", [0.1, 0.5])
def test_missing_frames_leave_the_others_where_they_were(clip: PoseClip, level: float) -> None:
    for own, other in zip(perturbed(clip, "frames", level, 0).tracks, clip.tracks, strict=True):
        assert len(own.frames) / len(other.frames) == pytest.approx(1 - level, abs=0.1)
        assert (np.diff(own.frames) > 0).all()
        assert torch.equal(own.keypoints, other.keypoints[np.isin(other.frames, own.frames)])


def test_more_missing_frames_are_the_same_and_others(clip: PoseClip) -> None:
    few, many = (perturbed(clip, "frames", level, 0).tracks[0].frames for level in (0.2, 0.6))
    assert set(many) < set(few)


@pytest.mark.parametrize("kind", ["noise", "joints", "jitter"])
def test_times_are_kept(clip: PoseClip, kind: Perturbation) -> None:
    for own, other in zip(perturbed(clip, kind, 0.5, 0).tracks, clip.tracks, strict=True):
        assert own.person == other.person
        assert own.frames.tolist() == other.frames.tolist()


def test_people_without_a_frame_left_are_dropped(clip: PoseClip) -> None:
    assert perturbed(clip, "frames", 1.0, 0).tracks == ()
    nobody = PoseClip("a", (PersonTrack(1, np.empty(0, np.int64), torch.empty((0, 17, 3))),))
    assert all(perturbed(nobody, kind, 0.1, 0).tracks == () for kind in KINDS)


@pytest.mark.parametrize(
    ("kind", "level", "reason"),
    [
        ("noise", -0.1, "must be a number from 0 on, got -0.1"),
        ("jitter", math.nan, "must be a number from 0 on"),
        ("joints", 1.5, "share lost, give one between 0 and 1, got 1.5"),
        ("frames", 1.01, "share lost, give one between 0 and 1"),
        ("blur", 0.1, "unknown perturbation 'blur': choose one of noise, joints, frames, jitter"),
    ],
)
def test_impossible_levels_and_unknown_kinds_are_refused(
    clip: PoseClip, kind: Perturbation, level: float, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        perturbed(clip, kind, level, 0)
