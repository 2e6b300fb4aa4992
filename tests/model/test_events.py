from __future__ import annotations

import json

import pytest

from model.behaviours import Kind
from model.events import NO_EVENT, NOT_FOUND, Alarm, Event, Tolerance, WatchedClip, judge, match
from model.metrics import Interval

FALL, FIGHT, LYING, RUNNING, UNUSUAL = Kind.FALL, Kind.FIGHT, Kind.LYING, Kind.RUNNING, Kind.UNUSUAL


def clip(events: list[Event], alarms: list[Alarm], *, name: str = "hall", duration_s: float = 60.0) -> WatchedClip:
    return WatchedClip(name, duration_s, duration_s / 2, tuple(events), tuple(alarms))


def alarm(kind: Kind, start: float, end: float, known: float | None = None) -> Alarm:
    return Alarm(kind, start, end, start if known is None else known)


A_FALL = Event(FALL, 20.0, 25.0)

CASES = [
    # alarms, what the fall is called, delay, false alarms
    ("nothing is reported", [], None, None, 0),
    ("an alarm inside the event", [alarm(FALL, 20.5, 24.0, 21.0)], FALL, 1.0, 0),
    ("the delay counts from when it is known", [alarm(FALL, 20.0, 30.0, 22.5)], FALL, 2.5, 0),
    ("known a little too early", [alarm(FALL, 19.0, 19.5)], FALL, 0.0, 0),
    ("over a second before the event", [alarm(FALL, 17.0, 18.9)], None, None, 1),
    ("open since long before the event", [alarm(UNUSUAL, 3.0, 21.0)], UNUSUAL, 0.0, 0),
    ("five seconds after the event", [alarm(LYING, 30.0, 35.0)], LYING, 10.0, 0),
    ("more than five seconds after the event", [alarm(LYING, 30.1, 35.0)], None, None, 1),
    ("it began in the event but was known after it", [alarm(FALL, 24.0, 24.5, 33.0)], FALL, 13.0, 0),
    ("a wrong name", [alarm(RUNNING, 20.0, 22.0)], RUNNING, 0.0, 0),
    ("two alarms of one event", [alarm(FALL, 20.0, 21.0), alarm(FALL, 23.0, 25.0)], FALL, 0.0, 0),
    ("two names: the more severe", [alarm(UNUSUAL, 20.0, 21.0), alarm(FALL, 20.0, 25.0, 22.0)], FALL, 0.0, 0),
    ("a fall and another alarm", [alarm(FALL, 20.0, 25.0), alarm(FIGHT, 50.0, 52.0)], FALL, 0.0, 1),
]


@pytest.mark.parametrize(
    ("alarms", "name", "delay", "false"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_alarms_match_the_event_they_overlap(
    alarms: list[Alarm], name: Kind | None, delay: float | None, false: int
) -> None:
    outcome = match(clip([A_FALL], alarms))
    (one,) = outcome.events
    assert (one.name, one.delay(), len(outcome.false_alarms)) == (name, delay, false)
    assert outcome.flawless == (name == FALL and not false)


def test_an_event_that_is_still_going_on_when_the_clip_ends_is_found() -> None:
    going_on = Event(FALL, 57.0, 60.0)
    (one,) = match(clip([going_on], [alarm(LYING, 57.2, 60.0, 60.0)])).events
    assert (one.name, one.delay()) == (LYING, 3.0)


def test_the_delay_also_counts_from_the_moment_that_the_event_has_reached() -> None:
    event = Event(FALL, 20.0, 30.0, reached=21.0)
    for known, from_start, from_reached in ((20.5, 0.5, -0.5), (23.0, 3.0, 2.0)):
        (one,) = match(clip([event], [alarm(FALL, 20.0, 30.0, known)])).events
        assert (one.delay(), one.delay_from_reached()) == (from_start, from_reached)
    (never,) = match(clip([A_FALL], [alarm(FALL, 20.0, 30.0)])).events
    assert never.delay_from_reached() is None


@pytest.mark.parametrize(
    ("alarms", "names"),
    [
        ([alarm(FALL, 21, 24), alarm(FIGHT, 10, 30)], [FIGHT, FALL]),
        ([alarm(FALL, 21, 24)], [FALL, FALL]),
        ([alarm(FIGHT, 10, 30)], [FIGHT, FIGHT]),
        ([alarm(RUNNING, 10, 12), alarm(FALL, 21, 24)], [RUNNING, FALL]),
        ([], [None, None]),
    ],
)
def test_the_alarm_of_one_event_gives_no_name_to_another_that_has_its_own(
    alarms: list[Alarm], names: list[Kind | None]
) -> None:
    outcome = match(clip([A_FALL, Event(FIGHT, 10, 30)], alarms))
    assert [one.name for one in outcome.events] == names
    assert [one.event.kind for one in outcome.events] == [FIGHT, FALL]
    assert not outcome.false_alarms


def test_a_tolerance_can_be_chosen() -> None:
    late = clip([A_FALL], [alarm(FALL, 26.0, 27.0)])
    assert match(late).events[0].name == FALL
    assert match(late, Tolerance(after_s=0.5)).events[0].name is None


def four_clips() -> list[WatchedClip]:
    return [
        clip([A_FALL], [alarm(FALL, 20.0, 25.0, 22.0), alarm(LYING, 22.0, 25.0)], name="named"),
        clip([A_FALL], [alarm(LYING, 20.0, 25.0, 24.0), alarm(RUNNING, 50.0, 51.0)], name="lying"),
        clip([Event(FIGHT, 5.0, 8.0)], [], name="missed"),
        clip([], [alarm(RUNNING, 1.0, 2.0)], name="ordinary"),
    ]


def test_the_report_counts_what_was_found_named_and_false() -> None:
    report = judge(four_clips(), replicates=0)
    fall, fight, lying, running = (report.rows[number] for number in (0, 2, 3, 4))
    assert [row.title for row in report.rows] == ["fall", "fall, found as fall or lying", "fight", "lying", "running"]
    assert (fall.recall.value, fall.recall.count, fall.recall.of) == (1.0, 2, 2)
    assert fall.named is not None and fall.named.value == 0.5
    assert (fall.median_delay_s, fall.delay_90_s) == (3.0, 3.8)
    assert (report.rows[1].recall.value, report.rows[1].median_delay_s) == (1.0, 3.0)
    assert report.rows[1].false_alarms is None and report.rows[1].f1 is None
    assert (fight.recall.value, fight.median_delay_s, fight.f1 and fight.f1.value) == (0.0, None, 0.0)
    assert (lying.recall.value, lying.recall.of, lying.false_alarms and lying.false_alarms.count) == (None, 0, 0)
    assert running.false_alarms is not None and running.false_alarms_with_people is not None
    assert running.false_alarms.value == pytest.approx(2 / (4 / 60))
    assert running.false_alarms_with_people.value == pytest.approx(2 / (2 / 60))
    assert (report.clips, report.hours, report.hours_with_people) == (4, 4 / 60, 2 / 60)
    assert report.alarm_share == pytest.approx((5 + 5 + 1 + 1) / 240)
    assert report.whole.recall.value == pytest.approx(2 / 3)
    nothing = dict.fromkeys((*Kind, NOT_FOUND), 0)
    assert report.confusion["fall"] == {**nothing, "fall": 1, "lying": 1}
    assert report.confusion["fight"][NOT_FOUND] == 1
    assert report.confusion[NO_EVENT] == {**dict.fromkeys(Kind, 0), "running": 2}
    assert "lying" not in report.confusion
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("events", "alarms", "f1"),
    [
        ([], [], None),
        ([A_FALL], [alarm(FALL, 20, 25), alarm(LYING, 21, 25)], 1.0),
        ([A_FALL], [alarm(FALL, 20, 21), alarm(FALL, 21.5, 25)], 1.0),
        ([A_FALL], [alarm(FALL, 20, 21), alarm(FALL, 23, 25)], 2 / 3),
        ([A_FALL, Event(FALL, 26, 30)], [alarm(FALL, 20, 30)], 2 / 3),
        ([A_FALL, Event(FIGHT, 21, 30)], [alarm(FALL, 20, 21), alarm(FIGHT, 23, 30)], 1.0),
        ([A_FALL], [alarm(RUNNING, 2, 3)], 0.0),
        ([], [alarm(RUNNING, 2, 3)], 0.0),
    ],
)
def test_incidents_and_events_are_matched_one_to_one(
    events: list[Event], alarms: list[Alarm], f1: float | None
) -> None:
    whole = judge([clip(events, alarms)], replicates=0).whole
    assert whole.f1 is not None
    assert whole.f1.value == (None if f1 is None else pytest.approx(f1))


def test_intervals_over_clips_are_the_same_for_the_same_seed() -> None:
    one, same, other = (judge(four_clips(), replicates=25, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    interval = one.rows[0].recall.interval
    assert isinstance(interval, Interval) and (interval.low, interval.high) == (1.0, 1.0)
    assert one.whole.recall.interval is not None
    assert one.whole.recall.interval.low < 2 / 3 < one.whole.recall.interval.high
    assert judge(four_clips(), replicates=0).whole.recall.interval is None


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda: Event(FALL, 3.0, 3.0), "must begin before it ends, got 3 to 3 s"),
        (lambda: Event(FALL, 3.0, float("nan")), "must begin before it ends"),
        (lambda: Alarm(FALL, 3.0, 2.0, 3.0), "must start first"),
        (lambda: Alarm(FALL, 3.0, 4.0, 2.0), "must start first"),
        (lambda: Tolerance(before_s=-1.0), "0 or more seconds, got -1 before"),
        (lambda: Tolerance(after_s=float("inf")), "0 or more seconds"),
        (lambda: judge([]), "no footage"),
    ],
)
def test_what_cannot_be_is_refused(wrong: object, complaint: str) -> None:
    assert callable(wrong)
    with pytest.raises(ValueError, match=complaint):
        wrong()
