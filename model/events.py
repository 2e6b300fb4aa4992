"""How well alarms find labelled events, name them, and how soon. Pure functions of times in seconds.

An alarm and an event match if they overlap, whatever the alarm is called; the events may be widened by a `Tolerance`.
An event that is found several times counts once, and an alarm that touches no event is a false alarm. The name of a
found event is what an operator reads first: the most severe kind among its alarms. An alarm that carries the name of
another event it touches says nothing about this one, unless there is no other.

Intervals come from a bootstrap over whole clips (`model.metrics.bootstrap_by_clip`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from model.behaviours import Kind
from model.metrics import EVENT_GAP_S, Counts, Interval, bootstrap_by_clip

Floats = NDArray[np.float64]

NOT_FOUND: Final = "not found"
"""Column of the confusions for events without an alarm."""

NO_EVENT: Final = "no event"
"""Row of the confusions for false alarms."""

DOWN: Final = frozenset({Kind.FALL, Kind.LYING})
"""Names that both tell an operator that somebody is down."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far outside an event an alarm still counts for it.

    One second before: people set the start of an event by hand, to about half a second, and an alarm begins at the last
    moment at which all was well. Five seconds after: a behaviour may wait to see that somebody stays down, and whoever
    looks at a picture five seconds after an event still sees what has happened.

    Attributes:
        before_s: Seconds before its start.
        after_s: Seconds after its end.

    Raises:
        ValueError: One of them is negative or not finite.

    Example:
        >>> Tolerance(after_s=10.0)
        Tolerance(before_s=1.0, after_s=10.0)
    """

    before_s: float = 1.0
    after_s: float = 5.0

    def __post_init__(self) -> None:
        if not (0 <= self.before_s < math.inf and 0 <= self.after_s < math.inf):
            raise ValueError(
                f"a tolerance must be 0 or more seconds, got {self.before_s:g} before and {self.after_s:g} after"
            )


DEFAULT_TOLERANCE: Final = Tolerance()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        kind: What.
        start: When it begins, in seconds from the start of the clip.
        end: When it is over.
        reached: A later moment from which delays are counted as well, such as when somebody who falls lies; none if
            there is no such moment.

    Raises:
        ValueError: It does not begin before it ends, or a time is not finite.

    Example:
        >>> Event(Kind.FALL, 4.0, 9.0, reached=5.0).kind
        <Kind.FALL: 'fall'>
    """

    kind: Kind
    start: float
    end: float
    reached: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end) and self.start < self.end):
            raise ValueError(f"an event must begin before it ends, got {self.start:g} to {self.end:g} s")


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that was reported.

    Attributes:
        kind: What it was called.
        start: When it began, as the alarm says, in seconds from the start of the clip.
        end: When it was over.
        known: When it could first be reported; an alarm may say that something began before.
        saw: What was measured, in words.

    Raises:
        ValueError: It ends or is known before it starts.

    Example:
        >>> Alarm(Kind.FALL, start=4.0, end=5.0, known=5.5).last
        5.5
    """

    kind: Kind
    start: float
    end: float
    known: float
    saw: str = ""

    def __post_init__(self) -> None:
        if not (self.start <= self.end and self.start <= self.known):
            raise ValueError(
                f"an alarm must start first, got start {self.start:g}, end {self.end:g}, known {self.known:g} s"
            )

    @property
    def last(self) -> float:
        """The last moment at which it was open."""
        return max(self.end, self.known)


@dataclass(frozen=True, slots=True)
class WatchedClip:
    """A clip with what happened in it and what was reported.

    Attributes:
        name: Its name.
        duration_s: Its length in seconds.
        people_s: Seconds of it with somebody in view.
        events: What happened, in any order; events may overlap.
        alarms: What was reported, in any order.

    Example:
        >>> clip = WatchedClip("hall", 60.0, 42.0, (Event(Kind.FALL, 4.0, 9.0),))
        >>> len(clip.events), len(clip.alarms)
        (1, 0)
    """

    name: str
    duration_s: float
    people_s: float
    events: tuple[Event, ...] = ()
    alarms: tuple[Alarm, ...] = ()


@dataclass(frozen=True, slots=True)
class EventOutcome:
    """What became of one event.

    Attributes:
        event: The event.
        alarms: The alarms that match it, in the order in which they were known.
        name: What it was called; None if it was not found.

    Example:
        >>> alarm = Alarm(Kind.FALL, 4.0, 8.0, known=6.0)
        >>> EventOutcome(Event(Kind.FALL, 4.0, 9.0, reached=5.0), (alarm,), Kind.FALL).delay_from_reached()
        1.0
    """

    event: Event
    alarms: tuple[Alarm, ...]
    name: Kind | None

    @property
    def named(self) -> bool:
        """Whether it was found under its own name."""
        return self.name == self.event.kind

    def delay(self, kinds: Collection[Kind] = frozenset(Kind)) -> float | None:
        """Seconds from its start to its first alarm of these kinds; 0 if that was open before, None without one."""
        known = _first_known(self.alarms, kinds)
        return None if known is None else max(known - self.event.start, 0.0)

    def delay_from_reached(self, kinds: Collection[Kind] = frozenset(Kind)) -> float | None:
        """The same from `Event.reached`; negative if the alarm was sooner."""
        known = _first_known(self.alarms, kinds)
        return None if known is None or self.event.reached is None else known - self.event.reached


@dataclass(frozen=True, slots=True)
class ClipOutcome:
    """What became of one clip.

    Attributes:
        clip: The clip.
        events: Outcome of each event, in order of their starts.
        false_alarms: Alarms that touch no event, in the order in which they were known.

    Example:
        >>> match(WatchedClip("hall", 60.0, 42.0)).flawless
        True
    """

    clip: WatchedClip
    events: tuple[EventOutcome, ...]
    false_alarms: tuple[Alarm, ...]

    @property
    def flawless(self) -> bool:
        """Whether every event has its name and nothing else was reported."""
        return not self.false_alarms and all(one.named for one in self.events)

    def to_dict(self) -> dict[str, Any]:
        """The outcome as values that JSON has."""
        return {
            "clip": self.clip.name,
            "duration_s": round(self.clip.duration_s, 3),
            "people_s": round(self.clip.people_s, 3),
            "events": [
                asdict(one.event)
                | {
                    "name": one.name,
                    "delay_s": one.delay(),
                    "delay_from_reached_s": one.delay_from_reached(),
                    "alarms": [asdict(alarm) for alarm in one.alarms],
                }
                for one in self.events
            ],
            "false_alarms": [asdict(alarm) for alarm in self.false_alarms],
        }


@dataclass(frozen=True, slots=True)
class Rate:
    """A quotient of two counts over clips.

    Attributes:
        count: The numerator.
        of: The denominator: events, or hours.
        value: Their quotient; None if the denominator is 0.
        interval: 95 % interval over clips; None if there is no value, or no samples were drawn.

    Example:
        >>> Rate(14.0, 15.0, 14 / 15, None).count
        14.0
    """

    count: float
    of: float
    value: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one kind of event, or of all.

    Attributes:
        title: The kind, or what the row is about.
        recall: Events found under any name, or under the names that the title asks for.
        named: Events found under their own name; None where the title asks for other names.
        median_delay_s: From the start of a found event to the moment its first alarm is known; None without one.
        delay_90_s: The delay that 90 % of the found events do not exceed.
        median_delay_from_reached_s: The same from `Event.reached`, over the events that have it.
        delay_90_from_reached_s: The same.
        false_alarms: Alarms of this kind that touch no event, per hour of footage; None where the title asks for
            several names.
        false_alarms_with_people: The same per hour with somebody in view.
        f1: Event F1. Alarms of the row's kind that overlap or lie less than `EVENT_GAP_S` apart are one incident, as
            the service opens one; incidents and events of the kind are matched one to one. For all kinds, all alarms
            and events. None where the title asks for several names.

    Example:
        >>> judge([WatchedClip("hall", 3600.0, 1800.0)]).whole.title
        'all kinds'
    """

    title: str
    recall: Rate
    named: Rate | None
    median_delay_s: float | None
    delay_90_s: float | None
    median_delay_from_reached_s: float | None
    delay_90_from_reached_s: float | None
    false_alarms: Rate | None
    false_alarms_with_people: Rate | None
    f1: Rate | None


@dataclass(frozen=True, slots=True)
class EventReport:
    """Figures of a set of clips.

    Attributes:
        clips: Number of clips.
        hours: Footage in hours.
        hours_with_people: Hours with somebody in view.
        alarm_share: Share of the footage in alarm; near 1, an alarm that never ends finds every event.
        tolerance: How far outside an event an alarm counted for it.
        rows: One for each kind with an event or an alarm, most severe first; that of falls is followed by falls found
            as fall or lying.
        whole: All kinds together.
        confusion: For each kind of event with an event, how many were given which name or `NOT_FOUND`; and for
            `NO_EVENT` the false alarms of each name.
        outcomes: Of every clip, in the order given.

    Example:
        >>> report = judge([WatchedClip("hall", 3600.0, 1800.0, alarms=(Alarm(Kind.FALL, 3.0, 4.0, 4.0),))])
        >>> report.hours, [(row.title, row.false_alarms_with_people.value) for row in report.rows]
        (1.0, [('fall', 2.0)])
    """

    clips: int
    hours: float
    hours_with_people: float
    alarm_share: float
    tolerance: Tolerance
    rows: tuple[Row, ...]
    whole: Row
    confusion: dict[str, dict[str, int]]
    outcomes: tuple[ClipOutcome, ...]

    def to_dict(self) -> dict[str, Any]:
        """The report as values that JSON has."""
        return {
            "clips": self.clips,
            "hours": self.hours,
            "hours_with_people": self.hours_with_people,
            "alarm_share": self.alarm_share,
            "tolerance": asdict(self.tolerance),
            "rows": [asdict(row) for row in self.rows],
            "whole": asdict(self.whole),
            "confusion": self.confusion,
            "outcomes": [outcome.to_dict() for outcome in self.outcomes],
        }


def match(clip: WatchedClip, tolerance: Tolerance = DEFAULT_TOLERANCE) -> ClipOutcome:
    """Match the alarms of a clip with its events.

    Example:
        >>> fall = Event(Kind.FALL, 4.0, 9.0)
        >>> clip = WatchedClip("hall", 60.0, 60.0, (fall,), (Alarm(Kind.LYING, 4.5, 9.0, known=6.0),))
        >>> outcome = match(clip)
        >>> outcome.events[0].name, outcome.events[0].delay()
        (<Kind.LYING: 'lying'>, 2.0)
    """
    alarms = sorted(clip.alarms, key=lambda alarm: (alarm.known, alarm.start))
    events = sorted(clip.events, key=lambda event: (event.start, event.end))
    return ClipOutcome(
        clip,
        tuple(_outcome(event, alarms, events, tolerance) for event in events),
        tuple(alarm for alarm in alarms if not any(touches(alarm, event, tolerance) for event in events)),
    )


def touches(alarm: Alarm, event: Event, tolerance: Tolerance) -> bool:
    """Whether an alarm counts for an event."""
    return _overlap((alarm.start, alarm.last), event, tolerance)


def judge(
    clips: Sequence[WatchedClip],
    tolerance: Tolerance = DEFAULT_TOLERANCE,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> EventReport:
    """All figures of a set of clips.

    Args:
        clips: At least one.
        tolerance: How far outside an event an alarm counts for it.
        replicates: Samples of clips for each interval; 0 gives none.
        seed: Decides the samples.

    Raises:
        ValueError: There are no clips, or they have no length.
    """
    footage = sum(clip.duration_s for clip in clips)
    if not footage > 0:
        raise ValueError("there is no footage to judge")
    outcomes = tuple(match(clip, tolerance) for clip in clips)
    figures = _Figures(outcomes, tolerance, replicates, seed)
    rows = []
    for kind in Kind:
        happened = any(event.kind == kind for clip in clips for event in clip.events)
        if happened or any(alarm.kind == kind for clip in clips for alarm in clip.alarms):
            rows.append(figures.row(str(kind), {kind}))
        if happened and kind == Kind.FALL:
            rows.append(figures.found_as(f"{kind}, found as {' or '.join(sorted(DOWN))}", kind, DOWN))
    in_alarm = sum(_in_alarm(clip) for clip in clips)
    return EventReport(
        clips=len(clips),
        hours=footage / 3600,
        hours_with_people=sum(clip.people_s for clip in clips) / 3600,
        alarm_share=in_alarm / footage,
        tolerance=tolerance,
        rows=tuple(rows),
        whole=figures.row("all kinds", set(Kind)),
        confusion=_confusion(outcomes),
        outcomes=outcomes,
    )


class _Figures:
    """Counts of every clip, and their quotients over samples of clips."""

    def __init__(self, outcomes: Sequence[ClipOutcome], tolerance: Tolerance, replicates: int, seed: int) -> None:
        self._outcomes = outcomes
        self._tolerance = tolerance
        self._replicates = replicates
        self._seed = seed
        self._hours = np.array([outcome.clip.duration_s for outcome in outcomes]) / 3600
        self._people_hours = np.array([outcome.clip.people_s for outcome in outcomes]) / 3600

    def row(self, title: str, kinds: Collection[Kind]) -> Row:
        """Events of some kinds found under any name, and false alarms of these kinds."""
        events = self._count(lambda one: one.event.kind in kinds)
        found = self._count(lambda one: one.event.kind in kinds and one.name is not None)
        named = self._count(lambda one: one.event.kind in kinds and one.named)
        false = np.array(
            [sum(alarm.kind in kinds for alarm in outcome.false_alarms) for outcome in self._outcomes], np.float64
        )
        matched, total = np.transpose([_one_to_one(outcome.clip, kinds, self._tolerance) for outcome in self._outcomes])
        return Row(
            title,
            self._rate(found, events),
            self._rate(named, events),
            *self._delays(kinds, frozenset(Kind)),
            self._rate(false, self._hours),
            self._rate(false, self._people_hours),
            self._rate(2 * matched, total),
        )

    def found_as(self, title: str, kind: Kind, names: Collection[Kind]) -> Row:
        """Events of a kind found under some names."""
        events = self._count(lambda one: one.event.kind == kind)
        found = self._count(lambda one: one.event.kind == kind and one.name in names)
        delays = self._delays({kind}, names)
        return Row(title, self._rate(found, events), None, *delays, None, None, None)

    def _count(self, counted: Callable[[EventOutcome], bool]) -> Floats:
        return np.array([sum(map(counted, outcome.events)) for outcome in self._outcomes], np.float64)

    def _delays(
        self, kinds: Collection[Kind], names: Collection[Kind]
    ) -> tuple[float | None, float | None, float | None, float | None]:
        events = [
            one for outcome in self._outcomes for one in outcome.events if one.event.kind in kinds and one.name in names
        ]
        return *_quantiles(one.delay(names) for one in events), *_quantiles(
            one.delay_from_reached(names) for one in events
        )

    def _rate(self, counts: Floats, of: Floats) -> Rate:
        whole = float(of.sum())
        if not whole > 0:
            return Rate(float(counts.sum()), whole, None, None)

        def quotient(drawn: Counts) -> float:
            below = float(drawn @ of)
            return float(drawn @ counts) / below if below > 0 else math.nan

        interval = None
        if self._replicates:
            interval = bootstrap_by_clip(quotient, len(of), replicates=self._replicates, seed=self._seed)
        return Rate(float(counts.sum()), whole, float(counts.sum()) / whole, interval)


def _outcome(event: Event, alarms: Sequence[Alarm], events: Sequence[Event], tolerance: Tolerance) -> EventOutcome:
    own = tuple(alarm for alarm in alarms if touches(alarm, event, tolerance))
    others = [other for other in events if other is not event]
    telling = [
        alarm
        for alarm in own
        if alarm.kind == event.kind
        or not any(other.kind == alarm.kind and touches(alarm, other, tolerance) for other in others)
    ]
    kinds = {alarm.kind for alarm in telling or own}
    return EventOutcome(event, own, next((kind for kind in Kind if kind in kinds), None))


def _overlap(span: tuple[float, float], event: Event, tolerance: Tolerance) -> bool:
    return span[0] <= event.end + tolerance.after_s and span[1] >= event.start - tolerance.before_s


def _first_known(alarms: Iterable[Alarm], kinds: Collection[Kind]) -> float | None:
    return min((alarm.known for alarm in alarms if alarm.kind in kinds), default=None)


def _incidents(alarms: Iterable[Alarm], gap_s: float) -> list[tuple[float, float]]:
    """Alarms that overlap or lie less than `gap_s` apart, as one: first and last moment of each."""
    spans: list[tuple[float, float]] = []
    for start, end in sorted((alarm.start, alarm.last) for alarm in alarms):
        if spans and start - spans[-1][1] < gap_s:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((start, end))
    return spans


def _one_to_one(clip: WatchedClip, kinds: Collection[Kind], tolerance: Tolerance) -> tuple[int, int]:
    """Incidents matched with one event each, as many as can be; and the number of incidents and events."""
    incidents = _incidents((alarm for alarm in clip.alarms if alarm.kind in kinds), EVENT_GAP_S)
    events = [event for event in clip.events if event.kind in kinds]
    if not (incidents and events):
        return 0, len(incidents) + len(events)
    pairs = csr_array([[int(_overlap(span, event, tolerance)) for event in events] for span in incidents])
    return int((maximum_bipartite_matching(pairs) >= 0).sum()), len(incidents) + len(events)


def _in_alarm(clip: WatchedClip) -> float:
    """Seconds of a clip in which an alarm was open."""
    spans = _incidents(clip.alarms, 0.0)
    return sum(max(min(end, clip.duration_s) - max(start, 0.0), 0.0) for start, end in spans)


def _confusion(outcomes: Sequence[ClipOutcome]) -> dict[str, dict[str, int]]:
    columns = [*map(str, Kind), NOT_FOUND]
    table = {
        str(kind): dict.fromkeys(columns, 0)
        for kind in Kind
        if any(one.event.kind == kind for outcome in outcomes for one in outcome.events)
    }
    table[NO_EVENT] = dict.fromkeys(map(str, Kind), 0)
    for outcome in outcomes:
        for one in outcome.events:
            table[str(one.event.kind)][NOT_FOUND if one.name is None else str(one.name)] += 1
        for alarm in outcome.false_alarms:
            table[NO_EVENT][str(alarm.kind)] += 1
    return table


def _quantiles(delays: Iterable[float | None]) -> tuple[float | None, float | None]:
    """Median and 90 % quantile of what is there."""
    there = [delay for delay in delays if delay is not None]
    if not there:
        return None, None
    median, most = np.quantile(there, [0.5, 0.9])
    return float(median), float(most)
