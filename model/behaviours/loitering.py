"""Loitering: somebody stays about one place for long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from model.behaviours.base import FIRES, LEAST_SCORE, MOST_SCORE, Finding, Kind
from model.behaviours.ground import Polygon, ground, within
from model.behaviours.posture import Posture
from model.kinematics import Bodies

_NEAR_H: Final = 0.8
"""Body heights, 1.4 m, within which somebody stays about the middle of the places of the last time."""

_SAMPLES: Final = 40
_NEEDED: Final = 37
"""Places that are kept of each person, and how many of them are near the middle if somebody loiters: a few steps away
and back change nothing. `_NEEDED` places take the whole time."""

_LOST_S: Final = 5.0
"""Somebody who appears this soon after somebody else was lost, and as near, is taken for the same person: who is at one
place for minutes is often hidden for a while."""


@dataclass(frozen=True, slots=True)
class Stay:
    """Where somebody was.

    Attributes:
        places: The newest times and places, oldest first, at most `_SAMPLES`: seconds, and x and y as `ground` gives
            them; nan where the person was not in the zone.
        due: When the next place is to be noted, in seconds.
        seen: When the person was last in view.
        since: Since when the person stays about one place.
        score: How long that is, against the time that is asked for.

    Example:
        >>> Stay(((2.0, 310.0, 480.0),), due=3.7, seen=2.4, since=2.0, score=0.03).since
        2.0
    """

    places: tuple[tuple[float, float, float], ...]
    due: float
    seen: float
    since: float
    score: float


State = Mapping[int, Stay]
"""By the numbers of `Bodies.people`."""


@dataclass(frozen=True, slots=True)
class Loitering:
    """The behaviour `loitering`; its state is where everybody was.

    Attributes:
        seconds: How long somebody stays. A minute is the definition of the PETS 2007 benchmark (Ferryman and Tweed,
            Performance Evaluation of Tracking and Surveillance, 2007).
        zone: Where it counts; None is everywhere.

    Example:
        >>> Loitering(seconds=120.0).start()
        {}
    """

    seconds: float = 60.0
    zone: Polygon | None = None

    kind = Kind.LOITERING

    def start(self) -> State:
        """Nobody was anywhere."""
        return {}

    def update(self, state: State, bodies: Bodies, posture: Posture) -> tuple[State, list[Finding]]:
        """Take the next moment; see `model.behaviours.Behaviour`."""
        now = bodies.time
        stays = {person: stay for person, stay in state.items() if now - stay.seen <= _LOST_S}
        lost = {person: stay for person, stay in stays.items() if person not in bodies.people}
        places = np.where(within(bodies, self.zone)[:, None], ground(bodies, 0.0)[:, -1], np.nan)
        findings = []
        for row, (across, down) in enumerate(places.tolist()):
            person, near = bodies.people[row], _NEAR_H * float(bodies.stature[row])
            stay = stays.get(person)
            if stay is None:
                previous = _nearest(lost, (across, down), near)
                stay = Stay((), now, now, now, 0.0) if previous is None else lost.pop(previous)
                if previous is not None:
                    del stays[previous]
            if now >= stay.due - 1e-6:
                stay = self._sampled(stay, (across, down), near, now)
            stays[person] = stay = Stay(stay.places, stay.due, now, stay.since, stay.score)
            if stay.score >= LEAST_SCORE and across == across:
                findings.append(_finding(bodies.track_ids[row], stay, now))
        return stays, findings

    def _sampled(self, stay: Stay, place: tuple[float, float], near: float, now: float) -> Stay:
        places = (*stay.places, (now, *place))[-_SAMPLES:]
        noted = np.array(places)
        known = noted[~np.isnan(noted[:, 1])]
        there = np.zeros((0, 3))
        if len(known):
            there = known[np.linalg.norm(known[:, 1:] - np.median(known[:, 1:], axis=0), axis=1) <= near]
        score = len(there) / _NEEDED
        since = float(there[0, 0]) if stay.score < FIRES and len(there) else stay.since
        if score >= FIRES:
            # What is normal here may last longer, so the score goes on.
            score = float(np.clip((now - since) / self.seconds, score, MOST_SCORE))
        every = self.seconds / (_NEEDED - 1)
        # Times that were missed while the person was hidden are not made up for.
        return Stay(places, max(stay.due + every, now + every / 2), now, since, score)


def _nearest(lost: State, place: tuple[float, float], near: float) -> int | None:
    """The person who was lost nearest to a place, if any was lost near it."""
    away = {person: float(np.hypot(*np.subtract(stay.places[-1][1:], place))) for person, stay in lost.items()}
    best = min(away, key=away.__getitem__, default=None)
    return best if best is not None and away[best] <= near else None


def _finding(track: int, stay: Stay, now: float) -> Finding:
    stayed = now - stay.since
    return Finding(
        kind=Kind.LOITERING,
        tracks=(track,),
        score=stay.score,
        since=stay.since,
        saw=f"stays within {_NEAR_H:.1f} body heights of one place for {stayed:.0f} s",
        facts={"within_h": _NEAR_H, "stayed_s": stayed},
    )
