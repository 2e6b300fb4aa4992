"""Checkpoints of STG-NF's public code, read into this flow so that its published weights can be compared.

`DAFlowConfig.stgnf` is the same function as STG-NF, and only names and shapes of its tensors differ. Those weights are
licensed CC BY-NC 4.0: they are read from a file that the user provides, and the checkpoint written from it names the
licence.

Source: STG-NF (Hirschorn and Avidan, ICCV 2023) and its public checkpoints.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from model.checkpoint import Checkpoint, CheckpointError, Provenance
from model.config import DAFlowConfig
from model.flow import DAFlow
from pose.skeleton import NUM_JOINTS
from pose.windows import WindowSpec

LICENCE_NOTE: Final = (
    "Weights of STG-NF (Hirschorn and Avidan, ICCV 2023), whose authors license theirs CC BY-NC 4.0: "
    "not for commercial use; do not redistribute"
)

_MAX_BYTES: Final = 64 * 2**20
_RATES: Final = {"ShanghaiTech": 24.0, "UBnormal": 30.0}
"""Frames per second of the videos."""

_FIXED: Final[dict[str, tuple[Any, ...]]] = {
    "L": (1,),
    "hidden_dim": (0,),
    "strategy": ("uniform",),
    "max_hop": (8,),
    "temporal_kernel": (None,),
    "edge_importance": (False,),
    "confidence": (False,),
    # The authors' runs misspell the first, so they reversed the channels like the second.
    "flow_permutation": ("invcov", "permute"),
    "headless": (False,),
}
"""Options that must have one of these values for `DAFlowConfig.stgnf` to be the same function."""

_RENAMED: Final = {
    "hidden_dim": "model_hidden_dim",
    "strategy": "adj_strategy",
    "max_hop": "max_hops",
    "confidence": "model_confidence",
}
"""Names of options in the current public code, where they differ from those in its published checkpoints."""


def load_stgnf(path: Path, *, rate_hz: float | None = None, command: str = "") -> Checkpoint:
    """Read a checkpoint of STG-NF's public code.

    Args:
        path: The ``.tar`` file. Nothing in it is executed.
        rate_hz: Frames per second of the video it was trained on; if missing, 30 where its options name UBnormal, else
            24, the rate of ShanghaiTech.
        command: What is recorded as the command that made the checkpoint.

    Returns:
        A checkpoint without calibration, whose provenance names the digest of the file and the licence.

    Raises:
        CheckpointError: The file is missing or damaged, holds more than tensors and options, or another architecture
            than STG-NF's default with windows of any length.
    """
    content, stored = _read(path)
    options, epoch = vars(stored["args"]), stored["epoch"]
    for name, allowed in _FIXED.items():
        value = _option(path, options, name)
        if value not in allowed:
            raise CheckpointError(f"{path}: option {name} is {value!r}, only {allowed[0]!r} can be imported")
    length, steps, mean = (_option(path, options, name) for name in ("seg_len", "K", "R"))
    try:
        config = replace(DAFlowConfig.stgnf(length), steps=steps, prior_mean=mean)
        data = "UBnormal" if options.get("ubnormal") or options.get("dataset") == "UBnormal" else "ShanghaiTech"
        spec = WindowSpec(length, _RATES[data] if rate_hz is None else rate_hz)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its options make no flow: {error}") from error
    provenance = Provenance(
        data=data,
        data_sha256="",
        command=command,
        seed=options.get("seed", 0),
        epoch=epoch,
        train_nll=None,
        heldout_nll=None,
        versions={},
        note=f"Imported from {path.name}, SHA-256 {hashlib.sha256(content).hexdigest()}. {LICENCE_NOTE}.",
    )
    return Checkpoint(path.stem, config, spec, _state(path, config, stored["state_dict"]), provenance)


def _read(path: Path) -> tuple[bytes, dict[str, Any]]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if path.stat().st_size > _MAX_BYTES:
        raise CheckpointError(f"{path}: larger than {_MAX_BYTES} bytes, so not a checkpoint of STG-NF")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: holds more than tensors and options, or is damaged") from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{path}: not a file that torch wrote, or a damaged one: {error}") from error
    kinds = {"epoch": int, "state_dict": Mapping, "args": argparse.Namespace}
    if not isinstance(stored, dict) or not all(isinstance(stored.get(name), kind) for name, kind in kinds.items()):
        raise CheckpointError(f"{path}: a file of torch, but not with the {', '.join(kinds)} of an STG-NF checkpoint")
    return path.read_bytes(), stored


def _option(path: Path, options: Mapping[str, Any], name: str) -> Any:
    for known in (name, _RENAMED.get(name, name)):
        if known in options:
            return options[known]
    raise CheckpointError(f"{path}: its options do not say {name}")


def _state(path: Path, config: DAFlowConfig, stored: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict of this flow, from all tensors of STG-NF's."""
    wanted = DAFlow(config).state_dict()
    names = dict(_names(config))
    priors = _priors(config)
    missing = sorted((names.keys() | priors.keys()) - stored.keys())
    surplus = sorted(stored.keys() - names.keys() - priors.keys())
    if missing or surplus:
        raise CheckpointError(f"{path}: not STG-NF's tensors: missing {missing[:3]}, surplus {surplus[:3]}")
    for name, prior in priors.items():
        if not _same_kind(stored[name], prior.shape, prior.dtype) or not torch.equal(stored[name], prior):
            raise CheckpointError(f"{path}: tensor {name} is not the prior that R={config.prior_mean} makes")
    state = {name: torch.tensor(True) for name in wanted if name.endswith(".initialised")}
    for theirs, (ours, shape) in names.items():
        tensor = stored[theirs]
        if not _same_kind(tensor, shape, wanted[ours].dtype) or not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: tensor {theirs} is not finite {wanted[ours].dtype} of shape {shape}")
        state[ours] = tensor.reshape(wanted[ours].shape).clone()
    return {name: state[name] for name in wanted}


def _same_kind(tensor: object, shape: tuple[int, ...], dtype: torch.dtype) -> bool:
    return isinstance(tensor, Tensor) and tensor.shape == shape and tensor.dtype == dtype


def _priors(config: DAFlowConfig) -> dict[str, Tensor]:
    """Mean and log standard deviation of the latent: an unused one of zeros, of normal windows, of abnormal ones."""
    half = torch.ones(2, config.length, NUM_JOINTS)
    mean = config.prior_mean
    return {
        "prior_h": torch.zeros(1, 4, config.length, NUM_JOINTS),
        "prior_h_normal": torch.cat([half * mean, half * 0]),
        "prior_h_abnormal": torch.cat([half * -mean, half * 0]),
    }


def _names(config: DAFlowConfig) -> Iterator[tuple[str, tuple[str, tuple[int, ...]]]]:
    """STG-NF's name of every tensor, the name here, and STG-NF's shape.

    A convolution weight is ``(out, in, frames, 1)``.
    """
    kernel = config.length // 2 + 1
    for step in range(config.steps):
        theirs, ours = f"flow.layers.{step}", f"steps.{step}"
        block, conditioner = f"{theirs}.block.0", f"{ours}.coupling.conditioner"
        yield f"{theirs}.actnorm.bias", (f"{ours}.actnorm.bias", (1, 2, 1, 1))
        yield f"{theirs}.actnorm.logs", (f"{ours}.actnorm.log_scale", (1, 2, 1, 1))
        yield f"{block}.gcn.conv.weight", (f"{conditioner}.graph.weight", (2, 1, 1, 1))
        yield f"{block}.gcn.conv.bias", (f"{conditioner}.graph.bias", (2,))
        yield f"{block}.tcn.2.weight", (f"{conditioner}.temporal.2.weight", (2, 2, kernel, 1))
        yield f"{block}.tcn.2.bias", (f"{conditioner}.temporal.2.bias", (2,))
        norms = [(f"{block}.tcn.{place}", f"{conditioner}.temporal.{place}") for place in (0, 3)]
        if step:
            yield f"{block}.residual.0.weight", (f"{conditioner}.residual.weight", (2, 1, 1, 1))
            yield f"{block}.residual.0.bias", (f"{conditioner}.residual.bias", (2,))
            norms.append((f"{block}.residual.1", f"{conditioner}.residual.norm"))
        for their_norm, our_norm in norms:
            for field in ("weight", "bias", "running_mean", "running_var"):
                yield f"{their_norm}.{field}", (f"{our_norm}.{field}", (2,))
            yield f"{their_norm}.num_batches_tracked", (f"{our_norm}.num_batches_tracked", ())
