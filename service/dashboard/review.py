"""Reviews on the page: what somebody says of incidents, what became of that, and how to take it back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from nicegui import ui
from nicegui.element import Element

from model.behaviours import Kind
from service.dashboard.frame import Moment, button, heading, text
from service.dashboard.visitor import Refused, Visitor
from service.dashboard.words import sentence
from service.documents.kinds import TITLES
from service.documents.reviews import LONGEST_NAME, LONGEST_NOTE, MOST_AT_ONCE, VERDICTS, ReviewState, Verdict
from service.incidents.reviews import changed_words

TOAST_S: Final = 12.0
"""Seconds for which the page offers to take a change back; U does so at any time."""

_KINDS: Final = {"": "As detected", **{kind.value: title for kind, title in TITLES.items()}}
_SHOWN: Final = 3
"""Most conflicts that are said in full."""


class Desk:
    """Changes reviews for one open page, and takes the last change of this page back.

    Args:
        visitor: Calls the service.
        me: Name of the viewer.
        changed: Called with each incident whose present state became known.
    """

    def __init__(self, visitor: Visitor, me: str, changed: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self._visitor = visitor
        self._me = me
        self._changed = changed
        self._last: list[dict[str, Any]] = []
        with ui.element("div").classes("toast") as self._toast:
            with ui.element("div").props('role="status"'):
                self._words = text("", "p")
            with ui.element("div").classes("row"):
                self._undo = button("Undo", self.undo, icon="undo")
                button("Close", self._hide)
        self._timer = ui.timer(TOAST_S, self._hide, active=False)
        self._hide()

    async def review(self, name: str, incidents: Sequence[dict[str, Any]]) -> None:
        """Say something of incidents; what all of them have already is taken back.

        Args:
            name: `acknowledge`, `mine` or a verdict.
            incidents: The incidents as the page shows them.
        """
        those = incidents[0]["title"] if len(incidents) == 1 else f"{len(incidents)} incidents"
        if name == "acknowledge":
            await self.change(incidents, {"acknowledged": True}, f"Acknowledged: {those}.")
        elif name == "mine":
            mine = all(one["review"]["assigned_to"] == self._me for one in incidents)
            done = f"Assigned to nobody: {those}." if mine else f"Assigned to me: {those}."
            await self.change(incidents, {"assigned_to": None if mine else self._me}, done)
        elif all(one["review"]["verdict"] == name for one in incidents):
            await self.change(incidents, {"verdict": None}, f"Verdict taken back: {those}.")
        else:
            verdict = Verdict(name)
            advice = f" {_advice(incidents[0])}" if verdict is Verdict.FALSE_ALARM and not incidents[1:] else ""
            await self.change(incidents, {"verdict": verdict}, f"{VERDICTS[verdict].capitalize()}: {those}.{advice}")

    async def change(self, incidents: Sequence[dict[str, Any]], change: dict[str, Any], done: str) -> bool:
        """Change the reviews of incidents alike, at most `MOST_AT_ONCE` in one request.

        Args:
            incidents: The incidents as the page shows them.
            change: The fields that change.
            done: What the page says then.

        Returns:
            Whether all of them are as wanted.
        """
        return await self._ask("/v1/incidents", incidents, done, change)

    async def undo(self) -> None:
        """Take the last change of this page back, where nobody has changed it since."""
        last, self._last = self._last, []
        if not last:
            self.say("There is nothing to take back on this page.")
            return
        await self._ask("/v1/incidents/undo", last, "Taken back.", None)

    def say(self, words: str, *, undo: bool = False, stay: bool = False) -> None:
        """Say what became of an action.

        Args:
            words: Sentences.
            undo: Whether to offer to take it back.
            stay: Whether this stays until it is closed.
        """
        self._words.set_content(escape(words))
        self._toast.set_visibility(True)
        self._undo.set_visibility(undo)
        self._toast.classes(add="bad" if stay else "", remove="" if stay else "bad")
        self._timer.deactivate()
        if not stay:
            self._timer.activate()

    async def _ask(
        self, where: str, incidents: Sequence[dict[str, Any]], done: str, change: dict[str, Any] | None
    ) -> bool:
        before = {one["id"]: one["review"]["revision"] for one in incidents}
        seen = [{"id": name, "revision": revision} for name, revision in before.items()]
        results: list[dict[str, Any]] = []
        try:
            for begin in range(0, len(seen), MOST_AT_ONCE):
                some: dict[str, Any] = {"incidents": seen[begin : begin + MOST_AT_ONCE]}
                if change is None:
                    answer = await self._visitor.post(where, some)
                else:
                    answer = await self._visitor.patch(where, some | {"change": change})
                results += answer["results"]
        except Refused as error:
            self.say(str(error), stay=True)
            return False
        made = [one["incident"] for one in results if one["done"]]
        # What was so before is no change of this page, and cannot be taken back here.
        new = [one for one in made if change is not None and one["review"]["revision"] != before[one["id"]]]
        self._last = new or self._last
        for one in results:
            if one["incident"] is not None:
                await self._changed(one["incident"])
        failed = [sentence(one["detail"]) for one in results if not one["done"]]
        if not failed:
            self.say(done, undo=bool(new))
            return True
        rest = f" {len(failed) - _SHOWN} more were not changed." if len(failed) > _SHOWN else ""
        those = "Not changed" if len(results) == 1 else f"{len(failed)} of {len(results)} not changed"
        self.say(f"{those}: {' '.join(failed[:_SHOWN])}{rest}", undo=bool(new), stay=True)
        return False

    def _hide(self) -> None:
        self._timer.deactivate()
        self._toast.set_visibility(False)


@dataclass(slots=True)
class _Draft:
    """A note that is being written.

    Attributes:
        words: What was typed.
        base: The incident when that began.
    """

    words: str
    base: dict[str, Any]


class ReviewCard:
    """What is said of the shown incident. Typed text outlives every update from others.

    Args:
        visitor: Calls the service.
        desk: Changes the review.
        me: Name of the viewer.
        act: Does what a key does, by its name.
    """

    def __init__(self, visitor: Visitor, desk: Desk, me: str, act: Callable[[str], Awaitable[None]]) -> None:
        self._visitor, self._desk, self._me, self._act = visitor, desk, me, act
        self._incident: dict[str, Any] = {}
        self._drafts: dict[str, _Draft] = {}
        self._history_of: tuple[str, int] | None = None

    def build_verdicts(self) -> None:
        """Build the buttons of verdicts where the page is being built; `show` fills them."""
        with ui.element("div").classes("row verdicts").props('role="group" aria-label="Verdict"'):
            self._acknowledge = self._key("Acknowledge", "acknowledge", "check")
            self._verdicts = {
                "real": self._key("Real", "real", "thumb_up_off_alt"),
                "false_alarm": self._key("False alarm", "false_alarm", "thumb_down_off_alt"),
                "drill": self._key("Drill", "drill", "school"),
            }

    def build(self) -> None:
        """Build the rest where the page is being built; `show` fills it."""
        self._history_of = None
        with ui.element("div").classes("form"):
            self._kind = ui.select(_KINDS, label="What it really was", value="", on_change=self._correct)
            self._kind.props("outlined dense options-dense behavior=menu")
            self._assigned = ui.input("Assigned to").props(f"outlined dense maxlength={LONGEST_NAME}")
            self._assigned.on("keydown.enter", self._assign)
            with ui.element("div").classes("row"):
                button("Assign", self._assign)
                self._mine = self._key("Assign to me", "mine", "person_add_alt")
        self._note = ui.textarea("Note", on_change=self._typed).classes("note")
        self._note.props(f"outlined autogrow maxlength={LONGEST_NOTE}")
        self._note.on("keydown.ctrl.enter", self.write)
        self._warning = text("", "p", "trouble")
        self._warning.props('role="status"')
        with ui.element("div").classes("row"):
            button("Write note", self.write, icon="edit_note")
        self._past = ui.element("div")

    async def show(self, incident: dict[str, Any]) -> None:
        """Show what is said of an incident."""
        before, self._incident = self._incident, incident
        review = incident["review"]
        self._acknowledge.set_visibility(incident["acknowledged_at"] is None)
        for verdict, one in self._verdicts.items():
            pressed = review["verdict"] == verdict
            one.props["aria-pressed"] = "true" if pressed else "false"
            one.classes(add="pressed" if pressed else "", remove="" if pressed else "pressed")
            one.update()
        self._kind.value = review["kind"] or ""
        if before.get("id") != incident["id"] or before["review"]["assigned_to"] != review["assigned_to"]:
            self._assigned.value = review["assigned_to"] or ""
        self._mine.set_text("Unassign" if review["assigned_to"] == self._me else "Assign to me")
        draft = self._drafts.get(incident["id"])
        self._note.value = review["note"] if draft is None else draft.words
        self._warn()
        await self._history()

    async def write(self) -> None:
        """Store the note that was typed. It replaces one that somebody else wrote meanwhile only if that was shown."""
        incident, words = self._incident, str(self._note.value or "").strip()
        draft = self._drafts.get(incident["id"])
        base = incident if draft is None else draft.base
        if base["review"]["note"] == incident["review"]["note"]:
            base = incident
        done = "Note written." if words else "Note removed."
        stored = await self._desk.change([base], {"note": words}, done)
        if not stored and self._incident["id"] == incident["id"]:
            # What somebody else said is on the page now. If that was no note, nothing of theirs is replaced.
            now = self._incident
            if (
                now["review"]["revision"] != base["review"]["revision"]
                and now["review"]["note"] == base["review"]["note"]
            ):
                stored = await self._desk.change([now], {"note": words}, done)
            elif draft is not None:
                draft.base = now
        if stored:
            self._drafts.pop(incident["id"], None)
        self._warn()

    def focus(self) -> None:
        """Begin to write a note."""
        self._note.run_method("focus")

    def _key(self, label: str, name: str, icon: str) -> ui.button:
        async def press() -> None:
            await self._act(name)

        return button(label, press, icon=icon)

    async def _correct(self, event: Any) -> None:
        kind = event.value or None
        if self._incident and kind != self._incident["review"]["kind"]:
            said = "Kind as detected." if kind is None else f"Kind corrected to {TITLES[kind].lower()}."
            if not await self._desk.change([self._incident], {"kind": kind}, said):
                self._kind.value = self._incident["review"]["kind"] or ""

    async def _assign(self) -> None:
        name = str(self._assigned.value or "").strip() or None
        said = "Assigned to nobody." if name is None else f"Assigned to {name}."
        await self._desk.change([self._incident], {"assigned_to": name}, said)

    def _typed(self, event: Any) -> None:
        if not self._incident:
            return
        words, key = str(event.value or ""), self._incident["id"]
        if words.strip() == self._incident["review"]["note"]:
            self._drafts.pop(key, None)
        elif key in self._drafts:
            self._drafts[key].words = words
        else:
            self._drafts[key] = _Draft(words, self._incident)
        self._warn()

    def _warn(self) -> None:
        """Say that somebody else has written a note while one is being written here."""
        draft, review = self._drafts.get(self._incident["id"]), self._incident["review"]
        changed = draft is not None and draft.base["review"]["note"] != review["note"]
        if changed:
            theirs = f"wrote: {review['note']}" if review["note"] else "removed the note."
            words = f"{review['by']} {theirs}\nYour text is still in the field. Write it to replace that, or add to it."
            self._warning.set_content(escape(words))
        self._warning.set_visibility(changed)

    async def _history(self) -> None:
        """List the changes, if there are new ones."""
        known = (self._incident["id"], self._incident["review"]["revision"])
        if known == self._history_of:
            return
        self._history_of = known
        changes = (await self._visitor.get(f"/v1/incidents/{known[0]}/reviews"))["reviews"] if known[1] else []
        self._past.clear()
        if not changes:
            return
        with self._past:
            heading("Changes", 3)
            with ui.element("ul").classes("past"):
                for change in changes:
                    _change(change)


def _change(change: dict[str, Any]) -> None:
    before, after = ReviewState.model_validate(change["before"]), ReviewState.model_validate(change["after"])
    undone = "" if change["undoes"] is None else " (taken back)"
    with ui.element("li"):
        text(f"{change['by']} {changed_words(before, after)}{undone}, ", "span")
        Moment(change["at"], "ago")
        if after.note and after.note != before.note:
            text(after.note, "p", "soft quote")


def verdict_words(incident: dict[str, Any]) -> str:
    """What somebody said that it was; empty if nobody did."""
    review = incident["review"]
    said = VERDICTS.get(review["verdict"], "")
    kind = f"really {TITLES[review['kind']].lower()}" if review["kind"] else ""
    return ", ".join(one for one in (said, kind) if one)


def _advice(incident: dict[str, Any]) -> str:
    """What a mark as a false alarm does, and what else helps against such alarms."""
    kinds = {seen["kind"] for seen in incident["kinds"]}
    if Kind.UNUSUAL in kinds:
        return "The next calibration of this camera takes it into account, unless its weights are adapted."
    return "If it happens again, change the behaviour or draw a rest zone in the settings of the camera."


def bulk_bar(act: Callable[[str], Awaitable[None]]) -> tuple[Element, ui.html]:
    """Buttons for the selected incidents.

    Args:
        act: Does what a key does, by its name.

    Returns:
        The bar, and the element that says how many there are.
    """

    def press(name: str) -> Callable[[], Awaitable[None]]:
        async def pressed() -> None:
            await act(name)

        return pressed

    with ui.element("div").classes("bulk").props('role="group" aria-label="Selected incidents"') as bar:
        count = text("", "p", "strong")
        with ui.element("div").classes("row"):
            for label, name in (
                ("Real", "real"),
                ("False alarm", "false_alarm"),
                ("Drill", "drill"),
                ("Acknowledge", "acknowledge"),
                ("Assign to me", "mine"),
                ("Mark read", "read"),
                ("Clear selection", "clear"),
            ):
                button(label, press(name))
    return bar, count


KEYS: Final = (
    ("J, K", "next, previous incident"),
    ("X", "select, or no longer; with Shift up to here"),
    ("A", "acknowledge"),
    ("R", "real; again takes it back"),
    ("F", "false alarm; again takes it back"),
    ("D", "drill; again takes it back"),
    ("N", "write a note; Ctrl and Enter store it"),
    ("M", "assign to me, or to nobody"),
    ("U", "undo the last change of this page"),
    ("Esc", "clear the selection"),
    ("?", "this list"),
)
"""The keys of the list and what they do. With a selection they are about the selected incidents."""


def keyboard_help() -> ui.dialog:
    """Open the list of keys."""
    with ui.dialog(value=True).props('aria-label="Keyboard"') as dialog, ui.card():
        heading("Keyboard")
        with ui.element("dl").classes("keys"):
            for key, does in KEYS:
                text(key, "dt")
                text(does, "dd")
        text("With a selection, the keys are about the selected incidents.", "p", "soft small")
        button("Close", dialog.close)
    return dialog
