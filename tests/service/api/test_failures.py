"""HEAD on every route, a database that is locked, away or full, and a full disk."""

from __future__ import annotations

import errno
import sqlite3
import time

import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.access.keys import KeyStore
from service.cameras.store import CameraStore
from tests.doubles.servers import LiveServer, Serve

CAMERA = {"url": "skeletons:"}


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/readyz", "/login", "/docs", "/openapi.json", "/v1/cameras", "/v1/incidents", "/v1/clips",
     "/v1/asyncapi.json", "/problems/queue-full", "/nothing", "/v1/clips/none", "/v1/cameras/none", "/docs/assets/none",
     "/docs/assets/swagger-ui.css", "/"],
)  # fmt: skip
def test_head_has_the_status_and_headers_of_get_and_no_body(path: str, live: LiveServer) -> None:
    got, head = live.client.get(path), live.client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    for name in ("content-type", "content-length", "x-content-type-options"):
        assert head.headers.get(name) == got.headers.get(name)


def test_head_is_answered_on_every_route_that_has_get_also_on_streams(live: LiveServer) -> None:
    live.client.put("/v1/cameras/gate", json=CAMERA)
    asked = time.monotonic()
    paths = [
        str(route.path)
        for route in iter_route_contexts(live.app.routes)
        if "GET" in (getattr(route.original_route, "methods", None) or ())
    ]
    assert len(paths) > 20
    for path in paths:
        concrete = path.replace("{camera_id}", "gate").replace("{slug}", "queue-full")
        answer = live.client.head(concrete.replace("{clip_id}", "none").replace("{incident_id}", "none"))
        assert answer.status_code not in (405, 500), path
        assert answer.content == b""
    assert time.monotonic() - asked < 60


def test_head_needs_the_same_key_as_get(serve_live: Serve) -> None:
    live = serve_live(auth="required")
    assert live.client.head("/v1/cameras").status_code == live.client.get("/v1/cameras").status_code == 401
    assert live.client.head("/healthz").status_code == 200


def sqlite_error(code: int, kind: type[DBAPIError] = OperationalError) -> DBAPIError:
    original = sqlite3.OperationalError("it failed, /secret/path")
    original.sqlite_errorcode = code
    return kind("INSERT", {}, original)


@pytest.mark.parametrize(
    ("failure", "status", "kind"),
    [
        (sqlite_error(sqlite3.SQLITE_FULL), 507, "storage-full"),
        (OSError(errno.ENOSPC, "No space left on device"), 507, "storage-full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 507, "storage-full"),
        (sqlite_error(sqlite3.SQLITE_BUSY), 503, "database-unavailable"),
        (OperationalError("INSERT", {}, Exception("server closed the connection")), 503, "database-unavailable"),
        (InterfaceError("INSERT", {}, Exception("connection already closed")), 503, "database-unavailable"),
        (PoolTimeout("QueuePool limit reached"), 503, "database-unavailable"),
    ],
    ids=["full", "disk", "quota", "locked", "away", "closed", "pool"],
)
def test_a_camera_that_cannot_be_stored_is_refused_with_the_reason(
    failure: Exception, status: int, kind: str, live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(CameraStore, "put", fail)
    answer = live.client.put("/v1/cameras/gate", json=CAMERA)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")
    assert ("retry-after" in answer.headers) is (status == 503)
    assert "secret" not in answer.text
    assert live.client.get("/v1/cameras").json()["cameras"] == []


def test_a_key_that_cannot_be_looked_up_is_neither_wrong_nor_a_defect(
    serve_live: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = serve_live(auth="required")

    def fail(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("server closed the connection"))

    monkeypatch.setattr(KeyStore, "verify", fail)
    answer = live.client.get("/v1/cameras", headers={"Authorization": "Bearer dfl_x"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_readiness_is_answered_within_a_second_while_the_database_is_locked(
    live: LiveServer,
) -> None:
    engine = live.runtime.database.engine
    if engine.dialect.name != "sqlite":
        pytest.skip("a lock on the whole database is SQLite's")
    with sqlite3.connect(str(engine.url.database), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            asked = time.monotonic()
            answer = live.client.get("/readyz")
            assert time.monotonic() - asked < 1
            assert answer.status_code == 503
            assert [item["what"] for item in answer.json()["missing"]] == ["database"]
        other.execute("ROLLBACK")
    deadline = time.monotonic() + 20
    while live.client.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
