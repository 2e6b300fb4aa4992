"""Running: somebody moves across the picture faster than people walk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from model.behaviours.base import LEAST_SCORE, LEGS, Finding, Kind
from model.behaviours.posture import Posture
from model.kinematics import RATE_HZ, Bodies, Measure, moments

SPEED: Final = 1.25
"""Body heights per second from which the behaviour fires: 2.1 m/s. People change from walking to running at 2.0 m/s
(Thorstensson and Roberthson, Acta Physiol. Scand. 131, 1987), and a picture shows less of their speed, never more."""

_SPAN_S: Final = 1.0
_STEP_S: Final = 0.5
_STRAIGHT: Final = 0.8
"""The way is taken over `_SPAN_S`, and must be at least this straight: a box that jumps is no run."""

_EVEN: Final = 0.6
"""The slower half of the way has at least this share of the mean speed."""

_GROWTH: Final = 1.25
"""Most change of the box's height over the way: a box that grows suddenly has moved because it was cut before."""


@dataclass(frozen=True, slots=True)
class Running:
    """The behaviour `running`; it needs no state beyond the kinematics.

    Motion towards the camera or away from it changes the picture little and is not seen.

    Example:
        >>> Running().start()
    """

    kind = Kind.RUNNING

    def start(self) -> None:
        """Nothing to keep."""
        return None

    def update(self, state: None, bodies: Bodies, posture: Posture) -> tuple[None, list[Finding]]:
        """Take the next moment; arguments and result as in `Fall.update`."""
        ways = bodies.several(Measure.HIP_X, Measure.HIP_Y, _SPAN_S)[:: round(_STEP_S * RATE_HZ)] / bodies.stature
        halves = np.diff(ways, axis=0)
        lengths, across = np.hypot(halves[:, 0], halves[:, 1]), ways[-1] - ways[0]
        whole = np.hypot(across[0], across[1])
        tall = bodies.lengths(Measure.TALL, _SPAN_S)
        even = lengths.min(axis=0) >= _EVEN * lengths.mean(axis=0)
        straight = whole >= _STRAIGHT * lengths.sum(axis=0)
        steady = np.fmax(tall[:, 0], tall[:, -1]) <= _GROWTH * np.fmin(tall[:, 0], tall[:, -1])
        upright = posture.recent.upright[:, -moments(_SPAN_S) :].mean(axis=1) >= _STRAIGHT
        speeds = np.where(even & straight & steady & upright, whole / _SPAN_S, 0.0)
        findings = [
            Finding(
                kind=Kind.RUNNING,
                tracks=(bodies.track_ids[row],),
                score=speed / SPEED,
                since=bodies.time - _SPAN_S,
                saw=f"moves {speed:.1f} body heights a second; people walk at up to 1.2",
                facts={"speed_h_s": speed},
                joints=LEGS,
            )
            for row, speed in enumerate(speeds.tolist())
            if speed >= LEAST_SCORE * SPEED
        ]
        return None, findings
