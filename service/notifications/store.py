"""Stores the last event that each sink has sent, and the events that the webhook has not accepted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import JSON, Index, String, delete, func, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from service.documents.messages import Event, event_adapter, notifies
from service.incidents.tables import EventRow
from service.storage.database import Base, Clock, Counter, Database, Utc, utc_now

_PROBLEM: Final = 1000
_PAGE: Final = 256


class DeliveryState(StrEnum):
    """State of a delivery; a delivery that succeeded is deleted."""

    PENDING = "pending"
    DEAD = "dead"


class UnknownDelivery(LookupError):
    """There is no delivery with this id."""

    def __init__(self, delivery_id: int) -> None:
        super().__init__(f"there is no delivery {delivery_id}")
        self.delivery_id = delivery_id


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event that is to be delivered to the webhook.

    Attributes:
        id: Unique id, in the order of the events.
        event: The event.
        state: Whether it will be tried again.
        attempts: Number of attempts so far.
        problem: Why the last attempt failed.
        created_at: When it was read from the log of events.
        next_at: When the next attempt is made; of a dead delivery, when it was given up.
    """

    id: int
    event: Event
    state: DeliveryState
    attempts: int
    problem: str | None
    created_at: datetime
    next_at: datetime


class SinkRow(Base):
    """Table of sinks with the id of the last event that each has taken from the log."""

    __tablename__ = "sinks"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    event_id: Mapped[int] = mapped_column(Counter)


class DeliveryRow(Base):
    """Table of deliveries; see `Delivery` for the columns."""

    __tablename__ = "deliveries"
    __table_args__ = (Index("ix_deliveries_state_next_at", "state", "next_at"),)

    id: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    event_id: Mapped[int] = mapped_column(Counter)
    event: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int]
    problem: Mapped[str | None] = mapped_column(String(_PROBLEM))
    created_at: Mapped[datetime] = mapped_column(Utc)
    next_at: Mapped[datetime] = mapped_column(Utc)

    def delivery(self) -> Delivery:
        """A copy that outlives the session."""
        event = event_adapter.validate_python(self.event)
        state = DeliveryState(self.state)
        return Delivery(self.id, event, state, self.attempts, self.problem, self.created_at, self.next_at)


class NotificationStore:
    """Sinks and deliveries. Every method is one transaction.

    Args:
        database: Where they are kept.
        clock: Tells the time.
    """

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._sessions = database.sessions
        self._clock = clock

    def keep(self, sinks: Collection[str]) -> None:
        """Keep the positions of these sinks, and delete those of all others.

        A new sink gets the events from now on; a sink that is known continues where it was.
        """
        with self._sessions.begin() as session:
            session.execute(delete(SinkRow).where(SinkRow.name.not_in(sinks)))
            newest = session.scalar(select(func.max(EventRow.id))) or 0
            known = set(session.scalars(select(SinkRow.name)))
            session.add_all(SinkRow(name=name, event_id=newest) for name in sorted(set(sinks) - known))

    def position(self, sink: str) -> int:
        """Id of the last event that a sink has taken from the log."""
        with self._sessions() as session:
            return _position(session, sink)

    def advance(self, sink: str, event_id: int) -> None:
        """Note that a sink has taken all events up to this one from the log."""
        with self._sessions.begin() as session:
            _advance(session, sink, event_id)

    def take_over(self, sink: str) -> int:
        """Make deliveries of the next events in the log, and advance the sink.

        Returns:
            Number of events; if it is not 0, there may be more.
        """
        now = self._clock()
        with self._sessions.begin() as session:
            query = select(EventRow).where(EventRow.id > _position(session, sink)).order_by(EventRow.id).limit(_PAGE)
            rows = session.scalars(query).all()
            for event in filter(notifies, [row.event() for row in rows]):
                session.add(
                    DeliveryRow(
                        event_id=event.id,
                        event=event.model_dump(mode="json"),
                        state=DeliveryState.PENDING,
                        attempts=0,
                        created_at=now,
                        next_at=now,
                    )
                )
            if rows:
                _advance(session, sink, rows[-1].id)
            return len(rows)

    def due(self, limit: int) -> list[Delivery]:
        """Deliveries that are due, oldest event first."""
        query = (
            select(DeliveryRow)
            .where(DeliveryRow.state == DeliveryState.PENDING, DeliveryRow.next_at <= self._clock())
            .order_by(DeliveryRow.id)
            .limit(limit)
        )
        with self._sessions() as session:
            return [row.delivery() for row in session.scalars(query)]

    def delivered(self, delivery_id: int) -> None:
        """Delete a delivery that succeeded."""
        with self._sessions.begin() as session:
            session.execute(delete(DeliveryRow).where(DeliveryRow.id == delivery_id))

    def failed(self, delivery_id: int, problem: str, next_at: datetime | None) -> None:
        """Note a failed attempt.

        Args:
            delivery_id: Id of the delivery.
            problem: Why it failed.
            next_at: When to try again; None gives the delivery up.
        """
        state = DeliveryState.DEAD if next_at is None else DeliveryState.PENDING
        with self._sessions.begin() as session:
            session.execute(
                update(DeliveryRow)
                .where(DeliveryRow.id == delivery_id)
                .values(
                    state=state,
                    attempts=DeliveryRow.attempts + 1,
                    problem=problem[:_PROBLEM],
                    next_at=next_at or self._clock(),
                )
            )

    def retry(self, delivery_id: int) -> Delivery:
        """Make a delivery due now, with its attempts counted from zero again.

        Raises:
            UnknownDelivery: It does not exist, perhaps because it has succeeded.
        """
        with self._sessions.begin() as session:
            row = session.get(DeliveryRow, delivery_id)
            if row is None:
                raise UnknownDelivery(delivery_id)
            row.state, row.attempts, row.next_at = DeliveryState.PENDING, 0, self._clock()
            return row.delivery()

    def page(
        self, *, limit: int, before: int | None = None, state: DeliveryState | None = None
    ) -> tuple[list[Delivery], int | None]:
        """Deliveries, newest first.

        Args:
            limit: Most deliveries to return.
            before: Value that the previous page returned; None for the first page.
            state: Only deliveries in this state.

        Returns:
            The deliveries, and `before` for the next page; None when there are no more.
        """
        query = select(DeliveryRow).order_by(DeliveryRow.id.desc()).limit(limit + 1)
        if before is not None:
            query = query.where(DeliveryRow.id < before)
        if state is not None:
            query = query.where(DeliveryRow.state == state)
        with self._sessions() as session:
            found = [row.delivery() for row in session.scalars(query)]
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    def count(self) -> dict[DeliveryState, int]:
        """Number of deliveries in each state."""
        with self._sessions() as session:
            rows = session.execute(select(DeliveryRow.state, func.count()).group_by(DeliveryRow.state))
            found = {DeliveryState(state): number for state, number in rows}
        return {state: found.get(state, 0) for state in DeliveryState}

    def prune(self, older_than: datetime) -> int:
        """Delete deliveries that were given up before a time.

        Returns:
            Number of deleted deliveries.
        """
        old = (DeliveryRow.state == DeliveryState.DEAD) & (DeliveryRow.next_at < older_than)
        with self._sessions.begin() as session:
            return len(session.scalars(delete(DeliveryRow).where(old).returning(DeliveryRow.id)).all())


def _position(session: Session, sink: str) -> int:
    return session.scalars(select(SinkRow.event_id).where(SinkRow.name == sink)).one()


def _advance(session: Session, sink: str, event_id: int) -> None:
    session.execute(update(SinkRow).where(SinkRow.name == sink).values(event_id=event_id))
