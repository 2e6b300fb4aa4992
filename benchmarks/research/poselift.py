"""PoseLift's test split through DA-Flow: ``python -m benchmarks.research.poselift --data DIR [--train-stgnf SEEDS]``.

Prints one table: the shipped checkpoint with windows cut as published and on our time grid, beside what looks at
nobody's movement (the number of people in the frame) and the figures known for STG-NF. The conditional AUC judges only
frames in which somebody has a score; the published protocol fills all others as normal, from which a count of people
profits. The rows called online judge what a live camera would have published at each frame: windows that have ended,
causal smoothing.

The figures known for STG-NF come from scrambled windows: its code stacks poses in the string order of their frame keys,
which PoseLift does not zero-pad, and takes the files' y for x (see `model.dataset`). Rows of STG-NF are measured with
the axes as stored, those called scrambled also in that order of time; DA-Flow sees people upright.
"""

from __future__ import annotations

import argparse
import itertools
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
    PEOPLE_COUNT,
    FootageScorer,
    WindowFootageScorer,
    judge,
    score_split,
)
from model.reports import FrameReport, Report
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
    parser.add_argument(
        "--train-stgnf", type=int, default=0, metavar="SEEDS", help="also train STG-NF here so often, as published"
    )
    arguments = parser.parse_args()
    test = arguments.data / "pose" / "test"
    clips, stored = read_split(test), read_split(test, "xy")
    masks = read_masks(arguments.data / "gt" / "test_frame_mask")
    table = Table("scorer", "AUC-ROC", "AUC-PR", "EER", "conditional AUC", "frames scored")
    candidates: list[tuple[str, Checkpoint, Sequence[Slicing], Sequence[PoseClip]]] = [
        ("DA-Flow", Checkpoint.load(arguments.checkpoint), ("grid", "published", "scrambled"), clips)
    ]
    if arguments.train_stgnf:
        for slicing, seed in itertools.product(STGNF_SLICINGS, range(arguments.train_stgnf)):
            trained = trained_stgnf(arguments.data, slicing, seed, arguments.device)
            candidates.append((f"STG-NF trained here, seed {seed}", trained, (slicing,), stored))
    for name, checkpoint, slicings, people in candidates:
        for slicing in slicings:
            scorer = WindowFootageScorer.of_checkpoint(name, checkpoint, device=arguments.device, slicing=slicing)
            report = judged(scorer, people, masks)
            table.add_row(f"{name}, {slicing} windows", *figures(report.published, report.conditional))
        # A live camera always cuts on the time grid, whatever the last report was sliced by.
        table.add_row(f"{name}, online", *figures(report.online_published, report.online_conditional))
    # Every frame has a number of people; unsmoothed it says more of them.
    count = judged(PEOPLE_COUNT, clips, masks).conditional
    table.add_row("number of people, no model", *figures(count, None))
    table.add_row(*STGNF_PUBLISHED)
    console = Console(width=110)
    console.print(table)
    labels = np.concatenate(list(masks.values()))
    console.print(f"{len(labels)} frames, {labels.sum()} anomalous; frames without a score are filled as normal")


def judged(scorer: FootageScorer, clips: Sequence[PoseClip], masks: Mapping[str, NDArray[np.int64]]) -> Report:
    """Score and judge the test split."""
    scores = score_split(scorer, clips, masks, frame_rate_hz=FRAME_RATE_HZ)
    return judge(scores, masks, frame_rate_hz=FRAME_RATE_HZ, replicates=0)


def trained_stgnf(data: Path, slicing: Slicing, seed: int, device: str) -> Checkpoint:
    """STG-NF by our training loop, as its public code learns."""
    with tempfile.TemporaryDirectory() as folder:
        published = TrainingSettings.stgnf(data, Path(folder, "stgnf.safetensors"), seed)
        settings = replace(published, slicing=slicing, device=device)
        return train(settings, console=Console(stderr=True)).checkpoint


def figures(frames: FrameReport | None, conditional: FrameReport | None) -> list[str]:
    """One row of the table."""
    micro = [] if frames is None else [frames.micro.auc_roc, frames.micro.auc_pr, frames.micro.eer]
    own = ["-", "-"] if conditional is None else [f"{conditional.micro.auc_roc:.4f}", str(conditional.frames)]
    return [*(f"{value:.4f}" for value in micro), *own]


if __name__ == "__main__":
    main()
