"""What survives: kill -9 in the middle, and a disk without room, against a real ``daflow serve``."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import text

from service.runtime import Runtime
from service.settings import Settings
from service.storage.database import Database
from service.storage.evidence import EVIDENCE_KINDS
from tests.doubles import media
from tests.doubles.live_records import NOON, incident_info, over
from tests.doubles.servers import PATIENCE_S, ServerProcess, eventually, raw_connection, server_process
from tests.doubles.stopped import stopping_at

pytestmark = pytest.mark.usefixtures("backend")

MIB = 1024**2


@pytest.fixture(scope="module")
def clip(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough to be interrupted, and short enough to be scored twice."""
    source = test_data / "clips" / "ubnormal" / "normal_scene_16_scenario_2.mp4"
    return media.reencode(source, tmp_path_factory.mktemp("clip") / "clip.mp4", every=2, scale=0.5, frames=240)


def start(server: ServerProcess, clip: Path) -> str:
    clip_id: str = server.client.post_clip(clip).json()["id"]
    eventually(lambda: server.client.clip(clip_id)["frames_done"] > 0, "scoring is under way")
    return clip_id


@pytest.mark.slow
def test_a_kill_in_the_middle_costs_nothing_but_time(tmp_path: Path, pose_weights: Path, clip: Path) -> None:
    data = tmp_path / "data"
    with server_process(data, pose_weights=pose_weights, pose_image_size=320) as server:
        finished = server.client.post_clip(media.one_frame(tmp_path), wait=PATIENCE_S).json()
        with raw_connection(server.port, {"Content-Length": "1000000"}) as connection:
            connection.sendall(bytes(1000))
            eventually(server.uploads, "an upload is under way")
            cut_short = start(server, clip)
            server.kill()
    (data / "clips" / "orphan").mkdir()
    with server_process(data, pose_weights=pose_weights, pose_image_size=320) as server:
        assert server.uploads() == []
        assert server.clip_folders() == sorted([finished["id"], cut_short])
        assert server.client.clip(finished["id"]) == finished
        assert server.client.until(cut_short, "done", "failed")["attempts"] == 2
        assert server.client.clip(cut_short)["state"] == "done"
        again = start(server, clip)
        server.kill()
    with server_process(data, ready=False, pose_weights=pose_weights, clip_max_attempts=1) as server:
        document = server.client.clip(again)
        assert (document["state"], document["error"]["cause"]) == ("failed", "interrupted")
        assert server.client.clip(finished["id"]) == finished


def pictured(data: Path, names: list[str]) -> Runtime:
    """A service, not started, with incidents of which each has every kind of evidence, with the picture and without."""
    runtime = Runtime.open(Settings(data_dir=data))
    an_hour_ago = (datetime.now(UTC) - NOON).total_seconds() - 3600
    evidence = runtime.folder.evidence
    for name in names:
        info = incident_info(name, "door", start=an_hour_ago)
        runtime.streams.incidents.started(info)
        runtime.streams.incidents.ended(over(info))
        evidence.make_room(name)
        for kind in EVIDENCE_KINDS:
            runtime.streams.incidents.evidence(name, kind, "ready")
            for background in (True, False):
                evidence.file(name, kind, background=background).write_bytes(b"faces" if background else b"bones")
    return runtime


@pytest.mark.slow
def test_a_kill_while_pictures_are_removed_leaves_each_incident_with_what_it_says(tmp_path: Path) -> None:
    data, names = tmp_path / "data", [f"{number:02}" for number in range(20)]
    without_models: dict[str, Any] = {"ready": False, "pose_weights": "nowhere.onnx"}
    runtime = pictured(data, names)
    evidence, url = runtime.folder.evidence, runtime.settings.database
    runtime.close()

    def check(server: ServerProcess) -> bool:
        """Whether pictures are removed, which all incidents say alike."""
        page = server.client.get("/v1/incidents", params={"limit": len(names)}).json()["incidents"]
        assert len(page) == len(names)
        (removed,) = {incident["pictures_removed_at"] for incident in page}
        for name in names:
            assert evidence.pictures(name) == [] if removed else len(evidence.pictures(name)) == 2
            assert all(evidence.has(name, kind) for kind in EVIDENCE_KINDS)
        return removed is not None

    def kill(server: ServerProcess, reached: Callable[[], bool], what: str) -> None:
        """Ask for the removal, and kill the service once it has come as far as that."""
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(server.client.delete, "/v1/cameras/door/pictures")
            eventually(lambda: asked.running() and reached(), what)
            server.kill()
            failure = asked.exception()
        assert isinstance(failure, httpx.TransportError), "it answered before it was killed"

    # The removal cannot be noted while another transaction holds what it would write: all pictures stay.
    with (
        server_process(data, **without_models) as server,
        closing(Database.open(url)) as database,
        database.engine.begin() as connection,
    ):
        connection.execute(text("UPDATE incidents SET camera_id = camera_id"))
        kill(server, lambda: True, "the removal is asked for")
    # It is noted, half of the incidents have lost their pictures, and one has lost its snapshot but not its video.
    held = evidence.file(names[10], "clip")
    with server_process(data, wrapper=stopping_at(held), **without_models) as server:
        assert not check(server)
        process = psutil.Process(server.process.pid)
        kill(server, lambda: process.status() == psutil.STATUS_STOPPED, "it has come to that file")
        assert [len(evidence.pictures(name)) for name in names] == [0] * 10 + [1] + [2] * 9
    with server_process(data, **without_models) as server:
        assert check(server)
        assert server.client.delete("/v1/cameras/door/pictures").status_code == 200
        assert check(server)


def small_disk(data: Path) -> list[str]:
    """A command that runs another one with a data folder of 24 MiB."""
    script = 'mount -t tmpfs -o size=24m tmpfs "$0" && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(data)]


def small_files(_data: Path) -> list[str]:
    """A command that runs another one which may not write files above 8 MiB."""
    return ["prlimit", f"--fsize={8 * MIB}"]


@contextmanager
def cramped_server(data: Path, wrapper: list[str], pose_weights: Path) -> Iterator[ServerProcess]:
    data.mkdir()
    if subprocess.run([*wrapper, "true"], capture_output=True).returncode:
        pytest.skip(f"this machine does not allow {wrapper[0]}")
    with server_process(data, wrapper=wrapper, ready=False, pose_weights=pose_weights) as server:
        yield server


@pytest.mark.parametrize(
    "limit", [small_disk, pytest.param(small_files, marks=pytest.mark.slow)], ids=lambda limit: limit.__name__
)
def test_a_disk_without_room_refuses_the_upload_and_serves_on(
    tmp_path: Path, pose_weights: Path, limit: Callable[[Path], list[str]]
) -> None:
    data = tmp_path / "data"
    with cramped_server(data, limit(data), pose_weights) as server:
        for _ in range(2):
            answer = server.client.post_clip(os.urandom(32 * MIB))
            assert answer.status_code == 507, answer.text
            assert answer.json()["type"] == "/problems/storage-full"
        seen = Path(f"/proc/{server.process.pid}/root") / data.relative_to("/")
        assert list((seen / "uploads").iterdir()) == []
        assert list((seen / "clips").iterdir()) == []
        document = server.client.post_clip(media.one_frame(tmp_path), wait=PATIENCE_S).json()
        assert document["state"] == "done"
