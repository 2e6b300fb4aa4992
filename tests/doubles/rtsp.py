"""A real RTSP server, as a process that can be frozen, killed and started again at the same port."""

from __future__ import annotations

import functools
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.doubles.servers import free_port

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
