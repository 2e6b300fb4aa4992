"""What an incident was made of: its times, what was seen of each kind, and the levels of its people."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from nicegui import ui

from model.behaviours import Kind
from service.dashboard.frame import Facts, Moment, bar, heading, moment_fact, text
from service.dashboard.words import ENDS, PARTS, RARITY_NOTE, duration, fact, rarity, sentence, who
from service.documents.kinds import rarity_words
from service.documents.messages import KindSeen
from service.drawing.overlay import level_text

_NO_PERSON: Final = '<li class="soft">No person to list: nobody&#39;s own level reached the closing level</li>'
_NAMED: Final = 12
"""Most people that are named."""


def particulars(incident: dict[str, Any]) -> None:
    """Build the particulars of an incident."""
    began, ended = incident["started_at"], incident["ended_at"]
    until = datetime.fromisoformat(ended or incident["updated_at"])
    lasted = (until - datetime.fromisoformat(began)).total_seconds()
    with ui.element("dl").classes("facts"):
        moment_fact("Started", began)
        moment_fact("Peak time", incident["peak_at"], "time")
        if incident["acknowledged_at"]:
            by = incident["acknowledged_by"]
            moment_fact(f"Acknowledged by {by}" if by else "Acknowledged", incident["acknowledged_at"])
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
