"""Evaluates a checkpoint on the test split of a data set, beside baselines without movement: ``daflow evaluate``."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from model.dataset import Axes, DatasetError
from model.evaluation import (
    PEOPLE_COUNT,
    PRESENCE,
    FootageScorer,
    WindowFootageScorer,
    common_frames,
    judge,
    score_split,
)
from model.layouts import Dataset, Extractor, Layout, read_dataset
from model.metrics import EventMetrics, Interval
from model.reports import FrameReport, Report, UnitReport
from model.training import data_digest, library_versions

_SHOWN_RATE: Final = 5.0
"""False alarms per camera-hour at which the tables show recall and delay; the JSON file has all rates."""

_NONE: Final = "-"


@dataclass(frozen=True, slots=True)
class EvaluationProvenance:
    """What the results depend on.

    Attributes:
        command: The command that made them.
        checkpoint: Name of the checkpoint.
        checkpoint_sha256: Digest of its file.
        data: Name of the data set.
        layout: Its layout.
        frame_rate_hz: Frames per second of its videos.
        data_sha256: Digest of the test clips' poses (`model.training.data_digest`).
        labels_sha256: Digest of the frame labels and of the selection of evaluated frames.
        versions: Versions of the libraries used.
    """

    command: str
    checkpoint: str
    checkpoint_sha256: str
    data: str
    layout: str
    frame_rate_hz: float
    data_sha256: str
    labels_sha256: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Results of all scorers on one test split.

    Attributes:
        provenance: What the results depend on.
        reports: Report of each scorer, by name.
    """

    provenance: EvaluationProvenance
    reports: dict[str, Report]

    def to_dict(self) -> dict[str, Any]:
        """The results as values that JSON can hold."""
        reports = {name: report.to_dict() for name, report in self.reports.items()}
        return {"provenance": asdict(self.provenance), "scorers": reports}


def evaluate(
    data: Path,
    checkpoint: Path = DEFAULT_CHECKPOINT,
    *,
    layout: Layout = "poselift",
    frame_rate_hz: float | None = None,
    axes: Axes = "auto",
    extractor: Extractor | None = None,
    device: str = "cpu",
    replicates: int = 1000,
    seed: int = 0,
    command: str = "",
) -> Evaluation:
    """Evaluate a checkpoint and two baselines.

    The checkpoint is evaluated twice: a window gives its score to its middle frame, as published, or to all frames that
    it covers. A checkpoint with motion and pairs as parts is also evaluated by the likelihood of the pose alone.

    Args:
        data: Folder of the data set.
        checkpoint: File of the checkpoint.
        layout: Layout of the data set on disk.
        frame_rate_hz: Frames per second of its videos; None takes the rate of the data set.
        axes: Order of the coordinates of a keypoint in its files, see `model.dataset`.
        extractor: Extracts poses of videos that have none yet.
        device: Device for scoring.
        replicates: Number of samples of clips for each interval.
        seed: Seed for the samples.
        command: The command that is recorded in the results.

    Raises:
        CheckpointError: The file is not a checkpoint.
        DatasetError: The data or its labels are missing or malformed.
        DeviceUnavailableError: There is no such device.
        ValueError: The split cannot be evaluated.
    """
    trained = Checkpoint.load(checkpoint)
    split = read_dataset(layout, data, splits=("test",), frame_rate_hz=frame_rate_hz, axes=axes, extractor=extractor)
    if not split.labels:
        raise DatasetError(f"{data}: there are no frame labels")
    scorers: list[FootageScorer] = [
        *_ways(trained.name, trained, device),
        *(_ways(f"{trained.name}, pose alone", trained.pose_alone(), device) if trained.parts else ()),
        PRESENCE,
        PEOPLE_COUNT,
    ]
    scores = {
        scorer.name: score_split(scorer, split.test, split.labels, frame_rate_hz=split.frame_rate_hz)
        for scorer in scorers
    }
    common = common_frames(list(scores.values()))
    judged = _judged(split)
    reports = {
        name: judge(
            own,
            split.labels,
            frame_rate_hz=split.frame_rate_hz,
            judged=judged,
            common=common,
            replicates=replicates,
            seed=seed,
        )
        for name, own in scores.items()
    }
    provenance = EvaluationProvenance(
        command=command,
        checkpoint=trained.name,
        checkpoint_sha256=hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        data=data.resolve().name,
        layout=layout,
        frame_rate_hz=split.frame_rate_hz,
        data_sha256=data_digest(split.test),
        labels_sha256=_labels_digest(split),
        versions=library_versions() | {name: version(name) for name in ("daflow-live", "scikit-learn", "scipy")},
    )
    return Evaluation(provenance, reports)


def tables(evaluation: Evaluation) -> list[Table]:
    """Three tables: frames offline; frames as a live camera scores them; people, clips and events.

    Brackets hold intervals. *Coverage alone* has the micro and the macro average.
    """
    any_report = next(iter(evaluation.reports.values()))
    footage = (
        f"{evaluation.provenance.data}: {any_report.clips} clips, {any_report.frames} frames "
        f"({any_report.anomalous_frames} anomalous), {any_report.hours:.2f} h; "
        f"{any_report.level:.0%} intervals over clips"
    )
    allowed = any_report.events.at(_SHOWN_RATE).allowed
    common = f"{_frames(any_report.common)} common"
    columns = ("AUC-ROC", "macro AUC-ROC", "coverage alone", "AUC-PR", "EER", "conditional", "frames", common)
    offline = _table(escape(footage), *columns)
    online = _table("as a live camera", "AUC-ROC", "AUC-PR", "EER", "conditional", "frames")
    events = _table(
        f"people, clips, {any_report.events.events} events; recall and delay at {_SHOWN_RATE:g} false alarms/h, "
        f"{allowed} on this footage",
        "people",
        "clips",
        "best F1@0.2",
        "recall",
        "live: best F1@0.2",
        "recall",
        "delay",
    )
    for name, report in evaluation.reports.items():
        published, live = report.published, report.online_published
        offline.add_row(
            escape(name),
            _micro(published),
            _with_interval(published.macro_auc_roc, published.macro_interval),
            " / ".join(
                _with_interval(value, None) for value in (report.coverage.micro.auc_roc, report.coverage.macro_auc_roc)
            ),
            f"{published.micro.auc_pr:.3f}",
            f"{published.micro.eer:.3f}",
            _micro(report.conditional),
            _frames(report.conditional),
            _micro(report.common),
        )
        online.add_row(
            escape(name),
            _micro(live),
            f"{live.micro.auc_pr:.3f}",
            f"{live.micro.eer:.3f}",
            _micro(report.online_conditional),
            _frames(report.online_conditional),
        )
        events.add_row(
            escape(name),
            _unit(report.tracks_highest),
            _unit(report.clip_level),
            *_found(report.events)[:2],
            *_found(report.online_events),
        )
    return [offline, online, events]


def _ways(name: str, checkpoint: Checkpoint, device: str) -> list[FootageScorer]:
    """Scorers that give the score of a window to its middle frame, and to all frames that it covers."""
    return [
        WindowFootageScorer.of_checkpoint(f"{name}, middle frame", checkpoint, device=device),
        WindowFootageScorer.of_checkpoint(f"{name}, all frames", checkpoint, device=device, assignment="covering"),
    ]


def _judged(split: Dataset) -> dict[str, NDArray[np.bool_]] | None:
    """By clip, which frames are evaluated; None for all frames."""
    if not split.judged:
        return None
    return {name: split.judged.get(name, np.ones(len(own), bool)) for name, own in split.labels.items()}


def _labels_digest(split: Dataset) -> str:
    digest = hashlib.sha256()
    for name, labels in sorted(split.labels.items()):
        digest.update(f"{name} {len(labels)} ".encode())
        digest.update(labels.astype("u1").tobytes())
        if name in split.judged:
            digest.update(split.judged[name].astype("u1").tobytes())
    return digest.hexdigest()


def _table(title: str, *columns: str) -> Table:
    return Table("scorer", *columns, title=title, title_justify="left")


def _with_interval(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return _NONE
    return f"{value:.3f}" + ("" if interval is None else f" \\[{interval.low:.2f}, {interval.high:.2f}]")


def _micro(frames: FrameReport | None) -> str:
    return _NONE if frames is None else _with_interval(frames.micro.auc_roc, frames.micro_interval)


def _frames(frames: FrameReport | None) -> str:
    return _NONE if frames is None else str(frames.frames)


def _unit(units: UnitReport | None) -> str:
    return _NONE if units is None else _with_interval(units.auc_roc, units.interval)


def _found(events: EventMetrics) -> tuple[str, str, str]:
    point = events.at(_SHOWN_RATE)
    delay = _NONE if point.median_delay_s is None else f"{point.median_delay_s:.1f} s"
    return f"{events.best_f1_20:.3f}", f"{point.recall:.3f}", delay
