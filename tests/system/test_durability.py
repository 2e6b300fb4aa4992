"""What survives: kill -9 in the middle, and a disk without room, against a real ``daflow serve``."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from service.runtime import Runtime
from service.settings import Settings
from service.storage.evidence import EVIDENCE_KINDS
from tests.doubles import media
from tests.doubles.live_records import NOON, incident_info, over
from tests.doubles.servers import PATIENCE_S, ServerProcess, eventually, raw_connection, server_process

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


@pytest.mark.slow
def test_a_kill_while_pictures_are_removed_leaves_each_incident_with_what_it_says(tmp_path: Path) -> None:
    data, names = tmp_path / "data", [f"{number}" for number in range(200)]
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

    outcomes = set()
    for delay_s in (0.05, 0.2, 0.4):
        with server_process(data, ready=False) as server, ThreadPoolExecutor() as pool:
            if check(server):
                break
            asked = pool.submit(server.client.delete, "/v1/cameras/door/pictures")
            time.sleep(delay_s)
            server.kill()
            outcomes.add(type(asked.exception()))
    with server_process(data, ready=False) as server:
        check(server)
        assert server.client.delete("/v1/cameras/door/pictures").status_code == 200
        assert check(server)
    assert httpx.RemoteProtocolError in outcomes or httpx.ReadError in outcomes, "none was killed in the middle"


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
