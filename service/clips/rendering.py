"""Files made from the result of a clip: CSV, the timeline as PNG, the annotated video as MP4.

Matplotlib is imported where a timeline is drawn: the service starts sooner without it.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

import cv2
import numpy as np
from numpy.typing import NDArray

from model.behaviours import Kind
from service.clips import decoding
from service.documents.kinds import TITLES
from service.documents.results import Anomaly, ClipResult, FrameScore, PersonScore
from service.drawing.overlay import REASONS, Image, band_height, clock_text, draw_band, draw_chart, draw_people, rarity
from service.drawing.video import VideoWriter
from service.storage.writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CSV_COLUMNS: Final = (
    "frame",
    "time_s",
    "track",
    "left",
    "top",
    "right",
    "bottom",
    "score",
    "level",
    "anomalous",
    "reason",
    "kinds",
)
"""Columns of the CSV file, in order."""

_POINTS: Final = 2000
"""Most points of the plotted line: more than the plot has pixels in width."""

_LANES: Final = 12
"""Most rows of tracks in which each row is high enough for the numbers of its tracks."""

_CALM, _WARM, _NAMED, _INK, _PALE = "#1f7a8c", "#d9480f", "#a21caf", "#22282e", "#c9ced3"


def write_csv(result: ClipResult, stream: TextIO) -> None:
    """Write one row per frame and person; a frame without people is one row with its reason.

    The column `kinds` has what fires for the person in the frame, separated by spaces, most severe first: named
    behaviours, and `unusual` for a level at or above the threshold. `anomalous` says whether anything does.

    Args:
        result: Scores of the clip.
        stream: The text stream to write to; open a file with ``newline=""``.
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for frame in result.frames:
        start = (frame.index, f"{frame.time_s:.6f}")
        if not frame.people:
            writer.writerow((*start, *[""] * 8, frame.reason or "", ""))
        for person in frame.people:
            writer.writerow((*start, *_person_cells(person, frame, result.threshold.level)))


def timeline_png(result: ClipResult) -> bytes:
    """Plot levels over time, with the threshold and the anomalies, above a strip with the times of each track.

    The axis of levels is logarithmic in ``1 - level``: at each tick the level is ten times as rare as at the one below.
    If named behaviours were seen, a strip between the two has a row for each kind.

    Args:
        result: Scores of the clip.

    Returns:
        A PNG of 1440 pixels in width.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lanes = _lanes(result)
    strip = 0.5 + 0.17 * min(max(len(lanes), 1), _LANES)
    kinds = [kind for kind in Kind if kind != Kind.UNUSUAL and any(one.kind == kind for one in result.anomalies)]
    heights = [3.2, *([0.1 + 0.2 * len(kinds)] if kinds else []), strip]
    figure = Figure(figsize=(12, 0.7 + sum(heights)), dpi=120, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    levels, *named, people = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _plot_levels(levels, result)
    for axes in named:
        _plot_named(axes, result, kinds)
    _plot_people(people, result, lanes)
    people.set_xlim(0.0, max(result.clip.duration_s, 1e-3))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def annotate(
    video: Path,
    result: ClipResult,
    target: Path,
    limits: decoding.ClipLimits,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Draw a clip's result onto its frames and encode them as an MP4 that browsers play.

    Every frame keeps its presentation time. The timeline is drawn in a band below the picture. The target appears only
    when it is complete.

    Args:
        video: The clip that was scored.
        result: Its scores.
        target: The MP4 to write; replaced if it exists.
        limits: Limits of the decoder.
        progress: Called after every frame with the number of frames done and their total.

    Raises:
        ClipRejected: The clip cannot be decoded any more.
        ValueError: The clip has not as many frames as the result.
    """
    canvas = _Canvas(result)
    with (
        replacing(target) as unfinished,
        decoding.frames(video, limits) as frames,
        VideoWriter(unfinished, canvas.size, result.clip.fps) as writer,
    ):
        for done, (frame, score) in enumerate(zip(frames, result.frames, strict=True), start=1):
            writer.add(canvas.draw(frame.image, score), score.time_s)
            if progress is not None:
                progress(done, len(result.frames))


class _Canvas:
    """Picture and band of one annotated clip; every frame reuses the same memory."""

    def __init__(self, result: ClipResult) -> None:
        width, height = result.clip.width, result.clip.height
        band = band_height(height)
        self._result = result
        self._picture = (slice(0, height), slice(0, width))
        self._band = (slice(height, height + band), slice(0, width))
        # H.264 stores colour at half the resolution, so both sizes have to be even.
        self._canvas = np.zeros((height + band + (height + band) % 2, width + width % 2, 3), np.uint8)
        self._chart = draw_chart(result, width, band)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self._canvas.shape[:2]
        return width, height

    def draw(self, image: Image, score: FrameScore) -> Image:
        """The canvas with this frame on it."""
        picture, threshold = self._canvas[self._picture], self._result.threshold.level
        joints = _joints(self._result.anomalies, score)
        if image.shape == picture.shape:
            picture[:] = image
            draw_people(picture, score.people, threshold, joints=joints)
        else:
            # Some streams change their resolution. Boxes are in pixels of their own frame: draw first, then scale.
            drawn = image.copy()
            draw_people(drawn, score.people, threshold, joints=joints)
            picture[:] = cv2.resize(drawn, (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_AREA)
        draw_band(self._canvas[self._band], self._chart, score, self._result)
        return self._canvas


def _joints(anomalies: Sequence[Anomaly], frame: FrameScore) -> dict[int, dict[Kind, list[int]]]:
    """The joints that contributed to the anomalies of a frame, by track and kind."""
    now = [one for one in anomalies if one.start_s <= frame.time_s <= one.end_s]
    return {
        person.track: {one.kind: one.joints for one in now if person.track in one.tracks} for person in frame.people
    }


def _person_cells(person: PersonScore, frame: FrameScore, threshold: float) -> tuple[object, ...]:
    box = [f"{side:.2f}" for side in person.box]
    kinds = " ".join(_kinds(person, threshold))
    if person.level is None or person.score is None:
        return (person.track, *box, "", "", "true" if kinds else "", frame.reason or "track_too_short", kinds)
    anomalous = "true" if kinds else "false"
    return (person.track, *box, f"{person.score:.6f}", f"{person.level:.9g}", anomalous, "", kinds)


def _kinds(person: PersonScore, threshold: float) -> list[Kind]:
    """What fires for a person in a frame, most severe first."""
    unusual = person.level is not None and person.level >= threshold
    return [*person.firing, Kind.UNUSUAL] if unusual else person.firing


def _plot_levels(axes: Axes, result: ClipResult) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    limit = float(rarity(result.threshold.level))
    times, rare = _line(result)
    top = max(1.25 * limit, 1.08 * float(np.nanmax(rare, initial=0.0)), 1.0)
    axes.set_ylim(0.0, top)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda decade, _: _level_tick(decade)))
    axes.set_ylabel("level", color=_INK)
    axes.grid(axis="y", color=_PALE, linewidth=0.6)
    axes.tick_params(colors=_INK, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    sliver = 0.002 * result.clip.duration_s
    for anomaly in result.anomalies:
        colour = _WARM if anomaly.kind == Kind.UNUSUAL else _NAMED
        axes.axvspan(anomaly.start_s - sliver, anomaly.end_s + sliver, color=colour, alpha=0.14, linewidth=0)
    axes.axhline(limit, color=_WARM, linewidth=1.0, linestyle=(0, (5, 3)))
    axes.annotate(
        _threshold_text(result),
        (1.0, limit),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 5),
        textcoords="offset points",
        horizontalalignment="right",
        color=_WARM,
        fontsize=9,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
    )
    alone = ~np.isnan(rare) & np.isnan(np.r_[np.nan, rare[:-1]]) & np.isnan(np.r_[rare[1:], np.nan])
    axes.fill_between(times, rare, color=_CALM, alpha=0.12, linewidth=0)
    axes.plot(times, rare, color=_CALM, linewidth=1.2)
    axes.plot(times[alone], rare[alone], ".", color=_CALM, markersize=5, clip_on=False, in_layout=False)
    axes.plot(times, np.where(rare >= limit, rare, np.nan), color=_WARM, linewidth=1.8, marker=".", markersize=2.5)
    axes.set_title(_headline(result), loc="left", fontsize=11, color=_INK, parse_math=False)
    if np.isnan(rare).all():
        axes.text(
            0.5,
            0.45,
            _nobody_scored(result),
            transform=axes.transAxes,
            horizontalalignment="center",
            fontsize=13,
            color=_INK,
        )


def _plot_named(axes: Axes, result: ClipResult, kinds: Sequence[Kind]) -> None:
    """A row for each kind, with bars from the beginning to the end of each anomaly."""
    for row, kind in enumerate(kinds):
        bars = [(one.start_s, one.end_s - one.start_s) for one in result.anomalies if one.kind == kind]
        # The outline keeps a single frame of a long clip visible.
        axes.broken_barh(bars, (row - 0.35, 0.7), facecolors=_NAMED, edgecolors=_NAMED, linewidth=1.5)
    axes.set_ylim(len(kinds) - 0.4, -0.6)
    axes.set_yticks(range(len(kinds)), [TITLES[kind] for kind in kinds])
    axes.tick_params(axis="both", length=0, colors=_INK, labelsize=9)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def _plot_people(axes: Axes, result: ClipResult, lanes: Sequence[Sequence[int]]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    times = np.array([frame.time_s for frame in result.frames] + [result.clip.duration_s])
    limit = result.threshold.level
    hot = _spans_by_track(result, times, lambda person: person.level is not None and person.level >= limit)
    named = _spans_by_track(result, times, lambda person: bool(person.firing))
    labelled = 0.02 * result.clip.duration_s
    for lane, members in enumerate(lanes, start=1):
        tracks = [result.tracks[member] for member in members]
        begins = [times[track.first_frame] for track in tracks]
        spans = [(begin, times[track.last_frame + 1] - begin) for begin, track in zip(begins, tracks, strict=True)]
        axes.broken_barh(spans, (lane - 0.4, 0.8), facecolors=_CALM, alpha=0.75, linewidth=0)
        for found, colour in ((hot, _WARM), (named, _NAMED)):
            marked = [span for track in tracks for span in found.get(track.id, [])]
            axes.broken_barh(marked, (lane - 0.4, 0.8), facecolors=colour, edgecolors=colour, linewidth=0.8)
        for track, (begin, length) in zip(tracks, spans, strict=True):
            if length > labelled and len(lanes) <= _LANES:
                axes.text(
                    begin + 0.15 * labelled, lane, f"#{track.id}", color="white", fontsize=8, va="center_baseline"
                )
    missing = _runs(np.array([frame.level is None for frame in result.frames], bool))
    unscored = [(times[begin], times[end] - times[begin]) for begin, end in missing]
    axes.broken_barh(unscored, (-0.4, 0.8), facecolors=_PALE, linewidth=0)
    axes.set_ylim(len(lanes) + 0.6, -0.6)
    axes.set_yticks([0, (len(lanes) + 1) / 2] if lanes else [0], ["not scored", "people"][: 2 if lanes else 1])
    axes.tick_params(axis="y", length=0)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, steps=[1, 2, 3, 5, 6, 10]))
    if result.clip.duration_s < 60:
        axes.set_xlabel("seconds", color=_INK, fontsize=9)
    else:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock_text(seconds).removesuffix(".0")))
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _line(result: ClipResult) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times and rarities to plot. In a long clip each point is the highest of several frames, which keeps peaks."""
    times = np.array([frame.time_s for frame in result.frames], np.float64)
    rare = rarity([np.nan if frame.level is None else frame.level for frame in result.frames])
    every = math.ceil(len(times) / _POINTS)
    if every <= 1:
        return times, rare
    starts = np.arange(0, len(times), every)
    return times[starts], np.fmax.reduceat(rare, starts)


def _lanes(result: ClipResult) -> list[list[int]]:
    """Indices of tracks in as few rows as possible, so that tracks that overlap in time are in different rows."""
    lanes: list[list[int]] = []
    for index in sorted(range(len(result.tracks)), key=lambda one: result.tracks[one].first_frame):
        first = result.tracks[index].first_frame
        free = next((lane for lane in lanes if result.tracks[lane[-1]].last_frame < first), None)
        if free is None:
            lanes.append([index])
        else:
            free.append(index)
    return lanes


def _spans_by_track(
    result: ClipResult, times: NDArray[np.float64], chosen: Callable[[PersonScore], bool]
) -> dict[int, list[tuple[float, float]]]:
    """By track, start and length in seconds of every stretch of frames in which the person is chosen."""
    frames: dict[int, list[int]] = {}
    for index, frame in enumerate(result.frames):
        for person in frame.people:
            if chosen(person):
                frames.setdefault(person.track, []).append(index)
    spans: dict[int, list[tuple[float, float]]] = {}
    for track, indices in frames.items():
        for run in np.split(indices, np.flatnonzero(np.diff(indices) > 1) + 1):
            begin, end = float(times[run[0]]), float(times[run[-1] + 1])
            spans.setdefault(track, []).append((begin, end - begin))
    return spans


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Begin and end (exclusive) of every run of true values."""
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False].astype(np.int8)))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


def _level_tick(decade: float) -> str:
    """0, 0.9, 0.99, ... for 0, 1, 2, ..."""
    return f"{1 - 10.0**-decade:.{max(0, round(decade))}f}"


def _threshold_text(result: ClipResult) -> str:
    rate = result.threshold.unusual_per_day
    return f"threshold: {rate:.3g} false alarm{'' if rate == 1 else 's'} per day"


def _headline(result: ClipResult) -> str:
    clip, number = result.clip, len(result.anomalies)
    if number:
        kinds = [TITLES[kind] for kind in Kind if any(one.kind == kind for one in result.anomalies)]
        found = f"{number} anomal{'y' if number == 1 else 'ies'} ({', '.join(kinds).lower()})"
    elif all(frame.level is None for frame in result.frames):
        found = "nobody scored"
    else:
        found = "no anomaly"
    length = f"{clip.duration_s:.3g} s" if clip.duration_s < 60 else clock_text(clip.duration_s)
    return f"{found} in {length}   ({clip.width}x{clip.height}, {clip.fps:.4g} frames per second)"


def _nobody_scored(result: ClipResult) -> str:
    reasons = [frame.reason for frame in result.frames if frame.reason is not None]
    if not reasons:
        return "nobody was scored"
    return f"nobody was scored\n({REASONS[Counter(reasons).most_common(1)[0][0]]})"
