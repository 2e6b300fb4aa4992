"""What happens to a clip, told while it happens: the messages, and the bus that carries them to subscribers.

Worker threads publish; subscribers read on the event loop. Every subscriber has a bounded queue of its own, so a slow
one loses scores and is told how many, and hurts nobody else. What changes the state of a clip is never dropped.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from service.results import FrameScore
from service.storage import ClipJob, ClipState

PROTOCOL_VERSION: Final = 1
BACKLOG: Final = 256
"""Messages kept for a subscriber who does not read: about ten seconds of a busy clip."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Failure(_Message):
    """Why a clip failed."""

    cause: str = Field(description="Stable slug of the cause.", examples=["decoder-died"])
    detail: str = Field(description="The same as a sentence.", examples=["the decoder stopped after frame 118"])


class Hello(_Message):
    """First message of every connection: where the clip stands."""

    type: Literal["hello"] = Field(default="hello", description="Tag of the message.")
    version: int = Field(default=PROTOCOL_VERSION, description="Version of the messages; a new one may break readers.")
    clip: str = Field(description="Id of the clip.")
    state: ClipState = Field(description="Where the clip stands.")
    frames_done: int = Field(description="Frames scored so far.")
    frames_total: int = Field(description="Frames to score; an estimate until the clip is done.")


class Progress(_Message):
    """How far scoring has come; some are left out when they come fast."""

    type: Literal["progress"] = Field(default="progress", description="Tag of the message.")
    frames_done: int = Field(description="Frames scored so far.")
    frames_total: int = Field(description="Frames to score; an estimate until the clip is done.")


class Score(_Message):
    """One frame whose scores will not change any more; frames come in order."""

    type: Literal["score"] = Field(default="score", description="Tag of the message.")
    frame: FrameScore = Field(description="Scores of the frame, as in the result.")


class State(_Message):
    """The clip started, or waits again because the service stops."""

    type: Literal["state"] = Field(default="state", description="Tag of the message.")
    state: Literal[ClipState.QUEUED, ClipState.RUNNING] = Field(description="Where the clip stands now.")


class Lagged(_Message):
    """This reader was too slow; the result has everything."""

    type: Literal["lagged"] = Field(default="lagged", description="Tag of the message.")
    dropped: int = Field(description="Messages left out since the last one that was sent.", examples=[12])


class Done(_Message):
    """Last message: the result is ready."""

    type: Literal["done"] = Field(default="done", description="Tag of the message.")
    result: str = Field(description="Path of the result.", examples=["/v1/clips/0b1c/result.json"])


class Failed(_Message):
    """Last message: the clip could not be scored."""

    type: Literal["failed"] = Field(default="failed", description="Tag of the message.")
    error: Failure = Field(description="Why.")


class Cancelled(_Message):
    """Last message: the clip was cancelled or deleted."""

    type: Literal["cancelled"] = Field(default="cancelled", description="Tag of the message.")


FinalEvent = Done | Failed | Cancelled
ClipEvent = Annotated[Hello | Progress | Score | State | Lagged | FinalEvent, Field(discriminator="type")]

clip_event_adapter: Final[TypeAdapter[ClipEvent]] = TypeAdapter(ClipEvent)
"""Reads a message of any type."""


def result_path(clip_id: str) -> str:
    """Path of a clip's result in the API."""
    return f"/v1/clips/{clip_id}/result.json"


def failure(job: ClipJob) -> Failure | None:
    """Why a clip failed, if it did."""
    if job.error_cause is None:
        return None
    return Failure(cause=job.error_cause, detail=job.error_detail or job.error_cause)


def final_event(job: ClipJob) -> FinalEvent | None:
    """The message that ends the story of a finished clip; None for a clip that is not finished."""
    match job.state:
        case ClipState.DONE:
            return Done(result=result_path(job.id))
        case ClipState.FAILED:
            return Failed(error=failure(job) or Failure(cause="unknown", detail="the cause was not recorded"))
        case ClipState.CANCELLED:
            return Cancelled()
        case _:
            return None


class Subscription:
    """One reader of one clip's events. Iterate over it once; it ends after the final event.

    Args:
        bus: Where it is registered while the ``with`` block lasts.
        clip_id: The clip.
        backlog: Messages kept for the reader before the oldest are dropped.
    """

    def __init__(self, bus: EventBus, clip_id: str, backlog: int) -> None:
        self.clip_id = clip_id
        self._bus = bus
        self._backlog = backlog
        self._queue: deque[ClipEvent] = deque()
        self._dropped = 0
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()

    def __enter__(self) -> Self:
        self._bus._add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bus._remove(self)

    def put(self, message: ClipEvent) -> None:
        """Add a message from any thread; drops the oldest that may be lost when the reader lags."""
        with self._lock:
            self._queue.append(message)
            if len(self._queue) > self._backlog:
                self._drop_oldest()
        # A loop that has closed has no reader left.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ready.set)

    async def __aiter__(self) -> AsyncIterator[ClipEvent]:
        while True:
            await self._ready.wait()
            self._ready.clear()
            for message in self._take():
                yield message
                if isinstance(message, FinalEvent):
                    return

    def _take(self) -> list[ClipEvent]:
        with self._lock:
            messages = list(self._queue)
            self._queue.clear()
            if self._dropped:
                messages.insert(0, Lagged(dropped=self._dropped))
                self._dropped = 0
            return messages

    def _drop_oldest(self) -> None:
        for position, message in enumerate(self._queue):
            if isinstance(message, Progress | Score):
                del self._queue[position]
                self._dropped += 1
                return


class EventBus:
    """Carries events from worker threads to subscribers of this process."""

    def __init__(self, backlog: int = BACKLOG) -> None:
        self._backlog = backlog
        self._lock = threading.Lock()
        self._subscriptions: dict[str, list[Subscription]] = {}

    def subscribe(self, clip_id: str) -> Subscription:
        """A subscription to one clip, made on the event loop that will read it."""
        return Subscription(self, clip_id, self._backlog)

    def publish(self, clip_id: str, message: ClipEvent) -> None:
        """Hand a message to everybody who listens now; callable from any thread."""
        with self._lock:
            subscriptions = list(self._subscriptions.get(clip_id, ()))
        for subscription in subscriptions:
            subscription.put(message)

    def listeners(self, clip_id: str) -> int:
        """Number of subscriptions to a clip."""
        with self._lock:
            return len(self._subscriptions.get(clip_id, ()))

    def _add(self, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions.setdefault(subscription.clip_id, []).append(subscription)

    def _remove(self, subscription: Subscription) -> None:
        with self._lock:
            remaining = self._subscriptions[subscription.clip_id]
            remaining.remove(subscription)
            if not remaining:
                del self._subscriptions[subscription.clip_id]
