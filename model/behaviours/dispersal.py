"""Dispersal: several people who were together start to run apart at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from model.behaviours.base import LEGS, MOST_SCORE, Finding, Kind
from model.behaviours.ground import ground
from model.behaviours.posture import Posture
from model.kinematics import RATE_HZ, Bodies, moments

_LEAST: Final = 3
"""People who run apart at least; two who part are ordinary."""

_FAST: Final = 1.0
"""Body heights per second that each of them reaches at least: 1.7 m/s. People walk at 1.4 m/s and change to running at
2.0 m/s (Thorstensson and Roberthson, Acta Physiol. Scand. 131, 1987); a picture shows less of their speed."""

_SLOW: Final = 0.5
"""Body heights per second, 0.85 m/s, below which each of them was within `_BEFORE_S` before: they start at once out of
standing, and do not merely go on running."""

_SPAN_S: Final = 0.6
"""Speeds are taken over this time."""

_BEFORE_S: Final = 2.0
_AT_ONCE_S: Final = 1.5
"""All of them start within this time."""

_TOGETHER_H: Final = 2.0
"""Body heights from the middle of the group within which each of them starts."""

_APART: Final = 0.75
"""Most length of the mean of their directions, each of length 1: people who run the same way reach 1."""

_OUTWARD: Final = 0.5
"""Share of the way of each, at least, by which they get away from the middle of the group."""

_LEFT_H: Final = 0.4
"""Body heights that each has gone at least."""

_EVEN: Final = 0.12
"""Share of the way that lies in each third of the time at least: a box that jumps does not run."""


@dataclass(frozen=True, slots=True)
class Start:
    """Somebody who has started to run.

    Attributes:
        time: When the person was first fast, in seconds.
        origin: The place before, as `ground` gives it.
        place: The place where the person was last seen.
        speed: Body heights per second.
        stature: Body height in pixels.

    Example:
        >>> Start(3.2, (310.0, 480.0), (340.0, 480.0), 1.4, 120.0).speed
        1.4
    """

    time: float
    origin: tuple[float, float]
    place: tuple[float, float]
    speed: float
    stature: float


State = Mapping[int, Start]
"""By the numbers of `Bodies.people`, those of the last `_AT_ONCE_S`."""


@dataclass(frozen=True, slots=True)
class Dispersal:
    """The behaviour `dispersal`; its state is who has started to run just now.

    Example:
        >>> Dispersal().start()
        {}
    """

    kind = Kind.DISPERSAL

    def start(self) -> State:
        """Nobody runs."""
        return {}

    def update(self, state: State, bodies: Bodies, posture: Posture) -> tuple[State, list[Finding]]:
        """Take the next moment; see `model.behaviours.Behaviour`."""
        started = {
            person: start
            for person, start in state.items()
            if bodies.time - start.time <= _AT_ONCE_S and person in bodies.remembered
        }
        started |= {person: start for person, start in _starts(bodies, posture).items() if person not in started}
        if not started:
            return started, []
        places = dict(zip(bodies.people, ground(bodies, 0.0)[:, -1].tolist(), strict=True))
        for person in started.keys() & places.keys():
            across, down = places[person]
            if math.isfinite(across):
                started[person] = replace(started[person], place=(across, down))
        people = list(started)
        # Who has run out of the picture counts as well.
        chosen = [people[index] for index in _group(list(started.values()))]
        tracks = dict(zip(bodies.people, bodies.track_ids, strict=True))
        seen = tuple(sorted(tracks[person] for person in chosen if person in tracks))
        if not seen:
            return started, []
        group = [started[person] for person in chosen]
        speed = float(np.mean([one.speed for one in group]))
        began = min(one.time for one in group) - _SPAN_S
        spent = max(one.time for one in group) - began
        finding = Finding(
            kind=Kind.DISPERSAL,
            tracks=seen,
            score=min(len(chosen) / _LEAST, MOST_SCORE),
            since=began,
            saw=f"{len(chosen)} people who stood together run apart at {speed:.1f} body heights a second, all within "
            f"{spent:.1f} s",
            facts={"speed_h_s": speed, "within_s": spent},
            joints=LEGS,
        )
        return started, [finding]


def _starts(bodies: Bodies, posture: Posture) -> State:
    """Who runs now and was slow just before."""
    span, before = round(_SPAN_S * RATE_HZ), moments(_BEFORE_S)
    recent = ground(bodies, _SPAN_S)
    gone = np.linalg.norm(recent[:, -1] - recent[:, 0], axis=1)
    fast = np.flatnonzero(gone >= _FAST * _SPAN_S * bodies.stature)
    if not len(fast):
        return {}
    bodies, posture = bodies.some(fast), posture.recent.some(fast)
    place = ground(bodies, _BEFORE_S + _SPAN_S) / bodies.stature[:, None, None]
    way = place[:, span:] - place[:, :-span]
    pace = np.linalg.norm(way, axis=2) / _SPAN_S
    third = np.diff(place[:, [-1 - span, -1 - span * 2 // 3, -1 - span // 3, -1]], axis=1)
    along = np.einsum("nkc,nc->nk", third, way[:, -1]).min(axis=1)
    even = along >= _EVEN * (way[:, -1] ** 2).sum(axis=1)
    upright = posture.upright[:, -span:].mean(axis=1) >= 0.5
    running = (pace[:, -1] >= _FAST) & even & upright
    slow = pace[:, -before:-span] <= _SLOW
    rows = np.flatnonzero(running & slow.any(axis=1))
    starts = {}
    for row in rows.tolist():
        last = int(np.flatnonzero(slow[row])[-1]) + place.shape[1] - before
        origin = place[row, last] * bodies.stature[row]
        starts[bodies.people[row]] = Start(
            time=bodies.time,
            origin=(float(origin[0]), float(origin[1])),
            place=(float(origin[0]), float(origin[1])),
            speed=float(pace[row, -1]),
            stature=float(bodies.stature[row]),
        )
    return starts


def _group(starts: Sequence[Start]) -> list[int]:
    """The largest group of those who have started that runs apart from one place, as indices; maybe empty."""
    if len(starts) < _LEAST:
        return []
    origins, now = np.array([(start.origin, start.place) for start in starts]).swapaxes(0, 1)
    stature = np.array([start.stature for start in starts])
    way = now - origins
    gone = np.linalg.norm(way, axis=1)
    # One group about each of them: a row each.
    near = np.linalg.norm(origins[:, None] - origins, axis=2) <= 2 * _TOGETHER_H * stature
    middle = (near @ origins) / np.maximum(near.sum(axis=1), 1)[:, None]
    before = np.linalg.norm(origins - middle[:, None], axis=2)
    after = np.linalg.norm(now - middle[:, None], axis=2)
    apart = (after - before >= _OUTWARD * gone) & (gone >= _LEFT_H * stature)
    chosen = near & (before <= _TOGETHER_H * stature) & apart
    count = chosen.sum(axis=1)
    mean = (chosen @ (way / np.maximum(gone, 1e-9)[:, None])) / np.maximum(count, 1)[:, None]
    count[(count < _LEAST) | (np.linalg.norm(mean, axis=1) > _APART)] = 0
    best = int(count.argmax())
    return np.flatnonzero(chosen[best]).tolist() if count[best] else []
