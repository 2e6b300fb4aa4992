"""The clock of live cameras: a monotonic clock, and the time of day for each of its moments."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

_SLEW: Final = 0.5
"""While the time of day is ahead of the wall clock, it loses this many seconds per second."""


class SteadyClock:
    """Turns moments of the monotonic clock into times of day that never run backwards.

    All rules of the service use the monotonic clock. The time of day is only shown to people. If the wall clock is set
    forwards, the time of day follows at once. If the wall clock is set back, the time of day runs at half speed until
    the wall clock has caught up. So an incident never ends before it starts, even if the machine's clock is changed.

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
        """The time of day of a moment on the monotonic clock, by the offset between the clocks now."""
        with self._lock:
            self._follow()
            return datetime.fromtimestamp(moment + self._offset, UTC)

    def _follow(self) -> None:
        now = self._monotonic()
        offset = self._wall() - now
        elapsed, self._at = now - self._at, now
        self._offset = max(offset, self._offset - _SLEW * elapsed)
