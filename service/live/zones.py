"""Zones of a camera's picture: where people are not scored, such as a street or a screen, and where lying is normal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from model.behaviours import Finding, Kind
from model.behaviours.ground import inside

MOST_ZONES: Final = 16
MOST_CORNERS: Final = 32

_RESTING: Final = frozenset({Kind.FALL, Kind.LYING, Kind.CRAWLING})
"""Behaviours that mean nothing where lying is normal."""

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
    return _inside(np.stack([(left + right) / 2, bottom], 1) / size, zones)


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
    return _inside(np.stack([(left + right) / 2, (top + bottom) / 2], 1) / size, zones)


def without_rest(
    findings: Sequence[Finding],
    track_ids: Sequence[int],
    boxes: ArrayLike,
    zones: Sequence[Zone],
    size: tuple[int, int],
) -> list[Finding]:
    """The findings that are left where lying is normal: no `fall`, `lying` or `crawling` of people who rest.

    Args:
        findings: What named behaviours see in a frame.
        track_ids: Track numbers of the M people in it.
        boxes: Shape ``(M, 4)``: left, top, right, bottom in pixels.
        zones: Polygons.
        size: Width and height of the picture in pixels.
    """
    if not zones or not any(one.kind in _RESTING for one in findings):
        return list(findings)
    at_rest = resting_in(boxes, zones, size)
    resting = {track for track, rests in zip(track_ids, at_rest, strict=True) if rests}
    return [one for one in findings if one.kind not in _RESTING or not resting.issuperset(one.tracks)]


def _inside(points: NDArray[np.float64], zones: Sequence[Zone]) -> NDArray[np.bool_]:
    return np.any([inside(points, zone) for zone in zones], axis=0) if zones else np.zeros(len(points), bool)
