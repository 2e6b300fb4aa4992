"""Pictures of every view: ``python -m benchmarks.assets.screenshots``.

Runs four simulated cameras with the demo's models, sensitive enough for incidents to happen, scores one simulated clip,
and writes each view in light and dark, for a desktop and a phone, to ``docs/screenshots/``. Takes some minutes.

``--fall CLIP`` takes one picture instead, of the incident of a real fall. Use a clip that may be published, such as one
of GMDCSA24, and name weights for people in ``DAFLOW_POSE_WEIGHTS``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

from benchmarks.assets.small_pose import at_demo_rate
from benchmarks.load.live import Service, service
from simulation.rendering import render
from simulation.scene import scene_with
from simulation.video import write_video
from simulation.weights import CHECKPOINT, IMAGE_SIZE, POSE_WEIGHTS

_FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
_SIZES: Final[dict[str, ViewportSize]] = {
    "desktop": {"width": 1360, "height": 850},
    "phone": {"width": 390, "height": 844},
}
_CAMERAS = {
    "Hall": "simulation:13?incident_every=40&event=fall&event=fight&event=running",
    "Street": "simulation:8",
    "Park": "simulation:14?incident_every=60&event=fall",
    "Shop": "simulation:22",
}
_CLIP_SEED = 7
_MOST_BYTES = 200_000
_PATIENCE_S = 300.0
_BEFORE_S = 4
_LIVE_S = 75.0
"""Seconds until the charts beside the pictures are full."""


def main() -> None:
    """Run the service and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="the browser")
    parser.add_argument("--fall", type=Path, metavar="CLIP", help="take only the incident of this clip of a fall")
    arguments = parser.parse_args()

    _FOLDER.mkdir(exist_ok=True)
    if arguments.fall is not None:
        _take_fall(arguments.fall, arguments.chromium)
        return
    models = {"pose_weights": POSE_WEIGHTS, "pose_image_size": IMAGE_SIZE, "checkpoint": CHECKPOINT}
    with service((), **models, evidence_after_s=2, evidence_before_s=_BEFORE_S) as running:
        clip = _score(running)
        for name, url in _CAMERAS.items():
            running.add(
                name.lower(), url=url, name=name, max_fps=8, false_alarms_per_day=4800, min_duration_s=0.2, quiet_s=4
            )
        incident = _incident(running)
        camera = running.cameras()[0]["id"]
        views = {
            "wall": "/",
            "camera": f"/cameras/{camera}",
            "incidents": f"/incidents/{incident}",
            "clips": f"/clips/{clip}",
            "system": "/system",
        }
        time.sleep(_LIVE_S)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
            for size, viewport in _SIZES.items():
                for scheme in ("light", "dark"):
                    context = browser.new_context(
                        viewport=viewport,
                        color_scheme=scheme,
                        device_scale_factor=1 if size == "desktop" else 2,
                        locale="en-GB",
                    )
                    page = context.new_page()
                    for view, path in views.items():
                        page.goto(f"{running.base}/dashboard{path}")
                        _settle(page)
                        _keep(page, _FOLDER / f"{view}-{size}-{scheme}.png")
                    context.close()
            browser.close()


def _take_fall(clip: Path, chromium: str) -> None:
    """The page of an incident as it comes from real footage with the settings that ship."""
    with service((clip,), evidence_after_s=2, evidence_before_s=_BEFORE_S) as running, sync_playwright() as playwright:
        running.add_looped("bedroom", clip, name="Bedroom", max_fps=10)
        incident = _incident(running)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1360, "height": 1450}, locale="en-GB")
        page.goto(f"{running.base}/dashboard/incidents/{incident}")
        _settle(page, _BEFORE_S + 0.9)
        _keep(page, _FOLDER / "fall.png")
        browser.close()


def _score(running: Service) -> str:
    scene = at_demo_rate(scene_with("fight", _CLIP_SEED))
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "fight.mp4"
        write_video(film, (frame.image for frame in render(scene)), scene.camera)
        files = {"file": (film.name, film.read_bytes())}
    job = running.client.post("/v1/clips", files=files, params={"wait": 200}, timeout=_PATIENCE_S)
    clip_id: str = job.raise_for_status().json()["id"]
    running.client.get(f"/v1/clips/{clip_id}/annotated.mp4", timeout=_PATIENCE_S).raise_for_status()
    return clip_id


def _incident(running: Service) -> str:
    """The first fall with a video."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        falls = running.client.get("/v1/incidents", params={"kind": "fall"}).raise_for_status().json()["incidents"]
        for incident in falls:
            if incident["clip"] == "ready":
                incident_id: str = incident["id"]
                return incident_id
        time.sleep(1)
    raise SystemExit(f"no fall was seen in {_PATIENCE_S:.0f} s")


def _settle(page: Page, second: float | None = None) -> None:
    """Wait until the page is complete, with its video at a second, or else a little before the middle."""
    page.wait_for_selector("h1")
    page.wait_for_timeout(5_000)
    page.evaluate(
        """async (second) => {
            const video = document.querySelector("video");
            if (!video) return;
            video.currentTime = second ?? 0.45 * (video.duration || 0);
            await new Promise((resolve) => { video.onseeked = resolve; setTimeout(resolve, 5000); });
        }""",
        second,
    )
    page.wait_for_timeout(500)


def _keep(page: Page, target: Path) -> None:
    page.screenshot(path=target)
    with Image.open(target) as picture:
        for colours in (256, 128, 64, 32):
            picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(target, optimize=True)
            if target.stat().st_size < _MOST_BYTES:
                return


if __name__ == "__main__":
    main()
