"""Synthetic anomalies found: ``python -m benchmarks.research.synthetic --data DIR [--checkpoint FILE] [--json FILE]``.

Normal clips that the checkpoint's flow has not learnt from, those its training held out, and anomalies made of them
(`model.synthetic`): for each kind, the AUC of all windows of the changed clips against all windows of the clips as they
are. No label of the test split is involved, so scores may be chosen by this table. One row for each way to score a
window: the pose's negative log-likelihood; its distance from the median of normal windows, on either side (typicality);
the surprise of the parts for motion and pairs; and parts combined by the sum of their surprises (Fisher) or
by the largest (smallest p).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from benchmarks.research.poselift import FRAME_RATE_HZ
from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from model.dataset import DatasetError, PoseClip, clip_windows, hold_out, read_split
from model.footage import PoseFootage
from model.parts import MOTION, PAIR, POSE, Footage, Parts, fit_parts
from model.scorer import RawScorer
from model.synthetic import SyntheticAnomaly, synthetic
from model.training import data_digest
from pose.windows import Windows

Floats = NDArray[np.float64]

HELD_OUT = 0.3
"""Share of the clips that training holds out unless told otherwise."""
KINDS: tuple[SyntheticAnomaly, ...] = get_args(SyntheticAnomaly)


@dataclass(frozen=True, slots=True)
class SyntheticRow:
    """How well one score tells anomalies from normal windows.

    Attributes:
        score: Its name.
        auc: AUC-ROC by kind of anomaly.
        mean: Mean over the kinds.
    """

    score: str
    auc: dict[SyntheticAnomaly, float]
    mean: float


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Synthetic anomalies of PoseLift's normal clips.")
    parser.add_argument("--data", type=Path, required=True, help="folder with pose/train")
    parser.add_argument("--checkpoint", type=Path, default=DEFAULT_CHECKPOINT, help="checkpoint to judge")
    parser.add_argument("--held-out", type=float, default=HELD_OUT, help="share of clips its training held out")
    parser.add_argument("--seed", type=int, default=0, help="decides the anomalies")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    clips = read_split(arguments.data / "pose" / "train")
    checkpoint = Checkpoint.load(arguments.checkpoint)
    if checkpoint.provenance.data_sha256 != data_digest(clips):
        Console(stderr=True).print(f"{checkpoint.name} learnt from other clips, so none of these were held out from it")
    rows = synthetic_table(
        checkpoint, clips, FRAME_RATE_HZ, arguments.seed, held_out=arguments.held_out, device=arguments.device
    )
    Console(width=140).print(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2))


def synthetic_table(
    checkpoint: Checkpoint,
    clips: Sequence[PoseClip],
    frame_rate_hz: float,
    seed: int,
    *,
    held_out: float = HELD_OUT,
    device: str = "cpu",
) -> list[SyntheticRow]:
    """One row for each score.

    The parts are the checkpoint's. Training fits them to the clips held out, those judged here; that shifts their
    p-values a little and the order of windows within one part not at all. A checkpoint without gets parts from
    the clips that it learnt from.

    Args:
        checkpoint: The checkpoint; its seed tells what it held out.
        clips: All clips of the training split it learnt from, in their order.
        frame_rate_hz: Frames per second of their videos.
        seed: Decides the anomalies.
        held_out: Share of each camera's clips that training held out.
        device: Where to compute.

    Returns:
        The rows; without those of pairs if normal clips showed too few of them.

    Raises:
        DatasetError: No clip can be held out, or those held out have no window.
        CalibrationError: The checkpoint has no parts, and the clips are too short to learn them from.
    """
    learnt, held = hold_out(clips, held_out, checkpoint.provenance.seed)
    scorer = RawScorer.of_checkpoint(checkpoint, device)
    parts = checkpoint.parts or _fitted(scorer, learnt, frame_rate_hz)
    normal = scores(scorer, parts, held, frame_rate_hz)
    found: dict[str, dict[SyntheticAnomaly, float]] = {name: {} for name in normal}
    for kind in KINDS:
        changed = scores(scorer, parts, synthetic(held, kind, frame_rate_hz, seed), frame_rate_hz)
        for name, values in changed.items():
            found[name][kind] = auc(normal[name], values)
    return [SyntheticRow(name, by_kind, float(np.mean(list(by_kind.values())))) for name, by_kind in found.items()]


def scores(scorer: RawScorer, parts: Parts, clips: Sequence[PoseClip], frame_rate_hz: float) -> dict[str, Floats]:
    """Every score of all windows of some clips, by name, each ``(N,)``.

    Raises:
        DatasetError: There is no window.
    """
    # At stride 1, so that people's windows end together and pairs are found.
    batches = [clip_windows(clip, scorer.spec, frame_rate_hz=frame_rate_hz) for clip in clips]
    windows = Windows.concatenate(batches)
    if not len(windows):
        raise DatasetError(f"no track of {len(clips)} clips is long enough for a window of {scorer.spec.length} points")
    nll = scorer.nll(windows.tensor)
    clip_of_window = np.repeat(np.arange(len(batches)), [len(batch) for batch in batches])
    bits = parts.surprises(windows, nll, clip_of_window, scorer.spec)
    result: dict[str, Floats] = {
        "pose": nll,
        "pose, typicality": np.abs(nll - parts.pose.nll(np.array(0.5))),
    }
    result |= {name: bits[name] for name in (MOTION, PAIR) if name in bits}
    for names in ((POSE, MOTION), (POSE, MOTION, PAIR)):
        if set(names) <= bits.keys():
            together = np.stack([bits[name] for name in names])
            result[f"{' + '.join(names)}, sum"] = together.sum(axis=0)
            result[f"{' + '.join(names)}, smallest p"] = together.max(axis=0)
    return result


def auc(normal: Floats, anomalous: Floats) -> float:
    """AUC-ROC of anomalous windows against normal ones."""
    labels = np.repeat([0, 1], [len(normal), len(anomalous)])
    return float(roc_auc_score(labels, np.concatenate([normal, anomalous])))


def table(rows: Sequence[SyntheticRow]) -> Table:
    """One line for each score, one column for each anomaly."""
    result = Table("score", *KINDS, "mean")
    for row in rows:
        result.add_row(row.score, *(f"{row.auc[kind]:.3f}" for kind in KINDS), f"{row.mean:.3f}")
    return result


def _fitted(scorer: RawScorer, clips: Sequence[PoseClip], frame_rate_hz: float) -> Parts:
    recordings = [PoseFootage.of_clip(clip, frame_rate_hz) for clip in clips]
    footage = [Footage(own.windows(scorer.spec), own.frame_times) for own in recordings]
    return fit_parts(footage, [scorer.nll(own.windows.tensor) for own in footage], scorer.spec)


if __name__ == "__main__":
    main()
