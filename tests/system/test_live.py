"""Live cameras against the real service: real streams, real pose estimation, real kills."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from tests.doubles import media
from tests.doubles.live import device, lying, socket_reader, sse_reader
from tests.doubles.rtsp import rtsp_server
from tests.doubles.servers import ServerProcess, eventually, server_process

pytestmark = pytest.mark.usefixtures("backend")

EAGER = {"false_alarms_per_day": 48000, "min_duration_s": 0, "quiet_s": 2, "cooldown_s": 0}
"""Opens an incident at the lowest level that the calibration speaks of."""

AGE_BOUND_S = 5.0
"""With a queue instead of the newest frame, ages would grow by seconds in every second of overload."""


def sockets(server: ServerProcess) -> str:
    return f"ws://127.0.0.1:{server.port}"


def add(server: ServerProcess, camera_id: str, **config: object) -> None:
    answer = server.client.put(f"/v1/cameras/{camera_id}", json=config)
    assert answer.status_code == 201, answer.text


def state(server: ServerProcess, camera_id: str) -> str:
    found: str = server.client.get(f"/v1/cameras/{camera_id}").json()["state"]
    return found


@pytest.fixture
def intel(test_data: Path) -> Path:
    return next((test_data / "clips" / "intel").glob("*.mp4"))


@pytest.fixture
def airport(test_data: Path) -> Path:
    return test_data / "clips" / "ubnormal" / "abnormal_scene_20_scenario_6.mp4"


@pytest.fixture
def timid(tmp_path: Path) -> Path:
    """The shipped weights with a calibration that finds ordinary walking strange."""
    shipped = Checkpoint.load(DEFAULT_CHECKPOINT)
    assert shipped.calibration is not None
    knots = tuple(knot - 1.0 for knot in shipped.calibration.knots)
    path = tmp_path / "timid.safetensors"
    replace(shipped, calibration=replace(shipped.calibration, knots=knots)).save(path)
    return path


def test_two_rtsp_cameras_give_scores_and_incidents_and_come_back_after_the_stream_was_gone(
    tmp_path: Path, pose_weights: Path, intel: Path, airport: Path, timid: Path
) -> None:
    settings = {
        "checkpoint": timid,
        "pose_weights": pose_weights,
        "pose_image_size": 320,
        "allowed_stream_cidrs": "127.0.0.0/8",
        "camera_stall_s": 1,
        "camera_read_s": 2,
        "camera_retry_s": 1,
    }
    with (
        rtsp_server({"door": intel, "hall": airport}) as streams,
        server_process(tmp_path / "data", **settings) as server,
    ):
        for name in ("door", "hall"):
            add(server, name, url=streams.url(name), **EAGER)
        scores = {name: socket_reader(f"{sockets(server)}/v1/cameras/{name}/scores") for name in ("door", "hall")}
        by_socket = socket_reader(f"{sockets(server)}/v1/incidents?last_event_id=0")
        by_sse = sse_reader(f"{server.client.base_url}/v1/incidents/stream?last_event_id=0")

        for name in ("door", "hall"):
            eventually(lambda name=name: scores[name].of("score", camera=name), f"{name} is scored")
        started = eventually(lambda: by_socket.of("incident.started"), "an incident arrives by WebSocket")[0]
        eventually(lambda: started in by_sse.heard, "the same arrives by Server-Sent Events")
        assert started["incident"]["people"]
        found = server.client.get(f"/v1/incidents/{started['incident']['id']}").json()
        assert found["camera"] == started["camera"]

        streams.kill()
        for name in ("door", "hall"):
            eventually(lambda name=name: by_socket.of("camera.state", camera=name, state="reconnecting"), "it is gone")
        streams.start()
        for name in ("door", "hall"):
            eventually(
                lambda name=name: len(by_socket.of("camera.state", camera=name, state="online")) >= 2, "it is back"
            )
            before = len(scores[name].of("score"))
            eventually(lambda name=name, n=before: len(scores[name].of("score")) > n, "it is scored again")
        streams.freeze()
        eventually(lambda: by_socket.of("camera.state", camera="door", state="stalled"), "the silence is noticed")
        assert server.client.delete("/v1/cameras/door").status_code == 204
        reached = {message["state"] for message in by_socket.of("camera.state", camera="door")}
        reached |= {
            message["state"]
            for message in eventually(lambda: by_socket.of("camera.state", state="stopped"), "it stops")
        }
        assert reached == {"connecting", "online", "stalled", "reconnecting", "stopped"}
        log = server.log.read_text()
        for one in reached:
            assert re.search(rf"camera state .*camera=door .*state={one}", log), one
        streams.thaw()


@pytest.mark.slow
def test_under_overload_scores_stay_fresh_drops_are_counted_and_every_camera_gets_its_share(
    tmp_path: Path, pose_weights: Path, airport: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"camera-{number}" for number in range(6)]
    # Two minutes: between two rounds of a shorter film a camera pauses, and the others share its turns.
    long = media.repeated(airport, tmp_path / "airport.mp4", 8)
    with server_process(tmp_path / "data", pose_weights=pose_weights, media_dirs=tmp_path, camera_fps=30) as server:
        for name in names:
            add(server, name, url=str(long), loop=True)
        readers = [socket_reader(f"{sockets(server)}/v1/cameras/{name}/scores") for name in names]

        def processed() -> list[int]:
            return [server.client.get(f"/v1/cameras/{name}").json()["frames_processed"] for name in names]

        # The cameras that came online first had the machine for themselves until the others did.
        eventually(lambda: all(reader.of("score") for reader in readers), "every camera is scored")
        before = processed()
        eventually(lambda: sum(processed()) - sum(before) >= 60, "every camera was scored often")
        cameras = [server.client.get(f"/v1/cameras/{name}").json() for name in names]
    ages = [score["age_s"] for reader in readers for score in reader.of("score")]
    shares = [camera["frames_processed"] - had for camera, had in zip(cameras, before, strict=True)]
    with capsys.disabled():
        print(f"\n6 cameras: ages up to {max(ages):.2f} s, bound {AGE_BOUND_S:g} s; frames each {shares}")
    assert max(ages) < AGE_BOUND_S
    assert max(shares) - min(shares) <= 0.25 * max(shares) + 4
    for camera in cameras:
        assert camera["dropped"]["overload"] > camera["frames_processed"]
        assert camera["frames_read"] >= camera["frames_processed"] + sum(camera["dropped"].values()) - 1


@pytest.mark.slow
def test_an_incident_that_was_open_when_the_service_was_killed_ends_once_after_the_restart(
    tmp_path: Path, pose_weights: Path
) -> None:
    data = tmp_path / "data"
    with server_process(data, pose_weights=pose_weights) as server:
        add(server, "edge", url="skeletons:")
        events = socket_reader(f"{sockets(server)}/v1/incidents?last_event_id=0")
        with device(sockets(server), "edge", lying):
            started = eventually(lambda: events.of("incident.started"), "an incident opens")[0]
            server.kill()
    with server_process(data, pose_weights=pose_weights) as server:
        resumed = socket_reader(f"{sockets(server)}/v1/incidents?last_event_id={started['id']}")
        ended = eventually(lambda: resumed.of("incident.ended"), "a subscriber that comes back hears of the end")
        everything = socket_reader(f"{sockets(server)}/v1/incidents?last_event_id=0")
        eventually(lambda: everything.of("incident.ended"), "the log is read from the beginning")
        assert [event["incident"]["id"] for event in ended] == [started["incident"]["id"]]
        assert ended[0]["incident"]["end_reason"] == "interrupted"
        assert ended[0]["incident"]["ended_at"] >= ended[0]["incident"]["started_at"]
        assert len(everything.of("incident.started")) == len(everything.of("incident.ended")) == 1
        assert resumed.heard[1:] == [event for event in everything.heard[1:] if event["id"] > started["id"]]
        listed = server.client.get("/v1/incidents").json()["incidents"]
        assert [incident["id"] for incident in listed] == [started["incident"]["id"]]
        assert eventually(lambda: state(server, "edge") == "connecting", "the camera is kept")
