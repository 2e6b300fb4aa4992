"""Frame sources: they turn a video file into a sequence of pictures with presentation times.

`FileSource` yields every frame and waits for its consumer; nothing is dropped. `probe` reads a file without decoding
more than its first frame and says what is in it, or exactly why it cannot be used. Both read only the file itself: they
open listed container formats only, and only through FFmpeg's ``file`` protocol.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

VIDEO_CONTAINERS: Final = ("mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "asf", "ogg")
"""FFmpeg demuxers that a clip may need."""

_STILL_CONTAINERS: Final = ("png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "tiff_pipe", "gif")
_SOUND_CONTAINERS: Final = ("mp3", "wav", "flac", "aac")
"""Demuxers that are opened only to name the kind of a file that is not a video."""

_DEFAULT_FPS: Final = 25.0
"""Assumed for a file with a single frame or without usable times."""

_LEAST_SHARE: Final = 0.9
"""A file that ends before this share of the promised duration was cut short."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture for the pose estimator.

    Attributes:
        camera_id: Which camera or clip it belongs to.
        sequence: Number of the frame in its stream, from 0.
        captured_at: Seconds: for files the presentation time from the first frame on, for live sources a moment of the
            monotonic clock.
        image: Shape ``(height, width, 3)``, uint8, BGR, upright.

    Example:
        >>> Frame("yard", 0, 0.0, np.zeros((480, 640, 3), np.uint8)).image.shape
        (480, 640, 3)
    """

    camera_id: str
    sequence: int
    captured_at: float
    image: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is in a video file.

    Attributes:
        frames: Number of frames stored.
        fps: Mean frames per second.
        width: Pixels, after the rotation tag is applied.
        height: Pixels, after the rotation tag is applied.
        duration_s: Seconds from the first frame to the end of the last.
        container: FFmpeg's name of the container format.
        codec: FFmpeg's name of the video codec.

    Example:
        >>> info = VideoInfo(frames=50, fps=25.0, width=640, height=480, duration_s=2.0, container="mp4", codec="h264")
        >>> info.frames / info.fps
        2.0
    """

    frames: int
    fps: float
    width: int
    height: int
    duration_s: float
    container: str
    codec: str


class UnreadableVideo(ValueError):
    """A file that cannot be used as a video.

    Attributes:
        cause: A stable slug: ``empty``, ``not-a-video``, ``picture``, ``no-video-stream``, ``no-frames``,
            ``truncated``, ``too-many-pixels`` or ``undecodable``.
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class FileSource:
    """Every frame of a video file, in order, with its presentation time.

    Variable frame rates keep their times, rotation tags are applied. Times start at 0 and strictly increase: where a
    file repeats or reverses a time stamp, the frame is placed one mean frame period after the one before it.

    Args:
        path: The file.
        camera_id: Written into every `Frame`.

    Raises:
        UnreadableVideo: OpenCV cannot open the file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "clip.avi"
        ...     video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
        ...     for _ in range(3):
        ...         _ = video.write(np.zeros((48, 64, 3), np.uint8))
        ...     video.release()
        ...     with FileSource(path) as source:
        ...         times = [round(frame.captured_at, 3) for frame in source]
        >>> times
        [0.0, 0.1, 0.2]
    """

    def __init__(self, path: Path, camera_id: str = "") -> None:
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = (
            f"protocol_whitelist;file|format_whitelist;{','.join(VIDEO_CONTAINERS)}"
        )
        self.camera_id = camera_id
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise UnreadableVideo("undecodable", "the video cannot be decoded: no decoder accepts its codec or header")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self._period = 1 / (fps if math.isfinite(fps) and 0 < fps <= 1000 else _DEFAULT_FPS)

    def __iter__(self) -> Iterator[Frame]:
        """Decode the frames that have not been read yet."""
        start = previous = -math.inf
        sequence = 0
        while True:
            grabbed, image = self._capture.read()
            if not grabbed:
                return
            time = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if sequence == 0:
                start = time
            elapsed = time - start if math.isfinite(time) else -math.inf
            previous = 0.0 if sequence == 0 else elapsed if elapsed > previous else previous + self._period
            yield Frame(self.camera_id, sequence, previous, np.asarray(image, np.uint8))
            sequence += 1

    def close(self) -> None:
        """Release the decoder and the file."""
        self._capture.release()

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuse pictures that are larger than allowed.

    Raises:
        UnreadableVideo: ``width * height`` is greater than `max_pixels`.
    """
    if width * height > max_pixels:
        raise UnreadableVideo(
            "too-many-pixels",
            f"the picture has {width}x{height} = {width * height} pixels; at most {max_pixels} are accepted",
        )


def probe(path: Path, *, max_frames: int | None = None, max_pixels: int | None = None) -> VideoInfo:
    """Say what is in a video file.

    Reads the whole file once, without decoding it, so that the number of frames is counted and a file that was cut
    short is found; then decodes the first frame.

    Args:
        path: The file.
        max_frames: Stop counting one beyond this many frames.
        max_pixels: Refuse a larger picture before anything is decoded.

    Returns:
        The video's properties; `VideoInfo.frames` is at most ``max_frames + 1``.

    Raises:
        UnreadableVideo: The file is not a video, is too large, holds no frame, was cut short or cannot be decoded.
    """
    size = path.stat().st_size
    if size == 0:
        raise UnreadableVideo("empty", "the file is empty")
    with _opened(path) as container:
        name = container.format.name
        if name.split(",")[0] in _STILL_CONTAINERS:
            raise UnreadableVideo("picture", f"the file is a still picture ({name.removesuffix('_pipe')}), not a video")
        stream = _video_stream(container)
        codec = stream.codec_context.name
        if max_pixels is not None:
            check_pixels(stream.codec_context.width, stream.codec_context.height, max_pixels)
        # Matroska and AVI promise a duration; the frames that AVI's header counts may be empty.
        by_duration = name.startswith(("matroska", "avi"))
        declared = 0 if by_duration else stream.frames
        rate = float(stream.average_rate or 0)
        promised_s = (container.duration or 0) / av.time_base if by_duration else 0.0
        contents = _demux(container, stream, max_frames)
    times = contents.times
    # Frames that an edit list cuts off are in the header's count.
    if len(times) < declared and not contents.stopped and _stored_frames(path) < declared:
        raise UnreadableVideo(
            "truncated",
            f"the file is cut short: its header promises {declared} frames, {len(times)} are there; send it again",
        )
    if not times:
        raise UnreadableVideo("no-frames", "the video stream holds no frames")
    if contents.end_s < _LEAST_SHARE * promised_s and not contents.stopped:
        raise UnreadableVideo(
            "truncated",
            f"the file is cut short: its header promises {promised_s:.1f} s, "
            f"{contents.end_s:.1f} s are there; send it again",
        )
    with FileSource(path) as source:
        first = next(iter(source), None)
    if first is None:
        raise UnreadableVideo("undecodable", f"no frame of the {codec} video could be decoded; the data is damaged")
    height, width = first.image.shape[:2]
    fps = _mean_rate(times, rate)
    return VideoInfo(len(times), fps, width, height, max(times) - min(times) + 1 / fps, name, codec)


@contextlib.contextmanager
def _opened(path: Path, **more: str) -> Iterator[av.container.InputContainer]:
    whitelist = ",".join(VIDEO_CONTAINERS + _STILL_CONTAINERS + _SOUND_CONTAINERS)
    options = {"protocol_whitelist": "file", "format_whitelist": whitelist, **more}
    try:
        container = av.open(str(path), options=options, metadata_errors="ignore")
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        with path.open("rb") as file:
            looks_like_mp4 = file.read(12)[4:8] == b"ftyp"
        if looks_like_mp4:
            raise UnreadableVideo(
                "truncated",
                "the file begins as MP4 but its index is missing or damaged: the recording or the upload was cut short",
            ) from error
        raise UnreadableVideo(
            "not-a-video", f"the file is not a video in a known container ({', '.join(VIDEO_CONTAINERS)})"
        ) from error
    with container:
        yield container


def _video_stream(container: av.container.InputContainer) -> av.VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        kind = "only sound" if container.streams.audio else "no video stream"
        raise UnreadableVideo("no-video-stream", f"the file holds {kind}; a video stream is needed")
    return streams[0]


@dataclass(frozen=True, slots=True)
class _Contents:
    """Presentation times of the video frames in seconds, the end of the last stream, and whether counting stopped."""

    times: list[float]
    end_s: float
    stopped: bool


def _demux(container: av.container.InputContainer, video: av.VideoStream, max_frames: int | None) -> _Contents:
    times: list[float] = []
    end = shift = 0.0
    decoded_last = -math.inf
    period = 1 / float(video.average_rate or _DEFAULT_FPS)
    try:
        for packet in container.demux():
            if packet.size == 0:
                continue
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is None or packet.time_base is None:
                time = times[-1] if times else 0.0
            else:
                time = float(stamp * packet.time_base) + shift
            if packet.stream_index != video.index:
                end = max(end, time)
                continue
            if packet.dts is not None and packet.time_base is not None:
                decoded = float(packet.dts * packet.time_base) + shift
                # Joined recordings start their clock again; decoding times of one recording never decrease.
                if decoded < decoded_last:
                    again = decoded_last - decoded + period
                    shift, time, decoded = shift + again, time + again, decoded + again
                decoded_last = decoded
            end = max(end, time)
            if packet.is_discard:
                continue
            times.append(time)
            if max_frames is not None and len(times) > max_frames:
                return _Contents(times, end, stopped=True)
    except av.error.FFmpegError as error:
        raise UnreadableVideo(
            "truncated", f"the file is damaged or cut short after {len(times)} frames: {error.strerror}"
        ) from error
    return _Contents(times, end, stopped=False)


def _stored_frames(path: Path) -> int:
    with _opened(path, ignore_editlist="1") as container:
        return sum(packet.size > 0 for packet in container.demux(_video_stream(container)))


def _mean_rate(times: list[float], declared: float) -> float:
    span = max(times) - min(times)
    if span > 0:
        return (len(times) - 1) / span
    return declared if math.isfinite(declared) and declared > 0 else _DEFAULT_FPS
