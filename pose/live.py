"""Live frame sources: the newest picture of a camera, for ever."""

from __future__ import annotations

from enum import StrEnum


class SourceState(StrEnum):
    """Where a live source stands."""

    CONNECTING = "connecting"
    ONLINE = "online"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    STOPPED = "stopped"
    FAILED = "failed"
