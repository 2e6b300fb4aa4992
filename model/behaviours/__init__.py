"""Behaviours that have a name: what a person would say of them, read from seconds of movement.

A behaviour is one file: a frozen class with its kind, `start` and a pure `update`. The registry `BEHAVIOURS` names all
of them. They fire on physical thresholds, so a camera needs no calibration for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from model.behaviours.base import FIRES, LEAST_SCORE, Finding, Kind
from model.behaviours.crawling import Crawling
from model.behaviours.dispersal import Dispersal
from model.behaviours.fall import Fall
from model.behaviours.fight import Fight
from model.behaviours.gathering import Gathering
from model.behaviours.hands_up import HandsUp
from model.behaviours.loitering import Loitering
from model.behaviours.lying import Lying
from model.behaviours.posture import Posture
from model.behaviours.running import Running
from model.behaviours.wrong_way import WrongWay
from model.kinematics import MOST_GAP_S, Bodies, Kinematics

__all__ = [
    "BEHAVIOURS",
    "FIRES",
    "LEAST_SCORE",
    "Behaviour",
    "Behaviours",
    "Finding",
    "Gathering",
    "Kind",
    "Loitering",
    "WrongWay",
]


class Behaviour(Protocol):
    """One named behaviour. Its state is whatever it needs to remember; `update` changes nothing else.

    Example:
        >>> BEHAVIOURS[0].kind
        <Kind.FALL: 'fall'>
    """

    @property
    def kind(self) -> Kind:
        """Its name."""

    def start(self) -> Any:
        """The state before anything was seen."""

    def update(self, state: Any, bodies: Bodies, posture: Posture) -> tuple[Any, list[Finding]]:
        """Take the next moment.

        Args:
            state: The state before.
            bodies: The people at this moment.
            posture: Their postures.

        Returns:
            The state after, and what is seen of the people of this moment.
        """


BEHAVIOURS: Final[tuple[Behaviour, ...]] = (
    Fall(),
    Fight(),
    Lying(),
    Dispersal(),
    HandsUp(),
    Running(),
    Crawling(),
)
"""The behaviours that are named everywhere. `WrongWay`, `Loitering` and `Gathering` are ordinary in many places and
depend on what a site asks for, so they are added where it does."""


class Behaviours:
    """All behaviours of one camera or clip.

    Args:
        behaviours: The behaviours to look for.

    Example:
        >>> watch = Behaviours()
        >>> pose, box = np.zeros((1, 17, 3), np.float32), np.array([[10, 10, 50, 110]], np.float32)
        >>> watch.observe(0.0, [7], box, pose, (640, 480))
        []
    """

    def __init__(self, behaviours: Sequence[Behaviour] = BEHAVIOURS) -> None:
        self._behaviours = tuple(behaviours)
        self._kinematics = Kinematics()
        self._states = [behaviour.start() for behaviour in behaviours]
        self._newest: dict[tuple[Kind, tuple[int, ...]], tuple[float, Finding]] = {}
        self._time = -math.inf

    def look_for(self, behaviours: Sequence[Behaviour]) -> None:
        """Look for other behaviours from now on; those that stay the same go on with what they know.

        Args:
            behaviours: All behaviours to look for.
        """
        if tuple(behaviours) == self._behaviours:
            return
        known = dict(zip(self._behaviours, self._states, strict=True))
        self._states = [known[each] if each in known else each.start() for each in behaviours]
        self._behaviours = tuple(behaviours)
        kinds = {each.kind for each in behaviours}
        self._newest = {key: value for key, value in self._newest.items() if key[0] in kinds}

    def observe(
        self,
        time: float,
        track_ids: Sequence[int],
        boxes: NDArray[np.float32],
        keypoints: NDArray[np.float32],
        size: tuple[int, int],
    ) -> list[Finding]:
        """Take the people of the next frame.

        Args:
            time: Capture time in seconds. If it is before that of the last frame, everything begins anew.
            track_ids: M different track numbers.
            boxes: Shape ``(M, 4)``: left, top, right, bottom in pixels. Who has a value here or in the keypoints that
                is not finite is left out.
            keypoints: Shape ``(M, 17, 3)``: COCO x, y in pixels and confidence in 0..1; 0 is unseen.
            size: Width and height of the picture in pixels.

        Returns:
            What the behaviours see now, with scores of `LEAST_SCORE` and above. Between two moments of the kinematics'
            grid this is what was seen at the last one.

        Raises:
            ValueError: As `Kinematics.observe`.
        """
        completed = self._kinematics.observe(time, track_ids, boxes, keypoints, size)
        if time < self._time:
            self._states = [behaviour.start() for behaviour in self._behaviours]
            self._newest = {}
        self._time = time
        for bodies in completed:
            self._advance(bodies)
        present = set(track_ids)
        self._newest = {key: (at, finding) for key, (at, finding) in self._newest.items() if time - at <= MOST_GAP_S}
        return [finding for _, finding in self._newest.values() if present.issuperset(finding.tracks)]

    def _advance(self, bodies: Bodies) -> None:
        posture = Posture.of(bodies)
        known = set(bodies.track_ids)
        self._newest = {key: value for key, value in self._newest.items() if known.isdisjoint(key[1])}
        for number, behaviour in enumerate(self._behaviours):
            self._states[number], findings = behaviour.update(self._states[number], bodies, posture)
            for finding in findings:
                if finding.score >= LEAST_SCORE:
                    self._newest[finding.kind, finding.tracks] = bodies.time, finding
