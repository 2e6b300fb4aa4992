"""One camera: its picture, its level, its people, its settings and its calibration."""

from __future__ import annotations

import math
from typing import Any, Final

from fastapi import FastAPI
from nicegui import ui
from nicegui.element import Element
from starlette.requests import Request

from service.cameras.config import LONGEST_RETENTION_HOURS
from service.dashboard.charts import Trend
from service.dashboard.frame import (
    Facts,
    Moment,
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
from service.dashboard.visitor import Refused, Visitor
from service.dashboard.wall import GROUNDS, choice
from service.dashboard.watch import STEP_S, Point, Trace, Watch
from service.dashboard.words import (
    DROPS,
    PARTS,
    RARITY_NOTE,
    STATES,
    TONES,
    camera_name,
    cover,
    duration,
    no_people,
    number,
    rarity,
    rate,
)
from service.documents.kinds import rarity_words
from service.runtime import Runtime

_TREND_S: Final = 300.0
_ASK_EVERY: Final = 4
"""Steps between two requests for the state of the camera."""
_TAKEN_S: Final = 10.0
"""Seconds in which a browser must acknowledge an update."""
_RUNNING: Final = {"gathering": "Gathering calibration footage", "fitting": "Fitting the calibration"}
"""States of a calibration that is not finished."""


class Screen(Element, component="components/screen.js"):
    """The live picture.

    Args:
        camera: Id of the camera.
        alt: Description for screen readers.
    """

    def __init__(self, camera: str, alt: str) -> None:
        super().__init__()
        self._props.update({"camera": camera, "alt": alt, "ground": "picture", "cover": ""})

    def show(self, ground: str) -> None:
        """Choose what the picture shows, one of `GROUNDS`."""
        self._props["ground"] = ground

    def cover(self, words: str) -> None:
        """Cover the picture with a text; an empty text removes the cover."""
        self._props["cover"] = words


class Zones(Element, component="components/zones.js"):
    """Zones drawn on the picture.

    Args:
        camera: Id of the camera.
        zones: The zones to begin with, as corners in shares of width and height.
        seen: Whether the camera has a picture yet.
    """

    def __init__(self, camera: str, zones: list[Any], *, seen: bool) -> None:
        super().__init__()
        self.zones = zones
        self._props.update(
            {
                "picture": f"/v1/cameras/{camera}/snapshot.jpg" if seen else "",
                "alt": "Current picture of the camera",
                "value": zones,
            }
        )
        self.on("zones", lambda event: setattr(self, "zones", event.args))


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
            self._incident = ui.element("a").classes("act danger")
            with self._incident:
                text("View the open incident", "span")
            ui.element("span").classes("grow")
            choice(GROUNDS, "Display", screen.show)
        with ui.element("div").classes("columns"):
            with ui.element("div").classes("stack"):
                with card(classes="live") as shown:
                    screen.move(shown)
                with card("Level, last 5 minutes"):
                    self._trend = Trend(self._points(), self._limit(), f"Level of {name} in the last 5 minutes")
                    text(
                        "Level of the most unusual person. At 0.99, one in a hundred normal movements (half a second "
                        "of one person) is as unusual or more. An incident opens when the level stays at the threshold "
                        "or above.",
                        "p",
                        "soft small",
                    )
                with card("Settings"):
                    self._settings_form(status["config"])
            with ui.element("div").classes("stack"):
                with card("People"):
                    self._people = ui.html("", sanitize=False, tag="ul").classes("bars")
                    text(RARITY_NOTE, "p", "soft small").style("margin-top: .6rem")
                with card("Status"):
                    self._figures = Facts()
                    self._drops = text("", "p", "soft small")
                self._calibration = _Calibration(self._visitor, self._camera)
                await self._calibration.open()
        self._show()
        self._watch.camera.subscribe(self._changed)
        ui.timer(STEP_S, self._step)

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
        self._state.set_content(STATES[state])
        self._state.classes(replace=f"pill {TONES.get(state, 'bad')}")
        incident = self._watch.open_at(self._camera)
        self._incident.set_visibility(incident is not None)
        if incident is not None:
            self._incident.props(f'href="{path(f"/incidents/{incident.id}")}"')
        self._screen.cover(cover(status, seen=trace.latest is not None))
        self._figures.show(_figures(status))
        drops = [f"{count:,} ({DROPS.get(why, why)})" for why, count in status["dropped"].items() if count]
        self._drops.set_content(f"Dropped frames: {', '.join(drops)}." if drops else "")
        self._people.set_content(_people(state, trace))

    def _points(self) -> list[list[float | None]]:
        trace = self._watch.trace(self._camera)
        points = trace.since(max(self._sent, trace.count - round(_TREND_S / STEP_S)))
        self._sent = max(trace.count - 1, 0)
        return [_place(point) for point in points]

    def _limit(self) -> float | None:
        thresholds = self._status["thresholds"]
        return rarity(thresholds["open"]) if thresholds else None

    def _settings_form(self, config: dict[str, Any]) -> None:
        heading("Ignored zones", 3)
        text("People whose feet are in a zone are not scored. Draw a zone with the pointer.", "p", "soft small")
        zones = Zones(self._camera, config["ignore"], seen=self._watch.trace(self._camera).latest is not None)
        heading("Source", 3)
        with ui.element("div").classes("form"):
            name = ui.input("Name", value=config["name"] or "").props("outlined maxlength=100")
            url = ui.input("Address", value=str(config["url"])).props("outlined spellcheck=false")
            fps = ui.number("Maximum frame rate, fps", value=config["max_fps"], min=0.1, max=60).props(
                f'outlined hint="empty: {self._settings.camera_fps:g}"'
            )
        with ui.element("div").classes("row"):
            enabled = ui.switch("Enabled", value=config["enabled"])
            picture = ui.switch("Show and keep pictures", value=config["picture"])
            tls = ui.switch("Verify TLS certificates", value=config["verify_tls"])
        heading("Incidents", 3)
        with ui.element("div").classes("form"):
            opens = ui.number("False-alarm budget, per hour", value=config["false_alarms_per_hour"], min=0.001).props(
                f'outlined hint="sets the threshold; empty: {self._settings.false_alarms_per_hour:g}"'
            )
            alert = ui.number("Alert budget, per hour", value=config["alert_false_alarms_per_hour"], min=0.0001).props(
                'outlined hint="false alarms rated as alerts; empty: a tenth of the false-alarm budget"'
            )
            held = ui.number("Minimum duration, seconds", value=config["min_duration_s"], min=0, max=60).props(
                'outlined hint="at or above the threshold, before an incident opens"'
            )
            quiet = ui.number("Quiet period, seconds", value=config["quiet_s"], min=0.1).props(
                'outlined hint="below the closing level, before an incident ends"'
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
                "false_alarms_per_hour": opens.value,
                "alert_false_alarms_per_hour": alert.value,
                "min_duration_s": held.value,
                "quiet_s": quiet.value,
                "cooldown_s": cooldown.value,
                "retention_hours": kept.value,
                "ignore": zones.zones,
            }
            await attempt(self._visitor.patch(f"/v1/cameras/{self._camera}", patch), "Saved.")
            self._stale = 0

        with ui.element("div").classes("row").style("margin-top: 1rem"):
            button("Save", save, kind="primary")
            button("Remove the camera…", self._remove, kind="danger")

    def _remove(self) -> None:
        with ui.dialog(value=True) as dialog, ui.card().props('role="dialog" aria-label="Remove the camera"'):
            heading(f"Remove {camera_name(self._status)}?")
            text("The camera and its calibrations are deleted. Its incidents are kept.")

            async def remove() -> None:
                if await attempt(self._visitor.delete(f"/v1/cameras/{self._camera}")) is not None:
                    ui.navigate.to("/")

            with ui.element("div").classes("row"):
                button("Remove", remove, kind="danger")
                button("Cancel", dialog.close)


class _Calibration:
    """The card with the calibration of a camera: the report, a calibration that runs, and the form to start one."""

    def __init__(self, visitor: Visitor, camera: str) -> None:
        self._visitor = visitor
        self._address = f"/v1/cameras/{camera}/calibration"
        self._status: dict[str, Any] = {}

    async def open(self) -> None:
        self._status = await self._visitor.get(self._address)
        with card("Calibration"):
            self._body()

    async def step(self) -> None:
        before = self._status
        self._status = await self._visitor.get(self._address)
        if self._status != before:
            self._body.refresh()

    @ui.refreshable_method
    def _body(self) -> None:
        status = self._status
        state = status["state"]
        if state in _RUNNING:
            self._running()
            return
        active = next((one for one in status["versions"] if one["active"]), None)
        if active is None:
            text(
                "This camera uses the calibration that ships with the checkpoint. Calibrate it on its own footage, "
                "at a time when nothing unusual happens.",
                "p",
                "soft",
            )
        else:
            self._report(active)
        if state == "refused" and status["refusal"]:
            refusal = status["refusal"]
            more = f" About {duration(refusal['needed_s'])} more footage is needed." if refusal["needed_s"] else ""
            text(f"{refusal['detail'][:1].upper()}{refusal['detail'][1:]}.{more}", "p", "trouble")
        if state == "failed":
            text(f"Calibration failed: {status['problem']}.", "p", "trouble")
        with ui.element("div").classes("form").style("margin-top: .8rem"):
            minutes = ui.number("Calibration footage, minutes", value=60, min=0.2, max=10_080).props("outlined")
            wanted = ui.number("False-alarm budget, per hour", min=0.001).props(
                'outlined hint="empty: as in the settings"'
            )
        adapt = ui.checkbox("Also fine-tune the model on this camera (used only if it fits normal footage better)")

        async def start() -> None:
            request = {
                "seconds": 60 * (minutes.value or 0),
                "false_alarms_per_hour": wanted.value,
                "adapt": adapt.value,
            }
            await attempt(self._visitor.post(self._address, request), "Calibration started.")
            await self.step()

        async def roll_back() -> None:
            await attempt(self._visitor.post(f"{self._address}/rollback"), "Rolled back to the previous calibration.")
            await self.step()

        with ui.element("div").classes("row"):
            button("Calibrate", start, kind="primary")
            if active is not None:
                button("Roll back", roll_back)

    def _running(self) -> None:
        status = self._status
        gathering = status["state"] == "gathering"
        asked = (status["request"] or {}).get("seconds")
        share = min(status["gathered_s"] / asked, 1.0) if gathering and asked else status["progress"]
        words = _RUNNING[status["state"]]
        if gathering and asked:
            words += f": {duration(status['gathered_s'])} of {duration(asked)}, {status['gathered_poses']:,} poses"
        text(f"{words}…").props('role="status"')
        value = "" if share is None else f' value="{share:.3f}"'
        ui.element("progress").props(f'max="1" aria-label="{words}"{value}')

        async def cancel() -> None:
            await attempt(self._visitor.delete(self._address), "Cancelled.")
            await self.step()

        with ui.element("div").classes("row").style("margin-top: .8rem"):
            button("Cancel", cancel)

    def _report(self, version: dict[str, Any]) -> None:
        report = version["report"]
        low, high = report["interval"]
        Facts(
            [
                ("False-alarm budget", rate(report["false_alarms_per_hour"])),
                ("Expected false alarms (90 % interval)", f"{low:.2g} to {high:.2g} per hour"),
                ("Calibration footage", duration(report["footage_s"])),
                ("False alarms used", f"{report['false_alarms_used']} of {report['false_alarms_marked']} marked"),
                ("Version", str(version["version"])),
            ]
        )
        with ui.element("p").classes("soft small"):
            text("Calibrated ", "span")
            Moment(version["created_at"])
        adaptation = report["adaptation"]
        if adaptation is None:
            return
        heading("Adaptation", 3)
        outcome = "in use" if adaptation["accepted"] else "rejected"
        text(
            f"Adapted weights {outcome}: {adaptation['reason']}.",
            "p",
            "small",
        )
        before, after = adaptation["before"], adaptation["after"]
        if before is not None and after is not None:
            low, span = min(before, after, 0), max(abs(before), abs(after), 1e-9) - min(before, after, 0)
            rows = bar("before", (before - low) / span, f"{before:.3f} bits") + bar(
                "after", (after - low) / span, f"{after:.3f} bits"
            )
            ui.html(rows, sanitize=False, tag="ul").classes("bars")
            text("Mean score of footage that was not used to adapt the weights; lower is better.", "p", "soft small")


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
        ("False-alarm budget", rate(thresholds["false_alarms_per_hour"]) if thresholds else "-"),
        ("Calibrated on", "-" if not thresholds else _origin(thresholds)),
    ]


def _origin(thresholds: dict[str, Any]) -> str:
    if thresholds["calibration"] == "shipped":
        return "other cameras"
    return "this camera, weights adapted" if thresholds["adapted"] else "this camera"


def _people(state: str, trace: Trace) -> str:
    """The rows of the list of people, as HTML."""
    latest = trace.latest
    nobody = no_people(state, trace.age_s, 0 if latest is None else len(latest.people))
    if latest is None or nobody:
        return f'<li class="soft">{nobody}</li>'
    rows = []
    for person in sorted(latest.people, key=lambda one: -1.0 if one.level is None else one.level, reverse=True)[:12]:
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
