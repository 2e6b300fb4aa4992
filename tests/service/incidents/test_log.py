from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from pose.live import SourceState
from pose.sight import CannotSee, SightChange
from service.documents.base import EndReason, Severity
from service.documents.messages import CameraCalibration, CameraSight, CameraState, Event, IncidentUpdated
from service.incidents.feed import EventFeed
from service.incidents.log import IncidentLog
from service.incidents.rows import UnknownIncident
from service.incidents.store import IncidentStore
from service.live.clock import SteadyClock
from service.live.incident import Ended, Incident, Started, Updated
from service.storage.database import Database
from tests.doubles.live_records import incident, state_change
from tests.doubles.servers import PATIENCE_S, eventually


class Scene:
    """A log with its store and feed, on a database that can be broken."""

    def __init__(self, url: str) -> None:
        self.database = Database.open(url)
        self.broken = threading.Event()
        event.listen(self.database.engine, "before_cursor_execute", self._fail)
        self.clock = SteadyClock()
        self.boot(IncidentStore(self.database, lambda: self.clock.utc(self.clock.now())))

    def boot(self, store: IncidentStore) -> None:
        self.store = store
        self.feed = EventFeed(store, self.clock)
        self.log = IncidentLog(store, self.feed, self.clock)
        self.published: list[Event] = []
        publish = self.feed.publish

        def watched(told: Event, *, ours: bool) -> None:
            assert self.store.newest_event_id() >= told.id, "published before it was committed"
            publish(told, ours=ours)
            self.published.append(told)

        self.feed.publish = watched

    def stored(self) -> list[Event]:
        return self.store.events_after(0, 10_000)

    def story(self) -> list[tuple[str, str]]:
        return [
            (told.type, getattr(told, "incident", told).id) for told in self.stored() if told.type != "camera.state"
        ]

    def _fail(self, *_: Any) -> None:
        if self.broken.is_set():
            raise OperationalError("", None, Exception("the database is gone"))


@contextmanager
def impatient(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr("service.incidents.log._FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("service.incidents.log._LONGEST_PAUSE_S", 0.05)
    scene = Scene(url)
    yield scene
    scene.broken.clear()
    scene.log.stop(PATIENCE_S)
    scene.database.close()


@pytest.fixture
def scene(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with impatient(database_url, monkeypatch) as scene:
        yield scene


@pytest.fixture
def scene_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """On SQLite, whose room can be limited, whatever the others run on."""
    with impatient(f"sqlite:///{tmp_path / 'daflow.db'}", monkeypatch) as scene:
        yield scene


def ended(open_incident: Incident) -> Ended:
    return Ended(replace(open_incident, ended=open_incident.updated, end_reason=EndReason.QUIET))


def test_what_is_noted_is_committed_and_then_published_in_order(scene: Scene) -> None:
    scene.log.start()
    one = incident("one")
    for change in (Started(one), Updated(replace(one, severity=Severity.ALERT)), ended(one)):
        scene.log.record(change)
        scene.log.camera_state(state_change("door"))
    scene.log.evidence("one", "snapshot", "ready", None)
    scene.log.stop(PATIENCE_S)
    types = [told.type for told in scene.published if told.type != "camera.state"]
    assert types == ["incident.started", "incident.updated", "incident.ended", "incident.evidence"]
    assert [told.id for told in scene.published] == [1, 2, 3, 4, 5, 6, 7]
    assert scene.published == scene.stored()


def test_a_database_that_fails_for_a_while_loses_nothing_and_holds_nobody_up(scene: Scene) -> None:
    scene.log.start()
    scene.broken.set()
    scene.log.record(Started(incident("one")))
    eventually(lambda: scene.log.problem, "the failure is noticed")
    assert "the database is gone" in str(scene.log.problem)
    for number in range(500):
        scene.log.record(Updated(incident("one", peak_level=0.96 + number / 100_000)))
    scene.log.record(ended(incident("one", peak_level=0.99)))
    for number in range(20):
        scene.log.record(Started(incident(f"more{number}", "yard", start=10.0 * number)))
        scene.log.record(ended(incident(f"more{number}", "yard", start=10.0 * number)))
    assert scene.log.waiting == 1 + 1 + 1 + 40
    assert scene.published == []
    scene.broken.clear()
    eventually(lambda: scene.log.waiting == 0 and scene.log.problem is None, "the log has caught up")
    scene.log.stop(PATIENCE_S)
    more = [(f"incident.{kind}", f"more{number}") for number in range(20) for kind in ("started", "ended")]
    assert scene.story() == [("incident.started", "one"), ("incident.updated", "one"), ("incident.ended", "one"), *more]
    update = scene.stored()[1]
    assert isinstance(update, IncidentUpdated)
    assert update.incident.peak_level == 0.96 + 499 / 100_000
    assert scene.published == scene.stored()


def test_a_database_without_room_is_tried_again_until_there_is_some(scene_in_a_file: Scene) -> None:
    scene = scene_in_a_file
    pages: dict[str, int] = {"max": 1}

    def limit(connection: Any, *_: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={pages['max']}")

    event.listen(scene.database.engine, "checkout", limit)
    scene.log.start()
    for number in range(200):
        scene.log.record(Started(incident(f"incident{number}", f"camera{number}")))
    eventually(lambda: scene.log.problem and "full" in scene.log.problem, "the database is full")
    pages["max"] = 1_000_000
    eventually(lambda: scene.log.waiting == 0, "everything is stored")
    scene.log.stop(PATIENCE_S)
    assert scene.story() == [("incident.started", f"incident{number}") for number in range(200)]
    assert scene.published == scene.stored()


class DeafStore(IncidentStore):
    """Carries every first call out and reports a failure all the same, like a connection cut before the answer."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.heard: set[str] = set()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ("started", "updated", "ended", "evidence"):
            return found

        def call(*arguments: Any) -> Any:
            answer = found(*arguments)
            if name not in self.heard:
                self.heard.add(name)
                raise OperationalError("", None, Exception("server closed the connection"))
            return answer

        return call


def test_a_change_whose_answer_was_lost_is_neither_lost_nor_doubled(scene: Scene) -> None:
    scene.boot(DeafStore(scene.database))
    scene.log.start()
    one = incident("one")
    for change in (Started(one), Updated(replace(one, peak_level=0.97)), ended(one)):
        scene.log.record(change)
    scene.log.evidence("one", "clip", "ready", None)
    scene.log.stop(PATIENCE_S)
    assert scene.published == scene.stored()
    kinds = [kind for kind, _ in scene.story() if kind != "incident.updated"]
    assert kinds == ["incident.started", "incident.ended", "incident.evidence"]


def test_a_review_whose_answer_was_lost_is_published_all_the_same(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.log.start()
    scene.log.record(Started(incident("one")))
    eventually(lambda: scene.published, "the incident is stored")
    change = scene.store.reviews.change

    def deaf(*arguments: Any) -> Event | None:
        change(*arguments)
        raise OperationalError("", None, Exception("server closed the connection"))

    monkeypatch.setattr(scene.store.reviews, "change", deaf)
    with pytest.raises(OperationalError):
        scene.log.acknowledge("one")
    eventually(lambda: len(scene.published) == 2, "the review is published")
    assert scene.published == scene.stored()


def test_events_that_cannot_be_read_for_a_while_are_published_later_and_the_writer_goes_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, broken = scene.store.events_after, threading.Event()

    def events_after(last_id: int, limit: int) -> list[Event]:
        if broken.is_set():
            raise ValueError("a row that is not understood")
        return read(last_id, limit)

    monkeypatch.setattr(scene.store, "events_after", events_after)
    broken.set()
    scene.store.camera_state("hall", SourceState.ONLINE, None)
    scene.log.start()
    scene.log.record(Started(incident("a")))
    eventually(lambda: scene.store.newest_event_id() == 2, "the start is stored")
    scene.log.record(ended(incident("a")))
    eventually(lambda: scene.store.newest_event_id() == 3, "the end is stored as well")
    assert scene.published == []
    broken.clear()
    eventually(lambda: [told.id for told in scene.published] == [1, 2, 3], "all are published")


def test_what_can_never_be_stored_does_not_hold_up_the_rest(scene: Scene) -> None:
    scene.log.record(Started(incident("one")))
    scene.log.record(Started(incident("one")))
    scene.log.evidence("nobody", "clip", "ready", None)
    scene.log.record(ended(incident("nobody")))
    scene.log.record(ended(incident("one")))
    with capture_logs() as records:
        scene.log.start()
        scene.log.stop(PATIENCE_S)
    assert scene.story() == [("incident.started", "one"), ("incident.ended", "one")]
    assert len([record for record in records if record["event"] == "a change can never be stored"]) == 3


def test_reviews_from_many_threads_take_their_place_in_one_order(scene: Scene) -> None:
    scene.log.start()
    names = [f"incident{number}" for number in range(10)]
    for name in names:
        scene.log.record(Started(incident(name, camera=name)))
    eventually(lambda: len(scene.published) == len(names), "all have started")

    def review() -> None:
        for name in names:
            scene.log.acknowledge(name)
            scene.log.mark_false_alarm(name, True)

    reviewers = [threading.Thread(target=review) for _ in range(3)]
    for reviewer in reviewers:
        reviewer.start()
    for name in names:
        scene.log.record(ended(incident(name, camera=name)))
    for reviewer in reviewers:
        reviewer.join()
    scene.log.stop(PATIENCE_S)
    assert [told.id for told in scene.published] == list(range(1, 41))
    assert scene.published == scene.stored()
    assert all(scene.store.get(name).false_alarm and scene.store.get(name).acknowledged_at for name in names)


def test_a_review_of_nothing_is_refused(scene: Scene) -> None:
    with pytest.raises(UnknownIncident):
        scene.log.acknowledge("nobody")
    with pytest.raises(UnknownIncident):
        scene.log.mark_false_alarm("nobody", True)


def test_the_states_of_a_camera_that_comes_and_goes_for_days_do_not_fill_the_memory(scene: Scene) -> None:
    scene.broken.set()
    scene.log.start()
    states = [SourceState.RECONNECTING, SourceState.ONLINE]
    for number in range(1001):
        scene.log.camera_state(state_change("door", states[number % 2], states[(number + 1) % 2]))
    scene.log.camera_state(state_change("yard"))
    assert scene.log.waiting <= 1 + 64 + 1
    scene.broken.clear()
    scene.log.stop(PATIENCE_S)
    door = [told for told in scene.stored() if isinstance(told, CameraState) and told.camera == "door"]
    assert (door[0].state, door[-1].state) == (SourceState.RECONNECTING, SourceState.RECONNECTING)
    assert scene.stored()[-1].camera == "yard"


def test_a_camera_that_flickers_for_days_does_not_fill_the_memory_and_its_state_is_kept_apart(scene: Scene) -> None:
    scene.broken.set()
    scene.log.start()
    reasons = [CannotSee.GLARE, None]
    for number in range(1001):
        scene.log.camera_state(SightChange("door", reasons[(number + 1) % 2], reasons[number % 2], float(number)))
    scene.log.camera_state(state_change("door"))
    assert scene.log.waiting <= 1 + 64 + 1 + 1
    scene.broken.clear()
    scene.log.stop(PATIENCE_S)
    sights = [told for told in scene.stored() if isinstance(told, CameraSight)]
    assert (sights[0].cannot_see, sights[-1].cannot_see) == (CannotSee.GLARE, CannotSee.GLARE)
    assert sights[-1].detail == CannotSee.GLARE.words
    assert all(before.cannot_see == after.previous for before, after in pairwise(sights))
    assert isinstance(scene.stored()[-1], CameraState)


def test_credentials_reach_neither_the_store_nor_the_log(scene: Scene) -> None:
    detail = "rtsp://viewer:hunter2@10.0.0.1/live answered 401"
    with capture_logs() as records:
        scene.log.start()
        scene.log.camera_state(state_change("door", SourceState.RECONNECTING, None, "unauthorised", detail))
        scene.log.record(Started(incident("one")))
        scene.log.evidence("one", "clip", "missing", detail)
        scene.log.stop(PATIENCE_S)
    assert "hunter2" not in repr(scene.stored())
    assert "hunter2" not in repr(records)
    assert "10.0.0.1" in repr(records)


def test_every_change_is_in_the_log_with_camera_and_incident(scene: Scene) -> None:
    with capture_logs() as records:
        scene.log.start()
        scene.log.camera_state(state_change("door", SourceState.RECONNECTING, SourceState.ONLINE, "timeout", "silent"))
        scene.log.record(Started(incident("one")))
        scene.log.record(ended(incident("one")))
        scene.log.stop(PATIENCE_S)
    state, started, over = records
    assert (state["camera"], state["state"], state["event_id"]) == ("door", "reconnecting", 1)
    assert (started["event"], started["camera"], started["incident"]) == ("incident started", "door", "one")
    assert (over["event"], over["incident"], over["reason"]) == ("incident ended", "one", "quiet")


def test_stopping_before_a_dead_database_ends_in_time_and_tells_what_was_not_stored(scene: Scene) -> None:
    scene.broken.set()
    scene.log.start()
    scene.log.record(Started(incident("one")))
    eventually(lambda: scene.log.problem, "the failure is noticed")
    scene.log.record(ended(incident("one")))
    with capture_logs() as records:
        scene.log.stop(deadline_s=0.2)
    lost = [record["change"] for record in records if record["event"] == "a change was not stored before the end"]
    assert len(lost) == 2
    assert all("'one'" in change for change in lost)


def test_an_incident_without_evidence_never_waits_for_any(scene: Scene) -> None:
    scene.log.start()
    scene.log.record(Started(incident("one")), evidence="off")
    scene.log.stop(PATIENCE_S)
    kept = scene.store.get("one")
    assert (kept.snapshot, kept.clip) == ("off", "off")


DYING = """
import os, pathlib, signal, sys
from service.live.clock import SteadyClock
from service.storage.database import Database
from service.incidents.feed import EventFeed
from service.incidents.log import IncidentLog
from service.incidents.store import IncidentStore
from service.live.detector import Started, Updated
from tests.doubles.live_records import incident
clock = SteadyClock()
store = IncidentStore(Database.open(sys.argv[1]))
feed = EventFeed(store, clock)
log = IncidentLog(store, feed, clock)
log.settle()
log.start()
for number in range(1_000_000):
    log.record(Started(incident(f"incident{number}", f"camera{number}")))
    log.record(Updated(incident(f"incident{number}", f"camera{number}", peak_level=0.97)))
    if (newest := feed.newest_id) >= 20:
        pathlib.Path(sys.argv[2]).write_text(str(newest))
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_process_killed_with_open_incidents_leaves_each_to_be_ended_once(tmp_path: Path, database_url: str) -> None:
    command = [sys.executable, "-c", DYING, database_url, str(tmp_path / "newest")]
    died = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=Path(__file__).parents[3])
    assert died.returncode == -signal.SIGKILL, died.stderr
    published = int((tmp_path / "newest").read_text())
    scene = Scene(database_url)
    before = scene.stored()
    assert [told.id for told in before][:published] == list(range(1, published + 1))
    started = [told.incident.id for told in before if told.type == "incident.started"]
    events = scene.log.settle()
    assert [
        (told.type, told.incident.id) for told in events if not isinstance(told, CameraState | CameraCalibration)
    ] == [("incident.ended", name) for name in started]
    assert scene.published == events
    assert scene.stored() == before + events
    assert scene.log.settle() == []
    scene.database.close()
