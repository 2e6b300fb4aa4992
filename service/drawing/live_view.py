"""What a camera shows now, as JPEG: drawn once for each frame, however many look at it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, get_args

import cv2

from service.documents.messages import Score
from service.drawing.overlay import Image, blur_people, draw_live, fitted_size, resized

QUALITY: Final = 85

Ground = Literal["picture", "blurred", "none"]
"""What is drawn onto: the picture, the picture with people made unrecognisable, or nothing."""


class Drawable(Protocol):
    """The newest processed frame of a camera; another object for each frame."""

    @property
    def image(self) -> Image | None:
        """The picture, None where there is none or it must not be shown."""

    @property
    def score(self) -> Score:
        """What was found in it."""


@dataclass(slots=True)
class _Shown:
    lock: threading.Lock = field(default_factory=threading.Lock)
    latest: Drawable | None = None
    jpeg: bytes = b""


class LiveView:
    """Draws and encodes the newest frames of cameras; any thread may call it.

    Args:
        width: Pixels that a picture is wide at most.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._lock = threading.Lock()
        self._shown: dict[tuple[str, Ground], _Shown] = {}

    def jpeg(self, camera_id: str, latest: Drawable, ground: Ground = "picture") -> bytes:
        """The newest frame of a camera with all that was found in it, see `draw_live`.

        Args:
            camera_id: The camera.
            latest: Its newest frame.
            ground: What to draw onto.
        """
        with self._lock:
            shown = self._shown.setdefault((camera_id, ground), _Shown())
        # Who comes while it is being drawn waits for it instead of drawing it again.
        with shown.lock:
            if shown.latest is not latest:
                shown.jpeg = self._draw(latest, ground)
                shown.latest = latest
            return shown.jpeg

    def forget(self, camera_id: str) -> None:
        """Let go of the pictures of a camera that was removed."""
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
        return encode_jpeg(draw_live(image, score, background=ground != "none", size=size))


def encode_jpeg(image: Image, quality: int = QUALITY) -> bytes:
    """A picture as JPEG.

    Args:
        image: The picture.
        quality: 0 to 100.
    """
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise ValueError(f"a picture of shape {image.shape} cannot be written as JPEG")
    return data.tobytes()
