from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.decoding import ClipLimits
from service.files import DataFolder, StorageFull
from service.renditions import Rendition, Renditions
from tests import media
from tests.service.servers import clip_result

LIMITS = ClipLimits(max_seconds=60, max_pixels=4_000_000, max_fps=240, stall_s=30, memory_bytes=4 << 30)
FRAMES = 40


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    """A data folder with the finished clip ``clip``."""
    folder = DataFolder.open(tmp_path / "data")
    folder.clip("clip").mkdir()
    media.clip(tmp_path, frames=FRAMES, fps=10, size=(64, 48)).rename(folder.source("clip"))
    folder.result("clip").write_text(clip_result(FRAMES).model_dump_json())
    yield folder
    folder.close()


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file may grow beyond a size meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files(folder: DataFolder) -> list[str]:
    return sorted(path.name for path in folder.clip("clip").iterdir())


@pytest.mark.parametrize("rendition", list(Rendition))
def test_a_file_that_there_is_no_room_for_is_told_and_leaves_nothing(folder: DataFolder, rendition: Rendition) -> None:
    with small_files(600), pytest.raises(StorageFull, match=rendition):
        asyncio.run(Renditions(folder, LIMITS).get("clip", rendition))
    assert files(folder) == ["result.json", "source"]
    assert asyncio.run(Renditions(folder, LIMITS).get("clip", rendition)).stat().st_size > 600
