"""The tables of incidents and of events."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, Double, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from model.behaviours import Kind
from service.documents.messages import Event, EvidenceState, IncidentInfo, event_adapter
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
    false_alarm: Mapped[bool] = mapped_column(default=False)
    held_score: Mapped[float | None] = mapped_column(Double)
    scored_by: Mapped[str | None] = mapped_column(String(64))

    def info(self) -> IncidentInfo:
        """A copy that outlives the session."""
        names = IncidentInfo.model_fields.keys() - {"camera", *KIND_FIELDS}
        known = {name: getattr(self, name) for name in names} | {"camera": self.camera_id}
        # An incident from before there were kinds has none here, and is read as `unusual`.
        return IncidentInfo.model_validate(known | (kind_fields(self.kinds) if self.kinds else {}))


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
