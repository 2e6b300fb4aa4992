"""Wrong way: somebody goes against the direction that a site declares."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np

from model.behaviours.base import LEAST_SCORE, MOST_SCORE, Finding, Kind
from model.behaviours.ground import Polygon, ground, within
from model.behaviours.posture import Posture
from model.kinematics import RATE_HZ, Bodies, moments

_WAY_H: Final = 1.2
"""Body heights, two metres, that somebody goes against the direction at least: a step aside or back is none."""

_SPAN_S: Final = 4.0
"""Within this time; people walk that far in 1.5 to 3 s."""

_ANGLE_DEG: Final = 45.0
"""Most angle between the way and the opposite of the direction."""

_EVEN: Final = 0.12
"""Share of the way that lies in each third of the time at least: a box that jumps goes nowhere."""

_LEAST_S: Final = 0.6


@dataclass(frozen=True, slots=True)
class WrongWay:
    """The behaviour `wrong_way`; it needs no state beyond the kinematics.

    Attributes:
        direction_deg: The direction in which people are to go, on the picture: 0 is to its right, 90 up, 180 to its
            left, and 270 down.
        zone: Where it counts; None is everywhere.

    Example:
        >>> WrongWay(direction_deg=180.0).start()
    """

    direction_deg: float
    zone: Polygon | None = None

    kind = Kind.WRONG_WAY

    def start(self) -> None:
        """Nothing to keep."""
        return None

    def update(self, state: None, bodies: Bodies, posture: Posture) -> tuple[None, list[Finding]]:
        """Take the next moment; see `model.behaviours.Behaviour`."""
        span = moments(_SPAN_S) - 1
        place = ground(bodies, _SPAN_S) / bodies.stature[:, None, None]
        angle = np.radians(self.direction_deg)
        forbidden = np.array([-np.cos(angle), np.sin(angle)])
        way = place[:, -1:] - place[:, :-1]
        against, length = way @ forbidden, np.linalg.norm(way, axis=2)
        index = np.arange(span)
        thirds = [place[:, index + (span - index) * part // 3] @ forbidden for part in range(4)]
        steps = np.min([after - before for before, after in itertools.pairwise(thirds)], axis=0)
        straight = (against >= np.cos(np.radians(_ANGLE_DEG)) * length) & (steps >= _EVEN * against)
        enough = span - index >= _LEAST_S * RATE_HZ
        against = np.where(straight & enough, against, 0.0)
        # A longer time that counts as well shows more of the way.
        best = against.argmax(axis=1)
        gone = against[np.arange(len(bodies)), best]
        upright = posture.recent.upright[:, -moments(_LEAST_S) :].mean(axis=1) >= 0.5
        gone = np.where(within(bodies, self.zone) & upright, gone, 0.0)
        findings = []
        for row in np.flatnonzero(gone >= LEAST_SCORE * _WAY_H).tolist():
            seconds = float(span - best[row]) / RATE_HZ
            findings.append(
                Finding(
                    kind=Kind.WRONG_WAY,
                    tracks=(bodies.track_ids[row],),
                    score=float(min(gone[row] / _WAY_H, MOST_SCORE)),
                    since=bodies.time - seconds,
                    saw=f"goes {gone[row]:.1f} body heights against the direction of this place in {seconds:.1f} s",
                    facts={"against_h": float(gone[row]), "within_s": seconds},
                )
            )
        return None, findings
