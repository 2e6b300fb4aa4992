from __future__ import annotations

import base64
import threading
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from service.documents.base import Severity
from service.errors import StartupError
from service.runtime import Runtime, watched_files
from service.settings import Settings, SettingsError, load_settings
from service.storage.secrets import KEY_FILE
from tests.doubles.live_records import incident_info
from tests.doubles.models import cardboard_models
from tests.doubles.receiver import receiver
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


@pytest.mark.usefixtures("backend")
def test_people_are_told_through_the_channels_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "channels.yaml"
    settings = Settings(data_dir=tmp_path / "data", cameras_file=None, channels_file=path)
    with pytest.raises(StartupError, match=r"channels\.yaml cannot be read: .*; see DAFLOW_CHANNELS_FILE"):
        Runtime.open(settings, cardboard_models)
    with receiver(500) as web:
        path.write_text(f"desk:\n  url: json://127.0.0.1:{web.port}/\n")
        runtime = Runtime.open(settings, cardboard_models)
        runtime.start()
        try:
            incident = incident_info("one", severity=Severity.ALERT)
            runtime.folder.evidence.file("one", "snapshot", background=False).parent.mkdir(parents=True)
            runtime.folder.evidence.file("one", "snapshot", background=False).write_bytes(b"skeletons")
            runtime.folder.evidence.file("one", "snapshot").write_bytes(b"picture")
            runtime.streams.incidents.started(incident)
            runtime.notifier.wake()
            eventually(lambda: runtime.problems["channel-desk"], "the refusal is known")
            eventually(lambda: len(web.posted) == 2, "it is sent again")
            eventually(lambda: runtime.problems["channel-desk"] is None, "all is well")
        finally:
            runtime.stop()
            runtime.close()
    assert [one.message["title"] for one in web.posted] == ["Unusual movement, 1 person (door)"] * 2
    (attached,) = web.posted[1].message["attachments"]
    assert base64.b64decode(attached["base64"]) == b"skeletons", "the default"


@pytest.mark.parametrize("keys", ["", "short", f"{'A' * 43}=,x", ",", "é" * 32])
def test_a_setting_that_is_no_key_is_refused_without_being_repeated(keys: str) -> None:
    with pytest.raises(SettingsError, match=r"DAFLOW_SECRET_KEYS: key \d is not 32 bytes") as refused:
        load_settings(secret_keys=keys)
    assert "short" not in str(refused.value)
