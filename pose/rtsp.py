"""The messages of an RTSP session (RFC 2326), as far as a relay between a player and a camera needs them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pose.live import SourceError

_MOST_HEAD: Final = 1 << 16
_MOST_BODY: Final = 1 << 20
_LENGTH: Final = re.compile(r"[0-9]{1,8}")
_BEGIN: Final = re.compile(rb"RTSP/|[A-Z_]{3,20} ")
_HEAD_END: Final = re.compile(rb"\n\r*\n")
_AGAIN: Final = re.compile(rb"\$[\x00-\x0f]|RTSP/")


@dataclass(frozen=True, slots=True)
class Packets:
    """Interleaved data: one or more whole packets, each behind a dollar sign, its channel and its length.

    Attributes:
        data: The packets as they are sent on the connection.

    Example:
        >>> list(Packets(interleaved(0, b"ab") + interleaved(1, b"c")))
        [(0, b'ab'), (1, b'c')]
    """

    data: bytes

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Channel and content of each packet."""
        at = 0
        while at < len(self.data):
            end = at + 4 + int.from_bytes(self.data[at + 2 : at + 4])
            yield self.data[at + 1], self.data[at + 4 : end]
            at = end


def interleaved(channel: int, data: bytes) -> bytes:
    """A packet as it is sent on the connection."""
    return b"$" + bytes([channel]) + len(data).to_bytes(2) + data


@dataclass(frozen=True, slots=True)
class Message:
    r"""A request or an answer.

    Attributes:
        first: The first line.
        headers: Names and values, in their order.
        body: What follows the headers.

    Example:
        >>> Message("OPTIONS rtsp://camera.example/ RTSP/1.0", (("CSeq", "1"),)).encode()
        b'OPTIONS rtsp://camera.example/ RTSP/1.0\r\nCSeq: 1\r\n\r\n'
    """

    first: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    @property
    def method(self) -> str:
        """Method of a request."""
        return self.first.partition(" ")[0]

    @property
    def uri(self) -> str:
        """What a request is about."""
        return self.first.split(" ")[1] if self.first.count(" ") > 1 else "*"

    @property
    def status(self) -> int:
        """Status of an answer; 0 for a request."""
        parts = self.first.split(" ")
        return int(parts[1]) if parts[0].startswith("RTSP/") and len(parts) > 1 and parts[1].isdigit() else 0

    def all(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for found, value in self.headers if found.lower() == name.lower()]

    def get(self, name: str) -> str:
        """The first value of a header; empty if it is missing."""
        return next(iter(self.all(name)), "")

    def with_headers(self, **changes: str | None) -> Message:
        """The message with other values of headers; None removes one."""
        gone = {name.lower() for name in changes}
        kept = tuple(pair for pair in self.headers if pair[0].lower() not in gone)
        added = tuple((name, value) for name, value in changes.items() if value is not None)
        return Message(self.first, (*kept, *added), self.body)

    def encode(self) -> bytes:
        """The message as it is sent on the connection."""
        lines = [self.first, *(f"{name}: {value}" for name, value in self.headers), "", ""]
        return "\r\n".join(lines).encode("latin-1") + self.body


class Reader:
    r"""Splits what arrives on a connection into messages and packets.

    Example:
        >>> reader = Reader()
        >>> [list(packets) for packets in reader.feed(b"$\x00\x00\x02ab$\x01\x00\x01c")]
        [[(0, b'ab'), (1, b'c')]]
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self.lenient = False
        """Whether to skip what is neither a message nor a packet, up to the next of them."""

    def feed(self, data: bytes | memoryview) -> list[Message | Packets]:
        """What is complete with these bytes.

        Raises:
            SourceError: They are no RTSP.
        """
        self._held += data
        found: list[Message | Packets] = []
        while (item := self._next()) is not None:
            found.append(item)
        return found

    def _next(self) -> Message | Packets | None:
        held = self._held
        while held.startswith((b"\r", b"\n")):
            del held[0]
        if held.startswith(b"$"):
            return self._packets()
        if len(held) < 24:
            return None
        if not _BEGIN.match(held):
            if not self.lenient:
                raise _no_rtsp()
            again = _AGAIN.search(held, 1)
            del held[: again.start() if again else len(held) - 4]
            return self._next() if again else None
        return self._message()

    def _packets(self) -> Packets | None:
        held, end = self._held, 0
        while len(held) >= end + 4 and held[end] == 0x24:
            length = held[end + 2] << 8 | held[end + 3]
            if end + 4 + length > len(held):
                break
            end += 4 + length
        if not end:
            return None
        packets = Packets(bytes(held[:end]))
        del held[:end]
        return packets

    def _message(self) -> Message | None:
        held = self._held
        end = _HEAD_END.search(held, 0, _MOST_HEAD)
        if end is None:
            if len(held) >= _MOST_HEAD:
                raise _no_rtsp()
            return None
        # Players leave carriage returns out, wherever they are, and end a line at a zero.
        head = bytes(held[: end.start()]).replace(b"\r", b"")
        if b"\0" in head:
            raise _no_rtsp()
        first, *lines = head.decode("latin-1").split("\n")
        pairs = (line.partition(":") for line in lines)
        message = Message(first.strip(), tuple((name.strip(), value.strip()) for name, colon, value in pairs if colon))
        length = message.get("Content-Length")
        body = int(length) if _LENGTH.fullmatch(length) else 0
        if body > _MOST_BODY:
            raise SourceError("not-a-video", "the camera's description of its stream is too long")
        if len(held) < end.end() + body:
            return None
        content = bytes(held[end.end() : end.end() + body])
        del held[: end.end() + body]
        return Message(message.first, message.headers, content).with_headers(
            **{"Content-Length": str(body) if body else None}
        )


def _no_rtsp() -> SourceError:
    return SourceError("not-a-video", "what the camera sends is no RTSP")
