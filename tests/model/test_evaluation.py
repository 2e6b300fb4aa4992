from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from model.dataset import DatasetError, PersonTrack, PoseClip, clip_windows, read_masks, read_split
from model.evaluation import (
    PEOPLE_COUNT,
    PRESENCE,
    Assignment,
    ClipScores,
    WindowFootageScorer,
    common_frames,
    fill_and_smooth,
    judge,
    middle_frame_scores,
    people_counts,
    score_split,
    smooth_scored,
)
from model.metrics import frame_metrics
from model.reports import Report
from pose.windows import Windows, WindowSpec
from tests.model.skeletons import swaying

SPEC = WindowSpec(length=8, rate_hz=15.0)


def clip_of(people: Mapping[int, range], name: str = "01_1") -> PoseClip:
    tracks = [
        PersonTrack(person, np.array(frames), torch.from_numpy(swaying(len(frames), person)).float())
        for person, frames in people.items()
    ]
    return PoseClip(name, tuple(tracks))


def numbered(windows: Windows) -> NDArray[np.float64]:
    """A score that names the window."""
    return np.arange(1.0, 1 + len(windows))


def scores_of(name: str, offline: list[float], tracks: Mapping[int, list[float]] | None = None) -> ClipScores:
    series = {track: np.array(values, np.float64) for track, values in (tracks or {}).items()}
    return ClipScores(name, np.array(offline, np.float64), np.array(offline, np.float64), series)


def gaussian_filters(series: NDArray[np.float64]) -> NDArray[np.float64]:
    for deviation in range(1, 7):
        series = gaussian_filter1d(series, deviation)
    return series


def random_split(seed: int, clips: int = 6, frames: int = 60) -> tuple[list[ClipScores], dict[str, np.ndarray]]:
    """Two people a clip, one of them seldom scored; anomalous frames score higher by one deviation."""
    rng = np.random.default_rng(seed)
    scores, labels = [], {}
    for index in range(clips):
        name = f"01_{index}"
        labels[name] = (np.arange(frames) // 15 % 2 == index % 2).astype(np.int64)
        tracks = {person: rng.normal(size=frames) + labels[name] for person in (1, 2)}
        for person, share in ((1, 0.2), (2, 0.7)):
            tracks[person][rng.random(frames) < share] = np.nan
        online = np.fmax(tracks[1], tracks[2])
        scores.append(ClipScores(name, online.copy(), online, tracks))
    return scores, labels


@cache
def poselift(root: Path) -> tuple[list[PoseClip], dict[str, np.ndarray]]:
    return read_split(root / "poselift" / "pose" / "test"), read_masks(root / "poselift" / "gt" / "test_frame_mask")


@pytest.fixture(scope="module")
def shipped() -> Checkpoint:
    return Checkpoint.load(DEFAULT_CHECKPOINT)


def test_on_poselift_the_pose_alone_has_the_known_figures(test_data: Path, shipped: Checkpoint) -> None:
    clips, labels = poselift(test_data)
    scorer = WindowFootageScorer.of_checkpoint("DA-Flow", shipped.pose_alone())
    scores = score_split(scorer, clips, labels, frame_rate_hz=15.0)
    report = judge(scores, labels, frame_rate_hz=15.0, replicates=100)
    assert (report.clips, report.frames, report.anomalous_frames) == (47, 4846, 1534)
    assert report.hours == pytest.approx(4846 / 15 / 3600)
    assert report.published.micro.auc_roc == pytest.approx(0.7698, abs=5e-5)
    assert report.conditional is not None
    assert report.conditional.frames == 3343
    assert report.conditional.micro.auc_roc == pytest.approx(0.6872, abs=5e-5)
    assert report.online_published.micro.auc_roc == pytest.approx(0.7527, abs=5e-5)
    assert report.online_conditional is not None
    assert report.online_conditional.frames == 3398
    assert report.online_conditional.micro.auc_roc == pytest.approx(0.6673, abs=5e-5)
    assert [point.allowed for point in report.online_events.points] == [0, 0, 0]
    # Where the middles of windows are says more of PoseLift's events, clip by clip, than their scores do.
    assert report.published.macro_auc_roc == pytest.approx(0.7056, abs=5e-5)
    assert report.coverage.macro_auc_roc == pytest.approx(0.8228, abs=5e-5)
    for frames in (report.published, report.conditional, report.online_published, report.online_conditional):
        assert frames.micro_interval is not None
        assert frames.micro_interval.low < frames.micro.auc_roc < frames.micro_interval.high


def test_on_poselift_motion_and_pairs_have_the_known_figures(test_data: Path, shipped: Checkpoint) -> None:
    clips, labels = poselift(test_data)
    scorer = WindowFootageScorer.of_checkpoint("DA-Flow", shipped)
    scores = score_split(scorer, clips, labels, frame_rate_hz=15.0)
    report = judge(scores, labels, frame_rate_hz=15.0, replicates=0)
    assert report.conditional is not None
    assert report.conditional.frames == 3343
    assert report.published.micro.auc_roc == pytest.approx(0.7203, abs=5e-5)
    assert report.conditional.micro.auc_roc == pytest.approx(0.6025, abs=5e-5)


def test_on_poselift_windows_cut_as_published_score_the_known_frames(test_data: Path, shipped: Checkpoint) -> None:
    clips, labels = poselift(test_data)
    scorer = WindowFootageScorer.of_checkpoint("DA-Flow", shipped.pose_alone(), slicing="published")
    scores = score_split(scorer, clips, labels, frame_rate_hz=15.0)
    report = judge(scores, labels, frame_rate_hz=15.0, replicates=0)
    assert report.conditional is not None
    assert report.conditional.frames == 3306
    assert report.published.micro.auc_roc == pytest.approx(0.7720, abs=5e-5)
    assert report.conditional.micro.auc_roc == pytest.approx(0.6901, abs=5e-5)


def test_on_poselift_the_count_of_people_has_the_known_figure(test_data: Path) -> None:
    clips, labels = poselift(test_data)
    scores = score_split(PEOPLE_COUNT, clips, labels, frame_rate_hz=15.0)
    report = judge(scores, labels, frame_rate_hz=15.0, replicates=0)
    assert report.conditional is not None
    assert report.conditional.frames == 4846
    assert report.conditional.micro.auc_roc == pytest.approx(0.7304, abs=5e-5)
    assert report.conditional.micro_interval is None


def test_on_poselift_the_inverse_is_within_2e_5_of_a_windows_extent_in_single_precision(
    test_data: Path, shipped: Checkpoint
) -> None:
    clips, _ = poselift(test_data)
    flow = shipped.flow()
    x = torch.cat([clip_windows(clip, shipped.spec, frame_rate_hz=15.0).tensor for clip in clips])
    with torch.no_grad():
        error = (flow.inverse(flow(x)[0]) - x).abs().flatten(1).amax(dim=1)
    assert (error <= 2e-5 * x.abs().flatten(1).amax(dim=1)).all()


def test_an_online_score_uses_only_windows_that_ended_before_the_frame() -> None:
    labels = {"01_1": np.array([0] * 8 + [1] * 12)}
    scorer = WindowFootageScorer("numbers", numbered, SPEC, tau_s=0.0)
    # Windows end at frames 7 to 11; the last one is held for half a second, 7 frames. The unscored first seven frames
    # and the last one are filled with the lowest score, which is that of frame 7.
    scores = score_split(scorer, [clip_of({1: range(12)})], labels, frame_rate_hz=15.0)
    np.testing.assert_array_equal(scores[0].online, [np.nan] * 7 + [1, 2, 3, 4] + [5] * 8 + [np.nan])
    report = judge(scores, labels, frame_rate_hz=15.0, replicates=0)
    assert report.online_conditional is not None
    assert report.online_conditional.frames == 12
    assert report.online_conditional.micro.auc_roc == 1.0
    assert report.online_published.micro.auc_roc == pytest.approx((11 + 0.5) / 12)


@pytest.mark.parametrize(
    ("assignment", "first", "second"),
    [
        ("middle", [np.nan] * 4 + [1, 2, 3, 4, 5] + [np.nan] * 5, [np.nan] * 6 + [6] + [np.nan] * 7),
        ("covering", [1] * 5 + [2, 3, 4] + [5] * 4 + [np.nan] * 2, [np.nan] * 2 + [6] * 8 + [np.nan] * 4),
    ],
)
def test_a_window_scores_its_middle_frame_or_the_frames_it_covers(
    assignment: Assignment, first: list[float], second: list[float]
) -> None:
    # Person 1 has windows from frames 0 to 4, with middles 4 to 8; person 2 one from frame 2 with its middle at 6.
    clip = clip_of({1: range(12), 2: range(2, 10)})
    scores = WindowFootageScorer("numbers", numbered, SPEC, assignment=assignment).score_clip(clip, 14, 15.0)
    np.testing.assert_array_equal(scores.tracks[1], first)
    np.testing.assert_array_equal(scores.tracks[2], second)
    np.testing.assert_array_equal(scores.offline, np.fmax(first, second))
    cut = WindowFootageScorer("numbers", numbered, SPEC, assignment=assignment).score_clip(clip, 6, 15.0)
    np.testing.assert_array_equal(cut.tracks[1], first[:6])
    assert cut.online.shape == (6,)


def test_where_windows_share_a_middle_the_highest_counts() -> None:
    ends, values = np.array([7, 7, 8]) / 15, np.array([1.0, 3.0, np.nan])
    np.testing.assert_array_equal(
        middle_frame_scores(6, ends, values, SPEC, frame_rate_hz=15.0), [np.nan] * 4 + [3.0, np.nan]
    )


def test_a_clip_without_windows_has_no_scores_and_asks_for_none() -> None:
    def refuses(windows: Windows) -> NDArray[np.float64]:
        raise AssertionError("there is nothing to score")

    scorer = WindowFootageScorer("refuses", refuses, SPEC, slicing="published")
    for clip in (PoseClip("01_1", ()), clip_of({1: range(5)})):
        scores = scorer.score_clip(clip, 9, 15.0)
        assert np.isnan(scores.offline).all()
        assert np.isnan(scores.online).all()
        assert not scores.tracks
    with pytest.raises(ValueError, match="wrong: expected a score for each of 5 windows"):
        WindowFootageScorer("wrong", lambda _: np.zeros(2), SPEC).score_clip(clip_of({1: range(12)}), 12, 15.0)


def test_people_are_counted_in_every_frame() -> None:
    clip = clip_of({1: range(3), 2: range(2, 9)})
    assert people_counts(clip, 5).tolist() == [1, 1, 2, 1, 1]
    assert people_counts(PoseClip("01_2", ()), 2).tolist() == [0, 0]
    count, presence = PEOPLE_COUNT.score_clip(clip, 12, 15.0), PRESENCE.score_clip(clip, 12, 15.0)
    assert count.offline.tolist() == [1, 1, 2, 1, 1, 1, 1, 1, 1, 0, 0, 0]
    assert presence.offline.tolist() == [1] * 9 + [0] * 3
    np.testing.assert_array_equal(count.tracks[1], [1, 1, 2] + [np.nan] * 9)
    np.testing.assert_array_equal(presence.tracks[2], [np.nan] * 2 + [1] * 7 + [np.nan] * 3)
    assert (np.diff(presence.online[8:]) < 0).all()


def test_frames_without_a_score_are_filled_as_most_normal_and_clips_smoothed_apart() -> None:
    raw = [np.array([np.nan, 2.0, np.nan, 5.0]), np.full(3, np.nan), np.empty(0)]
    filled = gaussian_filters(np.array([2.0, 2.0, 2.0, 5.0]))
    first, second, third = fill_and_smooth(raw)
    np.testing.assert_allclose(first, filled)
    np.testing.assert_allclose(second, 2.0)
    assert not len(third)
    with pytest.raises(ValueError, match="no frame of the split has a score"):
        fill_and_smooth(raw[1:])


@given(st.lists(st.one_of(st.none(), st.floats(-5, 5)), max_size=60))
def test_smoothing_of_scored_frames_fills_nothing_and_stays_within_the_scores(values: list[float | None]) -> None:
    series = np.array([np.nan if value is None else value for value in values], np.float64)
    smoothed = smooth_scored(series)
    np.testing.assert_array_equal(np.isnan(smoothed), np.isnan(series))
    known = series[~np.isnan(series)]
    if len(known):
        assert known.min() - 1e-9 <= np.nanmin(smoothed) <= np.nanmax(smoothed) <= known.max() + 1e-9
    if len(known) == len(series) and len(series):
        np.testing.assert_allclose(smoothed, fill_and_smooth([series])[0])


def test_a_report_has_every_figure_and_survives_json() -> None:
    scores, labels = random_split(0)
    common = {name: ~np.isnan(clip.tracks[1]) for name, clip in zip(labels, scores, strict=True)}
    report = judge(scores, labels, frame_rate_hz=15.0, common=common, replicates=200, seed=1)
    assert (report.clips, report.frames, report.anomalous_frames, report.hours) == (6, 360, 180, 360 / 15 / 3600)
    assert report.conditional is not None
    assert report.common is not None
    assert report.common.frames == sum(int(mask.sum()) for mask in common.values()) < report.conditional.frames
    scored = [gaussian_filters(np.isfinite(clip.offline).astype(np.float64)) for clip in scores]
    assert report.coverage.micro == frame_metrics(np.concatenate(list(labels.values())), np.concatenate(scored))
    raw, truth = np.concatenate([clip.offline for clip in scores]), np.concatenate(list(labels.values()))
    assert report.conditional.micro == frame_metrics(truth[~np.isnan(raw)], raw[~np.isnan(raw)])
    assert report.conditional.macro_clips == 6
    assert report.conditional.macro_interval is not None
    assert report.conditional.macro_auc_roc is not None
    assert (
        report.conditional.macro_interval.low
        < report.conditional.macro_auc_roc
        < report.conditional.macro_interval.high
    )
    assert report.events.events == report.online_events.events == 12
    assert report.clip_level is None  # every clip has an anomalous frame
    assert Report.from_dict(json.loads(json.dumps(report.to_dict(), allow_nan=False))) == report
    assert judge(scores, labels, frame_rate_hz=15.0, common=common, replicates=200, seed=1) == report


@settings(max_examples=5)
@given(st.integers(0, 100), st.floats(0.1, 10), st.floats(-5, 5))
def test_the_unit_of_the_scores_does_not_matter(seed: int, factor: float, offset: float) -> None:
    scores, labels = random_split(seed)
    moved = [
        ClipScores(
            clip.name,
            clip.offline * factor + offset,
            clip.online * factor + offset,
            {track: series * factor + offset for track, series in clip.tracks.items()},
        )
        for clip in scores
    ]
    first, second = (judge(each, labels, frame_rate_hz=15.0, replicates=0) for each in (scores, moved))
    assert first.conditional is not None
    assert second.conditional is not None
    assert first.published.micro.auc_roc == pytest.approx(second.published.micro.auc_roc, abs=1e-4)
    assert first.conditional.micro.auc_roc == pytest.approx(second.conditional.micro.auc_roc, abs=1e-4)
    assert first.online_events.points[0].recall == second.online_events.points[0].recall


def test_frames_that_are_not_judged_are_dropped_before_anything_is_smoothed() -> None:
    scores, labels = random_split(1)
    judged = {name: np.random.default_rng(5).random(60) < 0.6 for name in labels}
    report = judge(scores, labels, frame_rate_hz=15.0, judged=judged, replicates=50)
    kept = [
        ClipScores(
            clip.name,
            clip.offline[judged[clip.name]],
            clip.online[judged[clip.name]],
            {track: series[judged[clip.name]] for track, series in clip.tracks.items()},
        )
        for clip in scores
    ]
    alone = judge(kept, {n: y[judged[n]] for n, y in labels.items()}, frame_rate_hz=15.0, replicates=50)
    for name in ("frames", "hours", "published", "conditional", "conditional_smoothed", "online_published"):
        assert getattr(report, name) == getattr(alone, name)
    assert (report.tracks_highest, report.tracks_mean) == (alone.tracks_highest, alone.tracks_mean)


def test_a_frame_that_is_not_judged_raises_no_alarm_and_belongs_to_no_event() -> None:
    labels = {"01_1": np.array([0, 0, 0, 0, 0, 1, 1, 1, 0, 0])}
    scores = [scores_of("01_1", [9, 0, 0, 0, 0, 5, 0, 5, 0, 0])]
    hidden = {"01_1": np.array([False, *[True] * 5, False, *[True] * 3])}
    report = judge(scores, labels, frame_rate_hz=2.0, judged=hidden, replicates=0)
    assert report.online_events.events == 2
    point = report.online_events.points[0]
    assert (point.threshold, point.false_alarms, point.recall) == (0.0, 0, 1.0)
    seen = judge(scores, labels, frame_rate_hz=2.0, replicates=0).online_events.points[0]
    assert (seen.threshold, seen.recall) == (None, 0.0)


def test_a_clip_may_lose_all_its_frames_to_the_mask() -> None:
    scores, labels = random_split(2)
    judged = {name: np.full(60, name != "01_3") for name in labels}
    assert judge(scores, labels, frame_rate_hz=15.0, judged=judged, replicates=20).frames == 300


def test_people_and_clips_have_one_label_and_one_score_each() -> None:
    nan = np.nan
    labels = {"01_1": np.array([0, 0, 1, 1]), "01_2": np.array([0, 0, 0, 0])}
    scores = [
        scores_of("01_1", [1, 1, 8, 2], {1: [nan, 1, 8, 2], 2: [1, nan, nan, 1], 3: [nan] * 4}),
        scores_of("01_2", [3, 3, 3, 3], {1: [3, 3, 3, 3]}),
    ]
    report = judge(scores, labels, frame_rate_hz=15.0, replicates=0)
    # Person 1 is anomalous in two of three frames, person 2 in one of two, which is no majority; person 3 has no score.
    # Person 1 beats both others by the mean, 11/3 against 1 and 3.
    assert report.tracks_mean is not None
    assert (report.tracks_mean.units, report.tracks_mean.anomalous, report.tracks_mean.auc_roc) == (3, 1, 1.0)
    assert report.tracks_highest is not None
    assert report.tracks_highest.auc_roc == 1.0
    assert report.clip_level is not None
    assert (report.clip_level.units, report.clip_level.anomalous, report.clip_level.auc_roc) == (2, 1, 1.0)


def test_common_frames_are_those_that_every_scorer_scores() -> None:
    first, second = [scores_of("a", [1, np.nan, 1])], [scores_of("a", [np.nan, 2, 2])]
    assert common_frames([first, second])["a"].tolist() == [False, False, True]
    assert common_frames([first])["a"].tolist() == [True, False, True]


def test_splits_that_cannot_be_judged_are_refused_with_the_reason() -> None:
    labels = {"a": np.array([0, 1, 0])}
    good = scores_of("a", [1, 2, np.nan])
    everywhere = {"a": np.ones(3, bool)}
    with pytest.raises(DatasetError, match="without a mask, or masks without a clip: a, b"):
        judge([scores_of("b", [1, 2, 3])], labels, frame_rate_hz=15.0)
    with pytest.raises(DatasetError, match="2 clips have only 1 different names"):
        judge([good, good], labels, frame_rate_hz=15.0)
    with pytest.raises(DatasetError, match="01_1, 09_9"):
        score_split(PRESENCE, [clip_of({1: range(3)})], {"09_9": np.zeros(3, np.int64)}, frame_rate_hz=15.0)
    with pytest.raises(ValueError, match="clip a: 3 frames have labels, but scores have shape"):
        judge([scores_of("a", [1, 2])], labels, frame_rate_hz=15.0)
    with pytest.raises(ValueError, match="clip a: 3 labels, but a mask of shape"):
        judge([good], labels, frame_rate_hz=15.0, judged={"a": np.ones(2, bool)})
    with pytest.raises(ValueError, match="clip a: a score is infinite"):
        judge([scores_of("a", [1, np.inf, 2])], labels, frame_rate_hz=15.0)
    with pytest.raises(ValueError, match="clip a: 1 of the common frames have no score"):
        judge([good], labels, frame_rate_hz=15.0, common=everywhere)
    with pytest.raises(ValueError, match="all normal or all anomalous"):
        judge([good], {"a": np.zeros(3, np.int64)}, frame_rate_hz=15.0)
    with pytest.raises(ValueError, match="no frame of the split has a score"):
        judge([scores_of("a", [np.nan] * 3)], labels, frame_rate_hz=15.0)
