"""Everything a running service owns, put together in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

import structlog

from service.clips import ClipScorer, clip_limits
from service.events import EventBus
from service.files import DataFolder
from service.jobs import ClipRunner
from service.metrics import Metrics
from service.models import Models
from service.renditions import Renditions
from service.retention import Janitor, RetentionPolicy
from service.settings import Settings
from service.storage import Store
from service.uploads import Intake

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Runtime:
    """The parts of one service.

    Attributes:
        settings: What the operator chose.
        folder: The data folder, locked.
        store: The database.
        bus: Events of clips.
        metrics: What is counted.
        models: The scorer, when it is there.
        runner: The workers.
        intake: The way into the queue.
        renditions: Files made from results.
        janitor: Retention.
    """

    settings: Settings
    folder: DataFolder
    store: Store
    bus: EventBus
    metrics: Metrics
    models: Models
    runner: ClipRunner
    intake: Intake
    renditions: Renditions
    janitor: Janitor

    @classmethod
    def open(cls, settings: Settings, load: Callable[[Settings], ClipScorer] = ClipScorer.load) -> Self:
        """Lock the data folder, open the database, settle what the last process left, and wire the parts.

        Args:
            settings: What the operator chose.
            load: Loads the models.

        Raises:
            StartupError: The folder or the database cannot be used.
        """
        folder = DataFolder.open(settings.data_dir)
        try:
            store = Store.open(settings.database)
        except BaseException:
            folder.close()
            raise
        _recover(store, folder, settings.clip_max_attempts)
        bus, metrics = EventBus(), Metrics(store)
        models = Models(lambda: load(settings), watched=_watched(settings))
        metrics.models_ready.set_function(lambda: models.scorer is not None)
        limits = clip_limits(settings)
        policy = RetentionPolicy(timedelta(hours=settings.clip_retention_hours), settings.clip_storage_bytes)
        return cls(
            settings=settings,
            folder=folder,
            store=store,
            bus=bus,
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
            janitor=Janitor(store, folder, policy),
        )

    def start(self) -> None:
        """Start the threads."""
        self.models.start()
        self.runner.start()
        self.janitor.start()

    def stop(self) -> None:
        """Stop the threads; a clip that is running goes back into the queue."""
        self.models.stop()
        self.runner.stop()
        self.janitor.stop()

    def close(self) -> None:
        """Close the database and unlock the folder; once more does nothing."""
        self.store.close()
        self.folder.close()


def _recover(store: Store, folder: DataFolder, max_attempts: int) -> None:
    for job in store.recover(max_attempts, lambda clip_id: folder.result(clip_id).exists()):
        log.warning("clip was cut short by the end of the last process", clip=job.id, state=job.state)
    for name in folder.remove_orphans(store.ids()):
        log.warning("removed an orphan", name=name)


def _watched(settings: Settings) -> list[Path]:
    weights = Path(settings.pose_weights).expanduser()
    files = [weights, settings.data_dir / "weights" / weights.name]
    return [*files, settings.checkpoint] if settings.checkpoint else files
