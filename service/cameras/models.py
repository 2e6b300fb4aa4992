"""Chooses the calibration and weights by which each camera is scored: its own, or those of the service.

A calibration belongs to the checkpoint that it was made with. If the service gets another checkpoint, the calibrations
of cameras are not used until the cameras are calibrated again; the log says so.
"""

from __future__ import annotations

import dataclasses
import shutil
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from model.behaviours import Kind
from model.behaviours.calibration import Usual
from model.calibration import Calibration
from model.checkpoint import Checkpoint, CheckpointError
from model.scorer import CameraModel
from service.cameras.camera import Camera
from service.cameras.premises import Premises
from service.cameras.store import CameraStore, StoredCalibration

log = structlog.get_logger(__name__)


class CameraModels:
    """The cameras' own calibrations, kept in the store, and their own weights, kept on disk.

    Args:
        store: Where calibrations are kept.
        root: The folder of weights, with one folder for each camera.
        base: Loads the checkpoint of the service.

    Attributes:
        changing: Lock that is held while the model of a camera changes; reentrant.
    """

    def __init__(self, store: CameraStore, root: Path, base: Callable[[], Checkpoint]) -> None:
        self.changing = threading.RLock()
        self.base = base
        self._store = store
        self._root = root

    def equip(self, camera: Camera) -> None:
        """Score a camera with its own calibration and weights if they can be used, else with those of the service."""
        with self.changing:
            camera.set_model(*self._active(camera.id))

    def add(
        self,
        camera: Camera,
        report: Mapping[str, Any],
        calibration: Mapping[str, Any],
        weights: Checkpoint | None = None,
        premises: Premises | None = None,
    ) -> int:
        """Store a calibration, weights first, and use it for the camera from now on.

        Args:
            camera: The camera.
            report: The report of the calibration; its ``base`` is the fingerprint of the checkpoint it was made with,
                its ``behaviours`` what is usual to named behaviours.
            calibration: The fitted calibration.
            weights: The camera's own weights; None to use those of the service.
            premises: What it was made of; None if that is not known, so that it always holds.

        Returns:
            The version of the calibration.

        Raises:
            UnknownCamera: The camera was removed meanwhile.
        """
        file = None if weights is None else f"{uuid.uuid4().hex}.safetensors"
        with self.changing:
            if weights is not None and file is not None:
                weights.save(self._folder(camera.id) / file)
            stored = None if premises is None else premises.to_dict()
            version = self._store.add_calibration(camera.id, report, calibration, file, stored)
            camera.set_model(CameraModel(Calibration.from_dict(dict(calibration)), weights, usual_of(report)), premises)
        return version

    def roll_back(self, camera: Camera) -> None:
        """Return to the calibration before the one in use, or to that of the service if there is none before."""
        with self.changing:
            before = self._store.active(camera.id)
            self._store.roll_back(camera.id)
            self.equip(camera)
            if before is not None and before.checkpoint is not None:
                (self._folder(camera.id) / before.checkpoint).unlink(missing_ok=True)

    def fits(self, stored: StoredCalibration) -> bool:
        """Whether a calibration was made with the checkpoint of the service."""
        try:
            return bool(stored.report.get("base") == self.base().fingerprint())
        except CheckpointError:
            return False

    def forget(self, camera_id: str) -> None:
        """Remove the weights of a camera."""
        with self.changing:
            shutil.rmtree(self._folder(camera_id), ignore_errors=True)

    def remove_orphans(self) -> list[str]:
        """Remove weights that no calibration refers to; call it before the first camera starts.

        Returns:
            The names removed.
        """
        known = {stored.id for stored in self._store.all()}
        removed = []
        for folder in [path for path in self._root.iterdir() if path.is_dir()]:
            used = {stored.checkpoint for stored in self._store.history(folder.name) if not stored.withdrawn}
            for file in [*folder.iterdir()]:
                if folder.name not in known or file.name not in used:
                    file.unlink()
                    removed.append(f"{folder.name}/{file.name}")
            if folder.name not in known:
                folder.rmdir()
        return removed

    def _active(self, camera_id: str) -> tuple[CameraModel | None, Premises | None]:
        try:
            stored = self._store.active(camera_id)
            if stored is None or stored.calibration is None:
                return None, None
            premises = self._store.premises(camera_id)
            model = self._load(camera_id, stored, stored.calibration)
            return model, None if premises is None else Premises.from_dict(premises)
        except (CheckpointError, ValueError, SQLAlchemyError) as error:
            log.warning("calibration cannot be used; calibrate the camera again", camera=camera_id, reason=str(error))
            return None, None

    def _load(self, camera_id: str, stored: StoredCalibration, calibration: dict[str, Any]) -> CameraModel:
        base = self.base()
        if stored.report.get("base") != base.fingerprint():
            raise ValueError(f"version {stored.version} was made with another checkpoint than {base.name}")
        own = None if stored.checkpoint is None else Checkpoint.load(self._folder(camera_id) / stored.checkpoint)
        return CameraModel(Calibration.from_dict(calibration), own, usual_of(stored.report))

    def _folder(self, camera_id: str) -> Path:
        return self._root / camera_id


def usual_of(report: Mapping[str, Any]) -> dict[Kind, Usual]:
    """What is usual to named behaviours, from the stored report of a calibration.

    A behaviour that the report does not know fires at its usual score; so do all, if an older version made the report.
    One that this version does not know is left out.

    Raises:
        ValueError: A figure is missing or impossible.
    """
    stored = report.get("behaviours") or {}
    names = [field.name for field in dataclasses.fields(Usual)]
    try:
        return {kind: Usual(**{name: stored[kind][name] for name in names}) for kind in Kind if kind in stored}
    except (KeyError, TypeError) as error:
        raise ValueError(f"what is usual to named behaviours cannot be read: {error}") from error
