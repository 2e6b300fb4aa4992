"""Pictures of every view: ``python -m benchmarks.screenshots CLIP CLIP CLIP --score CLIP``.

Plays clips in a loop as cameras of a service of its own, sensitive enough for incidents to happen, scores one clip, and
writes each view in light and dark, for a desktop and a phone, to ``docs/screenshots/``. Takes some minutes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.live import Service, service

_FOLDER = Path(__file__).parents[1] / "docs" / "screenshots"
_SIZES = {"desktop": {"width": 1360, "height": 850}, "phone": {"width": 390, "height": 844}}
_NAMES = ("Entrance", "Departures", "Yard", "Car park")
_MOST_BYTES = 200_000
_PATIENCE_S = 300.0
_LIVE_S = 75.0
"""Until the lines beside the pictures are full."""


def main() -> None:
    """Run the service and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+", help="played as cameras")
    parser.add_argument("--score", type=Path, required=True, help="scored as a clip")
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="the browser")
    arguments = parser.parse_args()

    _FOLDER.mkdir(exist_ok=True)
    with service(arguments.clips, pose_image_size=416, evidence_after_s=2, evidence_before_s=4) as running:
        clip = _score(running, arguments.score)
        for name, file in zip(_NAMES, arguments.clips, strict=False):
            running.add_looped(
                name.lower().replace(" ", "-"),
                file,
                name=name,
                max_fps=4,
                false_alarms_per_hour=100,
                min_duration_s=0.2,
                quiet_s=4,
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


def _score(running: Service, clip: Path) -> str:
    with clip.open("rb") as file:
        job = running.client.post("/v1/clips", files={"file": file}, params={"wait": 200}, timeout=_PATIENCE_S)
    clip_id: str = job.raise_for_status().json()["id"]
    running.client.get(f"/v1/clips/{clip_id}/annotated.mp4", timeout=_PATIENCE_S).raise_for_status()
    return clip_id


def _incident(running: Service) -> str:
    """The first incident with a video."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        for incident in running.client.get("/v1/incidents").raise_for_status().json()["incidents"]:
            if incident["clip"] == "ready":
                incident_id: str = incident["id"]
                return incident_id
        time.sleep(1)
    raise SystemExit("no incident happened: choose clips in which people move unusually")


def _settle(page: Page) -> None:
    page.wait_for_selector("h1")
    page.wait_for_timeout(5_000)
    page.evaluate(
        """async () => {
            const video = document.querySelector("video");
            if (!video) return;
            video.currentTime = 0.45 * (video.duration || 0);
            await new Promise((resolve) => { video.onseeked = resolve; setTimeout(resolve, 5000); });
        }"""
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
