"""Watches whether a camera can see people, between its source, the live loop and the log."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from pose.sight import CannotSee, Sight, SightChange, look_at
from service.live.frames import Scored


class SightWatch:
    """Looks at pictures of a camera now and then and reports when it can no longer see people, and when it can again.

    The thread that reads the camera shows it pictures, and the thread of the live loop shows it people.

    Args:
        camera_id: The camera.
        checks: The reasons that may be reported; without any, pictures are not looked at.
        on_change: Called with every change, in order; it must return quickly.
    """

    def __init__(self, camera_id: str, checks: Collection[CannotSee], on_change: Callable[[SightChange], None]) -> None:
        self._camera_id = camera_id
        self._on_change = on_change
        self._checks = frozenset(checks)
        self._lock = threading.Lock()
        self._sight = Sight()
        self._told: tuple[CannotSee, float] | None = None

    @property
    def blind(self) -> tuple[CannotSee, float] | None:
        """Why the camera cannot see people, and since which moment of the monotonic clock.

        None if it can see, or if that is not known yet.
        """
        return self._told

    def picture(self, image: NDArray[np.uint8], moment: float) -> None:
        """Look at a picture, unless one was looked at just before.

        Args:
            image: Shape ``(height, width, 3)``, BGR, uint8.
            moment: Its capture time in seconds.
        """
        if not self._checks or not self._sight.due(moment):
            return
        look = look_at(image)
        with self._lock:
            self._sight.look(look, moment)
            self._report(moment)

    def people(self, scored: Scored) -> None:
        """Take in the people of a processed frame."""
        if not self._checks or scored.image is None:
            return
        with self._lock:
            self._sight.people(
                scored.keypoints, scored.boxes, scored.track_ids, (scored.width, scored.height), scored.captured_at
            )
            self._report(scored.captured_at)

    def change(self, checks: Collection[CannotSee], moment: float) -> None:
        """Report other reasons from now on; what the camera cannot see now is reported or taken back at once."""
        with self._lock:
            if not checks or not self._checks:
                # What was seen before pictures were no longer looked at says nothing of now.
                self._sight = Sight()
            self._checks = frozenset(checks)
            self._report(moment)

    def stop(self, moment: float) -> None:
        """End the watch: a camera that is not watched is not reported as blind."""
        with self._lock:
            self._checks = frozenset()
            self._report(moment)

    def _report(self, moment: float) -> None:
        reason = self._sight.cannot_see
        now = reason if reason in self._checks else None
        previous = None if self._told is None else self._told[0]
        if now is previous:
            return
        self._told = None if now is None else (now, moment)
        self._on_change(SightChange(self._camera_id, previous, now, moment))
