"""Odd video files against FFmpeg's own decoding: ``python -m benchmarks.files DIR [--without-people]``.

Prints a row for every file in DIR: what reads it, and its frames, their last time and the size of the pictures, each
beside what FFmpeg says of the same file. FFmpeg decodes the stream itself (through PyAV), turns and deinterlaces it as
its player does (``ffplay``), and gives every picture the time stamp of the file, which may jump. The pose weights of
``DAFLOW_POSE_WEIGHTS`` count the frames with people, in the service's pictures and in FFmpeg's. The difference of the
pictures is the mean over all pixels of the first ones, in levels of 0 to 255.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Final, cast

import av
import av.error
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideDataContainer
from av.stream import Disposition
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pose.containers import UnreadableVideo
from pose.estimator import PoseEstimator
from pose.pictures import Image, fitted
from pose.probe import VideoInfo, probe
from pose.source import FileSource
from service.scoring.loading import LoadedModels
from service.settings import load_settings

_BATCH: Final = 8
_COMPARED: Final = 40
"""Pictures that are compared, from the first on."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one side sees in a file.

    Attributes:
        frames: Number of pictures.
        last_s: Time of the last picture from the first, in seconds.
        size: Width and height of the first picture.
        people: Number of pictures with people; None if not counted.
        pictures: The first pictures.
    """

    frames: int
    last_s: float
    size: tuple[int, int]
    people: int | None
    pictures: list[Image]


def seen(pictures: Iterator[tuple[Image, float]], estimator: PoseEstimator | None) -> Seen:
    """Look at all pictures of a file.

    Args:
        pictures: Each with its time in seconds.
        estimator: Finds people; None counts none.

    Raises:
        UnreadableVideo: There is no picture.
    """
    kept: list[Image] = []
    times: list[float] = []
    people = 0
    while batch := list(islice(pictures, _BATCH)):
        kept += [image for image, _ in batch][: max(0, _COMPARED - len(kept))]
        times += [time for _, time in batch]
        if estimator is not None:
            people += sum(len(poses.boxes) > 0 for poses in estimator([image for image, _ in batch]))
    if not kept:
        raise UnreadableVideo("no-frames", "no picture was decoded")
    height, width = kept[0].shape[:2]
    return Seen(len(times), times[-1] - times[0], (width, height), None if estimator is None else people, kept)


def ffmpeg(path: Path) -> Iterator[tuple[Image, float]]:
    """The pictures that FFmpeg's own filters make of a file, as its player does, with the file's time stamps."""
    with av.open(str(path)) as container:
        videos = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
        stream = max(videos, key=lambda one: (one.frames > 1, -one.index))
        graph: Graph | None = None
        form: tuple[int, int] | None = None
        for frame in _frames(container, stream):
            if graph is None or form != (frame.width, frame.height):
                if graph is not None:
                    graph.push(None)
                    yield from _pulled(graph)
                graph, form = _player(frame, stream), (frame.width, frame.height)
            graph.push(frame)
            yield from _pulled(graph)
        if graph is not None:
            graph.push(None)
            yield from _pulled(graph)


def _frames(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    with contextlib.suppress(av.error.FFmpegError):
        for packet in container.demux(stream):
            with contextlib.suppress(av.error.FFmpegError):
                yield from packet.decode()


def _player(frame: av.VideoFrame, stream: av.VideoStream) -> Graph:
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1
    scale = f"w=trunc(iw*{float(aspect)}+0.5):h=ih" if aspect > 1 else f"w=iw:h=trunc(ih/{float(aspect)}+0.5)"
    graph = Graph()
    last = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=stream.time_base or frame.time_base
    )
    for name, arguments in (("yadif", "mode=send_frame:deint=interlaced"), ("scale", scale), *_turns(frame)):
        following = graph.add(name, arguments)
        last.link_to(following)
        last = following
    last.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def _turns(frame: av.VideoFrame) -> list[tuple[str, str]]:
    """The filters that ``ffplay`` inserts for a display matrix (``configure_video_filters`` in its source)."""
    try:
        data = cast(SideDataContainer, frame.side_data)["DISPLAYMATRIX"]
    except KeyError:
        return []
    matrix = np.frombuffer(bytes(data), np.int32).tolist()
    angle = -frame.rotation % 360
    if angle in (90, 270):
        flipped = (matrix[3] > 0) if angle == 90 else (matrix[3] < 0)
        turn = "clock" if angle == 90 else "cclock"
        other = "cclock" if angle == 90 else "clock"
        return [("transpose", f"dir={other}_flip" if flipped else f"dir={turn}")]
    flips = [("hflip", "")] if angle == 180 and matrix[0] < 0 else []
    return [*flips, ("vflip", "")] if matrix[4] < 0 else flips


def _pulled(graph: Graph) -> Iterator[tuple[Image, float]]:
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, av.error.EOFError):
            return
        if isinstance(frame, av.VideoFrame):
            yield np.asarray(frame.to_ndarray(format="bgr24"), np.uint8), frame.time or 0.0


def service(path: Path, video: VideoInfo) -> Iterator[tuple[Image, float]]:
    """The pictures that the service makes of a file, with their times."""
    with FileSource(path, video=video) as source:
        for frame in source:
            yield frame.image, frame.captured_at


def difference(ours: Seen, theirs: Seen) -> float:
    """Mean difference of the pictures, in levels of 0 to 255; NaN if their number differs among the compared ones."""
    differences = [
        np.nan if a is None or b is None else _mean_difference(a, fitted(b, (a.shape[1], a.shape[0])))
        for a, b in zip_longest(ours.pictures, theirs.pictures)
    ]
    return float(np.mean(differences))


def _mean_difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(np.subtract(one, other, dtype=np.int16)).mean())


def row(path: Path, estimator: PoseEstimator | None) -> list[str]:
    """The cells of one file."""
    try:
        theirs = seen(ffmpeg(path), estimator)
    except (UnreadableVideo, av.error.FFmpegError, ValueError) as error:
        return [path.name, "", "", "", "", "", "", f"FFmpeg: {error}"]
    try:
        info = probe(path)
        ours = seen(service(path, info), estimator)
    except UnreadableVideo as error:
        return [path.name, "refused", f"- / {theirs.frames}", "", "", "", "", str(error)]
    return [
        path.name,
        info.reader,
        f"{ours.frames} / {theirs.frames}",
        f"{info.fps:.4g}",
        f"{ours.last_s:.2f} / {theirs.last_s:.2f}",
        f"{ours.size[0]}x{ours.size[1]} / {theirs.size[0]}x{theirs.size[1]}",
        "" if ours.people is None else f"{ours.people} / {theirs.people}",
        f"{difference(ours, theirs):.1f}",
        info.reason,
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a file was refused that FFmpeg decodes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.files", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with video files")
    parser.add_argument("--without-people", action="store_true", help="do not count the frames with people")
    options = parser.parse_args(arguments)
    files = sorted(path for path in options.folder.iterdir() if path.is_file())
    if not files:
        parser.error(f"{options.folder} holds no files")
    estimator = None if options.without_people else LoadedModels.load(load_settings()).estimator
    table = Table(title="the service / FFmpeg")
    for name in (
        "file",
        "reader",
        "frames",
        "fps",
        "last picture (s)",
        "size",
        "with people",
        "difference",
        "why PyAV",
    ):
        table.add_column(name)
    rows = [row(path, estimator) for path in files]
    for cells in rows:
        table.add_row(*cells)
    Console(width=None if sys.stdout.isatty() else 180).print(table)
    return int(any(cells[1] == "refused" for cells in rows))


if __name__ == "__main__":
    sys.exit(main())
