"""The newest scores and incidents, kept once for all browsers.

Each camera has one subscription here, however many browsers there are. Each browser is sent what is new twice a second,
and the next update only after it has acknowledged the last.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from nicegui import Event as Signal
from starlette.concurrency import run_in_threadpool

from service.access.policy import Principal
from service.documents.messages import (
    CameraEvent,
    Event,
    Heartbeat,
    IncidentInfo,
    Lagged,
    Score,
)
from service.runtime import Runtime

KEPT_S: Final = 600.0
"""Seconds of scores that are kept."""

STEP_S: Final = 0.5
"""Seconds that one point covers. It holds the highest level in them, so that no peak is lost."""


@dataclass(frozen=True, slots=True)
class Point:
    """The highest level of half a second.

    Attributes:
        at: End of the half second, in seconds since 1970.
        level: In 0..1; None where nobody was scored.
        limit: The threshold at that time.
    """

    at: float
    level: float | None
    limit: float


@dataclass(slots=True)
class Trace:
    """The last minutes of one camera.

    Attributes:
        points: Oldest first.
        count: Number of points so far, forgotten ones included.
        latest: The newest score.
    """

    points: deque[Point] = field(default_factory=lambda: deque(maxlen=round(KEPT_S / STEP_S)))
    count: int = 0
    latest: Score | None = None
    _begun: float = 0.0
    _heard: float = 0.0

    def add(self, score: Score) -> None:
        """Add a score."""
        at = score.captured_at.timestamp()
        self.latest, self._heard = score, time.monotonic()
        if self.points and at - self._begun < STEP_S:
            last = self.points[-1]
            known = [level for level in (last.level, score.level) if level is not None]
            self.points[-1] = Point(at, max(known, default=None), score.threshold)
            return
        self._begun = at
        self.points.append(Point(at, score.level, score.threshold))
        self.count += 1

    @property
    def age_s(self) -> float | None:
        """Seconds since the frame of the newest score was captured; None if there is no score."""
        return None if self.latest is None else self.latest.age_s + time.monotonic() - self._heard

    def since(self, count: int) -> list[Point]:
        """The kept points after the first `count`, without the newest, which may still change."""
        new = min(self.count - 1 - count, len(self.points) - 1)
        return list(self.points)[-1 - new : -1] if new > 0 else []


class Watch:
    """Listens to all cameras and incidents for the pages.

    Args:
        runtime: The service to listen to.

    Attributes:
        traces: The last minutes of each camera.
        open: Open incidents by id.
        incident: Emitted with each incident that changed.
        camera: Emitted with the id of each camera that changed its state.
        read: Emitted with the id of a key that has read incidents on a page.
        authenticated: Whether the service requires keys; if so, the page links to the login.
        simulated: Whether the service runs the demo's models.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.traces: dict[str, Trace] = {}
        self.open: dict[str, IncidentInfo] = {}
        self.incident: Signal[IncidentInfo] = Signal()
        self.camera: Signal[str] = Signal()
        self.read: Signal[str] = Signal()
        self.authenticated = runtime.settings.authenticated
        self.simulated = runtime.settings.simulated
        self._runtime = runtime
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._events: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to listen; call it on the event loop."""
        self._events = asyncio.create_task(self._follow_events())

    async def stop(self) -> None:
        """Stop listening."""
        tasks = [task for task in (self._events, *self._tasks.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def trace(self, camera: str) -> Trace:
        """The last minutes of a camera; empty if the camera is not known."""
        return self.traces.get(camera) or Trace()

    def open_at(self, camera: str) -> IncidentInfo | None:
        """The open incident of a camera, if there is one."""
        return next(self._open_at(camera), None)

    async def unread(self, reader: Principal) -> int:
        """How many incidents somebody has not read."""
        return await run_in_threadpool(self._runtime.streams.incidents.reviews.unread, reader)

    async def _follow_events(self) -> None:
        runtime = self._runtime
        after = runtime.streams.feed.newest_id
        found, _ = await run_in_threadpool(runtime.streams.incidents.page, limit=200, open=True)
        self.open = {incident.id: incident for incident in found}
        for status in runtime.cameras.manager.statuses():
            self._listen(status.id)
        async with aclosing(runtime.streams.feed.follow(after)) as events:
            async for event in events:
                if not isinstance(event, Lagged | Heartbeat):
                    self._note(event)

    def _note(self, event: Event) -> None:
        if isinstance(event, CameraEvent):
            self._listen(event.camera)
            self.camera.emit(event.camera)
            return
        incident = event.incident
        if incident.ended_at is None:
            self.open[incident.id] = incident
        else:
            self.open.pop(incident.id, None)
        self.incident.emit(incident)

    def _listen(self, camera: str) -> None:
        if camera not in self._tasks:
            self._tasks[camera] = asyncio.create_task(self._follow_scores(camera))

    async def _follow_scores(self, camera: str) -> None:
        trace = self.traces[camera] = Trace()
        try:
            with self._runtime.streams.scores.subscribe(camera) as scores:
                async for score in scores:
                    if isinstance(score, Score):
                        trace.add(score)
        finally:
            # The camera was removed. A new camera of the same id starts with an empty trace.
            self._tasks.pop(camera, None)
            self.traces.pop(camera, None)

    def _open_at(self, camera: str) -> Iterator[IncidentInfo]:
        return (incident for incident in self.open.values() if incident.camera == camera)
