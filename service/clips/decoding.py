"""Decoding of untrusted video in a process that can be killed.

A child process opens the file. Its memory and processor time are limited, it cannot write files, its environment holds
no secrets, and FFmpeg may read only the file itself. It sends each frame as raw bytes after a small JSON header; the
parent never unpickles anything from it. A child that crashes, hangs or grows too large costs one clip.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np

from pose.containers import UnreadableVideo, check_pixels
from pose.probe import VideoInfo, probe
from pose.source import FileSource, Frame

MIN_SIDE: Final = 32
"""Smallest width and height of a clip, in pixels; smaller pictures show no person that could be found."""

_MAX_HEADER: Final = 65_536
_CPU_SECONDS_PER_VIDEO_SECOND: Final = 60
_CPU_SECONDS_AT_LEAST: Final = 120
_PASSED_ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL")
_DECODER_THREADS: Final = 4
"""Each thread of FFmpeg keeps frames of its own: with one thread per core, many cores would need gigabytes."""

_PACKAGES: Final = Path(__file__).resolve().parents[2]
"""The folder that holds the packages of this project."""

_PR_SET_PDEATHSIG: Final = 1
"""Option of prctl(2): the signal that the process gets when its parent dies."""

_SLACK: Final = 1.02
"""Tolerance of limits: presentation times may exceed the probed duration by rounding."""


@dataclass(frozen=True, slots=True)
class ClipLimits:
    """Limits on a clip and on its decoder.

    Attributes:
        max_seconds: Longest duration.
        max_pixels: Largest width times height.
        max_fps: Highest mean frame rate; bounds the number of frames together with `max_seconds`.
        stall_s: Longest time in seconds without data from the decoder.
        memory_bytes: Address space of the decoder process.
        budget_frames: Most frames, whatever the duration.
    """

    max_seconds: float
    max_pixels: int
    max_fps: float
    stall_s: float
    memory_bytes: int
    budget_frames: int = 36_000

    @property
    def max_frames(self) -> int:
        """Most frames that a clip within the limits can have."""
        return min(int(self.max_seconds * self.max_fps) + 1, self.budget_frames)


class ClipRejected(ValueError):
    """The clip cannot be scored; the message is a sentence that says why.

    Attributes:
        cause: A stable slug: those of `UnreadableVideo`, and ``too-long``, ``too-small``, ``frame-rate-too-high``,
            ``takes-too-long``, ``decoder-died``, ``decoder-stalled``.
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


def inspect(path: Path, limits: ClipLimits) -> VideoInfo:
    """Check that a file is a video within the limits.

    Args:
        path: The file.
        limits: The limits.

    Returns:
        The video's properties.

    Raises:
        ClipRejected: The file is no video or exceeds a limit, or the decoder died or hung.
    """
    with _Decoder("probe", path, limits) as decoder:
        header = decoder.receive()
    info = VideoInfo(**header["info"])
    _enforce(info, limits)
    return info


@contextlib.contextmanager
def frames(path: Path, limits: ClipLimits, video: VideoInfo | None = None) -> Iterator[Iterator[Frame]]:
    """Decode a video frame by frame.

    Args:
        path: The file; its name becomes `Frame.camera_id`.
        limits: The limits; a file that exceeds one only while it is decoded is rejected then.
        video: What `inspect` returned for the file, which names its reader; None finds it out again.

    Yields:
        An iterator over all frames, to be used inside the ``with`` block; leaving it ends the decoder.

    Raises:
        ClipRejected: While iterating, if the file cannot be decoded or exceeds a limit, or the decoder died or hung.
    """
    with _Decoder("decode", path, limits, video) as decoder:
        yield _received_frames(decoder, path.name, limits)


def _received_frames(decoder: _Decoder, camera_id: str, limits: ClipLimits) -> Iterator[Frame]:
    while True:
        header = decoder.receive()
        if header["kind"] == "end":
            return
        height, width, sequence, time = (header[key] for key in ("height", "width", "sequence", "time"))
        try:
            check_pixels(width, height, limits.max_pixels)
        except UnreadableVideo as error:
            raise ClipRejected(error.cause, str(error)) from error
        if time > limits.max_seconds * _SLACK:
            raise _too_long(time, limits)
        if sequence > limits.max_frames * _SLACK:
            raise _too_many_frames(limits)
        image = np.empty((height, width, 3), np.uint8)
        decoder.receive_into(image)
        yield Frame(camera_id, sequence, time, image)


def _enforce(info: VideoInfo, limits: ClipLimits) -> None:
    if min(info.width, info.height) < MIN_SIDE:
        raise ClipRejected(
            "too-small", f"the picture has {info.width}x{info.height} pixels; at least {MIN_SIDE}x{MIN_SIDE} are needed"
        )
    if info.duration_s > limits.max_seconds * _SLACK:
        raise _too_long(info.duration_s, limits)
    if info.fps > limits.max_fps:
        raise ClipRejected(
            "frame-rate-too-high",
            f"the clip has {info.fps:.4g} frames per second; at most {limits.max_fps:.4g} are accepted",
        )
    if info.frames > limits.max_frames:
        raise _too_many_frames(limits)


def _too_many_frames(limits: ClipLimits) -> ClipRejected:
    return ClipRejected("too-long", f"the clip has more than the {limits.max_frames} frames that are accepted")


def _too_long(seconds: float, limits: ClipLimits) -> ClipRejected:
    return ClipRejected("too-long", f"the clip lasts {seconds:.1f} s; at most {limits.max_seconds:.1f} s are accepted")


_HEADERS: Final[dict[object, dict[str, type]]] = {
    "info": {"info": dict},
    "frame": {"sequence": int, "time": float, "height": int, "width": int},
    "end": {},
    "rejected": {"cause": str, "message": str},
}
"""The headers that the child may send: by kind, the fields and their types."""


class _Decoder:
    """The child process and the parent's end of the connection to it."""

    def __init__(
        self, task: Literal["probe", "decode"], path: Path, limits: ClipLimits, video: VideoInfo | None = None
    ) -> None:
        self._limits = limits
        ours, theirs = socket.socketpair()
        # A child may hang in the middle of a frame, when the connection is readable: the read itself needs a timeout.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(limits.stall_s))
        order = {
            "task": task,
            "path": str(path.resolve()),
            "limits": asdict(limits),
            "video": None if video is None else asdict(video),
        }
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module, no shell
                # -P: otherwise modules would be searched for in the current directory first.
                # -B: otherwise a full disk, or the limit on file sizes, could leave truncated bytecode.
                [sys.executable, "-P", "-B", "-m", "service.clips.decoding", str(theirs.fileno()), json.dumps(order)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,
            )
        self._connection = Connection(ours.detach())

    def __enter__(self) -> _Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def receive(self) -> dict[str, Any]:
        """Read the next header; a rejection is raised as `ClipRejected`."""
        self._wait()
        try:
            header: Any = json.loads(self._connection.recv_bytes(_MAX_HEADER))
        except BlockingIOError as error:
            raise self._stall() from error
        except (EOFError, OSError) as error:
            raise self._death() from error
        except ValueError as error:
            raise self._nonsense() from error
        fields = _HEADERS.get(header.get("kind")) if isinstance(header, dict) else None
        if fields is None or not all(isinstance(header.get(name), kind) for name, kind in fields.items()):
            raise self._nonsense()
        if header["kind"] == "rejected":
            raise ClipRejected(header["cause"], header["message"])
        accepted: dict[str, Any] = header
        return accepted

    def receive_into(self, image: np.ndarray[Any, Any]) -> None:
        """Read the pixels that follow a frame's header."""
        self._wait()
        try:
            received = self._connection.recv_bytes_into(image.reshape(-1))
        except BlockingIOError as error:
            raise self._stall() from error
        except (EOFError, OSError) as error:
            raise self._death() from error
        if received != image.nbytes:
            raise self._nonsense()

    def _wait(self) -> None:
        if not self._connection.poll(self._limits.stall_s):
            raise self._stall()

    def _nonsense(self) -> ClipRejected:
        return ClipRejected("decoder-died", "the video decoder failed on this file; the file is damaged")

    def _stall(self) -> ClipRejected:
        return ClipRejected("decoder-stalled", f"the video decoder sent nothing for {self._limits.stall_s:.0f} s")

    def _death(self) -> ClipRejected:
        try:
            code = self._process.wait(timeout=self._limits.stall_s)
        except subprocess.TimeoutExpired:
            return ClipRejected("decoder-stalled", "the video decoder closed its connection and did not exit")
        reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return ClipRejected("decoder-died", f"the video decoder died on this file ({reason}); the file is damaged")


def _environment() -> dict[str, str]:
    passed = {key: os.environ[key] for key in _PASSED_ENVIRONMENT if key in os.environ}
    return passed | {"PYTHONPATH": str(_PACKAGES), "OPENCV_FFMPEG_THREADS": str(_DECODER_THREADS)}


def _timeval(seconds: float) -> bytes:
    return struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))


def _child(connection: Connection, order: dict[str, Any]) -> None:
    path, limits = Path(order["path"]), ClipLimits(**order["limits"])
    _confine(limits)
    try:
        if order["task"] == "probe":
            info = probe(path, max_frames=limits.max_frames, max_pixels=limits.max_pixels)
            _send(connection, {"kind": "info", "info": asdict(info)})
            return
        video = None if order["video"] is None else VideoInfo(**order["video"])
        with FileSource(path, video=video) as source:
            for frame in source:
                height, width = frame.image.shape[:2]
                _send(
                    connection,
                    {
                        "kind": "frame",
                        "sequence": frame.sequence,
                        "time": frame.captured_at,
                        "height": height,
                        "width": width,
                    },
                )
                connection.send_bytes(np.ascontiguousarray(frame.image).reshape(-1).data)
        _send(connection, {"kind": "end"})
    except UnreadableVideo as error:
        _send(connection, {"kind": "rejected", "cause": error.cause, "message": str(error)})
    except (MemoryError, cv2.error):
        message = f"the video cannot be decoded within {limits.memory_bytes} bytes of memory"
        _send(connection, {"kind": "rejected", "cause": "decoder-died", "message": message})


def _send(connection: Connection, header: dict[str, Any]) -> None:
    connection.send_bytes(json.dumps(header).encode())


def _confine(limits: ClipLimits) -> None:
    # A child that hangs would outlive a parent that was killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    cpu = _CPU_SECONDS_AT_LEAST + int(limits.max_seconds * _CPU_SECONDS_PER_VIDEO_SECOND)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _main() -> None:
    connection = Connection(int(sys.argv[1]))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        _child(connection, json.loads(sys.argv[2]))


if __name__ == "__main__":
    _main()
