"""Zones of a camera's picture: where people are not scored, such as a street or a screen, and where lying is normal."""

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
    return _inside(np.clip(np.stack([(left + right) / 2, bottom], 1) / size, 0.0, 1.0), zones)


def resting_in(boxes: ArrayLike, zones: Sequence[Zone], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Find the people who rest in a zone: the middle of the box is in it.

    The whole body counts and not the feet, because the lower edge of the box of somebody who lies in a bed is at the
    edge of the bed.

    Args:
        boxes: Shape ``(M, 4)``: left, top, right, bottom in pixels.
        zones: Polygons.
        size: Width and height of the picture in pixels.

    Returns:
        Shape ``(M,)``, True for each person in a zone.
    """
    left, top, right, bottom = np.asarray(boxes, np.float64).reshape(-1, 4).T
    return _inside(np.clip(np.stack([(left + right) / 2, (top + bottom) / 2], 1) / size, 0.0, 1.0), zones)


def _inside(points: NDArray[np.float64], zones: Sequence[Zone]) -> NDArray[np.bool_]:
    inside = np.zeros(len(points), bool)
    for zone in zones:
        polygon = np.asarray(zone, np.float32)
        found = [cv2.pointPolygonTest(polygon, (float(x), float(y)), measureDist=False) >= 0 for x, y in points]
        inside |= np.array(found, bool)
    return inside
