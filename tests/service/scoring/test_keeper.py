from __future__ import annotations

import time
from pathlib import Path

from service.scoring.keeper import ModelKeeper
from service.scoring.loading import LoadedModels, ModelUnavailable
from service.settings import Settings
from tests.doubles.models import cardboard_models

SOON_S = 20.0
"""Well below the minute after which loading is tried again without a reason."""


def test_a_file_that_is_finished_while_loading_fails_is_noticed_at_once(tmp_path: Path) -> None:
    weights = tmp_path / "weights.onnx"

    def load() -> LoadedModels:
        if weights.exists():
            return cardboard_models(Settings())
        weights.write_bytes(b"weights")
        raise ModelUnavailable("DAFLOW_POSE_WEIGHTS", "there were no weights when this was looked at")

    models = ModelKeeper(load, [weights])
    models.start()
    deadline = time.monotonic() + SOON_S
    while models.loaded is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert models.loaded is not None
    assert models.problem is None
    models.stop()


def test_files_that_stay_as_they_are_are_not_loaded_over_and_over(tmp_path: Path) -> None:
    attempts = []

    def load() -> LoadedModels:
        attempts.append(None)
        raise ModelUnavailable("DAFLOW_POSE_WEIGHTS", "the weights are damaged")

    weights = tmp_path / "weights.onnx"
    weights.write_bytes(b"damaged")
    models = ModelKeeper(load, [weights, tmp_path / "none"])
    models.start()
    time.sleep(2.5)
    models.stop()
    assert len(attempts) == 1
