"""One camera: its picture, its level, its people, its settings and its calibration."""

from __future__ import annotations

import math
from html import escape
from typing import Any, Final

from fastapi import FastAPI
from nicegui import ui
from nicegui.element import Element
from starlette.requests import Request

from service.addresses.urls import parse
from service.cameras.config import LONGEST_RETENTION_HOURS, USUAL_MODES
from service.dashboard.calibration import CalibrationCard
from service.dashboard.charts import Trend
from service.dashboard.frame import (
    Facts,
    ask,
    attempt,
    bar,
    button,
    card,
    empty,
    frame,
    heading,
    path,
    text,
)
from service.dashboard.rules import RulesCard
from service.dashboard.visitor import Refused, Visitor
from service.dashboard.wall import GROUNDS, choice
from service.dashboard.watch import STEP_S, Point, Trace, Watch
from service.dashboard.words import (
    DROPS,
    MODES,
    PARTS,
    RARITY_NOTE,
    SIGHTS,
    camera_name,
    cover,
    duration,
    happening,
    is_current,
    no_people,
    number,
    pictures_removed,
    rarity,
    rate,
    sentence,
    state_of,
    tone,
)
from service.dashboard.zones import Zones
from service.documents.kinds import TITLES, most_severe, rarity_words
from service.runtime import Runtime
from simulation.scene import story

_TREND_S: Final = 300.0
_ASK_EVERY: Final = 4
"""Steps between two requests for the state of the camera."""
_TAKEN_S: Final = 10.0
"""Seconds in which a browser must acknowledge an update."""
_ZONES: Final = {"ignore": "Ignore: nobody is scored", "rest": "Rest: lying is normal"}
"""Kinds of zones, by the fields of `CameraConfig`."""


class Screen(Element, component="components/screen.js"):
    """The live picture.

    Args:
        camera: Id of the camera.
        alt: Description for screen readers.
    """

    def __init__(self, camera: str, alt: str) -> None:
        super().__init__()
        self._props.update({"camera": camera, "alt": alt, "ground": "picture", "cover": "", "seen": False})

    def show(self, ground: str) -> None:
        """Choose what the picture shows, one of `GROUNDS`."""
        self._props["ground"] = ground

    def cover(self, words: str) -> None:
        """Cover the picture with a text; an empty text removes the cover."""
        self._props["cover"] = words

    def begin(self) -> None:
        """Ask for the pictures, now that there is one.

        A browser that asks before waits for the first picture, and the page counts as loading until then.
        """
        self._props["seen"] = True


class _View:
    """One open page of a camera."""

    def __init__(self, visitor: Visitor, watch: Watch, camera: str, settings: Any) -> None:
        self._visitor = visitor
        self._watch = watch
        self._camera = camera
        self._settings = settings
        self._status: dict[str, Any] = {}
        self._sent = 0
        self._stale = 0

    async def open(self) -> None:
        status = self._status = await self._visitor.get(f"/v1/cameras/{self._camera}")
        name = camera_name(status)
        screen = self._screen = Screen(self._camera, f"{name}, live, with skeletons")
        with ui.element("div").classes("head"):
            heading(name, 1)
            self._state = text("", "span", "pill")
            self._now = ui.html("", sanitize=False, tag="span").classes("row").props('role="status"')
            self._incident = ui.element("a").classes("act danger")
            with self._incident:
                self._incident_words = text("", "span")
            ui.element("span").classes("grow")
            choice(GROUNDS, "Display", screen.show)
        with ui.element("div").classes("columns"):
            with ui.element("div").classes("stack"):
                with card(classes="live") as shown:
                    screen.move(shown)
                    if told := _story(status["config"]["url"]):
                        text(told, "p", "soft small").style("margin-top: .6rem")
                with card("Level, last 5 minutes"):
                    self._trend = Trend(self._points(), self._limit(), f"Level of {name} in the last 5 minutes")
                    text(
                        "Level of the most unusual person. At 0.99, one in a hundred normal movements (half a second "
                        "of one person) is as unusual or more. An incident opens when the level stays at the threshold "
                        "or above, or at once when a named behaviour is seen.",
                        "p",
                        "soft small",
                    )
                RulesCard(self._visitor, self._camera, self._settings.timezone, self._seen).open(status["config"])
                with card("Settings"):
                    self._settings_form(status["config"])
            with ui.element("div").classes("stack"):
                with card("People"):
                    self._people = ui.html("", sanitize=False, tag="ul").classes("bars")
                    text(RARITY_NOTE, "p", "soft small").style("margin-top: .6rem")
                with card("Status"):
                    self._figures = Facts()
                    self._drops = text("", "p", "soft small")
                self._calibration = CalibrationCard(self._visitor, self._camera)
                await self._calibration.open()
        self._show()
        self._watch.camera.subscribe(self._changed)
        ui.timer(STEP_S, self._step)

    def _seen(self) -> bool:
        """Whether the camera has a picture yet."""
        return self._watch.trace(self._camera).latest is not None

    def _changed(self, camera: str) -> None:
        if camera == self._camera:
            self._stale = 0

    async def _step(self) -> None:
        self._stale -= 1
        if self._stale <= 0:
            self._stale = _ASK_EVERY
            try:
                self._status = await self._visitor.get(f"/v1/cameras/{self._camera}")
            except Refused:
                self._screen.cover("The camera was removed.")
                return
            await self._calibration.step()
        self._show()
        sent = self._sent
        try:
            await self._trend.run_method("update", self._points(), self._limit(), timeout=_TAKEN_S)
        except TimeoutError:
            self._sent = sent

    def _show(self) -> None:
        status, trace = self._status, self._watch.trace(self._camera)
        state = status["state"]
        words, colour = state_of(status)
        self._state.set_content(words)
        self._state.classes(replace=f"pill {colour}")
        incident = self._watch.open_at(self._camera)
        self._incident.set_visibility(incident is not None)
        if incident is not None:
            self._incident.props(f'href="{path(f"/incidents/{incident.id}")}"')
            self._incident_words.set_content(escape(f"View the open incident: {incident.title}"))
        self._now.set_content(_now(state, trace, status["config"]["behaviours"]))
        seen = trace.latest is not None
        self._screen.cover(cover(status, seen=seen))
        if seen:
            self._screen.begin()
        self._figures.show(_figures(status))
        drops = [f"{count:,} ({DROPS.get(why, why)})" for why, count in status["dropped"].items() if count]
        self._drops.set_content(f"Dropped frames: {', '.join(drops)}." if drops else "")
        self._people.set_content(_people(status, trace))

    def _points(self) -> list[list[float | None]]:
        trace = self._watch.trace(self._camera)
        points = trace.since(max(self._sent, trace.count - round(_TREND_S / STEP_S)))
        self._sent = max(trace.count - 1, 0)
        return [_place(point) for point in points]

    def _limit(self) -> float | None:
        thresholds = self._status["thresholds"]
        return rarity(thresholds["open"]) if thresholds else None

    def _settings_form(self, config: dict[str, Any]) -> None:
        heading("Zones", 3)
        text(
            "Draw a zone with the pointer, then choose its kind. People whose feet are in a zone to ignore are not "
            "scored. In a rest zone, such as a bed, lying is normal: no fall is reported there, and nobody who lies or "
            "crawls.",
            "p",
            "soft small",
        )
        zones = Zones(self._camera, config, _ZONES, seen=self._seen())
        heading("Source", 3)
        with ui.element("div").classes("form"):
            name = ui.input("Name", value=config["name"] or "").props("outlined maxlength=100")
            url = ui.input("Address", value=str(config["url"])).props("outlined spellcheck=false")
            fps = ui.number("Maximum frame rate, fps", value=config["max_fps"], min=0.1, max=60).props(
                f'outlined hint="empty: {self._settings.camera_fps:g}"'
            )
        with ui.element("div").classes("row"):
            enabled = ui.switch("Enabled", value=config["enabled"])
            tls = ui.switch("Verify TLS certificates", value=config["verify_tls"])
            picture = ui.switch("Show and keep pictures", value=config["picture"])
            button("Remove stored pictures…", self._remove_pictures, kind="danger")
        checks = ui.select(
            SIGHTS, label="Say that the camera cannot see, if it is", value=config["sight_checks"], multiple=True
        ).props('outlined options-dense behavior=menu hint="empty: never"')
        heading("Named behaviours", 3)
        text(
            "How urgent each is on this camera. They need no calibration; calibration makes them stricter where normal "
            "life looks like them. Those that are usually off are ordinary in many places.",
            "p",
            "soft small",
        ).style("margin-bottom: .5rem")
        with ui.element("div").classes("form"):
            modes = {
                kind: ui.select(MODES, label=TITLES[kind], value=config["behaviours"].get(kind, usual)).props(
                    f'outlined options-dense behavior=menu hint="usually: {MODES[usual].lower()}"'
                )
                for kind, usual in USUAL_MODES.items()
            }
            direction = ui.number(
                "Direction of this place, degrees",
                value=(config["wrong_way"] or {}).get("direction_deg"),
                min=0,
                max=359,
            ).props('outlined hint="for the wrong way: 0 is to the right of the picture, 90 up"')
            loiters = ui.number(
                "Loitering after, seconds", value=config["loitering"]["seconds"], min=10, max=3600
            ).props('outlined hint="at one place"')
            crowd = ui.number("Gathering of, people", value=config["gathering"]["people"], min=2, max=64).props(
                'outlined hint="who stand together"'
            )
            gathers = ui.number(
                "Gathering after, seconds", value=config["gathering"]["seconds"], min=5, max=3600
            ).props('outlined hint="together"')
        heading("Incidents", 3)
        with ui.element("div").classes("form"):
            opens = ui.number("False-alarm budget, per day", value=config["false_alarms_per_day"], min=0.01).props(
                f'outlined hint="sets the thresholds; empty: {self._settings.false_alarms_per_day:g}"'
            )
            alert = ui.number("Alert budget, per day", value=config["alert_false_alarms_per_day"], min=0.001).props(
                'outlined hint="false alarms rated as alerts; empty: a tenth of the false-alarm budget"'
            )
            held = ui.number("Minimum duration, seconds", value=config["min_duration_s"], min=0, max=60).props(
                'outlined hint="at or above the threshold, before an incident opens"'
            )
            quiet = ui.number("Quiet period, seconds", value=config["quiet_s"], min=0.1).props(
                'outlined hint="with nothing named and below the closing level, before an incident ends"'
            )
            cooldown = ui.number("Cooldown, seconds", value=config["cooldown_s"], min=0).props(
                'outlined hint="after an incident; only a more severe one opens"'
            )
            kept = ui.number(
                "Keep incidents for, hours", value=config["retention_hours"], min=0.1, max=LONGEST_RETENTION_HOURS
            ).props(f'outlined hint="empty: {duration(3600 * self._settings.incident_retention_hours)}"')

        async def save() -> None:
            address = int(url.value) if url.value.isdecimal() else url.value.strip()
            patch = {
                "name": name.value or None,
                "url": address,
                "max_fps": fps.value,
                "enabled": enabled.value,
                "picture": picture.value,
                "verify_tls": tls.value,
                "sight_checks": checks.value,
                "false_alarms_per_day": opens.value,
                "alert_false_alarms_per_day": alert.value,
                "min_duration_s": held.value,
                "quiet_s": quiet.value,
                "cooldown_s": cooldown.value,
                "retention_hours": kept.value,
                "behaviours": {
                    kind: mode.value
                    for kind, mode in modes.items()
                    if kind in config["behaviours"] or mode.value != USUAL_MODES[kind]
                },
                "wrong_way": None
                if direction.value is None
                else {**(config["wrong_way"] or {}), "direction_deg": direction.value},
                "loitering": {**config["loitering"], "seconds": loiters.value},
                "gathering": {**config["gathering"], "people": crowd.value, "seconds": gathers.value},
                **zones.zones,
            }
            await attempt(self._visitor.patch(f"/v1/cameras/{self._camera}", patch), "Saved.")
            self._stale = 0

        with ui.element("div").classes("row").style("margin-top: 1rem"):
            button("Save", save, kind="primary")
            button("Remove the camera…", self._remove, kind="danger")

    def _remove_pictures(self) -> None:
        async def remove() -> None:
            done = await attempt(self._visitor.delete(f"/v1/cameras/{self._camera}/pictures"))
            if done is not None:
                dialog.close()
                ui.notify(pictures_removed(done), type="positive", position="top")

        words = [
            "Snapshots and clips of all its incidents until now will show only skeletons. The incidents are kept. "
            "This cannot be undone."
        ]
        if self._status["config"]["picture"]:
            words.append("New incidents are still kept with pictures, until “Show and keep pictures” is off and saved.")
        question = f"Remove the stored pictures of {camera_name(self._status)}?"
        dialog = ask("Remove stored pictures", question, words, "Remove pictures", remove)

    def _remove(self) -> None:
        async def remove() -> None:
            if await attempt(self._visitor.delete(f"/v1/cameras/{self._camera}")) is not None:
                ui.navigate.to("/")

        words = ["The camera and its calibrations are deleted. Its incidents are kept."]
        ask("Remove the camera", f"Remove {camera_name(self._status)}?", words, "Remove", remove)


def register(app: FastAPI, runtime: Runtime, watch: Watch) -> None:
    """Serve the view."""

    @ui.page("/cameras/{camera}")
    async def camera_page(request: Request, camera: str) -> None:
        with frame("Camera", watch):
            try:
                await _View(Visitor(app, request), watch, camera, runtime.settings).open()
            except Refused as error:
                with card(), empty("There is no such camera", str(error), "videocam_off"):
                    ui.link("Back to the cameras", path("/"))


def _place(point: Point) -> list[float | None]:
    return [math.floor(1000 * point.at), rarity(point.level)]


def _figures(status: dict[str, Any]) -> list[tuple[str, str]]:
    thresholds = status["thresholds"]
    size = f"{status['width']}x{status['height']}" if status["width"] else "-"
    age = status["last_score_age_s"]
    return [
        ("Input frame rate", number(status["fps_in"], " fps")),
        ("Processed frame rate", number(status["fps_processed"], " fps")),
        ("Score age", "-" if age is None else f"{1000 * age:.0f} ms"),
        ("Resolution", size),
        ("Reconnects", str(status["reconnects"])),
        ("Suppressed incidents", str(status["suppressed"])),
        ("False-alarm budget", rate(thresholds["false_alarms_per_day"]) if thresholds else "-"),
        ("Of these unusual movement", rate(thresholds["unusual_per_day"]) if thresholds else "-"),
        ("Calibrated on", "-" if not thresholds else _origin(thresholds)),
    ]


def _origin(thresholds: dict[str, Any]) -> str:
    if thresholds["calibration"] == "shipped":
        return "other cameras"
    return "this camera, weights adapted" if thresholds["adapted"] else "this camera"


def _story(url: str | int) -> str:
    """What happens at a simulated camera, as a sentence; empty for others and where nothing unusual happens."""
    try:
        source = parse(url)
    except ValueError:
        return ""
    if source.incident_every_s is None:
        return ""
    return sentence(f"simulated: {story(source.incident_every_s, source.events)}")


def _now(state: str, trace: Trace, modes: dict[str, str]) -> str:
    """The named behaviours that fire now, as HTML."""
    latest = trace.latest
    if latest is None or not is_current(state, trace.age_s):
        return ""
    named = happening(latest.people)
    return "".join(f'<span class="pill {tone(kind, modes)}">{words}</span>' for kind, words in named.items())


def _people(status: dict[str, Any], trace: Trace) -> str:
    """The rows of the list of people, as HTML."""
    latest = trace.latest
    people = 0 if latest is None else len(latest.people)
    nobody = no_people(status["state"], trace.age_s, people, status["cannot_see"])
    if latest is None or nobody:
        return f'<li class="soft">{nobody}</li>'
    rows = []
    order = sorted(latest.people, key=lambda one: (bool(one.firing), -1.0 if one.level is None else one.level))
    for person in order[:-13:-1]:
        if person.firing:
            share = (rarity(person.level) or 0.0) / 4
            rows.append(bar(f"Person {person.track}", share, TITLES[most_severe(person.firing)], "hot"))
            continue
        if person.level is None:
            rows.append(bar(f"Person {person.track}", 0.0, "not yet scored"))
            continue
        hot = person.level >= latest.threshold
        share = (rarity(person.level) or 0.0) / 4
        words = rarity_words(person.level)
        rows.append(bar(f"Person {person.track}", share, words, "hot" if hot else ""))
        if hot and person.parts:
            part = max(person.parts, key=lambda name: person.parts[name])
            name = PARTS.get(part, part)
            rows.append(f'<li class="soft small">Person {person.track}: most unusual in {name}</li>')
    return "".join(rows)
