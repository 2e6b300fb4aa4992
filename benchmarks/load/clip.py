"""Time spent on a clip: ``python -m benchmarks.load.clip CLIP``.

Scores a clip the way the service does, decoder process included, and prints what part of the wall time was spent inside
YOLO-pose (letterboxing, network, non-maximum suppression) and what part outside of it.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pose.estimator import PoseEstimator, Poses
from service.clips.scorer import ClipScorer, clip_limits
from service.documents.results import FrameScore
from service.scoring.loading import LoadedModels
from service.settings import Settings, load_settings


class TimedEstimator(PoseEstimator):
    """An estimator that adds up the seconds of its calls."""

    seconds = 0.0

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Poses]:
        """Estimate, and take the time until the device has finished."""
        started = time.perf_counter()
        poses = super().__call__(images)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds += time.perf_counter() - started
        return poses


def timed_models(settings: Settings, batch: int) -> tuple[LoadedModels, TimedEstimator]:
    """The models that the service loads, with the time that the estimator takes.

    Args:
        settings: Weights, runtime and device.
        batch: Frames in one call of the estimator.
    """
    loaded = LoadedModels.load(settings)
    estimator = TimedEstimator(
        loaded.estimator.weights,
        loaded.estimator.device,
        image_size=settings.pose_image_size,
        confidence=settings.pose_confidence,
        converted=loaded.estimator.converted,
        precision=loaded.estimator.precision,
    )
    estimator.seconds = 0.0  # Loading has warmed it up.
    return replace(loaded, estimator=estimator, batch=batch), estimator


class Silent:
    """An observer that ignores everything."""

    def progress(self, done: int, total: int) -> None:
        """Ignore progress."""

    def frame(self, frame: FrameScore) -> None:
        """Ignore scores."""

    def cancelled(self) -> bool:
        """Never stop."""
        return False


def main() -> None:
    """Score the clip several times and print the share of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1, help="frames in one call of the estimator")
    arguments = parser.parse_args()

    settings = load_settings()
    models, estimator = timed_models(settings, arguments.batch)
    scorer = ClipScorer(models, clip_limits(settings))
    print(f"{platform.machine()}, {os.cpu_count()} cores, device {estimator.device}")
    print(
        f"{arguments.clip.name}, {estimator.weights.name} by {estimator.runtime} at {estimator.image_size}, "
        f"batches of {arguments.batch}"
    )
    print(f"{'run':>3} {'frames':>7} {'wall s':>8} {'frames/s':>9} {'pose s':>8} {'outside pose':>13}")
    shares = []
    for run in range(1, arguments.repeats + 1):
        estimator.seconds = 0.0
        started = time.perf_counter()
        result = scorer.score(arguments.clip, Silent())
        wall = time.perf_counter() - started
        share = 1 - estimator.seconds / wall
        shares.append(share)
        frames = result.clip.frames
        print(f"{run:>3} {frames:>7} {wall:>8.2f} {frames / wall:>9.1f} {estimator.seconds:>8.2f} {share:>13.1%}")
    print(f"outside pose: median {statistics.median(shares):.1%}, from {min(shares):.1%} to {max(shares):.1%}")


if __name__ == "__main__":
    main()
