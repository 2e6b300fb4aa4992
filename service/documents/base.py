"""Words that all documents share: levels, severities, reasons."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Severity(StrEnum):
    """How much an incident asks for attention."""

    WARNING = "warning"
    ALERT = "alert"


class EndReason(StrEnum):
    """Why an incident ended."""

    QUIET = "quiet"
    """Levels stayed below the closing level for the quiet period."""
    CAMERA_LOST = "camera-lost"
    """No picture came for the quiet period."""
    CAMERA_STOPPED = "camera-stopped"
    """The camera was removed, disabled or changed."""
    SERVICE_STOPPED = "service-stopped"
    """The service was told to stop."""
    INTERRUPTED = "interrupted"
    """The service died; the incident was ended at the next start, at the time of the last that was stored of it."""


Level = Annotated[float, Field(ge=0.0, le=1.0)]
MissingScore = Literal["nobody", "track_too_short", "frame_rate_too_low"]


class Document(BaseModel):
    """What the service says as JSON: frozen, and without fields that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")
