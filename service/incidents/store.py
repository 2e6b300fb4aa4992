"""Stores incidents and events in the database; each change writes both in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, case, delete, func, literal, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from model.behaviours import Kind
from pose.live import SourceState
from pose.sight import CannotSee
from service.documents.base import EndReason, Severity
from service.documents.messages import Event, EvidenceState, IncidentInfo, Staleness, Validity
from service.documents.reviews import Verdict
from service.incidents.kinds import KIND_FIELDS, StoredKinds, stored_kinds
from service.incidents.reviews import ReviewStore, forget, unread_by
from service.incidents.rows import Telling, find_row, row_of
from service.incidents.tables import LONGEST_PROBLEM, EventRow, IncidentRow
from service.storage.database import Clock, Database, Utc, utc_now
from service.storage.evidence import EVIDENCE_KINDS, EvidenceKind

_AT_ONCE: Final = 500
"""Incidents that one statement names; databases limit the parameters of a statement."""

_UNWRITTEN: Final = "the service ended before it was written"
_GONE: Final = "its files are no longer there; most likely they were removed to make room"


class IncidentExists(RuntimeError):
    """An incident with this id has started already."""

    def __init__(self, incident_id: str) -> None:
        super().__init__(f"incident {incident_id} has started already")
        self.incident_id = incident_id


@dataclass(frozen=True, slots=True)
class IncidentCounts:
    """How many incidents the store holds."""

    total: int
    open: int
    false_alarms: int


@dataclass(frozen=True, slots=True)
class HeldPeak:
    """The highest held score of an incident, on the scale on which cameras are calibrated.

    Attributes:
        score: The highest smoothed score that was held for the minimum duration.
        scored_by: Fingerprint of the checkpoint that gave it.
    """

    score: float
    scored_by: str


@dataclass(frozen=True, slots=True)
class FalseAlarm:
    """An incident that was marked as a false alarm.

    Attributes:
        peak: Its highest held score; None if that is not known.
        scores: The highest score of each named behaviour in it.
    """

    peak: HeldPeak | None
    scores: Mapping[Kind, float]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """An incident that people confirmed, as real or as a drill.

    Attributes:
        kind: What it was.
        score: Its score as that; None if that was not seen in it.
        mistaken: What it was called wrongly, and the score of that; None if the kind was right.
    """

    kind: Kind
    score: float | None
    mistaken: tuple[Kind, float] | None


class IncidentStore:
    """Incidents and events. Every method is one transaction; a method that changes something returns the event.

    Ids of events grow in the order in which events become visible, whichever process writes them. So a reader that has
    read up to an id never misses an event with a lower id.

    Args:
        database: Where they are stored.
        clock: Gives the time at which events are stored.

    Attributes:
        reviews: What people say of incidents.
    """

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._sessions = database.sessions
        self._telling = Telling(database, clock)
        self._clock = clock
        self.reviews = ReviewStore(database, clock)

    def started(self, incident: IncidentInfo) -> Event:
        """Store an incident that opened.

        Raises:
            IncidentExists: It has started already.
        """
        values = incident.model_dump(exclude={"camera", "people", "false_alarm", "review", *KIND_FIELDS})
        row = IncidentRow(
            **values,
            camera_id=incident.camera,
            people=_json(incident.people),
            kind=incident.kind,
            kinds=stored_kinds(incident.kinds),
        )
        with self._telling.writing() as session:
            if find_row(session, incident.id) is not None:
                raise IncidentExists(incident.id)
            session.add(row)
            session.flush()
            return self._telling.event(session, "incident.started", row)

    def updated(self, incident: IncidentInfo) -> Event | None:
        """Store a change of an open incident; None if it has ended.

        Severity, kinds, peak, people and the time of the update are taken over; start, evidence and review stay.

        Raises:
            UnknownIncident: It never started, or was removed.
        """
        with self._telling.writing() as session:
            row = row_of(session, incident.id)
            if row.ended_at is not None:
                return None
            _take_over(row, incident)
            return self._telling.event(session, "incident.updated", row)

    def ended(self, incident: IncidentInfo, peak: HeldPeak | None = None) -> Event | None:
        """Store the end of an incident; None if it had ended before.

        Args:
            incident: Its last state.
            peak: Its highest held score, if that is known.

        Raises:
            UnknownIncident: It never started, or was removed.
            ValueError: `incident` has no end or no reason.
        """
        if incident.ended_at is None or incident.end_reason is None:
            raise ValueError(f"incident {incident.id} has not ended")
        with self._telling.writing() as session:
            row = row_of(session, incident.id)
            if row.ended_at is not None:
                return None
            _take_over(row, incident)
            row.ended_at, row.end_reason = max(incident.ended_at, row.updated_at), incident.end_reason
            if peak is not None:
                row.held_score, row.scored_by = peak.score, peak.scored_by
            return self._telling.event(session, "incident.ended", row)

    def evidence(
        self, incident_id: str, kind: EvidenceKind, state: EvidenceState, problem: str | None = None
    ) -> Event | None:
        """Store that evidence of an incident is ready or missing; None if that changes nothing.

        Raises:
            UnknownIncident: It never started, or was removed.
        """
        problem = problem[:LONGEST_PROBLEM] if problem else None
        with self._telling.writing() as session:
            row = row_of(session, incident_id)
            if getattr(row, kind) == state and problem in (None, row.evidence_problem):
                return None
            setattr(row, kind, state)
            row.evidence_problem = problem or row.evidence_problem
            return self._telling.event(session, "incident.evidence", row)

    def remove_pictures(self, incident_ids: Collection[str]) -> Event | None:
        """Store that pictures were removed from the evidence of incidents.

        Incidents that lost them before stay as they are, and those that are not in the store are passed over.

        Returns:
            The event of the last one; None if nothing changed.
        """
        ids, now, event = sorted(incident_ids), self._clock(), None
        with self._telling.writing() as session:
            for begin in range(0, len(ids), _AT_ONCE):
                named = IncidentRow.id.in_(ids[begin : begin + _AT_ONCE])
                for row in session.scalars(select(IncidentRow).where(named).order_by(IncidentRow.sequence)):
                    if row.pictures_removed_at is None:
                        row.pictures_removed_at = now
                        event = self._telling.event(session, "incident.evidence", row)
        return event

    def camera_state(
        self,
        camera_id: str,
        state: SourceState,
        previous: SourceState | None,
        cause: str | None = None,
        detail: str | None = None,
    ) -> Event:
        """Store a change of a camera's state."""
        payload = {"state": state, "previous": previous, "cause": cause, "detail": detail}
        return self._camera_event(camera_id, "camera.state", payload)

    def camera_calibration(self, camera_id: str, validity: Validity, stale: Collection[Staleness]) -> Event:
        """Store that the calibration of a camera became stale or current."""
        payload = {"calibration": validity, "stale": [one.model_dump() for one in stale]}
        return self._camera_event(camera_id, "camera.calibration", payload)

    def camera_sight(
        self, camera_id: str, cannot_see: CannotSee | None, previous: CannotSee | None, detail: str | None = None
    ) -> Event:
        """Store that a camera cannot see people, or sees again."""
        payload = {"cannot_see": cannot_see, "previous": previous, "detail": detail}
        return self._camera_event(camera_id, "camera.sight", payload)

    def settle_interrupted(
        self, has_evidence: Callable[[str, EvidenceKind], bool] = lambda incident_id, kind: False
    ) -> list[Event]:
        """End incidents that the last process left open, and settle evidence that is still pending.

        An incident ends at the time of its last update. Pending evidence becomes ready if it is on disk, else missing.
        Ready evidence that is no longer on disk becomes missing: retention removes files before it says so.

        Args:
            has_evidence: Whether evidence of an incident is on disk.
        """
        events = []
        with self._telling.writing() as session:
            columns = IncidentRow.sequence, IncidentRow.id, IncidentRow.ended_at, IncidentRow.snapshot, IncidentRow.clip
            for number, incident_id, ended_at, *states in session.execute(select(*columns)).all():
                found = [has_evidence(incident_id, kind) for kind in EVIDENCE_KINDS]
                settled = [_settled(state, on_disk) for state, on_disk in zip(states, found, strict=True)]
                if ended_at is not None and settled == states:
                    continue
                row = session.get_one(IncidentRow, number)
                if lost := [old for old, new in zip(states, settled, strict=True) if old != new == "missing"]:
                    row.evidence_problem = _UNWRITTEN if "pending" in lost else _GONE
                row.snapshot, row.clip = settled
                if row.ended_at is None:
                    row.ended_at, row.end_reason = row.updated_at, EndReason.INTERRUPTED
                    events.append(self._telling.event(session, "incident.ended", row))
                else:
                    events.append(self._telling.event(session, "incident.evidence", row))
        return events

    def get(self, incident_id: str) -> IncidentInfo:
        """One incident.

        Raises:
            UnknownIncident: There is none.
        """
        with self._sessions() as session:
            return row_of(session, incident_id).info()

    def page(
        self,
        *,
        limit: int,
        before: int | None = None,
        camera: str | None = None,
        severity: Severity | None = None,
        kind: Kind | None = None,
        open: bool | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        cameras: Collection[str] | None = None,
        verdict: Verdict | Literal["none"] | None = None,
        assigned_to: str | None = None,
        acknowledged: bool | None = None,
        unread: tuple[str, bool] | None = None,
    ) -> tuple[list[IncidentInfo], int | None]:
        """Incidents, newest first.

        Args:
            limit: Most incidents to return.
            before: The value returned with the page before; None for the first page.
            camera: Only incidents of this camera.
            severity: Only incidents of this severity.
            kind: Only incidents in which this kind was seen, whether it gives the title or not.
            open: Only incidents that are open, or only those that have ended; None for both.
            since: Only incidents that started at this time or later.
            until: Only incidents that started before this time.
            cameras: Only incidents of these cameras; None for all.
            verdict: Only incidents with this verdict, or with none.
            assigned_to: Only incidents that are assigned to this person.
            acknowledged: Only incidents that were acknowledged, or only the others.
            unread: Id of a key: only incidents that it has not read, or only those that it has.

        Returns:
            The incidents, and `before` for the next page; None if there are no more.
        """
        query = select(IncidentRow).order_by(IncidentRow.sequence.desc()).limit(limit + 1)
        if before is not None:
            query = query.where(IncidentRow.sequence < before)
        if camera is not None:
            query = query.where(IncidentRow.camera_id == camera)
        if cameras is not None:
            query = query.where(IncidentRow.camera_id.in_(sorted(cameras)))
        if severity is not None:
            query = query.where(IncidentRow.severity == severity)
        if kind is not None:
            seen = IncidentRow.kinds[kind.value]["explanation"].as_string().is_not(None)
            query = query.where(or_(IncidentRow.kind == kind, seen))
        if open is not None:
            query = query.where(IncidentRow.ended_at.is_(None) if open else IncidentRow.ended_at.is_not(None))
        if since is not None:
            query = query.where(IncidentRow.started_at >= since)
        if until is not None:
            query = query.where(IncidentRow.started_at < until)
        if verdict is not None:
            query = query.where(IncidentRow.verdict == (None if verdict == "none" else verdict))
        if assigned_to is not None:
            query = query.where(IncidentRow.assigned_to == assigned_to)
        if acknowledged is not None:
            query = query.where(IncidentRow.acknowledged_at.is_not(None) == acknowledged)
        if unread is not None:
            query = query.where(unread_by(unread[0]) if unread[1] else ~unread_by(unread[0]))
        with self._sessions() as session:
            rows = session.scalars(query).all()
        shown = rows[:limit]
        return [row.info() for row in shown], shown[-1].sequence if len(rows) > limit else None

    def false_alarms(self, camera_id: str, *, since: datetime, until: datetime) -> list[FalseAlarm]:
        """The incidents of a camera that were marked as false alarms, newest first.

        Args:
            camera_id: The camera.
            since: Only incidents that started at this time or later.
            until: Only incidents that ended before this time.
        """
        query = (
            select(IncidentRow.held_score, IncidentRow.scored_by, IncidentRow.kinds)
            .where(IncidentRow.camera_id == camera_id, IncidentRow.verdict == Verdict.FALSE_ALARM)
            .where(IncidentRow.started_at >= since, IncidentRow.ended_at < until)
            .order_by(IncidentRow.sequence.desc())
        )
        with self._sessions() as session:
            return [
                FalseAlarm(
                    None if score is None or scored_by is None else HeldPeak(score, scored_by),
                    {kind: float(kinds[kind]["score"]) for kind in Kind if kind in kinds and kind is not Kind.UNUSUAL},
                )
                for score, scored_by, kinds in session.execute(query)
            ]

    def confirmed(self, camera_id: str, *, since: datetime, until: datetime) -> list[Confirmed]:
        """The incidents of a camera that people confirmed, newest first.

        Unusual movement that turns out to be something with a name was unusual nevertheless, and no mistake.

        Args:
            camera_id: The camera.
            since: Only incidents that started at this time or later.
            until: Only incidents that ended before this time.
        """
        query = (
            select(IncidentRow.kind, IncidentRow.corrected_kind, IncidentRow.kinds)
            .where(IncidentRow.camera_id == camera_id, IncidentRow.verdict.in_([Verdict.REAL, Verdict.DRILL]))
            .where(IncidentRow.started_at >= since, IncidentRow.ended_at < until)
            .order_by(IncidentRow.sequence.desc())
        )
        with self._sessions() as session:
            found = session.execute(query).all()
        return [_confirmed(Kind(kind), Kind(right or kind), kinds) for kind, right, kinds in found]

    def events_after(self, last_id: int, limit: int, cameras: Collection[str] | None = None) -> list[Event]:
        """Events with a higher id than `last_id`, in order.

        Args:
            last_id: Id of the last event that is known.
            limit: Most events to return.
            cameras: Only events of these cameras; None for all.
        """
        query = select(EventRow).where(EventRow.id > last_id).order_by(EventRow.id).limit(limit)
        if cameras is not None:
            query = query.where(EventRow.camera_id.in_(sorted(cameras)))
        with self._sessions() as session:
            return [row.event() for row in session.scalars(query)]

    def newest_event_id(self) -> int | None:
        """Id of the newest event; None if there is none."""
        with self._sessions() as session:
            return session.scalar(select(func.max(EventRow.id)))

    def oldest_event_id(self) -> int | None:
        """Id of the oldest event that is still there."""
        with self._sessions() as session:
            return session.scalar(select(func.min(EventRow.id)))

    def ids(self, camera: str | None = None, *, pictures_removed: bool = False) -> set[str]:
        """Ids of incidents.

        Args:
            camera: Only those of this camera; None for all.
            pictures_removed: Only those whose pictures were removed.
        """
        query = select(IncidentRow.id)
        if camera is not None:
            query = query.where(IncidentRow.camera_id == camera)
        if pictures_removed:
            query = query.where(IncidentRow.pictures_removed_at.is_not(None))
        with self._sessions() as session:
            return set(session.scalars(query))

    def prune(self, older_than: datetime, of_camera: Mapping[str, datetime] | None = None) -> list[str]:
        """Remove incidents that ended before a time, with all their events, and camera states from before that time.

        Args:
            older_than: The time.
            of_camera: Another time for some cameras.

        Returns:
            Ids of the incidents removed; the caller removes their files.
        """

        def limit(camera_id: InstrumentedAttribute[str]) -> ColumnElement[datetime]:
            if not of_camera:
                return literal(older_than, Utc)
            own = {camera: literal(time, Utc) for camera, time in of_camera.items()}
            return case(own, value=camera_id, else_=literal(older_than, Utc))

        old = IncidentRow.ended_at < limit(IncidentRow.camera_id)
        of_cameras = EventRow.incident_id.is_(None) & (EventRow.at < limit(EventRow.camera_id))
        with self._telling.writing() as session:
            for events in (EventRow.incident_id.in_(select(IncidentRow.id).where(old)), of_cameras):
                session.execute(delete(EventRow).where(events).execution_options(synchronize_session=False))
            forget(session, old, self._clock())
            return list(session.scalars(delete(IncidentRow).where(old).returning(IncidentRow.id)))

    def count(self) -> IncidentCounts:
        """How many incidents there are."""
        with self._sessions() as session:
            total, closed, false_alarms = session.execute(
                select(
                    func.count(),
                    func.count(IncidentRow.ended_at),
                    func.count().filter(IncidentRow.verdict == Verdict.FALSE_ALARM),
                ).select_from(IncidentRow)
            ).one()
        return IncidentCounts(total, total - closed, false_alarms)

    def _camera_event(self, camera_id: str, kind: str, payload: dict[str, Any]) -> Event:
        row = EventRow(at=self._clock(), camera_id=camera_id, type=kind, payload=payload)
        with self._telling.writing() as session:
            session.add(row)
            session.flush()
            return row.event()


def _take_over(row: IncidentRow, incident: IncidentInfo) -> None:
    """Take over the changes of an incident. Stored times never run backwards, even if the clock was set back."""
    row.severity = incident.severity
    row.updated_at = max(row.updated_at, incident.updated_at)
    before = row.kinds.get(incident.kind)
    if before is None or row.kind != incident.kind or incident.kinds[0].score > before["score"]:
        row.peak_at = max(row.started_at, incident.peak_at)
    row.peak_level = max(row.peak_level, incident.peak_level)
    row.people = _json(incident.people)
    row.kind, row.kinds = incident.kind, stored_kinds(incident.kinds, row.kinds)


def _confirmed(detected: Kind, right: Kind, kinds: StoredKinds) -> Confirmed:
    def score(kind: Kind) -> float | None:
        return float(kinds[kind]["score"]) if kind in kinds else None

    wrong = score(detected)
    mistaken = right is not detected and detected is not Kind.UNUSUAL
    return Confirmed(right, score(right), (detected, wrong) if mistaken and wrong is not None else None)


def _settled(state: EvidenceState, found: bool) -> EvidenceState:
    """State of evidence after the end of the process that wrote it, by whether it is on disk."""
    if state == "off" or (found and state != "pending"):
        return state
    return "ready" if found else "missing"


def _json(people: dict[int, float]) -> dict[str, float]:
    return {str(track): level for track, level in people.items()}
