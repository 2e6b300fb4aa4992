from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from model.behaviours import Finding, Kind
from service.documents.base import EndReason, Severity
from service.documents.kinds import SEVERITIES, most_severe, unusual_words
from service.documents.messages import Event, IncidentEnded, IncidentStarted, IncidentUpdated
from service.incidents.feed import EventFeed
from service.incidents.log import IncidentLog
from service.incidents.store import IncidentStore
from service.live.clock import SteadyClock
from service.live.detector import MAX_PEOPLE, IncidentDetector, Observation, Rules
from service.live.incident import Change, Ended, Incident, Seen, Started, Updated
from service.storage.database import Database

RULES = Rules(open_level=0.9, close_level=0.8, alert_level=0.99)
STEP = 0.125
"""Seconds between frames; a power of two, so that sums of steps are exact."""

LOW, CLOSE, OPEN, ALERT = 0.5, 0.85, 0.95, 0.995


def detector(rules: Rules = RULES) -> IncidentDetector:
    numbers = itertools.count(1)
    return IncidentDetector("door", rules, lambda: f"incident{next(numbers)}")


def show(
    watched: IncidentDetector, stretches: Sequence[tuple[float, float | None]], start: float = 0.0
) -> tuple[list[tuple[float, Change]], float]:
    """Feed stretches of (seconds, level); returns what changed and when, and the next moment."""
    told, moment = [], start
    for seconds, level in stretches:
        for _ in range(round(seconds / STEP)):
            told += [(moment, change) for change in watched.observe(Observation(moment, level, {}))]
            moment += STEP
    return told, moment


def story(stretches: Sequence[tuple[float, float | None]], rules: Rules = RULES) -> list[tuple[str, float]]:
    told, _ = show(detector(rules), stretches)
    return [(type(change).__name__, moment) for moment, change in told]


def test_an_incident_opens_when_the_level_has_stayed_and_began_with_the_first_of_those_frames() -> None:
    ((moment, change),), _ = show(detector(), [(2, LOW), (1, OPEN)])
    assert moment == 2.5
    assert change == Started(
        Incident(
            id="incident1",
            camera_id="door",
            severity=Severity.WARNING,
            started=2.0,
            updated=2.5,
            ended=None,
            end_reason=None,
            peak_level=OPEN,
            people={},
            suppressed=0,
            kinds={Kind.UNUSUAL: Seen(2.0, 2.5, {}, 0, OPEN, 2.0, unusual_words(OPEN, {}), {})},
        )
    )
    assert (change.incident.kind, change.incident.peak) == (Kind.UNUSUAL, 2.0)


def test_a_level_that_dips_before_its_time_opens_nothing() -> None:
    assert story([(0.5, OPEN), (STEP, CLOSE), (0.5, OPEN), (STEP, None), (0.5, OPEN), (1, LOW)]) == []


def test_a_loss_of_the_picture_interrupts_a_rise() -> None:
    watched = detector()
    show(watched, [(0.5, OPEN)])
    watched.lost(0.5)
    told, _ = show(watched, [(0.5, OPEN)], start=0.5)
    assert told == []


def test_an_incident_lasts_while_levels_return_to_the_closing_level_within_the_quiet_period() -> None:
    stretches = [(1.0, OPEN), (9.0, LOW), (STEP, CLOSE), (9.0, None), (STEP, CLOSE), (20.0, LOW)]
    told, _ = show(detector(), stretches)
    last = 1 + 9 + STEP + 9
    moment, change = told[-1]
    assert isinstance(change, Ended)
    assert moment == last + RULES.quiet_s
    assert (change.incident.ended, change.incident.updated) == (last, last)
    assert change.incident.end_reason is EndReason.QUIET
    assert [type(change) for _, change in told].count(Started) == 1


def test_a_lost_camera_ends_its_incident_after_the_quiet_period_and_says_so() -> None:
    watched = detector()
    show(watched, [(1.0, OPEN)])
    assert watched.lost(10.8) == []
    (change,) = watched.lost(10.875)
    assert isinstance(change, Ended)
    assert (change.incident.end_reason, change.incident.ended) == (EndReason.CAMERA_LOST, 0.875)


def test_high_levels_on_both_sides_of_a_long_gap_are_two_incidents() -> None:
    watched = detector(replace(RULES, cooldown_s=0.0))
    show(watched, [(1.0, OPEN)])
    told, _ = show(watched, [(1.0, OPEN)], start=100.0)
    assert [(type(change), moment) for moment, change in told] == [(Ended, 100.0), (Started, 100.5)]


def test_an_upgrade_is_told_at_once_and_stays() -> None:
    told, _ = show(detector(), [(1.0, OPEN), (1.0, ALERT), (0.5, OPEN)])
    upgrades = [(moment, change.incident.severity) for moment, change in told if isinstance(change, Updated)]
    assert (1.5, Severity.ALERT) in upgrades
    assert told[-1][1].incident.severity is Severity.ALERT


def test_a_short_leap_to_the_alert_level_does_not_make_an_alert() -> None:
    told, _ = show(detector(), [(1.0, OPEN), (0.25, ALERT), (2.0, OPEN), (11.0, LOW)])
    assert {change.incident.severity for _, change in told} == {Severity.WARNING}
    assert told[-1][1].incident.peak_level == ALERT


def test_the_cooldown_holds_back_what_is_no_more_severe_and_counts_it_once() -> None:
    watched = detector()
    again = [(1.0, OPEN), (1.0, LOW), (1.0, OPEN), (11.0, LOW)]
    told, moment = show(watched, [(1.0, OPEN), (11.0, LOW), *again])
    assert [type(change) for _, change in told if not isinstance(change, Updated)] == [Started, Ended]
    assert watched.suppressed_total == 1
    told, _ = show(watched, [(30.0, LOW), (1.0, OPEN)], start=moment)
    assert [change.incident.suppressed for _, change in told] == [1]


def test_what_still_lasts_after_the_cooldown_opens_and_does_not_count_as_held_back() -> None:
    watched = detector()
    told, _ = show(watched, [(1.0, OPEN), (10.0, LOW), (60.0, OPEN)])
    started = [(moment, change) for moment, change in told if isinstance(change, Started)]
    assert [moment for moment, _ in started] == [0.5, 10.875 + RULES.cooldown_s]
    assert started[1][1].incident.suppressed == watched.suppressed_total == 0


def test_a_more_severe_incident_breaks_the_cooldown() -> None:
    told, _ = show(detector(), [(1.0, OPEN), (11.0, LOW), (1.0, OPEN), (1.0, ALERT)])
    started = [(moment, change.incident.severity) for moment, change in told if isinstance(change, Started)]
    assert started == [(0.5, Severity.WARNING), (13.5, Severity.ALERT)]


def test_an_alert_does_not_break_the_cooldown_of_an_alert() -> None:
    assert [name for name, _ in story([(1.0, ALERT), (11.0, LOW), (2.0, ALERT), (11.0, LOW)])].count("Started") == 1


def test_updates_tell_of_new_peaks_and_people_no_more_often_than_asked() -> None:
    watched = detector()
    show(watched, [(1.0, OPEN)])
    moments = []
    for step in range(80):
        moment, level = 1.0 + step * STEP, OPEN + step * 1e-4
        moments += [moment for _ in watched.observe(Observation(moment, level, {step: level}))]
    assert len(moments) >= 9
    assert min(later - earlier for earlier, later in itertools.pairwise(moments)) >= RULES.update_s


def test_an_incident_that_just_goes_on_says_so_once_in_a_quiet_period() -> None:
    told = story([(41.0, OPEN)])
    assert told == [("Started", 0.5), *(("Updated", 0.5 + 10.0 * number) for number in range(1, 5))]


def test_people_at_or_above_the_closing_level_are_in_it_with_their_highest_level() -> None:
    watched = detector()
    for step in range(6):
        watched.observe(Observation(step * STEP, OPEN, {1: OPEN, 2: LOW, 3: CLOSE if step == 2 else LOW}))
    assert watched.open is not None
    assert watched.open.people == {1: OPEN, 3: CLOSE}


def test_an_endless_incident_keeps_a_bounded_number_of_people() -> None:
    watched = detector()
    for step in range(1000):
        watched.observe(Observation(step * STEP, OPEN, {step: 0.9 + step * 1e-5}))
    assert watched.open is not None
    assert set(watched.open.people) == set(range(1000 - MAX_PEOPLE, 1000))


def test_ending_on_demand_is_immediate_and_once() -> None:
    watched = detector()
    show(watched, [(1.0, OPEN)])
    (change,) = watched.end(5.0, EndReason.CAMERA_STOPPED)
    assert isinstance(change, Ended)
    assert (change.incident.end_reason, change.incident.ended) == (EndReason.CAMERA_STOPPED, 0.875)
    assert watched.open is None
    assert watched.end(6.0, EndReason.CAMERA_STOPPED) == []


def finding(
    kind: Kind, *tracks: int, score: float = 1.0, since: float = 0.0, saw: str = "seen", **facts: float
) -> Finding:
    return Finding(kind, tracks, score, since, saw, facts)


Scene = list[tuple[float, float | None, list[Finding]]]
"""Stretches of seconds, level and findings."""


def watch(watched: IncidentDetector, scene: Scene, start: float = 0.0) -> tuple[list[tuple[float, Change]], float]:
    """Show stretches to a detector; returns what changed and when, and the next moment."""
    told, moment = [], start
    for seconds, level, findings in scene:
        for _ in range(round(seconds / STEP)):
            told += [(moment, change) for change in watched.observe(Observation(moment, level, {}, {}, findings))]
            moment += STEP
    return told, moment


def plot(told: list[tuple[float, Change]]) -> list[tuple[str, float, Kind, Severity]]:
    return [(type(change).__name__, moment, change.incident.kind, change.incident.severity) for moment, change in told]


FALL, FIGHT, LYING, RUNNING = Kind.FALL, Kind.FIGHT, Kind.LYING, Kind.RUNNING
WARN, ALARM = Severity.WARNING, Severity.ALERT


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        ([(1, None, [finding(FALL, 1, score=0.99)])], []),
        ([(STEP, None, [finding(FALL, 1)])], [("Started", 0.0, FALL, ALARM)]),
        ([(STEP, LOW, [finding(RUNNING, 1)])], [("Started", 0.0, RUNNING, WARN)]),
        # Only the level has to stay for the minimum duration.
        (
            [(0.5, OPEN, []), (STEP, OPEN, [finding(LYING, 1)])],
            [("Started", 0.5, LYING, ALARM)],
        ),
        # An incident of a level becomes one of a behaviour at once, and back to no other kind.
        (
            [(0.75, OPEN, []), (STEP, LOW, [finding(RUNNING, 1)]), (0.5, OPEN, [])],
            [("Started", 0.5, Kind.UNUSUAL, WARN), ("Updated", 0.75, RUNNING, WARN)],
        ),
        # The most severe kind gives the name, whatever comes later.
        (
            [
                (STEP, None, [finding(RUNNING, 1)]),
                (STEP, None, [finding(FALL, 1)]),
                (STEP, None, [finding(LYING, 1), finding(RUNNING, 2)]),
            ],
            [("Started", 0.0, RUNNING, WARN), ("Updated", STEP, FALL, ALARM)],
        ),
        # A less severe kind is news like another person.
        (
            [(STEP, None, [finding(FALL, 1)]), (2, None, []), (STEP, None, [finding(LYING, 1)])],
            [("Started", 0.0, FALL, ALARM), ("Updated", 2 + STEP, FALL, ALARM)],
        ),
        # It goes on while the behaviour fires, and for the quiet period after that.
        (
            [(4, LOW, [finding(RUNNING, 1)]), (9, LOW, []), (STEP, LOW, [finding(RUNNING, 1)]), (11, LOW, [])],
            [
                ("Started", 0.0, RUNNING, WARN),
                ("Updated", 13.0, RUNNING, WARN),
                ("Ended", 23.0, RUNNING, WARN),
            ],
        ),
        # A level at the closing level keeps any incident open.
        (
            [(STEP, LOW, [finding(FALL, 1)]), (9, LOW, []), (STEP, CLOSE, []), (9, LOW, [])],
            [("Started", 0.0, FALL, ALARM), ("Updated", 9 + STEP, FALL, ALARM)],
        ),
    ],
)
def test_a_behaviour_that_fires_opens_an_incident_and_names_it(
    scene: Scene, expected: list[tuple[str, float, Kind, Severity]]
) -> None:
    assert plot(watch(detector(), scene)[0]) == expected


@pytest.mark.parametrize(
    ("first", "second", "opens"),
    [
        ([finding(RUNNING, 1)], [finding(RUNNING, 2)], False),
        ([finding(RUNNING, 1)], [finding(LYING, 2)], True),
        ([finding(FIGHT, 1)], [finding(LYING, 1)], False),
        ([finding(LYING, 1)], [finding(FIGHT, 1, 2)], True),
        ([finding(LYING, 1)], [finding(RUNNING, 1), finding(FALL, 1)], True),
    ],
)
def test_within_the_cooldown_only_a_more_severe_kind_opens(
    first: list[Finding], second: list[Finding], opens: bool
) -> None:
    watched = detector()
    told, _ = watch(watched, [(STEP, LOW, first), (11, LOW, []), (STEP, LOW, second), (11, LOW, [])])
    assert [type(change) for _, change in told] == [Started, Ended] + [Started, Ended] * opens
    assert watched.suppressed_total == (not opens)


@pytest.mark.parametrize(
    ("first", "second", "opens"),
    [(OPEN, [finding(RUNNING, 1)], True), (ALERT, [finding(RUNNING, 1)], True), (ALERT, [], False)],
)
def test_a_name_is_more_severe_than_a_level(first: float, second: list[Finding], opens: bool) -> None:
    told, _ = watch(detector(), [(1, first, []), (11, LOW, []), (1, ALERT if not second else LOW, second)])
    assert [type(change) for _, change in told].count(Started) == 1 + opens


def test_a_level_within_the_cooldown_of_a_behaviour_is_suppressed_unless_it_is_more_urgent() -> None:
    def openings(findings: list[Finding]) -> list[Kind]:
        told, _ = watch(detector(), [(STEP, LOW, findings), (11, LOW, []), (1, ALERT, [])])
        return [change.incident.kind for _, change in told if isinstance(change, Started)]

    assert openings([finding(FALL, 1)]) == [FALL]
    assert openings([finding(RUNNING, 1)]) == [RUNNING, Kind.UNUSUAL]


@pytest.mark.parametrize(
    ("since", "started"), [(99.0, 99.0), (30.0, 70.0), (101.0, 100.0)], ids=["its start", "30 s ago", "no later"]
)
def test_an_incident_of_a_behaviour_starts_when_the_behaviour_began(since: float, started: float) -> None:
    (change,) = detector().observe(Observation(100.0, None, findings=[finding(FALL, 1, since=since)]))
    assert (change.incident.started, change.incident.kinds[FALL].first) == (started, started)
    assert change.incident.updated == change.incident.peak == 100.0


def test_an_incident_never_starts_before_the_end_of_the_one_before() -> None:
    watched = detector()
    watch(watched, [(1, LOW, [finding(RUNNING, 1)])], start=100.0)
    watched.lost(120.0)
    (change,) = watched.observe(Observation(121.0, LOW, findings=[finding(FALL, 1, since=95.0)]))
    assert change.incident.started == 100.875


def test_an_incident_collects_each_kind_with_its_times_people_and_best_moment() -> None:
    watched = detector()
    levels = {1: CLOSE, 2: LOW}
    scenes = [
        (0.0, CLOSE, [finding(FALL, 1, score=1.5, since=-1.0, saw="fell", fall_s=0.5)]),
        (1.0, None, [finding(FALL, 1, score=1.2, since=-1.0), finding(LYING, 1, 4, score=1.0, since=0.5, saw="lies")]),
        (2.0, LOW, [finding(LYING, 1, score=2.0, since=0.5, saw="lies on"), finding(RUNNING, 2, score=1.1, since=2.0)]),
        (3.0, LOW, [finding(RUNNING, 2, score=0.9, since=2.0)]),
    ]
    for moment, level, findings in scenes:
        watched.observe(Observation(moment, level, levels if level else {}, {"pose": 0.5}, findings))
    incident = watched.open
    assert incident is not None
    assert (incident.kind, incident.peak, incident.started, incident.updated) == (FALL, 0.0, -1.0, 2.0)
    assert incident.peak_level == CLOSE
    assert incident.people == {1: CLOSE, 4: 0.0, 2: LOW}
    assert incident.kinds == {
        FALL: Seen(-1.0, 1.0, {1: 1.5}, 1, 1.5, 0.0, "fell", {"fall_s": 0.5}),
        LYING: Seen(0.5, 2.0, {1: 2.0, 4: 1.0}, 2, 2.0, 2.0, "lies on", {}),
        RUNNING: Seen(2.0, 2.0, {2: 1.1}, 1, 1.1, 2.0, "seen", {}),
    }


def test_a_level_within_an_incident_of_a_behaviour_is_a_kind_of_its_own() -> None:
    watched = detector()
    watched.observe(Observation(0.0, LOW, {1: LOW}, {"pose": LOW}))
    for step in range(1, 7):
        level = OPEN + step * 1e-3
        parts = {"pose": LOW, "motion": level}
        findings = [finding(RUNNING, 2, since=0.25)] if step == 2 else []
        watched.observe(Observation(step * STEP, level, {1: level}, parts, findings))
    incident = watched.open
    assert incident is not None
    unusual = incident.kinds[Kind.UNUSUAL]
    assert incident.kind is RUNNING
    assert incident.started == 0.25
    # The level was high before the incident began.
    assert (unusual.first, unusual.last, unusual.score) == (0.25, 0.75, incident.peak_level)
    assert unusual.saw == unusual_words(0.956, {"motion": 0.956})
    assert unusual.facts == {"pose": LOW, "motion": 0.956}
    assert incident.people == {1: 0.956, 2: 0.0}


def test_nobody_scored_means_a_peak_level_of_0() -> None:
    (change,) = detector().observe(Observation(0.0, None, findings=[finding(FALL, 1)]))
    assert (change.incident.peak_level, change.incident.people) == (0.0, {1: 0.0})


def test_the_camera_decides_how_urgent_a_behaviour_is_and_which_count() -> None:
    rules = replace(RULES, severities={FALL: WARN, RUNNING: ALARM})
    scene: Scene = [(STEP, LOW, [finding(kind, 1)]) for kind in (LYING, FALL, RUNNING)]
    assert plot(watch(detector(rules), scene)[0]) == [
        ("Started", STEP, FALL, WARN),
        ("Updated", 2 * STEP, FALL, ALARM),
    ]


def test_a_behaviour_of_many_people_keeps_a_bounded_number_of_them() -> None:
    watched = detector()
    for step in range(200):
        watched.observe(Observation(step * STEP, LOW, {}, {}, [finding(RUNNING, step, score=1 + step * 1e-3)]))
    assert watched.open is not None
    assert set(watched.open.kinds[RUNNING].people) == set(range(200 - MAX_PEOPLE, 200))
    assert len(watched.open.people) == MAX_PEOPLE


@pytest.mark.parametrize("wrong", [{"score": math.nan}, {"score": math.inf}, {"since": -math.inf}])
def test_findings_without_a_finite_score_and_start_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="score and start of fall must be finite"):
        Observation(0.0, None, findings=[finding(FALL, 1, **wrong)])


def test_new_thresholds_hold_from_the_next_frame() -> None:
    watched = detector()
    show(watched, [(0.5, OPEN)])
    watched.rules = replace(RULES, open_level=0.94)
    assert show(watched, [(0.5, OPEN)], start=0.5)[0] == []
    assert [moment for moment, _ in show(watched, [(0.5, OPEN)], start=1.0)[0]] == [1.0]


def test_time_that_runs_backwards_is_refused_and_changes_nothing() -> None:
    watched = detector()
    show(watched, [(1.0, OPEN)])
    before = watched.open
    for call in (
        lambda: watched.observe(Observation(0.5, LOW)),
        lambda: watched.lost(0.5),
        lambda: watched.end(0.5, EndReason.QUIET),
    ):
        with pytest.raises(ValueError, match=r"moment 0\.5 of camera door lies before 0\.875"):
            call()
    assert watched.open == before
    assert watched.observe(Observation(0.875, OPEN)) == []


@pytest.mark.parametrize("level", [math.nan, -0.1, 1.1])
def test_impossible_levels_and_moments_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match=r"within 0\.\.1"):
        Observation(0.0, level)
    with pytest.raises(ValueError, match=r"within 0\.\.1"):
        Observation(0.0, None, {1: level})
    with pytest.raises(ValueError, match="finite"):
        Observation(math.nan, None)
    with pytest.raises(ValueError, match="finite"):
        detector().lost(math.inf)


@pytest.mark.parametrize(
    "wrong",
    [
        {"close_level": 0.91},
        {"alert_level": 0.89},
        {"open_level": math.nan},
        {"alert_level": 1.1},
        {"quiet_s": 0.0},
        {"quiet_s": -1.0},
        {"cooldown_s": math.inf},
        {"min_duration_s": math.nan},
    ],
)
def test_impossible_rules_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        replace(RULES, **wrong)


def false_alarms(levels: Sequence[float], rules: Rules) -> list[int]:
    """First frames of the runs that the calibration counts.

    A frame is held up when it and all frames of the minimum duration before it are at or above the opening level; runs
    of such frames closer than the quiet period are one.
    """
    frames = round(rules.min_duration_s / STEP)
    held = [
        index
        for index in range(frames, len(levels))
        if all(level >= rules.open_level for level in levels[index - frames : index + 1])
    ]
    before = [-math.inf, *held[:-1]] if held else []
    return [index for last, index in zip(before, held, strict=True) if STEP * (index - last) >= rules.quiet_s]


stretches_of_levels = st.lists(st.tuples(st.integers(1, 20), st.sampled_from([LOW, CLOSE, OPEN, ALERT])), max_size=30)


def openings(stretches: Sequence[tuple[int, float]], rules: Rules) -> tuple[list[int], list[float]]:
    levels = [level for count, level in stretches for _ in range(count)]
    told, _ = show(detector(rules), [(STEP, level) for level in levels])
    return [round(moment / STEP) for moment, change in told if isinstance(change, Started)], levels


@given(stretches_of_levels)
def test_incidents_are_the_false_alarms_that_the_calibration_counts(stretches: list[tuple[int, float]]) -> None:
    rules = Rules(0.9, 0.9, 0.99, min_duration_s=0.0, quiet_s=2.0, cooldown_s=0.0)
    opened, levels = openings(stretches, rules)
    assert opened == false_alarms(levels, rules)


@given(stretches_of_levels)
def test_hysteresis_only_makes_fewer_incidents_than_the_calibration_counts(
    stretches: list[tuple[int, float]],
) -> None:
    rules = Rules(0.9, 0.8, 0.99, min_duration_s=0.5, quiet_s=2.0, cooldown_s=0.0)
    opened, levels = openings(stretches, rules)
    counted = false_alarms(levels, rules)
    assert set(opened) <= set(counted)
    assert opened[:1] == counted[:1]


@dataclass
class Account:
    """What was told of one camera, checked while it is told.

    Attributes:
        open: The incident that is open.
        ended: Incidents that are over.
    """

    open: Incident | None = None
    ended: list[Incident] = field(default_factory=list)

    def tell(self, moment: float, change: Change) -> None:
        incident = change.incident
        assert incident.started <= incident.peak <= incident.updated <= moment
        match change:
            case Started():
                assert self.open is None
                assert incident.ended is None
                assert incident.id not in {past.id for past in self.ended}
                if self.ended:
                    last = self.ended[-1].updated
                    assert incident.started > last or (incident.started == last and incident.kind is not Kind.UNUSUAL)
            case Updated():
                assert self.open is not None
                self._continues(self.open, incident)
                assert incident.ended is None
                assert incident != self.open
            case Ended():
                assert self.open is not None
                self._continues(self.open, incident)
                assert incident.ended == incident.updated
                assert incident.end_reason is not None
                self.ended.append(incident)
        self.open = None if isinstance(change, Ended) else incident

    @staticmethod
    def _continues(before: Incident, now: Incident) -> None:
        assert (now.id, now.started, now.suppressed) == (before.id, before.started, before.suppressed)
        assert now.updated >= before.updated
        assert now.peak_level >= before.peak_level
        assert now.severity is Severity.ALERT or before.severity is Severity.WARNING
        assert most_severe([now.kind, before.kind]) is now.kind
        for kind, seen in before.kinds.items():
            assert now.started <= now.kinds[kind].first <= now.kinds[kind].last <= now.updated
            assert now.kinds[kind].score >= seen.score
        assert all(now.people[track] >= level for track, level in before.people.items())


CAMERAS = ("door", "yard")
cameras = st.sampled_from(CAMERAS)


class IncidentMachine(RuleBasedStateMachine):
    """Two cameras whose incidents go through the real log and store to the feed.

    Meanwhile the database fails and heals, the wall clock steps and the service dies.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patience = mock.patch.multiple("service.incidents.log", _FIRST_PAUSE_S=0.001, _LONGEST_PAUSE_S=0.01)
        self.patience.start()
        self.folder = TemporaryDirectory()
        self.database = Database.open(f"sqlite:///{Path(self.folder.name) / 'daflow.db'}")
        self.failing = False
        event.listen(self.database.engine, "before_cursor_execute", self.fail)
        self.numbers = itertools.count(1)
        self.moment = 1000.0
        self.offset = 1.7e9
        self.boot()

    def fail(self, *_: Any) -> None:
        if self.failing:
            raise OperationalError("", None, Exception("the database is gone"))

    def boot(self) -> None:
        clock = SteadyClock(lambda: self.moment, lambda: self.moment + self.offset)
        self.store = IncidentStore(self.database, lambda: clock.utc(clock.now()))
        self.feed = EventFeed(self.store, clock)
        self.published_before = self.feed.newest_id
        self.log = IncidentLog(self.store, self.feed, clock)
        self.log.settle()
        self.log.start()
        self.detectors = {
            name: IncidentDetector(name, RULES, lambda: f"incident{next(self.numbers)}") for name in CAMERAS
        }
        self.accounts = {name: Account() for name in CAMERAS}
        self.told: list[Change] = []

    def tell(self, camera: str, changes: list[Change]) -> None:
        for change in changes:
            self.accounts[camera].tell(self.moment, change)
            self.told.append(change)
            self.log.record(change)

    @rule(
        camera=cameras,
        frames=st.integers(1, 100),
        level=st.none() | st.sampled_from([LOW, CLOSE, OPEN, ALERT]),
        people=st.dictionaries(st.integers(1, 5), st.sampled_from([LOW, CLOSE, OPEN]), max_size=3),
        seen=st.lists(
            st.tuples(
                st.sampled_from(sorted(SEVERITIES)),
                st.integers(1, 5),
                st.sampled_from([0.5, 1.0, 1.5]),
                st.floats(0, 60),
            ),
            max_size=2,
        ),
    )
    def see(
        self,
        camera: str,
        frames: int,
        level: float | None,
        people: dict[int, float],
        seen: list[tuple[Kind, int, float, float]],
    ) -> None:
        findings = [finding(kind, track, score=score, since=self.moment - ago) for kind, track, score, ago in seen]
        for _ in range(frames):
            self.moment += STEP
            observation = Observation(self.moment, level, people, {}, findings)
            self.tell(camera, self.detectors[camera].observe(observation))

    @rule(camera=cameras, seconds=st.integers(0, 20))
    def lose(self, camera: str, seconds: int) -> None:
        self.moment += seconds
        self.tell(camera, self.detectors[camera].lost(self.moment))

    @rule(seconds=st.integers(1, 60))
    def wait(self, seconds: int) -> None:
        self.moment += seconds

    @rule(camera=cameras)
    def stop_camera(self, camera: str) -> None:
        self.tell(camera, self.detectors[camera].end(self.moment, EndReason.CAMERA_STOPPED))
        assert self.detectors[camera].open is None

    @rule(camera=cameras, shift=st.sampled_from([0.0, -0.04, 0.04]))
    def calibrate(self, camera: str, shift: float) -> None:
        rules = replace(RULES, open_level=RULES.open_level + shift, close_level=RULES.close_level + shift)
        self.detectors[camera].rules = rules

    @rule(camera=cameras)
    def turn_back_time(self, camera: str) -> None:
        self.tell(camera, self.detectors[camera].lost(self.moment))
        with pytest.raises(ValueError, match="lies before"):
            self.detectors[camera].observe(Observation(self.moment - STEP, OPEN))

    @rule(seconds=st.sampled_from([-3600.0, -1.0, 3600.0]))
    def set_the_wall_clock(self, seconds: float) -> None:
        self.offset += seconds

    @rule(failing=st.booleans())
    def break_or_mend_the_database(self, failing: bool) -> None:
        self.failing = failing

    @precondition(lambda self: not self.failing)
    @rule(false_alarm=st.booleans())
    def review(self, false_alarm: bool) -> None:
        newest, _ = self.store.page(limit=1)
        for incident in newest:
            assert self.log.mark_false_alarm(incident.id, false_alarm).false_alarm is false_alarm

    @rule()
    def die(self) -> None:
        self.log.stop(deadline_s=0.0)
        self.failing = False
        self.boot()
        assert self.store.count().open == 0

    @invariant()
    def one_incident_is_open_at_most_and_it_is_the_one_that_was_told(self) -> None:
        for camera, detector in self.detectors.items():
            told = self.accounts[camera].open
            assert (detector.open and detector.open.id) == (told and told.id)

    def teardown(self) -> None:
        try:
            self.failing = False
            for camera in CAMERAS:
                self.stop_camera(camera)
            self.log.stop(deadline_s=60.0)
            self.check_the_log()
        finally:
            self.database.close()
            self.folder.cleanup()
            self.patience.stop()

    def check_the_log(self) -> None:
        stored = self.store.events_after(0, 100_000)
        assert self.store.count().open == 0
        check_story(stored)
        since = [told for told in stored if told.id > self.published_before]
        assert asyncio.run(published(self.feed, self.published_before)) == since
        kinds = {Started: "incident.started", Ended: "incident.ended"}
        expected = [(kinds[type(change)], change.incident.id) for change in self.told if type(change) in kinds]
        lives = {change.incident.id for change in self.told}
        found = [
            (told.type, told.incident.id)
            for told in since
            if isinstance(told, IncidentStarted | IncidentEnded) and told.incident.id in lives
        ]
        assert found == expected
        for past in (incident for account in self.accounts.values() for incident in account.ended):
            kept = self.store.get(past.id)
            assert (kept.severity, kept.end_reason) == (past.severity, past.end_reason)
            assert (kept.peak_level, kept.people) == (past.peak_level, past.people)
            assert {seen.kind: (seen.people, seen.score) for seen in kept.kinds} == {
                kind: (sorted(seen.people), seen.score) for kind, seen in past.kinds.items()
            }


def check_story(events: Sequence[Event]) -> None:
    """What a subscriber who read everything was told makes sense."""
    open_incidents: dict[str, str] = {}
    seen: set[str] = set()
    assert [told.id for told in events] == sorted({told.id for told in events})
    for told in events:
        if isinstance(told, IncidentStarted | IncidentUpdated | IncidentEnded):
            incident = told.incident
            assert incident.started_at <= incident.peak_at <= incident.updated_at
            assert [seen.kind for seen in incident.kinds] == sorted(
                (seen.kind for seen in incident.kinds), key=list(Kind).index
            )
            assert incident.kind is incident.kinds[0].kind
            assert incident.title == incident.kinds[0].title
            number = incident.kinds[0].number
            assert number is not None
            assert 0 <= number <= len(incident.kinds[0].people)
            if isinstance(told, IncidentStarted):
                assert told.camera not in open_incidents
                assert incident.id not in seen
                seen.add(incident.id)
                open_incidents[told.camera] = incident.id
            assert open_incidents[told.camera] == incident.id
            assert (incident.ended_at is not None) == isinstance(told, IncidentEnded)
            if incident.ended_at is not None:
                assert incident.ended_at >= incident.updated_at
                del open_incidents[told.camera]
    assert open_incidents == {}


async def published(feed: EventFeed, after: int) -> list[Event]:
    """What a subscriber gets until the newest event."""
    events: list[Event] = []
    while (events[-1].id if events else after) < feed.newest_id:
        stream = feed.follow(after)
        async for message in stream:
            assert message.type not in ("heartbeat", "lagged")
            events.append(message)
            if message.id == feed.newest_id:
                break
        await stream.aclose()
    return events


IncidentMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=40)
# Hypothesis may take five minutes to shorten a counterexample.
TestIncidentMachine = pytest.mark.timeout(900)(IncidentMachine.TestCase)
