"""A trained flow in one safetensors file: tensors, and what is needed to use and to trust them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from model.calibration import Calibration
from model.config import DAFlowConfig
from model.flow import DAFlow
from model.parts import Parts
from pose.windows import WindowSpec

DEFAULT_CHECKPOINT: Final = Path(__file__).parent / "checkpoints" / "daflow-poselift.safetensors"
"""The checkpoint that ships with the package."""

FORMAT_VERSION: Final = 3
_READABLE: Final = (1, 2, 3)
_PARTS_KEY: Final = {2: "witnesses", 3: "parts"}
"""Where each format keeps the parts of the score; format 1 has none. Formats 1 and 2 are read for one more release."""
_METADATA_KEY: Final = "daflow"
_MAX_BYTES: Final = 64 * 2**20


class CheckpointError(ValueError):
    """The file is not a checkpoint this version can use; the message says why."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a checkpoint comes from.

    Attributes:
        data: Name of the data set.
        data_sha256: Digest of the training clips; empty if they were not at hand.
        command: The command that made the checkpoint.
        seed: Its seed.
        epoch: The epoch kept, from 1.
        train_nll: Mean score of the training windows in bits per dimension; None if unknown.
        heldout_nll: Mean score of the held-out normal windows; None if unknown, or if nothing was held out.
        versions: Versions of the libraries used.
        note: What else must be known before the weights are used or passed on, such as their origin and licence.

    Example:
        >>> Provenance("toys", "", "daflow train", 0, 12, 0.1, 0.3, {}).to_dict()["epoch"]
        12
    """

    data: str
    data_sha256: str
    command: str
    seed: int
    epoch: int
    train_nll: float | None
    heldout_nll: float | None
    versions: dict[str, str]
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Field names and values, ready for JSON; an empty note is left out."""
        fields = dataclasses.asdict(self)
        return fields if self.note else {name: value for name, value in fields.items() if name != "note"}


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A trained flow.

    Attributes:
        name: What to call it; the stem of the file it was loaded from.
        config: The architecture.
        spec: The windows it was trained on.
        state: The flow's state dict, on the CPU.
        provenance: Where it comes from.
        calibration: What its scores mean; None before calibration.
        parts: What is normal to each part of the score; None if the score is the likelihood of the pose alone.

    Example:
        >>> checkpoint = Checkpoint.load(DEFAULT_CHECKPOINT)
        >>> checkpoint.spec
        WindowSpec(length=8, rate_hz=15.0, max_gap_s=0.5)
        >>> sum(parameter.numel() for parameter in checkpoint.flow().parameters())
        488
    """

    name: str
    config: DAFlowConfig
    spec: WindowSpec
    state: Mapping[str, Tensor]
    provenance: Provenance
    calibration: Calibration | None = None
    parts: Parts | None = None

    def __post_init__(self) -> None:
        if self.config.length != self.spec.length:
            raise CheckpointError(
                f"the flow takes windows of {self.config.length} frames, the window definition has {self.spec.length}"
            )

    def flow(self) -> DAFlow:
        """A new flow with these weights, in evaluation mode, on the CPU."""
        flow = DAFlow(self.config)
        flow.load_state_dict(dict(self.state))
        return flow.eval()

    def fingerprint(self) -> str:
        """A digest of all that raw scores depend on: the weights, what a window is, and the parts."""
        # Stored calibrations name this digest, so it must not change when a class is renamed.
        parts = re.sub(r"\bPart(s?)\(", lambda name: "Witnesses(" if name[1] else "Witness(", repr(self.parts))
        digest = hashlib.sha256(f"({self.config!r}, {self.spec!r}, {parts})".encode())
        for name, tensor in sorted(self.state.items()):
            digest.update(name.encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def pose_alone(self) -> Checkpoint:
        """The same without motion and pairs as parts: scores are DA-Flow's likelihood, as in the paper."""
        if self.parts is None:
            return self
        return dataclasses.replace(self, calibration=self.parts.pose, parts=None)

    def save(self, path: Path) -> None:
        """Write the file, wholly or not at all; the same checkpoint always gives the same bytes."""
        metadata = {
            "format": FORMAT_VERSION,
            "config": self.config.to_dict(),
            "window": dataclasses.asdict(self.spec),
            "provenance": self.provenance.to_dict(),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "parts": None if self.parts is None else self.parts.to_dict(),
        }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state.items()}
        # One key holding everything: safetensors writes several keys in random order.
        write_atomically(path, save(tensors, {_METADATA_KEY: json.dumps(metadata, sort_keys=True, allow_nan=False)}))

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a file written by `save`. Nothing in it is executed.

        Raises:
            CheckpointError: The file is missing, damaged, of another version, or its parts contradict each other.
        """
        tensors, metadata = _read(path)
        version = metadata.get("format")
        if version not in _READABLE:
            raise CheckpointError(f"{path}: checkpoint format {version!r}, this version reads up to {FORMAT_VERSION}")
        try:
            config = DAFlowConfig.from_dict(metadata["config"])
            spec = WindowSpec(**metadata["window"])
            provenance = Provenance(**metadata["provenance"])
            fitted = metadata["calibration"]
            calibration = None if fitted is None else Calibration.from_dict(fitted)
            known = metadata[_PARTS_KEY[version]] if version in _PARTS_KEY else None
            parts = None if known is None else Parts.from_dict(known)
            checkpoint = cls(path.stem, config, spec, tensors, provenance, calibration, parts)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: bad metadata: {error}") from error
        _check_tensors(path, tensors, DAFlow(config).state_dict())
        return checkpoint


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by `content`; after a crash either the old file or the new one is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if path.stat().st_size > _MAX_BYTES:
        raise CheckpointError(f"{path}: larger than {_MAX_BYTES} bytes, so not a checkpoint of this flow")
    try:
        with safe_open(path, framework="pt") as file:
            raw = (file.metadata() or {}).get(_METADATA_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a safetensors file, or a damaged one: {error}") from error
    if raw is None:
        raise CheckpointError(f"{path}: a safetensors file, but without the metadata of a DA-Flow checkpoint")
    try:
        metadata = json.loads(raw)
    except ValueError as error:
        raise CheckpointError(f"{path}: bad metadata: {error}") from error
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path}: bad metadata: expected an object")
    return tensors, metadata


def _check_tensors(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    missing, surplus = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or surplus:
        raise CheckpointError(f"{path}: tensors do not match the config: missing {missing[:3]}, surplus {surplus[:3]}")
    for name, tensor in wanted.items():
        other = found[name]
        if other.shape != tensor.shape or other.dtype != tensor.dtype:
            raise CheckpointError(
                f"{path}: tensor {name} is {other.dtype} {tuple(other.shape)}, "
                f"the config needs {tensor.dtype} {tuple(tensor.shape)}"
            )
        if not torch.isfinite(other).all():
            raise CheckpointError(f"{path}: tensor {name} is not finite")
