"""Loading the models that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pose.estimator import PoseEstimator
from service.scoring.loading import LoadedModels, ModelUnavailable, resolve_device
from service.settings import PoseRuntime, Settings
from simulation.weights import POSE_WEIGHTS


@pytest.fixture(scope="module")
def settings(pose_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("data")
    return Settings(data_dir=folder, pose_weights=str(pose_weights), device="cpu", pose_runtime="auto")


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
        assert options.pop("converted") is None
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


def test_weights_are_converted_for_the_cpu_and_the_reason_is_told(settings: Settings) -> None:
    models = LoadedModels.load(settings)
    assert models.info.pose_runtime in ("OpenVINO, f32", "OpenVINO, bf16", "OpenVINO, f16")
    assert models.info.pose_weights == Path(settings.pose_weights).name
    assert "of a body height from the original's" in models.runtime_reason
    assert list((settings.data_dir / "runtimes").glob("*_openvino_model/verified.json"))


def test_weights_run_as_they_are_unless_the_settings_say_otherwise(settings: Settings) -> None:
    models = LoadedModels.load(settings.model_copy(update={"pose_runtime": Settings().pose_runtime}))
    assert models.info.pose_runtime in ("ONNX Runtime", "PyTorch")
    assert models.runtime_reason == "as DAFLOW_POSE_RUNTIME says"


def test_a_conversion_that_fails_leaves_the_original_unless_it_was_asked_for(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "runtimes").touch()
    elsewhere = settings.model_copy(update={"data_dir": tmp_path})
    models = LoadedModels.load(elsewhere)
    assert models.info.pose_runtime in ("ONNX Runtime", "PyTorch")
    assert "cannot be converted" in models.runtime_reason
    with pytest.raises(ModelUnavailable, match=r"cannot be converted.*set DAFLOW_POSE_RUNTIME=auto") as refused:
        LoadedModels.load(elsewhere.model_copy(update={"pose_runtime": PoseRuntime.OPENVINO}))
    assert refused.value.setting == "DAFLOW_POSE_RUNTIME"


def test_a_format_that_openvino_does_not_run_is_refused_only_if_openvino_was_asked_for(
    settings: Settings, tmp_path: Path
) -> None:
    weights = tmp_path / "pose.engine"
    weights.touch()
    asked = settings.model_copy(update={"pose_weights": str(weights), "pose_runtime": PoseRuntime.OPENVINO})
    with pytest.raises(ModelUnavailable, match=r"not pose\.engine on cpu; set DAFLOW_POSE_RUNTIME=auto") as refused:
        LoadedModels.load(asked)
    assert refused.value.setting == "DAFLOW_POSE_RUNTIME"


def test_the_demo_s_weights_run_as_they_are(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, pose_weights=str(POSE_WEIGHTS), device="cpu", pose_runtime="auto")
    models = LoadedModels.load(settings)
    assert models.info.pose_runtime == "ONNX Runtime"
    assert "the demo's network is so small" in models.runtime_reason
