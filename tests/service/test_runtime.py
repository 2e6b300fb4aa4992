from __future__ import annotations

import threading
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from service.errors import StartupError
from service.runtime import Runtime, watched_files
from service.settings import Settings, SettingsError, load_settings
from service.storage.secrets import KEY_FILE
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


@pytest.mark.usefixtures("backend")
def test_a_lost_key_of_the_cameras_stops_the_start_and_says_what_to_do(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, cameras_file=None)

    def start(**changes: object) -> None:
        Runtime.open(settings.model_copy(update=changes), cardboard_models).close()

    runtime = Runtime.open(settings, cardboard_models)
    address = "rtsp://viewer:hunter2@192.0.2.7/live"
    runtime.cameras.store.put("gate", {"url": address})
    runtime.close()
    key = tmp_path / KEY_FILE
    kept = key.read_text()
    assert key.stat().st_mode & 0o077 == 0
    key.unlink()
    for lost in (None, SecretStr(Fernet.generate_key().decode())):
        with pytest.raises(StartupError, match=r"the key is lost: restore .*camera\.key .*DAFLOW_SECRET_KEYS"):
            start(secret_keys=lost)
        assert not key.exists()
    start(secret_keys=SecretStr(f"{Fernet.generate_key().decode()},{kept}"))
    key.write_text(kept)
    with pytest.raises(StartupError, match="the key is lost"):
        start()


@pytest.mark.parametrize("keys", ["", "short", f"{'A' * 43}=,x", ",", "é" * 32])
def test_a_setting_that_is_no_key_is_refused_without_being_repeated(keys: str) -> None:
    with pytest.raises(SettingsError, match=r"DAFLOW_SECRET_KEYS: key \d is not 32 bytes") as refused:
        load_settings(secret_keys=keys)
    assert "short" not in str(refused.value)
