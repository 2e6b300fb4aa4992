"""What is in a video file, and which reader shows it right: decided once, by PyAV, for clips and looped files.

OpenCV reads a file that is plain. PyAV reads what OpenCV shows wrongly or not at all: pictures made of fields, mirrored
ones, pixels that are not square, a size that changes, a video that is not the first stream, and whatever else makes the
first pictures of the two differ.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, cast

import av
import av.error
import numpy as np
from av.container import InputContainer

from pose.coding import Coded, PictureHeaders
from pose.containers import (
    ANIMATION_CONTAINERS,
    UnreadableVideo,
    check_moving,
    check_pixels,
    opened,
    video_streams,
)
from pose.frame_times import LONGEST_PAUSE_S, FrameTimes
from pose.pictures import Image, is_stretched, square_size
from pose.readers import OpenCvReader, PyAvReader, ReaderName

_DEFAULT_FPS: Final = 25.0
"""Assumed for a file with a single frame or without usable times."""

_HIGHEST_FPS: Final = 1000.0

_LEAST_SHARE: Final = 0.9
"""A file that ends before this share of the promised duration was cut short."""

_COMPARED: Final = 8
"""First pictures of a file in which the two readers are compared."""

_ALIKE: Final = 8.0
"""Mean difference of two pictures, in levels of 0 to 255, up to which they are the same: decoders round differently."""

_LOOK_EVERY_S: Final = 1.0
"""Seconds between two key frames that are decoded to find a change, in codecs whose headers are not read."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is in a video file.

    Attributes:
        frames: Number of frames stored; two fields count as one frame.
        fps: Mean frames per second.
        width: Pixels, as shown: upright and with square pixels. Of pictures of several sizes, the largest.
        height: Pixels, as shown.
        duration_s: Seconds from the first frame to the end of the last.
        container: FFmpeg's name of the container format.
        codec: FFmpeg's name of the video codec.
        stream: Index of the video stream in the file.
        reader: Which reader shows the file right.
        reason: Why OpenCV does not read it, in words; empty if it does.
        clock_jumps: How often the file's clock starts again or is set.

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
    stream: int = 0
    reader: ReaderName = "pyav"
    reason: str = ""
    clock_jumps: int = 0


def probe(
    path: Path, *, max_frames: int | None = None, max_pixels: int | None = None, allow_cut: bool = False
) -> VideoInfo:
    """Say what is in a video file, and which reader shows it right.

    Reads the whole file once, without decoding it, so that the number of frames is counted and a file that was cut
    short is found. Decodes the first frames, and one wherever the format of the pictures changes.

    Args:
        path: The file.
        max_frames: Stop counting one beyond this many frames.
        max_pixels: Refuse a larger picture before anything is decoded.
        allow_cut: Accept a file that was cut short, as far as it goes.

    Returns:
        The video's properties; `VideoInfo.frames` is at most ``max_frames + 1``.

    Raises:
        UnreadableVideo: The file is not a video, is too large, holds no frame, was cut short or cannot be decoded.
    """
    with opened(path) as container:
        check_moving(container, path)
        name = container.format.name
        streams = video_streams(container)
        if max_pixels is not None:
            for stream in streams:
                check_pixels(stream.codec_context.width, stream.codec_context.height, max_pixels)
        first = container.streams.video[0].index
        # Matroska and AVI promise a duration; the frames that AVI's header counts may be empty.
        promised_s = (container.duration or 0) / av.time_base if name.startswith(("matroska", "avi")) else 0.0
        contents = [_Contents(stream) for stream in streams]
        end = _demux(container, contents, max_frames, allow_cut=allow_cut)
        # A single frame is a cover that is not marked as one, if there is more to see.
        chosen = next((one for one in contents if one.frames > 1), contents[0])
        codec = chosen.stream.codec_context.codec.canonical_name
        declared = 0 if promised_s else chosen.stream.frames
        rate = float(chosen.stream.average_rate or 0)
    if not allow_cut and not end.stopped:
        _check_whole(path, chosen, declared, promised_s, end.last_s)
    if not chosen.frames:
        raise UnreadableVideo("no-frames", "the video stream holds no frames")
    if name in ANIMATION_CONTAINERS and chosen.frames == 1:
        raise UnreadableVideo("picture", f"the file is a still picture ({name}), not a video")
    clock = FrameTimes(1 / rate if 0 < rate <= _HIGHEST_FPS else 1 / _DEFAULT_FPS)
    times = [time for _, time in clock.of((None, stamp) for stamp in chosen.stamps())]
    duration = times[-1] + clock.step
    fps = (len(times) - 1) / times[-1] if times[-1] > 0 else 1 / clock.step
    reason = "the video is not the first stream" if chosen.index != first else _reason(chosen)
    sizes = {size for look in chosen.looks for size in look.sizes}
    (width, height), reason = _seen(path, codec, chosen.index, sizes, reason)
    if max_pixels is not None:
        check_pixels(width, height, max_pixels)
    return VideoInfo(
        frames=chosen.frames,
        fps=fps,
        width=width,
        height=height,
        duration_s=duration,
        container=name,
        codec=codec,
        stream=chosen.index,
        reader="pyav" if reason else "opencv",
        reason=reason,
        clock_jumps=clock.jumps,
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """What the pictures of one decoded packet are like; the sizes are those before they are turned."""

    sizes: frozenset[tuple[int, int]]
    interlaced: bool
    stretched: bool


@dataclass(frozen=True, slots=True)
class _End:
    """Time stamp at which the last stream ends, in seconds, and whether counting stopped before."""

    last_s: float
    stopped: bool


@dataclass(slots=True)
class _Contents:
    """What the packets of one video stream say."""

    stream: av.VideoStream
    packets: int = 0
    frames: int = 0
    fields: int = 0
    looks: list[_Look] = field(default_factory=list)
    index: int = field(init=False)
    headers: PictureHeaders = field(init=False)
    _sections: list[list[float | None]] = field(default_factory=lambda: [[]])
    _decoded_last: float = -math.inf
    _looked_at: float = -math.inf

    def __post_init__(self) -> None:
        self.index = self.stream.index
        context = self.stream.codec_context
        self.headers = PictureHeaders(context.codec.canonical_name, context.extradata or b"")

    def add(self, packet: av.Packet[av.VideoStream]) -> None:
        """Take the next packet."""
        stamp, decoding = _seconds(packet, packet.pts), _seconds(packet, packet.dts)
        changed = packet.has_sidedata("new_extradata") and self._configure(packet)
        coded = self.headers.read(bytes(packet)) if self.headers.watches else Coded(2, new_format=False)
        first = not self.looks
        periodic = not self.headers.watches and abs((decoding or 0.0) - self._looked_at) >= _LOOK_EVERY_S
        if packet.is_keyframe and (first or changed or coded.new_format or periodic):
            self._looked_at = decoding or 0.0
            self.looks += _look(self.stream, packet)
        if packet.is_discard:
            return
        self.packets += 1
        begins = self.fields % 2 == 0
        self.fields += coded.fields
        if coded.fields == 0 or (coded.fields == 1 and not begins):
            return
        # Decoding times of one recording never decrease; a wild one stands alone.
        if decoding is not None:
            if not self._decoded_last < decoding <= self._decoded_last + LONGEST_PAUSE_S and self.frames:
                self._sections.append([])
            self._decoded_last = decoding
        self._sections[-1].append(stamp if stamp is not None else decoding)
        self.frames += 1

    def stamps(self) -> Iterator[float | None]:
        """Time stamps of the frames in order of presentation, in seconds; None where there is none."""
        for section in self._sections:
            known = [stamp for stamp in section if stamp is not None]
            yield from sorted(known) if len(known) == len(section) else section

    def _configure(self, packet: av.Packet[av.VideoStream]) -> bool:
        data = packet.get_sidedata("new_extradata")
        return self.headers.configure(bytes(data))


def _seconds(packet: av.Packet[av.VideoStream], stamp: int | None) -> float | None:
    return None if stamp is None or packet.time_base is None else float(stamp * packet.time_base)


def _look(stream: av.VideoStream, packet: av.Packet[av.VideoStream]) -> list[_Look]:
    """Decode one key frame by itself."""
    coder = stream.codec_context
    try:
        context = av.CodecContext.create(coder.codec.name, "r")
        if not isinstance(context, av.VideoCodecContext):
            return []
        context.thread_count = 1
        context.extradata = coder.extradata
        frames = [*context.decode(packet), *context.decode(None)]
    except (av.error.FFmpegError, MemoryError, ValueError):
        return []
    if not frames:
        return []
    aspect = stream.sample_aspect_ratio or context.sample_aspect_ratio
    sizes = frozenset(square_size(frame.width, frame.height, aspect) for frame in frames)
    return [_Look(sizes, any(frame.interlaced_frame for frame in frames), is_stretched(aspect))]


def _demux(container: InputContainer, contents: list[_Contents], max_frames: int | None, *, allow_cut: bool) -> _End:
    by_index = {one.index: one for one in contents}
    last = 0.0
    try:
        for packet in container.demux():
            if packet.size == 0:
                continue
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is not None and packet.time_base is not None:
                last = max(last, float(stamp * packet.time_base))
            one = by_index.get(packet.stream_index)
            if one is None:
                continue
            one.add(cast("av.Packet[av.VideoStream]", packet))
            if max_frames is not None and one.frames > max_frames:
                return _End(last, stopped=True)
    except av.error.FFmpegError as error:
        if not allow_cut:
            frames = max(one.frames for one in contents)
            raise UnreadableVideo(
                "truncated", f"the file is damaged or cut short after {frames} frames: {error.strerror}"
            ) from error
    return _End(last, stopped=False)


def _check_whole(path: Path, contents: _Contents, declared: int, promised_s: float, last_s: float) -> None:
    # The header counts packets, which may be fields; frames that an edit list cuts off are in its count.
    packets = contents.packets
    if packets < declared and _stored_packets(path, contents.index) < declared:
        raise UnreadableVideo(
            "truncated",
            f"the file is cut short: its header promises {declared} frames, {packets} are there; send it again",
        )
    if contents.frames and last_s < _LEAST_SHARE * promised_s:
        raise UnreadableVideo(
            "truncated",
            f"the file is cut short: its header promises {promised_s:.1f} s, {last_s:.1f} s are there; send it again",
        )


def _stored_packets(path: Path, stream: int) -> int:
    with opened(path, ignore_editlist="1") as container:
        return sum(packet.size > 0 for packet in container.demux(container.streams[stream]))


def _reason(contents: _Contents) -> str:
    """Why OpenCV would not show the stream right; empty if nothing speaks against it."""
    looks = contents.looks
    if contents.headers.fields_allowed or any(look.interlaced for look in looks):
        return "the video is interlaced"
    if len({size for look in looks for size in look.sizes}) > 1:
        return "the size of the pictures changes"
    if any(look.stretched for look in looks):
        return "the pixels are not square"
    return ""


def _seen(path: Path, codec: str, stream: int, sizes: set[tuple[int, int]], reason: str) -> tuple[tuple[int, int], str]:
    """Width and height of the pictures, and why OpenCV does not read them, after a look at the first ones."""
    with contextlib.closing(PyAvReader(path, stream)) as reader:
        first = [image for image, _ in islice(reader.pictures(), 1 if reason else _COMPARED)]
        turn = reader.orientation
    if not first:
        raise UnreadableVideo("undecodable", f"no frame of the {codec} video could be decoded; the data is damaged")
    if not reason and turn.mirrors:
        reason = "the pictures are mirrored"
    if not reason and not _opencv_agrees(path, first):
        reason = "OpenCV shows other pictures"
    turned = {size[::-1] if turn.transposed else size for size in sizes}
    turned |= {(image.shape[1], image.shape[0]) for image in first}
    return max(turned, key=lambda size: (size[0] * size[1], size)), reason


def _opencv_agrees(path: Path, wanted: list[Image]) -> bool:
    try:
        with contextlib.closing(OpenCvReader(path)) as reader:
            found = [image for image, _ in islice(reader.pictures(), len(wanted))]
    except UnreadableVideo:
        return False
    return len(found) == len(wanted) and all(
        a.shape == b.shape and float(np.abs(np.subtract(a, b, dtype=np.int16)).mean()) <= _ALIKE
        for a, b in zip(found, wanted, strict=True)
    )
