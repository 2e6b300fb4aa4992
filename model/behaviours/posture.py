"""Whether people stand or sit upright, or are down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.kinematics import SHANK, Bodies, Measure

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]

_UPRIGHT_DEG: Final = 40.0
_DOWN_DEG: Final = 55.0
"""Angles of the torso from upright. Between the two, people bend, sit down or get up."""

_SHORT: Final = 0.22
"""A torso that looks shorter than this, in body heights, points towards or away from the camera; a whole one measures
0.32."""

_LEGS_UP: Final = 0.3
_THIGHS_UP: Final = 0.15
"""Hips this far above the feet or the knees, in body heights, are carried by legs: such a person bends over."""

_WIDE: Final = 1.2
_LOW: Final = 0.5
_SPAN: Final = 0.35
"""A body is wide if its box is so much wider than high and spans `_SPAN` body heights; low, if the box is lower."""

_LEAST_JOINTS: Final = 8
"""With fewer joints in view a posture is not known: a person who is half hidden is not one who is down."""


@dataclass(frozen=True, slots=True, eq=False)
class Posture:
    """The posture of M people over the moments that are kept; all of shape ``(M, MOMENTS)``.

    Attributes:
        upright: The torso is upright, as in standing, walking and sitting.
        sunk: The torso is known and not upright.
        down: The body lies, or is as low as one that lies.
        flat: The body is down and lies across the picture. Somebody who is half hidden seldom looks like that.
        standing: The legs carry the hips, as in standing, walking and bending over.
        height: Place of the shoulders in body heights, downwards; of the head or the upper end of the box where no
            shoulder was seen. nan where the person was not seen.
        rise: How far the shoulders are above the feet, in body heights: about 0.8 in standing. An ankle that was not
            seen is assumed below the knee. nan where neither was seen.

    Example:
        >>> from model.kinematics import Kinematics
        >>> pose, box = np.zeros((1, 17, 3)), np.array([[90.0, 100.0, 110.0, 300.0]])
        >>> (bodies,) = Kinematics().observe(1.0, [7], box, pose, (640, 480))
        >>> bool(Posture.of(bodies).upright.any())
        False
    """

    upright: Booleans
    sunk: Booleans
    down: Booleans
    flat: Booleans
    standing: Booleans
    height: Floats
    rise: Floats

    @classmethod
    def of(cls, bodies: Bodies) -> Posture:
        """Judge the postures of some people."""
        tilt, torso = bodies.series(Measure.TILT), bodies.lengths(Measure.TORSO)
        tall, width = bodies.lengths(Measure.TALL), bodies.lengths(Measure.WIDTH)
        cut = bodies.series(Measure.CUT) > 0
        hips, knees, feet = (bodies.lengths(each) for each in (Measure.HIP_Y, Measure.KNEE_Y, Measure.FOOT_Y))
        standing = np.where(np.isnan(feet), knees - hips >= _THIGHS_UP, feet - hips >= _LEGS_UP)
        known = (bodies.series(Measure.JOINTS) >= _LEAST_JOINTS) & ~np.isnan(tilt)
        straight = (tilt <= _UPRIGHT_DEG) & (torso >= _SHORT) & (width < tall)
        sunk = known & ~straight
        # Without legs in view, somebody who bends behind a counter looks like somebody who lies.
        lies = (tilt >= _DOWN_DEG) & ~standing & ~(np.isnan(feet) & np.isnan(knees))
        wide = (width >= _WIDE * tall) & (width >= _SPAN)
        low = (tall <= _LOW) & ~cut
        down = sunk & (lies | wide | low)
        return cls(
            upright=known & straight & (tall > _LOW),
            sunk=sunk,
            down=down,
            flat=down & (width >= tall),
            standing=standing,
            height=_height(bodies),
            rise=np.where(np.isnan(feet), knees + SHANK, feet) - bodies.lengths(Measure.SHOULDER_Y),
        )


def _height(bodies: Bodies) -> Floats:
    shoulders = bodies.lengths(Measure.SHOULDER_Y)
    # From the figure of a standing person: head at 0.08 and shoulders at 0.18 body heights below the crown.
    head = bodies.lengths(Measure.HEAD_Y) + 0.1
    crown = bodies.lengths(Measure.BOX_Y) - bodies.lengths(Measure.TALL) / 2 + 0.18
    return np.where(~np.isnan(shoulders), shoulders, np.where(~np.isnan(head), head, crown))
