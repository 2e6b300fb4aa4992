"""Removes what is too old or takes too much room: a pure rule, and the thread that applies it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from service.clips.store import ClipStore, UnknownClip
from service.incidents.store import IncidentStore
from service.notifications.store import NotificationStore
from service.storage.database import Clock, utc_now
from service.storage.evidence import EvidenceStore
from service.storage.folder import DataFolder

_EVERY_S: Final = 60.0
_ABANDONED_S: Final = 3600.0
"""Seconds after which a clip on disk that is not in the database is removed."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How long and how much is kept.

    Attributes:
        max_age: How long a finished clip, or an incident, is kept.
        max_bytes: Bytes that all clips, or the evidence of all incidents, may take together.
    """

    max_age: timedelta
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A finished clip, or the evidence of an incident, on disk."""

    id: str
    finished_at: datetime
    size_bytes: int


def to_remove(policy: RetentionPolicy, finished: Sequence[Stored], unfinished_bytes: int, now: datetime) -> list[str]:
    """Decide what is removed: everything that is too old, then the oldest until the rest fits.

    Args:
        policy: The limits.
        finished: What is finished and may be removed, in any order.
        unfinished_bytes: Bytes of unfinished clips or evidence; they count, and are not removed.
        now: The current time.

    Returns:
        Ids in the order of removal.
    """
    by_age = sorted(finished, key=lambda one: one.finished_at)
    total = unfinished_bytes + sum(one.size_bytes for one in by_age)
    removed = []
    for one in by_age:
        if now - one.finished_at < policy.max_age and total <= policy.max_bytes:
            break
        removed.append(one.id)
        total -= one.size_bytes
    return removed


class NotificationRetention:
    """Removes notifications that were given up, by age.

    Args:
        store: Where they are kept.
        max_age: How long they are kept.
        clock: Tells the time.
    """

    def __init__(self, store: NotificationStore, max_age: timedelta, clock: Clock = utc_now) -> None:
        self._store = store
        self._max_age = max_age
        self._clock = clock

    def sweep(self) -> None:
        """Remove what is too old now."""
        removed = self._store.prune(self._clock() - self._max_age)
        if removed:
            log.info("notifications removed by retention", number=removed)


class IncidentRetention:
    """Removes incidents that are too old, and the oldest evidence where all evidence takes too much room.

    Args:
        store: The incidents in the database.
        evidence: Their pictures and videos on disk.
        policy: The limits.
        age_of_camera: Cameras that keep their incidents for another time, and for how long.
        recording: Incidents whose evidence is not finished; it is not removed.
        on_removed: Called with every incident that stays and loses its evidence.
        clock: Tells the time.
    """

    def __init__(
        self,
        store: IncidentStore,
        evidence: EvidenceStore,
        policy: RetentionPolicy,
        *,
        age_of_camera: Callable[[], Mapping[str, timedelta]],
        recording: Callable[[], Collection[str]],
        on_removed: Callable[[str], None],
        clock: Clock = utc_now,
    ) -> None:
        self._store = store
        self._evidence = evidence
        self._policy = policy
        self._age_of_camera = age_of_camera
        self._recording = recording
        self._on_removed = on_removed
        self._clock = clock

    def sweep(self) -> list[str]:
        """Apply the limits once.

        Returns:
            Ids of the incidents that were removed or lost their evidence.
        """
        now = self._clock()
        own = {camera: now - age for camera, age in self._age_of_camera().items()}
        old = self._store.prune(now - self._policy.max_age, own)
        for incident_id in old:
            self._evidence.discard(incident_id)
            log.info("incident removed by retention", incident=incident_id)
        # Only the size is applied here: evidence that is too old was removed with its incident above.
        removed = to_remove(replace(self._policy, max_age=timedelta.max), *self._on_disk(), now)
        for incident_id in removed:
            self._evidence.discard(incident_id)
            self._on_removed(incident_id)
            log.info("evidence removed by retention", incident=incident_id)
        return [*old, *removed]

    def _on_disk(self) -> tuple[list[Stored], int]:
        """Evidence that is finished, and the bytes of evidence that is not."""
        recording = self._recording()
        finished, unfinished_bytes = [], 0
        for incident_id in self._evidence.ids():
            size = self._evidence.size(incident_id)
            if incident_id in recording:
                unfinished_bytes += size
            else:
                finished.append(Stored(incident_id, self._evidence.written_at(incident_id), size))
        return finished, unfinished_bytes


class Janitor:
    """Applies retention once a minute.

    Args:
        store: The clips in the database.
        folder: Their files.
        policy: The limits for clips.
        clock: Tells the time.
        incidents: Retention of incidents.
        notifications: Retention of notifications that were given up.
    """

    def __init__(
        self,
        store: ClipStore,
        folder: DataFolder,
        policy: RetentionPolicy,
        clock: Clock = utc_now,
        *,
        incidents: IncidentRetention | None = None,
        notifications: NotificationRetention | None = None,
    ) -> None:
        self._store = store
        self._folder = folder
        self._policy = policy
        self._clock = clock
        self._others = [retention for retention in (incidents, notifications) if retention is not None]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="retention", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread after the current round."""
        self._stopping.set()
        self._thread.join()

    def sweep(self) -> list[str]:
        """Apply the limits for clips once.

        Returns:
            Ids of the clips removed.
        """
        finished = [
            Stored(job.id, job.finished_at, self._folder.size(job.id))
            for job in self._store.finished()
            if job.finished_at is not None
        ]
        stored = self._store.ids()
        others = stored - {clip.id for clip in finished}
        removed = to_remove(self._policy, finished, self._bytes(others), self._clock())
        for clip_id in removed:
            self._remove(clip_id)
        for name in self._folder.remove_abandoned(stored, _ABANDONED_S):
            log.warning("removed a clip that is not in the database", clip=name)
        return removed

    def _bytes(self, clip_ids: Iterable[str]) -> int:
        return sum(self._folder.size(clip_id) for clip_id in clip_ids)

    def _remove(self, clip_id: str) -> None:
        try:
            self._store.delete(clip_id)
        except UnknownClip:
            log.debug("clip was deleted meanwhile", clip=clip_id)
        self._folder.discard(clip_id)
        log.info("clip removed by retention", clip=clip_id)

    def _serve(self) -> None:
        sweeps: list[Callable[[], object]] = [self.sweep, *(retention.sweep for retention in self._others)]
        while True:
            for sweep in sweeps:
                try:
                    sweep()
                except Exception:
                    # Whatever failed, the other rules must still run, and this one again later; or the disk fills up.
                    log.exception("retention failed; trying again later")
            if self._stopping.wait(_EVERY_S):
                return
