"""A camera of the small world, whose pictures are drawn as they are asked for."""

from __future__ import annotations

import threading
import time
from typing import Final

from pose.live import Picture, SourceError
from simulation.rendering import render
from simulation.scene import Scene

_LAGGING_S: Final = 0.25


class SimulatedCapture:
    """A scene as if it were a camera: paced by its frame rate, from its beginning each time it is opened.

    Where the machine cannot keep up, life goes on slower rather than later and later.

    Args:
        scene: What the camera sees.

    Raises:
        SourceError: The scene's camera cannot see anybody from head to foot.
    """

    def __init__(self, scene: Scene) -> None:
        try:
            self._frames = render(scene)
        except ValueError as error:
            raise SourceError("rejected", str(error), permanent=True) from error
        self._closed = threading.Event()
        self._start = time.monotonic()
        self._late = 0.0

    def read(self) -> Picture:
        """Wait for the next picture.

        Raises:
            SourceError: The capture was closed, or the scene is over.
        """
        frame = None if self._closed.is_set() else next(self._frames, None)
        if frame is None:
            raise SourceError("ended", "the scene is over")
        now = time.monotonic() - self._start
        due = frame.time_s + self._late
        if now - due > _LAGGING_S:
            self._late += now - due
            due = now
        if self._closed.wait(max(due - now, 0.0)):
            raise SourceError("ended", "the connection was given up")
        return Picture(frame.image, due)

    def close(self) -> None:
        """Give it up, from any thread; a read under way ends soon."""
        self._closed.set()
