"""The feed of events: every subscriber gets every event once and in order, however slow it is.

Events are stored before they are published here. A subscriber has no queue, only a cursor: it reads the newest events
from a shared tail in memory, and older ones from the store. So a subscriber that does not read takes no memory but its
cursor.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.documents.messages import Event, Heartbeat, Lagged
from service.incidents.store import IncidentStore
from service.live.clock import SteadyClock
from service.storage.database import reason

Listener = Callable[[Event, bool], None]
"""Called with an event, and with whether this process wrote it."""

TAIL: Final = 1024
"""Events kept in memory."""

_PAGE: Final = 64
"""Most events that a subscriber reads at once, and so holds if it stops reading."""

_READERS: Final = 4
"""Subscribers of one event loop that may read from the store at the same time."""

_RETRY_S: Final = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Batch:
    """The next events for a subscriber.

    Attributes:
        events: The events, in order.
        until: Up to this id there is no other event for the subscriber.
    """

    events: list[Event]
    until: int


class _Follower:
    """One subscriber; its cursor is the id up to which it has got all events that are for it."""

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor
        self.ready = asyncio.Event()


class _Followers:
    """The subscribers of one event loop, woken together."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.members: set[_Follower] = set()
        # Limited, so that many subscribers that resume at once do not take all connections to the database.
        self.readers = asyncio.Semaphore(_READERS)

    def wake(self) -> None:
        """Let all subscribers look for new events; called on the loop."""
        for follower in self.members:
            follower.ready.set()


class EventFeed:
    """Publishes events that have been written to the store.

    Args:
        store: Where older events are read.
        clock: Gives the time in heartbeats.
        tail: Events kept in memory.
        heartbeat_s: Seconds of silence after which a subscriber gets a heartbeat.

    Raises:
        SQLAlchemyError: The store cannot be read.
    """

    def __init__(
        self, store: IncidentStore, clock: SteadyClock, *, tail: int = TAIL, heartbeat_s: float = 15.0
    ) -> None:
        self.heartbeat_s = heartbeat_s
        self._store = store
        self._clock = clock
        self._size = tail
        self._lock = threading.Lock()
        self._floor = store.newest_event_id() or 0
        self._ids: list[int] = []
        self._events: list[Event] = []
        self._texts: dict[int, str] = {}
        self._followers: dict[asyncio.AbstractEventLoop, _Followers] = {}
        self._listeners: list[Listener] = []

    @property
    def newest_id(self) -> int:
        """Id of the newest published event; before the first, that of the newest event in the store at the start."""
        with self._lock:
            return self._newest()

    @property
    def subscribers(self) -> int:
        """Number of subscribers."""
        with self._lock:
            return sum(len(followers.members) for followers in self._followers.values())

    @property
    def lag(self) -> int:
        """Number of events by which the slowest subscriber is behind."""
        with self._lock:
            newest = self._newest()
            cursors = [follower.cursor for group in self._followers.values() for follower in group.members]
        return max((newest - cursor for cursor in cursors), default=0)

    def listen(self, listener: Listener) -> None:
        """Call a listener with every published event, on the thread that publishes it."""
        self._listeners.append(listener)

    def publish(self, event: Event, *, ours: bool = True) -> None:
        """Publish an event that is in the store; callable from any thread, in the order of ids.

        Args:
            event: The event.
            ours: Whether this process wrote it.

        Raises:
            ValueError: Its id is not higher than the one before.
        """
        with self._lock:
            if event.id <= self._newest():
                raise ValueError(f"event {event.id} comes after event {self._newest()}")
            self._ids.append(event.id)
            self._events.append(event)
            if len(self._ids) >= 2 * self._size:
                self._trim()
            loops = list(self._followers.values())
        for followers in loops:
            # A loop that has closed has no subscriber left.
            with contextlib.suppress(RuntimeError):
                followers.loop.call_soon_threadsafe(followers.wake)
        for listener in self._listeners:
            listener(event, ours)

    def text(self, event: Event) -> str:
        """The event as JSON; for an event in memory it is made once for all subscribers."""
        text = self._texts.get(event.id)
        if text is None:
            text = event.model_dump_json()
            with self._lock:
                if event.id > self._floor:
                    self._texts[event.id] = text
        return text

    async def start(self, after: int) -> int:
        """The id after which a resumed stream starts: `after`, or 0 if that id comes from another store."""
        cursor, _ = await self._start(after)
        return cursor

    async def follow(
        self, after: int | None = None, cameras: frozenset[str] | None = None
    ) -> AsyncGenerator[Event | Lagged | Heartbeat, None]:
        """Yield every event after a given one, then every new one, without end.

        A subscriber that falls behind the events in memory gets one `Lagged` and then the missed events from the store.

        Args:
            after: Id of the last event that the subscriber knows; None starts with the first event published after
                the first message was requested. An id above all stored ones comes from another store: the subscriber
                then gets `Lagged` and all events.
            cameras: Only events of these cameras; None for all.
        """
        cursor, known = await self._start(after)
        with self._following(cursor) as (follower, readers):
            if not known:
                yield Lagged(dropped=0)
            loop = asyncio.get_running_loop()
            due = loop.time() + self.heartbeat_s
            live = False
            while True:
                follower.ready.clear()
                before = follower.cursor
                batch = self._recent(before, cameras)
                if batch is None and live:
                    yield Lagged(dropped=0)
                live = batch is not None
                if batch is None:
                    batch = await self._older(before, cameras, readers)
                for event in batch.events:
                    follower.cursor = event.id
                    yield event
                    due = loop.time() + self.heartbeat_s
                follower.cursor = max(follower.cursor, batch.until)
                if live and follower.cursor == before:
                    await _wait(follower.ready, due - loop.time())
                if loop.time() >= due:
                    yield Heartbeat(at=self._clock.utc(self._clock.now()))
                    due = loop.time() + self.heartbeat_s

    async def _start(self, after: int | None) -> tuple[int, bool]:
        """The cursor at which a subscriber starts, and whether it continues where the subscriber stopped."""
        newest = self.newest_id
        if after is None or after <= newest:
            return newest if after is None else after, True
        while True:
            try:
                # The event may have come from the store just before it was published here.
                stored = await asyncio.to_thread(self._store.newest_event_id)
            except SQLAlchemyError as error:
                await _pause(error)
            else:
                return (after, True) if after <= (stored or 0) else (0, False)

    def _recent(self, cursor: int, cameras: frozenset[str] | None) -> _Batch | None:
        """The next events from memory; None if some of them are no longer there."""
        with self._lock:
            if cursor < self._floor:
                return None
            first = bisect_right(self._ids, cursor)
            events = self._events[first : first + _PAGE]
        until = events[-1].id if events else cursor
        return _Batch([event for event in events if cameras is None or event.camera in cameras], until)

    async def _older(self, cursor: int, cameras: frozenset[str] | None, readers: asyncio.Semaphore) -> _Batch:
        """The next events from the store; no events, after a pause, if it cannot be read."""
        newest = self.newest_id
        try:
            async with readers:
                events = await asyncio.to_thread(self._store.events_after, cursor, _PAGE, cameras)
        except SQLAlchemyError as error:
            await _pause(error)
            return _Batch([], cursor)
        return _Batch(events, events[-1].id if len(events) == _PAGE else max(newest, cursor))

    @contextmanager
    def _following(self, cursor: int) -> Iterator[tuple[_Follower, asyncio.Semaphore]]:
        loop, follower = asyncio.get_running_loop(), _Follower(cursor)
        with self._lock:
            followers = self._followers.setdefault(loop, _Followers(loop))
            followers.members.add(follower)
        try:
            yield follower, followers.readers
        finally:
            with self._lock:
                followers.members.discard(follower)
                if not followers.members:
                    self._followers.pop(loop, None)

    def _newest(self) -> int:
        return self._ids[-1] if self._ids else self._floor

    def _trim(self) -> None:
        surplus = len(self._ids) - self._size
        self._floor = self._ids[surplus - 1]
        del self._ids[:surplus], self._events[:surplus]
        self._texts = {number: text for number, text in self._texts.items() if number > self._floor}


async def _wait(ready: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ready.wait(), max(seconds, 0.0))


async def _pause(error: SQLAlchemyError) -> None:
    log.warning("events cannot be read; trying again", error=reason(error))
    await asyncio.sleep(_RETRY_S)
