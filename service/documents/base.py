"""Types that all documents share: levels, severities and reasons."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Severity(StrEnum):
    """How urgent an incident is, least urgent first.

    Example:
        >>> max([Severity.WARNING, Severity.RECORD], key=lambda severity: severity.rank)
        <Severity.WARNING: 'warning'>
    """

    RECORD = "record"
    """It is kept and shown, and nobody is notified."""
    WARNING = "warning"
    ALERT = "alert"

    @property
    def rank(self) -> int:
        """Place in the order; 0 is the least urgent."""
        return list(Severity).index(self)


class EndReason(StrEnum):
    """Why an incident ended."""

    QUIET = "quiet"
    """No behaviour fired and levels stayed below the closing level for the quiet period."""
    CAMERA_LOST = "camera-lost"
    """The camera delivered no frame for the quiet period."""
    CAMERA_STOPPED = "camera-stopped"
    """The camera was removed, disabled or changed."""
    SERVICE_STOPPED = "service-stopped"
    """The service was told to stop."""
    INTERRUPTED = "interrupted"
    """The service ended without stopping properly. The incident was ended at the next start, at the time of its last
    stored update."""


Level = Annotated[float, Field(ge=0.0, le=1.0)]
"""Position of a score among the scores of normal life, 0 to 1, by the calibration."""

MissingScore = Literal["nobody", "track_too_short", "frame_rate_too_low", "too_few_joints"]


class Document(BaseModel):
    """A JSON document: immutable, and without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
