"""The system: load, subscribers, storage, and the checks of the machine."""

from __future__ import annotations

import time
from html import escape
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from nicegui import run, ui
from starlette.requests import Request

from service.dashboard.frame import Facts, card, frame, heading, text
from service.dashboard.visitor import Refused, Visitor
from service.dashboard.watch import Watch
from service.dashboard.words import duration, size
from service.doctor import Finding, examine
from service.runtime import Runtime

_STEP_S: Final = 2.0
_STAGES: Final = {"pose": "Pose estimation", "track": "Tracking", "window": "Cutting windows", "score": "Scoring",
                  "publish": "Publishing"}  # fmt: skip


class _View:
    """One open page of the system view."""

    def __init__(self, visitor: Visitor, runtime: Runtime) -> None:
        self._visitor = visitor
        self._runtime = runtime
        self._busy: dict[str, float] = {}
        self._asked = 0.0

    async def open(self) -> None:
        with ui.element("div").classes("head"):
            heading("System", 1)
            self._ready = text("", "span", "pill")
        self._trouble = ui.element("div").classes("stack")
        with ui.element("div").classes("halves"):
            with ui.element("div").classes("stack"):
                with card("Engine load"):
                    self._load = ui.html("", sanitize=False, tag="ul").classes("bars")
                    self._engine = Facts().style("margin-top: 1rem")
                with card("Subscribers"):
                    self._readers = Facts()
                with card("Storage"):
                    self._kept = Facts()
            with card("System check"):
                self._findings = ui.html("", sanitize=False, tag="table").classes("plain")
        await self._slow()
        await self._step()
        ui.timer(_STEP_S, self._step, immediate=False)
        ui.timer(30.0, self._slow, immediate=False)

    async def _slow(self) -> None:
        runtime = self._runtime
        found = await run.io_bound(examine, runtime.settings, runtime.models.loaded)
        self._findings.set_content(_rows(found or []))
        kept = await run.io_bound(_kept, runtime)
        self._kept.show(kept or [])

    async def _step(self) -> None:
        runtime = self._runtime
        try:
            await self._visitor.get("/readyz")
            words, tone = "Ready", "good"
            self._trouble.clear()
        except Refused as error:
            words, tone = "Not ready", "bad"
            self._trouble.clear()
            with self._trouble:
                text(str(error), "p", "trouble").style("margin-bottom: 1rem")
        self._ready.set_content(words)
        self._ready.classes(replace=f"pill {tone}")
        cameras = (await self._visitor.get("/v1/cameras"))["cameras"]
        self._load.set_content(self._stages())
        ages = [camera["last_score_age_s"] for camera in cameras if camera["last_score_age_s"] is not None]
        processed = [camera["fps_processed"] or 0.0 for camera in cameras]
        self._engine.show(
            [
                ("Cameras live", f"{sum(one['state'] == 'online' for one in cameras)} of {len(cameras)}"),
                ("Processed frame rate", f"{sum(processed):.1f} fps"),
                ("Highest score age", f"{1000 * max(ages):.0f} ms" if ages else "-"),
                ("Dropped frames (overload)", f"{sum(one['dropped'].get('overload', 0) for one in cameras):,}"),
                ("Engine restarts", str(runtime.cameras.engine.restarts)),
            ]
        )
        self._readers.show(
            [
                ("Score streams", str(runtime.streams.scores.subscribers)),
                ("Incident streams", str(runtime.streams.feed.subscribers)),
                ("Longest score queue", str(runtime.streams.scores.longest_queue)),
                ("Largest event lag", f"{runtime.streams.feed.lag} events"),
            ]
        )

    def _stages(self) -> str:
        """Rows with the share of time that each stage of the live engine took since the last call."""
        now, busy = time.monotonic(), {}
        for metric in self._runtime.metrics.engine_seconds.collect():
            for sample in metric.samples:
                if sample.name.endswith("_sum"):
                    busy[sample.labels["stage"]] = sample.value
        passed, before = now - self._asked, self._busy
        self._busy, self._asked = busy, now
        rows = []
        for stage, name in _STAGES.items():
            share = (busy.get(stage, 0.0) - before[stage]) / passed if stage in before else 0.0
            share = min(max(share, 0.0), 1.0)
            rows.append(
                f'<li class="bar"><span>{name}</span><span class="track"><span style="width:{100 * share:.1f}%">'
                f"</span></span><span>{100 * share:.0f} %</span></li>"
            )
        return "".join(rows)


def register(app: FastAPI, runtime: Runtime, watch: Watch) -> None:
    """Serve the view."""

    @ui.page("/system")
    async def system_page(request: Request) -> None:
        with frame("System", watch):
            await _View(Visitor(app, request), runtime).open()


def _rows(findings: list[Finding]) -> str:
    rows = []
    for finding in findings:
        pill = '<span class="pill good">ok</span>' if finding.ok else '<span class="pill bad">problem</span>'
        fix = f"<br><b>Set {escape(finding.setting)}</b>" if finding.setting else ""
        value = f"{escape(finding.value)}{fix}"
        rows.append(f'<tr><th scope="row">{escape(finding.name)}</th><td>{value}</td><td>{pill}</td></tr>')
    return f"<tbody>{''.join(rows)}</tbody>"


def _kept(runtime: Runtime) -> list[tuple[str, str]]:
    settings, counts = runtime.settings, runtime.streams.incidents.count()
    clips, evidence = _bytes(runtime.settings.data_dir / "clips"), _bytes(runtime.folder.evidence.root)
    return [
        ("Incidents", f"{counts.total:,}, {counts.open} open"),
        ("False alarms", f"{counts.false_alarms:,}"),
        ("Incident evidence", f"{size(evidence)} of {size(settings.evidence_bytes)}"),
        ("Incidents kept for", duration(3600 * settings.incident_retention_hours)),
        ("Clips and results", f"{size(clips)} of {size(settings.clip_storage_bytes)}"),
        ("Clips kept for", duration(3600 * settings.clip_retention_hours)),
    ]


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
