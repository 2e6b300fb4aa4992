"""Tells people about incidents and blind cameras, through one channel and in few messages.

A channel keeps only its place in the log of events. It sends one message for all that has come since and moves on. What
could not be sent is told with what comes meanwhile. So nothing is lost over a restart, and a flood is one message.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import takewhile
from pathlib import Path
from typing import Final, Protocol

import apprise
import structlog

from model.behaviours import Kind
from service.addresses.redaction import redact
from service.cameras.status import CameraStatus
from service.documents.kinds import TITLES
from service.documents.messages import (
    CameraSight,
    Event,
    IncidentInfo,
    IncidentStarted,
    IncidentUpdated,
)
from service.incidents.history import History
from service.incidents.rows import UnknownIncident
from service.incidents.store import IncidentStore
from service.metrics import Metrics
from service.notifications.channels import Channel
from service.notifications.store import NotificationStore
from service.notifications.turns import Sink
from service.storage.database import Clock, utc_now

_LOOK_S: Final = 2.0
_PAGE: Final = 200
_MOST_EVENTS: Final = 5000
"""Most events of the log that one message is made from."""

_FIRST_PAUSE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 300.0
"""Pause after a message that was not accepted; it doubles."""

TOO_OLD: Final = timedelta(hours=12)
"""What could not be told for so long is left out: nobody is helped by a call about last night's fall."""

_LISTED: Final = 10
"""Most incidents that a message lists one by one."""

log = structlog.get_logger(__name__)


class Pictures(Protocol):
    """Where pictures of incidents are."""

    def __call__(self, incident: IncidentInfo, *, background: bool) -> Path | None:
        """The snapshot of an incident.

        Args:
            incident: The incident.
            background: Whether it shows the picture of the camera; otherwise skeletons on a plain background.

        Returns:
            Its path; None if there is none, or if it must not be shown.
        """


@dataclass(frozen=True, slots=True)
class Message:
    """What people are told.

    Attributes:
        title: In a few words.
        body: Plain text.
        picture: Path of a JPEG file, or None.
    """

    title: str
    body: str
    picture: Path | None = None


class NotSent(Exception):
    """The service behind a channel has not accepted a message; the message says why, without secrets."""


class Messenger(Sink):
    """Sends messages through one channel, in a thread of its own.

    Args:
        name: Name of the sink, under which its place in the log is kept.
        channel: Its address, and what it is told.
        store: Keeps the place.
        incidents: The log of events, and the present state of incidents.
        history: What incidents were before.
        cameras: The present state of all cameras.
        pictures: Where pictures are.
        site: Time zone of the site.
        metrics: Counts messages.
        clock: Tells the time.
    """

    def __init__(
        self,
        name: str,
        channel: Channel,
        store: NotificationStore,
        incidents: IncidentStore,
        history: History,
        cameras: Callable[[], Sequence[CameraStatus]],
        pictures: Pictures,
        site: tzinfo,
        metrics: Metrics,
        *,
        clock: Clock = utc_now,
    ) -> None:
        super().__init__(name)
        self._channel = channel
        self._store = store
        self._incidents = incidents
        self._history = history
        self._cameras = cameras
        self._pictures = pictures
        self._site = site
        self._metrics = metrics
        self._clock = clock
        self._retry_s = _FIRST_PAUSE_S
        self._quiet_until = 0.0

    def _turn(self) -> None:
        self._work.clear()
        if time.monotonic() < self._quiet_until or not self.tell():
            self._work.wait(_LOOK_S)

    def tell(self) -> bool:
        """Send one message about all that has come; False if nothing has."""
        place, now = self._store.position(self._name), self._clock()
        events = self._ripe(place, now)
        if not events:
            return False
        if (message := self._message(events, place, now)) is not None:
            try:
                send(self._channel.url.get_secret_value(), message)
            except NotSent as error:
                self._failed(str(error))
                return False
            self._problem, self._retry_s = None, _FIRST_PAUSE_S
            self._quiet_until = time.monotonic() + self._channel.pause_s
            self._metrics.notifications.labels(self._name, "delivered").inc()
        self._store.advance(self._name, events[-1].id)
        return True

    def _failed(self, reason: str) -> None:
        self._problem, pause = reason, self._retry_s
        self._retry_s = min(2 * pause, _LONGEST_PAUSE_S)
        self._quiet_until = time.monotonic() + pause
        self._metrics.notifications.labels(self._name, "failed").inc()
        log.warning("a message was not accepted", channel=self._name, reason=reason, again_s=pause)

    def _ripe(self, place: int, now: datetime) -> list[Event]:
        """The next events that are old enough to be told, in order."""
        latest, found = now - timedelta(minutes=self._channel.after_minutes), list[Event]()
        while len(found) < _MOST_EVENTS:
            page = self._incidents.events_after(found[-1].id if found else place, _PAGE)
            ripe = list(takewhile(lambda event: event.at <= latest, page))
            found += ripe
            if len(ripe) < _PAGE:
                break
        return found

    def _message(self, events: Sequence[Event], place: int, now: datetime) -> Message | None:
        """What there is to tell of some events; None if it is nothing."""
        oldest = now - TOO_OLD - timedelta(minutes=self._channel.after_minutes)
        if late := sum(event.at < oldest for event in events):
            log.warning("events are too old to be told", channel=self._name, events=late)
        recent = [event for event in events if event.at >= oldest and self._concerns(event.camera)]
        incidents = self._reached(recent, place)
        sights = (
            {event.camera for event in recent if isinstance(event, CameraSight)} if self._channel.blindness else set()
        )
        if not incidents and not sights:
            return None
        cameras = {camera.id: camera for camera in self._cameras()}
        names = {name: camera.config.name or name for name, camera in cameras.items()}
        return compose(incidents, _blind(sights, cameras), names, self._site, self._picture)

    def _concerns(self, camera: str) -> bool:
        return self._channel.cameras is None or camera in self._channel.cameras

    def _reached(self, events: Sequence[Event], place: int) -> list[IncidentInfo]:
        """The incidents that reached the channel's severity, as they are now, without those that were dealt with."""
        reached = dict.fromkeys(
            event.incident.id
            for event in events
            if isinstance(event, IncidentStarted | IncidentUpdated)
            and event.incident.severity.rank >= self._channel.severity.rank
        )
        found = []
        for incident in reached:
            if self._history.reached(incident, self._channel.severity, place):
                continue
            with suppress(UnknownIncident):
                present = self._incidents.get(incident)
                if present.acknowledged_at is None and present.review.verdict is None:
                    found.append(present)
        return found

    def _picture(self, incident: IncidentInfo) -> Path | None:
        wanted = self._channel.picture
        if wanted == "none":
            return None
        with_picture = self._pictures(incident, background=True) if wanted == "picture" else None
        return with_picture or self._pictures(incident, background=False)


def _blind(sights: Collection[str], cameras: Mapping[str, CameraStatus]) -> dict[str, str]:
    """Why those of some cameras that cannot see now cannot, by id."""
    reasons = {name: cameras[name].cannot_see for name in sorted(sights) if name in cameras}
    return {name: reason.value.replace("_", " ") for name, reason in reasons.items() if reason is not None}


def compose(
    incidents: Sequence[IncidentInfo],
    blind: dict[str, str],
    names: dict[str, str],
    site: tzinfo,
    picture: Callable[[IncidentInfo], Path | None],
) -> Message | None:
    """Put into words what has come; None if nothing has.

    Args:
        incidents: The incidents, oldest first.
        blind: Why cameras cannot see people, by id.
        names: Names of the cameras, by id.
        site: Time zone in which times are told.
        picture: Gives the picture of an incident.
    """
    lines = [f"{names.get(camera, camera)} cannot see people: {reason}." for camera, reason in blind.items()]
    if len(incidents) == 1 and not blind:
        (incident,) = incidents
        where = names.get(incident.camera, incident.camera)
        words = incident.explanation[:1].upper() + incident.explanation[1:]
        began = f"{incident.started_at.astimezone(site):%Y-%m-%d %H:%M:%S}"
        body = f"{words}.\nCamera: {where}\nStarted: {began}\nIncident: {incident.id}"
        return Message(f"{incident.title} ({where})", body, picture(incident))
    if incidents:
        listed = [
            f"{one.started_at.astimezone(site):%H:%M} {names.get(one.camera, one.camera)}: {one.title}"
            for one in incidents[:_LISTED]
        ]
        left = len(incidents) - len(listed)
        lines = [*listed, *([f"and {left} more"] if left else []), *lines]
        places = len({incident.camera for incident in incidents})
        kinds = Counter(incident.kind for incident in incidents)
        counted = ", ".join(f"{TITLES[kind].lower()} {kinds[kind]}" for kind in Kind if kinds[kind])
        since = f"{min(incident.started_at for incident in incidents).astimezone(site):%H:%M}"
        many = f"{len(incidents)} incidents" if len(incidents) > 1 else "1 incident"
        title = f"{many} on {places} {'cameras' if places > 1 else 'camera'} since {since}: {counted}"
        return Message(title, "\n".join(lines))
    if not lines:
        return None
    title = lines[0].removesuffix(".") if len(lines) == 1 else f"{len(lines)} cameras cannot see people"
    return Message(title, "\n".join(lines))


def send(url: str, message: Message) -> None:
    """Send a message to an address of Apprise.

    Raises:
        NotSent: The service has not accepted it, or cannot be reached.
    """
    asset = apprise.AppriseAsset(
        # Messages show no picture from elsewhere, and nothing is kept on disk.
        image_url_mask="",
        image_url_logo="",
        app_id="DA-Flow Live",
        app_desc="DA-Flow Live",
        app_url="",
        async_mode=False,
        storage_mode=apprise.PersistentStoreMode.MEMORY,
    )
    service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if service is None:
        raise NotSent("the address of the channel is not understood")
    attached = None if message.picture is None else apprise.AppriseAttachment(str(message.picture))
    with _said() as reasons:
        try:
            accepted = service.notify(body=message.body, title=message.title, attach=attached)
        except Exception as error:
            # Each of the services fails in its own way.
            raise NotSent(f"the message could not be sent: {type(error).__name__}") from error
    if not accepted:
        raise NotSent(redact("; ".join(reasons[-2:])) or "the service did not accept the message")


@contextmanager
def _said() -> Iterator[list[str]]:
    """What the library says in this thread while the block runs."""
    lines: list[str] = []
    thread = threading.get_ident()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                lines.append(record.getMessage())

    listener = Listener(logging.WARNING)
    apprise.logger.addHandler(listener)
    try:
        yield lines
    finally:
        apprise.logger.removeHandler(listener)
