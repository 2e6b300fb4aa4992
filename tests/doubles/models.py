"""Models that find and score without weights for people."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from model.scorer import Scorer
from pose.estimator import Poses
from service.documents.results import ModelInfo, Threshold
from service.scoring.loading import LoadedModels, ModelUnavailable, threshold_of
from service.settings import Settings

MODEL = ModelInfo(checkpoint="cardboard", parameters=488, window=24, rate_hz=15.0, pose_weights="none.onnx")


class BlindEstimator:
    """Sees nobody; skeleton feeds need no more."""

    device = torch.device("cpu")
    weights = Path("none.onnx")
    runtime = "cardboard"

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Poses]:
        return [Poses(torch.empty(0, 4), torch.empty(0, 17, 3), torch.empty(0)) for _ in images]


class CardboardModels(LoadedModels):
    """Score live cameras with the shipped flow, and say that they are made of cardboard."""

    @property
    def info(self) -> ModelInfo:
        return MODEL


@cache
def shipped_scorer() -> Scorer:
    return Scorer(Checkpoint.load(DEFAULT_CHECKPOINT))


def blind_models(settings: Settings) -> LoadedModels:
    """The shipped flow, and an estimator that sees nobody."""
    estimator: Any = BlindEstimator()
    return LoadedModels(
        estimator,
        shipped_scorer(),
        threshold_of(shipped_scorer(), false_alarms_per_day=settings.false_alarms_per_day),
        batch=1,
    )


def cardboard_models(_settings: Settings) -> LoadedModels:
    """The same, for services whose clips are scored by a `CardboardScorer`."""
    estimator: Any = BlindEstimator()
    return CardboardModels(
        estimator, shipped_scorer(), Threshold(level=0.9, unusual_per_day=24.0, false_alarms_per_day=48.0), batch=4
    )


def unavailable(_settings: Settings) -> LoadedModels:
    raise ModelUnavailable("DAFLOW_POSE_WEIGHTS", "there are no weights at nowhere.pt; set DAFLOW_POSE_WEIGHTS")
