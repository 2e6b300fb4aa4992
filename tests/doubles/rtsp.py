"""A real RTSP server, as a process that can be frozen, killed and started again at the same port."""

from __future__ import annotations

import functools
import itertools
import re
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import av
import pytest
from av.bitstream import BitStreamFilterContext

from tests.doubles.servers import free_port
from tests.doubles.streams import Behaviour

_MOST_BYTES: Final = 1200
_PYTHON: Final = "/usr/bin/python3"
_SCRIPT: Final = Path(__file__).parents[2] / "docker/rtsp/server.py"
_BINDINGS: Final = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); "
    "from gi.repository import Gst, GstRtspServer; Gst.init(None); "
    "assert all(map(Gst.ElementFactory.find, ('h264parse', 'rtph264pay', 'avdec_h264', 'jpegenc', 'x265enc')))"
)


class RtspServer:
    """Loops clips as ``rtsp://127.0.0.1:port/name``.

    Args:
        mounts: Name to clip (MP4 with H.264); ``clip@jpeg`` and ``clip@h265`` code it anew.
        credentials: User name and password, joined by a colon, that the server asks for.
        udp: Refuse TCP.
    """

    def __init__(self, mounts: Mapping[str, Path | str], credentials: str | None, *, udp: bool = False) -> None:
        self.port = free_port()
        self.mounts = dict(mounts)
        self._credentials = credentials
        self._udp = udp
        self._process: subprocess.Popen[str] | None = None

    def url(self, name: str, userinfo: str = "") -> str:
        return f"rtsp://{userinfo}127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Listen; the mounts may have been changed while the server was away."""
        user = [] if self._credentials is None else ["--user", self._credentials]
        mounts = [f"{name}={clip}" for name, clip in self.mounts.items()]
        self._process = subprocess.Popen(
            [_PYTHON, str(_SCRIPT), str(self.port), *mounts, *user, *(["--udp"] if self._udp else [])],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def freeze(self) -> None:
        """Say nothing any more, and keep every connection."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End as by a power cut."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


def joined_late(clip: Path, *, fps: float, begin: int) -> Behaviour:
    """A camera that loops a clip with H.264, over TCP, from one of its frames on.

    Args:
        clip: The clip.
        fps: Frames per second.
        begin: The first frame that is sent.
    """
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        convert = BitStreamFilterContext("h264_mp4toannexb", stream)
        coded = [bytes(part) for packet in container.demux(stream) for part in convert.filter(packet)]
    units = [[unit for unit in re.split(rb"\x00{2,3}\x01", picture) if unit] for picture in coded]
    sdp = (
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=cam\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
        "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:t1\r\n"
    )
    answers = {"DESCRIBE": sdp, "SETUP": "", "PLAY": ""}

    def behave(connection: socket.socket) -> None:
        playing = False
        while not playing:
            request = connection.recv(4096).decode()
            if not request:
                return
            number = re.findall(r"(?i)cseq: *(\d+)", request)[0]
            body = answers.get(request.partition(" ")[0], "")
            connection.sendall(
                f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\nSession: 1\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            playing = request.startswith("PLAY")
        sequence = itertools.count()
        for index in itertools.count(begin):
            for last, piece in _pieces(units[index % len(units)]):
                moment = round((index - begin) / fps * 90_000)
                head = struct.pack(">BBHII", 0x80, 96 | last << 7, next(sequence) & 0xFFFF, moment, 7)
                connection.sendall(b"$\0" + struct.pack(">H", len(head + piece)) + head + piece)
            time.sleep(1 / fps)

    return behave


def _pieces(units: list[bytes]) -> Iterator[tuple[bool, bytes]]:
    """What packets carry of one picture (RFC 6184), and whether it is the last of them."""
    for unit in units:
        end = unit is units[-1]
        if len(unit) <= _MOST_BYTES:
            yield end, unit
            continue
        body, kind = unit[1:], unit[0] & 31
        for at in range(0, len(body), _MOST_BYTES):
            stop = at + _MOST_BYTES >= len(body)
            yield (
                end and stop,
                bytes([unit[0] & 0xE0 | 28, (not at) << 7 | stop << 6 | kind]) + body[at : at + _MOST_BYTES],
            )


@functools.cache
def missing_parts() -> str | None:
    """Why there can be no RTSP server on this machine."""
    if not Path(_PYTHON).exists():
        return f"there is no {_PYTHON}"
    check = subprocess.run([_PYTHON, "-c", _BINDINGS], capture_output=True, text=True, check=False)
    if check.returncode == 0:
        return None
    reason = check.stderr.strip().rpartition("\n")[2]
    return f"GStreamer's RTSP server is not installed; .ci/run names the Debian packages ({reason})"


@contextmanager
def rtsp_server(
    mounts: Mapping[str, Path | str], credentials: str | None = None, *, udp: bool = False
) -> Iterator[RtspServer]:
    """Run a server until the block ends; skips the test where GStreamer is missing."""
    reason = missing_parts()
    if reason is not None:
        pytest.skip(reason)
    server = RtspServer(mounts, credentials, udp=udp)
    server.start()
    try:
        yield server
    finally:
        server.kill()
