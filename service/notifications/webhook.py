"""Posts every event to one URL, signed, and retries until the receiver accepts it or it is given up."""

from __future__ import annotations

from typing import Final

import structlog

from service.addresses.policy import StreamPolicy
from service.addresses.urls import StreamUrl
from service.addresses.web import web_address
from service.documents.messages import Event
from service.metrics import Metrics
from service.notifications.posting import NotDelivered, Poster, Schedule
from service.notifications.store import Delivery, NotificationStore
from service.notifications.turns import Sink
from service.storage.database import Clock, utc_now

SINK: Final = "webhook"

_PAGE: Final = 32
_LOOK_S: Final = 2.0

log = structlog.get_logger(__name__)


def webhook_address(url: str) -> StreamUrl:
    """Parse the URL of a webhook.

    Raises:
        StreamUrlError: The URL is not valid, or neither http nor https.
    """
    return web_address(url, "the URL of a webhook")


class Webhook(Sink):
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
        super().__init__(SINK)
        self._store = store
        self._url = url
        self._poster = Poster(key, policy)
        self._metrics = metrics
        self._schedule = schedule or Schedule()
        self._clock = clock

    def _turn(self) -> None:
        self._work.clear()
        while not self._stopping.is_set() and self._store.take_over(SINK):
            pass
        if not self._deliver_due():
            self._work.wait(min(_LOOK_S, self._schedule.first_s))

    def _deliver_due(self) -> bool:
        """Try all deliveries that are due; False if there were none."""
        due = self._store.due(_PAGE)
        for delivery in due:
            if self._stopping.is_set():
                break
            self._deliver(delivery)
        return bool(due)

    def _deliver(self, delivery: Delivery) -> None:
        try:
            self._post(delivery.event)
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

    def _post(self, event: Event) -> None:
        self._poster.post(self._url, f"evt_{event.id}", event.model_dump_json().encode())
