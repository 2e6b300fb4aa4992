"""Callbacks of clips, over a real service and real receivers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from service.addresses.urls import StreamUrlError
from service.api.problems import Kind
from service.clips.store import ClipStore
from service.clips.tables import ClipJob
from service.notifications.callbacks import callback_address
from service.notifications.posting import Schedule
from service.settings import Settings
from tests.doubles.receiver import receiver
from tests.doubles.servers import FRAMES, CardboardScorer, LiveServer, Serve, cardboard_inspect, eventually, live_server
from tests.doubles.streams import peer, silent
from tests.doubles.websites import answer, site

SECRET = "a secret of sixteen"  # noqa: S105
LOOPBACK = "127.0.0.0/8"


@pytest.fixture
def live(serve: Serve, quick: None) -> LiveServer:
    return serve(allowed_stream_cidrs=LOOPBACK, webhook_secret=SECRET)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callbacks are tried three times within a moment."""
    monkeypatch.setattr("service.notifications.callbacks.Schedule", lambda: Schedule(3, first_s=0.05, longest_s=0.1))


def callback(live: LiveServer, clip_id: str) -> dict[str, Any]:
    found: dict[str, Any] = live.client.clip(clip_id)["callback"]
    return found


def comes_to(live: LiveServer, clip_id: str, state: str) -> dict[str, Any]:
    eventually(lambda: callback(live, clip_id)["state"] == state, f"the callback is {state}")
    return callback(live, clip_id)


def counted(live: LiveServer, outcome: str) -> float:
    labels = {"sink": "callback", "outcome": outcome}
    return live.runtime.metrics.registry.get_sample_value("daflow_notifications_total", labels) or 0.0


def test_a_clip_that_is_done_is_told_once_signed_as_events_are(live: LiveServer) -> None:
    with receiver() as web:
        answered = live.client.post_clip(b"clip", wait=60, callback_url=web.url).json()
        told = comes_to(live, answered["id"], "delivered")
    (posted,) = web.posted
    assert posted.path == "/hooks?key=hunter2"
    assert posted.message == {
        "type": "clip.done",
        "clip": answered["id"],
        "state": "done",
        "filename": None,
        "url": None,
        "finished_at": answered["finished_at"],
        "summary": {
            "frames": FRAMES,
            "duration_s": 0.5,
            "people": 1,
            "anomalies": 1,
            "kinds": {"fall": 1},
            "peak_level": 0.5,
        },
        "error": None,
        "result": f"/v1/clips/{answered['id']}/result.json",
    }
    headers = posted.headers
    assert headers["webhook-id"] == f"clip_{answered['id']}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 600
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), posted.body])
    expected = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert told == {
        "url": f"http://127.0.0.1:{web.port}/hooks?key=***",
        "state": "delivered",
        "attempts": 1,
        "problem": None,
        "next_at": None,
    }
    assert counted(live, "delivered") == 1


def test_without_a_secret_there_is_no_signature(serve: Serve) -> None:
    live = serve(allowed_stream_cidrs=LOOPBACK)
    with receiver() as web:
        clip_id = live.client.post_clip(b"clip", callback_url=web.url).json()["id"]
        comes_to(live, clip_id, "delivered")
    assert "webhook-signature" not in web.posted[0].headers
    assert "webhook-id" in web.posted[0].headers


def test_failed_and_cancelled_clips_are_told_too(live: LiveServer, scorer: CardboardScorer) -> None:
    with receiver() as web:
        failed = live.client.post_clip(b"reject", callback_url=web.url).json()["id"]
        comes_to(live, failed, "delivered")
        cancelled = live.client.post_clip(b"hold", callback_url=web.url).json()["id"]
        live.client.until(cancelled, "running")
        assert callback(live, cancelled) == {
            "url": f"http://127.0.0.1:{web.port}/hooks?key=***",
            "state": "pending",
            "attempts": 0,
            "problem": None,
            "next_at": None,
        }
        live.client.post(f"/v1/clips/{cancelled}/cancel")
        comes_to(live, cancelled, "delivered")
    first, second = (posted.message for posted in web.posted)
    assert (first["type"], first["error"]) == (
        "clip.failed",
        {"cause": "undecodable", "detail": "frame 3 cannot be decoded"},
    )
    assert (second["type"], second["clip"], second["summary"], second["result"]) == (
        "clip.cancelled",
        cancelled,
        None,
        None,
    )


def test_a_clip_that_cannot_be_fetched_is_told(live: LiveServer) -> None:
    with receiver() as web, peer(site({"/a.mp4": answer("404 Not Found")})) as films:
        document = {"url": f"http://viewer:hunter2@127.0.0.1:{films.port}/a.mp4", "callback_url": web.url}
        clip = live.client.post("/v1/clips", json=document).json()
        comes_to(live, clip["id"], "delivered")
    told = web.posted[0].message
    assert (told["type"], told["error"]["cause"], told["filename"]) == ("clip.failed", "status", "a.mp4")
    assert told["url"] == f"http://***@127.0.0.1:{films.port}/a.mp4"
    assert "hunter2" not in web.posted[0].body.decode()


def test_a_callback_that_was_not_taken_is_posted_again_under_the_same_name(live: LiveServer) -> None:
    with receiver(500, 503) as web:
        clip_id = live.client.post_clip(b"clip", callback_url=web.url).json()["id"]
        assert comes_to(live, clip_id, "delivered")["attempts"] == 3
    assert {posted.headers["webhook-id"] for posted in web.posted} == {f"clip_{clip_id}"}
    assert len({posted.body for posted in web.posted}) == 1
    assert (counted(live, "failed"), counted(live, "delivered"), counted(live, "dead")) == (2, 1, 0)


def test_after_the_last_attempt_a_callback_is_given_up_and_the_log_says_so(
    live: LiveServer, capfd: pytest.CaptureFixture[str]
) -> None:
    with receiver(500, 302, 307) as web:
        clip_id = live.client.post_clip(b"clip", callback_url=web.url).json()["id"]
        told = comes_to(live, clip_id, "dead")
        assert (told["attempts"], told["problem"], told["next_at"]) == (3, "the receiver answered 307", None)
        # Redirects are not followed.
        assert len(web.posted) == 3
    assert (counted(live, "failed"), counted(live, "dead")) == (2, 1)
    said = "".join(capfd.readouterr())
    assert "a callback was given up" in said
    assert clip_id in said
    assert "hunter2" not in said


def test_a_slow_receiver_delays_neither_its_clip_nor_the_callbacks_of_others(live: LiveServer) -> None:
    with peer(silent) as slow, receiver() as web:
        first = live.client.post_clip(b"clip", wait=60, callback_url=f"http://127.0.0.1:{slow.port}/").json()
        assert first["state"] == "done"
        assert live.client.post_clip(b"clip", wait=60).json()["state"] == "done"
        eventually(lambda: slow.connections, "it is being told")
        second = live.client.post_clip(b"clip", callback_url=web.url).json()["id"]
        comes_to(live, second, "delivered")
        assert callback(live, first["id"])["attempts"] == 0, "the slow one has not ended yet"


def test_deleting_a_clip_removes_what_is_still_to_be_posted(
    live: LiveServer, scorer: CardboardScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as web:
        for body in (b"hold", b"clip"):
            clip_id = live.client.post_clip(body, callback_url=web.url).json()["id"]
            live.client.delete(f"/v1/clips/{clip_id}")
        last = live.client.post_clip(b"clip", callback_url=web.url).json()["id"]
        comes_to(live, last, "delivered")
    assert {posted.message["clip"] for posted in web.posted} >= {last}
    with live.runtime.database.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT clip_id FROM callbacks").scalars().all()
    assert rows == [last]


def test_a_clip_that_is_deleted_at_the_moment_of_its_callback_is_not_told(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = ClipStore.due_callbacks

    def deleted(store: ClipStore, limit: int) -> list[ClipJob]:
        found = due(store, limit)
        for job in found:
            live.runtime.clips.runner.delete(job.id)
        return found

    monkeypatch.setattr(ClipStore, "due_callbacks", deleted)
    with receiver() as web:
        clip_id = live.client.post_clip(b"clip", callback_url=web.url).json()["id"]
        eventually(lambda: live.client.get(f"/v1/clips/{clip_id}").status_code == 404, "it is deleted")
        monkeypatch.setattr(ClipStore, "due_callbacks", due)
        last = live.client.post_clip(b"clip", callback_url=web.url).json()["id"]
        comes_to(live, last, "delivered")
    assert [posted.message["clip"] for posted in web.posted] == [last]


def test_a_database_that_fails_for_a_moment_loses_no_callback(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    due, failures = ClipStore.due_callbacks, iter([True])

    def unreliable(store: ClipStore, limit: int) -> list[ClipJob]:
        if next(failures, False):
            raise OperationalError("SELECT", None, RuntimeError("disk I/O error"))
        return due(store, limit)

    monkeypatch.setattr(ClipStore, "due_callbacks", unreliable)
    with receiver() as web:
        clip_id = live.client.post_clip(b"clip", callback_url=web.url).json()["id"]
        comes_to(live, clip_id, "delivered")


@pytest.mark.parametrize("ending", ["before", "after"])
def test_a_callback_is_posted_after_a_restart(
    tmp_path: Path, scorer: CardboardScorer, monkeypatch: pytest.MonkeyPatch, quick: None, ending: str
) -> None:
    monkeypatch.setattr("service.clips.uploads.inspect", cardboard_inspect)
    patient = Schedule(attempts=1000, first_s=0.05, longest_s=0.05)
    monkeypatch.setattr("service.notifications.callbacks.Schedule", lambda: patient)
    settings = Settings(data_dir=tmp_path / "data", allowed_stream_cidrs=LOOPBACK)
    with receiver() as web:
        if ending == "after":
            # Nobody takes it before the restart.
            web.answers.extend([500] * 1000)
        with live_server(settings, scorer=scorer) as live:
            clip_id = live.client.post_clip(b"hold", callback_url=web.url).json()["id"]
            live.client.until(clip_id, "running")
            if ending == "after":
                scorer.gate.set()
                eventually(lambda: callback(live, clip_id)["attempts"] > 0, "it was tried")
        web.answers.clear()
        scorer.gate.set()
        with live_server(settings, scorer=scorer) as live:
            comes_to(live, clip_id, "delivered")


def test_an_address_that_is_not_allowed_is_refused_and_the_clip_is_not_read(serve: Serve) -> None:
    live = serve()
    posts: list[Callable[[str], Any]] = [
        lambda url: live.client.post_clip(b"clip", callback_url=url),
        lambda url: live.client.post("/v1/clips", json={"url": "https://192.0.2.7/a.mp4", "callback_url": url}),
    ]
    for post in posts:
        for url, cause in (
            ("http://127.0.0.1/hook", "forbidden-address"),
            ("http://169.254.169.254/latest", "forbidden-address"),
            ("ftp://viewer:hunter2@hooks.example/", "scheme"),
        ):
            refused = post(url)
            assert (refused.status_code, refused.json()["type"]) == (422, Kind.STREAM_URL_REFUSED.type)
            assert refused.json()["cause"] == cause
            assert "hunter2" not in refused.text
    assert live.client.get("/v1/clips").json()["clips"] == []


def test_a_name_that_has_moved_inside_is_not_posted_to(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as web:
        clip_id = live.client.post_clip(b"hold", callback_url=web.url).json()["id"]
        # The rules are asked again for every attempt.
        monkeypatch.setattr("service.addresses.policy.StreamPolicy.allows", lambda policy, address: False)
        live.client.post(f"/v1/clips/{clip_id}/cancel")
        assert "DAFLOW_ALLOWED_STREAM_CIDRS" in comes_to(live, clip_id, "dead")["problem"]
    assert web.posted == []


def test_an_address_in_two_places_is_refused(live: LiveServer) -> None:
    document = {"url": "http://127.0.0.1/a.mp4", "callback_url": "http://127.0.0.1/a"}
    refused = live.client.post("/v1/clips", json=document, params={"callback_url": "http://127.0.0.1/b"})
    assert (refused.status_code, refused.json()["type"]) == (422, Kind.INVALID_REQUEST.type)
    assert refused.json()["errors"][0]["name"] == "callback_url"


@pytest.mark.parametrize("url", ["rtsp://door/live", "skeletons:", "/etc/passwd", "0", "ftp://web/"])
def test_only_addresses_of_the_web_are_callbacks(url: str) -> None:
    with pytest.raises(StreamUrlError, match="the address of a callback"):
        callback_address(url)
