"""Carries messages from worker threads to subscribers on the event loop.

Every subscriber has a bounded queue of its own. A slow subscriber loses messages and is told how many; the others are
not affected. A publisher appends to the queues and wakes the loop once. The JSON text of a message is made on the loop
by the first subscriber that reads it, and shared by the others.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from pydantic import BaseModel

from service.documents.messages import Lagged, Score

K = TypeVar("K", bound=Hashable)
M = TypeVar("M", bound=BaseModel)

SCORE_BACKLOG: Final = 64
"""Scores that are kept for a subscriber that does not read: about four seconds of one camera."""


class Posted(Generic[M]):
    """A message that was published to many subscribers.

    Attributes:
        message: The message.
    """

    __slots__ = ("_text", "message")

    def __init__(self, message: M) -> None:
        self.message = message
        self._text: str | None = None

    @property
    def text(self) -> str:
        """The message as JSON, made once."""
        if self._text is None:
            self._text = self.message.model_dump_json()
        return self._text


class Subscription(Generic[K, M]):
    """One subscriber of one key. Iterate over it once, or `receive` message by message, until the key ends.

    Args:
        bus: The bus at which it is registered during the ``with`` block.
        key: The key whose messages it gets.
    """

    def __init__(self, bus: Bus[K, M], key: K) -> None:
        self.key = key
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        # Only the bus changes the following, under its lock.
        self._queue: deque[Posted[M]] = deque()
        self._dropped = 0
        self._ended = False

    def __enter__(self) -> Self:
        self._bus._add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bus._remove(self)

    async def receive(self) -> Posted[M] | None:
        """Wait for the next message; None when there will be no more. A cancelled call loses no message."""
        while True:
            await self._ready.wait()
            posted, ended = self._bus._take(self)
            if posted is not None or ended:
                return posted
            self._ready.clear()

    async def __aiter__(self) -> AsyncIterator[M]:
        while (posted := await self.receive()) is not None:
            yield posted.message


class Bus(Generic[K, M]):
    """Publishes messages by key, from any thread, to the subscribers of this process.

    Args:
        backlog: Most messages that wait for a subscriber; above that, the oldest droppable ones are dropped.
        droppable: Whether a message may be dropped.
        final: Whether a message is the last of its key.
        lagged: Makes the message that says how many were dropped.
    """

    def __init__(
        self,
        backlog: int,
        *,
        droppable: Callable[[M], bool],
        final: Callable[[M], bool],
        lagged: Callable[[int], M],
    ) -> None:
        self._backlog = backlog
        self._droppable = droppable
        self._final = final
        self._lagged = lagged
        self._lock = threading.Lock()
        self._subscriptions: dict[K, list[Subscription[K, M]]] = {}
        self._waking: dict[asyncio.AbstractEventLoop, set[Subscription[K, M]]] = {}

    def subscribe(self, key: K) -> Subscription[K, M]:
        """Make a subscription to one key; must be called on the event loop that will read it."""
        return Subscription(self, key)

    def publish(self, key: K, message: M) -> None:
        """Queue a message for all current subscribers of a key; callable from any thread."""
        with self._lock:
            subscriptions = self._subscriptions.get(key)
            if not subscriptions:
                return
            posted = Posted(message)
            last = self._final(message)
            for subscription in subscriptions:
                if not subscription._ended:
                    self._append(subscription, posted)
                    subscription._ended = last
            sleeping = self._to_wake(subscriptions)
        self._wake(sleeping)

    def end(self, key: K) -> None:
        """End the subscriptions to a key after their waiting messages; callable from any thread."""
        with self._lock:
            subscriptions = self._subscriptions.get(key, [])
            for subscription in subscriptions:
                subscription._ended = True
            sleeping = self._to_wake(subscriptions)
        self._wake(sleeping)

    def listeners(self, key: K) -> int:
        """Number of subscriptions to a key."""
        with self._lock:
            return len(self._subscriptions.get(key, ()))

    @property
    def subscribed(self) -> set[K]:
        """Keys with at least one subscription."""
        with self._lock:
            return set(self._subscriptions)

    @property
    def subscribers(self) -> int:
        """Number of subscriptions to all keys."""
        with self._lock:
            return sum(map(len, self._subscriptions.values()))

    @property
    def longest_queue(self) -> int:
        """Number of messages that wait for the slowest subscriber."""
        with self._lock:
            return max((len(one._queue) for found in self._subscriptions.values() for one in found), default=0)

    def _append(self, subscription: Subscription[K, M], posted: Posted[M]) -> None:
        queue = subscription._queue
        queue.append(posted)
        if len(queue) <= self._backlog:
            return
        for position, waiting in enumerate(queue):
            if self._droppable(waiting.message):
                del queue[position]
                subscription._dropped += 1
                return

    def _to_wake(self, subscriptions: list[Subscription[K, M]]) -> list[asyncio.AbstractEventLoop]:
        """Note which subscriptions must be woken; returns the loops that have not been asked to do so yet."""
        sleeping = []
        for subscription in subscriptions:
            loop = subscription._loop
            if loop not in self._waking:
                self._waking[loop] = set()
                sleeping.append(loop)
            self._waking[loop].add(subscription)
        return sleeping

    def _wake(self, sleeping: list[asyncio.AbstractEventLoop]) -> None:
        for loop in sleeping:
            try:
                loop.call_soon_threadsafe(self._set_ready, loop)
            except RuntimeError:
                # A closed loop has no subscribers left.
                with self._lock:
                    self._waking.pop(loop, None)

    def _set_ready(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            subscriptions = self._waking.pop(loop)
        for subscription in subscriptions:
            subscription._ready.set()

    def _take(self, subscription: Subscription[K, M]) -> tuple[Posted[M] | None, bool]:
        with self._lock:
            if subscription._dropped:
                lost, subscription._dropped = subscription._dropped, 0
                return Posted(self._lagged(lost)), False
            if subscription._queue:
                return subscription._queue.popleft(), False
            return None, subscription._ended

    def _add(self, subscription: Subscription[K, M]) -> None:
        with self._lock:
            self._subscriptions.setdefault(subscription.key, []).append(subscription)

    def _remove(self, subscription: Subscription[K, M]) -> None:
        with self._lock:
            remaining = self._subscriptions[subscription.key]
            remaining.remove(subscription)
            if not remaining:
                del self._subscriptions[subscription.key]


class ScoreBus(Bus[str, Score | Lagged]):
    """Scores of cameras, by camera id; the oldest are dropped first, and `end` means that the camera was removed."""

    def __init__(self, backlog: int = SCORE_BACKLOG) -> None:
        super().__init__(
            backlog,
            droppable=lambda message: isinstance(message, Score),
            final=lambda _: False,
            lagged=lambda dropped: Lagged(dropped=dropped),
        )
