"""Posts every event to one URL, signed, and retries until the receiver accepts it or it is given up.

Requests follow Standard Webhooks: ``webhook-id`` is the same for every attempt, so that a receiver recognises
repetitions, and ``webhook-signature`` is ``v1,`` and the base64 of HMAC-SHA256 over ``id.timestamp.body``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import httpx
import structlog

from pose.live import SourceError
from service.addresses.policy import StreamPolicy
from service.addresses.urls import StreamUrl, StreamUrlError, UrlKind, parse
from service.documents.messages import Event
from service.metrics import Metrics
from service.notifications.store import Delivery, NotificationStore
from service.notifications.turns import take_turns
from service.storage.database import Clock, utc_now

SINK: Final = "webhook"

_PAGE: Final = 32
_LOOK_S: Final = 2.0
_TIMEOUT_S: Final = 10.0
_STOP_S: Final = 15.0

log = structlog.get_logger(__name__)


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
    """The receiver has not accepted an event; the message says why, in one line without the URL."""


def webhook_address(url: str) -> StreamUrl:
    """Parse the URL of a webhook.

    Raises:
        StreamUrlError: The URL is not valid, or neither http nor https.
    """
    parsed = parse(url)
    if parsed.kind is not UrlKind.STREAM or parsed.scheme not in ("http", "https"):
        raise StreamUrlError("scheme", "the URL of a webhook must begin with https:// or http://")
    return parsed


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Value of ``webhook-signature``: ``v1,base64(HMAC-SHA256(key, id.timestamp.body))``."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


class Webhook:
    """Takes events from the log and posts them, oldest first, in a thread of its own.

    Args:
        store: Stores the deliveries.
        url: The URL to post to.
        key: Key of the signature; None leaves the signature out.
        policy: Which addresses may be posted to.
        metrics: Counts notifications.
        schedule: When a failed delivery is tried again.
        clock: Tells the time.
    """

    def __init__(
        self,
        store: NotificationStore,
        url: StreamUrl,
        key: bytes | None,
        policy: StreamPolicy,
        metrics: Metrics,
        *,
        schedule: Schedule | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._store = store
        self._url = url
        self._key = key
        self._policy = policy
        self._metrics = metrics
        self._schedule = schedule or Schedule()
        self._clock = clock
        self._work = threading.Event()
        self._stopping = threading.Event()
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._serve, name="webhook", daemon=True)

    @property
    def problem(self) -> str | None:
        """Why the last attempt failed; None if it succeeded."""
        return self._problem

    def start(self) -> None:
        """Start to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; undelivered events are delivered after the next start."""
        self._stopping.set()
        self._work.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)

    def wake(self) -> None:
        """Announce that there are new events; never waits."""
        self._work.set()

    def _serve(self) -> None:
        with httpx.Client(timeout=_TIMEOUT_S, verify=ssl.create_default_context(), trust_env=False) as client:
            take_turns(SINK, lambda: self._turn(client), self._stopping)

    def _turn(self, client: httpx.Client) -> None:
        self._work.clear()
        while not self._stopping.is_set() and self._store.take_over(SINK):
            pass
        if not self._deliver_due(client):
            self._work.wait(min(_LOOK_S, self._schedule.first_s))

    def _deliver_due(self, client: httpx.Client) -> bool:
        """Try all deliveries that are due; False if there were none."""
        due = self._store.due(_PAGE)
        for delivery in due:
            if self._stopping.is_set():
                break
            self._deliver(client, delivery)
        return bool(due)

    def _deliver(self, client: httpx.Client, delivery: Delivery) -> None:
        try:
            self._post(client, delivery.event)
        except NotDelivered as error:
            self._problem = str(error)
            pause = self._schedule.pause(delivery.attempts + 1)
            self._store.failed(delivery.id, str(error), None if pause is None else self._clock() + pause)
            self._metrics.notifications.labels(SINK, "dead" if pause is None else "failed").inc()
            failure = log.bind(event_id=delivery.event.id, attempt=delivery.attempts + 1, reason=str(error))
            if pause is None:
                failure.error("a notification was given up")
            else:
                failure.warning("a notification was not accepted", again_s=pause.total_seconds())
        else:
            self._problem = None
            self._store.delivered(delivery.id)
            self._metrics.notifications.labels(SINK, "delivered").inc()

    def _post(self, client: httpx.Client, event: Event) -> None:
        try:
            pinned = self._policy.pin(self._url)
        except SourceError as error:
            raise NotDelivered(str(error)) from error
        body, number, timestamp = event.model_dump_json().encode(), f"evt_{event.id}", int(time.time())
        default = {"http": 80, "https": 443}[pinned.scheme]
        named = f"[{pinned.host}]" if ":" in pinned.host else pinned.host
        headers = {
            "host": named if pinned.port == default else f"{named}:{pinned.port}",
            "content-type": "application/json",
            "user-agent": "daflow",
            "webhook-id": number,
            "webhook-timestamp": str(timestamp),
        }
        if self._key is not None:
            headers["webhook-signature"] = sign(self._key, number, timestamp, body)
        address = httpx.URL(
            scheme=pinned.scheme, host=pinned.address, port=pinned.port, raw_path=pinned.target.encode()
        )
        user = None if pinned.user is None else (pinned.user, pinned.password or "")
        try:
            with client.stream(
                "POST",
                address,
                content=body,
                headers=headers,
                auth=user,
                # The connection goes to the checked address; the certificate must be that of the host name.
                extensions={"sni_hostname": pinned.host},
            ) as answer:
                status = answer.status_code
        except httpx.HTTPError as error:
            raise NotDelivered(f"the receiver cannot be reached: {error or type(error).__name__}") from error
        if not 200 <= status < 300:
            raise NotDelivered(f"the receiver answered {status}")
