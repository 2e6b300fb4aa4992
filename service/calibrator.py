"""Calibrations of cameras: footage of normal life is gathered, a threshold fitted, and weights adapted if asked for.

A calibration belongs to the checkpoint that it was made with. After a change of the service's checkpoint those made
before are left aside, and say so in the log, until the camera is calibrated again.
"""

from __future__ import annotations

import math
import shutil
import threading
import time
import uuid
from array import array
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from sqlalchemy.exc import SQLAlchemyError

from model.adaptation import CameraFit, FitCancelled, fit_camera
from model.calibration import Calibration, CalibrationError
from model.checkpoint import Checkpoint, CheckpointError
from model.footage import PoseFootage, PoseTrack
from model.scorer import CameraModel
from service.camera_store import CameraStore, StoredCalibration, UnknownCamera
from service.cameras import Camera
from service.database import utc_now
from service.engine import Scored
from service.files import DataFolder
from service.incident_store import IncidentStore
from service.results import ClipResult, Document, Level
from service.storage import ClipState, Store

LONGEST_S: Final = 7 * 24 * 3600.0
_MOST_POSES: Final = 200_000
"""Poses of one calibration that are kept in memory, and cut into windows later, which takes a few hundred megabytes;
gathering ends early when they are there."""
_BREAK_S: Final = 2.0
"""A longer silence of the camera begins a new recording: nothing is known of what happened meanwhile."""
_EMPTY_S: Final = 1.0
"""While nobody has been in view for so long, a frame in so long is enough to know it."""
_LONGEST_RECORDING_S: Final = 600.0
"""Longer recordings are cut, so that only so much is in memory as windows at a time."""
_POLL_S: Final = 0.5
_STOP_S: Final = 5.0

log = structlog.get_logger(__name__)


class CalibrationRunning(RuntimeError):
    """The camera is being calibrated already."""


class _CameraChanged(RuntimeError):
    """The camera whose footage was gathered looks elsewhere now, or is disabled."""


class CalibrationRefused(RuntimeError):
    """The calibration cannot be started as asked."""


class CalibrationState(StrEnum):
    """Where a calibration stands."""

    GATHERING = "gathering"
    FITTING = "fitting"
    DONE = "done"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (CalibrationState.GATHERING, CalibrationState.FITTING)


class CalibrationRequest(Document):
    """How a camera shall be calibrated; normal life has to be in the picture meanwhile."""

    seconds: float | None = Field(
        default=None,
        ge=10,
        le=LONGEST_S,
        description="Gather footage from the camera for so many seconds.",
        examples=[1800],
    )
    clip: str | None = Field(
        default=None,
        description="Take the footage from this clip instead, which was scored with `keypoints`.",
        examples=["0b1c5a3e9f7d4c2b8a6e1f0d3c5b7a99"],
    )
    false_alarms_per_hour: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="False alarms per hour that the footage shall support; null takes the camera's.",
    )
    adapt: bool = Field(
        default=False,
        description="Also fine-tune the weights on the footage; they are used only if footage that they did not learn "
        "from becomes more likely.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.seconds is None) == (self.clip is None):
            raise ValueError("give either seconds, to gather from the camera, or clip")
        return self


class Adaptation(Document):
    """What fine-tuning did."""

    accepted: bool = Field(description="Whether the new weights are used.")
    reason: str = Field(description="Why, in plain words.")
    before: float | None = Field(description="Score of footage held out from learning, by the old weights.")
    after: float | None = Field(description="The same by the new weights, bits per dimension; lower is more likely.")
    seconds: float = Field(description="Seconds that it took.")


class CalibrationReport(Document):
    """What was found."""

    base: str = Field(description="Digest of the checkpoint that it was made with.")
    threshold: Level = Field(description="Level that opens an incident.")
    false_alarms_per_hour: float = Field(description="How often normal life reaches it.", examples=[1.0])
    interval: tuple[float, float] = Field(
        description="False alarms per hour that this threshold could really cost, given so much footage; the middle "
        "90 %.",
        examples=[(0.2, 3.9)],
    )
    footage_s: float = Field(description="Seconds of footage that it rests on.", examples=[1800.0])
    exceedances: int = Field(description="Independent high scores in it, from which the threshold is extrapolated.")
    windows: int = Field(description="Windows that were scored.")
    false_alarms_marked: int = Field(
        default=0, description="Incidents of this camera that had been marked as false alarms when it was asked for."
    )
    false_alarms_used: int = Field(
        default=0,
        description="How many of them raise the threshold as exceedances besides those of the footage: the newest, at "
        "most as many as the footage has of its own, and only what these very weights scored.",
    )
    adaptation: Adaptation | None = Field(description="What fine-tuning did; null if it was not asked for.")


class CalibrationRefusal(Document):
    """Why the footage does not support what was asked of it."""

    detail: str = Field(description="In plain words.")
    needed_s: float | None = Field(description="About how many more seconds would; null if more would not help.")


class CalibrationVersion(Document):
    """A calibration that was made."""

    version: int = Field(description="Counts the calibrations of the camera, from 1.")
    active: bool = Field(
        description="Whether it is in use; one that was made with another checkpoint than the service has now is not."
    )
    withdrawn: bool = Field(description="Whether it was rolled back, for good.")
    created_at: datetime = Field(description="When it was made.")
    report: CalibrationReport = Field(description="What was found.")


class CalibrationStatus(Document):
    """The calibration of a camera: what is in use, and what is being done."""

    camera: str = Field(description="Id of the camera.")
    active: int | None = Field(description="Version in use; null for the calibration that ships with the checkpoint.")
    versions: list[CalibrationVersion] = Field(description="All that were made, newest first.")
    state: CalibrationState | None = Field(
        description="Where the last one that was asked for stands; null if there was none since the service started."
    )
    request: CalibrationRequest | None = Field(description="What was asked for.")
    gathered_s: float = Field(description="Seconds of footage gathered.")
    gathered_poses: int = Field(description="Poses in it.")
    progress: float | None = Field(description="Share of the fitting that is done, 0 to 1; null before it.")
    refusal: CalibrationRefusal | None = Field(description="Why it was refused.")
    problem: str | None = Field(description="Why it failed, or was given up without anybody asking for that.")


class _Sightings:
    """Poses of one person, packed: there may be many."""

    def __init__(self) -> None:
        self._times = array("d")
        self._joints = array("f")

    def add(self, moment: float, keypoints: NDArray[np.float32]) -> None:
        """Take a pose ``(17, 3)``."""
        self._times.append(moment)
        self._joints.frombytes(np.ascontiguousarray(keypoints, np.float32).tobytes())

    def track(self, number: int) -> PoseTrack:
        """All of them."""
        joints = np.array(self._joints, np.float32).reshape(len(self._times), -1, 3)
        return PoseTrack(number, np.array(self._times), torch.from_numpy(joints))


class _Gathering:
    """Footage of one camera as it comes.

    Attributes:
        seconds: Time that the frames cover, silences left out.
        poses: Poses in them.
        full: No more can be kept.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.poses = 0
        self.full = threading.Event()
        self._lock = threading.Lock()
        self._times = array("d")
        self._people: dict[int, _Sightings] = {}
        self._last = -math.inf
        self._peopled = -math.inf

    def add(self, scored: Scored) -> None:
        """Take a processed frame."""
        moment = scored.captured_at
        with self._lock:
            gap = moment - self._last
            if self.full.is_set() or gap <= 0:
                return
            self._last = moment
            if gap <= _BREAK_S:
                self.seconds += gap
            if scored.track_ids:
                self._peopled = moment
            elif gap <= _BREAK_S and moment - self._times[-1] < _EMPTY_S < moment - self._peopled:
                return
            self._times.append(moment)
            for track, keypoints in zip(scored.track_ids, scored.keypoints, strict=True):
                self._people.setdefault(track, _Sightings()).add(moment, keypoints)
            self.poses += len(scored.track_ids)
            if self.poses >= _MOST_POSES:
                self.full.set()

    def hand_over(self) -> list[PoseFootage]:
        """Uninterrupted recordings; nothing is kept, and nothing more is taken."""
        with self._lock:
            self.full.set()
            times, people = self._times, self._people
            self._times, self._people = array("d"), {}
        return _recordings(np.array(times), people)


def _recordings(times: NDArray[np.float64], people: Mapping[int, _Sightings]) -> list[PoseFootage]:
    """Cut what was seen into uninterrupted recordings.

    Args:
        times: Capture times of all frames in seconds, increasing.
        people: What was seen of each person in them.
    """
    if not len(times):
        return []
    whole = PoseFootage(times, tuple(seen.track(number) for number, seen in people.items()))
    starts = [float(times[0])]
    for before, moment in pairwise(times.tolist()):
        if moment - before > _BREAK_S or moment - starts[-1] > _LONGEST_RECORDING_S:
            starts.append(moment)
    return [whole.between(start, stop) for start, stop in pairwise([*starts, math.inf])]


def clip_footage(result: ClipResult) -> list[PoseFootage]:
    """The poses of a scored clip.

    Raises:
        CalibrationRefused: The clip was scored without keypoints.
    """
    people: dict[int, _Sightings] = {}
    for frame in result.frames:
        for person in frame.people:
            if person.keypoints is None:
                raise CalibrationRefused("the clip was scored without keypoints; post it again with keypoints=true")
            people.setdefault(person.track, _Sightings()).add(frame.time_s, np.array(person.keypoints, np.float32))
    return _recordings(np.array([frame.time_s for frame in result.frames]), people)


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


def fitted_report(
    fit: CameraFit, base: Checkpoint, rate: float, adaptation: Adaptation | None = None, false_alarms_marked: int = 0
) -> CalibrationReport:
    """What is told of a fit.

    Args:
        fit: What was found.
        base: The checkpoint that it was made with.
        rate: False alarms per hour that were asked for.
        adaptation: What fine-tuning did, if it was asked for.
        false_alarms_marked: False alarms that could have been part of it.
    """
    return CalibrationReport(
        base=base.fingerprint(),
        threshold=fit.threshold,
        false_alarms_per_hour=rate,
        interval=fit.rate_interval,
        footage_s=round(fit.calibration.footage_s, 1),
        exceedances=fit.calibration.exceedances,
        windows=fit.windows,
        false_alarms_marked=false_alarms_marked,
        false_alarms_used=fit.false_alarms_used,
        adaptation=adaptation,
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 5)
