from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chromium import Page, chromium
from tests.service.live import device, lying
from tests.service.servers import LiveServer, Serve, eventually

PAGE = (Path(__file__).parents[2] / "service" / "dashboard" / "index.html").read_text(encoding="utf-8")
CAMERAS = 8
"""More than a browser has connections to a host, which is six."""
PICTURES_AT_ONCE = 2
SNAPSHOTS = "performance.getEntriesByType('resource').filter(({ name }) => name.includes('/snapshot.jpg'))"


def test_page_needs_nothing_from_elsewhere() -> None:
    assert not re.search(r"https?://|@import|<script[^>]+src|<link[^>]+stylesheet", PAGE)


def test_page_never_parses_text_as_markup() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", PAGE)


def test_every_element_that_the_script_names_is_on_the_page() -> None:
    named = set(re.findall(r'(?:\$|say)\("([\w-]+)"', PAGE)) | set(re.findall(r'complain\([^;]*, "([\w-]+)"\)', PAGE))
    present = re.findall(r'\bid="([\w-]+)"', PAGE)
    assert {"wall", "wall-state", "live-trouble"} <= named
    assert named <= set(present)
    assert len(present) == len(set(present))


def test_every_control_has_a_name_for_screen_readers() -> None:
    for tag in re.findall(r"<(?:video|progress|section|div[^>]* role=\"(?:slider|region)\")[^>]*>", PAGE):
        assert "aria-label" in tag, tag
    inputs = re.findall(r"<input", PAGE)
    labelled = re.findall(r"<label[^>]*>[^<]*<input", PAGE)
    assert len(labelled) == len(inputs) > 0


def test_the_policy_of_the_page_covers_all_that_it_does() -> None:
    # One script and one style without attributes, which the policy names by their digests, and none in attributes.
    assert len(re.findall(r"<script", PAGE)) == len(re.findall(r"<script>", PAGE)) == 1
    assert len(re.findall(r"<style", PAGE)) == len(re.findall(r"<style>", PAGE)) == 1
    assert not re.search(r"<[^>]+\s(?:style|on\w+)=\"", PAGE)
    assert not re.search(r"setAttribute\(\"style|cssText|blob:|createObjectURL|new Worker|<iframe|<object", PAGE)
    # The policy lets no form be sent; those that the script reads must not try.
    forms = re.findall(r"<form id=\"([\w-]+)\"(?![^>]*action)", PAGE)
    assert len(forms) == len(re.findall(r"<form", PAGE))
    for form in forms:
        assert re.search(rf'\$\("{form}"\)\.onsubmit = async \(event\) => {{\s+event\.preventDefault\(\)', PAGE)


def test_the_page_keeps_one_connection_however_many_cameras_there_are() -> None:
    assert len(re.findall(r"new EventSource\(", PAGE)) == 1
    assert re.search(rf"PICTURES_AT_ONCE = {PICTURES_AT_ONCE};", PAGE)
    assert not re.search(r"\bsrc\b[^\n]*live\.mjpg", PAGE)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with chromium(tmp_path / "profile") as browser:
        yield browser


def add_feed(live: LiveServer, camera: str) -> None:
    config = {"url": "skeletons:", "name": camera.title(), "min_duration_s": 0}
    assert live.client.put(f"/v1/cameras/{camera}", json=config).status_code == 201


def test_an_operator_sees_many_cameras_and_their_incidents(page: Page, serve: Serve) -> None:
    live = serve()
    cameras = [f"gate-{number}" for number in range(CAMERAS)]
    for camera in cameras:
        add_feed(live, camera)
    with ExitStack() as devices:
        for camera in cameras:
            devices.enter_context(device(f"ws://127.0.0.1:{live.port}", camera, lying))
        page.open(f"http://127.0.0.1:{live.port}/")
        page.until(f"document.querySelectorAll('.tile.open').length === {CAMERAS}")
        page.until(f"document.title.startsWith('({CAMERAS})')")
        page.until(f"new Set({SNAPSHOTS}.map(({{ name }}) => name)).size === {CAMERAS}")
        page.until("[...document.querySelectorAll('.cover')].every((cover) => !cover.textContent)")
        at_once = f"""(() => {{
            const asked = {SNAPSHOTS};
            return Math.max(...asked.map((one) => asked.filter((other) =>
                other.startTime <= one.startTime && one.startTime < other.responseEnd).length));
        }})()"""
        assert page.evaluate(at_once) <= PICTURES_AT_ONCE
        assert page.troubles == []

        page.evaluate("document.querySelector('#incident-list button').click()")
        page.until("document.querySelector('#incident-list button').textContent === 'Acknowledged'")
        reviewed = live.client.get("/v1/incidents").json()["incidents"]
        assert sum(incident["acknowledged_at"] is not None for incident in reviewed) == 1

        page.evaluate("performance.clearResourceTimings(); document.getElementById('without-picture').click()")
        page.until(f"{SNAPSHOTS}.filter(({{ name }}) => name.endsWith('?background=none')).length > {CAMERAS}")


def test_an_operator_adds_and_deletes_a_camera_and_is_told_what_is_wrong(page: Page, serve: Serve) -> None:
    live = serve()
    page.open(f"http://127.0.0.1:{live.port}/")
    page.until("document.getElementById('wall-state')?.textContent.startsWith('No camera yet')")
    assert page.evaluate("document.getElementById('adding').open")

    def submit(url: str, name: str) -> None:
        page.evaluate(f"document.getElementById('camera-url').value = '{url}'")
        page.evaluate(f"document.getElementById('camera-name').value = '{name}'")
        page.evaluate("document.getElementById('camera-form').requestSubmit()")

    submit("ftp://camera", "Hof")
    page.until("document.getElementById('camera-trouble').textContent.startsWith('The address must begin with')")
    submit("skeletons:", "Höfe & Gärten")
    page.until("document.querySelector('.tile h3')?.textContent === 'Höfe & Gärten'")
    assert [camera["id"] for camera in live.client.get("/v1/cameras").json()["cameras"]] == ["hofe-garten"]
    submit("rtsp://1.1.1.1/other", "Höfe & Gärten")
    page.until("document.getElementById('camera-trouble').textContent.includes('choose another name')")

    page.evaluate("window.confirm = () => true; document.querySelector('.tile button').click()")
    page.until("!document.querySelector('.tile')")
    eventually(lambda: live.client.get("/v1/cameras").json()["cameras"] == [], "the camera is gone")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
