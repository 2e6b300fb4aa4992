"""Where people are on the ground, as far as one picture can say it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.behaviours.posture import Booleans, Floats
from model.kinematics import HISTORY_S, Bodies, Measure

Polygon = tuple[tuple[float, float], ...]
"""A zone: its corners as shares of the width and height of the picture."""

DEPTH: Final = 2.0
"""Ways up and down the picture are taken to be so many times as long as they look: a camera that looks down at 30
degrees shows half of them."""

_ON_EDGE: Final = 1e-9
"""A point is on a line if the area that it spans with a side is no larger."""


def ground(bodies: Bodies, seconds: float = HISTORY_S) -> Floats:
    """Places over the last seconds, shape ``(M, moments, 2)``: pixels across, and pixels down times `DEPTH`.

    The middle of the hips stands for the person: it is seen when the feet are hidden, and does not swing as they do.
    """
    across, down = bodies.series(Measure.HIP_X, seconds), bodies.series(Measure.HIP_Y, seconds)
    return np.stack([across, DEPTH * down], axis=-1)


def within(bodies: Bodies, zone: Polygon | None) -> Booleans:
    """Who stands in a zone now, shape ``(M,)``: the middle of the lower edge of the box is in it."""
    if zone is None:
        return np.ones(len(bodies), bool)
    newest = bodies.past[:, -1]
    feet = np.stack([newest[:, Measure.BOX_X], newest[:, Measure.BOX_Y] + newest[:, Measure.TALL] / 2], axis=1)
    return inside(feet / bodies.size, zone)


def inside(points: NDArray[np.float64], zone: Polygon) -> Booleans:
    """Which points are in a zone or on its edge.

    Args:
        points: Shape ``(N, 2)``, as shares of the width and height of the picture. Those outside the picture count as
            at its edge.
        zone: The zone.

    Returns:
        Shape ``(N,)``.
    """
    start = np.asarray(zone, np.float64)
    side = np.roll(start, -1, axis=0) - start
    # A row for each point, a column for each side.
    away = np.clip(points, 0.0, 1.0)[:, None] - start
    turn = side[:, 0] * away[..., 1] - side[:, 1] * away[..., 0]
    share = (away * side).sum(axis=2)
    on_edge = (np.abs(turn) <= _ON_EDGE) & (share >= 0) & (share <= (side**2).sum(axis=1))
    # A point is inside if a line from it to the right crosses an odd number of sides.
    crossed = ((away[..., 1] >= 0) != (away[..., 1] >= side[:, 1])) & ((turn < 0) == (side[:, 1] < 0))
    return np.asarray(on_edge.any(axis=1) | (crossed.sum(axis=1) % 2 == 1))
