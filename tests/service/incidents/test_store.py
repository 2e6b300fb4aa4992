from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from model.behaviours import Kind
from pose.live import SourceState
from pose.sight import CannotSee
from service.documents.base import EndReason, Severity
from service.documents.kinds import title
from service.documents.messages import (
    CameraCalibration,
    CameraSight,
    CameraState,
    Event,
    IncidentEnded,
    IncidentEvidence,
    IncidentInfo,
    IncidentReviewed,
    IncidentStarted,
    IncidentUpdated,
    KindSeen,
    Staleness,
)
from service.documents.reviews import Review, ReviewChange, Verdict
from service.incidents.reviews import Seen
from service.incidents.rows import UnknownIncident
from service.incidents.store import Confirmed, FalseAlarm, HeldPeak, IncidentCounts, IncidentExists, IncidentStore
from service.storage.database import Database
from service.storage.evidence import EvidenceKind
from tests.doubles.live_records import ACKNOWLEDGED, FALSE, NO_VERDICT, at, incident_info, over

MOVED = Staleness(cause="moved", detail="The picture has moved.")


@pytest.fixture
def store(database: Database) -> IncidentStore:
    seconds = itertools.count(1000)
    return IncidentStore(database, lambda: at(next(seconds)))


def add(store: IncidentStore, name: str, camera: str = "door", start: float = 0.0, **values: object) -> IncidentInfo:
    incident = incident_info(name, camera, start, **values)
    store.started(incident)
    return incident


def test_every_change_is_stored_with_the_event_that_tells_of_it(store: IncidentStore) -> None:
    incident = incident_info("one")
    higher = incident.model_copy(update={"severity": Severity.ALERT, "peak_level": 0.99, "people": {1: 0.95, 2: 0.9}})
    ended = over(higher)
    ready = ended.model_copy(update={"snapshot": "ready"})
    said = Review(by="this machine", at=at(1004), revision=1)
    taken = ready.model_copy(update={"acknowledged_at": at(1004), "acknowledged_by": "this machine", "review": said})
    expected = [
        IncidentStarted(id=1, at=at(1000), camera="door", incident=incident),
        IncidentUpdated(id=2, at=at(1001), camera="door", incident=higher),
        IncidentEnded(id=3, at=at(1002), camera="door", incident=ended),
        IncidentEvidence(id=4, at=at(1003), camera="door", incident=ready),
        IncidentReviewed(id=5, at=at(1005), camera="door", incident=taken),
        CameraState(
            id=6, at=at(1006), camera="yard", state=SourceState.STALLED, previous=SourceState.ONLINE, cause="timeout"
        ),
        CameraSight(id=7, at=at(1007), camera="yard", cannot_see=CannotSee.COVERED, previous=None, detail="covered"),
        CameraSight(id=8, at=at(1008), camera="yard", cannot_see=None, previous=CannotSee.COVERED),
        CameraCalibration(id=9, at=at(1009), camera="yard", calibration="stale", stale=[MOVED]),
    ]
    told = [
        store.started(incident),
        store.updated(higher),
        store.ended(ended),
        store.evidence("one", "snapshot", "ready"),
        store.reviews.change(Seen("one"), ACKNOWLEDGED),
        store.camera_state("yard", SourceState.STALLED, SourceState.ONLINE, "timeout"),
        store.camera_sight("yard", CannotSee.COVERED, None, "covered"),
        store.camera_sight("yard", None, CannotSee.COVERED),
        store.camera_calibration("yard", "stale", [MOVED]),
    ]
    assert told == expected
    assert store.events_after(0, 100) == expected
    assert store.get("one") == taken


def test_an_incident_starts_once(store: IncidentStore) -> None:
    incident = add(store, "one")
    with pytest.raises(IncidentExists, match="incident one has started already"):
        store.started(incident)
    assert store.newest_event_id() == 1


def test_an_incident_ends_once_and_then_stays_as_it_is(store: IncidentStore) -> None:
    ended = over(add(store, "one"))
    assert store.ended(ended) is not None
    assert store.ended(over(ended, 9.0)) is None
    assert store.updated(ended.model_copy(update={"peak_level": 1.0})) is None
    assert store.get("one") == ended
    assert store.newest_event_id() == 2


def test_an_end_says_when_and_why(store: IncidentStore) -> None:
    with pytest.raises(ValueError, match="incident one has not ended"):
        store.ended(add(store, "one"))


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.get("nobody"),
        lambda store: store.updated(incident_info("nobody")),
        lambda store: store.ended(over(incident_info("nobody"))),
        lambda store: store.evidence("nobody", "clip", "ready"),
        lambda store: store.reviews.change(Seen("nobody"), ACKNOWLEDGED),
        lambda store: store.reviews.change(Seen("nobody"), FALSE),
    ],
)
def test_what_is_unknown_is_named(store: IncidentStore, call: Callable[[IncidentStore], object]) -> None:
    with pytest.raises(UnknownIncident, match="there is no incident nobody"):
        call(store)
    assert store.newest_event_id() is None


def test_a_wall_clock_that_was_set_back_does_not_turn_an_incident_round(store: IncidentStore) -> None:
    add(store, "one", start=3600.0)
    store.updated(incident_info("one", start=0.0, peak_level=0.97))
    told = store.ended(over(incident_info("one", start=10.0, peak_level=0.98)))
    assert isinstance(told, IncidentEnded)
    incident = told.incident
    assert incident.started_at == at(3600)
    assert incident.started_at <= incident.peak_at <= incident.updated_at
    assert incident.ended_at == incident.updated_at == at(3601)


def test_an_update_leaves_evidence_and_review_alone(store: IncidentStore) -> None:
    incident = add(store, "one")
    store.evidence("one", "snapshot", "ready")
    store.reviews.change(Seen("one"), FALSE)
    store.ended(over(incident))
    kept = store.get("one")
    assert (kept.snapshot, kept.clip, kept.false_alarm) == ("ready", "pending", True)


def test_news_that_is_none_makes_no_event(store: IncidentStore) -> None:
    add(store, "one")
    assert store.evidence("one", "clip", "missing", "the disk is full") is not None
    assert store.evidence("one", "clip", "missing", "the disk is full") is None
    assert store.reviews.change(Seen("one"), ACKNOWLEDGED) is not None
    assert store.reviews.change(Seen("one"), ACKNOWLEDGED) is None
    assert store.reviews.change(Seen("one"), NO_VERDICT) is None
    assert store.reviews.change(Seen("one"), FALSE) is not None
    assert store.newest_event_id() == 4
    assert store.get("one").evidence_problem == "the disk is full"


def test_a_problem_of_any_length_is_kept_in_part(store: IncidentStore) -> None:
    add(store, "one")
    store.evidence("one", "clip", "missing", "x" * 5000)
    assert store.get("one").evidence_problem == "x" * 1000
    assert store.evidence("one", "clip", "missing", "x" * 5000) is None


def test_pages_do_not_shift_when_incidents_arrive(store: IncidentStore) -> None:
    for number in range(5):
        add(store, f"incident{number}")
    first, before = store.page(limit=2)
    add(store, "new")
    second, end = store.page(limit=3, before=before)
    assert [incident.id for incident in first + second] == [f"incident{number}" for number in (4, 3, 2, 1, 0)]
    assert end is None


def test_a_page_holds_what_was_asked_for(store: IncidentStore) -> None:
    store.ended(over(add(store, "old", "door", 0)))
    add(store, "alert", "door", 100, severity=Severity.ALERT)
    add(store, "other", "yard", 200)

    def found(**filters: object) -> list[str]:
        return [incident.id for incident in store.page(limit=9, **filters)[0]]

    assert found() == ["other", "alert", "old"]
    assert found(camera="door") == ["alert", "old"]
    assert found(severity=Severity.ALERT) == ["alert"]
    assert found(open=True) == ["other", "alert"]
    assert found(open=False) == ["old"]
    assert found(since=at(100), until=at(200)) == ["alert"]
    assert found(camera="yard", severity=Severity.ALERT) == []


def test_events_are_read_in_pages_and_by_camera(store: IncidentStore) -> None:
    for number in range(6):
        add(store, f"incident{number}", "yard" if number % 3 else "door")

    def ids(events: list[Event]) -> list[int]:
        return [event.id for event in events]

    assert ids(store.events_after(2, 3)) == [3, 4, 5]
    assert ids(store.events_after(0, 10, {"door"})) == [1, 4]
    assert ids(store.events_after(0, 10, {"door", "yard"})) == [1, 2, 3, 4, 5, 6]
    assert ids(store.events_after(0, 10, set())) == []
    assert ids(store.events_after(6, 10)) == []


def test_what_a_dead_process_left_is_ended_where_it_was_last_seen(store: IncidentStore) -> None:
    add(store, "open", start=0)
    store.updated(incident_info("open", start=60))
    store.ended(over(add(store, "unwritten", "yard"), snapshot="pending"))
    store.ended(over(add(store, "settled", "hall")))
    for kind in ("snapshot", "clip"):
        store.evidence("settled", kind, "ready")

    def on_disk(incident_id: str, kind: EvidenceKind) -> bool:
        return incident_id == "settled"

    events = store.settle_interrupted(on_disk)
    assert [
        (event.type, event.incident.id) for event in events if not isinstance(event, CameraState | CameraCalibration)
    ] == [
        ("incident.ended", "open"),
        ("incident.evidence", "unwritten"),
    ]
    ended = store.get("open")
    assert (ended.ended_at, ended.end_reason) == (at(61), EndReason.INTERRUPTED)
    assert (ended.snapshot, ended.clip) == ("missing", "missing")
    assert "the service ended" in str(ended.evidence_problem)
    assert store.settle_interrupted(on_disk) == []


def test_evidence_that_a_dead_process_removed_without_saying_so_is_missing(store: IncidentStore) -> None:
    for name in ("kept", "removed", "half"):
        store.ended(over(add(store, name)))
        for kind in ("snapshot", "clip"):
            store.evidence(name, kind, "ready")

    def on_disk(incident_id: str, kind: EvidenceKind) -> bool:
        return incident_id == "kept" or (incident_id, kind) == ("half", "snapshot")

    events = store.settle_interrupted(on_disk)
    assert [
        (event.type, event.incident.id) for event in events if not isinstance(event, CameraState | CameraCalibration)
    ] == [
        ("incident.evidence", "removed"),
        ("incident.evidence", "half"),
    ]
    found = {name: store.get(name) for name in ("kept", "removed", "half")}
    assert {name: (one.snapshot, one.clip) for name, one in found.items()} == {
        "kept": ("ready", "ready"),
        "removed": ("missing", "missing"),
        "half": ("ready", "missing"),
    }
    assert "no longer there" in str(found["removed"].evidence_problem)
    assert found["kept"].evidence_problem is None
    assert store.settle_interrupted(on_disk) == []


def test_evidence_that_a_dead_process_had_written_is_found(store: IncidentStore) -> None:
    def on_disk(incident_id: str, kind: EvidenceKind) -> bool:
        return (incident_id, kind) == ("one", "snapshot")

    add(store, "one")
    store.settle_interrupted(on_disk)
    kept = store.get("one")
    assert (kept.snapshot, kept.clip) == ("ready", "missing")


def test_evidence_that_is_not_wanted_is_not_missed(store: IncidentStore) -> None:
    add(store, "one", snapshot="off", clip="off")
    store.settle_interrupted()
    assert store.get("one").evidence_problem is None


def kinds_of(*seen: Kind, score: float = 1.25, first: float = 0.0, last: float = 1.0) -> dict[str, object]:
    """The kinds of an incident, most severe first."""
    kinds = [
        KindSeen(
            kind=kind,
            first_at=at(first),
            last_at=at(last),
            people=[1, 3],
            score=score,
            explanation=f"saw a {kind}",
            facts={"fall_s": 0.7},
        )
        for kind in seen
    ]
    words = {"title": title(seen[0], 2), "explanation": f"saw a {seen[0]}"}
    return {"kind": seen[0], "kinds": kinds, **words}


def test_the_kinds_of_an_incident_are_kept_most_severe_first(store: IncidentStore) -> None:
    named = add(store, "one", **kinds_of(Kind.RUNNING, Kind.UNUSUAL))
    assert store.get("one") == named
    worse = named.model_copy(update=kinds_of(Kind.FALL, Kind.RUNNING, Kind.UNUSUAL, last=2.0) | {"peak_at": at(0.75)})
    told = store.updated(worse)
    assert isinstance(told, IncidentUpdated)
    assert told.incident == store.get("one") == worse
    assert (worse.kind, worse.title, worse.explanation) == (Kind.FALL, "Fall, 2 people", "saw a fall")


def test_the_moment_of_the_snapshot_follows_the_best_moment_of_the_kind(store: IncidentStore) -> None:
    def peak(moment: float, level: float, *seen: Kind, score: float) -> datetime:
        values = kinds_of(*seen, score=score) | {"peak_at": at(moment), "peak_level": level}
        store.updated(incident_info("one", **values))
        return store.get("one").peak_at

    add(store, "one", peak_level=0.9, peak_at=at(0.25), **kinds_of(Kind.RUNNING, score=1.5))
    assert peak(0.5, 0.95, Kind.RUNNING, score=1.5) == at(0.25)
    assert peak(0.75, 0.5, Kind.RUNNING, score=1.75) == at(0.75)
    assert peak(0.5, 0.5, Kind.FALL, Kind.RUNNING, score=1.0) == at(0.5)
    assert store.get("one").peak_level == 0.95


def test_a_wall_clock_that_was_set_back_does_not_turn_a_kind_round(store: IncidentStore) -> None:
    add(store, "one", start=3600.0, **kinds_of(Kind.RUNNING, first=3600.0, last=3601.0))
    store.updated(incident_info("one", start=0.0, **kinds_of(Kind.RUNNING, first=0.0, last=10.0)))
    (seen,) = store.get("one").kinds
    assert (seen.first_at, seen.last_at) == (at(3600), at(3601))


def test_a_page_holds_the_incidents_in_which_a_kind_was_seen(store: IncidentStore, database: Database) -> None:
    add(store, "fall", start=0.0, **kinds_of(Kind.FALL))
    add(store, "both", start=100.0, **kinds_of(Kind.FALL, Kind.RUNNING, Kind.UNUSUAL))
    add(store, "unusual", start=200.0)
    add(store, "before kinds", start=300.0)
    with database.sessions.begin() as session:
        session.execute(text("UPDATE incidents SET kinds = '{}' WHERE id = 'before kinds'"))

    def found(kind: Kind) -> list[str]:
        return [incident.id for incident in store.page(limit=9, kind=kind)[0]]

    assert found(Kind.FALL) == ["both", "fall"]
    assert found(Kind.RUNNING) == ["both"]
    assert found(Kind.UNUSUAL) == ["before kinds", "unusual", "both"]
    assert found(Kind.LYING) == []
    assert [one.id for one in store.page(limit=9, kind=Kind.FALL, until=at(50))[0]] == ["fall"]


def test_false_alarms_say_how_unusual_they_were_newest_first(store: IncidentStore) -> None:
    for number, peak in enumerate((HeldPeak(3.25, "a" * 64), None, HeldPeak(-1.5, "b" * 64), HeldPeak(9.0, "c" * 64))):
        store.ended(over(add(store, str(number), start=100.0 * number)), peak)
        store.reviews.change(Seen(str(number)), FALSE)
    store.reviews.change(Seen("3"), NO_VERDICT)
    store.reviews.change(Seen(add(store, "still open", start=500.0).id), FALSE)
    store.ended(over(add(store, "elsewhere", "yard", start=100.0)), HeldPeak(9.0, "d" * 64))
    store.reviews.change(Seen("elsewhere"), FALSE)
    known = [FalseAlarm(HeldPeak(-1.5, "b" * 64), {}), FalseAlarm(None, {}), FalseAlarm(HeldPeak(3.25, "a" * 64), {})]
    assert store.false_alarms("door", since=at(0), until=at(1000)) == known
    assert store.false_alarms("door", since=at(100), until=at(205)) == known[1:2]
    # What is over stays as it is.
    assert store.ended(over(store.get("1")), HeldPeak(9.0, "e" * 64)) is None
    assert store.false_alarms("door", since=at(100), until=at(205)) == [FalseAlarm(None, {})]


def test_false_alarms_say_how_clearly_named_behaviours_were_seen(store: IncidentStore) -> None:
    store.ended(over(add(store, "named", start=100.0, **kinds_of(Kind.RUNNING, Kind.UNUSUAL))), None)
    store.reviews.change(Seen("named"), FALSE)
    (seen,) = [one for one in store.get("named").kinds if one.kind is Kind.RUNNING]
    assert store.false_alarms("door", since=at(0), until=at(1000)) == [FalseAlarm(None, {Kind.RUNNING: seen.score})]


def test_confirmed_incidents_say_what_they_were_and_what_they_were_called_by_mistake(store: IncidentStore) -> None:
    said = {
        "right": (Verdict.REAL, None),
        "drill": (Verdict.DRILL, Kind.RUNNING),
        "other": (Verdict.REAL, Kind.FALL),
        "named": (Verdict.REAL, Kind.FIGHT),
        "wrong": (Verdict.FALSE_ALARM, Kind.FIGHT),
        "open": (None, Kind.FIGHT),
    }
    for number, (name, (verdict, kind)) in enumerate(said.items()):
        kinds = kinds_of(Kind.UNUSUAL) if name == "named" else kinds_of(Kind.RUNNING, Kind.UNUSUAL)
        store.ended(over(add(store, name, start=100.0 * number, **kinds)), None)
        store.reviews.change(Seen(name), ReviewChange(verdict=verdict, kind=kind))
    score = next(one.score for one in store.get("right").kinds if one.kind is Kind.RUNNING)
    running = Confirmed(Kind.RUNNING, score, None)
    mistaken = Confirmed(Kind.FALL, None, (Kind.RUNNING, score))
    assert store.confirmed("door", since=at(0), until=at(1000)) == [
        Confirmed(Kind.FIGHT, None, None), mistaken, running, running,
    ]  # fmt: skip
    assert store.confirmed("door", since=at(100), until=at(205)) == [running]
    assert store.confirmed("yard", since=at(0), until=at(1000)) == []


def test_old_incidents_go_with_their_events_and_open_ones_stay(store: IncidentStore) -> None:
    store.camera_state("door", SourceState.ONLINE, None)
    store.ended(over(add(store, "old", start=0)))
    store.ended(over(add(store, "recent", "yard", start=5000)))
    add(store, "open", "hall", start=0)
    store.reviews.change(Seen("old"), ACKNOWLEDGED)
    assert store.prune(at(1006)) == ["old"]
    assert store.ids() == {"recent", "open"}
    kept = store.events_after(0, 100)
    assert [event.incident.id for event in kept if not isinstance(event, CameraState | CameraCalibration)] == [
        "recent",
        "recent",
        "open",
    ]
    assert not any(isinstance(event, CameraState) for event in kept)
    assert store.oldest_event_id() == kept[0].id


def test_incidents_and_states_of_some_cameras_go_earlier_or_later(store: IncidentStore) -> None:
    for camera in ("door", "yard", "hall"):
        store.camera_state(camera, SourceState.ONLINE, None)
        store.ended(over(add(store, camera, camera, start=0)))
    assert store.prune(at(2), {"yard": at(5000), "gone": at(5000)}) == ["yard"]
    assert store.prune(at(5000), {"hall": at(2)}) == ["door"]
    kept = store.events_after(0, 100)
    assert [(event.camera, event.type) for event in kept] == [
        ("hall", "camera.state"),
        ("hall", "incident.started"),
        ("hall", "incident.ended"),
    ]
    assert store.prune(at(5000)) == ["hall"]


def test_ids_of_events_are_never_given_twice(store: IncidentStore) -> None:
    store.ended(over(add(store, "one")))
    store.prune(at(10_000))
    assert store.newest_event_id() is None
    assert store.started(incident_info("two")).id == 3


def test_incidents_are_counted(store: IncidentStore) -> None:
    store.ended(over(add(store, "one")))
    add(store, "two", "yard")
    store.reviews.change(Seen("one"), FALSE)
    assert store.count() == IncidentCounts(total=2, open=1, false_alarms=1)


def test_an_incident_survives_a_restart(store: IncidentStore, database: Database, database_url: str) -> None:
    incident = add(store, "one", people={3: 0.91, 12: 0.99}, peak_at=at(0.123456))
    database.close()
    again = Database.open(database_url)
    assert IncidentStore(again).get("one") == incident
    again.close()


def test_a_page_of_a_year_of_incidents_and_the_next_events_need_no_scan(database: Database) -> None:
    queries = (
        "SELECT * FROM incidents WHERE camera_id = 'door' AND sequence < 900 ORDER BY sequence DESC LIMIT 50",
        "SELECT * FROM incidents WHERE ended_at IS NULL",
        "SELECT * FROM events WHERE id > 900 ORDER BY id LIMIT 256",
        "SELECT * FROM events WHERE id > 900 AND camera_id IN ('door') ORDER BY id LIMIT 256",
    )
    postgres = database.engine.dialect.name == "postgresql"
    with database.engine.connect() as connection:
        if postgres:
            # Of a table that is empty it would read everything.
            connection.execute(text("SET enable_seqscan = off"))
        explain, scan = ("EXPLAIN", "Seq Scan") if postgres else ("EXPLAIN QUERY PLAN", "SCAN")
        for query in queries:
            plan = " ".join(row[-1] for row in connection.execute(text(f"{explain} {query}")))
            assert scan not in plan, plan


def test_times_have_a_zone(store: IncidentStore) -> None:
    add(store, "one")
    assert store.get("one").started_at.utcoffset() == timedelta(0)
