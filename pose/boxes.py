"""Boxes around people: left, top, right, bottom."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def area(boxes: Floats) -> Floats:
    """Area of boxes.

    Args:
        boxes: Shape ``(..., 4)``: left, top, right, bottom.

    Returns:
        Shape ``(...)``, in the square of the unit of the boxes.
    """
    return np.asarray((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]))


def intersection(one: Floats, other: Floats) -> Floats:
    """Area that boxes share.

    Args:
        one: Shape ``(..., 4)``.
        other: Shape ``(..., 4)``, broadcast against `one`.

    Returns:
        Shape ``(...)``, in the square of the unit of the boxes.
    """
    sides = (np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])).clip(0.0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def iou(one: Floats, other: Floats) -> Floats:
    """Intersection over union of boxes.

    Args:
        one: Shape ``(..., 4)``.
        other: Shape ``(..., 4)``, broadcast against `one`.

    Returns:
        Shape ``(...)``, in 0..1; 0 where both boxes are empty.

    Example:
        >>> import numpy as np
        >>> float(iou(np.array([0.0, 0.0, 2.0, 2.0]), np.array([1.0, 0.0, 3.0, 2.0])).round(3))
        0.333
    """
    shared = intersection(one, other)
    return np.asarray(shared / (area(one) + area(other) - shared).clip(1e-9))
