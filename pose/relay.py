"""Carries one RTSP session between FFmpeg and a camera.

FFmpeg follows redirects, knows only the digest authentication of 1999, and keeps sessions alive in one way. So FFmpeg
talks to a loopback port, always over TCP, and the session with the camera is led here: the password, the keep-alive,
and UDP for cameras that refuse TCP. FFmpeg sees no message that was not read and written anew here.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Final

from pose.challenges import Challenged
from pose.connections import MOVED, UNKNOWN_CHALLENGE, Link, PinnedUrl, connection_errors
from pose.datagrams import UdpTrack
from pose.live import SourceError
from pose.rtsp import Message, Packets, Reader, interleaved

_CHUNK: Final = 1 << 16
_SEND_S: Final = 10.0
_GATHER_S: Final = 0.005
_TIMEOUT_S: Final = 60.0
"""Seconds after which a session without a sign of life ends, unless the camera says otherwise (RFC 2326, 12.37)."""

_NEEDED: Final = frozenset({"DESCRIBE", "SETUP", "PLAY"})
_UNSUPPORTED_TRANSPORT: Final = 461
_PORTS: Final = re.compile(r"server_port=(\d{1,5})(?:-(\d{1,5}))?")
_CHANNELS: Final = re.compile(r"interleaved=(\d{1,3})")
_TIMEOUT: Final = re.compile(r"timeout\s*=\s*(\d{1,6})")


@dataclass(slots=True)
class _Asked:
    """A request that waits for its answer.

    Attributes:
        request: As FFmpeg sent it.
        ours: Whether FFmpeg knows nothing of it.
        authorized: Whether it carried an answer to a challenge.
        track: Where the camera is to send, for a SETUP over UDP.
    """

    request: Message
    ours: bool = False
    authorized: bool = False
    track: UdpTrack | None = None


class RtspRelay:
    """A loopback port for one RTSP session with a camera.

    Args:
        link: The connection to the camera; the relay closes it.
        url: What is asked of the camera.
        timeout_s: Longest wait for the one client.
        allow_udp: Take the stream over UDP if the camera refuses TCP.

    Example:
        >>> with socket.create_server(("127.0.0.1", 0)) as camera:
        ...     url = PinnedUrl("rtsp", "camera.example", "127.0.0.1", camera.getsockname()[1], "/live")
        ...     relay = RtspRelay(Link(url, timeout_s=2.0), url, timeout_s=2.0)
        ...     relay.abort()
        >>> relay.url.startswith("rtsp://127.0.0.1:")
        True
    """

    def __init__(self, link: Link, url: PinnedUrl, timeout_s: float, *, allow_udp: bool = True) -> None:
        self._link = link
        self._pinned = url
        # Over TLS, UDP would leave the stream open to everybody on the way.
        self._allow_udp = allow_udp and url.scheme == "rtsp"
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._listener.settimeout(timeout_s)
        self.url = f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}{url.target}"
        self.problem: SourceError | None = None
        self._challenged = None if url.user is None else Challenged(url.user, url.password or "")
        self._number = 0
        self._asked: dict[int, _Asked] = {}
        self._tracks: list[UdpTrack] = []
        self._session = ""
        self._keep_alive_s = _TIMEOUT_S / 3
        self._alive_at: float | None = None
        self._ready = select.poll()
        self._client: socket.socket | None = None
        self._from_client, self._from_camera = Reader(), Reader()
        self._thread = threading.Thread(target=self._run, name=f"relay-{url.host}", daemon=True)
        self._thread.start()

    def abort(self) -> None:
        """End the session, from any thread."""
        self._link.abort()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            with self._listener:
                client, _ = self._listener.accept()
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._client = client
                try:
                    with connection_errors():
                        self._carry(client)
                except SourceError as error:
                    # Known before FFmpeg sees the end and asks for the reason.
                    self.problem = error
        except OSError:
            self.problem = SourceError("ended", "the connection was given up before it was used")
        finally:
            for track in self._tracks:
                track.close()
            self._link.close()

    def _carry(self, client: socket.socket) -> None:
        camera = self._link.socket
        camera.settimeout(0)
        buffer = memoryview(bytearray(_CHUNK))
        self._ready.register(client, select.POLLIN)
        self._ready.register(camera, select.POLLIN)
        while True:
            found = {descriptor for descriptor, _ in self._ready.poll(1000)}
            self._keep_alive()
            if client.fileno() in found:
                request = client.recv(_CHUNK)
                if not request:
                    return
                for item in self._from_client.feed(request):
                    self._take_request(item)
            for track in self._tracks:
                for own in (track.rtp, track.rtcp):
                    if own.fileno() in found:
                        client.sendall(b"".join(interleaved(*packet) for packet in track.receive(own)))
            if camera.fileno() in found:
                if not self._read_camera(camera, client, buffer):
                    raise SourceError("ended", "the camera has closed the connection")
                # Packets come in hundreds a second; a few at a time cost less and 5 ms are not seen.
                time.sleep(_GATHER_S)

    def _read_camera(self, camera: socket.socket, client: socket.socket, buffer: memoryview) -> bool:
        while True:
            try:
                count = camera.recv_into(buffer)
            except (BlockingIOError, ssl.SSLWantReadError):
                return True
            if count == 0:
                return False
            for item in self._from_camera.feed(buffer[:count]):
                if isinstance(item, Packets):
                    client.sendall(item.data)
                else:
                    self._take_message(item, client)

    def _take_request(self, item: Message | Packets) -> None:
        if isinstance(item, Message):
            if item.status:
                self._send(item.encode())
            else:
                self._ask(_Asked(item))
        elif not self._tracks:
            self._send(item.data)
        else:
            for channel, data in item:
                for track in self._tracks:
                    if track.channel + 1 == channel:
                        track.report(data)

    def _ask(self, asked: _Asked) -> None:
        """Send a request under a number of our own, with the password if the camera has asked for it."""
        self._number += 1
        request = asked.request
        changes: dict[str, str | None] = {"CSeq": str(self._number)}
        if asked.track is not None:
            changes["Transport"] = f"RTP/AVP;unicast;client_port={asked.track.port}-{asked.track.port + 1}"
        if self._challenged is not None:
            authorization = self._challenged.authorization(request.method, request.uri)
            asked.authorized = authorization is not None
            if authorization is not None:
                changes["Authorization"] = authorization
        self._asked[self._number] = asked
        self._send(request.with_headers(**changes).encode())

    def _send(self, data: bytes) -> None:
        camera = self._link.socket
        camera.settimeout(_SEND_S)
        camera.sendall(data)
        camera.settimeout(0)

    def _take_message(self, message: Message, client: socket.socket) -> None:
        if message.get("Location"):
            raise SourceError("redirect", MOVED)
        if not message.status:
            client.sendall(message.encode())
            return
        number = message.get("CSeq")
        key = int(number) if number.isascii() and number.isdigit() else min(self._asked, default=0)
        asked = self._asked.pop(key, None)
        if asked is None:
            return
        answer = self._answer(asked, message)
        if answer is not None and not asked.ours:
            client.sendall(answer.with_headers(CSeq=asked.request.get("CSeq")).encode())

    def _answer(self, asked: _Asked, message: Message) -> Message | None:
        """What FFmpeg is told; None if the request was sent once more, in another way.

        Raises:
            SourceError: The camera refuses what is needed.
        """
        method, status = asked.request.method, message.status
        if status == 401:
            self._authenticate(asked, message)
            return None
        over_tcp = "tcp" in message.get("Transport").lower()
        if method == "SETUP" and asked.track is None:
            if status == _UNSUPPORTED_TRANSPORT or (status < 300 and not over_tcp):
                self._over_udp(asked.request)
                return None
        elif method == "SETUP" and status == _UNSUPPORTED_TRANSPORT:
            raise SourceError("transport", "the camera sends its stream neither over TCP nor over UDP (461)")
        if method in _NEEDED and status >= 300:
            raise _refusal(method, status)
        if method == "DESCRIBE" and not re.search(rb"(?m)^m=video ", message.body):
            raise SourceError("not-a-video", "the stream holds no video")
        if method == "SETUP":
            return self._set_up(asked, message)
        if method == "PLAY":
            self._from_camera.lenient = True
            self._alive_at = time.monotonic()
        if asked.ours and status >= 400:
            # It knows no GET_PARAMETER; what FFmpeg sends must do.
            self._alive_at = None
        return message

    def _authenticate(self, asked: _Asked, message: Message) -> None:
        if self._challenged is None:
            raise SourceError("unauthorised", "the camera asks for a user name and a password")
        stale = any(
            re.search(r'stale="?true', challenge, re.IGNORECASE) for challenge in message.all("WWW-Authenticate")
        )
        if asked.authorized and not stale:
            raise SourceError("unauthorised", "the camera refuses the user name and password")
        if not self._challenged.hear(message.all("WWW-Authenticate")):
            raise SourceError("unauthorised", UNKNOWN_CHALLENGE)
        self._ask(asked)

    def _over_udp(self, request: Message) -> None:
        if not self._allow_udp:
            raise SourceError("transport", "the camera does not send its stream over TCP, and UDP is not allowed")
        channel = _CHANNELS.search(request.get("Transport"))
        local = self._link.socket.getsockname()[0]
        track = UdpTrack(local, self._pinned.address, int(channel[1]) if channel else 0)
        self._tracks.append(track)
        for own in (track.rtp, track.rtcp):
            self._ready.register(own, select.POLLIN)
        self._ask(_Asked(request, track=track))

    def _set_up(self, asked: _Asked, message: Message) -> Message:
        session, _, options = message.get("Session").partition(";")
        self._session = session.strip()
        limit = _TIMEOUT.search(options)
        self._keep_alive_s = max((float(limit[1]) if limit else _TIMEOUT_S) / 3, 1.0)
        if asked.track is None:
            return message
        ports = _PORTS.search(message.get("Transport"))
        if ports is not None:
            asked.track.greet((int(ports[1]), int(ports[2] or int(ports[1]) + 1)))
        first = asked.track.channel
        return message.with_headers(Transport=f"RTP/AVP/TCP;unicast;interleaved={first}-{first + 1}")

    def _keep_alive(self) -> None:
        """Ask for nothing, in the way that keeps a session alive with every camera that knows it."""
        if self._alive_at is None or time.monotonic() - self._alive_at < self._keep_alive_s:
            return
        self._alive_at = time.monotonic()
        self._ask(_Asked(Message(f"GET_PARAMETER {self.url} RTSP/1.0", (("Session", self._session),)), ours=True))


def _refusal(method: str, status: int) -> SourceError:
    if status < 400:
        return SourceError("redirect", MOVED)
    if status == 403:
        return SourceError("unauthorised", f"the camera refuses the user name and password ({status})")
    if status in (404, 410):
        return SourceError("not-found", f"the camera has no stream under this path ({status})")
    if status in (453, 503):
        return SourceError("rejected", f"the camera is busy; it may have too many viewers ({status})")
    return SourceError("rejected", f"the camera rejects {method} with status {status}")
