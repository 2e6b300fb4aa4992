from __future__ import annotations

import threading
from pathlib import Path

import pytest

from service.runtime import Runtime, watched_files
from service.settings import Settings
from tests.doubles.models import cardboard_models
from tests.doubles.servers import eventually


def test_weights_in_the_home_folder_are_watched_where_they_are_loaded_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path / "late.onnx" in watched_files(Settings(pose_weights="~/late.onnx"))


@pytest.mark.usefixtures("backend")
def test_a_part_that_cannot_be_stopped_does_not_keep_the_others_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = set(threading.enumerate())
    runtime = Runtime.open(Settings(data_dir=tmp_path, cameras_file=None), cardboard_models)
    runtime.start()
    eventually(lambda: runtime.models.loaded, "the models are loaded")
    stop = runtime.cameras.manager.stop

    def fail() -> None:
        stop()
        raise RuntimeError("a defect")

    monkeypatch.setattr(runtime.cameras.manager, "stop", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        runtime.stop()
    runtime.close()
    names = {thread.name for thread in threading.enumerate() if thread not in known}
    assert not names & {"engine", "evidence", "incident-log", "retention", "cameras"}
