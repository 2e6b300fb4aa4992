from __future__ import annotations

from datetime import timedelta

import pytest

from service.documents.base import Severity
from service.incidents.store import IncidentStore
from service.notifications.store import DeliveryState, NotificationStore, UnknownDelivery
from service.storage.database import Database
from tests.doubles.live_records import at, incident_info


class Scene:
    def __init__(self, database: Database) -> None:
        self.now = at(0)
        self.incidents = IncidentStore(database)
        self.store = NotificationStore(database, lambda: self.now)

    def happen(self, *names: str) -> None:
        for name in names:
            self.incidents.started(incident_info(name))

    def due(self) -> list[str]:
        return [delivery.event.incident.id for delivery in self.store.due(100)]


@pytest.fixture
def scene(database: Database) -> Scene:
    return Scene(database)


def test_a_sink_is_told_what_happens_after_it_was_added_and_goes_on_where_it_was(scene: Scene) -> None:
    scene.happen("before")
    scene.store.keep(["webhook"])
    scene.happen("one", "two")
    assert scene.store.take_over("webhook") == 2
    scene.happen("three")
    scene.store.keep(["webhook", "mqtt"])
    assert scene.store.take_over("webhook") == 1
    assert scene.store.take_over("webhook") == 0
    assert scene.due() == ["one", "two", "three"]
    newest = scene.incidents.newest_event_id()
    assert scene.store.position("mqtt") == newest
    scene.store.advance("mqtt", newest + 5)
    assert scene.store.position("mqtt") == newest + 5


def test_incidents_that_are_only_recorded_are_passed_over(scene: Scene) -> None:
    scene.store.keep(["webhook"])
    recorded = incident_info("one").model_copy(update={"severity": Severity.RECORD})
    scene.incidents.started(recorded)
    scene.happen("two")
    scene.incidents.updated(recorded.model_copy(update={"severity": Severity.ALERT}))
    assert scene.store.take_over("webhook") == 3
    assert scene.due() == ["two", "one"]
    assert scene.store.take_over("webhook") == 0


def test_a_sink_that_is_not_wanted_any_more_begins_anew(scene: Scene) -> None:
    scene.store.keep(["webhook"])
    scene.happen("missed")
    scene.store.keep([])
    scene.store.keep(["webhook"])
    assert scene.store.take_over("webhook") == 0


def test_more_events_than_a_page_are_taken_over_in_order(scene: Scene) -> None:
    scene.store.keep(["webhook"])
    names = [f"incident{number}" for number in range(300)]
    scene.happen(*names)
    assert [scene.store.take_over("webhook") for _ in range(3)] == [256, 44, 0]
    assert [delivery.event.incident.id for delivery in scene.store.due(1000)] == names


def test_what_failed_waits_for_its_time_and_what_arrived_is_forgotten(scene: Scene) -> None:
    scene.store.keep(["webhook"])
    scene.happen("one", "two")
    scene.store.take_over("webhook")
    first, second = scene.store.due(10)
    scene.store.failed(first.id, "the receiver answered 500", at(60))
    scene.store.delivered(second.id)
    assert scene.due() == []
    scene.now = at(60)
    (again,) = scene.store.due(10)
    assert (again.id, again.attempts, again.problem) == (first.id, 1, "the receiver answered 500")
    assert again.event == first.event


def test_what_was_given_up_is_listed_counted_and_tried_again_when_told(scene: Scene) -> None:
    scene.store.keep(["webhook"])
    scene.happen("one", "two", "three")
    scene.store.take_over("webhook")
    for delivery in scene.store.due(2):
        scene.store.failed(delivery.id, "x" * 5000, None)
    assert scene.store.count() == {DeliveryState.PENDING: 1, DeliveryState.DEAD: 2}
    (newest,), before = scene.store.page(limit=1, state=DeliveryState.DEAD)
    (oldest,), end = scene.store.page(limit=1, state=DeliveryState.DEAD, before=before)
    assert [newest.event.incident.id, oldest.event.incident.id, end] == ["two", "one", None]
    assert scene.due() == ["three"]
    retried = scene.store.retry(oldest.id)
    assert (retried.state, retried.attempts) == (DeliveryState.PENDING, 0)
    assert scene.due() == ["one", "three"]
    with pytest.raises(UnknownDelivery, match="there is no delivery 4711"):
        scene.store.retry(4711)


def test_what_was_given_up_long_ago_goes(scene: Scene) -> None:
    scene.store.keep(["webhook"])
    scene.happen("one", "two")
    scene.store.take_over("webhook")
    scene.store.failed(scene.store.due(1)[0].id, "no", None)
    assert scene.store.prune(at(0)) == 0
    assert scene.store.prune(at(0) + timedelta(seconds=1)) == 1
    assert scene.due() == ["two"]
