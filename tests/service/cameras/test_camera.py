"""One camera of a running service: its source, its incidents and its pictures."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from model.behaviours import Finding, Kind
from pose.live import SourceState
from service.cameras.camera import Latest
from service.documents.base import EndReason
from tests.doubles.cameras import LOOPBACK, SENSITIVE, add, nowhere, readers, sockets, states, status
from tests.doubles.live import RATE_HZ, device, lying, socket_reader
from tests.doubles.servers import Serve, eventually

pytestmark = pytest.mark.usefixtures("backend")


def test_a_picture_that_must_not_be_shown_any_more_is_gone_at_once(
    serve: Serve, tmp_path: Path, test_data: Path
) -> None:
    clip = next((test_data / "clips" / "intel").glob("*.mp4"))
    live = serve(media_dirs=str(clip.parent))
    add(live, url=str(clip), loop=True)

    def shown() -> Latest | None:
        return live.runtime.cameras.manager.latest("gate")

    before = eventually(shown, "a picture is shown")
    assert before.image is not None
    answer = live.client.patch("/v1/cameras/gate", json={"picture": False})
    assert answer.status_code == 200
    found = shown()
    assert found is None or found.image is None
    assert eventually(shown, "it is watched on").image is None


def test_a_camera_that_was_stopped_before_it_was_started_stays_stopped(serve: Serve) -> None:
    live = serve(**LOOPBACK)
    add(live, url=nowhere(), enabled=True)
    camera = live.runtime.cameras.manager.camera("gate")
    live.runtime.cameras.manager.delete("gate")
    camera.start()
    assert camera.status().state is SourceState.STOPPED
    assert not readers("gate")


def test_a_camera_that_is_stopped_while_it_is_started_is_stopped_afterwards(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = serve(**LOOPBACK)
    add(live, url=nowhere(), enabled=False)
    engine, starting = live.runtime.cameras.engine, threading.Event()
    register = engine.add

    def slowly(*arguments: Any) -> None:
        register(*arguments)
        starting.set()
        time.sleep(0.2)

    monkeypatch.setattr(engine, "add", slowly)
    thread = threading.Thread(
        target=lambda: live.client.patch("/v1/cameras/gate", json={"enabled": True}), name="patch"
    )
    thread.start()
    starting.wait()
    camera = live.runtime.cameras.manager.camera("gate")
    camera.stop(EndReason.SERVICE_STOPPED)
    thread.join()
    assert camera.status().state is SourceState.STOPPED
    eventually(lambda: not readers("gate"), "no source runs")


@pytest.mark.slow
def test_a_feed_opens_an_incident_which_ends_with_the_device_that_then_comes_back(serve: Serve) -> None:
    live = serve(camera_stall_s=0.6, camera_read_s=1.2)
    add(live, **SENSITIVE)
    events = socket_reader(f"{sockets(live)}/v1/incidents?last_event_id=0")
    with device(sockets(live), "gate", lying):
        started = eventually(lambda: events.of("incident.started"), "an incident opens")[0]["incident"]
        now = status(live)
        assert now["incident"] == started["id"]
        assert 0 < now["fps_in"] < 2 * RATE_HZ
        assert now["last_score_age_s"] >= 0
    ended = eventually(lambda: events.of("incident.ended"), "it ends")[0]["incident"]
    assert (ended["id"], ended["end_reason"]) == (started["id"], "camera-lost")
    assert ended["ended_at"] >= ended["started_at"]
    eventually(lambda: status(live)["state"] == "reconnecting", "the device is gone")
    gone = status(live)
    assert (gone["incident"], gone["fps_processed"], gone["problem"]["cause"]) == (None, None, "timeout")
    with device(sockets(live), "gate", lying):
        eventually(lambda: status(live)["state"] == "online", "the device is back")
    reached = iter([change.state for change in states(live)])
    assert all(state in reached for state in ("connecting", "online", "stalled", "reconnecting", "online"))


class Falling:
    """Behaviours that see everybody fall in every frame, ever more clearly."""

    def __init__(self) -> None:
        self.frames = 0

    def look_for(self, _: object) -> None:
        """Goes on as before."""

    def observe(self, time: float, track_ids: Sequence[int], *_: object) -> list[Finding]:
        self.frames += 1
        saw, facts = "hips fell 0.6 body heights in 0.7 s", {"hips_fell_h": 0.6, "fall_s": 0.7}
        return [Finding(Kind.FALL, (track,), 1 + self.frames / 1000, time - 0.5, saw, facts) for track in track_ids]


def test_a_fall_is_named_to_every_subscriber_and_counted_as_one(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.live.lane.Behaviours", Falling)
    live = serve()
    add(live, cooldown_s=0, quiet_s=1)
    scores = socket_reader(f"{sockets(live)}/v1/cameras/gate/scores")
    events = socket_reader(f"{sockets(live)}/v1/incidents?last_event_id=0")
    with device(sockets(live), "gate", lying):
        started = eventually(lambda: events.of("incident.started"), "an incident opens")[0]["incident"]
        (person,) = eventually(lambda: scores.of("score"), "scores come")[-1]["people"]
    assert (started["kind"], started["title"], started["severity"]) == ("fall", "Fall, 1 person", "alert")
    assert started["explanation"] == "hips fell 0.6 body heights in 0.7 s"
    assert started["kinds"][0]["facts"] == {"hips_fell_h": 0.6, "fall_s": 0.7}
    assert person["behaviours"]["fall"] > 1
    (found,) = live.client.get("/v1/incidents", params={"kind": "fall"}).json()["incidents"]
    assert found["id"] == started["id"]
    counted = 'daflow_incidents_total{camera="gate",kind="fall",severity="alert"} 1.0'
    assert counted in live.client.get("/metrics").text


def test_a_pause_ends_the_open_incident_and_what_goes_on_is_only_recorded(serve: Serve) -> None:
    live = serve()
    add(live, **SENSITIVE)
    events = socket_reader(f"{sockets(live)}/v1/incidents?last_event_id=0")
    with device(sockets(live), "gate", lying):
        eventually(lambda: events.of("incident.started"), "an incident opens")
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        assert live.client.patch("/v1/cameras/gate", json={"pause_until": until}).status_code == 200
        first, second = eventually(lambda: len(found := events.of("incident.started")) == 2 and found, "another opens")
    assert (first["incident"]["severity"] != "record", second["incident"]["severity"]) == (True, "record")
    kinds = [event["type"] for event in events.heard if event["type"] in ("incident.started", "incident.ended")]
    assert kinds[:3] == ["incident.started", "incident.ended", "incident.started"]


@pytest.mark.parametrize("change", ["another rate", "disabled", "deleted"])
def test_a_camera_that_is_changed_or_removed_ends_its_incident_and_new_rules_do_not(change: str, serve: Serve) -> None:
    live = serve()
    add(live, **SENSITIVE)
    events = socket_reader(f"{sockets(live)}/v1/incidents?last_event_id=0")
    with device(sockets(live), "gate", lying):
        eventually(lambda: events.of("incident.started"), "an incident opens")
        add(live, **SENSITIVE | {"quiet_s": 2, "name": "Gate"})
        assert status(live)["incident"] is not None
        if change == "deleted":
            live.client.delete("/v1/cameras/gate")
        else:
            fields = {"max_fps": 7} if change == "another rate" else {"enabled": False}
            live.client.patch("/v1/cameras/gate", json=fields)
        ended = eventually(lambda: events.of("incident.ended"), "it ends")
        eventually(lambda: events.of("camera.state", state="stopped"), "the source was stopped")
    assert [event["incident"]["end_reason"] for event in ended] == [EndReason.CAMERA_STOPPED]
    kinds = [event["type"] for event in events.heard if event["type"] != "heartbeat"]
    assert kinds.index("incident.ended") > kinds.index("incident.started")


@pytest.mark.slow
def test_a_feed_is_scored_as_fast_as_it_comes_so_that_it_catches_up(serve: Serve) -> None:
    live = serve(camera_fps=1)
    add(live)
    with device(sockets(live), "gate", lying):
        eventually(lambda: status(live)["frames_processed"] >= 30, "two seconds of the feed were scored")
        assert "rate_limit" not in status(live)["dropped"]
