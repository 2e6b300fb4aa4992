"""Causal smoothing of scores that arrive at any rate."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DEFAULT_TAU_S: Final = 0.5
"""Chosen on normal footage alone: smoothing lowers the threshold that a given number of false alarms costs, and lowers
the peak of a short event. At this value the smallest rise of two seconds that would still raise an alarm is smallest,
on average over rates (``benchmarks/research/calibration.py --smoothing``)."""

DEFAULT_GAP_S: Final = 1.0
"""Shorter than the time until a new person is scored, so that a first score is never smoothed with those of people who
have left."""


class CausalSmoother:
    """Exponential smoothing in time: after dt seconds a new value weighs ``1 - exp(-dt / tau)``.

    Equal stretches of time weigh equally, however many frames they hold. After a longer gap
    smoothing starts anew with the next value.

    Args:
        tau_s: Time constant in seconds; 0 passes values unchanged.
        gap_s: Longest time in seconds between two values that is bridged.

    Example:
        >>> smoother = CausalSmoother(tau_s=1.0, gap_s=5.0)
        >>> [round(smoother.update(time, value), 3) for time, value in ((0.0, 1.0), (1.0, 2.0), (10.0, 4.0))]
        [1.0, 1.632, 4.0]
    """

    def __init__(self, tau_s: float = DEFAULT_TAU_S, gap_s: float = DEFAULT_GAP_S) -> None:
        if not (0 <= tau_s < math.inf and 0 <= gap_s < math.inf):
            raise ValueError(f"tau_s and gap_s must not be negative, got {tau_s} and {gap_s}")
        self.tau_s = tau_s
        self.gap_s = gap_s
        self._time = -math.inf
        self._value = math.nan

    def update(self, time: float, value: float) -> float:
        """Add a value and return the smoothed one; nan gives nan and changes nothing.

        Args:
            time: Seconds, not before the last value.
            value: In any unit, or nan.

        Raises:
            ValueError: Time is before that of the last value.
        """
        if math.isnan(value):
            return math.nan
        passed = time - self._time
        if passed < 0:
            raise ValueError(f"time runs backwards, from {self._time} to {time}")
        if passed > self.gap_s or self.tau_s == 0:
            self._value = value
        else:
            self._value -= math.expm1(-passed / self.tau_s) * (value - self._value)
        self._time = time
        return self._value


def smooth_causally(
    times: Floats, values: Floats, tau_s: float = DEFAULT_TAU_S, gap_s: float = DEFAULT_GAP_S
) -> Floats:
    """A whole series through `CausalSmoother`.

    Args:
        times: Shape ``(n,)``, seconds, not decreasing.
        values: Shape ``(n,)``; nan where there is none.
        tau_s: See `CausalSmoother`.
        gap_s: See `CausalSmoother`.

    Returns:
        Shape ``(n,)``; nan where `values` is.
    """
    smoother = CausalSmoother(tau_s, gap_s)
    return np.array([smoother.update(t, v) for t, v in zip(times.tolist(), values.tolist(), strict=True)], np.float64)
