"""Lying: somebody is down and stays down, whether seen to fall or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from model.behaviours.base import FIRES, MOST_SCORE, TORSO, Finding, Kind
from model.behaviours.crawling import moving
from model.behaviours.descent import Descent
from model.behaviours.fall import held_down
from model.behaviours.posture import DOWN_DEG, WIDE, Booleans, Posture
from model.kinematics import RATE_HZ, Bodies, Measure, moments

_SEEN_S: Final = 1.0
"""Seconds on the ground after which the behaviour fires if the person was seen to go down."""

_HELD_S: Final = 3.0
"""The same if not. The body must then lie across the picture: a person who is half hidden looks short as well."""

_BEFORE_S: Final = 5.0
_DROP: Final = 0.4
"""Going down lowers the shoulders by so many body heights within this time; sitting down lowers them by 0.3."""

_SHARE: Final = 0.8
_KNOWN: Final = 0.8
"""Share of the moments seen in which the person is down, and share of all moments in which they were seen."""

_BEGINNING: Final = 4
"""The person is down in at least one of so many first moments of that time."""

_MOVING_S: Final = 1.6
"""Who moves along over this time crawls, and does not lie."""

_STILL_H: Final = 0.15
"""Body heights within which the shoulders stay; those of somebody who does push-ups do not."""

State = Mapping[int, float]
"""By the numbers of `Bodies.people`."""


@dataclass(frozen=True, slots=True)
class Lying:
    """The behaviour `lying`; its state is since when each person who is down lies, in seconds.

    Example:
        >>> Lying().start()
        {}
    """

    kind = Kind.LYING

    def start(self) -> State:
        """Nobody lies."""
        return {}

    def update(self, state: State, bodies: Bodies, posture: Posture) -> tuple[State, list[Finding]]:
        """Take the next moment; see `model.behaviours.Behaviour`."""
        away = bodies.remembered.difference(bodies.people)
        lying = {person: since for person, since in state.items() if person in away}
        rows = np.flatnonzero(posture.low | np.array([person in state for person in bodies.people]))
        if not len(rows):
            return lying, []
        posture = posture.some(rows)
        bodies = posture.bodies
        seen_down = Descent.of(bodies, posture, _BEFORE_S).drop >= _DROP
        held = np.where(seen_down, _held(posture.down, posture, _SEEN_S), _held(posture.flat, posture, _HELD_S))
        still = np.where(seen_down, _still(posture, _SEEN_S), _still(posture, _HELD_S))
        # Who lies already goes on lying through a gap in which the tracker lost them.
        before = np.array([person in state for person in bodies.people])
        down = (held & (before | still)) | (before & held_down(posture.down, posture, _SEEN_S, _SHARE, 1))
        # Going down is a way, too, so of those who were seen to go down only the time since then counts.
        down &= ~np.where(seen_down, moving(bodies, _SEEN_S), moving(bodies, _MOVING_S))
        findings = []
        for row in np.flatnonzero(down).tolist():
            person, track = bodies.people[row], bodies.track_ids[row]
            span = moments(_SEEN_S if seen_down[row] else _HELD_S)
            first = int(np.argmax(posture.down[row, -span:]))
            since = lying[person] = state.get(person, bodies.time - (span - 1 - first) / RATE_HZ)
            lasted, needed = bodies.time - since, _SEEN_S if seen_down[row] else _HELD_S
            shape = _shape(bodies, row)
            findings.append(
                Finding(
                    kind=Kind.LYING,
                    tracks=(track,),
                    score=float(np.clip(lasted / needed, FIRES, MOST_SCORE)),
                    since=since,
                    saw=f"down for {lasted:.0f} s, {_words(shape)}",
                    facts={"down_s": lasted, **shape},
                    joints=TORSO,
                )
            )
        return lying, findings


def _shape(bodies: Bodies, row: int) -> dict[str, float]:
    """What a body that lies looks like: tilt of the torso in degrees, height and width in body heights."""
    height, width = (bodies.lengths(side, _SEEN_S)[row] for side in (Measure.TALL, Measure.WIDTH))
    tilt = bodies.series(Measure.TILT, _SEEN_S)[row]
    return {
        "tilt_deg": float(np.nanmedian(tilt)),
        "height_h": float(np.nanmedian(height)),
        "width_h": float(np.nanmedian(width)),
    }


def _words(shape: dict[str, float]) -> str:
    """The number that shows it best. A torso that points to the camera looks upright."""
    if shape["tilt_deg"] >= DOWN_DEG:
        return f"with the torso {shape['tilt_deg']:.0f} degrees from upright"
    if shape["width_h"] >= WIDE * shape["height_h"]:
        return f"and {shape['width_h'] / shape['height_h']:.1f} times as wide as high"
    return f"and only {shape['height_h']:.1f} body heights high"


def _held(down: Booleans, posture: Posture, seconds: float) -> Booleans:
    span = moments(seconds)
    began = down[:, -span : -span + _BEGINNING].any(axis=1)
    return began & held_down(down, posture, seconds, _SHARE, round(_SHARE * _KNOWN * span))


def _still(posture: Posture, seconds: float) -> Booleans:
    """Whose shoulders have kept their height over the last seconds, shape ``(M,)``."""
    height = posture.height[:, -moments(seconds) :]
    highest, lowest = np.fmax.reduce(height, axis=1), np.fmin.reduce(height, axis=1)
    return np.asarray(highest - lowest <= _STILL_H)
