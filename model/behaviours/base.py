"""What every behaviour has in common: its kind, and what it saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pose.skeleton import COCO_JOINTS

LEAST_SCORE: Final = 0.5
"""Scores below this are not reported."""

MOST_SCORE: Final = 3.0
"""Scores go up to this at least where more is possible: thresholds of cameras lie up to `calibration.STRICTEST`."""

FIRES: Final = 1.0
"""Score from which a behaviour fires on a camera without a threshold of its own."""

LOOSEST: Final = 0.8
"""No camera has a lower threshold. What must not fire by itself has a score below this."""


class Kind(StrEnum):
    """What happened, most severe first.

    Example:
        >>> [kind.value for kind in Kind][:2]
        ['fall', 'fight']
    """

    FALL = "fall"
    """Somebody went down fast and stayed down."""
    FIGHT = "fight"
    """Two or more people strike, push or wrestle."""
    LYING = "lying"
    """Somebody is down and stays down, whether seen to fall or not."""
    DISPERSAL = "dispersal"
    """Several people who were together start to run apart at once."""
    HANDS_UP = "hands_up"
    """Somebody holds both hands above the head."""
    RUNNING = "running"
    """Somebody runs."""
    CRAWLING = "crawling"
    """Somebody moves along on hands and knees, or on the belly."""
    WRONG_WAY = "wrong_way"
    """Somebody goes against the direction that a site declares."""
    GATHERING = "gathering"
    """A group forms and stays."""
    LOITERING = "loitering"
    """Somebody stays about one place for long."""
    UNUSUAL = "unusual"
    """Movement that has no name here and is rare in normal life: the DA-Flow score and its other parts."""

    @property
    def rank(self) -> int:
        """Place in the order of severity; 0 is the most severe."""
        return list(Kind).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one behaviour saw of some people at one moment.

    Attributes:
        kind: The behaviour.
        tracks: The people, in order of their track numbers.
        score: From 0; the behaviour fires at 1 if the camera has no threshold of its own.
        since: When it began, in seconds on the clock of the poses.
        saw: What was measured, as a sentence without a full stop, such as "hips fell 0.6 body heights in 0.7 s".
        facts: The same numbers by name; the unit ends the name (`_s` seconds, `_h` body heights, `_deg` degrees).
        joints: Numbers of the COCO joints that contributed, increasing.

    Example:
        >>> Finding(Kind.RUNNING, (3,), 1.2, 4.0, "moves 1.3 body heights a second", {"speed_h_s": 1.3}).kind
        <Kind.RUNNING: 'running'>
    """

    kind: Kind
    tracks: tuple[int, ...]
    score: float
    since: float
    saw: str
    facts: Mapping[str, float]
    joints: tuple[int, ...] = ()


TORSO: Final = tuple(COCO_JOINTS.index(f"{side}_{name}") for name in ("shoulder", "hip") for side in ("left", "right"))
"""Shoulders and hips, as `Finding.joints`."""

LEGS: Final = tuple(
    COCO_JOINTS.index(f"{side}_{name}") for name in ("hip", "knee", "ankle") for side in ("left", "right")
)
"""Hips, knees and ankles, as `Finding.joints`."""
