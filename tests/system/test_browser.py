"""The page as an operator meets it: a real browser, the real service, cameras that play real clips."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from service.access.policy import Scope
from service.cli.keys import FIRST_KEY
from service.settings import Auth
from tests.doubles import media
from tests.doubles.live import device, falling, lying
from tests.doubles.servers import PATIENCE_S, Serve, ServerProcess, eventually, server_process
from tests.doubles.streams import peer
from tests.doubles.websites import answer, held, site

PATIENCE_MS = 1000 * PATIENCE_S
VIEWS = ("/", "/cameras/hall", "/incidents", "/report", "/clips", "/system")
PHONE = {"width": 390, "height": 844}

pytestmark = pytest.mark.timeout(300)


@dataclass
class Operator:
    """Somebody in front of the page; what the page does wrong is noted."""

    server: ServerProcess
    page: Page
    troubles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("console", lambda message: message.type == "error" and self.troubles.append(message.text))

    def go(self, path: str) -> Page:
        self.page.goto(f"http://127.0.0.1:{self.server.port}/dashboard{path}")
        expect(self.page.get_by_role("heading", level=1)).to_be_visible()
        return self.page


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, pose_weights: Path, test_data: Path) -> Iterator[ServerProcess]:
    """Two cameras that play clips, and a device that sends skeletons."""
    folder, clips = tmp_path_factory.mktemp("page"), test_data / "clips"
    media_dir = folder / "media"
    media_dir.mkdir()
    # Two frames a second are looked at; to decode more of them would take time from the browser.
    airport = clips / "ubnormal" / "normal_scene_16_scenario_2.mp4"
    airport = media.reencode(airport, media_dir / "airport.mp4", every=6, scale=0.5)
    room = clips / "intel" / "one-by-one-person-detection.mp4"
    room = media.reencode(room, media_dir / "room.mp4", every=2, frames=600)
    with server_process(
        folder / "data",
        pose_weights=pose_weights,
        pose_image_size=320,
        media_dirs=media_dir,
        allowed_stream_cidrs="127.0.0.0/8",
        evidence_after_s=1,
        evidence_before_s=2,
    ) as running:
        for name, file in (("hall", airport), ("room", room)):
            config = {"url": str(file), "loop": True, "name": name.title(), "max_fps": 2, "false_alarms_per_day": 0.24}
            assert running.client.put(f"/v1/cameras/{name}", json=config).status_code == 201
        config = {"url": "skeletons:", "name": "Gate", "min_duration_s": 0.2, "quiet_s": 3, "cooldown_s": 0}
        assert running.client.put("/v1/cameras/gate", json=config).status_code == 201
        config = {"url": "skeletons:", "name": "Ward", "quiet_s": 3, "cooldown_s": 0}
        assert running.client.put("/v1/cameras/ward", json=config).status_code == 201
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def sit_down(server: ServerProcess, browser: Browser) -> Iterator[Callable[..., Operator]]:
    contexts: list[BrowserContext] = []

    def begin(**options: Any) -> Operator:
        contexts.append(browser.new_context(reduced_motion="reduce", **options))
        return Operator(server, contexts[-1].new_page())

    yield begin
    for context in contexts:
        context.close()


@pytest.fixture
def operator(sit_down: Callable[..., Operator], server: ServerProcess) -> Iterator[Operator]:
    someone = sit_down()
    before = len(server.log.read_text())
    yield someone
    assert someone.troubles == []
    faults = [line for line in server.log.read_text()[before:].splitlines() if "[error" in line and "[nicegui]" in line]
    assert faults == [], "the page failed on the server, see its log"


@pytest.mark.slow
def test_the_wall_shows_cameras_that_move(operator: Operator) -> None:
    page = operator.go("/")
    for name in ("Hall", "Room"):
        tile = page.locator(".tile", has=page.get_by_role("link", name=name, exact=True))
        expect(tile.locator(".pill", has_text="Live")).to_be_visible()
        picture = tile.locator("img")
        eventually(lambda img=picture: int(img.get_attribute("data-pictures") or 0) > 3, f"{name} has new pictures")
        assert picture.evaluate("image => image.naturalWidth") > 300
    page.get_by_text("Skeletons only").click()
    eventually(
        lambda: (
            [
                "background=none" in str(one.get_attribute("src"))
                for one in page.locator(".tile img[data-pictures]").all()
            ]
            == [True, True]
        ),
        "the pictures are left out",
    )


def test_an_incident_arrives_is_opened_played_and_acknowledged(operator: Operator) -> None:
    server = operator.server
    page = operator.go("/incidents")
    expect(page.get_by_text("No incident yet")).to_be_visible()
    with device(f"ws://127.0.0.1:{server.port}", "gate", lying):
        expect(page.locator("[data-incident]").first).to_be_visible(timeout=PATIENCE_MS)
        expect(page.get_by_role("link", name="Incidents 1 open")).to_be_visible()
    entry = page.locator("[data-incident]").last
    incident = entry.get_attribute("data-incident")
    entry.click()
    expect(page).to_have_url(re.compile(rf"/dashboard/incidents/{incident}$"))
    video = page.locator("video")
    expect(video).to_be_visible(timeout=PATIENCE_MS)
    video.evaluate("video => video.play()")
    eventually(lambda: video.evaluate("video => video.currentTime") > 0.3, "the clip plays")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)
    page.keyboard.press("f")
    expect(page.get_by_role("button", name="False alarm", pressed=True)).to_be_visible()
    document = server.client.get(f"/v1/incidents/{incident}").json()
    assert document["acknowledged_at"] is not None and document["false_alarm"]


def test_a_fall_is_named_while_it_is_seen_and_explained_afterwards(operator: Operator) -> None:
    server, page = operator.server, operator.go("/")
    with device(f"ws://127.0.0.1:{server.port}", "ward", falling):
        tile = page.locator(".tile", has=page.get_by_role("link", name="Ward", exact=True))
        expect(tile.locator(".flag")).to_have_text("Fall, 1 person", timeout=PATIENCE_MS)
        expect(tile.get_by_text("Now: Fall, 1 person")).to_be_visible()
        page = operator.go("/cameras/ward")
        expect(page.get_by_role("status").get_by_text("Fall, 1 person")).to_be_visible()
        expect(page.get_by_role("link", name="View the open incident: Fall, 1 person")).to_be_visible()
    (incident,) = server.client.get("/v1/incidents?camera=ward").json()["incidents"]
    page = operator.go(f"/incidents/{incident['id']}")
    expect(page.get_by_role("heading", name="Fall, 1 person")).to_be_visible()
    why = incident["explanation"]
    expect(page.locator(".why")).to_have_text(f"{why[:1].upper()}{why[1:]}.")
    expect(page.locator(".kinds > li").first).to_contain_text("Fall, 1 person")
    entry = page.locator(f"[data-incident='{incident['id']}']")
    page.get_by_role("combobox", name="Kind").click()
    page.get_by_role("option", name="Running").click()
    expect(entry).to_have_count(0)
    page.get_by_role("combobox", name="Kind").click()
    page.get_by_role("option", name="Fall").click()
    expect(entry).to_contain_text("Fall, 1 person")


def test_a_clip_is_dropped_scored_and_its_timeline_seeks(operator: Operator, test_data: Path) -> None:
    fight = sorted((test_data / "clips" / "surveillance-fight" / "fight").glob("*.mp4"))[0]
    page = operator.go("/clips")
    page.locator("input[type=file]").set_input_files(fight)
    expect(page).to_have_url(re.compile(r"/dashboard/clips/\w{32}$"), timeout=PATIENCE_MS)
    expect(page.locator("video")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_role("heading", name=fight.name)).to_be_visible()
    video = page.locator("video")
    eventually(lambda: video.evaluate("video => video.readyState") >= 1, "the video is there")
    length = video.evaluate("video => video.duration")
    chart = page.locator(".player [role=slider]")
    box = chart.bounding_box()
    assert box is not None
    chart.click(position={"x": 58 + 0.75 * (box["width"] - 74), "y": box["height"] / 2})
    eventually(lambda: 0.65 < video.evaluate("video => video.currentTime") / length < 0.85, "the video has sought")
    chart.press("Home")
    eventually(lambda: video.evaluate("video => video.currentTime") < 0.1, "the keyboard seeks")
    with page.expect_download() as download:
        page.get_by_role("link", name="Scores (CSV)").click()
    assert download.value.path().read_text().startswith("frame,time_s,track")


@pytest.mark.slow
def test_a_clip_is_fetched_from_its_address_and_a_refusal_is_told_in_words(operator: Operator, test_data: Path) -> None:
    fight = sorted((test_data / "clips" / "surveillance-fight" / "fight").glob("*.mp4"))[0]
    page = operator.go("/clips")
    address_field, alert = page.get_by_label("Address of a video"), page.get_by_role("alert")
    for address, words in (
        ("ftp://videos.example/<b>a</b>.mp4", "The address of a clip must begin with https:// or http://."),
        ("http://169.254.169.254/", "DAFLOW_ALLOWED_STREAM_CIDRS"),
    ):
        address_field.fill(address)
        page.get_by_role("button", name="Fetch").click()
        expect(alert).to_contain_text(words)
    gate = threading.Event()
    with peer(site({"/a%20fight.mp4": held(gate, fight.read_bytes()), "/b.mp4": answer("404 Not Found")})) as web:
        address_field.fill(f"http://viewer:hunter2@127.0.0.1:{web.port}/a%20fight.mp4")
        address_field.press("Enter")
        expect(page.get_by_role("heading", name="a fight.mp4")).to_be_visible(timeout=PATIENCE_MS)
        expect(page.get_by_text("Fetching the video from its address.")).to_be_visible()
        expect(page.get_by_text(f"http://***@127.0.0.1:{web.port}/a%20fight.mp4")).to_be_visible()
        assert "hunter2" not in page.content()
        gate.set()
        expect(page.locator("video")).to_be_visible(timeout=PATIENCE_MS)
        operator.go("/clips")
        page.get_by_label("Address of a video").fill(f"http://127.0.0.1:{web.port}/b.mp4")
        page.get_by_role("button", name="Fetch").click()
        expect(page.get_by_text("127.0.0.1 answered 404; check the address.")).to_be_visible(timeout=PATIENCE_MS)


@pytest.mark.slow
def test_the_report_of_today_counts_the_fall(operator: Operator) -> None:
    server, today = operator.server, datetime.now(UTC).date().isoformat()
    with device(f"ws://127.0.0.1:{server.port}", "ward", falling):
        eventually(
            lambda: server.client.get("/v1/incidents?camera=ward&kind=fall").json()["incidents"], "the fall is stored"
        )
    page = operator.go("/report")
    expect(page.get_by_role("region", name="All cameras").get_by_text("none acknowledged")).to_be_visible()
    page.get_by_label("From").fill(today)
    page.get_by_role("button", name="Show").click()
    row = page.get_by_role("row", name="Ward")
    expect(row).to_contain_text("Fall")
    document = server.client.get(f"/v1/incidents/report?day={today}").json()
    (ward,) = [one for one in document["cameras"] if one["camera"] == "ward"]
    expect(row.get_by_role("cell").first).to_have_text(str(ward["incidents"]))


@pytest.mark.slow
def test_a_zone_is_drawn_kept_and_respected(operator: Operator) -> None:
    server = operator.server
    page = operator.go("/cameras/gate")
    board = page.locator(".zones")
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2)
    page.mouse.up()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    (zone,) = server.client.get("/v1/cameras/gate").json()["config"]["ignore"]
    assert min(min(corner) for corner in zone) < 0.05 and max(max(corner) for corner in zone) > 0.95
    before = len(server.client.get("/v1/incidents").json()["incidents"])
    with device(f"ws://127.0.0.1:{server.port}", "gate", lying):
        seen = server.client.get("/v1/cameras/gate").json()["frames_processed"]
        eventually(
            lambda: server.client.get("/v1/cameras/gate").json()["frames_processed"] > seen + 45, "frames are scored"
        )
    assert len(server.client.get("/v1/incidents").json()["incidents"]) == before
    page = operator.go("/cameras/gate")
    expect(page.locator(".zones polygon")).to_have_count(1)
    page.get_by_label("Kind of zone 1").select_option("Rest: lying is normal")
    page.get_by_role("button", name="Save").click()
    eventually(
        lambda: (
            (config := server.client.get("/v1/cameras/gate").json()["config"])["ignore"] == []
            and np.allclose(config["rest"], [zone])
        ),
        "the zone has the other kind",
    )
    page.get_by_role("button", name="Remove zone 1").click()
    page.get_by_role("button", name="Save").click()
    eventually(lambda: server.client.get("/v1/cameras/gate").json()["config"]["rest"] == [], "the zone is gone")


@pytest.mark.slow
def test_a_behaviour_is_switched_off_and_on_again(operator: Operator) -> None:
    page = operator.go("/cameras/ward")

    def config() -> dict[str, Any]:
        chosen: dict[str, Any] = operator.server.client.get("/v1/cameras/ward").json()["config"]
        return chosen

    for choice, kept in (("Off", "off"), ("Warning", "warning")):
        page.get_by_role("combobox", name="Running").click()
        page.get_by_role("option", name=choice).click()
        page.get_by_role("button", name="Save").click()
        eventually(lambda kept=kept: config()["behaviours"].get("running", "warning") == kept, "it is kept")
    assert set(config()["behaviours"]) <= {"running"}


@pytest.mark.slow
def test_a_rule_is_made_tried_and_saved_and_a_pause_notifies_nobody(operator: Operator) -> None:
    server, address = operator.server, "/v1/cameras/ward"
    card = operator.go("/cameras/ward").get_by_role("region", name="Rules")
    card.get_by_role("button", name="Add a rule…").click()
    dialog = operator.page.get_by_role("dialog", name="Rule")
    dialog.get_by_label("Name").fill('Nobody "falls" :title="in" silence')
    dialog.get_by_role("combobox", name="Kinds").click()
    operator.page.get_by_role("option", name="Fall", exact=True).click()
    operator.page.keyboard.press("Escape")
    dialog.get_by_role("combobox", name="Then").click()
    operator.page.get_by_role("option", name="Alert").click()
    dialog.get_by_role("button", name="OK").click()
    expect(card.get_by_text('Nobody "falls" :title="in" silence. Fall: alert')).to_be_visible()
    expect(card.get_by_text("not saved yet")).to_be_visible()
    card.get_by_role("button", name="Try on the last 24 hours").click()
    expect(card.get_by_role("columnheader", name="with these rules")).to_be_visible()
    assert server.client.get(address).json()["config"]["rules"] == []
    card.get_by_label("Time zone of the site").fill("Atlantis")
    card.get_by_role("button", name="Use these rules").click()
    expect(operator.page.get_by_text("there is no time zone 'Atlantis'")).to_be_visible()
    card.get_by_label("Time zone of the site").fill("Europe/Berlin")
    card.get_by_role("button", name="Use these rules").click()
    expect(card.get_by_text("not saved yet")).to_have_count(0)
    config = server.client.get(address).json()["config"]
    assert (config["rules"][0]["kinds"], config["timezone"]) == (["fall"], "Europe/Berlin")
    card.get_by_role("button", name="Pause for 1 hour").click()
    expect(card.get_by_text("nobody is notified")).to_be_visible()
    with device(f"ws://127.0.0.1:{server.port}", "ward", falling):
        eventually(
            lambda: server.client.get("/v1/incidents?camera=ward&severity=record").json()["incidents"],
            "the fall is only recorded",
        )
    card.get_by_role("button", name="End the pause").click()
    expect(card.get_by_role("button", name="Pause for 1 hour")).to_be_visible()
    assert server.client.get(address).json()["config"]["pause_until"] is None
    card.get_by_role("button", name='Remove: Nobody "falls" :title="in" silence').click()
    expect(card.get_by_text("There are no rules.")).to_be_visible()
    card.get_by_role("button", name="Use these rules").click()
    eventually(lambda: server.client.get(address).json()["config"]["rules"] == [], "the rule is gone")


@pytest.mark.slow
def test_incidents_of_a_camera_are_kept_as_long_as_its_settings_say(operator: Operator) -> None:
    page = operator.go("/cameras/gate")
    field = page.get_by_label("Keep incidents for, hours")
    expect(field).to_have_value("")
    field.fill("72")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()

    def config() -> dict[str, Any]:
        chosen: dict[str, Any] = operator.server.client.get("/v1/cameras/gate").json()["config"]
        return chosen

    assert config()["retention_hours"] == 72
    page = operator.go("/cameras/gate")
    expect(page.get_by_label("Keep incidents for, hours")).to_have_value("72")
    page.get_by_label("Keep incidents for, hours").fill("")
    page.get_by_role("button", name="Save").click()
    eventually(lambda: config()["retention_hours"] is None, "the camera has no time of its own again")


@pytest.mark.slow
def test_a_camera_is_added_refused_in_plain_words_and_removed(operator: Operator) -> None:
    page = operator.go("/")
    page.get_by_role("button", name="Add a camera").click()
    page.get_by_label("Name").fill("Höfe & Gärten")
    page.get_by_label("Address").fill("ftp://camera")
    page.get_by_role("button", name="Add the camera").click()
    expect(page.get_by_text("The address must begin with")).to_be_visible()
    page.get_by_label("Address").fill("skeletons:")
    page.get_by_role("button", name="Add the camera").click()
    expect(page).to_have_url(re.compile("/dashboard/cameras/hofe-garten$"), timeout=PATIENCE_MS)
    expect(page.get_by_role("heading", name="Höfe & Gärten")).to_be_visible()
    page.get_by_role("button", name="Remove the camera…").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_role("heading", name="Cameras")).to_be_visible()
    assert operator.server.client.get("/v1/cameras/hofe-garten").status_code == 404


def test_stored_pictures_are_removed_after_a_question(operator: Operator) -> None:
    page, client = operator.go("/cameras/gate"), operator.server.client
    before = client.get("/v1/audit").json()["records"][0]["id"]
    page.get_by_role("button", name="Remove stored pictures…").click()
    dialog = page.get_by_role("dialog", name="Remove stored pictures")
    expect(dialog.get_by_text("This cannot be undone.")).to_be_visible()
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    assert client.get("/v1/audit").json()["records"][0]["id"] == before
    page.get_by_role("button", name="Remove stored pictures…").click()
    dialog.get_by_role("button", name="Remove pictures").click()
    expect(page.get_by_text("No pictures were stored.")).to_be_visible()
    eventually(
        lambda: client.get("/v1/audit").json()["records"][0]["target"] == "/v1/cameras/gate/pictures",
        "the change is recorded",
    )


def test_the_page_of_a_camera_without_a_picture_loads_and_says_so(operator: Operator) -> None:
    client = operator.server.client
    assert client.put("/v1/cameras/silent", json={"url": "skeletons:", "name": "Silent"}).status_code == 201
    # An endless picture that never begins would keep the page from loading; this waits until it has loaded.
    page = operator.go("/cameras/silent")
    expect(page.get_by_text("Waiting for the first frame…")).to_be_visible()
    expect(page.locator(".view img")).to_have_count(0)
    with device(f"ws://127.0.0.1:{operator.server.port}", "silent", lying):
        picture = page.locator(".view img")
        eventually(lambda: picture.evaluate("image => image.naturalWidth") > 0, "the picture has begun")
    client.delete("/v1/cameras/silent")


@pytest.mark.slow
def test_a_camera_that_cannot_see_says_so_until_its_settings_expect_it(operator: Operator) -> None:
    client = operator.server.client
    folder = Path(client.get("/v1/cameras/hall").json()["config"]["url"]).parent
    night = media.clip(folder, "night.mp4", frames=20, fps=2, paint=media.black)
    config = {"url": str(night), "loop": True, "name": "Night", "max_fps": 2}
    assert client.put("/v1/cameras/night", json=config).status_code == 201
    page = operator.go("/")
    tile = page.locator(".tile", has=page.get_by_role("link", name="Night", exact=True))
    expect(tile.locator(".pill", has_text="Cannot see: too dark")).to_be_visible(timeout=PATIENCE_MS)
    expect(tile.get_by_text("Unknown: cannot see, too dark")).to_be_visible()
    page = operator.go("/cameras/night")
    state = page.locator(".pill", has_text="Cannot see: too dark")
    expect(state).to_be_visible()
    expect(page.locator(".bars").get_by_text("Unknown: cannot see, too dark")).to_be_visible()
    page.get_by_role("combobox", name="Say that the camera cannot see, if it is").click()
    page.get_by_role("option", name="too dark").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    expect(state).to_have_count(0)
    assert client.get("/v1/cameras/night").json()["config"]["sight_checks"] == [
        "glare",
        "blurred",
        "covered",
        "people_too_small",
    ]
    client.delete("/v1/cameras/night")


@pytest.mark.parametrize(
    ("scheme", "viewport"), [("light", {"width": 1280, "height": 800}), ("dark", PHONE)], ids=["desktop", "phone"]
)
def test_no_view_has_a_serious_fault_for_people_with_impairments(
    sit_down: Callable[..., Operator], scheme: str, viewport: dict[str, int]
) -> None:
    someone = sit_down(color_scheme=scheme, viewport=viewport)
    for view in VIEWS:
        page = someone.go(view)
        page.wait_for_load_state("load")
        found = Axe().run(page).response["violations"]
        grave = [one for one in found if one["impact"] in ("serious", "critical")]
        assert not grave, (view, [(one["id"], [node["html"][:160] for node in one["nodes"][:3]]) for one in grave])
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{view} is wider than the screen"
    assert someone.troubles == []


@pytest.mark.slow
def test_a_page_asks_nobody_but_the_service(operator: Operator) -> None:
    asked: set[str] = set()
    guard = threading.Lock()

    def note(url: str) -> None:
        with guard:
            asked.add(url)

    operator.page.on("request", lambda request: note(request.url))
    for view in VIEWS:
        operator.go(view)
    own = f"http://127.0.0.1:{operator.server.port}/"
    assert asked and all(url.startswith((own, "data:", "blob:")) for url in asked)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[ServerProcess]:
    """A service that asks for keys; it needs no models."""
    with server_process(tmp_path / "data", ready=False, pose_weights="nowhere.onnx", auth="required") as running:
        yield running


def test_nobody_sees_the_page_without_a_key(locked: ServerProcess, browser: Browser) -> None:
    first = (locked.data_dir / FIRST_KEY).read_text().strip()
    assert re.fullmatch(r"dfl_\w{12}_[\w-]{43}", first)
    assert locked.client.get("/dashboard/").status_code == 401
    context = browser.new_context(viewport=PHONE)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"http://127.0.0.1:{locked.port}/dashboard/incidents")
    expect(page).to_have_url(re.compile("/login"))
    results = Axe().run(page)
    assert [found["id"] for found in results.response["violations"] if found["impact"] in ("serious", "critical")] == []
    page.get_by_label("Access key").fill("dfl_wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("this key is unknown, expired or revoked")
    page.get_by_label("Access key").fill(first)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(re.compile("/dashboard/incidents$"))
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    # What the server tells a page comes over a WebSocket, which the session opens as well.
    page.goto(f"http://127.0.0.1:{locked.port}/dashboard/")
    expect(page.get_by_text("No camera yet")).to_be_visible()
    page.get_by_role("link", name="Access key", exact=True).click()
    expect(page.get_by_text("Logged in with the key first start")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Access key")).to_be_visible()
    page.goto(f"http://127.0.0.1:{locked.port}/dashboard/")
    expect(page).to_have_url(re.compile("/login"))
    context.close()


AFTER_LOGIN = (
    ("/dashboard/incidents", "/dashboard/incidents"),
    ("/dashboard/cameras/gate?tab=calibration#zones", "/dashboard/cameras/gate?tab=calibration#zones"),
    ("/docs", "/docs"),
    ("/dashboard/x/../clips", "/dashboard/clips"),
    ("//other.example/dashboard/", None),
    ("/\t/other.example/dashboard/", None),
    ("/\n/other.example/dashboard/", None),
    ("/\r/other.example/dashboard/", None),
    ("\t//other.example/dashboard/", None),
    ("\x01//other.example/dashboard/", None),
    ("/\\other.example/dashboard/", None),
    ("\\\\other.example/dashboard/", None),
    ("/\t\\other.example/dashboard/", None),
    ("/dashboard/..//other.example/dashboard/", None),
    ("/dashboard/%2e%2e//other.example/dashboard/", None),
    ("/.//other.example/dashboard/", None),
    ("http://other.example/dashboard/", None),
    ("http:other.example/dashboard/", None),
    ("https://127.0.0.1/dashboard/", None),
    ("ftp://other.example/dashboard/", None),
    ("javascript:location.assign('http://other.example/')//dashboard/", None),
    ("java\tscript:location.assign('http://other.example/')//dashboard/", None),
    ("data:text/html,/dashboard/", None),
    ("http://", None),
    ("/v1/cameras", None),
    ("/dashboards", None),
)
"""Addresses that a link to the login may name, and where they lead; None leads to the start page."""


@pytest.mark.slow
def test_a_login_leads_to_a_page_of_this_service_only(serve: Serve, browser: Browser) -> None:
    live = serve(auth=Auth.REQUIRED)
    key = live.runtime.keys.create("wall", Scope.READ).text
    own, elsewhere = f"http://127.0.0.1:{live.port}", []

    def answer(route: Route) -> None:
        if not route.request.url.startswith(f"{own}/"):
            elsewhere.append(route.request.url)
        if route.request.url.startswith((f"{own}/login", f"{own}/v1/session")):
            route.continue_()
        else:
            route.fulfill(content_type="text/html", body="<h1>Arrived</h1>")

    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.route("**/*", answer)
        for wanted, reached in AFTER_LOGIN:
            context.clear_cookies()
            page.goto(f"{own}/login?{urlencode({'next': wanted})}")
            page.get_by_label("Access key").fill(key)
            page.get_by_role("button", name="Log in").click()
            expect(page.get_by_role("heading", name="Arrived")).to_be_visible()
            assert (wanted, page.url) == (wanted, own + (reached or "/"))
    assert elsewhere == []
