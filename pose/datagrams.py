"""RTP over UDP, from one camera, put into the order in which it was sent."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Final

_TRIES: Final = 50
_BUFFER: Final = 1 << 20
_LARGEST: Final = 1 << 16
_MOST_HELD: Final = 128
_PATIENCE_S: Final = 0.1
_HELLO_RTP: Final = bytes([0x80, 0]) + bytes(10)
_HELLO_RTCP: Final = bytes([0x80, 201, 0, 1]) + bytes(4)


class InOrder:
    r"""Puts RTP packets into the order of their numbers.

    A missing packet is waited for until a tenth of a second has passed, or 128 packets have come after it.

    Example:
        >>> packet = lambda number: b"\x80\x60" + number.to_bytes(2) + bytes(8)
        >>> order = InOrder()
        >>> [[*order.add(packet(number), 0.0)] == [] for number in (1, 3)]
        [False, True]
        >>> [packet[3] for packet in order.add(packet(2), 0.01)]
        [2, 3]
    """

    def __init__(self) -> None:
        self._next: int | None = None
        self._held: dict[int, bytes] = {}
        self._since = 0.0

    def add(self, packet: bytes, moment: float) -> list[bytes]:
        """The packets whose turn has come.

        Args:
            packet: The packet that has arrived.
            moment: When, in seconds.
        """
        if len(packet) < 12:
            return []
        number = packet[2] << 8 | packet[3]
        if self._next is None:
            self._next = number
        ahead = (number - self._next) & 0xFFFF
        if ahead >= 0x8000:
            return []
        if not self._held:
            self._since = moment
        self._held[number] = packet
        ready = self._ready()
        if self._held and (len(self._held) > _MOST_HELD or moment - self._since > _PATIENCE_S):
            following = self._next
            self._next = min(self._held, key=lambda held: (held - following) & 0xFFFF)
            ready += self._ready()
        if ready:
            self._since = moment
        return ready

    def _ready(self) -> list[bytes]:
        ready = []
        while self._next is not None and self._next in self._held:
            ready.append(self._held.pop(self._next))
            self._next = (self._next + 1) & 0xFFFF
        return ready


class UdpTrack:
    """Two UDP ports of this machine to which a camera sends one track; packets from other addresses are ignored.

    Args:
        local: Address of this machine at which the camera is to send.
        camera: Address of the camera.
        channel: The interleaved channel that stands for RTP; the next one stands for RTCP.

    Raises:
        OSError: There are no two free ports.

    Example:
        >>> track = UdpTrack("127.0.0.1", "127.0.0.1", channel=0)
        >>> track.port % 2
        0
        >>> track.close()
    """

    def __init__(self, local: str, camera: str, channel: int) -> None:
        self._camera = camera
        self.channel = channel
        self.rtp, self.rtcp = _pair(local)
        self.port: int = self.rtp.getsockname()[1]
        self._order = InOrder()
        self._server: tuple[int, int] | None = None

    def greet(self, ports: tuple[int, int]) -> None:
        """Send something to the ports of the camera, so that firewalls on the way let its packets through."""
        self._server = ports
        for own, port, hello in ((self.rtp, ports[0], _HELLO_RTP), (self.rtcp, ports[1], _HELLO_RTCP)):
            with contextlib.suppress(OSError):
                own.sendto(hello, (self._camera, port))

    def receive(self, own: socket.socket) -> list[tuple[int, bytes]]:
        """The packets that have arrived at one of the ports, each with the channel that stands for it."""
        found: list[tuple[int, bytes]] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, sender = own.recvfrom(_LARGEST)
                if sender[0] != self._camera:
                    continue
                if own is self.rtcp:
                    found.append((self.channel + 1, data))
                else:
                    found += [(self.channel, packet) for packet in self._order.add(data, time.monotonic())]
        return found

    def report(self, data: bytes) -> None:
        """Send a packet of RTCP to the camera."""
        if self._server is not None:
            with contextlib.suppress(OSError):
                self.rtcp.sendto(data, (self._camera, self._server[1]))

    def close(self) -> None:
        """Free the ports."""
        self.rtp.close()
        self.rtcp.close()


def _pair(local: str) -> tuple[socket.socket, socket.socket]:
    """Two sockets at neighbouring ports, the first even (RFC 3550, section 11)."""
    family = socket.AF_INET6 if ":" in local else socket.AF_INET
    for _ in range(_TRIES):
        rtp, rtcp = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        try:
            rtp.bind((local, 0))
            port = rtp.getsockname()[1]
            if port % 2 == 0:
                rtcp.bind((local, port + 1))
                for own in (rtp, rtcp):
                    own.setblocking(False)
                    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
                return rtp, rtcp
        except OSError:
            pass
        rtp.close()
        rtcp.close()
    raise OSError("there are no two neighbouring free UDP ports")
