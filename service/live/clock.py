"""The clock of live streams: one that never steps, and what it means as a time of day."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

_SLEW: Final = 0.5
"""Seconds that are given back for each second while the time of day runs ahead of the wall clock."""


class SteadyClock:
    """Turns moments of the monotonic clock into times of day that never run backwards.

    All rules of the service use the monotonic clock. Only what people read is a time of day, and it follows the wall
    clock: forwards at once, backwards, as after a correction by an hour, by running at half speed until the wall clock
    has caught up. So an incident never ends before it starts, whatever is done to the machine's clock.

    Args:
        monotonic: Seconds on a clock that never steps.
        wall: Seconds since 1970.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._lock = threading.Lock()
        self._at = monotonic()
        self._offset = wall() - self._at

    def now(self) -> float:
        """Seconds on the monotonic clock."""
        return self._monotonic()

    def utc(self, moment: float) -> datetime:
        """The time of day of a moment on the monotonic clock, as well as is known now."""
        with self._lock:
            self._follow()
            return datetime.fromtimestamp(moment + self._offset, UTC)

    def _follow(self) -> None:
        now = self._monotonic()
        offset = self._wall() - now
        elapsed, self._at = now - self._at, now
        self._offset = max(offset, self._offset - _SLEW * elapsed)
