from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from model.behaviours import Kind
from service.cameras.config import CameraConfig, CameraPatch, CamerasFileError, read_cameras
from service.documents.base import Severity
from service.documents.kinds import ON_REQUEST, SEVERITIES
from service.errors import StartupError
from service.runtime import Runtime
from service.settings import Settings
from tests.doubles.models import cardboard_models

HIDDEN = "hunter2"
URL = f"rtsp://viewer:{HIDDEN}@127.0.0.1/live?token={HIDDEN}"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cameras.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("url", [0, "0", "/clips/a.mp4", "skeletons:", URL])
def test_an_address_is_kept_as_it_was_given(url: int | str) -> None:
    config = CameraConfig(url=url)
    assert config.url == url
    assert CameraConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("url", [True, 1.0, None, ["rtsp://a/b"]])
def test_what_is_no_address_is_refused(url: Any) -> None:
    with pytest.raises(ValidationError):
        CameraConfig(url=url)


def test_a_configuration_does_not_show_its_address_when_it_is_printed() -> None:
    assert HIDDEN not in repr(CameraConfig(url=URL))
    assert HIDDEN not in str(CameraConfig(url=URL))


def test_an_error_does_not_repeat_the_address() -> None:
    with pytest.raises(ValidationError) as caught:
        CameraConfig(url=URL, false_alarms_per_day=1, alert_false_alarms_per_day=2)
    assert HIDDEN not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"false_alarms_per_day": 0},
        {"false_alarms_per_day": float("inf")},
        {"false_alarms_per_day": 1, "alert_false_alarms_per_day": 2},
        {"min_duration_s": -1},
        {"quiet_s": 0},
        {"cooldown_s": float("nan")},
        {"retention_hours": 0},
        {"retention_hours": 1e9},
        {"max_fps": 0},
        {"max_fps": 61},
        {"name": "a" * 101},
        {"unknown": 1},
        {"rest": [[[0.1, 0.1], [0.2, 0.2]]]},
        {"behaviours": {"fall": "loud"}},
        {"behaviours": {"dancing": "off"}},
    ],
)
def test_impossible_fields_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CameraConfig(url="skeletons:", **fields)


def test_behaviours_have_their_usual_severity_unless_the_camera_says_otherwise() -> None:
    config = CameraConfig(url="skeletons:", behaviours={"running": "off", "lying": "warning"})
    usual = {kind: severity for kind, severity in SEVERITIES.items() if kind not in ON_REQUEST}
    assert CameraConfig(url="skeletons:").severities == usual
    changed = {kind: severity for kind, severity in usual.items() if kind is not Kind.RUNNING}
    assert config.severities == changed | {Kind.LYING: Severity.WARNING}
    assert CameraConfig.model_validate(config.model_dump(mode="json")) == config


def test_unusual_movement_is_no_behaviour_that_can_be_switched_off() -> None:
    with pytest.raises(ValidationError, match=r"unusual is no named behaviour .* set false_alarms_per_day"):
        CameraConfig(url="skeletons:", behaviours={"unusual": "off"})


def test_a_plain_off_in_yaml_switches_a_behaviour_off(tmp_path: Path) -> None:
    text = """
    ward:
      url: "skeletons:"
      behaviours: {running: off, lying: warning}
    """
    assert read_cameras(written(tmp_path, text))["ward"].behaviours == {Kind.RUNNING: "off", Kind.LYING: "warning"}


def test_a_patch_changes_what_it_names_and_is_checked_as_a_whole() -> None:
    config = CameraConfig(url=URL, name="Gate", false_alarms_per_day=4, alert_false_alarms_per_day=2)
    changed = CameraPatch.model_validate({"name": None, "quiet_s": 3}).apply(config)
    assert changed == config.model_copy(update={"name": None, "quiet_s": 3.0})
    for fields in ({"false_alarms_per_day": 1}, {"colour": "blue"}, {"url": None}):
        with pytest.raises(ValidationError):
            CameraPatch.model_validate(fields).apply(config)


def test_a_file_of_cameras_is_read(tmp_path: Path) -> None:
    text = f"""
    entrance:
      url: {URL}
      quiet_s: 5
    edge: {{url: "skeletons:", enabled: false}}
    device: {{url: 0}}
    """
    assert read_cameras(written(tmp_path, text)) == {
        "entrance": CameraConfig(url=URL, quiet_s=5),
        "edge": CameraConfig(url="skeletons:", enabled=False),
        "device": CameraConfig(url=0),
    }
    assert read_cameras(written(tmp_path, "")) == {}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f"gate:\n  url: {URL}\n  colour: blue", ("gate.colour", "not permitted")),
        (f"gate:\n  url: {URL}\n  quiet_s: soon", ("gate.quiet_s", "number")),
        (f"gate:\n  url: ['{URL}']", ("gate.url",)),
        (f"Gate:\n  url: {URL}", ("Gate",)),
        (f"- url: {URL}", ("dictionary",)),
        (f"gate:\n  url: {URL}\n  name: [", ("line 3",)),
        (f"gate: {{url: '{URL}'\nyard: 1", ("line 2",)),
        (f"gate:\n  url: {URL}\n  name: \x01", ("YAML",)),
        (f"gate:\n  url: {URL}\n\tname: x", ("line 3",)),
        (f"gate:\n  url: {URL}\nyard:\n  url: 0\ngate:\n  url: 0", ("gate is given twice",)),
        (f"gate:\n  url: 0\n  url: {URL}", ("url is given twice",)),
        (f"gate: !!python/object/apply:os.system ['echo {HIDDEN}']", ("line 1",)),
    ],
)
def test_a_file_that_is_wrong_says_where_and_repeats_no_password(
    text: str, named: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(CamerasFileError) as refusal:
        read_cameras(written(tmp_path, text))
    message = str(refusal.value)
    assert message.startswith(str(tmp_path / "cameras.yaml"))
    assert all(part in message for part in named), message
    assert HIDDEN not in message
    assert "\n" not in message


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(CamerasFileError, match="No such file"):
        read_cameras(tmp_path / "nowhere.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00gate")
    with pytest.raises(CamerasFileError, match="save it as UTF-8"):
        read_cameras(tmp_path / "binary.yaml")


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (f"url: {URL}", "not allowed"),
        (f"url: 'file://{HIDDEN}'", "must begin with"),
        ("url: /etc/passwd\n  loop: true", "DAFLOW_MEDIA_DIRS"),
        ("url: 'skeletons:'\n  loop: true", "only a video file"),
        ("url: 'rtsp://***@example.org/live'", "credentials in the URL are masked"),
    ],
)
def test_the_service_does_not_start_with_a_file_that_holds_a_camera_that_may_not_be(
    config: str, why: str, tmp_path: Path
) -> None:
    path = written(tmp_path, f"gate:\n  {config}")
    settings = Settings(data_dir=tmp_path / "data", cameras_file=path)
    with pytest.raises(StartupError) as refusal:
        Runtime.open(settings, cardboard_models)
    message = str(refusal.value)
    assert all(part in message for part in (str(path), "gate", why, "DAFLOW_CAMERAS_FILE")), message
    assert HIDDEN not in message
    # The folder was given back, and nothing of the camera is left.
    path.write_text("yard: {url: 'skeletons:'}")
    runtime = Runtime.open(settings, cardboard_models)
    try:
        assert [camera.id for camera in runtime.cameras.manager.statuses()] == ["yard"]
    finally:
        runtime.close()


@pytest.mark.usefixtures("backend")
def test_cameras_of_the_file_are_added_or_changed_and_others_stay(tmp_path: Path) -> None:
    path = written(tmp_path, "gate: {url: 'skeletons:', name: Gate}\nyard: {url: 'skeletons:'}")
    settings = Settings(data_dir=tmp_path / "data", cameras_file=path)
    for text, names in (
        (None, {"gate": "Gate", "yard": None}),
        ("gate: {url: 'skeletons:', name: Front gate}", {"gate": "Front gate", "yard": None}),
        ("attic: {url: 'skeletons:'}", {"attic": None, "gate": "Front gate", "yard": None}),
    ):
        if text is not None:
            path.write_text(text)
        runtime = Runtime.open(settings, cardboard_models)
        try:
            assert {camera.id: camera.config.name for camera in runtime.cameras.manager.statuses()} == names
        finally:
            runtime.close()


def test_budgets_per_hour_are_read_as_budgets_per_day() -> None:
    old = {"url": URL, "false_alarms_per_hour": 4, "alert_false_alarms_per_hour": None}
    config = CameraConfig.model_validate(old)
    assert (config.false_alarms_per_day, config.alert_false_alarms_per_day) == (96.0, None)
    assert not any(name.endswith("per_hour") for name in config.model_dump())
    assert CameraPatch.model_validate({"false_alarms_per_hour": 1}).apply(config).false_alarms_per_day == 24.0
    assert CameraPatch.model_validate({"false_alarms_per_hour": None}).apply(config).false_alarms_per_day is None
    assert CameraPatch.model_validate({"name": "Gate"}).apply(config).false_alarms_per_day == 96.0


@pytest.mark.parametrize("document", [CameraConfig, CameraPatch])
@pytest.mark.parametrize("prefix", ["", "alert_"])
def test_a_budget_per_hour_and_one_per_day_together_are_refused(document: type[BaseModel], prefix: str) -> None:
    both = {"url": URL, f"{prefix}false_alarms_per_hour": 1, f"{prefix}false_alarms_per_day": 24}
    with pytest.raises(
        ValidationError, match=f"{prefix}false_alarms_per_day and {prefix}false_alarms_per_hour are both"
    ):
        document.model_validate(both)
    one = both | {f"{prefix}false_alarms_per_hour": None}
    assert document.model_validate(one) == document.model_validate(both | {f"{prefix}false_alarms_per_hour": None})
