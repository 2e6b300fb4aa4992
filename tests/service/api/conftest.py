from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from model.scorer import Scorer
from pose.estimator import Poses
from service.clips import ClipScorer, clip_limits
from service.settings import Settings
from tests.service.servers import LiveServer, Serve, eventually


class BlindEstimator:
    """Sees nobody: the cameras of these tests are skeleton feeds."""

    device = torch.device("cpu")
    weights = Path("none.onnx")

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Poses]:
        return [Poses(torch.empty(0, 4), torch.empty(0, 17, 3), torch.empty(0)) for _ in images]


def blind_scorer(settings: Settings) -> ClipScorer:
    estimator: Any = BlindEstimator()
    return ClipScorer(estimator, Scorer(Checkpoint.load(DEFAULT_CHECKPOINT)), clip_limits(settings))


@pytest.fixture
def serve_live(serve: Serve) -> Serve:
    """Starts servers with the shipped flow and no pose estimator."""

    def start(**settings: object) -> LiveServer:
        live = serve(blind_scorer, **settings)
        eventually(lambda: live.runtime.models.scorer is not None, "the models are loaded")
        return live

    return start


@pytest.fixture
def live(serve_live: Serve) -> LiveServer:
    return serve_live()
