"""Documents about calibration: the request, the report, the versions and the status."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from pydantic import Field, model_validator

from model.adaptation import CameraFit
from model.behaviours import FIRES, LEAST_SCORE, Kind
from model.behaviours.calibration import MOST_OVER, STRICTEST, Usual
from model.budget import share_of
from model.calibration import DAY_S
from model.checkpoint import Checkpoint
from service.documents.amounts import about, duration
from service.documents.base import Document, Level
from service.documents.budget import HOURS_PER_DAY, per_day_of
from service.documents.kinds import TITLES
from service.documents.messages import Staleness

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
    false_alarms_per_day: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="False-alarm budget for the thresholds, in false alarms per day, of `unusual` and named behaviours "
        "together; null uses that of the camera. `false_alarms_per_hour` is the old name, for the budget per hour.",
    )
    adapt: bool = Field(
        default=False,
        description="Also fine-tune the weights on the footage. The new weights are used only if they make held-out "
        "footage more likely.",
    )

    @model_validator(mode="before")
    @classmethod
    def _budget_per_day(cls, values: Any) -> Any:
        return per_day_of(values, ["false_alarms_per_day"])

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


class BehaviourCalibration(Document):
    """What normal life of a camera looks like to a named behaviour, and the threshold that follows."""

    threshold: float = Field(
        description="Score from which the behaviour fires on this camera, 0.8 to 2; without calibration it is 1.",
        examples=[1.35],
    )
    highest: float | None = Field(
        description="Highest score on normal life; null if it stayed below 0.5.", examples=[1.22]
    )
    times: int = Field(description="How often it would have fired at 1 in the calibration footage.", examples=[4])
    marked: int = Field(description="Incidents marked as false alarms that count as normal life as well.")
    footage_s: float = Field(description="Seconds of calibration footage.", examples=[1920.0])
    per_day: float | None = Field(
        description="False alarms per day to expect at the threshold; null if normal life never came to 1.",
        examples=[13.0],
    )
    usable: bool = Field(
        description="False if normal life asks for a threshold above 2: the behaviour then fires from 2 on, and more "
        "often than the budget allows."
    )
    confirmed: int = Field(default=0, description="Incidents that people confirmed to be this.")
    missed: int = Field(
        default=0,
        description="Those of them that score below the threshold, since a lower one would cost more than twice the "
        "share of the behaviour in the budget.",
    )
    unconfirmed: float | None = Field(
        default=None, description="The threshold that normal life alone asks for; null if it is the same."
    )
    words: str = Field(
        description="The threshold and why, in words.",
        examples=["Running: 1.35 instead of 1, because normal life here came to 1 or above 4 times in 32 min"],
    )


class CalibrationReport(Document):
    """Outcome of a calibration."""

    base: str = Field(description="Fingerprint of the checkpoint that the calibration was made with.")
    threshold: Level = Field(description="Level that opens an incident.")
    false_alarms_per_day: float = Field(
        description="The false-alarm budget, in false alarms per day, of `unusual` and named behaviours together.",
        examples=[1.0],
    )
    unusual_per_day: float = Field(
        description="False alarms per day that the threshold costs: half of the budget, or the lowest rate that the "
        "calibration footage supports.",
        examples=[2.1],
    )
    interval_per_day: tuple[float, float] = Field(
        description="90 % interval of the false alarms per day at this threshold, given the amount of calibration "
        "footage.",
        examples=[(0.4, 21.0)],
    )
    support: str | None = Field(
        default=None,
        description="What the calibration footage supports, in words, if it does not support the budget.",
        examples=["30 min of calibration footage support about 2.1 false alarms of unusual movement a day, not 0.5"],
    )
    behaviours: dict[Kind, BehaviourCalibration] = Field(
        default_factory=dict,
        description="Named behaviours by kind. Empty for calibrations of older versions, with which they fire at 1.",
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

    @model_validator(mode="before")
    @classmethod
    def _rates_per_day(cls, values: Any) -> Any:
        """Read a report of a version whose rates were per hour, and whose budget was for `unusual` alone."""
        if not isinstance(values, dict) or "false_alarms_per_hour" not in values:
            return values
        converted = per_day_of(values, ["false_alarms_per_day"])
        interval = converted.pop("interval", None)
        if interval is not None:
            converted["interval_per_day"] = [HOURS_PER_DAY * end for end in interval]
        return {"unusual_per_day": converted["false_alarms_per_day"]} | converted


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
    stale: list[Staleness] = Field(
        description="Why that version does not hold any more, so that the camera is scored as if it had no calibration "
        "of its own; empty if it holds."
    )
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
    fit: CameraFit,
    base: Checkpoint,
    false_alarms_per_day: float,
    usual: Mapping[Kind, Usual],
    adaptation: Adaptation | None = None,
    false_alarms_marked: int = 0,
) -> CalibrationReport:
    """The report of a fit.

    Args:
        fit: The fitted calibration and weights.
        base: The checkpoint that the fit was made with.
        false_alarms_per_day: The false-alarm budget.
        usual: What is usual to named behaviours.
        adaptation: Outcome of the fine-tuning, if it was requested.
        false_alarms_marked: Incidents that were marked as false alarms.
    """
    return CalibrationReport(
        base=base.fingerprint(),
        threshold=fit.threshold,
        false_alarms_per_day=false_alarms_per_day,
        unusual_per_day=fit.per_day,
        interval_per_day=fit.interval_per_day,
        support=support_words(fit, false_alarms_per_day),
        behaviours={kind: _behaviour(kind, one) for kind, one in usual.items()},
        footage_s=round(fit.calibration.footage_s, 1),
        exceedances=fit.calibration.exceedances,
        windows=fit.windows,
        false_alarms_marked=false_alarms_marked,
        false_alarms_used=fit.false_alarms_used,
        adaptation=adaptation,
    )


def support_words(fit: CameraFit, false_alarms_per_day: float) -> str | None:
    """What the calibration footage supports, as a sentence without a full stop; None if it supports the budget.

    Args:
        fit: The fit.
        false_alarms_per_day: The false-alarm budget.
    """
    share = share_of(Kind.UNUSUAL, false_alarms_per_day)
    if fit.per_day <= share:
        return None
    return (
        f"{duration(fit.calibration.footage_s)} of calibration footage support about {about(fit.per_day)} false alarms "
        f"of unusual movement a day, not {about(share)}; the threshold is the strictest that the footage supports, and "
        f"about {duration(fit.needed_s)} more footage would support the budget"
    )


def behaviour_words(kind: Kind, usual: Usual) -> str:
    """The threshold of a named behaviour on a camera and why, as a sentence without a full stop.

    Args:
        kind: The behaviour.
        usual: What normal life looks like to it.

    Example:
        >>> behaviour_words(Kind.RUNNING, Usual(1.35, 1.22, 4, 0, 1920.0, 13.0, usable=True))
        'Running: 1.35 instead of 1, because normal life here came to 1 or above 4 times in 32 min, at up to 1.22; ...'
    """
    return _words_of_normal_life(kind, usual) + _missed_words(usual.missed)


def _words_of_normal_life(kind: Kind, usual: Usual) -> str:
    title, footage = TITLES[kind], duration(usual.footage_s)
    up_to = f"below {LEAST_SCORE:g}" if usual.highest is None else f"at up to {usual.highest:.3g}"
    seen = [f"normal life here came to {FIRES:g} or above {_times(usual.times)} in {footage}"] if usual.times else []
    if usual.marked:
        seen.append(
            f"{usual.marked} {'incidents were' if usual.marked > 1 else 'incident was'} marked as a false alarm"
        )
    why = f"{' and '.join(seen)}, {up_to}"
    expected = "" if usual.per_day is None else f"about {about(usual.per_day)} false alarms a day are to be expected"
    if usual.unconfirmed is not None:
        found = usual.confirmed - usual.missed
        because = f"{found} {'incidents were' if found > 1 else 'incident was'} confirmed to score so little"
        alone = f"normal life alone asks for {usual.unconfirmed:.3g}"
        return f"{title}: {usual.threshold:.3g}, because {because}; {alone}{'; ' if expected else ''}{expected}"
    if not usual.usable:
        return (
            f"{title}: not usable on this camera, because {why}; it fires from {STRICTEST:g} on, and {expected}, more "
            "than the budget allows. Switch it off on this camera, or accept them"
        )
    change = f"{title}: {usual.threshold:.3g} instead of {FIRES:g}, because"
    if usual.threshold > FIRES:
        return f"{change} {why}; {expected}" if seen else f"{change} normal life here came close in {footage}, {up_to}"
    if usual.threshold < FIRES:
        return f"{change} normal life here stayed {up_to} in {footage}"
    if seen:
        return f"{title}: {FIRES:g}, as usual, although {why}; the budget allows for that"
    most = (
        f"there may still be up to {about(3 * DAY_S / usual.footage_s)} a day"
        if usual.footage_s
        else "nothing is known"
    )
    return f"{title}: {FIRES:g}, as usual; no false alarm in {footage}, {up_to}, so {most}"


def _missed_words(missed: int) -> str:
    """What is said of confirmed incidents below the threshold; empty without any."""
    if not missed:
        return ""
    those = "1 confirmed incident scores" if missed == 1 else f"{missed} confirmed incidents score"
    return f"; {those} less, and to find such again would cost more than {MOST_OVER:g} times its share of the budget"


def _behaviour(kind: Kind, usual: Usual) -> BehaviourCalibration:
    return BehaviourCalibration(**dataclasses.asdict(usual), words=behaviour_words(kind, usual))


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
