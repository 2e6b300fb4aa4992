"""Cameras that are added, changed and removed while they run; over HTTP where an operator would."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from pose.live import TRANSITIONS, SourceState
from service.cameras.config import CameraConfig, CameraPatch
from service.cameras.store import CameraStore
from service.settings import Settings
from service.storage.database import Database
from tests.doubles.cameras import FEED, LOOPBACK, add, nowhere, readers, sockets, states, status
from tests.doubles.live import device, lying
from tests.doubles.servers import Serve, eventually, free_port, live_server
from tests.doubles.streams import peer, silent

pytestmark = pytest.mark.usefixtures("backend")


def at_once(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """Make all calls at the same moment; what they return, or raise."""
    chosen = list(calls)
    gate = threading.Barrier(len(chosen))

    def call(one: Callable[[], Any]) -> Any:
        gate.wait()
        try:
            return one()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(chosen)) as pool:
        return list(pool.map(call, chosen))


def test_the_same_again_leaves_the_source_alone_and_so_do_rules(serve: Serve) -> None:
    live = serve(**LOOPBACK)
    with peer(silent) as address:
        url = f"rtsp://127.0.0.1:{address.port}/live"
        add(live, url=url)
        source = live.runtime.cameras.manager.camera("gate").source
        eventually(lambda: address.connections == 1, "the camera is connected to")
        add(live, url=url)
        changed = add(live, url=url, quiet_s=3, false_alarms_per_day=96, name="Gate")
        assert (changed["config"]["quiet_s"], changed["config"]["name"]) == (3, "Gate")
        assert live.runtime.cameras.manager.camera("gate").source is source
        assert address.connections == 1
        add(live, url=f"{url}/other")
        assert live.runtime.cameras.manager.camera("gate").source is not source
        eventually(lambda: address.connections == 2, "another address is connected to")


@pytest.mark.slow
def test_changes_of_one_camera_at_once_leave_one_source_and_a_legal_history(serve: Serve) -> None:
    live = serve(**LOOPBACK, camera_open_s=1)
    with peer(silent) as address:
        calls = [
            lambda number=number: live.runtime.cameras.manager.put(
                "gate", CameraConfig(url=f"rtsp://127.0.0.1:{address.port}/{number}")
            )
            for number in range(8)
        ]
        assert sorted(at_once(calls)) == [False] * 7 + [True]
        eventually(lambda: len(readers("gate")) == 1, "the sources that were replaced have ended")
        camera = live.runtime.cameras.manager.camera("gate")
        assert camera.source is not None
        assert camera.source.state in (SourceState.CONNECTING, SourceState.RECONNECTING)
        assert live.runtime.cameras.store.get("gate").config["url"] == camera.config.url
        history = states(live)
        for before, after in pairwise(history):
            if before.state is SourceState.STOPPED:
                assert after.state is SourceState.CONNECTING
            else:
                assert after.previous == before.state
                assert after.state in TRANSITIONS[before.state]


@pytest.mark.slow
def test_puts_and_deletes_of_one_camera_at_once_leave_nothing_behind(serve: Serve) -> None:
    live = serve(**LOOPBACK, camera_open_s=1)
    with peer(silent) as address:

        def put(number: int) -> bool:
            return live.runtime.cameras.manager.put(
                "gate", CameraConfig(url=f"rtsp://127.0.0.1:{address.port}/{number}")
            )

        for _ in range(3):
            at_once(
                [*(lambda n=n: put(n) for n in range(4)), *[lambda: live.runtime.cameras.manager.delete("gate")] * 4]
            )
        if live.runtime.cameras.manager.statuses():
            live.runtime.cameras.manager.delete("gate")
        assert CameraStore(live.runtime.database).all() == []
        eventually(lambda: not readers("gate"), "no source runs any more")
    assert states(live)[-1].state is SourceState.STOPPED
    assert 'camera="gate"' not in live.client.get("/metrics").text


def test_the_last_place_is_given_once(serve: Serve) -> None:
    live = serve(max_cameras=3)
    add(live, "first")
    answers = at_once(
        lambda name=name: live.client.put(f"/v1/cameras/{name}", json=FEED).status_code for name in "abcdef"
    )
    assert sorted(answers) == [201, 201, 409, 409, 409, 409]
    assert len(live.client.get("/v1/cameras").json()["cameras"]) == 3


def test_patches_at_once_lose_nothing_of_each_other(serve: Serve) -> None:
    live = serve()
    add(live)
    fields = {"name": "Gate", "quiet_s": 5, "cooldown_s": 7, "min_duration_s": 2, "picture": False, "max_fps": 5}
    answers = at_once(
        lambda name=name, value=value: live.client.patch("/v1/cameras/gate", json={name: value}).status_code
        for name, value in fields.items()
    )
    assert answers == [200] * len(fields)
    config = status(live)["config"]
    assert {name: config[name] for name in fields} == fields


def test_a_patch_does_not_ask_for_an_address_that_stays(serve: Serve, tmp_path: Path, test_data: Path) -> None:
    video = tmp_path / "media" / "clip.mp4"
    video.parent.mkdir()
    video.write_bytes(next((test_data / "clips" / "intel").glob("*.mp4")).read_bytes())
    live = serve(media_dirs=(video.parent,))
    add(live, url=str(video), loop=True)
    video.unlink()
    assert live.client.patch("/v1/cameras/gate", json={"enabled": False}).status_code == 200
    refusal = live.client.patch("/v1/cameras/gate", json={"url": str(video.with_name("other.mp4"))})
    assert (refusal.status_code, refusal.json()["cause"]) == (422, "no-such-file")


def test_credentials_are_shown_nowhere_and_what_was_shown_is_no_address(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    live = serve(**LOOPBACK)
    url = f"rtsp://viewer:hunter2@127.0.0.1:{free_port()}/live?token=hunter2"
    told = [live.client.put("/v1/cameras/gate", json={"url": url})]
    eventually(lambda: status(live)["state"] == "reconnecting", "the camera is missed")
    shown = status(live)["config"]["url"]
    told += [
        live.client.get("/v1/cameras/gate"),
        live.client.patch("/v1/cameras/gate", json={"name": "Gate", "url": shown}),
        live.client.put("/v1/cameras/gate", json={"url": shown, "quiet_s": 3}),
        live.client.put("/v1/cameras/gate", json={"url": url, "colour": "hunter2"}),
        live.client.put("/v1/cameras/gate", json={"url": url.replace("127.0.0.1", "192.168.0.1")}),
        live.client.put("/v1/cameras/gate", json={"url": url.replace("rtsp", "gopher")}),
        live.client.get("/metrics"),
    ]
    assert [answer.status_code for answer in told] == [201, 200, 200, 200, 422, 422, 422, 200]
    assert live.runtime.cameras.manager.config("gate").url == url
    told.append(live.client.put("/v1/cameras/yard", json={"url": shown}))
    assert (told[-1].status_code, told[-1].json()["cause"]) == (422, "userinfo")
    live.client.delete("/v1/cameras/gate")
    log = capsys.readouterr().out
    assert "camera=gate" in log
    for text in [*(answer.text for answer in told), log, *(event.model_dump_json() for event in states(live))]:
        assert "hunter2" not in text


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("tcp://127.0.0.1:{port}/a", "scheme"),
        ("http://127.0.0.1:{port}/a", "forbidden-address"),
        ("rtsp://localhost:{port}/a", "forbidden-address"),
        ("rtsp://[::ffff:127.0.0.1]:{port}/a", "forbidden-address"),
    ],
)
def test_an_address_that_is_not_allowed_is_refused_before_any_connection(url: str, cause: str, serve: Serve) -> None:
    live = serve()
    with peer(silent) as address:
        answer = live.client.put("/v1/cameras/gate", json={"url": url.format(port=address.port)})
        assert (answer.status_code, answer.json()["cause"]) == (422, cause)
        assert live.client.get("/v1/cameras").json()["cameras"] == []
        assert address.connections == 0


@pytest.mark.slow
def test_fifty_cameras_at_once_that_refuse_are_all_reported_and_removed(serve: Serve) -> None:
    live = serve(**LOOPBACK)
    names = [f"camera-{number}" for number in range(50)]
    with httpx.Client(base_url=live.client.base_url, timeout=60, limits=httpx.Limits(max_connections=60)) as client:
        answers = at_once(
            lambda name=name: client.put(f"/v1/cameras/{name}", json={"url": nowhere()}).status_code for name in names
        )
        assert answers == [201] * 50

        def all_refused() -> bool:
            cameras = client.get("/v1/cameras").json()["cameras"]
            problems = [camera["problem"]["cause"] for camera in cameras if camera["problem"]]
            return len(cameras) == 50 and problems == ["refused"] * 50

        eventually(all_refused, "every camera says that its address refuses")
        answers = at_once(lambda name=name: client.delete(f"/v1/cameras/{name}").status_code for name in names)
        assert answers == [204] * 50
    assert live.client.get("/v1/cameras").json()["cameras"] == []
    eventually(lambda: not readers("camera-"), "all threads have ended")


def test_a_camera_that_is_being_connected_to_is_removed_within_a_second(serve: Serve) -> None:
    live = serve(**LOOPBACK, camera_open_s=60)
    with peer(silent) as address:
        add(live, url=f"rtsp://127.0.0.1:{address.port}/live")
        eventually(lambda: address.connections == 1, "the peer has accepted")
        began = time.monotonic()
        assert live.client.delete("/v1/cameras/gate").status_code == 204
        # Less than a second on a machine that has nothing else to do.
        assert time.monotonic() - began < 5
    eventually(lambda: not readers("gate"), "the reader has ended")
    assert [change.state for change in states(live)][-1] is SourceState.STOPPED


def test_a_service_with_many_cameras_that_say_nothing_stops_soon(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", **LOOPBACK)
    with peer(silent) as address, live_server(settings) as live:
        for number in range(40):
            add(live, f"camera-{number}", url=f"rtsp://127.0.0.1:{address.port}/{number}")
        eventually(lambda: address.connections == 40, "all are being connected to")
        began = time.monotonic()
        live.runtime.cameras.manager.stop()
        # One after the other would take a third of a second each.
        assert time.monotonic() - began < 8
        assert not live.runtime.cameras.manager.put("camera-0", CameraConfig(url="skeletons:"))
        late = live.runtime.cameras.manager.camera("camera-0").source
        assert late is not None
        assert late.state is SourceState.STOPPED, "what is added after the stop is not started"


def test_a_disabled_camera_is_kept_and_not_connected_to(serve: Serve) -> None:
    live = serve(**LOOPBACK)
    with peer(silent) as address:
        found = add(live, url=f"rtsp://127.0.0.1:{address.port}/live", enabled=False)
        assert (found["state"], found["problem"], found["fps_in"]) == ("stopped", None, None)
        assert found["thresholds"] is not None
        assert not readers("gate")
        assert address.connections == 0
        live.client.patch("/v1/cameras/gate", json={"enabled": True})
        eventually(lambda: address.connections == 1, "it is connected to when it is enabled")
        assert live.client.patch("/v1/cameras/gate", json={"enabled": False}).json()["state"] == "stopped"
    assert [change.state for change in states(live)][-1] is SourceState.STOPPED


def test_cameras_outlive_a_restart_and_one_that_is_not_understood_is_left_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(data_dir=tmp_path / "data", **LOOPBACK)
    url = f"rtsp://viewer:hunter2@127.0.0.1:{free_port()}/live"
    with live_server(settings) as live:
        add(live, "gate", url=url, name="Gate", quiet_s=3)
        add(live, "edge")
        first = {name: status(live, name)["config"] for name in ("gate", "edge")}
    database = Database.open(settings.database)
    CameraStore(database).put("old", {"url": "rtsp://viewer:hunter2@127.0.0.1/live", "angle": "hunter2"})
    CameraStore(database).put("strange", {"url": "gopher://viewer:hunter2@127.0.0.1/live"})
    database.close()
    with live_server(settings) as live:
        assert {camera["id"]: camera["config"] for camera in live.client.get("/v1/cameras").json()["cameras"]} == first
        assert live.runtime.cameras.manager.config("gate").url == url
        assert status(live, "edge")["state"] == "connecting"
        eventually(lambda: status(live)["state"] == "reconnecting", "the camera is sought")
        add(live, "old")
        assert status(live, "old")["state"] == "connecting"
    log = capsys.readouterr().out
    assert "camera=old" in log
    assert "camera=strange" in log
    assert "hunter2" not in log


def test_a_database_that_fails_leaves_everything_as_it_was(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    live = serve()
    add(live)
    camera = live.runtime.cameras.manager.camera("gate")

    def fail(*_: Any) -> Any:
        raise OperationalError("UPDATE", {}, Exception("disk I/O error"))

    with monkeypatch.context() as broken:
        broken.setattr(CameraStore, "put", fail)
        broken.setattr(CameraStore, "delete", fail)
        manager = live.runtime.cameras.manager
        for change in (
            lambda: manager.put("yard", CameraConfig(url="skeletons:")),
            lambda: manager.put("gate", CameraConfig(url="skeletons:", max_fps=3)),
            lambda: manager.put("gate", CameraConfig(url="skeletons:", quiet_s=3)),
            lambda: manager.patch("gate", CameraPatch.model_validate({"name": "Gate"})),
            lambda: manager.delete("gate"),
        ):
            with pytest.raises(OperationalError):
                change()
        assert [one.id for one in manager.statuses()] == ["gate"]
        assert manager.camera("gate") is camera
        assert (camera.config.quiet_s, camera.config.name) == (10, None)
        assert camera.status().state is SourceState.CONNECTING
    assert live.client.delete("/v1/cameras/gate").status_code == 204


@pytest.mark.slow
def test_one_camera_that_cannot_be_watched_does_not_cost_the_others_their_watch(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = serve(camera_stall_s=0.5, camera_read_s=1)
    add(live, "attic")
    add(live)

    def fail(_now: float) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(live.runtime.cameras.manager.camera("attic"), "watch", fail)
    with device(sockets(live), "gate", lying):
        eventually(lambda: status(live)["state"] == "online", "the device is heard")
    eventually(lambda: status(live)["state"] == "reconnecting", "the device is missed")
