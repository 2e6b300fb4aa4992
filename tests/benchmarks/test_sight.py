from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.sight import SPOILT, main
from tests.doubles import media
from tests.doubles.media import checks


def test_plain_videos_are_judged_and_spoilt_ones_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    media.clip(tmp_path, frames=12, fps=10, size=(320, 180), paint=lambda _, width, height: checks(height, width))
    media.clip(tmp_path, "black.mp4", frames=12, fps=10, size=(320, 180), paint=media.black)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    main([str(tmp_path), "--every", "2"])
    printed = capsys.readouterr().out
    assert "black.mp4: said to be too_dark" in printed
    assert "broken.mp4: " in printed
    assert "3 plain videos" in printed
    assert "1 said to be blind" in printed
    assert all(name in printed for name in SPOILT)
    assert "640x360" in printed


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_pictures_have_the_size_and_type_of_plain_ones(name: str) -> None:
    image = checks(90, 160)
    spoilt = SPOILT[name](image)
    assert (spoilt.shape, spoilt.dtype) == (image.shape, np.uint8)
