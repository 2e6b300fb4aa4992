"""Several processes of one service: one runs the cameras, others tell of them; with the real Redis and PostgreSQL."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from service.documents.base import EndReason
from service.documents.messages import Score
from service.errors import StartupError
from service.incidents.store import IncidentStore
from service.live.incident import Ended, Started
from service.runtime import Runtime
from service.settings import Role, Settings
from tests.doubles.backends import Postgres, Redis, running
from tests.doubles.live import Reader, socket_reader, sse_reader
from tests.doubles.live_records import at, incident
from tests.doubles.models import cardboard_models
from tests.doubles.servers import LiveServer, eventually, live_server

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with running(Redis) as redis:
        yield redis


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running(Postgres) as postgres:
        yield postgres


def score(camera: str, sequence: int) -> Score:
    return Score(
        camera=camera, sequence=sequence, captured_at=at(0), published_at=at(0), age_s=0.1, width=640, height=480,
        score=None, level=None, threshold=0.9, reason="nobody", people=[],
    )  # fmt: skip


@dataclass
class Service:
    """One process that runs cameras, and others that do not, all in this one."""

    engine: LiveServer
    replicas: list[LiveServer]

    def publish(self, camera: str, sequence: int) -> None:
        self.engine.runtime.streams.outgoing_scores.publish(camera, score(camera, sequence))


@contextmanager
def service(folder: Path, redis: Redis, database: str, replicas: int = 2) -> Iterator[Service]:
    behind: dict[str, Any] = {"database_url": database, "redis_url": redis.url(), "data_dir": folder / "data"}
    with ExitStack() as stack:

        def start(role: Role) -> LiveServer:
            return stack.enter_context(live_server(Settings(**behind, role=role)))

        engine = start(Role.ALL)
        eventually(lambda: engine.runtime.models.loaded is not None, "the models are loaded")
        yield Service(engine, [start(Role.API) for _ in range(replicas)])


def sockets(live: LiveServer) -> str:
    return f"ws://127.0.0.1:{live.port}"


def started(reader: Reader) -> list[str]:
    return [event["incident"]["id"] for event in reader.of("incident.started")]


def test_scores_and_incidents_of_any_camera_reach_subscribers_of_any_process(
    tmp_path: Path, redis: Redis, database_url: str
) -> None:
    with service(tmp_path, redis, database_url) as running_service:
        engine, replicas = running_service.engine, running_service.replicas
        assert engine.client.put("/v1/cameras/door", json={"url": "skeletons:"}).status_code == 201
        scores = [socket_reader(f"{sockets(live)}/v1/cameras/door/scores") for live in (engine, *replicas)]
        incidents = [socket_reader(f"{sockets(live)}/v1/incidents?last_event_id=0") for live in (engine, *replicas)]
        numbers = itertools.count()
        for reader in scores:

            def heard(reader: Reader = reader) -> bool:
                running_service.publish("door", next(numbers))
                return bool(reader.of("score"))

            eventually(heard, "a score has come")
        engine.runtime.streams.log.record(Started(incident("one", "door")))
        for reader in incidents:
            eventually(lambda reader=reader: started(reader) == ["one"], "the incident is told")
        # A review by one process is told by all, and the engine's next event comes after it.
        assert replicas[0].client.post("/v1/incidents/one/acknowledge").status_code == 200
        for reader in incidents:
            eventually(lambda reader=reader: reader.of("incident.reviewed"), "the review is told")
        engine.runtime.streams.log.record(Started(incident("two", "door")))
        for reader in incidents:
            eventually(lambda reader=reader: started(reader) == ["one", "two"], "the next one is told")
        told = [[message["id"] for message in reader.heard if "id" in message] for reader in incidents]
        assert told[0] == sorted(set(told[0])) == told[1] == told[2]

        # Who was served by one process goes on at another.
        resumed = sse_reader(f"{replicas[1].client.base_url}/v1/incidents/stream?last_event_id={told[0][-2]}")
        eventually(lambda: started(resumed) == ["two"], "the rest is told elsewhere")

        assert engine.client.delete("/v1/cameras/door").status_code == 204
        for reader in scores:
            reader.join(90)
            assert not reader.is_alive(), "the stream of a camera that is removed ends everywhere"


@pytest.mark.slow
def test_a_replica_serves_history_and_streams_and_says_what_it_does_not(
    tmp_path: Path, redis: Redis, database_url: str
) -> None:
    with service(tmp_path, redis, database_url, replicas=1) as running_service:
        engine, (replica,) = running_service.engine, running_service.replicas
        engine.runtime.streams.log.record(Started(incident("one")))
        eventually(lambda: replica.client.get("/v1/incidents/one").status_code == 200, "it is in the store")
        ready = replica.client.get("/readyz").json()
        assert (ready["model"], ready["degraded"]) == (None, [])
        assert replica.client.get("/v1/notifications").json() == {"deliveries": [], "next": None}
        assert "daflow_backend_up" in replica.client.get("/metrics").text
        for path in ("/v1/cameras", "/v1/clips", "/", "/v1/cameras/door/snapshot.jpg", "/v1/incidents/report"):
            answer = replica.client.get(path)
            assert (answer.status_code, answer.json()["type"]) == (421, "/problems/not-here"), path
        gone = socket_reader(f"{sockets(replica)}/v1/cameras/nowhere/scores")
        gone.join(90)
        assert gone.heard == []


def test_a_second_process_with_cameras_on_one_database_is_refused(
    tmp_path: Path, redis: Redis, database_url: str
) -> None:
    with service(tmp_path, redis, database_url, replicas=0):
        other = Settings(data_dir=tmp_path / "other", database_url=database_url)
        with pytest.raises(StartupError, match="DAFLOW_ROLE=api"):
            Runtime.open(other, cardboard_models)


def test_while_redis_is_away_incidents_are_stored_and_told_and_scores_come_back(
    tmp_path: Path, redis: Redis, database_url: str
) -> None:
    with service(tmp_path, redis, database_url, replicas=1) as running_service:
        engine, (replica,) = running_service.engine, running_service.replicas
        assert engine.client.put("/v1/cameras/door", json={"url": "skeletons:"}).status_code == 201
        here = socket_reader(f"{sockets(engine)}/v1/incidents?last_event_id=0")
        there = socket_reader(f"{sockets(replica)}/v1/incidents?last_event_id=0")
        scores = socket_reader(f"{sockets(replica)}/v1/cameras/door/scores")
        eventually(lambda: here.heard and there.heard and scores.heard, "all are greeted")
        redis.kill()
        names = [f"incident{number}" for number in range(50)]
        for name in names:
            engine.runtime.streams.log.record(Started(incident(name)))
        running_service.publish("door", 1)
        eventually(lambda: started(here) == names, "they are told where they happen")
        eventually(lambda: started(there) == names, "and elsewhere, from the store")
        (degraded,) = eventually(lambda: engine.client.get("/readyz").json()["degraded"], "the loss is told")
        assert (degraded["what"], degraded["setting"]) == ("redis", "DAFLOW_REDIS_URL")
        measured = engine.client.get("/metrics").text
        assert 'daflow_backend_up{backend="redis"} 0.0' in measured
        assert 'daflow_engine_up{engine="redis"} 0.0' in measured, "the old name stays for one release"
        eventually(
            lambda: engine.runtime.streams.relay and engine.runtime.streams.relay.dropped,
            "the score is dropped and counted",
        )
        redis.start()
        numbers = itertools.count(2)

        def back() -> bool:
            running_service.publish("door", next(numbers))
            return bool(scores.of("score"))

        eventually(back, "scores come again")
        eventually(lambda: engine.client.get("/readyz").json()["degraded"] == [], "all is well again")
        engine.runtime.streams.log.record(Started(incident("last")))
        eventually(lambda: started(there) == [*names, "last"], "the next one is told once")
        eventually(lambda: engine.runtime.streams.relay and not engine.runtime.streams.relay.waiting, "nothing waits")


@pytest.mark.slow
def test_kills_of_redis_and_postgres_in_the_middle_of_incidents_lose_none(
    tmp_path: Path, redis: Redis, postgres: Postgres
) -> None:
    url = postgres.fresh()
    with service(tmp_path, redis, url, replicas=1) as running_service:
        engine, (replica,) = running_service.engine, running_service.replicas
        there = socket_reader(f"{sockets(replica)}/v1/incidents?last_event_id=0")
        stopping, names = threading.Event(), []

        def live() -> None:
            for number in itertools.count():
                name = f"incident{number}"
                opened = incident(name, f"camera{number % 8}")
                engine.runtime.streams.log.record(Started(opened))
                closed = replace(opened, ended=opened.updated, end_reason=EndReason.QUIET)
                engine.runtime.streams.log.record(Ended(closed))
                names.append(name)
                if stopping.wait(0.01):
                    return

        living = threading.Thread(target=live)
        living.start()
        try:
            for server in (redis, postgres, redis, postgres):
                before = len(names)
                eventually(lambda n=before: len(started(there)) > 0 and len(names) > n + 20, "incidents happen")
                server.kill()
                eventually(lambda n=before: len(names) > n + 40, "and go on while it is away")
                server.start()
            postgres.kill()
            redis.kill()
            before = len(names)
            eventually(lambda n=before: len(names) > n + 20, "and while both are away")
            redis.start()
            postgres.start()
        finally:
            stopping.set()
            living.join()
        eventually(lambda: len(started(there)) == len(names), "all are told")
        assert started(there) == names
        eventually(lambda: len(there.of("incident.ended")) == len(names), "and all ends")
        ended = [event["incident"]["id"] for event in there.of("incident.ended")]
        assert ended == names
        ids = [message["id"] for message in there.heard if "id" in message]
        assert ids == sorted(set(ids))
        store = IncidentStore(engine.runtime.database)
        assert store.ids() == set(names)
        assert store.count().open == 0
        eventually(lambda: engine.client.get("/readyz").status_code == 200, "the service is well")
