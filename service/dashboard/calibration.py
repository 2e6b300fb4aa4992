"""The calibration of a camera: the report, a calibration that runs, and the form to start one."""

from __future__ import annotations

from typing import Any, Final

from nicegui import ui

from service.dashboard.frame import Facts, Moment, attempt, bar, button, card, heading, text
from service.dashboard.visitor import Visitor
from service.dashboard.words import duration, rate, sentence

_RUNNING: Final = {"gathering": "Gathering calibration footage", "fitting": "Fitting the calibration"}
"""States of a calibration that is not finished."""


class CalibrationCard:
    """The card with the calibration of a camera.

    Args:
        visitor: Calls the API for the viewer.
        camera: Id of the camera.
    """

    def __init__(self, visitor: Visitor, camera: str) -> None:
        self._visitor = visitor
        self._address = f"/v1/cameras/{camera}/calibration"
        self._status: dict[str, Any] = {}

    async def open(self) -> None:
        """Draw the card."""
        self._status = await self._visitor.get(self._address)
        with card("Calibration"):
            self._body()

    async def step(self) -> None:
        """Draw what has changed."""
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
            for one in status["stale"]:
                text(one["detail"], "p", "trouble").props('role="alert"')
            if status["stale"]:
                text("Until then, the calibration that ships with the checkpoint is used.", "p", "soft small")
            self._report(active)
        if state == "refused" and status["refusal"]:
            refusal = status["refusal"]
            more = f" About {duration(refusal['needed_s'])} more footage is needed." if refusal["needed_s"] else ""
            text(f"{refusal['detail'][:1].upper()}{refusal['detail'][1:]}.{more}", "p", "trouble")
        if state == "failed":
            text(f"Calibration failed: {status['problem']}.", "p", "trouble")
        with ui.element("div").classes("form").style("margin-top: .8rem"):
            minutes = ui.number("Calibration footage, minutes", value=60, min=0.2, max=10_080).props("outlined")
            wanted = ui.number("False-alarm budget, per day", min=0.01).props(
                'outlined hint="empty: as in the settings"'
            )
        adapt = ui.checkbox("Also fine-tune the model on this camera (used only if it fits normal footage better)")

        async def start() -> None:
            request = {
                "seconds": 60 * (minutes.value or 0),
                "false_alarms_per_day": wanted.value,
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
        low, high = report["interval_per_day"]
        Facts(
            [
                ("False-alarm budget", rate(report["false_alarms_per_day"])),
                ("Of these unusual movement", rate(report["unusual_per_day"])),
                ("Expected of unusual movement (90 % interval)", f"{low:.2g} to {high:.2g} per day"),
                ("Calibration footage", duration(report["footage_s"])),
                ("False alarms used", f"{report['false_alarms_used']} of {report['false_alarms_marked']} marked"),
                ("Version", str(version["version"])),
            ]
        )
        with ui.element("p").classes("soft small"):
            text("Calibrated ", "span")
            Moment(version["created_at"])
        if report["support"]:
            text(sentence(report["support"]), "p", "small")
        if report["behaviours"]:
            heading("Named behaviours", 3)
            for one in report["behaviours"].values():
                text(sentence(one["words"]), "p", "soft small" if one["usable"] else "trouble")
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
