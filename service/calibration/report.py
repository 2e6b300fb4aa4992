"""Documents about calibration: the request, the report, the versions and the status."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from pydantic import Field, model_validator

from model.adaptation import CameraFit
from model.checkpoint import Checkpoint
from service.documents.base import Document, Level

LONGEST_S: Final = 7 * 24 * 3600.0
"""Longest calibration footage, in seconds: a week."""


class CalibrationState(StrEnum):
    """State of a calibration."""

    GATHERING = "gathering"
    FITTING = "fitting"
    DONE = "done"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def finished(self) -> bool:
        """Whether the calibration has ended."""
        return self not in (CalibrationState.GATHERING, CalibrationState.FITTING)


class CalibrationRequest(Document):
    """How to calibrate a camera. The calibration footage must show normal life only."""

    seconds: float | None = Field(
        default=None,
        ge=10,
        le=LONGEST_S,
        description="Gather this many seconds of calibration footage from the camera.",
        examples=[1800],
    )
    clip: str | None = Field(
        default=None,
        description="Id of a clip to use as calibration footage instead; it must have been scored with `keypoints`.",
        examples=["0b1c5a3e9f7d4c2b8a6e1f0d3c5b7a99"],
    )
    false_alarms_per_hour: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="False-alarm budget for the threshold, in false alarms per hour; null uses that of the camera.",
    )
    adapt: bool = Field(
        default=False,
        description="Also fine-tune the weights on the footage. The new weights are used only if they make held-out "
        "footage more likely.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.seconds is None) == (self.clip is None):
            raise ValueError("give either seconds, to gather footage from the camera, or clip")
        return self


class Adaptation(Document):
    """Outcome of the fine-tuning."""

    accepted: bool = Field(description="Whether the new weights are used.")
    reason: str = Field(description="Why, in words.")
    before: float | None = Field(
        description="Mean score of the held-out footage with the old weights, in bits per dimension; lower "
        "is more likely."
    )
    after: float | None = Field(description="The same with the new weights.")
    seconds: float = Field(description="Seconds that fitting took.")


class CalibrationReport(Document):
    """Outcome of a calibration."""

    base: str = Field(description="Fingerprint of the checkpoint that the calibration was made with.")
    threshold: Level = Field(description="Level that opens an incident.")
    false_alarms_per_hour: float = Field(
        description="The false-alarm budget, in false alarms per hour, for which the threshold was fitted.",
        examples=[1.0],
    )
    interval: tuple[float, float] = Field(
        description="90 % interval of the false alarms per hour at this threshold, given the amount of calibration "
        "footage.",
        examples=[(0.2, 3.9)],
    )
    footage_s: float = Field(description="Seconds of calibration footage.", examples=[1800.0])
    exceedances: int = Field(
        description="Independent high scores in the footage, from which the threshold is extrapolated."
    )
    windows: int = Field(description="Windows that were scored.")
    false_alarms_marked: int = Field(
        default=0,
        description="Incidents of this camera that were marked as false alarms before the calibration was requested.",
    )
    false_alarms_used: int = Field(
        default=0,
        description="How many of these were added to the high scores of the footage, which raises the threshold: the "
        "newest that the same weights have scored, and at most as many as the footage itself has.",
    )
    adaptation: Adaptation | None = Field(description="Outcome of the fine-tuning; null if it was not requested.")


class CalibrationRefusal(Document):
    """Why the calibration footage does not support the false-alarm budget."""

    detail: str = Field(description="Why, in words.")
    needed_s: float | None = Field(
        description="About how many more seconds of footage are needed; null if more would not help."
    )


class CalibrationVersion(Document):
    """One calibration of a camera."""

    version: int = Field(description="Number of the calibration among those of the camera, from 1.")
    active: bool = Field(
        description="Whether it is in use. A calibration made with another checkpoint than that of the service is not."
    )
    withdrawn: bool = Field(description="Whether it was rolled back; it is never used again.")
    created_at: datetime = Field(description="When it was made.")
    report: CalibrationReport = Field(description="Its outcome.")


class CalibrationStatus(Document):
    """The calibrations of a camera, and the state of the last one that was requested."""

    camera: str = Field(description="Id of the camera.")
    active: int | None = Field(description="Version in use; null for the calibration that ships with the checkpoint.")
    versions: list[CalibrationVersion] = Field(description="All calibrations of the camera, newest first.")
    state: CalibrationState | None = Field(
        description="State of the last requested calibration; null if there was none since the service started."
    )
    request: CalibrationRequest | None = Field(
        description="The last request; null if there was none since the service started."
    )
    gathered_s: float = Field(description="Seconds of calibration footage gathered from the camera so far.")
    gathered_poses: int = Field(description="Poses in that footage.")
    progress: float | None = Field(description="Share of the fitting that is done, 0 to 1; null before the fitting.")
    refusal: CalibrationRefusal | None = Field(description="Why the calibration was refused; null if it was not.")
    problem: str | None = Field(description="Why the calibration failed, or was cancelled by a change of the camera.")


def fitted_report(
    fit: CameraFit, base: Checkpoint, rate: float, adaptation: Adaptation | None = None, false_alarms_marked: int = 0
) -> CalibrationReport:
    """The report of a fit.

    Args:
        fit: The fitted calibration and weights.
        base: The checkpoint that the fit was made with.
        rate: The false-alarm budget, in false alarms per hour.
        adaptation: Outcome of the fine-tuning, if it was requested.
        false_alarms_marked: Incidents that were marked as false alarms.
    """
    return CalibrationReport(
        base=base.fingerprint(),
        threshold=fit.threshold,
        false_alarms_per_hour=rate,
        interval=fit.rate_interval,
        footage_s=round(fit.calibration.footage_s, 1),
        exceedances=fit.calibration.exceedances,
        windows=fit.windows,
        false_alarms_marked=false_alarms_marked,
        false_alarms_used=fit.false_alarms_used,
        adaptation=adaptation,
    )
