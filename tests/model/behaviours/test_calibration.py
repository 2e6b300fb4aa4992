"""Thresholds of named behaviours, from normal life."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.behaviours import FIRES, Finding, Kind
from model.behaviours.base import LOOSEST
from model.behaviours.calibration import MOST_OVER, STRICTEST, NormalLife, Usual, fit_behaviours
from model.budget import share_of

QUIET_S = 10.0
DAY_S = 86_400.0
NAMED = [kind for kind in Kind if kind is not Kind.UNUSUAL]


def finding(score: float, kind: Kind = Kind.RUNNING) -> Finding:
    return Finding(kind, (1,), score, 0.0, "", {})


def life(
    scores: Sequence[float] = (), seconds: float = 1800.0, kind: Kind = Kind.RUNNING, people: int = 1
) -> NormalLife:
    """Normal life in which a behaviour comes up evenly, for a second each time, with these scores."""
    found = NormalLife(NAMED)
    starts = {round(seconds * (number + 0.5) / len(scores)): score for number, score in enumerate(scores)}
    for second in range(round(seconds) + 1):
        score = starts.get(second)
        found.add(float(second), people, [] if score is None else [finding(score, kind)])
    return found


def fitted(
    scores: Sequence[float] = (),
    *,
    budget: float = 1.0,
    seconds: float = 1800.0,
    marked: Sequence[float] = (),
    confirmed: Sequence[float] = (),
    people: int = 1,
) -> Usual:
    """What is usual to `running`."""
    found = fit_behaviours(
        life(scores, seconds, people=people),
        false_alarms_per_day=budget,
        merge_s=QUIET_S,
        marked={Kind.RUNNING: marked},
        confirmed={Kind.RUNNING: confirmed},
    )
    return found[Kind.RUNNING]


def test_where_nothing_looks_like_it_every_behaviour_fires_as_usual() -> None:
    found = fit_behaviours(life(), false_alarms_per_day=1.0, merge_s=QUIET_S)
    assert list(found) == NAMED
    assert set(found.values()) == {Usual(FIRES, None, 0, 0, 1800.0, None, usable=True)}


def test_where_people_run_running_is_stricter_and_says_why() -> None:
    found = fitted([1.05, 1.1, 1.28, 1.2])
    assert (found.times, found.highest, found.usable) == (4, 1.28, True)
    assert found.threshold == pytest.approx(1.41)
    assert found.per_day is not None
    # Four runs in half an hour are 192 a day; so few support no rate as low as the budget.
    assert share_of(Kind.RUNNING, 1.0) < found.per_day < 192 / 8


def test_other_behaviours_keep_their_thresholds() -> None:
    found = fit_behaviours(life([1.3] * 5), false_alarms_per_day=1.0, merge_s=QUIET_S)
    assert [kind for kind in NAMED if found[kind].threshold != FIRES] == [Kind.RUNNING]


@given(
    st.lists(st.floats(FIRES, 3.0), max_size=30),
    st.floats(0.01, 1000.0),
    st.lists(st.floats(0.5, 3.0), max_size=5),
)
def test_normal_life_would_fire_no_more_often_than_the_budget_allows_or_the_behaviour_is_said_to_be_of_no_use(
    scores: list[float], budget: float, marked: list[float]
) -> None:
    found = fitted(scores, budget=budget, marked=marked)
    assert LOOSEST <= found.threshold <= STRICTEST
    assert (found.times, found.marked) == (len(scores), len(marked))
    fires = sum(score >= found.threshold for score in [*scores, *marked])
    if found.usable:
        assert fires <= share_of(Kind.RUNNING, budget) * 1800 / DAY_S
    else:
        assert found.threshold == STRICTEST
    assert found.per_day is None or math.isfinite(found.per_day)


def test_more_of_it_or_a_smaller_budget_never_make_it_looser() -> None:
    assert fitted([1.2]).threshold <= fitted([1.2, 1.3]).threshold <= fitted([1.2, 1.3, 1.6]).threshold
    by_budget = [fitted([1.1, 1.2, 1.4, 1.5, 1.3], budget=budget).threshold for budget in (1e4, 3000, 300, 30, 1, 0.01)]
    assert by_budget == sorted(by_budget)
    assert by_budget[0] == FIRES


def test_many_runs_support_a_lower_rate_of_false_alarms_than_few() -> None:
    few, many = fitted([1.1, 1.2, 1.3]), fitted([1.1, 1.2, 1.3] * 10)
    assert few.per_day is not None
    assert many.per_day is not None
    # Ten times as many alarms a day in all, and yet fewer at a threshold that is better known.
    assert many.threshold > few.threshold
    assert many.per_day < few.per_day


def test_a_gym_where_people_run_fast_is_told_that_running_is_not_usable() -> None:
    found = fitted([1.5, 2.4, 2.6, 1.9] * 5)
    assert (found.threshold, found.usable) == (STRICTEST, False)
    assert found.per_day is not None
    assert found.per_day > share_of(Kind.RUNNING, 1.0)


def test_what_comes_near_makes_it_stricter_unless_the_budget_allows_for_it() -> None:
    assert fitted([0.95]).threshold == pytest.approx(1.05)
    assert fitted([0.9]).threshold == FIRES
    assert fitted([0.95], budget=1000.0).threshold == FIRES


def test_it_is_looser_only_after_so_much_footage_with_people_that_the_budget_is_sure() -> None:
    assert fitted([0.7], budget=24.0).threshold == FIRES
    share = share_of(Kind.RUNNING, 24.0)
    enough = 3.1 * DAY_S / share
    assert fitted([0.6], budget=24.0, seconds=enough).threshold == LOOSEST
    assert fitted([0.8], budget=24.0, seconds=enough).threshold == pytest.approx(0.88)
    assert fitted([0.6], budget=24.0, seconds=enough, people=0).threshold == FIRES


def test_incidents_marked_as_false_alarms_count_as_normal_life() -> None:
    found = fitted(marked=[1.4])
    assert (found.times, found.marked, found.highest) == (0, 1, 1.4)
    assert found.threshold == pytest.approx(1.54)
    assert fitted([1.2], marked=[1.4]).threshold >= found.threshold
    assert fitted(marked=[math.nan]).threshold == FIRES


def test_one_run_is_counted_once_and_two_that_are_apart_twice() -> None:
    seen = NormalLife(NAMED)
    for second in [*range(5), 12, 30, 31]:
        seen.add(float(second), 2, [finding(1.0 + second / 100), finding(0.6), finding(0.9, Kind.FALL)])
    assert seen.peaks(Kind.RUNNING, QUIET_S) == [1.12, 1.31]
    assert seen.peaks(Kind.FALL, QUIET_S) == seen.peaks(Kind.FIGHT, QUIET_S) == []
    assert (seen.highest(Kind.FALL), seen.highest(Kind.FIGHT)) == (0.9, None)


def test_a_behaviour_that_was_not_looked_for_gets_no_threshold() -> None:
    seen = NormalLife([Kind.RUNNING, Kind.FALL])
    for second in range(1800):
        seen.add(float(second), 1, [finding(1.3, Kind.LOITERING)])
    assert seen.highest(Kind.LOITERING) is None
    assert list(fit_behaviours(seen, false_alarms_per_day=1.0, merge_s=QUIET_S)) == [Kind.FALL, Kind.RUNNING]


def test_long_gaps_are_no_footage_and_only_time_with_people_counts_as_occupied() -> None:
    seen = NormalLife(NAMED)
    for moment, people in ((0.0, 1), (1.0, 1), (2.0, 0), (100.0, 1), (101.0, 2)):
        seen.add(moment, people, [])
    assert (seen.footage_s, seen.occupied_s) == (3.0, 2.0)


@pytest.mark.parametrize("threshold", [LOOSEST - 0.01, STRICTEST + 0.01, math.nan])
def test_a_threshold_out_of_bounds_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"thresholds lie within 0\.8 and 2"):
        Usual(threshold, None, 0, 0, 60.0, None, usable=True)


SCORES = st.lists(st.floats(0.5, 2.5), max_size=6)


def test_a_confirmed_incident_lowers_the_threshold_to_its_score_where_the_footage_allows_it() -> None:
    day = [0.97]
    alone = fitted(day, seconds=DAY_S / 4)
    assert alone.threshold == pytest.approx(1.07)
    found = fitted(day, seconds=DAY_S / 4, confirmed=[1.0479, 1.3])
    assert (found.threshold, found.unconfirmed) == (pytest.approx(1.04), alone.threshold)
    assert (found.confirmed, found.missed) == (2, 0)


def test_a_confirmed_incident_that_looks_like_normal_life_lowers_nothing_and_is_counted_as_missed() -> None:
    often = [1.05, 1.1, 1.28, 1.2]
    found = fitted(often, confirmed=[1.1])
    alone = fitted(often)
    assert (found.threshold, found.per_day, found.unconfirmed) == (alone.threshold, alone.per_day, None)
    assert (found.confirmed, found.missed) == (1, 1)


def test_what_was_marked_as_false_outweighs_what_was_confirmed_at_the_same_score() -> None:
    found = fitted(marked=[1.3, 1.3, 1.3], confirmed=[1.3])
    assert found.threshold == fitted(marked=[1.3, 1.3, 1.3]).threshold > 1.3
    assert found.missed == 1


@given(SCORES, SCORES, SCORES, st.floats(0.1, 3000.0))
def test_confirmed_incidents_are_found_again_or_would_cost_more_than_the_bound(
    scores: list[float], marked: list[float], confirmed: list[float], budget: float
) -> None:
    alone = fitted(scores, budget=budget, marked=marked)
    found = fitted(scores, budget=budget, marked=marked, confirmed=confirmed)
    assert LOOSEST <= found.threshold <= alone.threshold
    days, bound = 1800.0 / DAY_S, MOST_OVER * share_of(Kind.RUNNING, budget)
    runs = [score for score in scores if score >= found.threshold]
    wrong = [score for score in marked if max(score, FIRES) >= found.threshold]
    if found.threshold < alone.threshold:
        assert found.unconfirmed == alone.threshold
        assert (len(runs) + len(wrong)) / days <= bound * (1 + 1e-9)
        assert found.per_day is None or found.per_day <= bound * (1 + 1e-9)
        assert any(0 <= score - found.threshold < 0.01 for score in confirmed) or found.threshold == LOOSEST
    else:
        assert found.unconfirmed is None
    assert found.missed == sum(math.floor(score * 100 + 1e-4) / 100 < found.threshold for score in confirmed)
    # One that is missed would have cost too much, and so would every lower one.
    for score in confirmed:
        if score < found.threshold - 0.01:
            alike = fitted(scores, budget=budget, marked=marked, confirmed=[score])
            assert alike.missed == 1 or alike.threshold == LOOSEST


@given(SCORES, SCORES, st.floats(0.1, 3000.0))
def test_without_confirmed_incidents_nothing_changes(scores: list[float], marked: list[float], budget: float) -> None:
    found = fitted(scores, budget=budget, marked=marked)
    assert (found.confirmed, found.missed, found.unconfirmed) == (0, 0, None)
