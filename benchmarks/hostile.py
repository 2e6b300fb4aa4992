"""What slow and hostile clients do to live scoring: ``python -m benchmarks.hostile CLIP [--seconds S]``.

Plays a clip in a loop as a camera of a service of its own, and compares how many scores a second come, and how old they
are, before and during each attack.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from rich.console import Console
from rich.table import Table
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from benchmarks.live import Service, service

_MEGABYTES = 100 * 1024 * 1024
_SETTLE_S = 10.0


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, help="played as a camera")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    arguments = parser.parse_args()
    attacks: dict[str, Callable[[Service], contextlib.AbstractContextManager[None]]] = {
        "nobody": lambda _: contextlib.nullcontext(),
        "1,000 silent connections": _silent,
        "1,000 heads that never end": _slow_heads,
        "16 uploads of a byte a second": _slow_uploads,
        "messages of 100 MB, one after another": _large_messages,
        "200 subscribers that read nothing": _idle_subscribers,
        "nobody, afterwards": lambda _: contextlib.nullcontext(),
    }
    table = Table("attack", "scores/s", "age, median", "age, 95 %", "memory, MiB", "open files")
    with service([arguments.clip], pose_image_size=320) as running:
        running.add_looped("camera", arguments.clip, max_fps=8)
        listener = running.listen("camera")
        time.sleep(_SETTLE_S)
        for name, attack in attacks.items():
            with attack(running):
                begin = time.monotonic()
                time.sleep(arguments.seconds)
                ages = listener.ages_between(begin, time.monotonic())
                memory, files = running.process.memory_info().rss / 2**20, running.process.num_fds()
            table.add_row(
                name,
                f"{len(ages) / arguments.seconds:.1f}",
                f"{statistics.median(ages):.3f} s" if ages else "-",
                f"{np.quantile(ages, 0.95):.3f} s" if ages else "-",
                f"{memory:,.0f}",
                f"{files}",
            )
    Console().print(table)


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
