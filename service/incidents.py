"""When a level becomes an incident: pure rules and one state machine for each camera, without I/O or a clock."""

from __future__ import annotations

from enum import StrEnum


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
