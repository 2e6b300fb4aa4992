import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from model.dataset import DatasetError, PersonTrack, PoseClip, clip_windows, read_masks, read_split
from model.evaluation import (
    equal_error_rate,
    evaluate,
    evaluate_online,
    fill_and_smooth,
    frame_metrics,
    middle_frame_scores,
    people_counts,
)
from model.scorer import Scorer
from pose.windows import WindowSpec
from tests.model.skeletons import swaying

SPEC = WindowSpec(length=8, rate_hz=15.0)


def clip_of(people: dict[int, range], name: str = "01_1") -> PoseClip:
    tracks = [
        PersonTrack(person, np.array(frames), torch.from_numpy(swaying(len(frames), person)).float())
        for person, frames in people.items()
    ]
    return PoseClip(name, tuple(tracks))


def test_the_golden_file_is_reproduced(test_data: Path) -> None:
    with (test_data / "golden" / "poselift-stgnf-frame-scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    labels = np.array([int(row["gt"]) for row in rows])
    metrics = frame_metrics(labels, np.array([float(row["anomaly"]) for row in rows]))
    assert metrics.auc_roc == pytest.approx(0.685649, abs=1e-6)
    assert metrics.auc_pr == pytest.approx(0.420695, abs=1e-6)
    assert metrics.eer == pytest.approx(0.343902, abs=1e-6)


def test_on_poselift_the_count_of_people_and_the_frames_with_a_score_are_the_known_ones(test_data: Path) -> None:
    root = test_data / "poselift"
    clips, masks = read_split(root / "pose" / "test"), read_masks(root / "gt" / "test_frame_mask")
    labels = np.concatenate([masks[clip.name] for clip in clips])
    assert (len(labels), labels.sum()) == (4846, 1534)
    assert frame_metrics(labels, people_counts(clips, masks)).auc_roc == pytest.approx(0.7304, abs=5e-5)
    scorer = Scorer(Checkpoint.load(DEFAULT_CHECKPOINT))
    result = evaluate(scorer.nll, clips, masks, scorer.spec, frame_rate_hz=15.0, slicing="published")
    assert result.frames == 4846
    assert result.conditional_frames == 2530
    assert 0.5 < result.published.auc_roc < 1


def test_on_poselift_the_inverse_is_within_1e_5_of_a_windows_extent_in_single_precision(test_data: Path) -> None:
    clips = read_split(test_data / "poselift" / "pose" / "test")
    shipped = Checkpoint.load(DEFAULT_CHECKPOINT)
    flow = shipped.flow()
    x = torch.cat([clip_windows(clip, shipped.spec, frame_rate_hz=15.0).tensor for clip in clips])
    with torch.no_grad():
        error = (flow.inverse(flow(x)[0]) - x).abs().flatten(1).amax(dim=1)
    assert (error <= 1e-5 * x.abs().flatten(1).amax(dim=1)).all()


def test_on_poselift_online_scores_are_worse_than_offline_ones_but_not_useless(test_data: Path) -> None:
    root = test_data / "poselift"
    clips, masks = read_split(root / "pose" / "test"), read_masks(root / "gt" / "test_frame_mask")
    scorer = Scorer(Checkpoint.load(DEFAULT_CHECKPOINT))
    result = evaluate_online(scorer.nll, clips, masks, scorer.spec, frame_rate_hz=15.0)
    assert result.conditional_frames == 2599
    assert 0.5 < result.conditional.auc_roc < 0.6
    assert 0.5 < result.published.auc_roc < 0.6


def test_online_a_frame_knows_only_what_ended_before_it() -> None:
    clip = clip_of({1: range(0, 12)})
    masks = {"01_1": np.array([0] * 8 + [1] * 12)}

    def nll(tensor: torch.Tensor) -> np.ndarray:
        return np.arange(1.0, 1 + len(tensor))

    # Windows end at frames 7 to 11; the last one is held for half a second, 7 frames. The unscored first seven frames
    # and the last one are filled with the lowest score, which is that of frame 7.
    online = evaluate_online(nll, [clip], masks, SPEC, frame_rate_hz=15.0, tau_s=0.0)
    assert online.conditional_frames == 12
    assert online.conditional.auc_roc == 1.0
    assert online.published.auc_roc == pytest.approx((11 + 0.5) / 12)
    with pytest.raises(ValueError, match="no frame of the split has a score"):
        evaluate_online(nll, [clip_of({1: range(5)})], masks, SPEC, frame_rate_hz=15.0)


def test_perfect_and_useless_scores_are_judged_so() -> None:
    labels = np.array([0, 0, 1, 1])
    perfect = frame_metrics(labels, np.array([0.1, 0.2, 0.8, 0.9]))
    assert (perfect.auc_roc, perfect.auc_pr, perfect.eer) == (1.0, 1.0, 0.0)
    assert frame_metrics(labels, np.ones(4)).auc_roc == 0.5
    assert equal_error_rate(np.array([0, 1, 0, 1]), np.array([0.1, 0.2, 0.3, 0.4])) == 0.5


def test_a_windows_score_goes_to_its_middle_frame_and_the_highest_person_counts() -> None:
    clip = clip_of({1: range(0, 12), 2: range(2, 10)})

    def nll(tensor: torch.Tensor) -> np.ndarray:
        return np.arange(len(tensor), dtype=np.float64)

    scores = middle_frame_scores(clip, 14, nll, SPEC, frame_rate_hz=15.0, slicing="grid")
    # Person 1 has windows from frames 0 to 4, with middles 4 to 8; person 2 one from frame 2 with its middle at 6.
    np.testing.assert_array_equal(scores, [np.nan] * 4 + [0, 1, 5, 3, 4] + [np.nan] * 5)
    cut = middle_frame_scores(clip, 6, nll, SPEC, frame_rate_hz=15.0, slicing="grid")
    np.testing.assert_array_equal(cut, [np.nan] * 4 + [0, 1])


def test_frames_without_a_score_are_filled_as_most_normal_and_clips_smoothed_apart() -> None:
    raw = [np.array([np.nan, 2.0, np.nan, 5.0]), np.full(3, np.nan)]
    filled = np.array([2.0, 2.0, 2.0, 5.0])
    for deviation in range(1, 7):
        filled = gaussian_filter1d(filled, deviation)
    first, second = fill_and_smooth(raw)
    np.testing.assert_allclose(first, filled)
    np.testing.assert_allclose(second, 2.0)
    with pytest.raises(ValueError, match="no frame of the split has a score"):
        fill_and_smooth(raw[1:])


def test_people_are_counted_in_every_frame_of_the_mask() -> None:
    clip = clip_of({1: range(0, 3), 2: range(2, 9)})
    masks = {"01_1": np.zeros(5, np.int64), "01_2": np.zeros(2, np.int64)}
    counts = people_counts([clip, PoseClip("01_2", ())], masks)
    assert counts.tolist() == [1, 1, 2, 1, 1, 0, 0]


def test_clips_and_masks_that_do_not_match_are_named() -> None:
    with pytest.raises(DatasetError, match="without a mask, or masks without a clip: 01_1, 09_9"):
        people_counts([clip_of({1: range(3)})], {"09_9": np.zeros(3, np.int64)})
