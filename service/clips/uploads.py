"""Receives a clip: a request body becomes a job in the queue, or is refused and leaves no file behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Final

from python_multipart.exceptions import FormParserError
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from pose.probe import VideoInfo
from service.addresses.urls import StreamUrl
from service.clips.decoding import ClipLimits, ClipRejected, inspect
from service.clips.forms import Body, body_of, safe_filename
from service.clips.refusals import (
    BodyTooLarge,
    ClipTooLarge,
    MalformedUpload,
    UploadIncomplete,
    UploadRefused,
    UploadStalled,
)
from service.clips.store import ClipStore, QueueFull, UnknownClip
from service.clips.tables import ClipJob, ClipState
from service.errors import StorageFull
from service.storage.database import is_database_full
from service.storage.folder import DataFolder
from service.storage.writing import is_storage_full

BLOCK: Final = 1024 * 1024
"""Bytes that are written to disk at a time."""

_MULTIPART_OVERHEAD: Final = 64 * 1024
"""Most bytes of a form besides the file: boundaries, part headers, small fields."""

_PARALLEL_INSPECTIONS: Final = 2


@dataclass(frozen=True, slots=True)
class Pace:
    """The slowest upload that is accepted. An upload occupies a place in the queue, so its duration is limited.

    Attributes:
        stall_s: Longest time in seconds without data.
        grace_s: Seconds that any upload may take.
        bytes_per_s: Bytes that must arrive for every further second.
    """

    stall_s: float = 30.0
    grace_s: float = 60.0
    bytes_per_s: float = 64_000.0

    def patience(self, waited_s: float, received: int) -> float:
        """Seconds to wait for the next bytes, after `received` bytes took `waited_s` seconds."""
        return min(self.stall_s, self.grace_s + received / self.bytes_per_s - waited_s)

    def complaint(self, waited_s: float, received: int) -> str:
        """Why an upload was given up, as a sentence."""
        if self.patience(waited_s, received) > 0:
            return f"nothing arrived for {self.stall_s:.0f} s"
        return (
            f"only {received} bytes arrived in {waited_s:.0f} s; "
            f"after {self.grace_s:.0f} s at least {self.bytes_per_s:.0f} bytes a second are expected"
        )


_PACE: Final = Pace()


class Intake:
    """Accepts clips into the queue.

    Waiting clips, those that are being fetched, and running uploads together never exceed the size of the queue. A
    client therefore does not upload a clip that is refused afterwards for lack of a place, and the disk holds no more
    clips than the queue allows.

    Args:
        store: The queue.
        folder: Uploads are written here.
        limits: Limits on a clip and on its decoder.
        max_bytes: Largest size of a clip.
        queue_size: Most clips that may wait.
        on_refusal: Called with the cause of every refusal.
        pace: The slowest upload that is accepted.
    """

    def __init__(
        self,
        store: ClipStore,
        folder: DataFolder,
        *,
        limits: ClipLimits,
        max_bytes: int,
        queue_size: int,
        on_refusal: Callable[[str], None],
        pace: Pace = _PACE,
    ) -> None:
        self._store = store
        self._folder = folder
        self._limits = limits
        self._max_bytes = max_bytes
        self._queue_size = queue_size
        self._on_refusal = on_refusal
        self._pace = pace
        self._arriving = 0
        self._inspections = asyncio.Semaphore(_PARALLEL_INSPECTIONS)

    async def accept(self, request: Request, *, keypoints: bool, callback: StreamUrl | None = None) -> ClipJob:
        """Store, inspect and queue the clip in a request.

        Args:
            request: The request; its body is the clip.
            keypoints: Whether the result carries joints.
            callback: Where to post that the clip has finished.

        Raises:
            QueueFull: There is no place in the queue, before or after the body was read.
            UploadRefused: The body is refused.
            StorageFull: There is no space for the clip, or for its row in the database.
            ClipRejected: The clip is no video within the limits.
        """
        clip_id = uuid.uuid4().hex
        try:
            with await self._place():
                upload = await receive(request, self._folder.upload(clip_id), self._max_bytes, self._pace)
                enqueue = partial(
                    self._store.enqueue,
                    clip_id,
                    filename=upload.filename,
                    size_bytes=upload.size_bytes,
                    keypoints=keypoints,
                    limit=self._queue_size,
                    callback=callback,
                )
                async with self._inspections:
                    return await run_in_threadpool(
                        admit, clip_id, self._store, self._folder, self._limits, lambda info: enqueue(video=info)
                    )
        except (UploadRefused, StorageFull, ClipRejected) as error:
            self._on_refusal(error.cause)
            raise
        except QueueFull:
            self._on_refusal("queue-full")
            raise

    async def accept_address(
        self, address: StreamUrl, *, keypoints: bool, callback: StreamUrl | None = None
    ) -> ClipJob:
        """Keep a place in the queue for a clip that is fetched from an address (`service.clips.fetching`).

        Raises:
            QueueFull: There is no place in the queue.
        """
        enqueue = partial(
            self._store.enqueue_address,
            uuid.uuid4().hex,
            address,
            keypoints=keypoints,
            callback=callback,
            limit=self._queue_size - self._arriving,
        )
        try:
            return await run_in_threadpool(enqueue)
        except QueueFull:
            self._on_refusal("queue-full")
            raise

    async def _place(self) -> contextlib.AbstractContextManager[None]:
        counts = await run_in_threadpool(self._store.count)
        waiting = counts[ClipState.QUEUED] + counts[ClipState.FETCHING]
        if waiting + self._arriving >= self._queue_size:
            raise QueueFull(
                f"{waiting} clips are waiting or being fetched and {self._arriving} are being uploaded; the limit is "
                f"{self._queue_size}"
            )
        self._arriving += 1
        return self._free_place()

    @contextlib.contextmanager
    def _free_place(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._arriving -= 1


def admit(
    clip_id: str, store: ClipStore, folder: DataFolder, limits: ClipLimits, enqueue: Callable[[VideoInfo], ClipJob]
) -> ClipJob:
    """Inspect a file that was received, and put its clip into the queue; after any failure its files are removed.

    Args:
        clip_id: Id of the clip.
        store: The queue.
        folder: Where the file was received.
        limits: Limits on a clip and on its decoder.
        enqueue: Writes the clip into the queue.

    Raises:
        StorageFull: There is no space for the clip, or for its row in the database.
        ClipRejected: The file is no video within the limits.
    """
    try:
        info = inspect(folder.upload(clip_id), limits)
        folder.adopt(clip_id)
        return enqueue(info)
    except BaseException as error:
        full = (isinstance(error, OSError) and is_storage_full(error)) or (
            isinstance(error, SQLAlchemyError) and is_database_full(error)
        )
        if isinstance(error, SQLAlchemyError) and not full:
            return _in_doubt(clip_id, store, folder, error)
        folder.discard(clip_id)
        if full:
            raise StorageFull("the clip") from error
        raise


def _in_doubt(clip_id: str, store: ClipStore, folder: DataFolder, error: SQLAlchemyError) -> ClipJob:
    """The job of a clip that was queued although the answer of the database was lost; else raises `error`."""
    try:
        job = store.get(clip_id)
        if job.state is not ClipState.FETCHING:
            return job
        folder.discard(clip_id)
    except UnknownClip:
        folder.discard(clip_id)
    except SQLAlchemyError as still:
        # If there is a row it needs the files; if not, retention removes them.
        raise error from still
    raise error


@dataclass(frozen=True, slots=True)
class Upload:
    """A body that was received.

    Attributes:
        filename: Name from the client, without folders; untrusted text.
        size_bytes: Number of bytes.
    """

    filename: str | None
    size_bytes: int


async def receive(request: Request, target: Path, max_bytes: int, pace: Pace = _PACE) -> Upload:
    """Stream the clip in a request, raw or the field ``file`` of a multipart form, to a new file.

    Bytes are counted as they arrive, whatever the headers say. After any failure the file is removed.

    Raises:
        UploadRefused: Too large, malformed, stalled or cut short.
        StorageFull: The disk is full.
    """
    body = body_of(request)
    _check_announced_length(request, max_bytes)
    try:
        with target.open("xb", buffering=0) as stream:
            size = await _copy(request, body, stream, max_bytes, pace)
            body.finish()
            await run_in_threadpool(os.fsync, stream.fileno())
    except BaseException as error:
        _remove(target)
        raise _refusal(error) from error
    return Upload(safe_filename(body.filename), size)


async def read_document(request: Request, max_bytes: int, pace: Pace = _PACE) -> bytes:
    """The body of a request, in memory; bytes are counted as they arrive.

    Raises:
        UploadRefused: Too large, stalled or cut short.
    """
    body = bytearray()
    try:
        async for chunk in paced(request.stream(), pace):
            body += chunk
            if len(body) > max_bytes:
                raise BodyTooLarge(max_bytes)
    except ClientDisconnect as error:
        raise UploadIncomplete from error
    return bytes(body)


def _remove(target: Path) -> None:
    # Not in a thread: the file is removed even when the request is being cancelled.
    target.unlink(missing_ok=True)


def _refusal(error: BaseException) -> BaseException:
    match error:
        case ClientDisconnect():
            return UploadIncomplete()
        case OSError() if is_storage_full(error):
            return StorageFull("the clip")
        case FormParserError():
            return MalformedUpload(f"the multipart form cannot be read: {error}")
        case _:
            return error


async def _copy(request: Request, body: Body, stream: IO[bytes], max_bytes: int, pace: Pace) -> int:
    received = written = 0
    block = bytearray()
    async for chunk in paced(request.stream(), pace):
        data = await body.feed(chunk)
        received += len(chunk)
        written += len(data)
        if written > max_bytes or received > max_bytes + _MULTIPART_OVERHEAD:
            raise ClipTooLarge(max_bytes)
        if received - written > _MULTIPART_OVERHEAD:
            raise MalformedUpload(f"the multipart form has more than {_MULTIPART_OVERHEAD} bytes besides the file")
        block += data
        if len(block) >= BLOCK:
            await run_in_threadpool(write_all, stream, bytes(block))
            block.clear()
    await run_in_threadpool(write_all, stream, bytes(block))
    return written


def write_all(stream: IO[bytes], data: bytes) -> None:
    """Write to an unbuffered file."""
    # A write may be partial, for instance when the disk is almost full.
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


async def paced(stream: AsyncIterator[bytes], pace: Pace) -> AsyncIterator[bytes]:
    """What arrives in a stream.

    Raises:
        UploadStalled: It arrives too slowly.
    """
    received, waited = 0, 0.0
    while True:
        # Only waiting counts: the time that a slow disk takes is not the sender's fault.
        began = time.monotonic()
        try:
            async with asyncio.timeout(pace.patience(waited, received)):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise UploadStalled(pace.complaint(waited + time.monotonic() - began, received)) from error
        waited += time.monotonic() - began
        received += len(chunk)
        yield chunk


def _check_announced_length(request: Request, max_bytes: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes + _MULTIPART_OVERHEAD:
        raise ClipTooLarge(max_bytes)
