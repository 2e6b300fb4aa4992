"""What slow and hostile clients do to live scoring: ``python -m benchmarks.load.hostile CLIP``.

Plays a clip in a loop as a camera of its own service. It compares the rate and the age of the scores before and during
each attack. Every round makes all attacks in turn; the table gives the median over rounds, with the lowest and the
highest in brackets.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import math
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import av
import httpx
import numpy as np
from rich.console import Console
from rich.table import Table
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from benchmarks.load.live import Listener, Service, service

_MEGABYTES = 100 * 1024 * 1024
_SETTLE_S = 10.0


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, help="played as a camera")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="times that everything is measured")
    arguments = parser.parse_args()
    attacks: dict[str, Callable[[Service], contextlib.AbstractContextManager[None]]] = {
        "nobody": lambda _: contextlib.nullcontext(),
        "1,000 silent connections": _silent,
        "1,000 requests whose headers never end": _slow_heads,
        "16 uploads of a byte a second": _slow_uploads,
        "messages of 100 MB, one after another": _large_messages,
        "200 subscribers that read nothing": _idle_subscribers,
        "compressed bombs, one after another": _bombs,
        "nobody, afterwards": lambda _: contextlib.nullcontext(),
    }
    measured: dict[str, list[Measurement]] = {name: [] for name in attacks}
    with service([arguments.clip], pose_image_size=320) as running:
        running.add_looped("camera", arguments.clip, max_fps=8)
        listener = running.listen("camera")
        time.sleep(_SETTLE_S)
        for _ in range(arguments.rounds):
            for name, attack in attacks.items():
                with attack(running):
                    measured[name].append(_measure(running, listener, arguments.seconds))
    table = Table("attack", "scores/s", "age, median (s)", "age, 95 % (s)", "memory (MiB)", "open files")
    for name, rounds in measured.items():
        table.add_row(
            name,
            _spread([one.rate for one in rounds], ".1f"),
            _spread([one.age for one in rounds], ".2f"),
            _spread([one.high_age for one in rounds], ".2f"),
            _spread([one.memory for one in rounds], ",.0f"),
            _spread([one.files for one in rounds], ".0f"),
        )
    Console(width=160).print(table)


@dataclass(frozen=True, slots=True)
class Measurement:
    """Measurements of a stretch of time by a subscriber and the operating system.

    Attributes:
        rate: Scores per second.
        age: Median age of a score in seconds; nan where none came.
        high_age: The age that 95 % of the scores stay below.
        memory: Resident memory in MiB at the end.
        files: Open files and sockets at the end.
    """

    rate: float
    age: float
    high_age: float
    memory: float
    files: float


def _measure(running: Service, listener: Listener, seconds: float) -> Measurement:
    begin = time.monotonic()
    time.sleep(seconds)
    ages = listener.ages_between(begin, time.monotonic()) or [math.nan]
    return Measurement(
        rate=np.count_nonzero(np.isfinite(ages)) / seconds,
        age=statistics.median(ages),
        high_age=float(np.quantile(ages, 0.95)),
        memory=running.process.memory_info().rss / 2**20,
        files=running.process.num_fds(),
    )


def _spread(values: Sequence[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def _dial(running: Service) -> socket.socket:
    address = urlsplit(running.base)
    return socket.create_connection((str(address.hostname), int(address.port or 80)), timeout=30)


@contextmanager
def _silent(running: Service) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(_dial(running))
        yield


@contextmanager
def _slow_heads(running: Service) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(_dial(running)).sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        yield


@contextmanager
def _slow_uploads(running: Service) -> Iterator[None]:
    def drip(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not over.wait(1.0):
                connection.sendall(b"x")

    over = threading.Event()
    with ExitStack() as stack:
        for _ in range(16):
            connection = stack.enter_context(_dial(running))
            connection.sendall(b"POST /v1/clips HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n")
            threading.Thread(target=drip, args=(connection,), daemon=True).start()
        yield
        over.set()


@contextmanager
def _large_messages(running: Service) -> Iterator[None]:
    def send() -> None:
        address = f"{running.base.replace('http', 'ws', 1)}/v1/incidents"
        while not over.is_set():
            with contextlib.suppress(ConnectionClosed, OSError, InvalidStatus), connect(address) as client:
                client.send("x" * _MEGABYTES)

    over = threading.Event()
    sender = threading.Thread(target=send)
    sender.start()
    yield
    over.set()
    sender.join()


@contextmanager
def _bombs(running: Service) -> Iterator[None]:
    """Bodies of 48 kB that unpack to 50 MB, and a clip of 52 kB whose pictures take 750 MB.

    Raises:
        RuntimeError: The service has accepted one of them.
    """
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    body, clip = gzip.compress(bytes(50_000_000)), _bomb_clip()
    taken: list[httpx.Response] = []

    def throw() -> None:
        with httpx.Client(base_url=running.base, timeout=60) as client:
            while not over.is_set():
                answers = [
                    client.put("/v1/cameras/bomb", content=body, headers=headers),
                    client.post("/v1/skeletons", content=body, headers=headers),
                    client.post("/v1/clips", content=clip),
                ]
                taken.extend(answer for answer in answers if answer.is_success)

    over = threading.Event()
    thrower = threading.Thread(target=throw)
    thrower.start()
    yield
    over.set()
    thrower.join()
    if taken:
        raise RuntimeError(f"{taken[0].request.url} took a bomb: {taken[0].status_code}")


def _bomb_clip() -> bytes:
    """Thirty black pictures of 4096 by 4096 pixels."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        stream.width = stream.height = 4096
        picture = av.VideoFrame.from_ndarray(np.zeros((4096 * 3 // 2, 4096), np.uint8), format="yuv420p")
        for _ in range(30):
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return file.getvalue()


@contextmanager
def _idle_subscribers(running: Service) -> Iterator[None]:
    """They take part in the handshake, and read nothing afterwards."""
    key = b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    head = b"GET /v1/cameras/camera/scores HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(_dial(running)).sendall(head + key)
        yield


if __name__ == "__main__":
    main()
