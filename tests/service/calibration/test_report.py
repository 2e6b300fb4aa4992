"""Documents about calibration."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from model.adaptation import CameraFit
from model.calibration import Calibration
from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from service.calibration.report import (
    Adaptation,
    CalibrationReport,
    CalibrationRequest,
    CalibrationState,
    fitted_report,
)

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
    rate_interval=(0.6, 1.7),
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
        {"seconds": 60, "false_alarms_per_hour": 0},
        {"seconds": 60, "false_alarms_per_hour": math.inf},
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
    assert fitted_report(FIT, base, 1.5) == CalibrationReport(
        base=base.fingerprint(),
        threshold=0.995,
        false_alarms_per_hour=1.5,
        interval=(0.6, 1.7),
        footage_s=1800.0,
        exceedances=40,
        windows=8000,
        false_alarms_marked=0,
        false_alarms_used=2,
        adaptation=None,
    )
    adaptation = Adaptation(accepted=True, reason="more likely", before=2.0, after=1.5, seconds=3.0)
    report = fitted_report(FIT, base, 1.5, adaptation, false_alarms_marked=5)
    assert (report.adaptation, report.false_alarms_marked) == (adaptation, 5)
