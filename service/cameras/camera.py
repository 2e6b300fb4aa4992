"""One camera that is watched: its source, its lane and its incidents."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import structlog
from numpy.typing import NDArray

from model.behaviours import Finding, Kind
from model.calibration import Calibration
from model.scorer import CameraModel
from pose.live import LiveSource, LiveTiming, SourceState, StateChange
from pose.sight import SightChange
from pose.view import ViewWatch
from service.addresses.policy import StreamPolicy
from service.addresses.urls import StreamUrl, UrlKind
from service.cameras.config import MOST_FPS, CameraConfig
from service.cameras.judge import Judge, Meaning, Times
from service.cameras.premises import Premises
from service.cameras.sight import SightWatch
from service.cameras.skeleton_feed import BACKLOG, SkeletonFeed
from service.cameras.sources import open_capture
from service.cameras.status import CameraStatus, SourceProblem
from service.documents.base import EndReason
from service.documents.messages import Score, Staleness, Validity
from service.documents.time_zones import time_zone
from service.incidents.log import IncidentLog
from service.incidents.recorder import EvidenceRecorder
from service.incidents.store import HeldPeak
from service.live.clock import SteadyClock
from service.live.engine import Engine
from service.live.frames import Scored
from service.live.incident import Change, Ended, Started
from service.live.lane import Lane
from service.metrics import Metrics
from service.scoring.keeper import ModelKeeper
from service.settings import Settings
from service.streams.bus import ScoreBus
from service.streams.relay import RelayedScores

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Latest:
    """The newest processed frame of a camera.

    Attributes:
        image: The picture, BGR; read-only. None if there is no picture or it must not be shown.
        score: Score, level and people of the frame.
        findings: What named behaviours see in it.
    """

    image: NDArray[np.uint8] | None
    score: Score
    findings: Sequence[Finding]


class Camera:
    """One camera that is being watched.

    Args:
        camera_id: Id of the camera.
        config: Its configuration.
        url: Its URL, parsed.
        post: Everything a camera reports to.

    Attributes:
        latest: The newest processed frame; None before the first.
        taps: Listeners that get every processed frame, see `tap`.
        staleness: Why the camera's own calibration does not hold and is not used; empty if it holds.
        source: Where frames come from; None for a disabled camera.
        lane: The way of frames through the engine; None for a disabled camera.
        sight: Whether the camera can see people.
    """

    def __init__(self, camera_id: str, config: CameraConfig, url: StreamUrl, post: Post) -> None:
        self.id = camera_id
        self.config = config
        self.url = url
        self.latest: Latest | None = None
        self.taps: tuple[Callable[[Scored], None], ...] = ()
        self._watchers: tuple[Callable[[], None], ...] = ()
        self._watching = threading.Lock()
        self._post = post
        self.staleness: tuple[Staleness, ...] = ()
        self._model: CameraModel | None = None
        self._own: CameraModel | None = None
        self._premises: Premises | None = None
        self._view: ViewWatch | None = None
        self._newest: Scored | None = None
        self._told: tuple[Validity, tuple[Staleness, ...]] | None = None
        # Taken before `_lock`, and held while the model is changed.
        self._equipping = threading.RLock()
        self._lock = threading.Lock()
        self._started = False
        self._closed = False
        self._delivered_at: float | None = None
        self._score_at: datetime | None = None
        self._score_age: float | None = None
        self._disabled_since = post.clock.now()
        self._judge: Judge | None = None
        self.sight = SightWatch(camera_id, config.sight_checks, self._on_sight)
        self.source = self._source() if config.enabled else None
        self.lane = (
            Lane(
                camera_id,
                self.source,
                self._deliver,
                max_fps=config.max_fps or self._usual_fps(),
                ignore=config.ignore,
                behaviours=config.looked_for,
            )
            if self.source
            else None
        )

    def start(self) -> None:
        """Start the source; does nothing if it was started before, the camera was stopped, or it is disabled."""
        with self._lock:
            if self._started or self._closed or self.source is None or self.lane is None:
                return
            self._started = True
            self._post.engine.add(self.lane, self._model)
            # Under the lock: a source that is started after `stop` would never be stopped.
            self.source.start()

    def stop(self, reason: EndReason) -> None:
        """End the open incident and stop the source, which takes about a second."""
        with self._lock:
            self._closed = True
            if self._judge is not None:
                self._record(self._judge.end(self._post.clock.now(), reason), self._judge.peak)
            self._wake_watchers()
        self.sight.stop(self._post.clock.now())
        if self.source is not None and self.lane is not None:
            self.source.stop()
            self._post.engine.remove(self.lane)
        self._post.evidence.forget(self.id)

    def change(self, config: CameraConfig) -> None:
        """Use another configuration for zones and incidents; the source goes on unchanged."""
        with self._lock:
            pauses = config.pause_until is not None and config.pause_until != self.config.pause_until
            self.config = config
            if pauses and self._judge is not None:
                # What goes on is recorded as another incident, of which nobody is notified.
                self._record(self._judge.end(self._post.clock.now(), EndReason.CAMERA_STOPPED), self._judge.peak)
            if self.lane is not None:
                self.lane.ignore, self.lane.behaviours = config.ignore, config.looked_for
            self._renew()
        self.sight.change(config.sight_checks, self._post.clock.now())
        with self._equipping:
            self._review()

    def adopt(self, old: Camera) -> None:
        """Take over what is known of the view from the camera that this one replaces; called before `set_model`."""
        with self._equipping, old._equipping:
            self._told = old._told
            if self.url.redacted == old.url.redacted:
                self._view = old._view

    def set_model(self, model: CameraModel | None, premises: Premises | None = None) -> None:
        """Score with the camera's own calibration and weights from now on, while that calibration holds.

        Args:
            model: Calibration and weights; None uses those of the service.
            premises: What the calibration was made of; None if that is not known, so that it always holds.
        """
        with self._equipping:
            self._own, self._premises = model, premises
            view = None if premises is None else premises.view
            if view is None or self._view is None or not self._view.is_of(view):
                self._view = None if view is None else ViewWatch(view)
            self._newest = None
            self._review(renew=True)

    def _review(self, *, renew: bool = False) -> None:
        """Use the camera's own model if its calibration holds, else that of the service, and report a change.

        Args:
            renew: Use it anew even if nothing has changed.
        """
        moved = self._view is not None and self._view.moved
        size = self.source.size if isinstance(self.source, LiveSource) else None
        self.staleness = ()
        if self._own is not None and self._premises is not None:
            self.staleness = self._premises.broken(self.url, self.config, size, moved=moved)
        model = None if self.staleness else self._own
        if renew or model is not self._model:
            self._use(model)
        told, self._told = self._told, (self.validity, self.staleness)
        if told == self._told or (told is None and not self.staleness):
            # A camera that starts with a calibration that holds is nothing new.
            return
        stale = [one.cause for one in self.staleness]
        level = log.warning if stale else log.info
        level("camera calibration", camera=self.id, calibration=self.validity, stale=stale)
        self._post.log.camera_calibration(self.id, *self._told)

    @property
    def validity(self) -> Validity:
        """Whether the camera has a calibration of its own, and whether that holds."""
        if self._own is None:
            return "none"
        return "stale" if self.staleness else "current"

    def _look(self) -> None:
        """Compare the newest picture with the view that the camera was calibrated in."""
        with self._equipping:
            newest, self._newest = self._newest, None
            if newest is None or newest.image is None or self._view is None or self._closed:
                return
            self._view.look(newest.captured_at, newest.image, newest.boxes)
            self._review()

    def _use(self, model: CameraModel | None) -> None:
        """Score with a calibration and weights from now on; None uses those of the service."""
        with self._lock:
            lane = self.lane if self._started and not self._closed else None
        if lane is not None:
            # Outside the lock: stacking weights takes a while, and the engine needs the lock to deliver frames.
            self._post.engine.set_model(lane, model)
        with self._lock:
            closed = self._closed
            self._model = model
            self._renew()
        if lane is not None and closed:
            self._post.engine.set_model(lane, None)

    def watch(self, now: float) -> None:
        """Check whether frames have stopped coming; called regularly.

        Args:
            now: Seconds on the monotonic clock.
        """
        if isinstance(self.source, SkeletonFeed):
            self.source.watch(now)
        self._look()
        with self._lock:
            silent = self._delivered_at is not None and now - self._delivered_at > self._post.settings.camera_stall_s
            if silent and not self._closed and self._judge is not None:
                self._record(self._judge.lost(now), self._judge.peak)

    def tap(self, listener: Callable[[Scored], None]) -> None:
        """Call a listener with every processed frame, on the engine's thread."""
        with self._lock:
            self.taps = (*self.taps, listener)

    def untap(self, listener: Callable[[Scored], None]) -> None:
        """Stop calling a listener."""
        with self._lock:
            self.taps = tuple(known for known in self.taps if known != listener)

    @contextmanager
    def watched(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake`, from any thread, whenever `latest` changes and when the camera stops; at once if it has."""
        # A lock of its own: those who wait for pictures must not wait for a camera that is being started.
        with self._watching:
            self._watchers = (*self._watchers, wake)
        if self._closed:
            wake()
        try:
            yield
        finally:
            with self._watching:
                self._watchers = tuple(known for known in self._watchers if known is not wake)

    @property
    def budget(self) -> float:
        """The false-alarm budget of this camera, in false alarms per day."""
        return self.config.false_alarms_per_day or self._post.settings.false_alarms_per_day

    @property
    def site(self) -> ZoneInfo:
        """The time zone by whose clock rules apply."""
        return time_zone(self.config.timezone or self._post.settings.timezone)

    def calibration(self) -> Calibration | None:
        """The calibration in use: the camera's own, or that of the service. None until the models are loaded."""
        if self._model is not None:
            return self._model.calibration
        loaded = self._post.models.loaded
        return None if loaded is None else loaded.scorer.calibration

    def status(self) -> CameraStatus:
        """Status of the camera, as the API shows it."""
        post, source, lane = self._post, self.source, self.lane
        with self._lock:
            if self._judge is None or self._judge.calibration is not self.calibration():
                self._renew()
            judge = self._judge
            incident = None if judge is None else judge.open
        problem = source.problem if source else None
        size = source.size if source else None
        since = source.since if source else self._disabled_since
        state = source.state if source else SourceState.STOPPED
        blind = self.sight.blind
        return CameraStatus(
            id=self.id,
            config=self.config.model_copy(update={"url": self.url.redacted}),
            state=state,
            since=post.clock.utc(since),
            problem=SourceProblem(cause=problem.cause, detail=str(problem)) if problem else None,
            picture=source.picture if source else "ok",
            cannot_see=blind[0] if blind else None,
            cannot_see_since=post.clock.utc(blind[1]) if blind else None,
            width=size[0] if size else None,
            height=size[1] if size else None,
            fps_in=_rounded(source.fps) if source else None,
            fps_processed=_rounded(lane.rate or None) if lane and state is SourceState.ONLINE else None,
            frames_read=source.frames_read if source else 0,
            frames_processed=lane.processed if lane else 0,
            dropped=lane.dropped if lane else {},
            surplus=source.surplus if isinstance(source, SkeletonFeed) else 0,
            reconnects=source.reconnects if source else 0,
            last_score_at=self._score_at,
            last_score_age_s=self._score_age,
            thresholds=judge.thresholds if judge is not None else None,
            calibration=self.validity,
            stale=list(self.staleness),
            incident=None if incident is None else incident.id,
            incident_severity=None if incident is None else incident.severity,
            suppressed=judge.suppressed if judge is not None else 0,
        )

    def _usual_fps(self) -> float:
        return MOST_FPS if self.url.kind is UrlKind.SKELETONS else self._post.settings.camera_fps

    def _source(self) -> LiveSource | SkeletonFeed:
        post = self._post
        if self.url.kind is UrlKind.SKELETONS:
            # With max_fps only the newest frame is kept; otherwise short delays of the engine cost no frame.
            backlog = BACKLOG if self.config.max_fps is None else 1
            return SkeletonFeed(self.id, post.timing, self._on_state, self._on_frame, backlog)
        capture = open_capture(
            self.url,
            post.policy,
            loop=self.config.loop,
            timing=post.timing,
            max_pixels=post.settings.max_camera_pixels,
            verify_tls=self.config.verify_tls,
            allow_udp=post.settings.camera_udp,
        )
        return LiveSource(
            self.id,
            capture,
            timing=post.timing,
            on_state=self._on_state,
            on_frame=self._on_frame,
            on_picture=self.sight.picture,
        )

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

    def _on_sight(self, change: SightChange) -> None:
        if change.cannot_see is None:
            log.info("camera sees again", camera=self.id, previous=change.previous)
        else:
            log.warning("camera cannot see people", camera=self.id, reason=change.cannot_see)
            self._post.metrics.sight_losses.labels(self.id, change.cannot_see).inc()
        self._post.log.camera_state(change)

    def _deliver(self, scored: Scored) -> None:
        self.sight.people(scored)
        for tap in self.taps:
            tap(scored)
        if self._view is not None:
            self._newest = scored
        with self._lock:
            calibration = self.calibration()
            if self._closed or calibration is None:
                return
            if self._judge is None or self._judge.calibration is not calibration:
                self._renew()
            # Under the lock, so that a stopped camera publishes nothing and does not bring its metrics back.
            self._publish(scored)

    def _publish(self, scored: Scored) -> None:
        post, judge = self._post, self._judge
        if judge is None:
            raise RuntimeError("a frame was published before its camera had a judge")
        now = post.clock.now()
        times = Times(post.clock.utc(scored.captured_at), post.clock.utc(now), now - scored.captured_at)
        verdict = judge.judge(scored, times)
        score, picture = verdict.score, scored.image if self.config.picture else None
        self._delivered_at = now
        self.latest = Latest(picture, score, scored.findings)
        self._wake_watchers()
        self._score_at, self._score_age = score.captured_at, score.age_s
        post.evidence.frame(self.id, picture, score, scored.findings)
        self._record(verdict.changes, verdict.peak)
        post.scores.publish(self.id, score)
        post.metrics.score_age.labels(self.id).observe(score.age_s)

    def _wake_watchers(self) -> None:
        for wake in self._watchers:
            wake()

    def _record(self, changes: list[Change], peak: float) -> None:
        for change in changes:
            incident = change.incident
            # Only a high level says something about the calibration; a named behaviour alone does not.
            is_unusual = isinstance(change, Ended) and Kind.UNUSUAL in incident.kinds
            self._post.log.record(change, peak=self._held_peak(peak) if is_unusual else None)
            if isinstance(change, Started):
                self._post.metrics.incidents.labels(self.id, incident.kind, incident.severity).inc()
                self._post.evidence.started(self.id, incident.id, self.config.picture, incident.started)
            elif isinstance(change, Ended):
                self._post.evidence.ended(self.id, incident.id)

    def _held_peak(self, peak: float) -> HeldPeak | None:
        """The peak of the incident that ends, with the checkpoint that scored it; None if either is unknown."""
        loaded = self._post.models.loaded
        shared = None if loaded is None else loaded.scorer.checkpoint
        checkpoint = self._model.checkpoint or shared if self._model else shared
        if checkpoint is None or math.isnan(peak):
            return None
        return HeldPeak(peak, checkpoint.fingerprint())

    def _renew(self) -> None:
        """Create the judge or give it new rules; does nothing until a calibration is loaded."""
        calibration = self.calibration()
        if calibration is None:
            return
        own = self._model
        meaning = Meaning(
            calibration,
            of="shipped" if own is None else "camera",
            adapted=own is not None and own.checkpoint is not None,
            budget=self.budget,
            usual={} if own is None else own.usual,
        )
        if self._judge is None:
            self._judge = Judge(self.id, self.config, meaning, site=self.site)
        else:
            self._judge.change(self.config, meaning, self.site)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


@dataclass(frozen=True, slots=True)
class Post:
    """What all cameras use and report to."""

    settings: Settings
    models: ModelKeeper
    engine: Engine
    scores: ScoreBus | RelayedScores
    log: IncidentLog
    evidence: EvidenceRecorder
    policy: StreamPolicy
    timing: LiveTiming
    clock: SteadyClock
    metrics: Metrics
