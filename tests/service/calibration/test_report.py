"""Documents about calibration."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from model.adaptation import CameraFit
from model.behaviours import Kind
from model.behaviours.calibration import Usual
from model.calibration import Calibration
from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from service.calibration.report import (
    Adaptation,
    CalibrationReport,
    CalibrationRequest,
    CalibrationState,
    behaviour_words,
    fitted_report,
)
from simulation.demo import DEMO_CAMERAS

CALIBRATION = Calibration(
    knots=(0.0, 1.0, 2.0),
    levels=(0.0, 0.5, 0.9),
    shape=0.0,
    scale=1.0,
    exceedances=40,
    windows=9000,
    footage_s=1800.04,
    merge_s=10.0,
)
FIT = CameraFit(
    calibration=CALIBRATION,
    checkpoint=None,
    threshold=0.995,
    per_day=18.0,
    interval_per_day=(14.4, 40.8),
    needed_s=0.0,
    before_nll=None,
    after_nll=None,
    accepted=False,
    reason=None,
    footage_s=1800.04,
    windows=8000,
    false_alarms_used=2,
)


@pytest.mark.parametrize("values", [{}, {"seconds": 60, "clip": "a"}])
def test_a_request_names_one_source_of_footage(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="give either seconds, to gather footage from the camera, or clip"):
        CalibrationRequest.model_validate(values)


@pytest.mark.parametrize(
    "values",
    [
        {"seconds": 9},
        {"seconds": 7 * 24 * 3600 + 1},
        {"seconds": math.nan},
        {"seconds": 60, "false_alarms_per_day": 0},
        {"seconds": 60, "false_alarms_per_day": math.inf},
        {"seconds": 60, "colour": "red"},
    ],
)
def test_a_request_with_an_impossible_value_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CalibrationRequest.model_validate(values)


def test_a_calibration_is_finished_in_every_state_but_gathering_and_fitting() -> None:
    assert {state for state in CalibrationState if not state.finished} == {
        CalibrationState.GATHERING,
        CalibrationState.FITTING,
    }


def test_a_report_says_what_was_fitted_to_which_footage() -> None:
    base = Checkpoint.load(DEFAULT_CHECKPOINT)
    assert fitted_report(FIT, base, 36.0, {}) == CalibrationReport(
        base=base.fingerprint(),
        threshold=0.995,
        false_alarms_per_day=36.0,
        unusual_per_day=18.0,
        interval_per_day=(14.4, 40.8),
        support=None,
        behaviours={},
        footage_s=1800.0,
        exceedances=40,
        windows=8000,
        false_alarms_marked=0,
        false_alarms_used=2,
        adaptation=None,
    )
    adaptation = Adaptation(accepted=True, reason="more likely", before=2.0, after=1.5, seconds=3.0)
    report = fitted_report(FIT, base, 36.0, {}, adaptation, false_alarms_marked=5)
    assert (report.adaptation, report.false_alarms_marked) == (adaptation, 5)


def usual(threshold: float = 1.0, highest: float | None = None, **values: Any) -> Usual:
    known = {"times": 0, "marked": 0, "footage_s": 1920.0, "per_day": None, "usable": True}
    return Usual(threshold, highest, **known | values)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            usual(1.35, 1.22, times=4, per_day=13.2),
            "Running: 1.35 instead of 1, because normal life here came to 1 or above 4 times in 32 min, at up to 1.22; "
            "about 13 false alarms a day are to be expected",
        ),
        (
            usual(1.5, 1.3, times=1, marked=1, per_day=30),
            "Running: 1.5 instead of 1, because normal life here came to 1 or above once in 32 min and 1 incident was "
            "marked as a false alarm, at up to 1.3; about 30 false alarms a day are to be expected",
        ),
        (usual(1.05, 0.95), "Running: 1.05 instead of 1, because normal life here came close in 32 min, at up to 0.95"),
        (
            usual(0.8, 0.6, footage_s=3 * 86_400.0),
            "Running: 0.8 instead of 1, because normal life here stayed at up to 0.6 in 3 days",
        ),
        (
            usual(1.0, 1.1, times=2, per_day=90),
            "Running: 1, as usual, although normal life here came to 1 or above 2 times in 32 min, at up to 1.1; the "
            "budget allows for that",
        ),
        (
            usual(),
            "Running: 1, as usual; no false alarm in 32 min, below 0.5, so there may still be up to 140 a day",
        ),
        (
            usual(2.0, 2.6, times=20, per_day=400, usable=False),
            "Running: not usable on this camera, because normal life here came to 1 or above 20 times in 32 min, at up "
            "to 2.6; it fires from 2 on, and about 400 false alarms a day are to be expected, more than the budget "
            "allows. Switch it off on this camera, or accept them",
        ),
        (
            usual(1.04, 0.97, confirmed=2, unconfirmed=1.07),
            "Running: 1.04, because 2 incidents were confirmed to score so little; normal life alone asks for 1.07",
        ),
        (
            usual(1.2, 1.22, times=4, per_day=0.05, confirmed=3, missed=2, unconfirmed=1.35),
            "Running: 1.2, because 1 incident was confirmed to score so little; normal life alone asks for 1.35; about "
            "0.05 false alarms a day are to be expected; 2 confirmed incidents score less, and to find such again "
            "would cost more than 2 times its share of the budget",
        ),
        (
            usual(1.05, 0.95, confirmed=1, missed=1),
            "Running: 1.05 instead of 1, because normal life here came close in 32 min, at up to 0.95; 1 confirmed "
            "incident scores less, and to find such again would cost more than 2 times its share of the budget",
        ),
    ],
)
def test_the_threshold_of_a_named_behaviour_is_explained(found: Usual, said: str) -> None:
    assert behaviour_words(Kind.RUNNING, found) == said


def test_the_report_says_what_the_footage_supports_if_it_is_less_than_the_budget() -> None:
    fit = replace(FIT, per_day=2.13, needed_s=36_000.0)
    base = Checkpoint.load(DEFAULT_CHECKPOINT)
    report = fitted_report(fit, base, 1.0, {Kind.RUNNING: usual(1.35, 1.22, times=4, per_day=13.2)})
    assert report.support == (
        "30 min of calibration footage support about 2.1 false alarms of unusual movement a day, not 0.5; the "
        "threshold is the strictest that the footage supports, and about 10 h more footage would support the budget"
    )
    assert (report.false_alarms_per_day, report.unusual_per_day) == (1.0, 2.13)
    assert report.behaviours[Kind.RUNNING].threshold == 1.35
    assert report.behaviours[Kind.RUNNING].words.startswith("Running: 1.35 instead of 1")


def test_a_report_with_rates_per_hour_is_read() -> None:
    for demo in DEMO_CAMERAS:
        stored = demo.calibration()["report"]
        assert "false_alarms_per_hour" in stored, "written by a version before budgets were per day"
        report = CalibrationReport.model_validate(stored)
        assert (report.false_alarms_per_day, report.unusual_per_day, report.behaviours) == (24.0, 24.0, {})
        assert report.interval_per_day == tuple(24 * end for end in stored["interval"])
        assert CalibrationReport.model_validate(report.model_dump(mode="json")) == report


def test_a_request_takes_a_budget_per_hour_under_its_old_name() -> None:
    asked = CalibrationRequest.model_validate({"seconds": 60, "false_alarms_per_hour": 2})
    assert asked.false_alarms_per_day == 48.0
    with pytest.raises(ValidationError, match="are both given"):
        CalibrationRequest.model_validate({"seconds": 60, "false_alarms_per_hour": 2, "false_alarms_per_day": 48})
