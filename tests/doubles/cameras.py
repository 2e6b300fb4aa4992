"""What an operator does with cameras of a running service, for tests."""

from __future__ import annotations

import threading
from ipaddress import ip_network
from typing import Any

from service.documents.messages import CameraState
from tests.doubles.servers import LiveServer, eventually, free_port

FEED = {"url": "skeletons:"}

LOOPBACK = {"allowed_stream_cidrs": (ip_network("127.0.0.0/8"),)}
"""Settings of a service that may connect to peers of the tests."""

SENSITIVE = {"false_alarms_per_day": 2880, "min_duration_s": 0.2, "quiet_s": 1, "cooldown_s": 0}
"""A configuration with which an incident opens and ends soon."""


def sockets(live: LiveServer) -> str:
    """Address of the service for WebSockets."""
    return f"ws://127.0.0.1:{live.port}"


def add(live: LiveServer, camera: str = "gate", **config: Any) -> dict[str, Any]:
    """Put a camera, a skeleton feed unless it has another URL."""
    answer = live.client.put(f"/v1/cameras/{camera}", json=FEED | config)
    assert answer.status_code in (200, 201), answer.text
    document: dict[str, Any] = answer.json()
    return document


def status(live: LiveServer, camera: str = "gate") -> dict[str, Any]:
    """Status of a camera as the API shows it."""
    document: dict[str, Any] = live.client.get(f"/v1/cameras/{camera}").json()
    return document


def nowhere() -> str:
    """An address that refuses."""
    return f"rtsp://127.0.0.1:{free_port()}/live"


def readers(camera: str = "") -> list[threading.Thread]:
    """Threads that read cameras."""
    return [thread for thread in threading.enumerate() if thread.name.startswith(f"read-{camera}")]


def states(live: LiveServer, camera: str = "gate") -> list[CameraState]:
    """All changes of a camera's state that were stored."""
    eventually(lambda: live.runtime.streams.log.waiting == 0, "everything is written")
    events = live.runtime.streams.incidents.events_after(0, 10_000)
    return [event for event in events if isinstance(event, CameraState) and event.camera == camera]
