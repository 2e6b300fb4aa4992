"""How people have gone down since they were last upright."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from model.behaviours.posture import Booleans, Floats, Posture
from model.kinematics import RATE_HZ, Bodies, Measure, moments

_STEP: Final = 3
"""Moments over which speeds are taken, 0.3 s: less measures noise."""

_ADVANCE: Final = 0.75
"""Somebody whose shoulders and feet move down the picture this fast, in body heights per second, while they are upright
comes towards the camera, and is about to leave the picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Descent:
    """The way down of M people; all of shape ``(M,)``.

    Attributes:
        known: Whether the person was upright within the time that was asked for.
        since: When the person was last upright, seconds.
        drop: How far the shoulders have come down since, in body heights: against the feet or against the picture,
            whichever is more. -inf where it is not known.
        below: The same against the picture alone.
        speed: Their highest speed downwards, body heights per second, over 0.3 s.

    Example:
        >>> from model.kinematics import Kinematics
        >>> pose, box = np.zeros((1, 17, 3)), np.array([[90.0, 100.0, 110.0, 300.0]])
        >>> (bodies,) = Kinematics().observe(1.0, [7], box, pose, (640, 480))
        >>> Descent.of(bodies, Posture.of(bodies), 2.0).known
        array([False])
    """

    known: Booleans
    since: Floats
    drop: Floats
    below: Floats
    speed: Floats

    @classmethod
    def of(cls, bodies: Bodies, posture: Posture, seconds: float) -> Descent:
        """Measure the way down over the last seconds."""
        span = moments(seconds)
        height, upright = posture.height[:, -span:], posture.upright[:, -span:]
        position = np.arange(span)
        last = np.where(upright, position, -1).max(axis=1)
        # Against the picture, only what follows the last upright moment counts: who walks towards the camera moves down
        # the picture too. Against the feet there is no such doubt.
        near = upright & (position >= last[:, None] - _STEP)
        below = _newest(height) - np.where(near, height, np.inf).min(axis=1)
        advance = _advance(bodies, height, last)
        below = np.where(advance >= _ADVANCE, -np.inf, below)
        # A body that the border cuts may walk out of the picture: what it would have moved so does not count.
        cut = bodies.series(Measure.CUT)[:, -1] > 0
        below = below - np.where(cut, np.fmax(advance, 0.0) * (span - 1 - last) / RATE_HZ, 0.0)
        before = upright & (position >= last[:, None] - 2 * _STEP)
        above = np.where(before, posture.rise[:, -span:], -np.inf)
        above = np.fmax.reduce(above, axis=1) - _newest(posture.rise)
        pace = (height[:, _STEP:] - height[:, :-_STEP]) * RATE_HZ / _STEP
        pace = np.where(position[:-_STEP] >= last[:, None] - 2 * _STEP, pace, np.nan)
        return cls(
            known=last >= 0,
            since=bodies.time - (span - 1 - np.maximum(last, 0)) / RATE_HZ,
            drop=_known(np.fmax(above, below)),
            below=_known(below),
            speed=_known(np.fmax.reduce(pace, axis=1)),
        )


def _advance(bodies: Bodies, height: Floats, last: np.ndarray) -> Floats:
    """How fast upright people moved down the picture before they stopped being upright, body heights per second."""
    feet = bodies.lengths(Measure.FOOT_Y)[:, -height.shape[1] :]
    rows, early = np.arange(len(height)), np.maximum(last - 2 * _STEP, 0)
    moved = np.fmin(height[rows, last] - height[rows, early], feet[rows, last] - feet[rows, early])
    return np.asarray(moved * RATE_HZ / (2 * _STEP))


def _newest(series: Floats) -> Floats:
    """Mean of the last two moments, or the one of them that is known."""
    first, second = series[:, -2], series[:, -1]
    return np.where(np.isnan(first), second, np.where(np.isnan(second), first, (first + second) / 2))


def _known(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, -np.inf)
