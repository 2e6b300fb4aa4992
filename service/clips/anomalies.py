"""Finds the anomalies of a clip: named behaviours that fire, and levels at or above the threshold."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from model.behaviours import Finding, Kind
from model.calibration import exceedance_runs
from service.documents.kinds import BEHAVIOUR_DIGITS, title, unusual_words
from service.documents.results import Anomaly, FrameScore, PersonScore


@dataclass(frozen=True, slots=True)
class Fired:
    """A finding whose behaviour fires.

    Attributes:
        at: Presentation time of the frame in seconds.
        finding: What was seen; `since` is on the same clock.
    """

    at: float
    finding: Finding


def find_anomalies(
    scores: Sequence[FrameScore], fired: Collection[Fired], threshold: float, merge_s: float
) -> list[Anomaly]:
    """Everything that was seen in a clip. Different kinds are different anomalies, even at the same time.

    Args:
        scores: All frames, in order.
        fired: The findings of all frames whose behaviour fires.
        threshold: A level in 0..1.
        merge_s: Periods of one kind that are closer than this many seconds are one, as in `Calibration.merge_s`.

    Returns:
        The anomalies in order of their starts; the most severe first of those that start together.
    """
    found = [*_named(scores, fired, merge_s), *_unusual(scores, threshold, merge_s)]
    return sorted(found, key=lambda one: (one.start_s, one.kind.rank))


@dataclass(slots=True)
class _Period:
    """Findings of one kind that lie close together."""

    start: float
    end: float
    fired: list[Fired] = field(default_factory=list)


def _named(scores: Sequence[FrameScore], fired: Collection[Fired], merge_s: float) -> list[Anomaly]:
    """The periods of named behaviours, each from the beginning of the movement to the last frame in which it fires."""
    by_kind: dict[Kind, list[Fired]] = {}
    for one in fired:
        by_kind.setdefault(one.finding.kind, []).append(one)
    return [
        _anomaly(kind, period, _between(scores, period.start, period.end))
        for kind, some in by_kind.items()
        for period in _periods(some, merge_s)
    ]


def _between(scores: Sequence[FrameScore], start: float, end: float) -> Sequence[FrameScore]:
    """The frames from start to end, both included."""
    first = bisect_left(scores, start, key=lambda frame: frame.time_s)
    return scores[first : bisect_right(scores, end, key=lambda frame: frame.time_s)]


def _periods(fired: Collection[Fired], merge_s: float) -> list[_Period]:
    periods: list[_Period] = []
    for one in sorted(fired, key=lambda one: (one.finding.since, one.at)):
        since = min(max(round(one.finding.since, 6), 0.0), one.at)
        if not periods or since - periods[-1].end >= merge_s:
            periods.append(_Period(since, one.at))
        period = periods[-1]
        period.end = max(period.end, one.at)
        period.fired.append(one)
    return periods


def _anomaly(kind: Kind, period: _Period, stretch: Sequence[FrameScore]) -> Anomaly:
    clearest = max((one.finding for one in period.fired), key=lambda finding: finding.score)
    tracks = sorted({track for one in period.fired for track in one.finding.tracks})
    at_once: dict[float, set[int]] = {}
    for one in period.fired:
        at_once.setdefault(one.at, set()).update(one.finding.tracks)
    return Anomaly(
        kind=kind,
        # Trackers often give a person who falls a second number, so tracks are no count of people.
        title=title(kind, max(map(len, at_once.values()))),
        start_s=period.start,
        end_s=period.end,
        explanation=clearest.saw,
        facts={name: round(value, BEHAVIOUR_DIGITS) for name, value in clearest.facts.items()},
        joints=list(clearest.joints),
        peak_level=max((frame.level for frame in stretch if frame.level is not None), default=0.0),
        tracks=tracks,
    )


def _unusual(scores: Sequence[FrameScore], threshold: float, merge_s: float) -> list[Anomaly]:
    """Stretches of frames whose level is at or above the threshold."""
    times = np.array([frame.time_s for frame in scores])
    levels = np.array([np.nan if frame.level is None else frame.level for frame in scores])
    anomalies = []
    for first, last in exceedance_runs(times, levels, threshold, merge_s):
        stretch = scores[first : last + 1]
        above = {
            person.track
            for frame in stretch
            for person in frame.people
            if person.level is not None and person.level >= threshold
        }
        peak = max(stretch, key=_level)
        parts = max(peak.people, key=_level).parts if peak.people else {}
        anomalies.append(
            Anomaly(
                kind=Kind.UNUSUAL,
                title=title(Kind.UNUSUAL, len(above)),
                start_s=stretch[0].time_s,
                end_s=stretch[-1].time_s,
                explanation=unusual_words(_level(peak), parts),
                facts={"level": _level(peak), **parts},
                peak_level=_level(peak),
                tracks=sorted(above),
            )
        )
    return anomalies


def _level(scored: FrameScore | PersonScore) -> float:
    return 0.0 if scored.level is None else scored.level
