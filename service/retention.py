"""Keeps the data folder within its age and size: a pure rule, and the thread that applies it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.database import Clock, utc_now
from service.files import DataFolder
from service.storage import Store, UnknownClip

_EVERY_S: Final = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How long and how much is kept.

    Attributes:
        max_age: Time that a finished clip is kept.
        max_bytes: Bytes that all clips together may take.
    """

    max_age: timedelta
    max_bytes: int


@dataclass(frozen=True, slots=True)
class StoredClip:
    """A finished clip on disk."""

    id: str
    finished_at: datetime
    size_bytes: int


def to_remove(
    policy: RetentionPolicy, finished: Sequence[StoredClip], unfinished_bytes: int, now: datetime
) -> list[str]:
    """Decide which finished clips go: all that are too old, then those that finished first until the rest fits.

    Args:
        policy: The rule.
        finished: Finished clips in any order.
        unfinished_bytes: Bytes of clips that wait or run; they count, and stay.
        now: The time.

    Returns:
        Ids in the order of removal.
    """
    by_age = sorted(finished, key=lambda clip: clip.finished_at)
    total = unfinished_bytes + sum(clip.size_bytes for clip in by_age)
    removed = []
    for clip in by_age:
        if now - clip.finished_at < policy.max_age and total <= policy.max_bytes:
            break
        removed.append(clip.id)
        total -= clip.size_bytes
    return removed


class Janitor:
    """Applies a retention policy once a minute.

    Args:
        store: Where clips are known.
        folder: Where they lie.
        policy: The rule.
        clock: What time it is.
    """

    def __init__(self, store: Store, folder: DataFolder, policy: RetentionPolicy, clock: Clock = utc_now) -> None:
        self._store = store
        self._folder = folder
        self._policy = policy
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="retention", daemon=True)

    def start(self) -> None:
        """Begin to look after the folder."""
        self._thread.start()

    def stop(self) -> None:
        """End after the current round."""
        self._stopping.set()
        self._thread.join()

    def sweep(self) -> list[str]:
        """Apply the policy once.

        Returns:
            Ids of the clips removed.
        """
        finished = [
            StoredClip(job.id, job.finished_at, self._folder.size(job.id))
            for job in self._store.finished()
            if job.finished_at is not None
        ]
        others = self._store.ids() - {clip.id for clip in finished}
        removed = to_remove(self._policy, finished, self._bytes(others), self._clock())
        for clip_id in removed:
            self._remove(clip_id)
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
        while True:
            try:
                self.sweep()
            except (SQLAlchemyError, OSError):
                log.exception("retention failed; trying again later")
            if self._stopping.wait(_EVERY_S):
                return
