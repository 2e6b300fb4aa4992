"""The two readers of video files, behind one interface: OpenCV, and PyAV for what OpenCV does not show right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal, Protocol

import av
import av.error
import cv2
import numpy as np

from pose.containers import VIDEO_CONTAINERS, UnreadableVideo, opened
from pose.pictures import Deinterlacer, Image, Orientation, fitted, resized, square_size

ReaderName = Literal["opencv", "pyav"]

_THREADS: Final = 4
"""Each thread of FFmpeg keeps frames of its own: with one thread per core, many cores would need gigabytes."""


class Reader(Protocol):
    """Decodes a video file.

    Example:
        >>> [hasattr(reader, "pictures") for reader in (OpenCvReader, PyAvReader)]
        [True, True]
    """

    def pictures(self) -> Iterator[tuple[Image, float | None]]:
        """The pictures that have not been read yet, in order, each with its time stamp in seconds if it has one.

        A picture that cannot be decoded is left out.
        """

    def close(self) -> None:
        """Release the decoder and the file."""


class OpenCvReader:
    """OpenCV's ``VideoCapture``: the first video stream, turned by its rotation tag.

    Args:
        path: The file.

    Raises:
        UnreadableVideo: OpenCV cannot open the file.

    Example:
        >>> OpenCvReader(Path("gone.mp4"))
        Traceback (most recent call last):
        pose.containers.UnreadableVideo: the video cannot be decoded: no decoder accepts its codec or header
    """

    def __init__(self, path: Path) -> None:
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = (
            f"protocol_whitelist;file|format_whitelist;{','.join(VIDEO_CONTAINERS)}"
        )
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise UnreadableVideo("undecodable", "the video cannot be decoded: no decoder accepts its codec or header")

    def pictures(self) -> Iterator[tuple[Image, float | None]]:
        """See `Reader.pictures`."""
        while True:
            grabbed, image = self._capture.read()
            if not grabbed:
                return
            stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            yield np.asarray(image, np.uint8), stamp if np.isfinite(stamp) else None

    def close(self) -> None:
        """See `Reader.close`."""
        self._capture.release()


class PyAvReader:
    """PyAV: any stream, deinterlaced, mirrored and turned by its display matrix, with square pixels, of one size.

    Args:
        path: The file.
        stream: Index of the stream in the file.
        size: Width and height of the pictures; those of another size are fitted into it. None leaves every picture its
            own size.

    Attributes:
        orientation: How the last picture was turned.

    Raises:
        UnreadableVideo: The file cannot be opened.
        OSError: It cannot be read.

    Example:
        >>> PyAvReader(Path("gone.mp4"))
        Traceback (most recent call last):
        FileNotFoundError: [Errno 2] No such file or directory: 'gone.mp4'
    """

    def __init__(self, path: Path, stream: int = 0, size: tuple[int, int] | None = None) -> None:
        self.orientation = Orientation()
        self._size = size
        with ExitStack() as stack:
            self._container = stack.enter_context(opened(path))
            video = self._container.streams[stream]
            if not isinstance(video, av.VideoStream):
                raise UnreadableVideo("no-video-stream", f"stream {stream} of the file is no video")
            self._stream = video
            self._close = stack.pop_all().close
        context = self._stream.codec_context
        context.thread_count, context.thread_type = _THREADS, "AUTO"
        declared = self._stream.sample_aspect_ratio
        # The container's aspect ratio prevails over the coded one, as in players.
        self._aspect = declared if declared != context.sample_aspect_ratio else None

    def pictures(self) -> Iterator[tuple[Image, float | None]]:
        """See `Reader.pictures`."""
        deinterlacer = Deinterlacer[tuple[Fraction | None, float | None]]()
        context = self._stream.codec_context
        for frame in self._decoded():
            for ready, (aspect, stamp) in deinterlacer.push(
                frame, (self._aspect or context.sample_aspect_ratio, frame.time)
            ):
                yield self._picture(ready, aspect), stamp
        for ready, (aspect, stamp) in deinterlacer.flush():
            yield self._picture(ready, aspect), stamp

    def close(self) -> None:
        """See `Reader.close`."""
        self._close()

    def _decoded(self) -> Iterator[av.VideoFrame]:
        try:
            for packet in self._container.demux(self._stream):
                try:
                    yield from packet.decode()
                except av.error.FFmpegError:
                    continue
        except av.error.FFmpegError:
            return

    def _picture(self, frame: av.VideoFrame, aspect: Fraction | None) -> Image:
        self.orientation = Orientation.of_frame(frame)
        pixels = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
        image = self.orientation.of(resized(pixels, square_size(frame.width, frame.height, aspect)))
        return np.ascontiguousarray(image if self._size is None else fitted(image, self._size))
