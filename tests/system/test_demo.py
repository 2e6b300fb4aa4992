"""The demo as its users run it: no weights, no settings, and soon an incident."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.checkpoint import Checkpoint
from service.addresses.urls import UrlKind, parse
from service.cli.demo import CLIP, demo_settings
from service.clips.scorer import SIMULATED
from service.settings import Role, Settings
from simulation.demo import DEMO_CAMERAS
from simulation.weights import CHECKPOINT
from tests.doubles.live import socket_reader
from tests.doubles.servers import eventually, server_process


@pytest.mark.slow
def test_an_incident_comes_by_itself_and_a_film_can_be_scored(tmp_path: Path) -> None:
    with server_process(tmp_path / "data", name="demo", new=True) as server:
        incidents = socket_reader(f"ws://127.0.0.1:{server.port}/v1/incidents")
        started = eventually(lambda: incidents.of("incident.started"), "an incident has started")
        assert {message["incident"]["camera"] for message in started} == {"hall"}
        cameras = server.client.get("/v1/cameras").json()["cameras"]
        assert [(camera["id"], camera["state"]) for camera in cameras] == [("hall", "online"), ("street", "online")]
        assert {camera["thresholds"]["calibration"] for camera in cameras} == {"camera"}
        film = server.data_dir / "demo" / CLIP
        answer = server.client.post("/v1/clips?wait=60&keypoints=false", files={"file": film.read_bytes()})
        assert answer.status_code == 200, answer.text
        result = answer.json()["result"]
        assert result["tracks"]
        assert SIMULATED in result["notes"]
    log = server.log.read_text()
    assert f"curl -sN http://127.0.0.1:{server.port}/v1/incidents/stream" in log
    assert str(film) in log


@pytest.mark.slow
def test_a_second_start_finds_what_was_changed(tmp_path: Path) -> None:
    with server_process(tmp_path / "data", name="demo", ready=False) as server:
        server.client.patch("/v1/cameras/hall", json={"name": "Lobby"}).raise_for_status()
    with server_process(tmp_path / "data", name="demo", ready=False) as server:
        assert server.client.get("/v1/cameras/hall").json()["config"]["name"] == "Lobby"
        assert len(server.client.get("/v1/cameras/hall/calibration").json()["versions"]) == 1


def test_the_demo_leaves_alone_what_is_set_up_for_real_cameras(tmp_path: Path) -> None:
    settings = demo_settings(
        Settings(
            data_dir=tmp_path,
            database_url="postgresql://somewhere/daflow",
            redis_url="redis://somewhere",
            role=Role.API,
            webhook_url="https://somewhere/hook",
            cameras_file=tmp_path / "cameras.yaml",
            port=8123,
        )
    )
    assert settings.database == f"sqlite:///{tmp_path / 'demo' / 'daflow.db'}"
    assert (settings.redis_url, settings.webhook_url, settings.cameras_file) == (None, None, None)
    assert (settings.role, settings.port) == (Role.ALL, 8123)


@pytest.mark.parametrize("camera", DEMO_CAMERAS, ids=lambda camera: camera.id)
def test_its_calibrations_belong_to_its_checkpoint(camera: object) -> None:
    demo = next(known for known in DEMO_CAMERAS if known is camera)
    assert parse(demo.url).kind is UrlKind.SIMULATION
    assert demo.calibration()["report"]["base"] == Checkpoint.load(CHECKPOINT).fingerprint()
