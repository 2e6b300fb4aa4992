"""Carries scores and events between the processes of one service, through Redis Streams.

Nobody waits for Redis. Events are in the store before they are here, so what Redis loses, or never gets, the receivers
notice by its number, or by looking from time to time, and read there. Scores that cannot be sent are dropped and
counted.

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
"""Scores of one camera that stay in its stream: those of about a quarter of a minute."""

_WAITING_EVENTS: Final = 1024
_WAITING_SCORES: Final = 512
_PAGE: Final = 128
_BLOCK_MS: Final = 200
"""Longest time until a new subscriber's camera is listened to."""

_LOOK_S: Final = 2.0
_TIMEOUT_S: Final = 5.0
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry on its way into a stream."""

    stream: str
    kept: int
    fields: dict[str, str]


class Relay:
    """Sends what this process publishes, and takes in what others do.

    Args:
        url: Address of Redis; may hold a password.
        origin: Name of this process, by which it knows its own entries.
        scores: Where scores of other processes are published; those of this one are sent by `score`.
        receive: Takes an event that another process has written; in any order, and perhaps more than once.
        catch_up: Looks into the store for events that did not come by here.
        listen_to_scores: Whether cameras run in another process.
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
        """Why nothing goes through Redis at the moment."""
        return next(iter(self._problems.copy().values()), None)

    @property
    def waiting(self) -> int:
        """Events and scores that are not sent yet."""
        with self._changed:
            return len(self._events) + len(self._outbox)

    @property
    def dropped(self) -> int:
        """Scores that were never sent."""
        with self._changed:
            return self._dropped

    def start(self) -> None:
        """Begin to send and to listen."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send what waits, as long as that works at once, and end."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._client.close()

    def event(self, event: Event, ours: bool) -> None:
        """Send an event that this process wrote to the store; never waits. The store keeps what does not fit here.

        Args:
            event: The event.
            ours: Whether this process wrote it; others are not sent.
        """
        if not ours:
            return
        entry = _Entry(EVENTS, _KEPT_EVENTS, {"origin": self._origin, "event": event.model_dump_json()})
        with self._changed:
            self._events.append(entry)
            self._changed.notify()

    def score(self, camera_id: str, score: Score) -> None:
        """Send a score; never waits. Of many that wait the oldest are dropped."""
        self._put(camera_id, score)

    def ended(self, camera_id: str) -> None:
        """Tell that a camera was removed; never waits."""
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
                    # Where the stream stands is asked for first: what comes later is heard, the rest read.
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
                # Whatever one entry does, the others are to be heard.
                log.exception("an entry of a stream is not understood")
                self._stopping.wait(_FIRST_PAUSE_S)
            else:
                self._problems.pop("listening", None)
                pause = _FIRST_PAUSE_S

    def _follow_cameras(self) -> None:
        """Listen to the cameras that somebody here subscribes to, and to no others."""
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
    """Scores of the cameras that run here, for subscribers of this process and of all others.

    Args:
        scores: Those of this process.
        relay: The way to the others.
    """

    def __init__(self, scores: ScoreBus, relay: Relay) -> None:
        self._scores = scores
        self._relay = relay

    def publish(self, camera_id: str, score: Score) -> None:
        """Hand a score to everybody who listens now; callable from any thread, and never waits."""
        self._scores.publish(camera_id, score)
        self._relay.score(camera_id, score)

    def end(self, camera_id: str) -> None:
        """Let the subscriptions to a camera end."""
        self._scores.end(camera_id)
        self._relay.ended(camera_id)


def connect(url: str) -> redis.Redis:
    """A client that gives up in seconds; nothing is connected yet.

    Raises:
        ValueError: The URL is not one of Redis.
    """
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        # The older protocol, in which every server answers alike.
        protocol=2,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        # The callers know better when to try again, and what must not be sent twice.
        retry=Retry(NoBackoff(), 0),
        client_name="daflow",
    )


def check(url: str) -> str:
    """Ask Redis for its version.

    Raises:
        RedisError: It does not answer.
    """
    client = connect(url)
    try:
        return str(client.info("server")["redis_version"])
    finally:
        client.close()
