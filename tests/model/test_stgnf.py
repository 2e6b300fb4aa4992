import argparse
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from model.checkpoint import Checkpoint, CheckpointError
from model.config import DAFlowConfig
from model.fused import FusedFlow
from model.stgnf import load_stgnf

LENGTH = 8
STEPS = 3

Stored = dict[str, Any]


class Step(nn.Module):
    """One flow step under the names that STG-NF's checkpoints use."""

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.actnorm = nn.ParameterDict({name: torch.randn(1, 2, 1, 1) * 0.1 for name in ("bias", "logs")})
        kernel = LENGTH // 2 + 1
        temporal = nn.Conv2d(2, 2, (kernel, 1), padding=(kernel // 2, 0))
        modules = {
            "gcn": nn.ModuleDict({"conv": nn.Conv2d(1, 2, 1)}),
            "tcn": nn.Sequential(norm(), nn.ReLU(), temporal, norm()),
        }
        if not first:
            modules["residual"] = nn.Sequential(nn.Conv2d(1, 2, 1), norm())
        self.block = nn.ModuleList([nn.ModuleDict(modules)])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = ((x + self.actnorm["bias"]) * self.actnorm["logs"].exp()).flip(1)
        kept, changed = x[:, :1], x[:, 1:]
        block = self.block[0]
        features = block["tcn"](block["gcn"]["conv"](kept).mean(dim=3, keepdim=True).expand(-1, -1, -1, 18))
        if "residual" in block:
            features = features + block["residual"](kept)
        shift, raw = features.relu().split(1, dim=1)
        scale = torch.sigmoid(raw + 2) + 1e-6
        log_det = scale.log().sum(dim=(1, 2, 3)) + self.actnorm["logs"].sum() * LENGTH * 18
        return torch.cat([kept, (changed + shift) * scale], dim=1), log_det


def norm() -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(2)
    for tensor in (layer.weight.data, layer.bias.data, layer.running_mean):
        assert tensor is not None
        tensor.add_(torch.randn(2) * 0.3)
    return layer


class Reference(nn.Module):
    """STG-NF as its paper describes it, with the adjacency that is 1/18 everywhere."""

    def __init__(self, mean: float) -> None:
        super().__init__()
        self.mean = mean
        self.flow = nn.ModuleDict({"layers": nn.ModuleList(Step(first=step == 0) for step in range(STEPS))})
        half = torch.ones(2, LENGTH, 18)
        self.register_buffer("prior_h", torch.zeros(1, 4, LENGTH, 18))
        self.register_buffer("prior_h_normal", torch.cat([half * mean, half * 0]))
        self.register_buffer("prior_h_abnormal", torch.cat([half * -mean, half * 0]))

    def nll(self, x: torch.Tensor) -> torch.Tensor:
        density = torch.zeros(len(x))
        for step in self.flow["layers"]:
            x, log_det = step(x)
            density = density + log_det
        density = density + torch.distributions.Normal(self.mean, 1.0).log_prob(x).sum(dim=(1, 2, 3))
        bits: torch.Tensor = -density / (torch.tensor(2.0).log() * 2 * LENGTH * 18)
        return bits


@pytest.fixture
def reference() -> Reference:
    torch.manual_seed(0)
    return Reference(mean=10.0).eval()


@pytest.fixture
def stored(reference: Reference) -> Stored:
    """What STG-NF's code saves, with the names of options in its published checkpoints."""
    options = argparse.Namespace(
        **{"seg_len": LENGTH, "K": STEPS, "L": 1, "R": 10.0, "hidden_dim": 0, "strategy": "uniform", "max_hop": 8},
        **{"temporal_kernel": None, "edge_importance": False, "confidence": False, "flow_permutation": "invcov"},
        **{"headless": False, "ubnormal": True, "seed": 29},
    )
    return {"epoch": 8, "state_dict": reference.state_dict(), "optimizer": {}, "args": options}


def saved(stored: object, folder: Path) -> Path:
    path = folder / "weights.tar"
    torch.save(stored, path)
    return path


def test_an_imported_checkpoint_scores_as_the_original(reference: Reference, stored: Stored, tmp_path: Path) -> None:
    path = saved(stored, tmp_path)
    checkpoint = load_stgnf(path, command="here")
    x = torch.randn(7, 2, LENGTH, 18)
    with torch.no_grad():
        expected = reference.nll(x)
        torch.testing.assert_close(checkpoint.flow().nll(x), expected)
        torch.testing.assert_close(FusedFlow(checkpoint.flow()).nll(x), expected)
    assert checkpoint.flow().train().nll(x).isfinite().all()
    assert all(checkpoint.state[f"steps.{step}.actnorm.initialised"] for step in range(STEPS))


def test_an_imported_checkpoint_says_where_it_comes_from_and_is_not_calibrated(stored: Stored, tmp_path: Path) -> None:
    path = saved(stored, tmp_path)
    load_stgnf(path, command="here").save(tmp_path / "out.safetensors")
    checkpoint = Checkpoint.load(tmp_path / "out.safetensors")
    provenance = checkpoint.provenance
    assert checkpoint.calibration is None
    assert (provenance.data, provenance.seed, provenance.epoch, provenance.command) == ("UBnormal", 29, 8, "here")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in provenance.note
    assert "CC BY-NC 4.0" in provenance.note
    assert "do not redistribute" in provenance.note


def test_the_rate_is_that_of_the_data_set_unless_stated(stored: Stored, tmp_path: Path) -> None:
    assert load_stgnf(saved(stored, tmp_path)).spec.rate_hz == 30.0
    assert load_stgnf(saved(stored, tmp_path), rate_hz=15.0).spec.rate_hz == 15.0
    del stored["args"].ubnormal
    stored["args"].dataset = "ShanghaiTech"
    assert load_stgnf(saved(stored, tmp_path)).spec.rate_hz == 24.0


def test_the_names_of_options_in_the_current_code_are_known_too(stored: Stored, tmp_path: Path) -> None:
    options = vars(stored["args"])
    renamed = {"hidden_dim": "model_hidden_dim", "strategy": "adj_strategy", "max_hop": "max_hops"}
    for old, new in (renamed | {"confidence": "model_confidence"}).items():
        options[new] = options.pop(old)
    options["flow_permutation"] = "permute"
    assert load_stgnf(saved(stored, tmp_path)).config.prior_mean == 10.0


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("L", 2, "option L is 2, only 1 can be imported"),
        ("hidden_dim", 16, "option hidden_dim is 16"),
        ("strategy", "spatial", "option strategy is 'spatial'"),
        ("confidence", True, "option confidence is True"),
        ("flow_permutation", "invconv", "option flow_permutation is 'invconv'"),
        ("seg_len", 6, "its options make no flow: the temporal convolution needs"),
        ("seg_len", "24", "its options make no flow"),
        ("K", 4, "not STG-NF's tensors: missing"),
        ("K", 2, "surplus"),
        ("seg_len", 16, "prior_h is not the prior that R=10.0 makes"),
        ("R", 3.0, "prior_h_normal is not the prior that R=3.0 makes"),
    ],
)
def test_another_architecture_is_refused(
    stored: Stored, tmp_path: Path, option: str, value: object, complaint: str
) -> None:
    setattr(stored["args"], option, value)
    with pytest.raises(CheckpointError, match=complaint):
        load_stgnf(saved(stored, tmp_path))


def test_options_that_are_missing_are_named(stored: Stored, tmp_path: Path) -> None:
    del stored["args"].R
    with pytest.raises(CheckpointError, match="its options do not say R"):
        load_stgnf(saved(stored, tmp_path))


@pytest.mark.parametrize("tensor", [torch.full((2,), torch.nan), torch.zeros(3), torch.zeros(2).double(), 0.0])
def test_a_tensor_that_is_not_what_it_should_be_is_named(stored: Stored, tmp_path: Path, tensor: object) -> None:
    name = "flow.layers.1.block.0.residual.0.bias"
    stored["state_dict"][name] = tensor
    with pytest.raises(CheckpointError, match=f"tensor {name} is not finite torch.float32 of shape"):
        load_stgnf(saved(stored, tmp_path))


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("harm",))


def test_nothing_in_the_file_is_executed(stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="holds more than tensors and options"):
        load_stgnf(saved(stored | {"optimizer": Harmful()}, tmp_path))
    assert not (tmp_path / "harm").exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        load_stgnf(tmp_path / "none.tar")
    rubbish = tmp_path / "rubbish.tar"
    for content in (b"", b"rubbish", b"PK\x03\x04rubbish"):
        rubbish.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"rubbish\.tar: (not a file that torch wrote|holds more)"):
            load_stgnf(rubbish)
    for other in ([1], {"state_dict": {}}, {"epoch": 8, "state_dict": {}, "args": {}}):
        with pytest.raises(CheckpointError, match="but not with the epoch, state_dict, args"):
            load_stgnf(saved(other, tmp_path))


def test_a_checkpoint_of_the_public_code_can_be_read() -> None:
    value = os.environ.get("DAFLOW_STGNF_CHECKPOINT")
    if not value:
        pytest.skip("DAFLOW_STGNF_CHECKPOINT is not set; it names a checkpoint .tar of STG-NF's public code")
    checkpoint = load_stgnf(Path(value))
    config = checkpoint.config
    assert config == DAFlowConfig.from_dict(
        DAFlowConfig.stgnf(config.length).to_dict() | {"prior_mean": config.prior_mean}
    )
    assert checkpoint.flow().nll(torch.randn(2, 2, config.length, 18)).isfinite().all()
