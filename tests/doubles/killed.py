"""A service that is killed again and again, with its database and its bus, while clips and people keep coming.

`KilledService.run` plays a schedule of kills. A supervisor starts the service again each time. Meanwhile clips are
posted and deleted, a simulated camera shows people who fall, a device sends the skeletons of a person whose falls are
known, and a subscriber listens to the incidents and resumes where it was cut off. `KilledService.faults` then says in
words what is wrong.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final, Literal

import av
import cv2
import httpx
import numpy as np
import psutil
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from service.clips.store import ClipStore
from service.clips.tables import ClipState
from service.documents.messages import Event, IncidentEnded, IncidentInfo, IncidentStarted
from service.documents.results import ClipResult
from service.incidents.store import IncidentStore
from service.storage.database import Database, reason
from service.storage.evidence import EVIDENCE_KINDS, EvidenceStore
from simulation.rendering import render
from simulation.scene import scene_with
from simulation.video import write_video
from simulation.weights import CHECKPOINT, IMAGE_SIZE, POSE_WEIGHTS
from tests.doubles.backends import Engine, Servers
from tests.doubles.live import RATE_HZ, falling
from tests.doubles.servers import Client, command, environment, eventually, free_port

SIMULATED: Final = "street"
FED: Final = "edge"
CAMERAS: Final[Mapping[str, dict[str, object]]] = {
    SIMULATED: {"url": "simulation:7?incident_every=15&event=fall", "max_fps": 8, "quiet_s": 2, "cooldown_s": 0},
    FED: {"url": "skeletons:", "quiet_s": 2, "cooldown_s": 0},
}
SETTINGS: Final[Mapping[str, object]] = {
    "pose_weights": POSE_WEIGHTS,
    "pose_image_size": IMAGE_SIZE,
    "checkpoint": CHECKPOINT,
    # A clip may be cut short by every kill, and must be done all the same.
    "clip_max_attempts": 1000,
    "evidence_before_s": 1,
    "evidence_after_s": 1,
    "evidence_max_s": 10,
}

FRAMES: Final = 30
"""Frames of the clip that is posted."""

MOST_WAITING: Final = 4
"""Clips that may wait before another is posted."""

STANDS_S: Final = 3.0
LEAVES_S: Final = 13.0
ROUND_S: Final = 19.0
"""The person of the device stands, falls, lies, is away from `LEAVES_S` on, and comes back after `ROUND_S`."""

_NOTICED_S: Final = 7.0
"""A person who has been down for so long in front of a service that works has raised an incident: three seconds until
somebody who was not seen to fall is said to lie, and four for a busy machine."""

_RETRIES_S: Final = 6.0
"""Longest time after the database is back until what waited for it is written."""

_DAMAGED_ROWS: Final = """
SELECT c.oid::regclass, h.msg FROM pg_class c, verify_heapam(c.oid) h
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
"""
_CHECK_INDEXES: Final = """
SELECT bt_index_check(i.indexrelid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = 'public'::regnamespace
"""

_AWAY: Final = frozenset({429, 503})
"""Statuses with which a clip may be refused: the queue is full, or the database is away."""

What = Literal["service", "postgres", "redis"]


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill.

    Attributes:
        at: Seconds since the begin.
        what: What is killed.
        away_s: Seconds until it is started again.
    """

    at: float
    what: What
    away_s: float


def schedule(kills: int, seed: int, backends: Sequence[What] = ()) -> list[Kill]:
    """Kills at random moments: of the service, so many, and half as many of each backend.

    Some of the service come while it still starts, and others after it has worked for a while.
    """
    chance = np.random.default_rng(seed)
    at, found = 0.0, []
    for _ in range(kills):
        at += chance.uniform(0.5, 12.0) if chance.random() < 0.5 else chance.uniform(12.0, 40.0)
        found.append(Kill(at, "service", chance.uniform(0.0, 1.0)))
    for backend in backends:
        moments = sorted(chance.uniform(0.0, at) for _ in range((kills + 1) // 2))
        apart = [one for one, following in pairwise([*moments, at + 60.0]) if following - one > 8.0]
        found += [Kill(moment, backend, chance.uniform(0.0, 6.0)) for moment in apart]
    return sorted(found, key=lambda kill: kill.at)


@dataclass
class Span:
    """A time in wall-clock seconds: the device was connected and the models loaded, or PostgreSQL was away."""

    begin: float
    end: float = float("inf")
    connected: float = 0.0
    """When the device connected; frames that it sent before the models were loaded are scored as well."""


@dataclass
class KilledService:
    """One service and what happens to it.

    Args:
        folder: Where everything is written.
        servers: PostgreSQL and Redis, if they are behind the service.
        seed: Of everything that is random.
    """

    folder: Path
    servers: Servers | None
    seed: int
    accepted: dict[str, dict[str, Any]] = field(default_factory=dict)
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    statuses: Counter[str] = field(default_factory=Counter)
    heard: list[dict[str, Any]] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    away: list[Span] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _wrong: list[str] = field(default_factory=list)
    _returning: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.data = self.folder / "data"
        self.log = self.folder / "service.log"
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._held = False
        self._acting, self._serving = threading.Event(), threading.Event()
        scene = scene_with("fall", self.seed, 1.0)
        self.film = self.folder / "film.mp4"
        write_video(self.film, (frame.image for frame in islice(render(scene), FRAMES)), scene.camera)

    def run(self, kills: Sequence[Kill]) -> None:
        """Play the kills, and then let the service finish what it has accepted."""
        engines: dict[str, Engine] = (
            {"postgres": self.servers.postgres, "redis": self.servers.redis} if self.servers else {}
        )
        actors = [
            threading.Thread(target=act, name=act.__name__, daemon=True)
            for act in (self._post_clips, self._act, self._listen)
        ]
        supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        supervisor.start()
        try:
            with self._client() as client:
                eventually(lambda: self._ask(client, "/healthz") == 200, "the service answers")
                for camera_id, config in CAMERAS.items():
                    client.put(f"/v1/cameras/{camera_id}", json=config).raise_for_status()
                for actor in actors:
                    actor.start()
                self._play(kills, engines)
                eventually(lambda: self._ask(client, "/readyz") == 200, "the service is ready again")
                eventually(self._was_whole, "the device and the subscriber are served again")
                # One fall at least is seen by a service that nobody kills.
                time.sleep(2 * ROUND_S)
                self._acting.set()
                for actor in actors:
                    actor.join()
                eventually(lambda: self._settled(client), "clips and incidents are settled")
                self._read_evidence(client)
                degraded = client.get("/readyz").json()["degraded"]
                self._wrong += [f"after all kills the service is degraded: {one}" for one in degraded]
        finally:
            self._acting.set()
            self._serving.set()
            supervisor.join()

    def faults(self, database_url: str) -> list[str]:
        """What is wrong, in words; call it after `run`."""
        with closing(Database.open(database_url)) as database:
            found = [
                *self._wrong,
                *self._wrong_answers(),
                *self._wrong_clips(ClipStore(database)),
                *self._wrong_incidents(IncidentStore(database)),
                *self._wrong_files(IncidentStore(database), ClipStore(database)),
                *damage(database),
            ]
        decoders = [one.pid for one in psutil.process_iter() if _names(one, str(self.data))]
        return found + [f"process {pid} of the service is left" for pid in decoders]

    def summary(self) -> dict[str, int]:
        """Figures for people."""
        answers = {f"posts: {status}": number for status, number in sorted(self.statuses.items())}
        return dict(self.counts) | answers

    # What happens to the service.

    def _play(self, kills: Sequence[Kill], engines: Mapping[str, Engine]) -> None:
        began = time.monotonic()
        steps: list[tuple[float, Callable[[], None]]] = []
        for kill in kills:
            if kill.what == "service":
                steps += [(kill.at, self._kill), (kill.at + kill.away_s, self._release)]
            else:
                steps += [(kill.at, self._away(engines[kill.what], kill))]
        for at, step in sorted(steps, key=lambda one: one[0]):
            time.sleep(max(0.0, began + at - time.monotonic()))
            step()
        for waiting in self._returning:
            waiting.join()

    def _kill(self) -> None:
        with self._lock:
            self._held = True
            process = self._process
            if process is not None:
                process.kill()
                process.wait()
            self.counts["kills of the service"] += 1
        self._end_span()

    def _release(self) -> None:
        self._held = False

    def _away(self, engine: Engine, kill: Kill) -> Callable[[], None]:
        def go() -> None:
            span = Span(time.time())
            if kill.what == "postgres":
                self.away.append(span)
            engine.kill()

            def come_back() -> None:
                time.sleep(kill.away_s)
                engine.start()
                span.end = time.time()

            self.counts[f"kills of {kill.what}"] += 1
            returning = threading.Thread(target=come_back)
            self._returning.append(returning)
            returning.start()

        return go

    def _supervise(self) -> None:
        settings = environment(self.data, port=self.port, **SETTINGS)
        with self.log.open("ab") as log:
            while not self._serving.is_set():
                with self._lock:
                    if not self._held and (self._process is None or self._process.poll() is not None):
                        self.counts["starts of the service"] += 1
                        self._process = subprocess.Popen(
                            command("serve"),
                            env=settings,
                            cwd=self.folder,
                            stdin=subprocess.DEVNULL,
                            stdout=log,
                            stderr=log,
                        )
                self._serving.wait(0.3)
            assert self._process is not None
            self._process.terminate()
            self._process.wait(60)

    # Who uses the service.

    def _client(self) -> Client:
        return Client(base_url=self.base, timeout=30)

    def _ask(self, client: httpx.Client, path: str) -> int:
        try:
            return client.get(path).status_code
        except httpx.TransportError:
            return 0

    def _post_clips(self) -> None:
        chance = np.random.default_rng(self.seed + 1)
        content = self.film.read_bytes()
        with self._client() as client:
            while not self._acting.wait(chance.uniform(0.3, 4.0)):
                with contextlib.suppress(httpx.TransportError):
                    self._look_at_clips(client, chance)
                    if len(set(self.accepted) - set(self.done) - self.deleted) < MOST_WAITING:
                        self._post_clip(client, content)

    def _post_clip(self, client: Client, content: bytes) -> None:
        try:
            answer = client.post_clip(content)
        except httpx.ConnectError:
            self.statuses["not connected"] += 1
            return
        except httpx.TransportError:
            self.statuses["cut off"] += 1
            return
        self.statuses[str(answer.status_code)] += 1
        if answer.status_code in (200, 202):
            self.accepted[answer.json()["id"]] = answer.json()
        elif answer.status_code not in _AWAY:
            self._wrong.append(f"a clip was answered with {answer.status_code}: {answer.text}")

    def _look_at_clips(self, client: Client, chance: np.random.Generator) -> None:
        for clip_id in set(self.accepted) - set(self.done) - self.deleted:
            answer = client.get(f"/v1/clips/{clip_id}")
            if answer.status_code not in (200, 503):
                self._wrong.append(f"clip {clip_id} was answered with {answer.status_code}: {answer.text}")
            elif answer.is_success and answer.json()["state"] == "done":
                self.done[clip_id] = answer.json()
        if self.done and chance.random() < 0.15:
            clip_id = chance.choice(sorted(self.done))
            # From now on it may be there or not, until a delete was answered.
            del self.done[clip_id]
            self.deleted.add(clip_id)
            client.delete(f"/v1/clips/{clip_id}")

    def _act(self) -> None:
        """Send the person of the device, who lives on while the service is away."""
        url = f"ws://127.0.0.1:{self.port}/v1/cameras/{FED}/skeletons"
        while not self._acting.is_set():
            with (
                contextlib.suppress(OSError, WebSocketException),
                self._client() as client,
                connect(url, compression=None) as socket,
            ):
                connected, ready = time.time(), False
                while not self._acting.wait(1 / RATE_HZ):
                    socket.send(json.dumps(_frame(time.time())))
                    with contextlib.suppress(TimeoutError):
                        # Unread answers would keep the connection from hearing that the service is alive.
                        socket.recv(timeout=0)
                    if not ready and self._ask(client, "/readyz") == 200:
                        ready = True
                        self.spans.append(Span(time.time(), connected=connected))
            self._end_span()
            self._acting.wait(0.2)

    def _end_span(self) -> None:
        if self.spans:
            self.spans[-1].end = min(self.spans[-1].end, time.time())

    def _listen(self) -> None:
        """Listen to all events, and resume after the last one."""
        last = 0
        while not self._acting.is_set():
            url = f"ws://127.0.0.1:{self.port}/v1/incidents?last_event_id={last}"
            with contextlib.suppress(OSError, WebSocketException), connect(url, compression=None) as socket:
                while not self._acting.is_set():
                    with contextlib.suppress(TimeoutError):
                        message = json.loads(socket.recv(timeout=0.5))
                        if "id" in message:
                            self.heard.append(message)
                            last = message["id"]
            self._acting.wait(0.2)

    def _was_whole(self) -> bool:
        return bool(self.spans) and self.spans[-1].end == float("inf") and bool(self.heard)

    def _settled(self, client: httpx.Client) -> bool:
        clips = list(_pages(client, "clips"))
        incidents = list(_pages(client, "incidents"))
        busy = [one for one in clips if one["state"] in ("queued", "running")]
        pending = [one for one in incidents if one["camera"] == FED and "pending" in (one["snapshot"], one["clip"])]
        return not busy and not pending

    # What is found afterwards.

    def _read_evidence(self, client: httpx.Client) -> None:
        """Read the evidence of every incident that has ended, as an operator does."""
        for incident in _pages(client, "incidents"):
            if incident["ended_at"] is None or "pending" in (incident["snapshot"], incident["clip"]):
                continue
            for name, suffix, complete in (("snapshot", "jpg", _is_picture), ("clip", "mp4", _is_video)):
                versions = ["none"] if incident["camera"] == FED else ["none", "picture"]
                for version in versions:
                    path = f"/v1/incidents/{incident['id']}/{name}.{suffix}"
                    answer = client.get(path, params={"background": version})
                    told = f"{path}?background={version} of an incident with {name} {incident[name]}"
                    if incident[name] == "missing":
                        self.counts[f"{name}: missing"] += 1
                        if answer.status_code != 404:
                            self._wrong.append(f"{told}: {answer.status_code}")
                        if not incident["evidence_problem"]:
                            self._wrong.append(f"{told}: nothing says why")
                    elif not answer.is_success or not complete(answer.content):
                        self._wrong.append(f"{told}: {answer.status_code}, not readable")
                    else:
                        self.counts[f"{name}: read"] += 1

    def _wrong_answers(self) -> Iterator[str]:
        log = self.log.read_text(encoding="utf-8", errors="replace")
        for found in re.finditer(
            r"^(?P<before>.*)\nTraceback.*?^(?P<error>[\w.]+(?:Error|Exception)\b.*?)$", log, re.M | re.S
        ):
            yield f"a traceback in the log after {found['before']!r}: {found['error']}"

    def _wrong_clips(self, store: ClipStore) -> Iterator[str]:
        jobs = {job.id: job for job in store.page(limit=10_000)[0]}
        self.counts["clips accepted"], self.counts["clips deleted"] = len(self.accepted), len(self.deleted)
        lost = set(self.accepted) - set(jobs) - self.deleted
        yield from (f"clip {clip_id} was accepted and is gone" for clip_id in lost)
        surplus = len(set(jobs) - set(self.accepted))
        self.counts["clips stored without an answer"] = surplus
        unanswered = self.statuses["cut off"] + self.statuses["503"]
        if surplus > unanswered:
            yield f"{surplus} clips are stored that were not accepted; {unanswered} posts had no certain answer"
        for job in jobs.values():
            if job.state is not ClipState.DONE:
                yield f"clip {job.id} is {job.state}: {job.error_cause} {job.error_detail}"
                continue
            self.counts["clips done"] += 1
            self.counts["clips done after a kill"] += job.attempts > 1
            try:
                content = (self.data / "clips" / job.id / "result.json").read_text()
                result = ClipResult.model_validate_json(content)
            except (OSError, ValueError) as error:
                yield f"clip {job.id} is done and its result cannot be read: {error}"
                continue
            if not len(result.frames) == result.clip.frames == FRAMES == job.frames_done:
                yield f"clip {job.id}: {len(result.frames)} frames of {FRAMES}, the row says {job.frames_done}"
            seen = self.done.get(job.id)
            if seen and seen["attempts"] != job.attempts:
                yield f"clip {job.id} was done after {seen['attempts']} attempts, and then scored again"

    def _wrong_incidents(self, store: IncidentStore) -> Iterator[str]:
        history = store.events_after(0, 1_000_000)
        incidents = store.page(limit=100_000)[0]
        self.counts["events"], self.counts["incidents"] = len(history), len(incidents)
        for camera_id in CAMERAS:
            self.counts[f"incidents of {camera_id}"] = sum(one.camera == camera_id for one in incidents)
        yield from _wrong_order(history, incidents)
        told = {event.id: event.model_dump(mode="json") for event in history}
        heard = [message["id"] for message in self.heard]
        if heard != sorted(set(heard)):
            yield "the subscriber heard an event twice, or out of order"
        missed = [number for number in told if heard and number <= heard[-1] and number not in set(heard)]
        if missed:
            yield f"the subscriber did not hear {len(missed)} events, the first of them {told[missed[0]]}"
        for message in self.heard:
            if told.get(message["id"]) != message:
                yield f"event {message['id']} was heard and is not stored like that: {message}"
        yield from self._wrong_falls([one for one in incidents if one.camera == FED])

    def _wrong_falls(self, incidents: Sequence[IncidentInfo]) -> Iterator[str]:
        """Every time that the person was down long enough in front of a working service is one incident."""
        starts = sorted(one.started_at.timestamp() for one in incidents)
        for span in self.spans:
            end = min(span.end, time.time())
            first = int(span.begin // ROUND_S)
            for number in range(first, int(end // ROUND_S) + 1):
                falls, leaves = number * ROUND_S + STANDS_S, number * ROUND_S + LEAVES_S
                begin, until = max(span.begin, falls), min(end, leaves)
                if begin >= until:
                    continue
                # An incident begins up to a second before the body is down, or when somebody new is seen.
                own = [one for one in starts if max(span.connected, falls - 1.0) <= one < min(end, leaves + 1.0)]
                if len(own) > 1:
                    yield f"one fall, {until - begin:.1f} s of which were seen, is {len(own)} incidents"
                in_doubt = any(away.begin - 1.0 < end < away.end + _RETRIES_S for away in self.away)
                if until - begin >= _NOTICED_S and not in_doubt:
                    self.counts["falls that had to be noticed"] += 1
                    if not own:
                        yield f"a fall at {falls:.1f}, {until - begin:.1f} s of which were seen, is no incident"

    def _wrong_files(self, incidents: IncidentStore, clips: ClipStore) -> Iterator[str]:
        for path in (self.data / "uploads").iterdir():
            yield f"an upload is left: {path.name}"
        for folder in (self.data / "clips").iterdir():
            names = {path.name for path in folder.iterdir()}
            if folder.name not in clips.ids():
                yield f"files of no clip: {folder.name} {sorted(names)}"
            elif names != {"source", "result.json"}:
                yield f"clip {folder.name} has the files {sorted(names)}"
        evidence = EvidenceStore(self.data / "incidents")
        known = {one.id: one for one in incidents.page(limit=100_000)[0]}
        for folder in evidence.root.iterdir():
            names = {path.name for path in folder.iterdir()}
            incident = known.get(folder.name)
            if incident is None:
                yield f"files of no incident: {folder.name} {sorted(names)}"
                continue
            versions = [False] if incident.camera == FED else [False, True]
            wanted = {
                evidence.file(incident.id, kind, background=version).name
                for kind in EVIDENCE_KINDS
                for version in versions
                if getattr(incident, kind) == "ready"
            }
            if names != wanted:
                yield (
                    f"incident {incident.id} with snapshot {incident.snapshot} and clip {incident.clip} has the files "
                    f"{sorted(names)}"
                )


def damage(database: Database) -> Iterator[str]:
    """What the database itself finds wrong with its files."""
    with database.engine.connect() as connection:
        if database.engine.dialect.name == "sqlite":
            found = [row[0] for row in connection.execute(text("PRAGMA integrity_check"))]
            found += [str(row) for row in connection.execute(text("PRAGMA foreign_key_check"))]
            yield from (f"SQLite: {one}" for one in found if one != "ok")
            return
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS amcheck"))
        for relation, message in connection.execute(text(_DAMAGED_ROWS)):
            yield f"PostgreSQL: {relation}: {message}"
        try:
            connection.execute(text(_CHECK_INDEXES))
        except DBAPIError as error:
            yield f"PostgreSQL: {reason(error)}"


def _wrong_order(history: Sequence[Event], incidents: Sequence[IncidentInfo]) -> Iterator[str]:
    started = Counter(event.incident.id for event in history if isinstance(event, IncidentStarted))
    ended = Counter(event.incident.id for event in history if isinstance(event, IncidentEnded))
    ids = Counter(one.id for one in incidents)
    for name, found in (("started", started), ("ended", ended)):
        if found != ids:
            yield f"incidents that are stored and those that {name} differ: {(ids - found) + (found - ids)}"
    first: dict[str, str] = {}
    for event in history:
        incident = getattr(event, "incident", None)
        if incident is not None and first.setdefault(incident.id, event.type) != "incident.started":
            yield f"incident {incident.id} is told of before it started"
    for one in incidents:
        if one.ended_at is None or one.end_reason is None:
            yield f"incident {one.id} is left open"
        if "pending" in (one.snapshot, one.clip):
            yield f"incident {one.id} is left with snapshot {one.snapshot} and clip {one.clip}"


def _frame(now: float) -> dict[str, object]:
    moment = now % ROUND_S
    people = [] if moment >= LEAVES_S else [{"track": int(now // ROUND_S) % 1000, "keypoints": falling(moment)}]
    return {"time_s": now, "width": 640, "height": 480, "people": people}


def _pages(client: httpx.Client, noun: str) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        page = client.get(f"/v1/{noun}", params={"limit": 100} | ({"cursor": cursor} if cursor else {}))
        page.raise_for_status()
        yield from page.json()[noun]
        cursor = page.json()["next"]
        if cursor is None:
            return


def _is_picture(content: bytes) -> bool:
    return (
        content.endswith(b"\xff\xd9") and cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is not None
    )


def _is_video(content: bytes) -> bool:
    with av.open(io.BytesIO(content)) as container:
        (stream,) = container.streams.video
        return sum(1 for _ in container.decode(stream)) == stream.frames > 0


def _names(process: psutil.Process, word: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(word in argument for argument in process.cmdline())
    return False
