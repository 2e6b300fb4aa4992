"""Several people work on one queue of incidents: real browsers, the real service, a key for each of them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from service.cli.keys import FIRST_KEY
from service.incidents.store import IncidentStore
from service.storage.database import Database
from tests.doubles.live_records import at, incident_info, over
from tests.doubles.servers import PATIENCE_S, ServerProcess, server_process

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1440, "height": 900}
NIGHT = 70
"""Incidents of a night: more than the list shows at once."""

pytestmark = pytest.mark.timeout(300)


def named(number: int) -> str:
    return f"{number:032x}"


@dataclass
class Shift:
    """A service that requires keys, with a night of incidents, and who is on shift."""

    server: ServerProcess
    browser: Browser
    keys: dict[str, str]
    contexts: list[BrowserContext] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def sit_down(self, name: str, path: str = "/incidents", **options: Any) -> Page:
        """Somebody logs in and opens a page."""
        context = self.browser.new_context(reduced_motion="reduce", **({"viewport": DESKTOP} | options))
        self.contexts.append(context)
        login = context.request.post(
            f"{self.base}/v1/session", data={"key": self.keys[name]}, headers={"origin": self.base}
        )
        assert login.status == 200
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE_S)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.troubles.append(message.text))
        page.goto(f"{self.base}/dashboard{path}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        # The keys work once the page is connected.
        expect(page.locator("[data-incident]").first).to_be_visible()
        expect(page.get_by_role("group", name="Verdict")).to_be_visible()
        return page

    def ask(self, method: str, path: str, name: str = "Anna", **options: Any) -> Any:
        headers = {"authorization": f"Bearer {self.keys[name]}"}
        answer = httpx.request(method, f"{self.base}/v1/incidents{path}", headers=headers, **options)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def review(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"/{named(number)}")["review"]
        return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def shift(browser: Browser, tmp_path: Path) -> Iterator[Shift]:
    with server_process(tmp_path / "data", ready=False, pose_weights="nowhere.onnx", auth="required") as server:
        admin = {"authorization": f"Bearer {(server.data_dir / FIRST_KEY).read_text().strip()}"}
        keys = {}
        for name in ("Anna", "Ben"):
            made = server.client.post("/v1/keys", json={"name": name, "scope": "operate"}, headers=admin)
            keys[name] = made.json()["key"]
        database = Database.open(f"sqlite:///{server.data_dir / 'daflow.db'}")
        store = IncidentStore(database)
        for number in range(NIGHT):
            # Later than the keys, so that they are news.
            start = time.time() - at(0).timestamp() + 60 * (number + 1)
            info = incident_info(named(number), start=start, snapshot="missing", clip="missing")
            info = info.model_copy(
                update={
                    "updated_at": at(start + 1),
                    "peak_at": at(start),
                    "kinds": [
                        seen.model_copy(update={"first_at": at(start), "last_at": at(start + 1)}) for seen in info.kinds
                    ],
                }
            )
            store.started(info)
            store.ended(over(info))
        database.close()
        on_shift = Shift(server, browser, keys)
        yield on_shift
        for context in on_shift.contexts:
            context.close()
        assert on_shift.troubles == []
        faults = [line for line in server.log.read_text().splitlines() if "[error" in line and "[nicegui]" in line]
        assert faults == [], "the page failed on the server, see its log"


def entry(page: Page, number: int) -> Locator:
    return page.locator(f"[data-incident='{named(number)}']")


def pressed(page: Page, name: str) -> Locator:
    verdicts = page.get_by_role("group", name="Verdict")
    return verdicts.get_by_role("button", name=name, exact=True, pressed=True)


def test_two_people_see_each_other_work_and_overwrite_nothing(shift: Shift) -> None:
    newest = NIGHT - 1
    anna = shift.sit_down("Anna", f"/incidents/{named(newest)}")
    ben = shift.sit_down("Ben", f"/incidents/{named(newest)}")
    anna.keyboard.press("m")
    expect(entry(ben, newest)).to_contain_text("assigned to Anna")
    expect(entry(anna, newest)).to_contain_text("assigned to me")
    expect(ben.get_by_label("Assigned to")).to_have_value("Anna")
    # Both write a note. Ben is faster.
    anna.keyboard.press("n")
    note = anna.get_by_role("textbox", name="Note")
    expect(note).to_be_focused()
    anna.keyboard.type("The cleaner")
    ben.get_by_role("textbox", name="Note").fill("A <b>guest</b>")
    ben.get_by_role("button", name="Write note").click()
    warning = anna.get_by_text("Your text is still in the field")
    expect(warning).to_contain_text("Ben wrote: A <b>guest</b>")
    expect(note).to_have_value("The cleaner")
    anna.get_by_role("button", name="Write note").click()
    conflict = anna.get_by_role("status").get_by_text("Ben changed the note at")
    expect(conflict).to_contain_text("after what you saw")
    expect(note).to_have_value("The cleaner")
    assert shift.review(newest)["note"] == "A <b>guest</b>"
    note.fill("The cleaner, says Ben")
    anna.get_by_role("button", name="Write note").click()
    expect(ben.get_by_role("textbox", name="Note")).to_have_value("The cleaner, says Ben")
    # What Ben said before Anna wrote does not make her write twice.
    note.fill("The cleaner again")
    shift.ask("PATCH", f"/{named(newest)}", "Ben", json={"revision": 3, "verdict": "drill"})
    expect(pressed(anna, "Drill")).to_be_visible()
    anna.get_by_role("button", name="Write note").click()
    expect(anna.get_by_text("Note written.")).to_be_visible()
    review = shift.review(newest)
    assert (review["note"], review["verdict"], review["by"]) == ("The cleaner again", "drill", "Anna")
    expect(anna.locator(".past")).to_contain_text("Ben gave the verdict drill")


def test_a_night_is_worked_through_with_the_keyboard(shift: Shift) -> None:
    page = shift.sit_down("Anna")
    newest = NIGHT - 1
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile(f"/dashboard/incidents/{named(newest - 1)}$"))
    page.keyboard.press("f")
    expect(pressed(page, "False alarm")).to_be_visible()
    page.keyboard.press("r")
    expect(pressed(page, "Real")).to_be_visible()
    expect(pressed(page, "False alarm")).to_have_count(0)
    page.keyboard.press("a")
    expect(page.get_by_text("Acknowledged: Unusual movement")).to_be_visible()
    page.keyboard.press("u")
    expect(page.get_by_text("Taken back.")).to_be_visible()
    assert shift.ask("GET", f"/{named(newest - 1)}")["acknowledged_at"] is None
    page.keyboard.press("u")
    expect(page.get_by_text("nothing to take back")).to_be_visible()
    # Three are chosen, with Shift from the first to the last of them.
    page.keyboard.press("x")
    for step in (2, 3):
        page.keyboard.press("j")
        expect(page).to_have_url(re.compile(f"/dashboard/incidents/{named(newest - step)}$"))
    page.keyboard.press("Shift+X")
    chosen = page.get_by_role("group", name="Selected incidents")
    expect(chosen).to_contain_text("3 selected")
    page.keyboard.press("d")
    for number in range(newest - 3, newest):
        expect(entry(page, number)).to_contain_text("drill")
    page.get_by_role("button", name="Undo").click()
    expect(entry(page, newest - 1)).to_contain_text("real")
    expect(entry(page, newest - 2)).not_to_contain_text("drill")
    page.keyboard.press("Escape")
    expect(chosen).to_be_hidden()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard")
    expect(dialog).to_contain_text("undo the last change of this page")
    page.keyboard.press("f")
    dialog.get_by_role("button", name="Close").click()
    assert shift.review(newest - 3)["verdict"] is None


def test_a_conflict_within_a_selection_costs_only_itself(shift: Shift) -> None:
    page = shift.sit_down("Anna")
    page.get_by_label("Select all 50 shown").check()
    bulk = page.get_by_role("group", name="Selected incidents")
    expect(bulk).to_contain_text("50 selected")
    bulk.get_by_role("button", name="Drill").click()
    expect(page.get_by_text("Drill: 50 incidents.")).to_be_visible()
    assert len(shift.ask("GET", "?verdict=drill&limit=200")["incidents"]) == 50
    shift.ask("PATCH", f"/{named(NIGHT - 2)}", "Ben", json={"revision": 1, "verdict": "real"})
    page.keyboard.press("u")
    said = page.get_by_role("status").get_by_text("1 of 50 not changed")
    expect(said).to_contain_text("Ben gave the verdict real at")
    expect(entry(page, NIGHT - 2)).to_contain_text("real")
    assert shift.ask("GET", "?verdict=drill&limit=200")["incidents"] == []
    assert shift.review(NIGHT - 2)["verdict"] == "real"
    bulk.get_by_role("button", name="Assign to me").click()
    expect(page.get_by_text("Assigned to me: 50 incidents.")).to_be_visible()
    assert len(shift.ask("GET", "?assigned_to=Anna&limit=200")["incidents"]) == 50
    bulk.get_by_role("button", name="Clear selection").click()
    expect(bulk).to_be_hidden()


def test_everybody_has_their_own_unread_incidents(shift: Shift) -> None:
    anna, ben = shift.sit_down("Anna"), shift.sit_down("Ben")
    menus = [page.get_by_role("link", name="Incidents").first for page in (anna, ben)]
    for menu in menus:
        expect(menu).to_contain_text(f"{NIGHT} unread")
    unread = entry(anna, NIGHT - 3).get_by_text("Unread")
    expect(unread).to_be_visible()
    entry(anna, NIGHT - 3).click()
    expect(unread).to_have_count(0)
    expect(menus[0]).to_contain_text(f"{NIGHT - 1} unread")
    expect(menus[1]).to_contain_text(f"{NIGHT} unread")
    expect(entry(ben, NIGHT - 3)).to_contain_text("Unread")
    # Who changes one has read it, others have not.
    shift.ask("POST", f"/{named(NIGHT - 4)}/acknowledge", "Ben")
    expect(entry(ben, NIGHT - 4)).not_to_contain_text("Unread")
    expect(entry(anna, NIGHT - 4)).to_contain_text("Unread")
    anna.get_by_role("button", name="Mark all as read").click()
    expect(menus[0]).not_to_contain_text("unread")
    expect(menus[1]).to_contain_text(f"{NIGHT - 1} unread")
    anna.get_by_role("combobox", name="State").click()
    anna.get_by_role("option", name="Unread").click()
    expect(anna.get_by_text("No matching incidents")).to_be_visible()
    # What comes into the list since somebody else judged it is no news to who has read it.
    anna.get_by_role("combobox", name="State").click()
    anna.get_by_role("option", name="Drills").click()
    expect(anna.get_by_text("No matching incidents")).to_be_visible()
    shift.ask("PATCH", f"/{named(NIGHT - 5)}", "Ben", json={"revision": 0, "verdict": "drill"})
    expect(entry(anna, NIGHT - 5)).to_be_visible()
    expect(entry(anna, NIGHT - 5)).not_to_contain_text("Unread")


def test_a_link_opens_exactly_its_incident_though_the_list_does_not_reach_it(shift: Shift) -> None:
    shift.ask("PATCH", f"/{named(0)}", json={"revision": 0, "note": "the very first"})
    page = shift.sit_down("Ben", f"/incidents/{named(0)}")
    expect(entry(page, 0)).to_have_count(0)
    expect(page.get_by_role("textbox", name="Note")).to_have_value("the very first")
    page.keyboard.press("r")
    expect(pressed(page, "Real")).to_be_visible()
    assert shift.review(0)["verdict"] == "real"
    expect(entry(page, 0)).to_have_count(0)
    page.get_by_role("button", name="Show more").click()
    expect(entry(page, 0)).to_contain_text("real")
    expect(entry(page, 0)).to_have_attribute("aria-current", "true")
    page.get_by_role("combobox", name="State").click()
    page.get_by_role("option", name="Real").click()
    expect(page.locator("[data-incident]")).to_have_count(1)


def test_a_kind_is_corrected_and_somebody_is_named(shift: Shift) -> None:
    page = shift.sit_down("Anna", f"/incidents/{named(5)}")
    page.get_by_role("combobox", name="What it really was").click()
    page.get_by_role("option", name="Fight", exact=True).click()
    expect(page.get_by_text("Kind corrected to fight.")).to_be_visible()
    page.get_by_label("Assigned to").fill("Cleo")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Assigned to Cleo.")).to_be_visible()
    review = shift.review(5)
    assert (review["kind"], review["assigned_to"]) == ("fight", "Cleo")


@pytest.mark.parametrize(
    ("scheme", "viewport"), [("light", DESKTOP), ("dark", PHONE), ("light", PHONE)], ids=["desktop", "phone", "bright"]
)
def test_the_queue_has_no_serious_fault_for_people_with_impairments(
    shift: Shift, scheme: str, viewport: dict[str, int]
) -> None:
    page = shift.sit_down("Anna", color_scheme=scheme, viewport=viewport)

    def check(what: str) -> None:
        found = Axe().run(page).response["violations"]
        grave = [one for one in found if one["impact"] in ("serious", "critical")]
        assert not grave, (what, [(one["id"], [node["html"][:160] for node in one["nodes"][:3]]) for one in grave])
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{what} is wider than the screen"

    check("the list")
    page.get_by_label(re.compile("^Select Unusual")).nth(1).check()
    check("a selection")
    page.get_by_role("group", name="Selected incidents").get_by_role("button", name="Real").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    check("the offer to take it back")
    page.get_by_role("button", name="Clear selection").click()
    entry(page, NIGHT - 2).click()
    expect(pressed(page, "Real")).to_be_visible()
    if viewport == PHONE:
        expect(entry(page, NIGHT - 2)).to_be_hidden()
    check("an incident")
    page.get_by_role("group", name="Verdict").get_by_role("button", name="Drill").click()
    expect(pressed(page, "Drill")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    check("the keys")
