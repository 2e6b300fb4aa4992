"""Clips that are posted as an address, over a real service and real web servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from service.api.problems import Kind
from service.clips.store import ClipStore
from service.clips.tables import ClipJob
from service.settings import Settings
from tests.doubles.servers import (
    CardboardScorer,
    LiveServer,
    Serve,
    cardboard_inspect,
    eventually,
    live_server,
    server_process,
)
from tests.doubles.streams import peer
from tests.doubles.websites import Page, answer, endless, held, redirect, site, video

LOOPBACK = "127.0.0.0/8"


@contextmanager
def web(page: Page, requests: list[str] | None = None) -> Iterator[str]:
    """The address of a page, with a password and a token."""
    with peer(site({"/films/a%20door.mp4?token=hunter2": page}, requests)) as server:
        yield f"http://viewer:hunter2@127.0.0.1:{server.port}/films/a%20door.mp4?token=hunter2"


@pytest.fixture
def live(serve: Serve) -> LiveServer:
    return serve(allowed_stream_cidrs=LOOPBACK)


def post(live: LiveServer, url: str, **parameters: Any) -> httpx.Response:
    return live.client.post("/v1/clips", json={"url": url}, params=parameters)


def files(live: LiveServer) -> list[str]:
    folder = live.runtime.folder
    return [path.name for path in [*folder.clips.iterdir(), *folder.uploads.iterdir()]]


def test_a_clip_is_fetched_scored_and_shown_without_its_password(
    live: LiveServer, capfd: pytest.CaptureFixture[str]
) -> None:
    requests: list[str] = []
    with web(video(b"a clip"), requests) as url:
        answered = post(live, url, wait=60, keypoints=False)
    assert answered.status_code == 200
    clip = answered.json()
    assert (clip["state"], clip["filename"], clip["size_bytes"]) == ("done", "a door.mp4", 6)
    assert (clip["keypoints"], clip["attempts"]) == (False, 1)
    port = url.rpartition(":")[2].partition("/")[0]
    assert clip["url"] == f"http://***@127.0.0.1:{port}/films/a%20door.mp4?token=***"
    assert "Authorization: Basic" in requests[0]
    assert live.runtime.folder.source(clip["id"]).read_bytes() == b"a clip"
    shown = [answered.text, live.client.get("/v1/clips").text, live.client.get("/v1/audit").text, *capfd.readouterr()]
    assert not [text for text in shown if "hunter2" in text]


def test_a_clip_that_is_being_fetched_can_be_seen_and_holds_no_worker(live: LiveServer) -> None:
    gate = threading.Event()
    with web(held(gate)) as url:
        accepted = post(live, url)
        assert accepted.status_code == 202
        clip_id = accepted.json()["id"]
        assert accepted.headers["location"] == f"/v1/clips/{clip_id}"
        clip = live.client.until(clip_id, "fetching")
        assert (clip["video"], clip["size_bytes"], clip["frames_total"]) == (None, 0, 0)
        assert [one["id"] for one in live.client.get("/v1/clips?state=fetching").json()["clips"]] == [clip_id]
        assert 'daflow_clips{state="fetching"} 1.0' in live.client.get("/metrics").text
        # Others are scored meanwhile.
        assert live.client.post_clip(b"clip", wait=60).json()["state"] == "done"
        with live.client.events(clip_id) as events:
            hello = events.recv(timeout=60)
            gate.set()
            told = [hello, *events]
    assert '"state":"fetching"' in str(told[0])
    assert '"type":"state","state":"queued"' in str(told[1])
    assert '"type":"done"' in str(told[-1])


@pytest.mark.parametrize("way", ["cancel", "delete"])
def test_a_clip_that_is_no_longer_wanted_is_no_longer_fetched(live: LiveServer, way: str) -> None:
    with web(held(threading.Event())) as url:
        clip_id = post(live, url).json()["id"]
        eventually(lambda: files(live) == [clip_id], "the file has begun")
        if way == "cancel":
            assert live.client.post(f"/v1/clips/{clip_id}/cancel").json()["state"] == "cancelled"
        else:
            assert live.client.delete(f"/v1/clips/{clip_id}").status_code == 204
        eventually(lambda: not files(live), "nothing is left")
        eventually(lambda: clip_id not in live.runtime.clips.fetcher.fetching, "nobody fetches it")
    if way == "cancel":
        assert live.client.clip(clip_id)["state"] == "cancelled"
        assert live.client.post(f"/v1/clips/{clip_id}/cancel").status_code == 409


@pytest.mark.parametrize(
    ("page", "cause", "words"),
    [
        (answer("404 Not Found"), "status", "127.0.0.1 answered 404; check the address"),
        (endless, "clip-too-large", "larger than the 100000 bytes"),
        (answer("200 OK", body=b"cut", length=9), "cut-short", "before the file was complete"),
        (answer("200 OK", "Content-Type: text/html", body=b"bad"), "not-a-video", "the server calls it 'text/html'"),
        (redirect("http://169.254.169.254/"), "forbidden", "169.254.169.254"),
    ],
)
def test_a_failure_is_told_and_leaves_nothing(serve: Serve, page: Page, cause: str, words: str) -> None:
    live = serve(allowed_stream_cidrs=LOOPBACK, max_clip_bytes=100_000, clip_storage_bytes=100_000)
    with web(page) as url:
        clip = post(live, url, wait=60).json()
    assert (clip["state"], clip["error"]["cause"]) == ("failed", cause)
    assert words in clip["error"]["detail"]
    assert "hunter2" not in str(clip)
    assert files(live) == []
    assert f'daflow_uploads_rejected_total{{cause="{cause}"}} 1.0' in live.client.get("/metrics").text


def problem(answered: httpx.Response, kind: Kind) -> dict[str, Any]:
    document: dict[str, Any] = answered.json()
    assert (answered.status_code, document["type"]) == (kind.status, kind.type), answered.text
    return document


def test_an_address_that_is_not_allowed_is_refused_before_anything_is_connected(serve: Serve) -> None:
    live = serve()
    with peer(site({})) as inside:
        for url, cause in (
            (f"http://127.0.0.1:{inside.port}/a.mp4", "forbidden-address"),
            (f"http://localhost:{inside.port}/a.mp4", "forbidden-address"),
            ("http://169.254.169.254/latest", "forbidden-address"),
            ("file:///etc/passwd", "scheme"),
            ("/etc/passwd", "scheme"),
            ("rtsp://viewer:hunter2@door/live", "scheme"),
            ("http://viewer:hunter2@a b/", "characters"),
        ):
            refused = problem(post(live, url), Kind.STREAM_URL_REFUSED)
            assert refused["cause"] == cause
            assert "hunter2" not in str(refused)
        assert inside.connections == 0
    assert live.client.get("/v1/clips").json()["clips"] == []


@pytest.mark.parametrize(
    "document", ["", "{", "[]", '{"url": 7}', '{"url": ""}', "{}", '{"url": "http://a/", "x": 1}', '{"url": null}']
)
def test_a_document_that_is_no_address_is_refused(live: LiveServer, document: str) -> None:
    answered = live.client.post("/v1/clips", content=document, headers={"content-type": "application/json"})
    assert problem(answered, Kind.INVALID_REQUEST)["errors"]


def test_a_document_that_is_too_large_is_refused(live: LiveServer) -> None:
    answered = live.client.post("/v1/clips", json={"url": "http://a/" + 70_000 * "a"})
    problem(answered, Kind.BODY_TOO_LARGE)


def test_clips_that_are_fetched_take_places_in_the_queue(serve: Serve) -> None:
    live = serve(allowed_stream_cidrs=LOOPBACK, clip_queue_size=1)
    with web(held(threading.Event())) as url:
        clip_id = post(live, url).json()["id"]
        live.client.until(clip_id, "fetching")
        for refused in (post(live, url), live.client.post_clip(b"clip")):
            problem(refused, Kind.QUEUE_FULL)
            assert int(refused.headers["retry-after"]) >= 1
        live.client.delete(f"/v1/clips/{clip_id}")
        assert live.client.post_clip(b"clip", wait=60).json()["state"] == "done"


def test_a_database_that_fails_for_a_moment_only_costs_another_fetch(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched, failures = ClipStore.fetched, iter([True])

    def unreliable(store: ClipStore, clip_id: str, **values: Any) -> ClipJob:
        if next(failures, False):
            raise OperationalError("UPDATE", None, RuntimeError("disk I/O error"))
        return fetched(store, clip_id, **values)

    monkeypatch.setattr(ClipStore, "fetched", unreliable)
    monkeypatch.setattr("service.clips.fetching._RETRY_S", 0.1)
    requests: list[str] = []
    with web(video(), requests) as url:
        assert post(live, url, wait=60).json()["state"] == "done"
    assert len(requests) == 2


def test_a_defect_fails_the_clip_and_gives_nothing_away(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("service.clips.fetching.download", broken)
    clip = post(live, "http://127.0.0.1/a.mp4", wait=60).json()
    assert (clip["state"], clip["error"]["cause"]) == ("failed", "internal-error")
    assert "secret" not in str(clip)


def test_stopping_keeps_a_clip_and_the_next_start_fetches_it_from_the_beginning(
    tmp_path: Path, scorer: CardboardScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.clips.uploads.inspect", cardboard_inspect)
    settings = Settings(data_dir=tmp_path / "data", allowed_stream_cidrs=LOOPBACK)
    gate = threading.Event()
    requests: list[str] = []
    with web(held(gate), requests) as url:
        with live_server(settings, scorer=scorer) as live:
            clip_id = post(live, url).json()["id"]
            eventually(lambda: files(live) == [clip_id], "the file has begun")
        assert [*(settings.data_dir / "uploads").iterdir()] == []
        gate.set()
        with live_server(settings, scorer=scorer) as live:
            assert live.client.until(clip_id, "done")["url"].startswith("http://***@127.0.0.1:")
    assert len(requests) == 2


def test_a_clip_that_kills_the_service_again_and_again_fails_in_the_end(
    tmp_path: Path, scorer: CardboardScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path / "data", allowed_stream_cidrs=LOOPBACK, clip_max_attempts=2)
    # What a kill leaves behind: attempts that were counted and not taken back.
    monkeypatch.setattr(ClipStore, "postpone_fetch", lambda store, clip_id: None)
    with web(held(threading.Event())) as url:
        clip_id = ""
        for _ in range(2):
            with live_server(settings, scorer=scorer) as live:
                clip_id = clip_id or post(live, url).json()["id"]
                eventually(lambda: files(live) == [clip_id], "the file has begun")  # noqa: B023
        with live_server(settings, scorer=scorer) as live:
            clip = live.client.until(clip_id, "failed")
    assert clip["error"]["cause"] == "interrupted"
    assert "2 times" in clip["error"]["detail"]


def test_a_killed_service_fetches_its_clips_after_the_next_start(tmp_path: Path, pose_weights: Path) -> None:
    with web(held(threading.Event())) as url:
        with server_process(tmp_path / "data", allowed_stream_cidrs=LOOPBACK, pose_weights=pose_weights) as server:
            clip_id = server.client.post("/v1/clips", json={"url": url}).json()["id"]
            eventually(lambda: server.uploads() == [clip_id], "the file has begun")
            server.kill()
        with server_process(tmp_path / "data", allowed_stream_cidrs=LOOPBACK, pose_weights=pose_weights) as server:
            eventually(lambda: server.client.clip(clip_id)["attempts"] == 2, "it is fetched again")
            assert server.client.post(f"/v1/clips/{clip_id}/cancel").json()["state"] == "cancelled"
            eventually(lambda: server.uploads() == [], "nothing is left")
            assert "hunter2" not in server.log.read_text()
    assert b"hunter2" not in (tmp_path / "data" / "daflow.db").read_bytes()
