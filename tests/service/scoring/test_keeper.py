from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from service.scoring.keeper import Models
from service.scoring.loading import ModelUnavailable
from tests.doubles.servers import CardboardScorer

SOON_S = 20.0
"""Well below the minute after which loading is tried again without a reason."""


def test_a_file_that_is_finished_while_loading_fails_is_noticed_at_once(tmp_path: Path) -> None:
    weights = tmp_path / "weights.onnx"
    ready = threading.Event()

    def load() -> Any:
        if weights.exists():
            return CardboardScorer()
        weights.write_bytes(b"weights")
        raise ModelUnavailable("DAFLOW_POSE_WEIGHTS", "there were no weights when this was looked at")

    models = Models(load, [weights], on_ready=ready.set)
    models.start()
    assert ready.wait(SOON_S)
    assert models.problem is None
    models.stop()


def test_files_that_stay_as_they_are_are_not_loaded_over_and_over(tmp_path: Path) -> None:
    attempts = []

    def load() -> Any:
        attempts.append(None)
        raise ModelUnavailable("DAFLOW_POSE_WEIGHTS", "the weights are damaged")

    weights = tmp_path / "weights.onnx"
    weights.write_bytes(b"damaged")
    models = Models(load, [weights, tmp_path / "none"])
    models.start()
    time.sleep(2.5)
    models.stop()
    assert len(attempts) == 1
