from __future__ import annotations

import csv
import itertools
import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from model.metrics import (
    EventMetrics,
    MacroAUC,
    MicroAUC,
    alarm_sweep,
    auc_roc,
    bootstrap_by_clip,
    detection_delays,
    equal_error_rate,
    event_f1,
    event_metrics,
    frame_metrics,
    overlaps,
    segments,
)

Clip = tuple[NDArray[np.int64], NDArray[np.float64]]

small_clips = st.lists(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), max_size=12), min_size=1, max_size=6
).map(lambda clips: [arrays(clip) for clip in clips])


def arrays(frames: list[tuple[int, int]]) -> Clip:
    return np.array([f[0] for f in frames], np.int64), np.array([f[1] for f in frames], np.float64)


def random_clips(seed: int, clips: int = 12, frames: int = 80, shift: float = 0.7) -> list[Clip]:
    rng = np.random.default_rng(seed)
    labels = [(rng.random(frames) < rng.uniform(0, 0.6)).astype(np.int64) for _ in range(clips)]
    return [(label, rng.normal(size=frames) + shift * label + rng.normal(0, 0.5)) for label in labels]


def pooled(clips: list[Clip]) -> Clip:
    return np.concatenate([clip[0] for clip in clips]), np.concatenate([clip[1] for clip in clips])


def mask(text: str) -> NDArray[np.bool_]:
    return np.array([letter != "." for letter in text])


def spans(text: str) -> NDArray[np.int64]:
    return segments(mask(text))


def test_the_golden_file_is_reproduced(test_data: Path) -> None:
    with (test_data / "golden" / "poselift-stgnf-frame-scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    labels = np.array([int(row["gt"]) for row in rows])
    anomaly = np.array([float(row["anomaly"]) for row in rows])
    metrics = frame_metrics(labels, anomaly)
    assert metrics.auc_roc == pytest.approx(0.685649, abs=1e-6)
    assert metrics.auc_pr == pytest.approx(0.420695, abs=1e-6)
    assert metrics.eer == pytest.approx(0.343902, abs=1e-6)
    assert auc_roc(labels, anomaly) == pytest.approx(metrics.auc_roc, abs=1e-12)


def test_perfect_scores_and_useless_ones_get_the_figures_they_should() -> None:
    labels = np.array([0, 0, 1, 1])
    perfect = frame_metrics(labels, np.array([0.1, 0.2, 0.8, 0.9]))
    assert (perfect.auc_roc, perfect.auc_pr, perfect.eer) == (1.0, 1.0, 0.0)
    assert frame_metrics(labels, np.ones(4)).auc_roc == 0.5
    assert equal_error_rate(np.array([0, 1, 0, 1]), np.array([0.1, 0.2, 0.3, 0.4])) == 0.5
    with pytest.raises(ValueError, match="0 of 4 frames are anomalous"):
        frame_metrics(np.zeros(4, np.int64), np.ones(4))


@given(small_clips)
def test_rank_auc_equals_scikit_learns_and_is_nan_without_both_classes(clips: list[Clip]) -> None:
    labels, anomaly = pooled(clips)
    micro = MicroAUC(clips)(np.ones(len(clips), np.int64))
    if 0 < labels.sum() < len(labels):
        assert micro == pytest.approx(roc_auc_score(labels, anomaly), abs=1e-12)
    else:
        assert math.isnan(micro)
        assert math.isnan(auc_roc(labels, anomaly))


@given(small_clips, st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_a_sample_of_clips_has_the_figures_of_its_clips_side_by_side(clips: list[Clip], times: list[int]) -> None:
    counts = np.array(times[: len(clips)])
    sample = [clip for clip, n in zip(clips, counts, strict=True) for _ in range(n)]
    each = [value for clip in sample if not math.isnan(value := auc_roc(*clip))]
    macro = MacroAUC(clips)
    assert macro.clips == sum(0 < clip[0].sum() < len(clip[0]) for clip in clips)
    np.testing.assert_allclose(macro(counts), np.mean(each) if each else np.nan)
    labels, anomaly = pooled(sample) if sample else (np.empty(0, np.int64), np.empty(0))
    np.testing.assert_allclose(MicroAUC(clips)(counts), auc_roc(labels, anomaly))


@given(small_clips)
def test_increasing_maps_of_the_scores_change_no_rank_figure(clips: list[Clip]) -> None:
    mapped = [(labels, np.exp(anomaly) - 7) for labels, anomaly in clips]
    ones = np.ones(len(clips), np.int64)
    np.testing.assert_equal(MicroAUC(mapped)(ones), MicroAUC(clips)(ones))
    np.testing.assert_equal(MacroAUC(mapped)(ones), MacroAUC(clips)(ones))


def test_macro_is_the_mean_of_the_clips_with_both_classes() -> None:
    clips = [arrays([(0, 1), (1, 2)]), arrays([(0, 2), (1, 1), (0, 0)]), arrays([(0, 9), (0, 8)])]
    macro = MacroAUC(clips)
    assert (macro.clips, macro(np.ones(3, np.int64))) == (2, 0.75)
    assert math.isnan(macro(np.array([0, 0, 3])))


@pytest.mark.parametrize("seed", range(5))
def test_an_interval_holds_the_estimate_and_is_decided_by_the_seed(seed: int) -> None:
    clips = random_clips(seed)
    micro = MicroAUC(clips)
    interval = bootstrap_by_clip(micro, len(clips), replicates=500, seed=seed)
    assert interval is not None
    assert interval.low < micro(np.ones(len(clips), np.int64)) < interval.high
    assert interval == bootstrap_by_clip(micro, len(clips), replicates=500, seed=seed)
    assert interval != bootstrap_by_clip(micro, len(clips), replicates=500, seed=seed + 1)
    narrower = bootstrap_by_clip(micro, len(clips), replicates=500, seed=seed, level=0.5)
    assert narrower is not None
    assert interval.low < narrower.low < narrower.high < interval.high


def test_an_interval_is_that_of_the_clips_drawn_one_by_one() -> None:
    clips = random_clips(3)
    counts = np.random.default_rng(7).multinomial(12, np.full(12, 1 / 12), size=60)
    aucs = []
    for times in counts:
        labels, anomaly = pooled([clip for clip, n in zip(clips, times, strict=True) for _ in range(n)])
        aucs.append(roc_auc_score(labels, anomaly))
    interval = bootstrap_by_clip(MicroAUC(clips), 12, replicates=60, seed=7)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(aucs, [0.025, 0.975])))


def test_a_difference_of_two_scorers_is_drawn_on_the_same_clips() -> None:
    better, worse = random_clips(0), random_clips(0, shift=0.2)
    first, second, doubled = MicroAUC(better), MicroAUC(worse), MicroAUC([(y, 2 * x) for y, x in better])
    difference = bootstrap_by_clip(lambda counts: first(counts) - second(counts), 12, replicates=300, seed=0)
    nothing = bootstrap_by_clip(lambda counts: first(counts) - doubled(counts), 12, replicates=300, seed=0)
    alone = bootstrap_by_clip(first, 12, replicates=300, seed=0)
    assert difference is not None
    assert nothing is not None
    assert alone is not None
    assert 0 < difference.low < difference.high
    assert difference.high - difference.low < alone.high - alone.low
    assert (nothing.low, nothing.high) == (0.0, 0.0)


def test_samples_with_one_class_are_left_out() -> None:
    clips = [arrays([(0, 1), (0, 2)]), arrays([(1, 3), (1, 0)])]
    interval = bootstrap_by_clip(MicroAUC(clips), 2, replicates=200, seed=0)
    assert interval is not None
    assert 60 < interval.replicates < 140
    assert (interval.low, interval.high) == (0.5, 0.5)
    assert bootstrap_by_clip(MicroAUC(clips[:1]), 1, replicates=20, seed=0) is None
    with pytest.raises(ValueError, match="0 clips"):
        bootstrap_by_clip(MicroAUC([]), 0, replicates=20, seed=0)


@pytest.mark.parametrize(
    ("text", "gap", "expected"),
    [
        ("", 3, []),
        ("....", 3, []),
        ("##..#", 1, [[0, 2], [4, 5]]),
        ("##..#", 2, [[0, 2], [4, 5]]),
        ("##..#", 3, [[0, 5]]),
        (".#..#...#", 3, [[1, 5], [8, 9]]),
    ],
)
def test_runs_nearer_than_the_gap_are_one(text: str, gap: int, expected: list[list[int]]) -> None:
    assert segments(mask(text), gap).tolist() == expected


def test_iou_is_shared_frames_over_all_frames() -> None:
    predicted, events = spans("####.....##.#"), spans("..####.###...")
    own, others, iou = overlaps(predicted, events)
    assert (own.tolist(), others.tolist()) == ([0, 1], [0, 1])
    assert iou.tolist() == [2 / 6, 1 / 4]


flags = st.lists(st.booleans(), min_size=20, max_size=20).map(lambda values: segments(np.array(values)))


@given(flags, flags)
def test_overlaps_are_those_of_the_sets_of_frames(predicted: np.ndarray, events: np.ndarray) -> None:
    sets = [[set(range(*segment)) for segment in each.tolist()] for each in (predicted, events)]
    expected = [(i, j, len(p & e) / len(p | e)) for i, p in enumerate(sets[0]) for j, e in enumerate(sets[1]) if p & e]
    assert list(zip(*(column.tolist() for column in overlaps(predicted, events)), strict=True)) == expected


@given(flags, flags, st.sampled_from([0.2, 0.5]))
def test_f1_matches_as_many_pairs_as_can_be(predicted: np.ndarray, events: np.ndarray, min_iou: float) -> None:
    own, others, iou = overlaps(predicted, events)
    pairs = [(p, e) for p, e, value in zip(own, others, iou, strict=True) if value >= min_iou]
    most = max(
        (
            size
            for size in range(len(pairs) + 1)
            for chosen in itertools.combinations(pairs, size)
            if len({p for p, _ in chosen}) == len({e for _, e in chosen}) == size
        ),
    )
    total = len(predicted) + len(events)
    assert event_f1(predicted, events, min_iou) == (2 * most / total if total else 1.0)


def test_f1_by_hand() -> None:
    # IoU 2/6 and 1/4 with the two events, and a third segment for nothing: two matches of 3 + 2 at 0.2, none at 0.5.
    predicted, events = spans("####.....##.#"), spans("..####.###...")
    assert event_f1(predicted, events, 0.2) == 4 / 5
    assert event_f1(predicted, events, 0.5) == 0.0
    # One long alarm over two events is one match.
    assert event_f1(spans("#########"), spans("####.####"), 0.2) == 2 / 3
    assert event_f1(spans("...."), spans("...."), 0.5) == 1.0
    assert event_f1(spans("...."), spans(".#.."), 0.5) == 0.0


def test_a_delay_runs_from_the_onset_to_the_first_alarm() -> None:
    events = spans("..####...####...##")
    assert detection_delays(spans("....#.#....#.#...."), events).tolist() == [2, 2]
    assert detection_delays(spans("###.#............."), events).tolist() == [0]
    assert detection_delays(spans(".................."), events).tolist() == []


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.one_of(st.none(), st.integers(0, 6))), min_size=1, max_size=30),
    st.integers(1, 5),
)
def test_a_sweep_counts_as_one_threshold_at_a_time_does(frames: list[tuple[int, int | None]], gap: int) -> None:
    labels = np.array([label for label, _ in frames])
    anomaly = np.array([np.nan if value is None else value for _, value in frames], np.float64)
    sweep = alarm_sweep(labels, anomaly, gap)
    assert sweep.thresholds.tolist() == sorted({v for _, v in frames if v is not None}, reverse=True)
    events = [set(range(*event)) for event in segments(labels == 1).tolist()]
    for threshold, false_alarms, detected in zip(sweep.thresholds, sweep.false_alarms, sweep.detected, strict=True):
        alarms = [set(range(*alarm)) for alarm in segments(anomaly >= threshold, gap).tolist()]
        assert false_alarms == sum(not any(alarm & event for event in events) for alarm in alarms)
        assert detected == sum(any(alarm & event for alarm in alarms) for event in events)


def test_the_threshold_is_the_last_before_false_alarms_are_too_many() -> None:
    labels = np.array([0, 0, 0, 1, 1, 0, 0, 0])
    anomaly = np.array([5, 0, 4, 3, 0, 0, 6, 1.0])
    sweep = alarm_sweep(labels, anomaly, gap=1)
    # At 3 the second false alarm grows into the event; at 0 everything is one alarm that meets it.
    assert sweep.thresholds.tolist() == [6, 5, 4, 3, 1, 0]
    assert sweep.false_alarms.tolist() == [1, 2, 3, 2, 2, 0]
    assert [sweep.threshold(allowed) for allowed in (0, 1, 2, 3)] == [None, 6, 5, 0]


def test_events_by_hand() -> None:
    # Two clips at one frame a second and no merging. Alarms: at 9 frame 4 of the first clip, two seconds late; at 8 one
    # false alarm in the second; at 7 both frames of its event.
    labels = [np.array([0, 0, 1, 1, 1, 0, 0, 0, 0, 0]), np.array([0, 0, 0, 0, 0, 0, 1, 1, 0, 0])]
    anomaly = [np.array([0, 0, 0, 0, 9, 0, 0, 0, 0, np.nan]), np.array([0, 8, 0, 0, 0, 0, 7, 7, 0, 0.0])]
    result = event_metrics(labels, anomaly, frame_rate_hz=1.0, hours=0.2, gap_s=0.0)
    assert (result.events, result.hours) == (2, 0.2)
    none, one, two = result.points
    assert (none.allowed, none.threshold, none.false_alarms, none.detected, none.recall) == (0, 9.0, 0, 1, 0.5)
    assert (none.median_delay_s, none.alarm_share) == (2.0, 1 / 720)
    assert (none.f1_20, none.f1_50) == (2 / 3, 0.0)
    assert one.allowed == 1
    assert (one.threshold, one.false_alarms, one.recall) == (0.0, 0, 1.0)  # 0 joins everything, one alarm a clip
    assert two.allowed == 2
    # At 0 the alarms have an IoU of 3/9 and 2/10 with the events; at 7 one of three alarms is the second event.
    assert (result.best_f1_20, result.best_f1_50) == (1.0, 2 / 5)
    assert result.at(5.0) is one
    assert EventMetrics.from_dict(json.loads(json.dumps(asdict(result)))) == result


def test_alarms_of_two_clips_are_never_one_and_short_footage_allows_no_false_alarm() -> None:
    labels = [np.array([0, 0, 0]), np.array([0, 1, 0])]
    anomaly = [np.array([0, 0, 5.0]), np.array([5.0, 5.0, 0])]
    result = event_metrics(labels, anomaly, frame_rate_hz=1.0, hours=6 / 3600, gap_s=2.0)
    assert [point.allowed for point in result.points] == [0, 0, 0]
    assert all(
        point.threshold is None and point.recall == 0 and point.median_delay_s is None for point in result.points
    )
    assert event_metrics(labels, anomaly, frame_rate_hz=1.0, hours=1.0, gap_s=2.0).points[0].false_alarms == 1
    with pytest.raises(ValueError, match="no frame is anomalous"):
        event_metrics(labels[:1], anomaly[:1], frame_rate_hz=1.0, hours=1.0)
