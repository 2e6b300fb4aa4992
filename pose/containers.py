"""Untrusted video files, opened by FFmpeg: only listed formats, only the file itself, and errors in plain words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition

ANIMATION_CONTAINERS: Final = ("gif", "apng")
"""Demuxers of picture formats that can hold an animation."""

VIDEO_CONTAINERS: Final = (
    *("mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "asf", "ogg"),
    *ANIMATION_CONTAINERS,
)
"""FFmpeg demuxers that a clip may need."""

_STILL_CONTAINERS: Final = ("png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "tiff_pipe", "image2")
_SOUND_CONTAINERS: Final = ("mp3", "wav", "flac", "aac")
"""Demuxers that are opened only to name the kind of a file that is not a video."""


class UnreadableVideo(ValueError):
    """A file that cannot be used as a video.

    Attributes:
        cause: A stable slug: ``empty``, ``not-a-video``, ``picture``, ``no-video-stream``, ``no-frames``,
            ``truncated``, ``too-many-pixels`` or ``undecodable``.
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


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


@contextlib.contextmanager
def opened(path: Path, **more: str) -> Iterator[InputContainer]:
    """Open a file with FFmpeg's ``file`` protocol and the listed demuxers only.

    Args:
        path: The file.
        more: Further options of the demuxer.

    Yields:
        The container; it is closed on leaving.

    Raises:
        UnreadableVideo: The file is empty, is of no listed format, or its index is missing.
    """
    if path.stat().st_size == 0:
        raise UnreadableVideo("empty", "the file is empty")
    whitelist = ",".join(VIDEO_CONTAINERS + _STILL_CONTAINERS + _SOUND_CONTAINERS)
    options = {"protocol_whitelist": "file", "format_whitelist": whitelist, **more}
    try:
        container = av.open(str(path), options=options, metadata_errors="ignore")
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        raise _not_opened(path) from error
    with container:
        yield container


def _not_opened(path: Path) -> UnreadableVideo:
    with path.open("rb") as file:
        looks_like_mp4 = file.read(12)[4:8] == b"ftyp"
    if looks_like_mp4:
        return UnreadableVideo(
            "truncated",
            "the file begins as MP4 but its index is missing or damaged: the recording or the upload was cut short",
        )
    return UnreadableVideo(
        "not-a-video", f"the file is not a video in a known container ({', '.join(VIDEO_CONTAINERS)})"
    )


def check_moving(container: InputContainer, path: Path) -> None:
    """Refuse the formats of still pictures.

    Raises:
        UnreadableVideo: The file is a still picture, or an animation that cannot be decoded.
    """
    name = container.format.name
    if name.split(",")[0] not in _STILL_CONTAINERS:
        return
    with path.open("rb") as file:
        head = file.read(64)
    if name == "webp_pipe" and b"ANIM" in head:
        raise UnreadableVideo(
            "picture", "the file is an animated WebP picture, which is not supported; convert it to MP4"
        )
    raise UnreadableVideo("picture", f"the file is a still picture ({name.removesuffix('_pipe')}), not a video")


def video_streams(container: InputContainer) -> list[av.VideoStream]:
    """The video streams of a container, without attached pictures such as the cover of an album.

    Raises:
        UnreadableVideo: There is none.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        kind = "only sound" if container.streams.audio else "no video stream"
        raise UnreadableVideo("no-video-stream", f"the file holds {kind}; a video stream is needed")
    return streams
