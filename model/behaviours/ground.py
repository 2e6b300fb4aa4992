"""Where people are on the ground, as far as one picture can say it."""

from __future__ import annotations

from typing import Final

import numpy as np

from model.behaviours.posture import Booleans, Floats
from model.kinematics import HISTORY_S, Bodies, Measure

Polygon = tuple[tuple[float, float], ...]
"""A zone: its corners as shares of the width and height of the picture."""

DEPTH: Final = 2.0
"""Ways up and down the picture are taken to be so many times as long as they look: a camera that looks down at 30
degrees shows half of them."""


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
    x = newest[:, Measure.BOX_X] / bodies.size[0]
    y = (newest[:, Measure.BOX_Y] + newest[:, Measure.TALL] / 2) / bodies.size[1]
    # A point is inside if a line from it to the right crosses an odd number of sides.
    odd = np.zeros(len(bodies), bool)
    for (left, top), (right, bottom) in zip(zone, (*zone[1:], zone[0]), strict=True):
        if top != bottom:
            between = (np.minimum(top, bottom) <= y) & (y < np.maximum(top, bottom))
            odd ^= between & (x < left + (y - top) * (right - left) / (bottom - top))
    return odd
