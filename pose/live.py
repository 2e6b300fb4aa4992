"""Live frame sources: always the newest picture of a camera.

A `LiveSource` reads one camera in its own thread and keeps only the newest frame. It notices when the camera sends
nothing, reconnects with growing pauses, and can be stopped from any state within a second. It reads from a `Capture`,
one open connection; see `pose.captures`. All moments are seconds of `time.monotonic`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Final, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pose.source import Frame

logger = logging.getLogger(__name__)

PictureState = Literal["ok", "black", "frozen"]
"""What a coarse look at the picture says about the camera."""

_SLOW_TO_RETRY: Final = frozenset({"unauthorised"})
"""Causes after which the longest pause applies at once: many cameras lock an account after a few wrong passwords."""

_WATCH_S: Final = 0.1
_WAITING_S: Final = 1.0
_JOIN_S: Final = 0.3
_DELIVERY_S: Final = 0.3
_RATE_SPAN_S: Final = 5.0


class SourceState(StrEnum):
    """The state of a live source.

    Example:
        >>> SourceState.STALLED in TRANSITIONS[SourceState.ONLINE]
        True
    """

    CONNECTING = "connecting"
    WAITING = "waiting"
    ONLINE = "online"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    STOPPED = "stopped"
    FAILED = "failed"


TRANSITIONS: Final[Mapping[SourceState, frozenset[SourceState]]] = {
    SourceState.CONNECTING: frozenset(
        {
            SourceState.WAITING,
            SourceState.ONLINE,
            SourceState.RECONNECTING,
            SourceState.FAILED,
            SourceState.STOPPED,
        }
    ),
    SourceState.WAITING: frozenset(
        {SourceState.ONLINE, SourceState.RECONNECTING, SourceState.FAILED, SourceState.STOPPED}
    ),
    SourceState.ONLINE: frozenset(
        {SourceState.STALLED, SourceState.RECONNECTING, SourceState.FAILED, SourceState.STOPPED}
    ),
    SourceState.STALLED: frozenset(
        {SourceState.ONLINE, SourceState.RECONNECTING, SourceState.FAILED, SourceState.STOPPED}
    ),
    SourceState.RECONNECTING: frozenset(
        {SourceState.WAITING, SourceState.ONLINE, SourceState.FAILED, SourceState.STOPPED}
    ),
    SourceState.FAILED: frozenset({SourceState.STOPPED}),
    SourceState.STOPPED: frozenset({SourceState.CONNECTING}),
}
"""The states that may follow each state. ``failed`` is for problems that another attempt cannot solve."""


class IllegalStreamTransition(RuntimeError):
    """A live source was asked for a change of state that `TRANSITIONS` does not allow."""


class SourceError(Exception):
    """A connection could not be made, or is over.

    The message holds no credentials.

    Attributes:
        cause: A stable slug: ``dns``, ``refused``, ``unreachable``, ``timeout``, ``tls``, ``unauthorised``,
            ``not-found``, ``forbidden``, ``redirect``, ``rejected``, ``transport``, ``not-a-video``, ``undecodable``,
            ``too-many-pixels``, ``ended``, ``device-missing`` or ``defect``.
        permanent: Whether trying again cannot help.
    """

    def __init__(self, cause: str, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.cause = cause
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class LiveTiming:
    """Time limits of a live source, in seconds.

    Attributes:
        open_s: Longest time for making a connection, up to the stream's header.
        read_s: A connection without a picture for this long is given up.
        stall_s: A connection without a picture for this long counts as stalled.
        key_frame_s: Longest wait for a picture while coded video arrives: of a stream that was joined in the middle,
            nothing can be shown before its next key frame.
        backoff_first_s: Pause before the first new attempt; each further one doubles it.
        backoff_cap_s: Longest pause.
        backoff_jitter: Share of the pause that is random, so that cameras behind one switch do not all reconnect at
            the same moment.
        healthy_s: A connection that gave pictures for this long starts the pauses from the first again.

    Example:
        >>> timing = LiveTiming(backoff_first_s=1.0, backoff_cap_s=60.0, backoff_jitter=0.0)
        >>> [timing.backoff_s(failures, chance=0.5) for failures in (1, 2, 3, 10)]
        [1.0, 2.0, 4.0, 60.0]
    """

    open_s: float = 10.0
    read_s: float = 10.0
    stall_s: float = 5.0
    key_frame_s: float = 60.0
    backoff_first_s: float = 1.0
    backoff_cap_s: float = 30.0
    backoff_jitter: float = 0.5
    healthy_s: float = 10.0

    def __post_init__(self) -> None:
        for name in ("open_s", "read_s", "stall_s", "key_frame_s", "backoff_first_s", "backoff_cap_s"):
            if not (math.isfinite(value := getattr(self, name)) and value > 0):
                raise ValueError(f"{name} must be a positive number, got {value}")
        if not (math.isfinite(self.healthy_s) and self.healthy_s >= 0):
            raise ValueError(f"healthy_s must not be negative, got {self.healthy_s}")
        if not 0 <= self.backoff_jitter <= 1:
            raise ValueError(f"backoff_jitter must lie between 0 and 1, got {self.backoff_jitter}")

    def backoff_s(self, failures: int, chance: float) -> float:
        """Pause after a number of failures in a row.

        Args:
            failures: How many attempts have failed, from 1.
            chance: A random number between 0 and 1.

        Returns:
            Seconds: at most ``min(backoff_cap_s, backoff_first_s * 2 ** (failures - 1))``, and less by up to the share
            `backoff_jitter`.
        """
        # Beyond 2**62 the cap has long been reached, and a float overflows at 2**1024.
        longest = min(self.backoff_cap_s, self.backoff_first_s * 2.0 ** min(failures - 1, 62))
        return longest * (1 - self.backoff_jitter * chance)


@dataclass(frozen=True, slots=True)
class StateChange:
    """A live source went from one state to the next.

    Attributes:
        camera_id: The camera.
        previous: The state before; none for a source that was just made.
        state: The state now.
        moment: When, in seconds on the monotonic clock.
        cause: Slug of the problem that led here, see `SourceError`.
        detail: The problem in words, without credentials.

    Example:
        >>> change = StateChange("yard", SourceState.ONLINE, SourceState.STALLED, moment=12.5, cause=None, detail=None)
        >>> f"{change.camera_id}: {change.previous} to {change.state}"
        'yard: online to stalled'
    """

    camera_id: str
    previous: SourceState | None
    state: SourceState
    moment: float
    cause: str | None
    detail: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What one read of a capture gives.

    Attributes:
        image: Shape ``(height, width, 3)``, uint8, BGR.
        stream_time: Seconds on the stream's own clock, if it has one.
        skipped: Pictures before this one that were left out to catch up with the camera.

    Example:
        >>> import numpy as np
        >>> Picture(np.zeros((480, 640, 3), np.uint8), stream_time=0.04).image.shape
        (480, 640, 3)
    """

    image: NDArray[np.uint8]
    stream_time: float | None
    skipped: int = 0


@runtime_checkable
class Undecoded(Protocol):
    """A capture that knows of coded video that it cannot show yet.

    Attributes:
        undecoded_at: Moment of the newest packet since the last picture, in seconds on the monotonic clock; None if
            there is none.

    Example:
        >>> class Joined:
        ...     undecoded_at: float | None = 12.5
        >>> isinstance(Joined(), Undecoded)
        True
    """

    undecoded_at: float | None


class Capture(Protocol):
    """One open connection to a camera.

    Example:
        >>> import numpy as np
        >>> class Grey:
        ...     def read(self) -> Picture:
        ...         return Picture(np.full((480, 640, 3), 128, np.uint8), stream_time=None)
        ...
        ...     def close(self) -> None:
        ...         pass
        >>> camera: Capture = Grey()
        >>> camera.read().image.shape
        (480, 640, 3)
    """

    def read(self) -> Picture:
        """Wait for the next picture.

        Raises:
            SourceError: The connection is over.
        """

    def close(self) -> None:
        """Give the connection up, from any thread and any number of times; a read under way ends soon."""


class StreamClock:
    """Turns arrival times into capture times.

    A camera takes pictures evenly, but the network delivers them in bunches. The stream's own clock is even, so it
    tells the jitter of the network apart from the movement of people. It is trusted for nothing else: clocks of cameras
    run some per cent too fast or too slow, and some run at half speed. So its speed is measured against the arrivals.

    Arrivals of the last ten seconds, as points over stream time, lie on or above a line: the pictures that met no
    delay. Its slope is that of the edge of their lower convex hull under the mean stream time, which is the line with
    the smallest sum of distances below all points (Moon, Skelly and Towsley, *Estimation and Removal of Clock Skew from
    Network Delay Measurements*, INFOCOM 1999). The slope is drawn towards 1 as far as jitter explains it: by a tenth of
    a second, and the mean distance of the points, over the time they span. Capture times strictly increase and are
    never later than the arrival.

    Where stream times jump, or pictures stay more than a second above the line for three seconds, the clock starts
    anew. A single stream time far from both neighbours changes nothing. Without stream times the arrival time is used.

    Example:
        >>> clock = StreamClock()
        >>> arrivals, stream_times = (10.0, 10.25, 10.25), (0.0, 0.125, 0.25)
        >>> [round(clock.capture_moment(*both), 3) for both in zip(arrivals, stream_times, strict=True)]
        [10.0, 10.125, 10.25]
    """

    _SPAN_S: Final = 10.0
    _BUCKET_S: Final = 0.25
    _LEAST_SPAN_S: Final = 1.0
    _JITTER_S: Final = 0.1
    _JUMP_S: Final = 1.0
    _PATIENCE_S: Final = 3.0

    def __init__(self) -> None:
        self._moment = -math.inf
        self._points: deque[tuple[float, float]] = deque()
        """Stream time and arrival of the picture with the least delay in each quarter of a second, oldest first."""
        self._speed = 1.0
        self._last: tuple[float, float] | None = None
        self._stray: tuple[float, float] | None = None
        self._late_since: float | None = None

    def restart(self) -> None:
        """Start anew for another stream, whose clock is unrelated to that of the last."""
        self._points.clear()
        self._speed = 1.0
        self._last = self._stray = self._late_since = None

    def capture_moment(self, arrival: float, stream_time: float | None) -> float:
        """The capture time of a picture, estimated when it arrives.

        Args:
            arrival: Seconds on the monotonic clock, increasing from call to call.
            stream_time: Seconds on the stream's own clock.

        Returns:
            Seconds on the monotonic clock.
        """
        moment = arrival
        if stream_time is None or not math.isfinite(stream_time):
            self.restart()
        elif self._follows(arrival, stream_time):
            moment = min(arrival, self._on_line(arrival, stream_time))
        if moment <= self._moment:
            # Half-way to the arrival is later than the last moment and still leaves room for those to come.
            moment = (self._moment + arrival) / 2 if arrival > self._moment else math.nextafter(self._moment, math.inf)
        self._moment = moment
        return moment

    def _follows(self, arrival: float, stream_time: float) -> bool:
        """Whether a stream time continues those before it; if not, the next one decides which of them is right."""
        if self._last is None or self._continues(self._last, arrival, stream_time):
            self._stray = None
        elif self._stray is not None and self._continues(self._stray, arrival, stream_time):
            first = self._stray
            self.restart()
            self._add(*first)
        else:
            self._stray = (arrival, stream_time)
            return False
        self._last = (arrival, stream_time)
        return True

    def _continues(self, before: tuple[float, float], arrival: float, stream_time: float) -> bool:
        passed, streamed = arrival - before[0], stream_time - before[1]
        return 0 < streamed <= passed + self._JUMP_S

    def _on_line(self, arrival: float, stream_time: float) -> float:
        self._add(arrival, stream_time)
        moment = self._line(stream_time)
        if arrival - moment <= self._JUMP_S:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = arrival
        elif arrival - self._late_since > self._PATIENCE_S:
            self.restart()
            self._add(arrival, stream_time)
            return arrival
        return moment

    def _line(self, stream_time: float) -> float:
        """The line below all points, at a stream time."""
        return min(point[1] + self._speed * (stream_time - point[0]) for point in self._points)

    def _add(self, arrival: float, stream_time: float) -> None:
        points = self._points
        begun = not points or arrival // self._BUCKET_S > points[-1][1] // self._BUCKET_S
        if begun or arrival - points[-1][1] < self._speed * (stream_time - points[-1][0]):
            if not begun:
                points.pop()
            points.append((stream_time, arrival))
        while points[0][1] < arrival - self._SPAN_S:
            points.popleft()
        if begun:
            self._speed = self._measured_speed()

    def _measured_speed(self) -> float:
        """Seconds of arrival for each second of the stream, as far as jitter does not explain the difference from 1."""
        # The newest quarter of a second has just begun, and its first picture may be a late one.
        points = list(self._points)[:-1]
        if len(points) < 2:
            return 1.0
        (first, begin), (last, end) = points[0], points[-1]
        if end - begin < self._LEAST_SPAN_S:
            return 1.0
        hull: list[tuple[float, float]] = []
        for x, y in points:
            while len(hull) > 1 and _turn(hull[-2], hull[-1], (x, y)) <= 0:
                hull.pop()
            hull.append((x, y))
        mean = sum(x for x, _ in points) / len(points)
        (x0, y0), (x1, y1) = next(edge for edge in pairwise(hull) if edge[1][0] >= mean)
        speed = (y1 - y0) / (x1 - x0)
        distance = sum(y - y0 - speed * (x - x0) for x, y in points) / len(points)
        unexplained = abs(speed - 1) * (last - first) - self._JITTER_S - distance
        return 1 + math.copysign(max(unexplained, 0.0) / (last - first), speed - 1)


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    """Positive where the way from `a` over `b` to `c` turns left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


class PictureWatch:
    """Looks at a picture about once a second and says whether the camera shows anything.

    Black is a picture that has been dark and flat for three seconds; frozen is one of which every eighth pixel of
    every eighth row has stayed the same to the bit for ten.

    Example:
        >>> import numpy as np
        >>> watch = PictureWatch()
        >>> for second in range(5):
        ...     watch.look(np.zeros((480, 640, 3), np.uint8), moment=float(second))
        >>> watch.state
        'black'
    """

    _EVERY_S: Final = 1.0
    _BLACK_S: Final = 3.0
    _FROZEN_S: Final = 10.0
    _DARK: Final = 24.0
    _FLAT: Final = 4.0

    def __init__(self) -> None:
        self.state: PictureState = "ok"
        self._looked = -math.inf
        self._sample: NDArray[np.uint8] | None = None
        self._same_since = 0.0
        self._black_since: float | None = None

    def look(self, image: NDArray[np.uint8], moment: float) -> None:
        """Look at the next picture.

        Args:
            image: Shape ``(height, width, 3)``.
            moment: Seconds on the monotonic clock.
        """
        if moment - self._looked < self._EVERY_S:
            return
        self._looked = moment
        sample = image[::8, ::8].copy()
        if self._sample is None or not np.array_equal(sample, self._sample):
            self._same_since = moment
        self._sample = sample
        if sample.mean() > self._DARK or sample.std() > self._FLAT:
            self._black_since = None
        elif self._black_since is None:
            self._black_since = moment
        if self._black_since is not None and moment - self._black_since >= self._BLACK_S:
            self.state = "black"
        elif moment - self._same_since >= self._FROZEN_S:
            self.state = "frozen"
        else:
            self.state = "ok"


@dataclass(slots=True, eq=False)
class _Run:
    """From one start of a source to its stop.

    Attributes:
        ended: Set by the stop.
        capture: The open connection.
        first: Moment of the first frame of this connection.
        last: Moment of the last frame, or of the connection while there is none.
        overdue: Why the connection was given up while its reader waited.
    """

    ended: threading.Event = field(default_factory=threading.Event)
    capture: Capture | None = None
    first: float | None = None
    last: float = 0.0
    overdue: SourceError | None = None


def _ignore(*_: object) -> None:
    pass


class LiveSource:
    """The newest picture of one camera.

    ``waiting`` means connected, and coded video arrives of which nothing can be shown before its next key frame; that
    may last for `LiveTiming.key_frame_s`. ``stalled`` means connected and silent for `LiveTiming.stall_s`; after
    `LiveTiming.read_s` of silence the connection is made anew. ``connecting`` is only the first attempt; ``online``
    begins with the first picture.

    Args:
        camera_id: Written into every frame and state change.
        open_capture: Makes a connection within about `LiveTiming.open_s`, or raises `SourceError`. Called from the
            source's thread.
        timing: Its time limits.
        on_state: Called with every change of state, in order and from one thread at a time: the reader's, the
            watchdog's, which all sources share, or the one that calls `stop`. It must return quickly. After `stop` has
            returned it is not called again, unless a call was running then: the changes up to ``stopped`` follow it.
        on_frame: Called from the reader's thread when a new frame can be taken.
        on_picture: Called from the reader's thread with each picture and its capture time; it must return quickly.

    Example:
        >>> def open_camera() -> Capture:
        ...     raise SourceError("not-found", "the camera has no stream of this name", permanent=True)
        >>> source = LiveSource("yard", open_camera)
        >>> source.state
        <SourceState.STOPPED: 'stopped'>
        >>> source.start()
        >>> source.stop()
        >>> source.take() is None
        True
    """

    def __init__(
        self,
        camera_id: str,
        open_capture: Callable[[], Capture],
        *,
        timing: LiveTiming | None = None,
        on_state: Callable[[StateChange], None] = _ignore,
        on_frame: Callable[[], None] = _ignore,
        on_picture: Callable[[NDArray[np.uint8], float], None] = _ignore,
    ) -> None:
        self.camera_id = camera_id
        self._open_capture = open_capture
        self._timing = timing or LiveTiming()
        self._on_state = on_state
        self._on_frame = on_frame
        self._on_picture = on_picture
        self._lock = threading.Lock()
        self._run: _Run | None = None
        self._thread: threading.Thread | None = None
        self._state: SourceState | None = None
        self._since = time.monotonic()
        self._problem: SourceError | None = None
        # Its own: threads of cameras may not draw from the generator that the rest of the process may have seeded.
        self._chance = random.Random()  # noqa: S311 - spreads cameras over time, keeps no secret
        self._changes: deque[StateChange] = deque()
        self._delivery = threading.Lock()
        self._slot: Frame | None = None
        self._reconnects = self._frames_read = self._frames_overwritten = 0
        self._size: tuple[int, int] | None = None
        self._arrivals: deque[float] = deque()
        self._clock = StreamClock()
        self._watch = PictureWatch()

    @property
    def state(self) -> SourceState:
        """The state; ``stopped`` before the first start."""
        return self._state or SourceState.STOPPED

    @property
    def since(self) -> float:
        """Moment of the last change of state."""
        return self._since

    @property
    def problem(self) -> SourceError | None:
        """The last problem; none while online."""
        return self._problem

    @property
    def reconnects(self) -> int:
        """How often the source has started to connect again, after a lost connection or a failed first attempt."""
        return self._reconnects

    @property
    def frames_read(self) -> int:
        """Frames that arrived since the source was made."""
        return self._frames_read

    @property
    def frames_overwritten(self) -> int:
        """Dropped frames: replaced by a newer one before they were taken, or skipped to catch up with the camera."""
        return self._frames_overwritten

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the newest frame in pixels."""
        return self._size

    @property
    def picture(self) -> PictureState:
        """Whether the camera shows anything."""
        return self._watch.state

    @property
    def fps(self) -> float | None:
        """Frames per second that arrived over the last five seconds; none without two of them."""
        with self._lock:
            self._forget_arrivals(time.monotonic())
            if len(self._arrivals) < 2:
                return None
            return (len(self._arrivals) - 1) / (self._arrivals[-1] - self._arrivals[0])

    def start(self) -> None:
        """Begin to read.

        Raises:
            IllegalStreamTransition: The source is not stopped.
        """
        with self._lock:
            self._move(SourceState.CONNECTING)
            run = self._run = _Run()
            self._thread = threading.Thread(target=self._read, args=(run,), name=f"read-{self.camera_id}", daemon=True)
            self._thread.start()
        _WATCHDOG.add(self)

    def stop(self) -> None:
        """Stop reading, from whatever state, within a second.

        A reader that is blocked in a system call is left to end by itself; it reports nothing more.
        """
        with self._lock:
            run, thread = self._run, self._thread
            if run is None:
                return
            self._run = self._thread = self._slot = None
            run.ended.set()
            self._problem = None
            self._move(SourceState.STOPPED)
            capture = run.capture
        _WATCHDOG.remove(self)
        if capture is not None:
            capture.close()
        self._deliver(_DELIVERY_S)
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_S)

    def take(self) -> Frame | None:
        """The newest frame, unless it has been taken; its `captured_at` is a moment of the monotonic clock."""
        with self._lock:
            frame, self._slot = self._slot, None
            return frame

    def watch(self, now: float) -> None:
        """Check how long ago the last frame came; the watchdog calls this several times a second.

        Args:
            now: Seconds on the monotonic clock.
        """
        timing = self._timing
        given_up: Capture | None = None
        noticed = False
        with self._lock:
            run = self._run
            if run is None or run.capture is None or run.overdue is not None:
                return
            silence = now - run.last
            undecoded_at = run.capture.undecoded_at if isinstance(run.capture, Undecoded) else None
            coded = undecoded_at is not None and now - undecoded_at <= timing.read_s
            unseen = run.first is None and self._state in (SourceState.CONNECTING, SourceState.RECONNECTING)
            if coded and unseen and silence > _WAITING_S:
                self._problem = None
                self._move(SourceState.WAITING)
                noticed = True
            if silence > timing.stall_s and self._state is SourceState.ONLINE:
                self._problem = SourceError("timeout", f"no picture for {timing.stall_s:g} s")
                self._move(SourceState.STALLED)
                noticed = True
            if silence > (max(timing.key_frame_s, timing.read_s) if coded else timing.read_s):
                missing = "key frame" if coded else "picture"
                self._problem = run.overdue = SourceError("timeout", f"no {missing} for {silence:.0f} s")
                self._seek_again()
                given_up = run.capture
                noticed = True
        if noticed:
            self._deliver()
        if given_up is not None:
            given_up.close()

    def _read(self, run: _Run) -> None:
        failures = 0
        self._deliver()
        while not run.ended.is_set():
            try:
                self._follow(run)
                return
            except SourceError as error:
                problem = error
            except Exception as error:
                logger.exception("camera %s: the reader met a defect", self.camera_id)
                problem = SourceError("defect", f"reading the camera failed: {type(error).__name__}")
            with self._lock:
                if run.ended.is_set():
                    return
                problem, run.overdue = run.overdue or problem, None
                healthy = run.first is not None and run.last - run.first >= self._timing.healthy_s
                run.first = None
                failures = 1 if healthy else failures + 1
                self._problem = problem
                if problem.permanent:
                    self._move(SourceState.FAILED)
                else:
                    self._seek_again()
            self._deliver()
            if problem.permanent:
                return
            pause = self._timing.backoff_s(
                64 if problem.cause in _SLOW_TO_RETRY else failures,
                self._chance.random(),
            )
            run.ended.wait(pause)

    def _follow(self, run: _Run) -> None:
        """Read one connection until it is over, or return when the source was stopped."""
        capture = self._open_capture()
        try:
            with self._lock:
                run.capture, run.last = capture, time.monotonic()
                self._clock.restart()
            while not run.ended.is_set():
                picture = capture.read()
                if not self._accept(run, picture, time.monotonic()):
                    return
                self._deliver()
                self._announce()
        finally:
            with self._lock:
                run.capture = None
            capture.close()

    def _accept(self, run: _Run, picture: Picture, arrival: float) -> bool:
        height, width = picture.image.shape[:2]
        with self._lock:
            if run.ended.is_set():
                return False
            if run.overdue is not None:
                raise run.overdue
            run.last = arrival
            if run.first is None:
                run.first = arrival
            captured_at = self._clock.capture_moment(arrival, picture.stream_time)
            self._frames_read += picture.skipped
            self._frames_overwritten += picture.skipped + (self._slot is not None)
            self._slot = Frame(self.camera_id, self._frames_read, captured_at, picture.image)
            self._frames_read += 1
            self._size = (width, height)
            self._arrivals.append(arrival)
            self._forget_arrivals(arrival)
            if self._state is not SourceState.ONLINE:
                self._problem = None
                self._move(SourceState.ONLINE)
        self._watch.look(picture.image, arrival)
        self._show(picture.image, captured_at)
        return True

    def _show(self, image: NDArray[np.uint8], captured_at: float) -> None:
        try:
            self._on_picture(image, captured_at)
        except Exception:
            logger.exception("camera %s: a listener for pictures failed", self.camera_id)

    def _announce(self) -> None:
        try:
            self._on_frame()
        except Exception:
            logger.exception("camera %s: a listener for frames failed", self.camera_id)

    def _forget_arrivals(self, now: float) -> None:
        while self._arrivals and self._arrivals[0] < now - _RATE_SPAN_S:
            self._arrivals.popleft()

    def _seek_again(self) -> None:
        if self._state is not SourceState.RECONNECTING:
            self._reconnects += 1
            self._move(SourceState.RECONNECTING)

    def _move(self, state: SourceState) -> None:
        if state not in TRANSITIONS[self.state]:
            raise IllegalStreamTransition(f"a source that is {self.state} cannot become {state}")
        previous, self._state, self._since = self._state, state, time.monotonic()
        cause, detail = (self._problem.cause, str(self._problem)) if self._problem else (None, None)
        self._changes.append(StateChange(self.camera_id, previous, state, self._since, cause, detail))

    def _deliver(self, patience_s: float = 0.0) -> None:
        """Report the changes that wait, unless another thread is reporting them already."""
        while self._changes:
            if not self._delivery.acquire(timeout=patience_s):
                return
            try:
                while (change := self._next_change()) is not None:
                    try:
                        self._on_state(change)
                    except Exception:
                        logger.exception("camera %s: a listener for states failed", self.camera_id)
            finally:
                self._delivery.release()

    def _next_change(self) -> StateChange | None:
        with self._lock:
            return self._changes.popleft() if self._changes else None


class _Watchdog:
    """One thread that watches all live sources of the process, and ends when there are none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sources: set[LiveSource] = set()
        self._thread: threading.Thread | None = None

    def add(self, source: LiveSource) -> None:
        with self._lock:
            self._sources.add(source)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="live-watchdog", daemon=True)
                self._thread.start()

    def remove(self, source: LiveSource) -> None:
        with self._lock, contextlib.suppress(KeyError):
            self._sources.remove(source)

    def _run(self) -> None:
        while True:
            time.sleep(_WATCH_S)
            with self._lock:
                if not self._sources:
                    self._thread = None
                    return
                sources = list(self._sources)
            for source in sources:
                try:
                    source.watch(time.monotonic())
                except Exception:
                    logger.exception("camera %s: the watchdog met a defect", source.camera_id)


_WATCHDOG: Final = _Watchdog()
