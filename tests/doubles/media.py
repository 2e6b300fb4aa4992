"""Media files for tests, good, odd and hostile, made on the spot and the same every time.

Every function writes into a directory and returns the path. Frames carry their own number as a row of black and white
blocks, so that a test can tell with `frame_number` which frames came out of a decoder, and in which order.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
from av.container import OutputContainer
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Painter = Callable[[int, int, int], Image]
"""Number of the frame, width, height to BGR image."""

_BITS: Final = 12
_CLOCK: Final = Fraction(1, 90_000)
_SHARP: Final = {"crf": "12", "preset": "veryfast"}
_UNITY: Final = 1 << 16
"""1.0 in the 16.16 fixed-point numbers of an MP4 header."""


def numbered(index: int, width: int, height: int) -> Image:
    """A soft background, a square that moves, and the frame's number in binary along the top."""
    ramp = (
        np.linspace(60, 160, width, dtype=np.float32)[None, :] + np.linspace(0, 40, height, dtype=np.float32)[:, None]
    )
    image = np.repeat(ramp.astype(np.uint8)[..., None], 3, axis=2)
    side = max(min(width, height) // 6, 2)
    left, top = (7 * index) % max(width - side, 1), height // 2
    image[top : top + side, left : left + side] = (40, 60, 220)
    edges = np.linspace(0, width, _BITS + 1).astype(int)
    for bit in range(_BITS):
        image[: height // 6, edges[bit] : edges[bit + 1]] = 255 * (index >> bit & 1)
    return image


def frame_number(image: Image) -> int:
    """The number that `numbered` painted into the picture, whatever its size."""
    height, width = image.shape[:2]
    centers = ((np.arange(_BITS) + 0.5) * width / _BITS).astype(int)
    bits = image[height // 12, centers].mean(axis=-1) > 127
    return int((bits * (1 << np.arange(_BITS))).sum())


def checks(height: int, width: int) -> Image:
    """A picture with sharp edges everywhere, in which a camera that looks at it can see."""
    down, across = np.mgrid[:height, :width]
    levels = np.where((down // 12 + across // 12) % 2, 200, 60).astype(np.uint8)
    return np.repeat(levels[:, :, None], 3, axis=2)


def black(index: int, width: int, height: int) -> Image:
    """Nothing to see."""
    return np.zeros((height, width, 3), np.uint8)


def clip(
    directory: Path,
    name: str = "clip.mp4",
    *,
    frames: int = 30,
    fps: int = 30,
    size: tuple[int, int] = (320, 240),
    codec: str = "libx264",
    paint: Painter = numbered,
    times: Sequence[float] | None = None,
    options: Mapping[str, str] | None = None,
    group: int = 10,
) -> Path:
    """A good clip; the suffix of the name chooses the container.

    Args:
        directory: Where to write.
        name: File name.
        frames: Number of frames, unless `times` says so.
        fps: Frames per second, unless `times` says so.
        size: Width and height. Odd ones are coded as 4:4:4, which H.264 needs for them.
        codec: An encoder of PyAV: `libx264`, `mpeg4` (`.avi`), `libvpx-vp9` (`.webm`).
        paint: Draws the frames.
        times: Presentation times in seconds, for a variable frame rate.
        options: Options of the container, such as `movflags`.
        group: Frames from one key frame to the next.
    """
    path = directory / name
    width, height = size
    instants = [Fraction(index, fps) for index in range(frames)] if times is None else list(map(Fraction, times))
    with av.open(str(path), "w", options=dict(options or {})) as container:
        stream = _video_stream(container, codec, fps)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        stream.codec_context.time_base = Fraction(1, fps) if times is None else _CLOCK
        stream.codec_context.gop_size = group
        if codec == "libx264":
            # With reordered frames at uneven times the muxer gets the length of the clip wrong.
            stream.options = {**_SHARP, "bf": "2" if times is None else "0"}
        for index, instant in enumerate(instants):
            frame = av.VideoFrame.from_ndarray(paint(index, width, height), format="bgr24")
            frame.time_base = stream.codec_context.time_base
            frame.pts = round(instant / frame.time_base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def one_frame(directory: Path) -> Path:
    """A clip of a single frame."""
    return clip(directory, "one-frame.mp4", frames=1)


def shorter_than_a_window(directory: Path) -> Path:
    """A third of a second, less than any window."""
    return clip(directory, "short.mp4", frames=10)


def one_fps(directory: Path) -> Path:
    """Frames a second apart, further than poses may be interpolated."""
    return clip(directory, "one-fps.mp4", frames=5, fps=1)


def fast(directory: Path) -> Path:
    """120 frames per second."""
    return clip(directory, "fast.mp4", frames=60, fps=120)


def odd_size(directory: Path) -> Path:
    """321x241 pixels."""
    return clip(directory, "odd.mp4", frames=12, size=(321, 241))


def constant_black(directory: Path) -> Path:
    """A second of black."""
    return clip(directory, "black.mp4", paint=black)


def variable_rate(directory: Path, times: Sequence[float] = (0.0, 0.04, 0.08, 0.5, 0.54, 1.2, 1.21)) -> Path:
    """Frames at the given presentation times, in seconds."""
    return clip(directory, "variable-rate.mp4", times=times)


def mpeg4_avi(directory: Path) -> Path:
    """MPEG-4 part 2 in AVI."""
    return clip(directory, "clip.avi", codec="mpeg4")


def vp9_webm(directory: Path) -> Path:
    """VP9 in WebM."""
    return clip(directory, "clip.webm", codec="libvpx-vp9", size=(160, 120))


def portrait(directory: Path) -> Path:
    """320x240 as coded, tagged to be turned by 90 degrees clockwise, so 240x320 as shown; like a telephone's."""

    def lying(index: int, width: int, height: int) -> Image:
        return cv2.rotate(numbered(index, height, width), cv2.ROTATE_90_COUNTERCLOCKWISE).astype(np.uint8)

    path = clip(directory, "portrait.mp4", frames=12, paint=lying)
    data = bytearray(path.read_bytes())
    matrix = (0, _UNITY, 0, -_UNITY & 0xFFFFFFFF, 0, 0, 240 * _UNITY, 0, 1 << 30)
    struct.pack_into(">9I", data, _body(data, "moov", "trak", "tkhd") + 40, *matrix)
    path.write_bytes(data)
    return path


def trimmed(directory: Path) -> Path:
    """An MP4 of 60 stored frames of which an edit list shows the first second, as telephones trim."""
    path = clip(directory, "trimmed.mp4", frames=60)
    data = bytearray(path.read_bytes())
    entry = _body(data, "moov", "trak", "edts", "elst") + 8
    (duration,) = struct.unpack_from(">I", data, entry)
    struct.pack_into(">I", data, entry, duration // 2)
    return _write(path, bytes(data))


def gaps_avi(directory: Path) -> Path:
    """An AVI whose header counts 60 frames, 13 of which are empty because the recorder dropped them."""
    shown = [0, 1, 2, 3, 10, 11, 12, 20, 21, 22, *range(23, 60)]
    path = directory / "gaps.avi"
    with av.open(str(path), "w") as container:
        stream = _video_stream(container, "mpeg4", 30)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 30)
        for index in shown:
            frame = av.VideoFrame.from_ndarray(numbered(index, 320, 240), format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def joined_ts(directory: Path) -> Path:
    """Two recordings of one second one after the other, as `cat` joins them: the clock starts again in the middle."""
    once = clip(directory, "once.ts").read_bytes()
    return _write(directory / "joined.ts", once + once)


def reencode(source: Path, target: Path, *, every: int = 1, scale: float = 1.0, frames: int | None = None) -> Path:
    """Decode a real clip and encode every n-th frame again, at nearly no loss and at its own presentation time.

    Args:
        source: Any clip; a rotation tag is ignored.
        target: The new clip, H.264.
        every: Keep frames 0, `every`, 2 `every`, and so on: 3 turns 30 fps into 10.
        scale: Factor on width and height, which are rounded to even numbers.
        frames: Stop after so many frames of the source.
    """
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        video = reader.streams.video[0]
        video.thread_type = "AUTO"
        if video.average_rate is None or video.time_base is None:
            raise ValueError(f"{source.name} has no frame rate")
        stream = _video_stream(writer, "libx264", video.average_rate / every)
        stream.width, stream.height = (2 * round(side * scale / 2) for side in (video.width, video.height))
        stream.pix_fmt, stream.options = "yuv420p", {**_SHARP, "bf": "0"}
        stream.codec_context.time_base = video.time_base
        for index, frame in enumerate(islice(reader.decode(video), frames)):
            if index % every:
                continue
            image = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
            if scale != 1.0:
                resized = cv2.resize(image, (stream.width, stream.height), interpolation=cv2.INTER_AREA)
                image = resized.astype(np.uint8, copy=False)
            copy = av.VideoFrame.from_ndarray(image, format="bgr24")
            copy.pts, copy.time_base = frame.pts, video.time_base
            writer.mux(stream.encode(copy))
        writer.mux(stream.encode())
    return target


def repeated(source: Path, target: Path, times: int) -> Path:
    """A clip several times in a row, without coding it again.

    Args:
        source: The clip.
        target: Where to write.
        times: How often.
    """
    with av.open(str(target), "w") as output:
        with av.open(str(source)) as container:
            stream = output.add_stream_from_template(container.streams.video[0])
        for number in range(times):
            with av.open(str(source)) as container:
                original = container.streams.video[0]
                length = original.duration or 0
                for packet in container.demux(original):
                    if packet.pts is None or packet.dts is None:
                        continue
                    packet.pts += number * length
                    packet.dts += number * length
                    packet.stream = stream
                    output.mux(packet)
    return target


def empty(directory: Path) -> Path:
    """No bytes at all."""
    return _write(directory / "empty.mp4", b"")


def text_named_mp4(directory: Path) -> Path:
    """Prose with a video's name."""
    return _write(directory / "text.mp4", b"This is not a video, whatever its name says.\n" * 40)


def picture(directory: Path, suffix: str = ".png") -> Path:
    """A still picture, `.png` or `.jpg`, with a video's name."""
    encoded, data = cv2.imencode(suffix, numbered(1, 320, 240))
    if not encoded:
        raise ValueError(f"cannot write {suffix}")
    return _write(directory / f"picture{suffix}.mp4", data.tobytes())


def still_gif(directory: Path) -> Path:
    """A GIF of one picture."""
    path = directory / "still.gif"
    with av.open(str(path), "w") as container:
        stream = _video_stream(container, "gif", 10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb8"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(0, 64, 48), format="bgr24")))
        container.mux(stream.encode())
    return path


def animated_webp(directory: Path) -> Path:
    """The beginning of an animated WebP picture."""
    chunks = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + b"\x3f\0\0" + b"\x2f\0\0"
    chunks += b"ANIM" + struct.pack("<I", 6) + b"\0" * 6
    body = b"WEBP" + chunks + b"\0" * 64
    return _write(directory / "animated.webp", b"RIFF" + struct.pack("<I", len(body)) + body)


def audio_only(directory: Path) -> Path:
    """A second of a tone, AAC in MP4, no video stream."""
    path = directory / "audio.mp4"
    rate, samples = 44_100, 1024
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono")
        for start in range(0, rate, samples):
            time_s = np.arange(start, start + samples, dtype=np.float32)[None] / rate
            tone: NDArray[np.float32] = np.sin(2 * np.pi * 440 * time_s, dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def truncated_moov(directory: Path) -> Path:
    """An MP4 whose upload broke off before its index, which stands at the end; no frame of it can be found."""
    path = clip(directory, "truncated-moov.mp4")
    data = path.read_bytes()
    return _write(path, data[: _body(data, "moov") - 8])


def truncated_faststart(directory: Path, share: float = 0.4) -> Path:
    """An MP4 with its index first that promises 90 frames and breaks off within the media data."""
    path = clip(directory, "truncated-faststart.mp4", frames=90, options={"movflags": "+faststart"})
    data = path.read_bytes()
    media = _body(data, "mdat")
    return _write(path, data[: media + int(share * (len(data) - media))])


def truncated_mkv(directory: Path, share: float = 0.4) -> Path:
    """A Matroska file that breaks off; the frames before that are whole."""
    path = clip(directory, "truncated.mkv", frames=90)
    data = path.read_bytes()
    return _write(path, data[: int(share * len(data))])


def zero_length_stream(directory: Path) -> Path:
    """A valid MP4 that declares a video stream and holds no frame."""
    path = directory / "zero-length.mp4"
    with av.open(str(path), "w", options={"movflags": "+empty_moov"}) as container:
        stream = _video_stream(container, "libx264", 30)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        container.start_encoding()
    return path


def hostile_size(directory: Path, width: int = 65_535, height: int = 65_535) -> Path:
    """A few hundred bytes of VP9 in MP4 that claim a huge picture, in the container and in the key frame.

    The largest sizes are refused by decoders; 16000x16000 makes one reserve gigabytes.
    """
    path = clip(directory, "hostile-size.mp4", frames=1, codec="libvpx-vp9", size=(64, 64))
    data = bytearray(path.read_bytes())
    _claim_size(data, b"vp09", width, height)
    # An uncompressed VP9 header is a byte of flags, three of sync code, four bits of colour, then both sizes less one.
    at = _body(data, "mdat") + 4
    head = int.from_bytes(data[at : at + 5], "big")
    sizes = (width - 1) << 20 | (height - 1) << 4
    if head >> 20 & 0xFFFF != 63:
        raise ValueError("the encoder no longer writes the key frame header that is patched here")
    data[at : at + 5] = (head & 0xF << 36 | sizes | head & 0xF).to_bytes(5, "big")
    return _write(path, bytes(data))


def hostile_container_size(directory: Path, width: int = 65_535, height: int = 65_535) -> Path:
    """H.264 whose container claims a huge picture, while the frames themselves are 320x240."""
    path = clip(directory, "hostile-container-size.mp4")
    data = bytearray(path.read_bytes())
    _claim_size(data, b"avc1", width, height)
    return _write(path, bytes(data))


def hostile_length(directory: Path, frames: int = 10**9) -> Path:
    """A clip of 30 frames whose header claims a billion, a year of video, in every table that tells the number."""
    path = clip(
        directory,
        "hostile-length.mp4",
        options={"video_track_timescale": "30", "movie_timescale": "30", "use_editlist": "0"},
    )
    data = bytearray(path.read_bytes())
    media, table = ("moov", "trak", "mdia"), ("moov", "trak", "mdia", "minf", "stbl")
    struct.pack_into(">I", data, _body(data, "moov", "mvhd") + 16, frames)
    struct.pack_into(">I", data, _body(data, "moov", "trak", "tkhd") + 20, frames)
    struct.pack_into(">I", data, _body(data, *media, "mdhd") + 16, frames)
    struct.pack_into(">2I", data, _body(data, *table, "stts") + 8, frames, 1)
    # A common sample size other than zero means that no table of a billion sizes follows.
    struct.pack_into(">2I", data, _body(data, *table, "stsz") + 4, 16, frames)
    return _write(path, bytes(data))


def playlist_in_disguise(directory: Path, referenced: Path) -> Path:
    """An HLS playlist with a video's name that makes a careless demuxer open another local file."""
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{referenced.resolve().as_uri()}\n#EXT-X-ENDLIST\n"
    return _write(directory / "playlist.mp4", text.encode())


def concat_in_disguise(directory: Path, referenced: Path) -> Path:
    """An ffconcat script with a video's name that makes a careless demuxer open another file of its folder."""
    return _write(directory / "concat.mp4", f"ffconcat version 1.0\nfile {referenced.name}\n".encode())


def _video_stream(container: OutputContainer, codec: str, rate: Fraction | int) -> av.VideoStream:
    stream = container.add_stream(codec, rate=rate)
    if not isinstance(stream, av.VideoStream):
        raise TypeError(f"{codec} encodes no video")
    return stream


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _claim_size(data: bytearray, entry: bytes, width: int, height: int) -> None:
    struct.pack_into(">2I", data, _body(data, "moov", "trak", "tkhd") + 76, width * _UNITY, height * _UNITY)
    description = _body(data, "moov", "trak", "mdia", "minf", "stbl", "stsd")
    struct.pack_into(">2H", data, data.index(entry, description) + 28, width, height)


def _body(data: bytes | bytearray, *names: str) -> int:
    """Offset of the first byte after the header of the MP4 box with this path."""
    begin, end = 0, len(data)
    for name in names:
        begin, end = next((first, last) for kind, first, last in _boxes(data, begin, end) if kind == name)
    return begin


def _boxes(data: bytes | bytearray, begin: int, end: int) -> Iterator[tuple[str, int, int]]:
    while begin + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, begin)
        if size < 8:
            raise ValueError(f"box {kind!r} has size {size}")
        yield kind.decode("latin-1"), begin + 8, begin + size
        begin += size
