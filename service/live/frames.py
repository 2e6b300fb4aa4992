"""What enters and leaves the live loop: frames, sightings and scored frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.scorer import ScoredWindow
from pose.estimator import Poses
from pose.source import Frame
from pose.tracker import TrackedPoses
from service.documents.base import MissingScore


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """People seen elsewhere: what a skeleton feed delivers instead of a picture.

    Attributes:
        camera_id: The feed.
        sequence: Number of the frame in the feed, from 0.
        captured_at: Seconds on the monotonic clock.
        width: Pixels of the plane that the keypoints lie in.
        height: Pixels.
        people: Whom the device saw; with identities if it follows people itself.
        connection: Number of the device's connection; identities of another one are other people's.
    """

    camera_id: str
    sequence: int
    captured_at: float
    width: int
    height: int
    people: Poses | TrackedPoses
    connection: int = 0


class Inbox(Protocol):
    """Where a camera's newest frame waits."""

    @property
    def frames_overwritten(self) -> int:
        """Frames that were replaced by a newer one before anybody took them."""

    def take(self) -> Frame | Sighting | None:
        """The newest frame, once; None if it was taken already."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A processed frame on its way out of the engine.

    Attributes:
        camera_id: The camera.
        sequence: Number of the frame.
        captured_at: Seconds on the monotonic clock.
        image: The picture, BGR; None from a skeleton feed.
        width: Pixels.
        height: Pixels.
        track_ids: People in the frame.
        boxes: Shape ``(M, 4)``, pixels.
        keypoints: Shape ``(M, 17, 3)`` on the CPU.
        newest: For each of them the newest window, if there is one that still speaks for the frame.
        nll: Highest negative log-likelihood over people, bits per dimension; nan where nobody is scored.
        smoothed: Highest raw score over people (`ScoredWindow.raw`), causally smoothed.
        reason: Why nobody is scored.
    """

    camera_id: str
    sequence: int
    captured_at: float
    image: NDArray[np.uint8] | None
    width: int
    height: int
    track_ids: list[int]
    boxes: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    newest: list[ScoredWindow | None]
    nll: float
    smoothed: float
    reason: MissingScore | None


def _scene(item: Frame | Sighting) -> tuple[int, int, int]:
    """Height and width of the picture, and the connection that identities belong to."""
    if isinstance(item, Sighting):
        return item.height, item.width, item.connection
    height, width = item.image.shape[:2]
    return height, width, 0
