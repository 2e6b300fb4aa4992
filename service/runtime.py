"""Everything a running service owns, put together in one place."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol, Self

import structlog
from sqlalchemy.exc import SQLAlchemyError

from model.checkpoint import Checkpoint
from pose.live import LiveTiming
from service.access.keys import KeyStore
from service.access.limits import Limits
from service.addresses.policy import StreamPolicy
from service.calibration.calibrator import Calibrator
from service.cameras.camera import Post
from service.cameras.config import CamerasFileError
from service.cameras.manager import CameraManager
from service.cameras.store import CameraStore
from service.clips.messages import EventBus
from service.clips.renditions import Renditions
from service.clips.scorer import ClipScorer, clip_limits
from service.clips.store import Store
from service.clips.uploads import Intake
from service.clips.worker import ClipRunner
from service.collectors import CameraCollector, ClipCollector, EnginesCollector
from service.drawing.live_view import LiveView
from service.errors import StartupError
from service.incidents.feed import EventFeed
from service.incidents.log import IncidentLog
from service.incidents.recorder import EvidenceRecorder
from service.incidents.store import IncidentStore
from service.live.clock import SteadyClock
from service.live.engine import Engine
from service.metrics import Metrics
from service.notifications.notifier import Notifier
from service.notifications.store import NotificationStore
from service.retention import IncidentRetention, Janitor, NotificationRetention, RetentionPolicy
from service.scoring.keeper import Models
from service.scoring.loading import load_checkpoint
from service.settings import Role, Settings
from service.storage.database import Database, reason
from service.storage.evidence import EVIDENCE_KINDS, EvidenceStore
from service.storage.folder import DataFolder
from service.storage.lease import Lease
from service.streams.bus import ScoreBus
from service.streams.relay import Relay, RelayedScores

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Runtime:
    """The parts of one service.

    Attributes:
        settings: What the operator chose.
        folder: The data folder, locked.
        database: The database.
        lease: The right to run the cameras in it; None for a process that runs none.
        store: Clips in it.
        camera_store: Cameras in it.
        incidents: Incidents in it.
        bus: Events of clips.
        scores: Scores of cameras.
        events: Events of incidents and cameras.
        relay: The way to the other processes of the service; None where there is no Redis.
        notifications: What is told to other programs and has not arrived.
        notifier: What tells them.
        metrics: What is counted.
        models: The scorer, when it is there.
        runner: The workers.
        intake: The way into the queue.
        renditions: Files made from results.
        engine: The live loop.
        log: The way of incidents into the database.
        evidence: Pictures and videos of incidents.
        recorder: What makes them.
        live_view: What cameras show now.
        cameras: The cameras.
        calibrator: What makes and keeps their calibrations.
        janitor: Retention.
        keys: Who may come in.
        limits: How much they may ask.
    """

    settings: Settings
    folder: DataFolder
    database: Database
    lease: Lease | None
    store: Store
    camera_store: CameraStore
    incidents: IncidentStore
    bus: EventBus
    scores: ScoreBus
    events: EventFeed
    relay: Relay | None
    notifications: NotificationStore
    notifier: Notifier
    metrics: Metrics
    models: Models
    runner: ClipRunner
    intake: Intake
    renditions: Renditions
    engine: Engine
    log: IncidentLog
    evidence: EvidenceStore
    recorder: EvidenceRecorder
    live_view: LiveView
    cameras: CameraManager
    calibrator: Calibrator
    janitor: Janitor
    keys: KeyStore
    limits: Limits

    @classmethod
    def open(cls, settings: Settings, load: Callable[[Settings], ClipScorer] = ClipScorer.load) -> Self:
        """Lock the data folder, open the database, settle what the last process left, and wire the parts.

        A process that runs no cameras shares both with the one that does, and settles nothing.

        Args:
            settings: What the operator chose.
            load: Loads the models.

        Raises:
            StartupError: The folder, the database or the file of cameras cannot be used.
        """
        shares = settings.role is Role.API
        folder = DataFolder.share(settings.data_dir) if shares else DataFolder.open(settings.data_dir)
        try:
            database = Database.open(settings.database)
        except BaseException:
            folder.close()
            raise
        lease = None if shares else Lease(database, folder.instance(), _give_up)
        try:
            if lease is not None:
                lease.acquire()
            return cls._wire(settings, folder, database, lease, load)
        except BaseException as error:
            database.close()
            folder.close()
            if isinstance(error, SQLAlchemyError):
                raise StartupError(f"the database cannot be used: {reason(error)}; set DAFLOW_DATABASE_URL") from error
            raise

    @classmethod
    def _wire(
        cls,
        settings: Settings,
        folder: DataFolder,
        database: Database,
        lease: Lease | None,
        load: Callable[[Settings], ClipScorer],
    ) -> Self:
        clock, metrics = SteadyClock(), Metrics()
        store, camera_store, notifications = Store(database), CameraStore(database), NotificationStore(database)
        incidents = IncidentStore(database, lambda: clock.utc(clock.now()))
        bus, scores = EventBus(), ScoreBus()
        events = EventFeed(incidents, clock, heartbeat_s=settings.heartbeat_s)
        incident_log = IncidentLog(
            incidents,
            events,
            clock,
            on_written=lambda event: None if relay is None else relay.event(event),
            on_published=lambda: notifier.wake(),
        )
        relay = _relay(settings, scores, incident_log)
        policy = StreamPolicy(settings.allowed_stream_cidrs, settings.media_dirs)
        recorder = EvidenceRecorder(
            folder.evidence,
            before_s=settings.evidence_before_s,
            after_s=settings.evidence_after_s,
            max_s=settings.evidence_max_s,
            width=settings.evidence_width,
            on_done=incident_log.evidence,
        )
        models = Models(lambda: load(settings), watched=_watched(settings))
        engine = Engine(models, metrics)
        calibrator = Calibrator(
            camera_store,
            store,
            incidents,
            folder,
            partial(_checkpoint, settings),
            lambda camera_id: cameras.camera(camera_id),
        )
        cameras = CameraManager(
            camera_store,
            Post(
                settings=settings,
                models=models,
                engine=engine,
                scores=scores if relay is None else RelayedScores(scores, relay),
                log=incident_log,
                evidence=recorder,
                policy=policy,
                timing=LiveTiming(
                    open_s=settings.camera_open_s,
                    read_s=settings.camera_read_s,
                    stall_s=settings.camera_stall_s,
                    backoff_cap_s=settings.camera_retry_s,
                ),
                clock=clock,
                metrics=metrics,
            ),
            calibrator.equip,
            calibrator.forget,
        )
        notifier = Notifier.of(settings, notifications, incidents, cameras.statuses, policy, metrics)
        if lease is not None:
            notifications.keep(notifier.sinks)
            _recover(store, folder, settings.clip_max_attempts)
            incident_log.settle(folder.evidence.has)
            for name in folder.evidence.remove_orphans(incidents.ids()):
                log.warning("removed an orphan", name=name)
            try:
                cameras.load()
            except CamerasFileError as error:
                raise StartupError(f"{error}; set DAFLOW_CAMERAS_FILE") from error
            for name in calibrator.remove_orphans():
                log.warning("removed an orphan", name=name)
        metrics.registry.register(ClipCollector(store))
        metrics.registry.register(CameraCollector(cameras.statuses))
        metrics.watch(
            models_ready=lambda: models.scorer is not None,
            score_subscribers=lambda: scores.subscribers,
            score_backlog=lambda: scores.longest_queue,
            event_subscribers=lambda: events.subscribers,
            event_lag=lambda: events.lag,
            events_waiting=lambda: incident_log.waiting,
            evidence_dropped=lambda: recorder.frames_dropped,
        )
        metrics.registry.register(
            EnginesCollector(
                lambda: _problems(relay, notifier),
                None if relay is None else lambda: (relay.waiting, relay.dropped),
                notifications.count if notifier.has_webhook else None,
            )
        )
        limits = clip_limits(settings)
        return cls(
            settings=settings,
            folder=folder,
            database=database,
            lease=lease,
            store=store,
            camera_store=camera_store,
            incidents=incidents,
            bus=bus,
            scores=scores,
            events=events,
            relay=relay,
            notifications=notifications,
            notifier=notifier,
            metrics=metrics,
            models=models,
            runner=ClipRunner(store, folder, models, bus, metrics, workers=settings.clip_workers),
            intake=Intake(
                store,
                folder,
                limits=limits,
                max_bytes=settings.max_clip_bytes,
                queue_size=settings.clip_queue_size,
                on_refusal=lambda cause: metrics.rejected.labels(cause).inc(),
            ),
            renditions=Renditions(folder, limits),
            engine=engine,
            log=incident_log,
            evidence=folder.evidence,
            recorder=recorder,
            live_view=LiveView(settings.evidence_width),
            cameras=cameras,
            calibrator=calibrator,
            keys=KeyStore(database),
            limits=Limits(settings.requests_per_minute, settings.connections_per_address),
            janitor=Janitor(
                store,
                folder,
                RetentionPolicy(timedelta(hours=settings.clip_retention_hours), settings.clip_storage_bytes),
                notifications=NotificationRetention(notifications, timedelta(hours=settings.incident_retention_hours)),
                incidents=IncidentRetention(
                    incidents,
                    folder.evidence,
                    RetentionPolicy(timedelta(hours=settings.incident_retention_hours), settings.evidence_bytes),
                    age_of_camera=cameras.retention,
                    recording=lambda: recorder.recording,
                    on_removed=lambda incident: _lose_evidence(incident_log, incident),
                ),
            ),
        )

    def start(self) -> None:
        """Start the threads."""
        self.log.start()
        if self.relay is not None:
            self.relay.start()
        if self.lease is None:
            return
        self.lease.start()
        self.models.start()
        self.runner.start()
        self.janitor.start()
        self.recorder.start()
        self.engine.start()
        self.notifier.start()
        self.cameras.start()

    def stop(self) -> None:
        """Stop the threads; a clip that is running goes back into the queue, open incidents end.

        A part that cannot be stopped does not keep the others from it; its error is raised when all are.
        """
        with ExitStack() as stopping:
            # What is entered first is stopped last: whatever the others have to say is written, and told to others.
            if self.lease is None:
                parts: tuple[_Part | None, ...] = (self.relay, self.log)
            else:
                parts = (
                    self.lease,
                    self.relay,
                    self.notifier,
                    self.log,
                    self.janitor,
                    self.recorder,
                    self.runner,
                    self.engine,
                    self.cameras,
                    self.calibrator,
                    self.models,
                )
            for part in parts:
                if part is not None:
                    stopping.callback(part.stop)

    @property
    def problems(self) -> dict[str, str | None]:
        """What is wrong with Redis and the sinks of notifications, by name; the service goes on without them."""
        return _problems(self.relay, self.notifier)

    def check_camera(self, camera_id: str) -> None:
        """Ask for a camera, wherever it runs.

        Raises:
            UnknownCamera: There is none.
            SQLAlchemyError: It runs in another process, and the database cannot be read.
        """
        if self.lease is None:
            self.camera_store.get(camera_id)
        else:
            self.cameras.camera(camera_id)

    def close(self) -> None:
        """Close the database and unlock the folder; once more does nothing."""
        self.database.close()
        self.folder.close()


class _Part(Protocol):
    def stop(self) -> None: ...


def _relay(settings: Settings, scores: ScoreBus, incident_log: IncidentLog) -> Relay | None:
    if settings.redis_url is None:
        return None
    return Relay(
        settings.redis_url.get_secret_value(),
        uuid.uuid4().hex,
        scores,
        incident_log.receive,
        incident_log.look,
        listen_to_scores=settings.role is Role.API,
    )


def _problems(relay: Relay | None, notifier: Notifier) -> dict[str, str | None]:
    return ({} if relay is None else {"redis": relay.problem}) | notifier.problems


def _give_up() -> None:
    """End as if told to: whoever started the service starts it again, and then it waits for its turn."""
    os.kill(os.getpid(), signal.SIGTERM)


def _lose_evidence(incident_log: IncidentLog, incident_id: str) -> None:
    for kind in EVIDENCE_KINDS:
        incident_log.evidence(incident_id, kind, "missing", "removed to make room")


def _recover(store: Store, folder: DataFolder, max_attempts: int) -> None:
    for job in store.recover(max_attempts, lambda clip_id: folder.result(clip_id).exists()):
        log.warning("clip was cut short by the end of the last process", clip=job.id, state=job.state)
    for name in folder.remove_orphans(store.ids()):
        log.warning("removed an orphan", name=name)


@lru_cache(maxsize=1)
def _checkpoint(settings: Settings) -> Checkpoint:
    return load_checkpoint(settings)


def _watched(settings: Settings) -> list[Path]:
    weights = Path(settings.pose_weights).expanduser()
    files = [weights, settings.data_dir / "weights" / weights.name]
    return [*files, settings.checkpoint] if settings.checkpoint else files
