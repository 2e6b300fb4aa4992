from __future__ import annotations

import logging
from io import StringIO
from pathlib import Path

import pytest

from service.documents.base import Severity
from service.notifications.channels import ChannelsFileError, read_channels


def written(folder: Path, text: str) -> Path:
    path = folder / "channels.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_gives_channels_by_name(tmp_path: Path) -> None:
    channels = read_channels(
        written(
            tmp_path,
            """
            night-desk:
              url: json://127.0.0.1:9000/
            supervisor:
              url: mailto://user:hunter2@example.com?to=boss@example.com
              cameras: [ward-3, entrance]
              severity: warning
              after_minutes: 5
              picture: none
            """,
        )
    )
    assert list(channels) == ["night-desk", "supervisor"]
    desk, boss = channels.values()
    assert (desk.cameras, desk.severity, desk.after_minutes, desk.picture) == (None, Severity.ALERT, 0, "skeletons")
    assert (boss.cameras, boss.severity, boss.after_minutes) == ({"ward-3", "entrance"}, Severity.WARNING, 5)
    assert "hunter2" not in repr(channels)


def test_an_empty_file_has_no_channels(tmp_path: Path) -> None:
    assert read_channels(written(tmp_path, "# none yet\n")) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("desk:\n  url: nowhere\n", r"desk\.url: .*no address that Apprise understands, such as mailto://"),
        ("desk:\n  url: mailto://\n", r"desk\.url: .*no address"),
        ("desk: {}\n", r"desk\.url: Field required"),
        ("desk:\n  url: json://h\n  severity: record\n", r"desk\.severity: "),
        ("desk:\n  url: json://h\n  after_minutes: -1\n", r"desk\.after_minutes: "),
        ("desk:\n  url: json://h\n  pictures: all\n", r"desk\.pictures: Extra inputs"),
        ("Night desk:\n  url: json://h\n", r"Night desk.*: String should match pattern"),
        ("desk:\n  url: json://h\n  url: json://h\n", r"url is given twice in line 2"),
        ("- desk\n", r"valid dictionary"),
        ("desk: [\n", r"cannot be understood: .* in line 2"),
    ],
)
def test_a_wrong_file_is_refused_with_the_channel_and_the_field(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ChannelsFileError, match=words):
        read_channels(written(tmp_path, text))


@pytest.mark.parametrize("text", ["foo://user:hunter2@h", "tgram://hunter2/hunter2", "foo://user:hunter2@h\n bad"])
def test_no_address_is_told_in_an_error_or_in_the_log(
    text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logged = StringIO()
    handler = logging.StreamHandler(logged)
    # What reaches the root logger is written into the log of the service; pytest's own capture sees more than that.
    logging.getLogger().addHandler(handler)
    try:
        with pytest.raises(ChannelsFileError) as refused:
            read_channels(written(tmp_path, f"desk:\n  url: {text}\n"))
    finally:
        logging.getLogger().removeHandler(handler)
    assert "hunter2" not in "".join((str(refused.value), logged.getvalue(), *capfd.readouterr()))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ChannelsFileError, match=r"channels\.yaml cannot be read: No such file"):
        read_channels(tmp_path / "channels.yaml")
