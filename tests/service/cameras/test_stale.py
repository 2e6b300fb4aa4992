"""A running camera whose picture or settings are no longer those of its calibration."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from pose.live import Picture, SourceError
from pose.view import ViewReference
from service.addresses.urls import parse
from service.cameras.premises import Premises
from service.documents.messages import CameraCalibration
from simulation.rendering import render
from simulation.scene import Scene, demo_scene
from tests.doubles.cameras import FEED, add, status
from tests.doubles.servers import LiveServer, Serve, eventually

URL = "simulation:3"
BASE = Checkpoint.load(DEFAULT_CHECKPOINT).pose_alone()
REPORT = {
    "base": BASE.fingerprint(), "threshold": 0.999, "false_alarms_per_day": 1.0, "unusual_per_day": 0.5,
    "interval_per_day": (0.1, 2.0), "footage_s": 3600.0, "exceedances": 20, "windows": 1000, "adaptation": None,
}  # fmt: skip
NOBODY = np.empty((0, 4), np.float32)

Image = NDArray[np.uint8]


@cache
def frames(yaw: float = 0.0) -> list[Image]:
    """Pictures of a simulated camera that was turned by some degrees."""
    scene = demo_scene(3)
    turned = replace(scene, camera=replace(scene.camera, yaw_deg=scene.camera.yaw_deg + yaw))
    return [frame.image for frame in islice(render(turned, every=25), 9)]


class Turntable:
    """A simulated camera that can be turned while it runs."""

    yaw = 0.0

    def __init__(self, scene: Scene) -> None:
        self._number = 0
        self._closed = threading.Event()

    def read(self) -> Picture:
        if self._closed.wait(0.05):
            raise SourceError("ended", "the connection was closed")
        self._number += 1
        shown = frames(Turntable.yaw)
        return Picture(shown[self._number % len(shown)], time.monotonic())

    def close(self) -> None:
        self._closed.set()


@pytest.fixture
def turntable(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Turntable]]:
    """Simulated cameras that can be turned, before a service that looks at them twenty times as often."""
    monkeypatch.setattr("service.cameras.sources.SimulatedCapture", Turntable)
    monkeypatch.setattr("service.cameras.manager._WATCH_S", 0.05)
    monkeypatch.setattr("pose.view.LOOK_S", 0.1)
    monkeypatch.setattr("pose.view.LASTING_S", 1.5)
    monkeypatch.setattr(Turntable, "yaw", 0.0)
    frames(0.0)
    frames(3.0)
    yield Turntable


def calibrate(live: LiveServer, camera_id: str = "gate", **changed: Any) -> None:
    """Store a calibration as if the camera had just been calibrated."""
    camera = live.runtime.cameras.manager.camera(camera_id)
    assert BASE.calibration is not None
    view = None
    if camera.url.seed is not None:
        reference = ViewReference()
        for number, image in enumerate(frames(0.0)):
            reference.look(10.0 * number, image, NOBODY)
            reference.look(10.0 * number + 5, image, NOBODY)
        view = reference.view()
        assert view is not None
    size = None if view is None else (640, 360)
    premises = replace(Premises.of(camera.url, camera.config, size, view), **changed)
    live.runtime.cameras.models.add(camera, REPORT, BASE.calibration.to_dict(), None, premises)


def told(live: LiveServer, camera: str = "gate") -> list[tuple[str, list[str]]]:
    """What stored events say about the calibration of a camera."""
    events = live.runtime.streams.incidents.events_after(0, 10_000)
    return [
        (event.calibration, [one.cause for one in event.stale])
        for event in events
        if isinstance(event, CameraCalibration) and event.camera == camera
    ]


def tells(live: LiveServer, *expected: tuple[str, list[str]], camera: str = "gate") -> None:
    """Wait until stored events say this of the calibration of a camera, and no more."""
    eventually(lambda: told(live, camera) == [*expected], f"{camera} has told {expected}")


def state(live: LiveServer, camera: str = "gate") -> tuple[str, list[str], str]:
    """The calibration of a camera, why it is stale, and which one is in use."""
    shown = status(live, camera)
    used = shown["thresholds"]["calibration"] if shown["thresholds"] else ""
    return shown["calibration"], [one["cause"] for one in shown["stale"]], used


def becomes(live: LiveServer, *expected: object) -> None:
    eventually(lambda: state(live) == expected, f"the calibration is {expected}")


@pytest.mark.slow
@pytest.mark.usefixtures("backend")
def test_a_simulated_camera_that_is_turned_is_stale_until_it_is_turned_back(
    serve: Serve, turntable: type[Turntable]
) -> None:
    live = serve()
    add(live, url=URL)
    assert state(live)[:2] == ("none", [])
    calibrate(live)
    becomes(live, "current", [], "camera")
    time.sleep(2.5)
    assert state(live) == ("current", [], "camera"), "people and noise are no change"

    turntable.yaw = 3.0
    becomes(live, "stale", ["moved"], "shipped")
    words = status(live)["stale"][0]["detail"]
    assert words == "The picture has moved since this camera was calibrated. Calibrate again or turn it back."
    assert live.client.get("/v1/cameras/gate/calibration").json()["stale"][0]["detail"] == words
    assert 'daflow_camera_calibration_stale{camera="gate"} 1.0' in live.client.get("/metrics").text

    turntable.yaw = 0.0
    becomes(live, "current", [], "camera")
    assert 'daflow_camera_calibration_stale{camera="gate"} 0.0' in live.client.get("/metrics").text
    tells(live, ("current", []), ("stale", ["moved"]), ("current", []))


@pytest.mark.slow
def test_a_new_calibration_of_a_camera_that_was_turned_holds(serve: Serve, turntable: type[Turntable]) -> None:
    live = serve()
    add(live, url=URL)
    calibrate(live)
    turntable.yaw = 3.0
    becomes(live, "stale", ["moved"], "shipped")
    live.client.patch("/v1/cameras/gate", json={"max_fps": 5})
    assert state(live)[:2] == ("stale", ["moved"]), "a new connection to the same address does not forget it"
    camera = live.runtime.cameras.manager.camera("gate")
    reference = ViewReference()
    for number, image in enumerate(frames(3.0)):
        reference.look(10.0 * number, image, NOBODY)
    calibrate(live, view=reference.view())
    becomes(live, "current", [], "camera")
    assert camera.staleness == ()
    live.client.post("/v1/cameras/gate/calibration/rollback")
    becomes(live, "stale", ["moved"], "shipped")


def test_two_cameras_whose_addresses_are_swapped_are_both_stale_at_once(serve: Serve) -> None:
    live = serve()
    urls = {"gate": "simulation:3", "yard": "simulation:8"}
    for name, url in urls.items():
        add(live, name, url=url, enabled=False)
        camera = live.runtime.cameras.manager.camera(name)
        assert BASE.calibration is not None
        premises = Premises.of(parse(url), camera.config, None, None)
        live.runtime.cameras.models.add(camera, REPORT, BASE.calibration.to_dict(), None, premises)
    for name, url in (("gate", urls["yard"]), ("yard", urls["gate"])):
        live.client.patch(f"/v1/cameras/{name}", json={"url": url})
        assert state(live, name)[:2] == ("stale", ["address"])
        tells(live, ("current", []), ("stale", ["address"]), camera=name)
    for name, url in urls.items():
        live.client.patch(f"/v1/cameras/{name}", json={"url": url})
        assert state(live, name)[:2] == ("current", [])
        tells(live, ("current", []), ("stale", ["address"]), ("current", []), camera=name)


def test_a_change_of_min_duration_and_of_quiet_is_named_and_can_be_taken_back(serve: Serve) -> None:
    live = serve()
    add(live, **FEED)
    calibrate(live)
    becomes(live, "current", [], "camera")
    live.client.patch("/v1/cameras/gate", json={"min_duration_s": 3})
    assert state(live) == ("stale", ["min_duration_s"], "shipped")
    live.client.patch("/v1/cameras/gate", json={"quiet_s": 30})
    assert state(live) == ("stale", ["min_duration_s", "quiet_s"], "shipped")
    live.client.patch("/v1/cameras/gate", json={"min_duration_s": 0.5, "quiet_s": 10})
    assert state(live) == ("current", [], "camera")
    live.client.patch("/v1/cameras/gate", json={"cooldown_s": 1})
    both = ("stale", ["min_duration_s", "quiet_s"])
    tells(live, ("current", []), ("stale", ["min_duration_s"]), both, ("current", []))


@pytest.mark.slow
def test_another_resolution_is_named(serve: Serve, turntable: type[Turntable]) -> None:
    live = serve()
    add(live, url=URL)
    calibrate(live, size=(1280, 720))
    becomes(live, "stale", ["resolution"], "shipped")


@pytest.mark.slow
def test_a_calibration_of_an_older_version_always_holds(serve: Serve, turntable: type[Turntable]) -> None:
    live = serve()
    add(live, url=URL)
    camera = live.runtime.cameras.manager.camera("gate")
    assert BASE.calibration is not None
    live.runtime.cameras.models.add(camera, REPORT, BASE.calibration.to_dict())
    turntable.yaw = 3.0
    live.client.patch("/v1/cameras/gate", json={"quiet_s": 30})
    time.sleep(3.0)
    assert state(live) == ("current", [], "camera")
