from __future__ import annotations

from pathlib import Path

import pytest

from service.runtime import _watched
from service.settings import Settings


def test_weights_in_the_home_folder_are_watched_where_they_are_loaded_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path / "late.onnx" in _watched(Settings(pose_weights="~/late.onnx"))
