"""Logging: one format for the records of the service and of its libraries."""

from __future__ import annotations

import io
import logging
import re
import sys
from enum import StrEnum
from http import HTTPStatus
from typing import Final, TextIO

import structlog

_ACCESS_FIELDS: Final = 5
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters (C0, DEL, C1), separators of lines, and those that change the direction of text."""

_UNTOUCHED: Final = frozenset({"exc_info", "exception", "stack", "stack_info", "_record", "_from_structlog"})


class LogLevel(StrEnum):
    """The least severe record that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log record is written."""

    CONSOLE = "console"
    JSON = "json"


def configure_logging(level: LogLevel, style: LogFormat) -> None:
    """Send all log records to standard error.

    Args:
        level: The least severe record to write.
        style: How to write it.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_renderers(style)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn.access").addFilter(_is_worth_a_line)
    # These libraries log every step at info.
    for name in ("alembic", "matplotlib", "websockets"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _renderers(style: LogFormat) -> list[structlog.typing.Processor]:
    clean = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _drop_colour, _escape_controls]
    # Tracebacks leave out the values of variables, which may hold passwords of cameras.
    if style is LogFormat.JSON:
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [*clean, structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]
    return [*clean, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_plain_traceback)]


def escape_controls(text: str) -> str:
    r"""The text with control characters written as ``\x1b``; a terminal would obey them.

    Example:
        >>> escape_controls("GET /\x1b[2J\nok")
        'GET /\\x1b[2J\\nok'
    """
    return _CONTROL.sub(lambda found: repr(found.group())[1:-1], text)


def _escape_controls(_logger: object, _method: str, record: structlog.typing.EventDict) -> structlog.typing.EventDict:
    # Paths, headers and names come from clients, and texts of errors from cameras.
    for name, value in record.items():
        if name not in _UNTOUCHED:
            record[name] = _escaped(value)
    return record


def _escaped(value: object) -> object:
    if isinstance(value, bool | int | float | None):
        return value
    return escape_controls(value if isinstance(value, str) else str(value))


def _plain_traceback(stream: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    told = io.StringIO()
    structlog.dev.plain_traceback(told, exc_info)
    stream.write("\n".join(map(escape_controls, told.getvalue().split("\n"))))


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Whether to log a request. Successful snapshots are not logged: an open page fetches ten a second of each camera.

    Args:
        record: An access record of uvicorn; its arguments are client, method, path, HTTP version and status.
    """
    if not isinstance(record.args, tuple) or len(record.args) != _ACCESS_FIELDS:
        return True
    path, status = str(record.args[2]).partition("?")[0], record.args[4]
    return not (status == HTTPStatus.OK and path.startswith("/v1/cameras/") and path.endswith("/snapshot.jpg"))


def _drop_colour(_logger: object, _method: str, record: structlog.typing.EventDict) -> structlog.typing.EventDict:
    # Uvicorn adds a second copy of each message with escape sequences.
    record.pop("color_message", None)
    return record
