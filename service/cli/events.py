"""Scores labelled footage and judges the alarms by its events: ``daflow evaluate --events FOLDER``.

The folder holds videos, and skeletons as ``POST /v1/skeletons`` takes them (``.json``), in any depth. ``events.csv`` in
it has the columns ``file,kind,start_s,end_s`` and one row for each event; `model.events` says how alarms and events are
matched. All videos and skeletons are footage, also those without a row.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol

from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from model.behaviours import Kind
from model.checkpoint import DEFAULT_CHECKPOINT
from model.events import NO_EVENT, NOT_FOUND, Alarm, ClipOutcome, Event, EventReport, Rate, WatchedClip, judge
from model.layouts import VIDEOS
from model.training import library_versions
from service.cli.console import ClipBar, one_line_for, progress_bar
from service.clips.decoding import ClipRejected
from service.clips.scorer import ClipObserver, ClipScorer
from service.documents.results import Anomaly, ClipResult, FrameScore
from service.documents.skeletons import SkeletonSequence, complaint
from service.scoring.loading import ModelUnavailable
from service.settings import Settings

EVENTS_FILE: Final = "events.csv"
COLUMNS: Final = ("file", "kind", "start_s", "end_s")

SKELETONS: Final = ".json"
"""Suffix of files with skeletons."""

_NONE: Final = "-"


class EventsError(ValueError):
    """The folder is not what it should be; the message names the file, the line, and what is wrong."""


class FootageScorer(Protocol):
    """Scores videos and skeletons, as `service.clips.scorer.ClipScorer` does."""

    def score(self, path: Path, observer: ClipObserver, *, keypoints: bool = True) -> ClipResult:
        """Score a video."""

    def score_skeletons(self, sequence: SkeletonSequence, *, keypoints: bool = True) -> ClipResult:
        """Score skeletons."""


@dataclass(frozen=True, slots=True)
class LabelledEvent:
    """A row of the file of events.

    Attributes:
        line: Its line, from 1.
        event: What it says.
    """

    line: int
    event: Event


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """A file with footage.

    Attributes:
        name: Its path inside the folder, with forward slashes.
        path: Where it is.
        events: What happens in it.
    """

    name: str
    path: Path
    events: tuple[LabelledEvent, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of words.

    Attributes:
        title: Its title.
        headers: One for each column.
        rows: Cells, as many as headers.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def table(self) -> Table:
        """The table for a terminal."""
        table = Table(*map(escape, self.headers), title=escape(self.title), title_justify="left")
        for row in self.rows:
            table.add_row(*map(escape, row))
        return table


@dataclass(frozen=True, slots=True)
class EventEvaluation:
    """Results on one folder.

    Attributes:
        provenance: What the results depend on, as values that JSON has.
        report: The figures; None if no file could be scored.
        refused: Why files could not be scored, by name.
    """

    provenance: dict[str, Any]
    report: EventReport | None
    refused: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The results as values that JSON has."""
        report = None if self.report is None else self.report.to_dict()
        return {"provenance": self.provenance, "refused": self.refused, "report": report}


def read_folder(folder: Path) -> list[LabelledFile]:
    """The footage of a folder with its events, in order of names.

    Raises:
        EventsError: The folder, its footage or its file of events is missing, or a row is wrong.
    """
    if not folder.is_dir():
        raise EventsError(f"there is no folder {folder}")
    footage = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in VIDEOS | {SKELETONS} and path.is_file()
    }
    if not footage:
        raise EventsError(f"{folder} has no videos and no skeletons (*{SKELETONS})")
    events = read_events(folder / EVENTS_FILE, footage)
    return [LabelledFile(name, path, tuple(events.get(name, ()))) for name, path in footage.items()]


def read_events(path: Path, footage: Iterable[str]) -> dict[str, list[LabelledEvent]]:
    """The events of every file that has some.

    Args:
        path: The CSV file. Columns beside `COLUMNS` are ignored. A row with neither kind nor times says that nothing
            happens in a file.
        footage: Names of the files that there are.

    Raises:
        EventsError: The file is missing, or a row is wrong; names the line.
    """
    if not path.is_file():
        raise EventsError(f"there is no {path.name} in {path.parent}; it needs the columns {','.join(COLUMNS)}")
    there = set(footage)
    found: dict[str, list[LabelledEvent]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise EventsError(f"{path.name}, line 1: there is no column {' and no column '.join(missing)}")
            for row in reader:
                try:
                    name, event = _row({column: (row[column] or "").strip() for column in COLUMNS}, there)
                except ValueError as error:
                    raise EventsError(f"{path.name}, line {reader.line_num}: {error}") from error
                if event is not None:
                    found.setdefault(name, []).append(LabelledEvent(reader.line_num, event))
    except (UnicodeDecodeError, csv.Error) as error:
        raise EventsError(f"{path.name} is not a CSV file in UTF-8: {error}") from error
    return found


def watch(
    files: Sequence[LabelledFile], scorer: FootageScorer, observer: Callable[[LabelledFile, int], ClipObserver]
) -> tuple[list[WatchedClip], dict[str, str]]:
    """Score files one after another; one that cannot be scored does not stop the others.

    Args:
        files: The files.
        scorer: Scores them.
        observer: Gives the observer of a file; called with the file and its number, from 1.

    Returns:
        What was seen in the files, and why those left out could not be scored, by name.
    """
    seen, refused = [], {}
    for number, file in enumerate(files, 1):
        watching = observer(file, number)
        try:
            if file.path.suffix.lower() == SKELETONS:
                sequence = SkeletonSequence.model_validate_json(file.path.read_bytes())
                result = scorer.score_skeletons(sequence, keypoints=False)
            else:
                result = scorer.score(file.path, watching, keypoints=False)
            seen.append(watched(file.name, result, [labelled.event for labelled in _within(file, result)]))
        except ValidationError as error:
            refused[file.name] = complaint(error)
        except (ClipRejected, EventsError, OSError) as error:
            refused[file.name] = str(error)
    return seen, refused


def watched(name: str, result: ClipResult, events: Iterable[Event]) -> WatchedClip:
    """What was reported of a clip, beside what happened in it."""
    frames = result.frames
    occupied = sum(bool(frame.people) for frame in frames)
    return WatchedClip(
        name=name,
        duration_s=result.clip.duration_s,
        people_s=result.clip.duration_s * occupied / max(len(frames), 1),
        events=tuple(events),
        alarms=tuple(alarm_of(anomaly, result) for anomaly in result.anomalies),
    )


def alarm_of(anomaly: Anomaly, result: ClipResult) -> Alarm:
    """An anomaly of a clip as an alarm, with the moment at which a live camera could first have told it.

    A named behaviour is known in the first frame in which it fires, not when the movement began. A level is that of a
    window around the frame, which must have ended; the smoothing of a live camera may add to that.
    """
    stretch = [frame for frame in result.frames if anomaly.start_s <= frame.time_s <= anomaly.end_s]
    first = next((frame.time_s for frame in stretch if _reported(frame, anomaly, result)), anomaly.end_s)
    if anomaly.kind == Kind.UNUSUAL:
        model = result.model
        first += (model.window - 1 - model.window // 2) / model.rate_hz
        first = min(first, max(result.frames[-1].time_s, anomaly.start_s))
    return Alarm(anomaly.kind, anomaly.start_s, anomaly.end_s, first, anomaly.explanation)


def evaluate(
    folder: Path, settings: Settings, *, replicates: int = 1000, seed: int = 0, command: str = ""
) -> EventEvaluation:
    """Score a folder with the models and thresholds of the settings, and judge the alarms.

    What is wrong with the folder, the models or the settings ends the command; a file that cannot be scored does not.

    Args:
        folder: The folder.
        settings: The settings.
        replicates: Number of samples of clips for each interval.
        seed: Seed for the samples.
        command: The command that is recorded in the results.
    """
    with one_line_for(EventsError, ModelUnavailable, OSError), progress_bar() as progress:
        files = read_folder(folder)
        task = progress.add_task("loading models", total=None)
        scorer = ClipScorer.load(settings)

        def observer(file: LabelledFile, number: int) -> ClipBar:
            progress.reset(task, total=None)
            return ClipBar(progress, task, f"{escape(file.name)}, {number} of {len(files)}")

        seen, refused = watch(files, scorer, observer)
        checkpoint = settings.checkpoint or DEFAULT_CHECKPOINT
        provenance = {
            "command": command,
            "folder": folder.resolve().name,
            "footage_sha256": digest([file.path for file in files]),
            "events_sha256": digest([folder / EVENTS_FILE]),
            "checkpoint": checkpoint.stem,
            "checkpoint_sha256": digest([checkpoint]),
            "false_alarms_per_day": settings.false_alarms_per_day,
            "sum_parts": settings.sum_parts,
            "pose_image_size": settings.pose_image_size,
            "pose_confidence": settings.pose_confidence,
            "versions": library_versions() | {name: version(name) for name in ("daflow-live", "scipy", "ultralytics")},
        }
    return EventEvaluation(provenance, judge(seen, replicates=replicates, seed=seed) if seen else None, refused)


def grids(evaluation: EventEvaluation) -> list[Grid]:
    """The tables of an evaluation: figures, names given, and the clips in which something went wrong."""
    report = evaluation.report
    if report is None:
        return []
    wrong = flaws(report)
    return [figures(evaluation.provenance["folder"], report), confusions(report), *([wrong] if wrong.rows else [])]


def figures(name: str, report: EventReport) -> Grid:
    """What was found, named and false, by kind of event. Brackets hold 95 % intervals over clips."""
    title = (
        f"{name}: {report.clips} clips, {report.hours:.3f} h, {report.hours_with_people:.3f} h with people in view; "
        f"an alarm counts from {report.tolerance.before_s:g} s before an event to {report.tolerance.after_s:g} s "
        f"after it; {report.alarm_share:.1%} of the footage is in alarm"
    )
    headers = (
        *("kind", "events", "found", "recall", "named right", "delay, s: median, 90 %", "false alarms"),
        *("per hour", "per hour with people", "event F1"),
    )
    rows = []
    for row in (*report.rows, report.whole):
        false, with_people = row.false_alarms, row.false_alarms_with_people
        rows.append(
            (
                row.title,
                f"{row.recall.of:g}",
                f"{row.recall.count:g}",
                with_interval(row.recall),
                _NONE if row.named is None else with_interval(row.named),
                _delay(row.median_delay_s, row.delay_90_s),
                _NONE if false is None else f"{false.count:g}",
                _NONE if false is None else with_interval(false),
                _NONE if with_people is None else with_interval(with_people),
                _NONE if row.f1 is None else with_interval(row.f1),
            )
        )
    return Grid(title, headers, tuple(rows))


def confusions(report: EventReport) -> Grid:
    """Which kind of event was called what."""
    names = [*map(str, Kind), NOT_FOUND]
    rows = [(kind, *(str(row.get(name, _NONE)) for name in names)) for kind, row in report.confusion.items()]
    return Grid(f"what each kind of event was called; {NO_EVENT}: false alarms", ("event", *names), tuple(rows))


def flaws(report: EventReport) -> Grid:
    """The clips with an event that was not found or has a wrong name, or with a false alarm."""
    wrong = [outcome for outcome in report.outcomes if not outcome.flawless]
    return Grid("clips with a flaw", *outcome_cells(wrong))


def outcome_cells(outcomes: Sequence[ClipOutcome]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Headers and rows that say what became of every clip."""
    headers = ("clip", "happened", "called", "delay, s", "false alarms", "why")
    rows = []
    for outcome in outcomes:
        events = outcome.events
        told = [
            *(one.alarms[0] for one in events if one.alarms),
            *outcome.false_alarms,
        ]
        false = [f"{alarm.kind} {alarm.start:.1f} to {alarm.last:.1f} s" for alarm in outcome.false_alarms]
        delays = [one.delay() for one in events]
        rows.append(
            (
                outcome.clip.name,
                _list(f"{one.event.kind} {one.event.start:.1f} to {one.event.end:.1f} s" for one in events),
                _list(NOT_FOUND if one.name is None else str(one.name) for one in events),
                _list(_NONE if delay is None else f"{delay:.1f}" for delay in delays),
                _list(false),
                _list(dict.fromkeys(alarm.saw for alarm in told if alarm.saw)),
            )
        )
    return headers, tuple(rows)


def with_interval(rate: Rate) -> str:
    """A value with its interval, or a dash where there is none."""
    if rate.value is None:
        return _NONE
    if rate.interval is None:
        return f"{rate.value:.2f}"
    return f"{rate.value:.2f} [{rate.interval.low:.2f}, {rate.interval.high:.2f}]"


def digest(paths: Sequence[Path]) -> str:
    """SHA-256 of the contents of files, one after another; that of a single file is its own."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _row(row: dict[str, str], there: set[str]) -> tuple[str, Event | None]:
    """The file and the event of a row; no event if nothing happens."""
    name, kind, start, end = (row[column] for column in COLUMNS)
    if not name:
        raise ValueError("the row names no file")
    if name not in there:
        raise ValueError(f"there is no video and no file of skeletons {name} in the folder")
    if not kind and not start and not end:
        return name, None
    if kind not in set(Kind):
        raise ValueError(f"there is no kind {kind!r}; there are {', '.join(Kind)}")
    begins, ends = (_seconds(column, row[column]) for column in COLUMNS[2:])
    return name, Event(Kind(kind), begins, ends)


def _seconds(column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"{column} must be seconds from the start of the file, got {text!r}")
    return value


def _within(file: LabelledFile, result: ClipResult) -> tuple[LabelledEvent, ...]:
    """The events of a file, all of which must begin before it ends."""
    length = result.clip.duration_s
    for labelled in file.events:
        if labelled.event.start >= length:
            raise EventsError(
                f"{EVENTS_FILE}, line {labelled.line}: the event begins at {labelled.event.start:g} s, but {file.name} "
                f"lasts {length:g} s"
            )
    return file.events


def _reported(frame: FrameScore, anomaly: Anomaly, result: ClipResult) -> bool:
    if anomaly.kind == Kind.UNUSUAL:
        return frame.level is not None and frame.level >= result.threshold.level
    return any(person.track in anomaly.tracks and anomaly.kind in person.firing for person in frame.people)


def _delay(median: float | None, most: float | None) -> str:
    return _NONE if median is None or most is None else f"{median:.1f}, {most:.1f}"


def _list(words: Iterable[str]) -> str:
    return "; ".join(words) or _NONE
