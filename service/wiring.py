"""Puts together the parts of a service: those that score clips, publish events, and watch cameras."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

from model.checkpoint import Checkpoint
from pose.live import LiveTiming
from service.addresses.policy import StreamPolicy
from service.calibration.calibrator import Calibrator
from service.cameras.camera import Post
from service.cameras.manager import CameraManager
from service.cameras.models import CameraModels
from service.cameras.store import CameraStore
from service.clips.decoding import ClipLimits
from service.clips.fetching import Fetcher
from service.clips.messages import ClipEventBus
from service.clips.renditions import Renditions
from service.clips.scorer import ClipScorer, clip_limits
from service.clips.store import ClipStore
from service.clips.uploads import Intake
from service.clips.worker import ClipRunner
from service.drawing.live_view import LiveView
from service.incidents.feed import EventFeed
from service.incidents.history import History
from service.incidents.log import IncidentLog
from service.incidents.pictures import PictureRemoval
from service.incidents.recorder import EvidenceRecorder
from service.incidents.store import IncidentStore
from service.live.clock import SteadyClock
from service.live.engine import Engine
from service.metrics import Metrics
from service.scoring.keeper import ModelKeeper
from service.scoring.loading import LoadedModels, load_checkpoint
from service.settings import Role, Settings
from service.storage.database import Database
from service.storage.folder import DataFolder
from service.storage.secrets import KEY_FILE, Cipher
from service.streams.bus import ScoreBus
from service.streams.relay import Relay, RelayedScores


@dataclass(frozen=True, slots=True)
class Clips:
    """The parts that score posted clips.

    Attributes:
        store: Clips in the database.
        intake: Accepts uploads and queues them.
        fetcher: Fetches those that were posted as an address.
        runner: The workers that score them.
        scorer: Makes the scorer of a clip from the loaded models.
        events: Progress and scores of clips, for subscribers.
        renditions: Files made from results.
    """

    store: ClipStore
    intake: Intake
    fetcher: Fetcher
    runner: ClipRunner
    scorer: Callable[[LoadedModels], ClipScorer]
    events: ClipEventBus
    renditions: Renditions


@dataclass(frozen=True, slots=True)
class Streams:
    """The parts that store and publish what happens.

    Attributes:
        scores: Scores of cameras, for subscribers.
        incidents: Incidents in the database.
        history: Reads incidents and events of a time, for reports.
        feed: Events of incidents and cameras, for subscribers.
        log: Writes those events into the database, then publishes them.
        relay: Exchanges scores and events with the other processes of the service; None without Redis.
    """

    scores: ScoreBus
    incidents: IncidentStore
    history: History
    feed: EventFeed
    log: IncidentLog
    relay: Relay | None

    @property
    def outgoing_scores(self) -> ScoreBus | RelayedScores:
        """Where the cameras of this process publish scores, for its own subscribers and those of other processes."""
        return self.scores if self.relay is None else RelayedScores(self.scores, self.relay)


@dataclass(frozen=True, slots=True)
class Cameras:
    """The parts that watch cameras.

    Attributes:
        store: Cameras and calibrations in the database.
        manager: The cameras.
        models: The calibration and weights of each camera.
        engine: The live loop.
        recorder: Records evidence of incidents.
        calibrator: Calibrates cameras.
        live_view: Draws the newest frames.
        pictures: Removes the stored pictures of a camera.
    """

    store: CameraStore
    manager: CameraManager
    models: CameraModels
    engine: Engine
    recorder: EvidenceRecorder
    calibrator: Calibrator
    live_view: LiveView
    pictures: PictureRemoval


def open_clips(
    settings: Settings,
    folder: DataFolder,
    database: Database,
    models: ModelKeeper,
    metrics: Metrics,
    policy: StreamPolicy,
    clip_scorer: Callable[[LoadedModels, ClipLimits], ClipScorer],
) -> Clips:
    """Put together the parts that score posted clips."""
    store, events, limits = ClipStore(database), ClipEventBus(), clip_limits(settings)

    def scorer(loaded: LoadedModels) -> ClipScorer:
        return clip_scorer(loaded, limits)

    def refused(cause: str) -> None:
        metrics.rejected.labels(cause).inc()

    runner = ClipRunner(
        store,
        folder,
        models,
        scorer,
        events,
        metrics,
        workers=settings.clip_workers,
        budget_s=settings.max_clip_scoring_s,
    )
    return Clips(
        store=store,
        intake=Intake(
            store,
            folder,
            limits=limits,
            max_bytes=settings.max_clip_bytes,
            queue_size=settings.clip_queue_size,
            on_refusal=refused,
        ),
        fetcher=Fetcher(
            store,
            folder,
            events,
            policy,
            limits=limits,
            max_bytes=settings.max_clip_bytes,
            max_attempts=settings.clip_max_attempts,
            on_queued=runner.wake,
            on_failure=refused,
        ),
        runner=runner,
        scorer=scorer,
        events=events,
        renditions=Renditions(folder, limits),
    )


def open_streams(settings: Settings, database: Database, clock: SteadyClock) -> Streams:
    """Put together the parts that store and publish events."""
    incidents = IncidentStore(database, lambda: clock.utc(clock.now()))
    scores, feed = ScoreBus(), EventFeed(incidents, clock, heartbeat_s=settings.heartbeat_s)
    log_of_incidents = IncidentLog(incidents, feed, clock)
    relay = None
    if settings.redis_url is not None:
        relay = Relay(
            settings.redis_url.get_secret_value(),
            uuid.uuid4().hex,
            scores,
            log_of_incidents.receive,
            log_of_incidents.look,
            listen_to_scores=settings.role is Role.API,
        )
        feed.listen(relay.event)
    return Streams(
        scores=scores, incidents=incidents, history=History(database), feed=feed, log=log_of_incidents, relay=relay
    )


def open_cameras(
    settings: Settings,
    folder: DataFolder,
    database: Database,
    models: ModelKeeper,
    metrics: Metrics,
    clock: SteadyClock,
    policy: StreamPolicy,
    streams: Streams,
    clips: ClipStore,
) -> Cameras:
    """Put together the parts that watch cameras."""
    keys = None if settings.secret_keys is None else settings.secret_keys.get_secret_value()
    cipher = Cipher.load(folder.root / KEY_FILE, keys)
    store, engine = CameraStore(database, cipher=cipher), Engine(models, metrics)
    recorder = EvidenceRecorder(
        folder.evidence,
        before_s=settings.evidence_before_s,
        after_s=settings.evidence_after_s,
        max_s=settings.evidence_max_s,
        width=settings.evidence_width,
        on_done=streams.log.evidence,
    )
    post = Post(
        settings=settings,
        models=models,
        engine=engine,
        scores=streams.outgoing_scores,
        log=streams.log,
        evidence=recorder,
        policy=policy,
        timing=LiveTiming(
            open_s=settings.camera_open_s,
            read_s=settings.camera_read_s,
            stall_s=settings.camera_stall_s,
            key_frame_s=settings.camera_key_frame_s,
            backoff_cap_s=settings.camera_retry_s,
        ),
        clock=clock,
        metrics=metrics,
    )
    camera_models = CameraModels(store, folder.cameras, partial(_checkpoint, settings))
    manager = CameraManager(store, post, camera_models)
    return Cameras(
        store=store,
        manager=manager,
        models=camera_models,
        engine=engine,
        recorder=recorder,
        calibrator=Calibrator(manager, camera_models, store, clips, streams.incidents, folder),
        live_view=LiveView(settings.evidence_width),
        pictures=PictureRemoval(streams.incidents, streams.log, recorder, folder.evidence),
    )


@lru_cache(maxsize=1)
def _checkpoint(settings: Settings) -> Checkpoint:
    return load_checkpoint(settings)
