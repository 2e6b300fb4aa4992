"""How much anybody may ask, and how often guess."""

from __future__ import annotations

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
    """

    def __init__(self, per_minute: int) -> None:
        storage = MemoryStorage()
        self._requests, self._request = FixedWindowRateLimiter(storage), RateLimitItemPerMinute(per_minute)
        self._guesses, self._guess = MovingWindowRateLimiter(storage), RateLimitItemPerSecond(GUESSES, GUESSES_S)

    def ask(self, who: str) -> bool:
        """Count a request; whether it may go on."""
        return self._requests.hit(self._request, "request", who)

    def guessed(self, address: str) -> None:
        """Count a wrong key."""
        self._guesses.hit(self._guess, "guess", address)

    def locked_out(self, address: str) -> bool:
        """Whether too many wrong keys came from an address."""
        return not self._guesses.test(self._guess, "guess", address)
