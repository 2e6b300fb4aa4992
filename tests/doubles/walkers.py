"""People who walk on the spot, and an inbox that hands their frames out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from pose.estimator import Poses
from pose.source import Frame
from service.live.frames import Sighting

RATE_HZ = 15.0


def walker(times: NDArray[np.float64], place: int = 0) -> NDArray[np.float64]:
    """COCO poses ``(n, 17, 3)`` of somebody who walks on the spot at a place of their own."""
    body = np.random.default_rng(0)
    base = body.uniform(100, 200, (17, 2)) + np.array([place, 0])
    phase, reach = body.uniform(0, 6, (17, 2)), body.uniform(1, 8, (17, 2))
    joints = base + reach * np.sin(2 * np.pi * times[:, None, None] + phase)
    return np.concatenate([joints, np.full((len(times), 17, 1), 0.9)], axis=2)


@dataclass
class Queue:
    """An inbox that hands out what was put in, one after another."""

    items: deque[Frame | Sighting] = field(default_factory=deque)
    frames_overwritten: int = 0

    def take(self) -> Frame | Sighting | None:
        return self.items.popleft() if self.items else None


def person(place: int, moment: float) -> Poses:
    """The poses of one walker at a moment, as an estimator finds them."""
    keypoints = torch.from_numpy(walker(np.array([moment]), place)).to(torch.float32)
    low, high = keypoints[0, :, :2].amin(dim=0), keypoints[0, :, :2].amax(dim=0)
    return Poses(torch.cat([low, high])[None], keypoints, torch.tensor([0.9]))


def frame_at(moment: float, camera_id: str = "hall") -> Frame:
    """A frame with a black picture."""
    return Frame(camera_id, 0, moment, np.zeros((480, 640, 3), np.uint8))
