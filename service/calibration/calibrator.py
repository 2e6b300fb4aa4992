"""Calibrations of cameras: footage of normal life is gathered, a threshold fitted, and weights adapted if asked for.

A calibration belongs to the checkpoint that it was made with. After a change of the service's checkpoint those made
before are left aside, and say so in the log, until the camera is calibrated again.
"""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from model.adaptation import CameraFit, FitCancelled, fit_camera
from model.calibration import Calibration, CalibrationError
from model.checkpoint import Checkpoint, CheckpointError
from model.footage import PoseFootage
from model.scorer import CameraModel
from service.calibration.gathering import CalibrationRefused, _Gathering, clip_footage
from service.calibration.report import (
    Adaptation,
    CalibrationRefusal,
    CalibrationReport,
    CalibrationRequest,
    CalibrationState,
    CalibrationStatus,
    CalibrationVersion,
    _finite,
    fitted_report,
)
from service.cameras.camera import Camera
from service.cameras.store import CameraStore, StoredCalibration, UnknownCamera
from service.clips.store import ClipState, Store
from service.documents.results import ClipResult
from service.incidents.store import IncidentStore
from service.storage.database import utc_now
from service.storage.folder import DataFolder

log = structlog.get_logger(__name__)


_POLL_S: Final = 0.5


_STOP_S: Final = 5.0


class CalibrationRunning(RuntimeError):
    """The camera is being calibrated already."""


class _CameraChanged(RuntimeError):
    """The camera whose footage was gathered looks elsewhere now, or is disabled."""


class _Session:
    """One calibration while it runs, and afterwards what became of it."""

    def __init__(self, camera: Camera, request: CalibrationRequest) -> None:
        self.camera = camera
        self.request = request
        self.asked_at = utc_now()
        self.false_alarms_marked = 0
        self.state = CalibrationState.GATHERING
        self.gathering = _Gathering()
        self.progress: float | None = None
        self.refusal: CalibrationRefusal | None = None
        self.problem: str | None = None
        self.cancelled = threading.Event()

    def advance(self, share: float) -> None:
        """Note how far fitting has come."""
        self.progress = share


class Calibrator:
    """Calibrates cameras, keeps what was found, and says what each camera is to be scored by.

    Args:
        store: Where calibrations are kept.
        clips: Where clips are known.
        incidents: Where false alarms are known.
        folder: Where weights and clips lie.
        base: The checkpoint that cameras are calibrated and adapted from.
        camera_of: Finds a camera by its id; raises `UnknownCamera`.
    """

    def __init__(
        self,
        store: CameraStore,
        clips: Store,
        incidents: IncidentStore,
        folder: DataFolder,
        base: Callable[[], Checkpoint],
        camera_of: Callable[[str], Camera],
    ) -> None:
        self._store = store
        self._clips = clips
        self._incidents = incidents
        self._folder = folder
        self._base = base
        self._camera_of = camera_of
        self._lock = threading.Lock()
        self._applying = threading.Lock()
        self._stopping = False
        self._sessions: dict[str, _Session] = {}
        self._threads: list[threading.Thread] = []

    def start(self, camera_id: str, request: CalibrationRequest) -> CalibrationStatus:
        """Begin to calibrate a camera.

        Raises:
            UnknownCamera: There is none.
            CalibrationRunning: It is being calibrated.
            CalibrationRefused: The camera is disabled, or the clip cannot be used.
            UnknownClip: There is no such clip.
        """
        camera, footage = self._camera_of(camera_id), None
        if request.clip is not None:
            footage = self._clip_footage(request.clip)
        elif camera.lane is None:
            raise CalibrationRefused(f"camera {camera.id} is disabled, so there is nothing to gather")
        session = _Session(camera, request)
        with self._lock:
            if self._stopping:
                raise CalibrationRefused("the service is being stopped")
            running = self._sessions.get(camera.id)
            if running is not None and not running.state.finished:
                raise CalibrationRunning(f"camera {camera.id} is being calibrated; cancel that first")
            self._sessions[camera.id] = session
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(
                target=self._run, args=(session, footage), name=f"calibration-{camera.id}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        return self.status(camera.id)

    def cancel(self, camera_id: str) -> None:
        """Give up what is being done for a camera; nothing to give up is fine."""
        with self._lock:
            session = self._sessions.get(camera_id)
        if session is not None:
            session.cancelled.set()

    def forget(self, camera_id: str) -> None:
        """A camera was removed: give up what is being done for it and remove its weights."""
        with self._applying:
            self.cancel(camera_id)
            with self._lock:
                self._sessions.pop(camera_id, None)
            shutil.rmtree(self._weights(camera_id), ignore_errors=True)

    def remove_orphans(self) -> list[str]:
        """Remove weights that nothing refers to; before the first camera starts.

        Returns:
            The names removed.
        """
        known = {stored.id for stored in self._store.all()}
        removed = []
        for folder in [path for path in self._folder.cameras.iterdir() if path.is_dir()]:
            used = {stored.checkpoint for stored in self._store.history(folder.name) if not stored.withdrawn}
            for file in [*folder.iterdir()]:
                if folder.name not in known or file.name not in used:
                    file.unlink()
                    removed.append(f"{folder.name}/{file.name}")
            if folder.name not in known:
                folder.rmdir()
        return removed

    def stop(self) -> None:
        """Give up everything that is being done; what does not notice within seconds is left to the process's end."""
        with self._lock:
            self._stopping = True
            sessions, threads = list(self._sessions.values()), list(self._threads)
        for session in sessions:
            session.cancelled.set()
        deadline = time.monotonic() + _STOP_S
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0))

    def status(self, camera_id: str) -> CalibrationStatus:
        """The calibrations of a camera.

        Raises:
            UnknownCamera: There is none.
        """
        self._camera_of(camera_id)
        with self._lock:
            session = self._sessions.get(camera_id)
        versions = [self._version(stored) for stored in self._store.history(camera_id)]
        return CalibrationStatus(
            camera=camera_id,
            active=next((version.version for version in versions if version.active), None),
            versions=versions,
            state=session.state if session else None,
            request=session.request if session else None,
            gathered_s=round(session.gathering.seconds, 1) if session else 0.0,
            gathered_poses=session.gathering.poses if session else 0,
            progress=session.progress if session else None,
            refusal=session.refusal if session else None,
            problem=session.problem if session else None,
        )

    def roll_back(self, camera_id: str) -> CalibrationStatus:
        """Go back to the calibration before the one in use, at last to that of the service.

        Raises:
            UnknownCamera: There is none.
        """
        with self._applying:
            camera = self._camera_of(camera_id)
            before = self._store.active(camera.id)
            self._store.roll_back(camera.id)
            camera.set_model(self._model_of(camera.id))
            if before is not None and before.checkpoint is not None:
                (self._weights(camera.id) / before.checkpoint).unlink(missing_ok=True)
        log.info("calibration rolled back", camera=camera.id)
        return self.status(camera.id)

    def equip(self, camera: Camera) -> None:
        """Let a camera be scored by the calibration and the weights that it has of its own, if they can be used."""
        # With the lock, so that a calibration that is finished meanwhile is not undone.
        with self._applying:
            camera.set_model(self._model_of(camera.id))

    def adopt(self, camera: Camera, report: CalibrationReport, calibration: Mapping[str, Any]) -> None:
        """Score a camera by a calibration that was made elsewhere, on this camera's own footage.

        Raises:
            UnknownCamera: The camera was removed meanwhile.
        """
        with self._applying:
            self._store.add_calibration(camera.id, report.model_dump(mode="json"), calibration)
            camera.set_model(self._model_of(camera.id))

    def _model_of(self, camera_id: str) -> CameraModel | None:
        try:
            stored = self._store.active(camera_id)
            if stored is None or stored.calibration is None:
                return None
            return self._model(camera_id, stored)
        except (CheckpointError, ValueError, SQLAlchemyError) as error:
            log.warning("calibration cannot be used; calibrate the camera again", camera=camera_id, reason=str(error))
            return None

    def _version(self, stored: StoredCalibration) -> CalibrationVersion:
        report = CalibrationReport.model_validate(stored.report)
        return CalibrationVersion(
            version=stored.version,
            active=stored.active and self._fits(report),
            withdrawn=stored.withdrawn,
            created_at=stored.created_at,
            report=report,
        )

    def _fits(self, report: CalibrationReport) -> bool:
        """Whether a calibration was made with the checkpoint in use."""
        try:
            return report.base == self._base().fingerprint()
        except CheckpointError:
            return False

    def _model(self, camera_id: str, stored: StoredCalibration) -> CameraModel:
        base = self._base()
        if CalibrationReport.model_validate(stored.report).base != base.fingerprint():
            raise ValueError(f"version {stored.version} was made with another checkpoint than {base.name}")
        own = None if stored.checkpoint is None else Checkpoint.load(self._weights(camera_id) / stored.checkpoint)
        return CameraModel(Calibration.from_dict(stored.calibration or {}), own)

    def _weights(self, camera_id: str) -> Path:
        return self._folder.cameras / camera_id

    def _clip_footage(self, clip_id: str) -> list[PoseFootage]:
        if self._clips.get(clip_id).state is not ClipState.DONE:
            raise CalibrationRefused(f"clip {clip_id} has not been scored")
        try:
            content = self._folder.result(clip_id).read_bytes()
        except OSError as error:
            raise CalibrationRefused(f"clip {clip_id} is being removed") from error
        return clip_footage(ClipResult.model_validate_json(content))

    def _run(self, session: _Session, footage: list[PoseFootage] | None) -> None:
        camera = session.camera
        try:
            if footage is None:
                footage = self._gather(session)
            if session.cancelled.is_set():
                raise FitCancelled
            started = time.monotonic()
            fit = self._fit(session, footage)
            self._keep(session, fit, time.monotonic() - started)
            session.state = CalibrationState.DONE
        except CalibrationError as error:
            session.refusal = CalibrationRefusal(detail=str(error), needed_s=error.needed_s)
            session.state = CalibrationState.REFUSED
            log.warning("calibration refused", camera=camera.id, reason=str(error), needed_s=error.needed_s)
        except _CameraChanged:
            session.problem = "the camera was changed or disabled while footage was gathered; begin again"
            session.state = CalibrationState.CANCELLED
            log.warning("calibration given up", camera=camera.id, reason=session.problem)
        except (FitCancelled, UnknownCamera):
            session.state = CalibrationState.CANCELLED
            log.info("calibration given up", camera=camera.id)
        except Exception as error:
            session.problem = f"the calibration failed: {' '.join(str(error).split())[:300]}"
            session.state = CalibrationState.FAILED
            log.exception("calibration failed", camera=camera.id)

    def _gather(self, session: _Session) -> list[PoseFootage]:
        seconds, gathering = session.request.seconds or 0.0, session.gathering
        session.camera.tap(gathering.add)
        try:
            while gathering.seconds < seconds and not gathering.full.is_set():
                if session.cancelled.wait(_POLL_S):
                    break
                if self._camera_of(session.camera.id) is not session.camera:
                    raise _CameraChanged
        finally:
            session.camera.untap(gathering.add)
            footage = gathering.hand_over()
        return footage

    def _fit(self, session: _Session, footage: list[PoseFootage]) -> CameraFit:
        session.state = CalibrationState.FITTING
        config = session.camera.config
        base = self._base()
        return fit_camera(
            footage,
            base,
            false_alarms_per_hour=session.request.false_alarms_per_hour or session.camera.wanted_rate,
            merge_s=config.quiet_s,
            min_duration_s=config.min_duration_s,
            false_alarms=self._false_alarms(session, base),
            adapt=session.request.adapt,
            on_progress=session.advance,
            cancelled=session.cancelled.is_set,
        )

    def _false_alarms(self, session: _Session, base: Checkpoint) -> list[float]:
        """Held scores of false alarms; what came while footage was gathered is in the footage."""
        camera_id, scored_by = session.camera.id, base.fingerprint()
        marked = self._incidents.false_alarms(
            camera_id, since=self._store.get(camera_id).created_at, until=session.asked_at
        )
        session.false_alarms_marked = len(marked)
        return [peak.score for peak in marked if peak is not None and peak.scored_by == scored_by]

    def _keep(self, session: _Session, fit: CameraFit, seconds: float) -> None:
        """Store what was found, weights first, and score the camera by it from now on."""
        camera, adaptation = session.camera, None
        if session.request.adapt:
            adaptation = Adaptation(
                accepted=fit.accepted,
                reason=fit.reason or "",
                before=_finite(fit.before_nll),
                after=_finite(fit.after_nll),
                seconds=round(seconds, 1),
            )
        rate = session.request.false_alarms_per_hour or camera.wanted_rate
        report = fitted_report(fit, self._base(), rate, adaptation, session.false_alarms_marked)
        file = None if fit.checkpoint is None else f"{uuid.uuid4().hex}.safetensors"
        with self._applying:
            if session.cancelled.is_set():
                raise FitCancelled
            # The camera may have been changed, and so replaced, while the calibration was fitted.
            current = self._camera_of(camera.id)
            if fit.checkpoint is not None and file is not None:
                fit.checkpoint.save(self._weights(camera.id) / file)
            version = self._store.add_calibration(
                camera.id, report.model_dump(mode="json"), fit.calibration.to_dict(), file
            )
            current.set_model(CameraModel(fit.calibration, fit.checkpoint))
        log.info("camera calibrated", camera=camera.id, version=version, adapted=fit.accepted)
