"""Writes incidents and camera states to the database, and publishes each change after its commit."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import structlog
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from model.behaviours import Kind
from pose.live import StateChange
from pose.sight import SightChange
from service.access.policy import EVERYBODY, Principal
from service.addresses.redaction import redact
from service.documents.kinds import shown_score
from service.documents.messages import (
    Event,
    EvidenceState,
    IncidentInfo,
    KindSeen,
    Staleness,
    Validity,
)
from service.documents.reviews import ReviewChange, Verdict
from service.incidents.feed import EventFeed
from service.incidents.journal import tell
from service.incidents.reviews import Outcome, Seen
from service.incidents.store import HeldPeak, IncidentExists, IncidentStore
from service.live.clock import SteadyClock
from service.live.incident import Change, Ended, Incident, Started, Updated
from service.storage.database import reason
from service.storage.evidence import EvidenceKind

_STATES_KEPT: Final = 64
"""Most changes of one camera's state, or of its sight, that wait for the database; a further replaces the newest."""

_PAGE: Final = 256
"""Events that are read from the store at once."""

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
_GRACE_S: Final = 1.0
"""After the deadline of `stop`, how long the writer may take to notice it."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Noted:
    """A change of an incident; an update is replaced by a newer one while it waits."""

    kind: type[Change]
    incident: IncidentInfo
    peak: HeldPeak | None


@dataclass(slots=True)
class _State:
    """A change of a camera's state, or of what it can see."""

    change: StateChange | SightChange

    @property
    def key(self) -> tuple[type, str]:
        """What changed, and of which camera."""
        return type(self.change), self.change.camera_id


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Evidence of an incident is ready or missing."""

    incident_id: str
    kind: EvidenceKind
    state: EvidenceState
    problem: str | None


@dataclass(frozen=True, slots=True)
class _PicturesRemoved:
    """The pictures of an incident were removed."""

    incident_id: str


@dataclass(frozen=True, slots=True)
class _Calibration:
    """The calibration of a camera became stale or current."""

    camera_id: str
    validity: Validity
    stale: tuple[Staleness, ...]


_Entry = _Noted | _State | _Evidence | _PicturesRemoved | _Calibration


class IncidentLog:
    """Writes changes of incidents and cameras to the store, and then publishes them.

    One thread writes, so events are published in the order of their ids; reviews by operators take part in that order.
    Recording a change never blocks. If the database is unavailable, changes wait here and are tried again. Only the
    newest update of each incident waits, which bounds the memory.

    Args:
        store: Where incidents and events are kept; other processes may write to it as well.
        feed: Where events are published.
        clock: Turns moments into times of day.
    """

    def __init__(self, store: IncidentStore, feed: EventFeed, clock: SteadyClock) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock
        self._changed = threading.Condition()
        self._entries: deque[_Entry] = deque()
        self._updates: dict[str, _Noted] = {}
        self._states: dict[tuple[type, str], deque[_State]] = {}
        self._taken = 0
        self._writing = threading.Lock()
        self._unpublished = False
        self._problem: str | None = None
        self._stopping = False
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._work, name="incident-log", daemon=True)

    @property
    def problem(self) -> str | None:
        """Why nothing can be written at the moment; None if writing works."""
        return self._problem

    @property
    def waiting(self) -> int:
        """Number of changes that are not stored yet."""
        with self._changed:
            return len(self._entries) + self._taken

    def settle(
        self, has_evidence: Callable[[str, EvidenceKind], bool] = lambda incident_id, kind: False
    ) -> list[Event]:
        """End the incidents that the last process left open; call it before the first camera starts.

        Args:
            has_evidence: Whether evidence of an incident is on disk.

        Returns:
            The events of that.

        Raises:
            SQLAlchemyError: The database cannot be used.
        """
        with self._writing:
            events = self._store.settle_interrupted(has_evidence)
            self._catch_up()
        return events

    def start(self) -> None:
        """Start the writer."""
        self._thread.start()

    def stop(self, deadline_s: float = 5.0) -> None:
        """Write the waiting changes and stop the writer; those that cannot be written in time are logged.

        Args:
            deadline_s: Seconds after which the writer gives up.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(deadline_s)
            self._given_up.set()
            self._thread.join(_GRACE_S)
        with self._changed:
            for entry in self._entries:
                log.error("a change was not stored before the end", change=repr(entry))

    def record(self, change: Change, *, evidence: EvidenceState = "pending", peak: HeldPeak | None = None) -> None:
        """Record that an incident started, changed or ended; never blocks.

        Args:
            change: The change.
            evidence: State of its snapshot and clip.
            peak: Its highest held score, if it ended and the score is known.
        """
        noted = _Noted(type(change), self._info(change.incident, evidence), peak)
        with self._changed:
            if isinstance(change, Updated):
                waiting = self._updates.get(noted.incident.id)
                if waiting is not None:
                    waiting.incident = noted.incident
                    return
                self._updates[noted.incident.id] = noted
            self._put(noted)

    def camera_state(self, change: StateChange | SightChange) -> None:
        """Record that a camera changed its state, or what it can see; never blocks."""
        with self._changed:
            state = _State(change)
            states = self._states.setdefault(state.key, deque())
            if len(states) >= _STATES_KEPT:
                # Both are changes of the same kind, as the key says.
                before: Any = states[-1].change.previous
                states[-1].change = replace(change, previous=before)
                return
            states.append(state)
            self._put(state)

    def camera_calibration(self, camera_id: str, validity: Validity, stale: tuple[Staleness, ...]) -> None:
        """Record that the calibration of a camera became stale or current; never blocks."""
        with self._changed:
            self._put(_Calibration(camera_id, validity, stale))

    def evidence(self, incident_id: str, kind: EvidenceKind, state: EvidenceState, problem: str | None = None) -> None:
        """Record that evidence of an incident is ready or missing; never blocks."""
        with self._changed:
            self._put(_Evidence(incident_id, kind, state, redact(problem) if problem else None))

    def remove_pictures(self, incident_ids: Collection[str]) -> None:
        """Record that pictures were removed from the evidence of incidents; a second time changes nothing.

        Raises:
            SQLAlchemyError: The database cannot be used.
        """
        self._commit(lambda: self._store.remove_pictures(incident_ids))

    def pictures_removed(self, incident_id: str) -> None:
        """Record the same of an incident whose start may still wait for the database; never blocks."""
        with self._changed:
            self._put(_PicturesRemoved(incident_id))

    def acknowledge(self, incident_id: str, by: Principal = EVERYBODY) -> IncidentInfo:
        """Record that somebody acknowledged an incident; a second time changes nothing.

        Raises:
            UnknownIncident: There is none.
            SQLAlchemyError: The database cannot be used.
        """
        return self.review(Seen(incident_id), ReviewChange(acknowledged=True), by)

    def mark_false_alarm(self, incident_id: str, false_alarm: bool, by: Principal = EVERYBODY) -> IncidentInfo:
        """Record whether an incident is a false alarm; the same again changes nothing.

        Raises:
            UnknownIncident: There is none.
            SQLAlchemyError: The database cannot be used.
        """
        verdict = Verdict.FALSE_ALARM if false_alarm else None
        if not false_alarm and not self._store.get(incident_id).false_alarm:
            return self._store.get(incident_id)
        return self.review(Seen(incident_id), ReviewChange(verdict=verdict), by)

    def review(self, seen: Seen, change: ReviewChange | None, by: Principal) -> IncidentInfo:
        """Record what somebody says of an incident, or take the newest change of that back; see `ReviewStore`.

        Args:
            seen: The incident, as they saw it.
            change: What they say; None to take back the newest change.
            by: Who.

        Raises:
            UnknownIncident: There is none.
            ReviewConflict: Somebody else has changed it since.
            SQLAlchemyError: The database cannot be used.
        """
        reviews = self._store.reviews
        self._commit(lambda: reviews.undo(seen, by) if change is None else reviews.change(seen, change, by))
        return self._store.get(seen.id)

    def review_all(self, wanted: Sequence[Seen], change: ReviewChange | None, by: Principal) -> list[Outcome]:
        """Record the same of several incidents.

        Returns:
            What became of each, in their order.

        Raises:
            SQLAlchemyError: The database cannot be used.
        """
        outcomes: list[Outcome] = []
        self._commit(lambda: self._store.reviews.change_all(wanted, change, by, outcomes))
        return outcomes

    def receive(self, event: Event) -> None:
        """Publish an event that another process has written, unless it was published already."""
        with self._writing:
            if event.id == self._feed.newest_id + 1:
                self._feed.publish(event, ours=False)
            elif event.id > self._feed.newest_id:
                self._publish_rest(ours=False)

    def look(self) -> None:
        """Publish the events that other processes have written since the last one."""
        with self._writing:
            self._publish_rest(ours=False)

    def _info(self, incident: Incident, evidence: EvidenceState) -> IncidentInfo:
        # The clock may follow a correction between these calls; the order of the moments is kept.
        started = self._clock.utc(incident.started)
        peak = max(started, self._clock.utc(incident.peak))
        updated = max(peak, self._clock.utc(incident.updated))

        def within(moment: float) -> datetime:
            return min(max(started, self._clock.utc(moment)), updated)

        kinds = [
            KindSeen(
                kind=kind,
                first_at=within(seen.first),
                last_at=within(seen.last),
                people=sorted(seen.people),
                number=seen.number,
                score=seen.score if kind is Kind.UNUSUAL else shown_score(seen.score),
                explanation=seen.saw,
                facts=dict(seen.facts),
            )
            for kind, seen in sorted(incident.kinds.items(), key=lambda item: item[0].rank)
        ]
        return IncidentInfo(
            id=incident.id,
            camera=incident.camera_id,
            kind=kinds[0].kind,
            title=kinds[0].title,
            explanation=kinds[0].explanation,
            kinds=kinds,
            severity=incident.severity,
            started_at=started,
            updated_at=updated,
            ended_at=None if incident.ended is None else updated,
            end_reason=incident.end_reason,
            peak_level=incident.peak_level,
            peak_at=peak,
            people=dict(incident.people),
            suppressed=incident.suppressed,
            snapshot=evidence,
            clip=evidence,
            evidence_problem=None,
            acknowledged_at=None,
            false_alarm=False,
        )

    def _put(self, entry: _Entry) -> None:
        self._entries.append(entry)
        self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._entries or self._stopping, _LONGEST_PAUSE_S)
                if self._given_up.is_set() or (self._stopping and not self._entries):
                    return
                entry = self._take() if self._entries else None
            if entry is not None:
                self._persist(entry)
                with self._changed:
                    self._taken = 0
            elif self._unpublished:
                with self._writing:
                    self._publish_rest()

    def _take(self) -> _Entry:
        """Take the next entry; from now on no newer one replaces it."""
        entry, self._taken = self._entries.popleft(), 1
        match entry:
            case _Noted(kind, incident, _) if kind is Updated:
                del self._updates[incident.id]
            case _State():
                states = self._states[entry.key]
                states.popleft()
                if not states:
                    del self._states[entry.key]
        return entry

    def _persist(self, entry: _Entry) -> None:
        """Write an entry, and try again until it works or the writer is stopped."""
        pause, since = _FIRST_PAUSE_S, time.monotonic()
        again = False
        while True:
            try:
                self._commit(lambda: self._write(entry), again=again)
            except SQLAlchemyError as error:
                if _is_entry_wrong(error):
                    log.exception("a change can never be stored", change=repr(entry))
                    return
                self._problem = f"incidents cannot be stored for {time.monotonic() - since:.0f} s: {reason(error)}"
                log.warning("a change cannot be stored; trying again", error=reason(error), waiting=self.waiting)
            except Exception:
                log.exception("a change can never be stored", change=repr(entry))
                return
            else:
                self._problem = None
                return
            if self._given_up.wait(pause):
                with self._changed:
                    self._entries.appendleft(entry)
                return
            again, pause = True, min(2 * pause, _LONGEST_PAUSE_S)

    def _write(self, entry: _Entry) -> Event | None:
        match entry:
            case _Noted(kind, incident, peak):
                if kind is Started:
                    return self._store.started(incident)
                return self._store.ended(incident, peak) if kind is Ended else self._store.updated(incident)
            case _State(change):
                if isinstance(change, SightChange):
                    words = None if change.cannot_see is None else change.cannot_see.words
                    return self._store.camera_sight(change.camera_id, change.cannot_see, change.previous, words)
                detail = redact(change.detail) if change.detail else None
                return self._store.camera_state(change.camera_id, change.state, change.previous, change.cause, detail)
            case _Calibration(camera_id, validity, stale):
                return self._store.camera_calibration(camera_id, validity, stale)
            case _Evidence(incident_id, kind, state, problem):
                return self._store.evidence(incident_id, kind, state, problem)
            case _PicturesRemoved(incident_id):
                return self._store.remove_pictures([incident_id])

    def _commit(self, write: Callable[[], Event | None], *, again: bool = False) -> None:
        """Write and then publish, under the lock for both.

        Args:
            write: One transaction.
            again: Whether it failed before. It may nevertheless have been committed then.
        """
        with self._writing:
            try:
                event = write()
            except IncidentExists:
                if not again:
                    raise
                event = None
            except SQLAlchemyError:
                # The event may have been committed nevertheless.
                self._unpublished = True
                raise
            if event is None or event.id != self._feed.newest_id + 1:
                self._publish_rest()
            else:
                self._publish(event)

    def _publish_rest(self, *, ours: bool = True) -> None:
        """Publish the stored events that were not published yet; if that fails, it is tried again later.

        Args:
            ours: Whether this process wrote some of them.
        """
        self._unpublished = ours or self._unpublished
        try:
            self._catch_up(ours=self._unpublished)
        except SQLAlchemyError as error:
            log.warning("events cannot be read; publishing them later", error=reason(error))
        except Exception:
            # The events are stored and can be published later; the writer must go on.
            log.exception("events cannot be published; trying again later")

    def _catch_up(self, *, ours: bool = True) -> None:
        while events := self._store.events_after(self._feed.newest_id, _PAGE):
            for event in events:
                self._publish(event, ours=ours)
        self._unpublished = False

    def _publish(self, event: Event, *, ours: bool = True) -> None:
        self._feed.publish(event, ours=ours)
        if ours:
            tell(event)


def _is_entry_wrong(error: SQLAlchemyError) -> bool:
    """Whether writing failed because of the entry itself, so that it would fail again."""
    if isinstance(error, DBAPIError):
        return isinstance(error, IntegrityError | DataError)
    return isinstance(error, StatementError)
