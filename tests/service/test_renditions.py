from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.decoding import ClipLimits
from service.files import DataFolder, StorageFull
from service.overlay import draw_people
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


@pytest.fixture
def roomless(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Makes this process unable to write files of more than a few bytes, until the test ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Compiled modules cut short would stay behind.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def during_drawing(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> list[int]:
    """Do something when the third frame is drawn; the numbers of the frames drawn."""
    drawn: list[int] = []

    def draw(*arguments: Any) -> None:
        drawn.append(len(drawn) + 1)
        draw_people(*arguments)
        if len(drawn) == 3:
            action()

    monkeypatch.setattr("service.rendering.draw_people", draw)
    return drawn


def test_a_video_that_there_is_no_room_for_is_told_and_leaves_nothing(
    folder: DataFolder, roomless: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    during_drawing(monkeypatch, roomless)
    with pytest.raises(StorageFull, match=Rendition.ANNOTATED):
        asyncio.run(Renditions(folder, LIMITS).get("clip", Rendition.ANNOTATED))
    assert sorted(path.name for path in folder.clip("clip").iterdir()) == ["result.json", "source"]


def test_a_clip_that_is_deleted_is_not_encoded_to_its_end(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = during_drawing(monkeypatch, lambda: folder.discard("clip"))
    with pytest.raises(FileNotFoundError):
        asyncio.run(Renditions(folder, LIMITS).get("clip", Rendition.ANNOTATED))
    assert drawn == [1, 2, 3]
    assert not folder.clip("clip").exists()
