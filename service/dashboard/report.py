"""The report of a day or a week, for those who take over in the morning."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from html import escape
from typing import Any, Final

from fastapi import FastAPI
from nicegui import ui
from starlette.requests import Request

from service.dashboard.frame import Facts, attempt, button, card, frame, heading, path, text
from service.dashboard.visitor import Visitor
from service.dashboard.watch import Watch
from service.dashboard.words import SEVERITIES_COUNTED, SIGHTS, duration
from service.documents.amounts import about
from service.documents.kinds import TITLES
from service.documents.reviews import VERDICTS
from service.documents.time_zones import time_zone
from service.runtime import Runtime

_SPANS: Final = {1: "One day", 7: "Seven days"}
_COLUMNS: Final = (
    "Camera", "Incidents", "Kinds", "Acknowledged after", "Waiting", "Verdicts", "False alarms", "Lost",
    "Could not see", "Unknown", "Calibration",
)  # fmt: skip
_TROUBLE_S: Final = 60.0
"""Shorter losses are not worth a word."""


class _View:
    """One open page of the report."""

    def __init__(self, visitor: Visitor, first: date) -> None:
        self._visitor, self._first, self._days = visitor, first, 1
        self._report: dict[str, Any] = {}

    async def open(self) -> None:
        with ui.element("div").classes("head"):
            heading("Report", 1)
            ui.element("span").classes("grow")
            day = ui.input("From", value=self._first.isoformat()).props("outlined dense type=date stack-label")
            span = ui.select(_SPANS, label="For", value=1).props("outlined dense options-dense behavior=menu")

            async def show() -> None:
                try:
                    self._first = date.fromisoformat(day.value or "")
                except ValueError:
                    return
                self._days = span.value
                if await attempt(self._load()) is not None:
                    self._body.refresh()

            button("Show", show, kind="primary")
        await self._load()
        self._body()

    async def _load(self) -> None:
        self._report = await self._visitor.get("/v1/incidents/report", day=self._first.isoformat(), days=self._days)

    @ui.refreshable_method
    def _body(self) -> None:
        with ui.element("div").classes("stack"):
            self._cards()

    def _cards(self) -> None:
        report = self._report
        total = report["total"]
        with card("All cameras"):
            text(_time(report), "p", "soft")
            Facts(
                [
                    ("Incidents", f"{total['incidents']:,}"),
                    *[(SEVERITIES_COUNTED[name], f"{count:,}") for name, count in total["severities"].items()],
                    ("Acknowledged after", _response(total["response"])),
                    ("Waiting for somebody", f"{total['response']['waiting']:,}"),
                    ("Verdicts", _verdicts(total)),
                    ("False alarms", _false_alarms(total)),
                ]
            )
        with card("By camera"), ui.element("div").classes("scroll"):
            if report["cameras"]:
                ui.html(_table(report), sanitize=False, tag="table").classes("plain report")
            else:
                text("There are no cameras.", "p", "soft")
        query = f"day={self._first.isoformat()}&days={self._days}"
        with ui.element("a").classes("act").props(f'href="/v1/incidents/report?{query}" target="_blank"'):
            text("As JSON", "span")


def _time(report: dict[str, Any]) -> str:
    zone = time_zone(report["timezone"])
    since, until = (datetime.fromisoformat(report[name]).astimezone(zone) for name in ("since", "until"))
    return f"{since:%A %d %B %Y, %H:%M} to {until:%A %d %B %Y, %H:%M} ({report['timezone']})"


def _response(response: dict[str, Any]) -> str:
    if not response["acknowledged"]:
        return "none acknowledged"
    return f"{duration(response['median_s'])} (median), {duration(response['longest_s'])} (longest)"


def _verdicts(part: dict[str, Any]) -> str:
    given = part["verdicts"]
    said = [f"{given[verdict]:,} {words}" for verdict, words in VERDICTS.items() if given[verdict]]
    return ", ".join([*said, f"{given['open']:,} open"])


def _false_alarms(part: dict[str, Any]) -> str:
    return f"{part['false_alarms']} of {about(part['budget'])} allowed"


def _table(report: dict[str, Any]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in _COLUMNS)
    return f"<thead><tr>{head}</tr></thead><tbody>{''.join(map(_row, report['cameras']))}</tbody>"


def _row(row: dict[str, Any]) -> str:
    kinds = ", ".join(f"{TITLES[kind]} {count}" for kind, count in row["kinds"].items())
    blind = ", ".join(
        f"{SIGHTS[reason]} {duration(seconds)}"
        for reason, seconds in row["cannot_see_s"].items()
        if seconds >= _TROUBLE_S
    )
    cells = (
        f"{row['incidents']:,}",
        kinds or "none",
        _response(row["response"]) if row["incidents"] else "-",
        f"{row['response']['waiting']:,}",
        _verdicts(row) if row["incidents"] else "-",
        _false_alarms(row),
        duration(row["lost_s"]) if row["lost_s"] >= _TROUBLE_S else "-",
        blind or "-",
        duration(row["unknown_s"]) if row["unknown_s"] >= _TROUBLE_S else "-",
        row["calibration"],
    )
    name = f'<a href="{path("/cameras/" + row["camera"])}">{escape(row["name"] or row["camera"])}</a>'
    return f'<tr><th scope="row">{name}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def register(app: FastAPI, runtime: Runtime, watch: Watch) -> None:
    """Add the view to the page."""

    @ui.page("/report")
    async def report_page(request: Request) -> None:
        visitor = Visitor(app, request)
        yesterday = datetime.now(UTC).astimezone(time_zone(runtime.settings.timezone)).date() - timedelta(days=1)
        with frame("Report", watch):
            await _View(visitor, yesterday).open()
