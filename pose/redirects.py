"""Finds redirects in what an RTSP server sends, read as FFmpeg reads it."""

from __future__ import annotations

from typing import Final

_LINE: Final = 4096


class RedirectWatch:
    r"""Reads the replies in the bytes of one RTSP connection, and what is between them.

    At the beginning of every line FFmpeg takes a ``$`` for a packet of media, leaves the packet out and goes on with
    the line; carriage returns are left out everywhere. So a header can be hidden behind a packet. RFC 2326 allows
    packets only between messages (section 10.12).

    Example:
        >>> watch = RedirectWatch()
        >>> watch.redirected(b"RTSP/1.0 302 Found\n$\0\0\1xLoca")
        False
        >>> watch.redirected(b"tion: rtsp://elsewhere/")
        True
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._skip = 0
        self._packet: bytearray | None = None
        self._body = 0

    def redirected(self, data: bytes) -> bool:
        """Read the next bytes; whether a reply up to here has the header ``Location``."""
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip, at = self._skip - step, at + step
            elif self._packet is not None:
                self._packet.append(data[at])
                at += 1
                if len(self._packet) == 3:
                    self._skip, self._packet = int.from_bytes(self._packet[1:], "big"), None
            elif not self._line and data[at] in b"$\r":
                self._packet = bytearray() if data[at] in b"$" else None
                at += 1
            else:
                end = data.find(b"\n", at)
                stop = len(data) if end < 0 else end
                self._line += data[at:stop].replace(b"\r", b"")[: _LINE - len(self._line)]
                at = stop + 1
                if self._line[:9].lower() == b"location:":
                    return True
                if end >= 0:
                    self._end_line()
        return False

    def _end_line(self) -> None:
        name, _, value = bytes(self._line).partition(b":")
        if name.lower() == b"content-length":
            digits = value.strip().split(b" ")[0]
            self._body = int(digits) if digits.isdigit() else 0
        elif not self._line:
            self._skip, self._body = self._body, 0
        self._line.clear()
