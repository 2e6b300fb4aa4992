from __future__ import annotations

import itertools
import threading
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import func, select

from model.behaviours import Kind
from service.access.keys import KeyStore
from service.access.policy import EVERYBODY, Principal, Scope
from service.documents.messages import IncidentInfo, IncidentReviewed
from service.documents.reviews import LONGEST_NOTE, Review, ReviewChange, ReviewState, Verdict
from service.incidents import reviews
from service.incidents.reviews import Outcome, ReviewConflict, ReviewStore, Seen
from service.incidents.rows import UnknownIncident
from service.incidents.store import IncidentStore
from service.incidents.tables import ReadRow, ReviewRow
from service.storage.database import Database
from tests.doubles.live_records import ACKNOWLEDGED, FALSE, NO_VERDICT, at, incident_info, over

REAL = ReviewChange(verdict=Verdict.REAL)
ANNA = Principal("a" * 12, "Anna", Scope.OPERATE, None)
BEN = Principal("b" * 12, "Ben", Scope.OPERATE, None)


@pytest.fixture
def store(database: Database) -> IncidentStore:
    seconds = itertools.count(1000)
    return IncidentStore(database, lambda: at(next(seconds)))


@pytest.fixture
def said(store: IncidentStore) -> ReviewStore:
    store.started(incident_info("one"))
    return store.reviews


def rows(database: Database, table: type[ReadRow | ReviewRow]) -> int:
    with database.sessions() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_only_what_is_sent_changes_and_the_event_tells_who_said_it(store: IncidentStore, said: ReviewStore) -> None:
    said.change(Seen("one", 0), ReviewChange(note="  by the gate\r\nagain ", assigned_to="Ben"), ANNA)
    told = said.change(Seen("one", 1), ReviewChange(verdict=Verdict.DRILL, kind=Kind.FIGHT), BEN)
    assert isinstance(told, IncidentReviewed)
    assert told.incident == store.get("one")
    assert told.incident.review == Review(
        verdict=Verdict.DRILL,
        kind=Kind.FIGHT,
        assigned_to="Ben",
        note="by the gate\nagain",
        by="Ben",
        at=told.incident.review.at,
        revision=2,
    )
    assert (told.incident.kind, told.incident.false_alarm) == (Kind.UNUSUAL, False)
    said.change(Seen("one", 2), ReviewChange(assigned_to=None, note=""), ANNA)
    left = store.get("one").review
    assert (left.verdict, left.kind, left.assigned_to, left.note) == (Verdict.DRILL, Kind.FIGHT, None, "")


def test_who_acknowledged_it_first_stays_until_that_is_taken_back(store: IncidentStore, said: ReviewStore) -> None:
    said.change(Seen("one"), ACKNOWLEDGED, ANNA)
    assert said.change(Seen("one"), ACKNOWLEDGED, BEN) is None
    kept = store.get("one")
    assert (kept.acknowledged_by, kept.acknowledged_at) == ("Anna", kept.review.at)
    said.change(Seen("one"), ReviewChange(acknowledged=False), BEN)
    kept = store.get("one")
    assert (kept.acknowledged_by, kept.acknowledged_at) == (None, None)


def test_a_change_against_an_older_revision_is_refused_and_says_who_changed_what(
    store: IncidentStore, said: ReviewStore
) -> None:
    said.change(Seen("one", 0), ReviewChange(verdict=Verdict.REAL, note="seen"), ANNA)
    before = store.get("one"), store.newest_event_id()
    with pytest.raises(
        ReviewConflict,
        match=r"^Anna gave the verdict real and changed the note at 2026-01-31 12:\d\d UTC, after what you saw",
    ) as refused:
        said.change(Seen("one", 0), FALSE, BEN)
    assert refused.value.incident == store.get("one")
    assert (store.get("one"), store.newest_event_id()) == before
    said.change(Seen("one", 1), ReviewChange(assigned_to="Cleo"), BEN)
    with pytest.raises(ReviewConflict, match=r"^Anna and Ben gave .* real, assigned it to Cleo and changed the note"):
        said.change(Seen("one", 0), FALSE, ANNA)
    with pytest.raises(ReviewConflict, match="has revision 2, not 9"):
        said.change(Seen("one", 9), FALSE, ANNA)


def test_what_is_said_already_is_no_conflict(store: IncidentStore, said: ReviewStore) -> None:
    said.change(Seen("one", 0), REAL, ANNA)
    assert said.change(Seen("one", 0), REAL, BEN) is None
    assert store.get("one").review.by == "Anna"


def test_of_many_who_change_the_same_revision_one_wins(store: IncidentStore, said: ReviewStore) -> None:
    won: list[str] = []
    lost: list[str] = []
    begin = threading.Barrier(6)

    def write(name: str) -> None:
        begin.wait()
        try:
            said.change(Seen("one", 0), ReviewChange(note=name), Principal(name, name, Scope.OPERATE, None))
        except ReviewConflict:
            lost.append(name)
        else:
            won.append(name)

    people = [threading.Thread(target=write, args=(f"person {number}",)) for number in range(6)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert (len(won), len(lost)) == (1, 5)
    review = store.get("one").review
    assert (review.note, review.by, review.revision) == (won[0], won[0], 1)


def test_every_change_is_kept_with_who_when_and_what(store: IncidentStore, said: ReviewStore) -> None:
    assert said.history("one") == []
    said.change(Seen("one", 0), REAL, ANNA)
    said.change(Seen("one", 1), ReviewChange(verdict=Verdict.FALSE_ALARM, note="a shadow"), BEN)
    newer, older = said.history("one")
    assert (older.revision, older.by, older.undoes) == (1, "Anna", None)
    assert (older.before, older.after) == (ReviewState(), ReviewState(verdict=Verdict.REAL))
    assert (newer.revision, newer.by, newer.at) == (2, "Ben", store.get("one").review.at)
    assert (newer.before, newer.after) == (older.after, ReviewState(verdict=Verdict.FALSE_ALARM, note="a shadow"))
    with pytest.raises(UnknownIncident):
        said.history("nobody")


def test_the_oldest_changes_of_a_long_argument_are_dropped(
    said: ReviewStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews, "CHANGES_KEPT", 5)
    for number in range(12):
        said.change(Seen("one", number), REAL if number % 2 else FALSE, ANNA)
    assert [one.revision for one in said.history("one")] == [12, 11, 10, 9, 8]
    assert rows(database, ReviewRow) == 5
    with pytest.raises(ReviewConflict, match="Anna"):
        said.change(Seen("one", 0), NO_VERDICT, BEN)


def test_undo_restores_what_was_said_before_and_can_be_undone(store: IncidentStore, said: ReviewStore) -> None:
    said.change(Seen("one", 0), ReviewChange(note="first", acknowledged=True), ANNA)
    first = store.get("one")
    said.change(Seen("one", 1), ReviewChange(verdict=Verdict.FALSE_ALARM, note="second", kind=Kind.FALL), BEN)
    told = said.undo(Seen("one", 2), BEN)
    assert isinstance(told, IncidentReviewed)
    now = told.incident
    assert (now.review.note, now.review.verdict, now.review.kind) == ("first", None, None)
    assert (now.acknowledged_at, now.acknowledged_by) == (first.acknowledged_at, "Anna")
    assert (now.review.by, now.review.revision, said.history("one")[0].undoes) == ("Ben", 3, 2)
    said.undo(Seen("one", 3), ANNA)
    assert store.get("one").review.verdict is Verdict.FALSE_ALARM


def test_only_the_newest_change_can_be_taken_back(store: IncidentStore, said: ReviewStore) -> None:
    with pytest.raises(ReviewConflict, match="no change of incident one to take back"):
        said.undo(Seen("one", 0), ANNA)
    said.change(Seen("one", 0), REAL, ANNA)
    said.change(Seen("one", 1), FALSE, BEN)
    with pytest.raises(ReviewConflict, match=r"^Ben gave the verdict false alarm"):
        said.undo(Seen("one", 1), ANNA)
    assert store.get("one").false_alarm


def test_of_several_a_conflict_and_an_unknown_id_cost_only_themselves(store: IncidentStore, said: ReviewStore) -> None:
    for name, camera in (("two", "door"), ("three", "door"), ("hidden", "yard")):
        store.started(incident_info(name, camera))
    said.change(Seen("two", 0), REAL, BEN)
    limited = Principal("c" * 12, "Cleo", Scope.OPERATE, frozenset({"door"}))
    outcomes: list[Outcome] = []
    wanted = [Seen("one", 0), Seen("two", 0), Seen("nobody", 0), Seen("hidden", 0), Seen("three", 0), Seen("three", 0)]
    event = said.change_all(wanted, ReviewChange(verdict=Verdict.DRILL, note="Tuesday"), limited, outcomes)
    assert event is not None and event.id == store.newest_event_id()
    assert [type(one) for one in outcomes] == [
        IncidentInfo, ReviewConflict, UnknownIncident, UnknownIncident, IncidentInfo, IncidentInfo,
    ]  # fmt: skip
    assert [str(one) for one in outcomes[2:4]] == ["there is no incident nobody", "there is no incident hidden"]
    verdicts = {one.id: one.review.verdict for one in store.page(limit=9)[0]}
    assert verdicts == {"one": Verdict.DRILL, "two": Verdict.REAL, "three": Verdict.DRILL, "hidden": None}
    said.change_all([Seen("one", 1), Seen("two", 2), Seen("three", 1)], None, limited, outcomes)
    assert [isinstance(one, IncidentInfo) for one in outcomes] == [True, False, True]
    verdicts = {one.id: one.review.verdict for one in store.page(limit=9)[0]}
    assert verdicts == {"one": None, "two": Verdict.REAL, "three": None, "hidden": None}


def test_incidents_are_found_by_what_was_said(store: IncidentStore) -> None:
    for name in ("real", "false", "drill", "open"):
        store.started(incident_info(name))
    for name, change in (("real", REAL), ("false", FALSE), ("drill", ReviewChange(verdict=Verdict.DRILL))):
        store.reviews.change(Seen(name), change, ANNA)
    store.reviews.change(Seen("open"), ReviewChange(assigned_to="Ben"), ANNA)
    store.reviews.change(Seen("real"), ACKNOWLEDGED, BEN)

    def found(**wanted: Any) -> list[str]:
        return [one.id for one in store.page(limit=9, **wanted)[0]]

    assert found(verdict=Verdict.REAL) == ["real"]
    assert found(verdict=Verdict.DRILL) == ["drill"]
    assert found(verdict="none") == ["open"]
    assert found(assigned_to="Ben") == ["open"]
    assert found(assigned_to="ben") == []
    assert found(acknowledged=True) == ["real"]
    assert found(acknowledged=False) == ["open", "drill", "false"]
    assert found(unread=(BEN.key_id, False)) == ["real"]


def test_everybody_reads_for_themselves(store: IncidentStore, said: ReviewStore, database: Database) -> None:
    keys = KeyStore(database, lambda: at(-60))
    anna, ben = (keys.verify(keys.create(name, Scope.OPERATE).text) for name in ("Anna", "Ben"))
    yard = keys.verify(keys.create("yard", Scope.READ, cameras=["yard"]).text)
    assert anna and ben and yard
    store.started(incident_info("two", "yard"))
    assert [said.unread(one) for one in (anna, ben, yard, EVERYBODY)] == [2, 2, 1, 2]
    said.read(["one", "nobody"], anna)
    said.read(["one", "two"], yard)
    assert said.unread_among(["one", "two", "nobody"], anna) == {"two"}
    assert [said.unread(one) for one in (anna, ben, yard, EVERYBODY)] == [1, 2, 0, 2]
    assert rows(database, ReadRow) == 2
    said.read(["one"], anna)
    said.read(["one", "two"], anna, read=False)
    assert said.unread(anna) == 2
    said.read(None, ben)
    assert (said.unread(ben), said.unread(anna)) == (0, 2)
    # Who says something of an incident has read it.
    said.change(Seen("two"), REAL, anna)
    assert said.unread_among(["one", "two"], anna) == {"one"}


def test_incidents_from_before_a_key_was_made_are_not_its_news(said: ReviewStore, database: Database) -> None:
    keys = KeyStore(database, lambda: at(60))
    late = keys.verify(keys.create("late", Scope.READ).text)
    assert late is not None
    assert said.unread(late) == 0


def test_what_was_said_and_read_goes_with_the_incident_and_what_was_read_with_the_key(
    store: IncidentStore, said: ReviewStore, database: Database
) -> None:
    keys = KeyStore(database, lambda: at(-60))
    made = [keys.create(name, Scope.OPERATE) for name in ("Anna", "Ben")]
    made.append(keys.create("guest", Scope.READ, valid_for=timedelta(seconds=70)))
    store.started(incident_info("two"))
    store.ended(over(store.get("one")))
    for new in made:
        person = KeyStore(database, lambda: at(0)).verify(new.text)
        assert person is not None
        said.read(None, person)
    said.change(Seen("one"), REAL, BEN)
    said.change(Seen("two"), REAL, BEN)
    keys.revoke(made[1].info.id)
    assert store.prune(at(900)) == ["one"]
    with database.sessions() as session:
        read = session.execute(select(ReadRow.incident_id, ReadRow.key_id)).all()
        kept = session.scalars(select(ReviewRow.incident_id)).all()
    assert {tuple(row) for row in read} == {("two", made[0].info.id), ("two", BEN.key_id)}
    assert kept == ["two"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"note": "x" * (LONGEST_NOTE + 1)},
        {"note": "a\0b"},
        {"note": "a\x1b[2Jb"},
        {"assigned_to": ""},
        {"assigned_to": "  "},
        {"assigned_to": "two\nlines"},
        {"assigned_to": "x" * 101},
        {"verdict": "maybe"},
        {"kind": "dance"},
        {"colour": "red"},
    ],
)
def test_what_is_not_plain_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ReviewChange.model_validate(wrong)
