from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.clips.decoding import ClipLimits
from service.clips.renditions import Rendition, Renditions
from service.drawing.overlay import draw_people
from service.storage.folder import DataFolder
from tests.doubles import media
from tests.doubles.servers import clip_result

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


# Run in a process of its own: the limit would hold for everything that the test run writes, its report included.
_WITHOUT_ROOM = """
import asyncio, resource, sys
from pathlib import Path
from service.clips.decoding import ClipLimits
from service.errors import StorageFull
from service.storage.folder import DataFolder
from service.clips.renditions import Rendition, Renditions
folder = DataFolder.open(Path(sys.argv[1]))
limits = ClipLimits(60.0, 10**6, 240.0, 20.0, 4 * 1024**3)
resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
try:
    asyncio.run(Renditions(folder, limits).get("clip", Rendition.ANNOTATED))
except StorageFull as error:
    print(error)
"""


def during_drawing(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> list[int]:
    """Do something when the third frame is drawn; the numbers of the frames drawn."""
    drawn: list[int] = []

    def draw(*arguments: Any, **options: Any) -> None:
        drawn.append(len(drawn) + 1)
        draw_people(*arguments, **options)
        if len(drawn) == 3:
            action()

    monkeypatch.setattr("service.clips.rendering.draw_people", draw)
    return drawn


@pytest.mark.slow
def test_a_video_that_there_is_no_room_for_is_told_and_leaves_nothing(folder: DataFolder, tmp_path: Path) -> None:
    folder.close()
    done = subprocess.run(
        [sys.executable, "-B", "-c", _WITHOUT_ROOM, str(tmp_path / "data")], capture_output=True, text=True, check=False
    )
    assert Rendition.ANNOTATED in done.stdout, done.stderr
    assert sorted(path.name for path in folder.clip("clip").iterdir()) == ["result.json", "source"]


def test_a_clip_that_is_deleted_is_not_encoded_to_its_end(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = during_drawing(monkeypatch, lambda: folder.discard("clip"))
    with pytest.raises(FileNotFoundError):
        asyncio.run(Renditions(folder, LIMITS).get("clip", Rendition.ANNOTATED))
    assert drawn == [1, 2, 3]
    assert not folder.clip("clip").exists()
