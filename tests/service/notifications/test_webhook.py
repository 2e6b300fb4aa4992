from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_network

import pytest

from service.addresses.backends import webhook_key
from service.addresses.policy import StreamPolicy
from service.addresses.urls import StreamUrlError
from service.incidents.store import IncidentStore
from service.metrics import Metrics
from service.notifications.posting import Schedule, sign
from service.notifications.store import DeliveryState, NotificationStore
from service.notifications.webhook import SINK, Webhook, webhook_address
from service.storage.database import Database
from tests.doubles.live_records import incident_info
from tests.doubles.receiver import Posted, receiver
from tests.doubles.servers import eventually, free_port

SECRET = "a secret of sixteen"  # noqa: S105
LOOPBACK = StreamPolicy((ip_network("127.0.0.0/8"),))
QUICK = Schedule(attempts=3, first_s=0.05, longest_s=0.1)


class Scene:
    def __init__(self, database: Database) -> None:
        self.incidents = IncidentStore(database)
        self.store = NotificationStore(database)
        self.metrics = Metrics()
        self.store.keep([SINK])

    def happen(self, *names: str) -> None:
        for name in names:
            self.incidents.started(incident_info(name))

    @contextmanager
    def hook(
        self, url: str, policy: StreamPolicy = LOOPBACK, schedule: Schedule = QUICK, secret: str | None = SECRET
    ) -> Iterator[Webhook]:
        key = None if secret is None else webhook_key(secret)
        hook = Webhook(self.store, webhook_address(url), key, policy, self.metrics, schedule=schedule)
        hook.start()
        try:
            yield hook
        finally:
            hook.stop()

    def settled(self) -> None:
        eventually(lambda: self.store.count()[DeliveryState.PENDING] == 0, "nothing waits")

    def dead(self) -> list[str | None]:
        return [delivery.problem for delivery in self.store.page(limit=100, state=DeliveryState.DEAD)[0]]


@pytest.fixture
def scene(database: Database) -> Scene:
    return Scene(database)


def names(posted: list[Posted]) -> list[str]:
    return [one.message["incident"]["id"] for one in posted]


def test_a_body_says_what_happened_and_why(scene: Scene) -> None:
    with receiver() as web, scene.hook(web.url) as hook:
        scene.happen("one")
        hook.wake()
        eventually(lambda: web.posted, "it has arrived")
        scene.settled()
    incident = web.posted[0].message["incident"]
    assert (incident["kind"], incident["title"]) == ("unusual", "Unusual movement, 1 person")
    assert incident["explanation"] == "level 0.950 (1 in 20 moments of normal life)"
    assert [(seen["kind"], seen["people"], seen["score"]) for seen in incident["kinds"]] == [("unusual", [1], 0.95)]


def test_events_are_posted_in_order_signed_and_with_the_time(scene: Scene) -> None:
    with receiver() as web, scene.hook(web.url) as hook:
        scene.happen("one", "two")
        hook.wake()
        eventually(lambda: len(web.posted) == 2, "both have arrived")
        scene.settled()
    assert names(web.posted) == ["one", "two"]
    first = web.posted[0]
    headers = first.headers
    assert first.path == "/hooks?key=hunter2"
    assert headers["host"] == f"127.0.0.1:{web.port}"
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == f"evt_{first.message['id']}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 600
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), first.body])
    expected = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_the_signature_is_that_of_the_published_example_of_standard_webhooks() -> None:
    key = webhook_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    with pytest.raises(ValueError, match="not base64"):
        webhook_key("whsec_no base64")


def test_an_event_that_was_not_taken_is_posted_again_under_the_same_name(scene: Scene) -> None:
    with receiver(500, 503) as web, scene.hook(web.url) as hook:
        scene.happen("one")
        hook.wake()
        eventually(lambda: len(web.posted) == 3, "it was tried three times")
        scene.settled()
        assert hook.problem is None
    assert names(web.posted) == ["one"] * 3
    assert len({one.headers["webhook-id"] for one in web.posted}) == 1
    assert scene.dead() == []
    value = scene.metrics.registry.get_sample_value
    assert value("daflow_notifications_total", {"sink": "webhook", "outcome": "failed"}) == 2
    assert value("daflow_notifications_total", {"sink": "webhook", "outcome": "delivered"}) == 1


def test_after_the_last_attempt_an_event_is_given_up_and_the_next_one_told(scene: Scene) -> None:
    with receiver(500, 500, 500) as web, scene.hook(web.url) as hook:
        scene.happen("one")
        hook.wake()
        eventually(lambda: scene.dead() == ["the receiver answered 500"], "it is given up")
        assert hook.problem == "the receiver answered 500"
        scene.happen("two")
        hook.wake()
        eventually(lambda: len(web.posted) == 4, "the next one is told")
        scene.settled()
        (dead,) = scene.store.page(limit=10, state=DeliveryState.DEAD)[0]
        assert dead.attempts == 3
        scene.store.retry(dead.id)
        hook.wake()
        eventually(lambda: scene.dead() == [] and len(web.posted) == 5, "it was told after all")
    assert names(web.posted) == ["one", "one", "one", "two", "one"]


def test_what_happens_while_nobody_listens_is_told_after_a_restart(scene: Scene) -> None:
    patient = Schedule(attempts=1000, first_s=0.05, longest_s=0.05)
    with scene.hook(f"http://127.0.0.1:{free_port()}/", schedule=patient) as hook:
        scene.happen("one")
        hook.wake()
        eventually(lambda: hook.problem, "nobody listens")
        assert "cannot be reached" in str(hook.problem)
    scene.happen("two")
    with receiver() as web, scene.hook(web.url):
        scene.settled()
        eventually(lambda: sorted(names(web.posted)) == ["one", "two"], "both are told")


def test_a_redirect_is_not_followed(scene: Scene) -> None:
    with receiver(307, 302, 301) as web, scene.hook(web.url) as hook:
        scene.happen("one")
        hook.wake()
        eventually(lambda: scene.dead() == ["the receiver answered 301"], "it is given up")
    assert len(web.posted) == 3


def test_an_address_that_is_not_allowed_is_never_connected_to(scene: Scene) -> None:
    with receiver() as web, scene.hook(f"http://localhost:{web.port}/", policy=StreamPolicy()) as hook:
        scene.happen("one")
        hook.wake()
        eventually(scene.dead, "it is given up")
    assert "DAFLOW_ALLOWED_STREAM_CIDRS" in str(scene.dead()[0])
    assert web.posted == []


def test_without_a_secret_there_is_no_signature_and_credentials_of_the_address_are_sent(scene: Scene) -> None:
    with receiver() as web, scene.hook(f"http://user:hunter2@127.0.0.1:{web.port}/", secret=None) as hook:
        scene.happen("one")
        hook.wake()
        scene.settled()
        eventually(lambda: web.posted, "it has arrived")
    assert "webhook-signature" not in web.posted[0].headers
    assert web.posted[0].headers["authorization"] == "Basic " + base64.b64encode(b"user:hunter2").decode()


@pytest.mark.parametrize("url", ["rtsp://door/live", "skeletons:", "/etc/passwd", "0", "ftp://web/"])
def test_only_addresses_of_the_web_are_webhooks(url: str) -> None:
    with pytest.raises(StreamUrlError):
        webhook_address(url)


def test_pauses_double_to_a_longest_one_and_end() -> None:
    schedule = Schedule(attempts=5, first_s=5, longest_s=15)
    assert [schedule.pause(failures) for failures in range(1, 6)] == [
        timedelta(seconds=5), timedelta(seconds=10), timedelta(seconds=15), timedelta(seconds=15), None,
    ]  # fmt: skip
