"""The pictures in a stream of JPEG files, whatever stands between them.

Cameras that send Motion JPEG over HTTP agree on little but the pictures: some begin with a line end or a preamble, some
send the headers of a part before the first boundary, some leave out lengths or boundaries. So pictures are cut out by
their own markers (ITU-T T.81, annex B), and what stands between them is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from pose.live import SourceError

_BEGIN: Final = b"\xff\xd8"
_END_OF_SCAN: Final = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
"""A marker that ends coded picture data: in the data, 0 or a restart marker follows each byte of 255."""

_END: Final = 0xD9
_BEGIN_MARKER: Final = 0xD8
_SCAN: Final = 0xDA
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_MOST_BYTES: Final = 32 << 20
_MOST_BETWEEN: Final = 1 << 20
_PIECE: Final = 1 << 16


class JpegCutter:
    r"""Cuts pictures out of the bytes of a stream; each is complete with its last byte.

    Example:
        >>> cutter = JpegCutter()
        >>> cutter.feed(b"--frame\r\n\r\n" + bytes.fromhex("ffd8 ffda 0002 1234 ff00 56"))
        []
        >>> [picture.hex() for picture in cutter.feed(bytes.fromhex("ffd9 0d0a"))]
        ['ffd8ffda00021234ff0056ffd9']
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._at = 0
        self._in_scan = False
        self.pictures = 0
        """Pictures so far."""

    def feed(self, data: bytes) -> list[bytes]:
        """The pictures that are complete with these bytes.

        Raises:
            SourceError: What comes is no pictures, or a picture has no end.
        """
        self._held += data
        found = []
        while (picture := self._next()) is not None:
            found.append(picture)
        if len(self._held) > (_MOST_BYTES if self._at else _MOST_BETWEEN):
            raise SourceError("not-a-video", "the camera announces pictures, and what it sends is no JPEG")
        self.pictures += len(found)
        return found

    def _next(self) -> bytes | None:
        held = self._held
        while True:
            if not self._at and not self._found_begin():
                return None
            if self._in_scan:
                found = _END_OF_SCAN.search(held, self._at)
                if found is None:
                    # A byte of 255 at the end may be half of a marker.
                    self._at = max(len(held) - 1, self._at)
                    return None
                self._at, self._in_scan = found.start(), False
            if len(held) < self._at + 4 and not held.startswith(b"\xff\xd9", self._at):
                return None
            marker = held[self._at + 1]
            if held[self._at] != 0xFF or marker in (0x00, _BEGIN_MARKER):
                # The picture broke off, and perhaps another has begun.
                self._drop(2 if held[self._at] != 0xFF or marker == 0x00 else self._at)
            elif marker == 0xFF:
                self._at += 1
            elif marker == _END:
                return self._take(self._at + 2)
            elif marker in _WITHOUT_LENGTH:
                self._at += 2
            else:
                self._at += 2 + max(int.from_bytes(held[self._at + 2 : self._at + 4]), 2)
                self._in_scan = marker == _SCAN

    def _found_begin(self) -> bool:
        begin = self._held.find(_BEGIN)
        # Bytes between pictures count until a picture begins: endless ones are no video.
        if begin < 0:
            return False
        del self._held[:begin]
        self._at = 2
        return True

    def _take(self, end: int) -> bytes:
        picture = bytes(self._held[:end])
        self._drop(end)
        return picture

    def _drop(self, count: int) -> None:
        del self._held[:count]
        self._at, self._in_scan = 0, False


class MotionJpeg:
    r"""A file for FFmpeg with the pictures of a camera, in the one form of Motion JPEG over HTTP that it reads.

    Args:
        read: Reads at most so many bytes from the camera; waits until there are some; empty at the end.

    Example:
        >>> pieces = [b"HTTP camera\r\n", bytes.fromhex("ffd8 ffd9"), bytes.fromhex("ffd8 ffd9"), b""]
        >>> MotionJpeg(lambda size: pieces.pop(0)).read(100).splitlines()[0]
        b'--picture'
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._cutter = JpegCutter()
        self._waiting = bytearray()

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes; waits until there are some; empty at the end.

        Raises:
            SourceError: The camera sends no pictures, or a single one.
        """
        while not self._waiting:
            data = self._read(_PIECE)
            if not data:
                if self._cutter.pictures == 1:
                    raise SourceError("not-a-video", "the address gives a single picture, and a stream is needed")
                return b""
            for picture in self._cutter.feed(data):
                head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                self._waiting += head.encode() + picture + b"\r\n"
        data = bytes(self._waiting[:size])
        del self._waiting[:size]
        return data


def is_motion_jpeg(content_type: str, beginning: bytes) -> bool:
    """Whether the body of an answer is Motion JPEG, with boundaries or without.

    Args:
        content_type: The header of the answer; many cameras send a wrong one, or none.
        beginning: The first bytes of the body.

    Example:
        >>> is_motion_jpeg("multipart/x-mixed-replace; boundary=frame", b"")
        True
        >>> is_motion_jpeg("text/html", b"--frame")
        True
    """
    kind = content_type.partition(";")[0].strip().lower()
    announced = kind.startswith("multipart/") or kind in ("image/jpeg", "image/jpg", "image/pjpeg")
    return announced or "jpeg" in kind or beginning.lstrip().startswith((_BEGIN, b"--"))
