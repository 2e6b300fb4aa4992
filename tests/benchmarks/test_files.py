from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.files import main, row
from tests.doubles import media
from tests.doubles.zoo import ZOO

_TURNED = ("mirrored.mp4", "upside-down-mirrored.mp4", "half-turn.mp4", "quarter-turn.mp4", "quarter-turn-back.mp4")
_ODD = (
    "transposed.mp4",
    "transposed-back.mp4",
    "interlaced-h264.mp4",
    "wide-pixels-libx264.ts",
    "av1.webm",
    "cover.mov",
)


@pytest.mark.parametrize("name", [*_TURNED, *_ODD])
def test_the_service_and_ffmpeg_show_the_same(name: str, tmp_path: Path) -> None:
    (animal,) = [one for one in ZOO if one.name == name]
    animal.make(tmp_path / name)
    cells = row(tmp_path / name, None)
    assert cells[:3] == [name, animal.reader, f"{len(animal.times)} / {len(animal.times)}"]
    size = f"{animal.size[0]}x{animal.size[1]}"
    assert cells[5] == f"{size} / {size}"
    assert float(cells[7]) < 4


def test_the_table_has_a_row_for_every_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    media.clip(tmp_path, frames=5)
    media.text_named_mp4(tmp_path)
    assert main([str(tmp_path), "--without-people"]) == 0
    table = capsys.readouterr().out
    assert "clip.mp4" in table
    assert "5 / 5" in table
    assert "text.mp4" in table
