"""H.264 whose fields are pictures of their own (PAFF), as camcorders and recorders write it and no encoder here does.

Every macroblock carries its samples as they are (``I_PCM``), so a header for each is all the coding there is. The
syntax is that of ITU-T H.264, 7.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

_MACROBLOCK: Final = 16
_I_PCM: Final = 25
_I_SLICE: Final = 7


class _Syntax:
    """Syntax elements, appended as text of zeros and ones until the end."""

    def __init__(self) -> None:
        self._bits: list[str] = []
        self.count = 0

    def fixed(self, *values: tuple[int, int]) -> None:
        """Unsigned numbers, each with its number of bits."""
        for value, width in values:
            self._append(f"{value:0{width}b}")

    def golomb(self, *values: int) -> None:
        """Unsigned Exp-Golomb numbers."""
        for value in values:
            digits = f"{value + 1:b}"
            self._append("0" * (len(digits) - 1) + digits)

    def align(self, bit: str = "0") -> None:
        while self.count % 8:
            self._append(bit)

    def raw(self, data: bytes) -> None:
        self._append(f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}")

    def unit(self, header: int) -> bytes:
        """The NAL unit with the stop bit, escaped, after a start code."""
        self._append("1")
        self.align()
        payload = int("".join(self._bits), 2).to_bytes(self.count // 8, "big")
        escaped, zeros = bytearray([header]), 0
        for byte in payload:
            if zeros >= 2 and byte <= 3:
                escaped.append(3)
                zeros = 0
            escaped.append(byte)
            zeros = 0 if byte else zeros + 1
        return b"\0\0\0\1" + bytes(escaped)

    def _append(self, bits: str) -> None:
        self._bits.append(bits)
        self.count += len(bits)


def _parameters(width: int, height: int, fps: int) -> bytes:
    sequence = _Syntax()
    sequence.fixed((77, 8), (0, 8), (30, 8))
    # One sequence, 4 bits of frame number, 8 bits of picture order, one reference frame.
    sequence.golomb(0, 0, 0, 4, 1)
    sequence.fixed((0, 1))
    sequence.golomb(width // _MACROBLOCK - 1, height // _MACROBLOCK // 2 - 1)
    # Fields are allowed, macroblocks do not choose; no cropping; usability information with the timing alone.
    sequence.fixed((0, 1), (0, 1), (1, 1), (0, 1), (1, 1))
    sequence.fixed((0, 4), (1, 1), (1, 32), (2 * fps, 32), (1, 1), (0, 4))
    picture = _Syntax()
    picture.golomb(0, 0)
    picture.fixed((0, 2))
    picture.golomb(0, 0, 0)
    picture.fixed((0, 3))
    picture.golomb(0, 0, 0)
    picture.fixed((1, 1), (0, 2))
    return sequence.unit(0x67) + picture.unit(0x68)


def _field(number: int, bottom: int, planes: tuple[NDArray[np.uint8], ...]) -> bytes:
    first = number == 0 and not bottom
    out = _Syntax()
    out.golomb(0, _I_SLICE, 0)
    out.fixed((number % 16, 4), (1, 1), (bottom, 1))
    if first:
        out.golomb(0)
    out.fixed(((2 * number + bottom) % 256, 8), (0, 2 if first else 1))
    out.golomb(0, 1)
    luma = planes[0]
    for top in range(0, luma.shape[0], _MACROBLOCK):
        for left in range(0, luma.shape[1], _MACROBLOCK):
            out.golomb(_I_PCM)
            out.align()
            for plane in planes:
                part = _MACROBLOCK if plane is luma else _MACROBLOCK // 2
                y, x = top * part // _MACROBLOCK, left * part // _MACROBLOCK
                out.raw(plane[y : y + part, x : x + part].tobytes())
    return out.unit(0x65 if first else 0x61)


def write(path: Path, images: Iterable[NDArray[np.uint8]], fps: int) -> Path:
    """Write pictures as pairs of fields, one field in each packet.

    Args:
        path: The file; the suffix chooses the container.
        images: Shape ``(height, width, 3)``, BGR; the width a multiple of 16, the height of 32.
        fps: Frames per second; there are twice as many fields.
    """
    raw = path.with_suffix(".h264")
    with raw.open("wb") as stream:
        for number, image in enumerate(images):
            height, width = image.shape[:2]
            if number == 0:
                stream.write(_parameters(width, height, fps))
            flat = np.maximum(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), 1).astype(np.uint8)
            luma, chroma = flat[:height], flat[height:].reshape(2, height // 2, width // 2)
            for bottom in (0, 1):
                stream.write(_field(number, bottom, (luma[bottom::2], chroma[0, bottom::2], chroma[1, bottom::2])))
    with av.open(str(raw)) as fields, av.open(str(path), "w") as container:
        target = container.add_stream_from_template(fields.streams.video[0])
        for number, packet in enumerate(one for one in fields.demux(video=0) if one.size):
            packet.time_base = Fraction(1, 2 * fps)
            packet.pts = packet.dts = number
            packet.duration = 1
            packet.stream = target
            container.mux(packet)
    return path
