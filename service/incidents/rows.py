"""Transactions that change incidents and tell of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.documents.messages import Event
from service.incidents.tables import EventRow, IncidentRow
from service.storage.database import Clock, Database, Turn, take_turn


class UnknownIncident(LookupError):
    """There is no incident with this id."""

    def __init__(self, incident_id: str) -> None:
        super().__init__(f"there is no incident {incident_id}")
        self.incident_id = incident_id


class Telling:
    """Stores events in the transaction of the change that they tell of.

    Args:
        database: Where they are stored.
        clock: Gives the time at which events are stored.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._sessions = database.sessions
        self._clock = clock

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that stores events; no other one takes an id until it has ended."""
        with self._sessions.begin() as session:
            take_turn(session, Turn.TELL)
            yield session

    def event(self, session: Session, kind: str, incident: IncidentRow) -> Event:
        """Store the event that tells of the present state of an incident."""
        row = EventRow(
            at=self._clock(),
            camera_id=incident.camera_id,
            incident_id=incident.id,
            type=kind,
            payload={"incident": incident.info().model_dump(mode="json")},
        )
        session.add(row)
        session.flush()
        return row.event()


def find_row(session: Session, incident_id: str) -> IncidentRow | None:
    """The row of an incident; None if there is none."""
    return session.scalars(select(IncidentRow).where(IncidentRow.id == incident_id)).one_or_none()


def row_of(session: Session, incident_id: str) -> IncidentRow:
    """The row of an incident.

    Raises:
        UnknownIncident: There is none.
    """
    row = find_row(session, incident_id)
    if row is None:
        raise UnknownIncident(incident_id)
    return row
