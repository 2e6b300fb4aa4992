"""The demo: the service with two simulated cameras, without downloads or settings."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from service.cameras.config import CameraConfig
from service.cameras.store import UnknownCamera
from service.cli.console import err
from service.errors import StartupError
from service.runtime import Runtime
from service.settings import Role, Settings
from simulation.demo import DEMO_CAMERAS, DemoCamera
from simulation.rendering import render
from simulation.scene import DEMO_FPS, scene_with
from simulation.video import write_video
from simulation.weights import CHECKPOINT, IMAGE_SIZE, POSE_WEIGHTS

CLIP: Final = "fall.mp4"
"""Name of a video in the data folder, to post to the service."""

_CLIP_SEED: Final = 5
_CLIP_ONSET_S: Final = 4.0


def demo_settings(settings: Settings) -> Settings:
    """Settings for the demo: its own models, its own data folder, and no backends or cameras of a real setup.

    Args:
        settings: Settings whose address, data folder and device are used.
    """
    return settings.model_copy(
        update={
            "data_dir": settings.data_dir / "demo",
            "pose_weights": str(POSE_WEIGHTS),
            "pose_image_size": IMAGE_SIZE,
            "checkpoint": CHECKPOINT,
            "sum_parts": True,
            "role": Role.ALL,
            "cameras_file": None,
            "database_url": None,
            "redis_url": None,
            "webhook_url": None,
            "mqtt_url": None,
            "channels_file": None,
        }
    )


def furnish(runtime: Runtime) -> None:
    """Add the calibrated cameras of the demo and a video to post. What exists already is not changed.

    Raises:
        StartupError: The video cannot be written.
    """
    for demo in DEMO_CAMERAS:
        try:
            runtime.cameras.manager.camera(demo.id)
        except UnknownCamera:
            runtime.cameras.manager.put(demo.id, _config(demo))
        _calibrate(runtime, demo)
    film = runtime.settings.data_dir / CLIP
    if not film.exists():
        try:
            _write_film(film)
        except OSError as error:
            raise StartupError(f"{film} cannot be written: {error}; set DAFLOW_DATA_DIR") from error


def announce(settings: Settings, address: tuple[str, int]) -> None:
    """Print the address of the page and commands that call the API.

    Args:
        settings: Settings of the service.
        address: Host and port on which it listens.
    """
    host, port = address
    shown = f"[{host}]" if ":" in host else host
    place = f"{shown}:{port}"
    key = " -H 'Authorization: Bearer KEY'" if settings.authenticated else ""
    here, python = Path.cwd(), Path(sys.executable)
    python = python.relative_to(here) if python.is_relative_to(here) else python
    lines = [
        ("page", f"http://{place}"),
        ("cameras", f"curl -s{key} http://{place}/v1/cameras"),
        ("incidents", f"curl -sN{key} http://{place}/v1/incidents/stream"),
        ("WebSocket", f"{python} -m websockets ws://{place}/v1/incidents"),
        (
            "clip",
            f"curl -s{key} -F file=@{settings.data_dir / CLIP} 'http://{place}/v1/clips?wait=60&keypoints=false'",
        ),
    ]
    err.print("\n[bold]DA-Flow Live, demo[/]: two simulated cameras.", highlight=False)
    for camera in DEMO_CAMERAS:
        err.print(f"At {camera.name}, {camera.story or 'nothing unusual happens'}.", highlight=False)
    err.print("The page and every incident say what was seen, when, and why.\n", highlight=False)
    for name, line in lines:
        err.print(f"  {name:<10}", line, style=None, markup=False, highlight=False, soft_wrap=True)
    err.print(
        "\nIts models were trained on simulated people only. For real cameras use [bold]daflow serve[/].\n",
        highlight=False,
    )


def _config(demo: DemoCamera) -> CameraConfig:
    """A high false-alarm budget and short pauses, so that a viewer sees incidents within minutes."""
    return CameraConfig(
        url=demo.url, name=demo.name, max_fps=DEMO_FPS, false_alarms_per_day=480.0, quiet_s=5.0, cooldown_s=5.0
    )


def _calibrate(runtime: Runtime, demo: DemoCamera) -> None:
    camera = runtime.cameras.manager.camera(demo.id)
    if camera.url.text != demo.url or runtime.cameras.calibrator.status(demo.id).active is not None:
        return
    found = demo.calibration()
    runtime.cameras.models.add(camera, found["report"], found["calibration"])


def _write_film(path: Path) -> None:
    scene = scene_with("fall", _CLIP_SEED, _CLIP_ONSET_S)
    scene = replace(scene, camera=replace(scene.camera, fps=DEMO_FPS))
    part = path.with_suffix(".part.mp4")
    write_video(part, (frame.image for frame in render(scene)), scene.camera)
    part.replace(path)
