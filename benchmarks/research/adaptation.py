"""Adapting weights to a camera: ``python -m benchmarks.research.adaptation --data DIR [--json FILE] [--bases DIR]``.

Leave one camera out on PoseLift: for each of its six cameras a base is trained on the normal clips of the other five
and adapted to the normal clips of the one left out, like a new camera. It prints the mean score of the normal footage
that judged the adaptation, the AUC on the camera's own test clips, without and with adaptation, and the time it took.
The bases are trained for few epochs; with --bases they are kept and used again.

A camera's test clips are few and short, so its AUC is uncertain; the last row judges all test clips, each frame by its
own camera's weights.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.load.scorer import machine
from benchmarks.research.poselift import FRAME_RATE_HZ
from model.adaptation import AdaptationSettings, adapt_weights
from model.checkpoint import Checkpoint
from model.dataset import SUFFIX, PoseClip, read_masks, read_split
from model.evaluation import ClipScores, WindowFootageScorer, judge, score_split
from model.footage import PoseFootage
from model.reports import FrameReport
from model.training import TrainingSettings, train

EPOCHS = 5
DECAY = 0.6
BATCH_SIZE = 128


@dataclass(frozen=True, slots=True)
class Result:
    """One camera, without and with adaptation.

    Attributes:
        camera: Its name.
        footage_min: Minutes of its normal footage.
        before_nll: Mean score of judging windows, bits per dimension.
        after_nll: The same under the adapted weights.
        accepted: Whether adaptation was accepted.
        reason: Why.
        published: AUC of the published protocol, without and with.
        conditional: AUC of frames with a score of their own, without and with.
        online: AUC of frames with a score, as a live camera would have published them, without and with.
        seconds: Of adaptation.
        processor_seconds: The same in time of processors.
    """

    camera: str
    footage_min: float
    before_nll: float
    after_nll: float
    accepted: bool
    reason: str
    published: tuple[float, float]
    conditional: tuple[float, float]
    online: tuple[float, float]
    seconds: float
    processor_seconds: float


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Leave-one-camera-out adaptation on PoseLift.")
    parser.add_argument("--data", type=Path, required=True, help="folder with pose/train, pose/test and gt")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--bases", type=Path, help="folder that keeps the trained bases")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads on the CPU")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    normal = read_split(arguments.data / "pose" / "train")
    test = read_split(arguments.data / "pose" / "test")
    masks = read_masks(arguments.data / "gt" / "test_frame_mask")
    results = []
    together: tuple[list[ClipScores], list[ClipScores]] = [], []
    with tempfile.TemporaryDirectory() as folder:
        for camera in sorted({clip.camera for clip in normal}):
            base = base_without(camera, normal, arguments.data, arguments.bases or Path(folder))
            own = [clip for clip in test if clip.camera == camera]
            own_masks = {clip.name: masks[clip.name] for clip in own}
            footage = [PoseFootage.of_clip(clip, FRAME_RATE_HZ) for clip in normal if clip.camera == camera]
            start, worked = time.perf_counter(), time.process_time()
            adaptation = adapt_weights(footage, base, AdaptationSettings())
            seconds, processor_seconds = time.perf_counter() - start, time.process_time() - worked
            figures = []
            for checkpoint, pooled in zip((base, adaptation.checkpoint or base), together, strict=True):
                scores = clip_scores(checkpoint, own, own_masks)
                figures.append(aucs(scores, own_masks))
                pooled.extend(scores)
            published, conditional, online = zip(*figures, strict=True)
            results.append(
                Result(
                    camera=camera,
                    footage_min=sum(len(part.frame_times) for part in footage) / FRAME_RATE_HZ / 60,
                    before_nll=adaptation.before_nll,
                    after_nll=adaptation.after_nll,
                    accepted=adaptation.checkpoint is not None,
                    reason=adaptation.reason,
                    published=published,
                    conditional=conditional,
                    online=online,
                    seconds=seconds,
                    processor_seconds=processor_seconds,
                )
            )
            Console(stderr=True).print(results[-1])
    pooled_online = [aucs(scores, masks)[2] for scores in together]
    console = Console(width=130)
    console.print(table(results))
    console.print(
        f"All test clips, every frame under its own camera's weights: online AUC of scored frames "
        f"{pooled_online[0]:.4f} without, {pooled_online[1]:.4f} with adaptation"
    )
    console.print(f"Bases: {EPOCHS} epochs. {machine(torch.device('cpu'))}")
    if arguments.json:
        document = {"cameras": [asdict(result) for result in results], "online": pooled_online}
        arguments.json.write_text(json.dumps(document, indent=2))


def base_without(camera: str, normal: Sequence[PoseClip], data: Path, folder: Path) -> Checkpoint:
    """A base trained on the clips of all other cameras; the one in the folder if there is one."""
    path = folder / f"without-{camera}.safetensors"
    if path.exists():
        return Checkpoint.load(path)
    with tempfile.TemporaryDirectory() as subset:
        train_folder = Path(subset, "pose", "train")
        train_folder.mkdir(parents=True)
        for clip in normal:
            if clip.camera != camera:
                name = f"{clip.name}{SUFFIX}"
                (train_folder / name).symlink_to((data / "pose" / "train" / name).resolve())
        settings = TrainingSettings(Path(subset), path, epochs=EPOCHS, decay=DECAY, batch_size=BATCH_SIZE)
        return train(settings, console=Console(stderr=True)).checkpoint


def clip_scores(
    checkpoint: Checkpoint, clips: Sequence[PoseClip], masks: dict[str, NDArray[np.int64]]
) -> list[ClipScores]:
    """Score test clips under a checkpoint."""
    scorer = WindowFootageScorer.of_checkpoint(checkpoint.name, checkpoint)
    return score_split(scorer, clips, masks, frame_rate_hz=FRAME_RATE_HZ)


def aucs(scores: Sequence[ClipScores], masks: dict[str, NDArray[np.int64]]) -> tuple[float, float, float]:
    """AUC published, conditional and online (scored frames); nan where those are all normal or all anomalous."""

    def auc(frames: FrameReport | None) -> float:
        return math.nan if frames is None else frames.micro.auc_roc

    report = judge(scores, masks, frame_rate_hz=FRAME_RATE_HZ, replicates=0)
    return auc(report.published), auc(report.conditional), auc(report.online_conditional)


def table(results: Sequence[Result]) -> Table:
    """One row for each camera."""
    columns = ("camera", "footage, min", "NLL", "adapted", "accepted", "published AUC", "conditional", "online", "s")
    result = Table(*columns, "CPU s")
    for row in results:
        result.add_row(
            row.camera,
            f"{row.footage_min:.1f}",
            f"{row.before_nll:.3f}",
            f"{row.after_nll:.3f}",
            "yes" if row.accepted else "no",
            *(f"{a:.3f} → {b:.3f}" for a, b in (row.published, row.conditional, row.online)),
            f"{row.seconds:.0f}",
            f"{row.processor_seconds:.0f}",
        )
    return result


if __name__ == "__main__":
    main()
