"""How much anybody may ask, and how often guess."""

from __future__ import annotations

from collections import Counter
from typing import Final

from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

GUESSES: Final = 10
GUESSES_S: Final = 300
"""An address that has shown so many wrong keys in so many seconds is not listened to until they are over."""


class Limits:
    """How much an address or a key may ask, in memory that does not grow with the number of those who ask for long.

    Args:
        per_minute: Requests of one key, or without a key of one address.
        open_at_once: Requests, streams and WebSockets of one address.
    """

    def __init__(self, per_minute: int, open_at_once: int) -> None:
        self._open_at_once, self._open = open_at_once, Counter[str]()
        storage = MemoryStorage()
        self._requests, self._request = FixedWindowRateLimiter(storage), RateLimitItemPerMinute(per_minute)
        self._guesses, self._guess = MovingWindowRateLimiter(storage), RateLimitItemPerSecond(GUESSES, GUESSES_S)

    def ask(self, who: str) -> bool:
        """Count a request; whether it may go on."""
        return self._requests.hit(self._request, "request", who)

    def enter(self, address: str) -> bool:
        """Count something that begins; whether it may. What may not is not counted."""
        if self._open[address] >= self._open_at_once:
            return False
        self._open[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Something that was counted has ended."""
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]

    def guessed(self, address: str) -> None:
        """Count a wrong key."""
        self._guesses.hit(self._guess, "guess", address)

    def locked_out(self, address: str) -> bool:
        """Whether too many wrong keys came from an address."""
        return not self._guesses.test(self._guess, "guess", address)
