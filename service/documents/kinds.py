"""The kinds of incidents in words, and how urgent each is."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from model.behaviours import FIRES, LEAST_SCORE, Finding, Kind
from model.behaviours.calibration import Usual
from service.documents.base import Severity

TITLES: Final[dict[Kind, str]] = {
    Kind.FALL: "Fall",
    Kind.FIGHT: "Fight",
    Kind.LYING: "Person lying",
    Kind.DISPERSAL: "People run apart",
    Kind.HANDS_UP: "Hands up",
    Kind.RUNNING: "Running",
    Kind.CRAWLING: "Crawling",
    Kind.WRONG_WAY: "Wrong way",
    Kind.GATHERING: "Gathering",
    Kind.LOITERING: "Loitering",
    Kind.UNUSUAL: "Unusual movement",
}
"""What each kind is called where people read it."""

SEVERITIES: Final[dict[Kind, Severity]] = {
    Kind.FALL: Severity.ALERT,
    Kind.FIGHT: Severity.ALERT,
    Kind.LYING: Severity.ALERT,
    Kind.DISPERSAL: Severity.WARNING,
    Kind.HANDS_UP: Severity.WARNING,
    Kind.RUNNING: Severity.WARNING,
    Kind.CRAWLING: Severity.WARNING,
    Kind.WRONG_WAY: Severity.WARNING,
    Kind.GATHERING: Severity.WARNING,
    Kind.LOITERING: Severity.WARNING,
}
"""How urgent each named behaviour is, unless the camera says otherwise. `unusual` is a warning, and an alert from the
alert level on."""

ON_REQUEST: Final = frozenset({Kind.WRONG_WAY, Kind.LOITERING, Kind.GATHERING})
"""Named behaviours that are ordinary in many places: only cameras that switch them on report them."""

BEHAVIOUR_DIGITS: Final = 3
"""Digits of a behaviour's score and of its facts."""

_NEAR: Final = 1e-9
"""Levels closer to 1 are not told apart, and none reads as 1."""


def most_severe(kinds: Collection[Kind]) -> Kind:
    """The kind that gives an incident its name: the first in the order of `Kind`.

    Raises:
        ValueError: There is none.

    Example:
        >>> most_severe([Kind.UNUSUAL, Kind.FIGHT])
        <Kind.FIGHT: 'fight'>
    """
    return min(kinds, key=lambda kind: kind.rank)


def shown_score(score: float) -> float:
    """The score of a named behaviour as documents show it: 1 and above if the behaviour fires, and only then.

    Example:
        >>> shown_score(1.00041), shown_score(0.99996)
        (1.0, 0.999)
    """
    rounded = round(score, BEHAVIOUR_DIGITS)
    return rounded if score >= FIRES else min(rounded, FIRES - 10**-BEHAVIOUR_DIGITS)


def fires(finding: Finding, usual: Mapping[Kind, Usual]) -> bool:
    """Whether a behaviour fires: its score, before rounding, is at or above its threshold.

    Args:
        finding: What it saw.
        usual: What is usual on this camera, by behaviour; one that is missing fires at `FIRES`.
    """
    known = usual.get(finding.kind)
    return finding.score >= (FIRES if known is None else known.threshold)


def firing_by_track(findings: Iterable[Finding], usual: Mapping[Kind, Usual]) -> dict[int, list[Kind]]:
    """The named behaviours of each track that fire, most severe first.

    Args:
        findings: What the behaviours see in one frame.
        usual: See `fires`.
    """
    found: dict[int, set[Kind]] = {}
    for finding in findings:
        if fires(finding, usual):
            for track in finding.tracks:
                found.setdefault(track, set()).add(finding.kind)
    return {track: sorted(kinds, key=lambda kind: kind.rank) for track, kinds in found.items()}


def explained(finding: Finding, usual: Mapping[Kind, Usual]) -> str:
    """What a behaviour saw, in words; with its score beside what is usual on this camera, where that is known.

    Args:
        finding: What it saw.
        usual: What is usual on this camera, by behaviour.

    Example:
        >>> here = {Kind.RUNNING: Usual(1.35, 1.22, times=4, marked=0, footage_s=1920, per_day=13, usable=True)}
        >>> explained(Finding(Kind.RUNNING, (1,), 1.6, 0.0, "moves 2.0 body heights a second", {}), here)
        'moves 2.0 body heights a second; score 1.6, normal life here up to 1.22, fires from 1.35'
    """
    known = usual.get(finding.kind)
    if known is None:
        return finding.saw
    here = f"below {LEAST_SCORE:g}" if known.highest is None else f"up to {known.highest:.3g}"
    return f"{finding.saw}; score {finding.score:.3g}, normal life here {here}, fires from {known.threshold:.3g}"


def scores_by_track(findings: Iterable[Finding]) -> dict[int, dict[Kind, float]]:
    """The highest score of each named behaviour of each track, as shown, most severe first.

    Args:
        findings: What the behaviours see in one frame.
    """
    highest: dict[int, dict[Kind, float]] = {}
    for finding in sorted(findings, key=lambda one: (one.kind.rank, one.score)):
        for track in finding.tracks:
            highest.setdefault(track, {})[finding.kind] = shown_score(finding.score)
    return highest


def title(kind: Kind, people: int) -> str:
    """The title of an incident or anomaly; without a number where nobody is known to be in it.

    Example:
        >>> title(Kind.FALL, 1), title(Kind.FIGHT, 2), title(Kind.UNUSUAL, 0)
        ('Fall, 1 person', 'Fight, 2 people', 'Unusual movement')
    """
    if not people:
        return TITLES[kind]
    return f"{TITLES[kind]}, {people} {'person' if people == 1 else 'people'}"


def rarity_words(level: float) -> str:
    """How rare a level in 0..1 is, such as ``1 in 5,000``: one in 5,000 normal scores reaches it."""
    share = 1 - level
    if share >= 0.5:
        return "normal"
    if share < 1e-6:
        return "rarer than 1 in 1,000,000"
    times = 1 / share
    digits = 10 ** max(0, math.floor(math.log10(times)) - 1)
    return f"1 in {round(times / digits) * digits:,.0f}"


def unusual_words(level: float, parts: Mapping[str, float]) -> str:
    """The explanation of `unusual`: the level, how rare it is, and the part of the score with the highest level.

    Args:
        level: Level in 0..1.
        parts: Level of each part of the score at the same moment; empty if they are not known.

    Example:
        >>> unusual_words(0.99961, {"pose": 0.71, "motion": 0.9996})
        'level 0.99961 (1 in 2,600 moments of normal life); strongest part: motion'
    """
    share = 1 - level
    digits = 2 if share >= 0.1 else 1 - math.floor(math.log10(max(share, _NEAR)))
    rare = rarity_words(level)
    shown = f"{level:.{digits}f}" if share >= _NEAR else f"above {1 - _NEAR:.9f}"
    words = f"level {shown} ({rare if rare == 'normal' else f'{rare} moments of normal life'})"
    return f"{words}; strongest part: {max(parts, key=lambda name: parts[name])}" if parts else words
