"""What the headers of coded pictures say, without decoding them: fields, hidden pictures, changes of the format.

Of H.264 (ITU-T H.264, 7.3), MPEG-2 (ISO/IEC 13818-2, 6.2), HEVC, MPEG-4 part 2, VP8 (RFC 6386, 9.1) and VP9 (bitstream
specification, 6.2) as much is read as tells one frame from two fields, and a new format from the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_START: Final = b"\0\0\1"
_HEAD: Final = 64
"""Bytes of a slice of which the header is read."""

_SLICES: Final = (1, 2, 5)
_SPS, _PPS = 7, 8
_BESIDE_PICTURES: Final = frozenset({6, 7, 8, 9, 10, 11, 12, 13, 15})
"""Kinds of NAL units that stand beside pictures: parameter sets, delimiters, supplemental information, filler."""

_HEVC_SPS: Final = 33
_HIGH_PROFILES: Final = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
_SEQUENCE, _EXTENSION = 0xB3, 0xB5
_VIDEO_OBJECT_LAYERS: Final = range(0x20, 0x30)
_VP8_KEY_HEADER: Final = 10
_LAST_VP9_PROFILE: Final = 3
_VP9_RGB: Final = 7

_WATCHED: Final = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8", "vp9"})


@dataclass(frozen=True, slots=True)
class Coded:
    """What one packet holds.

    Attributes:
        fields: Shown fields: 2 for a frame, 1 for a field that is a picture of its own, 0 for a picture that is only a
            reference.
        new_format: Whether the format of the pictures is declared, and differently from all that were seen.

    Example:
        >>> Coded(fields=1, new_format=False).fields
        1
    """

    fields: int
    new_format: bool


class PictureHeaders:
    """Reads the packets of one video stream, in order.

    Args:
        codec: FFmpeg's name of the codec.
        extradata: The headers that the container keeps apart from the packets.

    Attributes:
        fields_allowed: Whether the stream may hold interlaced pictures, by its headers so far.

    Example:
        >>> PictureHeaders("vp8", b"").read(bytes.fromhex("500000" "9d012a" "4001f000"))
        Coded(fields=2, new_format=True)
    """

    def __init__(self, codec: str, extradata: bytes) -> None:
        self.fields_allowed = False
        self._codec = codec
        self._formats: set[bytes] = set()
        self._sequences: dict[int, _Sequence] = {}
        self._pictures: dict[int, int] = {}
        self._length_bytes = 0
        if extradata:
            self.configure(extradata)

    @property
    def watches(self) -> bool:
        """Whether changes of the format are found by the headers of this codec."""
        return self._codec in _WATCHED

    def configure(self, extradata: bytes) -> bool:
        """Take headers that the container keeps apart.

        Returns:
            Whether the format is another than all that were seen.
        """
        new = extradata not in self._formats
        self._formats.add(extradata)
        self._length_bytes = 0
        if self._codec == "h264" and extradata[:1] == b"\1" and len(extradata) > 6:
            self._length_bytes = (extradata[4] & 3) + 1
            for unit in _configured(extradata):
                self._parameters(unit)
        elif self._codec == "hevc" and extradata[:1] == b"\1" and len(extradata) > 22:
            self._length_bytes = (extradata[21] & 3) + 1
        else:
            self.read(extradata)
        return new

    def read(self, data: bytes) -> Coded:
        """What a packet holds."""
        try:
            match self._codec:
                case "h264":
                    return self._h264(data)
                case "hevc":
                    return Coded(2, self._is_new(unit for unit in self._units(data) if _is_hevc_sequence(unit)))
                case "mpeg1video" | "mpeg2video":
                    return self._mpeg(data)
                case "mpeg4":
                    layers = (
                        unit for unit in _between_start_codes(data) if unit[:1] and unit[0] in _VIDEO_OBJECT_LAYERS
                    )
                    return Coded(2, self._is_new(layers))
                case "vp8":
                    return self._vp8(data)
                case "vp9":
                    size = _vp9_size(data)
                    return Coded(2, self._is_new([size] if size else []))
        except (LookupError, _EndOfHeader):
            pass
        return Coded(2, new_format=False)

    def _is_new(self, headers: Iterator[bytes] | list[bytes]) -> bool:
        found = set(headers) - self._formats
        self._formats |= found
        return bool(found)

    def _units(self, data: bytes) -> Iterator[bytes]:
        """The NAL units of a packet."""
        if not self._length_bytes:
            yield from _between_start_codes(data)
            return
        at = 0
        while at + self._length_bytes < len(data):
            begin = at + self._length_bytes
            at = begin + int.from_bytes(data[at:begin], "big")
            yield data[begin:at]

    def _h264(self, data: bytes) -> Coded:
        fields, new, kinds = 0, False, set[int]()
        for unit in self._units(data):
            kind = unit[0] & 31 if unit else 0
            kinds.add(kind)
            if kind in (_SPS, _PPS):
                new = self._parameters(unit) or new
            elif not self.fields_allowed and kind in _SLICES:
                # No frame of the stream can be coded as fields, so the packet is one frame.
                return Coded(2, new)
            elif kind in _SLICES:
                fields += self._fields_begun(unit)
        # What cannot be read is a damaged picture, and is counted as one.
        return Coded(fields if fields or (kinds and kinds <= _BESIDE_PICTURES) else 2, new)

    def _parameters(self, unit: bytes) -> bool:
        bits = _Bits(_unescaped(unit[1:]))
        if unit[0] & 31 == _PPS:
            self._pictures[bits.exponential()] = bits.exponential()
            return False
        number, sequence = _sequence(bits)
        self._sequences[number] = sequence
        self.fields_allowed |= not sequence.frames_only
        return self._is_new([unit])

    def _fields_begun(self, unit: bytes) -> int:
        bits = _Bits(_unescaped(unit[1:_HEAD]))
        if bits.exponential() > 0:
            return 0
        bits.exponential()
        sequence = self._sequences[self._pictures[bits.exponential()]] if self._pictures else None
        if sequence is None or sequence.frames_only:
            return 2
        bits.take(2 if sequence.planes_apart else 0)
        bits.take(sequence.number_bits)
        return 1 if bits.take(1) else 2

    def _mpeg(self, data: bytes) -> Coded:
        units = list(_between_start_codes(data, most=4))
        for unit in units:
            if unit[0] == _EXTENSION and unit[1] >> 4 == 1:
                self.fields_allowed |= not unit[2] >> 3 & 1
        sequence = [unit for unit in units if unit[0] == _SEQUENCE]
        return Coded(2, self._is_new(sequence))

    def _vp8(self, data: bytes) -> Coded:
        is_key = not data[0] & 1
        size = [data[_VP8_KEY_HEADER - 4 : _VP8_KEY_HEADER]] if is_key else []
        return Coded(2 * (data[0] >> 4 & 1), self._is_new(size))


class _EndOfHeader(Exception):
    """More bits are asked for than the header has."""


class _Bits:
    """Bits of a header, the highest of a byte first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise _EndOfHeader
        return self._value >> self._left & (1 << count) - 1

    def exponential(self) -> int:
        """An unsigned Exp-Golomb number."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        """A signed Exp-Golomb number."""
        number = self.exponential()
        return (number + 1) // 2 if number & 1 else -(number // 2)


@dataclass(frozen=True, slots=True)
class _Sequence:
    """What a sequence parameter set says of its slices."""

    frames_only: bool
    planes_apart: bool
    number_bits: int


def _sequence(bits: _Bits) -> tuple[int, _Sequence]:
    profile = bits.take(8)
    bits.take(16)
    number = bits.exponential()
    planes_apart = False
    if profile in _HIGH_PROFILES:
        chroma = bits.exponential()
        planes_apart = chroma == 3 and bool(bits.take(1))
        bits.exponential()
        bits.exponential()
        bits.take(1)
        if bits.take(1):
            for index in range(12 if chroma == 3 else 8):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    number_bits = bits.exponential() + 4
    order = bits.exponential()
    if order == 0:
        bits.exponential()
    elif order == 1:
        bits.take(1)
        bits.signed()
        bits.signed()
        for _ in range(bits.exponential()):
            bits.signed()
    bits.exponential()
    bits.take(1)
    bits.exponential()
    bits.exponential()
    return number, _Sequence(bool(bits.take(1)), planes_apart, number_bits)


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _configured(extradata: bytes) -> Iterator[bytes]:
    """The parameter sets in an AVC decoder configuration record (ISO/IEC 14496-15, 5.3.3)."""
    at = 5
    for mask in (0x1F, 0xFF):
        count, at = extradata[at] & mask, at + 1
        for _ in range(count):
            begin = at + 2
            at = begin + int.from_bytes(extradata[at:begin], "big")
            yield extradata[begin:at]


def _between_start_codes(data: bytes, most: int | None = None) -> Iterator[bytes]:
    """The units of a stream, each without its start code and without zeros after it; the first `most` only."""
    begin = data.find(_START)
    while begin >= 0 and most != 0:
        end = data.find(_START, begin + 3)
        unit = (data[begin + 3 : end] if end >= 0 else data[begin + 3 :]).rstrip(b"\0")
        if unit:
            yield unit
        most = None if most is None else most - 1
        begin = end


def _unescaped(payload: bytes) -> bytes:
    return payload.replace(b"\0\0\3", b"\0\0")


def _is_hevc_sequence(unit: bytes) -> bool:
    return bool(unit) and unit[0] >> 1 & 63 == _HEVC_SPS


def _vp9_size(data: bytes) -> bytes:
    """The size that a frame states, if it does not have that of a frame that it refers to; nothing otherwise."""
    bits = _Bits(data[:_HEAD])
    bits.take(2)
    profile = bits.take(1) | bits.take(1) << 1
    bits.take(1 if profile == _LAST_VP9_PROFILE else 0)
    if bits.take(1):
        return b""
    is_inter, shown, resilient = bits.take(1), bits.take(1), bits.take(1)
    if is_inter and (shown or not bits.take(1)):
        bits.take(0 if resilient else 2 * (not shown))
        bits.take(8 + 3 * 4)
        if any(bits.take(1) for _ in range(3)):
            return b""
    else:
        bits.take(2 if is_inter and not resilient else 0)
        bits.take(24)
        if not is_inter or profile > 0:
            _skip_vp9_colours(bits, profile)
        bits.take(8 if is_inter else 0)
    return bits.take(32).to_bytes(4, "big")


def _skip_vp9_colours(bits: _Bits, profile: int) -> None:
    bits.take(1 if profile > 1 else 0)
    subsampled = profile & 1
    if bits.take(3) != _VP9_RGB:
        bits.take(1 + 3 * subsampled)
    else:
        bits.take(subsampled)
