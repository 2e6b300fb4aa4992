"""The camera wall: every camera at once."""

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
from service.dashboard.words import (
    NO_LIVE_DATA,
    camera_name,
    cover,
    is_current,
    no_people,
    now_words,
    number,
    rarity,
    state_of,
)
from service.runtime import Runtime

GROUNDS: Final = {"picture": "Picture", "blurred": "Blurred people", "none": "Skeletons only"}

_SPARK: Final = 120
"""Points of the small chart of a tile."""
_ASK_EVERY: Final = 4
"""Steps between two requests for the states of cameras; a change of state causes a request at the next step."""
_TAKEN_S: Final = 10.0
"""Seconds in which a browser must acknowledge an update."""


class Tiles(Element, component="components/wall.js"):
    """The tiles, one per camera."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        super().__init__()
        self._props["initial"] = rows
        self.show("picture")

    def show(self, ground: str) -> None:
        """Choose what the tiles show, one of `GROUNDS`."""
        self._props["ground"] = ground


class _Wall:
    """One open page with the wall."""

    def __init__(self, visitor: Visitor, watch: Watch) -> None:
        self._visitor = visitor
        self._watch = watch
        self._sent: dict[str, int] = {}
        self._statuses: list[dict[str, Any]] = []
        self._stale = 0
        self._tiles: Tiles | None = None
        watch.camera.subscribe(self._changed)

    async def open(self) -> None:
        self._statuses = (await self._visitor.get("/v1/cameras"))["cameras"]
        with ui.element("div").classes("head"):
            heading("Cameras", 1)
            ui.element("span").classes("grow")
            choice(GROUNDS, "Display", self._show)
            button("Add a camera", lambda: add_camera(self._visitor), icon="add", kind="primary")
        if not self._statuses:
            with (
                ui.element("section").classes("card"),
                empty(
                    "No camera yet",
                    "Add a camera by its address. Its picture and its level then appear here, and its incidents are "
                    "listed automatically.",
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
            sent = dict(self._sent)
            try:
                await self._tiles.run_method("update", self._rows(), timeout=_TAKEN_S)
            except TimeoutError:
                # A browser that was suspended gets what it missed when it is active again.
                self._sent = sent

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
        points = trace.since(max(self._sent.get(camera, 0), trace.count - _SPARK))
        self._sent[camera] = max(trace.count - 1, 0)
        words, tone = state_of(status)
        thresholds, latest = status["thresholds"], trace.latest
        live = state == "online"
        said = NO_LIVE_DATA if live else ""
        if latest is not None and is_current(state, trace.age_s):
            blind = no_people(state, trace.age_s, len(latest.people), status["cannot_see"])
            said = now_words(latest.people, latest.level, latest.threshold)
            if status["cannot_see"] is not None and blind:
                said = blind
        return {
            "id": camera,
            "name": camera_name(status),
            "href": path(f"/cameras/{camera}"),
            "state": words,
            "tone": tone,
            "cover": cover(status, seen=latest is not None),
            "shown": live and latest is not None,
            "open": str(incident.severity) if incident else "",
            "flag": incident.title if incident else "",
            "said": said,
            "fps": f"{number(status['fps_processed'])} fps" if live else "",
            "limit": rarity(thresholds["open"]) if thresholds else None,
            "points": [rarity(point.level) for point in points],
        }


def register(app: FastAPI, runtime: Runtime, watch: Watch) -> None:
    """Serve the view."""

    @ui.page("/")
    async def wall(request: Request) -> None:
        with frame("Cameras", watch):
            await _Wall(Visitor(app, request), watch).open()


def choice(options: dict[str, str], label: str, choose: Any) -> None:
    """Radio buttons in a row.

    Args:
        options: Texts by key; the first is selected.
        label: Name of the choice for screen readers.
        choose: Called with the key that was selected.
    """
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
    """Open the dialog that adds a camera."""
    with ui.dialog(value=True) as dialog, ui.card().props('role="dialog" aria-label="Add a camera"'):
        heading("Add a camera")
        name = ui.input("Name").props("outlined autofocus maxlength=100").classes("wide")
        url = ui.input("Address").props('outlined spellcheck=false autocapitalize=none hint="URL with rtsp, rtsps, '
                                        'http or https, with user and password if the camera needs them; a number '
                                        'for a camera attached to this machine; the path of a video file; or '
                                        'skeletons: for a device that sends keypoints"')  # fmt: skip

        async def add() -> None:
            if not name.value or not url.value:
                ui.notify("Enter a name and an address.", type="negative", position="top")
                return
            camera = camera_id(name.value)
            known = {one["id"] for one in (await visitor.get("/v1/cameras"))["cameras"]}
            if camera in known:
                ui.notify(
                    "A camera with this name already exists. Choose another name.", type="negative", position="top"
                )
                return
            address: str | int = int(url.value) if url.value.isdecimal() else url.value.strip()
            config = {"url": address, "name": name.value, "loop": str(address).startswith("/")}
            if await attempt(visitor.put(f"/v1/cameras/{camera}", config)) is not None:
                ui.navigate.to(f"/cameras/{camera}")

        with ui.element("div").classes("row"):
            button("Add the camera", add, kind="primary")
            button("Cancel", dialog.close)


def camera_id(name: str) -> str:
    """The id for a camera of this name: lower-case letters, digits and dashes."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:64] or "camera"
