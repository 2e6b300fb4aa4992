"""Open connections to cameras: looped files, local devices and network streams."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import av
import av.error
import cv2
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter

from pose.connections import HttpBody, Link, PinnedUrl, connection_errors
from pose.containers import VIDEO_CONTAINERS, UnreadableVideo, check_pixels
from pose.jpegs import MotionJpeg, is_motion_jpeg
from pose.live import Picture, SourceError
from pose.pictures import as_shown
from pose.probe import probe
from pose.relay import RtspRelay
from pose.source import FileSource
from pose.tracker import LOST_S as REMEMBERED_S

SEAM_S: Final = REMEMBERED_S + 0.5
"""Seconds between two rounds of a looped file: longer than a lost track is kept, so no track spans two rounds."""

BEHIND_S: Final = 0.5
"""Seconds that a decoder may be behind its camera before it drops pictures, down to a few a second, to catch up."""

LOST_S: Final = 5.0
"""Seconds that it may be behind before it skips to the next key frame without decoding."""

_LOOKED_AT: Final = 100_000
"""Frames of a looped file that are looked at before it is played: about an hour."""

_FEW_S: Final = 0.2
_WAITED_S: Final = 0.01
_LAGGING_S: Final = 0.25

_WITHOUT_CLOCK: Final = frozenset({"mpjpeg", "mjpeg", "h264", "hevc", "m4v"})
"""Formats without time stamps: FFmpeg invents them."""

_STREAM_CONTAINERS: Final = (*VIDEO_CONTAINERS, *sorted(_WITHOUT_CLOCK))
"""FFmpeg demuxers that an HTTP stream may need: no playlists, and nothing that opens other files."""

_BOMB: Final = 4
"""FFmpeg decodes nothing larger than this many times the allowed size. A picture between the two is decoded once,
so that the error can state its size."""

_LARGEST: Final = 1 << 25
_MAX_BAD_PACKETS: Final = 100
_ANALYSE_US: Final = 2_000_000
_PROBE_BYTES: Final = 4096
"""An RTSP stream whose description leaves out the size of the picture tells it with its next key frame. That may be far
away, so opening does not wait for it."""


class _Exclusive:
    """A capture that is released by the last thread to leave it: the one that reads it or the one that closes it.

    The libraries below must not release what another thread is reading.
    """

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._busy = threading.Lock()

    def read(self) -> Picture:
        """Wait for the next picture.

        Raises:
            SourceError: The connection is over.
        """
        with self._busy:
            self._check_open()
            return self._next()

    def close(self) -> None:
        """Give the connection up, from any thread; a read under way ends soon."""
        self._closed.set()
        self._interrupt()
        if self._busy.acquire(blocking=False):
            try:
                self._release()
            finally:
                self._busy.release()

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise SourceError("ended", "the connection was given up")

    def _next(self) -> Picture:
        raise NotImplementedError

    def _interrupt(self) -> None:
        """Make a read in another thread end."""

    def _release(self) -> None:
        """Free what is held; called at least once, never while a read is under way."""
        raise NotImplementedError


class LoopCapture(_Exclusive):
    """A video file played like a camera, at the pace of its frame times.

    If the machine cannot keep up, the file plays more slowly and no delay builds up. Stream times continue from one
    round to the next, after a pause of `SEAM_S`.

    Args:
        path: The file.
        loop: Start again at the end; otherwise the end is a permanent problem.
        max_pixels: Refuse larger pictures.
        check: Called before the file is opened, each time; raises `SourceError` if it must not be.

    Raises:
        SourceError: The file does not exist, must not be opened, or is not a video that can be used.

    Example:
        >>> LoopCapture(Path("gone.mp4"))
        Traceback (most recent call last):
        pose.live.SourceError: the file cannot be read: No such file or directory
    """

    def __init__(
        self,
        path: Path,
        *,
        loop: bool = True,
        max_pixels: int | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._path = path
        self._loop = loop
        self._check = check
        check()
        try:
            self._video = probe(path, max_frames=_LOOKED_AT, max_pixels=max_pixels, allow_cut=True)
            self._source = FileSource(path, video=self._video)
        except UnreadableVideo as error:
            raise SourceError(error.cause, str(error), permanent=True) from error
        except OSError as error:
            raise SourceError("not-found", f"the file cannot be read: {error.strerror}") from error
        self._frames = iter(self._source)
        self._start = time.monotonic()
        self._round_start = self._last_due = 0.0

    def _next(self) -> Picture:
        while (frame := next(self._frames, None)) is None:
            self._rewind()
        now = time.monotonic() - self._start
        due = self._round_start + frame.captured_at
        if now - due > _LAGGING_S:
            self._round_start += now - due
            due = now
        self._last_due = due
        if self._closed.wait(max(due - now, 0.0)):
            self._check_open()
        return Picture(frame.image, due)

    def _rewind(self) -> None:
        if not self._loop:
            raise SourceError("ended", "the file has been played to its end", permanent=True)
        self._source.close()
        self._check()
        try:
            self._source = FileSource(self._path, video=self._video)
        except UnreadableVideo as error:
            raise SourceError("undecodable", str(error)) from error
        self._frames = iter(self._source)
        self._round_start = self._last_due + SEAM_S

    def _release(self) -> None:
        self._source.close()


class DeviceCapture(_Exclusive):
    """A camera of this machine, by its index.

    Args:
        device: Index of the device, 0 for ``/dev/video0``.
        max_pixels: Refuse larger pictures.

    Raises:
        SourceError: There is no such device, it is in use, or its pictures are too large.

    Example:
        >>> DeviceCapture(99)
        Traceback (most recent call last):
        pose.live.SourceError: there is no device /dev/video99
    """

    def __init__(self, device: int, *, max_pixels: int | None = None) -> None:
        super().__init__()
        self._device = device
        if sys.platform == "linux" and not Path(f"/dev/video{device}").exists():
            raise SourceError("device-missing", f"there is no device /dev/video{device}")
        self._max_pixels = max_pixels
        self._capture = cv2.VideoCapture(device, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError("device-missing", f"device {device} cannot be opened as a camera; it may be in use")

    def _next(self) -> Picture:
        grabbed, image = self._capture.read()
        if not grabbed:
            raise SourceError("ended", f"device {self._device} gives no more pictures")
        height, width = image.shape[:2]
        _check_pixels(width, height, self._max_pixels)
        return Picture(np.asarray(image, np.uint8), None)

    def _release(self) -> None:
        self._capture.release()


class StreamCapture(_Exclusive):
    """A network stream, read by FFmpeg over a connection that was made for it.

    RTSP runs over TCP, and over UDP only if the camera refuses TCP. Only the video is requested. Pictures are upright
    and have square pixels; of an interlaced one only the first field is shown, because a filter would have to wait for
    the next. The decoder works in one thread, without delay. When it falls behind the camera it drops pictures, see
    `BEHIND_S` and `LOST_S`.

    Args:
        url: Where to.
        open_s: Longest time until the format of the stream is known.
        max_pixels: Refuse larger pictures, before they are decoded.
        verify_tls: Check the certificate of ``rtsps`` and ``https``.
        allow_udp: Take an ``rtsp`` stream over UDP if the camera refuses TCP.

    Raises:
        SourceError: There is no connection, or no video.

    Example:
        >>> url = PinnedUrl("rtsp", "camera.example", "127.0.0.1", 1, "/live")
        >>> StreamCapture(url, open_s=2.0)
        Traceback (most recent call last):
        pose.live.SourceError: the camera refuses the connection: nothing listens at the port
    """

    def __init__(
        self,
        url: PinnedUrl,
        *,
        open_s: float = 10.0,
        max_pixels: int | None = None,
        verify_tls: bool = True,
        allow_udp: bool = True,
    ) -> None:
        super().__init__()
        self._max_pixels = max_pixels
        self.undecoded_at: float | None = None
        """Moment of the newest packet since the last picture; see `pose.live.Undecoded`."""
        self._connection: Link | HttpBody | RtspRelay | None = None
        self._container: InputContainer | None = None
        self._expired = False
        limit = threading.Timer(open_s, self._expire)
        limit.daemon = True
        limit.start()
        try:
            with self._errors():
                self._open(url, open_s, verify_tls, allow_udp)
            if self._expired:
                raise SourceError("timeout", "the stream broke off while it was looked at")
        except SourceError:
            self.close()
            if self._expired:
                raise SourceError("timeout", f"the camera gave no stream within {open_s:g} s") from None
            raise
        finally:
            limit.cancel()

    def _open(self, url: PinnedUrl, open_s: float, verify_tls: bool, allow_udp: bool) -> None:
        options = {"analyzeduration": str(_ANALYSE_US), "fpsprobesize": "0", "threads": "1"}
        guard = {"max_pixels": str(_BOMB * (self._max_pixels or _LARGEST))}
        options |= guard
        if url.scheme in ("rtsp", "rtsps"):
            link = Link(url, open_s)
            self._use(link)
            link.secure(verify_tls=verify_tls)
            relay = RtspRelay(link, url, open_s, allow_udp=allow_udp)
            self._use(relay)
            options |= {"rtsp_transport": "tcp", "allowed_media_types": "video", "probesize": str(_PROBE_BYTES)}
            options |= {"protocol_whitelist": "tcp", "format_whitelist": "rtsp"}
            container = av.open(relay.url, "r", format="rtsp", options=options, metadata_errors="ignore")
        else:
            body = HttpBody(url, open_s, verify_tls=verify_tls)
            self._use(body)
            body.open()
            options |= {"protocol_whitelist": "none", "format_whitelist": ",".join(_STREAM_CONTAINERS)}
            if is_motion_jpeg(body.content_type, body.peek()):
                pictures = MotionJpeg(body.read)
                container = av.open(pictures, "r", format="mpjpeg", options=options, metadata_errors="ignore")
            else:
                container = av.open(body, "r", options=options, metadata_errors="ignore")
        self._container = container
        streams = container.streams.video
        if not streams:
            raise SourceError("not-a-video", "the stream holds no video")
        self._stream = streams[0]
        context = streams[0].codec_context
        if context.width:
            _check_pixels(context.width, context.height, self._max_pixels)
        context.options = guard
        context.thread_count = 1
        self._has_clock = container.format.name not in _WITHOUT_CLOCK
        self._caught_up: tuple[float, float] | None = None
        self._waits = 0
        self._skipping = False
        self._skipped = 0
        self._handed_over = 0.0
        self._packets = container.demux(streams[0])
        self._frames: deque[av.VideoFrame] = deque()
        self._reformatter = VideoReformatter()

    def _use(self, connection: Link | HttpBody | RtspRelay) -> None:
        self._connection = connection
        if self._expired:
            connection.abort()

    def _expire(self) -> None:
        self._expired = True
        self._interrupt()

    def _next(self) -> Picture:
        frame = self._newest() if not self._frames else self._frames.popleft()
        _check_pixels(frame.width, frame.height, self._max_pixels)
        image = np.asarray(self._reformatter.reformat(frame, format="bgr24").to_ndarray(), np.uint8)
        image = as_shown(frame, image, self._stream.codec_context.sample_aspect_ratio)
        skipped, self._skipped = self._skipped, 0
        self._handed_over = time.monotonic()
        return Picture(np.ascontiguousarray(image), frame.time if self._has_clock else None, skipped)

    def _newest(self) -> av.VideoFrame:
        """The next frame that is worth a conversion."""
        bad = 0
        while True:
            asked = time.monotonic()
            with self._errors():
                packet = next(self._packets, None)
            if packet is None or packet.size == 0:
                raise SourceError("ended", "the stream has ended")
            self.undecoded_at = time.monotonic()
            behind = self._behind(packet, asked)
            self._skipping = behind > LOST_S or (self._skipping and not packet.is_keyframe)
            if self._skipping:
                self._skipped += 1
                continue
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                bad += 1
                if bad > _MAX_BAD_PACKETS:
                    raise SourceError("undecodable", "the video cannot be decoded") from error
                continue
            if behind > BEHIND_S and time.monotonic() - self._handed_over < _FEW_S:
                self._skipped += len(frames)
            elif frames:
                self._frames.extend(frames[1:])
                self.undecoded_at = None
                return frames[0]

    def _behind(self, packet: av.Packet[av.VideoStream], asked: float) -> float:
        """How long a packet has waited for the decoder, in seconds.

        A decoder that had to wait for two packets in a row is not behind. From there on, it is behind by as much as the
        arrivals take longer than the stream times.
        """
        if not self._has_clock or packet.dts is None:
            return 0.0
        arrival, stream_time = time.monotonic(), float(packet.dts * packet.time_base)
        self._waits = self._waits + 1 if arrival - asked > _WAITED_S else 0
        behind = 0.0
        if self._caught_up is not None and self._waits < 2:
            behind = (arrival - self._caught_up[0]) - (stream_time - self._caught_up[1])
        if behind <= 0:
            self._caught_up = (arrival, stream_time)
        return max(behind, 0.0)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        with connection_errors():
            try:
                yield
            except av.error.FFmpegError as error:
                relay = self._connection
                problem = relay.problem if isinstance(relay, RtspRelay) else None
                raise problem if problem and problem.cause != "ended" else _problem(error) from error

    def _interrupt(self) -> None:
        if self._connection is not None:
            self._connection.abort()

    def _release(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            container.close()
        if isinstance(self._connection, (Link, HttpBody)):
            self._connection.close()


def _problem(error: av.error.FFmpegError) -> SourceError:
    """FFmpeg's error as a `SourceError`; FFmpeg's own text would show the address with the password."""
    match error:
        case av.error.HTTPUnauthorizedError() | av.error.HTTPForbiddenError():
            return SourceError("unauthorised", "the camera refuses the user name and password")
        case av.error.HTTPNotFoundError():
            return SourceError("not-found", "the camera has no stream under this path")
        case av.error.HTTPClientError() | av.error.HTTPServerError():
            return SourceError("rejected", f"the camera rejects the request: {error.strerror}")
        case av.error.EOFError():
            return SourceError("ended", "the camera has closed the connection")
        case av.error.InvalidDataError() | av.error.ArgumentError():
            return SourceError("not-a-video", "what the camera sends is no video that is understood")
    return SourceError("ended", f"the stream broke: {error.strerror}")


def _check_pixels(width: int, height: int, max_pixels: int | None) -> None:
    if max_pixels is None:
        return
    try:
        check_pixels(width, height, max_pixels)
    except UnreadableVideo as error:
        raise SourceError(error.cause, str(error)) from error
