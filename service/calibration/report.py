"""Documents of calibration: the request, the report, the versions and the status."""

from __future__ import annotations

import math
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from pydantic import Field, model_validator

from model.adaptation import CameraFit
from model.checkpoint import Checkpoint
from service.documents.base import Document, Level

LONGEST_S: Final = 7 * 24 * 3600.0


class CalibrationState(StrEnum):
    """Where a calibration stands."""

    GATHERING = "gathering"
    FITTING = "fitting"
    DONE = "done"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (CalibrationState.GATHERING, CalibrationState.FITTING)


class CalibrationRequest(Document):
    """How a camera shall be calibrated; normal life has to be in the picture meanwhile."""

    seconds: float | None = Field(
        default=None,
        ge=10,
        le=LONGEST_S,
        description="Gather footage from the camera for so many seconds.",
        examples=[1800],
    )
    clip: str | None = Field(
        default=None,
        description="Take the footage from this clip instead, which was scored with `keypoints`.",
        examples=["0b1c5a3e9f7d4c2b8a6e1f0d3c5b7a99"],
    )
    false_alarms_per_hour: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="False alarms per hour that the footage shall support; null takes the camera's.",
    )
    adapt: bool = Field(
        default=False,
        description="Also fine-tune the weights on the footage; they are used only if footage that they did not learn "
        "from becomes more likely.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.seconds is None) == (self.clip is None):
            raise ValueError("give either seconds, to gather from the camera, or clip")
        return self


class Adaptation(Document):
    """What fine-tuning did."""

    accepted: bool = Field(description="Whether the new weights are used.")
    reason: str = Field(description="Why, in plain words.")
    before: float | None = Field(description="Score of footage held out from learning, by the old weights.")
    after: float | None = Field(description="The same by the new weights, bits per dimension; lower is more likely.")
    seconds: float = Field(description="Seconds that it took.")


class CalibrationReport(Document):
    """What was found."""

    base: str = Field(description="Digest of the checkpoint that it was made with.")
    threshold: Level = Field(description="Level that opens an incident.")
    false_alarms_per_hour: float = Field(description="How often normal life reaches it.", examples=[1.0])
    interval: tuple[float, float] = Field(
        description="False alarms per hour that this threshold could really cost, given so much footage; the middle "
        "90 %.",
        examples=[(0.2, 3.9)],
    )
    footage_s: float = Field(description="Seconds of footage that it rests on.", examples=[1800.0])
    exceedances: int = Field(description="Independent high scores in it, from which the threshold is extrapolated.")
    windows: int = Field(description="Windows that were scored.")
    false_alarms_marked: int = Field(
        default=0, description="Incidents of this camera that had been marked as false alarms when it was asked for."
    )
    false_alarms_used: int = Field(
        default=0,
        description="How many of them raise the threshold as exceedances besides those of the footage: the newest, at "
        "most as many as the footage has of its own, and only what these very weights scored.",
    )
    adaptation: Adaptation | None = Field(description="What fine-tuning did; null if it was not asked for.")


class CalibrationRefusal(Document):
    """Why the footage does not support what was asked of it."""

    detail: str = Field(description="In plain words.")
    needed_s: float | None = Field(description="About how many more seconds would; null if more would not help.")


class CalibrationVersion(Document):
    """A calibration that was made."""

    version: int = Field(description="Counts the calibrations of the camera, from 1.")
    active: bool = Field(
        description="Whether it is in use; one that was made with another checkpoint than the service has now is not."
    )
    withdrawn: bool = Field(description="Whether it was rolled back, for good.")
    created_at: datetime = Field(description="When it was made.")
    report: CalibrationReport = Field(description="What was found.")


class CalibrationStatus(Document):
    """The calibration of a camera: what is in use, and what is being done."""

    camera: str = Field(description="Id of the camera.")
    active: int | None = Field(description="Version in use; null for the calibration that ships with the checkpoint.")
    versions: list[CalibrationVersion] = Field(description="All that were made, newest first.")
    state: CalibrationState | None = Field(
        description="Where the last one that was asked for stands; null if there was none since the service started."
    )
    request: CalibrationRequest | None = Field(description="What was asked for.")
    gathered_s: float = Field(description="Seconds of footage gathered.")
    gathered_poses: int = Field(description="Poses in it.")
    progress: float | None = Field(description="Share of the fitting that is done, 0 to 1; null before it.")
    refusal: CalibrationRefusal | None = Field(description="Why it was refused.")
    problem: str | None = Field(description="Why it failed, or was given up without anybody asking for that.")


def fitted_report(
    fit: CameraFit, base: Checkpoint, rate: float, adaptation: Adaptation | None = None, false_alarms_marked: int = 0
) -> CalibrationReport:
    """What is told of a fit.

    Args:
        fit: What was found.
        base: The checkpoint that it was made with.
        rate: False alarms per hour that were asked for.
        adaptation: What fine-tuning did, if it was asked for.
        false_alarms_marked: False alarms that could have been part of it.
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


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 5)
