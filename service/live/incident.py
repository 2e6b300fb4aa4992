"""Incidents as the detector reports them: what was seen, and how that changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.behaviours import Kind
from service.documents.base import EndReason, Severity
from service.documents.kinds import most_severe


@dataclass(frozen=True, slots=True)
class Seen:
    """One kind within an incident. Moments are seconds on the monotonic clock.

    Attributes:
        first: When it began.
        last: Last moment that it was seen.
        people: Highest score of each track that did it; of `unusual`, the highest level of each track that reached the
            closing level.
        number: Most people at one moment. A person who gets another track number is still one.
        score: Highest score; of `unusual`, the highest level of a frame.
        peak: Moment of the highest score.
        saw: What was seen then, in words.
        facts: The same as numbers.
    """

    first: float
    last: float
    people: Mapping[int, float]
    number: int
    score: float
    peak: float
    saw: str
    facts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Incident:
    """The present state of one incident. Moments are seconds on the monotonic clock.

    Attributes:
        id: Id of the incident.
        camera_id: Id of the camera.
        severity: Highest severity so far.
        started: Moment at which the behaviour began, or from which the level stayed at or above the opening level.
        updated: Last moment at which a behaviour fired or the level was at or above the closing level.
        ended: Equal to `updated` once the incident has ended, after the quiet period; None while it is open.
        end_reason: Why it ended; None while it is open.
        peak_level: Highest level of a frame; 0 if nobody was scored.
        people: Highest level of each track that reached the closing level or did what is in `kinds`; 0 for one that
            was not scored.
        suppressed: Incidents suppressed by the cooldown between the incident before and this one.
        kinds: Every kind that was seen; at least one.
    """

    id: str
    camera_id: str
    severity: Severity
    started: float
    updated: float
    ended: float | None
    end_reason: EndReason | None
    peak_level: float
    people: Mapping[int, float]
    suppressed: int
    kinds: Mapping[Kind, Seen]

    @property
    def kind(self) -> Kind:
        """The most severe kind; it gives the title."""
        return most_severe(self.kinds)

    @property
    def peak(self) -> float:
        """Moment of the highest score of the most severe kind."""
        return self.kinds[self.kind].peak


@dataclass(frozen=True, slots=True)
class Started:
    """An incident opened."""

    incident: Incident


@dataclass(frozen=True, slots=True)
class Updated:
    """An open incident became more severe, changed its kind or peak, involves other people, or continues."""

    incident: Incident


@dataclass(frozen=True, slots=True)
class Ended:
    """An incident ended."""

    incident: Incident


Change = Started | Updated | Ended
