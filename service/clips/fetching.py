"""Fetches the clips that were posted as an address, in a thread of its own; then they wait to be scored as uploads do.

A clip takes a place in the queue while it is fetched, as an upload does, and none of the workers that score.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.addresses.policy import StreamPolicy
from service.addresses.urls import StreamUrlError
from service.clips.decoding import ClipLimits, ClipRejected
from service.clips.download import Download, FetchFailed, clip_address, download
from service.clips.messages import ClipEvent, ClipEventBus, State, final_event
from service.clips.store import ClipStore, IllegalClipTransition, UnknownClip
from service.clips.tables import ClipJob, ClipState
from service.clips.uploads import Pace, admit
from service.errors import StorageFull
from service.storage.database import reason
from service.storage.folder import DataFolder
from service.storage.secrets import SecretLost
from service.streams.bus import Subscription

_LOOK_S: Final = 2.0
_RETRY_S: Final = 5.0
_STOP_S: Final = 20.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Failure:
    cause: str
    detail: str


class Fetcher:
    """Fetches clips, all at the same time; the queue limits how many there are.

    Args:
        store: The queue.
        folder: Files are fetched to where uploads are written.
        events: A clip that is cancelled or deleted is no longer fetched; the outcome is published.
        policy: Which addresses may be connected to.
        limits: Limits on a clip and on its decoder.
        max_bytes: Largest size of a clip.
        max_attempts: Times that a clip is fetched, counting those that a crash interrupted, before it fails.
        on_queued: Called when a clip has been fetched.
        on_failure: Called with the cause of every failure.
        pace: The slowest server that is accepted.
    """

    def __init__(
        self,
        store: ClipStore,
        folder: DataFolder,
        events: ClipEventBus,
        policy: StreamPolicy,
        *,
        limits: ClipLimits,
        max_bytes: int,
        max_attempts: int,
        on_queued: Callable[[], None],
        on_failure: Callable[[str], None],
        pace: Pace | None = None,
    ) -> None:
        self._store = store
        self._folder = folder
        self._events = events
        self._policy = policy
        self._limits = limits
        self._max_bytes = max_bytes
        self._max_attempts = max_attempts
        self._on_queued = on_queued
        self._on_failure = on_failure
        self._pace = pace
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._inspection = asyncio.Semaphore(1)
        self._thread = threading.Thread(target=self._serve, name="clip-fetcher", daemon=True)

    @property
    def fetching(self) -> set[str]:
        """Ids of the clips that are being fetched."""
        return set(self._tasks)

    def start(self) -> None:
        """Start to fetch; what the last process left is fetched again from the beginning."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; what is being fetched is fetched again after the next start."""
        self._stopping.set()
        self.wake()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)

    def wake(self) -> None:
        """Announce that there is a clip to fetch; never waits."""
        # Before the first look there is no loop, and once the thread has ended it is closed.
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._work.set)

    def _serve(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            self._work.clear()
            try:
                waiting = await asyncio.to_thread(self._store.to_fetch)
            except SQLAlchemyError as error:
                log.warning("clips to fetch cannot be read from the database; trying again", error=reason(error))
                waiting = []
            for job in waiting:
                if job.id not in self._tasks:
                    task = self._tasks[job.id] = asyncio.create_task(self._attend(job))
                    task.add_done_callback(partial(self._forget, job.id))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._work.wait()
        for task in [*self._tasks.values()]:
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _forget(self, clip_id: str, _task: asyncio.Task[None]) -> None:
        del self._tasks[clip_id]

    async def _attend(self, job: ClipJob) -> None:
        """Fetch a clip until it is there, or nobody wants it any more."""
        with structlog.contextvars.bound_contextvars(clip=job.id), self._events.subscribe(job.id) as subscription:
            fetching = asyncio.create_task(self._fetch(job))
            ending = asyncio.create_task(_ended(subscription))
            try:
                await asyncio.wait({fetching, ending}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                fetching.cancel()
                ending.cancel()
                await asyncio.gather(fetching, ending, return_exceptions=True)

    async def _fetch(self, job: ClipJob) -> None:
        try:
            failure = await self._bring(job)
            if failure is not None:
                await self._fail(job, failure)
        except (UnknownClip, IllegalClipTransition):
            log.info("clip is no longer wanted")
        except SQLAlchemyError as error:
            log.warning("clip was fetched, and that cannot be stored; trying again", error=reason(error))
            await asyncio.sleep(_RETRY_S)
        except asyncio.CancelledError:
            if self._stopping.is_set():
                with contextlib.suppress(SQLAlchemyError):
                    await asyncio.to_thread(self._store.postpone_fetch, job.id)
            raise

    async def _bring(self, job: ClipJob) -> _Failure | None:
        """Fetch a clip, and put it into the queue; returns why it failed."""
        if job.attempts >= self._max_attempts:
            return _Failure(
                "interrupted", f"fetching was interrupted {job.attempts} times; post the address again to try once more"
            )
        try:
            address = clip_address(await asyncio.to_thread(self._store.begin_fetch, job.id))
            log.info("fetching a clip", url=job.url, attempt=job.attempts + 1)
            target = self._folder.upload(job.id)
            fetched = await download(address, target, self._policy, self._max_bytes, self._pace)
            async with self._inspection:
                await asyncio.to_thread(self._admit, job.id, fetched)
        except SecretLost:
            return _Failure("secret-lost", "the address was encrypted with a key that is lost; post the address again")
        except ClipRejected as error:
            return _Failure(error.cause, str(error))
        except (FetchFailed, StreamUrlError, StorageFull) as error:
            return _Failure(error.cause, str(error))
        except OSError as error:
            log.exception("a fetched clip could not be written")
            return _Failure("storage-failed", f"storage failed: {error.strerror or error}")
        except (UnknownClip, IllegalClipTransition, SQLAlchemyError):
            raise
        except Exception:
            log.exception("fetching failed")
            return _Failure("internal-error", "fetching failed unexpectedly; the service's log has the details")
        log.info("clip fetched", size_bytes=fetched.size_bytes)
        self._events.publish(job.id, State(state=ClipState.QUEUED))
        self._on_queued()
        return None

    def _admit(self, clip_id: str, fetched: Download) -> None:
        try:
            admit(
                clip_id,
                self._store,
                self._folder,
                self._limits,
                lambda info: self._store.fetched(clip_id, size_bytes=fetched.size_bytes, video=info),
            )
        except ClipRejected as error:
            said = f"; the server calls it {fetched.media_type[:100]!r}" if fetched.media_type else ""
            raise ClipRejected(error.cause, f"{error}{said}") from error

    async def _fail(self, job: ClipJob, failure: _Failure) -> None:
        log.warning("clip cannot be fetched", url=job.url, cause=failure.cause, reason=failure.detail)
        failed = await asyncio.to_thread(self._store.fail, job.id, failure.cause, failure.detail)
        self._on_failure(failure.cause)
        final = final_event(failed)
        if final is not None:
            self._events.publish(job.id, final)


async def _ended(subscription: Subscription[str, ClipEvent]) -> None:
    """Wait until a clip has finished, or was deleted."""
    async for _ in subscription:
        pass
