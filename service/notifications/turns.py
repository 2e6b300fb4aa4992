"""The loop of every sink of notifications, which goes on after errors, and the thread that runs it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.storage.database import reason

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 10.0
_STOP_S: Final = 20.0

log = structlog.get_logger(__name__)


class Sink(ABC):
    """Tells somebody about the events of the log, in a thread of its own.

    Args:
        name: Name of the sink.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work = threading.Event()
        self._stopping = threading.Event()
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    @property
    def problem(self) -> str | None:
        """Why the last attempt failed; None if it succeeded."""
        return self._problem

    def start(self) -> None:
        """Start to tell."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; what was not told is told after the next start."""
        self._stopping.set()
        self._work.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)

    def wake(self) -> None:
        """Announce that there are new events; never waits."""
        self._work.set()

    @abstractmethod
    def _turn(self) -> None:
        """Tell what there is; wait for work if there is nothing."""

    def _serve(self) -> None:
        take_turns(self._name, self._turn, self._stopping)


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
