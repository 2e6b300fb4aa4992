"""The rules of a camera: what events mean by kind, day, hour, place and duration, and a pause."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from nicegui import ui

from service.dashboard.frame import Moment, attempt, button, card, heading, path, text
from service.dashboard.visitor import Visitor
from service.dashboard.words import MODES, SEVERITIES_COUNTED, rule_words
from service.dashboard.zones import Zones
from service.documents.kinds import TITLES
from service.live.rules import Day

_DAYS: Final = dict(
    zip(Day, ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"), strict=True)
)
_HERE: Final = {"here": "The rule applies here"}
_TRIED_HOURS: Final = 24
_SHOWN: Final = 8
_PAUSES: Final = {"Pause for 1 hour": 1, "Pause for 8 hours": 8}


class RulesCard:
    """The card with the rules of a camera.

    Args:
        visitor: Calls the API for the viewer.
        camera: Id of the camera.
        seen: Whether the camera has a picture yet, on which zones can be drawn.
        usual_zone: Time zone of cameras that name none.
    """

    def __init__(self, visitor: Visitor, camera: str, usual_zone: str, seen: Callable[[], bool]) -> None:
        self._visitor, self._camera, self._usual_zone, self._seen = visitor, camera, usual_zone, seen
        self._address = f"/v1/cameras/{camera}"
        self._rules: list[dict[str, Any]] = []
        self._pause: str | None = None
        self._tried: dict[str, Any] | None = None
        self._saved = True

    def open(self, config: Mapping[str, Any]) -> None:
        """Draw the card."""
        self._rules, self._pause = [dict(rule) for rule in config["rules"]], config["pause_until"]
        with card("Rules"):
            self._pausing()
            text(
                "What an event means by its kind, the time, the place and how long it lasts. The first rule that "
                "applies decides; if none does, the settings below do.",
                "p",
                "soft small",
            )
            self._list()
            self._zone = ui.input("Time zone of the site", value=config["timezone"] or "").props(
                f'outlined spellcheck=false hint="such as Europe/Berlin; empty: {self._usual_zone}"'
            )
            with ui.element("div").classes("row").style("margin-top: 1rem"):
                button("Use these rules", self._save, kind="primary")
                button("Add a rule…", partial(self._edit, None), icon="add")
                button(f"Try on the last {_TRIED_HOURS} hours", self._try)
            self._outcome()

    @ui.refreshable_method
    def _pausing(self) -> None:
        until = None if self._pause is None else datetime.fromisoformat(self._pause)
        with ui.element("div").classes("row"):
            if until is not None and until > datetime.now(UTC):
                with ui.element("p").props('role="status"'):
                    text("Paused until ", "span")
                    Moment(self._pause)
                    text(": incidents are recorded, and nobody is notified.", "span")
                button("End the pause", partial(self._hold, None))
            else:
                for label, hours in _PAUSES.items():
                    button(label, partial(self._hold, hours))

    async def _hold(self, hours: float | None) -> None:
        until = None if hours is None else (datetime.now(UTC) + timedelta(hours=hours)).isoformat()
        if await attempt(self._visitor.patch(self._address, {"pause_until": until})) is not None:
            self._pause = until
            self._pausing.refresh()

    @ui.refreshable_method
    def _list(self) -> None:
        if not self._saved:
            text("These changes are not saved yet.", "p", "strong").props('role="status"')
        if not self._rules:
            text("There are no rules.", "p", "soft")
            return
        with ui.element("ol").classes("rules"):
            for number, rule in enumerate(self._rules):
                with ui.element("li").classes("row"):
                    text(rule_words(rule), "span")
                    ui.element("span").classes("grow")
                    named = rule["name"] or f"rule {number + 1}"
                    self._act("Up", f"Move up: {named}", partial(self._move, number), number > 0)
                    self._act("Edit…", f"Edit: {named}", partial(self._edit, number))
                    self._act("Remove", f"Remove: {named}", partial(self._remove, number))

    @staticmethod
    def _act(label: str, said: str, act: Callable[[], Any], enabled: bool = True) -> None:
        made = button(label, act)
        # Not as a text of props, in which a name could set others.
        made.props["aria-label"] = said
        made.set_enabled(enabled)

    def _move(self, number: int) -> None:
        self._rules[number - 1 : number + 1] = self._rules[number], self._rules[number - 1]
        self._changed()

    def _remove(self, number: int) -> None:
        del self._rules[number]
        self._changed()

    def _changed(self) -> None:
        self._tried, self._saved = None, False
        self._list.refresh()
        self._outcome.refresh()

    def _edit(self, number: int | None) -> None:
        rule: dict[str, Any] = {"then": "record"} if number is None else self._rules[number]
        first, _, end = (rule.get("hours") or "-").replace("24:00", "00:00").partition("-")
        with ui.dialog(value=True) as dialog, ui.card().props('role="dialog" aria-label="Rule"').classes("wide"):
            heading("Add a rule" if number is None else "Edit the rule")
            with ui.element("div").classes("form"):
                name = ui.input("Name", value=rule.get("name") or "").props("outlined maxlength=100")
                then = ui.select(MODES, label="Then", value=rule["then"]).props("outlined options-dense behavior=menu")
                kinds = _several(TITLES, "Kinds", rule.get("kinds"), "empty: all that are not switched off")
                days = _several(_DAYS, "Days", rule.get("days"), "empty: every day")
                begins = ui.input("From", value=first).props('outlined type=time stack-label hint="empty: all day"')
                ends = ui.input("To", value=end).props('outlined type=time stack-label hint="may pass midnight"')
                lasts = ui.number("Lasts at least, seconds", value=rule.get("lasts_s") or None, min=0, max=3600).props(
                    'outlined hint="empty: from the first moment"'
                )
            text("Where: draw a zone, or none for the whole picture.", "p", "soft small")
            zones = Zones(self._camera, {"here": rule.get("zones") or []}, _HERE, seen=self._seen())

            def take() -> None:
                if bool(begins.value) != bool(ends.value):
                    ui.notify("Give both times, or none for the whole day.", type="negative", position="top")
                    return
                hours = f"{begins.value}-{ends.value}" if begins.value or ends.value else None
                made = {
                    "name": name.value or None,
                    "kinds": kinds.value,
                    "days": days.value,
                    "hours": hours,
                    "zones": zones.zones["here"],
                    "lasts_s": lasts.value or 0,
                    "then": then.value,
                }
                if number is None:
                    self._rules.append(made)
                else:
                    self._rules[number] = made
                dialog.close()
                self._changed()

            with ui.element("div").classes("row"):
                button("OK", take, kind="primary")
                button("Cancel", dialog.close)

    async def _save(self) -> None:
        patch = {"rules": self._rules, "timezone": self._zone.value.strip() or None}
        if await attempt(self._visitor.patch(self._address, patch), "Saved.") is not None:
            self._saved = True
            self._list.refresh()

    async def _try(self) -> None:
        asked = {"rules": self._rules, "hours": _TRIED_HOURS, "timezone": self._zone.value.strip() or None}
        self._tried = await attempt(self._visitor.post(f"{self._address}/rules/preview", asked))
        self._outcome.refresh()

    @ui.refreshable_method
    def _outcome(self) -> None:
        tried = self._tried
        if tried is None:
            return
        with ui.element("div").props('role="status"').classes("tried"):
            before, after = tried["before"], tried["after"]
            number = f"{sum(before.values()):,}"
            which = number if tried["complete"] else f"the newest {number}"
            text(f"Of {which} incidents in the last {_TRIED_HOURS} hours:")
            rows = SEVERITIES_COUNTED | {"off": "Not raised"}
            with ui.element("table"):
                with ui.element("thead"), ui.element("tr"):
                    for title in ("", "as they were", "with these rules"):
                        text(title, "th")
                for mode, words in rows.items():
                    with ui.element("tr"):
                        text(words, "th")
                        text(str(before.get(mode, 0)), "td")
                        text(str(after[mode]), "td")
            changed = [one for one in tried["incidents"] if one["would_be"] != one["severity"]]
            _changes(changed)
            if any(one["depends_on_zone"] for one in tried["incidents"]):
                text("Incidents do not keep where people stood, so rules with a zone are not tried.", "p", "soft small")
            text("What opened no incident was not kept, so it cannot be tried.", "p", "soft small")


def _several(choices: Mapping[Any, str], label: str, value: Sequence[str] | None, hint: str) -> ui.select:
    select = ui.select(dict(choices), label=label, value=list(value or ()), multiple=True)
    return select.props(f'outlined options-dense behavior=menu hint="{hint}"')


def _changes(changed: Sequence[Mapping[str, Any]]) -> None:
    with ui.element("ul"):
        for one in changed[:_SHOWN]:
            with ui.element("li"):
                with ui.element("a").props(f'href="{path("/incidents/" + one["id"])}"'):
                    text(one["title"], "span")
                text(f": {MODES[one['severity']].lower()}, would be {MODES[one['would_be'] or 'off'].lower()}", "span")
    if len(changed) > _SHOWN:
        text(f"And {len(changed) - _SHOWN} more.", "p", "soft small")
