"""Loading the models that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pose.estimator import PoseEstimator
from service.scoring.loading import LoadedModels, ModelUnavailable, resolve_device
from service.settings import PoseRuntime, Settings
from simulation.weights import POSE_WEIGHTS


@pytest.fixture(scope="module")
def settings(pose_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("data")
    return Settings(data_dir=folder, pose_weights=str(pose_weights), device="cpu", pose_precision="auto")


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


@pytest.mark.slow
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
    assert list((settings.data_dir / "runtimes").glob("*_openvino_model/*.xml"))


@pytest.mark.slow
def test_the_precision_that_runs_is_the_one_that_was_asked_for(settings: Settings) -> None:
    asked = settings.model_copy(update={"pose_precision": "float32", "pose_runtime": PoseRuntime.OPENVINO})
    models = LoadedModels.load(asked)
    assert models.info.pose_runtime == "OpenVINO, f32"
    assert models.runtime_reason.startswith("joints of ")


def test_a_precision_that_the_cpu_lacks_names_the_setting(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU is imagined that computes in float32 whatever it is asked for."""
    monkeypatch.setattr("pose.runtimes.precision_of", lambda _: "float32")
    for runtime in (PoseRuntime.AUTO, PoseRuntime.OPENVINO):
        asked = settings.model_copy(update={"pose_precision": "bfloat16", "pose_runtime": runtime})
        with pytest.raises(
            ModelUnavailable,
            match="does not compute in bfloat16; OpenVINO would compute in float32; set DAFLOW_POSE_PRECISION=auto",
        ) as refused:
            LoadedModels.load(asked)
        assert refused.value.setting == "DAFLOW_POSE_PRECISION"


def test_weights_that_run_as_they_are_have_no_other_precision(settings: Settings) -> None:
    original = settings.model_copy(update={"pose_runtime": PoseRuntime.ORIGINAL})
    for precision in ("float16", "bfloat16"):
        with pytest.raises(ModelUnavailable, match=f"in {precision}; set DAFLOW_POSE_RUNTIME=openvino") as refused:
            LoadedModels.load(original.model_copy(update={"pose_precision": precision}))
        assert refused.value.setting == "DAFLOW_POSE_PRECISION"
    assert "OpenVINO" not in str(LoadedModels.load(original.model_copy(update={"pose_precision": "float32"})).info)


@pytest.mark.slow
def test_a_conversion_that_failed_is_told_at_the_next_start_without_another_attempt(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = settings.model_copy(update={"data_dir": tmp_path})
    monkeypatch.setattr("pose.runtimes._pictures", lambda: [np.zeros((64, 64, 3), np.uint8)])
    models = LoadedModels.load(elsewhere)
    assert models.info.pose_runtime in ("ONNX Runtime", "PyTorch")
    assert "the original finds nobody in the pictures" in models.runtime_reason
    monkeypatch.setattr("pose.runtimes._attempt", None)
    assert LoadedModels.load(elsewhere).runtime_reason == models.runtime_reason


def test_weights_run_as_they_are_if_the_settings_say_so(settings: Settings) -> None:
    models = LoadedModels.load(settings.model_copy(update={"pose_runtime": PoseRuntime.ORIGINAL}))
    assert models.info.pose_runtime in ("ONNX Runtime", "PyTorch")
    assert models.runtime_reason == "as DAFLOW_POSE_RUNTIME says"


@pytest.mark.parametrize(("suffix", "runtime"), [(".pt", "OpenVINO, f32"), (".onnx", "ONNX Runtime")])
def test_by_default_openvino_runs_in_float32_what_it_runs_faster(
    suffix: str, runtime: str, settings: Settings, pose_weights: Path
) -> None:
    weights = pose_weights.with_suffix(suffix)
    if not weights.exists():
        pytest.skip(f"there is no {weights.name} beside DAFLOW_POSE_WEIGHTS")
    own = settings.model_fields_set - {"pose_precision"}
    plain = Settings(**settings.model_dump(include=own) | {"pose_weights": str(weights)})
    models = LoadedModels.load(plain)
    assert models.info.pose_runtime == runtime
    assert ("joints of " in models.runtime_reason) == (suffix == ".pt")


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
    settings = Settings(data_dir=tmp_path, pose_weights=str(POSE_WEIGHTS), device="cpu")
    models = LoadedModels.load(settings)
    assert models.info.pose_runtime == "ONNX Runtime"
    assert "the demo's network is so small" in models.runtime_reason
