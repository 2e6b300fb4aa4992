"""Tables and plots of `benchmarks.research.paper`. Every number in them is read from ``results.json``."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.checkpoint import write_atomically

Row = Mapping[str, Any]

_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The palette of Okabe and Ito, which colour-blind readers can distinguish."""
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
_WIDTH: Final = 8.0
_DPI: Final = 150
_NONE: Final = ""
_FEWEST_FRAMES: Final = 100


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        text: The cell for a row.
        number: Whether its cells are aligned to the right.
    """

    title: str
    text: Callable[[Row], str]
    number: bool = True


def render(results: Mapping[str, Any], output: Path, values: Path) -> None:
    """Write the document, and its plots into ``images`` beside it; plots of earlier runs are removed.

    Args:
        results: The values.
        output: File of the document.
        values: File of the values, which the document links to.
    """
    images = output.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    drawn = set()
    parts = [_head(results, Path(os.path.relpath(values, output.parent)).as_posix())]
    for name, section in _SECTIONS.items():
        table = results["tables"].get(name)
        if table is None or not table["rows"]:
            continue
        parts.append(f"{section(table['rows'], results).strip()}\n\nCommand: {_command(results, name)}")
        for stem, plot in _PLOTS.get(name, {}).items():
            figure = plot(table["rows"])
            if figure is None:
                continue
            path = images / f"results-{stem}.png"
            figure.savefig(path, dpi=_DPI, metadata={"Software": None})
            plt.close(figure)
            drawn.add(path)
            parts.append(f"![{_ALT[stem]}](images/{path.name})")
    for path in set(images.glob("results-*.png")) - drawn:
        path.unlink()
    parts.append(_provenance(results))
    write_atomically(output, ("\n\n".join(part.strip() for part in parts) + "\n").encode())


def mean_and_spread(row: Row, name: str) -> str:
    """A cell: the value with its interval, or mean and standard deviation over seeds."""
    cell = row["cells"].get(name)
    if cell is None:
        return _NONE
    values = cell["values"]
    if len(values) > 1:
        return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"
    if cell["interval"] is None:
        return f"{values[0]:.3f}"
    low, high = cell["interval"]
    return f"{values[0]:.3f} [{low:.2f}, {high:.2f}]"


def table(columns: Sequence[Column], rows: Iterable[Row]) -> str:
    """A table in Markdown."""
    lines = [
        "| " + " | ".join(column.title for column in columns) + " |",
        "|" + "|".join("---:" if column.number else "---" for column in columns) + "|",
    ]
    lines += ["| " + " | ".join(column.text(row) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _fact(title: str, name: str) -> Column:
    return Column(title, lambda row: str(row[name]), number=False)


def _value(title: str, name: str) -> Column:
    return Column(title, lambda row: mean_and_spread(row, name))


def _share(title: str, name: str, digits: int = 0) -> Column:
    return Column(title, lambda row: _mean_text(row, name, lambda mean: f"{100 * mean:.{digits}f} %"))


def _whole(title: str, name: str) -> Column:
    return Column(title, lambda row: _mean_text(row, name, lambda mean: f"{mean:,.0f}"))


def _seeds(row: Row) -> str:
    return str(max((len(cell["values"]) for cell in row["cells"].values()), default=0))


def _mean(row: Row, name: str) -> float | None:
    cell = row["cells"].get(name)
    return None if cell is None else statistics.mean(cell["values"])


def _mean_text(row: Row, name: str, text: Callable[[float], str]) -> str:
    mean = _mean(row, name)
    return _NONE if mean is None else text(mean)


_PUBLISHED: Final = _value("published AUC", "published")
_CONDITIONAL: Final = _value("conditional AUC", "conditional")
_SHARED: Final = _value("shared AUC", "common")
_SCORED: Final = _share("frames scored", "scored")
_MODEL: Final = _fact("model", "name")
_SCORER: Final = _fact("scorer", "name")
_PARAMETERS: Final = _whole("parameters", "parameters")
_SEEDS: Final = Column("seeds", _seeds)


def _home(results: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    name, facts = next(iter(results["data"].items()))
    return name, facts


def _command(results: Mapping[str, Any], table: str) -> str:
    """The command that makes one table alone."""
    whole = results["provenance"]["command"].partition(" --only")[0]
    return f"`{whole} --only " + (f"'{table}'" if " " in table else table) + "`"


def _head(results: Mapping[str, Any], values: str) -> str:
    name, facts = _home(results)
    made = results["provenance"]
    others = "".join(
        f" {other}: {own['train_clips']} training clips, {own['test_clips']} test clips with {own['frames']:,} frames, "
        f"{own['anomalous']:,} of them anomalous."
        for other, own in list(results["data"].items())[1:]
    )
    failed = ""
    if made["failed"]:
        failed = "\n\n**Not computed:** " + "; ".join(made["failed"]) + ". Their cells are empty."
    return f"""
# Results

The command `{made["command"]}` made everything below. The values of all tables and curves are in
[results.json]({values}).{failed}

{name}: {facts["train_clips"]} training clips of normal life from {facts["cameras"]} cameras, {facts["test_clips"]} test
clips with {facts["frames"]:,} frames ({facts["hours"] * 60:.1f} minutes), {facts["anomalous"]:,} of them anomalous, in
{facts["anomalous_clips"]} clips.{others}

How to read the tables:

- A value with **±** is the mean and the standard deviation over seeds. A value with a **range** is of one model; the
  range is the 95 % interval over {made["replicates"]:,} samples of whole test clips, drawn with replacement.
- **Published AUC** is the AUC-ROC of all frames by the protocol of STG-NF's code. A frame in which nobody can be scored
  counts as the most normal one, so this rewards a score that only knows where people are.
- **Conditional AUC** uses only frames in which somebody has a score. It says whether a model detects anything. Models
  that score more frames are evaluated on more, and harder, frames. **Shared AUC** therefore uses only the frames that
  every scorer of the main table scores.
- **Live** values are those of the scores that a live camera would have published at each frame, without later frames.
"""


def _main(rows: Sequence[Row], results: Mapping[str, Any]) -> str:
    frames = [
        _SCORER,
        _SEEDS,
        _PUBLISHED,
        _value("macro AUC", "published macro"),
        _value("AUC-PR", "published AUC-PR"),
        _value("EER", "published EER"),
        _CONDITIONAL,
        _SHARED,
        _SCORED,
    ]
    people = [
        _SCORER,
        _value("track AUC, highest", "tracks_highest"),
        _value("track AUC, mean", "tracks_mean"),
        _value("clip AUC", "clip_level"),
        _value("live published AUC", "online"),
        _value("live conditional AUC", "online conditional"),
    ]
    events = [
        _SCORER,
        _value("best F1, tIoU 0.2", "live F1@0.2"),
        _value("best F1, tIoU 0.5", "live F1@0.5"),
        _value("recall at 1/h", "live @1 recall"),
        _value("recall at 5/h", "live @5 recall"),
        _value("recall at 10/h", "live @10 recall"),
        Column("delay at 10/h, s", lambda row: _mean_text(row, "live @10 delay", lambda mean: f"{mean:.1f}")),
        _value("offline best F1, 0.2", "offline F1@0.2"),
        _value("offline best F1, 0.5", "offline F1@0.5"),
    ]
    _, facts = _home(results)
    allowed = {rate: max((_mean(row, f"live @{rate} allowed") or 0 for row in rows), default=0) for rate in (1, 5, 10)}
    short = ""
    if not allowed[10]:
        short = (
            f" The test split is {facts['hours'] * 60:.1f} minutes long, so even 10 false alarms per hour"
            " allow none at all: all three recalls are those without any false alarm, and say little."
        )
    return f"""
## Main results

Baselines that ignore movement, simple scorers, flows with random weights and trained flows, on the same test clips.

- *Presence* says whether anybody is in the frame, *number of people* how many. Both score every frame, so their
  conditional AUC is that of all frames without smoothing.
- *Motion energy* is the speed of joints, *Gaussian* one normal distribution over windows, *autoencoder* a small network
  that reconstructs windows. All three use windows of 24 frames.
- *STG-NF, files as stored* is exactly its public protocol: x and y as in the files, poses in the order of its code.
  *STG-NF* alone is the same flow and schedule with upright people and poses in the order of time.
- *A1* and *A2* are the two readings of DA-Flow's description with 488 parameters. A1 has one partition that reaches 8
  bones, with bias and a final ReLU. A2 has two partitions: a joint and its neighbours.
- *Recommended* also scores the frames at the ends of a track, and adds the surprises of motion and pairs to that of the
  pose.

{table(frames, rows)}

*Macro* is the mean AUC over clips with both classes, *AUC-PR* the average precision, *EER* the equal error rate, all
three of the published scores. *Frames scored* is the share of frames in which somebody has a score of their own.

The next table is for people, for clips, and for a live camera. A track is anomalous if more than half of its scored
frames are; its score is the highest of its smoothed scores, or the mean. A clip is anomalous if any of its frames is.

{table(people, rows)}

Events are runs of anomalous frames. *Best F1* is that of the best threshold, chosen with the labels, for alarms that
overlap an event by at least this temporal IoU. *Recall at 1/h* is the share of events found at the threshold with one
false alarm per camera-hour; *delay* is the median time from the start of a found event to its first alarm. All but the
last two columns are of live scores.{short}

{table(events, rows)}
"""


def _attention(rows: Sequence[Row], results: Mapping[str, Any]) -> str:
    columns = [
        _fact("attention", "name"),
        _SEEDS,
        _PARAMETERS,
        _value("held-out NLL, bits/dimension", "heldout_nll"),
        _PUBLISHED,
        _CONDITIONAL,
        _SHARED,
    ]
    return f"""
## Attention

DA-Flow A2 at T=24 with neither branch of dual attention, with one, with both. The *held-out NLL* is the mean negative
log-likelihood of normal clips that were not used for training, mirror images included; lower is better. It may be used
to choose between variants, because it uses no test label.

{table(columns, rows)}
"""


def _questions(rows: Sequence[Row], results: Mapping[str, Any]) -> str:
    columns = [
        _fact("variant", "name"),
        _PARAMETERS,
        _value("held-out NLL", "heldout_nll"),
        _PUBLISHED,
        _CONDITIONAL,
    ]
    return f"""
## Open questions of the paper's description

The published description of DA-Flow leaves these choices open. Each row changes one of them in A2 (T=24, one seed);
the row A1 changes two. The ranges are wide: the test split does not show a difference between most variants.

{table(columns, rows)}
"""


def _length(rows: Sequence[Row], results: Mapping[str, Any]) -> str:
    columns = [
        _fact("window", "name"),
        _PARAMETERS,
        _value("held-out NLL", "heldout_nll"),
        _PUBLISHED,
        _CONDITIONAL,
        _SCORED,
    ]
    return f"""
## Window length

A2 with windows of T frames, one seed, pose alone; every window scores its middle frame. Longer windows leave more
frames without a score, because most people are in view for a few seconds only. Likelihoods of windows of different
lengths cannot be compared.

{table(columns, rows)}
"""


def _untrained(rows: Sequence[Row], results: Mapping[str, Any]) -> str:
    columns = [
        _MODEL,
        _fact("weights", "weights"),
        _SEEDS,
        _PUBLISHED,
        _CONDITIONAL,
        _SHARED,
    ]
    return f"""
## Without training

DA-Flow's abstract says that it finds anomalies without any training. These flows have random weights; with *ActNorm set
on data* its layers standardise 512 normal windows once, and no step of an optimiser is taken. Where the spread over
seeds is as wide as the distance to trained flows, a single seed proves nothing.

{table(columns, rows)}
"""


def _robustness(rows: Sequence[Row], results: Mapping[str, Any]) -> str:
    parts = []
    for where, kind, text in (
        (
            "test",
            "noise",
            "**Noise**: every joint of the test clips is shifted independently; levels are in body heights.",
        ),
        (
            "test",
            "joints",
            "**Lost joints**: this share of the joints is moved to a random place on the person and gets confidence 0. "
            "These values were computed before the score left out joints with confidence 0.",
        ),
        ("test", "frames", "**Lost frames**: this share of each person's frames is missing."),
        (
            "test",
            "jitter",
            "**Jitter**: the whole person is shifted independently in every frame; levels are in body heights.",
        ),
        (
            "training",
            "noise",
            "**Noise in the training clips** (one seed); the test clips are without noise.",
        ),
    ):
        own = [_judgeable(row) for row in rows if (row["where"], row["kind"]) == (where, kind)]
        if own:
            parts.append(f"{text}\n\n{_curve_table(own, 'conditional', 'level')}")
    return f"""
## Robustness

Conditional AUC when poses get worse, over seeds. Shifts are standard deviations along each axis. Perturbed test clips
score other frames, most of all with lost frames, so values of different levels come from different frames; the share of
scored frames is in results.json. Where fewer than {_FEWEST_FRAMES} frames have a score there is no value.

{chr(10).join(f"{part}{chr(10)}" for part in parts)}
"""


def _contamination(rows: Sequence[Row], results: Mapping[str, Any]) -> str:
    name, facts = _home(results)
    columns = [
        _MODEL,
        Column("share set", lambda row: f"{row['x']:.0%}"),
        _share("share of windows", "contamination", 1),
        _whole("training windows", "windows"),
        _PUBLISHED,
        _CONDITIONAL,
    ]
    return f"""
## Contaminated training data

Anomalous people of {facts["donors"]} test clips of {name} are added to the training clips, held-out ones included. The
other test clips are evaluated, the same for every share. The donors have few anomalous windows, so the normal training
clips are a sample, the same for all shares, chosen so that the largest share uses every anomalous window once. Shares
are set for windows of 24 frames and differ for other lengths. One seed.

{table(columns, sorted(rows, key=lambda row: row["name"]))}
"""


def _cameras(rows: Sequence[Row], results: Mapping[str, Any]) -> str:
    columns = [
        _MODEL,
        _fact("camera", "camera"),
        _fact("trained on", "trained on"),
        _PUBLISHED,
        _CONDITIONAL,
        _whole("frames scored", "conditional frames"),
    ]
    return f"""
## Unseen cameras

The test clips of each camera, evaluated with a model that was trained on all cameras and with one that was trained on
all other cameras. One seed. A camera has few test clips, so ranges are wide.

{table(columns, sorted(rows, key=lambda row: (row["name"], row["camera"])))}
"""


def _data_sets(rows: Sequence[Row], results: Mapping[str, Any]) -> str:
    columns = [
        _MODEL,
        _fact("trained on", "trained on"),
        _fact("evaluated on", "judged on"),
        _PUBLISHED,
        _CONDITIONAL,
        _SCORED,
    ]
    return f"""
## Across data sets

Trained on one data set and evaluated on each. One seed.

{table(columns, sorted(rows, key=lambda row: row["name"]))}
"""


def _beyond(rows: Sequence[Row], results: Mapping[str, Any]) -> str:
    columns = [
        _fact("score", "name"),
        _SEEDS,
        _PUBLISHED,
        _CONDITIONAL,
        _SHARED,
        _SCORED,
        _value("live published AUC", "online"),
        _value("live conditional AUC", "online conditional"),
    ]
    return f"""
## Beyond the paper

The same flows, A2 at T=8, with other ways of scoring; every way that was tried is listed. A window gives its score to
its *middle frame*, as published, or to all frames that it *covers* and whose nearest window centre is its own. The
second way also scores the ends of tracks. Motion and pairs are parts of the score beside the pose; their surprises are
added (Fisher), or the largest is taken (smallest p). *Per camera* replaces a score by how rare it is in the normal
training clips of the same camera. *Mean of seeds* is the mean of the likelihoods of several flows.

{table(columns, rows)}
"""


def _synthetic(rows: Sequence[Row], results: Mapping[str, Any]) -> str:
    kinds = list(rows[0]["auc"])
    columns = [
        _MODEL,
        _fact("score", "score"),
        *(Column(kind, lambda row, kind=kind: f"{row['auc'][kind]:.3f}") for kind in kinds),  # type: ignore[misc]
        Column("mean", lambda row: f"{row['mean']:.3f}"),
    ]
    return f"""
## Choices made without test labels

AUC of windows of held-out normal clips against the same clips made anomalous in one known way. No test label is used,
so this table may be used to choose how to score.

{table(columns, rows)}
"""


def _cost(rows: Sequence[Row], results: Mapping[str, Any]) -> str:
    def latency(size: str) -> Callable[[Row], str]:
        return lambda row: f"{row['latency'][size]['median_ms']:.2f}"

    def memory(row: Row) -> str:
        return _NONE if row["peak_memory_bytes"] is None else f"{row['peak_memory_bytes'] / 2**20:.0f}"

    columns = [
        _MODEL,
        _fact("device", "device"),
        Column("parameters", lambda row: f"{row['parameters']:,}"),
        Column("MACs, thousands", lambda row: f"{row['macs'] / 1000:,.0f}"),
        Column("of convolutions", lambda row: f"{row['convolution_macs'] / 1000:,.0f}"),
        Column("1 window, ms", latency("1")),
        Column("256 windows, ms", latency("256")),
        Column("memory, MiB", memory),
    ]
    machine = results["provenance"]["machine"]
    return f"""
## Cost

The cost of scoring a window without pose estimation: multiply-accumulates of the layers as implemented, the median time
of a call with 1 and with 256 windows, and the memory that 256 windows add (a coarse value on a CPU). Measured with
nothing else running, on one thread ({machine["cpu"]}){f" and on a GPU ({machine['gpu']})" if machine["gpu"] else ""}.

{table(columns, rows)}
"""


def _provenance(results: Mapping[str, Any]) -> str:
    made = results["provenance"]
    machine = made["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    sums = "\n".join(f"- {name}: SHA-256 `{facts['sha256']}`" for name, facts in results["data"].items())
    files = "\n".join(f"- checkpoint {name}: SHA-256 `{digest}`" for name, digest in made["files"].items())
    commit = "" if made["commit"] is None else f", commit `{made['commit']}`"
    return f"""
## Provenance

{made["date"]}{commit}, {machine["cpu"]}, {machine["cores"]} cores, {machine["system"]}; {versions}. All tasks together
took {made["seconds"] / 3600:.1f} hours of one thread, {made["jobs"]} at a time.

{sums}
{files}
"""


def _curve_table(rows: Sequence[Row], cell: str, title: str) -> str:
    """A table with one column per level and one row per model."""
    levels = sorted({row["x"] for row in rows})
    names = list(dict.fromkeys(row["name"] for row in rows))
    at = {(row["name"], row["x"]): row for row in rows}
    columns = [Column(title, lambda row: row["name"], number=False)]
    columns += [
        Column(f"{level:g}", lambda row, level=level: mean_and_spread(at[row["name"], level], cell))  # type: ignore[misc]
        for level in levels
    ]
    return table(columns, [{"name": name} for name in names])


def _plot_main(rows: Sequence[Row]) -> Figure:
    shown = [row for row in rows if "published" in row["cells"]][::-1]
    figure, axes = plt.subplots(1, 2, figsize=(_WIDTH, 0.34 * len(shown) + 1.2), sharey=True, layout="constrained")
    for panel, (cell, title) in zip(
        axes, (("published", "published protocol"), ("conditional", "frames with a score")), strict=True
    ):
        for place, row in enumerate(shown):
            own = row["cells"].get(cell)
            if own is None:
                continue
            mean = statistics.mean(own["values"])
            low, high = own["interval"] or _spread(own["values"])
            colour = {"baseline": _COLOURS[6], "untrained": _COLOURS[4]}.get(row["group"], _COLOURS[0])
            marker = {"baseline": "s", "untrained": "D"}.get(row["group"], "o")
            error = [[max(mean - low, 0)], [max(high - mean, 0)]]
            panel.errorbar(mean, place, xerr=error, fmt=marker, color=colour, capsize=2.5, lw=1.2, ms=5)
        panel.axvline(0.5, color="0.6", lw=0.8, ls="--")
        panel.set_xlabel(f"AUC-ROC, {title}")
        panel.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(shown)), [row["name"] for row in shown], fontsize=8)
    return figure


def _plot_length(rows: Sequence[Row]) -> Figure | None:
    if len(rows) < 2:
        return None
    figure, left = plt.subplots(figsize=(_WIDTH, 3.6), layout="constrained")
    right = left.twinx()
    _curve(left, rows, "conditional", _COLOURS[0], "o", "conditional AUC")
    x = [row["x"] for row in rows]
    right.plot(x, [100 * (_mean(row, "scored") or 0) for row in rows], "--s", color=_COLOURS[1], ms=5, label="scored")
    left.set_xlabel("window length T (frames)")
    left.set_ylabel("conditional AUC-ROC", color=_COLOURS[0])
    right.set_ylabel("frames scored (%)", color=_COLOURS[1])
    right.set_ylim(0, 100)
    left.set_xticks(x)
    left.grid(alpha=0.3)
    return figure


def _plot_untrained(rows: Sequence[Row]) -> Figure:
    names = list(dict.fromkeys(row["name"] for row in rows))
    kinds = list(dict.fromkeys(row["weights"] for row in rows))
    figure, axes = plt.subplots(1, 2, figsize=(_WIDTH, 3.8), sharey=True, layout="constrained")
    for panel, (cell, title) in zip(
        axes, (("published", "published AUC-ROC"), ("conditional", "conditional AUC-ROC")), strict=True
    ):
        for row in rows:
            own = row["cells"].get(cell, {"values": []})["values"]
            number = kinds.index(row["weights"])
            centre = names.index(row["name"]) + 0.26 * (number - (len(kinds) - 1) / 2)
            spread = [centre + 0.09 * ((7 * i) % 10 / 9 - 0.5) for i in range(len(own))]
            label = row["weights"] if row["name"] == names[0] else None
            panel.scatter(
                spread, own, s=22, marker=_MARKERS[number], color=_COLOURS[number], alpha=0.75, lw=0, label=label
            )
            if own:
                panel.hlines(statistics.mean(own), centre - 0.1, centre + 0.1, color="k", lw=1.4)
        panel.axhline(0.5, color="0.6", lw=0.8, ls="--")
        panel.set_xticks(range(len(names)), [name.replace(" (T=24)", "") for name in names])
        panel.set_ylabel(title)
        panel.grid(axis="y", alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(kinds), frameon=False)
    return figure


def _judgeable(row: Row) -> Row:
    """The row, without its conditional AUC if fewer than `_FEWEST_FRAMES` frames have a score."""
    cells = row["cells"]
    frames = cells.get("conditional frames", {"values": [0]})["values"]
    if min(frames) >= _FEWEST_FRAMES:
        return row
    return dict(row) | {"cells": {name: cell for name, cell in cells.items() if name != "conditional"}}


def _plot_robustness(rows: Sequence[Row]) -> Figure | None:
    own = [_judgeable(row) for row in rows if row["where"] == "test"]
    titles = {
        "noise": "noise of joints (body heights)",
        "joints": "joints lost (share)",
        "frames": "frames lost (share)",
        "jitter": "jitter of people (body heights)",
    }
    return _panels(own, [("kind", kind, title) for kind, title in titles.items()], (2, 2)) if own else None


def _plot_training(rows: Sequence[Row]) -> Figure | None:
    own = [row for row in rows if row["where"] == "training"]
    title = "noise of joints in the training clips (body heights)"
    return _panels(own, [("kind", "noise", title)], (1, 1)) if own else None


def _plot_contamination(rows: Sequence[Row]) -> Figure | None:
    shown = [dict(row) | {"kind": "share", "x": 100 * row["x"]} for row in rows]
    return _panels(shown, [("kind", "share", "anomalous training windows (%)")], (1, 1))


def _panels(rows: Sequence[Row], panels: Sequence[tuple[str, str, str]], shape: tuple[int, int]) -> Figure:
    """Curves of the conditional AUC: one panel per kind, one line per model."""
    height = 3.0 * shape[0] + 0.7
    figure, axes = plt.subplots(*shape, figsize=(_WIDTH, height), sharey=True, layout="constrained", squeeze=False)
    names = list(dict.fromkeys(row["name"] for row in rows))
    for place, (panel, (key, kind, title)) in enumerate(zip(axes.flat, panels, strict=True)):
        for number, name in enumerate(names):
            own = sorted((row for row in rows if row["name"] == name and row[key] == kind), key=lambda row: row["x"])
            _curve(panel, own, "conditional", _COLOURS[number], _MARKERS[number], name)
        panel.axhline(0.5, color="0.6", lw=0.8, ls="--")
        panel.set_xlabel(title)
        if place % shape[1] == 0:
            panel.set_ylabel("conditional AUC-ROC")
        panel.grid(alpha=0.3)
    handles = axes.flat[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(names), frameon=False, fontsize=9)
    return figure


def _curve(panel: Axes, rows: Sequence[Row], cell: str, colour: str, marker: str, label: str) -> None:
    """A line with a band, which is the spread over seeds or the interval of a single model."""
    own = [(row["x"], row["cells"][cell]) for row in rows if cell in row["cells"]]
    x = [place for place, _ in own]
    panel.plot(x, [statistics.mean(c["values"]) for _, c in own], marker=marker, color=colour, ms=5, label=label)
    ends = [c["interval"] or _spread(c["values"]) for _, c in own]
    panel.fill_between(x, [low for low, _ in ends], [high for _, high in ends], color=colour, alpha=0.13, lw=0)


def _spread(values: Sequence[float]) -> tuple[float, float]:
    mean = statistics.mean(values)
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return mean - deviation, mean + deviation


_SECTIONS: Final[Mapping[str, Callable[[Sequence[Row], Mapping[str, Any]], str]]] = {
    "main": _main,
    "attention": _attention,
    "questions": _questions,
    "length": _length,
    "untrained": _untrained,
    "robustness": _robustness,
    "contamination": _contamination,
    "cameras": _cameras,
    "data sets": _data_sets,
    "beyond": _beyond,
    "synthetic": _synthetic,
    "cost": _cost,
}
_PLOTS: Final[Mapping[str, Mapping[str, Callable[[Sequence[Row]], Figure | None]]]] = {
    "main": {"main": _plot_main},
    "length": {"length": _plot_length},
    "untrained": {"untrained": _plot_untrained},
    "robustness": {"robustness": _plot_robustness, "training-noise": _plot_training},
    "contamination": {"contamination": _plot_contamination},
}
_ALT: Final[Mapping[str, str]] = {
    "main": "AUC of every scorer by the published protocol and on frames with a score; bars are 95 % intervals or the "
    "standard deviation over seeds",
    "length": "Conditional AUC and share of frames scored by window length",
    "untrained": "AUC of every seed of flows with random and with trained weights; lines are means",
    "robustness": "Conditional AUC against the level of four perturbations of the test clips",
    "training-noise": "Conditional AUC against noise in the training clips; bands are 95 % intervals",
    "contamination": "Conditional AUC against the share of anomalous training windows; bands are 95 % intervals",
}
