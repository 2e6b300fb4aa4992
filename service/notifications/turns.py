"""The loop of every sink of notifications, which goes on after errors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.storage.database import reason

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 10.0

log = structlog.get_logger(__name__)


def take_turns(sink: str, turn: Callable[[], None], stopping: threading.Event) -> None:
    """Call a function again and again until it is time to stop; after an error, pause first.

    Args:
        sink: Name of the sink, for the log.
        turn: The function; it waits by itself if there is nothing to do.
        stopping: Set when it is time to stop.
    """
    pause = _FIRST_PAUSE_S
    while not stopping.is_set():
        try:
            turn()
        except SQLAlchemyError as error:
            log.warning(
                "notifications cannot be read from the database or written to it; trying again",
                sink=sink,
                error=reason(error),
            )
            stopping.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        except Exception:
            # One bad event must not stop the others.
            log.exception("notifications failed; trying again", sink=sink)
            stopping.wait(_LONGEST_PAUSE_S)
        else:
            pause = _FIRST_PAUSE_S
