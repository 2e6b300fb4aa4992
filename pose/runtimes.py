"""What runs the pose network on a CPU: the weights as they are, or converted once to what the CPU runs faster.

Ultralytics runs every format with a library of its own: ``.pt`` with PyTorch, ``.onnx`` with ONNX Runtime. OpenVINO
runs the same network with the same weights in a precision that the CPU has. A converted network is used only after it
has found, in that precision, the people that the original finds, at the same places.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Self

import cv2
import lap
import numpy as np
import yaml
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from pose.boxes import iou
from pose.estimator import PRECISIONS, PoseEstimator, Poses, WeightsUnavailable, first_line, precision_of, sha256

CONVERTIBLE: Final = (".pt", ".onnx")
"""Suffixes of the weights that can be converted."""

TOLERANCE: Final = 0.01
"""Largest accepted median distance between a joint of the original and of the converted network, in heights of the
person's box."""

_SURE: Final = 0.5
_FOUND: Final = 0.4
"""Whoever one network finds with at least the first confidence, the other finds with at least the second; likewise the
joints."""

_SAME: Final = 0.8
"""Boxes of one person overlap by at least this, as intersection over union."""

_STRAY: Final = 0.05
_MOST_STRAYS: Final = 0.05
"""At most this share of the joints are further than so many box heights from the original's, or not found."""

_PATIENCE_S: Final = 120.0
"""Seconds for which another process may convert at the same place, or load what it found there."""

FOLDER_SUFFIX: Final = "_openvino_model"
"""By this Ultralytics knows what is in a folder."""

_SCRATCH: Final = ".converting-"
_DIGITS: Final = 16

_LIBRARIES: Final = ("openvino", "ultralytics", "torch", "onnxruntime")
"""What a conversion and its check depend on. Another version of one of them gets a conversion of its own."""


class ConversionFailed(RuntimeError):
    """Weights cannot be converted, or do not find the same people afterwards; the message says why."""


class PrecisionLacking(ConversionFailed):
    """OpenVINO does not compute in the precision on this CPU; the message says in which it would instead.

    Example:
        >>> isinstance(PrecisionLacking("this CPU computes in f32"), ConversionFailed)
        True
    """


@dataclass(frozen=True, slots=True)
class Verification:
    """How a converted network compares with the original.

    Attributes:
        people: People that were compared, all of whom both found.
        difference: Median distance between their joints, in heights of the person's box.

    Example:
        >>> Verification(people=6, difference=0.002).difference < TOLERANCE
        True
    """

    people: int
    difference: float

    @classmethod
    def compare(cls, original: Sequence[Poses], converted: Sequence[Poses]) -> Self:
        """Compare what two networks find in the same pictures.

        Args:
            original: What the original finds in each picture.
            converted: What the converted network finds in each.

        Raises:
            ConversionFailed: There is nobody to compare, somebody is missing, or joints lie too far apart.
        """
        distances: list[float] = []
        people = 0
        for expected, found in zip(original, converted, strict=True):
            pairs = _pairs(expected, found)
            people += len(pairs)
            for one, other in pairs:
                sought, joints = expected.keypoints[one].cpu().numpy(), found.keypoints[other].cpu().numpy()
                box = expected.boxes[one].cpu().numpy()
                apart = np.linalg.norm(joints[:, :2] - sought[:, :2], axis=1) / (box[3] - box[1])
                apart[~(joints[:, 2] >= _FOUND)] = np.inf
                distances.extend(apart[sought[:, 2] >= _SURE])
        if not distances:
            raise ConversionFailed("the original finds nobody in the pictures that the conversion is checked with")
        difference, strays = float(np.median(distances)), float(np.mean(~(np.array(distances) <= _STRAY)))
        if not (difference <= TOLERANCE and strays <= _MOST_STRAYS):
            raise ConversionFailed(
                f"joints of the converted network are {difference:.1%} of a body height away from the original's, and "
                f"{strays:.0%} are missing or elsewhere; {TOLERANCE:.0%} and {_MOST_STRAYS:.0%} are accepted"
            )
        return cls(people, difference)


@dataclass(frozen=True, slots=True)
class Conversion:
    """Weights that were converted.

    Attributes:
        folder: What `PoseEstimator` loads.
        precision: Of `PRECISIONS`, the one that it was checked in and is to run in.
        verification: How it compares with the original.

    Example:
        >>> folder = Path("yolov8n-pose_openvino_model")
        >>> converted = Conversion(folder, "bfloat16", Verification(people=5, difference=0.001))
        >>> options = {"converted": converted.folder, "precision": converted.precision}  # of PoseEstimator
    """

    folder: Path
    precision: str
    verification: Verification


def available_precision(precision: str | None = None) -> str:
    """Of `PRECISIONS`, what OpenVINO computes in on this CPU.

    Args:
        precision: The one that it is asked for; its own choice for the CPU unless given.

    Raises:
        PrecisionLacking: The CPU does not compute in that. OpenVINO itself would take another one without a word.
    """
    import openvino
    from openvino import opset13

    number = opset13.parameter([1], openvino.Type.f32)
    network = openvino.Model([opset13.relu(number)], [number])
    config = {} if precision is None else {"INFERENCE_PRECISION_HINT": PRECISIONS[precision]}
    real = precision_of(openvino.Core().compile_model(network, "CPU", config))
    if precision not in (None, real):
        raise PrecisionLacking(f"this CPU does not compute in {precision}; OpenVINO would compute in {real}")
    return real


def convert(
    weights: Path,
    folder: Path,
    pictures: Sequence[NDArray[np.uint8]] | None = None,
    *,
    precision: str | None = None,
) -> Conversion:
    """Convert weights for OpenVINO, or find what was converted and checked before.

    A conversion is kept under the digest of the weights, the CPU and the versions of the libraries; beside it lies what
    came of its check in each precision. One that was cut short or changed is made anew. What failed is not tried again.
    A new conversion replaces those of other content, versions and CPUs under the same name. Processes that convert at
    once wait for each other.

    Args:
        weights: A file with one of the `CONVERTIBLE` suffixes. ``.pt`` files can run code when they are loaded.
        folder: Where conversions are kept; made if missing.
        pictures: Pictures with people for the check, of shape ``(height, width, 3)``, uint8, BGR; those that come with
            Ultralytics unless given.
        precision: Of `PRECISIONS`, what the network is to compute in; OpenVINO's own choice for the CPU unless given.

    Raises:
        WeightsUnavailable: The file is not a pose model with the 17 COCO joints.
        PrecisionLacking: The CPU does not compute in the precision.
        ConversionFailed: The weights cannot be converted, the folder cannot be written, or the check failed.
    """
    try:
        precision = available_precision(precision)
        kept = folder / f"{_name(weights)}-{_key(weights)}{FOLDER_SUFFIX}"
        if (outcome := _outcomes(kept).get(precision)) is None:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".lock", timeout=_PATIENCE_S):
                # Another process may have been faster.
                if (outcome := _outcomes(kept).get(precision)) is None:
                    outcome = _attempt(weights, kept, precision, _pictures() if pictures is None else pictures)
    except (ConversionFailed, WeightsUnavailable):
        raise
    except Timeout as error:
        raise ConversionFailed(f"another process has been converting in {folder} for {_PATIENCE_S:.0f} s") from error
    except Exception as error:
        # Each format and each of the libraries that take part fails in its own way.
        raise ConversionFailed(f"{weights.name} cannot be converted: {first_line(error)}") from error
    if isinstance(outcome, str):
        raise ConversionFailed(
            f"{outcome}; this is tried again with other versions of {', '.join(_LIBRARIES)}, or without {_record(kept)}"
        )
    # Says to others that convert that it is in use.
    with contextlib.suppress(OSError):
        os.utime(_record(kept))
    return Conversion(kept, precision, outcome)


def _attempt(weights: Path, kept: Path, precision: str, pictures: Sequence[NDArray[np.uint8]]) -> Verification | str:
    """Convert and check; a failure that would come again is an outcome as well, in words."""
    for left_over in kept.parent.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    _remove_others(weights, kept)
    original = PoseEstimator(weights)
    known = _outcomes(kept)
    intact = any(isinstance(outcome, Verification) for outcome in known.values())
    outcome: Verification | str
    try:
        outcome = _make(original, kept, precision, pictures, intact=intact)
    except (OSError, MemoryError):
        raise
    except ConversionFailed as error:
        outcome = str(error)
    except Exception as error:
        # OpenVINO does not say that a disk is full.
        if shutil.disk_usage(kept.parent).free < 3 * weights.stat().st_size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        outcome = f"{weights.name} cannot be converted: {first_line(error)}"
    _write(kept, known | {precision: outcome})
    return outcome


def _make(
    original: PoseEstimator, kept: Path, precision: str, pictures: Sequence[NDArray[np.uint8]], *, intact: bool
) -> Verification:
    """Convert into a folder of its own, which gets its name only after the check; what is `intact` is only checked."""
    weights = original.weights
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=_SCRATCH) as scratch:
        convert_to = _from_onnx if weights.suffix.lower() == ".onnx" else _from_pt
        made = kept if intact else convert_to(weights, Path(scratch))
        try:
            converted = PoseEstimator(weights, converted=made, precision=precision)
        except WeightsUnavailable as error:
            if isinstance(error.__cause__, (OSError, MemoryError)):
                raise error.__cause__ from None
            raise ConversionFailed(f"the converted network does not run: {first_line(error)}") from error
        # One at a time: in a batch, pictures of several sizes get wider borders, which move joints more than precision.
        expected, found = ([poses for each in pictures for poses in run([each])] for run in (original, converted))
        verification = Verification.compare(expected, found)
        if not intact:
            shutil.rmtree(kept, ignore_errors=True)
            made.rename(kept)
    return verification


def _remove_others(weights: Path, kept: Path) -> None:
    """Remove conversions of weights with this name that nobody has asked for lately: they may just be loading."""
    ours = re.compile(rf"({re.escape(_name(weights))}-[0-9a-f]{{{_DIGITS}}})({FOLDER_SUFFIX}|\.json)")
    for path in list(kept.parent.iterdir()):
        named = ours.fullmatch(path.name)
        if named is None or kept.name == f"{named[1]}{FOLDER_SUFFIX}":
            continue
        folder = path.with_name(f"{named[1]}{FOLDER_SUFFIX}")
        used = [each.stat().st_mtime for each in (folder, _record(folder)) if each.exists()]
        if used and time.time() - max(used) > _PATIENCE_S:
            shutil.rmtree(folder, ignore_errors=True)
            _record(folder).unlink(missing_ok=True)


def _pairs(expected: Poses, found: Poses) -> list[tuple[int, int]]:
    """Rows of each person in what two networks find, if both find everybody whom one of them is sure of."""
    sure, other = (each.confidences.cpu().numpy() for each in (expected, found))
    overlaps = iou(expected.boxes.cpu().numpy()[:, None], found.boxes.cpu().numpy())
    same = (overlaps >= _SAME) & (sure[:, None] >= _FOUND) & (other >= _FOUND)
    partners: list[int] = []
    if same.any():
        _, chosen, _ = lap.lapjv(np.where(same, 1 - overlaps, 2.0), extend_cost=True, cost_limit=1.0)
        partners = chosen.tolist()
    pairs = [(row, column) for row, column in enumerate(partners) if column >= 0]
    paired = [np.isin(np.arange(len(each)), [pair[side] for pair in pairs]) for side, each in enumerate((sure, other))]
    if (missing := int(((sure >= _SURE) & ~paired[0]).sum())) or (other[~paired[1]] >= _SURE).any():
        raise ConversionFailed(
            f"the converted network misses {missing} people whom the original finds"
            if missing
            else "the converted network finds people whom the original does not"
        )
    return [(row, column) for row, column in pairs if sure[row] >= _SURE]


def _from_onnx(weights: Path, scratch: Path) -> Path:
    import onnxruntime
    import openvino

    made = scratch / f"{weights.stem}{FOLDER_SUFFIX}"
    made.mkdir()
    described = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"]).get_modelmeta()
    # What Ultralytics writes into a folder when it exports: the number of joints, the stride and the names of classes.
    facts = {name: _value(text) for name, text in described.custom_metadata_map.items()}
    (made / "metadata.yaml").write_text(yaml.safe_dump(facts))
    network = openvino.Core().read_model(weights)
    openvino.save_model(network, made / f"{weights.stem}.xml", compress_to_fp16=False)
    return made


def _from_pt(weights: Path, scratch: Path) -> Path:
    from ultralytics import YOLO

    # Ultralytics writes beside the weights, and traces the network with functions that torch wants to replace.
    copied = Path(shutil.copy(weights, scratch))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Path(YOLO(copied, task="pose").export(format="openvino", dynamic=True, device="cpu", verbose=False))


def _name(weights: Path) -> str:
    """What the conversions of weights of one name begin with; Ultralytics would take a dot in it for another format."""
    return f"{weights.stem}-{weights.suffix.removeprefix('.').lower()}"


def _record(kept: Path) -> Path:
    """The file that says what came of a conversion."""
    return kept.with_name(f"{kept.name.removesuffix(FOLDER_SUFFIX)}.json")


def _outcomes(kept: Path) -> dict[str, Verification | str]:
    """What came of the check in each precision that was tried: how the network compares, or why it is not used.

    A check counts only if the folder holds what was checked.
    """
    try:
        record = json.loads(_record(kept).read_text())
        checks = {
            precision: check["failed"] if "failed" in check else Verification(**check)
            for precision, check in record["checks"].items()
        }
        intact = kept.exists() and record["files"] == _digests(kept)
        return {precision: outcome for precision, outcome in checks.items() if intact or isinstance(outcome, str)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _write(kept: Path, outcomes: Mapping[str, Verification | str]) -> None:
    checks = {
        precision: {"failed": outcome} if isinstance(outcome, str) else asdict(outcome)
        for precision, outcome in outcomes.items()
    }
    record = {"made_with": _versions(), "files": _digests(kept) if kept.exists() else {}, "checks": checks}
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=_SCRATCH) as scratch:
        written = Path(scratch, _record(kept).name)
        written.write_text(json.dumps(record, indent=1))
        written.replace(_record(kept))


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in sorted(folder.iterdir())}


def _versions() -> dict[str, str]:
    return {library: import_module(library).__version__ for library in _LIBRARIES}


def _key(weights: Path) -> str:
    import openvino

    core = openvino.Core()
    cpu = (core.get_property("CPU", "FULL_DEVICE_NAME"), core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    # An ONNX file may keep its numbers in another file, which has one of these names.
    beside = [
        path for path in (weights.with_name(f"{weights.name}.data"), weights.with_suffix(".data")) if path.is_file()
    ]
    depends_on = ([sha256(path) for path in (weights, *beside)], _versions(), cpu)
    return hashlib.sha256(repr(depends_on).encode()).hexdigest()[:_DIGITS]


def _pictures() -> list[NDArray[np.uint8]]:
    from ultralytics.utils import ASSETS

    pictures = [cv2.imread(str(path)) for path in sorted(ASSETS.glob("*.jpg"))]
    return [picture.astype(np.uint8) for picture in pictures if picture is not None]


def _value(text: str) -> Any:
    """A value that Ultralytics wrote as text: Python's, or plain words."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
