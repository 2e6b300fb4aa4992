"""PoseLift's test split through DA-Flow: ``python -m benchmarks.poselift --data DIR [--train-stgnf]``.

Prints one table: the shipped checkpoint with windows cut as published and on our time grid, beside what looks at
nobody's movement (the number of people in the frame) and the figures known for STG-NF. The conditional AUC judges only
frames in which somebody has a score; the published protocol fills all others as normal, from which a count of people
profits. The rows called online judge what a live camera would have published at each frame: windows that have ended,
causal smoothing.

The figures known for STG-NF come from scrambled windows: its code stacks poses in the string order of their frame keys,
which PoseLift does not zero-pad. Rows of that name are measured the same way, the others in the order of time.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from model.dataset import PoseClip, Slicing, read_masks, read_split
from model.evaluation import (
    Evaluation,
    OnlineEvaluation,
    evaluate,
    evaluate_online,
    frame_metrics,
    people_counts,
)
from model.fused import FusedFlow
from model.scorer import PosePart, available_device
from model.training import TrainingSettings, train

FRAME_RATE_HZ = 15.0
STGNF_SLICINGS: tuple[Slicing, ...] = ("published", "scrambled")
STGNF_PUBLISHED = ("STG-NF, its own code, scrambled windows", "0.6748", "0.421", "0.376", "0.617", "2530")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="DA-Flow on PoseLift's test split.")
    parser.add_argument("--data", type=Path, required=True, help="folder with pose/train, pose/test and gt")
    parser.add_argument("--checkpoint", type=Path, default=DEFAULT_CHECKPOINT, help="checkpoint to judge")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--train-stgnf", action="store_true", help="also train STG-NF here, with its own options")
    arguments = parser.parse_args()
    clips = read_split(arguments.data / "pose" / "test")
    masks = read_masks(arguments.data / "gt" / "test_frame_mask")
    table = Table("scorer", "AUC-ROC", "AUC-PR", "EER", "conditional AUC", "frames scored")
    candidates: list[tuple[str, Checkpoint, Sequence[Slicing]]] = [
        ("DA-Flow", Checkpoint.load(arguments.checkpoint), ("grid", "published", "scrambled"))
    ]
    if arguments.train_stgnf:
        for slicing in STGNF_SLICINGS:
            trained = trained_stgnf(arguments.data, slicing, arguments.device)
            candidates.append(("STG-NF trained here", trained, (slicing,)))
    for name, checkpoint, slicings in candidates:
        for slicing in slicings:
            result = judged(checkpoint, clips, masks, slicing, arguments.device)
            table.add_row(f"{name}, {slicing} windows", *figures(result))
        table.add_row(f"{name}, online", *figures(judged_online(checkpoint, clips, masks, arguments.device)))
    table.add_row("number of people, no model", *baseline(clips, masks))
    table.add_row(*STGNF_PUBLISHED)
    console = Console(width=110)
    console.print(table)
    labels = np.concatenate(list(masks.values()))
    console.print(f"{len(labels)} frames, {labels.sum()} anomalous; frames without a score are filled as normal")


def judged(
    checkpoint: Checkpoint,
    clips: Sequence[PoseClip],
    masks: Mapping[str, NDArray[np.int64]],
    slicing: Slicing,
    device: str,
) -> Evaluation:
    """Score and judge the test split."""
    part = PosePart(FusedFlow(checkpoint.flow(), available_device(device)), checkpoint.spec)
    return evaluate(part.nll, clips, masks, checkpoint.spec, frame_rate_hz=FRAME_RATE_HZ, slicing=slicing)


def judged_online(
    checkpoint: Checkpoint, clips: Sequence[PoseClip], masks: Mapping[str, NDArray[np.int64]], device: str
) -> OnlineEvaluation:
    """Score and judge the test split as live cameras would."""
    part = PosePart(FusedFlow(checkpoint.flow(), available_device(device)), checkpoint.spec)
    return evaluate_online(part.nll, clips, masks, checkpoint.spec, frame_rate_hz=FRAME_RATE_HZ)


def trained_stgnf(data: Path, slicing: Slicing, device: str) -> Checkpoint:
    """STG-NF by our training loop, as its public code learns."""
    with tempfile.TemporaryDirectory() as folder:
        published = TrainingSettings.stgnf(data, Path(folder, "stgnf.safetensors"))
        settings = replace(published, slicing=slicing, device=device)
        return train(settings, console=Console(stderr=True)).checkpoint


def figures(result: Evaluation | OnlineEvaluation) -> list[str]:
    """One row of the table."""
    published = result.published
    metrics = [published.auc_roc, published.auc_pr, published.eer, result.conditional.auc_roc]
    return [*(f"{value:.4f}" for value in metrics), str(result.conditional_frames)]


def baseline(clips: Sequence[PoseClip], masks: Mapping[str, NDArray[np.int64]]) -> list[str]:
    """The row of the number of people in the frame, unsmoothed; every frame has one."""
    labels = np.concatenate([masks[clip.name] for clip in clips])
    metrics = frame_metrics(labels, people_counts(clips, masks))
    return [f"{metrics.auc_roc:.4f}", f"{metrics.auc_pr:.4f}", f"{metrics.eer:.4f}", "-", "-"]


if __name__ == "__main__":
    main()
