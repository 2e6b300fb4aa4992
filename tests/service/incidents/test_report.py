"""What a report says of incidents and cameras."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from model.behaviours import Kind
from pose.live import SourceState
from pose.sight import CannotSee
from service.documents.base import Severity
from service.documents.messages import CameraEvent, CameraSight, CameraState, IncidentInfo
from service.documents.reviews import Review, Verdict
from service.documents.time_zones import time_zone
from service.incidents.history import History
from service.incidents.report import CameraReport, Known, Report, Verdicts, days_of, report_of
from service.incidents.store import IncidentStore
from service.storage.database import Database
from tests.doubles.live_records import incident_info

BEGIN = datetime(2026, 11, 29, tzinfo=UTC)
END = BEGIN + timedelta(days=1)


def after(hours: float) -> datetime:
    return BEGIN + timedelta(hours=hours)


def happened(hours: float = 1.0, camera: str = "door", kind: Kind = Kind.FALL, **values: Any) -> IncidentInfo:
    known = {"camera": camera, "kind": kind, "started_at": after(hours), "severity": Severity.ALERT}
    return incident_info("one").model_copy(update=known | values)


def said(verdict: Verdict) -> Review:
    return Review(verdict=verdict)


def state(
    hours: float,
    of: SourceState,
    camera: str = "door",
    previous: SourceState | None = SourceState.ONLINE,
) -> CameraState:
    return CameraState(id=1, at=after(hours), camera=camera, state=of, previous=previous)


def sight(hours: float, reason: CannotSee | None, camera: str = "door") -> CameraSight:
    return CameraSight(id=1, at=after(hours), camera=camera, cannot_see=reason, previous=None)


def report(
    incidents: Sequence[IncidentInfo] = (), events: Sequence[CameraEvent] = (), until: datetime = END, **cameras: Known
) -> Report:
    known = cameras or {"door": Known("Front door", 2.0, "current")}
    return report_of(incidents, events, known, since=BEGIN, until=until, timezone="UTC")


def hours_of(camera: CameraReport) -> tuple[float, float, float, float]:
    return tuple(
        round(seconds / 3600, 3) for seconds in (camera.online_s, camera.lost_s, camera.off_s, camera.unknown_s)
    )  # type: ignore[return-value]


def test_incidents_are_counted_by_kind_severity_and_what_was_done_about_them() -> None:
    found = report(
        [
            happened(1, acknowledged_at=after(1) + timedelta(seconds=30)),
            happened(2, acknowledged_at=after(2) + timedelta(seconds=90)),
            happened(3, kind=Kind.RUNNING, severity=Severity.WARNING, review=said(Verdict.FALSE_ALARM)),
            happened(4, kind=Kind.RUNNING, severity=Severity.WARNING),
            happened(5, kind=Kind.LOITERING, severity=Severity.RECORD),
            happened(6, camera="yard", acknowledged_at=after(6) + timedelta(seconds=600)),
            happened(7, camera="yard", review=said(Verdict.REAL)),
            happened(8, camera="yard", review=said(Verdict.DRILL)),
        ],
        door=Known("Front door", 2.0, "stale"),
        yard=Known(None, 1.0, "none"),
        attic=Known(None, 1.0, "none"),
    )
    attic, door, yard = found.cameras
    assert (door.name, door.incidents, door.false_alarms, door.calibration) == ("Front door", 5, 1, "stale")
    assert door.kinds == {Kind.FALL: 2, Kind.RUNNING: 2, Kind.LOITERING: 1}
    assert list(door.kinds) == [Kind.FALL, Kind.RUNNING, Kind.LOITERING]
    assert door.severities == {Severity.ALERT: 2, Severity.WARNING: 2, Severity.RECORD: 1}
    assert (door.response.acknowledged, door.response.waiting) == (2, 1)
    assert (door.response.median_s, door.response.longest_s) == (60.0, 90.0)
    assert (attic.incidents, attic.kinds, attic.response.median_s) == (0, {}, None)
    assert (yard.response.longest_s, yard.response.waiting) == (600, 0)
    assert (yard.verdicts, door.verdicts) == (
        Verdicts(real=1, false_alarm=0, drill=1, open=1),
        Verdicts(real=0, false_alarm=1, drill=0, open=4),
    )
    total = found.total
    assert (total.incidents, total.false_alarms, total.budget) == (8, 1, 4.0)
    assert (total.response.median_s, total.response.longest_s) == (90.0, 600.0)


def test_a_camera_that_was_removed_is_named_if_something_happened_there() -> None:
    found = report([happened(camera="gone")])
    assert [(one.camera, one.incidents, one.budget) for one in found.cameras] == [("door", 0, 2.0), ("gone", 1, 0.0)]


def test_the_budget_is_for_the_time_of_the_report() -> None:
    assert report(until=BEGIN + timedelta(hours=6)).total.budget == 0.5


def test_time_is_split_by_what_the_camera_did() -> None:
    (door,) = report(
        events=[
            state(-5, SourceState.ONLINE),
            state(2, SourceState.STALLED),
            state(2.5, SourceState.RECONNECTING),
            state(3, SourceState.ONLINE),
            state(20, SourceState.STOPPED),
            state(22, SourceState.CONNECTING),
            state(23, SourceState.ONLINE),
            state(30, SourceState.STALLED),
        ]
    ).cameras
    assert hours_of(door) == (2 + 17 + 1, 1 + 1, 2, 0)


def test_what_was_before_the_first_event_is_unknown() -> None:
    (door,) = report(events=[state(4, SourceState.ONLINE)]).cameras
    assert hours_of(door) == (20, 0, 0, 4)
    (door,) = report().cameras
    assert hours_of(door) == (0, 0, 0, 24)


def test_time_that_it_could_not_see_is_counted_by_reason_while_it_was_online() -> None:
    (door,) = report(
        events=[
            state(-5, SourceState.ONLINE),
            sight(-1, CannotSee.TOO_DARK),
            sight(1, CannotSee.COVERED),
            sight(1.5, None),
            sight(5, CannotSee.COVERED),
            state(6, SourceState.RECONNECTING),
            state(8, SourceState.ONLINE),
            sight(9, CannotSee.TOO_DARK),
            # After a crash it is taken to see until it says otherwise.
            state(10, SourceState.CONNECTING, previous=None),
            state(10.5, SourceState.ONLINE),
        ]
    ).cameras
    assert door.cannot_see_s == {CannotSee.COVERED: 2.5 * 3600, CannotSee.TOO_DARK: 2 * 3600}


def test_a_day_of_25_hours_is_counted_in_full() -> None:
    since, until = days_of(date(2026, 10, 25), 1, time_zone("Europe/Berlin"))
    online = CameraState(id=1, at=since - timedelta(days=40), camera="door", state=SourceState.ONLINE, previous=None)
    found = report_of(
        [], [online], {"door": Known(None, 24.0, "none")}, since=since, until=until, timezone="Europe/Berlin"
    )
    assert (found.cameras[0].online_s, found.total.budget) == (25 * 3600, 25.0)


@pytest.mark.parametrize(
    ("zone", "first", "days", "hours", "begin"),
    [
        ("UTC", date(2026, 11, 29), 1, 24, "2026-11-29T00:00:00+00:00"),
        ("UTC", date(2026, 11, 23), 7, 168, "2026-11-23T00:00:00+00:00"),
        ("Europe/Berlin", date(2026, 3, 29), 1, 23, "2026-03-28T23:00:00+00:00"),
        ("Europe/Berlin", date(2026, 10, 25), 1, 25, "2026-10-24T22:00:00+00:00"),
        ("Asia/Kolkata", date(2028, 2, 29), 1, 24, "2028-02-28T18:30:00+00:00"),
    ],
)
def test_days_begin_and_end_by_the_clock_of_the_site(zone: str, first: date, days: int, hours: int, begin: str) -> None:
    since, until = (moment.astimezone(UTC) for moment in days_of(first, days, time_zone(zone)))
    assert (since.isoformat(), (until - since) / timedelta(hours=1)) == (begin, hours)


def test_the_database_gives_what_began_in_the_time_and_the_states_before_it(database: Database) -> None:
    now = [BEGIN]
    store, history = IncidentStore(database, lambda: now[0]), History(database)

    def at(hours: float) -> None:
        now[0] = after(hours)

    for hours, camera, of, previous in (
        (-11, "door", SourceState.CONNECTING, None),
        (-10, "door", SourceState.STALLED, SourceState.CONNECTING),
        (-9, "door", SourceState.CONNECTING, None),
        (-8.5, "door", SourceState.STALLED, SourceState.CONNECTING),
        (-8, "door", SourceState.ONLINE, SourceState.STALLED),
        (-7, "yard", SourceState.ONLINE, None),
        (2, "door", SourceState.STALLED, SourceState.ONLINE),
        (24, "door", SourceState.ONLINE, SourceState.STALLED),
    ):
        at(hours)
        store.camera_state(camera, of, previous)
    at(3)
    store.camera_sight("yard", CannotSee.GLARE, None, None)
    for name, hours in (("before", -0.1), ("first", 0), ("last", 23.9), ("after", 24)):
        store.started(incident_info(name).model_copy(update={"started_at": after(hours)}))
    assert [one.id for one in history.incidents(BEGIN, END)] == ["first", "last"]
    assert list(history.incidents(BEGIN, END, ["yard"])) == []
    seen = history.events(BEGIN, END)
    assert [(one.camera, one.at) for one in seen] == [
        # Here its watch began, and this was its last state.
        ("door", after(-9)),
        ("door", after(-8)),
        ("yard", after(-7)),
        ("door", after(2)),
        ("yard", after(3)),
    ]
    assert {one.camera for one in history.events(BEGIN, END, ["yard"])} == {"yard"}
