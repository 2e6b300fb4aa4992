"""YOLO-pose over a batch of pictures, in any weight format that Ultralytics loads."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose.skeleton import COCO_JOINTS

if TYPE_CHECKING:
    from ultralytics import YOLO

DOWNLOADABLE: Final = {
    "yolov8n-pose.pt": "c6fa93dd1ee4a2c18c900a45c1d864a1c6f7aba75d84f91648a30b7fb641d212",
    "yolo11n-pose.pt": "869e83fcdffdc7371fa4e34cd8e51c838cc729571d1635e5141e3075e9319dc0",
}
"""Weights that Ultralytics publishes for people and that `find_weights` may download, with the SHA-256 of each.

A file with other content is not used: loading it may run code.
"""

PRECISIONS: Final = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
"""Precisions that OpenVINO computes in, and its names of them. Which of them a CPU has is another question."""

_RUNTIMES: Final = {"pt": "PyTorch", "onnx": "ONNX Runtime", "engine": "TensorRT", "openvino": "OpenVINO"}
"""Names of what runs a format of weights, by Ultralytics' name of the format."""

_RELEASE: Final = "https://github.com/ultralytics/assets/releases/download/v8.4.0"


class WeightsUnavailable(RuntimeError):
    """Pose weights are not there, cannot be downloaded, or are not a COCO pose model; the message says what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """People found in one picture; the tensors stay on the estimator's device.

    Attributes:
        boxes: Shape ``(M, 4)``: left, top, right, bottom in pixels.
        keypoints: Shape ``(M, 17, 3)``: COCO x, y in pixels and confidence in 0..1.
        confidences: Shape ``(M,)``: confidence of the detection in 0..1.

    Example:
        >>> import torch
        >>> nobody = Poses(torch.empty(0, 4), torch.empty(0, 17, 3), torch.empty(0))
        >>> len(nobody)
        0
    """

    boxes: Tensor
    keypoints: Tensor
    confidences: Tensor

    def __len__(self) -> int:
        return len(self.boxes)


def configure_ultralytics(directory: Path) -> None:
    """Keep Ultralytics and its back ends from installing packages, sending usage data, and writing outside `directory`.

    The libraries look at this when they are first imported, so it must run before that.

    Args:
        directory: Where its settings may be written; made if missing.
    """
    directory.mkdir(parents=True, exist_ok=True)
    os.environ.update(
        YOLO_AUTOINSTALL="false",
        YOLO_CONFIG_DIR=str(directory),
        YOLO_OFFLINE="true",
        YOLO_VERBOSE="false",
        ULTRALYTICS_SKIP_REQUIREMENTS_CHECKS="true",
        ORT_DISABLE_TELEMETRY="1",
    )
    # OpenVINO's converter sends usage data unless this package is missing; no variable says that it must not.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]


def find_weights(weights: str, directory: Path) -> Path:
    """Find pose weights: a path as it is, a published name in `directory`, or else by download into it.

    Args:
        weights: A path to weights, or one of `DOWNLOADABLE`.
        directory: Where downloaded weights are kept.

    Returns:
        Path of an existing file or folder.

    Raises:
        WeightsUnavailable: There is no such file, and it cannot be downloaded or is not the one that was published.
    """
    given = Path(weights).expanduser()
    if given.exists():
        return given
    kept = directory / given.name
    if str(given) != given.name or given.name not in DOWNLOADABLE:
        raise WeightsUnavailable(
            f"there are no pose weights at {weights}; give a path, or one of the names that can be downloaded: "
            f"{', '.join(DOWNLOADABLE)}"
        )
    if kept.exists():
        return kept
    directory.mkdir(parents=True, exist_ok=True)
    # The file gets its name only after its content was checked.
    with tempfile.TemporaryDirectory(dir=directory, prefix=".download-") as folder:
        fetched = _download(given.name, Path(folder), directory)
        digest = sha256(fetched)
        if digest != DOWNLOADABLE[given.name]:
            raise WeightsUnavailable(
                f"what was downloaded as {given.name} is not what Ultralytics published: its SHA-256 is {digest} "
                f"instead of {DOWNLOADABLE[given.name]}; put the right file into {directory}, or give a path"
            )
        return fetched.replace(kept)


def _download(name: str, folder: Path, directory: Path) -> Path:
    from ultralytics.utils.downloads import safe_download

    try:
        return Path(safe_download(f"{_RELEASE}/{name}", file=name, dir=folder, unzip=False, retry=0, progress=False))
    except (ConnectionError, OSError, MemoryError) as error:
        raise WeightsUnavailable(
            f"pose weights {name} are not in {directory} and could not be downloaded ({first_line(error)}); "
            "put the file there, or give the path of another one"
        ) from error


class PoseEstimator:
    """Finds people and their joints in pictures. Calls from several threads take turns.

    Args:
        weights: File or folder in a format that Ultralytics loads (``.pt``, ``.onnx``, ``.engine``, OpenVINO, …). A
            ``.pt`` file can run code when it is loaded: use files that you trust.
        device: Where the network runs, as torch names it. Some formats fall back to the CPU if a library for the device
            is missing: `PoseEstimator.device` says where it really runs.
        image_size: Pictures are scaled so that their longer side has this many pixels.
        confidence: Detections below this confidence, 0..1, are left out. A low value helps the tracker.
        converted: What runs instead of the weights, on the CPU: the same network, converted by
            `pose.runtimes.convert`.
        precision: Of `PRECISIONS`, what a converted network computes in; unless given, OpenVINO's own choice for the
            CPU.

    Raises:
        WeightsUnavailable: The file is not a pose model with the 17 COCO joints, or the CPU lacks the precision.

    Example::

        estimator = PoseEstimator(Path("yolov8n-pose.pt"), "cuda")
        first, second = estimator([image_of_the_yard, image_of_the_hall])
        first.keypoints  # (people, 17, 3), on the GPU
    """

    def __init__(
        self,
        weights: Path,
        device: torch.device | str = "cpu",
        *,
        image_size: int = 640,
        confidence: float = 0.1,
        converted: Path | None = None,
        precision: str | None = None,
    ) -> None:
        from ultralytics import YOLO

        self.weights = weights
        self.converted = converted
        self.device = torch.device(device)
        self.image_size = image_size
        self.confidence = confidence
        self._lock = threading.Lock()
        try:
            self._model: YOLO = YOLO(str(converted or weights), task="pose")
            keypoints = self._try()
            if converted is not None and precision is not None and precision != self.precision:
                self._compile(converted, precision)
                keypoints = self._try()
        except Exception as error:
            # Every weight format fails in its own way, from pickle errors to protobuf ones.
            raise WeightsUnavailable(
                f"{weights.name} cannot be used for pose estimation: {first_line(error)}"
            ) from error
        if keypoints.shape[1:] != (len(COCO_JOINTS), 3):
            raise WeightsUnavailable(
                f"{weights.name} yields keypoints of shape {tuple(keypoints.shape[1:])}; a COCO pose model has (17, 3)"
            )
        self.device = keypoints.device

    @property
    def runtime(self) -> str:
        """What runs the network, and in which precision if that depends on the CPU."""
        network = self._model.predictor.model
        name = str(_RUNTIMES.get(network.format, network.format))
        return name if self.precision is None else f"{name}, {PRECISIONS.get(self.precision, self.precision)}"

    @property
    def precision(self) -> str | None:
        """Of `PRECISIONS`, what a converted network really computes in; None for weights that run as they are."""
        if self.converted is None:
            return None
        return precision_of(self._model.predictor.model.backend.ov_compiled_model)

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Poses]:
        """Find people in a batch of pictures.

        Args:
            images: Pictures of shape ``(height, width, 3)``, uint8, BGR; sizes may differ.

        Returns:
            One `Poses` for each picture.
        """
        if self.converted is None:
            return self._predict(images, self.device)
        # OpenVINO keeps what it compiled for every shape, so there are few: one picture at a time, no slower on
        # a CPU. Left to itself it would also take a graphics processor that it finds.
        return [poses for image in images for poses in self._predict([image], "intel:cpu")]

    def _try(self) -> Tensor:
        """Keypoints of a black picture."""
        return self([np.zeros((64, 64, 3), np.uint8)])[0].keypoints

    def _compile(self, converted: Path, precision: str) -> None:
        """Compile the network in a precision that is not OpenVINO's own choice. Ultralytics has no argument for it."""
        import openvino

        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": PRECISIONS[precision]}
        compiled = openvino.Core().compile_model(next(converted.glob("*.xml")), "CPU", config)
        if (real := precision_of(compiled)) != precision:
            raise RuntimeError(f"this CPU does not compute in {precision}; OpenVINO would compute in {real}")
        # Ultralytics makes its requests from what it finds here at every call.
        self._model.predictor.model.backend.ov_compiled_model = compiled

    def _predict(self, images: Sequence[NDArray[np.uint8]], device: torch.device | str) -> list[Poses]:
        if not images:
            return []
        with self._lock:
            results = self._model.predict(
                list(images),
                conf=self.confidence,
                imgsz=self.image_size,
                device=device,
                classes=[0],
                batch=len(images),
                verbose=False,
            )
        return [Poses(result.boxes.xyxy, result.keypoints.data, result.boxes.conf) for result in results]


def precision_of(compiled: Any) -> str:
    """Of `PRECISIONS`, what a network that OpenVINO compiled really computes in."""
    name = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return next((precision for precision, known in PRECISIONS.items() if known == name), name)


def sha256(path: Path) -> str:
    """Digest of a file's content, in hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its name if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
