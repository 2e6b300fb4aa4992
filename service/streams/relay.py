"""Exchanges scores and events between the processes of one service, through Redis Streams.

Publishing never waits for Redis. Events are in the database before they are sent. A receiver therefore notices missing
events by their ids, or when it checks the database from time to time, and reads them there. Scores that cannot be sent
are dropped and counted.

| stream | entries |
|---|---|
| ``daflow:events`` | ``origin``, ``event``: what one process has written and published |
| ``daflow:scores:<camera>`` | ``origin``, ``score``; or ``ended`` when the camera was removed |
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from service.documents.messages import Event, Score, event_adapter
from service.streams.bus import ScoreBus

EVENTS: Final = "daflow:events"
SCORES: Final = "daflow:scores:"

_KEPT_EVENTS: Final = 1024
_KEPT_SCORES: Final = 256
"""Scores of one camera that stay in its stream: about 15 seconds."""

_WAITING_EVENTS: Final = 1024
_WAITING_SCORES: Final = 512
_PAGE: Final = 128
_BLOCK_MS: Final = 200
"""Longest time until the stream of a newly subscribed camera is read."""

_LOOK_S: Final = 2.0
_TIMEOUT_S: Final = 5.0
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry to be added to a stream."""

    stream: str
    kept: int
    fields: dict[str, str]


class Relay:
    """Sends what this process publishes to other processes, and receives what they publish.

    Args:
        url: URL of Redis; may hold a password.
        origin: Name of this process, by which it recognises its own entries.
        scores: Bus for the scores of other processes; scores of this process are sent with `score`.
        receive: Called with events of other processes; in any order, and perhaps more than once.
        catch_up: Reads events from the database that did not come through Redis.
        listen_to_scores: Whether the cameras run in another process.
    """

    def __init__(
        self,
        url: str,
        origin: str,
        scores: ScoreBus,
        receive: Callable[[Event], None],
        catch_up: Callable[[], None],
        *,
        listen_to_scores: bool,
    ) -> None:
        self._client = connect(url)
        self._origin = origin
        self._scores = scores
        self._receive = receive
        self._catch_up = catch_up
        self._listens = listen_to_scores
        self._changed = threading.Condition()
        self._events: deque[_Entry] = deque(maxlen=_WAITING_EVENTS)
        self._outbox: deque[tuple[str, Score | None]] = deque()
        self._dropped = 0
        self._positions: dict[str, str] = {}
        self._stopping = threading.Event()
        self._problems: dict[str, str] = {}
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (("relay-out", self._send), ("relay-in", self._take_in))
        ]

    @property
    def problem(self) -> str | None:
        """Why Redis cannot be used at the moment; None if it works."""
        return next(iter(self._problems.copy().values()), None)

    @property
    def waiting(self) -> int:
        """Number of events and scores that wait to be sent."""
        with self._changed:
            return len(self._events) + len(self._outbox)

    @property
    def dropped(self) -> int:
        """Number of scores that were dropped instead of sent."""
        with self._changed:
            return self._dropped

    def start(self) -> None:
        """Start to send and to receive."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send what waits, without retrying, and stop."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._client.close()

    def event(self, event: Event, ours: bool) -> None:
        """Queue an event for sending; never waits. If the queue is full, the oldest is left to the database.

        Args:
            event: An event that is in the database.
            ours: Whether this process wrote it; events of other processes are not sent.
        """
        if not ours:
            return
        entry = _Entry(EVENTS, _KEPT_EVENTS, {"origin": self._origin, "event": event.model_dump_json()})
        with self._changed:
            self._events.append(entry)
            self._changed.notify()

    def score(self, camera_id: str, score: Score) -> None:
        """Queue a score for sending; never waits. If the queue is full, the oldest score is dropped."""
        self._put(camera_id, score)

    def ended(self, camera_id: str) -> None:
        """Queue the message that a camera was removed; never waits."""
        self._put(camera_id, None)

    def _put(self, camera_id: str, score: Score | None) -> None:
        with self._changed:
            if len(self._outbox) >= _WAITING_SCORES:
                self._outbox.popleft()
                self._dropped += 1
            self._outbox.append((camera_id, score))
            self._changed.notify()

    def _send(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._events or self._outbox or self._stopping.is_set())
                if not self._events and not self._outbox:
                    return
                events = [self._events.popleft() for _ in range(min(_PAGE, len(self._events)))]
                scores = [self._outbox.popleft() for _ in range(min(_PAGE, len(self._outbox)))]
            try:
                self._add([*events, *map(self._entry, scores)])
            except (RedisError, OSError) as error:
                self._note("sending", error)
                with self._changed:
                    self._dropped += len(scores)
                    room = _WAITING_EVENTS - len(self._events)
                    self._events.extendleft(reversed(events[-room:] if room else []))
                if self._stopping.wait(pause):
                    return
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            else:
                self._problems.pop("sending", None)
                pause = _FIRST_PAUSE_S

    def _entry(self, waiting: tuple[str, Score | None]) -> _Entry:
        camera_id, score = waiting
        content = {"ended": "1"} if score is None else {"score": score.model_dump_json()}
        return _Entry(SCORES + camera_id, _KEPT_SCORES, {"origin": self._origin} | content)

    def _add(self, entries: list[_Entry]) -> None:
        with self._client.pipeline(transaction=False) as pipeline:
            for entry in entries:
                pipeline.xadd(entry.stream, cast(Any, entry.fields), maxlen=entry.kept)
            pipeline.execute()

    def _take_in(self) -> None:
        pause, known = _FIRST_PAUSE_S, False
        while not self._stopping.is_set():
            try:
                if not known:
                    # The position is read first: later events come through the stream, earlier ones from the database.
                    self._positions = {EVENTS: self._newest(EVENTS)}
                    self._catch_up()
                    known = True
                self._follow_cameras()
                for stream, entries in self._read():
                    for number, fields in entries:
                        self._positions[stream] = number
                        self._handle(stream, fields)
            except (RedisError, OSError) as error:
                self._note("listening", error)
                known = False
                self._catch_up()
                self._stopping.wait(min(pause, _LOOK_S))
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            except Exception:
                # One bad entry must not stop the others.
                log.exception("an entry of a stream cannot be read")
                self._stopping.wait(_FIRST_PAUSE_S)
            else:
                self._problems.pop("listening", None)
                pause = _FIRST_PAUSE_S

    def _follow_cameras(self) -> None:
        """Read the streams of exactly those cameras that have subscribers in this process."""
        if not self._listens:
            return
        wanted = {SCORES + camera_id for camera_id in self._scores.subscribed}
        for stream in self._positions.keys() - wanted - {EVENTS}:
            del self._positions[stream]
        for stream in wanted - self._positions.keys():
            self._positions[stream] = self._newest(stream)

    def _newest(self, stream: str) -> str:
        newest = cast(list[tuple[str, dict[str, str]]], self._client.xrevrange(stream, count=1))
        return newest[0][0] if newest else "0"

    def _read(self) -> list[tuple[str, list[tuple[str, dict[str, str]]]]]:
        found: Any = self._client.xread(cast(Any, self._positions), count=_PAGE, block=_BLOCK_MS)
        return cast(list[tuple[str, list[tuple[str, dict[str, str]]]]], found)

    def _handle(self, stream: str, fields: dict[str, str]) -> None:
        if fields["origin"] == self._origin:
            return
        if stream == EVENTS:
            self._receive(event_adapter.validate_json(fields["event"]))
            return
        camera_id = stream.removeprefix(SCORES)
        if "ended" in fields:
            self._scores.end(camera_id)
        else:
            self._scores.publish(camera_id, Score.model_validate_json(fields["score"]))

    def _note(self, doing: str, error: Exception) -> None:
        if doing not in self._problems:
            log.warning("Redis cannot be used; trying again", doing=doing, error=str(error))
        self._problems[doing] = f"Redis cannot be used for {doing}: {error}"


class RelayedScores:
    """Publishes scores to the subscribers of this process and of all others.

    Args:
        scores: The bus of this process.
        relay: Sends to the other processes.
    """

    def __init__(self, scores: ScoreBus, relay: Relay) -> None:
        self._scores = scores
        self._relay = relay

    def publish(self, camera_id: str, score: Score) -> None:
        """Publish a score to all current subscribers; callable from any thread, never waits."""
        self._scores.publish(camera_id, score)
        self._relay.score(camera_id, score)

    def end(self, camera_id: str) -> None:
        """End the subscriptions to a camera, in all processes."""
        self._scores.end(camera_id)
        self._relay.ended(camera_id)


def connect(url: str) -> redis.Redis:
    """Make a client with short timeouts and without retries; no connection is made yet.

    Raises:
        ValueError: The URL is not a URL of Redis.
    """
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        # The older protocol, which all versions of the server answer in the same way.
        protocol=2,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        # The callers retry themselves, because some entries must not be sent twice.
        retry=Retry(NoBackoff(), 0),
        client_name="daflow",
    )


def check(url: str) -> str:
    """Connect to Redis and return its version.

    Raises:
        RedisError: Redis cannot be reached.
    """
    client = connect(url)
    try:
        return str(client.info("server")["redis_version"])
    finally:
        client.close()
