from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.database import Database
from service.settings import Settings
from tests.engines import Postgres, Redis, running
from tests.service.servers import CardboardScorer, Client, LiveServer, Serve, cardboard_inspect, eventually, live_server


@dataclass(frozen=True)
class Servers:
    """The real servers that a run with ``--backends=servers`` uses."""

    postgres: Postgres
    redis: Redis


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[Servers | None]:
    """PostgreSQL and Redis, if this run is about them; there they must not be missing."""
    if request.config.getoption("--backends") == "embedded":
        yield None
        return
    with running(Postgres) as postgres, running(Redis) as redis:
        yield Servers(postgres, redis)


@pytest.fixture
def backend(servers: Servers | None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What is behind every service that a test opens: ``embedded``, or ``servers`` with a database of its own."""
    if servers is None:
        yield "embedded"
        return
    url = servers.postgres.fresh()
    servers.redis.flush()
    monkeypatch.setenv("DAFLOW_DATABASE_URL", url)
    monkeypatch.setenv("DAFLOW_REDIS_URL", servers.redis.url())
    yield "servers"
    servers.postgres.drop(url)


@pytest.fixture
def database_url(backend: str, tmp_path: Path) -> str:
    """The database of a store that a test opens."""
    return os.environ["DAFLOW_DATABASE_URL"] if backend == "servers" else f"sqlite:///{tmp_path / 'daflow.db'}"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """That database, opened."""
    database = Database.open(database_url)
    yield database
    database.close()


@pytest.fixture
def scorer() -> CardboardScorer:
    return CardboardScorer()


@pytest.fixture
def serve(backend: str, tmp_path: Path, scorer: CardboardScorer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts servers in this process, with the cardboard scorer unless told otherwise."""
    monkeypatch.setattr("service.uploads.inspect", cardboard_inspect)
    with ExitStack() as stack:

        def start(load: Callable[[Settings], Any] | None = None, **settings: object) -> LiveServer:
            chosen = Settings(data_dir=tmp_path / "data", **settings)
            live = stack.enter_context(live_server(chosen, load or (lambda _: scorer)))
            if load is None:
                eventually(lambda: live.runtime.models.scorer is not None, "the models are loaded")
            return live

        yield start
        scorer.gate.set()


@pytest.fixture
def client(serve: Serve) -> Client:
    return serve().client
