"""Logging: one format for the records of the service and of its libraries."""

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
    logging.getLogger("uvicorn.access").addFilter(_is_worth_a_line)
    # These libraries log every step at info.
    for name in ("alembic", "matplotlib", "websockets"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _renderers(style: LogFormat) -> list[structlog.typing.Processor]:
    clean = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _drop_colour]
    # Tracebacks leave out the values of variables, which may hold passwords of cameras.
    if style is LogFormat.JSON:
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [*clean, structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    return [*clean, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


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
