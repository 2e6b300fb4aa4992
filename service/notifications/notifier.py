"""Starts and stops the sinks of notifications: the webhook, MQTT, and the channels that tell people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Self

from service.addresses.backends import broker_url, webhook_key
from service.addresses.policy import StreamPolicy
from service.addresses.urls import StreamUrlError
from service.cameras.status import CameraStatus
from service.documents.time_zones import time_zone
from service.errors import StartupError
from service.incidents.history import History
from service.incidents.store import IncidentStore
from service.metrics import Metrics
from service.notifications import mqtt, webhook
from service.notifications.channels import ChannelsFileError, read_channels
from service.notifications.messenger import Messenger, Pictures
from service.notifications.mqtt import Mqtt
from service.notifications.store import NotificationStore
from service.notifications.webhook import Webhook, webhook_address
from service.settings import Role, Settings

CHANNEL: Final = "channel-"
"""Before the name of a channel, the name of its sink."""


def signing_key(settings: Settings) -> bytes | None:
    """Key of the signature of everything that is posted; None leaves the signature out."""
    secret = settings.webhook_secret
    return None if secret is None else webhook_key(secret.get_secret_value())


class Notifier:
    """The sinks that are configured.

    Args:
        sinks: The sinks by name.
    """

    def __init__(self, sinks: dict[str, Webhook | Mqtt | Messenger]) -> None:
        self._sinks = sinks

    @classmethod
    def of(
        cls,
        settings: Settings,
        store: NotificationStore,
        incidents: IncidentStore,
        history: History,
        cameras: Callable[[], Sequence[CameraStatus]],
        pictures: Pictures,
        policy: StreamPolicy,
        metrics: Metrics,
    ) -> Self:
        """Make the sinks that are configured; a process that runs no cameras has none.

        Raises:
            StartupError: The URL of the webhook is not valid or not allowed, or the channels file is wrong.
        """
        sinks: dict[str, Webhook | Mqtt | Messenger] = {}
        if settings.role is not Role.ALL:
            return cls(sinks)
        if settings.webhook_url is not None:
            try:
                url = webhook_address(settings.webhook_url.get_secret_value())
                policy.check(url)
            except StreamUrlError as error:
                raise StartupError(f"{error}; set DAFLOW_WEBHOOK_URL") from error
            sinks[webhook.SINK] = Webhook(store, url, signing_key(settings), policy, metrics)
        if settings.mqtt_url is not None:
            broker = broker_url(settings.mqtt_url.get_secret_value())
            sinks[mqtt.SINK] = Mqtt(store, incidents, cameras, broker, settings.mqtt_prefix, metrics)
        if settings.channels_file is not None:
            try:
                channels = read_channels(settings.channels_file)
            except ChannelsFileError as error:
                raise StartupError(f"{error}; see DAFLOW_CHANNELS_FILE") from error
            site = time_zone(settings.timezone)
            for name, channel in channels.items():
                sink = f"{CHANNEL}{name}"
                sinks[sink] = Messenger(sink, channel, store, incidents, history, cameras, pictures, site, metrics)
        return cls(sinks)

    @property
    def sinks(self) -> list[str]:
        """Names of the sinks."""
        return [*self._sinks]

    @property
    def has_webhook(self) -> bool:
        """Whether the webhook is configured."""
        return webhook.SINK in self._sinks

    @property
    def problems(self) -> dict[str, str | None]:
        """What is wrong with each sink; None for one that works."""
        return {name: sink.problem for name, sink in self._sinks.items()}

    def start(self) -> None:
        """Start the sinks."""
        for sink in self._sinks.values():
            sink.start()

    def stop(self) -> None:
        """Stop the sinks; what was not sent stays in the database."""
        for sink in self._sinks.values():
            sink.stop()

    def wake(self) -> None:
        """Announce that there are new events; never waits."""
        for sink in self._sinks.values():
            sink.wake()
