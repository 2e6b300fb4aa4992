"""The tables of incidents and of events."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, Double, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from model.behaviours import Kind
from service.documents.messages import Event, EvidenceState, IncidentInfo, event_adapter
from service.documents.reviews import LONGEST_NAME, LONGEST_NOTE, Review, ReviewRecord, ReviewState, Verdict
from service.incidents.kinds import KIND_FIELDS, kind_fields
from service.storage.database import Base, Counter, Utc

LONGEST_PROBLEM: Final = 1000
"""Most characters of a problem with evidence."""


class IncidentRow(Base):
    """Table of incidents; see `IncidentInfo` and `HeldPeak` for the columns.

    `kinds` maps each kind that was seen to the other fields of its `KindSeen`. It is empty for incidents from before
    there were kinds. Title and explanation follow from it.
    """

    __tablename__ = "incidents"
    __table_args__ = (Index("ix_incidents_camera_id_sequence", "camera_id", "sequence"),)

    sequence: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    camera_id: Mapped[str] = mapped_column(String(64))
    severity: Mapped[str] = mapped_column(String(16))
    started_at: Mapped[datetime] = mapped_column(Utc, index=True)
    updated_at: Mapped[datetime] = mapped_column(Utc)
    ended_at: Mapped[datetime | None] = mapped_column(Utc, index=True)
    end_reason: Mapped[str | None] = mapped_column(String(32))
    peak_level: Mapped[float] = mapped_column(Double)
    peak_at: Mapped[datetime] = mapped_column(Utc)
    people: Mapped[dict[str, float]] = mapped_column(JSON)
    kind: Mapped[str] = mapped_column(String(16), server_default=Kind.UNUSUAL)
    kinds: Mapped[dict[str, dict[str, Any]]] = mapped_column(JSON, server_default="{}")
    suppressed: Mapped[int]
    snapshot: Mapped[EvidenceState] = mapped_column(String(16))
    clip: Mapped[EvidenceState] = mapped_column(String(16))
    evidence_problem: Mapped[str | None] = mapped_column(String(LONGEST_PROBLEM))
    pictures_removed_at: Mapped[datetime | None] = mapped_column(Utc)
    acknowledged_at: Mapped[datetime | None] = mapped_column(Utc)
    acknowledged_by: Mapped[str | None] = mapped_column(String(LONGEST_NAME))
    verdict: Mapped[str | None] = mapped_column(String(16))
    corrected_kind: Mapped[str | None] = mapped_column(String(16))
    assigned_to: Mapped[str | None] = mapped_column(String(LONGEST_NAME))
    note: Mapped[str] = mapped_column(String(LONGEST_NOTE), default="", server_default="")
    reviewed_by: Mapped[str | None] = mapped_column(String(LONGEST_NAME))
    reviewed_at: Mapped[datetime | None] = mapped_column(Utc)
    revision: Mapped[int] = mapped_column(default=0, server_default="0")
    held_score: Mapped[float | None] = mapped_column(Double)
    scored_by: Mapped[str | None] = mapped_column(String(64))

    @property
    def false_alarm(self) -> bool:
        """Whether somebody said that nothing was wrong."""
        return self.verdict == Verdict.FALSE_ALARM

    @property
    def review(self) -> Review:
        """What people have said of it."""
        return Review(
            verdict=None if self.verdict is None else Verdict(self.verdict),
            kind=None if self.corrected_kind is None else Kind(self.corrected_kind),
            assigned_to=self.assigned_to,
            note=self.note,
            by=self.reviewed_by,
            at=self.reviewed_at,
            revision=self.revision,
        )

    def review_state(self) -> ReviewState:
        """The same, with the acknowledgement and without who said it last."""
        said = self.review.model_dump(exclude={"by", "at", "revision"})
        return ReviewState(**said, acknowledged_at=self.acknowledged_at, acknowledged_by=self.acknowledged_by)

    def take_review(self, state: ReviewState, by: str, at: datetime) -> None:
        """Let people have said something else.

        Args:
            state: What they say.
            by: Who said it.
            at: When.
        """
        self.verdict, self.corrected_kind = state.verdict, state.kind
        self.assigned_to, self.note = state.assigned_to, state.note
        self.acknowledged_at, self.acknowledged_by = state.acknowledged_at, state.acknowledged_by
        self.reviewed_by, self.reviewed_at, self.revision = by, at, self.revision + 1

    def info(self) -> IncidentInfo:
        """A copy that outlives the session."""
        names = IncidentInfo.model_fields.keys() - {"camera", *KIND_FIELDS}
        known = {name: getattr(self, name) for name in names} | {"camera": self.camera_id}
        # An incident from before there were kinds has none here, and is read as `unusual`.
        return IncidentInfo.model_validate(known | (kind_fields(self.kinds) if self.kinds else {}))


class ReviewRow(Base):
    """Table of the changes of reviews; see `ReviewRecord` for the columns."""

    __tablename__ = "incident_reviews"

    incident_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(Utc)
    by: Mapped[str] = mapped_column(String(LONGEST_NAME))
    key_id: Mapped[str | None] = mapped_column(String(12))
    undoes: Mapped[int | None]
    before: Mapped[dict[str, Any]] = mapped_column(JSON)
    after: Mapped[dict[str, Any]] = mapped_column(JSON)

    def record(self) -> ReviewRecord:
        """A copy that outlives the session."""
        return ReviewRecord.model_validate({name: getattr(self, name) for name in ReviewRecord.model_fields})


class ReadRow(Base):
    """Table of who has read which incident; the key has no id if the service requires none."""

    __tablename__ = "incident_reads"

    incident_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(12), primary_key=True, index=True)


class EventRow(Base):
    """Table of events; `payload` holds the fields of the message that have no column."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_camera_id_id", "camera_id", "id"),)

    id: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(Utc, index=True)
    camera_id: Mapped[str] = mapped_column(String(64))
    incident_id: Mapped[str | None] = mapped_column(String(32), index=True)
    type: Mapped[str] = mapped_column(String(32))
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)

    def event(self) -> Event:
        """The event as a message."""
        head = {"id": self.id, "at": self.at, "camera": self.camera_id, "type": self.type}
        return event_adapter.validate_python(self.payload | head)
