"""The kinds of incidents in words, and how urgent each is."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from model.behaviours import Kind
from service.documents.base import Severity

TITLES: Final[dict[Kind, str]] = {
    Kind.FALL: "Fall",
    Kind.FIGHT: "Fight",
    Kind.LYING: "Person lying",
    Kind.RUNNING: "Running",
    Kind.UNUSUAL: "Unusual movement",
}
"""What each kind is called where people read it."""

SEVERITIES: Final[dict[Kind, Severity]] = {
    Kind.FALL: Severity.ALERT,
    Kind.FIGHT: Severity.ALERT,
    Kind.LYING: Severity.ALERT,
    Kind.RUNNING: Severity.WARNING,
}
"""How urgent each named behaviour is, unless the camera says otherwise. `unusual` is a warning, and an alert from the
alert level on."""


def most_severe(kinds: Collection[Kind]) -> Kind:
    """The kind that gives an incident its name: the first in the order of `Kind`.

    Raises:
        ValueError: There is none.

    Example:
        >>> most_severe([Kind.UNUSUAL, Kind.FIGHT])
        <Kind.FIGHT: 'fight'>
    """
    return min(kinds, key=list(Kind).index)


def title(kind: Kind, people: int) -> str:
    """The title of an incident or anomaly.

    Example:
        >>> title(Kind.FALL, 1), title(Kind.FIGHT, 2)
        ('Fall, 1 person', 'Fight, 2 people')
    """
    return f"{TITLES[kind]}, {people} {'person' if people == 1 else 'people'}"
