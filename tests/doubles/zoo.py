"""A zoo of video files: containers, codecs and oddities, made on the spot, with what a player shows of each.

Every animal is a clip of numbered pictures (`tests.doubles.media`), so that count, order, times, size and pixels are
known without decoding anything.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
from av.stream import Disposition

from pose.readers import ReaderName
from tests.doubles import paff
from tests.doubles.media import Image, numbered

FRAMES: Final = 30
FPS: Final = 25
SIZE: Final = (320, 192)

_UNITY: Final = 1 << 16
_ENCODERS: Final[Mapping[str, Mapping[str, str]]] = {
    "libx264": {"crf": "12", "preset": "veryfast"},
    "libx265": {"crf": "12", "preset": "ultrafast", "x265-params": "log-level=none"},
    "libsvtav1": {"crf": "20", "preset": "10"},
    "libvpx": {"crf": "8", "b": "4M", "deadline": "realtime"},
    "libvpx-vp9": {"crf": "20", "b": "0", "deadline": "realtime"},
}
_LOSSY: Final = {"mpeg4", "mpeg2video", "wmv2", "flv", "msmpeg4v3", "mjpeg"}
_PIXELS: Final = {"gif": "rgb8", "apng": "rgb24", "mjpeg": "yuvj420p"}


@dataclass(frozen=True, slots=True)
class Animal:
    """One file, and what a player shows.

    Attributes:
        name: Name of the file; the suffix is the container.
        make: Writes it.
        reader: What reads it.
        size: Width and height as shown.
        times: Presentation time of every picture, in seconds.
        alike: Largest mean difference of a picture to what was painted, in levels of 0 to 255.
        picture: What is shown as number `index`.
    """

    name: str
    make: Callable[[Path], None]
    reader: ReaderName = "opencv"
    size: tuple[int, int] = SIZE
    times: Sequence[float] = tuple(index / FPS for index in range(FRAMES))
    alike: float = 10.0
    picture: Callable[[int], Image] = field(default=lambda index: numbered(index, *SIZE))


def encode(
    path: Path,
    codec: str = "libx264",
    *,
    images: Sequence[Image] | None = None,
    fps: int = FPS,
    options: Mapping[str, str] | None = None,
    aspect: Fraction | None = None,
    matrix: Sequence[int] | None = None,
    interlaced: bool = False,
    first: int = 0,
) -> None:
    """Encode pictures, by default the numbered ones from `first` on."""
    images = [numbered(first + index, *SIZE) for index in range(FRAMES)] if images is None else images
    more = {"flags": "+ildct+ilme"} if interlaced else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = images[0].shape[1], images[0].shape[0]
        stream.pix_fmt = _PIXELS.get(codec, "yuv420p")
        stream.options = {**_ENCODERS.get(codec, {}), **more, **(options or {})}
        if codec in _LOSSY:
            stream.bit_rate = 4_000_000
        stream.codec_context.gop_size = 10
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for index, image in enumerate(images):
            picture = av.VideoFrame.from_ndarray(image, format="bgr24")
            picture.pts, picture.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def restamped(path: Path, stamp: Callable[[int], float]) -> None:
    """Give the pictures of an encoded file, in order, the time stamps that `stamp` says, in seconds."""
    plain = path.with_name(f"plain-{path.name}")
    encode(plain, options={"bf": "0"})
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(one for one in source.demux(video=0) if one.size):
            packet.time_base = Fraction(1, 1000)
            packet.pts = round(1000 * stamp(number))
            # A muxer wants decoding times that increase; Matroska does not store them.
            packet.dts = round(1000 * number / FPS)
            packet.stream = stream
            target.mux(packet)


def damaged(path: Path, codec: str, lost: Collection[int], *, interlaced: bool = False) -> None:
    """A clip in which the packets with these numbers hold nothing that can be decoded."""
    whole = path.with_name(f"whole-{path.name}")
    encode(whole, codec, options={"bf": "0"} if codec == "libx264" else None, interlaced=interlaced)
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(one for one in source.demux(video=0) if one.size):
            stored = av.Packet(b"\xff" * packet.size) if number in lost else packet
            stored.pts, stored.dts, stored.time_base = packet.pts, packet.dts, packet.time_base
            stored.duration, stored.stream = packet.duration or 0, stream
            stored.is_keyframe = packet.is_keyframe
            target.mux(stored)


def _plain(codec: str) -> Callable[[Path], None]:
    return lambda path: encode(path, codec)


def _interlaced(codec: str) -> Callable[[Path], None]:
    return lambda path: encode(path, codec, interlaced=True)


def _stretched(codec: str, aspect: Fraction) -> Callable[[Path], None]:
    return lambda path: encode(path, codec, aspect=aspect)


def _cover_first(path: Path, *, marked: bool) -> None:
    """A cover before the video; marked as one, or an ordinary stream of one picture."""
    video = path.with_name(f"video-{path.name}")
    encode(video)
    cover = io.BytesIO(bytes(cv2.imencode(".jpg", np.full((400, 400, 3), 90, np.uint8))[1]))
    with av.open(str(video)) as source, av.open(cover, format="jpeg_pipe") as art, av.open(str(path), "w") as target:
        front = target.add_stream_from_template(art.streams.video[0])
        if marked:
            front.disposition = Disposition.attached_pic
        back = target.add_stream_from_template(source.streams.video[0])
        for stream, packets in ((front, art.demux(video=0)), (back, source.demux(video=0))):
            for packet in packets:
                if packet.size:
                    packet.stream = stream
                    target.mux(packet)


def _joined(path: Path, *makes: Callable[[Path], None]) -> None:
    """Recordings one after the other, each with its own clock."""
    data = b""
    for number, make in enumerate(makes):
        part = path.with_name(f"part{number}-{path.name}")
        make(part)
        data += part.read_bytes()
    path.write_bytes(data)


def _fields_apart(path: Path) -> None:
    paff.write(path, [numbered(index, *SIZE) for index in range(FRAMES)], FPS)


_TURNS: Final[Mapping[str, tuple[tuple[int, int, int, int], Callable[[Image], Image]]]] = {
    # The matrix (a, b, c, d), and how an upright picture has to lie so that the matrix turns it upright again.
    "mirrored": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "upside-down-mirrored": ((1, 0, 0, -1), lambda image: image[::-1]),
    "half-turn": ((-1, 0, 0, -1), lambda image: image[::-1, ::-1]),
    "quarter-turn": ((0, 1, -1, 0), lambda image: np.rot90(image, 1)),
    "quarter-turn-back": ((0, -1, 1, 0), lambda image: np.rot90(image, -1)),
    "transposed": ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
    "transposed-back": ((0, -1, -1, 0), lambda image: np.rot90(image, 2).transpose(1, 0, 2)),
}


def _turned(name: str) -> Callable[[Path], None]:
    (a, b, c, d), lay = _TURNS[name]
    matrix = (a * _UNITY, b * _UNITY, 0, c * _UNITY, d * _UNITY, 0, 0, 0, 1 << 30)
    images = [np.ascontiguousarray(lay(numbered(index, *SIZE))) for index in range(FRAMES)]
    return lambda path: encode(path, images=images, matrix=matrix)


def _even(count: int, fps: float, start: float = 0.0) -> list[float]:
    return [start + index / fps for index in range(count)]


def _wide(index: int) -> Image:
    """A picture of half the width, shown with pixels twice as wide as high."""
    return np.asarray(cv2.resize(numbered(index, *SIZE), (2 * SIZE[0], SIZE[1])), np.uint8)


_GROWN: Final = (640, 384)
_TALL: Final = (320, 320)


def _grown(index: int) -> Image:
    return numbered(index, *_GROWN)


def _letterboxed(index: int) -> Image:
    """The wide picture and then the square one, both in the larger of the two."""
    if index >= FRAMES:
        return numbered(index, *_TALL)
    canvas = np.zeros((_TALL[1], _TALL[0], 3), np.uint8)
    canvas[64:256] = numbered(index, *SIZE)
    return canvas


def _sized(size: tuple[int, int], codec: str, first: int) -> Callable[[Path], None]:
    return lambda path: encode(path, codec, images=[numbered(first + index, *size) for index in range(FRAMES)])


def _slower(path: Path) -> None:
    encode(path, fps=10, first=FRAMES)


_TWICE: Final = _even(2 * FRAMES, FPS)
_WILD: Final = {7: 100.0, 9: 36_000.0, 20: 5.0}


def _with_wild_stamps(path: Path) -> None:
    restamped(path, lambda number: number / FPS + _WILD.get(number, 0.0))


def _leaping(seconds: float) -> Callable[[Path], None]:
    return lambda path: restamped(path, lambda number: number / FPS + (seconds if number >= FRAMES // 2 else 0.0))


ZOO: Final = (
    *(Animal(f"h264.{suffix}", _plain("libx264")) for suffix in ("mp4", "mov", "mkv", "ts", "flv", "avi")),
    *(Animal(f"hevc.{suffix}", _plain("libx265")) for suffix in ("mp4", "mkv", "ts")),
    *(Animal(f"mpeg4.{suffix}", _plain("mpeg4")) for suffix in ("mp4", "avi")),
    *(Animal(f"mpeg2.{suffix}", _plain("mpeg2video")) for suffix in ("ts", "mkv")),
    Animal("mjpeg.avi", _plain("mjpeg")),
    Animal("wmv.asf", _plain("wmv2")),
    Animal("vp8.webm", _plain("libvpx")),
    Animal("vp9.webm", _plain("libvpx-vp9")),
    *(Animal(f"av1.{suffix}", _plain("libsvtav1"), "pyav") for suffix in ("mp4", "webm", "mkv")),
    Animal("animation.gif", _plain("gif"), alike=30.0),
    Animal("animation.apng", _plain("apng")),
    *(Animal(f"interlaced-h264.{suffix}", _interlaced("libx264"), "pyav") for suffix in ("mp4", "mkv", "ts")),
    *(Animal(f"interlaced-mpeg2.{suffix}", _interlaced("mpeg2video"), "pyav") for suffix in ("ts", "mkv", "mov")),
    *(Animal(f"fields.{suffix}", _fields_apart, "pyav") for suffix in ("ts", "mp4", "mkv")),
    *(
        Animal(f"{name}.{suffix}", _turned(name), "opencv" if "turn" in name else "pyav")
        for name in _TURNS
        for suffix in ("mp4", "mov")
    ),
    *(
        Animal(f"wide-pixels-{codec}.{suffix}", _stretched(codec, Fraction(2)), "pyav", (640, 192), picture=_wide)
        for codec, suffix in (("libx264", "mp4"), ("libx264", "mkv"), ("libx264", "ts"), ("mpeg4", "avi"))
    ),
    # Of an MP4, FFmpeg makes a cover that is marked the last stream.
    Animal("marked-cover.mp4", lambda path: _cover_first(path, marked=True)),
    *(Animal(f"cover.{suffix}", lambda path: _cover_first(path, marked=False), "pyav") for suffix in ("mkv", "mov")),
    *(
        Animal(
            f"growing-{codec}.ts",
            lambda path, codec=codec: _joined(path, _sized(SIZE, codec, 0), _sized(_GROWN, codec, FRAMES)),  # type: ignore[misc]
            "pyav",
            _GROWN,
            _TWICE,
            picture=_grown,
        )
        for codec in ("libx264", "libx265")
    ),
    Animal(
        "changing-shape.ts",
        lambda path: _joined(path, _sized(SIZE, "libx264", 0), _sized(_TALL, "libx264", FRAMES)),
        "pyav",
        _TALL,
        _TWICE,
        picture=_letterboxed,
    ),
    Animal(
        "slower.ts",
        lambda path: _joined(path, encode, _slower),
        times=_even(FRAMES, FPS) + _even(FRAMES, 10, FRAMES / FPS),
    ),
    Animal("wild-stamps.mkv", _with_wild_stamps),
    *(Animal(f"leap-{name}.mkv", _leaping(leap)) for name, leap in (("100s", 100.0), ("10h", 36_000.0))),
    Animal(
        "pause.mkv",
        _leaping(60.0),
        times=[index / FPS + (60.0 if index >= FRAMES // 2 else 0.0) for index in range(FRAMES)],
    ),
)
"""All animals."""
