"""Readers of streams for tests."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.doubles.servers import PATIENCE_S, LiveServer

STEP_S = 1 / 15


def open_socket(live: LiveServer, path: str) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{live.port}{path}", compression=None)


def read(socket: ClientConnection) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(socket.recv(timeout=PATIENCE_S))
    return document


def read_all(socket: ClientConnection) -> list[dict[str, Any]]:
    messages = []
    try:
        while True:
            messages.append(read(socket))
    except ConnectionClosed:
        return messages


@contextmanager
def silent_reader(live: LiveServer, path: str, *, upgrade: bool = True) -> Iterator[socket.socket]:
    """A WebSocket, or another stream, whose client never reads and has as little room as the system allows."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    connection.connect(("127.0.0.1", live.port))
    with connection:
        lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1"]
        if upgrade:
            lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
            lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        yield connection


@dataclass(frozen=True)
class ServerEvent:
    """One server-sent event."""

    event: str
    data: dict[str, Any]
    id: str | None


def server_events(answer: httpx.Response) -> Iterator[ServerEvent]:
    """The events of an open stream, comments left out."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield ServerEvent(fields["event"], json.loads(fields["data"]), fields.get("id"))
            fields = {}
        else:
            fields = {}


def skeleton_frame(number: int, **more: Any) -> dict[str, Any]:
    """A frame in which one person sways."""
    shift = 5.0 * (number % 8)
    keypoints = [[100 + 3 * joint + shift, 50 + 9 * joint, 0.9] for joint in range(17)]
    return {
        "time_s": number * STEP_S,
        "width": 640,
        "height": 480,
        "people": [{"keypoints": keypoints, "track": 1}],
    } | more


@contextmanager
def device(live: LiveServer, camera: str) -> Iterator[None]:
    """A device that feeds a camera at its pace until the block ends."""
    stopping = threading.Event()

    def feed() -> None:
        with open_socket(live, f"/v1/cameras/{camera}/skeletons") as socket:
            began, number = time.monotonic(), 0
            while not stopping.is_set():
                socket.send(json.dumps(skeleton_frame(number)))
                number += 1
                time.sleep(max(0.0, began + number * STEP_S - time.monotonic()))

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
