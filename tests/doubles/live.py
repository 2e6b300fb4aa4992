"""Devices and subscribers of live cameras for tests."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.doubles.scores import STANDING
from tests.doubles.servers import PATIENCE_S, trusted

RATE_HZ = 15.0


def lying(time: float) -> list[list[float]]:
    """COCO joints of somebody who lies stretched out and stirs, which no normal footage holds."""
    joints = np.linspace(100, 500, 17)
    heights = 300 + 6 * np.sin(np.arange(17) + 2 * np.pi * time)
    return [[float(x), float(y), 0.9] for x, y in zip(joints, heights, strict=True)]


def falling(time: float) -> list[list[float]]:
    """COCO joints of somebody who stands for three seconds, falls within half a second and stays down."""
    down = min(max((time - 3.0) / 0.5, 0.0), 1.0)
    angle = down * np.pi / 2
    joints = np.array(STANDING, float) * (0.8, 2.4)
    # Around the feet, which stand at (300, 400).
    across, up = joints[:, 0] - 40.0, 235.0 - joints[:, 1]
    x = 300.0 + across * np.cos(angle) + up * np.sin(angle)
    y = 400.0 + across * np.sin(angle) - up * np.cos(angle)
    return [[float(a), float(b), 0.9] for a, b in zip(x, y, strict=True)]


class Device(threading.Thread):
    """Feeds the skeleton of one person, in real time, until it is told to stop.

    Frames that are late on a busy machine are made up for, so that a quick movement is always seen as a whole.

    Args:
        socket_base: Address of the service, ``ws://…``.
        camera_id: The feed.
        pose: Where the joints are at a time.
        rate_hz: Frames that it sends in a second.
    """

    def __init__(
        self, socket_base: str, camera_id: str, pose: Callable[[float], list[list[float]]], rate_hz: float = RATE_HZ
    ) -> None:
        super().__init__(name=f"device-{camera_id}")
        self._url = f"{socket_base}/v1/cameras/{camera_id}/skeletons"
        self._pose = pose
        self._period = 1 / rate_hz
        self._stopping = threading.Event()
        self.answers: list[dict[str, Any]] = []

    def run(self) -> None:
        started = time.monotonic()
        try:
            with connect(self._url, compression=None) as socket:
                for number in itertools.count(1):
                    moment = number * self._period
                    if self._stopping.wait(max(started + moment - time.monotonic(), 0.0)):
                        return
                    person = {"track": 1, "keypoints": self._pose(moment)}
                    socket.send(json.dumps({"time_s": moment, "width": 640, "height": 480, "people": [person]}))
                    self._read(socket)
        except ConnectionClosed:
            # The service was killed, or the camera removed: what the test is about.
            return

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def _read(self, socket: ClientConnection) -> None:
        with contextlib.suppress(TimeoutError):
            self.answers.append(json.loads(socket.recv(timeout=0)))


@contextmanager
def device(
    socket_base: str, camera_id: str, pose: Callable[[float], list[list[float]]], rate_hz: float = RATE_HZ
) -> Iterator[Device]:
    """A device that feeds until the block ends."""
    feeding = Device(socket_base, camera_id, pose, rate_hz)
    feeding.start()
    try:
        yield feeding
    finally:
        feeding.stop()


class Reader(threading.Thread):
    """Keeps every message of a stream that is JSON objects, until the stream ends."""

    def __init__(self, messages: Callable[[], Iterator[str | bytes]]) -> None:
        super().__init__(daemon=True)
        self._messages = messages
        self.heard: list[dict[str, Any]] = []

    def run(self) -> None:
        try:
            for text in self._messages():
                self.heard.append(json.loads(text))
        except (ConnectionClosed, httpx.TransportError):
            return

    def of(self, kind: str, **fields: object) -> list[dict[str, Any]]:
        """Messages of a type, with these fields."""
        return [
            message
            for message in list(self.heard)
            if message["type"] == kind and all(message.get(name) == value for name, value in fields.items())
        ]


def socket_reader(url: str) -> Reader:
    """Reads a WebSocket."""

    def messages() -> Iterator[str | bytes]:
        with connect(url, compression=None) as socket:
            yield from socket

    reader = Reader(messages)
    reader.start()
    return reader


def sse_reader(url: str, headers: dict[str, str] | None = None) -> Reader:
    """Reads Server-Sent Events."""

    def messages() -> Iterator[str]:
        with httpx.stream("GET", url, headers=headers, timeout=PATIENCE_S, verify=trusted()) as answer:
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    yield line.removeprefix("data:")

    reader = Reader(messages)
    reader.start()
    return reader
