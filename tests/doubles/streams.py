"""Peers on the network that are no good cameras: silent, talking nonsense, sending elsewhere, or odd."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2

from tests.doubles import media

Behaviour = Callable[[socket.socket], None]
"""What is done with one connection; it ends when this returns."""


class Peer:
    """Accepts connections on a port of this machine and treats each as told.

    Attributes:
        port: Where it listens.
        connections: How many there have been.
        heard: The first bytes of each connection.
    """

    def __init__(self, behaviour: Behaviour, tls: ssl.SSLContext | None, address: tuple[str, int]) -> None:
        self._behaviour = behaviour
        self._tls = tls
        self._server = socket.create_server(address)
        self.port: int = self._server.getsockname()[1]
        self.connections = 0
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._server.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self.connections += 1
                self._open.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            self._behaviour(connection)
        connection.close()


@contextlib.contextmanager
def peer(
    behaviour: Behaviour, *, tls: ssl.SSLContext | None = None, address: tuple[str, int] = ("127.0.0.1", 0)
) -> Iterator[Peer]:
    """Run a peer until the block ends."""
    running = Peer(behaviour, tls, address)
    try:
        yield running
    finally:
        running.close()


def silent(connection: socket.socket) -> None:
    """Takes everything and says nothing."""
    while connection.recv(4096):
        pass


def garbage(connection: socket.socket) -> None:
    """Answers with what no protocol knows, line after line, and stays."""
    connection.recv(4096)
    for number in itertools.count():
        connection.sendall(bytes((number * 37 + index * index) % 256 for index in range(4096)) + b"\r\n\r\n")
        time.sleep(0.01)


def trickle(connection: socket.socket) -> None:
    """Begins an answer and never gets to its end, one byte at a time."""
    protocol = b"RTSP/1.0" if b"RTSP/1.0" in connection.recv(4096) else b"HTTP/1.1"
    connection.sendall(protocol + b" 200 OK\r\nX-Long: ")
    while True:
        connection.sendall(b"a")
        time.sleep(0.05)


def answers(status: str, *headers: str, body: bytes = b"") -> Behaviour:
    """Gives every request of a connection one answer."""
    protocol_free = "\r\n".join([status, *headers, f"Content-Length: {len(body)}", "", ""]).encode() + body

    def behave(connection: socket.socket) -> None:
        while request := connection.recv(4096):
            sequence = [line for line in request.split(b"\r\n") if line.lower().startswith(b"cseq:")]
            head, _, rest = protocol_free.partition(b"\r\n")
            connection.sendall(b"\r\n".join([head, *sequence, rest]))

    return behave


def jpeg(index: int, size: tuple[int, int]) -> bytes:
    return bytes(cv2.imencode(".jpg", media.numbered(index, *size))[1])


def motion_jpeg(
    sizes: Sequence[tuple[int, int]], *, fps: float = 20.0, each: int = 10, pictures: int = 1 << 30
) -> Behaviour:
    """Numbered pictures over HTTP, whose size changes after every few; silence after the last."""

    def behave(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
        for index in range(pictures):
            picture = jpeg(index, sizes[index // each % len(sizes)])
            connection.sendall(
                b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(picture), picture)
            )
            time.sleep(1 / fps)
        silent(connection)

    return behave


def pictures_between(
    before: bytes, after: bytes, *headers: str, pause_s: float = 0.05, chunked: bool = False, lead: bytes = b""
) -> Behaviour:
    """Numbered pictures over HTTP, each with these bytes before and after it; ``%d`` in them is its length."""
    kind = [*headers, *(["Transfer-Encoding: chunked"] if chunked else [])]

    def behave(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall("\r\n".join(["HTTP/1.1 200 OK", *kind, "", ""]).encode() + lead)
        for index in itertools.count():
            picture = jpeg(index, (160, 120))
            for piece in (before.replace(b"%d", b"%d" % len(picture)), picture, after):
                if piece:
                    connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            time.sleep(pause_s)

    return behave


def certificate(directory: Path, host: str) -> Path:
    """A certificate that nobody has signed, and its key, in one file."""
    import subprocess

    path = directory / "camera.pem"
    arguments = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={host}"]
    extension = ["-addext", f"subjectAltName=DNS:{host}"]
    key = directory / "key.pem"
    subprocess.run(
        ["openssl", *arguments, *extension, "-keyout", str(key), "-out", str(path)],  # noqa: S607
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path
