"""From decoded pictures to pictures as a player shows them: whole, upright, with square pixels, of one size."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Generic, Self, TypeVar, cast

import av
import av.error
import cv2
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideDataContainer
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""Shape ``(height, width, 3)``, BGR."""

_MOST_STRETCHED: Final = 8
"""A sample aspect ratio beyond this, or below its inverse, is taken for an error."""

_SQUARE: Final = 0.01
"""Sample aspect ratios that differ from 1 by less are taken for 1."""

_TICKS: Final = Fraction(1, 1000)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a coded picture is turned to stand as it was seen: first transposed, then flipped.

    Attributes:
        transposed: Rows become columns.
        left_right: Flipped horizontally.
        up_down: Flipped vertically.

    Example:
        >>> Orientation(transposed=True, left_right=True, up_down=False).of(np.array([[[1], [2]]], np.uint8))[..., 0]
        array([[1],
               [2]], dtype=uint8)
    """

    transposed: bool = False
    left_right: bool = False
    up_down: bool = False

    @classmethod
    def of_frame(cls, frame: av.VideoFrame) -> Self:
        """What the display matrix of a frame asks for.

        The matrix maps a point ``(x, y)`` of the coded picture to ``(a x + c y, b x + d y)``, ISO/IEC 14496-12, 6.2.2.
        An oblique angle is rounded to a quarter turn.
        """
        try:
            data = cast(SideDataContainer, frame.side_data)["DISPLAYMATRIX"]
        except KeyError:
            return cls()
        a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(left_right=a < 0, up_down=d < 0)
        return cls(transposed=True, left_right=c < 0, up_down=b < 0)

    @property
    def mirrors(self) -> bool:
        """Whether it is more than a turn."""
        return self.transposed ^ self.left_right ^ self.up_down

    def of(self, image: Image) -> Image:
        """The picture as it was seen; may share memory with `image`."""
        if self.transposed:
            image = image.transpose(1, 0, 2)
        return image[:: -1 if self.up_down else 1, :: -1 if self.left_right else 1]


def square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height with square pixels: a player stretches the shorter side of a pixel.

    Args:
        width: Coded pixels.
        height: Coded pixels.
        aspect: Width of a pixel divided by its height; None or nonsense counts as 1.

    Example:
        >>> square_size(352, 576, Fraction(2)), square_size(704, 288, Fraction(1, 2))
        ((704, 576), (704, 576))
    """
    if not is_stretched(aspect):
        return width, height
    ratio = float(aspect or 1)
    return (round(width * ratio), height) if ratio > 1 else (width, round(height / ratio))


def is_stretched(aspect: Fraction | None) -> bool:
    """Whether pixels of this aspect ratio are noticeably not square."""
    if not aspect or not 1 / _MOST_STRETCHED <= aspect <= _MOST_STRETCHED:
        return False
    return abs(aspect - 1) >= _SQUARE


def resized(image: Image, size: tuple[int, int]) -> Image:
    """The picture in another width and height; averaged where it shrinks."""
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    shrinks = size[0] * size[1] < width * height
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(scaled, np.uint8)


def fitted(image: Image, size: tuple[int, int]) -> Image:
    """The picture as large as it fits into a width and height without being stretched, in the middle, on black.

    Example:
        >>> fitted(np.full((2, 2, 3), 9, np.uint8), (4, 2))[0, :, 0]
        array([0, 9, 9, 0], dtype=uint8)
    """
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    scale = min(size[0] / width, size[1] / height)
    inner = resized(image, (min(size[0], round(width * scale)), min(size[1], round(height * scale))))
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    top, left = (size[1] - inner.shape[0]) // 2, (size[0] - inner.shape[1]) // 2
    canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return canvas


def as_shown(frame: av.VideoFrame, image: Image, aspect: Fraction | None) -> Image:
    """A picture as a player shows it, without waiting for the next: upright, with square pixels, of one field.

    Args:
        frame: As decoded. Of an interlaced one only the first of each two rows is kept; it is half as sharp.
        image: Its pixels.
        aspect: Width of a pixel divided by its height.
    """
    size = square_size(frame.width, frame.height, aspect)
    return Orientation.of_frame(frame).of(resized(image[::2] if frame.interlaced_frame else image, size))


class Deinterlacer(Generic[T]):
    """Turns interlaced frames into whole pictures, one for one (FFmpeg's ``bwdif``, the BBC's Weston filter).

    Frames before the first interlaced one pass at once. From then on each is held until the next one is known; those
    that are not interlaced are not changed.

    Example:
        >>> deinterlacer = Deinterlacer[float]()
        >>> frame = av.VideoFrame(64, 48, "yuv420p")
        >>> [one is frame for one, _ in deinterlacer.push(frame, 0.5)], deinterlacer.flush()
        ([True], [])
    """

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._format: tuple[int, int, str] | None = None
        self._notes: deque[T] = deque()
        self._count = 0

    def push(self, frame: av.VideoFrame, note: T) -> list[tuple[av.VideoFrame, T]]:
        """Take the next frame.

        Args:
            frame: As decoded.
            note: What is handed back with it, such as its time stamp.

        Returns:
            The frames that are ready, in order.
        """
        form = (frame.width, frame.height, frame.format.name)
        ready = self.flush() if self._graph is not None and form != self._format else []
        if self._graph is None:
            if not frame.interlaced_frame:
                return [*ready, (frame, note)]
            self._graph, self._format = _graph(*form), form
        frame.pts, frame.time_base = self._count, _TICKS
        self._count += 1
        self._notes.append(note)
        self._graph.push(frame)
        return ready + self._ready(self._graph)

    def flush(self) -> list[tuple[av.VideoFrame, T]]:
        """The frames that are still held; after that it is as new."""
        graph, self._graph = self._graph, None
        if graph is None:
            return []
        graph.push(None)
        return self._ready(graph)

    def _ready(self, graph: Graph) -> list[tuple[av.VideoFrame, T]]:
        ready = []
        while self._notes:
            try:
                frame = graph.pull()
            except (BlockingIOError, av.error.EOFError):
                break
            if isinstance(frame, av.VideoFrame):
                ready.append((frame, self._notes.popleft()))
        return ready


def _graph(width: int, height: int, pixels: str) -> Graph:
    graph = Graph()
    source = graph.add_buffer(width=width, height=height, format=av.VideoFormat(pixels), time_base=_TICKS)
    filtered = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    source.link_to(filtered)
    filtered.link_to(graph.add("buffersink"))
    graph.configure()
    return graph
