"""Publishes events to an MQTT broker, in order, with retained states of cameras and discovery by Home Assistant.

| topic | payload | retained |
|---|---|---|
| ``<prefix>/available`` | ``online``, or ``offline`` (also the last will) | yes |
| ``<prefix>/events`` | every event, as JSON | no |
| ``<prefix>/<camera>/incidents`` | events of incidents, as JSON | no |
| ``<prefix>/<camera>/event`` | each kind that an incident shows for the first time, as JSON | no |
| ``<prefix>/<camera>/state`` | ``online``, ``reconnecting`` … | yes |
| ``<prefix>/<camera>/cannot_see`` | ``too_dark`` …, or ``none`` for a camera that sees | yes |
| ``<prefix>/<camera>/calibration`` | ``current``, ``stale`` or ``none`` | yes |
| ``<prefix>/<camera>/incident`` | ``ON`` while an incident is open that is not only recorded, else ``OFF`` | yes |
| ``homeassistant/<component>/<prefix>_<camera>/<name>/config`` | discovery, as JSON | yes |
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion

from model.behaviours import Kind
from pose.sight import CannotSee
from service.addresses.backends import BrokerUrl
from service.cameras.status import CameraStatus
from service.documents.base import Severity
from service.documents.messages import (
    CameraCalibration,
    CameraEvent,
    CameraSight,
    CameraState,
    Event,
    IncidentEnded,
    IncidentInfo,
    IncidentStarted,
    IncidentUpdated,
    KindSeen,
    notifies,
)
from service.incidents.store import IncidentStore
from service.metrics import Metrics
from service.notifications.store import NotificationStore
from service.notifications.turns import take_turns

SINK: Final = "mqtt"

_PAGE: Final = 64
_LOOK_S: Final = 2.0
_STEP_S: Final = 0.5
_FAREWELL_S: Final = 2.0
_KEEPALIVE_S: Final = 20
_DISCOVERY: Final = "homeassistant"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """One message for the broker."""

    topic: str
    payload: str
    retain: bool = False


def messages_of(event: Event, prefix: str, told: Collection[Kind] = ()) -> Iterator[Message]:
    """The messages for one event.

    Args:
        event: The event.
        prefix: First level of all topics.
        told: Kinds that were already told of the incident.
    """
    text = event.model_dump_json()
    yield Message(f"{prefix}/events", text)
    if isinstance(event, CameraState):
        yield Message(f"{prefix}/{event.camera}/state", event.state.value, retain=True)
        return
    if isinstance(event, CameraSight):
        yield _sight(event.camera, event.cannot_see, prefix)
        return
    if isinstance(event, CameraCalibration):
        yield Message(f"{prefix}/{event.camera}/calibration", event.calibration, retain=True)
        return
    yield Message(f"{prefix}/{event.camera}/incidents", text)
    for seen in event.incident.kinds:
        if seen.kind not in told:
            yield Message(f"{prefix}/{event.camera}/event", json.dumps(_occurrence(event.incident, seen)))
    # An incident that was only recorded so far opens here when it becomes more severe.
    if isinstance(event, IncidentStarted) or (isinstance(event, IncidentUpdated) and not told):
        yield Message(f"{prefix}/{event.camera}/incident", "ON", retain=True)
    elif isinstance(event, IncidentEnded):
        yield Message(f"{prefix}/{event.camera}/incident", "OFF", retain=True)


def messages_about(camera: CameraStatus, prefix: str) -> Iterator[Message]:
    """The retained messages for a camera: state, sight, calibration, and how Home Assistant discovers it."""
    yield from announcement_of(camera, prefix)
    yield Message(f"{prefix}/{camera.id}/state", camera.state.value, retain=True)
    yield _sight(camera.id, camera.cannot_see, prefix)
    yield Message(f"{prefix}/{camera.id}/calibration", camera.calibration, retain=True)
    told = camera.incident_severity not in (None, Severity.RECORD)
    yield Message(f"{prefix}/{camera.id}/incident", "ON" if told else "OFF", retain=True)


def announcement_of(camera: CameraStatus, prefix: str) -> Iterator[Message]:
    """The retained messages by which Home Assistant discovers a camera under its name."""
    for component, name, config in discovery(camera.id, camera.config.name, prefix):
        topic = f"{_DISCOVERY}/{component}/{_node(camera.id, prefix)}/{name}/config"
        yield Message(topic, json.dumps(config), retain=True)


def farewell_to(camera_id: str, prefix: str) -> Iterator[Message]:
    """The messages that delete what is retained for a camera that was removed."""
    for component, name, _ in discovery(camera_id, None, prefix):
        yield Message(f"{_DISCOVERY}/{component}/{_node(camera_id, prefix)}/{name}/config", "", retain=True)
    for name in ("state", "cannot_see", "calibration", "incident"):
        yield Message(f"{prefix}/{camera_id}/{name}", "", retain=True)


def discovery(camera_id: str, name: str | None, prefix: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Component, name and configuration of the entities of a camera in Home Assistant."""
    node = _node(camera_id, prefix)
    shared = {
        "availability_topic": f"{prefix}/available",
        "device": {
            "identifiers": [node],
            "name": name or camera_id,
            "manufacturer": "DA-Flow Live",
            "model": "Camera",
            "sw_version": version("daflow-live"),
        },
        "origin": {"name": "DA-Flow Live", "sw_version": version("daflow-live")},
    }
    incident = {
        "name": "Incident",
        "unique_id": f"{node}_incident",
        "state_topic": f"{prefix}/{camera_id}/incident",
        "json_attributes_topic": f"{prefix}/{camera_id}/incidents",
        "device_class": "problem",
    }
    state = {
        "name": "State",
        "unique_id": f"{node}_state",
        "state_topic": f"{prefix}/{camera_id}/state",
        "icon": "mdi:cctv",
        "entity_category": "diagnostic",
    }
    cannot_see = {
        "name": "Cannot see",
        "unique_id": f"{node}_cannot_see",
        "state_topic": f"{prefix}/{camera_id}/cannot_see",
        "value_template": "{{ 'OFF' if value == 'none' else 'ON' }}",
        "device_class": "problem",
        "entity_category": "diagnostic",
    }
    calibration = {
        "name": "Calibration stale",
        "unique_id": f"{node}_calibration",
        "state_topic": f"{prefix}/{camera_id}/calibration",
        "value_template": "{{ 'ON' if value == 'stale' else 'OFF' }}",
        "device_class": "problem",
        "entity_category": "diagnostic",
    }
    event = {
        "name": "Event",
        "unique_id": f"{node}_event",
        "state_topic": f"{prefix}/{camera_id}/event",
        "event_types": [kind.value for kind in Kind],
        "icon": "mdi:motion-sensor",
    }
    yield "binary_sensor", "incident", incident | shared
    yield "binary_sensor", "cannot_see", cannot_see | shared
    yield "event", "event", event | shared
    yield "sensor", "state", state | shared
    yield "binary_sensor", "calibration", calibration | shared


class Mqtt:
    """Publishes events in order, in a thread of its own, and continues when the broker has confirmed them.

    Args:
        store: Keeps the id of the last event that was published.
        incidents: Events are read from here.
        cameras: Returns the status of each camera.
        url: The broker.
        prefix: First level of all topics.
        metrics: Counts notifications.
    """

    def __init__(
        self,
        store: NotificationStore,
        incidents: IncidentStore,
        cameras: Callable[[], Sequence[CameraStatus]],
        url: BrokerUrl,
        prefix: str,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._incidents = incidents
        self._cameras = cameras
        self._url = url
        self._prefix = prefix
        self._metrics = metrics
        self._problem: str | None = f"not connected to {url.host}:{url.port} yet"
        self._work = threading.Event()
        self._stopping = threading.Event()
        self._greeted = False
        self._known: dict[str, tuple[Message, ...]] = {}
        """How each camera was announced to Home Assistant."""
        self._told: dict[str, frozenset[Kind]] = {}
        """Kinds that were told of each open incident."""
        self._answered = threading.Condition()
        self._taken: set[int] = set()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 10)
        self._client.will_set(f"{prefix}/available", "offline", qos=1, retain=True)
        if url.user is not None:
            self._client.username_pw_set(url.user, url.password)
        if url.tls:
            self._client.tls_set()
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_publish = self._on_publish
        self._client.on_disconnect = self._on_disconnect
        self._thread = threading.Thread(target=self._serve, name="mqtt", daemon=True)

    @property
    def problem(self) -> str | None:
        """Why nothing can be published at the moment; None if it works."""
        return self._problem

    def start(self) -> None:
        """Connect, and start to publish."""
        self._client.connect_async(self._url.host, self._url.port, _KEEPALIVE_S)
        self._client.loop_start()
        self._thread.start()

    def stop(self) -> None:
        """Publish `offline`, and disconnect; unpublished events are published after the next start."""
        self._stopping.set()
        self._work.set()
        if self._thread.ident is None:
            return
        self._thread.join()
        if self._client.is_connected():
            self._publish([Message(f"{self._prefix}/available", "offline", retain=True)], _FAREWELL_S)
        self._client.disconnect()
        self._client.loop_stop()

    def wake(self) -> None:
        """Announce that there are new events; never waits."""
        self._work.set()

    def _serve(self) -> None:
        take_turns(SINK, self._turn, self._stopping)

    def _turn(self) -> None:
        self._work.clear()
        if not self._client.is_connected():
            self._work.wait(_LOOK_S)
        elif not self._greeted:
            self._greet()
        elif not self._tell_next() and not self._tell_changes():
            self._work.wait(_LOOK_S)

    def _greet(self) -> None:
        """Publish all retained messages: the broker may have lost them."""
        self._greeted = True
        available = Message(f"{self._prefix}/available", "online", retain=True)
        self._publish([available, *self._changes(greeted={})])

    def _tell_next(self) -> bool:
        """Publish the next events; False if there were none."""
        events = self._incidents.events_after(self._store.position(SINK), _PAGE)
        if not events:
            return False
        changes = self._changes(greeted=self._known)
        messages: list[Message] = []
        told = dict(self._told)
        for event in events:
            heard, known = notifies(event), _told_before(event, told)
            # Nothing is retained for a camera that was removed.
            messages += [
                message
                for message in (messages_of(event, self._prefix, known) if heard else ())
                if event.camera in self._known or not message.retain
            ]
            if isinstance(event, IncidentEnded):
                told.pop(event.incident.id, None)
            elif isinstance(event, IncidentStarted | IncidentUpdated):
                told[event.incident.id] = frozenset(seen.kind for seen in event.incident.kinds if heard)
        if self._publish([*messages, *changes]):
            self._told = told
            self._store.advance(SINK, events[-1].id)
            self._metrics.notifications.labels(SINK, "delivered").inc(len(events))
        return True

    def _tell_changes(self) -> bool:
        """Publish what has changed about cameras without an event, such as a name; False if nothing has."""
        return self._publish(changes) if (changes := self._changes(greeted=self._known)) else False

    def _changes(self, greeted: Mapping[str, tuple[Message, ...]]) -> list[Message]:
        """The retained messages for cameras that were added, renamed or removed.

        Args:
            greeted: How each camera was announced so far.
        """
        cameras = {camera.id: camera for camera in self._cameras()}
        gone = sorted(self._known.keys() - cameras.keys())
        self._known = {name: tuple(announcement_of(camera, self._prefix)) for name, camera in cameras.items()}
        changed: list[Message] = []
        for name, announcement in sorted(self._known.items()):
            if name not in greeted:
                changed += messages_about(cameras[name], self._prefix)
            else:
                changed += [message for message in announcement if message not in greeted[name]]
        return [*changed, *(message for name in gone for message in farewell_to(name, self._prefix))]

    def _publish(self, messages: Sequence[Message], limit_s: float | None = None) -> bool:
        """Publish messages and wait until the broker has confirmed them; False if it has not.

        After a lost connection the library itself sends unconfirmed messages again, so nothing else is needed here.

        Args:
            messages: What to publish, in this order.
            limit_s: Seconds to wait; None waits until the service stops.
        """
        with self._answered:
            self._taken.clear()
        wanted = {
            self._client.publish(message.topic, message.payload, qos=1, retain=message.retain).mid
            for message in messages
        }
        deadline = None if limit_s is None else time.monotonic() + limit_s
        with self._answered:
            while not wanted <= self._taken:
                if self._stopping.is_set() if deadline is None else time.monotonic() > deadline:
                    return False
                self._answered.wait(_STEP_S)
        return True

    def _on_publish(self, _client: Any, _data: Any, number: int, _code: Any, _properties: Any) -> None:
        with self._answered:
            self._taken.add(number)
            self._answered.notify()

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            self._problem = f"the broker refuses the connection: {code}"
            log.warning("the MQTT broker refuses the connection", reason=str(code))
            return
        self._problem = None
        self._greeted = False
        log.info("connected to the MQTT broker", host=self._url.host, port=self._url.port)
        self._work.set()

    def _on_connect_fail(self, _client: Any, _data: Any) -> None:
        self._problem = f"the broker at {self._url.host}:{self._url.port} cannot be reached"

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if self._stopping.is_set():
            return
        if self._problem is None:
            self._problem = f"the connection to the broker was lost: {code}"
        log.warning("the connection to the MQTT broker was lost", reason=str(code))


def _told_before(event: Event, told: Mapping[str, Collection[Kind]]) -> Collection[Kind]:
    """The kinds that were told of the incident of an event.

    Of an incident that opened before this process published anything, it is unknown which: all are taken as told.
    """
    if isinstance(event, CameraEvent | IncidentStarted):
        return ()
    return told.get(event.incident.id, tuple(Kind))


def _occurrence(incident: IncidentInfo, seen: KindSeen) -> dict[str, Any]:
    """The payload of an event entity: its type, and its attributes."""
    return {
        "event_type": seen.kind.value,
        "title": seen.title,
        "explanation": seen.explanation,
        "severity": incident.severity.value,
        "incident": incident.id,
        "people": seen.people,
        "at": seen.first_at.isoformat(),
    }


def _sight(camera_id: str, cannot_see: CannotSee | None, prefix: str) -> Message:
    return Message(f"{prefix}/{camera_id}/cannot_see", cannot_see or "none", retain=True)


def _node(camera_id: str, prefix: str) -> str:
    return f"{prefix.replace('/', '_')}_{camera_id}"
