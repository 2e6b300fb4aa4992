"""Incidents: the list, and one incident: what happened and why, its evidence, its people and its feedback."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import FastAPI
from nicegui import ui
from nicegui.element import Element
from starlette.requests import Request

from model.behaviours import Kind
from service.dashboard.charts import Player, marks
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
from service.dashboard.watch import Watch
from service.dashboard.words import (
    ENDS,
    MODES,
    PARTS,
    RARITY_NOTE,
    SEVERITIES_COUNTED,
    camera_name,
    duration,
    fact,
    rarity,
    sentence,
    who,
)
from service.documents.kinds import TITLES, rarity_words
from service.documents.messages import IncidentInfo, KindSeen
from service.drawing.overlay import level_text
from service.runtime import Runtime

_PAGE: Final = 50
_NO_PERSON: Final = '<li class="soft">No person to list: nobody&#39;s own level reached the closing level</li>'
_KINDS: Final = {"": "Any kind", **{kind.value: TITLES[kind] for kind in Kind}}
_REMOVED: Final = "The pictures of this incident were removed; skeletons are left."
_NAMED: Final = 12
"""Most people that are named."""
_SHORTEST_SPAN_S: Final = 0.5
"""Seconds of the timeline in which a moment can be seen."""
_SINCE: Final = {"": "Any time", "1": "Last hour", "24": "Last day", "168": "Last week"}
_SEVERITIES: Final = {"": "Any severity"} | SEVERITIES_COUNTED
_STATES: Final = {"": "Any state", "open": "Open", "new": "Not acknowledged", "false": "False alarms"}


class Entries(Element, component="components/incidents.js"):
    """The list.

    Args:
        rows: The incidents, newest first.
        selected: Id of the incident that is shown.
    """

    def __init__(self, rows: list[dict[str, Any]], selected: str) -> None:
        super().__init__()
        self._props["initial"] = rows
        self.select(selected)

    def select(self, incident: str) -> None:
        """Mark the incident that is shown."""
        self._props["selected"] = incident


class _View:
    """One open page of incidents."""

    def __init__(self, visitor: Visitor, watch: Watch, selected: str, clip: tuple[float, float]) -> None:
        self._visitor = visitor
        self._watch = watch
        self._selected = selected
        self._before_s, self._after_s = clip
        self._filter = {"camera": "", "kind": "", "severity": "", "since": "", "state": ""}
        self._names: dict[str, str] = {}
        self._shown: dict[str, Any] | None = None
        self._player: str | None = None
        self._entries: Entries | None = None

    async def open(self) -> None:
        cameras = (await self._visitor.get("/v1/cameras"))["cameras"]
        self._names = {camera["id"]: camera_name(camera) for camera in cameras}
        with ui.element("div").classes("head"):
            heading("Incidents", 1)
            ui.element("span").classes("grow")
            self._pick("camera", "Camera", {"": "All cameras", **self._names})
            self._pick("kind", "Kind", _KINDS)
            self._pick("severity", "Severity", _SEVERITIES)
            self._pick("since", "Time", _SINCE)
            self._pick("state", "State", _STATES)
        self._columns = ui.element("div").classes(f"columns list {'chosen' if self._selected else ''}")
        with self._columns:
            with ui.element("div").classes("stack side"), card():
                await self._list()
            self._detail = ui.element("div").classes("stack")
        rows = self._rows
        if not self._selected and rows:
            await self._choose(rows[0]["id"], follow=False)
        else:
            await self._show()
        self._watch.incident.subscribe(self._on_incident)

    @ui.refreshable_method
    async def _list(self) -> None:
        page = await self._visitor.get("/v1/incidents", limit=_PAGE, **self._query())
        self._rows = [self._row(incident) for incident in page["incidents"] if self._wanted(incident)]
        if not self._rows:
            self._entries = None
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
            return
        self._entries = Entries(self._rows, self._selected)
        self._entries.on("choose", lambda event: self._choose(event.args))
        text("Keyboard: J next, K previous, A acknowledge, F false alarm.", "p", "soft small").style(
            "margin-top: .75rem"
        )

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
        if self._filter["state"] == "open":
            query["open"] = "true"
        return query

    def _wanted(self, incident: dict[str, Any]) -> bool:
        chosen = self._filter
        since = datetime.now(UTC) - timedelta(hours=int(chosen["since"] or 0))
        return (
            chosen["camera"] in ("", incident["camera"])
            and chosen["kind"] in ("", *(seen["kind"] for seen in incident["kinds"]))
            and chosen["severity"] in ("", incident["severity"])
            and (not chosen["since"] or datetime.fromisoformat(incident["started_at"]) >= since)
            and (chosen["state"] != "open" or incident["ended_at"] is None)
            and (chosen["state"] != "new" or not (incident["acknowledged_at"] or incident["false_alarm"]))
            and (chosen["state"] != "false" or incident["false_alarm"])
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
            "words": _state_text(incident),
            "snapshot": _file(incident, "snapshot") if incident["snapshot"] == "ready" else "",
        }

    def _name(self, incident: dict[str, Any]) -> str:
        camera: str = incident["camera"]
        return self._names.get(camera, camera)

    async def _on_incident(self, incident: IncidentInfo) -> None:
        document = incident.model_dump(mode="json")
        if incident.id == self._selected:
            with self._detail:
                await self._show()
        if not self._wanted(document):
            return
        if self._entries is None:
            self._list.refresh()
        else:
            self._entries.run_method("put", self._row(document))

    async def _choose(self, incident: str, *, follow: bool = True) -> None:
        self._selected = incident
        if self._entries is not None:
            self._entries.select(incident)
        if follow:
            self._columns.classes(add="chosen")
            ui.navigate.history.replace(path(f"/incidents/{incident}"))
        await self._show()

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
        if self._shown is None or self._shown["id"] != incident["id"]:
            self._build(incident)
        self._shown = incident
        self._summary.refresh()
        self._evidence()

    def _build(self, incident: dict[str, Any]) -> None:
        self._shown, self._player = incident, None
        self._detail.clear()
        with self._detail:
            with card():
                self._summary()
            with card("Evidence"):
                self._video = ui.element("div")

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
            text(f"{self._name(incident)}, {_state_text(incident)}", "span", "soft")
        text(sentence(incident["explanation"]), "p", "why")
        with ui.element("div").classes("row").style("margin-bottom: 1rem"):
            if incident["acknowledged_at"] is None:
                button("Acknowledge", self._acknowledge, icon="check", kind="primary")
            marked = incident["false_alarm"]
            button(
                "Not a false alarm" if marked else "False alarm",
                self._mark_false_alarm,
                icon="undo" if marked else "thumb_down_off_alt",
            )
            camera = path(f"/cameras/{incident['camera']}")
            with ui.element("a").classes("act").props(f'href="{camera}"'):
                text("View camera", "span")
        began, ended = incident["started_at"], incident["ended_at"]
        until = datetime.fromisoformat(ended or incident["updated_at"])
        lasted = (until - datetime.fromisoformat(began)).total_seconds()
        with ui.element("dl").classes("facts"):
            _fact("Started", began)
            _fact("Peak time", incident["peak_at"], "time")
            if incident["acknowledged_at"]:
                _fact("Acknowledged", incident["acknowledged_at"])
        end = ENDS.get(incident["end_reason"] or "", "")
        peak = incident["peak_level"]
        Facts(
            [
                ("Duration" if ended else "Duration so far", duration(max(lasted, 1))),
                ("Peak level", f"{level_text(peak)} ({rarity_words(peak)})" if peak else "nobody was scored"),
                *([("End reason", end)] if end else []),
                *([("Suppressed by cooldown", str(incident["suppressed"]))] if incident["suppressed"] else []),
            ]
        ).style("margin-top: .8rem")
        heading("What was seen", 3)
        with ui.element("ul").classes("kinds"):
            for seen in incident["kinds"]:
                _kind(seen)
        heading("Levels of the people", 3)
        people = sorted(incident["people"].items(), key=lambda one: -one[1])
        rows = [
            bar(
                f"Person {track}",
                (rarity(level) or 0) / 4,
                rarity_words(level) if level else "not scored",
                "hot" if level and index == 0 else "",
            )
            for index, (track, level) in enumerate(people[:_NAMED])
        ]
        ui.html("".join(rows) or _NO_PERSON, sanitize=False, tag="ul").classes("bars")
        text(RARITY_NOTE, "p", "soft small").style("margin-top: .6rem")

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
                spans = self._spans(incident)
                Player(
                    _file(incident, "clip"),
                    f"{incident['title']} at {self._name(incident)}",
                    poster=_file(incident, "snapshot") if incident["snapshot"] == "ready" else None,
                    marks=self._marks(incident),
                    spans=spans,
                    points=self._curve(incident),
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

    def _second(self, incident: dict[str, Any], at: str) -> float:
        """The second of the clip at a moment."""
        began = datetime.fromisoformat(incident["started_at"])
        return self._before_s + (datetime.fromisoformat(at) - began).total_seconds()

    def _spans(self, incident: dict[str, Any]) -> list[list[float]]:
        """First and last second of each kind in the clip."""
        ends = [[self._second(incident, seen[at]) for at in ("first_at", "last_at")] for seen in incident["kinds"]]
        return [[first, max(last, first + _SHORTEST_SPAN_S)] for first, last in ends]

    def _marks(self, incident: dict[str, Any]) -> list[dict[str, Any]]:
        """Where named behaviours begin in the clip; without any, where the incident begins and has its peak."""
        named = [seen for seen in incident["kinds"] if seen["kind"] != Kind.UNUSUAL]
        starts = [(self._second(incident, seen["first_at"]), TITLES[seen["kind"]]) for seen in named] or [
            (self._second(incident, incident["started_at"]), "start"),
            (self._second(incident, incident["peak_at"]), "peak"),
        ]
        length = self._second(incident, incident["ended_at"] or incident["updated_at"]) + self._after_s
        return marks(sorted(starts), length)

    def _curve(self, incident: dict[str, Any]) -> list[list[float | None]]:
        """Seconds and rarities around the incident; empty if the page no longer keeps its beginning."""
        start = datetime.fromisoformat(incident["started_at"]).timestamp() - self._before_s
        end = datetime.fromisoformat(incident["ended_at"] or incident["updated_at"]).timestamp() + self._after_s
        points = self._watch.trace(incident["camera"]).points
        if not points or points[0].at > start + self._before_s:
            return []
        return [[round(point.at - start, 2), rarity(point.level)] for point in points if start <= point.at <= end]

    async def _acknowledge(self) -> None:
        if self._shown is not None and self._shown["acknowledged_at"] is None:
            await attempt(self._visitor.post(f"/v1/incidents/{self._selected}/acknowledge"), "Acknowledged.")
            await self._show()

    async def _mark_false_alarm(self) -> None:
        if self._shown is None:
            return
        wrong = not self._shown["false_alarm"]
        marked = f"Marked as a false alarm. {_advice(self._shown)}"
        done = marked if wrong else "No longer marked as a false alarm."
        await attempt(
            self._visitor.post(f"/v1/incidents/{self._selected}/false-alarm", {"false_alarm": wrong}),
            done,
        )
        await self._show()

    async def key(self, event: Any) -> None:
        """React to a key: A acknowledges, F marks a false alarm."""
        if not event.action.keydown or event.modifiers.ctrl or event.modifiers.meta or event.modifiers.alt:
            return
        if event.key == "a":
            await self._acknowledge()
        elif event.key == "f":
            await self._mark_false_alarm()


def register(app: FastAPI, runtime: Runtime, watch: Watch) -> None:
    """Serve the view."""
    settings = runtime.settings
    clip = (min(settings.evidence_before_s, settings.evidence_max_s / 2), settings.evidence_after_s)

    @ui.page("/incidents")
    @ui.page("/incidents/{incident}")
    async def incidents_page(request: Request, incident: str = "") -> None:
        with frame("Incidents", watch):
            view = _View(Visitor(app, request), watch, incident, clip)
            await view.open()
            ui.keyboard(on_key=view.key, ignore=["input", "select", "textarea"])


def _file(incident: dict[str, Any], kind: str) -> str:
    name = {"snapshot": "snapshot.jpg", "clip": "clip.mp4"}[kind]
    return f"/v1/incidents/{incident['id']}/{name}"


def _state_text(incident: dict[str, Any]) -> str:
    if incident["ended_at"] is None:
        return "open"
    if incident["false_alarm"]:
        return "false alarm"
    return "acknowledged" if incident["acknowledged_at"] else "not acknowledged"


def _advice(incident: dict[str, Any]) -> str:
    """What a mark as a false alarm does, and what else helps against such alarms."""
    kinds = {seen["kind"] for seen in incident["kinds"]}
    if Kind.UNUSUAL in kinds:
        return "The next calibration of this camera takes it into account, unless its weights are adapted."
    return "If it happens again, change the behaviour or draw a rest zone in the settings of the camera."


def _kind(seen: dict[str, Any]) -> None:
    """One kind: its time, its people, what was seen, and the numbers; of `unusual`, each part beside what is usual."""
    kind, people = Kind(seen["kind"]), seen["people"]
    with ui.element("li"):
        with ui.element("p"):
            text(KindSeen.model_validate(seen).title, "span", "strong")
            with ui.element("span").classes("soft"):
                text(" ", "span")
                Moment(seen["first_at"], "time")
                text(" to ", "span")
                Moment(seen["last_at"], "time")
                text(f", {who(people[:_NAMED])}" if people else "", "span")
        text(sentence(seen["explanation"]), "p")
        if kind == Kind.UNUSUAL:
            parts = sorted(seen["facts"].items(), key=lambda one: -one[1])
            rows = [
                bar(PARTS.get(name, name).partition(" (")[0].title(), (rarity(level) or 0) / 4, rarity_words(level))
                for name, level in parts
            ]
            ui.html("".join(rows), sanitize=False, tag="ul").classes("bars")
        elif seen["facts"]:
            Facts([fact(name, value) for name, value in seen["facts"].items()])


def _fact(name: str, at: str, style: str = "ago") -> None:
    with ui.element("div"):
        text(name, "dt")
        with ui.element("dd"):
            Moment(at, style)
