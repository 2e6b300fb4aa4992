"""The page about events, and tables for the terminal; nothing is measured here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from model.events import DEFAULT_TOLERANCE, EventReport, Row
from model.metrics import EVENT_GAP_S, Interval
from service.cli.events import Grid, confusions, figures, flaws, outcome_cells, with_interval

_NONE: Final = "-"

_COLUMNS: Final = {
    "events": "labelled events of the kind.",
    "found": "events with an alarm of any name.",
    "recall": "found events among all.",
    "named right": "events found under their own name, among all.",
    "delay": "from the start of an event to the moment at which its first alarm is known; an alarm that was open "
    "before counts 0.",
    "false alarms": "alarms of that name that touch no event, per hour of footage and per hour with somebody in view.",
    "event F1": "incidents and events of the kind matched one to one.",
}


@dataclass(frozen=True, slots=True)
class Section:
    """One kind of footage.

    Attributes:
        key: Its short name.
        title: Its name.
        about: What it is, how its labels became events, and its licence.
        report: The figures.
        notes: Further sentences about the result.
    """

    key: str
    title: str
    about: str
    report: EventReport
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variant:
    """Falls under other conditions.

    Attributes:
        title: What was changed.
        report: The figures.
    """

    title: str
    report: EventReport

    @property
    def row(self) -> Row:
        """Falls found as fall or lying."""
        return next(row for row in self.report.rows if row.named is None)


def terminal(section: Section) -> list[Grid]:
    """The tables of a section for the terminal."""
    report = section.report
    return [figures(section.title, report), confusions(report), *(grid for grid in [flaws(report)] if grid.rows)]


def overview(sections: Sequence[Section]) -> Grid:
    """A line for each kind of footage."""
    headers = (
        *("footage", "clips", "hours", "with people", "events", "found", "named right"),
        *("false alarms", "per hour", "per hour with people", "event F1"),
    )
    rows = []
    for section in sections:
        report, whole = section.report, section.report.whole
        rates = (whole.named, whole.false_alarms, whole.false_alarms_with_people, whole.f1)
        named, false, with_people, f1 = (_NONE if rate is None else with_interval(rate) for rate in rates)
        rows.append(
            (
                section.title,
                str(report.clips),
                f"{report.hours:.2f}",
                f"{report.hours_with_people:.2f}",
                f"{whole.recall.of:g}",
                f"{whole.recall.count:g}",
                named,
                _NONE if whole.false_alarms is None else f"{whole.false_alarms.count:g}",
                false,
                with_people,
                f1 if whole.recall.of else _NONE,
            )
        )
    return Grid("all footage; brackets hold 95 % intervals over clips", headers, tuple(rows))


def variants_grid(variants: Sequence[Variant]) -> Grid:
    """Falls found as fall or lying under every condition, the first of which is the one to compare with."""
    base = variants[0].row.recall.value
    rows = []
    for variant in variants:
        row = variant.row
        change = _NONE if base is None or row.recall.value is None else f"{row.recall.value - base:+.2f}"
        delays = (row.median_delay_s, row.median_delay_from_reached_s)
        rows.append(
            (
                variant.title,
                f"{row.recall.count:g} of {row.recall.of:g}",
                with_interval(row.recall),
                change,
                *(_NONE if delay is None else f"{delay:.1f}" for delay in delays),
            )
        )
    headers = (
        *("condition", "falls found as fall or lying", "recall", "change"),
        *("median delay from the start, s", "from the first frame labelled as lying, s"),
    )
    return Grid("falls under other conditions", headers, tuple(rows))


def write_page(
    path: Path, sections: Sequence[Section], variants: Sequence[Variant], provenance: dict[str, Any], results: Path
) -> None:
    """Write the page.

    Args:
        path: File of the page.
        sections: All footage.
        variants: Falls under other conditions.
        provenance: The command, and digests of what the results depend on.
        results: File of the results, which the page links to.
    """
    link = Path(os.path.relpath(results, path.parent)).as_posix()
    path.write_text(page(sections, variants, provenance, link), encoding="utf-8")


def page(sections: Sequence[Section], variants: Sequence[Variant], provenance: dict[str, Any], link: str) -> str:
    """The page in Markdown; `link` is the path of the results, relative to the page."""
    lines = [
        "# Events",
        "",
        f"<!-- Written by `{provenance['command']}`; change the generator, not this file. -->",
        "",
        "What the service finds on labelled footage, what it calls it, how soon, and how often it is wrong. All "
        "figures come from the functions behind `daflow evaluate --events FOLDER`, which measures the same on your "
        "own cameras; see [cameras.md](cameras.md#acceptance-on-your-own-footage).",
        "",
        *_left_out(provenance["left_out"]),
        "## All footage",
        "",
        *_markdown(overview(sections)),
        "",
        "## How alarms and events are matched",
        "",
        *_rules(),
        "",
    ]
    for section in sections:
        lines += [*_section(section), ""]
    if variants:
        lines += [*_conditions(variants), ""]
    lines += [
        "## Command",
        "",
        "```sh",
        provenance["command"],
        "```",
        "",
        f"{provenance['pose_weights']} by {provenance['pose_runtime']}. "
        f"Results of every clip and digests: [{Path(link).name}]({link}). "
        + ", ".join(f"{name} {number}" for name, number in provenance["versions"].items())
        + ".",
    ]
    return "\n".join(lines) + "\n"


def _left_out(left_out: Sequence[str]) -> list[str]:
    return [f"Not measured here: {'; '.join(left_out)}.", ""] if left_out else []


def _conditions(variants: Sequence[Variant]) -> list[str]:
    return [
        "## Falls under other conditions",
        "",
        "All falls of UR Fall and GMDCSA24 from their videos, with what a camera may do to them. At 5 frames a second "
        "only every n-th frame is used, and people are followed through these. At half resolution the pose estimator "
        "is given pictures of half the width and half the height. Hidden joints are drawn at random in every frame and "
        "sent with confidence 0. MoveNet is another pose model; its skeletons of UR Fall have 13 joints.",
        "",
        *_markdown(variants_grid(variants)),
    ]


def interval_text(interval: Interval | None) -> str:
    """An interval in brackets, after a space; nothing if there is none."""
    return "" if interval is None else f" [{interval.low:.2f}, {interval.high:.2f}]"


def _rules() -> list[str]:
    before, after = DEFAULT_TOLERANCE.before_s, DEFAULT_TOLERANCE.after_s
    return [
        f"An alarm matches an event if they overlap, where the event is widened by {before:g} s before its start and "
        f"{after:g} s after its end. The start of an event is set by hand, to about half a second, and some behaviours "
        "wait to see that somebody stays down. The name does not matter for the match. An event that is found several "
        "times counts once. An alarm that touches no event is a false alarm.",
        "",
        "The name of a found event is what an operator reads first: the most severe kind among its alarms. An alarm "
        "that bears the name of another event it touches gives this one no name, unless there is no other alarm. "
        "Somebody who has fallen lies, so that falls found as *fall* or *lying* have a row of their own.",
        "",
        "A named behaviour is known in the first frame in which it fires. The level is known when the window around "
        "the frame has ended. Alarms that overlap or lie less than "
        f"{EVENT_GAP_S:g} s apart are one incident in the event F1. Brackets hold 95 % intervals from a bootstrap over "
        "clips. Where a count is 0 they say nothing: without a false alarm in T hours there may still be up to 3/T an "
        "hour, at 95 % confidence.",
        "",
        *(f"- *{name}*: {text}" for name, text in _COLUMNS.items()),
    ]


def _section(section: Section) -> list[str]:
    report = section.report
    headers, cells = outcome_cells(report.outcomes)
    own = confusions(report)
    return [
        f"## {section.title}",
        "",
        section.about,
        "",
        *_markdown(figures(section.title, report)),
        "",
        *(_reached(report)),
        *(line for note in section.notes for line in (note, "")),
        f"{own.title[0].upper()}{own.title[1:]}.",
        "",
        *_markdown(own),
        "",
        "<details><summary>What became of every clip</summary>",
        "",
        *_markdown(Grid("", headers, cells)),
        "",
        "</details>",
    ]


def _reached(report: EventReport) -> list[str]:
    rows = [row for row in report.rows if row.median_delay_from_reached_s is not None]
    if not rows:
        return []
    texts = [
        f"{row.title}: median {row.median_delay_from_reached_s:.1f} s, 90 % at most {row.delay_90_from_reached_s:.1f} s"
        for row in rows
    ]
    return [f"Delay from the first frame labelled as lying: {'; '.join(texts)}. Negative is sooner.", ""]


def _markdown(grid: Grid) -> list[str]:
    rows = (grid.headers, ["---"] * len(grid.headers), *grid.rows)
    return [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
