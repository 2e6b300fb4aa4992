"""Posts one signed document to one URL, for the webhook and for callbacks of clips.

Requests follow Standard Webhooks: ``webhook-id`` is the same for every attempt, so that a receiver recognises
repetitions, and ``webhook-signature`` is ``v1,`` and the base64 of HMAC-SHA256 over ``id.timestamp.body``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Final

import httpx

from pose.connections import PinnedUrl
from pose.live import SourceError
from service.addresses.policy import StreamPolicy
from service.addresses.urls import StreamUrl
from service.addresses.web import pinned_request

_TIMEOUT_S: Final = 10.0
"""Longest wait for each step of a request, in seconds."""

_WHOLE_S: Final = 15.0
"""Longest time of a request, in seconds, for a receiver that answers byte by byte."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a failed delivery is tried again: after a pause that doubles.

    Attributes:
        attempts: Number of attempts before the delivery is given up.
        first_s: Pause after the first attempt, in seconds.
        longest_s: Longest pause, in seconds.
    """

    attempts: int = 12
    first_s: float = 5.0
    longest_s: float = 3600.0

    def pause(self, failures: int) -> timedelta | None:
        """The pause after this number of failures; None when the delivery is given up."""
        if failures >= self.attempts:
            return None
        return timedelta(seconds=min(self.first_s * 2 ** (failures - 1), self.longest_s))


class NotDelivered(Exception):
    """The receiver has not accepted a document; the message says why, in one line without the URL."""


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Value of ``webhook-signature``: ``v1,base64(HMAC-SHA256(key, id.timestamp.body))``."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


class Poster:
    """Posts documents; each host is resolved and checked anew for each request, and no redirect is followed.

    Args:
        key: Key of the signature; None leaves the signature out.
        policy: Which addresses may be posted to.
    """

    def __init__(self, key: bytes | None, policy: StreamPolicy) -> None:
        self._key = key
        self._policy = policy

    def post(self, url: StreamUrl, message_id: str, body: bytes) -> None:
        """Post a JSON document, and wait for the answer.

        Args:
            url: Where to.
            message_id: Value of ``webhook-id``.
            body: The document.

        Raises:
            NotDelivered: The receiver has not accepted it, or must not be connected to.
        """
        try:
            pinned = self._policy.pin(url)
        except SourceError as error:
            raise NotDelivered(str(error)) from error
        timestamp = int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
        }
        if self._key is not None:
            headers["webhook-signature"] = sign(self._key, message_id, timestamp, body)
        status = asyncio.run(self._send(pinned, headers, body))
        if not 200 <= status < 300:
            raise NotDelivered(f"the receiver answered {status}")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    async def _send(self, url: PinnedUrl, headers: dict[str, str], body: bytes) -> int:
        """Send a request, and return the status of the answer; its body is not read."""
        request = pinned_request("POST", url, headers, body)
        try:
            async with (
                asyncio.timeout(_WHOLE_S),
                httpx.AsyncClient(timeout=_TIMEOUT_S, verify=self._tls, trust_env=False) as client,
            ):
                answer = await client.send(request, stream=True)
                await answer.aclose()
                return answer.status_code
        except TimeoutError as error:
            raise NotDelivered(f"the receiver has not answered within {_WHOLE_S:.0f} s") from error
        except httpx.HTTPError as error:
            raise NotDelivered(f"the receiver cannot be reached: {error or type(error).__name__}") from error
