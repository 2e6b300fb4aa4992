"""Calibrates cameras: gathers calibration footage, fits a threshold, and adapts weights if asked to."""

from __future__ import annotations

import math
import threading
import time
from typing import Final

import structlog

from model.adaptation import CameraFit, FitCancelled, fit_camera
from model.behaviours import Kind
from model.behaviours.calibration import Usual, fit_behaviours
from model.budget import share_of
from model.calibration import CalibrationError
from model.checkpoint import Checkpoint
from service.calibration.gathering import CalibrationRefused, Gathered, Gathering, clip_footage
from service.calibration.report import (
    Adaptation,
    CalibrationRefusal,
    CalibrationReport,
    CalibrationRequest,
    CalibrationState,
    CalibrationStatus,
    CalibrationVersion,
    fitted_report,
)
from service.cameras.camera import Camera
from service.cameras.manager import CameraManager
from service.cameras.models import CameraModels
from service.cameras.premises import Premises
from service.cameras.store import CameraStore, StoredCalibration, UnknownCamera
from service.clips.store import ClipStore
from service.clips.tables import ClipState
from service.documents.kinds import BEHAVIOUR_DIGITS
from service.documents.results import ClipResult
from service.incidents.store import IncidentStore
from service.storage.database import utc_now
from service.storage.folder import DataFolder

log = structlog.get_logger(__name__)

_POLL_S: Final = 0.5
"""Seconds between two checks whether enough footage is gathered."""

_STOP_S: Final = 5.0
"""Seconds that `stop` waits for calibrations to end."""


class CalibrationRunning(RuntimeError):
    """A calibration of this camera is running."""


class _CameraChanged(RuntimeError):
    """The camera was replaced or disabled while its footage was gathered."""


class _Session:
    """One calibration: its state while it runs, and its outcome afterwards."""

    def __init__(self, camera: Camera, request: CalibrationRequest) -> None:
        self.camera = camera
        self.request = request
        self.asked_at = utc_now()
        self.false_alarms_marked = 0
        self.state = CalibrationState.GATHERING
        self.gathering = Gathering(camera.config.looked_for, camera.config.rest)
        self.progress: float | None = None
        self.refusal: CalibrationRefusal | None = None
        self.problem: str | None = None
        self.cancelled = threading.Event()
        self.premises: Premises | None = None

    @property
    def budget(self) -> float:
        """The false-alarm budget: the one of the request, or that of the camera."""
        return self.request.false_alarms_per_day or self.camera.budget

    def advance(self, share: float) -> None:
        """Set the share of the fitting that is done, 0 to 1."""
        self.progress = share


class Calibrator:
    """Calibrates cameras; each calibration runs on its own thread.

    Args:
        cameras: The cameras; a calibration is cancelled when its camera is removed.
        models: Stores calibrations and gives them to cameras.
        store: Lists the calibrations of cameras.
        clips: Lists clips, whose footage can be used.
        incidents: Lists the incidents that were marked as false alarms.
        folder: Holds the results of clips.
    """

    def __init__(
        self,
        cameras: CameraManager,
        models: CameraModels,
        store: CameraStore,
        clips: ClipStore,
        incidents: IncidentStore,
        folder: DataFolder,
    ) -> None:
        self._cameras = cameras
        self._models = models
        self._store = store
        self._clips = clips
        self._incidents = incidents
        self._folder = folder
        self._lock = threading.Lock()
        self._stopping = False
        self._sessions: dict[str, _Session] = {}
        self._threads: list[threading.Thread] = []
        cameras.when_removed(self._forget)

    def start(self, camera_id: str, request: CalibrationRequest) -> CalibrationStatus:
        """Start the calibration of a camera.

        Raises:
            UnknownCamera: There is none.
            CalibrationRunning: One is running.
            CalibrationRefused: The camera is disabled, the clip cannot be used, or the service is stopping.
            UnknownClip: There is no such clip.
        """
        camera, footage = self._cameras.camera(camera_id), None
        if request.clip is not None:
            footage = self._clip_footage(camera, request.clip)
        elif camera.lane is None:
            raise CalibrationRefused(f"camera {camera.id} is disabled, so it delivers no calibration footage")
        session = _Session(camera, request)
        with self._lock:
            if self._stopping:
                raise CalibrationRefused("the service is stopping")
            running = self._sessions.get(camera.id)
            if running is not None and not running.state.finished:
                raise CalibrationRunning(f"a calibration of camera {camera.id} is running; cancel it first")
            self._sessions[camera.id] = session
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(
                target=self._run, args=(session, footage), name=f"calibration-{camera.id}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        return self.status(camera.id)

    def cancel(self, camera_id: str) -> None:
        """Cancel the calibration of a camera, if one is running."""
        with self._lock:
            session = self._sessions.get(camera_id)
        if session is not None:
            session.cancelled.set()

    def stop(self) -> None:
        """Cancel all calibrations and wait some seconds for them to end."""
        with self._lock:
            self._stopping = True
            sessions, threads = list(self._sessions.values()), list(self._threads)
        for session in sessions:
            session.cancelled.set()
        deadline = time.monotonic() + _STOP_S
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0))

    def status(self, camera_id: str) -> CalibrationStatus:
        """The calibrations of a camera, and the state of the last one that was started.

        Raises:
            UnknownCamera: There is none.
        """
        camera = self._cameras.camera(camera_id)
        with self._lock:
            session = self._sessions.get(camera_id)
        versions = [self._version(stored) for stored in self._store.history(camera_id)]
        return CalibrationStatus(
            camera=camera_id,
            active=next((version.version for version in versions if version.active), None),
            versions=versions,
            stale=list(camera.staleness),
            state=session.state if session else None,
            request=session.request if session else None,
            gathered_s=round(session.gathering.seconds, 1) if session else 0.0,
            gathered_poses=session.gathering.poses if session else 0,
            progress=session.progress if session else None,
            refusal=session.refusal if session else None,
            problem=session.problem if session else None,
        )

    def roll_back(self, camera_id: str) -> CalibrationStatus:
        """Return to the calibration before the one in use, or to that of the service if there is none before.

        Raises:
            UnknownCamera: There is none.
        """
        with self._models.changing:
            self._models.roll_back(self._cameras.camera(camera_id))
        log.info("calibration rolled back", camera=camera_id)
        return self.status(camera_id)

    def _forget(self, camera_id: str) -> None:
        """Cancel the calibration of a camera that was removed, and forget its outcome."""
        self.cancel(camera_id)
        with self._lock:
            self._sessions.pop(camera_id, None)

    def _version(self, stored: StoredCalibration) -> CalibrationVersion:
        return CalibrationVersion(
            version=stored.version,
            active=stored.active and self._models.fits(stored),
            withdrawn=stored.withdrawn,
            created_at=stored.created_at,
            report=CalibrationReport.model_validate(stored.report),
        )

    def _clip_footage(self, camera: Camera, clip_id: str) -> Gathered:
        if self._clips.get(clip_id).state is not ClipState.DONE:
            raise CalibrationRefused(f"clip {clip_id} has not been scored")
        try:
            content = self._folder.result(clip_id).read_bytes()
        except OSError as error:
            raise CalibrationRefused(f"clip {clip_id} is being removed") from error
        config = camera.config
        return clip_footage(ClipResult.model_validate_json(content), config.looked_for, config.rest)

    def _run(self, session: _Session, footage: Gathered | None) -> None:
        camera = session.camera
        try:
            if footage is None:
                footage = self._gather(session)
            if session.cancelled.is_set():
                raise FitCancelled
            started = time.monotonic()
            fit, usual = self._fit(session, footage)
            self._keep(session, fit, usual, time.monotonic() - started)
            session.state = CalibrationState.DONE
        except CalibrationError as error:
            session.refusal = CalibrationRefusal(detail=str(error), needed_s=error.needed_s)
            session.state = CalibrationState.REFUSED
            log.warning("calibration refused", camera=camera.id, reason=str(error), needed_s=error.needed_s)
        except _CameraChanged:
            session.problem = (
                "the camera was changed or disabled while footage was gathered; start the calibration again"
            )
            session.state = CalibrationState.CANCELLED
            log.warning("calibration cancelled", camera=camera.id, reason=session.problem)
        except (FitCancelled, UnknownCamera):
            session.state = CalibrationState.CANCELLED
            log.info("calibration cancelled", camera=camera.id)
        except Exception as error:
            session.problem = f"the calibration failed: {' '.join(str(error).split())[:300]}"
            session.state = CalibrationState.FAILED
            log.exception("calibration failed", camera=camera.id)

    def _gather(self, session: _Session) -> Gathered:
        seconds, gathering = session.request.seconds or 0.0, session.gathering
        looked_for = session.camera.config.looked_for
        session.camera.tap(gathering.add)
        try:
            while gathering.seconds < seconds and not gathering.full.is_set():
                if session.cancelled.wait(_POLL_S):
                    break
                replaced = self._cameras.camera(session.camera.id) is not session.camera
                if replaced or session.camera.config.looked_for != looked_for:
                    raise _CameraChanged
        finally:
            session.camera.untap(gathering.add)
            footage = gathering.hand_over()
        return footage

    def _fit(self, session: _Session, footage: Gathered) -> tuple[CameraFit, dict[Kind, Usual]]:
        session.state = CalibrationState.FITTING
        config = session.camera.config
        session.premises = Premises.of(session.camera.url, config, footage.size, footage.view)
        base = self._models.base()
        held, marked = self._false_alarms(session, base)
        confirmed = self._confirmed(session, marked)
        fit = fit_camera(
            footage.recordings,
            base,
            false_alarms_per_day=share_of(Kind.UNUSUAL, session.budget),
            merge_s=config.quiet_s,
            min_duration_s=config.min_duration_s,
            false_alarms=held,
            adapt=session.request.adapt,
            on_progress=session.advance,
            cancelled=session.cancelled.is_set,
        )
        usual = fit_behaviours(
            footage.life,
            false_alarms_per_day=session.budget,
            merge_s=config.quiet_s,
            marked=marked,
            confirmed=confirmed,
        )
        return fit, usual

    def _false_alarms(self, session: _Session, base: Checkpoint) -> tuple[list[float], dict[Kind, list[float]]]:
        """Highest held scores of incidents that were marked as false alarms, and scores of the behaviours in them.

        Later incidents are left out: they are in the footage that was gathered.
        """
        camera_id, scored_by = session.camera.id, base.fingerprint()
        marked = self._incidents.false_alarms(
            camera_id, since=self._store.get(camera_id).created_at, until=session.asked_at
        )
        session.false_alarms_marked = len(marked)
        peaks = [one.peak for one in marked]
        scores: dict[Kind, list[float]] = {}
        for one in marked:
            for kind, score in one.scores.items():
                scores.setdefault(kind, []).append(score)
        return [peak.score for peak in peaks if peak is not None and peak.scored_by == scored_by], scores

    def _confirmed(self, session: _Session, marked: dict[Kind, list[float]]) -> dict[Kind, list[float]]:
        """Scores of the behaviours in incidents that people confirmed.

        Args:
            session: The calibration.
            marked: Gets the scores of behaviours that such incidents were called by mistake.
        """
        scores: dict[Kind, list[float]] = {}
        since = self._store.get(session.camera.id).created_at
        for one in self._incidents.confirmed(session.camera.id, since=since, until=session.asked_at):
            if one.score is not None and one.kind is not Kind.UNUSUAL:
                # What is stored was rounded, perhaps up.
                scores.setdefault(one.kind, []).append(one.score - 0.5 * 10**-BEHAVIOUR_DIGITS)
            if one.mistaken is not None:
                marked.setdefault(one.mistaken[0], []).append(one.mistaken[1])
        return scores

    def _keep(self, session: _Session, fit: CameraFit, usual: dict[Kind, Usual], seconds: float) -> None:
        """Store the calibration and use it for the camera from now on."""
        camera, adaptation = session.camera, None
        if session.request.adapt:
            adaptation = Adaptation(
                accepted=fit.accepted,
                reason=fit.reason or "",
                before=_finite(fit.before_nll),
                after=_finite(fit.after_nll),
                seconds=round(seconds, 1),
            )
        report = fitted_report(fit, self._models.base(), session.budget, usual, adaptation, session.false_alarms_marked)
        with self._models.changing:
            if session.cancelled.is_set():
                raise FitCancelled
            # The camera may have been changed, and so replaced, while the calibration was fitted.
            current = self._cameras.camera(camera.id)
            version = self._models.add(
                current, report.model_dump(mode="json"), fit.calibration.to_dict(), fit.checkpoint, session.premises
            )
        log.info("camera calibrated", camera=camera.id, version=version, adapted=fit.accepted)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 5)
