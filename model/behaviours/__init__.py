"""Behaviours that have a name: what a person would say of them, read from seconds of movement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.behaviours.base import Finding, Kind

__all__ = ["Behaviours", "Finding", "Kind"]


class Behaviours:
    """All behaviours of one camera or clip."""

    def observe(
        self,
        time: float,
        track_ids: Sequence[int],
        boxes: NDArray[np.float32],
        keypoints: NDArray[np.float32],
        size: tuple[int, int],
    ) -> list[Finding]:
        """Take the people of the next frame.

        Args:
            time: Capture time in seconds, after that of the last frame.
            track_ids: M different track numbers.
            boxes: Shape ``(M, 4)``: left, top, right, bottom in pixels.
            keypoints: Shape ``(M, 17, 3)``: COCO x, y in pixels and confidence in 0..1; 0 is unseen.
            size: Width and height of the picture in pixels.

        Returns:
            What the behaviours see now, with scores of 0.5 and above.
        """
        return []
