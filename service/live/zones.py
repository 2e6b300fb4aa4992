"""Zones of a camera's picture in which people are not scored, such as a street, a screen or a poster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

MOST_ZONES: Final = 16
MOST_CORNERS: Final = 32

_Share = Annotated[float, Field(ge=0.0, le=1.0)]

Zone = Annotated[tuple[tuple[_Share, _Share], ...], Field(min_length=3, max_length=MOST_CORNERS)]
"""A polygon: its corners as fractions of the picture's width and height."""


def standing_in(boxes: ArrayLike, zones: Sequence[Zone], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Find the people who stand in a zone: the middle of the lower edge of the box is in it.

    The feet count and not the whole box, because a person in front of a zone covers a part of it.

    Args:
        boxes: Shape ``(M, 4)``: left, top, right, bottom in pixels.
        zones: Polygons.
        size: Width and height of the picture in pixels.

    Returns:
        Shape ``(M,)``, True for each person in a zone.
    """
    left, _, right, bottom = np.asarray(boxes, np.float64).reshape(-1, 4).T
    # Feet outside the picture count as standing at its edge.
    feet = np.clip(np.stack([(left + right) / 2, bottom], 1) / size, 0.0, 1.0)
    inside = np.zeros(len(feet), bool)
    for zone in zones:
        polygon = np.asarray(zone, np.float32)
        found = [cv2.pointPolygonTest(polygon, (float(x), float(y)), measureDist=False) >= 0 for x, y in feet]
        inside |= np.array(found, bool)
    return inside
