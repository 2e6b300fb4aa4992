"""Loading the models that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pose.estimator import PoseEstimator
from service.scoring.loading import LoadedModels, ModelUnavailable, resolve_device
from service.settings import Settings


@pytest.fixture(scope="module")
def settings(pose_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data_dir=tmp_path_factory.mktemp("data"), pose_weights=str(pose_weights), device="cpu")


def test_asking_for_a_gpu_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device, so asking for one is no error")
    with pytest.raises(ModelUnavailable, match="sees 0 CUDA devices") as refused:
        resolve_device("cuda")
    assert refused.value.setting == "DAFLOW_DEVICE"


def test_weights_that_cannot_use_the_gpu_are_refused_by_name_and_scored_on_the_cpu_by_auto(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU is imagined; the estimator runs on the CPU, as ONNX does where its runtime has no CUDA."""

    def on_the_cpu(weights: Path, device: torch.device, **options: Any) -> PoseEstimator:
        assert device.type == "cuda"
        return PoseEstimator(weights, "cpu", **options)

    monkeypatch.setattr("service.scoring.loading.resolve_device", lambda device: torch.device("cuda"))
    monkeypatch.setattr("service.scoring.loading.PoseEstimator", on_the_cpu)
    with pytest.raises(ModelUnavailable, match="runs on cpu, not on cuda") as refused:
        LoadedModels.load(settings.model_copy(update={"device": "cuda"}))
    assert refused.value.setting == "DAFLOW_DEVICE"
    assert LoadedModels.load(settings.model_copy(update={"device": "auto"})).batch == 1


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"data_dir": Path("/proc/nowhere")}, "DAFLOW_DATA_DIR"),
        ({"pose_weights": "nowhere/weights.onnx"}, "DAFLOW_POSE_WEIGHTS"),
        ({"checkpoint": Path("nowhere.safetensors")}, "DAFLOW_CHECKPOINT"),
        ({"false_alarms_per_day": 1e9}, "DAFLOW_FALSE_ALARMS_PER_DAY"),
    ],
)
def test_models_that_cannot_be_loaded_name_the_setting(
    change: dict[str, object], setting: str, settings: Settings
) -> None:
    with pytest.raises(ModelUnavailable) as refused:
        LoadedModels.load(settings.model_copy(update=change))
    assert refused.value.setting == setting
