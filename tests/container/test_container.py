"""The containers as their users run them, on a real engine: ``make container-test``.

Builds the images from a clean clone of what is committed, composes the service with the sample camera, and looks at it
from outside. Takes minutes and gigabytes, so the ordinary run leaves it out. Where `DAFLOW_POSE_WEIGHTS` names weights
for people the sample is the one that ships; otherwise it is a film of the small world.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doubles.servers import free_port

ROOT = Path(__file__).parents[2]
PROJECT = "daflow-container-test"
IMAGE, CAMERA_IMAGE = "daflow-live:container-test", "daflow-rtsp:container-test"
GRACE_S = 30.0
PATIENCE_S = 600.0

pytestmark = pytest.mark.timeout(3600)


def told(line: str) -> None:
    """Show what is done, past pytest, which keeps output to itself."""
    print(f"$ {line}", file=sys.__stderr__, flush=True)


def run(*command: str, check: bool = True, **options: Any) -> str:
    """Run a command and give what it printed."""
    told(" ".join(command))
    done = subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    assert not check or done.returncode == 0, done.stdout[-4000:]
    return str(done.stdout).strip()


@dataclass
class Composed:
    """The composed service.

    Attributes:
        folder: The clone that it is composed from.
        environment: Of every command.
        client: Asks the service from outside, with the first key once there is one.
        sample: The clip that the sample camera plays.
    """

    folder: Path
    environment: dict[str, str]
    client: httpx.Client
    sample: Path

    def compose(self, *arguments: str, check: bool = True) -> str:
        command = ("docker-compose",) if shutil.which("docker-compose") else ("docker", "compose")
        options = ("--project-name", PROJECT, "--profile", "rtsp")
        return run(*command, *options, *arguments, cwd=self.folder, env=self.environment, check=check)

    def inside(self, *command: str, check: bool = True) -> str:
        return self.compose("exec", "-T", "daflow", *command, check=check)

    def inspect(self, service: str, template: str) -> str:
        return run("docker", "inspect", "--format", template, self.compose("ps", "--all", "--quiet", service))

    def start(self) -> None:
        self.compose("up", "--detach", "--no-build")
        self.until(lambda: self.inspect("daflow", "{{.State.Health.Status}}") == "healthy", "the service is healthy")

    def until(self, look: Any, what: str, patience_s: float = PATIENCE_S) -> Any:
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(1.0)
        raise AssertionError(f"waited {patience_s:.0f} s in vain until {what}:\n{self.compose('logs', '--tail=60')}")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean clone of what is committed."""
    if shutil.which("docker") is None:
        pytest.fail("there is no docker; these tests need a running engine")
    run("docker", "info")
    folder = tmp_path_factory.mktemp("clone") / "daflow-live"
    run("git", "clone", "--quiet", str(ROOT), str(folder))
    return folder


@pytest.fixture(scope="module")
def images(clone: Path) -> None:
    """The images, built from the clone."""
    build = ("docker", "build", "--network", "host")
    run(*build, "--file", "docker/Dockerfile", "--tag", IMAGE, ".", cwd=clone)
    run(*build, "--tag", CAMERA_IMAGE, "docker/rtsp", cwd=clone)
    told(run("docker", "images", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}", IMAGE))


@pytest.fixture(scope="module")
def service(clone: Path, images: None) -> Iterator[Composed]:
    """The service with the sample camera, until the last test; its volumes are removed."""
    models, sample = _models(clone)
    port = free_port()
    environment = os.environ | models
    environment |= {
        "LIVE_IMAGE": IMAGE,
        "RTSP_IMAGE": CAMERA_IMAGE,
        "LIVE_PUBLISH": f"127.0.0.1:{port}",
        "DAFLOW_ALLOWED_STREAM_CIDRS": "172.16.0.0/12,192.168.0.0/16,10.0.0.0/8",
    }
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
        composed = Composed(clone, environment, client, sample)
        try:
            composed.compose("up", "--detach", "--no-build")
            if weights := os.environ.get("DAFLOW_POSE_WEIGHTS"):
                _copy_weights(composed, Path(weights).resolve())
            composed.start()
            key = composed.inside("cat", "/var/lib/daflow/first-key")
            client.headers["Authorization"] = f"Bearer {key}"
            yield composed
        finally:
            composed.compose("down", "--volumes", check=False)


def _models(clone: Path) -> tuple[dict[str, str], Path]:
    sample = clone / "docker" / "rtsp" / "clips" / "sample.mp4"
    if weights := os.environ.get("DAFLOW_POSE_WEIGHTS"):
        return {"DAFLOW_POSE_WEIGHTS": f"/var/lib/daflow/{Path(weights).name}"}, sample
    command = [sys.executable, "-m", "simulation", "--event", "fall", "--seconds", "40", "--output", str(sample)]
    subprocess.run(command, check=True, cwd=ROOT)
    inside = "/opt/service/simulation/weights"
    return {
        "DAFLOW_POSE_WEIGHTS": f"{inside}/pose.onnx",
        "DAFLOW_CHECKPOINT": f"{inside}/daflow.safetensors",
        "DAFLOW_POSE_IMAGE_SIZE": "384",
    }, sample


def _copy_weights(composed: Composed, weights: Path) -> None:
    """Put weights into the volume by way of the running container; docker cp refuses a read-only root."""
    container = composed.compose("ps", "--quiet", "daflow")
    with weights.open("rb") as stream:
        run("docker", "exec", "-i", container, "sh", "-c", f"cat > /var/lib/daflow/{weights.name}", stdin=stream)


def test_the_container_is_nobody_and_can_write_to_its_volume_only(service: Composed) -> None:
    assert service.inside("id", "--user") == "10001"
    for place in ("/", "/opt/service", "/etc", "/usr/local/bin"):
        assert "Read-only file system" in service.inside("touch", f"{place}/probe", check=False)
    service.inside("sh", "-c", "touch /var/lib/daflow/probe && rm /var/lib/daflow/probe")
    assert service.inspect("daflow", "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}") == "true [ALL]"


def test_no_compiler_and_no_cache_is_left_in_the_image(service: Composed) -> None:
    left = service.inside(
        "sh", "-c", "command -v gcc cc make git curl; ls -A /root /var/lib/apt/lists /var/cache/apt 2>/dev/null; true"
    )
    assert [line for line in left.splitlines() if line.startswith("/usr") or "archives" in line] == []
    assert "No module named pip" in service.inside("/opt/daflow/bin/python", "-m", "pip", check=False)
    labels = json.loads(service.inspect("daflow", "{{json .Config.Labels}}"))
    assert labels["org.opencontainers.image.licenses"] == "AGPL-3.0-or-later"


def test_nobody_comes_in_without_a_key(service: Composed) -> None:
    with httpx.Client(base_url=service.client.base_url) as stranger:
        assert stranger.get("/v1/cameras").status_code == 401
        assert stranger.get("/readyz").status_code == 200


def test_a_clip_posted_from_outside_gets_scores(service: Composed) -> None:
    answer = service.client.post(
        "/v1/clips?wait=240&keypoints=false", files={"file": ("clip.mp4", service.sample.read_bytes())}
    )
    assert answer.status_code == 200, answer.text
    result = answer.json()["result"]
    assert any(frame["level"] is not None for frame in result["frames"])
    assert result["tracks"]


def test_a_camera_on_the_sample_stream_gives_incidents(service: Composed) -> None:
    # Opens an incident at the lowest level that the calibration speaks of.
    eager = {"false_alarms_per_day": 48000, "min_duration_s": 0, "quiet_s": 2, "cooldown_s": 0}
    camera = {"url": "rtsp://rtsp:8554/sample", **eager}
    service.client.put("/v1/cameras/sample", json=camera).raise_for_status()
    incident = service.until(
        lambda: service.client.get("/v1/incidents?camera=sample").json()["incidents"], "an incident has been stored"
    )[0]
    told(json.dumps(incident)[:300])
    picture = service.until(
        lambda: service.client.get(f"/v1/incidents/{incident['id']}/snapshot.jpg").status_code == 200,
        "its picture is there",
    )
    assert picture


def test_stopping_requeues_the_job_and_leaves_nothing_broken(service: Composed) -> None:
    film = service.folder.parent / "long.mp4"
    command = [sys.executable, "-m", "simulation", "--seconds", "60", "--output", str(film)]
    subprocess.run(command, check=True, cwd=ROOT)
    answer = service.client.post("/v1/clips", files={"file": ("clip.mp4", film.read_bytes())})
    assert answer.status_code == 202, answer.text
    clip = answer.json()["id"]
    service.until(lambda: service.client.get(f"/v1/clips/{clip}").json()["frames_done"] > 0, "the clip is scored")
    started = time.monotonic()
    service.compose("stop")
    took = time.monotonic() - started
    told(f"stopped after {took:.1f} s")
    assert took < GRACE_S
    assert service.inspect("daflow", "{{.State.ExitCode}} {{.State.OOMKilled}}") == "0 false"
    looking = (
        "import sqlite3; c = sqlite3.connect('/var/lib/daflow/daflow.db'); print(c.execute('pragma integrity_check')"
        ".fetchone()[0], c.execute('select count(*) from incidents where ended_at is null').fetchone()[0])"
    )
    found = service.compose("run", "--rm", "--no-deps", "--entrypoint", "python", "daflow", "-c", looking)
    assert found.splitlines()[-1] == "ok 0"

    service.start()
    done = service.until(
        lambda: service.client.get(f"/v1/clips/{clip}").json()["state"] == "done", "the job goes on after the start"
    )
    assert done
    logs = service.compose("logs", "daflow")
    assert "Traceback" not in logs, logs[-4000:]
