"""The wall: every camera at once."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Final

from fastapi import FastAPI
from nicegui import ui
from nicegui.element import Element
from starlette.requests import Request

from service.dashboard.frame import attempt, button, empty, frame, heading, path, text
from service.dashboard.visitor import Refused, Visitor
from service.dashboard.watch import STEP_S, Watch
from service.dashboard.words import STATES, TONES, camera_name, cover, number, rarity, rarity_words
from service.runtime import Runtime

GROUNDS: Final = {"picture": "Picture", "blurred": "Blurred people", "none": "Skeletons only"}

_SPARK: Final = 120
_ASK_EVERY: Final = 4
"""Steps after which states are asked for, unless one is known to have changed."""
_TAKEN_S: Final = 10.0


class Tiles(Element, component="components/wall.js"):
    """The tiles."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        super().__init__()
        self._props["initial"] = rows
        self.show("picture")

    def show(self, ground: str) -> None:
        """Show pictures, blurred people, or skeletons only."""
        self._props["ground"] = ground


class _Wall:
    """One open wall."""

    def __init__(self, visitor: Visitor, watch: Watch) -> None:
        self._visitor = visitor
        self._watch = watch
        self._told: dict[str, int] = {}
        self._statuses: list[dict[str, Any]] = []
        self._stale = 0
        self._tiles: Tiles | None = None
        watch.camera.subscribe(self._changed)

    async def open(self) -> None:
        self._statuses = (await self._visitor.get("/v1/cameras"))["cameras"]
        with ui.element("div").classes("head"):
            heading("Cameras", 1)
            ui.element("span").classes("grow")
            choice(GROUNDS, "What the wall shows", self._show)
            button("Add a camera", lambda: add_camera(self._visitor), icon="add", kind="primary")
        if not self._statuses:
            with (
                ui.element("section").classes("card"),
                empty(
                    "No camera yet",
                    "Add the address of a camera to watch it. Its picture, its people and how usually they move "
                    "appear here; incidents appear by themselves.",
                    "videocam",
                ),
            ):
                button("Add a camera", lambda: add_camera(self._visitor), icon="add", kind="primary")
        self._tiles = Tiles(self._rows())
        ui.timer(STEP_S, self._step)

    async def _step(self) -> None:
        self._stale -= 1
        if self._stale <= 0:
            self._stale = _ASK_EVERY
            try:
                self._statuses = (await self._visitor.get("/v1/cameras"))["cameras"]
            except Refused:
                return
        if self._tiles is not None:
            told = dict(self._told)
            try:
                await self._tiles.run_method("update", self._rows(), timeout=_TAKEN_S)
            except TimeoutError:
                # A browser that sleeps gets what it missed when it wakes.
                self._told = told

    def _show(self, ground: str) -> None:
        if self._tiles is not None:
            self._tiles.show(ground)

    def _changed(self) -> None:
        self._stale = 0

    def _rows(self) -> list[dict[str, Any]]:
        return [self._row(status) for status in self._statuses]

    def _row(self, status: dict[str, Any]) -> dict[str, Any]:
        camera, state = status["id"], status["state"]
        trace, incident = self._watch.trace(camera), self._watch.open_at(camera)
        points = trace.since(max(self._told.get(camera, 0), trace.count - _SPARK))
        self._told[camera] = max(trace.count - 1, 0)
        thresholds, level = status["thresholds"], trace.latest.level if trace.latest else None
        live = state == "online"
        return {
            "id": camera,
            "name": camera_name(status),
            "href": path(f"/cameras/{camera}"),
            "state": STATES[state],
            "tone": TONES.get(state, "bad"),
            "cover": cover(status, seen=trace.latest is not None),
            "shown": live and trace.latest is not None,
            "open": str(incident.severity) if incident else "",
            "said": "" if not live else "nobody scored" if level is None else rarity_words(level),
            "fps": f"{number(status['fps_processed'])} fps" if live else "",
            "limit": rarity(thresholds["open"]) if thresholds else None,
            "points": [rarity(point.level) for point in points],
        }


def register(app: FastAPI, runtime: Runtime, watch: Watch) -> None:
    """Serve the view."""

    @ui.page("/")
    async def wall(request: Request) -> None:
        with frame("Wall", watch):
            await _Wall(Visitor(app, request), watch).open()


def choice(options: dict[str, str], label: str, choose: Any) -> None:
    """A row of which one is chosen."""
    name = f"choice-{ui.context.client.id[:8]}-{label[:4].strip()}"
    with ui.element("fieldset").classes("pick"):
        text(label, "legend", "unseen")
        for index, (key, words) in enumerate(options.items()):
            with ui.element("label"):
                chosen = " checked" if index == 0 else ""
                option = ui.element("input").props(f'type="radio" name="{name}" value="{key}"{chosen}')
                option.on("change", lambda key=key: choose(key))
                text(words, "span")


def add_camera(visitor: Visitor) -> None:
    """Ask for a camera and add it."""
    with ui.dialog(value=True) as dialog, ui.card().props('role="dialog" aria-label="Add a camera"'):
        heading("Add a camera")
        name = ui.input("Name").props("outlined autofocus maxlength=100").classes("wide")
        url = ui.input("Address").props('outlined spellcheck=false autocapitalize=none hint="rtsp, rtsps, http or '
                                        'https, with user and password if the camera asks for them; a number for a '
                                        'camera of this machine; the path of a video; or skeletons: for a device '
                                        'that sends keypoints"')  # fmt: skip

        async def add() -> None:
            if not name.value or not url.value:
                ui.notify("Give the camera a name and an address.", type="negative", position="top")
                return
            camera = camera_id(name.value)
            known = {one["id"] for one in (await visitor.get("/v1/cameras"))["cameras"]}
            if camera in known:
                ui.notify("There is a camera of that name; choose another name.", type="negative", position="top")
                return
            address: str | int = int(url.value) if url.value.isdecimal() else url.value.strip()
            config = {"url": address, "name": name.value, "loop": str(address).startswith("/")}
            if await attempt(visitor.put(f"/v1/cameras/{camera}", config)) is not None:
                ui.navigate.to(f"/cameras/{camera}")

        with ui.element("div").classes("row"):
            button("Add the camera", add, kind="primary")
            button("Close", dialog.close)


def camera_id(name: str) -> str:
    """The id of a camera of this name: lower-case letters, digits and dashes."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:64] or "camera"
