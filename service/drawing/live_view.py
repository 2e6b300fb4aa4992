"""Draws the newest frame of each camera as JPEG, once for all viewers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, get_args

import cv2

from model.behaviours import Finding
from service.documents.messages import Score
from service.drawing.overlay import Image, blur_people, contributions, draw_live, fitted_size, resized

QUALITY: Final = 85

Ground = Literal["picture", "blurred", "none"]
"""Background of a drawing: the picture, the picture with people made unrecognisable, or none."""


class Drawable(Protocol):
    """A processed frame of a camera; each frame is a new object."""

    @property
    def image(self) -> Image | None:
        """The picture; None if there is none or it must not be shown."""

    @property
    def score(self) -> Score:
        """Score, level and people of the frame."""

    @property
    def findings(self) -> Sequence[Finding]:
        """What named behaviours see in the frame."""


@dataclass(slots=True)
class _Shown:
    lock: threading.Lock = field(default_factory=threading.Lock)
    latest: Drawable | None = None
    jpeg: bytes = b""


class LiveView:
    """Draws and encodes the newest frames of cameras; callable from any thread.

    Args:
        width: Greatest width of a picture in pixels.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._lock = threading.Lock()
        self._shown: dict[tuple[str, Ground], _Shown] = {}

    def jpeg(self, camera_id: str, latest: Drawable, ground: Ground = "picture") -> bytes:
        """Draw the newest frame of a camera with `draw_live`, and encode it as JPEG.

        Args:
            camera_id: Id of the camera.
            latest: Its newest frame.
            ground: The background.
        """
        with self._lock:
            shown = self._shown.setdefault((camera_id, ground), _Shown())
        # A viewer that comes while the frame is being drawn waits for it instead of drawing it again.
        with shown.lock:
            if shown.latest is not latest:
                shown.jpeg = self._draw(latest, ground)
                shown.latest = latest
            return shown.jpeg

    def forget(self, camera_id: str) -> None:
        """Drop the pictures of a camera that was removed."""
        with self._lock:
            for ground in get_args(Ground):
                self._shown.pop((camera_id, ground), None)

    def _draw(self, latest: Drawable, ground: Ground) -> bytes:
        image, score = latest.image, latest.score
        size = fitted_size(score.width, score.height, self._width)
        if image is not None and ground == "blurred":
            image = resized(image, size).copy()
            scale = size[0] / score.width, size[1] / score.height
            blur_people(image, [person.box for person in score.people], scale)
        joints = contributions(latest.findings)
        return encode_jpeg(draw_live(image, score, background=ground != "none", size=size, joints=joints))


def encode_jpeg(image: Image, quality: int = QUALITY) -> bytes:
    """Encode a picture as JPEG.

    Args:
        image: The picture.
        quality: 0 to 100.

    Raises:
        ValueError: The picture cannot be encoded.
    """
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise ValueError(f"a picture of shape {image.shape} cannot be written as JPEG")
    return data.tobytes()
