"""Incidents: the list, and one incident: what happened and why, its evidence, its people and its feedback."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import FastAPI
from nicegui import ui
from nicegui.element import Element
from starlette.requests import Request

from model.behaviours import Kind
from service.dashboard.charts import IncidentTimeline, Player
from service.dashboard.frame import (
    Moment,
    attempt,
    button,
    card,
    empty,
    frame,
    heading,
    path,
    text,
)
from service.dashboard.particulars import particulars
from service.dashboard.review import Desk, ReviewCard, bulk_bar, keyboard_help, verdict_words
from service.dashboard.visitor import Refused, Visitor, reader
from service.dashboard.watch import Watch
from service.dashboard.words import (
    MODES,
    SEVERITIES_COUNTED,
    camera_name,
    sentence,
)
from service.documents.kinds import TITLES
from service.documents.messages import IncidentInfo
from service.documents.reviews import MOST_AT_ONCE
from service.runtime import Runtime

_PAGE: Final = 50
_KINDS: Final = {"": "Any kind", **{kind.value: TITLES[kind] for kind in Kind}}
_REMOVED: Final = "The pictures of this incident were removed; skeletons are left."
_SINCE: Final = {"": "Any time", "1": "Last hour", "24": "Last day", "168": "Last week"}
_SEVERITIES: Final = {"": "Any severity"} | SEVERITIES_COUNTED
_STATES: Final = {
    "": "Any state",
    "open": "Open",
    "unread": "Unread",
    "none": "No verdict",
    "new": "Not acknowledged",
    "mine": "Assigned to me",
    "real": "Real",
    "false_alarm": "False alarms",
    "drill": "Drills",
}


class Entries(Element, component="components/incidents.js"):
    """The list, and the keys of the page.

    Args:
        rows: The incidents, newest first.
        selected: Id of the incident that is shown.
        more: Whether there are older ones.
    """

    def __init__(self, rows: list[dict[str, Any]], selected: str, more: bool) -> None:
        super().__init__()
        self._props["initial"] = rows
        self._props["rest"] = more
        self.select(selected)

    def select(self, incident: str) -> None:
        """Mark the incident that is shown."""
        self._props["selected"] = incident


class _View:
    """One open page of incidents."""

    def __init__(self, visitor: Visitor, watch: Watch, reader: str, selected: str, clip: tuple[float, float]) -> None:
        self._visitor = visitor
        self._watch = watch
        self._reader = reader
        self._selected = selected
        self._before_s, self._after_s = clip
        self._filter = {"camera": "", "kind": "", "severity": "", "since": "", "state": ""}
        self._names: dict[str, str] = {}
        self._me = ""
        self._shown: dict[str, Any] | None = None
        self._player: str | None = None
        self._known: dict[str, dict[str, Any]] = {}
        """Incidents of the list by id, newest first."""
        self._picked: list[str] = []
        self._cursor: str | None = None

    async def open(self) -> None:
        cameras = (await self._visitor.get("/v1/cameras"))["cameras"]
        self._names = {camera["id"]: camera_name(camera) for camera in cameras}
        self._me = (await self._visitor.get("/v1/session"))["name"]
        with ui.element("div").classes("head"):
            heading("Incidents", 1)
            ui.element("span").classes("grow")
            self._pick("camera", "Camera", {"": "All cameras", **self._names})
            self._pick("kind", "Kind", _KINDS)
            self._pick("severity", "Severity", _SEVERITIES)
            self._pick("since", "Time", _SINCE)
            self._pick("state", "State", _STATES)
        self._desk = Desk(self._visitor, self._me, self._on_document)
        self._review = ReviewCard(self._visitor, self._desk, self._me, self.act)
        self._columns = ui.element("div").classes(f"columns list {'chosen' if self._selected else ''}")
        with self._columns:
            with ui.element("div").classes("stack side"), card():
                self._bulk, self._count = bulk_bar(self._act_on_selection)
                self._bulk.set_visibility(False)
                await self._list()
                with ui.element("div").classes("row").style("margin-top: .75rem"):
                    button("Keyboard shortcuts", keyboard_help, icon="keyboard")
                    button("Mark all as read", lambda: self._read(None), icon="done_all")
            self._detail = ui.element("div").classes("stack")
        if not self._selected and self._known:
            await self._choose(next(iter(self._known)), follow=False)
        else:
            await self._show()
            await self._read([self._selected])
        self._watch.incident.subscribe(self._on_incident)

    @ui.refreshable_method
    async def _list(self) -> None:
        self._known, self._cursor = {}, None
        rows = await self._fetch()
        self._selection([])
        self._entries = Entries(rows, self._selected, self._cursor is not None)
        self._entries.on("choose", lambda event: self._choose(event.args))
        self._entries.on("act", lambda event: self.act(event.args))
        self._entries.on("picked", lambda event: self._selection(event.args))
        self._entries.on("more", self._more)
        self._nothing = ui.element("div")
        self._nothing.set_visibility(not rows)
        with self._nothing:
            if any(self._filter.values()):
                with empty("No matching incidents", "Change the filters above.", "filter_alt_off"):
                    pass
            else:
                with empty(
                    "No incident yet",
                    "New incidents appear here automatically. Named behaviours, such as falls, are recognised at once. "
                    "Calibrate each camera, so that the service also knows what is unusual there.",
                    "notifications_none",
                ):
                    ui.link("Go to the cameras", path("/"))

    async def _fetch(self) -> list[dict[str, Any]]:
        """Rows of the next page."""
        page = await self._visitor.get("/v1/incidents", limit=_PAGE, cursor=self._cursor, **self._query())
        self._cursor = page["next"]
        self._known |= {incident["id"]: incident for incident in page["incidents"]}
        return [self._row(incident) for incident in page["incidents"]]

    async def _more(self) -> None:
        rows = await attempt(self._fetch())
        if rows is not None:
            self._entries.run_method("add", rows, self._cursor is not None)

    def _pick(self, name: str, label: str, options: dict[str, str]) -> None:
        async def change(event: Any) -> None:
            self._filter[name] = event.value
            self._list.refresh()

        ui.select(options, value="", on_change=change).props(
            f'outlined dense options-dense behavior=menu aria-label="{label}"'
        ).style("min-width: 9.5rem")

    def _query(self) -> dict[str, str]:
        query = {name: self._filter[name] for name in ("camera", "kind", "severity") if self._filter[name]}
        if self._filter["since"]:
            query["since"] = (datetime.now(UTC) - timedelta(hours=int(self._filter["since"]))).isoformat()
        return query | {
            "open": {"open": "true"},
            "unread": {"unread": "true"},
            "new": {"acknowledged": "false"},
            "mine": {"assigned_to": self._me},
        }.get(self._filter["state"], {"verdict": self._filter["state"]})

    def _wanted(self, incident: dict[str, Any]) -> bool:
        chosen, review = self._filter, incident["review"]
        since = datetime.now(UTC) - timedelta(hours=int(chosen["since"] or 0))
        state = {
            "": True,
            "open": incident["ended_at"] is None,
            "unread": incident["unread"],
            "none": review["verdict"] is None,
            "new": incident["acknowledged_at"] is None,
            "mine": review["assigned_to"] == self._me,
        }
        return (
            chosen["camera"] in ("", incident["camera"])
            and chosen["kind"] in ("", *(seen["kind"] for seen in incident["kinds"]))
            and chosen["severity"] in ("", incident["severity"])
            and (not chosen["since"] or datetime.fromisoformat(incident["started_at"]) >= since)
            and state.get(chosen["state"], review["verdict"] == chosen["state"])
        )

    def _row(self, incident: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": incident["id"],
            "href": path(f"/incidents/{incident['id']}"),
            "title": incident["title"],
            "camera": self._name(incident),
            "severity": incident["severity"],
            "urgency": MODES[incident["severity"]],
            "at": incident["kinds"][0]["first_at"],
            "began": incident["started_at"],
            "words": _state_text(incident),
            "unread": incident["unread"],
            "assigned": self._assigned_words(incident),
            "snapshot": _file(incident, "snapshot") if incident["snapshot"] == "ready" else "",
        }

    def _name(self, incident: dict[str, Any]) -> str:
        camera: str = incident["camera"]
        return self._names.get(camera, camera)

    def _assigned_words(self, incident: dict[str, Any]) -> str:
        name = incident["review"]["assigned_to"]
        return "" if name is None else f"assigned to {'me' if name == self._me else name}"

    async def _on_incident(self, incident: IncidentInfo) -> None:
        await self._on_document(incident.model_dump(mode="json"))

    async def _on_document(self, incident: dict[str, Any]) -> None:
        """Show the present state of an incident, unless a newer one is shown."""
        known = self._known.get(incident["id"])
        if known is not None and known["review"]["revision"] > incident["review"]["revision"]:
            return
        # Who has just reviewed it has read it. What is not known here is new to the viewer.
        unread = (known is None or known["unread"]) and incident["review"]["by"] != self._me
        incident = incident | {"unread": unread}
        if incident["id"] == self._selected and self._shown is not None and self._shown["id"] == incident["id"]:
            with self._detail:
                await self._present(incident)
        wanted = self._wanted(incident)
        if known is None:
            if not wanted:
                return
            # The viewer may have read it before it came to match the filters.
            with suppress(Refused):
                incident = await self._visitor.get(f"/v1/incidents/{incident['id']}")
        self._known[incident["id"]] = incident
        self._nothing.set_visibility(False)
        self._entries.run_method("put", self._row(incident), wanted)

    def _selection(self, ids: list[str]) -> None:
        self._picked = [one for one in ids if one in self._known]
        self._count.set_content(f"{len(self._picked)} selected")
        self._bulk.set_visibility(bool(self._picked))

    async def _choose(self, incident: str, *, follow: bool = True) -> None:
        self._selected = incident
        self._entries.select(incident)
        if follow:
            self._columns.classes(add="chosen")
            ui.navigate.history.replace(path(f"/incidents/{incident}"))
        await self._show()
        if follow:
            await self._read([incident])

    async def _read(self, ids: list[str] | None) -> None:
        """Mark incidents as read, all if `ids` is None."""
        if ids is not None:
            ids = [one for one in ids if one and (one not in self._known or self._known[one]["unread"])]
            if not ids:
                return
        for begin in range(0, len(ids or [None]), MOST_AT_ONCE):
            some = None if ids is None else ids[begin : begin + MOST_AT_ONCE]
            if await attempt(self._visitor.post("/v1/incidents/read", {"ids": some})) is None:
                return
        for one in self._known if ids is None else ids:
            if one in self._known:
                self._known[one] = self._known[one] | {"unread": False}
                self._entries.run_method("read", one)
        self._watch.read.emit(self._reader)

    async def _show(self) -> None:
        if not self._selected:
            return
        try:
            incident = await self._visitor.get(f"/v1/incidents/{self._selected}")
        except Refused as error:
            self._detail.clear()
            with self._detail, card(), empty("There is no such incident", str(error), "search_off"):
                ui.link("All incidents", path("/incidents"))
            return
        if incident["id"] == self._selected:
            await self._present(incident)

    async def _present(self, incident: dict[str, Any]) -> None:
        if self._shown is None or self._shown["id"] != incident["id"]:
            self._build(incident)
        self._shown = incident
        self._summary.refresh()
        self._particulars.refresh()
        self._evidence()
        await self._review.show(incident)

    def _build(self, incident: dict[str, Any]) -> None:
        self._shown, self._player = incident, None
        self._detail.clear()
        with self._detail:
            with card():
                self._summary()
                self._review.build_verdicts()
            with card("Evidence"):
                self._video = ui.element("div")
            with card("Review"):
                self._review.build()
            with card():
                self._particulars()

    @ui.refreshable_method
    def _summary(self) -> None:
        incident = self._shown
        if incident is None:
            return
        with ui.element("div").classes("head").style("margin-bottom: .4rem"):
            with ui.element("a").classes("plain backlink").props(f'href="{path("/incidents")}"'):
                text("All incidents", "span")
            with ui.element("h2").classes("name"):
                text(f"{incident['title']}, ", "span")
                Moment(incident["kinds"][0]["first_at"], "time")
            text(MODES[incident["severity"]], "span", f"pill {incident['severity']}")
            text(f"{self._name(incident)}, {_state_text(incident)}", "span", "soft state")
            with ui.element("a").props(f'href="{path("/cameras/" + incident["camera"])}"'):
                text("View camera", "span")
        text(sentence(incident["explanation"]), "p", "why")

    @ui.refreshable_method
    def _particulars(self) -> None:
        if self._shown is not None:
            particulars(self._shown)

    def _evidence(self) -> None:
        incident = self._shown
        if incident is None:
            return
        removed = incident["pictures_removed_at"]
        key = f"{incident['id']} {incident['clip']} {incident['snapshot']} {removed}"
        if key == self._player:
            return
        self._player = key
        self._video.clear()
        with self._video:
            if incident["clip"] == "ready":
                timeline = IncidentTimeline(incident, self._before_s, self._after_s)
                Player(
                    _file(incident, "clip"),
                    f"{incident['title']} at {self._name(incident)}",
                    poster=_file(incident, "snapshot") if incident["snapshot"] == "ready" else None,
                    marks=timeline.marks(),
                    spans=timeline.spans(),
                    points=timeline.curve(self._watch.trace(incident["camera"]).points),
                    limit=None,
                )
                with ui.element("div").classes("row").style("margin-top: .5rem"):
                    choices = [("Download video", ""), ("Skeletons only", "?background=none")]
                    for label, query in choices[:1] if removed else choices:
                        href = f"/v1/incidents/{incident['id']}/clip.mp4{query}"
                        with ui.element("a").classes("act").props(f'href="{href}" download'):
                            text(label, "span")
                if removed:
                    text(_REMOVED, "p", "soft").style("margin-top: .6rem")
                return
            if incident["snapshot"] == "ready":
                with ui.element("div").classes("view"):
                    ui.element("img").props(
                        f'src="{_file(incident, "snapshot")}" alt="{incident["title"]}: the picture of the peak"'
                    )
            problem = incident["evidence_problem"]
            words = {
                "pending": "The video is made after the incident has ended.",
                "missing": f"No video: {problem or 'it was removed'}.",
                "off": "Pictures of this camera are not kept.",
                "ready": "",
            }[incident["clip"]]
            text(f"{words} {_REMOVED}" if removed else words, "p", "soft").style("margin-top: .6rem")

    async def act(self, name: str) -> None:
        """Do what a key or button does: to the selected incidents, or to the one that is shown."""
        if name == "help":
            keyboard_help()
        elif name == "undo":
            await self._desk.undo()
        elif self._picked:
            await self._act_on_selection(name)
        elif self._shown is not None:
            await self._say(name, [self._shown])

    async def _act_on_selection(self, name: str) -> None:
        chosen = [self._known[one] for one in self._picked]
        if name == "clear":
            self._entries.run_method("pickAll", False)
        elif name == "read":
            await self._read([one["id"] for one in chosen])
        else:
            await self._say(name, chosen)

    async def _say(self, name: str, incidents: list[dict[str, Any]]) -> None:
        if name == "note":
            self._review.focus()
        else:
            await self._desk.review(name, incidents)


def register(app: FastAPI, runtime: Runtime, watch: Watch) -> None:
    """Serve the view."""
    settings = runtime.settings
    clip = (min(settings.evidence_before_s, settings.evidence_max_s / 2), settings.evidence_after_s)

    @ui.page("/incidents")
    @ui.page("/incidents/{incident}")
    async def incidents_page(request: Request, incident: str = "") -> None:
        with frame("Incidents", watch):
            await _View(Visitor(app, request), watch, reader(request).key_id, incident, clip).open()


def _file(incident: dict[str, Any], kind: str) -> str:
    name = {"snapshot": "snapshot.jpg", "clip": "clip.mp4"}[kind]
    return f"/v1/incidents/{incident['id']}/{name}"


def _state_text(incident: dict[str, Any]) -> str:
    if incident["ended_at"] is None:
        return ", ".join(one for one in ("open", verdict_words(incident)) if one)
    if said := verdict_words(incident):
        return said
    return "acknowledged" if incident["acknowledged_at"] else "not acknowledged"
