"""Cameras of a running service: added, changed, watched and removed, each with its source, lane and incidents."""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from weakref import WeakValueDictionary

import numpy as np
import structlog
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from model.calibration import Calibration
from model.online import HeldScore
from model.scorer import CameraModel
from pose.live import LiveSource, LiveTiming, SourceState, StateChange
from service.bus import ScoreBus
from service.camera_config import MOST_FPS, CameraConfig, CameraPatch, CamerasFileError, explain, read_cameras
from service.camera_store import CameraStore, UnknownCamera
from service.clock import SteadyClock
from service.engine import Engine, Lane, Scored
from service.evidence import EvidenceRecorder
from service.feeds import BACKLOG, SkeletonFeed
from service.incident_log import IncidentLog
from service.incident_store import HeldPeak
from service.incidents import Change, Ended, EndReason, IncidentDetector, Observation, Rules, Started
from service.messages import LivePerson, Score
from service.metrics import Metrics
from service.models import Models
from service.relay import RelayedScores
from service.results import Document, Level
from service.settings import Settings
from service.stream_urls import Kind, StreamPolicy, StreamUrl, StreamUrlError, open_capture, parse

_WATCH_S: Final = 0.5
_CLOSING: Final = 4.0
"""An incident closes below the level that normal life reaches this many times as often as the opening level."""
_ALERT: Final = 0.1
"""An alert is this share as frequent in normal life, unless the camera says otherwise."""
_DIGITS: Final = 9
_SOURCE_FIELDS: Final = ("url", "enabled", "loop", "max_fps", "verify_tls", "picture")
"""What a camera has to be opened anew for."""

log = structlog.get_logger(__name__)


class TooManyCameras(RuntimeError):
    """As many cameras were added as may be."""


class NotASkeletonFeed(RuntimeError):
    """Keypoints were sent for a camera that delivers pictures."""


class SourceProblem(Document):
    """What keeps a camera from delivering pictures."""

    cause: str = Field(description="Stable slug.", examples=["unauthorised"])
    detail: str = Field(description="The same as a sentence.", examples=["the camera refuses the user or the password"])


class Thresholds(Document):
    """Where the incidents of a camera begin and end."""

    open: Level = Field(description="Levels at or above this open an incident.", examples=[0.9987])
    close: Level = Field(description="Levels below this let it end.", examples=[0.995])
    alert: Level = Field(description="Levels at or above this make it an alert.", examples=[0.9999])
    false_alarms_per_hour: float = Field(
        description="False alarms per hour of normal life that the opening level stands for; less than asked for where "
        "the calibration does not reach so far.",
        examples=[1.0],
    )
    calibration: Literal["shipped", "camera"] = Field(
        description="Whose normal life that is: that of the checkpoint's footage, or of this camera."
    )
    adapted: bool = Field(description="Whether the camera has weights of its own.")


class CameraStatus(Document):
    """A camera and how it is."""

    id: str = Field(description="Id of the camera.", examples=["entrance"])
    config: CameraConfig = Field(description="What was chosen for it; credentials in the URL are left out.")
    state: SourceState = Field(description="Where its source stands.")
    since: datetime = Field(description="Since when.")
    problem: SourceProblem | None = Field(description="What went wrong last; null while all is well.")
    picture: Literal["ok", "black", "frozen"] = Field(description="What is plainly wrong with the picture itself.")
    width: int | None = Field(description="Width of the picture in pixels.")
    height: int | None = Field(description="Height of the picture in pixels.")
    fps_in: float | None = Field(description="Frames per second that arrive.", examples=[25.0])
    fps_processed: float | None = Field(description="Frames per second that are scored.", examples=[14.8])
    frames_read: int = Field(description="Frames that arrived since the camera was last started.")
    frames_processed: int = Field(description="Frames that were scored.")
    dropped: dict[str, int] = Field(
        description="Frames that were not, by reason: `rate_limit`, more came than are wanted; `overload`, the machine "
        "was too slow; `not_ready`, the models were not loaded; `out_of_order`; `error`.",
        examples=[{"rate_limit": 1042, "overload": 3}],
    )
    reconnects: int = Field(description="Times that the connection was lost and tried again.")
    last_score_at: datetime | None = Field(description="Capture time of the newest score.")
    last_score_age_s: float | None = Field(description="How old that score was when it was published, in seconds.")
    thresholds: Thresholds | None = Field(description="Where incidents begin; null until the models are loaded.")
    incident: str | None = Field(description="The open incident.")
    suppressed: int = Field(description="Incidents held back by the cooldown since the camera was last started.")


@dataclass(frozen=True, slots=True, eq=False)
class Latest:
    """The newest processed frame of a camera.

    Attributes:
        image: The picture, BGR, not to be changed; None where pictures must not be shown.
        score: What was found in it.
    """

    image: NDArray[np.uint8] | None
    score: Score


class Camera:
    """One camera that is being watched.

    Args:
        camera_id: Its id.
        config: What was chosen for it.
        url: Its URL, parsed.
        post: Everything a camera reports to.
    """

    def __init__(self, camera_id: str, config: CameraConfig, url: StreamUrl, post: Post) -> None:
        self.id = camera_id
        self.config = config
        self.url = url
        self.latest: Latest | None = None
        self.taps: tuple[Callable[[Scored], None], ...] = ()
        self._post = post
        self._model: CameraModel | None = None
        self._lock = threading.Lock()
        self._started = False
        self._closed = False
        self._delivered_at: float | None = None
        self._observed_at = -math.inf
        self._score_at: datetime | None = None
        self._score_age: float | None = None
        self._disabled_since = post.clock.now()
        self._thresholds: Thresholds | None = None
        self._detector: IncidentDetector | None = None
        self._held = HeldScore(config.min_duration_s)
        self._peak = math.nan
        self.source = self._source() if config.enabled else None
        self.lane = (
            Lane(
                camera_id,
                self.source,
                self._deliver,
                max_fps=config.max_fps or self._usual_fps(),
                ignore=config.ignore,
            )
            if self.source
            else None
        )

    def start(self) -> None:
        """Begin to watch, unless that was done or the camera was stopped meanwhile."""
        with self._lock:
            if self._started or self._closed or self.source is None or self.lane is None:
                return
            self._started = True
            self._post.engine.add(self.lane, self._model)
            # Under the lock, because a source that is started after its stop would run for ever.
            self.source.start()

    def stop(self, reason: EndReason) -> None:
        """Let go of the source within about a second and end the incident."""
        with self._lock:
            self._closed = True
            if self._detector is not None:
                self._record(self._detector.end(max(self._post.clock.now(), self._observed_at), reason))
        if self.source is not None and self.lane is not None:
            self.source.stop()
            self._post.engine.remove(self.lane)
        self._post.evidence.forget(self.id)

    def change(self, config: CameraConfig) -> None:
        """Watch on with other rules; the source stays as it is."""
        with self._lock:
            self.config = config
            if self.lane is not None:
                self.lane.ignore = config.ignore
            self._renew_rules()

    def set_model(self, model: CameraModel | None) -> None:
        """Score with a calibration and weights of its own from now on, or with those of the service."""
        with self._lock:
            lane = self.lane if self._started and not self._closed else None
        if lane is not None:
            # Stacking weights takes a while, and the engine must not wait for this camera's lock meanwhile.
            self._post.engine.set_model(lane, model)
        with self._lock:
            closed = self._closed
            self._model = model
            self._renew_rules()
        if lane is not None and closed:
            self._post.engine.set_model(lane, None)

    def watch(self, now: float) -> None:
        """Notice what does not happen: a silent device, a camera without pictures."""
        if isinstance(self.source, SkeletonFeed):
            self.source.watch(now)
        with self._lock:
            silent = self._delivered_at is not None and now - self._delivered_at > self._post.settings.camera_stall_s
            if silent and not self._closed and self._detector is not None:
                self._observed_at = now
                self._record(self._detector.lost(now))

    def tap(self, listener: Callable[[Scored], None]) -> None:
        """Hand every processed frame to one more listener, on the engine's thread."""
        with self._lock:
            self.taps = (*self.taps, listener)

    def untap(self, listener: Callable[[Scored], None]) -> None:
        """Stop handing frames to a listener."""
        with self._lock:
            self.taps = tuple(known for known in self.taps if known != listener)

    @property
    def wanted_rate(self) -> float:
        """False alarms per hour that this camera may cost."""
        return self.config.false_alarms_per_hour or self._post.settings.false_alarms_per_hour

    def calibration(self) -> Calibration | None:
        """What the scores of this camera mean; None until the models are loaded."""
        if self._model is not None:
            return self._model.calibration
        scorer = self._post.models.scorer
        return None if scorer is None else scorer.scorer.calibration

    def status(self) -> CameraStatus:
        """How the camera is."""
        post, source, lane = self._post, self.source, self.lane
        with self._lock:
            thresholds = self._thresholds or self._derive()
            detector = self._detector
            incident = detector.open.id if detector is not None and detector.open is not None else None
            suppressed = detector.suppressed_total if detector is not None else 0
        problem = source.problem if source else None
        size = source.size if source else None
        since = source.since if source else self._disabled_since
        state = source.state if source else SourceState.STOPPED
        return CameraStatus(
            id=self.id,
            config=self.config.model_copy(update={"url": self.url.redacted}),
            state=state,
            since=post.clock.utc(since),
            problem=SourceProblem(cause=problem.cause, detail=str(problem)) if problem else None,
            picture=source.picture if source else "ok",
            width=size[0] if size else None,
            height=size[1] if size else None,
            fps_in=_rounded(source.fps) if source else None,
            fps_processed=_rounded(lane.rate or None) if lane and state is SourceState.ONLINE else None,
            frames_read=source.frames_read if source else 0,
            frames_processed=lane.processed if lane else 0,
            dropped=lane.dropped if lane else {},
            reconnects=source.reconnects if source else 0,
            last_score_at=self._score_at,
            last_score_age_s=self._score_age,
            thresholds=thresholds,
            incident=incident,
            suppressed=suppressed,
        )

    def _usual_fps(self) -> float:
        return MOST_FPS if self.url.kind is Kind.SKELETONS else self._post.settings.camera_fps

    def _source(self) -> LiveSource | SkeletonFeed:
        post = self._post
        if self.url.kind is Kind.SKELETONS:
            # Frames are skipped only if somebody wants fewer than the device sends.
            backlog = BACKLOG if self.config.max_fps is None else 1
            return SkeletonFeed(self.id, post.timing, self._on_state, self._on_frame, backlog)
        capture = open_capture(
            self.url,
            post.policy,
            loop=self.config.loop,
            timing=post.timing,
            max_pixels=post.settings.max_camera_pixels,
            verify_tls=self.config.verify_tls,
        )
        return LiveSource(self.id, capture, timing=post.timing, on_state=self._on_state, on_frame=self._on_frame)

    def _on_frame(self) -> None:
        if self.lane is not None:
            self.lane.arrived(ready=self._post.engine.ready)
            self._post.engine.wake()

    def _on_state(self, change: StateChange) -> None:
        level = log.info if change.cause is None else log.warning
        level(
            "camera state",
            camera=self.id,
            state=change.state,
            previous=change.previous,
            cause=change.cause,
            detail=change.detail,
        )
        self._post.metrics.camera_states.labels(self.id, change.state).inc()
        self._post.log.camera_state(change)

    def _deliver(self, scored: Scored) -> None:
        for tap in self.taps:
            tap(scored)
        with self._lock:
            calibration = self.calibration()
            if self._closed or calibration is None:
                return
            if self._detector is None:
                self._renew_rules()
            score = self._judge(scored, calibration)
            # Under the lock, so that nothing comes, and no metric comes back, once the camera has been stopped.
            self._post.scores.publish(self.id, score)
            self._post.metrics.score_age.labels(self.id).observe(score.age_s)

    def _judge(self, scored: Scored, calibration: Calibration) -> Score:
        post, detector, thresholds = self._post, self._detector, self._thresholds
        if detector is None or thresholds is None:
            raise RuntimeError("the rules of a camera are made before its first frame is judged")
        level = None if np.isnan(scored.smoothed) else float(calibration.level(np.array(scored.smoothed)))
        people = {
            track: window.level
            for track, window in zip(scored.track_ids, scored.newest, strict=True)
            if window is not None
        }
        moment = post.clock.now()
        # A camera that was thought lost may still deliver a frame that was captured before.
        self._observed_at = max(scored.captured_at, self._observed_at)
        changes = detector.observe(Observation(self._observed_at, level, people))
        self._delivered_at = moment
        score = Score(
            camera=self.id,
            sequence=scored.sequence,
            captured_at=post.clock.utc(scored.captured_at),
            published_at=post.clock.utc(moment),
            age_s=round(moment - scored.captured_at, 4),
            width=scored.width,
            height=scored.height,
            score=None if np.isnan(scored.nll) else round(scored.nll, 5),
            level=None if level is None else round(level, _DIGITS),
            parts={} if level is None else _parts(scored),
            threshold=thresholds.open,
            reason=scored.reason,
            people=[_person(scored, index) for index in range(len(scored.track_ids))],
            incident=detector.open.id if detector.open is not None else None,
        )
        picture = scored.image if self.config.picture else None
        self.latest = Latest(picture, score)
        self._score_at, self._score_age = score.captured_at, score.age_s
        post.evidence.frame(self.id, picture, score)
        held = self._held.update(self._observed_at, scored.smoothed)
        self._record(changes)
        if detector.open is not None:
            self._peak = float(np.fmax(self._peak, held))
        return score

    def _record(self, changes: list[Change]) -> None:
        for change in changes:
            incident = change.incident
            self._post.log.record(change, peak=self._held_peak() if isinstance(change, Ended) else None)
            if isinstance(change, Started):
                self._peak = math.nan
                self._post.metrics.incidents.labels(self.id, incident.severity).inc()
                self._post.evidence.started(self.id, incident.id, self.config.picture, incident.started)
            elif isinstance(change, Ended):
                self._post.evidence.ended(self.id, incident.id)

    def _held_peak(self) -> HeldPeak | None:
        """How unusual the incident that ends was; None where that cannot be told."""
        scorer = self._post.models.scorer
        shared = None if scorer is None else scorer.scorer.checkpoint
        checkpoint = self._model.checkpoint or shared if self._model else shared
        if checkpoint is None or math.isnan(self._peak):
            return None
        return HeldPeak(self._peak, checkpoint.fingerprint())

    def _renew_rules(self) -> None:
        """Make or change the detector; nothing yet while no calibration is loaded."""
        self._thresholds = self._derive()
        calibration = self.calibration()
        if calibration is None:
            return
        rules = rules_of(calibration, self.config, self.wanted_rate)
        if self._detector is None:
            self._detector = IncidentDetector(self.id, rules, lambda: uuid.uuid4().hex)
        elif self._detector.rules != rules:
            self._detector.rules = rules
            # What was held so far was held by other rules, or scored by other weights.
            self._held, self._peak = HeldScore(self.config.min_duration_s), math.nan

    def _derive(self) -> Thresholds | None:
        calibration = self.calibration()
        if calibration is None:
            return None
        rules = rules_of(calibration, self.config, self.wanted_rate)
        return Thresholds(
            open=rules.open_level,
            close=rules.close_level,
            alert=rules.alert_level,
            false_alarms_per_hour=min(self.wanted_rate, calibration.highest_rate),
            calibration="shipped" if self._model is None else "camera",
            adapted=self._model is not None and self._model.checkpoint is not None,
        )


def rules_of(calibration: Calibration, config: CameraConfig, wanted_rate: float) -> Rules:
    """The rules by which the incidents of a camera begin and end.

    Args:
        calibration: What its scores mean.
        config: What was chosen for it.
        wanted_rate: False alarms per hour that it may cost.
    """
    opening = min(wanted_rate, calibration.highest_rate)
    alert = min(config.alert_false_alarms_per_hour or _ALERT * opening, opening)
    return Rules(
        open_level=calibration.threshold(opening),
        close_level=calibration.threshold(min(_CLOSING * opening, calibration.highest_rate)),
        alert_level=calibration.threshold(alert),
        min_duration_s=config.min_duration_s,
        quiet_s=config.quiet_s,
        cooldown_s=config.cooldown_s,
    )


@dataclass(frozen=True, slots=True)
class Post:
    """What all cameras report to."""

    settings: Settings
    models: Models
    engine: Engine
    scores: ScoreBus | RelayedScores
    log: IncidentLog
    evidence: EvidenceRecorder
    policy: StreamPolicy
    timing: LiveTiming
    clock: SteadyClock
    metrics: Metrics


class CameraManager:
    """All cameras of the service; callable from any thread.

    Args:
        store: Where cameras are kept.
        post: What cameras report to.
        equip: Gives a camera the calibration and the weights that it has of its own.
        on_removed: Told when a camera was removed, before another can take its name.
    """

    def __init__(
        self, store: CameraStore, post: Post, equip: Callable[[Camera], None], on_removed: Callable[[str], None]
    ) -> None:
        self._store = store
        self._post = post
        self._equip = equip
        self._on_removed = on_removed
        self._lock = threading.Lock()
        self._adding = threading.Lock()
        self._turns: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._cameras: dict[str, Camera] = {}
        self._running = False
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="cameras", daemon=True)

    def load(self) -> None:
        """Open the cameras of the store and of the cameras file; none is connected to yet.

        A camera of the store that this version does not understand is left aside until it is put again.

        Raises:
            CamerasFileError: The file cannot be read, or one of its cameras is refused.
        """
        for stored in self._store.all():
            try:
                config = CameraConfig.model_validate(stored.config)
                camera = Camera(stored.id, config, parse(config.url), self._post)
            except (ValidationError, StreamUrlError) as error:
                log.error("stored camera is not understood; put it again", camera=stored.id, reason=_reason(error))
                continue
            self._cameras[stored.id] = camera
            self._equip(camera)
        path = self._post.settings.cameras_file
        if path is not None:
            for camera_id, config in read_cameras(path).items():
                try:
                    self.put(camera_id, config)
                except (StreamUrlError, TooManyCameras) as error:
                    raise CamerasFileError(f"{path}: {camera_id}: {error}") from error

    def start(self) -> None:
        """Connect to all cameras."""
        with self._lock:
            self._running = True
        for camera in self._all():
            camera.start()
        self._watcher.start()

    def stop(self) -> None:
        """Stop all cameras, all at once because each may take a second; their incidents end."""
        with self._lock:
            self._running = False
        self._stopping.set()
        if self._watcher.ident is not None:
            self._watcher.join()
        cameras = self._all()
        with ThreadPoolExecutor(max(len(cameras), 1)) as pool:
            for stopped in [pool.submit(camera.stop, EndReason.SERVICE_STOPPED) for camera in cameras]:
                stopped.result()

    def put(self, camera_id: str, config: CameraConfig) -> bool:
        """Add a camera, or change it; what is the same already is left alone.

        Returns:
            Whether it is new.

        Raises:
            StreamUrlError: The URL is none that may be opened.
            TooManyCameras: There is no room for another one.
        """
        self._check(config)
        with self._turn(camera_id):
            return self._change(camera_id, config)

    def patch(self, camera_id: str, patch: CameraPatch) -> None:
        """Change some fields of a camera.

        Raises:
            UnknownCamera: There is none.
            ValidationError: A field is unknown or has an impossible value.
            StreamUrlError: The URL is none that may be opened.
        """
        with self._turn(camera_id):
            old = self.config(camera_id)
            config = patch.apply(old)
            if (config.url, config.loop) != (old.url, old.loop):
                self._check(config)
            self._change(camera_id, config)

    def delete(self, camera_id: str) -> None:
        """Forget a camera; its incidents stay.

        Raises:
            UnknownCamera: There is none.
        """
        with self._turn(camera_id):
            camera = self.camera(camera_id)
            self._store.delete(camera_id)
            with self._lock:
                del self._cameras[camera_id]
            camera.stop(EndReason.CAMERA_STOPPED)
            self._post.scores.end(camera_id)
            self._post.metrics.forget_camera(camera_id)
            self._on_removed(camera_id)
        log.info("camera removed", camera=camera_id)

    def camera(self, camera_id: str) -> Camera:
        """One camera.

        Raises:
            UnknownCamera: There is none.
        """
        with self._lock:
            camera = self._cameras.get(camera_id)
        if camera is None:
            raise UnknownCamera(camera_id)
        return camera

    def config(self, camera_id: str) -> CameraConfig:
        """What was chosen for a camera, with the credentials in its URL.

        Raises:
            UnknownCamera: There is none.
        """
        return self.camera(camera_id).config

    def status(self, camera_id: str) -> CameraStatus:
        """How a camera is.

        Raises:
            UnknownCamera: There is none.
        """
        return self.camera(camera_id).status()

    def retention(self) -> dict[str, timedelta]:
        """How long incidents are kept, of the cameras for which that was chosen."""
        chosen = {camera.id: camera.config.retention_hours for camera in self._all()}
        return {camera_id: timedelta(hours=hours) for camera_id, hours in chosen.items() if hours is not None}

    def statuses(self) -> list[CameraStatus]:
        """How all cameras are, in order of their ids."""
        return [camera.status() for camera in self._all()]

    def latest(self, camera_id: str) -> Latest | None:
        """The newest processed frame of a camera, if there is one.

        Raises:
            UnknownCamera: There is none.
        """
        return self.camera(camera_id).latest

    def feed(self, camera_id: str) -> SkeletonFeed:
        """Where the device of a skeleton feed delivers.

        Raises:
            UnknownCamera: There is none.
            NotASkeletonFeed: The camera delivers pictures, or is disabled.
        """
        source = self.camera(camera_id).source
        if not isinstance(source, SkeletonFeed):
            raise NotASkeletonFeed(f"camera {camera_id} takes no skeletons; give it the url skeletons: and enable it")
        return source

    @contextmanager
    def _turn(self, camera_id: str) -> Iterator[None]:
        """One change of a camera at a time: the old source is let go before the new one begins."""
        with self._lock:
            turn = self._turns.setdefault(camera_id, threading.Lock())
        with turn:
            yield

    def _check(self, config: CameraConfig) -> None:
        url = parse(config.url)
        _check_loop(url, config)
        self._post.policy.check(url)

    def _change(self, camera_id: str, config: CameraConfig) -> bool:
        with self._lock:
            old = self._cameras.get(camera_id)
        if old is not None and config.url == old.url.redacted:
            # What the API shows hides the password; sending it back changes nothing.
            config = config.model_copy(update={"url": old.config.url})
        if old is not None and old.config == config:
            return False
        url = parse(config.url)
        _check_credentials(url)
        if old is not None and _same_source(old.config, config):
            self._store.put(camera_id, config.model_dump(mode="json"))
            old.change(config)
            return False
        camera = Camera(camera_id, config, url, self._post)
        self._insert(camera)
        if old is not None:
            old.stop(EndReason.CAMERA_STOPPED)
        self._equip(camera)
        log.info("camera added" if old is None else "camera changed", camera=camera_id, url=url.redacted)
        with self._lock:
            running = self._running
        if running:
            camera.start()
        return old is None

    def _insert(self, camera: Camera) -> None:
        """Keep a camera, in the place of the one with its name."""
        most = self._post.settings.max_cameras
        with self._adding:
            with self._lock:
                full = camera.id not in self._cameras and len(self._cameras) >= most
            if full:
                raise TooManyCameras(f"{most} cameras have been added, and no more may be (DAFLOW_MAX_CAMERAS)")
            self._store.put(camera.id, camera.config.model_dump(mode="json"))
            with self._lock:
                self._cameras[camera.id] = camera

    def _all(self) -> list[Camera]:
        with self._lock:
            return [self._cameras[camera_id] for camera_id in sorted(self._cameras)]

    def _watch(self) -> None:
        while not self._stopping.wait(_WATCH_S):
            now = self._post.clock.now()
            for camera in self._all():
                try:
                    camera.watch(now)
                except Exception:
                    # One camera must not cost the others their watch.
                    log.exception("a camera could not be watched", camera=camera.id)


def _same_source(old: CameraConfig, new: CameraConfig) -> bool:
    return all(getattr(old, name) == getattr(new, name) for name in _SOURCE_FIELDS)


def _check_loop(url: StreamUrl, config: CameraConfig) -> None:
    if url.kind is Kind.FILE and not config.loop:
        raise StreamUrlError(
            "not-looped", "a file is played as a camera only over and over: set loop, or post it to /v1/clips"
        )
    if url.kind is not Kind.FILE and config.loop:
        raise StreamUrlError("not-a-file", "only a file can be played over and over: leave loop out")


def _check_credentials(url: StreamUrl) -> None:
    if url.kind is Kind.STREAM and url.text == url.redacted and ("***@" in url.text or "=***" in url.text):
        raise StreamUrlError("userinfo", "the address hides its credentials; give them, or the address as it was shown")


def _reason(error: ValidationError | StreamUrlError) -> str:
    if isinstance(error, StreamUrlError):
        return str(error)
    return explain(error)


def _parts(scored: Scored) -> dict[str, float]:
    """The highest level of each part over the people of a frame."""
    highest: dict[str, float] = {}
    for window in scored.newest:
        for name, level in ({} if window is None else window.parts).items():
            highest[name] = max(round(level, _DIGITS), highest.get(name, 0.0))
    return highest


def _person(scored: Scored, index: int) -> LivePerson:
    left, top, right, bottom = (round(float(side), 2) for side in scored.boxes[index])
    window = scored.newest[index]
    joints = None if window is None or window.joints is None else [round(value, 5) for value in window.joints]
    return LivePerson(
        track=scored.track_ids[index],
        box=(left, top, right, bottom),
        keypoints=[(round(x, 2), round(y, 2), round(c, 3)) for x, y, c in scored.keypoints[index].tolist()],
        score=None if window is None else round(window.nll, 5),
        level=None if window is None else round(window.level, _DIGITS),
        parts={} if window is None else {name: round(value, _DIGITS) for name, value in window.parts.items()},
        joints=joints,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
