import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from model.calibration import Calibration
from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint, CheckpointError, Provenance
from model.config import DAFlowConfig
from model.flow import DAFlow
from model.scorer import Scorer
from pose.windows import Windows, WindowSpec

CALIBRATION = Calibration((0.0, 1.0, 2.0), (0.0, 0.5, 0.9), 0.1, 0.5, 50, 1000, 3600.0, 2.0)


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    config = DAFlowConfig(length=8)
    flow = DAFlow(config)
    flow(torch.randn(16, 2, 8, 18))
    provenance = Provenance("toys", "00", "daflow train", 0, 1, 2.5, 2.6, {"torch": torch.__version__})
    return Checkpoint("toy", config, WindowSpec(8, 10.0, 0.4), flow.state_dict(), provenance, CALIBRATION)


def metadata_of(path: Path) -> dict[str, object]:
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, object] = json.loads(file.metadata()["daflow"])
    return metadata


def rewrite(path: Path, **changes: object) -> None:
    """Write the file again with other metadata."""
    save_file(load_file(path), path, {"daflow": json.dumps(metadata_of(path) | changes)})


def test_everything_survives_the_file(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "new" / "toy.safetensors"
    checkpoint.save(path)
    loaded = Checkpoint.load(path)
    assert (loaded.name, loaded.config, loaded.spec) == ("toy", checkpoint.config, checkpoint.spec)
    assert (loaded.provenance, loaded.calibration) == (checkpoint.provenance, CALIBRATION)
    x = torch.randn(4, 2, 8, 18)
    with torch.no_grad():
        assert torch.equal(loaded.flow().nll(x), checkpoint.flow().nll(x))
    assert [entry.name for entry in path.parent.iterdir()] == ["toy.safetensors"]


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint: Checkpoint, tmp_path: Path) -> None:
    for name in "ab":
        checkpoint.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_checkpoint_may_lack_a_calibration(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    replace(checkpoint, calibration=None).save(path)
    assert Checkpoint.load(path).calibration is None


def test_loaded_norms_are_not_initialised_again(checkpoint: Checkpoint) -> None:
    flow = checkpoint.flow()
    assert not flow.training
    assert all(step.actnorm.initialised for step in flow.flow_steps())


def test_a_failed_write_leaves_the_old_file(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "toy.safetensors"
    checkpoint.save(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["toy.safetensors"]


def test_files_that_are_no_checkpoints_are_refused_by_cause(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    with pytest.raises(CheckpointError, match="no such file"):
        Checkpoint.load(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        Checkpoint.load(path)
    path.write_bytes(pickle.dumps({"state_dict": {}}))
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        Checkpoint.load(path)
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="without the metadata of a DA-Flow checkpoint"):
        Checkpoint.load(path)
    save_file({"weight": torch.zeros(1)}, path, {"daflow": "{"})
    with pytest.raises(CheckpointError, match="bad metadata"):
        Checkpoint.load(path)
    save_file({"weight": torch.zeros(1)}, path, {"daflow": "[]"})
    with pytest.raises(CheckpointError, match="expected an object"):
        Checkpoint.load(path)
    with path.open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(CheckpointError, match="larger than"):
        Checkpoint.load(path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(checkpoint: Checkpoint, tmp_path: Path, share: float) -> None:
    path = tmp_path / "toy.safetensors"
    checkpoint.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="damaged"):
        Checkpoint.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 4}, "checkpoint format 4, this version reads up to 3"),
        ({"config": {}}, "bad metadata: fields missing"),
        ({"config": None}, "bad metadata"),
        ({"config": DAFlowConfig(length=8, steps=7).to_dict()}, r"do not match the config: missing \[\], surplus"),
        ({"config": DAFlowConfig(length=8, steps=9).to_dict()}, "missing .'steps.8"),
        (
            {"config": DAFlowConfig(length=8, frame_kernel="3x7").to_dict()},
            r"tensor .* \(1, 1, 7, 3\), the config needs",
        ),
        ({"window": {"length": 8, "rate_hz": -1.0, "max_gap_s": 0.5}}, "rate_hz must be a positive number"),
        ({"window": {"length": 9, "rate_hz": 10.0, "max_gap_s": 0.5}}, "flow takes windows of 8 frames"),
        ({"window": {"frames": 9}}, "bad metadata"),
        ({"provenance": {}}, "bad metadata"),
        ({"calibration": {"shape": 3}}, "bad metadata: fields missing"),
    ],
)
def test_contradictions_are_refused_by_name(
    checkpoint: Checkpoint, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = tmp_path / "toy.safetensors"
    checkpoint.save(path)
    rewrite(path, **changes)
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.load(path)


def test_weights_that_are_not_finite_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    state = dict(checkpoint.state)
    state["steps.0.actnorm.bias"] = torch.full((1, 2, 1, 1), torch.nan)
    replace(checkpoint, state=state).save(path)
    with pytest.raises(CheckpointError, match=r"steps\.0\.actnorm\.bias is not finite"):
        Checkpoint.load(path)


def test_the_shipped_checkpoint_has_488_parameters_a_calibration_and_no_machine_paths() -> None:
    shipped = Checkpoint.load(DEFAULT_CHECKPOINT)
    assert shipped.name == "daflow-poselift"
    assert sum(parameter.numel() for parameter in shipped.flow().parameters()) == 488
    assert shipped.spec == WindowSpec(8, 15.0, 0.5)
    assert shipped.parts is not None
    assert shipped.parts.pair is not None
    assert shipped.calibration is not None
    assert 0.9 < shipped.calibration.threshold(false_alarms_per_day=24.0) < 1
    assert "/" not in shipped.provenance.command.replace("model/checkpoints/", "")


def test_a_file_that_calls_its_parts_witnesses_scores_as_the_same_file_saved_anew(tmp_path: Path) -> None:
    old = metadata_of(DEFAULT_CHECKPOINT)
    assert (old["format"], "witnesses" in old, "parts" in old) == (2, True, False)
    shipped = Checkpoint.load(DEFAULT_CHECKPOINT)
    shipped.save(tmp_path / "daflow-poselift.safetensors")
    new = metadata_of(tmp_path / "daflow-poselift.safetensors")
    assert (new["format"], "witnesses" in new, new["parts"]) == (3, False, old["witnesses"])
    saved = Checkpoint.load(tmp_path / "daflow-poselift.safetensors")
    poses = torch.randn(50, 8, 18, 3, generator=torch.Generator().manual_seed(0))
    poses[..., 2] = 0.9
    windows = Windows.of_poses(poses, np.arange(50), np.arange(50) / 15)
    first, second = Scorer(shipped).score(windows), Scorer(saved).score(windows)
    assert np.array_equal(first.raw, second.raw)
    assert np.array_equal(first.level, second.level)
    assert saved.fingerprint() == shipped.fingerprint()


def test_the_fingerprint_of_the_shipped_checkpoint_is_the_one_that_stored_calibrations_name() -> None:
    fingerprint = Checkpoint.load(DEFAULT_CHECKPOINT).fingerprint()
    assert fingerprint == "9dceaf20f3bd91764b502e94fcc7908d5440a2be0d72a8b1fd7e3e89a7ec8237"


def test_a_checkpoint_of_the_first_format_has_no_parts(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    checkpoint.save(path)
    rewrite(path, format=1)
    assert Checkpoint.load(path).parts is None
