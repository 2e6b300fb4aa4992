"""Clips: upload a video, follow its scoring, and see the result."""

from __future__ import annotations

from html import escape
from typing import Any, Final

import numpy as np
from fastapi import FastAPI
from nicegui import background_tasks, run, ui
from nicegui.element import Element
from starlette.requests import Request

from model.behaviours import Kind
from service.clips.messages import FinalEvent, Progress, State
from service.clips.tables import ClipState
from service.dashboard.charts import Player, marks
from service.dashboard.frame import Facts, Moment, ask, attempt, button, card, empty, frame, heading, path, text
from service.dashboard.visitor import Refused, Visitor
from service.dashboard.watch import Watch
from service.dashboard.words import RARITY_NOTE, duration, rarity, rate, sentence, size, who
from service.documents.base import Severity
from service.documents.kinds import SEVERITIES, TITLES, rarity_words
from service.documents.results import ClipResult
from service.drawing.overlay import clock_text
from service.runtime import Runtime

_PAGE: Final = 50
_POINTS: Final = 1200
"""Most points of the timeline that are sent to the browser."""
_STATES: Final = {
    "fetching": "Fetching",
    "queued": "Queued",
    "running": "Scoring",
    "done": "Done",
    "failed": "Failed",
    "cancelled": "Cancelled",
}
_TONES: Final = {"done": "good", "failed": "alert", "running": "", "queued": "", "fetching": "", "cancelled": ""}
_UNFINISHED: Final = ("fetching", "queued", "running")
_DOWNLOADS: Final = {
    "annotated.mp4": "Video (MP4)",
    "scores.csv": "Scores (CSV)",
    "result.json": "Scores (JSON)",
    "timeline.png": "Timeline (PNG)",
}


class Drop(Element, component="components/drop.js"):
    """Uploads a video.

    Args:
        hint: The limits on a video, as text.
    """

    def __init__(self, hint: str) -> None:
        super().__init__()
        self._props["hint"] = hint


class _View:
    """One open page of clips."""

    def __init__(self, visitor: Visitor, runtime: Runtime, selected: str) -> None:
        self._visitor = visitor
        self._runtime = runtime
        self._selected = selected
        self._clip: dict[str, Any] = {}
        self._followed: set[str] = set()
        self._words: ui.html | None = None
        self._bar: Element | None = None

    async def open(self) -> None:
        settings = self._runtime.settings
        with ui.element("div").classes("head"):
            heading("Clips", 1)
        with ui.element("div").classes(f"columns list {'chosen' if self._selected else ''}"):
            with ui.element("div").classes("stack"):
                with card():
                    drop = Drop(f"up to {size(settings.max_clip_bytes)} and {duration(settings.max_clip_seconds)}")
                    drop.on("accepted", lambda event: ui.navigate.to(f"/clips/{event.args}"))
                    self._address_field()
                with card("Earlier clips", "side"):
                    await self._list()
            self._detail = ui.element("div").classes("stack")
        if self._selected:
            await self._show()
        else:
            with self._detail, card(), empty("No clip selected", _ADVICE, "movie"):
                pass

    def _address_field(self) -> None:
        async def fetch() -> None:
            trouble.set_visibility(False)
            try:
                clip = await self._visitor.post("/v1/clips", {"url": (field.value or "").strip()})
            except Refused as error:
                trouble.set_content(escape(str(error)))
                trouble.set_visibility(True)
            else:
                ui.navigate.to(f"/clips/{clip['id']}")

        with ui.element("div").classes("row").style("margin-top: 1rem"):
            field = ui.input("Address of a video").style("flex: 1 1 12rem")
            field.props("outlined dense maxlength=2048 spellcheck=false autocapitalize=none inputmode=url")
            field.on("keydown.enter", fetch)
            button("Fetch", fetch)
        trouble = text("", "p", "trouble").props('role="alert"')
        trouble.set_visibility(False)

    @ui.refreshable_method
    async def _list(self) -> None:
        clips = (await self._visitor.get("/v1/clips", limit=_PAGE))["clips"]
        if not clips:
            kept = duration(3600 * self._runtime.settings.clip_retention_hours)
            text(f"No clips yet. Uploaded clips are kept for up to {kept}.", "p", "soft")
            return
        with ui.element("div").classes("scroll"), ui.element("ul").classes("entries"):
            for clip in clips:
                self._entry(clip)

    def _entry(self, clip: dict[str, Any]) -> None:
        here = str(clip["id"] == self._selected).lower()
        href = path(f"/clips/{clip['id']}")
        with (
            ui.element("li"),
            ui.element("a").classes("entry text").props(f'href="{href}" aria-current="{here}"'),
        ):
            text(_name(clip), "span", "name")
            text(_STATES[clip["state"]], "span", f"pill {_TONES[clip['state']]}")
            with ui.element("span").classes("meta"):
                Moment(clip["created_at"], "ago")
                if clip["video"] is not None:
                    text(duration(clip["video"]["duration_s"]), "span")
        if clip["state"] in _UNFINISHED:
            self._follow(clip["id"])

    async def _show(self) -> None:
        try:
            self._clip = await self._visitor.get(f"/v1/clips/{self._selected}") if self._running() else {}
            self._clip = self._clip or await self._visitor.get(f"/v1/clips/{self._selected}")
        except Refused as error:
            self._detail.clear()
            with self._detail, card(), empty("There is no such clip", str(error), "search_off"):
                ui.link("All clips", path("/clips"))
            return
        result = self._clip.pop("result", None)
        digest = await run.io_bound(_digest, result) if result else None
        self._words = self._bar = None
        self._detail.clear()
        with self._detail:
            self._head()
            if digest is not None:
                self._result(digest)

    def _running(self) -> bool:
        return self._runtime.clips.runner.running(self._selected) is not None

    def _head(self) -> None:
        clip = self._clip
        with card():
            with ui.element("div").classes("head").style("margin: 0"):
                with ui.element("a").classes("plain backlink").props(f'href="{path("/clips")}"'):
                    text("All clips", "span")
                heading(_name(clip)).classes("name")
                text(_STATES[clip["state"]], "span", f"pill {_TONES[clip['state']]}")
                ui.element("span").classes("grow")
                if clip["state"] in _UNFINISHED:
                    button("Cancel", self._cancel)
                else:
                    button("Delete…", self._ask_delete, kind="danger")
            if clip["state"] in _UNFINISHED:
                self._words = text("", "p", "soft").props('role="status"')
                self._bar = ui.element("progress").props('aria-label="Frames scored"')
                self._advance(clip["frames_done"], clip["frames_total"])
                self._follow(clip["id"])
            if clip["url"]:
                text(clip["url"], "p", "soft small")
            if clip["error"]:
                text(sentence(clip["error"]["detail"]), "p", "trouble")

    def _advance(self, done: int, total: int) -> None:
        if self._words is None or self._bar is None:
            # The list follows clips before the page shows one, and events may be older than the clip that it shows.
            return
        if self._clip["state"] == "fetching":
            self._words.set_content("Fetching the video from its address.")
            return
        if self._clip["state"] == "queued" and not done:
            self._words.set_content("Waiting in the queue.")
            return
        self._words.set_content(f"Frame {done:,} of {total:,}")
        self._bar.props(f'max="{max(total, 1)}" value="{min(done, total)}"')

    def _follow(self, clip: str) -> None:
        """Follow a clip until it has finished, or until the page is closed."""
        if clip not in self._followed:
            self._followed.add(clip)
            task = background_tasks.create(self._follow_events(clip), name=f"clip {clip}")
            ui.context.client.on_delete(lambda: task.cancel())

    async def _follow_events(self, clip: str) -> None:
        shown = 0
        with self._runtime.clips.events.subscribe(clip) as events:
            job = await run.io_bound(self._runtime.clips.store.get, clip)
            if job is not None and not job.state.finished:
                async for event in events:
                    if isinstance(event, FinalEvent):
                        break
                    if clip != self._selected or not self._clip:
                        continue
                    if isinstance(event, State):
                        self._clip["state"] = event.state
                        if event.state is ClipState.QUEUED:
                            with self._detail:
                                self._advance(self._clip["frames_done"], self._clip["frames_total"])
                    # A bar needs no more than a hundred steps.
                    if isinstance(event, Progress) and event.frames_done - shown >= event.frames_total / 100:
                        shown = event.frames_done
                        with self._detail:
                            self._advance(event.frames_done, event.frames_total)
        # An answer that is older than the end may still be on its way to the page, which then follows the clip again.
        self._followed.discard(clip)
        await self._settle(clip)

    async def _settle(self, clip: str) -> None:
        with self._detail:
            self._list.refresh()
            if clip == self._selected:
                await self._show()

    def _result(self, found: dict[str, Any]) -> None:
        clip, title = self._clip, _name(self._clip)
        with card("Result"):
            Player(
                f"/v1/clips/{clip['id']}/annotated.mp4",
                title,
                seconds=found["seconds"],
                points=found["points"],
                limit=found["limit"],
                spans=found["spans"],
                marks=found["marks"],
                ratio=found["ratio"],
            )
        with ui.element("div").classes("halves"):
            with card("Anomalies"):
                if not found["anomalies"]:
                    text(found["nothing"], "p", "soft")
                with ui.element("ul").classes("entries"):
                    for moment in found["anomalies"]:
                        with ui.element("li").classes("entry text").style("cursor: default"):
                            text(moment["title"], "span", "name").style("white-space: normal")
                            text(moment["when"], "span", f"pill {moment['tone']}")
                            with ui.element("span").classes("meta").style("grid-column: 1 / -1"):
                                text(moment["why"], "span")
                                text(moment["who"], "span")
                if found["rare"]:
                    text(RARITY_NOTE, "p", "soft small").style("margin-top: .6rem")
                for note in found["notes"]:
                    text(sentence(note), "p", "soft small")
            with card("Details and downloads"):
                Facts(found["facts"])
                with ui.element("div").classes("row").style("margin-top: 1rem"):
                    for file, label in _DOWNLOADS.items():
                        href = f"/v1/clips/{clip['id']}/{file}"
                        link = ui.element("a").classes("act").props(f'href="{href}" download="{clip["id"]}-{file}"')
                        with link:
                            text(label, "span")

    async def _cancel(self) -> None:
        await attempt(self._visitor.post(f"/v1/clips/{self._selected}/cancel"), "Cancelled.")

    def _ask_delete(self) -> None:
        async def delete() -> None:
            if await attempt(self._visitor.delete(f"/v1/clips/{self._selected}")) is not None:
                ui.navigate.to("/clips")

        words = ["The video and its scores are deleted."]
        ask("Delete the clip", f"Delete {_name(self._clip)}?", words, "Delete", delete)


def register(app: FastAPI, runtime: Runtime, watch: Watch) -> None:
    """Serve the view."""

    @ui.page("/clips")
    @ui.page("/clips/{clip}")
    async def clips_page(request: Request, clip: str = "") -> None:
        with frame("Clips", watch):
            await _View(Visitor(app, request), runtime, clip).open()


_ADVICE: Final = (
    "Upload a video, give its address, or select an earlier clip. Its level over time, its anomalies and the video "
    "with skeletons appear here."
)


def _name(clip: dict[str, Any]) -> str:
    return str(clip["filename"] or f"clip {clip['id'][:8]}")


def _digest(document: dict[str, Any]) -> dict[str, Any]:
    """`digest` of a result as JSON; validating a large one takes a while, so this runs in a thread."""
    result = ClipResult.model_validate(document)
    return digest(result)


def digest(result: ClipResult) -> dict[str, Any]:
    """What the page shows of a result. In long clips a point is the highest level of several frames."""
    levels = np.array([np.nan if frame.level is None else frame.level for frame in result.frames])
    times = [frame.time_s for frame in result.frames]
    every = max(1, -(-len(levels) // _POINTS))
    starts = np.arange(0, len(levels), every)
    highest = np.fmax.reduceat(levels, starts) if len(levels) else levels
    points = [
        [round(times[start], 3), None if np.isnan(level) else rarity(float(level))]
        for start, level in zip(starts.tolist(), highest.tolist(), strict=True)
    ]
    threshold, clip = result.threshold, result.clip
    scored = sum(not np.isnan(level) for level in levels)
    return {
        "points": points,
        "limit": rarity(threshold.level),
        "seconds": clip.duration_s,
        "ratio": f"{clip.width} / {clip.height}",
        "spans": [[one.start_s, max(one.end_s, one.start_s + clip.duration_s / 500)] for one in result.anomalies],
        "marks": marks(
            [(one.start_s, TITLES[one.kind]) for one in result.anomalies if one.kind != Kind.UNUSUAL], clip.duration_s
        ),
        "anomalies": [
            {
                "title": one.title,
                "when": f"{clock_text(one.start_s)} to {clock_text(one.end_s)}",
                "why": sentence(one.explanation or rarity_words(one.peak_level)),
                "who": who(one.tracks),
                "tone": SEVERITIES.get(one.kind, Severity.WARNING),
            }
            for one in result.anomalies
        ],
        "rare": any(one.kind == Kind.UNUSUAL for one in result.anomalies),
        "nothing": "None: no named behaviour was seen, and the level stayed below the threshold."
        if scored
        else "No named behaviour was seen, and nobody could be scored.",
        "notes": result.notes,
        "facts": [
            ("Duration", f"{duration(clip.duration_s)}, {clip.frames:,} frames"),
            ("Video", f"{clip.width}x{clip.height}, {clip.fps:.4g} fps"),
            ("People", str(len(result.tracks))),
            ("Frames scored", f"{scored:,}"),
            ("False-alarm budget", rate(threshold.false_alarms_per_day)),
            ("Of these unusual movement", rate(threshold.unusual_per_day)),
            ("Model", f"{result.model.checkpoint}, {result.model.parameters} parameters"),
        ],
    }
