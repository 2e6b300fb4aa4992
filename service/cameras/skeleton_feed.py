"""Skeleton feeds: cameras whose device sends skeletons instead of video."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Literal

from pose.live import LiveTiming, SourceError, SourceState, StateChange, StreamClock
from service.documents.skeletons import MIN_STEP_S, BadSkeletons, SkeletonFrame, poses_of
from service.live.frames import Sighting

BACKLOG: Final = 16
"""Frames that wait for the engine, about a second of them; beyond that the oldest is dropped. Skeletons are cheap to
score, so the engine soon catches up."""
_RATE_SPAN_S: Final = 5.0
_RESTART_S: Final = 1.0


class SkeletonFeed:
    """Source of a camera that takes skeletons from a device; has the same interface as `pose.live.LiveSource`.

    Args:
        camera_id: Id of the camera.
        timing: After which silence the device counts as stalled, and then as lost.
        on_state: Called with every change of state.
        on_frame: Called when a frame has arrived.
        backlog: Frames that may wait for the engine; 1 keeps only the newest, as for a camera with pictures.
    """

    picture: Literal["ok", "black", "frozen"] = "ok"

    def __init__(
        self,
        camera_id: str,
        timing: LiveTiming,
        on_state: Callable[[StateChange], None],
        on_frame: Callable[[], None],
        backlog: int = BACKLOG,
    ) -> None:
        self.camera_id = camera_id
        self.state = SourceState.STOPPED
        self.since = time.monotonic()
        self.problem: SourceError | None = None
        self.reconnects = 0
        self.frames_read = 0
        self.frames_overwritten = 0
        self.surplus = 0
        self.size: tuple[int, int] | None = None
        self.connection = 0
        self._people = 0
        self._timing = timing
        self._on_state = on_state
        self._on_frame = on_frame
        self._clock = StreamClock()
        self._lock = threading.RLock()
        self._backlog = backlog
        self._queue: deque[Sighting] = deque()
        self._last_time: float | None = None
        self._tracked: bool | None = None
        self._last_arrival: float | None = None
        self._arrivals: deque[float] = deque()

    @property
    def fps(self) -> float | None:
        """Input frame rate over the last five seconds, in frames per second; None with fewer than two frames."""
        with self._lock:
            self._forget_arrivals(time.monotonic())
            if len(self._arrivals) < 2 or self._arrivals[-1] == self._arrivals[0]:
                return None
            return (len(self._arrivals) - 1) / (self._arrivals[-1] - self._arrivals[0])

    def start(self) -> None:
        """Wait for the device."""
        with self._lock:
            self._move(SourceState.CONNECTING, first=True)

    def stop(self) -> None:
        """Accept no more frames and drop those that wait."""
        with self._lock:
            self._queue.clear()
            if self.state is not SourceState.STOPPED:
                self.problem = None
                self._move(SourceState.STOPPED)

    def connect(self) -> int:
        """Note that a device has connected. It replaces the device before, and has its own clock and identities.

        Returns:
            The number of the connection. The device is replaced once `connection` is another number.
        """
        with self._lock:
            self.connection += 1
            self._people += 1
            self._last_time = self._tracked = None
            self._clock.restart()
            return self.connection

    def push(self, frame: SkeletonFrame) -> None:
        """Take a frame from the device.

        Raises:
            BadSkeletons: The frame is not later than the last one, or only one of the two has identities.
        """
        people = poses_of(frame, frame)
        with self._lock:
            if self.state is SourceState.STOPPED:
                return
            self._check_identities(frame)
            self._check_order(frame.time_s)
            arrival = time.monotonic()
            captured_at = self._clock.capture_moment(arrival, frame.time_s)
            if len(self._queue) == self._backlog:
                self._queue.popleft()
                self.frames_overwritten += 1
            self._queue.append(
                Sighting(
                    self.camera_id,
                    self.frames_read,
                    captured_at,
                    frame.width,
                    frame.height,
                    people,
                    connection=self._people,
                )
            )
            self.frames_read += 1
            self.surplus += frame.surplus
            self.size = (frame.width, frame.height)
            self._measure(arrival)
            if self.state is not SourceState.ONLINE:
                self.problem = None
                self._move(SourceState.ONLINE)
        self._on_frame()

    def take(self) -> Sighting | None:
        """The oldest waiting frame, or None. Skeletons are cheap to score, so the engine processes every frame."""
        with self._lock:
            return self._queue.popleft() if self._queue else None

    def watch(self, now: float) -> None:
        """Check whether the device has stopped sending; called regularly.

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

    def _check_identities(self, frame: SkeletonFrame) -> None:
        if not frame.people:
            return
        if self._tracked not in (None, frame.tracked):
            raise BadSkeletons("either every frame with people from one device has tracks or none")
        self._tracked = frame.tracked

    def _check_order(self, time_s: float) -> None:
        step = None if self._last_time is None else time_s - self._last_time
        if step is not None and -_RESTART_S < step < MIN_STEP_S:
            raise BadSkeletons(f"time_s={time_s:g} must be at least {MIN_STEP_S:g} s after {self._last_time:g}")
        if step is not None and step < 0:
            # After a longer step back the device was restarted: its clock and its identities start again.
            self._people += 1
        self._last_time = time_s

    def _measure(self, arrival: float) -> None:
        self._last_arrival = arrival
        self._arrivals.append(arrival)
        self._forget_arrivals(arrival)

    def _forget_arrivals(self, now: float) -> None:
        while self._arrivals and self._arrivals[0] < now - _RATE_SPAN_S:
            self._arrivals.popleft()

    def _move(self, state: SourceState, *, first: bool = False) -> None:
        previous, self.state, self.since = None if first else self.state, state, time.monotonic()
        cause, detail = (self.problem.cause, str(self.problem)) if self.problem else (None, None)
        self._on_state(StateChange(self.camera_id, previous, state, self.since, cause, detail))
