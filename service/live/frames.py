"""Records that enter and leave the live loop: sightings and scored frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.behaviours import Finding
from model.scorer import ScoredWindow
from pose.estimator import Poses
from pose.source import Frame
from pose.tracker import TrackedPoses
from service.documents.base import MissingScore


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """Skeletons of one frame, which a skeleton feed delivers instead of a picture.

    Attributes:
        camera_id: Id of the camera.
        sequence: Number of the frame, from 0.
        captured_at: Capture time in seconds on the monotonic clock.
        width: Width in pixels of the picture in which the keypoints lie.
        height: Height in pixels.
        people: The people in the frame; with track numbers if the device follows people itself.
        connection: Number of the device's connection. Track numbers of two connections are unrelated.
    """

    camera_id: str
    sequence: int
    captured_at: float
    width: int
    height: int
    people: Poses | TrackedPoses
    connection: int = 0


class Inbox(Protocol):
    """The source of a camera, as the engine sees it: frames wait here until they are taken."""

    @property
    def frames_overwritten(self) -> int:
        """Number of frames that were replaced by a newer one before they were taken."""

    def take(self) -> Frame | Sighting | None:
        """Take the next waiting frame; None if none waits."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A frame that the engine has processed, with the scores of the people in it.

    Attributes:
        camera_id: Id of the camera.
        sequence: Number of the frame.
        captured_at: Capture time in seconds on the monotonic clock.
        image: The picture, BGR; None from a skeleton feed.
        width: Width in pixels.
        height: Height in pixels.
        track_ids: Track numbers of the ``M`` people in the frame.
        boxes: Shape ``(M, 4)``: left, top, right, bottom in pixels.
        keypoints: Shape ``(M, 17, 3)``: x and y in pixels, and confidence in 0..1.
        newest: Newest window of each person that still counts for this frame; None if there is none.
        nll: Highest negative log-likelihood over people, in bits per dimension; nan if nobody is scored.
        smoothed: Highest raw score over people (`ScoredWindow.raw`), causally smoothed; nan if nobody is scored.
        reason: Why nobody is scored; None if somebody is.
        findings: What named behaviours see in the people of this frame, with scores of 0.5 and above.
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
    findings: list[Finding]


def scene_of(item: Frame | Sighting) -> tuple[int, int, int]:
    """Height and width of a frame in pixels, and the connection that its track numbers belong to; 0 for pictures."""
    if isinstance(item, Sighting):
        return item.height, item.width, item.connection
    height, width = item.image.shape[:2]
    return height, width, 0
