"""The tasks behind the tables of `benchmarks.research.paper`, and how tables are built from their results.

A table is a list of rows; a row has cells by name, and a cell one value for each seed, with an interval where a single
scorer was judged. Tasks that several tables need are the same task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, get_args

from benchmarks.research.experiments import RATE_HZ, Workspace, donors, read_data
from benchmarks.research.perturbation import Perturbation
from benchmarks.research.runs import Result, Settings, Task
from model.attention import Attention
from model.config import DAFlowConfig
from model.layouts import Dataset

Cells = dict[str, dict[str, Any]]

TABLES: Final = (
    "main",
    "attention",
    "questions",
    "length",
    "untrained",
    "robustness",
    "contamination",
    "cameras",
    "data sets",
    "beyond",
    "synthetic",
    "cost",
)
LENGTHS: Final = (8, 12, 16, 24, 36, 48)
LEVELS: Final[Mapping[Perturbation, Sequence[float]]] = {
    "noise": (0.01, 0.02, 0.05, 0.1, 0.2),
    "joints": (0.05, 0.1, 0.2, 0.4, 0.6),
    "frames": (0.1, 0.2, 0.4, 0.6, 0.8),
    "jitter": (0.01, 0.02, 0.05, 0.1, 0.2),
}
TRAINING_NOISE: Final = (0.02, 0.05, 0.1)
SHARES: Final = (0.0, 0.01, 0.02, 0.05, 0.1)

PAPER_LENGTH: Final = 24
RECOMMENDED_LENGTH: Final = 8
PAPER: Final = "DA-Flow A2 (T=24)"
PAPER_A1: Final = "DA-Flow A1 (T=24)"
RECOMMENDED: Final = "DA-Flow recommended (T=8, three parts)"
RECOMMENDED_POSE: Final = "DA-Flow (T=8, pose alone)"
STGNF: Final = "STG-NF"
STGNF_STORED: Final = "STG-NF, files as stored"

ONE_TRAINING_S: Final = 6.4e-6
"""Seconds of one thread for a pose, an epoch and a grid point of the window; 20 epochs at T=24 on PoseLift take five
minutes."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to compute.

    Attributes:
        epochs: Of DA-Flow and the autoencoder; STG-NF has its official 8 at most.
        seeds: Of the main rows.
        untrained_seeds: Of flows with random weights.
        device: ``cpu``, or a CUDA device where costs are measured too.
        machine: Of the costs: where they were measured.
        only: Names of tables.
    """

    epochs: int
    seeds: int
    untrained_seeds: int
    device: str
    machine: str
    only: Sequence[str]


@dataclass(frozen=True, slots=True)
class Row:
    """A row before its tasks are done.

    Attributes:
        facts: What it is: its name, and where it stands in a curve.
        judged: Evaluations, one for each seed.
        trained: Trainings, one for each seed.
    """

    facts: Mapping[str, Any]
    judged: Sequence[Task] = ()
    trained: Sequence[Task] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A table before its tasks are done.

    Attributes:
        rows: Its rows.
        cells: Names of the cells that are kept; all if empty.
        other: Tasks whose results are rows themselves, with facts to add.
    """

    rows: Sequence[Row] = ()
    cells: Sequence[str] = ()
    other: Sequence[tuple[Mapping[str, Any], Task]] = ()

    def tasks(self) -> Iterator[Task]:
        """All tasks that the table needs."""
        for row in self.rows:
            yield from row.judged
            yield from row.trained
        yield from (task for _, task in self.other)

    def built(self, results: Mapping[str, Result]) -> dict[str, Any]:
        """The table; results that are missing leave gaps."""
        rows = [dict(row.facts) | {"cells": self._cells(row, results)} for row in self.rows]
        for facts, task in self.other:
            if task.digest in results:
                values = results[task.digest].values
                rows += [dict(facts) | dict(own) for own in values.get("rows", [values])]
        return {"rows": rows}

    def _cells(self, row: Row, results: Mapping[str, Result]) -> Cells:
        cells: Cells = {}
        for task in row.judged:
            report = results[task.digest].values["report"] if task.digest in results else None
            for name, (value, interval) in figures(report).items() if report else ():
                _add(cells, name, value, interval)
        for task in row.trained:
            values = results[task.digest].values if task.digest in results else {}
            for name in ("parameters", "train_nll", "heldout_nll", "epoch", "windows", "contamination"):
                if values.get(name) is not None:
                    _add(cells, name, values[name], None)
        for cell in cells.values():
            if len(cell["values"]) > 1:
                cell["interval"] = None
        return {name: cell for name, cell in cells.items() if not self.cells or name in self.cells}


def figures(report: Mapping[str, Any]) -> dict[str, tuple[float, list[float] | None]]:
    """Values of a report by name, with an interval where there is one; what the report does not have is left out."""
    found: dict[str, tuple[float, list[float] | None]] = {}

    def frames(name: str, part: Mapping[str, Any] | None) -> None:
        if part is None:
            return
        found[name] = part["micro"]["auc_roc"], _ends(part["micro_interval"])
        found[f"{name} macro"] = part["macro_auc_roc"], _ends(part["macro_interval"])
        found[f"{name} AUC-PR"] = part["micro"]["auc_pr"], None
        found[f"{name} EER"] = part["micro"]["eer"], None
        found[f"{name} frames"] = part["frames"], None

    for name in ("published", "coverage", "conditional", "common"):
        frames(name, report[name])
    frames("online", report["online_published"])
    frames("online conditional", report["online_conditional"])
    for name in ("tracks_highest", "tracks_mean", "clip_level"):
        if report[name] is not None:
            found[name] = report[name]["auc_roc"], _ends(report[name]["interval"])
    for prefix, part in (("offline", report["events"]), ("live", report["online_events"])):
        found[f"{prefix} F1@0.2"], found[f"{prefix} F1@0.5"] = (part["best_f1_20"], None), (part["best_f1_50"], None)
        for point in part["points"]:
            at = f"{prefix} @{point['rate_per_hour']:g}"
            found[f"{at} recall"], found[f"{at} allowed"] = (point["recall"], None), (point["allowed"], None)
            found[f"{at} delay"] = point["median_delay_s"], None
    if report["conditional"] is not None:
        found["scored"] = report["conditional"]["frames"] / report["frames"], None
    return {name: own for name, own in found.items() if own[0] is not None}


class Plans:
    """The tables that can be made of some data sets.

    Args:
        space: Where things are.
        options: What to compute.
        data: The first data set, the one that all tables but one are about.
        digests: Digests of the data sets by name, in order.
        files: Digests of checkpoint files by name: ``shipped``, and ``stgnf`` if there is one.
    """

    def __init__(
        self, space: Workspace, options: Options, data: Dataset, digests: Mapping[str, str], files: Mapping[str, str]
    ) -> None:
        self.space, self.options, self.data, self.digests, self.files = space, options, data, digests, files
        self.home = next(iter(digests))
        self._poses = sum(len(track.frames) for clip in data.train for track in clip.tracks)

    def all(self) -> dict[str, Plan]:
        """The tables asked for, in order."""
        plans = {
            "main": self.main,
            "attention": self.attention,
            "questions": self.questions,
            "length": self.length,
            "untrained": self.untrained,
            "robustness": self.robustness,
            "contamination": self.contamination,
            "cameras": self.cameras,
            "data sets": self.data_sets,
            "beyond": self.beyond,
            "synthetic": self.synthetic,
            "cost": self.cost,
        }
        wanted = self.options.only or TABLES
        found = {name: plan() for name, plan in plans.items() if name in wanted}
        return {name: plan for name, plan in found.items() if plan.rows or plan.other}

    def main(self) -> Plan:
        """Everything side by side."""
        seeds = range(self.options.seeds)
        rows = [
            Row({"name": "presence", "group": "baseline"}, [self.judged("presence", {"kind": "presence"})]),
            Row({"name": "number of people", "group": "baseline"}, [self.judged("people", {"kind": "people"})]),
            Row(
                {"name": "motion energy", "group": "baseline"},
                [self.judged("motion energy", {"kind": "motion", "length": 24})],
            ),
            Row(
                {"name": "Gaussian", "group": "baseline"},
                [self.judged("Gaussian", {"kind": "gaussian", "length": 24, "source": self.source()}, guess_s=25)],
            ),
            Row({"name": "autoencoder", "group": "baseline"}, [self._autoencoder(seed) for seed in seeds]),
            Row({"name": "STG-NF, untrained", "group": "untrained"}, self._untrained(DAFlowConfig.stgnf(), True)),
            Row({"name": "DA-Flow A2, untrained", "group": "untrained"}, self._untrained(DAFlowConfig.a2(), True)),
        ]
        if "stgnf" in self.files:
            for name, way in (("as stored", _STORED), ("upright, in order", _PUBLISHED)):
                scorer = self._flows([], way | {"checkpoints": ["stgnf"], "sha256": self.files["stgnf"]})
                test = self.source(axes="xy" if way is _STORED else "auto")
                facts = {"name": f"STG-NF, its authors' weights, files {name}", "group": "trained"}
                rows.append(Row(facts, [self.judged(f"STG-NF's weights {name}", scorer, test)]))
        for name, trained in (
            (STGNF_STORED, [self.stgnf(seed, stored=True) for seed in seeds]),
            (STGNF, [self.stgnf(seed) for seed in seeds]),
            (PAPER_A1, [self.daflow(DAFlowConfig.a1(), seed) for seed in seeds]),
            (PAPER, [self.daflow(DAFlowConfig.a2(), seed) for seed in seeds]),
            (RECOMMENDED, [self.recommended(seed) for seed in seeds]),
        ):
            rows.append(Row({"name": name, "group": "trained"}, [self.standard(name, own) for own in trained], trained))
        shipped = self._flows([], _COVERING | {"checkpoints": ["shipped"], "sha256": self.files["shipped"]} | _OWN)
        rows.append(Row({"name": "shipped checkpoint", "group": "trained"}, [self.judged("shipped", shipped)]))
        return Plan(rows)

    def attention(self) -> Plan:
        """Branches of dual attention."""
        rows = []
        for attention in get_args(Attention):
            config = replace(DAFlowConfig.a2(), attention=attention)
            trained = [self.daflow(config, seed) for seed in range(min(2, self.options.seeds))]
            rows.append(
                Row({"name": attention}, [self.pose(f"attention {attention}", own) for own in trained], trained)
            )
        return Plan(rows)

    def questions(self) -> Plan:
        """What the paper's description leaves open, one choice changed at a time."""
        default = DAFlowConfig.a2()
        changes: list[tuple[str, dict[str, Any]]] = [
            ("default (A2)", {}),
            ("one partition of 8 bones, with bias", {"partition": "uniform", "max_hop": 8, "gcn_bias": True}),
            ("the same and a final ReLU (A1)", DAFlowConfig.a1().to_dict()),
            ("final ReLU", {"final_relu": True}),
            ("no residual", {"residual": "none"}),
            ("residual after attention", {"residual_position": "after_attention"}),
            ("frame kernel 3x7", {"frame_kernel": "3x7"}),
            ("gates without learned scale", {"attention_norm": "plain"}),
            ("gates without normalisation", {"attention_norm": "none"}),
            ("learned 1x1 convolution as permutation", {"permutation": "conv1x1"}),
            ("scale, then shift", {"coupling": "scale_then_shift"}),
        ]
        rows = []
        for name, change in changes:
            trained = self.daflow(DAFlowConfig.from_dict(default.to_dict() | change), 0)
            rows.append(Row({"name": name}, [self.pose(name, trained)], [trained]))
        return Plan(rows)

    def length(self) -> Plan:
        """Frames in a window, judged by the middle frame as published."""
        rows = []
        for length in LENGTHS:
            config = DAFlowConfig.a2(length)
            trained = self.recommended(0) if length == RECOMMENDED_LENGTH else self.daflow(config, 0)
            rows.append(Row({"name": f"T={length}", "x": length}, [self.pose(f"T={length}", trained)], [trained]))
        return Plan(rows)

    def untrained(self) -> Plan:
        """Random weights against trained ones."""
        rows = []
        for name, config, trained in (
            (PAPER, DAFlowConfig.a2(), self.daflow),
            (PAPER_A1, DAFlowConfig.a1(), self.daflow),
            (STGNF, DAFlowConfig.stgnf(), None),
        ):
            for actnorm in (False, True):
                weights = "random, ActNorm set on data" if actnorm else "random"
                rows.append(Row({"name": name, "weights": weights}, self._untrained(config, actnorm)))
            own = [self.stgnf(seed) if trained is None else trained(config, seed) for seed in range(self.options.seeds)]
            facts = {"name": name, "weights": "trained"}
            rows.append(Row(facts, [self.standard(name, task) for task in own], own))
        return Plan(rows, _CURVE)

    def robustness(self) -> Plan:
        """Poses made worse, of test clips or of training clips."""
        seeds = range(self.options.seeds)
        models = {
            PAPER: [self.daflow(DAFlowConfig.a2(), seed) for seed in seeds],
            RECOMMENDED: [self.recommended(seed) for seed in seeds],
            STGNF: [self.stgnf(seed) for seed in seeds],
        }
        rows = []
        for name, trained in models.items():
            for kind, levels in LEVELS.items():
                for level in (0.0, *levels):
                    test = self.source(perturbation=kind, level=level) if level else self.source()
                    facts = {"name": name, "kind": kind, "x": level, "where": "test"}
                    rows.append(Row(facts, [self.standard(f"{name}, {kind} {level:g}", own, test) for own in trained]))
        for level in (0.0, *TRAINING_NOISE):
            source = self.source(noise=level) if level else self.source()
            for name, own in (
                (PAPER, self.daflow(DAFlowConfig.a2(), 0, source)),
                (RECOMMENDED, self.recommended(0, source)),
                (STGNF, self.stgnf(0, source=source)),
            ):
                facts = {"name": name, "kind": "noise", "x": level, "where": "training"}
                rows.append(Row(facts, [self.standard(f"{name}, training noise {level:g}", own)]))
        return Plan(rows, _CURVE)

    def contamination(self) -> Plan:
        """Anomalies among the training windows."""
        if len(donors(self.data.labels)) < 1:
            return Plan()
        rows, test = [], self.source(uncontaminated=True)
        for share in SHARES:
            source = self.source(contamination=share)
            for name, own in (
                (PAPER, self.daflow(DAFlowConfig.a2(), 0, source)),
                (RECOMMENDED, self.recommended(0, source)),
                (STGNF, self.stgnf(0, source=source)),
            ):
                judged = self.standard(f"{name}, {share:.0%} contaminated", own, test)
                rows.append(Row({"name": name, "x": share}, [judged], [own]))
        return Plan(rows, (*_CURVE, "contamination", "windows"))

    def cameras(self) -> Plan:
        """Each camera judged by models that knew it and by models that did not."""
        rows = []
        cameras = sorted({clip.camera for clip in self.data.train})
        for camera in cameras if len(cameras) > 1 else ():
            test = self.source(camera=camera)
            if not any(self.data.labels[clip.name].any() for clip in self.data.test if clip.camera == camera):
                continue
            for seen, own in (
                ("all cameras", self.recommended(0)),
                ("all others", self.recommended(0, self.source(without_camera=camera))),
            ):
                for name, way in ((RECOMMENDED, _COVERING | _OWN), (RECOMMENDED_POSE, _COVERING)):
                    facts = {"name": name, "camera": camera, "trained on": seen}
                    judged = self.judged(f"{name}, camera {camera}, {seen}", self._flows([own], way), test, [own])
                    rows.append(Row(facts, [judged]))
        return Plan(rows, _CURVE)

    def data_sets(self) -> Plan:
        """Trained on one data set, judged on another."""
        rows = []
        for learnt in self.digests if len(self.digests) > 1 else ():
            for judged in self.digests:
                for name, own in (
                    (PAPER, self.daflow(DAFlowConfig.a2(), 0, self.source(learnt))),
                    (RECOMMENDED, self.recommended(0, self.source(learnt))),
                    (STGNF, self.stgnf(0, source=self.source(learnt))),
                ):
                    facts = {"name": name, "trained on": learnt, "judged on": judged}
                    rows.append(Row(facts, [self.standard(f"{name}, {learnt} on {judged}", own, self.source(judged))]))
        return Plan(rows, _CURVE)

    def beyond(self) -> Plan:
        """What can be made of the recommended flow and of others by scoring alone."""
        trained = [self.recommended(seed) for seed in range(self.options.seeds)]
        calibrated = {"per_camera": self.source()}
        two, three = ["pose", "motion"], ["pose", "motion", "pair"]
        variants: list[tuple[str, dict[str, Any]]] = [
            ("pose, middle frame", _MIDDLE),
            ("pose, covering frames", _COVERING),
            ("motion alone", _COVERING | {"parts": ["motion"]}),
            ("pairs alone", _COVERING | {"parts": ["pair"]}),
            ("pose and motion, sum of surprises", _COVERING | {"parts": two}),
            ("pose and motion, smallest p", _COVERING | {"parts": two, "combine": "max"}),
            ("pose, motion and pairs, sum of surprises (recommended)", _COVERING | _OWN),
            ("pose, motion and pairs, smallest p", _COVERING | {"parts": three, "combine": "max"}),
            ("pose, per camera", _COVERING | calibrated),
            ("pose, middle frame, per camera", _MIDDLE | calibrated),
            ("pose, motion and pairs, sum of surprises, per camera", _COVERING | _OWN | calibrated),
        ]
        rows = []
        for name, way in variants:
            rows.append(
                Row({"name": name}, [self.judged(name, self._flows([own], way), needs=[own]) for own in trained])
            )
        if len(trained) > 1:
            for name, way in (("middle frame", _MIDDLE), ("covering frames", _COVERING)):
                scorer = self._flows(trained, way)
                facts = {"name": f"pose, {name}, mean of {len(trained)} seeds"}
                rows.append(Row(facts, [self.judged(f"ensemble, {name}", scorer, needs=trained)]))
        return Plan(rows)

    def synthetic(self) -> Plan:
        """What scores find of anomalies made from normal clips."""
        other = []
        for name, own in (
            ("T=24, A2", self.daflow(DAFlowConfig.a2(), 0)),
            ("T=8, recommended", self.recommended(0)),
        ):
            settings = {"source": self.source(), "checkpoint": own.digest, "seed": 0}
            other.append(({"name": name}, Task(f"synthetic anomalies, {name}", "synthetic", settings, (own,), 60.0)))
        return Plan(other=other)

    def cost(self) -> Plan:
        """What a window costs, measured with nothing else running."""
        other = []
        models: list[tuple[str, DAFlowConfig | None]] = [
            (PAPER, DAFlowConfig.a2()),
            (PAPER_A1, DAFlowConfig.a1()),
            (RECOMMENDED_POSE, DAFlowConfig.a2(RECOMMENDED_LENGTH)),
            (f"{STGNF} (T=24)", DAFlowConfig.stgnf()),
            ("autoencoder (T=24)", None),
        ]
        for device in dict.fromkeys(("cpu", self.options.device)):
            for name, config in models:
                settings = {
                    "config": None if config is None else config.to_dict(),
                    "length": 24,
                    "device": device,
                    "machine": self.options.machine,
                }
                other.append(({"name": name}, Task(f"cost of {name} on {device}", "cost", settings, alone=True)))
        return Plan(other=other)

    def source(self, data: str | None = None, axes: str = "auto", **changes: Any) -> dict[str, Any]:
        """Clips of a data set, changed or not."""
        name = self.home if data is None else data
        return {"data": name, "sha256": self.digests[name], "axes": axes} | changes

    def daflow(self, config: DAFlowConfig, seed: int, source: Settings | None = None) -> Task:
        """A training of DA-Flow with the pose alone."""
        return self._training("daflow", config, seed, source or self.source(), self.options.epochs)

    def recommended(self, seed: int, source: Settings | None = None) -> Task:
        """A training of DA-Flow as recommended."""
        config = DAFlowConfig.a2(RECOMMENDED_LENGTH)
        return self._training("daflow", config, seed, source or self.source(), self.options.epochs, parts=True)

    def stgnf(self, seed: int, *, stored: bool = False, source: Settings | None = None) -> Task:
        """A training of STG-NF by its official schedule: upright and in order, or on files as its code reads them."""
        if stored:
            return self._training("scrambled", DAFlowConfig.stgnf(), seed, self.source(axes="xy"), 8)
        return self._training("published", DAFlowConfig.stgnf(), seed, source or self.source(), 8)

    def standard(self, name: str, trained: Task, test: Settings | None = None) -> Task:
        """A trained flow judged as it is meant to be used."""
        way, preset = _MIDDLE, trained.settings["preset"]
        if trained.settings["parts"]:
            way = _COVERING | _OWN
        elif preset != "daflow":
            way = _STORED if preset == "scrambled" else _PUBLISHED
            test = test or self.source(axes=trained.settings["source"]["axes"])
        return self.judged(name, self._flows([trained], way), test, [trained])

    def pose(self, name: str, trained: Task) -> Task:
        """The likelihood of a trained flow judged by middle frames."""
        return self.judged(name, self._flows([trained], _MIDDLE), needs=[trained])

    def judged(
        self,
        name: str,
        scorer: Settings,
        test: Settings | None = None,
        needs: Sequence[Task] = (),
        guess_s: float = 5.0,
    ) -> Task:
        """An evaluation; on the unchanged test split also on the frames that all scorers of the main table score."""
        test = test or self.source()
        whole = test["data"] == self.home and not test.keys() - {"data", "sha256", "axes"}
        # Longer windows than those of the main table's scorers do not score all of their frames.
        whole &= all(need.settings["config"]["length"] <= PAPER_LENGTH for need in needs)
        settings = {"scorer": scorer, "test": test, "common": self._ways() if whole else None}
        return Task(f"judging {name}", "judge", settings, tuple(needs), guess_s)

    def _ways(self) -> list[dict[str, Any]]:
        """All ways in which the scorers of the main table cut windows and score frames."""
        stored = {"axes": "xy", "length": 24, "rate_hz": self.data.frame_rate_hz}
        grid = {"axes": "auto", "rate_hz": RATE_HZ}
        return [
            grid | {"length": 24, "slicing": "grid", "assignment": "middle"},
            grid | {"length": RECOMMENDED_LENGTH, "slicing": "grid", "assignment": "covering"},
            stored | {"slicing": "published", "assignment": "middle"},
            stored | {"slicing": "scrambled", "assignment": "middle"},
        ]

    def _flows(self, trained: Sequence[Task], way: Settings) -> dict[str, Any]:
        own = {"kind": "flows", "checkpoints": [task.digest for task in trained], "rate_hz": self.data.frame_rate_hz}
        return own | dict(way)

    def _autoencoder(self, seed: int) -> Task:
        settings = {
            "kind": "autoencoder",
            "length": 24,
            "source": self.source(),
            "seed": seed,
            "epochs": self.options.epochs,
        }
        return self.judged(f"autoencoder, seed {seed}", settings, guess_s=0.01 * self._training_s(24))

    def _untrained(self, config: DAFlowConfig, actnorm: bool) -> list[Task]:
        scorer = {
            "kind": "untrained",
            "length": config.length,
            "config": config.to_dict(),
            "actnorm": actnorm,
            "source": self.source(),
        }
        return [
            self.judged(f"random weights, seed {seed}", scorer | {"seed": seed})
            for seed in range(self.options.untrained_seeds)
        ]

    def _training(
        self, preset: str, config: DAFlowConfig, seed: int, source: Settings, epochs: int, parts: bool = False
    ) -> Task:
        epochs, architecture = min(epochs, self.options.epochs), config.to_dict()
        settings = {
            "preset": preset,
            "config": architecture,
            "parts": parts,
            "seed": seed,
            "source": source,
            "epochs": epochs,
        }
        guess = self._training_s(config.length) * epochs / self.options.epochs
        default = DAFlowConfig().to_dict()
        changes = [
            f"{key} {value}"
            for key, value in (*architecture.items(), *source.items())
            if key not in ("data", "sha256", "axes") and default.get(key) != value
        ]
        name = f"training {preset}, seed {seed}, {', '.join(changes) or 'A2'}"
        return Task(name, "train", settings, guess_s=guess / (3 if "contamination" in source else 1))

    def _training_s(self, length: int) -> float:
        return ONE_TRAINING_S * self._poses * self.options.epochs * length


def read_home(space: Workspace, name: str) -> Dataset:
    """A data set of the workspace as it is.

    Raises:
        DatasetError: Something is missing or malformed.
    """
    return read_data(space.layout, Path(space.folders[name]), "auto")


_WAY: Final[Mapping[str, Any]] = {"parts": [], "combine": "sum", "per_camera": None}
_MIDDLE: Final = dict(_WAY) | {"slicing": "grid", "assignment": "middle"}
_COVERING: Final = dict(_WAY) | {"slicing": "grid", "assignment": "covering"}
_PUBLISHED: Final = dict(_WAY) | {"slicing": "published", "assignment": "middle"}
_STORED: Final = dict(_WAY) | {"slicing": "scrambled", "assignment": "middle"}
_OWN: Final = {"parts": ["own"]}
_CURVE: Final = ("published", "conditional", "conditional frames", "scored", "common", "online conditional")


def _add(cells: Cells, name: str, value: float, interval: list[float] | None) -> None:
    cell = cells.setdefault(name, {"values": [], "interval": interval})
    cell["values"].append(value)


def _ends(interval: Mapping[str, Any] | None) -> list[float] | None:
    return None if interval is None else [interval["low"], interval["high"]]
