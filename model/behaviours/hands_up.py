"""Hands up: somebody holds both hands above the head, as in a robbery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from model.behaviours.base import FIRES, LEAST_SCORE, MOST_SCORE, Finding, Kind
from model.behaviours.posture import Floats, Posture
from model.kinematics import RATE_HZ, Bodies, Measure, moments
from pose.skeleton import COCO_JOINTS

HELD_S: Final = 2.0
"""Seconds for which the hands are up before the behaviour fires. People stretch, wave and reach for a shelf with both
hands for less: in 1.5 hours of a shop's ordinary life (PoseLift) nobody has both wrists up for so long."""

_SHARE: Final = 0.85
_KNOWN: Final = 0.7
"""Share of the moments at which wrists and head are known in which the hands are up, and of all moments that are
known."""

_OVER_SHOULDERS: Final = 0.1
"""Both wrists are so many body heights above the shoulders, which is the height of the mouth, and not below the middle
of the face. An upper arm and a forearm measure 0.19 and 0.15 body heights (Winter, Biomechanics and Motor Control,
2009), so elbows are then raised: hands that hold a telephone or a camera to the face are lower. Pose estimators draw
raised arms too low, so a stricter value misses many. Seen from behind, hands that film at the height of the eyes look
the same, where they are not hidden by the head."""

_NEWEST: Final = 3
"""The hands are up in at least one of so many newest moments."""

_UPRIGHT: Final = 0.7
"""Share of the moments in which the torso is upright: somebody who lies may have hands beyond the head too."""

_JOINTS: Final = tuple(
    COCO_JOINTS.index(f"{side}_{name}") for name in ("shoulder", "elbow", "wrist") for side in ("left", "right")
)

State = Mapping[int, float]
"""By the numbers of `Bodies.people`."""


@dataclass(frozen=True, slots=True)
class HandsUp:
    """The behaviour `hands_up`; its state is since when the hands of each person are up, in seconds, once it fires.

    Example:
        >>> HandsUp().start()
        {}
    """

    kind = Kind.HANDS_UP

    def start(self) -> State:
        """All hands are down."""
        return {}

    def update(self, state: State, bodies: Bodies, posture: Posture) -> tuple[State, list[Finding]]:
        """Take the next moment; see `model.behaviours.Behaviour`."""
        # Few people have their hands up, so the past is looked at for those alone.
        now = np.nan_to_num(_over_shoulders(bodies.past[:, -_NEWEST:], bodies.stature), nan=-np.inf).max(axis=1)
        rows = np.flatnonzero(now >= _OVER_SHOULDERS)
        past, span = bodies.past[rows, -moments(HELD_S) :], moments(HELD_S)
        height = _over_shoulders(past, bodies.stature[rows])
        wrists = np.maximum(past[..., Measure.LEFT_WRIST_Y], past[..., Measure.RIGHT_WRIST_Y])
        # Of a head that looks away nothing may be seen.
        up = (height >= _OVER_SHOULDERS) & ~(wrists > past[..., Measure.HEAD_Y])
        known = (~np.isnan(height)).sum(axis=1)
        shares = up.sum(axis=1) / np.maximum(known, _KNOWN * span)
        shares = np.where(posture.upright[rows, -span:].mean(axis=1) >= _UPRIGHT, shares, 0.0)
        raised: dict[int, float] = {}
        findings = []
        for place, row in enumerate(rows.tolist()):
            score = float(shares[place]) / _SHARE
            if score < LEAST_SCORE:
                continue
            person, first = bodies.people[row], int(np.argmax(up[place]))
            since = state.get(person, bodies.time - (span - 1 - first) / RATE_HZ)
            held, over = bodies.time - since, float(height[place][up[place]].mean())
            if score >= FIRES:
                raised[person] = since
                # What is normal here may last longer, so the score goes on.
                score = float(np.clip(held / HELD_S, score, MOST_SCORE))
            findings.append(
                Finding(
                    kind=Kind.HANDS_UP,
                    tracks=(bodies.track_ids[row],),
                    score=score,
                    since=since,
                    saw=f"both hands up for {held:.1f} s, {over:.1f} body heights above the shoulders",
                    facts={"held_s": held, "over_shoulders_h": over},
                    joints=_JOINTS,
                )
            )
        away = bodies.remembered.difference(bodies.people)
        return {person: since for person, since in state.items() if person in away} | raised, findings


def _over_shoulders(past: Floats, stature: Floats) -> Floats:
    """How far the lower wrist is above the shoulders in body heights, shape ``(M, moments)``; nan where unknown."""
    wrists = np.maximum(past[..., Measure.LEFT_WRIST_Y], past[..., Measure.RIGHT_WRIST_Y])
    return np.asarray((past[..., Measure.SHOULDER_Y] - wrists) / stature[:, None])
