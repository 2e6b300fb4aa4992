"""Routes of incidents over real HTTP, WebSockets and server-sent events."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from datetime import time as clock
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from model.behaviours import Kind as Behaviour
from pose.live import SourceState
from service.api import sockets
from service.api.documents import IncidentForReader
from service.api.problems import Kind
from service.documents.base import EndReason, Severity
from service.documents.messages import event_stream_adapter
from service.documents.time_zones import time_zone
from service.live.incident import Ended, Started, Updated
from service.storage.evidence import EVIDENCE_KINDS
from tests.doubles.live_records import incident, state_change
from tests.doubles.servers import PATIENCE_S, LiveServer, Serve, eventually
from tests.doubles.subscribers import open_socket, read, server_events, silent_reader
from tests.service.api.test_clips import problem


def start(
    live: LiveServer, name: str, camera: str = "door", start: float = 0.0, kind: Behaviour = Behaviour.UNUSUAL
) -> None:
    live.runtime.streams.log.record(Started(incident(name, camera, start, kind=kind)))
    stored(live, lambda: live.runtime.streams.incidents.get(name))


def end(live: LiveServer, name: str, camera: str = "door", start: float = 0.0) -> None:
    over = replace(incident(name, camera, start), updated=start + 5, ended=start + 5, end_reason=EndReason.QUIET)
    live.runtime.streams.log.record(Ended(over))
    stored(live, lambda: live.runtime.streams.incidents.get(name).ended_at)


def stored(live: LiveServer, look: Callable[[], Any]) -> None:
    def quietly() -> Any:
        try:
            return look()
        except LookupError:
            return None

    eventually(quietly, "it is in the store")
    eventually(
        lambda: live.runtime.streams.feed.newest_id == live.runtime.streams.incidents.newest_event_id(),
        "it is published",
    )


def test_the_report_of_a_day_counts_what_began_in_it_by_the_clock_of_the_site(serve_live: Serve) -> None:
    live = serve_live(timezone="Asia/Kolkata")
    now = time.monotonic()
    start(live, "one", start=now, kind=Behaviour.FALL)
    assert live.client.post("/v1/incidents/one/acknowledge").status_code == 200
    start(live, "two", camera="yard", start=now)
    assert live.client.post("/v1/incidents/two/false-alarm", json={"false_alarm": True}).status_code == 200
    site = time_zone("Asia/Kolkata")
    today = datetime.fromisoformat(live.client.get("/v1/incidents/one").json()["started_at"]).astimezone(site).date()
    found = live.client.get(f"/v1/incidents/report?day={today}").json()
    assert datetime.fromisoformat(found["since"]) == datetime.combine(today, clock(), site)
    assert found["timezone"] == "Asia/Kolkata"
    assert {one["camera"]: one["kinds"] for one in found["cameras"]} == {"door": {"fall": 1}, "yard": {"unusual": 1}}
    total = found["total"]
    assert (total["incidents"], total["false_alarms"], total["severities"]["warning"]) == (2, 1, 2)
    assert (total["response"]["acknowledged"], total["response"]["waiting"]) == (1, 0)
    assert total["response"]["median_s"] >= 0
    for days, day in ((7, today - timedelta(days=6)), (1, today + timedelta(days=1)), (1, today - timedelta(days=1))):
        other = live.client.get(f"/v1/incidents/report?day={day}&days={days}").json()
        assert other["total"]["incidents"] == (2 if days == 7 else 0)
    assert live.client.get("/v1/incidents/report").json()["total"]["incidents"] == 0


@pytest.mark.parametrize("query", ["day=0001-01-01", "day=9999-12-31", "days=0", "days=32", "day=tomorrow"])
def test_a_report_of_impossible_days_is_refused(live: LiveServer, query: str) -> None:
    problem(live.client.get(f"/v1/incidents/report?{query}"), Kind.INVALID_REQUEST)


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [found["id"] for found in answer.json()["incidents"]]


@pytest.mark.slow
def test_incidents_are_listed_newest_first_page_by_page_and_filtered(live: LiveServer) -> None:
    for number in range(5):
        start(live, f"i{number}", "door" if number % 2 else "yard", start=100.0 * number)
    end(live, "i3", "door", start=300.0)
    get = live.client.get
    assert ids(get("/v1/incidents")) == ["i4", "i3", "i2", "i1", "i0"]
    page = get("/v1/incidents", params={"limit": 2})
    assert ids(page) == ["i4", "i3"]
    start(live, "i5", start=500.0)
    page = get("/v1/incidents", params={"limit": 2, "cursor": page.json()["next"]})
    assert ids(page) == ["i2", "i1"]
    last = get("/v1/incidents", params={"limit": 2, "cursor": page.json()["next"]})
    assert (ids(last), last.json()["next"]) == (["i0"], None)
    assert ids(get("/v1/incidents", params={"camera": "yard"})) == ["i4", "i2", "i0"]
    assert ids(get("/v1/incidents", params={"open": "false"})) == ["i3"]
    assert ids(get("/v1/incidents", params={"severity": "alert"})) == []
    third = live.runtime.streams.incidents.get("i3").started_at.isoformat()
    assert ids(get("/v1/incidents", params={"since": third})) == ["i5", "i4", "i3"]
    assert ids(get("/v1/incidents", params={"until": third, "camera": "door"})) == ["i1"]
    assert ids(get("/v1/incidents", params={"since": third.removesuffix("+00:00")})) == ["i5", "i4", "i3"]
    problem(get("/v1/incidents", params={"limit": 0, "severity": "mild"}), Kind.INVALID_REQUEST)
    for bound in ({"since": "0001-01-01T00:00:00+14:00"}, {"until": "9999-12-31T23:59:59-14:00"}):
        problem(get("/v1/incidents", params=bound), Kind.INVALID_REQUEST)


def test_incidents_are_found_by_what_was_seen_and_say_it(live: LiveServer) -> None:
    for number, kind in enumerate((Behaviour.FALL, Behaviour.UNUSUAL, Behaviour.RUNNING, Behaviour.FALL)):
        start(live, f"i{number}", start=100.0 * number, kind=kind)
    get = live.client.get
    assert ids(get("/v1/incidents", params={"kind": "fall"})) == ["i3", "i0"]
    assert ids(get("/v1/incidents", params={"kind": "unusual"})) == ["i1"]
    assert ids(get("/v1/incidents", params={"kind": "fight"})) == []
    problem(get("/v1/incidents", params={"kind": "dance"}), Kind.INVALID_REQUEST)
    found = get("/v1/incidents/i0").json()
    assert (found["kind"], found["title"], found["explanation"]) == ("fall", "Fall, 1 person", "saw a fall")
    (seen,) = found["kinds"]
    assert (seen["kind"], seen["people"], seen["score"], seen["facts"]) == ("fall", [1], 1.25, {"speed_h_s": 1.25})
    assert found["started_at"] == seen["first_at"] <= seen["last_at"] == found["updated_at"]


def test_an_incident_is_looked_at_acknowledged_and_judged(live: LiveServer) -> None:
    start(live, "one")
    found = IncidentForReader.model_validate(live.client.get("/v1/incidents/one").json())
    assert (found.camera, found.severity, found.acknowledged_at) == ("door", Severity.WARNING, None)
    acknowledged = live.client.post("/v1/incidents/one/acknowledge").json()["acknowledged_at"]
    assert acknowledged is not None
    assert live.client.post("/v1/incidents/one/acknowledge").json()["acknowledged_at"] == acknowledged
    assert live.client.post("/v1/incidents/one/false-alarm").json()["false_alarm"] is True
    assert live.client.post("/v1/incidents/one/false-alarm", json={"false_alarm": False}).json()["false_alarm"] is False
    stranger = {"origin": "https://elsewhere.example"}
    problem(live.client.post("/v1/incidents/one/acknowledge", headers=stranger), Kind.CROSS_ORIGIN)


def test_the_old_marks_and_the_verdict_are_one(live: LiveServer) -> None:
    start(live, "one")
    live.client.post("/v1/incidents/one/acknowledge")
    marked = live.client.post("/v1/incidents/one/false-alarm").json()
    assert (marked["acknowledged_by"], marked["review"]["verdict"]) == ("this machine", "false_alarm")
    change = {"revision": 2, "verdict": "real"}
    assert live.client.patch("/v1/incidents/one", json=change).json()["false_alarm"] is False
    # What is no false alarm cannot be taken back, and the verdict stays.
    kept = live.client.post("/v1/incidents/one/false-alarm", json={"false_alarm": False}).json()
    assert (kept["review"]["verdict"], kept["review"]["revision"]) == ("real", 3)


def test_an_incident_is_reviewed_and_a_slower_person_is_told_what_was_said(live: LiveServer) -> None:
    start(live, "one", kind=Behaviour.FALL)
    change = {"revision": 0, "verdict": "real", "kind": "lying", "assigned_to": "Ben", "note": "<b>by</b> the gate"}
    answer = live.client.patch("/v1/incidents/one", json=change)
    review = answer.json()["review"]
    assert (answer.status_code, review["revision"], review["by"]) == (200, 1, "this machine")
    assert {name: review[name] for name in change if name != "revision"} == {
        name: value for name, value in change.items() if name != "revision"
    }
    assert (answer.json()["kind"], answer.json()["title"]) == ("fall", "Fall, 1 person")
    late = live.client.patch("/v1/incidents/one", json={"revision": 0, "note": "mine"})
    refused = problem(late, Kind.REVIEW_CONFLICT)
    assert refused["detail"].startswith("this machine gave the verdict real, corrected the kind to person lying")
    present = live.client.get("/v1/incidents/one").json()
    assert refused["incident"] == {name: value for name, value in present.items() if name != "unread"}
    for wrong in ({}, {"revision": -1}, {"revision": 1, "verdict": "maybe"}, {"revision": 1, "colour": "red"}):
        problem(live.client.patch("/v1/incidents/one", json=wrong), Kind.INVALID_REQUEST)
    stranger = {"origin": "https://elsewhere.example"}
    for method, path in (("PATCH", ""), ("PATCH", "/one"), ("POST", "/undo"), ("POST", "/one/undo"), ("POST", "/read")):
        problem(live.client.request(method, f"/v1/incidents{path}", headers=stranger), Kind.CROSS_ORIGIN)


def test_a_change_is_listed_and_taken_back(live: LiveServer) -> None:
    start(live, "one")
    live.client.patch("/v1/incidents/one", json={"revision": 0, "verdict": "drill", "acknowledged": True})
    (made,) = live.client.get("/v1/incidents/one/reviews").json()["reviews"]
    assert (made["revision"], made["by"], made["before"]["verdict"], made["after"]["verdict"]) == (
        1,
        "this machine",
        None,
        "drill",
    )
    back = live.client.post("/v1/incidents/one/undo", json={"revision": 1}).json()
    assert (back["review"]["verdict"], back["acknowledged_at"], back["review"]["revision"]) == (None, None, 2)
    problem(live.client.post("/v1/incidents/one/undo", json={"revision": 1}), Kind.REVIEW_CONFLICT)
    assert [one["undoes"] for one in live.client.get("/v1/incidents/one/reviews").json()["reviews"]] == [1, None]


def test_several_incidents_get_one_verdict_with_a_result_each(live: LiveServer) -> None:
    for name in ("one", "two", "three"):
        start(live, name)
    live.client.patch("/v1/incidents/two", json={"revision": 0, "note": "mine"})
    wanted = [{"id": name, "revision": 0} for name in ("one", "two", "nobody", "three")]
    change = {"incidents": wanted, "change": {"verdict": "false_alarm"}}
    results = live.client.patch("/v1/incidents", json=change).json()["results"]
    assert [(one["id"], one["done"], one["problem"]) for one in results] == [
        ("one", True, None),
        ("two", False, "/problems/review-conflict"),
        ("nobody", False, "/problems/incident-not-found"),
        ("three", True, None),
    ]
    assert results[1]["detail"].startswith("this machine changed the note")
    assert results[1]["incident"]["review"]["note"] == "mine"
    assert ids(live.client.get("/v1/incidents", params={"verdict": "false_alarm"})) == ["three", "one"]
    assert ids(live.client.get("/v1/incidents", params={"verdict": "none"})) == ["two"]
    done = [{"id": one["id"], "revision": 1} for one in results if one["done"]]
    taken = live.client.post("/v1/incidents/undo", json={"incidents": done}).json()["results"]
    assert [one["done"] for one in taken] == [True, True]
    assert ids(live.client.get("/v1/incidents", params={"verdict": "false_alarm"})) == []
    for wrong in ([], wanted[:1] * 201):
        body = {"incidents": wrong, "change": {"verdict": "real"}}
        problem(live.client.patch("/v1/incidents", json=body), Kind.INVALID_REQUEST)
    # As many as one request may name, with the longest note, fit into it.
    body = {"incidents": [{"id": "f" * 32, "revision": 2**31 - 1}] * 200, "change": {"note": "\u00e4" * 2000}}
    assert live.client.patch("/v1/incidents", json=body).status_code == 200


def test_incidents_are_read_and_counted(live: LiveServer) -> None:
    for name in ("one", "two"):
        start(live, name)
    assert [one["unread"] for one in live.client.get("/v1/incidents").json()["incidents"]] == [True, True]
    assert live.client.get("/v1/incidents/one").json()["unread"] is True
    assert live.client.get("/v1/incidents/unread").json() == {"unread": 2}
    assert live.client.post("/v1/incidents/read", json={"ids": ["one", "nobody"]}).status_code == 204
    assert live.client.get("/v1/incidents/unread").json() == {"unread": 1}
    assert ids(live.client.get("/v1/incidents", params={"unread": "true"})) == ["two"]
    assert ids(live.client.get("/v1/incidents", params={"unread": "false"})) == ["one"]
    assert live.client.get("/v1/incidents/one").json()["unread"] is False
    live.client.post("/v1/incidents/read", json={"ids": ["one"], "read": False})
    live.client.post("/v1/incidents/read", json={})
    assert live.client.get("/v1/incidents/unread").json() == {"unread": 0}


def test_an_incident_that_never_happened_has_nothing(live: LiveServer) -> None:
    for path in ("", "/snapshot.jpg", "/clip.mp4", "/reviews"):
        problem(live.client.get(f"/v1/incidents/none{path}"), Kind.INCIDENT_NOT_FOUND)
    for path in ("acknowledge", "false-alarm"):
        problem(live.client.post(f"/v1/incidents/none/{path}"), Kind.INCIDENT_NOT_FOUND)
    seen = {"revision": 1}
    problem(live.client.patch("/v1/incidents/none", json=seen), Kind.INCIDENT_NOT_FOUND)
    problem(live.client.post("/v1/incidents/none/undo", json=seen), Kind.INCIDENT_NOT_FOUND)


def test_evidence_is_served_with_or_without_the_picture_or_said_to_be_missing(live: LiveServer) -> None:
    start(live, "one")
    get, evidence = live.client.get, live.runtime.folder.evidence
    assert problem(get("/v1/incidents/one/clip.mp4"), Kind.EVIDENCE_MISSING)["state"] == "pending"
    evidence.make_room("one")
    evidence.file("one", "clip").write_bytes(b"0123456789")
    evidence.file("one", "clip", background=False).write_bytes(b"bones")
    evidence.file("one", "snapshot", background=False).write_bytes(b"bones")
    whole = get("/v1/incidents/one/clip.mp4")
    assert (whole.content, whole.headers["content-type"]) == (b"0123456789", "video/mp4")
    part = get("/v1/incidents/one/clip.mp4", headers={"range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    assert get("/v1/incidents/one/clip.mp4", params={"background": "none"}).content == b"bones"
    # A camera whose pictures are kept to itself has the other version only.
    live.runtime.streams.log.evidence("one", "snapshot", "ready")
    eventually(lambda: live.runtime.streams.incidents.get("one").snapshot == "ready", "it is noted")
    assert get("/v1/incidents/one/snapshot.jpg").headers["content-type"] == "image/jpeg"
    refused = problem(get("/v1/incidents/one/snapshot.jpg", params={"background": "picture"}), Kind.EVIDENCE_MISSING)
    assert "background=none" in refused["detail"]
    evidence.discard("one")
    live.runtime.streams.log.evidence("one", "clip", "missing", "the disk is full")
    eventually(lambda: live.runtime.streams.incidents.get("one").clip == "missing", "it is noted")
    assert "the disk is full" in problem(get("/v1/incidents/one/clip.mp4"), Kind.EVIDENCE_MISSING)["detail"]


@pytest.mark.parametrize("kind", ["snapshot.jpg", "clip.mp4"])
@pytest.mark.parametrize("change", ["put", "patch"])
def test_pictures_from_before_they_were_forbidden_are_not_shown(change: str, kind: str, live: LiveServer) -> None:
    camera = {"url": "skeletons:", "enabled": False}
    assert live.client.put("/v1/cameras/door", json=camera).status_code == 201
    start(live, "one")
    evidence, piece = live.runtime.folder.evidence, "snapshot" if kind == "snapshot.jpg" else "clip"
    evidence.make_room("one")
    evidence.file("one", piece).write_bytes(b"faces")
    evidence.file("one", piece, background=False).write_bytes(b"bones")
    stored(live, lambda: live.runtime.streams.incidents.get("one"))

    def get(**background: str) -> httpx.Response:
        return live.client.get(f"/v1/incidents/one/{kind}", params=background)

    assert (get().content, get(background="picture").content) == (b"faces", b"faces")
    if change == "put":
        live.client.put("/v1/cameras/door", json=camera | {"picture": False})
    else:
        live.client.patch("/v1/cameras/door", json={"picture": False})
    assert (get().content, get(background="none").content) == (b"bones", b"bones")
    assert "are not shown" in problem(get(background="picture"), Kind.EVIDENCE_MISSING)["detail"]
    live.client.patch("/v1/cameras/door", json={"picture": True})
    assert get().content == b"faces"


def test_stored_pictures_of_a_camera_are_removed_when_asked_and_skeletons_stay(live: LiveServer) -> None:
    client, evidence = live.client, live.runtime.folder.evidence
    for camera in ("door", "yard"):
        assert client.put(f"/v1/cameras/{camera}", json={"url": "skeletons:", "enabled": False}).status_code == 201
    cameras = {"one": "door", "two": "door", "three": "door", "elsewhere": "yard"}
    for name, camera in cameras.items():
        start(live, name, camera)
        evidence.make_room(name)
        for kind in EVIDENCE_KINDS:
            evidence.file(name, kind).write_bytes(b"faces")
            evidence.file(name, kind, background=False).write_bytes(b"bones")
            live.runtime.streams.log.evidence(name, kind, "ready")
    stored(live, lambda: live.runtime.streams.incidents.get("elsewhere").clip == "ready")
    with open_socket(live, "/v1/incidents?camera=door") as socket:
        assert read(socket)["type"] == "hello"
        answer = client.delete("/v1/cameras/door/pictures")
        assert (answer.status_code, answer.json()) == (200, {"incidents": 3, "files": 6, "size_bytes": 30})
        told = [read(socket) for _ in range(3)]
    assert [message["type"] for message in told] == ["incident.evidence"] * 3
    assert {message["incident"]["id"] for message in told} == {"one", "two", "three"}
    for name, camera in cameras.items():
        info = client.get(f"/v1/incidents/{name}").json()
        assert (info["snapshot"], info["clip"]) == ("ready", "ready")
        assert (info["pictures_removed_at"] is None) == (camera == "yard")
        for file in ("snapshot.jpg", "clip.mp4"):
            path = f"/v1/incidents/{name}/{file}"
            assert client.get(path).content == (b"faces" if camera == "yard" else b"bones")
            assert client.get(path, params={"background": "none"}).content == b"bones"
            shown = client.get(path, params={"background": "picture"})
            if camera == "yard":
                assert shown.content == b"faces"
            else:
                assert "were removed at" in problem(shown, Kind.EVIDENCE_MISSING)["detail"]
    again = client.delete("/v1/cameras/door/pictures")
    assert (again.status_code, again.json()) == (200, {"incidents": 0, "files": 0, "size_bytes": 0})
    eventually(lambda: len(client.get("/v1/audit").json()["records"]) == 4, "the changes are recorded")
    record = client.get("/v1/audit").json()["records"][0]
    assert (record["action"], record["target"]) == (
        "DELETE /v1/cameras/{camera_id}/pictures",
        "/v1/cameras/door/pictures",
    )


def test_pictures_are_gone_from_the_moment_their_removal_is_noted(live: LiveServer) -> None:
    start(live, "one")
    evidence = live.runtime.folder.evidence
    evidence.make_room("one")
    for background, content in ((True, b"faces"), (False, b"bones")):
        evidence.file("one", "clip", background=background).write_bytes(content)
    live.runtime.streams.incidents.remove_pictures(["one"])
    assert evidence.file("one", "clip").exists()
    assert live.client.get("/v1/incidents/one/clip.mp4").content == b"bones"
    problem(live.client.get("/v1/incidents/one/clip.mp4", params={"background": "picture"}), Kind.EVIDENCE_MISSING)


def test_a_camera_that_was_removed_may_still_lose_the_pictures_of_its_incidents(live: LiveServer) -> None:
    problem(live.client.delete("/v1/cameras/door/pictures"), Kind.CAMERA_NOT_FOUND)
    start(live, "one")
    evidence = live.runtime.folder.evidence
    evidence.make_room("one")
    evidence.file("one", "snapshot").write_bytes(b"faces")
    answer = live.client.delete("/v1/cameras/door/pictures")
    assert answer.json() == {"incidents": 1, "files": 1, "size_bytes": 5}
    assert not evidence.file("one", "snapshot").exists()


def test_events_arrive_over_both_kinds_of_stream_in_the_same_words(live: LiveServer) -> None:
    with open_socket(live, "/v1/incidents") as socket, live.client.stream("GET", "/v1/incidents/stream") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = server_events(stream)
        hello = next(events)
        assert read(socket) == hello.data
        assert (hello.event, hello.id) == ("hello", "0")
        live.runtime.streams.log.camera_state(state_change("door", SourceState.ONLINE))
        start(live, "one")
        live.runtime.streams.log.record(Updated(incident("one")))
        end(live, "one")
        live.client.post("/v1/incidents/one/acknowledge")
        told = [next(events) for _ in range(5)]
        heard = [read(socket) for _ in range(5)]
    assert [event.data for event in told] == heard
    assert [event.event for event in told] == [message["type"] for message in heard] == [
        "camera.state", "incident.started", "incident.updated", "incident.ended", "incident.reviewed",
    ]  # fmt: skip
    assert [event.id for event in told] == [str(message["id"]) for message in heard]
    for message in heard:
        event_stream_adapter.validate_python(message)


def test_a_stream_is_limited_to_the_cameras_that_are_asked_for(live: LiveServer) -> None:
    path = "/v1/incidents?camera=door&camera=gate&last_event_id=0"
    for name, camera in (("one", "door"), ("two", "yard"), ("three", "gate")):
        start(live, name, camera)
    with open_socket(live, path) as socket:
        assert read(socket)["cameras"] == ["door", "gate"]
        assert [read(socket)["camera"] for _ in range(2)] == ["door", "gate"]
        start(live, "four", "yard")
        start(live, "five", "gate")
        assert read(socket)["incident"]["id"] == "five"


@pytest.mark.parametrize("way", ["websocket", "address", "header"])
def test_whoever_comes_back_with_the_last_id_gets_everything_since_once(way: str, live: LiveServer) -> None:
    for number in range(4):
        start(live, f"i{number}")
    known = live.runtime.streams.incidents.events_after(0, 2)[-1].id

    def since(count: int) -> list[dict[str, Any]]:
        if way == "websocket":
            with open_socket(live, f"/v1/incidents?last_event_id={known}") as socket:
                return [read(socket) for _ in range(count)]
        # The header wins: a browser repeats the address it was given first.
        query = {"last_event_id": str(known if way == "address" else 0)}
        headers = {} if way == "address" else {"last-event-id": str(known)}
        with live.client.stream("GET", "/v1/incidents/stream", params=query, headers=headers) as stream:
            events = server_events(stream)
            return [next(events).data for _ in range(count)]

    hello, *events = since(3)
    assert hello["last_event_id"] == known
    assert [event["incident"]["id"] for event in events] == ["i2", "i3"]


def test_an_id_from_another_store_is_told_and_gets_everything(live: LiveServer) -> None:
    start(live, "one")
    with open_socket(live, "/v1/incidents?last_event_id=4711") as socket:
        messages = [read(socket) for _ in range(3)]
    assert [message["type"] for message in messages] == ["hello", "lagged", "incident.started"]
    # Whoever resumes after what is told here must not pass over what this store will hold one day.
    assert messages[0]["last_event_id"] == 0


def test_what_hello_says_resumes_a_stream_that_broke_before_its_first_event(live: LiveServer) -> None:
    start(live, "before")
    with open_socket(live, "/v1/incidents") as socket:
        resume = read(socket)["last_event_id"]
    start(live, "meanwhile")
    with open_socket(live, f"/v1/incidents?last_event_id={resume}") as socket:
        assert [read(socket)["type"], read(socket)["incident"]["id"]] == ["hello", "meanwhile"]


def test_silent_streams_send_signs_of_life(serve_live: Serve) -> None:
    live = serve_live(heartbeat_s=0.1)
    with open_socket(live, "/v1/incidents") as socket:
        assert [read(socket)["type"] for _ in range(3)] == ["hello", "heartbeat", "heartbeat"]
    with live.client.stream("GET", "/v1/incidents/stream") as stream:
        events = server_events(stream)
        assert [(event.event, event.id) for event in (next(events), next(events))] == [
            ("hello", "0"),
            ("heartbeat", None),
        ]


@pytest.mark.parametrize("headers", [{"last-event-id": "x"}, {"last-event-id": "-1"}])
def test_an_id_that_is_none_is_refused(headers: dict[str, str], live: LiveServer) -> None:
    problem(live.client.get("/v1/incidents/stream", headers=headers), Kind.INVALID_REQUEST)
    problem(live.client.get("/v1/incidents/stream", params={"last_event_id": "x"}), Kind.INVALID_REQUEST)
    with pytest.raises(InvalidStatus, match="403"), open_socket(live, "/v1/incidents?last_event_id=-1"):
        pass


def test_readers_who_leave_are_forgotten(serve_live: Serve) -> None:
    live = serve_live(heartbeat_s=0.1)
    with open_socket(live, "/v1/incidents"), live.client.stream("GET", "/v1/incidents/stream"):
        eventually(lambda: live.runtime.streams.feed.subscribers == 2, "both are known")
    eventually(lambda: live.runtime.streams.feed.subscribers == 0, "both are forgotten")


@pytest.mark.slow
def test_two_hundred_readers_get_every_incident_beside_one_who_never_reads(live: LiveServer) -> None:
    readers, incidents = 200, 20

    async def listen() -> list[list[dict[str, Any]]]:
        async with AsyncExitStack() as stack:
            url = f"ws://127.0.0.1:{live.port}/v1/incidents"
            sockets = [await stack.enter_async_context(connect(url, compression=None)) for _ in range(readers)]
            publish = asyncio.create_task(asyncio.to_thread(publish_all))
            heard = await asyncio.gather(*(hear(socket) for socket in sockets))
            await publish
            return heard

    async def hear(socket: ClientConnection) -> list[dict[str, Any]]:
        return [json.loads(await socket.recv()) for _ in range(1 + 2 * incidents)]

    def publish_all() -> None:
        for number in range(incidents):
            start(live, f"i{number}", start=10.0 * number)
            end(live, f"i{number}", start=10.0 * number)

    with silent_reader(live, "/v1/incidents"):
        heard = asyncio.run(asyncio.wait_for(listen(), PATIENCE_S))
    wanted = [(kind, f"i{number}") for number in range(incidents) for kind in ("incident.started", "incident.ended")]
    for _, *events in heard:
        assert [(event["type"], event["incident"]["id"]) for event in events] == wanted


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1/incidents", "/v1/incidents/stream"])
def test_a_reader_who_takes_nothing_is_let_go_and_finds_everything_when_back(
    path: str, live: LiveServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sockets, "SEND_LIMIT_S", 0.3)
    # The system keeps some megabytes for a connection that is not read.
    for number in range(100):
        live.runtime.streams.log.camera_state(state_change(f"camera-{number}", detail="far " * 25_000))
    eventually(lambda: live.runtime.streams.feed.newest_id == 100, "all is published")
    with silent_reader(live, f"{path}?last_event_id=0", upgrade=path == "/v1/incidents"):
        eventually(lambda: live.runtime.streams.feed.subscribers == 1, "the reader is known")
        eventually(lambda: live.runtime.streams.feed.subscribers == 0, "the reader is let go")
    with open_socket(live, "/v1/incidents?last_event_id=0") as socket:
        assert read(socket)["last_event_id"] == 0
        assert [read(socket)["camera"] for _ in range(100)] == [f"camera-{number}" for number in range(100)]
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_reader_who_leaves_in_the_middle_of_much_is_no_defect(
    live: LiveServer, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(100):
        live.runtime.streams.log.camera_state(state_change(f"camera-{number}", detail="far " * 25_000))
    eventually(lambda: live.runtime.streams.feed.newest_id == 100, "all is published")
    with silent_reader(live, "/v1/incidents/stream?last_event_id=0", upgrade=False) as reader:
        assert b"200" in reader.recv(17)
        eventually(lambda: live.runtime.streams.feed.subscribers == 1, "the reader is known")
    eventually(lambda: live.runtime.streams.feed.subscribers == 0, "the reader is gone")
    assert live.client.get("/healthz").status_code == 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
