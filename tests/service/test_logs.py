from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from service.logs import configure_logging
from service.settings import LogFormat, LogLevel


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_our_records_and_those_of_libraries_have_one_format(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogLevel.INFO, LogFormat.JSON)
    structlog.get_logger("service.test").info("clip started", clip="a")
    logging.getLogger("uvicorn.error").warning("%d is busy", 8000, extra={"color_message": "in colour"})
    structlog.get_logger("service.test").debug("not worth telling")
    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["clip"], ours["level"], ours["logger"]) == ("clip started", "a", "info", "service.test")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("8000 is busy", "warning", "uvicorn.error")
    assert ours.keys() - {"clip"} == theirs.keys()


def test_an_exception_is_part_of_its_record(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogLevel.INFO, LogFormat.JSON)
    try:
        raise ZeroDivisionError("one over nothing")
    except ZeroDivisionError:
        structlog.get_logger("service.test").exception("clip failed")
    (record,) = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert record["exception"][0]["exc_type"] == "ZeroDivisionError"


@pytest.mark.parametrize("style", LogFormat)
def test_a_traceback_does_not_show_what_variables_held(style: LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogLevel.INFO, style)

    def connect(url: str) -> None:
        raise ConnectionError("nobody answers")

    try:
        connect("".join(("rtsp://viewer:", "hunter", "2@door/live")))
    except ConnectionError:
        structlog.get_logger("service.test").exception("camera failed")
    told = capsys.readouterr().err
    assert "nobody answers" in told
    assert "hunter2" not in told
