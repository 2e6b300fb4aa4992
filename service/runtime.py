"""One running service: opens its parts, starts them, and stops them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Protocol, Self

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.access.keys import KeyStore
from service.access.limits import Limits
from service.addresses.policy import StreamPolicy
from service.cameras.config import CamerasFileError
from service.cameras.store import CameraStore
from service.clips.decoding import ClipLimits
from service.clips.scorer import ClipScorer
from service.clips.store import ClipStore
from service.collectors import BackendsCollector, CameraCollector, ClipCollector
from service.documents.messages import IncidentInfo
from service.errors import StartupError
from service.incidents.log import IncidentLog
from service.live.clock import SteadyClock
from service.metrics import Metrics
from service.notifications.callbacks import Callbacks
from service.notifications.messenger import Pictures
from service.notifications.notifier import Notifier, signing_key
from service.notifications.posting import Poster
from service.notifications.store import NotificationStore
from service.retention import IncidentRetention, Janitor, NotificationRetention, RetentionPolicy
from service.scoring.keeper import ModelKeeper
from service.scoring.loading import LoadedModels
from service.settings import Role, Settings
from service.storage.database import Database, reason
from service.storage.evidence import EVIDENCE_KINDS
from service.storage.folder import DataFolder
from service.storage.lease import Lease
from service.storage.secrets import KEY_FILE, Cipher, SecretLost
from service.wiring import Cameras, Clips, Streams, open_cameras, open_clips, open_streams

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Runtime:
    """The parts of one service.

    Attributes:
        settings: The configuration.
        folder: The data folder; locked, unless this process runs no cameras.
        database: The database.
        lease: The right to run the cameras of the database; None for a process that runs none.
        metrics: Prometheus metrics.
        policy: Which addresses may be connected to.
        models: The models, as soon as they are loaded.
        clips: The parts that score posted clips.
        streams: The parts that store and publish events.
        cameras: The parts that watch cameras.
        notifications: Events that the webhook has not delivered yet, and how far each sink is.
        notifier: The webhook and MQTT.
        callbacks: Posts to the callbacks of clips.
        janitor: Applies retention.
        keys: API keys, sessions and the log of changes.
        limits: Limits of requests and connections.
    """

    settings: Settings
    folder: DataFolder
    database: Database
    lease: Lease | None
    metrics: Metrics
    policy: StreamPolicy
    models: ModelKeeper
    clips: Clips
    streams: Streams
    cameras: Cameras
    notifications: NotificationStore
    notifier: Notifier
    callbacks: Callbacks
    janitor: Janitor
    keys: KeyStore
    limits: Limits

    @classmethod
    def open(
        cls,
        settings: Settings,
        load: Callable[[Settings], LoadedModels] = LoadedModels.load,
        clip_scorer: Callable[[LoadedModels, ClipLimits], ClipScorer] = ClipScorer,
    ) -> Self:
        """Lock the data folder, open the database, recover what the last process left unfinished, and wire the parts.

        A process that runs no cameras shares folder and database with the one that does, and recovers nothing.

        Args:
            settings: The configuration.
            load: Loads the models.
            clip_scorer: Makes the scorer of clips.

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
            return cls._wire(settings, folder, database, lease, load, clip_scorer)
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
        load: Callable[[Settings], LoadedModels],
        clip_scorer: Callable[[LoadedModels, ClipLimits], ClipScorer],
    ) -> Self:
        clock, metrics = SteadyClock(), Metrics()
        models = ModelKeeper(lambda: load(settings), watched=watched_files(settings))
        policy = StreamPolicy(settings.allowed_stream_cidrs, settings.media_dirs)
        clips = open_clips(settings, folder, database, models, metrics, policy, clip_scorer)
        streams = open_streams(settings, database, clock)
        cameras = open_cameras(settings, folder, database, models, metrics, clock, policy, streams, clips.store)
        notifications = NotificationStore(database)
        notifier = Notifier.of(
            settings,
            notifications,
            streams.incidents,
            streams.history,
            cameras.manager.statuses,
            _snapshots(folder, cameras.store),
            policy,
            metrics,
        )
        streams.feed.listen(lambda event, ours: notifier.wake())
        if lease is not None:
            notifications.keep(notifier.sinks)
            _recover(settings, folder, clips, streams, cameras)
        runtime = cls(
            settings=settings,
            folder=folder,
            database=database,
            lease=lease,
            metrics=metrics,
            policy=policy,
            models=models,
            clips=clips,
            streams=streams,
            cameras=cameras,
            notifications=notifications,
            notifier=notifier,
            callbacks=Callbacks(clips.store, folder, Poster(signing_key(settings), policy), metrics),
            janitor=_open_janitor(settings, folder, clips, streams, cameras, notifications),
            keys=KeyStore(database),
            limits=Limits(settings.requests_per_minute, settings.connections_per_address),
        )
        runtime._measure()
        return runtime

    def _measure(self) -> None:
        """Register the metrics that are read from the parts at each scrape."""
        metrics, streams, recorder = self.metrics, self.streams, self.cameras.recorder
        metrics.watch(
            models_ready=lambda: self.models.loaded is not None,
            score_subscribers=lambda: streams.scores.subscribers,
            score_backlog=lambda: streams.scores.longest_queue,
            event_subscribers=lambda: streams.feed.subscribers,
            event_lag=lambda: streams.feed.lag,
            events_waiting=lambda: streams.log.waiting,
            evidence_dropped=lambda: recorder.frames_dropped,
        )
        relay = streams.relay
        metrics.registry.register(ClipCollector(self.clips.store))
        metrics.registry.register(CameraCollector(self.cameras.manager.statuses))
        metrics.registry.register(
            BackendsCollector(
                lambda: self.problems,
                None if relay is None else lambda: (relay.waiting, relay.dropped),
                self.notifications.count if self.notifier.has_webhook else None,
            )
        )

    def start(self) -> None:
        """Start the threads."""
        self.streams.log.start()
        if self.streams.relay is not None:
            self.streams.relay.start()
        if self.lease is None:
            return
        self.lease.start()
        self.models.start()
        self.clips.runner.start()
        self.clips.fetcher.start()
        self.janitor.start()
        self.cameras.recorder.start()
        self.cameras.engine.start()
        self.notifier.start()
        self.callbacks.start()
        self.cameras.manager.start()

    def stop(self) -> None:
        """Stop the threads; a clip that is running goes back into the queue, open incidents end.

        If a part fails to stop, the others are stopped all the same, and its error is raised afterwards.
        """
        with ExitStack() as stopping:
            # What is entered first is stopped last: the log writes, and the relay sends, what the others publish as
            # they stop.
            parts: tuple[_Part | None, ...] = (self.streams.relay, self.streams.log)
            if self.lease is not None:
                parts = (
                    self.lease,
                    self.streams.relay,
                    self.notifier,
                    self.callbacks,
                    self.streams.log,
                    self.janitor,
                    self.cameras.recorder,
                    self.clips.fetcher,
                    self.clips.runner,
                    self.cameras.engine,
                    self.cameras.manager,
                    self.cameras.calibrator,
                    self.models,
                )
            for part in parts:
                if part is not None:
                    stopping.callback(part.stop)

    @property
    def problems(self) -> dict[str, str | None]:
        """What is wrong with Redis and with what notifies; None for one that works. The service runs without them."""
        relay = self.streams.relay
        return ({} if relay is None else {"redis": relay.problem}) | self.notifier.problems

    def check_camera(self, camera_id: str) -> None:
        """Check that a camera exists, whichever process runs it.

        Raises:
            UnknownCamera: It does not exist.
            SQLAlchemyError: It runs in another process, and the database cannot be read.
        """
        if self.lease is None:
            self.cameras.store.check(camera_id)
        else:
            self.cameras.manager.camera(camera_id)

    def close(self) -> None:
        """Close the database and unlock the folder; calling it again does nothing."""
        self.database.close()
        self.folder.close()


class _Part(Protocol):
    def stop(self) -> None: ...


def _snapshots(folder: DataFolder, cameras: CameraStore) -> Pictures:
    """Where messages find pictures of incidents."""

    def snapshot(incident: IncidentInfo, *, background: bool) -> Path | None:
        if background and (incident.pictures_removed_at is not None or not cameras.shows_pictures(incident.camera)):
            return None
        path = folder.evidence.file(incident.id, "snapshot", background=background)
        return path if path.exists() else None

    return snapshot


def _open_janitor(
    settings: Settings,
    folder: DataFolder,
    clips: Clips,
    streams: Streams,
    cameras: Cameras,
    notifications: NotificationStore,
) -> Janitor:
    age_of_incidents = timedelta(hours=settings.incident_retention_hours)
    return Janitor(
        clips.store,
        folder,
        RetentionPolicy(timedelta(hours=settings.clip_retention_hours), settings.clip_storage_bytes),
        notifications=NotificationRetention(notifications, age_of_incidents),
        incidents=IncidentRetention(
            streams.incidents,
            folder.evidence,
            RetentionPolicy(age_of_incidents, settings.evidence_bytes),
            age_of_camera=cameras.manager.retention,
            recording=lambda: cameras.recorder.recording,
            on_removed=partial(_lose_evidence, streams.log),
        ),
    )


def _recover(settings: Settings, folder: DataFolder, clips: Clips, streams: Streams, cameras: Cameras) -> None:
    """Recover what the last process left: unfinished clips, open incidents, cameras, and files without an owner."""
    _recover_clips(clips.store, folder, settings.clip_max_attempts)
    streams.log.settle(folder.evidence.has)
    for name in folder.evidence.remove_orphans(streams.incidents.ids()):
        log.warning("removed an orphan", name=name)
    cameras.pictures.finish()
    key = folder.root / KEY_FILE
    try:
        cameras.store.encrypt_all(partial(Cipher.create, key))
    except SecretLost as error:
        raise StartupError(
            f"the addresses of cameras in the database are encrypted, and the key is lost: restore {key} from the "
            "backup, or set DAFLOW_SECRET_KEYS to it"
        ) from error
    except OSError as error:
        raise StartupError(f"{key} cannot be written: {error.strerror or error}; set DAFLOW_DATA_DIR") from error
    if cameras.store.cipher is not None:
        clips.store.use_cipher(cameras.store.cipher)
    try:
        cameras.manager.load()
    except CamerasFileError as error:
        raise StartupError(f"{error}; set DAFLOW_CAMERAS_FILE") from error
    for name in cameras.models.remove_orphans():
        log.warning("removed an orphan", name=name)


def _give_up() -> None:
    """Stop this process as SIGTERM does; its supervisor starts it again, and it then waits for the lease."""
    os.kill(os.getpid(), signal.SIGTERM)


def _lose_evidence(incident_log: IncidentLog, incident_id: str) -> None:
    for kind in EVIDENCE_KINDS:
        incident_log.evidence(incident_id, kind, "missing", "removed to make room")


def _recover_clips(store: ClipStore, folder: DataFolder, max_attempts: int) -> None:
    for job in store.recover(max_attempts, lambda clip_id: folder.result(clip_id).exists()):
        log.warning("clip was cut short by the end of the last process", clip=job.id, state=job.state)
    for name in folder.remove_orphans(store.ids()):
        log.warning("removed an orphan", name=name)


def watched_files(settings: Settings) -> list[Path]:
    """Files that loading the models depends on; the models are loaded again when one of them appears or changes."""
    weights = Path(settings.pose_weights).expanduser()
    files = [weights, settings.data_dir / "weights" / weights.name]
    return [*files, settings.checkpoint] if settings.checkpoint else files
