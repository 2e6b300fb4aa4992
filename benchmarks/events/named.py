"""Named behaviours alone, without windows and levels: what to compare choices about behaviours with.

It gives the named alarms of `ClipScorer.score_skeletons` in a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from benchmarks.events.recordings import PoseRecording
from model.behaviours import BEHAVIOURS, Behaviour, Behaviours, Finding, Kind
from model.behaviours.calibration import NormalLife
from model.events import Alarm, Event, WatchedClip
from service.clips.anomalies import Fired, find_anomalies
from service.documents.kinds import fires, shown_score

_APART_S: Final = 3600.0
"""Seconds between two recordings: no run of one goes on in the next."""


def normal_life(recordings: Sequence[PoseRecording], behaviours: Sequence[Behaviour] = BEHAVIOURS) -> NormalLife:
    """What named behaviours see of recordings of normal life, one after the other."""
    life, begin = NormalLife(behaviour.kind for behaviour in behaviours), 0.0
    for recording in recordings:
        for time, people, findings in _observed(recording, behaviours):
            life.add(begin + time, len(people), findings)
        begin += recording.duration_s + _APART_S
    return life


def watch(
    name: str,
    recording: PoseRecording,
    events: tuple[Event, ...],
    merge_s: float,
    behaviours: Sequence[Behaviour] = BEHAVIOURS,
) -> tuple[WatchedClip, dict[Kind, float]]:
    """What the named behaviours report of a recording.

    Args:
        name: The clip.
        recording: Its poses.
        events: What happens in it.
        merge_s: Alarms of a kind that are closer than this many seconds are one.
        behaviours: What to look for.

    Returns:
        The clip with its alarms, and the highest score of each behaviour.
    """
    highest: dict[Kind, float] = {}
    fired = []
    occupied = 0
    for time, people, findings in _observed(recording, behaviours):
        occupied += bool(people)
        for finding in findings:
            highest[finding.kind] = max(highest.get(finding.kind, 0.0), shown_score(finding.score))
            if fires(finding, {}):
                fired.append(Fired(round(time, 6), finding))
    duration = recording.duration_s
    alarms = []
    # Without frames there are no levels, so nothing is unusual.
    for anomaly in find_anomalies([], fired, np.inf, merge_s):
        known = min(
            one.at for one in fired if one.finding.kind == anomaly.kind and anomaly.start_s <= one.at <= anomaly.end_s
        )
        alarms.append(Alarm(anomaly.kind, anomaly.start_s, anomaly.end_s, known, anomaly.explanation))
    return WatchedClip(name, duration, duration * occupied / len(recording.times), events, tuple(alarms)), highest


def _observed(
    recording: PoseRecording, behaviours: Sequence[Behaviour] = BEHAVIOURS
) -> Iterator[tuple[float, list[int], list[Finding]]]:
    """Seconds from the first frame, track numbers of the people, and what the behaviours see, frame by frame."""
    watching, followed = Behaviours(behaviours), recording.followed()
    numbers = np.asarray(followed.tracks, np.int64)
    times = (recording.times - recording.times[0]).tolist()
    for time, rows in zip(times, followed.people, strict=True):
        people = numbers[rows].tolist()
        findings = watching.observe(time, people, followed.boxes[rows], followed.keypoints[rows], recording.size)
        yield time, people, findings
