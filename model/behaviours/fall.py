"""Falls: somebody who was upright goes down fast, and is down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from model.behaviours.base import FIRES, LEAST_SCORE, TORSO, Finding, Kind
from model.behaviours.descent import Descent
from model.behaviours.posture import Booleans, Posture
from model.kinematics import Bodies, moments

_BEFORE_S: Final = 2.0
"""A fall takes at most this long from upright to down."""

_DROP: Final = 0.4
"""Body heights by which the shoulders come down at least; sitting down lowers them by 0.3."""

_SPEED: Final = 0.85
"""Body heights per second that the shoulders reach at least: 1.45 m/s. Falls exceed 1.3 m/s, and daily activities do
not (Bourke et al., Gait & Posture 28, 2008); lying down on purpose reaches 0.8 body heights a second."""

_HELD_S: Final = 0.4
_SHARE: Final = 0.75
_LEAST: Final = 3
"""The person is down for so long, in so many of the moments in which they are seen, and in at least so many moments:
poses of people on the ground are often wrong."""

_FAST_SPEED: Final = 0.9
"""From this speed on a fall is told while it is under way, before the person is known to be down: trackers and pose
estimators often lose people at this moment. The torso is then no longer upright."""

_BENT_SPEED: Final = 1.2
"""The same while the legs still carry the hips; people who bend over reach 1.0."""

_RISEN_S: Final = 0.5
"""A fall is over when the person has been upright for so long."""


@dataclass(frozen=True, slots=True)
class Fallen:
    """A person who has fallen.

    Attributes:
        since: When the person was last upright, seconds.
        score: Highest score so far.
        drop: How far the shoulders came down, body heights.
        speed: Their highest speed downwards, body heights per second.

    Example:
        >>> Fallen(since=12.3, score=1.4, drop=0.6, speed=1.3).drop
        0.6
    """

    since: float
    score: float
    drop: float
    speed: float


State = Mapping[int, Fallen]
"""By the numbers of `Bodies.people`."""


@dataclass(frozen=True, slots=True)
class Fall:
    """The behaviour `fall`; its state is who has fallen and has not got up.

    Example:
        >>> Fall().start()
        {}
    """

    kind = Kind.FALL

    def start(self) -> State:
        """Nobody has fallen."""
        return {}

    def update(self, state: State, bodies: Bodies, posture: Posture) -> tuple[State, list[Finding]]:
        """Take the next moment; see `model.behaviours.Behaviour`."""
        fallen = {person: what for person, what in state.items() if person in bodies.remembered}
        rows = np.flatnonzero(posture.low | np.array([person in fallen for person in bodies.people]))
        if not len(rows):
            return fallen, []
        posture = posture.some(rows)
        bodies = posture.bodies
        descent = Descent.of(bodies, posture, _BEFORE_S)
        ended = np.minimum(descent.drop / _DROP, descent.speed / _SPEED)
        fast = np.where(posture.standing[:, -1], _BENT_SPEED, _FAST_SPEED)
        under_way = np.minimum(descent.below / _DROP, descent.speed / fast)
        scores = np.where(held_down(posture.down, posture, _HELD_S, _SHARE, _LEAST), ended, 0.0)
        scores = np.where(posture.sunk[:, -2:].all(axis=1), np.maximum(scores, under_way), scores)
        scores = np.where(descent.known, scores, 0.0)
        risen = np.asarray(posture.upright[:, -moments(_RISEN_S) :].all(axis=1))
        findings = []
        for row in np.flatnonzero(
            (scores >= LEAST_SCORE) | np.array([person in fallen for person in bodies.people])
        ).tolist():
            person, track = bodies.people[row], bodies.track_ids[row]
            if risen[row]:
                fallen.pop(person, None)
            known = fallen.get(person)
            seen = Fallen(
                float(descent.since[row] if known is None else known.since),
                float(scores[row]),
                float(descent.drop[row]),
                float(descent.speed[row]),
            )
            if known is None or seen.score > known.score:
                known = seen
            if known.score >= FIRES:
                fallen[person] = known
            findings.append(_finding(track, known, bodies.time))
        return fallen, findings


def held_down(down: Booleans, posture: Posture, seconds: float, share: float, least: int) -> Booleans:
    """Who has been down over the last seconds, shape ``(M,)``.

    Args:
        down: Shape ``(M, moments)``: when each person is down.
        posture: Postures of M people.
        seconds: The time.
        share: Least share of the moments in which the person was seen.
        least: Least number of moments.
    """
    span = moments(seconds)
    number, seen = down[:, -span:].sum(axis=1), (~np.isnan(posture.height[:, -span:])).sum(axis=1)
    return np.asarray((number >= least) & (number >= share * seen))


def _finding(track: int, fallen: Fallen, now: float) -> Finding:
    lasted = now - fallen.since
    return Finding(
        kind=Kind.FALL,
        tracks=(track,),
        score=fallen.score,
        since=fallen.since,
        saw=f"shoulders came down by {fallen.drop:.1f} body heights, at up to {fallen.speed:.1f} a second; "
        f"not upright for {lasted:.1f} s",
        facts={"drop_h": fallen.drop, "speed_h_s": fallen.speed, "down_s": lasted},
        joints=TORSO,
    )
