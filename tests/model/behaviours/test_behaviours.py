"""All behaviours together: the registry, bad input, long runs."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model.behaviours import BEHAVIOURS, LEAST_SCORE, Behaviours, Finding, Kind, Loitering, WrongWay
from model.behaviours.posture import Posture
from model.kinematics import Bodies
from tests.doubles.puppet import (
    LYING,
    SEATED,
    Act,
    Footage,
    falling,
    film,
    frames,
    of,
    script,
    standing,
    there_and_back,
    times_of,
    walking,
    watch,
)

FALLS = script((2.0, standing), (1, falling()))
SIZE = (640, 480)


def shifted(footage: Footage, seconds: float, watching: Behaviours) -> list[Finding]:
    return [
        finding
        for time, tracks, boxes, keypoints in frames(footage)
        for finding in watching.observe(time + seconds, tracks, boxes, keypoints, footage.size)
        if finding.score >= 1
    ]


def test_each_behaviour_has_a_name_of_its_own() -> None:
    kinds = [behaviour.kind for behaviour in BEHAVIOURS]
    assert len(set(kinds)) == len(kinds)
    assert Kind.UNUSUAL not in kinds


def test_updating_changes_no_state_in_place() -> None:
    class Watched(Behaviours):
        def _advance(self, bodies: Bodies) -> None:
            before = [(state, repr(state)) for state in self._states]
            super()._advance(bodies)
            assert [repr(state) for state, _ in before] == [text for _, text in before]

    assert watch(film(FALLS, 5.0), behaviours=Watched())


def test_findings_say_who_what_and_since_when() -> None:
    watching, seen = Behaviours(), []
    for time, tracks, boxes, keypoints in frames(film(FALLS, 6.0)):
        for finding in watching.observe(time, tracks, boxes, keypoints, SIZE):
            seen.append(finding)
            assert finding.score >= LEAST_SCORE
            assert finding.since <= time + 1e-9
            assert finding.tracks == (7,)
            assert finding.saw
            assert not finding.saw.endswith(".")
            assert all(math.isfinite(value) for value in finding.facts.values())
            assert all(name.rsplit("_", 1)[1] in ("s", "h", "deg") for name in finding.facts)
            assert list(finding.joints) == sorted(finding.joints)
    assert {finding.kind for finding in seen} == {Kind.FALL, Kind.LYING}


def test_people_are_judged_each_by_themselves() -> None:
    people = [
        film(FALLS, 7.0, place=(-2.0, 7.0)).numbered(1),
        film(standing, 7.0, place=(0.0, 9.0)).numbered(2),
        film(lambda _: (LYING, 0.0), 7.0, place=(1.0, 7.0)).numbered(3),
        film(there_and_back(SEATED, lead=1.0, hold=3.0), 7.0, place=(-1.0, 12.0)).numbered(4),
    ]
    together = watch(*people)
    alone = [each for person in people for each in watch(person)]
    assert {(each.finding.kind, each.finding.tracks) for each in together} == {
        (each.finding.kind, each.finding.tracks) for each in alone
    }
    assert {each.finding.tracks for each in together} == {(1,), (3,)}


def test_a_fall_is_told_only_of_people_in_the_frame() -> None:
    footage = film(FALLS, 6.0).numbered(7, (4.0, -1))
    assert max(times_of(Kind.FALL, watch(footage))) < 4.0


def test_somebody_who_falls_twice_in_two_clips_of_one_clock_is_named_twice() -> None:
    watching = Behaviours()
    assert shifted(film(FALLS, 5.0), 0.0, watching)
    assert shifted(film(FALLS, 5.0), 3600.0, watching)


@pytest.mark.parametrize("back", [0.5, 5.0, 7200.0])
def test_time_that_runs_backwards_begins_anew(back: float) -> None:
    watching = Behaviours()
    assert shifted(film(FALLS, 5.0), 10_000.0, watching)
    assert shifted(film(walking(0.8), 5.0, place=(-3.0, 7.0)), 10_005.0 - back, watching) == []
    assert shifted(film(FALLS, 5.0), 10_020.0, watching)


@pytest.mark.parametrize("forward", [0.7, 60.0, 7200.0])
def test_time_that_steps_forward_is_no_event(forward: float) -> None:
    watching = Behaviours()
    assert shifted(film(standing, 5.0), 0.0, watching) == []
    assert shifted(film(standing, 5.0), 5.0 + forward, watching) == []


def test_the_same_frame_twice_changes_nothing() -> None:
    once, twice = Behaviours(), Behaviours()
    for time, tracks, boxes, keypoints in frames(film(FALLS, 5.0)):
        expected = once.observe(time, tracks, boxes, keypoints, SIZE)
        assert twice.observe(time, tracks, boxes, keypoints, SIZE) == expected
        assert twice.observe(time, tracks, boxes, keypoints, SIZE) == expected


@pytest.mark.parametrize("fps", [5, 15, 30])
def test_nobody_falls_because_two_numbers_flicker(fps: float) -> None:
    footage = film(walking(0.8), 8.0, fps=fps, place=(-3.0, 8.0))
    for period in (1, 2, 5):
        tracks = np.where(np.arange(len(footage.times)) // period % 2, 8, 7)
        assert watch(footage.changed(tracks=tracks)) == []


@pytest.mark.parametrize("period", [2, 5])
def test_a_fall_is_named_although_two_numbers_flicker(period: int) -> None:
    footage = film(FALLS, 6.0)
    tracks = np.where(np.arange(len(footage.times)) // period % 2, 8, 7)
    assert of(Kind.FALL, watch(footage.changed(tracks=tracks)))


@pytest.mark.parametrize("fill", [0.0, math.nan, math.inf, -math.inf])
def test_keypoints_that_say_nothing_raise_no_alarm(fill: float) -> None:
    footage = film(FALLS, 6.0)
    assert watch(footage.changed(keypoints=np.full_like(footage.keypoints, fill))) == []


def test_confidences_of_zero_raise_no_alarm() -> None:
    footage = film(FALLS, 6.0)
    assert watch(footage.changed(keypoints=footage.keypoints * (1.0, 1.0, 0.0))) == []


def test_joints_low_in_confidence_sent_as_zero_raise_no_alarm() -> None:
    footage = film(walking(0.8), 8.0, place=(-3.0, 8.0))
    for seed in range(5):
        assert watch(footage.hidden(0.6, seed)) == []


def test_nobody_and_many_are_judged_alike() -> None:
    watching = Behaviours()
    assert watching.observe(0.0, [], np.zeros((0, 4), np.float32), np.zeros((0, 17, 3), np.float32), SIZE) == []
    one = film(standing, 3.0, place=(0.0, 20.0))
    people = []
    for number in range(64):
        offset = np.array([30.0 * (number % 16) - 240, 60.0 * (number // 16) - 100])
        keypoints = one.keypoints + np.array([*offset, 0.0])
        people.append(one.changed(keypoints=keypoints, boxes=one.boxes + np.tile(offset, 2)).numbered(number))
    assert watch(*people, behaviours=watching) == []


def people(most: int = 4) -> st.SearchStrategy[tuple[list[int], np.ndarray, np.ndarray]]:
    """Any people at all: numbers, boxes and keypoints."""
    values = st.floats(width=32, allow_nan=True, allow_infinity=True)

    def frame(tracks: Sequence[int]) -> st.SearchStrategy[tuple[list[int], np.ndarray, np.ndarray]]:
        count = len(tracks)
        return st.tuples(
            st.just(list(tracks)),
            arrays.arrays(np.float32, (count, 4), elements=values, fill=st.just(0.0)),
            arrays.arrays(np.float32, (count, 17, 3), elements=values, fill=st.sampled_from([0.0, 0.9, 100.0])),
        )

    return st.lists(st.integers(0, 6), unique=True, max_size=most).flatmap(frame)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.floats(-5.0, 10.0), people()), min_size=1, max_size=12), st.integers(0, 4000))
def test_no_input_crashes_or_warns(steps: list, width: int) -> None:
    watching, time = Behaviours(), 0.0
    for step, (tracks, boxes, keypoints) in steps:
        time += step
        for finding in watching.observe(time, tracks, boxes, keypoints, (width, 480)):
            assert math.isfinite(finding.score)
            assert set(finding.tracks) <= set(tracks)


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.floats(0.0, 0.4), st.floats(0.0, 3.0))
def test_somebody_who_stands_or_walks_is_never_an_event(seed: int, share: float, pixels: float) -> None:
    for footage in (film(standing, 5.0), film(walking(0.9), 5.0, place=(-3.0, 8.0))):
        assert watch(footage.hidden(share, seed).jittered(pixels, seed)) == []


@pytest.mark.slow
def test_a_long_run_forgets_people() -> None:
    watching, footage = Behaviours(), film(lambda _: (LYING, 0.0), 0.5, fps=10)
    fallen = film(FALLS, 4.0, fps=10)
    for number in range(400):
        first = 20.0 * number
        for index, time in enumerate(fallen.times.tolist() if number % 10 == 0 else footage.times.tolist()):
            source = fallen if number % 10 == 0 else footage
            watching.observe(first + time, [number], source.boxes[index][None], source.keypoints[index][None], SIZE)
    assert len(watching._kinematics._people) == 1
    kept = dict(zip((behaviour.kind for behaviour in BEHAVIOURS), watching._states, strict=True))
    assert len(kept[Kind.FALL]) <= 1
    assert len(kept[Kind.LYING]) <= 1
    scene = kept[Kind.FIGHT]
    assert [len(part) for part in (scene.seen, scene.broken, scene.agitated)] <= [1, 0, 0]
    assert len(watching._newest) <= len(BEHAVIOURS)


def test_other_behaviours_can_be_looked_for_while_the_rest_goes_on() -> None:
    watching, footage = Behaviours(), film(FALLS, 6.0)
    for time, tracks, boxes, keypoints in frames(footage):
        if time == pytest.approx(4.0):
            watching.look_for([*BEHAVIOURS, WrongWay(0.0)])
        found = watching.observe(time, tracks, boxes, keypoints, SIZE)
    assert {finding.kind for finding in found} == {Kind.FALL, Kind.LYING}
    watching.look_for([Loitering()])
    assert watching.observe(6.0, tracks, boxes, keypoints, SIZE) == []


@pytest.mark.parametrize(
    "act", [FALLS, script((2.0, lambda _: (LYING, 0.0)), (1, standing)), there_and_back(SEATED, lead=1.0, hold=3.0)]
)
def test_falls_and_lying_are_looked_for_wherever_they_could_be_found(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    footage = film(act, 8.0)
    found = watch(footage)
    monkeypatch.setattr(Posture, "low", property(lambda posture: np.ones(len(posture.bodies), np.bool_)))
    assert watch(footage) == found
