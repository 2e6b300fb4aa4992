"""Loads the models on the device, both chosen in the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import structlog
import torch

from model.behaviours import Kind
from model.behaviours.calibration import Usual
from model.budget import share_of
from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint, CheckpointError
from model.scorer import DeviceUnavailableError, Scorer, available_device
from pose.estimator import PoseEstimator, WeightsUnavailable, configure_ultralytics, find_weights
from pose.runtimes import CONVERTIBLE, FOLDER_SUFFIX, Conversion, ConversionFailed, PrecisionLacking, convert
from service.documents.results import ModelInfo, Threshold
from service.settings import PoseRuntime, Settings

log = structlog.get_logger(__name__)

_CPU_BATCH: Final = 1
_GPU_BATCH: Final = 16
"""Frames in one call of the estimator. A CPU is not faster with more; a GPU is not used fully with fewer."""


class ModelUnavailable(RuntimeError):
    """The models cannot be loaded.

    Attributes:
        setting: Name of the environment variable to change.
    """

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(message)
        self.setting = setting


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModels:
    """The models of the service on one device; clips and live cameras share them.

    Attributes:
        estimator: Finds people and their keypoints.
        scorer: Scores windows.
        threshold: Level at or above which frames are anomalous, by the scorer's calibration.
        batch: Frames in one call of the estimator.
        usual: What is usual to named behaviours in the footage that the scorer is calibrated on; empty if that is not
            known, as for the calibration that ships with a checkpoint.
        runtime_reason: Why the pose network is run by what runs it.
    """

    estimator: PoseEstimator
    scorer: Scorer
    threshold: Threshold
    batch: int
    usual: Mapping[Kind, Usual] = field(default_factory=dict)
    runtime_reason: str = ""

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """Load the models that the settings name.

        Raises:
            ModelUnavailable: Weights, checkpoint or device are missing or unusable; it names the setting.
        """
        estimator, runtime_reason = _load_estimator(settings)
        try:
            scorer = Scorer(load_checkpoint(settings), estimator.device)
        except (CheckpointError, OSError) as error:
            raise ModelUnavailable("DAFLOW_CHECKPOINT", str(error)) from error
        try:
            threshold = threshold_of(scorer, false_alarms_per_day=settings.false_alarms_per_day)
        except ValueError as error:
            raise ModelUnavailable("DAFLOW_FALSE_ALARMS_PER_DAY", str(error)) from error
        return cls(estimator, scorer, threshold, pose_batch(settings, estimator), runtime_reason=runtime_reason)

    @property
    def info(self) -> ModelInfo:
        """Names and sizes of the models, as results and the API show them."""
        return ModelInfo(
            checkpoint=self.scorer.checkpoint.name,
            parameters=self.scorer.parameters,
            window=self.scorer.spec.length,
            rate_hz=self.scorer.spec.rate_hz,
            pose_weights=self.estimator.weights.name,
            pose_runtime=self.estimator.runtime,
        )


def threshold_of(scorer: Scorer, *, false_alarms_per_day: float) -> Threshold:
    """The level at which `unusual` movement uses up its share of the false-alarm budget.

    Where the calibration supports no rate that low, it is the level of the lowest rate that it supports.

    Args:
        scorer: Its calibration turns false alarms per day into a level.
        false_alarms_per_day: The false-alarm budget.

    Raises:
        ValueError: The calibration has no threshold for a rate that high.
    """
    calibration = scorer.calibration
    per_day = calibration.supported_per_day(share_of(Kind.UNUSUAL, false_alarms_per_day))
    level = calibration.threshold(false_alarms_per_day=per_day)
    return Threshold(level=level, unusual_per_day=per_day, false_alarms_per_day=false_alarms_per_day)


def load_checkpoint(settings: Settings) -> Checkpoint:
    """Load the checkpoint; `Settings.sum_parts` decides whether all parts of the score are used, or DA-Flow alone.

    Raises:
        CheckpointError: The file is no checkpoint.
        OSError: It cannot be read.
    """
    checkpoint = Checkpoint.load(settings.checkpoint or DEFAULT_CHECKPOINT)
    return checkpoint if settings.sum_parts else checkpoint.pose_alone()


def resolve_device(device: str) -> torch.device:
    """Turn the setting into a device of this machine.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. Only ``auto`` may fall back to the CPU.

    Raises:
        ModelUnavailable: The device was chosen by name and is not available.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return available_device(device)
    except DeviceUnavailableError as error:
        raise ModelUnavailable(
            "DAFLOW_DEVICE",
            f"{error}; install the driver (in Docker, the NVIDIA container toolkit) or set DAFLOW_DEVICE=cpu",
        ) from error


def load_estimator(settings: Settings) -> PoseEstimator:
    """Load the pose weights on the device, both chosen in the settings.

    Raises:
        ModelUnavailable: Weights or device are missing or unusable; it names the setting.
    """
    estimator, _ = _load_estimator(settings)
    return estimator


def pose_batch(settings: Settings, estimator: PoseEstimator) -> int:
    """Frames in one call of the estimator."""
    return settings.pose_batch or (_CPU_BATCH if estimator.device.type == "cpu" else _GPU_BATCH)


def _load_estimator(settings: Settings) -> tuple[PoseEstimator, str]:
    """The estimator, and why what runs it was chosen."""
    try:
        configure_ultralytics(settings.data_dir / "ultralytics")
    except OSError as error:
        raise ModelUnavailable(
            "DAFLOW_DATA_DIR", f"the data folder {settings.data_dir} cannot be written: {error.strerror}"
        ) from error
    device = resolve_device(settings.device)
    try:
        weights = find_weights(settings.pose_weights, settings.data_dir / "weights")
        conversion, reason = _converted(settings, weights, device)
        estimator = PoseEstimator(
            weights,
            device,
            image_size=settings.pose_image_size,
            confidence=settings.pose_confidence,
            converted=conversion.folder if conversion else None,
            precision=conversion.precision if conversion else None,
        )
    except WeightsUnavailable as error:
        raise ModelUnavailable("DAFLOW_POSE_WEIGHTS", str(error)) from error
    if estimator.device.type != device.type:
        missing = (
            f"{weights.name} runs on {estimator.device.type}, not on {device.type}, because its runtime lacks support "
            "for it; use .pt weights, or for ONNX install onnxruntime-gpu in place of onnxruntime"
        )
        if settings.device != "auto":
            raise ModelUnavailable("DAFLOW_DEVICE", missing)
        log.warning("pose estimation runs slower than it could", reason=missing)
    return estimator, reason


def _converted(settings: Settings, weights: Path, device: torch.device) -> tuple[Conversion | None, str]:
    """What runs instead of the weights, or None, and why."""
    chosen = settings.pose_runtime
    precision = None if settings.pose_precision == "auto" else settings.pose_precision
    if chosen is PoseRuntime.ORIGINAL:
        if precision not in (None, "float32"):
            raise ModelUnavailable(
                "DAFLOW_POSE_PRECISION",
                f"weights that run as they are do not compute in {precision}; set DAFLOW_POSE_RUNTIME=openvino",
            )
        return None, "as DAFLOW_POSE_RUNTIME says"
    if chosen is PoseRuntime.AUTO and settings.simulated:
        return None, "the demo's network is so small that a conversion takes longer than it saves"
    if chosen is PoseRuntime.AUTO and weights.suffix.lower() == ".onnx" and precision == "float32":
        return None, "ONNX Runtime is about as fast in float32; DAFLOW_POSE_PRECISION=auto lets OpenVINO choose another"
    if device.type != "cpu" or weights.suffix.lower() not in CONVERTIBLE:
        if chosen is PoseRuntime.AUTO or weights.name.endswith(FOLDER_SUFFIX):
            return None, f"{weights.name} runs as it is; .pt and .onnx weights are converted, for the CPU"
        raise ModelUnavailable(
            "DAFLOW_POSE_RUNTIME",
            f"OpenVINO runs .pt and .onnx weights on the CPU, not {weights.name} on {device.type}; "
            "set DAFLOW_POSE_RUNTIME=auto",
        )
    try:
        conversion = convert(weights, settings.data_dir / "runtimes", precision=precision)
    except PrecisionLacking as error:
        raise ModelUnavailable("DAFLOW_POSE_PRECISION", f"{error}; set DAFLOW_POSE_PRECISION=auto") from error
    except ConversionFailed as error:
        if chosen is PoseRuntime.AUTO:
            log.warning("pose estimation runs slower than it could", reason=str(error))
            return None, str(error)
        raise ModelUnavailable("DAFLOW_POSE_RUNTIME", f"{error}; set DAFLOW_POSE_RUNTIME=auto") from error
    check = conversion.verification
    return conversion, (
        f"joints of {check.people} people are {check.difference:.1%} of a body height from the original's (median)"
    )
