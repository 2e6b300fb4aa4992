"""What survives: kill -9 in the middle, and a disk without room, against a real ``daflow serve``."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.doubles import media
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
