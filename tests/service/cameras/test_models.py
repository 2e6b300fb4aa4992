"""Which calibration and weights a camera is scored with, without the camera."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError

from model.behaviours import Kind
from model.behaviours.calibration import Usual
from model.calibration import Calibration
from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint, CheckpointError
from model.scorer import CameraModel
from pose.view import ViewMap
from service.addresses.urls import parse
from service.cameras.config import CameraConfig
from service.cameras.models import CameraModels, usual_of
from service.cameras.premises import Premises
from service.cameras.store import CameraStore, UnknownCamera
from service.storage.database import Database

BASE = Checkpoint.load(DEFAULT_CHECKPOINT)
REPORT = {"base": BASE.fingerprint()}


def calibration(footage_s: float) -> Calibration:
    return Calibration((0.0, 1.0), (0.0, 0.9), 0.1, 0.5, 20, 1000, footage_s, 2.0)


FIRST, SECOND = calibration(3600.0), calibration(7200.0)


@dataclass
class Equipped:
    """A camera that keeps what it was given."""

    id: str = "gate"
    models: list[CameraModel | None] = field(default_factory=list)
    premises: list[Premises | None] = field(default_factory=list)

    def set_model(self, model: CameraModel | None, premises: Premises | None = None) -> None:
        self.models.append(model)
        self.premises.append(premises)

    @property
    def calibration(self) -> Calibration | None:
        """The calibration that it was given last."""
        return self.models[-1].calibration if self.models[-1] else None


@dataclass
class Shelf:
    """The models of cameras, with a checkpoint that can be replaced."""

    store: CameraStore
    root: Path
    base: Checkpoint = BASE
    broken: bool = False
    camera: Any = field(default_factory=Equipped)

    def __post_init__(self) -> None:
        self.models = CameraModels(self.store, self.root, self.load)
        self.store.put(self.camera.id, {})

    def load(self) -> Checkpoint:
        if self.broken:
            raise CheckpointError("damaged")
        return self.base

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*.safetensors"))


@pytest.fixture
def shelf(database: Database, tmp_path: Path) -> Shelf:
    root = tmp_path / "cameras"
    root.mkdir()
    return Shelf(CameraStore(database), root)


def own_weights() -> Checkpoint:
    name, tensor = next(iter(BASE.state.items()))
    return replace(BASE, state={**BASE.state, name: tensor * 1.01})


def test_a_camera_without_a_calibration_is_scored_like_the_service(shelf: Shelf) -> None:
    shelf.models.equip(shelf.camera)
    assert shelf.camera.models == [None]


def test_calibrations_are_used_at_once_and_rolled_back_one_by_one(shelf: Shelf) -> None:
    assert shelf.models.add(shelf.camera, REPORT, FIRST.to_dict()) == 1
    assert shelf.camera.calibration == FIRST
    weights = own_weights()
    assert shelf.models.add(shelf.camera, REPORT, SECOND.to_dict(), weights) == 2
    assert shelf.camera.calibration == SECOND
    assert shelf.camera.models[-1].checkpoint.fingerprint() == weights.fingerprint()
    assert len(shelf.files()) == 1
    shelf.models.roll_back(shelf.camera)
    assert shelf.camera.calibration == FIRST
    assert shelf.camera.models[-1].checkpoint is None
    assert shelf.files() == [], "weights that were rolled back are removed"
    for _ in range(2):
        shelf.models.roll_back(shelf.camera)
        assert shelf.camera.models[-1] is None


def test_what_a_calibration_was_made_of_is_read_again_with_it(shelf: Shelf) -> None:
    grey = np.random.default_rng(1).uniform(0, 255, (90, 160)).astype(np.float32)
    view = ViewMap.of(grey, np.ones(grey.shape, np.bool_))
    premises = Premises.of(parse("simulation:3"), CameraConfig(url="simulation:3"), (640, 360), view)
    shelf.models.add(shelf.camera, REPORT, FIRST.to_dict(), premises=premises)
    shelf.models.add(shelf.camera, REPORT, SECOND.to_dict())
    shelf.models.equip(shelf.camera)
    assert shelf.camera.premises[-2:] == [None, None], "one of an older version has none"
    shelf.models.roll_back(shelf.camera)
    found = shelf.camera.premises[-1]
    assert found is not None and found.view is not None
    assert found.to_dict() == premises.to_dict()
    shelf.models.roll_back(shelf.camera)
    assert (shelf.camera.models[-1], shelf.camera.premises[-1]) == (None, None)


def test_a_calibration_fits_the_checkpoint_that_it_was_made_with(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.models.add(shelf.camera, REPORT, FIRST.to_dict())
    stored = shelf.store.active("gate")
    assert stored is not None
    assert shelf.models.fits(stored)
    shelf.base = own_weights()
    assert not shelf.models.fits(stored)
    shelf.models.equip(shelf.camera)
    assert shelf.camera.models[-1] is None
    assert "calibrate the camera again" in capsys.readouterr().out
    shelf.broken = True
    assert not shelf.models.fits(stored)
    shelf.models.equip(shelf.camera)
    assert shelf.camera.models[-1] is None


@pytest.mark.parametrize("content", [None, b"damaged"])
def test_weights_that_are_gone_or_damaged_leave_the_camera_those_of_the_service(
    shelf: Shelf, content: bytes | None
) -> None:
    shelf.models.add(shelf.camera, REPORT, FIRST.to_dict(), own_weights())
    (name,) = shelf.files()
    if content is None:
        (shelf.root / name).unlink()
    else:
        (shelf.root / name).write_bytes(content)
    shelf.models.equip(shelf.camera)
    assert shelf.camera.models[-1] is None


def test_a_calibration_of_a_camera_that_was_removed_is_refused(shelf: Shelf) -> None:
    shelf.store.delete("gate")
    with pytest.raises(UnknownCamera):
        shelf.models.add(shelf.camera, REPORT, FIRST.to_dict())
    assert shelf.camera.models == []


def test_a_camera_that_is_removed_takes_its_weights_along(shelf: Shelf) -> None:
    shelf.models.add(shelf.camera, REPORT, FIRST.to_dict(), own_weights())
    shelf.models.forget("yard")
    assert len(shelf.files()) == 1
    shelf.models.forget("gate")
    assert [*shelf.root.iterdir()] == []


def test_weights_that_nothing_refers_to_are_removed(shelf: Shelf) -> None:
    shelf.models.add(shelf.camera, REPORT, FIRST.to_dict(), own_weights())
    kept = shelf.files()
    for name in ("gate/left-behind.safetensors", "nobody/one.safetensors", "nobody/two.safetensors"):
        (shelf.root / name).parent.mkdir(exist_ok=True)
        (shelf.root / name).touch()
    assert sorted(shelf.models.remove_orphans()) == [
        "gate/left-behind.safetensors",
        "nobody/one.safetensors",
        "nobody/two.safetensors",
    ]
    assert shelf.files() == kept
    assert not (shelf.root / "nobody").exists()
    assert shelf.models.remove_orphans() == []


def test_a_calibration_that_was_kept_is_used_though_the_database_cannot_be_read_just_then(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_camera_id: str) -> None:
        raise OperationalError("SELECT", {}, Exception("the database is gone"))

    monkeypatch.setattr(shelf.store, "active", fail)
    shelf.models.add(shelf.camera, REPORT, FIRST.to_dict())
    assert shelf.camera.calibration == FIRST


def test_what_is_usual_to_named_behaviours_is_kept_with_the_calibration(shelf: Shelf) -> None:
    here = {Kind.RUNNING: Usual(1.35, 1.22, times=4, marked=0, footage_s=1920.0, per_day=13.0, usable=True)}
    stored = {kind: dataclasses.asdict(one) | {"words": "Running: 1.35"} for kind, one in here.items()}
    shelf.models.add(shelf.camera, REPORT, FIRST.to_dict())
    assert shelf.camera.models[-1].usual == {}, "a report of an older version"
    # A behaviour that this version does not know is left out.
    shelf.models.add(shelf.camera, {**REPORT, "behaviours": {**stored, "juggling": {}}}, SECOND.to_dict())
    assert shelf.camera.models[-1].usual == here
    shelf.models.equip(shelf.camera)
    assert shelf.camera.models[-1].usual == here
    shelf.models.roll_back(shelf.camera)
    assert shelf.camera.models[-1].usual == {}


@pytest.mark.parametrize("broken", [{"running": {}}, {"running": None}, {"running": {"threshold": 9}}])
def test_unreadable_thresholds_of_behaviours_are_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="what is usual to named behaviours cannot be read"):
        usual_of({"behaviours": broken})
