"""Skeleton feeds: cameras whose pictures stay where they were taken; a device sends what it saw, and no video."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Literal

from pose.live import LiveTiming, SourceError, SourceState, StateChange, StreamClock
from service.engine import Sighting
from service.skeletons import MIN_STEP_S, BadSkeletons, SkeletonFrame, poses_of

_BACKLOG: Final = 64
"""Frames kept for an engine that is behind, before the oldest are dropped: about four seconds."""
_RATE_WEIGHT: Final = 0.1
_RESTART_S: Final = 1.0


class SkeletonFeed:
    """Where the frames of one device arrive; to the rest of the service it is a source like any camera.

    Args:
        camera_id: The feed.
        timing: After how long a silent device has stalled, and when it is gone.
        on_state: Hears of every change of state.
        on_frame: Called when a frame has arrived.
    """

    picture: Literal["ok", "black", "frozen"] = "ok"

    def __init__(
        self,
        camera_id: str,
        timing: LiveTiming,
        on_state: Callable[[StateChange], None],
        on_frame: Callable[[], None],
    ) -> None:
        self.camera_id = camera_id
        self.state = SourceState.CONNECTING
        self.since = time.monotonic()
        self.problem: SourceError | None = None
        self.reconnects = 0
        self.frames_read = 0
        self.frames_overwritten = 0
        self.size: tuple[int, int] | None = None
        self._timing = timing
        self._on_state = on_state
        self._on_frame = on_frame
        self._clock = StreamClock()
        self._lock = threading.RLock()
        self._queue: deque[Sighting] = deque()
        self._last_time: float | None = None
        self._last_arrival: float | None = None
        self._interval: float | None = None

    @property
    def fps(self) -> float | None:
        """Recent frames per second."""
        return 1 / self._interval if self._interval else None

    def start(self) -> None:
        """Wait for the device."""
        self._move(SourceState.CONNECTING, first=True)

    def stop(self) -> None:
        """Take nothing any more."""
        with self._lock:
            self._queue.clear()
            if self.state is not SourceState.STOPPED:
                self._move(SourceState.STOPPED)

    def push(self, frame: SkeletonFrame) -> None:
        """Take what the device saw.

        Raises:
            BadSkeletons: The frame is not later than the last, or some people have identities and others have not.
        """
        people = poses_of(frame)
        arrival = time.monotonic()
        with self._lock:
            if self.state is SourceState.STOPPED:
                return
            self._check_order(frame.time_s)
            captured_at = self._clock.capture_moment(arrival, frame.time_s)
            if len(self._queue) == _BACKLOG:
                self._queue.popleft()
                self.frames_overwritten += 1
            self._queue.append(
                Sighting(self.camera_id, self.frames_read, captured_at, frame.width, frame.height, people)
            )
            self.frames_read += 1
            self.size = (frame.width, frame.height)
            self._measure(arrival)
            if self.state is not SourceState.ONLINE:
                self.problem = None
                self._move(SourceState.ONLINE)
        self._on_frame()

    def take(self) -> Sighting | None:
        """The oldest frame that waits; those of a feed are cheap, so none is skipped while the engine keeps up."""
        with self._lock:
            return self._queue.popleft() if self._queue else None

    def watch(self, now: float) -> None:
        """Notice that the device has fallen silent.

        Args:
            now: Seconds on the monotonic clock.
        """
        with self._lock:
            if self._last_arrival is None:
                return
            silent = now - self._last_arrival
            if self.state is SourceState.ONLINE and silent > self._timing.stall_s:
                self.problem = SourceError("timeout", f"the device has sent nothing for {self._timing.stall_s:g} s")
                self._move(SourceState.STALLED)
            if self.state is SourceState.STALLED and silent > self._timing.read_s:
                self.problem = SourceError("timeout", f"the device has sent nothing for {self._timing.read_s:g} s")
                self.reconnects += 1
                self._move(SourceState.RECONNECTING)

    def _check_order(self, time_s: float) -> None:
        step = None if self._last_time is None else time_s - self._last_time
        # A longer step back is a device that was restarted: its clock begins anew, and so does ours.
        if step is not None and -_RESTART_S < step < MIN_STEP_S:
            raise BadSkeletons(f"time_s={time_s:g} must be at least {MIN_STEP_S:g} s after {self._last_time:g}")
        self._last_time = time_s

    def _measure(self, arrival: float) -> None:
        if self._last_arrival is not None:
            gap = arrival - self._last_arrival
            self._interval = gap if self._interval is None else self._interval + _RATE_WEIGHT * (gap - self._interval)
        self._last_arrival = arrival

    def _move(self, state: SourceState, *, first: bool = False) -> None:
        previous, self.state, self.since = None if first else self.state, state, time.monotonic()
        cause, detail = (self.problem.cause, str(self.problem)) if self.problem else (None, None)
        self._on_state(StateChange(self.camera_id, previous, state, self.since, cause, detail))
