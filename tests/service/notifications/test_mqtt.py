from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from model.behaviours import Kind
from pose.live import SourceState
from pose.sight import CannotSee
from service.addresses.backends import broker_url
from service.cameras.status import CameraStatus
from service.documents.base import Severity
from service.documents.messages import Staleness
from service.incidents.reviews import Seen
from service.incidents.store import IncidentStore
from service.metrics import Metrics
from service.notifications.mqtt import SINK, Mqtt
from service.notifications.store import NotificationStore
from service.storage.database import Database
from tests.doubles.backends import Broker, running
from tests.doubles.live_records import ACKNOWLEDGED, incident_info, over
from tests.doubles.live_records import camera_status as camera
from tests.doubles.servers import PATIENCE_S, eventually


@pytest.fixture(scope="module")
def running_broker() -> Iterator[Broker]:
    with running(Broker, credentials=("daflow", "p@ss:word")) as broker:
        yield broker


@pytest.fixture
def broker(running_broker: Broker) -> Broker:
    """With nothing retained."""
    running_broker.kill()
    running_broker.start()
    return running_broker


@dataclass
class Ear:
    """Hears everything at a broker."""

    heard: list[tuple[str, str, bool]] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)

    def of(self, topic: str) -> list[str]:
        return [payload for name, payload, _ in list(self.heard) if name == topic]

    def last(self, topic: str) -> str | None:
        return (self.of(topic) or [None])[-1]


@contextmanager
def ear(broker: Broker) -> Iterator[Ear]:
    """Listen until the block ends, and again after every restart of the broker."""
    kept = Ear()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    url = broker_url(broker.url)
    client.username_pw_set(url.user or "", url.password)
    client.reconnect_delay_set(1, 1)
    client.on_connect = lambda *_: client.subscribe("#", qos=1)
    client.on_subscribe = lambda *_: kept.ready.set()
    client.on_message = lambda _c, _d, message: kept.heard.append(
        (message.topic, message.payload.decode(), message.retain)
    )
    client.connect(url.host, url.port)
    client.loop_start()
    assert kept.ready.wait(PATIENCE_S)
    try:
        yield kept
    finally:
        client.disconnect()
        client.loop_stop()


class Scene:
    def __init__(self, database: Database) -> None:
        self.incidents = IncidentStore(database)
        self.store = NotificationStore(database)
        self.store.keep([SINK])
        self.cameras = [camera("door")]
        self.gate = threading.Event()
        self.gate.set()

    @contextmanager
    def mqtt(self, broker: Broker) -> Iterator[Mqtt]:
        mqtt = Mqtt(self.store, self.incidents, self.ask, broker_url(broker.url), "daflow", Metrics())
        mqtt.start()
        try:
            yield mqtt
        finally:
            mqtt.stop()

    def ask(self) -> list[CameraStatus]:
        self.gate.wait(PATIENCE_S)
        return self.cameras

    def told(self) -> bool:
        return self.store.position(SINK) == (self.incidents.newest_event_id() or 0)


@pytest.fixture
def scene(database: Database) -> Scene:
    return Scene(database)


def ids(payloads: list[str]) -> list[int]:
    return [json.loads(payload)["id"] for payload in payloads]


def test_events_go_to_the_topics_of_all_and_of_their_camera(scene: Scene, broker: Broker) -> None:
    with ear(broker) as heard, scene.mqtt(broker) as mqtt:
        eventually(lambda: heard.last("daflow/available") == "online", "it is announced")
        state = scene.incidents.camera_state("door", SourceState.RECONNECTING, SourceState.ONLINE)
        started = scene.incidents.started(incident_info("one"))
        mqtt.wake()
        eventually(lambda: heard.last("daflow/door/incident") == "ON", "the incident opens")
        assert heard.last("daflow/door/state") == "reconnecting"
        ended = scene.incidents.ended(over(incident_info("one")))
        mqtt.wake()
        eventually(lambda: heard.last("daflow/door/incident") == "OFF", "and ends")
        assert heard.last("daflow/door/cannot_see") == "none"
        dark = scene.incidents.camera_sight("door", CannotSee.TOO_DARK, None)
        mqtt.wake()
        eventually(lambda: heard.last("daflow/door/cannot_see") == "too_dark", "it cannot see")
        sees = scene.incidents.camera_sight("door", None, CannotSee.TOO_DARK)
        mqtt.wake()
        eventually(lambda: heard.last("daflow/door/cannot_see") == "none", "it sees again")
        eventually(scene.told, "all is told")
        assert mqtt.problem is None
    assert ended is not None
    assert ids(heard.of("daflow/events")) == [state.id, started.id, ended.id, dark.id, sees.id]
    assert ids(heard.of("daflow/door/incidents")) == [started.id, ended.id]
    assert json.loads(heard.of("daflow/door/incidents")[0])["incident"]["camera"] == "door"


def test_each_kind_of_an_incident_is_an_event_of_its_type_once(scene: Scene, broker: Broker) -> None:
    with ear(broker) as heard, scene.mqtt(broker) as mqtt:
        eventually(lambda: heard.last("daflow/available") == "online", "it is announced")
        unusual = incident_info("one")
        scene.incidents.started(unusual)
        (seen,) = unusual.kinds
        fall = seen.model_copy(update={"kind": Kind.FALL, "explanation": "hips fell 0.6 body heights in 0.7 s"})
        fallen = unusual.model_copy(
            update={"kind": Kind.FALL, "title": "Fall, 1 person", "severity": Severity.ALERT, "kinds": [fall, seen]}
        )
        scene.incidents.updated(fallen)
        scene.incidents.updated(fallen.model_copy(update={"peak_level": 0.99}))
        scene.incidents.evidence("one", "snapshot", "ready")
        scene.incidents.ended(over(fallen))
        scene.incidents.reviews.change(Seen("one"), ACKNOWLEDGED)
        mqtt.wake()
        eventually(scene.told, "all is told")
        eventually(lambda: len(heard.of("daflow/door/incidents")) == 6, "and heard")
    first, second = (json.loads(payload) for payload in heard.of("daflow/door/event"))
    assert (first["event_type"], first["severity"]) == ("unusual", "warning")
    assert second == {
        "event_type": "fall",
        "title": "Fall, 1 person",
        "explanation": "hips fell 0.6 body heights in 0.7 s",
        "severity": "alert",
        "incident": "one",
        "people": [1],
        "at": "2026-01-31T12:00:00+00:00",
    }
    assert json.loads(heard.of("daflow/door/incidents")[1])["incident"]["kind"] == "fall"


def test_an_incident_that_is_only_recorded_is_told_once_it_is_more(scene: Scene, broker: Broker) -> None:
    scene.cameras = [camera("door", incident="before", severity=Severity.RECORD)]
    with ear(broker) as heard, scene.mqtt(broker) as mqtt:
        eventually(lambda: heard.last("daflow/available") == "online", "it is announced")
        assert heard.last("daflow/door/incident") == "OFF"
        recorded = incident_info("one").model_copy(update={"severity": Severity.RECORD})
        for name in ("one", "two"):
            scene.incidents.started(recorded.model_copy(update={"id": name}))
            scene.incidents.updated(recorded.model_copy(update={"id": name, "peak_level": 0.99}))
        warned = scene.incidents.updated(recorded.model_copy(update={"severity": Severity.WARNING}))
        scene.incidents.ended(over(recorded.model_copy(update={"id": "two"})))
        ended = scene.incidents.ended(over(recorded.model_copy(update={"severity": Severity.WARNING})))
        mqtt.wake()
        eventually(scene.told, "all is told")
        eventually(lambda: heard.last("daflow/door/incident") == "OFF" and len(heard.of("daflow/events")) == 2, "heard")
    assert ids(heard.of("daflow/events")) == [warned.id, ended.id]
    assert heard.of("daflow/door/incident") == ["OFF", "ON", "OFF"]
    assert [json.loads(payload)["event_type"] for payload in heard.of("daflow/door/event")] == ["unusual"]


def test_who_comes_late_is_told_how_cameras_are_and_that_the_service_left(scene: Scene, broker: Broker) -> None:
    scene.cameras = [camera("door", SourceState.STALLED, incident="one"), camera("yard")]
    with scene.mqtt(broker) as mqtt:
        eventually(lambda: mqtt.problem is None and mqtt._known, "it has greeted")
        with ear(broker) as heard:
            eventually(lambda: heard.last("daflow/yard/incident") == "OFF", "the rest follows")
            assert heard.last("daflow/available") == "online"
            assert (heard.last("daflow/door/state"), heard.last("daflow/door/incident")) == ("stalled", "ON")
    with ear(broker) as heard:
        eventually(lambda: heard.last("daflow/available") == "offline", "it said goodbye")
        assert all(retained for _, _, retained in heard.heard)


def test_home_assistant_finds_a_camera_and_loses_one_that_was_removed(scene: Scene, broker: Broker) -> None:
    base = "homeassistant/binary_sensor/daflow_door/incident/config"
    with ear(broker) as heard, scene.mqtt(broker) as mqtt:
        incident = json.loads(eventually(lambda: heard.last(base), "the incident is an entity"))
        state = json.loads(
            eventually(lambda: heard.last("homeassistant/sensor/daflow_door/state/config"), "and the state")
        )
        blind = json.loads(
            eventually(lambda: heard.last("homeassistant/binary_sensor/daflow_door/cannot_see/config"), "and its sight")
        )
        event = json.loads(eventually(lambda: heard.last("homeassistant/event/daflow_door/event/config"), "and events"))
        assert event["event_types"] == [
            "fall",
            "fight",
            "lying",
            "dispersal",
            "hands_up",
            "running",
            "crawling",
            "wrong_way",
            "gathering",
            "loitering",
            "unusual",
        ]
        for config, topic in (
            (incident, "daflow/door/incident"),
            (state, "daflow/door/state"),
            (blind, "daflow/door/cannot_see"),
            (event, "daflow/door/event"),
        ):
            assert config["state_topic"] == topic
            assert config["availability_topic"] == "daflow/available"
            assert config["device"]["identifiers"] == ["daflow_door"]
            assert config["device"]["name"] == "Front door"
            assert config["origin"]["name"]
        assert incident["device_class"] == "problem"
        assert blind["device_class"] == "problem"
        assert len({one["unique_id"] for one in (incident, state, blind, event)}) == 4
        scene.cameras = [camera("yard")]
        scene.incidents.camera_state("door", SourceState.STOPPED, SourceState.ONLINE)
        scene.incidents.camera_state("yard", SourceState.ONLINE, None)
        mqtt.wake()
        eventually(lambda: heard.last("daflow/yard/state") == "online", "the new one is announced")
        eventually(lambda: heard.last(base) == "", "the old one is taken back")
        eventually(scene.told, "all is told")
    with ear(broker) as late:
        eventually(lambda: late.last("daflow/yard/state"), "what is retained arrives")
        assert not [topic for topic, _, _ in late.heard if "door" in topic]


@pytest.mark.parametrize("title", ["Back door", "Türe 2 \U0001f6aa", None])
def test_a_camera_that_is_renamed_is_announced_again_under_its_new_name(
    title: str | None, scene: Scene, broker: Broker
) -> None:
    topics = [f"homeassistant/{kind}/config" for kind in (
        "binary_sensor/daflow_door/incident", "event/daflow_door/event", "sensor/daflow_door/state",
        "binary_sensor/daflow_door/calibration",
    )]  # fmt: skip
    yard = "homeassistant/binary_sensor/daflow_yard/incident/config"
    scene.cameras = [camera("door"), camera("yard")]
    with ear(broker) as heard, scene.mqtt(broker) as mqtt:
        eventually(lambda: heard.last("daflow/yard/incident") == "OFF", "both are announced")
        # A new name is no event, so nothing but the camera itself tells of it.
        scene.cameras = [camera("door", title=title), camera("yard")]
        mqtt.wake()
        eventually(lambda: all(len(heard.of(topic)) == 2 for topic in topics), "its entities are announced again")
        for topic in topics:
            before, after = map(json.loads, heard.of(topic))
            assert (before["device"]["name"], after["device"]["name"]) == ("Front door", title or "door")
            assert before["unique_id"] == after["unique_id"]
        assert len(heard.of(yard)) == 1
        assert len(heard.of("daflow/door/state")) == 1


def test_what_happens_while_the_broker_is_away_is_told_when_it_is_back(scene: Scene, broker: Broker) -> None:
    with ear(broker) as heard, scene.mqtt(broker) as mqtt:
        scene.incidents.started(incident_info("one"))
        mqtt.wake()
        eventually(lambda: len(heard.of("daflow/events")) == 1, "the first is told")
        broker.kill()
        eventually(lambda: mqtt.problem, "the loss is noticed")
        for number in range(100):
            scene.incidents.started(incident_info(f"incident{number}"))
            mqtt.wake()
        # Nothing more is said until somebody is there to hear it.
        scene.gate.clear()
        heard.ready.clear()
        broker.start()
        assert heard.ready.wait(PATIENCE_S)
        scene.gate.set()
        eventually(scene.told, "everything is told")
        eventually(lambda: set(ids(heard.of("daflow/events"))) == set(range(1, 102)), "and heard")
        eventually(lambda: heard.last("daflow/available") == "online", "what was retained is retained again")
        assert mqtt.problem is None


def test_a_service_that_dies_is_declared_absent_by_the_broker(scene: Scene, broker: Broker) -> None:
    with ear(broker) as heard, scene.mqtt(broker) as mqtt:
        eventually(lambda: heard.last("daflow/available") == "online", "it is there")
        sock: Any = mqtt._client.socket()
        mqtt._client.reconnect_delay_set(60, 60)
        sock.close()
        eventually(lambda: heard.last("daflow/available") == "offline", "the last will is read")


def test_a_refused_password_is_told_and_nothing_is_lost(scene: Scene, broker: Broker) -> None:
    scene.incidents.started(incident_info("one"))
    mqtt = Mqtt(
        scene.store,
        scene.incidents,
        lambda: scene.cameras,
        broker_url(f"mqtt://daflow:wrong@127.0.0.1:{broker.port}"),
        "daflow",
        Metrics(),
    )
    mqtt.start()
    eventually(lambda: "refuses" in str(mqtt.problem), "the refusal is told")
    mqtt.stop()
    with ear(broker) as heard, scene.mqtt(broker):
        eventually(lambda: len(heard.of("daflow/events")) == 1, "it is told with the right one")


@pytest.mark.parametrize(
    "url", ["broker:1883", "http://broker", "mqtt://", "mqtt://broker:none", "mqtt://broker/topic", "mqtt://broker?x=1"]
)
def test_an_address_that_is_none_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="is not a URL such as") as refusal:
        broker_url(url)
    assert "broker:none" not in str(refusal.value)


def test_the_parts_of_an_address_are_told_apart() -> None:
    url = broker_url("mqtts://daflow:p%40ss@broker.example")
    assert (url.host, url.port, url.tls, url.user, url.password) == ("broker.example", 8883, True, "daflow", "p@ss")
    assert "p@ss" not in repr(url)
    assert broker_url("mqtt://[::1]:1884").host == "::1"


def test_a_stale_calibration_is_told_and_kept_for_who_comes_later(scene: Scene, broker: Broker) -> None:
    with ear(broker) as heard, scene.mqtt(broker) as mqtt:
        eventually(lambda: heard.last("daflow/door/calibration") == "none", "the camera is announced")
        reason = Staleness(cause="moved", detail="The picture has moved since this camera was calibrated.")
        scene.incidents.camera_calibration("door", "stale", [reason])
        mqtt.wake()
        eventually(lambda: heard.last("daflow/door/calibration") == "stale", "it is told")
        told = json.loads(eventually(lambda: heard.of("daflow/events"), "with its reason")[-1])
        assert (told["type"], told["stale"]) == ("camera.calibration", [reason.model_dump()])
    with ear(broker) as late:
        eventually(lambda: late.last("daflow/door/calibration") == "stale", "what is retained arrives")
