"""Receives a clip: a request body becomes a job in the queue, or is refused and leaves no file behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Final, Protocol
from urllib.parse import unquote_to_bytes

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from service.clips.decoding import ClipLimits, ClipRejected, inspect
from service.clips.store import ClipJob, ClipState, ClipStore, QueueFull, UnknownClip
from service.errors import StorageFull
from service.storage.database import is_database_full
from service.storage.folder import DataFolder
from service.storage.writing import is_storage_full

_BLOCK: Final = 1024 * 1024
_MULTIPART_OVERHEAD: Final = 64 * 1024
"""Most bytes of a form besides the file: boundaries, part headers, small fields."""

_MAX_PARTS: Final = 100
"""Most fields of a form; each costs time whatever its size."""

_PARALLEL_INSPECTIONS: Final = 2
_MAX_FILENAME: Final = 255
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.?)*(?:"|\Z)')
_EXTENDED_FILENAME: Final = re.compile(
    r";\s*filename\*\s*=\s*(?P<charset>utf-8|iso-8859-1)'[^';]*'(?P<name>[^\s;\"]*)", re.IGNORECASE
)


class UploadRefused(Exception):
    """The body is refused.

    Attributes:
        cause: A stable slug.
    """

    cause = "refused"


class ClipTooLarge(UploadRefused):
    """The clip has more bytes than allowed."""

    cause = "clip-too-large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the clip is larger than the {limit} bytes that are accepted")
        self.limit = limit


class BodyTooLarge(UploadRefused):
    """A document has more bytes than allowed."""

    cause = "body-too-large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than the {limit} bytes that are accepted")
        self.limit = limit


class MalformedUpload(UploadRefused):
    """The body is not the multipart form that its headers announce."""

    cause = "malformed-upload"


class UploadStalled(UploadRefused):
    """The client stopped sending, or sent too slowly."""

    cause = "upload-stalled"


class UploadIncomplete(UploadRefused):
    """The client disconnected before the body was complete."""

    cause = "upload-incomplete"

    def __init__(self) -> None:
        super().__init__("the connection ended before the upload was complete")


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

    Waiting clips and running uploads together never exceed the size of the queue. A client therefore does not upload a
    clip that is refused afterwards for lack of a place, and the disk holds no more clips than the queue allows.

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

    async def accept(self, request: Request, *, keypoints: bool) -> ClipJob:
        """Store, inspect and queue the clip in a request.

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
                async with self._inspections:
                    return await run_in_threadpool(self._admit, clip_id, upload, keypoints)
        except (UploadRefused, StorageFull, ClipRejected) as error:
            self._on_refusal(error.cause)
            raise
        except QueueFull:
            self._on_refusal("queue-full")
            raise

    async def _place(self) -> contextlib.AbstractContextManager[None]:
        waiting = (await run_in_threadpool(self._store.count))[ClipState.QUEUED]
        if waiting + self._arriving >= self._queue_size:
            raise QueueFull(
                f"{waiting} clips are waiting and {self._arriving} are being uploaded; the limit is {self._queue_size}"
            )
        self._arriving += 1
        return self._free_place()

    @contextlib.contextmanager
    def _free_place(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._arriving -= 1

    def _admit(self, clip_id: str, upload: Upload, keypoints: bool) -> ClipJob:
        try:
            info = inspect(self._folder.upload(clip_id), self._limits)
            self._folder.adopt(clip_id)
            return self._store.enqueue(
                clip_id,
                filename=upload.filename,
                size_bytes=upload.size_bytes,
                keypoints=keypoints,
                video=info,
                limit=self._queue_size,
            )
        except BaseException as error:
            full = (isinstance(error, OSError) and is_storage_full(error)) or (
                isinstance(error, SQLAlchemyError) and is_database_full(error)
            )
            if isinstance(error, SQLAlchemyError) and not full:
                return self._in_doubt(clip_id, error)
            self._folder.discard(clip_id)
            if full:
                raise StorageFull("the clip") from error
            raise

    def _in_doubt(self, clip_id: str, error: SQLAlchemyError) -> ClipJob:
        """The job of a clip whose row was written although the answer of the database was lost; else raises `error`."""
        try:
            return self._store.get(clip_id)
        except UnknownClip:
            self._folder.discard(clip_id)
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
    body = _body(request)
    _check_announced_length(request, max_bytes)
    try:
        with target.open("xb", buffering=0) as stream:
            size = await _copy(request, body, stream, max_bytes, pace)
            body.finish()
            await run_in_threadpool(os.fsync, stream.fileno())
    except BaseException as error:
        _remove(target)
        raise _refusal(error) from error
    return Upload(_safe_filename(body.filename), size)


async def read_document(request: Request, max_bytes: int, pace: Pace = _PACE) -> bytes:
    """The body of a request, in memory; bytes are counted as they arrive.

    Raises:
        UploadRefused: Too large, stalled or cut short.
    """
    body = bytearray()
    try:
        async for chunk in _chunks(request, pace):
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


async def _copy(request: Request, body: _Body, stream: IO[bytes], max_bytes: int, pace: Pace) -> int:
    received = written = 0
    block = bytearray()
    async for chunk in _chunks(request, pace):
        data = await body.feed(chunk)
        received += len(chunk)
        written += len(data)
        if written > max_bytes or received > max_bytes + _MULTIPART_OVERHEAD:
            raise ClipTooLarge(max_bytes)
        if received - written > _MULTIPART_OVERHEAD:
            raise MalformedUpload(f"the multipart form has more than {_MULTIPART_OVERHEAD} bytes besides the file")
        block += data
        if len(block) >= _BLOCK:
            await run_in_threadpool(_write_all, stream, bytes(block))
            block.clear()
    await run_in_threadpool(_write_all, stream, bytes(block))
    return written


def _write_all(stream: IO[bytes], data: bytes) -> None:
    # A write to an unbuffered file may be partial, for instance when the disk is almost full.
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


async def _chunks(request: Request, pace: Pace) -> AsyncIterator[bytes]:
    stream = request.stream()
    received, waited = 0, 0.0
    while True:
        # Only waiting counts: the time that a slow disk takes is not the client's fault.
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


class _Body(Protocol):
    filename: str | None

    async def feed(self, chunk: bytes) -> bytes:
        """Parse the next chunk and return the bytes of the clip in it."""

    def finish(self) -> None:
        """Raise `MalformedUpload` or `FormParserError` if the body is incomplete."""


class _RawBody:
    def __init__(self, disposition: str | None) -> None:
        self.filename = _disposition_filename(disposition)

    async def feed(self, chunk: bytes) -> bytes:
        return chunk

    def finish(self) -> None:
        return None


class _MultipartBody:
    """Finds the field ``file`` in a form; other fields are ignored."""

    def __init__(self, boundary: bytes) -> None:
        self.filename: str | None = None
        self._found = False
        self._inside = False
        self._complete = False
        self._parts = 0
        self._name = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._data = bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._take,
                "on_end": self._end,
            },
        )

    async def feed(self, chunk: bytes) -> bytes:
        # Not on the event loop: a chunk of many small parts takes long.
        return await run_in_threadpool(self._parse, chunk)

    def _parse(self, chunk: bytes) -> bytes:
        self._data.clear()
        if chunk:
            self._parser.write(chunk)
        return bytes(self._data)

    def finish(self) -> None:
        self._parser.finalize()
        if not self._complete:
            raise MalformedUpload("the multipart form ends in the middle")
        if not self._found:
            raise MalformedUpload("the multipart form has no field named 'file'")

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise MalformedUpload(f"the multipart form has more than {_MAX_PARTS} fields")
        self._inside = False
        self._disposition = b""

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        if _option(self._disposition, b"name") == "file":
            if self._found:
                raise MalformedUpload("the multipart form has more than one field named 'file'")
            self._found = self._inside = True
            self.filename = _option(self._disposition, b"filename")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self._data += data[start:end]

    def _end(self) -> None:
        self._complete = True


def _body(request: Request) -> _Body:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        return _RawBody(request.headers.get("content-disposition"))
    if not options.get(b"boundary"):
        raise MalformedUpload("the multipart form names no boundary")
    try:
        return _MultipartBody(options[b"boundary"])
    except FormParserError as error:
        raise MalformedUpload(f"the multipart form cannot be read: {error}") from error


def _check_announced_length(request: Request, max_bytes: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes + _MULTIPART_OVERHEAD:
        raise ClipTooLarge(max_bytes)


def _option(header: bytes, name: bytes) -> str | None:
    # The parser does not decode the value.
    value = parse_options_header(header)[1].get(name)
    return value.decode("utf-8", "replace") if value is not None else None


def _disposition_filename(header: str | None) -> str | None:
    """The name in the header of a raw body: RFC 6266's ``filename*``, or ``filename`` in UTF-8 or Latin-1."""
    if header is None:
        return None
    # HTTP headers are bytes that arrive here as Latin-1.
    octets = header.encode("latin-1")
    extended = _EXTENDED_FILENAME.search(_QUOTED.sub('""', header))
    with contextlib.suppress(LookupError, UnicodeDecodeError):
        if extended is not None:
            return unquote_to_bytes(extended["name"]).decode(extended["charset"])
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        octets = header.encode("utf-8")
    return _option(octets, b"filename")


def _safe_filename(name: str | None) -> str | None:
    if not name:
        return None
    base = PureWindowsPath(PurePosixPath(name).name).name
    return "".join(character for character in base if character.isprintable())[:_MAX_FILENAME] or None
