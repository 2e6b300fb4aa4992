"""Web servers that a video is fetched from: good ones, and those that send too much, too little, or elsewhere."""

from __future__ import annotations

import gzip
import itertools
import select
import socket
import threading
from collections.abc import Callable

from tests.doubles.streams import Behaviour

Page = Callable[[socket.socket], None]
"""Sends the answer to one request."""


def heard(connection: socket.socket) -> str:
    """The head of a request."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(4096) or b"\r\n\r\n"
    return head.decode()


def site(pages: dict[str, Page], requests: list[str] | None = None) -> Behaviour:
    """Answers by path, one request per connection; keeps the heads of the requests."""

    def behave(connection: socket.socket) -> None:
        head = heard(connection)
        if requests is not None:
            requests.append(head)
        pages[head.split()[1]](connection)

    return behave


def answer(status: str, *headers: str, body: bytes = b"", length: int | None = None) -> Page:
    """A whole answer; `length` may lie about the body."""
    announced = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {announced}", "Connection: close", "", ""]
    return lambda connection: connection.sendall("\r\n".join(lines).encode() + body)


def video(body: bytes = b"clip", *headers: str) -> Page:
    """A file."""
    return answer("200 OK", "Content-Type: video/mp4", *headers, body=body)


def redirect(location: str, status: str = "302 Found") -> Page:
    """Sends elsewhere."""
    return answer(status, f"Location: {location}")


def bomb(packed: bytes = gzip.compress(bytes(10_000_000))) -> Page:
    """A file of little that would unpack to much."""
    return answer("200 OK", "Content-Type: video/mp4", "Content-Encoding: gzip", body=packed)


def endless(connection: socket.socket) -> None:
    """A file without a length and without an end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in itertools.count():
        connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")


def held(gate: threading.Event, body: bytes = b"clip") -> Page:
    """A file that stops after its first byte until the gate opens."""

    def page(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body[:1]))
        while not gate.is_set():
            # Only the end of the connection can be heard now.
            if select.select([connection], [], [], 0.05)[0]:
                return
        connection.sendall(body[1:])

    return page
