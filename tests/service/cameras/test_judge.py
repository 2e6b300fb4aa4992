"""Levels and incidents of one camera, from scored frames alone."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from model.behaviours import Finding, Kind
from model.behaviours.calibration import Usual
from model.calibration import Calibration
from model.scorer import ScoredWindow
from service.cameras.config import CameraConfig
from service.cameras.judge import Judge, Meaning, Times, Verdict, rules_of
from service.documents.base import EndReason, Severity
from service.documents.kinds import ON_REQUEST, SEVERITIES
from service.documents.messages import Score
from service.live.frames import Scored
from service.live.incident import Ended, Started, Updated
from tests.doubles.scores import scored_frame

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
HIGHEST_RATE = 2400.0
"""False alarms per day at the score where the tail of the calibration begins."""


def calibration(**values: Any) -> Calibration:
    """Score 2 is at level 0.9; above it, each further ``ln 10`` of score divides the false alarms by 10."""
    known: dict[str, Any] = {
        "knots": (0.0, 1.0, 2.0),
        "levels": (0.0, 0.5, 0.9),
        "shape": 0.0,
        "scale": 1.0,
        "exceedances": 100,
        "windows": 10_000,
        "footage_s": 3600.0,
        "merge_s": 10.0,
    }
    return Calibration(**known | values)


CALIBRATION = calibration()


def raw(level: float) -> float:
    """The raw score of a level."""
    return float(CALIBRATION.nll(np.array(level)))


def meaning(unusual: float = 24.0, found: Calibration = CALIBRATION, **values: Any) -> Meaning:
    """Half of the budget is for unusual movement."""
    known: dict[str, Any] = {"of": "shipped", "adapted": False}
    return Meaning(found, budget=2 * unusual, **known | values)


def config(**values: Any) -> CameraConfig:
    """Incidents open with the first high frame and end after two seconds."""
    return CameraConfig(url="skeletons:", **{"min_duration_s": 0, "quiet_s": 2, "cooldown_s": 0} | values)


def judge_of(found: CameraConfig | None = None, meant: Meaning | None = None) -> Judge:
    ids = map(str, itertools.count(1))
    return Judge("gate", found or config(), meant or meaning(), lambda: next(ids))


def times(moment: float = 0.0, age_s: float = 0.05) -> Times:
    captured = NOON + timedelta(seconds=moment)
    return Times(captured, captured + timedelta(seconds=age_s), age_s)


def show(judge: Judge, moment: float, smoothed: float = math.nan, **values: Any) -> Verdict:
    return judge.judge(scored_frame(moment, smoothed=smoothed, **values), times(moment))


def incidents(verdicts: Sequence[Verdict]) -> list[tuple[type, str]]:
    return [(type(change), change.incident.id) for verdict in verdicts for change in verdict.changes]


@pytest.mark.parametrize(
    ("wanted", "rate", "opening", "closing"),
    [
        (24.0, 24.0, 0.999, 0.996),
        (240.0, 240.0, 0.99, 0.96),
        (600.0, 600.0, 0.975, 0.9),
        (960.0, 960.0, 0.96, 0.9),
        (HIGHEST_RATE, HIGHEST_RATE, 0.9, 0.9),
        (10 * HIGHEST_RATE, HIGHEST_RATE, 0.9, 0.9),
    ],
)
def test_levels_follow_the_false_alarm_budget_as_far_as_the_calibration_reaches(
    wanted: float, rate: float, opening: float, closing: float
) -> None:
    meant = meaning(wanted)
    assert meant.unusual_per_day == rate
    rules = rules_of(config(), meant)
    assert (rules.open_level, rules.close_level) == (pytest.approx(opening), pytest.approx(closing))
    assert CALIBRATION.false_alarms_per_day(rules.open_level) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("asked", "rate", "alert"),
    [
        (None, 24.0, 0.9999),
        (24.0, 24.0, 0.9995),
        (48.0, 24.0, 0.999),
        (240.0, 24.0, 0.999),
        (None, 24000.0, 0.99),
        (24000.0, 24000.0, 0.9),
    ],
)
def test_an_alert_is_a_tenth_as_frequent_unless_the_camera_says_otherwise(
    asked: float | None, rate: float, alert: float
) -> None:
    rules = rules_of(config(alert_false_alarms_per_day=asked), meaning(rate))
    assert rules.alert_level == pytest.approx(alert)


def test_times_of_the_configuration_become_rules() -> None:
    rules = rules_of(config(min_duration_s=0.7, quiet_s=3, cooldown_s=11), meaning())
    assert (rules.min_duration_s, rules.quiet_s, rules.cooldown_s) == (0.7, 3, 11)


@pytest.mark.parametrize(("of", "adapted"), [("shipped", False), ("camera", True)])
def test_the_thresholds_say_what_they_cost_and_by_which_calibration(of: str, adapted: bool) -> None:
    found = judge_of(meant=meaning(24000.0, of=of, adapted=adapted)).thresholds
    assert [found.open, found.close, found.alert] == pytest.approx([0.9, 0.9, 0.99])
    assert (found.unusual_per_day, found.calibration, found.adapted) == (HIGHEST_RATE, of, adapted)
    assert found.false_alarms_per_day == 48000.0


@given(
    wanted=st.floats(1e-4, 1e4),
    alert=st.none() | st.floats(1e-4, 1e4),
    exceedances=st.integers(10, 10_000),
    footage_s=st.floats(60, 1e7),
)
def test_levels_are_in_order_whatever_is_asked(
    wanted: float, alert: float | None, exceedances: int, footage_s: float
) -> None:
    meant = meaning(wanted, calibration(exceedances=exceedances, footage_s=footage_s))
    rules = rules_of(config(alert_false_alarms_per_day=alert), meant)
    assert 0.9 - 1e-9 <= rules.close_level <= rules.open_level <= rules.alert_level < 1
    highest = meant.calibration.highest_per_day
    assert meant.unusual_per_day <= highest
    if meant.unusual_per_day > wanted:
        # Not the lowest that is supported if it were lower still.
        assert meant.calibration.interval_per_day(rules.open_level)[1] == pytest.approx(10 * meant.unusual_per_day)


def test_an_incident_opens_becomes_an_alert_and_ends() -> None:
    judge = judge_of()
    levels = (0.5, 0.9985, 0.9991, 0.9999, 0.997, 0.5, 0.5, 0.5)
    verdicts = [show(judge, float(moment), raw(level)) for moment, level in enumerate(levels)]
    assert incidents(verdicts) == [(Started, "1"), (Updated, "1"), (Ended, "1")]
    changes = [change.incident.severity for verdict in verdicts for change in verdict.changes]
    assert changes == [Severity.WARNING, Severity.ALERT, Severity.ALERT]
    assert [verdict.score.incident for verdict in verdicts] == [None, None, "1", "1", "1", "1", None, None]
    assert judge.open is None


def test_a_frame_in_which_nobody_is_scored_has_no_level_and_its_reason() -> None:
    verdict = show(judge_of(), 1.0, reason="nobody")
    assert (verdict.score.score, verdict.score.level, verdict.score.parts) == (None, None, {})
    assert verdict.score.reason == "nobody"
    assert math.isnan(verdict.peak)
    assert verdict.changes == []


def test_frames_without_a_score_end_an_incident_but_keep_its_peak() -> None:
    judge = judge_of()
    show(judge, 1.0, raw(0.9995))
    quiet = [show(judge, moment) for moment in (1.5, 2.0, 3.5)]
    assert incidents(quiet) == [(Ended, "1")]
    assert [verdict.peak for verdict in quiet] == [pytest.approx(raw(0.9995))] * 3


def test_an_ended_incident_has_the_peak_from_before_the_frame_that_ends_it() -> None:
    judge = judge_of()
    for moment, level in ((1.0, 0.9992), (2.0, 0.9995), (3.0, 0.9991)):
        show(judge, moment, raw(level))
    assert judge.peak == pytest.approx(raw(0.9995))
    # The next frame comes after the quiet period: it ends the incident and opens another one with a higher score.
    ending = show(judge, 9.0, raw(0.99999))
    assert incidents([ending]) == [(Ended, "1"), (Started, "2")]
    assert ending.peak == pytest.approx(raw(0.9995))
    assert judge.peak == pytest.approx(raw(0.99999))


def test_the_peak_is_the_score_that_was_held_for_the_minimum_duration() -> None:
    judge = judge_of(config(min_duration_s=1, quiet_s=5))
    for moment, level in ((0, 0.9993), (0.5, 0.99999), (1.0, 0.9992), (1.5, 0.9991)):
        show(judge, moment, raw(level))
    assert judge.open is not None
    assert judge.open.peak_level == pytest.approx(0.99999)
    assert judge.peak == pytest.approx(raw(0.9992))


def test_other_rules_keep_the_open_incident_and_forget_what_was_held() -> None:
    judge = judge_of()
    show(judge, 1.0, raw(0.9995))
    assert not math.isnan(judge.peak)
    own = calibration(exceedances=200)
    judge.change(config(quiet_s=1), meaning(96.0, own, of="camera"))
    assert judge.open is not None
    assert judge.open.id == "1"
    assert math.isnan(judge.peak)
    assert judge.calibration is own
    found = judge.thresholds
    assert found.open == pytest.approx(0.998)
    assert (found.unusual_per_day, found.calibration) == (96.0, "camera")
    ending = show(judge, 2.0)
    assert incidents([ending]) == [(Ended, "1")]
    assert math.isnan(ending.peak)


def test_the_same_rules_again_forget_nothing() -> None:
    judge = judge_of(config(min_duration_s=1))
    show(judge, 1.0, raw(0.9995))
    judge.change(config(min_duration_s=1, name="Gate"), meaning())
    started = show(judge, 2.0, raw(0.9995))
    assert incidents([started]) == [(Started, "1")]
    assert judge.peak == pytest.approx(raw(0.9995))


def test_a_lost_camera_ends_its_incident_and_a_late_frame_keeps_time_in_order() -> None:
    judge = judge_of()
    show(judge, 1.0, raw(0.9995))
    assert judge.lost(2.0) == []
    (ended,) = judge.lost(3.0)
    assert isinstance(ended, Ended)
    assert (ended.incident.end_reason, ended.incident.ended) == (EndReason.CAMERA_LOST, 1.0)
    late = show(judge, 1.5, raw(0.9995))
    assert incidents([late]) == [(Started, "2")]
    assert late.changes[0].incident.started == 3.0
    assert late.score.captured_at == NOON + timedelta(seconds=1.5)


def test_an_end_before_the_newest_frame_counts_as_at_the_frame() -> None:
    judge = judge_of()
    assert judge.end(0.0, EndReason.CAMERA_STOPPED) == []
    show(judge, 1.0, raw(0.9995))
    (ended,) = judge.end(0.5, EndReason.SERVICE_STOPPED)
    assert isinstance(ended, Ended)
    assert (ended.incident.end_reason, ended.incident.ended) == (EndReason.SERVICE_STOPPED, 1.0)
    assert judge.open is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["frame", "lost"]), st.floats(-1, 3), st.sampled_from([0.5, 0.997, 0.9995, 0.99999])),
        max_size=40,
    )
)
def test_every_incident_that_starts_ends_once_in_whatever_order_frames_come(
    steps: list[tuple[str, float, float]],
) -> None:
    judge, now, changes = judge_of(), 100.0, []
    for what, step, level in steps:
        now += abs(step)
        if what == "frame":
            changes += show(judge, now + min(step, 0), raw(level)).changes
        else:
            changes += judge.lost(now)
    changes += judge.end(now, EndReason.CAMERA_STOPPED)
    started = [change.incident.id for change in changes if isinstance(change, Started)]
    ended = [change.incident for change in changes if isinstance(change, Ended)]
    assert [incident.id for incident in ended] == started
    assert all(incident.ended is not None and incident.ended >= incident.started for incident in ended)


def test_suppressed_incidents_are_counted() -> None:
    judge = judge_of(config(cooldown_s=60))
    for moment in (1.0, 10.0, 20.0, 30.0):
        show(judge, moment, raw(0.9995))
    show(judge, 40.0)
    assert (judge.open, judge.suppressed) == (None, 3)


def finding(kind: Kind, *tracks: int, score: float = 1.0) -> Finding:
    return Finding(kind, tracks, score, 0.0, f"saw a {kind}", {"fall_s": 0.5})


def standing(*tracks: int) -> dict[int, NDArray[np.float64]]:
    return {track: np.zeros((17, 3)) for track in tracks}


def test_a_behaviour_that_fires_opens_an_incident_although_nobody_is_scored() -> None:
    verdict = show(judge_of(config(min_duration_s=5)), 1.0, people=standing(3), findings=[finding(Kind.FALL, 3)])
    assert incidents([verdict]) == [(Started, "1")]
    started = verdict.changes[0].incident
    assert (started.kind, started.severity, started.people) == (Kind.FALL, Severity.ALERT, {3: 0.0})
    assert started.kinds[Kind.FALL].saw == "saw a fall"
    assert verdict.score.incident == "1"


def test_each_person_has_the_scores_of_the_own_behaviours() -> None:
    findings = [
        finding(Kind.RUNNING, 5, score=0.71239),
        finding(Kind.FIGHT, 3, 5, score=1.5),
        finding(Kind.FIGHT, 5, 7, score=1.25),
    ]
    score = show(judge_of(), 1.0, people=standing(3, 5, 9), findings=findings).score
    assert [person.behaviours for person in score.people] == [
        {Kind.FIGHT: 1.5},
        {Kind.FIGHT: 1.5, Kind.RUNNING: 0.712},
        {},
    ]
    assert list(score.people[1].behaviours) == [Kind.FIGHT, Kind.RUNNING]


def test_a_camera_can_change_the_severity_of_a_behaviour_or_switch_it_off() -> None:
    judge = judge_of(config(behaviours={"fall": "warning", "running": "off"}))
    off = show(judge, 1.0, people=standing(3), findings=[finding(Kind.RUNNING, 3, score=2.0)])
    assert (off.changes, off.score.people[0].behaviours) == ([], {})
    milder = show(judge, 2.0, people=standing(3), findings=[finding(Kind.FALL, 3)])
    assert milder.changes[0].incident.severity is Severity.WARNING
    judge.change(config(), meaning())
    usual = show(judge, 3.0, people=standing(3), findings=[finding(Kind.RUNNING, 3), finding(Kind.FALL, 3)])
    assert usual.changes[0].incident.severity is Severity.ALERT
    assert set(usual.changes[0].incident.kinds) == {Kind.FALL, Kind.RUNNING}


def usual(threshold: float, highest: float | None = 1.22) -> Usual:
    return Usual(threshold, highest, times=4, marked=0, footage_s=1920.0, per_day=13.0, usable=True)


@pytest.mark.parametrize(("threshold", "firing"), [(1.0, [1, 2, 3]), (1.35, [2, 3]), (1.6, [3]), (0.8, [0, 1, 2, 3])])
def test_a_behaviour_fires_from_the_threshold_that_normal_life_of_the_camera_gives_it(
    threshold: float, firing: list[int]
) -> None:
    judge = judge_of(meant=meaning(usual={Kind.RUNNING: usual(threshold)}))
    usual_kinds = SEVERITIES.keys() - ON_REQUEST
    assert judge.thresholds.behaviours == dict.fromkeys(usual_kinds, 1.0) | {Kind.RUNNING: threshold}
    findings = [finding(Kind.RUNNING, track, score=score) for track, score in enumerate((0.9, 1.2, 1.35, 1.6))]
    verdict = show(judge, 1.0, people=standing(0, 1, 2, 3), findings=findings)
    assert [person.firing for person in verdict.score.people] == [[Kind.RUNNING] * (n in firing) for n in range(4)]
    assert [person.behaviours[Kind.RUNNING] for person in verdict.score.people] == [0.9, 1.2, 1.35, 1.6]
    seen = verdict.changes[0].incident.kinds[Kind.RUNNING]
    assert sorted(seen.people) == firing
    shown = f"score 1.6, normal life here up to 1.22, fires from {threshold:g}"
    assert seen.saw == f"saw a running; {shown}"
    below = show(
        judge_of(meant=meaning(usual={Kind.RUNNING: usual(1.7)})), 1.0, people=standing(3), findings=findings[3:]
    )
    assert (below.changes, below.score.people[0].firing) == ([], [])


def test_other_behaviours_of_a_calibrated_camera_fire_as_usual_and_say_so() -> None:
    judge = judge_of(meant=meaning(usual={Kind.RUNNING: usual(1.9), Kind.FALL: usual(1.0, None)}))
    verdict = show(judge, 1.0, people=standing(3), findings=[finding(Kind.FALL, 3), finding(Kind.LYING, 3)])
    kinds = verdict.changes[0].incident.kinds
    assert kinds[Kind.FALL].saw == "saw a fall; score 1, normal life here below 0.5, fires from 1"
    assert kinds[Kind.LYING].saw == "saw a lying"


def test_a_new_calibration_changes_what_fires_from_the_next_frame_on() -> None:
    judge = judge_of()
    running = {"people": standing(3), "findings": [finding(Kind.RUNNING, 3, score=1.2)]}
    assert show(judge, 1.0, **running).score.people[0].firing == [Kind.RUNNING]
    judge.change(config(), meaning(usual={Kind.RUNNING: usual(1.35)}))
    assert show(judge, 2.0, **running).score.people[0].firing == []


def test_a_budget_that_the_calibration_does_not_support_gets_the_strictest_level_that_it_does() -> None:
    own = calibration(exceedances=60, footage_s=1800.0)
    judge = judge_of(meant=meaning(0.5, own))
    found = judge.thresholds
    assert found.false_alarms_per_day == 1.0
    assert 0.5 < found.unusual_per_day == own.supported_per_day(0.5) < 24
    assert (
        found.open
        == own.threshold(false_alarms_per_day=found.unusual_per_day)
        < own.threshold(false_alarms_per_day=0.5)
    )


BED = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


@pytest.mark.parametrize(
    ("kind", "tracks", "left", "opens"),
    [
        (Kind.FALL, (3,), 100, False),
        (Kind.LYING, (3,), 100, False),
        (Kind.CRAWLING, (3,), 100, False),
        (Kind.FALL, (3,), 400, True),
        (Kind.RUNNING, (3,), 100, True),
        (Kind.LYING, (3, 5), 100, True),
    ],
)
def test_who_lies_in_a_rest_zone_raises_no_fall_no_lying_and_no_crawling(
    kind: Kind, tracks: tuple[int, ...], left: float, opens: bool
) -> None:
    frame = scored_frame(
        1.0, standing(3, 5), [window(3, 0.7, {}), None], smoothed=1.0, findings=[finding(kind, *tracks)]
    )
    frame.boxes[0] = (left, 100, left + 100, 140)
    frame.boxes[1] = (500, 100, 600, 400)
    verdict = judge_of(config(rest=[BED])).judge(frame, times())
    assert [type(change) for change in verdict.changes] == [Started] * opens
    assert (kind in verdict.score.people[0].behaviours) == opens
    assert (verdict.score.level, verdict.score.people[0].level) == (0.5, 0.7)


def test_a_rest_zone_counts_from_the_next_frame_after_it_was_drawn() -> None:
    judge = judge_of()
    lying = {"people": standing(3), "findings": [finding(Kind.LYING, 3)]}
    judge.change(config(rest=[BED]), meaning())
    assert show(judge, 1.0, **lying).changes == []
    judge.change(config(), meaning())
    assert incidents([show(judge, 2.0, **lying)]) == [(Started, "1")]


def window(track: int, level: float, parts: dict[str, float], joints: tuple[float, ...] | None = None) -> ScoredWindow:
    return ScoredWindow(track, 1.0, nll=1.123456789, raw=2.0, level=level, parts=parts, joints=joints)


def two_people() -> Scored:
    """One person with a window, and one without."""
    keypoints = {3: np.full((17, 3), 0.123456), 5: np.full((17, 3), 10.0)}
    parts = {"pose": 0.1234567891234, "motion": 0.75}
    frame = scored_frame(1.0, keypoints, [window(3, 0.7777777777777, parts, (0.1234567,) * 17), None])
    frame.boxes[0] = (1.006, 2.004, 3.333, 4.0)
    return frame


def judged(frame: Scored, **values: Any) -> Score:
    return judge_of().judge(frame, times(**values)).score


def test_people_have_the_score_level_and_parts_of_their_newest_window() -> None:
    first, second = judged(two_people()).people
    assert (first.track, first.score, first.level) == (3, 1.12346, 0.777777778)
    assert first.parts == {"pose": 0.123456789, "motion": 0.75}
    assert first.joints == [0.12346] * 17
    assert (second.track, second.score, second.level, second.parts, second.joints) == (5, None, None, {}, None)


def test_numbers_are_rounded_to_what_they_mean() -> None:
    frame = scored_frame(1.0, nll=1.234567891, smoothed=1.0 + 1e-11)
    score = judged(frame, moment=1.0, age_s=0.0123456)
    assert (score.score, score.level, score.age_s) == (1.23457, 0.5, 0.0123)
    first = judged(two_people()).people[0]
    assert first.box == (1.01, 2.0, 3.33, 4.0)
    assert first.keypoints == [(0.12, 0.12, 0.123)] * 17


def test_a_level_keeps_the_digits_of_a_false_alarm_in_years() -> None:
    level = 1 - 1e-8
    score = judged(scored_frame(1.0, smoothed=raw(level)))
    assert score.level is not None
    assert 1 - score.level == pytest.approx(1e-8, rel=0.1)


def test_the_parts_of_a_frame_are_the_highest_over_its_people() -> None:
    people = {number: np.zeros((17, 3)) for number in (1, 2, 3)}
    windows = [window(1, 0.5, {"pose": 0.25, "motion": 0.9}), None, window(3, 0.6, {"pose": 0.5, "pair": 0.125})]
    score = judged(scored_frame(1.0, people, windows, smoothed=1.5))
    assert score.parts == {"pose": 0.5, "motion": 0.9, "pair": 0.125}
    assert judged(scored_frame(1.0, people, windows)).parts == {}, "a frame without a level has no parts"


def test_the_people_of_an_incident_are_those_at_or_above_the_closing_level() -> None:
    people = {number: np.zeros((17, 3)) for number in (1, 2, 3)}
    windows = [window(1, 0.9999, {}), window(2, 0.5, {}), None]
    verdict = judge_of().judge(scored_frame(1.0, people, windows, smoothed=raw(0.9995)), times())
    assert verdict.changes[0].incident.people == {1: 0.9999}


def test_a_score_names_its_camera_times_and_threshold() -> None:
    score = judged(scored_frame(1.0, smoothed=1.0), moment=1.0, age_s=0.25)
    assert (score.camera, score.sequence, score.width, score.height) == ("gate", 0, 640, 480)
    assert (score.captured_at, score.published_at) == (NOON + timedelta(seconds=1), NOON + timedelta(seconds=1.25))
    assert score.threshold == pytest.approx(0.999)


ALWAYS = {"then": "record"}
LEFT = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]


def ruled(*rules: dict[str, Any], **values: Any) -> Judge:
    return judge_of(config(rules=rules, **values))


def severity(verdict: Verdict) -> Severity | None:
    """Severity of the incident that started."""
    return next((change.incident.severity for change in verdict.changes if isinstance(change, Started)), None)


def falls(judge: Judge, moment: float, **values: Any) -> Verdict:
    return show(judge, moment, people=standing(3), findings=[finding(Kind.FALL, 3)], **values)


def test_a_rule_applies_at_its_hours_by_the_clock_of_the_site() -> None:
    """It is noon in UTC and 13:00 in Berlin."""
    afternoon = config(rules=[ALWAYS | {"hours": "13:00-14:00"}])
    here = Judge("gate", afternoon, meaning(), site=ZoneInfo("Europe/Berlin"))
    assert severity(falls(here, 1.0)) is Severity.RECORD
    assert severity(falls(Judge("gate", afternoon, meaning()), 1.0)) is Severity.ALERT
    here.change(afternoon, meaning())
    here.lost(100.0)
    assert severity(falls(here, 101.0)) is Severity.ALERT


def test_a_rule_ends_with_its_minute() -> None:
    judge = ruled(ALWAYS | {"hours": "11:00-12:01"})
    assert severity(falls(judge, 59.0)) is Severity.RECORD
    assert severity(falls(judge, 90.0)) is Severity.ALERT


def show_apart(judge: Judge, moment: float, *findings: Finding) -> Verdict:
    """Track 1 stands on the left, track 2 on the right."""
    frame = scored_frame(moment, standing(1, 2), findings=findings)
    boxes = np.array([[90, 100, 110, 200], [490, 100, 510, 200]], np.float32)
    return judge.judge(dataclasses.replace(frame, boxes=boxes), times(moment))


def test_a_rule_with_a_zone_asks_where_somebody_of_the_event_stands() -> None:
    judge = ruled({"zones": [LEFT], "kinds": ["running"], "then": "alert"}, {"kinds": ["running"], "then": "off"})
    right = show_apart(judge, 1.0, finding(Kind.RUNNING, 2))
    assert (right.changes, right.score.people[1].behaviours) == ([], {})
    assert severity(show_apart(judge, 2.0, finding(Kind.RUNNING, 1))) is Severity.ALERT


@pytest.mark.parametrize(("right", "expected"), [(0.9999, None), (0.99, Severity.ALERT)])
def test_unusual_movement_is_where_the_person_with_the_highest_level_is(
    right: float, expected: Severity | None
) -> None:
    judge = ruled({"zones": [LEFT], "kinds": ["unusual"], "then": "alert"}, {"kinds": ["unusual"], "then": "off"})
    frame = scored_frame(1.0, standing(1, 2), [window(1, 0.9995, {}), window(2, right, {})], smoothed=raw(0.9995))
    boxes = np.array([[90, 100, 110, 200], [490, 100, 510, 200]], np.float32)
    assert severity(judge.judge(dataclasses.replace(frame, boxes=boxes), times(1.0))) is expected


def test_a_rule_can_ask_for_how_long_something_lasts() -> None:
    judge = ruled({"kinds": ["running"], "lasts_s": 5, "then": "alert"}, {"kinds": ["running"], "then": "off"})
    assert [severity(show(judge, moment, people=standing(3), findings=[finding(Kind.RUNNING, 3)])) for moment in
            (1.0, 4.9, 5.0)] == [None, None, Severity.ALERT]  # fmt: skip


def test_a_behaviour_that_looks_at_the_last_second_only_lasts_for_as_long_as_it_is_seen() -> None:
    judge = ruled({"kinds": ["running"], "lasts_s": 5, "then": "alert"}, {"kinds": ["running"], "then": "off"})

    def runs(moment: float, score: float = 1.0) -> Severity | None:
        seen = dataclasses.replace(finding(Kind.RUNNING, 3, score=score), since=moment - 1.0)
        return severity(show(judge, moment, people=standing(3), findings=[seen]))

    # It stops for longer than a second, and for a while it does not fire.
    assert [runs(10.0 + step / 2) for step in range(6)] == [None] * 6
    assert [runs(15.0, 0.9), runs(15.5, 0.9)] == [None, None]
    assert [runs(16.0 + step / 2) for step in range(9)] == [None] * 8 + [Severity.ALERT]


def test_two_people_who_do_the_same_can_be_of_different_severity() -> None:
    judge = ruled({"zones": [LEFT], "kinds": ["running"], "then": "alert"})
    assert severity(show_apart(judge, 1.0, finding(Kind.RUNNING, 2))) is Severity.WARNING
    judge = ruled({"zones": [LEFT], "kinds": ["running"], "then": "alert"})
    both = show_apart(judge, 1.0, finding(Kind.RUNNING, 1), finding(Kind.RUNNING, 2))
    assert severity(both) is Severity.ALERT


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], Severity.WARNING),
        ([{"kinds": ["unusual"], "then": "off"}], None),
        ([{"kinds": ["unusual"], "then": "alert"}], Severity.ALERT),
        ([{"kinds": ["running"], "then": "off"}], Severity.WARNING),
        ([ALWAYS], Severity.RECORD),
        ([{"kinds": ["unusual"], "lasts_s": 3, "then": "off"}], Severity.WARNING),
        ([{"kinds": ["unusual"], "hours": "18:00-19:00", "then": "off"}], Severity.WARNING),
    ],
)
def test_rules_are_about_unusual_movement_too(rules: list[dict[str, Any]], expected: Severity | None) -> None:
    judge = ruled(*rules)
    assert severity(show(judge, 1.0, raw(0.9995), people=standing(3))) is expected


def test_unusual_movement_can_be_asked_to_last() -> None:
    judge = ruled({"kinds": ["unusual"], "lasts_s": 2, "then": "warning"}, {"kinds": ["unusual"], "then": "off"})
    found = [severity(show(judge, moment, raw(0.9995), people=standing(3))) for moment in (1.0, 2.0, 2.9, 3.0)]
    assert found == [None, None, None, Severity.WARNING]


def test_unusual_movement_that_is_switched_off_keeps_no_incident_open() -> None:
    judge = ruled({"kinds": ["unusual"], "then": "off"})
    assert severity(falls(judge, 1.0)) is Severity.ALERT
    ended = [show(judge, moment, raw(0.9999), people=standing(3)) for moment in (1.5, 2.0, 2.5, 3.0, 3.5)]
    (change,) = [change for verdict in ended for change in verdict.changes]
    assert isinstance(change, Ended)
    assert (change.incident.ended, change.incident.peak_level, set(change.incident.kinds)) == (1.0, 0.0, {Kind.FALL})


def test_a_pause_records_and_ends() -> None:
    pause = NOON + timedelta(seconds=60)
    judge = judge_of(config(pause_until=pause))
    assert severity(falls(judge, 59.0)) is Severity.RECORD
    assert severity(show(judge, 30.0 + 29.5, raw(0.99999), people=standing(3))) is None
    assert severity(falls(judge, 63.0)) is Severity.ALERT
    judge = judge_of(config(pause_until=pause))
    assert severity(show(judge, 1.0, raw(0.99999), people=standing(3))) is Severity.RECORD


def test_what_is_switched_off_stays_off_in_a_pause() -> None:
    judge = judge_of(config(behaviours={"running": "off"}, pause_until=NOON + timedelta(hours=1)))
    assert severity(show(judge, 1.0, people=standing(3), findings=[finding(Kind.RUNNING, 3)])) is None


def test_an_incident_that_is_only_recorded_becomes_more_severe_at_once() -> None:
    judge = ruled({"kinds": ["running"], "then": "record"})
    first = show(judge, 1.0, people=standing(3), findings=[finding(Kind.RUNNING, 3)])
    assert severity(first) is Severity.RECORD
    (change,) = falls(judge, 1.1).changes
    assert (type(change), change.incident.severity, change.incident.kind) == (Updated, Severity.ALERT, Kind.FALL)


def test_the_cooldown_after_a_recorded_incident_lets_a_warning_through() -> None:
    judge = ruled({"kinds": ["running"], "hours": "11:00-12:01", "then": "record"}, cooldown_s=60)
    assert severity(show(judge, 50.0, people=standing(3), findings=[finding(Kind.RUNNING, 3)])) is Severity.RECORD
    judge.lost(55.0)
    assert severity(show(judge, 58.0, people=standing(3), findings=[finding(Kind.RUNNING, 3)])) is None
    judge.lost(63.0)
    assert severity(show(judge, 64.0, people=standing(3), findings=[finding(Kind.RUNNING, 3)])) is Severity.WARNING


def test_a_rule_that_names_a_behaviour_has_it_looked_for() -> None:
    night = config(rules=[{"kinds": ["loitering"], "hours": "22:00-06:00", "then": "alert"}])
    assert [each.kind for each in night.looked_for if each.kind in ON_REQUEST] == [Kind.LOITERING]
    judge = judge_of(night)
    assert judge.thresholds.behaviours[Kind.LOITERING] == 1.0
    assert severity(show(judge, 1.0, people=standing(3), findings=[finding(Kind.LOITERING, 3)])) is None
    with pytest.raises(ValidationError, match="wrong_way needs the direction"):
        config(rules=[{"kinds": ["wrong_way"], "then": "alert"}])
    assert config(rules=[{"kinds": ["wrong_way"], "then": "off"}]).looked_for
