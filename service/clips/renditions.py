"""Files made from a result at the first request for them, and kept beside it."""

from __future__ import annotations

import asyncio
import io
from enum import StrEnum
from pathlib import Path
from typing import Final

from starlette.concurrency import run_in_threadpool

from service.clips import rendering
from service.clips.decoding import ClipLimits
from service.documents.results import ClipResult
from service.errors import StorageFull
from service.storage.folder import DataFolder
from service.storage.writing import atomic_write, is_storage_full

_PARALLEL: Final = 1
"""Renditions made at the same time: encoding keeps a processor busy, and scoring needs the others."""


class Rendition(StrEnum):
    """A file that can be made from a result; the value is its name."""

    SCORES = "scores.csv"
    TIMELINE = "timeline.png"
    ANNOTATED = "annotated.mp4"


class Renditions:
    """Makes renditions, each only once, even if several clients request it at the same time.

    Args:
        folder: Holds the clips.
        limits: Limits of the decoder, which reads the clip again.
    """

    def __init__(self, folder: DataFolder, limits: ClipLimits) -> None:
        self._folder = folder
        self._limits = limits
        self._making: dict[Path, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(_PARALLEL)

    async def get(self, clip_id: str, rendition: Rendition) -> Path:
        """The file of a clip that is done; it is made now if it does not exist.

        Raises:
            FileNotFoundError: The clip was deleted.
            ClipRejected: The clip cannot be decoded any more.
            StorageFull: The disk is full.
        """
        target = self._folder.clip(clip_id) / rendition
        if not target.exists():
            task = self._making.get(target)
            if task is None:
                task = self._making[target] = asyncio.create_task(self._make(clip_id, rendition, target))
                task.add_done_callback(lambda done: self._made(target, done))
            # If one client disconnects, the others still get the file.
            await asyncio.shield(task)
        return target

    def _made(self, target: Path, task: asyncio.Task[None]) -> None:
        del self._making[target]
        if not task.cancelled():
            # All clients may have disconnected; asyncio logs an exception that is never retrieved.
            task.exception()

    async def _make(self, clip_id: str, rendition: Rendition, target: Path) -> None:
        async with self._turns:
            try:
                await run_in_threadpool(self._write, clip_id, rendition, target)
            except OSError as error:
                if is_storage_full(error):
                    raise StorageFull(f"the file {rendition}") from error
                raise

    def _write(self, clip_id: str, rendition: Rendition, target: Path) -> None:
        result = ClipResult.model_validate_json(self._folder.result(clip_id).read_bytes())
        match rendition:
            case Rendition.SCORES:
                text = io.StringIO(newline="")
                rendering.write_csv(result, text)
                with atomic_write(target) as stream:
                    stream.write(text.getvalue().encode())
            case Rendition.TIMELINE:
                with atomic_write(target) as stream:
                    stream.write(rendering.timeline_png(result))
            case Rendition.ANNOTATED:
                source = self._folder.source(clip_id)
                rendering.annotate(source, result, target, self._limits, lambda *_: _require(source))


def _require(source: Path) -> None:
    """Stop as soon as the clip was deleted: encoding takes minutes, and other renditions wait."""
    if not source.exists():
        raise FileNotFoundError(source)
