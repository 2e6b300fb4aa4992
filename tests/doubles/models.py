"""Models that find and score without weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from model.scorer import Scorer
from pose.estimator import Poses
from service.clips.scorer import ClipScorer, clip_limits
from service.settings import Settings


class BlindEstimator:
    """Sees nobody: the cameras of these tests are skeleton feeds."""

    device = torch.device("cpu")
    weights = Path("none.onnx")

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Poses]:
        return [Poses(torch.empty(0, 4), torch.empty(0, 17, 3), torch.empty(0)) for _ in images]


def blind_scorer(settings: Settings) -> ClipScorer:
    estimator: Any = BlindEstimator()
    return ClipScorer(estimator, Scorer(Checkpoint.load(DEFAULT_CHECKPOINT)), clip_limits(settings))
