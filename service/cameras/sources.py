"""Opens the sources of cameras: streams, devices, looped files and simulated cameras."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from pose.captures import DeviceCapture, LoopCapture, StreamCapture
from pose.live import Capture, LiveTiming, Picture, SourceError
from service.addresses.policy import Resolve, StreamPolicy, system_resolve
from service.addresses.urls import StreamUrl, StreamUrlError, UrlKind
from simulation.rendering import render
from simulation.scene import Scene, demo_scene

_LAGGING_S: Final = 0.25
"""A simulated camera that is later than this slows its scene down instead of catching up."""


class SimulatedCapture:
    """A simulated camera that plays a scene at its frame rate, from the beginning each time it is opened.

    If the machine cannot keep up, the scene plays more slowly; the delay does not grow.

    Args:
        scene: The scene that the camera shows.

    Raises:
        SourceError: The camera of the scene cannot see a whole person.
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
            raise SourceError("ended", "the connection was closed")
        return Picture(frame.image, due)

    def close(self) -> None:
        """Close the capture, from any thread; a running `read` ends soon."""
        self._closed.set()


def open_capture(
    url: StreamUrl,
    policy: StreamPolicy,
    *,
    loop: bool = True,
    timing: LiveTiming | None = None,
    max_pixels: int | None = None,
    verify_tls: bool = True,
    allow_udp: bool = True,
    resolve: Resolve = system_resolve,
) -> Callable[[], Capture]:
    """Make the function with which a `pose.live.LiveSource` connects; the policy is checked at each connection.

    Args:
        url: The URL; not one of a skeleton feed.
        policy: Which addresses and files may be opened.
        loop: Start a file again when it ends.
        timing: How long opening a connection may take.
        max_pixels: Refuse larger pictures.
        verify_tls: Check the certificates of ``rtsps`` and ``https``.
        allow_udp: Take RTSP streams over UDP from cameras that refuse TCP.
        resolve: Finds the addresses of a host.

    Raises:
        ValueError: The URL is one of a skeleton feed.
    """
    open_s = (timing or LiveTiming()).open_s

    def check() -> None:
        try:
            policy.check(url)
        except StreamUrlError as error:
            cause = "not-found" if error.cause == "no-such-file" else "forbidden"
            raise SourceError(cause, str(error)) from error

    def connect() -> Capture:
        if url.device is not None:
            return DeviceCapture(url.device, max_pixels=max_pixels)
        if url.path is not None:
            return LoopCapture(url.path, loop=loop, max_pixels=max_pixels, check=check)
        if url.seed is not None:
            return SimulatedCapture(demo_scene(url.seed, url.incident_every_s, url.events))
        pinned = policy.pin(url, resolve)
        return StreamCapture(pinned, open_s=open_s, max_pixels=max_pixels, verify_tls=verify_tls, allow_udp=allow_udp)

    if url.kind is UrlKind.SKELETONS:
        raise ValueError("a skeleton feed receives frames from its device; there is nothing to connect to")
    return connect
