"""True times of frames from the time stamps that a file has."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

LONGEST_PAUSE_S: Final = 90.0
"""A longer step between two frames is taken for a clock that was set, not for a pause. At low frame rates the limit is
ten times the usual step, if that is more."""

_PERIODS: Final = 10.0
_LOCAL: Final = 15
"""Steps of which the usual one is the median."""

T = TypeVar("T")


def usual_step(steps: Sequence[float], otherwise: float) -> float:
    """Median of the last 15 steps between frames, in seconds, or `otherwise` if there is none.

    Example:
        >>> usual_step([0.04, 0.04, 30.0, 0.1, 0.1], 1.0)
        0.1
        >>> usual_step([], 1.0)
        1.0
    """
    last = list(steps)[-_LOCAL:]
    return statistics.median(last) if last else otherwise


class FrameTimes:
    """Turns the time stamps of a file into times from its first frame on, which strictly increase.

    - A single time stamp that does not lie between its neighbours is replaced by one that does.
    - Where the clock starts again or is set, backwards or by more than `LONGEST_PAUSE_S` forwards, the frame comes one
      usual step after the one before it, and the following ones keep their distances.
    - A frame without a time stamp, or with that of the frame before it, comes at most one usual step later.

    The usual step is the median of the last ones, so that recordings of different rates can follow each other.

    Args:
        period: Seconds between two frames, until the file has shown its own.

    Attributes:
        jumps: How often the clock started again or was set, so far.

    Example:
        >>> times = FrameTimes(0.5)
        >>> [time for _, time in times.of((None, stamp) for stamp in (7.0, 7.5, 907.0, 8.5, 9.0, 0.0, 0.25, 0.5))]
        [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 2.75, 3.0]
        >>> times.jumps
        1
    """

    def __init__(self, period: float) -> None:
        self.jumps = 0
        self._period = period
        self._steps: deque[float] = deque(maxlen=_LOCAL)
        self._reference: tuple[float, float] | None = None
        self._last = 0.0

    def of(self, frames: Iterable[tuple[T, float | None]]) -> Iterator[tuple[T, float]]:
        """Give frames their times; each is handed over when the one after it is known.

        Args:
            frames: In order of presentation, each with its time stamp in seconds, None if it has none.

        Yields:
            Each frame with its time in seconds.
        """
        waiting: tuple[T, float | None] | None = None
        first = True
        for frame in frames:
            if waiting is not None:
                yield waiting[0], self._time(waiting[1], frame[1], first=first)
                first = False
            waiting = frame
        if waiting is not None:
            yield waiting[0], self._time(waiting[1], None, first=first)

    @property
    def step(self) -> float:
        """The usual step between two frames now, in seconds."""
        return usual_step(self._steps, self._period)

    def _time(self, stamp: float | None, after: float | None, *, first: bool) -> float:
        if first:
            self._reference = None if stamp is None else (stamp, 0.0)
            return 0.0
        if stamp is None:
            self._last += self.step
        elif self._reference is None:
            self._last += self.step
            self._reference = (stamp, self._last)
        else:
            self._last = self._placed(stamp, after, *self._reference)
        return self._last

    def _placed(self, stamp: float, after: float | None, reference: float, time: float) -> float:
        """The time of a frame, where the stamp `reference` was seen at `time`."""
        step = stamp - reference
        returns = after is not None and self._is_step(after - reference)
        if step == 0 or (returns and after is not None and not reference < stamp < after):
            later = self._last + self.step
            middle = (self._last + time + after - reference) / 2 if returns and after is not None else later
            return min(later, middle) if middle > self._last else later
        if self._is_step(step):
            placed = time + step
            if placed <= self._last:
                placed = self._last + self.step
            if self._last == time:
                self._steps.append(step)
        else:
            self.jumps += 1
            placed = self._last + self.step
        self._reference = (stamp, placed)
        return placed

    def _is_step(self, seconds: float) -> bool:
        return 0 < seconds <= max(LONGEST_PAUSE_S, _PERIODS * self.step)
