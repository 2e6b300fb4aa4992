from __future__ import annotations

import os
from pathlib import Path

from service.scoring.keeper import ModelKeeper
from service.scoring.loading import LoadedModels, ModelUnavailable
from service.settings import Settings
from tests.doubles.models import cardboard_models
from tests.doubles.servers import eventually

LOOK_S = 0.01


class WatchedPath(type(Path())):  # type: ignore[misc]
    """A path that counts how often its file was looked at."""

    looks = 0

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        type(self).looks += 1
        return super().stat(follow_symlinks=follow_symlinks)


def test_a_file_that_is_finished_while_loading_fails_is_noticed_at_once(tmp_path: Path) -> None:
    weights = tmp_path / "weights.onnx"

    def load() -> LoadedModels:
        if weights.exists():
            return cardboard_models(Settings())
        weights.write_bytes(b"weights")
        raise ModelUnavailable("DAFLOW_POSE_WEIGHTS", "there were no weights when this was looked at")

    # A minute passes before loading is tried again without a reason, which is more than a hundred looks.
    models = ModelKeeper(load, [WatchedPath(weights)], look_s=LOOK_S)
    before = WatchedPath.looks
    models.start()
    eventually(lambda: models.loaded, "the models are loaded")
    assert WatchedPath.looks - before < 100
    assert models.problem is None
    models.stop()


def test_files_that_stay_as_they_are_are_not_loaded_over_and_over(tmp_path: Path) -> None:
    attempts = []

    def load() -> LoadedModels:
        attempts.append(None)
        raise ModelUnavailable("DAFLOW_POSE_WEIGHTS", "the weights are damaged")

    weights = tmp_path / "weights.onnx"
    weights.write_bytes(b"damaged")
    models = ModelKeeper(load, [WatchedPath(weights), tmp_path / "none"], look_s=LOOK_S)
    before = WatchedPath.looks
    models.start()
    eventually(lambda: WatchedPath.looks - before >= 10, "the files were looked at ten times")
    models.stop()
    assert len(attempts) == 1
