"""What people say of incidents, in the database: verdicts, notes, assignments, each change of them, and who read what.

A change names the revision that its author saw. If somebody else has changed the review since, nothing is overwritten:
the change is refused, and the refusal says who changed what and when.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, exists, func, insert, literal, select
from sqlalchemy.orm import Session

from service.access.keys import KeyRow
from service.access.policy import EVERYBODY, Principal
from service.documents.kinds import TITLES
from service.documents.messages import Event, IncidentInfo
from service.documents.reviews import VERDICTS, ReviewChange, ReviewRecord, ReviewState
from service.incidents.rows import Telling, UnknownIncident, row_of
from service.incidents.tables import IncidentRow, ReadRow, ReviewRow
from service.storage.database import Clock, Database, Turn, Utc, take_turn

CHANGES_KEPT: Final = 200
"""Changes of one review that are kept; the oldest go first."""

_FIELDS: Final = ("verdict", "kind", "assigned_to", "note", "acknowledged_at")


class ReviewConflict(RuntimeError):
    """Somebody else has changed the review since its client saw it; the message says who changed what and when.

    Attributes:
        incident: Its present state.
    """

    def __init__(self, incident: IncidentInfo, message: str) -> None:
        super().__init__(message)
        self.incident = incident


@dataclass(frozen=True, slots=True)
class Seen:
    """An incident as a client saw it.

    Attributes:
        id: The incident.
        revision: Revision of its review; None to change it whatever it is.
    """

    id: str
    revision: int | None = None


Outcome = IncidentInfo | ReviewConflict | UnknownIncident
"""What became of one incident of several: its new state, or why it did not change."""


class ReviewStore:
    """Reviews of incidents. A method that changes something is one transaction and returns its last event.

    Args:
        database: Where they are stored.
        clock: Gives the time of a change.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._sessions = database.sessions
        self._telling = Telling(database, clock)
        self._clock = clock

    def change(self, seen: Seen, change: ReviewChange, by: Principal = EVERYBODY) -> Event | None:
        """Change the review of an incident; None if that changes nothing.

        What is said already is no conflict, whoever said it.

        Args:
            seen: The incident.
            change: The fields that change.
            by: Who changes it.

        Raises:
            UnknownIncident: There is none.
            ReviewConflict: Somebody else has changed it since.
        """
        with self._telling.writing() as session:
            return self._change(session, seen, change, by)

    def undo(self, seen: Seen, by: Principal = EVERYBODY) -> Event:
        """Take back the newest change of a review, which is a change as well.

        Args:
            seen: The incident, with the revision that is taken back.
            by: Who takes it back.

        Raises:
            UnknownIncident: There is none.
            ReviewConflict: It is not the newest change, or there is none.
        """
        with self._telling.writing() as session:
            return self._undo(session, seen, by)

    def change_all(
        self, wanted: Sequence[Seen], change: ReviewChange | None, by: Principal, outcomes: list[Outcome]
    ) -> Event | None:
        """Change the reviews of several incidents, or take back their newest changes.

        A conflict and an unknown id cost only themselves.

        Args:
            wanted: The incidents.
            change: The fields that change; None to take the newest change of each back.
            by: Who does it; incidents that are hidden from them look unknown.
            outcomes: Gets what became of each, in the order of `wanted`.
        """
        event: Event | None = None
        outcomes.clear()
        with self._telling.writing() as session:
            for seen in wanted:
                try:
                    row = row_of(session, seen.id)
                    if not by.sees(row.camera_id):
                        raise UnknownIncident(seen.id)
                    told = self._undo(session, seen, by) if change is None else self._change(session, seen, change, by)
                    event = told or event
                    outcomes.append(row.info())
                except (ReviewConflict, UnknownIncident) as error:
                    outcomes.append(error)
        return event

    def history(self, incident_id: str) -> list[ReviewRecord]:
        """The changes of a review that are kept, newest first.

        Raises:
            UnknownIncident: There is no such incident.
        """
        with self._sessions() as session:
            row_of(session, incident_id)
            query = select(ReviewRow).where(ReviewRow.incident_id == incident_id).order_by(ReviewRow.revision.desc())
            return [row.record() for row in session.scalars(query)]

    def read(self, ids: Collection[str] | None, by: Principal, read: bool = True) -> None:
        """Remember that somebody has read incidents, or has not.

        Args:
            ids: The incidents, of which those that are unknown or hidden from them are passed over; None for all.
            by: Who.
            read: Whether they have read them.
        """
        wanted = _of_cameras(by)
        if ids is not None:
            wanted.append(IncidentRow.id.in_(sorted(ids)))
        with self._sessions.begin() as session:
            # An incident that is removed meanwhile must not leave a row behind.
            take_turn(session, Turn.TELL)
            if read:
                new = select(IncidentRow.id, literal(by.key_id)).where(*wanted, _unread(by.key_id))
                session.execute(insert(ReadRow).from_select(["incident_id", "key_id"], new))
            else:
                named = ReadRow.incident_id.in_(select(IncidentRow.id).where(*wanted))
                query = delete(ReadRow).where(named, ReadRow.key_id == by.key_id)
                session.execute(query.execution_options(synchronize_session=False))

    def unread(self, by: Principal) -> int:
        """How many incidents somebody has not read."""
        query = select(func.count()).select_from(IncidentRow).where(*_of_cameras(by), unread_by(by.key_id))
        with self._sessions() as session:
            return session.scalar(query) or 0

    def unread_among(self, ids: Collection[str], by: Principal) -> set[str]:
        """Those of some incidents that somebody has not read."""
        query = select(IncidentRow.id).where(IncidentRow.id.in_(sorted(ids)), unread_by(by.key_id))
        with self._sessions() as session:
            return set(session.scalars(query))

    def _change(self, session: Session, seen: Seen, change: ReviewChange, by: Principal) -> Event | None:
        row, now = row_of(session, seen.id), self._clock()
        before = row.review_state()
        sent = change.sent
        acknowledged = sent.pop("acknowledged", None)
        after = before.model_copy(update=sent)
        if acknowledged is not None and acknowledged != (before.acknowledged_at is not None):
            who = {"acknowledged_at": now, "acknowledged_by": by.name} if acknowledged else {}
            after = after.model_copy(update={"acknowledged_at": None, "acknowledged_by": None} | who)
        if after == before:
            return None
        if seen.revision is not None and seen.revision != row.revision:
            raise self._conflict(session, row, seen.revision)
        return self._note(session, row, before, after, by, now)

    def _undo(self, session: Session, seen: Seen, by: Principal) -> Event:
        row = row_of(session, seen.id)
        if seen.revision is not None and seen.revision != row.revision:
            raise self._conflict(session, row, seen.revision)
        newest = _recorded(session, row.id, row.revision)
        if newest is None:
            raise ReviewConflict(row.info(), f"there is no change of incident {row.id} to take back")
        record = newest.record()
        return self._note(session, row, record.after, record.before, by, self._clock(), row.revision)

    def _note(
        self,
        session: Session,
        row: IncidentRow,
        before: ReviewState,
        after: ReviewState,
        by: Principal,
        now: datetime,
        undoes: int | None = None,
    ) -> Event:
        """Store a change, the event that tells of it, and that its author has read the incident."""
        row.take_review(after, by.name, now)
        session.add(
            ReviewRow(
                incident_id=row.id,
                revision=row.revision,
                at=now,
                by=by.name,
                key_id=by.key_id or None,
                undoes=undoes,
                before=before.model_dump(mode="json"),
                after=after.model_dump(mode="json"),
            )
        )
        old = (ReviewRow.incident_id == row.id) & (ReviewRow.revision <= row.revision - CHANGES_KEPT)
        session.execute(delete(ReviewRow).where(old).execution_options(synchronize_session=False))
        if session.get(ReadRow, (row.id, by.key_id)) is None:
            session.add(ReadRow(incident_id=row.id, key_id=by.key_id))
        return self._telling.event(session, "incident.reviewed", row)

    def _conflict(self, session: Session, row: IncidentRow, revision: int) -> ReviewConflict:
        """The refusal of a change against an older revision."""
        info, newest = row.info(), _recorded(session, row.id, row.revision)
        if newest is None or revision > row.revision:
            words = f"the review of incident {row.id} has revision {row.revision}, not {revision}"
            return ReviewConflict(info, f"{words}; look at it and try again")
        oldest = _recorded(session, row.id, revision + 1) or newest
        first, last = oldest.record(), newest.record()
        said = changed_words(first.before, last.after) or "changed it and took that back"
        who = last.by if first.by == last.by else f"{first.by} and {last.by}"
        when = f"{last.at:%Y-%m-%d %H:%M} UTC"
        return ReviewConflict(info, f"{who} {said} at {when}, after what you saw; look at it and try again")


def changed_words(before: ReviewState, after: ReviewState) -> str:
    """What a change of a review did, in words that follow a name; empty if nothing.

    Example:
        >>> changed_words(ReviewState(), ReviewState(verdict="drill", assigned_to="Ben"))
        'gave the verdict drill and assigned it to Ben'
    """
    said = [_WORDS[name](after) for name in _FIELDS if getattr(before, name) != getattr(after, name)]
    return ", ".join(said[:-1]) + (" and " if said[1:] else "") + said[-1] if said else ""


def unread_by(key_id: str) -> ColumnElement[bool]:
    """Whether an incident is unread by a key; incidents from before the key was made count as read."""
    unread = _unread(key_id)
    if key_id:
        unread &= IncidentRow.started_at >= select(KeyRow.created_at).where(KeyRow.id == key_id).scalar_subquery()
    return unread


def forget(session: Session, incidents: ColumnElement[bool], now: datetime) -> None:
    """Remove all that is said of incidents that are about to be removed, and what keys that are gone have read.

    Args:
        session: The transaction that removes them.
        incidents: Which incidents.
        now: The time.
    """
    removed = select(IncidentRow.id).where(incidents)
    gone = select(KeyRow.id).where(KeyRow.revoked_at.is_not(None) | (KeyRow.expires_at <= literal(now, Utc)))
    for wanted in (
        delete(ReviewRow).where(ReviewRow.incident_id.in_(removed)),
        delete(ReadRow).where(ReadRow.incident_id.in_(removed)),
        delete(ReadRow).where(ReadRow.key_id.in_(gone)),
    ):
        session.execute(wanted.execution_options(synchronize_session=False))


def _unread(key_id: str) -> ColumnElement[bool]:
    return ~exists().where(ReadRow.incident_id == IncidentRow.id, ReadRow.key_id == key_id)


def _of_cameras(by: Principal) -> list[ColumnElement[bool]]:
    return [] if by.cameras is None else [IncidentRow.camera_id.in_(sorted(by.cameras))]


def _recorded(session: Session, incident_id: str, revision: int) -> ReviewRow | None:
    query = select(ReviewRow).where(ReviewRow.incident_id == incident_id, ReviewRow.revision == revision)
    return session.scalars(query).one_or_none()


def _verdict(state: ReviewState) -> str:
    return "took the verdict back" if state.verdict is None else f"gave the verdict {VERDICTS[state.verdict]}"


def _kind(state: ReviewState) -> str:
    return "left the kind as detected" if state.kind is None else f"corrected the kind to {TITLES[state.kind].lower()}"


def _assigned(state: ReviewState) -> str:
    return "assigned it to nobody" if state.assigned_to is None else f"assigned it to {state.assigned_to}"


_WORDS: Final[dict[str, Any]] = {
    "verdict": _verdict,
    "kind": _kind,
    "assigned_to": _assigned,
    "note": lambda state: "changed the note" if state.note else "removed the note",
    "acknowledged_at": lambda state: "acknowledged it" if state.acknowledged_at else "took the acknowledgement back",
}
