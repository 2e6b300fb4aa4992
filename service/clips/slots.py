"""Shares the workers among the clips that were started: each is scored for a moment, then the next one is."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Self

_LOOK_S: Final = 0.1


class Slots:
    """Slots for work. Who waits for one gets it in the order of arrival.

    Args:
        number: How many may work at the same time.
        turn_s: Seconds after which who works makes room for who waits.
    """

    def __init__(self, number: int, turn_s: float) -> None:
        self._free = number
        self._turn_s = turn_s
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    def take(self, give_up: Callable[[], bool]) -> Slot | None:
        """Wait for a slot.

        Args:
            give_up: Whether to stop waiting; asked ten times a second.

        Returns:
            The slot, to be left at the end; None after giving up.
        """
        return Slot(self, self._turn_s) if self._wait(give_up) else None

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for a slot."""
        return bool(self._waiting)

    def _wait(self, give_up: Callable[[], bool]) -> bool:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                while self._waiting[0] is not ticket or not self._free:
                    if give_up():
                        return False
                    self._changed.wait(_LOOK_S)
                self._free -= 1
                return True
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _release(self) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify_all()


class Slot:
    """A slot that somebody has; made by `Slots.take`. Leaving the ``with`` block makes it free."""

    def __init__(self, slots: Slots, turn_s: float) -> None:
        self._slots = slots
        self._turn_s = turn_s
        self._since: float | None = time.monotonic()
        self._before = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    @property
    def seconds(self) -> float:
        """Seconds in the slot, without the turns of others."""
        return self._before + (time.monotonic() - self._since if self._since is not None else 0.0)

    def pass_on(self, give_up: Callable[[], bool]) -> bool:
        """Let the others have their turns if this one is over and somebody waits; returns when it is this one's again.

        Args:
            give_up: Whether to stop waiting.

        Returns:
            False after giving up; the slot is no longer held then.
        """
        if self._since is None:
            return False
        if time.monotonic() - self._since < self._turn_s or not self._slots.wanted:
            return True
        self._leave()
        if not self._slots._wait(give_up):
            return False
        self._since = time.monotonic()
        return True

    def _leave(self) -> None:
        if self._since is not None:
            self._before, self._since = self.seconds, None
            self._slots._release()
