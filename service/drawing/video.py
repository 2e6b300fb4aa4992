"""Writes videos that browsers play: H.264 in MP4, with a time for every picture."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Final, Self

import av
from av.video.reformatter import ColorRange, Colorspace

from service.drawing.overlay import Image

_CLOCK: Final = Fraction(1, 90_000)
_BT709: Final = 1


class VideoWriter:
    """Writes one video; use it in a `with` statement, or call `finish` or `abandon` in the end.

    A picture is encoded when the next one is added, because only then its duration is known.

    Args:
        path: The file; it may have any name.
        size: Width and height in pixels, both even, because H.264 stores colour at half the resolution.
        fps: Nominal frame rate; the last picture is shown for one period of it.
        threads: Threads of the encoder; 0 lets the encoder choose.

    Raises:
        OSError: The file cannot be written; also raised by every method but `abandon`.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float, *, threads: int = 0) -> None:
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        # No reordered frames (B-frames): with uneven times the muxer then gets the duration wrong.
        self._stream.options = {"preset": "veryfast", "crf": "23", "bf": "0"}
        context = self._stream.codec_context
        context.thread_count = threads
        context.time_base = _CLOCK
        context.color_range = ColorRange.MPEG
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        self._period = max(1, round(1 / (fps * _CLOCK)))
        self._held: tuple[av.VideoFrame, int] | None = None

    def add(self, image: Image, time_s: float) -> None:
        """Append a picture of the video's size.

        Args:
            image: The picture; it is copied.
            time_s: When it is shown, in seconds; a time that does not rise becomes one tick after the last.
        """
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
        tick = round(time_s / _CLOCK)
        if self._held is not None:
            tick = max(tick, self._held[1] + 1)
            self._encode(tick)
        self._held = frame, tick

    def finish(self) -> None:
        """Encode the last picture and write the index."""
        with self._container:
            if self._held is not None:
                self._encode(self._held[1] + self._period)
            self._container.mux(self._stream.encode())

    def abandon(self) -> None:
        """Close the file without finishing it."""
        # The file is not used, so errors in writing it do not matter.
        with contextlib.suppress(OSError, av.FFmpegError):
            self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        else:
            self.abandon()

    def _encode(self, end: int) -> None:
        if self._held is not None:
            frame, start = self._held
            frame.time_base = _CLOCK
            frame.pts, frame.duration = start, end - start
            self._container.mux(self._stream.encode(frame))
