"""Gathering: a group forms and stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.sparse.csgraph import connected_components

from model.behaviours.base import LEAST_SCORE, MOST_SCORE, Finding, Kind
from model.behaviours.ground import Polygon, ground, within
from model.behaviours.posture import Posture
from model.kinematics import Bodies

_LINK_H: Final = 1.3
"""Body heights, 2.2 m, from each person of a group to the next at most: the far end of personal and the near end of
social distance, at which people talk (Hall, The Hidden Dimension, 1966)."""

_STILL_H: Final = 0.6
_STILL_S: Final = 2.0
"""People who stay move at most so many body heights in so long; who walks goes twice as far."""

_SAME_H: Final = 1.5
"""Body heights from the middle of a group to where it is taken for the same a moment later."""

_LAPSE_S: Final = 5.0
"""A group is over when it was too small for so long: people who stand together hide each other."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group of people who stay together.

    Attributes:
        middle: Its middle, as `ground` gives it.
        since: When it had enough people first, in seconds.
        seen: When it had enough people last.

    Example:
        >>> Group((310.0, 480.0), since=2.0, seen=7.5).since
        2.0
    """

    middle: tuple[float, float]
    since: float
    seen: float


State = tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Gathering:
    """The behaviour `gathering`; its state is the groups that there are.

    Attributes:
        people: How many make a group, 2 or more.
        seconds: How long it stays.
        zone: Where it counts; None is everywhere.

    Example:
        >>> Gathering(people=5, seconds=60.0).start()
        ()
    """

    people: int = 4
    seconds: float = 30.0
    zone: Polygon | None = None

    kind = Kind.GATHERING

    def start(self) -> State:
        """No group."""
        return ()

    def update(self, state: State, bodies: Bodies, posture: Posture) -> tuple[State, list[Finding]]:
        """Take the next moment; see `model.behaviours.Behaviour`."""
        now = bodies.time
        old = [group for group in state if now - group.seen <= _LAPSE_S]
        new: list[Group] = []
        findings = []
        place = ground(bodies, 0.0)[:, -1]
        for rows in self._groups(bodies, place):
            middle, reach = place[rows].mean(axis=0), _SAME_H * float(np.median(bodies.stature[rows]))
            same = [group for group in old if np.hypot(*(middle - group.middle)) <= reach]
            old = [group for group in old if group not in same]
            group = Group(
                middle=(float(middle[0]), float(middle[1])), since=min([now, *(each.since for each in same)]), seen=now
            )
            new.append(group)
            lasted = now - group.since
            if lasted >= LEAST_SCORE * self.seconds:
                findings.append(
                    Finding(
                        kind=Kind.GATHERING,
                        tracks=tuple(sorted(bodies.track_ids[row] for row in rows)),
                        score=min(lasted / self.seconds, MOST_SCORE),
                        since=group.since,
                        saw=f"{len(rows)} people stay together for {lasted:.0f} s",
                        facts={"together_s": lasted},
                    )
                )
        return (*old, *new), findings

    def _groups(self, bodies: Bodies, place: np.ndarray) -> list[list[int]]:
        """Rows of the people in each group that is large enough now."""
        recent = ground(bodies, _STILL_S)
        moved = np.linalg.norm(recent - place[:, None], axis=2) / bodies.stature[:, None]
        # Those whose place was known for half of the time.
        known = np.isfinite(moved).mean(axis=1) >= 0.5
        still = known & (np.fmax.reduce(moved, axis=1) <= _STILL_H) & within(bodies, self.zone)
        rows = np.flatnonzero(still & np.isfinite(place).all(axis=1))
        if len(rows) < self.people:
            return []
        apart = np.linalg.norm(place[rows, None] - place[rows], axis=2)
        reach = _LINK_H * np.maximum(bodies.stature[rows, None], bodies.stature[rows])
        number, label = connected_components(apart <= reach, directed=False)
        groups = [rows[label == one].tolist() for one in range(number)]
        return [group for group in groups if len(group) >= self.people]
