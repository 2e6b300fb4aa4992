from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from service.cameras.store import CameraStore, StoredCamera, UnknownCamera
from service.storage.database import Database
from service.storage.secrets import Cipher, SecretLost

NOW = datetime(2026, 1, 31, 9, 26, tzinfo=UTC)


@pytest.fixture
def store(database: Database) -> CameraStore:
    seconds = itertools.count()
    return CameraStore(database, lambda: NOW + timedelta(seconds=next(seconds)))


def test_a_camera_is_added_once_and_then_changed(store: CameraStore) -> None:
    assert store.put("door", {"url": "rtsp://a/1", "quiet_s": 10.0})
    assert not store.put("door", {"url": "rtsp://a/2"})
    assert store.get("door") == StoredCamera("door", {"url": "rtsp://a/2"}, NOW, NOW + timedelta(seconds=1))


def test_all_cameras_are_listed_by_name(store: CameraStore) -> None:
    for name in ("yard", "door", "hall"):
        store.put(name, {"url": name})
    assert [(camera.id, camera.config["url"]) for camera in store.all()] == [
        ("door", "door"),
        ("hall", "hall"),
        ("yard", "yard"),
    ]


def test_a_deleted_camera_is_gone_with_its_calibrations(store: CameraStore) -> None:
    store.put("door", {})
    store.add_calibration("door", {"asked": 1.0})
    assert store.delete("door")
    assert not store.delete("door")
    with pytest.raises(UnknownCamera, match="there is no camera door"):
        store.get("door")
    store.put("door", {})
    assert store.history("door") == []
    assert store.active("door") is None


def test_a_calibration_of_a_camera_that_was_removed_meanwhile_is_refused(store: CameraStore) -> None:
    with pytest.raises(UnknownCamera):
        store.add_calibration("door", {})


def test_the_newest_calibration_is_the_one_in_use(store: CameraStore) -> None:
    store.put("door", {})
    assert store.add_calibration("door", {"asked": 1.0}, {"shape": 0.1}) == 1
    assert store.add_calibration("door", {"asked": 2.0}, {"shape": 0.2}, "door-2.safetensors") == 2
    active = store.active("door")
    assert active is not None
    assert (active.version, active.report, active.calibration) == (2, {"asked": 2.0}, {"shape": 0.2})
    assert active.checkpoint == "door-2.safetensors"
    assert [(past.version, past.active) for past in store.history("door")] == [(2, True), (1, False)]


def test_calibrations_of_one_camera_do_not_touch_another(store: CameraStore) -> None:
    store.put("door", {})
    store.put("yard", {})
    store.add_calibration("door", {"of": "door"})
    assert store.add_calibration("yard", {"of": "yard"}) == 1
    assert store.roll_back("yard") is None
    active = store.active("door")
    assert active is not None
    assert active.report == {"of": "door"}


def test_rolling_back_goes_step_by_step_to_the_shipped_calibration(store: CameraStore) -> None:
    store.put("door", {})
    for number in range(3):
        store.add_calibration("door", {"number": number})
    assert [store.roll_back("door") for _ in range(4)] == [2, 1, None, None]
    assert store.active("door") is None
    assert len(store.history("door")) == 3


def test_what_was_rolled_back_keeps_its_version_and_never_returns(store: CameraStore) -> None:
    store.put("door", {})
    store.add_calibration("door", {})
    store.add_calibration("door", {})
    store.roll_back("door")
    assert store.add_calibration("door", {}, None, None) == 3
    active = store.active("door")
    assert active is not None
    assert (active.version, active.calibration) == (3, None)
    assert store.roll_back("door") == 1
    assert [(past.version, past.withdrawn) for past in store.history("door")] == [(3, True), (2, True), (1, False)]


ADDRESS = "rtsp://viewer:hunter2@192.0.2.7/live?token=hunter3"


def contents(database: Database) -> str:
    """All that the database holds about cameras; of SQLite, every byte of its files."""
    path = database.engine.url.database
    if database.engine.dialect.name == "sqlite" and path:
        return "".join(file.read_bytes().decode("latin-1") for file in Path(path).parent.glob(f"{Path(path).name}*"))
    with database.engine.connect() as connection:
        return str(connection.execute(text("SELECT * FROM cameras")).all())


@pytest.mark.parametrize(
    "url", [ADDRESS, "http://h/?user=hunter2&pwd=hunter3", "rtsps://hunter2:@h/hunter3", "https://h/hunter2/hunter3"]
)
def test_addresses_of_streams_are_encrypted_in_the_database(url: str, database: Database) -> None:
    cipher = Cipher([Fernet.generate_key().decode()])
    store = CameraStore(database, cipher=cipher)
    store.put("gate", {"url": url, "name": "Gate"})
    store.put("gate", {"url": url, "name": "The gate"})
    assert store.get("gate").config == {"url": url, "name": "The gate"}
    assert [camera.config["url"] for camera in store.all()] == [url]
    assert "hunter" not in contents(database)
    with pytest.raises(SecretLost):
        CameraStore(database).get("gate")
    CameraStore(database).check("gate")


@pytest.mark.parametrize("url", ["skeletons:", "/media/a.mp4", "simulation:7", 0])
def test_what_holds_no_password_is_stored_as_it_is(url: str | int, database: Database) -> None:
    store = CameraStore(database, cipher=Cipher([Fernet.generate_key().decode()]))
    store.put("gate", {"url": url})
    assert CameraStore(database).get("gate").config == {"url": url}


def test_old_rows_are_encrypted_and_keys_can_be_changed(database: Database) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    CameraStore(database).put("gate", {"url": ADDRESS})
    CameraStore(database).put("hall", {"url": "skeletons:"})
    assert "hunter2" in contents(database)
    store = CameraStore(database)
    store.encrypt_all(lambda: Cipher([old]))
    assert "hunter" not in contents(database)
    assert store.get("gate").config["url"] == ADDRESS
    CameraStore(database, cipher=Cipher([new, old])).encrypt_all(unwanted)
    assert CameraStore(database, cipher=Cipher([new])).get("gate").config["url"] == ADDRESS
    CameraStore(database, cipher=Cipher([new])).encrypt_all(unwanted)
    for cipher in (None, Cipher([old])):
        with pytest.raises(SecretLost):
            CameraStore(database, cipher=cipher).encrypt_all(unwanted)
    assert CameraStore(database, cipher=Cipher([new])).get("gate").config["url"] == ADDRESS


def unwanted() -> Cipher:
    raise AssertionError("no key is made beside those that there are")
