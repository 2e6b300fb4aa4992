"""What all sinks of notifications do alike: they go on, whatever goes wrong."""

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
    """Do something again and again until told to stop; an error costs a pause.

    Args:
        sink: Who it is, for the log.
        turn: What to do; where there is nothing, it waits by itself.
        stopping: Set when it is to end.
    """
    pause = _FIRST_PAUSE_S
    while not stopping.is_set():
        try:
            turn()
        except SQLAlchemyError as error:
            log.warning("notifications cannot be read or noted; trying again", sink=sink, error=reason(error))
            stopping.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        except Exception:
            # Whatever one event does, the others are to be told.
            log.exception("notifications failed; trying again", sink=sink)
            stopping.wait(_LONGEST_PAUSE_S)
        else:
            pause = _FIRST_PAUSE_S
