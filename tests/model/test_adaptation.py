from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.research.calibration import Split, judged
from model.adaptation import (
    AdaptationSettings,
    FitCancelled,
    adapt_weights,
    calibrate,
    fit_camera,
    live_recording,
    time_blocks,
)
from model.calibration import CalibrationError
from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from model.dataset import read_split
from model.footage import PoseFootage, PoseTrack
from model.scorer import RawScorer, Scorer
from tests.model.skeletons import swaying

QUICK = AdaptationSettings(epochs=3, max_windows=300)
RULES = {"merge_s": 1.0, "min_duration_s": 0.2}


@pytest.fixture(scope="module")
def base() -> Checkpoint:
    return Checkpoint.load(DEFAULT_CHECKPOINT)


def footage_of(seconds: float, seed: int = 0, start: float = 500.0) -> PoseFootage:
    """Two people who sway all the time, as no person in the base's training data did."""
    times = start + np.arange(round(15 * seconds)) / 15
    people = (
        PoseTrack(person, times, torch.from_numpy(swaying(len(times), 9 * seed + person)).float()) for person in (1, 2)
    )
    return PoseFootage(times, tuple(people))


@pytest.fixture(scope="module")
def footage() -> list[PoseFootage]:
    return [footage_of(100, 1), footage_of(140, 2, start=900.0)]


def test_a_camera_gets_weights_of_its_own_if_they_find_its_footage_more_likely(
    base: Checkpoint, footage: list[PoseFootage]
) -> None:
    progress: list[float] = []
    fit = fit_camera(
        footage, base, false_alarms_per_day=1440.0, **RULES, adapt=True, settings=QUICK, on_progress=progress.append
    )
    assert fit.accepted
    assert fit.reason is not None
    assert fit.reason.startswith("adapted: ")
    assert fit.checkpoint is not None
    assert fit.before_nll is not None
    assert fit.after_nll is not None
    assert fit.after_nll < fit.before_nll - QUICK.margin
    assert fit.checkpoint.calibration == fit.calibration
    low, high = fit.interval_per_day
    assert low <= 1440.0 <= high
    assert fit.calibration.false_alarms_per_day(fit.threshold) == pytest.approx(1440.0)
    assert (fit.per_day, fit.needed_s) == (1440.0, 0.0)
    assert fit.calibration.footage_s < fit.footage_s / 2 + 15
    assert fit.footage_s == pytest.approx(240)
    assert fit.windows == 2 * (1500 - 7 + 2100 - 7)
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    # The weights are a checkpoint like any other.
    other = footage_of(20, 3).windows(base.spec)
    assert Scorer(fit.checkpoint).nll(other.tensor).mean() < Scorer(base).nll(other.tensor).mean()


@pytest.mark.slow
def test_the_same_footage_gives_the_same_weights(base: Checkpoint, footage: list[PoseFootage], tmp_path: Path) -> None:
    written = []
    for name in ("first", "second"):
        adaptation = adapt_weights(footage, base, QUICK)
        assert adaptation.checkpoint is not None
        adaptation.checkpoint.save(tmp_path / name)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


def test_weights_that_hardly_help_are_refused_and_the_camera_keeps_the_shared_ones(
    base: Checkpoint, footage: list[PoseFootage]
) -> None:
    timid = replace(QUICK, learning_rate=1e-7, epochs=1)
    fit = fit_camera(footage, base, false_alarms_per_day=1440.0, **RULES, adapt=True, settings=timid)
    assert not fit.accepted
    assert fit.checkpoint is None
    assert fit.reason is not None
    assert fit.reason.startswith("not adapted: ")
    # All footage counts then, learnt from or not.
    assert fit.calibration.footage_s == pytest.approx(240)


def test_weights_that_harm_are_refused(base: Checkpoint, footage: list[PoseFootage]) -> None:
    adaptation = adapt_weights(footage, base, replace(QUICK, learning_rate=10.0, epochs=1))
    assert adaptation.checkpoint is None
    assert adaptation.reason == "not adapted: no epoch made the footage held out for that choice more likely"


def test_too_little_footage_is_not_learnt_from(base: Checkpoint) -> None:
    for footage in ([], [PoseFootage(np.arange(3000) / 15, ())], [footage_of(20)]):
        adaptation = adapt_weights(footage, base, QUICK)
        assert adaptation.checkpoint is None
        assert "too few; record more footage" in adaptation.reason


def test_without_adaptation_the_camera_is_only_calibrated(base: Checkpoint, footage: list[PoseFootage]) -> None:
    fit = fit_camera(footage, base, false_alarms_per_day=1440.0, **RULES)
    assert (fit.checkpoint, fit.reason, fit.before_nll, fit.after_nll) == (None, None, None, None)
    assert fit.calibration.merge_s == pytest.approx(1.2)


def test_a_fit_can_be_stopped(base: Checkpoint, footage: list[PoseFootage]) -> None:
    with pytest.raises(FitCancelled):
        fit_camera(footage, base, false_alarms_per_day=1440.0, **RULES, cancelled=lambda: True)
    asked = iter([False] * 3 + [True])
    with pytest.raises(FitCancelled):
        adapt_weights(footage, base, QUICK, cancelled=lambda: next(asked))


def test_footage_too_short_for_any_threshold_is_refused_and_the_missing_time_named(
    base: Checkpoint, footage: list[PoseFootage]
) -> None:
    with pytest.raises(CalibrationError, match="at least 10 are needed") as refusal:
        fit_camera([footage_of(20)], base, false_alarms_per_day=1440.0, **RULES)
    assert refusal.value.needed_s is not None
    assert 0 < refusal.value.needed_s < 300
    with pytest.raises(CalibrationError, match="got 0 windows"):
        fit_camera([PoseFootage(np.arange(3000) / 15, ())], base, false_alarms_per_day=1440.0, **RULES)


def test_a_budget_that_the_footage_cannot_support_gets_the_strictest_threshold_that_it_does(
    base: Checkpoint, footage: list[PoseFootage]
) -> None:
    fits = [fit_camera(footage, base, false_alarms_per_day=asked, **RULES) for asked in (1440.0, 1.0, 1e-3)]
    assert fits[0].threshold < fits[1].threshold
    assert fits[1].per_day == pytest.approx(fits[2].per_day)
    assert fits[1].threshold == pytest.approx(fits[2].threshold)
    assert 1.0 < fits[1].per_day < 1440.0
    assert fits[1].interval_per_day[1] <= 10 * fits[1].per_day
    assert 240 < fits[1].needed_s < fits[2].needed_s


def test_blocks_of_time_hold_all_footage_once() -> None:
    footage = [footage_of(100, 1), PoseFootage(np.empty(0), ()), footage_of(7, 2, start=900.0)]
    blocks = time_blocks(footage)
    assert len(blocks) == 9
    times = np.concatenate([block.frame_times for block in blocks])
    assert np.array_equal(times, np.concatenate([part.frame_times for part in footage]))
    poses = sum(len(track.times) for block in blocks for track in block.tracks)
    assert poses == sum(len(track.times) for part in footage for track in part.tracks)
    assert all(np.ptp(block.frame_times) <= 60 for block in time_blocks([footage_of(700)]))


def test_levels_are_calibrated_on_held_scores(base: Checkpoint, footage: list[PoseFootage]) -> None:
    scorer = RawScorer.of_checkpoint(base)
    recording, smoothed = live_recording(footage[0], scorer, min_duration_s=0.2, skip_s=3.0)
    assert len(recording.times) == len(smoothed) == 1500 - 45
    held = recording.highest[np.isfinite(recording.highest)]
    assert len(held) > 1000
    assert (held <= smoothed[np.isfinite(recording.highest)]).all()
    calibration, _ = calibrate(footage, base, **RULES)
    assert calibration.windows == 2 * sum(len(part.frame_times) for part in footage) // 2 - 2 * 7


@pytest.mark.slow
def test_earlier_false_alarms_raise_the_threshold_and_never_outnumber_the_exceedances_of_the_footage(
    base: Checkpoint, footage: list[PoseFootage]
) -> None:
    def fitted(*alarms: float) -> tuple[float, float, int, int]:
        fit = fit_camera(footage, base, false_alarms_per_day=1440.0, false_alarms=alarms, **RULES)
        calibration = fit.calibration
        score = float(calibration.nll(np.array(fit.threshold)))
        return score, calibration.knots[-1], calibration.exceedances, fit.false_alarms_used

    plain, tail, own, none_used = fitted()
    assert none_used == 0
    alarm = plain + 1.0
    assert fitted(alarm)[0] > plain
    assert fitted(alarm)[1:] == (tail, own + 1, 1)
    assert fitted(alarm, alarm)[0] > fitted(alarm)[0]
    assert fitted(*[alarm] * (own + 5))[1:] == (tail, 2 * own, own)
    # The first ones count where not all can, and what normal life reaches anyway adds nothing.
    assert fitted(*[alarm] * own, alarm + 50) == fitted(*[alarm] * own)
    assert fitted(tail - 0.1) == fitted()


def test_false_alarms_do_not_replace_footage(base: Checkpoint, footage: list[PoseFootage]) -> None:
    with pytest.raises(CalibrationError, match="more footage"):
        fit_camera([footage_of(20)], base, false_alarms_per_day=1440.0, false_alarms=[100.0] * 50, **RULES)


@pytest.mark.slow
def test_own_weights_do_not_use_false_alarms_scored_by_the_shared_weights(
    base: Checkpoint, footage: list[PoseFootage]
) -> None:
    fits = [
        fit_camera(footage, base, false_alarms_per_day=1440.0, false_alarms=alarms, **RULES, adapt=True, settings=QUICK)
        for alarms in ((), (100.0,))
    ]
    assert fits[0].accepted
    assert [fit.false_alarms_used for fit in fits] == [0, 0]
    assert fits[0].threshold == fits[1].threshold


@pytest.mark.slow
def test_on_poselift_the_false_alarms_of_other_normal_footage_are_those_reported(
    test_data: Path, base: Checkpoint
) -> None:
    clips = read_split(test_data / "poselift" / "pose" / "train")
    splits: list[Split] = []
    for camera in ("01", "02", "03"):
        footage = [PoseFootage.of_clip(clip, 15.0) for clip in clips if clip.camera == camera]
        splits += [judged(camera, footage, base, 30.0, seed) for seed in range(3)]
    assert all(split.interval[0] <= split.asked <= split.interval[1] for split in splits)
    # The interval is one of 90 %.
    assert sum(split.kept for split in splits) >= 8


@pytest.mark.slow
def test_on_poselift_a_camera_with_too_little_footage_is_refused(test_data: Path, base: Checkpoint) -> None:
    clips = read_split(test_data / "poselift" / "pose" / "train")
    footage = [PoseFootage.of_clip(clip, 15.0) for clip in clips if clip.camera == "06"]
    with pytest.raises(CalibrationError, match="more footage") as refusal:
        fit_camera(footage, base, false_alarms_per_day=480.0, merge_s=10.0, min_duration_s=0.5)
    assert refusal.value.needed_s is not None
    assert 10 < refusal.value.needed_s < 3600
