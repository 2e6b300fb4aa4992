"""Scores the clips in the queue with a fixed number of workers, in which a long clip and short ones take turns.

Half of the threads start any clip, the others only short ones, for which long clips make room again and again. So a
short clip waits only for other short ones, and no more clips are open than twice the number of workers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.clips.decoding import ClipRejected
from service.clips.messages import Cancelled, ClipEventBus, ClipScore, Progress, State, final_event
from service.clips.scorer import ClipScorer, ScoringCancelled
from service.clips.slots import Slot, Slots
from service.clips.store import ClipStore, IllegalClipTransition, UnknownClip
from service.clips.tables import ClipJob, ClipState
from service.documents.results import FrameScore
from service.metrics import Metrics
from service.scoring.keeper import ModelKeeper
from service.scoring.loading import LoadedModels
from service.storage.database import reason
from service.storage.folder import DataFolder
from service.storage.writing import atomic_write, is_storage_full

_IDLE_S: Final = 0.5
_RETRY_S: Final = 1.0
_STOP_S: Final = 20.0
_PROGRESS_S: Final = 0.1
_SMOOTHING: Final = 0.3
_TURN_S: Final = 1.0

SHORT_FRAMES: Final = 1500
"""Most frames of a short clip: a minute at 25 frames per second."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Outcome:
    state: ClipState
    frames: int = 0
    cause: str = ""
    detail: str = ""


class RunningClip:
    """A clip that a worker is scoring. The scorer reports to it (`service.clips.scorer.ClipObserver`).

    Attributes:
        frames_done: Frames scored so far.
        frames_total: Frames to score, as far as known.
        unwanted: Set when the clip was cancelled or deleted.
    """

    def __init__(
        self,
        job: ClipJob,
        bus: ClipEventBus,
        metrics: Metrics,
        stopping: threading.Event,
        slot: Slot,
        budget_s: float,
    ) -> None:
        self.id = job.id
        self.frames_done = 0
        self.frames_total = job.frames_total
        self.unwanted = threading.Event()
        self._bus = bus
        self._metrics = metrics
        self._stopping = stopping
        self._slot = slot
        self._budget_s = budget_s
        self._frames = job.frames_total
        self._reported_at = 0.0

    def progress(self, done: int, total: int) -> None:
        """Record the progress; subscribers get it at most ten times a second."""
        self.frames_done, self.frames_total = done, total
        # The container may have named fewer frames than there are.
        self._frames = max(self._frames, done)
        now = time.monotonic()
        if done >= total or now - self._reported_at >= _PROGRESS_S:
            self._reported_at = now
            self._bus.publish(self.id, Progress(frames_done=done, frames_total=total))

    def frame(self, frame: FrameScore) -> None:
        """Publish the final scores of one frame."""
        self._metrics.frames.inc()
        self._bus.publish(self.id, ClipScore(frame=frame))

    def cancelled(self) -> bool:
        """Whether to stop scoring. A long clip waits here while others have their turn; a short one is soon done.

        Raises:
            ClipRejected: The clip has used up its budget of seconds.
        """
        if self._slot.seconds > self._budget_s:
            raise ClipRejected(
                "takes-too-long",
                f"scoring took more than the {self._budget_s:g} s that a clip may use, after {self.frames_done} of "
                f"{self.frames_total} frames",
            )
        if self._frames <= SHORT_FRAMES:
            return self._ended()
        return self._ended() or not self._slot.pass_on(self._ended)

    def _ended(self) -> bool:
        return self.unwanted.is_set() or self._stopping.is_set()


class ClipRunner:
    """Takes clips from the store, scores them, and records the outcome.

    Args:
        store: The queue.
        folder: Holds the clips and their results.
        models: No clip is taken from the queue until these are loaded.
        scorer: Makes a scorer from the loaded models.
        bus: Publishes the events of clips.
        metrics: Counters of the service.
        workers: Number of clips that are scored at the same time.
        budget_s: Most seconds of a worker for one clip.
    """

    def __init__(
        self,
        store: ClipStore,
        folder: DataFolder,
        models: ModelKeeper,
        scorer: Callable[[LoadedModels], ClipScorer],
        bus: ClipEventBus,
        metrics: Metrics,
        *,
        workers: int,
        budget_s: float,
    ) -> None:
        self._store = store
        self._folder = folder
        self._models = models
        self._scorer = scorer
        self._bus = bus
        self._metrics = metrics
        self._active: dict[str, RunningClip] = {}
        self._lock = threading.Lock()
        self._in_doubt = False
        self._work = threading.Condition()
        self._stopping = threading.Event()
        self._mean_s: float | None = None
        self._workers, self._slots, self._budget_s = workers, Slots(workers, _TURN_S), budget_s
        self._threads = [
            threading.Thread(target=self._serve, args=[short], name=f"clip-worker-{number}", daemon=True)
            for number, short in enumerate([False, True] * workers)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop, and put running clips back into the queue. Clips that take too long are recovered at the next start."""
        self._stopping.set()
        self.wake()
        deadline = time.monotonic() + _STOP_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def wake(self) -> None:
        """Wake idle workers: there may be a clip in the queue."""
        with self._work:
            self._work.notify_all()

    def running(self, clip_id: str) -> RunningClip | None:
        """The clip, if a worker is scoring it now."""
        with self._lock:
            return self._active.get(clip_id)

    def seconds_per_clip(self) -> float | None:
        """Recent mean seconds between finished clips while the queue is not empty; None before the first clip."""
        return None if self._mean_s is None else self._mean_s / self._workers

    def cancel(self, clip_id: str) -> None:
        """Cancel a waiting clip now, or a running one as soon as its worker notices.

        Raises:
            UnknownClip: There is no such clip.
            IllegalClipTransition: The clip has finished.
        """
        with self._lock:
            active = self._active.get(clip_id)
            if active is None:
                self._store.cancel(clip_id)
            else:
                active.unwanted.set()
        if active is None:
            self._bus.publish(clip_id, Cancelled())

    def delete(self, clip_id: str) -> None:
        """Delete a clip in any state, with all its files.

        Raises:
            UnknownClip: There is no such clip.
        """
        job = self._store.delete(clip_id)
        with self._lock:
            active = self._active.get(clip_id)
            if active is not None:
                active.unwanted.set()
        self._folder.discard(clip_id)
        if not job.state.finished:
            self._bus.publish(clip_id, Cancelled())

    def _serve(self, only_short: bool) -> None:
        while not self._stopping.is_set():
            try:
                if not self._work_once(only_short):
                    with self._work:
                        self._work.wait(_IDLE_S)
            except SQLAlchemyError as error:
                log.warning("the queue of clips cannot be read; trying again", error=reason(error))
                self._stopping.wait(_RETRY_S)
            except Exception:
                # A worker survives the failure of one clip, and a full disk.
                log.exception("clip worker failed")
                self._stopping.wait(_RETRY_S)

    def _work_once(self, only_short: bool) -> bool:
        models = self._models.loaded
        if models is None:
            return False
        scorer = self._scorer(models)
        slot = self._slots.take(self._stopping.is_set)
        if slot is None:
            return False
        with slot:
            with self._lock:
                job = self._claim(only_short)
                if job is None:
                    return False
                running = RunningClip(job, self._bus, self._metrics, self._stopping, slot, self._budget_s)
                self._active[job.id] = running
            try:
                self._run(scorer, job, running)
            finally:
                with self._lock:
                    del self._active[job.id]
        return True

    def _claim(self, only_short: bool) -> ClipJob | None:
        """The next clip of the queue; call it under the lock.

        If the database is lost while a claim is written, nobody knows whether it was. Such a clip would stay running
        without a worker, so it is put back before the next claim.
        """
        if self._in_doubt:
            for clip_id in self._store.running() - self._active.keys():
                log.warning("clip was claimed and has no worker; it is put back into the queue", clip=clip_id)
                self._store.put_back(clip_id)
            self._in_doubt = False
        try:
            return self._store.claim(SHORT_FRAMES) if only_short else self._store.claim()
        except SQLAlchemyError:
            self._in_doubt = True
            raise

    def _run(self, scorer: ClipScorer, job: ClipJob, running: RunningClip) -> None:
        with structlog.contextvars.bound_contextvars(clip=job.id):
            log.info("clip started", attempt=job.attempts, frames=job.frames_total)
            self._bus.publish(job.id, State(state=ClipState.RUNNING))
            started = time.monotonic()
            outcome = self._score(scorer, job, running)
            seconds = time.monotonic() - started
            self._settle(job.id, outcome)
            self._metrics.clip_seconds.labels(outcome.state).observe(seconds)
            if outcome.state is ClipState.DONE:
                mean = seconds if self._mean_s is None else self._mean_s
                self._mean_s = mean + _SMOOTHING * (seconds - mean)
            cause = {"cause": outcome.cause} if outcome.cause else {}
            log.info("clip ended", state=outcome.state, seconds=round(seconds, 3), **cause)

    def _score(self, scorer: ClipScorer, job: ClipJob, running: RunningClip) -> _Outcome:
        try:
            result = scorer.score(self._folder.source(job.id), running, keypoints=job.keypoints, video=job.video)
            with atomic_write(self._folder.result(job.id)) as stream:
                stream.write(result.model_dump_json().encode())
            return _Outcome(ClipState.DONE, frames=result.clip.frames)
        except ScoringCancelled:
            return _Outcome(ClipState.CANCELLED if running.unwanted.is_set() else ClipState.QUEUED)
        except ClipRejected as error:
            return _Outcome(ClipState.FAILED, cause=error.cause, detail=str(error))
        except OSError as error:
            if running.unwanted.is_set():
                return _Outcome(ClipState.CANCELLED)
            log.exception("clip could not be read, or its result could not be written")
            cause = "storage-full" if is_storage_full(error) else "storage-failed"
            return _Outcome(ClipState.FAILED, cause=cause, detail=f"storage failed: {error.strerror or error}")
        except Exception:
            log.exception("scoring failed")
            return _Outcome(
                ClipState.FAILED,
                cause="internal-error",
                detail="scoring failed unexpectedly; the service's log has the details",
            )

    def _settle(self, clip_id: str, outcome: _Outcome) -> None:
        again = False
        while True:
            try:
                job = self._record(clip_id, outcome, again=again)
            except UnknownClip:
                self._folder.discard(clip_id)
                return
            except SQLAlchemyError as error:
                again = True
                log.warning("the outcome of a clip cannot be stored; trying again", error=reason(error))
                if self._stopping.wait(_RETRY_S):
                    return
            else:
                self._bus.publish(clip_id, final_event(job) or State(state=ClipState.QUEUED))
                return

    def _record(self, clip_id: str, outcome: _Outcome, *, again: bool) -> ClipJob:
        """Write an outcome; one that failed before may nevertheless have been committed then."""
        try:
            return self._write(clip_id, outcome)
        except IllegalClipTransition as error:
            if again and error.current is error.wanted:
                return self._store.get(clip_id)
            raise

    def _write(self, clip_id: str, outcome: _Outcome) -> ClipJob:
        match outcome.state:
            case ClipState.DONE:
                return self._store.finish(clip_id, frames=outcome.frames)
            case ClipState.CANCELLED:
                return self._store.cancel(clip_id)
            case ClipState.QUEUED:
                return self._store.put_back(clip_id)
            case _:
                return self._store.fail(clip_id, outcome.cause, outcome.detail)
