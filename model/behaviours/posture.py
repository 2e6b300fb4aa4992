"""Whether people stand or sit upright, or are down."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.kinematics import HISTORY_S, SHANK, Bodies, Measure

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]

_UPRIGHT_DEG: Final = 40.0
DOWN_DEG: Final = 55.0
"""Angles of the torso from upright. Between the two, people bend, sit down or get up."""

_SHORT: Final = 0.22
"""A torso that looks shorter than this, in body heights, points towards or away from the camera; a whole one measures
0.32."""

_LEGS_UP: Final = 0.3
_THIGHS_UP: Final = 0.15
"""Hips this far above the feet or the knees, in body heights, are carried by legs: such a person bends over."""

WIDE: Final = 1.2
_LOW: Final = 0.5
_SPAN: Final = 0.35
"""A body is wide if its box is so much wider than high and spans `_SPAN` body heights; low, if the box is lower."""

_LEAST_JOINTS: Final = 8
"""With fewer joints in view a posture is not known: a person who is half hidden is not one who is down."""


RECENT_S: Final = 1.1
"""Seconds of `Posture.recent`."""


class Posture:
    """The posture of M people over the last seconds; every attribute has shape ``(M, moments)``, the newest last.

    An attribute is worked out when it is first asked for. All moments are judged by the height that is known of a
    person now, so nothing can be kept for the next moment. What a behaviour needs of everybody it should read
    from `recent`, and more only of those whom it concerns, from `some`.

    Args:
        bodies: The people.
        seconds: How far back.

    Example:
        >>> from model.kinematics import Kinematics
        >>> pose, box = np.zeros((1, 17, 3)), np.array([[90.0, 100.0, 110.0, 300.0]])
        >>> (bodies,) = Kinematics().observe(1.0, [7], box, pose, (640, 480))
        >>> bool(Posture.of(bodies).upright.any())
        False
    """

    def __init__(self, bodies: Bodies, seconds: float = HISTORY_S) -> None:
        self.bodies = bodies
        self.seconds = seconds
        self._some: dict[bytes, Posture] = {}

    @classmethod
    def of(cls, bodies: Bodies) -> Posture:
        """The postures of some people over all moments that are kept."""
        return cls(bodies)

    @cached_property
    def recent(self) -> Posture:
        """The same people over the last `RECENT_S` seconds: all that behaviours need to know of everybody."""
        return Posture(self.bodies, RECENT_S)

    @cached_property
    def low(self) -> Booleans:
        """Who is or was down, or is sinking, shape ``(M,)``: nobody else has fallen or lies."""
        return np.asarray(self.recent.down.any(axis=1) | self.recent.sunk[:, -2:].all(axis=1))

    def some(self, rows: NDArray[np.int64]) -> Posture:
        """The people in some rows over the same time. Who asks for the same rows gets the same answer."""
        key = rows.tobytes()
        if key not in self._some:
            self._some[key] = Posture(self.bodies.some(rows), self.seconds)
        return self._some[key]

    @cached_property
    def upright(self) -> Booleans:
        """The torso is upright, as in standing, walking and sitting."""
        return self._known & self._straight & (self._tall > _LOW)

    @cached_property
    def sunk(self) -> Booleans:
        """The torso is known and not upright."""
        return self._known & ~self._straight

    @cached_property
    def down(self) -> Booleans:
        """The body lies, or is as low as one that lies."""
        # Without legs in view, somebody who bends behind a counter looks like somebody who lies.
        lies = (self._tilt >= DOWN_DEG) & ~self.standing & ~(np.isnan(self._feet) & np.isnan(self._knees))
        wide = (self._width >= WIDE * self._tall) & (self._width >= _SPAN)
        low = (self._tall <= _LOW) & ~(self.bodies.series(Measure.CUT, self.seconds) > 0)
        return self.sunk & (lies | wide | low)

    @cached_property
    def flat(self) -> Booleans:
        """The body is down and lies across the picture. Somebody who is half hidden seldom looks like that."""
        return self.down & (self._width >= self._tall)

    @cached_property
    def standing(self) -> Booleans:
        """The legs carry the hips, as in standing, walking and bending over."""
        hips = self._length(Measure.HIP_Y)
        return np.where(np.isnan(self._feet), self._knees - hips >= _THIGHS_UP, self._feet - hips >= _LEGS_UP)

    @cached_property
    def height(self) -> Floats:
        """Place of the shoulders in body heights, downwards; nan where the person was not seen.

        Where no shoulder was seen, it is told from the head or the upper end of the box.
        """
        shoulders = self._length(Measure.SHOULDER_Y)
        # From the figure of a standing person: head at 0.08 and shoulders at 0.18 body heights below the crown.
        head = self._length(Measure.HEAD_Y) + 0.1
        crown = self._length(Measure.BOX_Y) - self._tall / 2 + 0.18
        return np.where(~np.isnan(shoulders), shoulders, np.where(~np.isnan(head), head, crown))

    @cached_property
    def rise(self) -> Floats:
        """How far the shoulders are above the feet, in body heights: about 0.8 in standing.

        An ankle that was not seen is assumed below the knee. nan where neither was seen.
        """
        return np.where(np.isnan(self._feet), self._knees + SHANK, self._feet) - self._length(Measure.SHOULDER_Y)

    @cached_property
    def _known(self) -> Booleans:
        return (self.bodies.series(Measure.JOINTS, self.seconds) >= _LEAST_JOINTS) & ~np.isnan(self._tilt)

    @cached_property
    def _straight(self) -> Booleans:
        torso = self._length(Measure.TORSO)
        return (self._tilt <= _UPRIGHT_DEG) & (torso >= _SHORT) & (self._width < self._tall)

    @cached_property
    def _tilt(self) -> Floats:
        return self.bodies.series(Measure.TILT, self.seconds)

    @cached_property
    def _tall(self) -> Floats:
        return self._length(Measure.TALL)

    @cached_property
    def _width(self) -> Floats:
        return self._length(Measure.WIDTH)

    @cached_property
    def _knees(self) -> Floats:
        return self.bodies.lengths(Measure.KNEE_Y, self.seconds)

    @cached_property
    def _feet(self) -> Floats:
        return self._length(Measure.FOOT_Y)

    @cached_property
    def _lengths(self) -> Floats:
        # One operation for all is faster than one for each.
        return self.bodies.several(Measure.HEAD_X, Measure.TALL, self.seconds) / self.bodies.stature

    def _length(self, measure: Measure) -> Floats:
        return self._lengths[:, measure].T
