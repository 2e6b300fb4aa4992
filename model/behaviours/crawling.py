"""Crawling: somebody who is down moves along, on hands and knees or on the belly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from model.behaviours.base import LEAST_SCORE, MOST_SCORE, TORSO, Finding, Kind
from model.behaviours.posture import Booleans, Floats, Posture
from model.kinematics import RATE_HZ, Bodies, Measure, moments
from pose.skeleton import COCO_JOINTS

_SPAN_S: Final = 2.4
_PARTS: Final = 3
"""The way is taken over so many seconds, in so many equal parts. A fall moves the body in one of them only."""

SPEED: Final = 0.15
"""Body heights per second from which the behaviour fires, 0.25 m/s. On hands and knees people move at half a metre per
second; a picture shows less of it if they move along the view."""

_EVEN: Final = 0.4
_STRAIGHT: Final = 0.6
"""Each part of the way has at least this share of the mean, and the whole way at least this share of their sum.
Somebody who does push-ups or turns over comes back."""

_FASTEST: Final = 0.9
"""Body heights per second. Nobody crawls as fast as people walk; a box that jumps does."""

_SHARE: Final = 0.6
_NEWEST: Final = 3
_OLDEST: Final = 5
"""The body is down in this share of the moments, at one of the newest and at one of the oldest: the way down is no way
along. Poses of people on the ground are often wrong, so it need not be down in all."""

_LEVEL_DEG: Final = (55.0, 125.0)
"""Median angle of the torso from upright: that of a body that is down, and not upside down. People who kneel,
sit on the ground or move along on their seat hold it upright."""

_JOINTS: Final = tuple(
    sorted((*TORSO, *(COCO_JOINTS.index(f"{side}_{name}") for name in ("wrist", "knee") for side in ("left", "right"))))
)


@dataclass(frozen=True, slots=True)
class Crawling:
    """The behaviour `crawling`; it needs no state beyond the kinematics.

    Example:
        >>> Crawling().start()
    """

    kind = Kind.CRAWLING

    def start(self) -> None:
        """Nothing to keep."""
        return None

    def update(self, state: None, bodies: Bodies, posture: Posture) -> tuple[None, list[Finding]]:
        """Take the next moment; arguments and result as in `Fall.update`."""
        # Few people are down, so the past of those alone is looked at.
        rows = np.flatnonzero(posture.recent.down[:, -_NEWEST:].any(axis=1))
        if not len(rows):
            return None, []
        posture = posture.some(rows)
        bodies = posture.bodies
        down = posture.down[:, -moments(_SPAN_S) :]
        stays = (down.mean(axis=1) >= _SHARE) & down[:, :_OLDEST].any(axis=1)
        speeds = np.where(stays, pace(bodies, _SPAN_S, _PARTS), 0.0)
        findings = []
        for row in np.flatnonzero(speeds >= LEAST_SCORE * SPEED).tolist():
            speed, tilt = float(speeds[row]), float(np.nanmedian(bodies.series(Measure.TILT, _SPAN_S)[row]))
            if not _LEVEL_DEG[0] <= tilt <= _LEVEL_DEG[1]:
                continue
            findings.append(
                Finding(
                    kind=Kind.CRAWLING,
                    tracks=(bodies.track_ids[row],),
                    score=min(speed / SPEED, MOST_SCORE),
                    since=bodies.time - _SPAN_S,
                    saw=f"moves {speed:.1f} body heights a second, with the torso {tilt:.0f} degrees from upright",
                    facts={"speed_h_s": speed, "tilt_deg": tilt},
                    joints=_JOINTS,
                )
            )
        return None, findings


def moving(bodies: Bodies, seconds: float) -> Booleans:
    """Who moves along as those who crawl do, shape ``(M,)``."""
    return np.asarray(pace(bodies, seconds, 2) >= SPEED)


def pace(bodies: Bodies, seconds: float, parts: int) -> Floats:
    """How fast the torsos of M people move along, body heights per second.

    Args:
        bodies: The people.
        seconds: Time over which the way is taken.
        parts: Equal parts of this time, in each of which they move.

    Returns:
        Shape ``(M,)``; 0 for those who do not move evenly, not straight on, or faster than people crawl.
    """
    shoulders = bodies.several(Measure.SHOULDER_X, Measure.SHOULDER_Y, seconds)
    torso = (shoulders + bodies.several(Measure.HIP_X, Measure.HIP_Y, seconds)) / 2
    middle = bodies.several(Measure.BOX_X, Measure.BOX_Y, seconds)
    place = np.where(np.isnan(torso), middle, torso) / bodies.stature
    # A mean over three moments at each end of a part takes most of the noise away.
    smooth = (place[:-2] + place[1:-1] + place[2:]) / 3
    marks = smooth[np.linspace(0, len(smooth) - 1, parts + 1).round().astype(int)]
    ways, whole = np.linalg.norm(np.diff(marks, axis=0), axis=1), np.linalg.norm(marks[-1] - marks[0], axis=0)
    speed = whole / ((len(smooth) - 1) / RATE_HZ)
    even = ways.min(axis=0) >= _EVEN * ways.mean(axis=0)
    straight = whole >= _STRAIGHT * ways.sum(axis=0)
    return np.where(even & straight & (speed <= _FASTEST), speed, 0.0)
