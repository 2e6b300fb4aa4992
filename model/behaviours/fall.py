"""Falls: somebody who was upright goes down fast, and is down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from model.behaviours.base import Finding, Kind
from model.behaviours.posture import Posture
from model.kinematics import RATE_HZ, Bodies, moments
from pose.skeleton import COCO_JOINTS

_BEFORE_S: Final = 3.0
"""Somebody who was not upright within this time did not fall now."""

_DROP: Final = 0.4
_SPEED: Final = 0.6
_HELD_S: Final = 0.4
"""A fall seen to its end: the shoulders drop this far in body heights, at this speed in body heights per second at some
time, and the person is down for so long. Falls exceed 1.3 m/s, which is 0.76 body heights a second, and daily
activities do not (Bourke et al., Gait & Posture 28, 2008); in pictures some of it is lost to the direction of view.
Sitting down lowers the shoulders by 0.3."""

_FAST_DROP: Final = 0.45
_FAST_SPEED: Final = 1.0
"""A fall on its way: so far and so fast, with the torso no longer upright, before the person is known to be down.
Trackers and pose estimators often lose people at this moment."""

_SHARE: Final = 0.75
"""Share of the moments in which the person must be down, since poses of people on the ground are often wrong."""

_LEAST: Final = 3
_STEP_S: Final = 0.3
"""Speeds are taken over this time: less measures noise."""

_RISEN_S: Final = 0.5
"""A fall is over when the person has been upright for so long."""

_JOINTS: Final = tuple(
    COCO_JOINTS.index(f"{side}_{name}") for name in ("shoulder", "hip") for side in ("left", "right")
)


@dataclass(frozen=True, slots=True)
class Fallen:
    """A person who has fallen.

    Attributes:
        since: When the person was last upright, seconds.
        score: Highest score so far.
        drop: How far the shoulders have dropped, body heights.
        speed: Their highest speed downwards, body heights per second.
    """

    since: float
    score: float
    drop: float
    speed: float


State = Mapping[int, Fallen]


@dataclass(frozen=True, slots=True)
class Fall:
    """The behaviour `fall`.

    Example:
        >>> Fall().start()
        {}
    """

    kind = Kind.FALL

    def start(self) -> State:
        """Nobody has fallen."""
        return {}

    def update(self, state: State, bodies: Bodies, posture: Posture) -> tuple[State, list[Finding]]:
        """Take the next moment.

        Args:
            state: People who have fallen, by track number.
            bodies: The people at this moment.
            posture: Their postures.

        Returns:
            The people who have fallen now, those out of view included, and what is seen of those in view.
        """
        scores, drops, speeds, since = _measure(bodies, posture)
        risen = posture.upright[:, -moments(_RISEN_S) :].all(axis=1)
        fallen, findings = dict(state), []
        for row, track in enumerate(bodies.track_ids):
            known = fallen.get(track)
            if known is not None and risen[row]:
                del fallen[track]
                known = None
            if scores[row] >= 1 and (known is None or scores[row] > known.score):
                start = since[row] if known is None else known.since
                known = fallen[track] = Fallen(start, float(scores[row]), float(drops[row]), float(speeds[row]))
            if known is not None:
                findings.append(_finding(track, known, bodies.time))
            elif scores[row] > 0:
                findings.append(
                    _finding(track, Fallen(since[row], float(scores[row]), drops[row], speeds[row]), bodies.time)
                )
        return fallen, findings


def _measure(bodies: Bodies, posture: Posture) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Score, drop, speed and beginning of a fall of each person, each of shape ``(M,)``; score 0 where there is none."""
    span = moments(_BEFORE_S)
    height, upright = posture.height[:, -span:], posture.upright[:, -span:]
    people = len(bodies)
    position = np.arange(span)
    last = np.where(upright, position, -1).max(axis=1)
    # The place just before the person stopped being upright: one who walks towards the camera moves down upright.
    step = round(_STEP_S * RATE_HZ)
    before = upright & (position >= last[:, None] - step) & (position <= last[:, None])
    base = np.where(before, height, np.inf).min(axis=1)
    newest = height[:, -2:]
    now = np.where(
        np.isnan(newest).all(axis=1), np.nan, np.nanmean(np.where(np.isnan(newest), newest[:, ::-1], newest), axis=1)
    )
    drop = now - base
    pace = (height[:, step:] - height[:, :-step]) * RATE_HZ / step
    # Only what comes after that moment counts.
    pace = np.where(position[:-step] >= last[:, None] - step, pace, np.nan)
    speed = np.fmax.reduce(pace, axis=1)
    recent = moments(_HELD_S)
    down, seen = posture.down[:, -recent:].sum(axis=1), (~np.isnan(height[:, -recent:])).sum(axis=1)
    held = (down >= _LEAST) & (down >= _SHARE * seen)
    sunk = posture.sunk[:, -2:].all(axis=1)
    ended = np.where(held, np.minimum(drop / _DROP, speed / _SPEED), 0.0)
    under_way = np.where(sunk, np.minimum(drop / _FAST_DROP, speed / _FAST_SPEED), 0.0)
    score = np.where(last >= 0, np.nan_to_num(np.fmax(ended, under_way), nan=0.0, posinf=0.0, neginf=0.0), 0.0)
    since = bodies.time - (span - 1 - np.maximum(last, 0)) / RATE_HZ
    assert score.shape == (people,)
    return score, drop, speed, since


def _finding(track: int, fallen: Fallen, now: float) -> Finding:
    took = now - fallen.since
    return Finding(
        kind=Kind.FALL,
        tracks=(track,),
        score=fallen.score,
        since=fallen.since,
        saw=f"shoulders dropped {fallen.drop:.1f} body heights, at up to {fallen.speed:.1f} a second; "
        f"not upright for {took:.1f} s",
        facts={"drop_h": fallen.drop, "speed_h_s": fallen.speed, "down_s": took},
        joints=_JOINTS,
    )
