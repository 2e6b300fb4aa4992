"""The API over real HTTP and WebSockets, with a scorer made of cardboard; real clips are in `test_server`."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from pathlib import Path
from socket import create_connection
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from service.api.problems import Kind
from service.clips.messages import ClipEvent, ClipHello, ClipScore, Done, Failed, Progress, clip_event_adapter
from service.settings import Settings
from tests.doubles.models import cardboard_models, unavailable
from tests.doubles.servers import (
    FRAMES,
    PATIENCE_S,
    CardboardScorer,
    Client,
    LiveServer,
    Serve,
    cardboard_inspect,
    chunk,
    clip_result,
    eventually,
    live_server,
    raw_connection,
    read_answer,
)


def problem(answer: httpx.Response, kind: Kind) -> dict[str, Any]:
    assert answer.status_code == kind.status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert (document["type"], document["status"]) == (kind.type, kind.status)
    assert document["title"]
    assert document["detail"]
    return document


def read(socket: Any) -> list[ClipEvent]:
    events = []
    try:
        while True:
            events.append(clip_event_adapter.validate_json(socket.recv(timeout=PATIENCE_S)))
    except ConnectionClosed:
        return events


def folders(live: LiveServer) -> list[str]:
    folder = live.runtime.folder
    return [path.name for path in [*folder.clips.iterdir(), *folder.uploads.iterdir()]]


def test_a_clip_is_accepted_scored_and_fetched(client: Client) -> None:
    answer = client.post("/v1/clips", content=b"clip", headers={"content-disposition": "attachment; filename=a.mp4"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/clips/{answer.json()['id']}"
    document = client.until(answer.json()["id"], "done")
    assert document["result"] == json.loads(clip_result().model_dump_json())
    assert (document["filename"], document["size_bytes"], document["attempts"]) == ("a.mp4", 4, 1)
    assert document["frames_done"] == document["frames_total"] == FRAMES
    result = client.get(f"/v1/clips/{document['id']}/result.json")
    assert (result.headers["content-type"], result.json()) == ("application/json", document["result"])


def test_waiting_answers_with_the_result(client: Client) -> None:
    answer = client.post("/v1/clips", files={"file": ("b.mp4", b"clip")}, params={"wait": 60})
    assert answer.status_code == 200
    assert answer.json()["filename"] == "b.mp4"
    assert answer.json()["result"]["clip"]["frames"] == FRAMES


def test_waiting_ends_when_the_time_is_over(client: Client) -> None:
    answer = client.post_clip(b"hold", wait=0.1)
    assert answer.status_code == 202
    assert "result" not in answer.json()


def test_a_poison_clip_fails_alone_and_gives_nothing_away(client: Client) -> None:
    crashed, rejected, good = (client.post_clip(body, wait=60).json() for body in (b"crash", b"reject", b"clip"))
    assert (crashed["state"], crashed["error"]["cause"]) == ("failed", "internal-error")
    assert "secret" not in json.dumps(crashed)
    assert (rejected["state"], rejected["error"]) == (
        "failed",
        {"cause": "undecodable", "detail": "frame 3 cannot be decoded"},
    )
    assert good["state"] == "done"
    missing = problem(client.get(f"/v1/clips/{crashed['id']}/result.json"), Kind.CLIP_NOT_DONE)
    assert missing["state"] == "failed"


def test_a_file_that_is_no_video_is_refused_with_its_cause_and_removed(serve: Serve) -> None:
    live = serve()
    assert problem(live.client.post_clip(b"bad"), Kind.CLIP_REJECTED)["cause"] == "not-a-video"
    assert folders(live) == []
    assert 'daflow_uploads_rejected_total{cause="not-a-video"} 1.0' in live.client.get("/metrics").text


def test_a_full_queue_says_when_to_come_back_before_the_clip_is_sent(serve: Serve) -> None:
    live = serve(clip_queue_size=1)
    running = live.client.post_clip(b"hold").json()["id"]
    live.client.until(running, "running")
    assert live.client.post_clip(b"clip").status_code == 202
    with raw_connection(live.port, {"Content-Length": "1000000"}) as connection:
        answer = read_answer(connection)
    problem(answer, Kind.QUEUE_FULL)
    assert int(answer.headers["retry-after"]) >= 1
    assert len(folders(live)) == 2


def test_uploads_on_their_way_take_seats_in_the_queue(serve: Serve) -> None:
    live = serve(clip_queue_size=1)
    with raw_connection(live.port, {"Transfer-Encoding": "chunked"}) as arriving:
        arriving.sendall(chunk(b"clip"))
        eventually(lambda: folders(live), "the upload has begun")
        assert int(live.client.post_clip(b"clip").headers["retry-after"]) >= 1
        arriving.sendall(b"0\r\n\r\n")
        assert read_answer(arriving).status_code == 202


@pytest.mark.parametrize("announced", [True, False])
def test_a_clip_too_large_is_refused_while_it_is_sent(serve: Serve, announced: bool) -> None:
    live = serve(max_clip_bytes=100_000, clip_storage_bytes=100_000)
    head = {"Content-Length": "150000"} if announced else {"Transfer-Encoding": "chunked"}
    with raw_connection(live.port, head) as connection:
        # Less than was announced, and no last chunk: the server must not wait for the end.
        connection.sendall(bytes(120_000) if announced else chunk(bytes(120_000)))
        answer = read_answer(connection)
    assert problem(answer, Kind.CLIP_TOO_LARGE)["limit_bytes"] == 100_000
    eventually(lambda: folders(live) == [], "the partial file is gone")


def test_a_client_that_sends_on_regardless_still_hears_the_answer(serve: Serve) -> None:
    live = serve(max_clip_bytes=100_000, clip_storage_bytes=100_000)
    problem(live.client.post_clip(bytes(8_000_000)), Kind.CLIP_TOO_LARGE)


def test_a_client_gone_in_the_middle_leaves_nothing(serve: Serve) -> None:
    live = serve()
    with raw_connection(live.port, {"Content-Length": "1000000"}) as connection:
        connection.sendall(bytes(1000))
        eventually(lambda: folders(live), "the upload has begun")
    eventually(lambda: folders(live) == [], "the partial file is gone")
    assert live.client.get("/v1/clips").json()["clips"] == []


def test_a_form_without_the_file_is_refused(client: Client) -> None:
    problem(client.post("/v1/clips", files={"video": b"clip"}), Kind.MALFORMED_UPLOAD)


def test_without_models_clips_are_refused_and_the_reason_names_the_setting(serve: Serve) -> None:
    live = serve(unavailable)
    eventually(lambda: live.runtime.models.problem is not None, "loading has failed")
    assert problem(live.client.post_clip(b"clip"), Kind.MODELS_UNAVAILABLE)["setting"] == "DAFLOW_POSE_WEIGHTS"
    (missing,) = problem(live.client.get("/readyz"), Kind.NOT_READY)["missing"]
    assert (missing["what"], missing["setting"]) == ("models", "DAFLOW_POSE_WEIGHTS")
    assert live.client.get("/healthz").status_code == 200


def test_models_are_loaded_as_soon_as_their_weights_appear(serve: Serve, tmp_path: Path) -> None:
    weights = tmp_path / "late.onnx"
    live = serve(
        lambda settings: (cardboard_models if weights.exists() else unavailable)(settings), pose_weights=str(weights)
    )
    eventually(lambda: live.runtime.models.problem is not None, "loading has failed")
    weights.touch()
    eventually(lambda: live.client.get("/readyz").status_code == 200, "the service is ready")
    assert live.client.post_clip(b"clip", wait=60).json()["state"] == "done"


def test_a_waiting_clip_is_cancelled_and_never_started(serve: Serve, scorer: CardboardScorer) -> None:
    client = serve().client
    running, waiting = client.post_clip(b"hold").json()["id"], client.post_clip(b"clip").json()["id"]
    client.until(running, "running")
    assert client.post(f"/v1/clips/{waiting}/cancel").json()["state"] == "cancelled"
    scorer.gate.set()
    client.until(running, "done")
    assert scorer.started == [running]
    assert problem(client.post(f"/v1/clips/{running}/cancel"), Kind.CLIP_FINISHED)["state"] == "done"


def test_a_running_clip_is_cancelled_and_its_worker_goes_on(client: Client) -> None:
    clip_id = client.post_clip(b"hold").json()["id"]
    client.until(clip_id, "running")
    assert client.post(f"/v1/clips/{clip_id}/cancel").json()["state"] == "cancelled"
    assert client.post_clip(b"clip", wait=60).json()["state"] == "done"


@pytest.mark.parametrize("body", [b"hold", b"clip", b"crash"])
def test_deleting_removes_a_clip_in_any_state_with_its_files(serve: Serve, body: bytes) -> None:
    live = serve()
    clip_id = live.client.post_clip(body).json()["id"]
    live.client.until(clip_id, "running" if body == b"hold" else "done" if body == b"clip" else "failed")
    assert live.client.delete(f"/v1/clips/{clip_id}").status_code == 204
    problem(live.client.get(f"/v1/clips/{clip_id}"), Kind.CLIP_NOT_FOUND)
    eventually(lambda: live.runtime.clips.runner.running(clip_id) is None, "the worker has let go")
    assert folders(live) == []
    problem(live.client.delete(f"/v1/clips/{clip_id}"), Kind.CLIP_NOT_FOUND)


def test_the_list_is_paged_and_filtered(client: Client) -> None:
    posted = [client.post_clip(b"crash" if number == 2 else b"clip", wait=60).json()["id"] for number in range(5)]
    seen, cursor = [], None
    while True:
        page = client.get("/v1/clips", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [clip["id"] for clip in page["clips"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == posted[::-1]
    failed = client.get("/v1/clips", params={"state": "failed"}).json()
    assert ([clip["id"] for clip in failed["clips"]], failed["next"]) == ([posted[2]], None)
    assert "result" not in page["clips"][0]


def test_events_tell_the_whole_story_of_a_clip(serve: Serve, scorer: CardboardScorer) -> None:
    client = serve().client
    clip_id = client.post_clip(b"hold").json()["id"]
    client.until(clip_id, "running")
    with client.events(clip_id) as socket:
        hello = clip_event_adapter.validate_json(socket.recv(timeout=PATIENCE_S))
        scorer.gate.set()
        events = read(socket)
    assert isinstance(hello, ClipHello)
    assert (hello.clip, hello.state, hello.frames_total) == (clip_id, "running", FRAMES)
    assert [event.frame.index for event in events if isinstance(event, ClipScore)] == [2, 3, 4]
    assert any(isinstance(event, Progress) and event.frames_done == FRAMES for event in events)
    assert events[-1] == Done(result=f"/v1/clips/{clip_id}/result.json")
    assert socket.close_code == 1000


def test_a_late_subscriber_hears_how_it_ended(client: Client) -> None:
    clip_id = client.post_clip(b"reject", wait=60).json()["id"]
    with client.events(clip_id) as socket:
        hello, end = read(socket)
    assert isinstance(hello, ClipHello)
    assert hello.state == "failed"
    assert isinstance(end, Failed)
    assert end.error.cause == "undecodable"


def test_a_subscriber_to_a_deleted_clip_is_told(client: Client) -> None:
    clip_id = client.post_clip(b"hold").json()["id"]
    client.until(clip_id, "running")
    with client.events(clip_id) as socket:
        socket.recv(timeout=PATIENCE_S)
        client.delete(f"/v1/clips/{clip_id}")
        assert read(socket)[-1].type == "cancelled"


def test_events_of_an_unknown_clip_close_with_a_code_of_their_own(client: Client) -> None:
    with client.events("nobody") as socket:
        assert read(socket) == []
    assert socket.close_code == 4404


def test_a_subscriber_who_leaves_is_forgotten(serve: Serve) -> None:
    live = serve()
    clip_id = live.client.post_clip(b"hold").json()["id"]
    with live.client.events(clip_id):
        eventually(lambda: live.runtime.clips.events.listeners(clip_id) == 1, "the subscriber is known")
    eventually(lambda: live.runtime.clips.events.listeners(clip_id) == 0, "the subscriber is forgotten")


def test_pages_of_other_origins_may_neither_post_nor_listen(serve: Serve) -> None:
    live = serve()
    stranger = {"origin": "https://elsewhere.example"}
    problem(live.client.post("/v1/clips", content=b"clip", headers=stranger), Kind.CROSS_ORIGIN)
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://127.0.0.1:{live.port}/v1/clips/x/events", additional_headers=stranger)
    ours = {"origin": f"http://127.0.0.1:{live.port}"}
    assert live.client.post("/v1/clips", content=b"clip", headers=ours).status_code == 202


def test_a_name_that_a_strangers_page_gave_this_machine_gets_nothing(serve: Serve) -> None:
    live = serve()
    clip_id = live.client.post_clip(b"clip", wait=60).json()["id"]
    evil = {"host": "evil.example", "origin": "http://evil.example"}
    for path in ("/", "/v1/clips", f"/v1/clips/{clip_id}/result.json", "/openapi.json"):
        assert "evil.example" in problem(live.client.get(path, headers=evil), Kind.UNKNOWN_HOST)["detail"]
    problem(live.client.post("/v1/clips", content=b"clip", headers=evil), Kind.UNKNOWN_HOST)
    problem(live.client.delete(f"/v1/clips/{clip_id}", headers=evil), Kind.UNKNOWN_HOST)
    with pytest.raises(InvalidStatus, match="421"):
        connect(f"ws://evil.example/v1/clips/{clip_id}/events", sock=create_connection(("127.0.0.1", live.port)))
    for ours in (f"localhost:{live.port}", f"[::1]:{live.port}"):
        assert live.client.get("/v1/clips", headers={"host": ours}).status_code == 200


def test_whoever_opens_the_service_to_the_network_chooses_its_names(serve: Serve) -> None:
    live = serve(auth="off")
    assert live.client.get("/v1/clips", headers={"host": "cameras.example"}).status_code == 200


def test_stopping_puts_a_running_clip_back_and_the_next_start_finishes_it(
    tmp_path: Path, scorer: CardboardScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.clips.uploads.inspect", cardboard_inspect)
    settings = Settings(data_dir=tmp_path / "data")
    with live_server(settings, scorer=scorer) as live:
        clip_id = live.client.post_clip(b"hold").json()["id"]
        live.client.until(clip_id, "running")
    scorer.gate.set()
    with live_server(settings, scorer=scorer) as live:
        assert live.client.until(clip_id, "done")["attempts"] == 1


def test_errors_of_every_kind_are_problem_documents(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    problem(client.get("/nowhere"), Kind.NOT_FOUND)
    problem(client.put("/v1/clips"), Kind.METHOD_NOT_ALLOWED)
    problem(client.get("/v1/clips/nobody"), Kind.CLIP_NOT_FOUND)
    problem(client.get("/v1/clips/nobody/scores.csv"), Kind.CLIP_NOT_FOUND)
    invalid = problem(client.get("/v1/clips", params={"limit": 0, "state": "lost"}), Kind.INVALID_REQUEST)
    assert {item["name"] for item in invalid["errors"]} == {"limit", "state"}


def test_a_defect_is_a_problem_document_that_gives_nothing_away(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("service.clips.store.ClipStore.page", broken)
    assert "secret" not in json.dumps(problem(client.get("/v1/clips"), Kind.INTERNAL_ERROR))


def test_every_problem_explains_itself(client: Client) -> None:
    for kind in Kind:
        assert client.get(kind.type).json()["title"] == kind.title
    problem(client.get("/problems/nothing"), Kind.NOT_FOUND)


def test_the_service_says_that_it_is_ready_and_with_what(client: Client) -> None:
    assert client.get("/readyz").json()["model"]["parameters"] == 488


def test_readiness_notices_a_data_folder_that_cannot_be_written(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_folder: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("service.storage.folder.DataFolder.check_writable", refuse)
    (missing,) = problem(client.get("/readyz"), Kind.NOT_READY)["missing"]
    assert missing["setting"] == "DAFLOW_DATA_DIR"


def test_every_answer_tells_browsers_to_be_careful(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    client = serve().client
    monkeypatch.setattr("service.clips.store.ClipStore.page", broken)
    answers = [
        client.get(path) for path in ("/healthz", "/docs", "/docs/assets/swagger-ui.css", "/nowhere", "/v1/clips")
    ]
    answers += [client.post_clip(b"bad"), client.get("/", headers={"host": "evil.example"})]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 404, 500, 422, 421]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_metrics_count_clips_and_frames(client: Client) -> None:
    client.post_clip(b"clip", wait=60)
    text = client.get("/metrics").text
    assert 'daflow_clips{state="done"} 1.0' in text
    assert f"daflow_frames_scored_total {FRAMES}.0" in text
    assert "daflow_models_ready 1.0" in text


def test_the_documentation_needs_nothing_from_elsewhere(client: Client) -> None:
    page = client.get("/docs").text
    assert "https://" not in page
    assert client.get("/docs/assets/swagger-ui-bundle.js").status_code == 200
    assert "url: '/openapi.json'" in page
    assert client.get("/openapi.json").json()["openapi"].startswith("3.1")


def test_a_database_without_room_refuses_the_clip_and_keeps_nothing_of_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        reason = sqlite3.OperationalError("database or disk is full")
        reason.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise OperationalError("INSERT", {}, reason)

    live = serve()
    monkeypatch.setattr("service.clips.store.ClipStore.enqueue", full)
    problem(live.client.post_clip(b"clip"), Kind.STORAGE_FULL)
    assert folders(live) == []
    assert 'daflow_uploads_rejected_total{cause="storage-full"} 1.0' in live.client.get("/metrics").text


@pytest.mark.parametrize("name", ["scores.csv", "timeline.png"])
def test_a_disk_without_room_for_a_rendition_says_so_and_recovers(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    live = serve()
    clip_id = live.client.post_clip(b"clip", wait=60).json()["id"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        detail = problem(live.client.get(f"/v1/clips/{clip_id}/{name}"), Kind.STORAGE_FULL)["detail"]
    assert name in detail
    assert sorted(path.name for path in live.runtime.folder.clip(clip_id).iterdir()) == ["result.json", "source"]
    assert live.client.get(f"/v1/clips/{clip_id}/{name}").status_code == 200


def test_results_are_fetched_as_table_and_picture(client: Client) -> None:
    clip_id = client.post_clip(b"clip", wait=60).json()["id"]
    table = client.get(f"/v1/clips/{clip_id}/scores.csv")
    assert table.headers["content-type"].startswith("text/csv")
    assert len(table.text.splitlines()) == FRAMES + 1
    assert client.get(f"/v1/clips/{clip_id}/timeline.png").content.startswith(b"\x89PNG")
