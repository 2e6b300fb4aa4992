"""Routes of cameras over real HTTP and WebSockets; the cameras are skeleton feeds or lead nowhere."""

from __future__ import annotations

import itertools
import json
import time
from ipaddress import ip_network
from typing import Any

import cv2
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from model.behaviours import Kind as Behaviour
from service.api import cameras, sockets
from service.api.problems import Kind
from service.documents.messages import Score, score_stream_adapter
from service.live.incident import Started
from service.streams.bus import SCORE_BACKLOG
from tests.doubles.live_records import incident
from tests.doubles.scores import live_person, live_score
from tests.doubles.servers import LiveServer, Serve, eventually, free_port
from tests.doubles.subscribers import device, open_socket, read, read_all, silent_reader, skeleton_frame
from tests.service.api.test_clips import problem

FEED = {"url": "skeletons:"}
LOOPBACK = (ip_network("127.0.0.0/8"),)


def add(live: LiveServer, camera: str = "gate", **config: Any) -> dict[str, Any]:
    answer = live.client.put(f"/v1/cameras/{camera}", json=FEED | config)
    assert answer.status_code in (200, 201), answer.text
    document: dict[str, Any] = answer.json()
    return document


def state(live: LiveServer, camera: str = "gate") -> str:
    return str(live.client.get(f"/v1/cameras/{camera}").json()["state"])


def parts(content: bytes) -> list[bytes]:
    """The pictures of a stream of them."""
    return [part.partition(b"\r\n\r\n")[2] for part in content.split(b"--frame\r\n")[1:-1]]


def crowd(sequence: int) -> Score:
    """A message of some forty thousand bytes: the system keeps some megabytes for a connection that is not read."""
    return live_score(camera="gate", sequence=sequence, people=[live_person(0.5)] * 40)


def test_a_camera_is_added_once_listed_and_deleted(live: LiveServer) -> None:
    first = live.client.put("/v1/cameras/gate", json=FEED | {"name": "Gate"})
    assert (first.status_code, first.headers["location"]) == (201, "/v1/cameras/gate")
    assert live.client.put("/v1/cameras/gate", json=FEED | {"name": "Gate"}).status_code == 200
    add(live, "attic")
    assert [camera["id"] for camera in live.client.get("/v1/cameras").json()["cameras"]] == ["attic", "gate"]
    assert live.client.get("/v1/cameras/gate").json()["config"]["name"] == "Gate"
    assert live.client.delete("/v1/cameras/gate").status_code == 204
    assert [camera["id"] for camera in live.client.get("/v1/cameras").json()["cameras"]] == ["attic"]


def test_a_password_is_never_shown_and_survives_a_change_of_something_else(serve_live: Serve) -> None:
    live = serve_live(allowed_stream_cidrs=LOOPBACK)
    url = f"rtsp://viewer:hunter2@127.0.0.1:{free_port()}/live?token=hunter2"
    answers = [
        live.client.put("/v1/cameras/gate", json={"url": url}),
        live.client.patch("/v1/cameras/gate", json={"name": "Gate"}),
        live.client.get("/v1/cameras/gate"),
        live.client.get("/v1/cameras"),
        live.client.get("/metrics"),
    ]
    eventually(lambda: state(live) == "reconnecting", "the camera is found to be missing")
    answers.append(live.client.get("/v1/cameras/gate"))
    assert answers[-1].json()["problem"]["cause"] == "refused"
    for answer in answers:
        assert answer.status_code in (200, 201)
        assert "hunter2" not in answer.text
    assert live.runtime.cameras.manager.config("gate").url == url
    # What was shown, sent back, is no change either.
    assert live.client.put("/v1/cameras/gate", json=answers[-1].json()["config"]).status_code == 200
    assert live.runtime.cameras.manager.config("gate").url == url


@pytest.mark.parametrize(
    ("config", "kind", "cause"),
    [
        ({"url": "file:///etc/passwd"}, Kind.STREAM_URL_REFUSED, "scheme"),
        ({"url": "rtsp://127.0.0.1/live"}, Kind.STREAM_URL_REFUSED, "forbidden-address"),
        ({"url": "http://169.254.169.254/latest"}, Kind.STREAM_URL_REFUSED, "forbidden-address"),
        ({"url": "/etc/passwd", "loop": True}, Kind.STREAM_URL_REFUSED, "forbidden-path"),
        ({"url": "skeletons:", "quiet_s": 0}, Kind.INVALID_REQUEST, None),
        ({"url": "skeletons:", "colour": "blue"}, Kind.INVALID_REQUEST, None),
        ({}, Kind.INVALID_REQUEST, None),
    ],
)
def test_a_camera_that_may_not_be_is_refused_before_any_connection(
    config: dict[str, Any], kind: Kind, cause: str | None, live: LiveServer
) -> None:
    document = problem(live.client.put("/v1/cameras/gate", json=config), kind)
    assert document.get("cause") == cause
    assert live.client.get("/v1/cameras").json()["cameras"] == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"url": "/half/\\ud800", "loop": true}', Kind.STREAM_URL_REFUSED),
        (b'{"url": "skeletons:", "name": "\\ud800"}', Kind.INVALID_REQUEST),
        (b'{"url": %b}' % (b"9" * 4000), Kind.STREAM_URL_REFUSED),
        (b'{"url": %b}' % (b"9" * 5000), Kind.INVALID_REQUEST),
        (b"[" * 60_000, Kind.INVALID_REQUEST),
        (b'{"url": "\xff"}', Kind.INVALID_REQUEST),
        (b'{"url": "skeletons:", "quiet_s": NaN}', Kind.INVALID_REQUEST),
    ],
)
def test_what_is_hardly_json_is_the_mistake_of_who_sent_it(body: bytes, kind: Kind, live: LiveServer) -> None:
    headers = {"content-type": "application/json"}
    problem(live.client.put("/v1/cameras/gate", content=body, headers=headers), kind)
    assert live.client.get("/v1/cameras").json()["cameras"] == []


@pytest.mark.parametrize("name", ["Gate", "a" * 65, "-gate", "gate.1", "gate%0A", "%00", "t\u00fcr"])
def test_an_id_that_cannot_stand_in_a_file_name_is_refused(name: str, live: LiveServer) -> None:
    problem(live.client.put(f"/v1/cameras/{name}", json=FEED), Kind.INVALID_REQUEST)


def test_there_is_a_limit_to_the_number_of_cameras(serve_live: Serve) -> None:
    live = serve_live(max_cameras=1)
    add(live)
    add(live, name="the same again")
    problem(live.client.put("/v1/cameras/yard", json=FEED), Kind.TOO_MANY_CAMERAS)


def test_a_change_names_what_is_wrong_with_it_and_changes_nothing(live: LiveServer) -> None:
    add(live)
    document = problem(live.client.patch("/v1/cameras/gate", json={"quiet_s": -1, "colour": 1}), Kind.INVALID_REQUEST)
    assert {(item["in"], item["name"]) for item in document["errors"]} == {("body", "quiet_s"), ("body", "colour")}
    problem(live.client.patch("/v1/cameras/gate", json={"url": "ftp://a/b"}), Kind.STREAM_URL_REFUSED)
    assert live.runtime.cameras.manager.config("gate").quiet_s == 10
    changed = live.client.patch("/v1/cameras/gate", json={"quiet_s": 5})
    assert (changed.status_code, changed.json()["config"]["quiet_s"]) == (200, 5)


def test_a_camera_that_does_not_exist_has_nothing(live: LiveServer) -> None:
    for path in ("", "/snapshot.jpg", "/live.mjpg", "/calibration"):
        problem(live.client.get(f"/v1/cameras/nobody{path}"), Kind.CAMERA_NOT_FOUND)
    problem(live.client.patch("/v1/cameras/nobody", json={}), Kind.CAMERA_NOT_FOUND)
    problem(live.client.delete("/v1/cameras/nobody"), Kind.CAMERA_NOT_FOUND)
    problem(live.client.post("/v1/cameras/nobody/calibration", json={"seconds": 10}), Kind.CAMERA_NOT_FOUND)
    problem(live.client.post("/v1/cameras/nobody/calibration/rollback"), Kind.CAMERA_NOT_FOUND)
    problem(live.client.delete("/v1/cameras/nobody/calibration"), Kind.CAMERA_NOT_FOUND)
    for path in ("scores", "skeletons"):
        with open_socket(live, f"/v1/cameras/nobody/{path}") as socket:
            assert read_all(socket) == []
        assert socket.close_code == 4404


def test_what_a_device_feeds_is_scored_and_shown_live_until_the_camera_is_deleted(live: LiveServer) -> None:
    add(live)
    problem(live.client.get("/v1/cameras/gate/snapshot.jpg"), Kind.NO_PICTURE)
    with open_socket(live, "/v1/cameras/gate/scores") as socket, device(live, "gate"):
        hello = read(socket)
        assert (hello["type"], hello["cameras"]) == ("hello", ["gate"])
        messages = []
        while not messages or messages[-1].level is None:
            message = score_stream_adapter.validate_json(socket.recv())
            if isinstance(message, Score):
                messages.append(message)
        assert [message.sequence for message in messages] == sorted({message.sequence for message in messages})
        scored = messages[-1]
        assert scored.people[0].joints is not None
        assert scored.people[0].score is not None
        assert sum(scored.people[0].joints) == pytest.approx(scored.people[0].score, abs=1e-3)
        assert 0 <= scored.age_s < 5

        assert state(live) == "online"
        snapshot = live.client.get("/v1/cameras/gate/snapshot.jpg", params={"background": "none"})
        assert snapshot.headers["content-type"] == "image/jpeg"
        assert cv2.imdecode(np.frombuffer(snapshot.content, np.uint8), cv2.IMREAD_COLOR).shape == (480, 640, 3)

        with live.client.stream("GET", "/v1/cameras/gate/live.mjpg", params={"fps": 60}) as stream:
            assert stream.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
            content = bytearray()
            for chunk in stream.iter_bytes():
                content += chunk
                if content.count(b"Content-Type: image/jpeg") == 4:
                    live.client.delete("/v1/cameras/gate")
        pictures = parts(bytes(content))
        assert len(pictures) >= 4
        assert pictures[1] != pictures[2]
        for picture in pictures:
            assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR) is not None
        read_all(socket)
        assert (socket.close_code, socket.close_reason) == (1000, "the camera was removed")


def test_live_pictures_come_from_whichever_camera_has_the_name_and_end_when_none_has(serve_live: Serve) -> None:
    live = serve_live(heartbeat_s=3600)
    add(live)
    with live.client.stream("GET", "/v1/cameras/gate/live.mjpg", params={"fps": 60}) as stream:
        # Another camera takes the name before the first one has shown anything.
        add(live, max_fps=30)
        chunks, content = stream.iter_bytes(), b""
        with device(live, "gate"):
            while content.count(b"Content-Type: image/jpeg") < 3:
                content += next(chunks)
        live.client.delete("/v1/cameras/gate")
        content += b"".join(chunks)
    assert content.startswith(b"--frame\r\nContent-Type: image/jpeg")
    assert content.endswith(b"\r\n--frame\r\n")


def test_the_only_picture_that_a_camera_has_comes_twice_at_once_so_that_a_page_with_it_has_loaded(
    serve_live: Serve,
) -> None:
    live = serve_live(heartbeat_s=3600)
    add(live)
    with device(live, "gate"):
        eventually(lambda: live.client.get("/v1/cameras/gate/snapshot.jpg").status_code == 200, "there is a picture")
    with live.client.stream("GET", "/v1/cameras/gate/live.mjpg") as stream:
        content = b""
        for chunk in stream.iter_bytes():
            content += chunk
            if content.count(b"\r\n--frame\r\n") == 2:
                live.client.delete("/v1/cameras/gate")
    first, second, *_ = parts(content)
    assert first == second
    assert cv2.imdecode(np.frombuffer(first, np.uint8), cv2.IMREAD_COLOR) is not None


def test_a_device_hears_what_was_taken_and_what_was_not(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "_ACK_S", 0.05)
    add(live)
    with open_socket(live, "/v1/cameras/gate/skeletons") as socket:
        assert read(socket) == {"type": "hello", "version": 1, "camera": "gate"}
        for number in range(3):
            socket.send(json.dumps(skeleton_frame(number)))
        socket.send("not JSON")
        socket.send(json.dumps(skeleton_frame(2)))
        socket.send(json.dumps(skeleton_frame(3)).encode())
        errors = []
        while (message := read(socket)) != {"type": "ack", "accepted": 4, "refused": 2, "surplus": 0}:
            if message["type"] == "error":
                errors.append(message["detail"])
    assert "JSON" in errors[0]
    assert "time_s" in errors[1]


def test_a_device_hears_how_many_people_were_left_out(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "_ACK_S", 0.05)
    add(live)
    crowd = skeleton_frame(1)
    (one,) = crowd["people"]
    crowd["people"] = [one | {"track": number} for number in range(1, 67)]
    with open_socket(live, "/v1/cameras/gate/skeletons") as socket:
        socket.send(json.dumps(crowd))
        assert read(socket)["type"] == "hello"
        assert read(socket) == {"type": "ack", "accepted": 1, "refused": 0, "surplus": 2}
        assert live.client.get("/v1/cameras/gate").json()["surplus"] == 2
        assert 'daflow_camera_people_left_out_total{camera="gate"} 2.0' in live.client.get("/metrics").text


def test_a_device_that_sends_only_nonsense_is_let_go_and_one_that_recovers_is_not(live: LiveServer) -> None:
    add(live)
    with open_socket(live, "/v1/cameras/gate/skeletons") as socket:
        for number in range(3):
            for _ in range(cameras.MAX_REFUSED - 1):
                socket.send("{}")
            socket.send(json.dumps(skeleton_frame(number)))
        for _ in range(cameras.MAX_REFUSED):
            socket.send("{}")
        errors = [message for message in read_all(socket) if message["type"] == "error"]
    assert socket.close_code == cameras.BAD_SKELETONS_CODE
    assert len(errors) == 4 * cameras.MAX_REFUSED - 3


def test_only_a_feed_takes_skeletons(serve_live: Serve) -> None:
    live = serve_live(allowed_stream_cidrs=LOOPBACK)
    add(live, url=f"rtsp://127.0.0.1:{free_port()}/live")
    with open_socket(live, "/v1/cameras/gate/skeletons") as socket:
        assert read_all(socket) == []
    assert socket.close_code == cameras.NOT_A_FEED_CODE


def test_a_device_of_a_deleted_camera_is_let_go_when_it_sends_again(live: LiveServer) -> None:
    add(live)
    with open_socket(live, "/v1/cameras/gate/skeletons") as socket:
        read(socket)
        live.client.delete("/v1/cameras/gate")
        socket.send(json.dumps(skeleton_frame(0)))
        read_all(socket)
    assert (socket.close_code, socket.close_reason) == (
        1000,
        "the camera was changed or removed, or another device has connected",
    )


def test_a_device_that_connects_again_takes_the_place_of_its_old_connection(live: LiveServer) -> None:
    add(live)
    feed = live.runtime.cameras.manager.feed("gate")
    with open_socket(live, "/v1/cameras/gate/skeletons") as old:
        old.send(json.dumps(skeleton_frame(100)))
        eventually(lambda: feed.frames_read == 1, "the frame has arrived")
        with open_socket(live, "/v1/cameras/gate/skeletons") as new:
            eventually(lambda: feed.connection == 2, "the device is back")
            old.send(json.dumps(skeleton_frame(101)))
            read_all(old)
            assert old.close_reason == "the camera was changed or removed, or another device has connected"
            # What it sends may begin with any time of its own.
            new.send(json.dumps(skeleton_frame(99)))
            eventually(lambda: feed.frames_read == 2, "it is heard")


def test_a_silent_camera_sends_signs_of_life(serve_live: Serve) -> None:
    live = serve_live(heartbeat_s=0.1)
    add(live)
    with open_socket(live, "/v1/cameras/gate/scores") as socket:
        assert [read(socket)["type"] for _ in range(3)] == ["hello", "heartbeat", "heartbeat"]


def test_a_subscriber_who_never_reads_costs_a_bounded_queue_and_nobody_elses_scores(live: LiveServer) -> None:
    add(live)
    bus = live.runtime.streams.scores
    with silent_reader(live, "/v1/cameras/gate/scores"), open_socket(live, "/v1/cameras/gate/scores") as socket:
        eventually(lambda: bus.listeners("gate") == 2, "both are known")
        read(socket)
        for sequence in range(500):
            bus.publish("gate", crowd(sequence))
            assert read(socket)["sequence"] == sequence
        assert bus.longest_queue == SCORE_BACKLOG


def test_a_subscriber_who_takes_nothing_for_too_long_is_let_go(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "SEND_LIMIT_S", 0.3)
    add(live)
    bus, sequence = live.runtime.streams.scores, itertools.count()

    def let_go() -> bool:
        bus.publish("gate", crowd(next(sequence)))
        return bus.listeners("gate") == 0

    with silent_reader(live, "/v1/cameras/gate/scores"):
        eventually(lambda: bus.listeners("gate") == 1, "the subscriber is known")
        for _ in range(500):
            let_go()
        eventually(let_go, "the subscriber is let go")


def test_a_subscriber_who_leaves_is_forgotten(live: LiveServer) -> None:
    add(live)
    with open_socket(live, "/v1/cameras/gate/scores"):
        eventually(lambda: live.runtime.streams.scores.listeners("gate") == 1, "the subscriber is known")
    eventually(lambda: live.runtime.streams.scores.listeners("gate") == 0, "the subscriber is forgotten")


def test_pages_of_other_origins_may_not_listen(live: LiveServer) -> None:
    for path in ("/v1/cameras/gate/scores", "/v1/cameras/gate/skeletons", "/v1/incidents"):
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"ws://127.0.0.1:{live.port}{path}", additional_headers={"origin": "https://elsewhere.example"})


@pytest.mark.slow
def test_people_in_an_ignored_zone_are_not_seen_until_the_zone_is_gone(live: LiveServer) -> None:
    everything = [[[0, 0], [1, 0], [1, 1], [0, 1]]]
    assert add(live, ignore=everything)["config"]["ignore"] == everything
    with device(live, "gate"), open_socket(live, "/v1/cameras/gate/scores") as scores:
        read(scores)
        assert [read(scores)["people"] for _ in range(10)] == [[]] * 10
        assert live.client.patch("/v1/cameras/gate", json={"ignore": []}).json()["config"]["ignore"] == []
        eventually(lambda: read(scores)["people"], "the person is seen")
    for wrong in ([[[0, 0], [1, 1]]], [[[0, 0], [2, 0], [1, 1]]], everything * 17):
        problem(live.client.patch("/v1/cameras/gate", json={"ignore": wrong}), Kind.INVALID_REQUEST)


NIGHT = {"kinds": ["running"], "days": ["mon"], "hours": "22:00-06:00", "then": "record"}


def test_rules_are_kept_as_they_were_posted_and_an_impossible_one_is_named(live: LiveServer) -> None:
    rules = [NIGHT, {"name": "Long stays", "kinds": ["loitering"], "lasts_s": 300, "then": "alert"}]
    kept = add(live, rules=rules, timezone="Europe/Berlin")["config"]
    assert [{name: rule[name] for name in asked} for rule, asked in zip(kept["rules"], rules, strict=True)] == rules
    assert kept["timezone"] == "Europe/Berlin"
    refused = live.client.patch("/v1/cameras/gate", json={"rules": [NIGHT, NIGHT | {"hours": "10 pm"}]})
    found = problem(refused, Kind.INVALID_REQUEST)
    assert found["errors"][0]["name"] == "rules.1.hours"
    assert "hours look like 22:00-06:00" in found["errors"][0]["message"]
    assert problem(live.client.patch("/v1/cameras/gate", json={"timezone": "Mars"}), Kind.INVALID_REQUEST)
    assert problem(
        live.client.patch("/v1/cameras/gate", json={"pause_until": "2026-01-01T10:00:00"}), Kind.INVALID_REQUEST
    )
    assert live.client.get("/v1/cameras/gate").json()["config"]["rules"] == kept["rules"]


def test_rules_are_tried_on_the_incidents_of_the_last_hours(live: LiveServer) -> None:
    add(live)
    log, now = live.runtime.streams.log, time.monotonic()
    for number, kind in enumerate((Behaviour.RUNNING, Behaviour.FALL)):
        log.record(Started(incident(f"number-{number}", "gate", now - 10, kind=kind)))
    eventually(lambda: len(live.client.get("/v1/incidents").json()["incidents"]) == 2, "both are stored")
    asked = {"rules": [{"kinds": ["running"], "then": "record"}], "hours": 1}
    found = live.client.post("/v1/cameras/gate/rules/preview", json=asked).json()
    assert (found["before"], found["complete"]) == ({"alert": 0, "warning": 2, "record": 0}, True)
    assert found["after"] == {"alert": 1, "warning": 0, "record": 1, "off": 0}
    assert [one["would_be"] for one in found["incidents"]] == ["alert", "record"]
    later = live.client.post("/v1/cameras/gate/rules/preview", json=asked | {"hours": 0.001}).json()
    assert later["incidents"] == []
    assert problem(live.client.post("/v1/cameras/attic/rules/preview", json=asked), Kind.CAMERA_NOT_FOUND)
    assert problem(live.client.post("/v1/cameras/gate/rules/preview", json={"rules": [{}]}), Kind.INVALID_REQUEST)
