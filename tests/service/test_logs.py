from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from service.logs import LogFormat, LogLevel, configure_logging


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


def test_pictures_that_open_pages_ask_for_all_the_time_are_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogLevel.INFO, LogFormat.JSON)
    access = logging.getLogger("uvicorn.access")
    requests = [
        ("/v1/cameras/gate/snapshot.jpg?background=none", 200),
        ("/v1/cameras/gate/snapshot.jpg", 200),
        ("/v1/cameras/gate/snapshot.jpg", 409),
        ("/v1/incidents/5f0c/snapshot.jpg", 200),
        ("/v1/cameras/gate", 200),
    ]
    for path, status in requests:
        access.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:4711", "GET", path, "1.1", status)
    access.info("a line of another form")
    told = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert told == [
        '127.0.0.1:4711 - "GET /v1/cameras/gate/snapshot.jpg HTTP/1.1" 409',
        '127.0.0.1:4711 - "GET /v1/incidents/5f0c/snapshot.jpg HTTP/1.1" 200',
        '127.0.0.1:4711 - "GET /v1/cameras/gate HTTP/1.1" 200',
        "a line of another form",
    ]


HOSTILE = ("\x1b[2J", "\x9b2J", "\x1b]0;title\x07", "a\nb", "\r", "\x7f", "\x00", "\x85", "\u2028", "\u202e", "\ud800")


@pytest.mark.parametrize("style", LogFormat)
@pytest.mark.parametrize("text", HOSTILE)
def test_no_control_character_of_a_client_reaches_the_terminal(
    text: str, style: LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(LogLevel.INFO, style)
    log = structlog.get_logger("service.test")
    log.info(f"event {text}", path=f"/{text}", paths=[text], address=text.encode("utf-8", "surrogatepass"))
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', text, "GET", f"/{text}", "1.1", 404)
    logging.getLogger("uvicorn.error").warning("%s", text, extra={"detail": text})
    try:
        raise ConnectionError(text)
    except ConnectionError:
        log.exception("failed")
    told = capsys.readouterr().err
    lines = told.split("\n")
    assert not [found for found in "".join(lines) if not found.isprintable()]
    assert len([line for line in lines if "GET" in line]) == 1
    assert repr(text)[1:-1].replace("\\", "\\" * (2 if style is LogFormat.JSON else 1)) in told


def test_ordinary_text_is_told_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogLevel.INFO, LogFormat.CONSOLE)
    structlog.get_logger("service.test").info("Tür öffnet — 門", clip="überfall.mp4", frames=3)
    told = capsys.readouterr().err
    assert "Tür öffnet — 門" in told
    assert "clip=überfall.mp4" in told
    assert "frames=3" in told
