"""Logging: one format for our own records and those of the libraries, for people or for machines."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from http import HTTPStatus
from typing import Final

import structlog

_ACCESS_FIELDS: Final = 5


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
    logging.getLogger("uvicorn.access").addFilter(_tells_more_than_a_picture)
    # Libraries that would otherwise tell every step at the level of our own records.
    for name in ("alembic", "matplotlib", "websockets"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _renderers(style: LogFormat) -> list[structlog.typing.Processor]:
    clean = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _drop_colour]
    # Without the values of variables, which may hold passwords of cameras.
    if style is LogFormat.JSON:
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [*clean, structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    return [*clean, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


def _tells_more_than_a_picture(record: logging.LogRecord) -> bool:
    """Whether a request is worth a line: an open page asks for a picture of each camera ten times a second.

    Args:
        record: One of uvicorn's, whose arguments are the client, method, path, HTTP version and status.
    """
    if not isinstance(record.args, tuple) or len(record.args) != _ACCESS_FIELDS:
        return True
    path, status = str(record.args[2]).partition("?")[0], record.args[4]
    return not (status == HTTPStatus.OK and path.startswith("/v1/cameras/") and path.endswith("/snapshot.jpg"))


def _drop_colour(_logger: object, _method: str, record: structlog.typing.EventDict) -> structlog.typing.EventDict:
    # Uvicorn repeats its messages with escape sequences.
    record.pop("color_message", None)
    return record
