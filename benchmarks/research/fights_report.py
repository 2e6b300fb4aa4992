"""Tables, a page and a plot from the results of `benchmarks.research.fights`; nothing is measured here."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_curve

Result = Mapping[str, Any]

GOAL: Final = 0.80
"""The clip AUC that was the goal."""
HEADERS: Final = ("score", "clip AUC [95 %]", "over splits", "clips scored", "AUC of scored", "AUC of matched pairs")

_CURVES: Final = ("all four, Fisher's sum", "pose", "number of tracks", "people per frame", "motion energy")
_COLOURS: Final = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#009e73")
_NONE: Final = "-"


def print_tables(result: Result, console: Console) -> None:
    """Print everything but the clips."""
    for title, rows in tables(result):
        table = Table(*HEADERS, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for line in verdicts(result):
        console.print(line)


def write_figures(result: Result, path: Path) -> None:
    """Write the results as JSON."""
    path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_page(result: Result, path: Path, figures: Path) -> None:
    """Write the page, and its plot into ``images`` beside it.

    Args:
        result: The results.
        path: File of the page.
        figures: File of the results, which the page links to.
    """
    plot = path.parent / "images" / f"{path.stem}.png"
    plot.parent.mkdir(parents=True, exist_ok=True)
    link = Path(os.path.relpath(figures, path.parent)).as_posix()
    path.write_text(page(result, f"images/{plot.name}", link), encoding="utf-8")
    draw(result, plot)


def tables(result: Result) -> list[tuple[str, list[list[str]]]]:
    """Title and rows of every table."""
    parts = [(flow["name"], [_cells(row) for row in flow["rows"]]) for flow in result["flows"]]
    movement = [_cells(row) for row in result["baselines"] if not row["name"].startswith("file: ")]
    files = [_cells(row) for row in result["baselines"] if row["name"].startswith("file: ")]
    return [*parts, ("baselines", movement), ("baselines from the video files alone", files)]


def verdicts(result: Result) -> list[str]:
    """Sentences that compare each flow with the goal and the baselines."""
    lines = []
    rows = {row["name"]: row["auc"] for row in result["baselines"]}
    best = max(rows, key=lambda name: rows[name])
    for flow in result["flows"]:
        difference = flow["difference"]
        own = next(row for row in flow["rows"] if row["name"] == difference["row"])
        reached = "reaches" if own["auc"] >= GOAL else "misses"
        above = [name for name, auc in rows.items() if auc >= own["auc"]]
        against = "all baselines are lower" if not above else f"these baselines are not lower: {', '.join(above)}"
        low, high = difference["auc_interval"]
        sure = (
            "the interval excludes 0"
            if low > 0 or high < 0
            else "the interval includes 0, so neither is shown to be better"
        )
        lines.append(
            f"{flow['name']}: {own['name']} has a clip AUC of {own['auc']:.3f} and {reached} {GOAL:.2f}; {against} "
            f"(best baseline: {best}, {rows[best]:.3f}). AUC minus that of {difference['other']}: "
            f"{difference['auc']:+.3f} [{low:+.3f}, {high:+.3f}]; {sure}. "
            + (f"On other splits: {_list(difference['of_splits'][1:], '+.3f')}." if flow["splits"] > 1 else "")
        )
    return [line.strip() for line in lines]


def page(result: Result, plot: str, data: str) -> str:
    """The page in Markdown.

    Args:
        result: The results.
        plot: Path of the plot, relative to the page.
        data: Path of the results, relative to the page.
    """
    protocol, provenance = result["protocol"], result["provenance"]
    main = result["flows"][0]
    lines = [
        "# Fights from pixels",
        "",
        f"<!-- Written by `{provenance['command']}`; change the generator, not this file. -->",
        "",
        f"{protocol['fights']} clips of fights and {protocol['clips'] - protocol['fights']} of ordinary life, of a few "
        "seconds each, from many cameras. The service's own pose front end (`daflow extract`) detects and tracks the "
        "people. "
        f"{protocol['normal']} of the clips without a fight, drawn at random, are the normal footage. The densities "
        "of motion, pairs and tracking, and every calibration, are fitted to them alone. The other "
        f"{protocol['judged'] - protocol['fights']} and all fights are evaluated. Nothing is fitted to a fight.",
        "",
        "One choice was not blind to these clips. The smallest p was the first rule to combine parts. When it did "
        "poorly here, Fisher's sum, which had been slightly better on synthetic anomalies, was declared, run once and "
        "kept. Both are in the table. Parts, features, windows and smoothing were chosen before.",
        "",
        "The score of a clip is the highest that a live camera would have published in it: only windows that have "
        f"ended count, smoothed causally with a time constant of {protocol['tau_s']:g} s. The raw score of a part "
        "becomes a surprise in bits, which says how rarely normal footage reaches it. The surprises of a frame are "
        "added (Fisher), or the largest is taken (smallest p). Clips in which nobody is scored rank lowest; "
        f"*AUC of scored* leaves them out. Intervals are 95 % intervals from {protocol['replicates']} bootstrap "
        "samples of clips. *Over splits* is the mean and standard deviation over "
        f"{len(protocol['seeds'])} draws of the normal clips; all other values are those of the first draw.",
        "",
        *_details(result),
        f"![ROC curves]({plot})",
        "",
    ]
    for title, rows in tables(result):
        lines += [f"## {title[0].upper()}{title[1:]}", "", *_table(HEADERS, rows), ""]
    lines += [
        "## Findings",
        "",
        *(f"- {line}" for line in verdicts(result)),
        "",
        "Fights and ordinary life were not filmed by the same cameras, so properties of the files alone can separate "
        "them. Frame rate, frame size and duration say nothing about people. The distance of their AUC from 0.5, in "
        "either direction, is the bias of the collection. The number of people and of tracks are biased as well: they "
        "grow with the duration of a clip, with its frame rate, and with how crowded the place is. But fights also "
        "interrupt tracks, which is why tracking is one of the parts. *AUC of matched pairs* compares a fight only "
        "with clips of the same frame size and frame rate, the longer at most "
        f"{protocol['longer']:g} times as long as the other: {main['rows'][0]['matched_pairs']} pairs, so its "
        "intervals are wide. A score that keeps its AUC there does not depend on the properties of the files.",
        "",
        "## Clips",
        "",
        f"{main['name'].capitalize()}, {main['difference']['row']}: {_main_parts(main['clips'])}",
        "",
        "<details><summary>Score of every judged clip, when it was highest, and the main part</summary>",
        "",
        *_table(("clip", "label", "score, bits", "peak, s", "of s", "main part"), _clip_rows(main["clips"])),
        "",
        "</details>",
        "",
        "## Command",
        "",
        "```sh",
        provenance["command"],
        "```",
        "",
        f"Results and digests: [{Path(data).name}]({data}). "
        + ", ".join(f"{name} {number}" for name, number in provenance["versions"].items())
        + ".",
    ]
    return "\n".join(lines) + "\n"


def draw(result: Result, path: Path) -> None:
    """ROC curves of the main rows for the first flow."""
    clips = result["flows"][0]["clips"]
    labels = np.array([clip["fight"] for clip in clips], np.int64)
    figure = Figure(figsize=(6.4, 6.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle=":")
    aucs = {row["name"]: row["auc"] for row in [*result["flows"][0]["rows"], *result["baselines"]]}
    for name, colour in zip(_CURVES, _COLOURS, strict=True):
        scores = np.array([np.nan if clip["scores"][name] is None else clip["scores"][name] for clip in clips])
        lowest = np.nanmin(scores) - 1 if np.isfinite(scores).any() else 0.0
        alarms, hits, _ = roc_curve(labels, np.where(np.isnan(scores), lowest, scores), drop_intermediate=False)
        width, style = (2.4, "-") if name == _CURVES[0] else (1.5, "--" if name in _CURVES[2:] else "-")
        axes.plot(alarms, hits, color=colour, linewidth=width, linestyle=style, label=f"{name} ({aucs[name]:.2f})")
    axes.set(
        xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="share of clips without a fight", ylabel="share of fights"
    )
    axes.set_title(f"Fights found from pixels, learnt from normal life only ({len(clips)} clips)", fontsize=11)
    axes.legend(loc="lower right", title="clip score (AUC)", frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)


def _details(result: Result) -> list[str]:
    lines = []
    for flow in result["flows"]:
        text = (
            f"- **{flow['name']}**: {flow['parameters']} parameters, windows of {flow['length']} poses at "
            f"{flow['rate_hz']:g} Hz, trained on {flow['data']}"
            if "learnt_from" not in flow
            else f"- **{flow['name']}**: the same architecture, trained on PoseLift's normal clips and "
            f"{flow['learnt_from']} of the {result['protocol']['normal']} normal clips here"
        )
        text += f"; parts calibrated on {flow['calibrated_on']} clips."
        if flow.get("too_few"):
            text += (
                f" The normal clips that it was not trained on are too few to calibrate it: {flow['too_few']}. Its "
                f"mean score is {flow['nll']['learnt']:.3f} bits per dimension on the clips it was trained on and "
                f"{flow['nll']['others']:.3f} on the other normal clips."
            )
        lines.append(text)
    return [*lines, ""]


def _cells(row: Mapping[str, Any]) -> list[str]:
    spread = row["spread"]["auc"]
    return [
        row["name"],
        _with_interval(row["auc"], row["auc_interval"]),
        _NONE if spread["sd"] is None else f"{spread['mean']:.3f} ± {spread['sd']:.3f}",
        f"{row['scored']} of {row['clips']}",
        _with_interval(row["conditional"], row["conditional_interval"]),
        _with_interval(row["matched"], row["matched_interval"]),
    ]


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return _NONE
    return f"{value:.3f}" if interval is None else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _main_parts(clips: Sequence[Mapping[str, Any]]) -> str:
    texts = []
    for fight, name in ((True, "fights"), (False, "no-fights")):
        own = [clip for clip in clips if clip["fight"] is fight]
        counts = Counter(clip["main_part"] for clip in own if clip["main_part"] is not None)
        texts.append(
            f"in {len(own)} {name} the part with the largest surprise was "
            + ", ".join(f"{part} in {count}" for part, count in counts.most_common())
            + f"; {len(own) - counts.total()} had no score"
        )
    return ". ".join(text[0].upper() + text[1:] for text in texts) + "."


def _clip_rows(clips: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    ranked = sorted(clips, key=lambda clip: -np.inf if clip["score"] is None else clip["score"], reverse=True)
    return [
        [
            clip["name"],
            "fight" if clip["fight"] else "no fight",
            *(_NONE if clip[name] is None else f"{clip[name]:.2f}" for name in ("score", "time_s", "duration_s")),
            clip["main_part"] or _NONE,
        ]
        for clip in ranked
    ]


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (headers, ["---"] * len(headers), *rows)]


def _list(values: Sequence[float], form: str) -> str:
    return ", ".join(format(value, form) for value in values)
