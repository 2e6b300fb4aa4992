from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest

from pose.estimator import configure_ultralytics
from service.scoring.loading import LoadedModels
from service.settings import Settings
from service.storage.database import Database
from tests.doubles.backends import Postgres, Redis, Servers, running
from tests.doubles.models import cardboard_models
from tests.doubles.servers import CardboardScorer, Client, LiveServer, Serve, cardboard_inspect, eventually, live_server

# How long an example takes says how busy the machine is, and nothing of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
# What `make test` runs; `make test-all` tries the usual hundred.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=20)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def contained_ultralytics(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Ultralytics reads its variables at its first import, so this comes before any test."""
    configure_ultralytics(tmp_path_factory.mktemp("ultralytics"))


@pytest.fixture(scope="session", autouse=True)
def shared_runtimes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Weights are converted once for all services that the tests start."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "runtimes"
    folder.mkdir(exist_ok=True)
    os.environ["TEST_RUNTIMES"] = str(folder)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backends",
        choices=("embedded", "servers"),
        default="embedded",
        help="what stands behind the service: SQLite and this process, or PostgreSQL and Redis; with servers, only the "
        "tests run to which that makes a difference",
    )
    parser.addoption("--kills", type=int, default=2, help="how often tests/system/test_kills.py kills the service")
    parser.addoption("--kills-seed", type=int, default=1, help="seed of the moments at which it kills")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--backends") == "servers":
        kept = [item for item in items if "backend" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
    # The tests of whole systems take longest. At the end, one worker would wait for the other to finish them.
    items.sort(key=lambda item: "system" not in item.path.parts)


@pytest.fixture(scope="session")
def pose_weights() -> Path:
    """The pose weights that `DAFLOW_POSE_WEIGHTS` names."""
    return _existing("DAFLOW_POSE_WEIGHTS", "YOLO-pose weights")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with real clips and skeletons that `DAFLOW_TEST_DATA` names."""
    return _existing("DAFLOW_TEST_DATA", "the folder with test clips")


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


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An SQLite database with all tables and no rows; to make them anew takes as long as many a test."""
    file = tmp_path_factory.mktemp("migrated") / "daflow.db"
    Database.open(f"sqlite:///{file}").close()
    return file.read_bytes()


@pytest.fixture
def database(backend: str, database_url: str, migrated: bytes, tmp_path: Path) -> Iterator[Database]:
    """That database, opened."""
    if backend == "embedded":
        (tmp_path / "daflow.db").write_bytes(migrated)
    database = Database.open(database_url)
    yield database
    database.close()


@pytest.fixture
def scorer() -> CardboardScorer:
    return CardboardScorer()


@pytest.fixture
def serve(
    backend: str, migrated: bytes, tmp_path: Path, scorer: CardboardScorer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Serve]:
    """Starts servers in this process, with the cardboard scorer unless told otherwise."""
    monkeypatch.setattr("service.clips.uploads.inspect", cardboard_inspect)
    if backend == "embedded":
        (tmp_path / "data").mkdir(mode=0o700, exist_ok=True)
        (tmp_path / "data" / "daflow.db").write_bytes(migrated)
    with ExitStack() as stack:

        def start(
            load: Callable[[Settings], LoadedModels] = cardboard_models,
            scorer: CardboardScorer | None = scorer,
            **settings: object,
        ) -> LiveServer:
            chosen = Settings(data_dir=tmp_path / "data", **settings)
            live = stack.enter_context(live_server(chosen, load, scorer))
            if load is cardboard_models:
                eventually(lambda: live.runtime.models.loaded is not None, "the models are loaded")
            return live

        yield start
        scorer.gate.set()


@pytest.fixture
def client(serve: Serve) -> Client:
    return serve().client


def _existing(variable: str, what: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set; it names {what}")
    path = Path(value).resolve()
    if not path.exists():
        pytest.fail(f"{variable} names {path}, which does not exist")
    return path
