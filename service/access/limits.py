"""Limits for each client: requests, open connections, and wrong keys."""

from __future__ import annotations

from collections import Counter
from typing import Final

from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

GUESSES: Final = 10
GUESSES_S: Final = 300
"""After `GUESSES` wrong keys of an address within `GUESSES_S` seconds, further ones are neither counted nor logged
until those seconds are over."""


class Limits:
    """Counts requests, open connections and wrong keys in memory; counts that are out of date are forgotten.

    Args:
        per_minute: Most requests per minute of one key, or of one address without a key.
        open_at_once: Most requests, streams and WebSockets at the same time, of one key at one address, or of one
            address without a key.
    """

    def __init__(self, per_minute: int, open_at_once: int) -> None:
        self._open_at_once, self._open = open_at_once, Counter[str]()
        storage = MemoryStorage()
        self._requests, self._request = FixedWindowRateLimiter(storage), RateLimitItemPerMinute(per_minute)
        self._guesses, self._guess = MovingWindowRateLimiter(storage), RateLimitItemPerSecond(GUESSES, GUESSES_S)

    def ask(self, who: str) -> bool:
        """Count a request of a key or address; False if it exceeds the limit."""
        return self._requests.hit(self._request, "request", who)

    def enter(self, who: str) -> bool:
        """Count a connection that opens; False if it exceeds the limit, and then it is not counted."""
        if self._open[who] >= self._open_at_once:
            return False
        self._open[who] += 1
        return True

    def leave(self, who: str) -> None:
        """Uncount a connection that has closed."""
        self._open[who] -= 1
        if not self._open[who]:
            del self._open[who]

    def guessed(self, address: str) -> None:
        """Count a wrong key from an address."""
        self._guesses.hit(self._guess, "guess", address)

    def locked_out(self, address: str) -> bool:
        """Whether too many wrong keys came from an address."""
        return not self._guesses.test(self._guess, "guess", address)
