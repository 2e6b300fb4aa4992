from __future__ import annotations

from pathlib import Path

import pytest

from service.settings import (
    OLD_VARIABLES,
    Settings,
    SettingsError,
    load_settings,
    settings_table,
    unknown_variables,
    variable_name,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for field in Settings.model_fields:
        monkeypatch.delenv(variable_name(field), raising=False)
    for variable in OLD_VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def test_the_defaults_are_accepted_and_stay_on_this_machine() -> None:
    assert load_settings().host == "127.0.0.1"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DAFLOW_PORT", "70000"),
        ("DAFLOW_DEVICE", "gpu"),
        ("DAFLOW_CLIP_WORKERS", "0"),
        ("DAFLOW_MAX_CLIP_SECONDS", "nan"),
        ("DAFLOW_FALSE_ALARMS_PER_DAY", "-1"),
        ("DAFLOW_POSE_IMAGE_SIZE", "100"),
        ("DAFLOW_POSE_RUNTIME", "fast"),
        ("DAFLOW_POSE_PRECISION", "half"),
        ("DAFLOW_DATABASE_URL", "the usual one"),
        ("DAFLOW_CLIP_STORAGE_BYTES", "1000"),
        ("DAFLOW_AUTH", "maybe"),
        ("DAFLOW_ROLE", "api"),
        ("DAFLOW_ROLE", "some"),
        ("DAFLOW_REDIS_URL", "http://cache"),
        ("DAFLOW_WEBHOOK_SECRET", "too short"),
        ("DAFLOW_WEBHOOK_SECRET", "whsec_no base64"),
        ("DAFLOW_MQTT_URL", "broker:1883"),
        ("DAFLOW_MQTT_PREFIX", "house/#"),
    ],
)
def test_an_unsafe_or_nonsensical_value_refuses_to_start_with_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    assert variable in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("host", "auth", "asked"),
    [
        ("127.0.0.1", "auto", False),
        ("localhost", "auto", False),
        ("0.0.0.0", "auto", True),  # noqa: S104 - the point of the test
        ("camera-server", "auto", True),
        ("::", "OFF", False),
        ("127.0.0.1", "Required", True),
    ],
)
def test_keys_are_asked_for_beyond_this_machine_unless_that_is_said_otherwise(
    host: str, auth: str, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAFLOW_HOST", host)
    monkeypatch.setenv("DAFLOW_AUTH", auth)
    assert load_settings().authenticated is asked


def test_a_password_in_a_database_url_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAFLOW_DATABASE_URL", "user:hunter2 at host")
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DAFLOW_REDIS_URL", "redis://:hunter2@cache:6379/0"),
        ("DAFLOW_WEBHOOK_URL", "https://web/hooks?key=hunter2"),
        ("DAFLOW_WEBHOOK_SECRET", "hunter2 and more of it"),
        ("DAFLOW_MQTT_URL", "mqtts://daflow:hunter2@broker"),
    ],
)
def test_what_is_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    assert "hunter2" not in repr(load_settings())


def test_an_override_wins_over_the_environment_unless_it_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAFLOW_PORT", "9000")
    assert load_settings(port=None).port == 9000
    assert load_settings(port=9001).port == 9001


def test_a_dot_env_file_is_read_and_its_misspellings_are_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DAFLOW_PORT=9100\nDAFLOW_PROT=1\nOTHER=2\n")
    assert load_settings().port == 9100
    assert unknown_variables() == ["DAFLOW_PROT"]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_dot_env_file_in_another_encoding_is_refused_with_one_line(tmp_path: Path, encoding: str) -> None:
    (tmp_path / ".env").write_bytes("DAFLOW_PORT=9100\nDAFLOW_DATA_DIR=/srv/T\u00fcre\n".encode(encoding))
    with pytest.raises(SettingsError, match=r"\.env .*; save it as UTF-8$") as refusal:
        load_settings()
    assert "\n" not in str(refusal.value)


def test_a_dot_env_file_with_a_byte_order_mark_is_read_from_its_first_line_on(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DAFLOW_PORT=9100\n", encoding="utf-8-sig")
    assert load_settings().port == 9100
    assert unknown_variables() == []


def test_a_dot_env_file_that_cannot_be_read_is_refused_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("DAFLOW_PORT=9100\n")

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(SettingsError, match=r"^\.env cannot be read: Permission denied$"):
        load_settings()


def test_the_old_name_of_sum_parts_is_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load_settings().sum_parts
    monkeypatch.setenv("DAFLOW_WITNESSES", "true")
    assert load_settings().sum_parts
    assert not load_settings(sum_parts=False).sum_parts
    assert unknown_variables() == []
    monkeypatch.setenv("DAFLOW_SUM_PARTS", "false")
    assert not load_settings().sum_parts, "the new name wins over the old one"


@pytest.mark.parametrize("variable", ["DAFLOW_SUM_PARTS", "DAFLOW_WITNESSES"])
def test_a_wrong_value_is_refused_under_either_name(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "perhaps")
    with pytest.raises(SettingsError, match=r"^DAFLOW_(SUM_PARTS|WITNESSES): Input should be a valid boolean"):
        load_settings()


def test_names_of_runtimes_and_precisions_may_have_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAFLOW_POSE_RUNTIME", "OpenVINO")
    monkeypatch.setenv("DAFLOW_POSE_PRECISION", "BFloat16")
    settings = load_settings()
    assert (settings.pose_runtime, settings.pose_precision) == ("openvino", "bfloat16")


def test_misspelt_variables_are_named() -> None:
    assert unknown_variables({"DAFLOW_PROT": "1", "daflow_port": "1", "PATH": "", "DAFLOW_TEST_DATA": ""}) == [
        "DAFLOW_PROT"
    ]


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_the_documentation_has_the_table_of_settings_that_the_class_renders() -> None:
    assert settings_table() in DOCUMENT.read_text(encoding="utf-8")


def test_the_budget_per_hour_is_the_old_name_of_the_budget_per_day(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().false_alarms_per_day == 1.0
    monkeypatch.setenv("DAFLOW_FALSE_ALARMS_PER_HOUR", "0.5")
    assert load_settings().false_alarms_per_day == 12.0
    assert unknown_variables() == []
    assert "PER_HOUR` |" not in settings_table()
    monkeypatch.setenv("DAFLOW_FALSE_ALARMS_PER_DAY", "12")
    with pytest.raises(SettingsError, match=r"FALSE_ALARMS_PER_DAY and DAFLOW_FALSE_ALARMS_PER_HOUR are both set"):
        load_settings()
    monkeypatch.setenv("DAFLOW_FALSE_ALARMS_PER_HOUR", "")
    assert load_settings().false_alarms_per_day == 12.0


@pytest.mark.parametrize("value", ["0", "-1", "inf", "often"])
def test_a_wrong_budget_is_refused_under_its_old_name(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAFLOW_FALSE_ALARMS_PER_HOUR", value)
    with pytest.raises(SettingsError, match=r"^DAFLOW_FALSE_ALARMS_PER_DAY: Input should be"):
        load_settings()
