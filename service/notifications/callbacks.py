"""Posts to the callbacks of clips that have finished, signed as the webhook is, and retries as it does."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import structlog
from pydantic import BaseModel, ConfigDict

from service.addresses.urls import StreamUrl, StreamUrlError
from service.addresses.web import web_address
from service.clips.messages import ClipSummary, finished_document
from service.clips.store import ClipStore, UnknownClip
from service.clips.tables import ClipJob, ClipState
from service.documents.results import Anomaly, ClipInfo, Track
from service.metrics import Metrics
from service.notifications.posting import NotDelivered, Poster, Schedule
from service.notifications.turns import take_turns
from service.storage.database import Clock, utc_now
from service.storage.folder import DataFolder
from service.storage.secrets import SecretLost

SINK: Final = "callback"

_AT_ONCE: Final = 8
"""Callbacks that are posted at the same time, so that a slow receiver does not hold up the others."""

_PAGE: Final = 32
_LOOK_S: Final = 1.0
_STOP_S: Final = 20.0

log = structlog.get_logger(__name__)


def callback_address(url: str) -> StreamUrl:
    """Parse the address of a callback.

    Raises:
        StreamUrlError: The address is not valid, or neither http nor https.
    """
    return web_address(url, "the address of a callback")


class Callbacks:
    """Posts callbacks that are due, in threads of its own. Scoring never waits for them.

    Args:
        store: The clips and their callbacks.
        folder: Holds the results of clips.
        poster: Signs and posts.
        metrics: Counts notifications.
        schedule: When a failed callback is tried again.
        clock: Tells the time.
    """

    def __init__(
        self,
        store: ClipStore,
        folder: DataFolder,
        poster: Poster,
        metrics: Metrics,
        *,
        schedule: Schedule | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._store = store
        self._folder = folder
        self._poster = poster
        self._metrics = metrics
        self._schedule = schedule or Schedule()
        self._clock = clock
        self._posting: dict[str, Future[None]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="callbacks", daemon=True)

    def start(self) -> None:
        """Start to post."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; what was not accepted is posted after the next start."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)

    def _serve(self) -> None:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="callback") as pool:
            take_turns(SINK, lambda: self._turn(pool), self._stopping)

    def _turn(self, pool: ThreadPoolExecutor) -> None:
        for clip_id, posting in [*self._posting.items()]:
            if posting.done():
                del self._posting[clip_id]
                # An error of the database is raised here.
                posting.result()
        free = _AT_ONCE - len(self._posting)
        due = [job for job in self._store.due_callbacks(_PAGE) if job.id not in self._posting] if free else []
        for job in due[:free]:
            self._posting[job.id] = pool.submit(self._deliver, job)
        self._stopping.wait(min(_LOOK_S, self._schedule.first_s))

    def _deliver(self, job: ClipJob) -> None:
        if self._stopping.is_set():
            return
        try:
            self._post(job)
        except UnknownClip:
            log.debug("clip was deleted before its callback was posted", clip=job.id)
        except NotDelivered as error:
            self._failed(job, str(error))
        else:
            self._store.called_back(job.id)
            self._metrics.notifications.labels(SINK, "delivered").inc()

    def _failed(self, job: ClipJob, problem: str) -> None:
        attempt = 1 + (job.callback.attempts if job.callback else 0)
        pause = self._schedule.pause(attempt)
        self._store.callback_failed(job.id, problem, None if pause is None else self._clock() + pause)
        self._metrics.notifications.labels(SINK, "dead" if pause is None else "failed").inc()
        failure = log.bind(clip=job.id, url=job.callback.url if job.callback else None, attempt=attempt, reason=problem)
        if pause is None:
            failure.error("a callback was given up")
        else:
            failure.warning("a callback was not accepted", again_s=pause.total_seconds())

    def _post(self, job: ClipJob) -> None:
        try:
            address = callback_address(self._store.callback_address(job.id))
        except SecretLost as error:
            raise NotDelivered("the address was encrypted with a key that is lost") from error
        except StreamUrlError as error:
            raise NotDelivered(str(error)) from error
        document = finished_document(job, self._summary(job))
        self._poster.post(address, f"clip_{job.id}", document.model_dump_json().encode())

    def _summary(self, job: ClipJob) -> ClipSummary | None:
        if job.state is not ClipState.DONE:
            return None
        try:
            result = _Result.model_validate_json(self._folder.result(job.id).read_bytes())
        except FileNotFoundError as error:
            # The clip is being deleted.
            raise UnknownClip(job.id) from error
        levels = [track.peak_level for track in result.tracks if track.peak_level is not None]
        return ClipSummary(
            frames=result.clip.frames,
            duration_s=result.clip.duration_s,
            people=len(result.tracks),
            anomalies=len(result.anomalies),
            kinds=dict(Counter(anomaly.kind for anomaly in result.anomalies)),
            peak_level=max(levels, default=None),
        )


class _Result(BaseModel):
    """The parts of a result that a summary needs; frames, which may take many megabytes, are skipped."""

    model_config = ConfigDict(extra="ignore")

    clip: ClipInfo
    tracks: list[Track]
    anomalies: list[Anomaly]
