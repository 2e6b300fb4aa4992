"""How often tracks begin and break off, compared with normal footage.

When people collide, hide each other or fall, trackers lose them and take them for new people. At such moments few
tracks are long enough for a window. The events of the last seconds are counted: people who appear, and people who are
missing from the next frame. In normal footage their number in a stretch with ``e`` person-seconds is taken as negative
binomial with mean ``rate * e`` and variance ``mean + mean**2 / dispersion``: a Poisson count whose rate differs from
scene to scene.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import betainc

from model.calibration import CalibrationError

Floats = NDArray[np.float64]

SPAN_S: Final = 1.5
"""Seconds over which events are counted."""

_SETTLE_S: Final = 0.3
"""Seconds at the start of a stream in which new people do not count, because everybody is new."""
_MIN_EVENTS: Final = 10
_MIN_EXPOSURE: Final = 0.25
"""Lower limit of the person-seconds of a stretch, for stretches in which hardly anybody was seen."""
_LOG_DISPERSION: Final = (-3.0, 6.0)


class TrackingEvents:
    """Counts the events of one stream, frame by frame.

    Example:
        >>> events = TrackingEvents()
        >>> [events.frame(time, present)[0] for time, present in ((0.0, {1}), (0.5, {1}), (1.0, {2}))]
        [0, 0, 2]
    """

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._present: set[int] = set()
        self._recent: deque[tuple[float, int, float]] = deque()
        self._start: float | None = None
        self._last = math.nan

    def frame(self, time: float, present: Collection[int]) -> tuple[int, float]:
        """Add the next frame.

        Args:
            time: Capture time in seconds, increasing.
            present: Numbers of the tracks in it.

        Returns:
            Events of the last `SPAN_S` seconds, and the person-seconds they came from.
        """
        now = set(present)
        if self._start is None:
            self._start = self._last = time
        events = len(self._present - now)
        if time - self._start > _SETTLE_S:
            events += len(now - self._known)
        self._recent.append((time, events, len(self._present) * (time - self._last)))
        while self._recent[0][0] <= time - SPAN_S:
            self._recent.popleft()
        self._known |= now
        self._present, self._last = now, time
        return sum(count for _, count, _ in self._recent), sum(exposure for _, _, exposure in self._recent)


@dataclass(frozen=True, slots=True)
class TrackingNorm:
    """How many events are normal.

    Attributes:
        rate: Events per person-second.
        dispersion: Size of the negative binomial; the larger, the closer to Poisson.

    Example:
        >>> norm = TrackingNorm(rate=0.1, dispersion=5.0)
        >>> norm.surprise(np.array([0, 3]), np.array([2.0, 2.0])).round(1).tolist()
        [0.0, 9.1]
    """

    rate: float
    dispersion: float

    def __post_init__(self) -> None:
        if not (0 < self.rate < math.inf and 0 < self.dispersion < math.inf):
            raise ValueError(f"impossible norm of tracking: rate {self.rate}, dispersion {self.dispersion}")

    @classmethod
    def fit(cls, counts: Sequence[tuple[int, float]]) -> TrackingNorm:
        """Fit to stretches of normal footage by maximum likelihood.

        Args:
            counts: Events and person-seconds of stretches that do not overlap.

        Raises:
            CalibrationError: Fewer than 10 events were seen.
        """
        seen = [(count, max(exposure, _MIN_EXPOSURE)) for count, exposure in counts if exposure > 0]
        events, exposure = np.array([count for count, _ in seen], float), np.array([e for _, e in seen])
        if events.sum() < _MIN_EVENTS:
            raise CalibrationError(
                f"normal footage holds {int(events.sum())} events of tracking, {_MIN_EVENTS} are needed"
            )
        rate = float(events.sum() / exposure.sum())
        # Imported here, since it takes most of a second at every start, and only this fit needs it.
        from scipy.stats import nbinom

        def loss(log_dispersion: float) -> float:
            size = math.exp(log_dispersion)
            return -float(nbinom.logpmf(events, size, size / (size + rate * exposure)).sum())

        return cls(rate, math.exp(minimize_scalar(loss, bounds=_LOG_DISPERSION, method="bounded").x))

    def surprise(self, events: NDArray[np.int64], exposure: Floats) -> Floats:
        """``-log2 P(N >= events)`` in bits; nan where nobody was seen.

        Args:
            events: Shape ``(n,)``.
            exposure: Shape ``(n,)``, person-seconds.
        """
        mean = self.rate * np.maximum(exposure, _MIN_EXPOSURE)
        # The tail of a negative binomial distribution is an incomplete beta function; none or more events are certain.
        tail = betainc(np.maximum(events, 1), self.dispersion, mean / (self.dispersion + mean))
        bits = -np.log2(np.where(events > 0, tail, 1.0))
        return np.where(exposure > 0, np.maximum(bits, 0.0), np.nan)

    def to_dict(self) -> dict[str, Any]:
        """Field names and values, ready for JSON."""
        return dataclasses.asdict(self)
