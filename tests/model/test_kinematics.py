import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.kinematics import HISTORY_S, MOMENTS, RATE_HZ, Bodies, Kinematics, Measure, moments
from tests.doubles.puppet import BENT, LYING, STAND, Footage, falling, film, frames, script, standing, walking

FALLS = script((2.0, standing), (1, falling()))


def follow(*people: Footage, watching: Kinematics | None = None) -> list[Bodies]:
    watching = watching or Kinematics()
    return [
        bodies
        for time, tracks, boxes, keypoints in frames(*people)
        for bodies in watching.observe(time, tracks, boxes, keypoints, people[0].size)
    ]


def still(pose: np.ndarray, seconds: float = 3.0, **how) -> Bodies:
    return follow(film(lambda _: (pose, 0.0), seconds, **how))[-1]


def observe(watching: Kinematics, time: float, *tracks: int) -> list[Bodies]:
    """Somebody who stands; the next ones stand beside them."""
    one = film(standing, 0.2)
    boxes = np.concatenate([one.boxes[:1] + 150.0 * row for row in range(len(tracks))] or [np.zeros((0, 4))])
    keypoints = np.concatenate(
        [one.keypoints[:1] + 150.0 * row * np.array([1, 1, 0]) for row in range(len(tracks))] or [np.zeros((0, 17, 3))]
    )
    return watching.observe(time, list(tracks), boxes, keypoints, one.size)


def test_moments_lie_on_a_grid_whatever_the_frame_rate() -> None:
    for fps in (2, 7, 15, 30):
        times = [bodies.time for bodies in follow(film(standing, 4.0, fps=fps))]
        assert times == pytest.approx(np.arange(len(times)) / RATE_HZ)
        assert len(times) >= 35


def test_the_angle_of_the_torso_is_that_of_the_body() -> None:
    assert still(STAND).series(Measure.TILT)[0, -1] < 10
    assert still(BENT).series(Measure.TILT)[0, -1] == pytest.approx(102, abs=8)
    assert still(LYING).series(Measure.TILT)[0, -1] == pytest.approx(90, abs=8)


@pytest.mark.parametrize("away", [4.5, 8.0, 15.0])
def test_lengths_are_in_body_heights_whatever_the_distance(away: float) -> None:
    bodies = still(STAND, place=(0.0, away))
    assert bodies.lengths(Measure.TALL)[0, -1] == pytest.approx(1.05, abs=0.15)
    assert bodies.lengths(Measure.TORSO)[0, -1] == pytest.approx(0.32, abs=0.04)


def test_the_height_of_somebody_who_lies_is_remembered_from_standing() -> None:
    upright, down = (follow(film(FALLS, seconds, facing=-90))[-1].stature[0] for seconds in (2.0, 8.0))
    assert down == pytest.approx(upright, rel=0.35)


def test_speeds_of_limbs_are_against_the_torso() -> None:
    bodies = follow(film(walking(0.9), 5.0, place=(-3.0, 8.0)))[-1]
    ankles = bodies.lengths(Measure.LEFT_ANKLE, 2.0)
    assert 0.8 < np.nanmax(ankles) < 3.0
    assert np.nanmax(still(STAND).lengths(Measure.LEFT_ANKLE, 1.0)) < 0.1


@settings(max_examples=25)
@given(fps=st.sampled_from([10.0, 15.0, 20.0, 30.0]), factor=st.floats(0.3, 3.0), start=st.floats(-1e6, 1e9).map(round))
def test_measures_depend_neither_on_the_rate_nor_on_the_size_of_the_picture(
    fps: float, factor: float, start: int
) -> None:
    reference = follow(film(FALLS, 4.0, fps=30))[-1]
    footage = film(FALLS, 4.0, fps=fps).scaled(factor)
    watching = Kinematics()
    bodies = [
        each
        for time, tracks, boxes, keypoints in frames(footage)
        for each in watching.observe(start + time, tracks, boxes, keypoints, footage.size)
    ][-1]
    assert bodies.time - start == pytest.approx(reference.time, abs=0.11)
    late = round((reference.time - (bodies.time - start)) * RATE_HZ)
    for measure in (Measure.SHOULDER_X, Measure.SHOULDER_Y, Measure.HIP_Y, Measure.TALL, Measure.WIDTH, Measure.TORSO):
        expected = reference.lengths(measure, 3.0)[0, : len(reference.lengths(measure, 3.0)[0]) - late]
        seen = bodies.lengths(measure, 3.0)[0, late:]
        assert seen == pytest.approx(expected, abs=0.08), measure
    assert bodies.stature[0] == pytest.approx(factor * reference.stature[0], rel=0.05)


def test_a_joint_that_was_not_seen_counts_nowhere() -> None:
    footage = film(standing, 3.0)
    gone = follow(footage.without("shoulder", "elbow", "wrist"))[-1]
    for measure in (Measure.SHOULDER_X, Measure.SHOULDER_Y, Measure.TILT, Measure.TORSO, Measure.LEFT_WRIST):
        assert np.isnan(gone.series(measure)).all(), measure
    assert gone.series(Measure.JOINTS)[0, -1] == 11
    wild = footage.without("shoulder")
    wild.keypoints[:, 5:7, :2] = -1e6
    assert np.isnan(follow(wild)[-1].series(Measure.SHOULDER_Y)).all()


def test_a_joint_lost_for_a_frame_moves_with_the_body() -> None:
    footage = film(walking(0.9), 3.0, place=(-3.0, 8.0))
    footage.keypoints[30, 5:7] = 0.0
    shoulders = follow(footage)[-1].series(Measure.SHOULDER_X, 2.0)[0]
    assert not np.isnan(shoulders).any()
    assert (np.diff(shoulders) > 0).all()


def test_two_frames_a_second_give_places_but_unseen_seconds_stay_unknown() -> None:
    slow = follow(film(standing, 5.0, fps=2))[-1]
    assert not np.isnan(slow.series(Measure.TILT, 3.0)).any()
    slower = follow(film(standing, 8.0, fps=1))[-1]
    series = slower.series(Measure.TILT, 5.0)[0]
    assert np.isnan(series).sum() >= 40, "a second between two sightings is not bridged"
    assert np.isnan(slower.series(Measure.LEFT_WRIST)).all()


def test_what_lies_before_the_first_sighting_is_unknown() -> None:
    bodies = follow(film(standing, 1.0))[-1]
    assert np.isnan(bodies.series(Measure.HIP_Y)[0, : MOMENTS - 10]).all()
    assert bodies.past.shape == (1, MOMENTS, len(Measure))


def test_a_gap_leaves_moments_unknown_and_not_those_of_an_earlier_turn() -> None:
    watching = Kinematics()
    for frame in range(150):
        observe(watching, frame / 15, 7)
    observe(watching, 12.0, 7)
    (bodies,) = observe(watching, 12.1, 7)
    series = bodies.series(Measure.HIP_Y)[0]
    assert np.isnan(series[-20:-2]).all()
    assert not np.isnan(series[-2:]).any()
    assert not np.isnan(series[:38]).any()


def test_a_person_lost_and_found_nearby_under_another_number_stays_the_same_person() -> None:
    footage = film(standing, 6.0).numbered(7, (3.0, -1), (4.2, 9))
    bodies = follow(footage)
    assert {each.people[0] for each in bodies} == {bodies[0].people[0]}
    assert [bodies[0].track_ids, bodies[-1].track_ids] == [[7], [9]]


@pytest.mark.parametrize(("gap", "aside"), [(2.0, 0.0), (1.0, 3.0)], ids=["later", "elsewhere"])
def test_a_person_found_later_or_elsewhere_is_another(gap: float, aside: float) -> None:
    one = film(standing, 8.0).numbered(7, (3.0, -1))
    other = film(standing, 8.0, place=(aside, 6.0)).numbered(-1, (3.0 + gap, 9))
    bodies = follow(one, other)
    assert bodies[-1].people != bodies[0].people


def test_a_second_number_for_a_person_in_view_starts_with_their_past() -> None:
    footage = film(standing, 5.0)
    bodies = follow(footage, footage.numbered(-1, (3.0, 9)))[-1]
    assert bodies.track_ids == [7, 9]
    assert bodies.people[0] != bodies.people[1]
    assert np.isnan(bodies.series(Measure.HIP_Y)).sum(axis=1) == pytest.approx(MOMENTS - 50, abs=2)


def test_a_skeleton_that_jumps_to_somebody_else_begins_anew() -> None:
    one, other = film(standing, 5.0, place=(-1.0, 8.0)), film(standing, 5.0, place=(1.0, 7.0))
    before, after = follow(one)[-1], follow(one.then(other, 3.0))[-1]
    assert before.people != after.people
    assert np.isnan(after.series(Measure.HIP_Y)[0, : MOMENTS - 25]).all()


@pytest.mark.parametrize("fps", [5, 10, 15, 30])
def test_nobody_who_falls_or_walks_is_taken_for_a_jump(fps: float) -> None:
    for act, place in ((FALLS, (0.0, 6.0)), (walking(1.2), (-4.0, 8.0))):
        for facing in (0, -90, 60):
            people = [each.people for each in follow(film(act, 4.0, fps=fps, facing=facing, place=place).jittered(2.0))]
            assert people == [people[0]] * len(people)


def test_time_that_runs_backwards_begins_anew() -> None:
    watching = Kinematics()
    for frame in range(60):
        observe(watching, 1000 + frame / 15, 7)
    (bodies,) = observe(watching, 3.0, 7)
    assert bodies.time == 3.0
    assert (~np.isnan(bodies.series(Measure.HIP_Y))).sum() == 1


def test_the_same_time_twice_completes_no_second_moment() -> None:
    watching = Kinematics()
    assert len(observe(watching, 1.0, 7)) == 1
    assert observe(watching, 1.0, 7) == []
    assert len(observe(watching, 1.1, 7)) == 1


def test_hours_without_a_frame_cost_nothing_and_end_what_was_known() -> None:
    watching = Kinematics()
    observe(watching, 0.0, 7)
    (bodies,) = observe(watching, 1e7, 7)
    assert bodies.time == 1e7
    assert (~np.isnan(bodies.series(Measure.HIP_Y))).sum() == 1


@pytest.mark.parametrize("time", [math.nan, math.inf, -math.inf])
def test_a_time_that_is_not_finite_is_refused(time: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        observe(Kinematics(), time, 7)


@pytest.mark.parametrize(
    ("boxes", "keypoints"), [((2, 4), (1, 17, 3)), ((1, 4), (1, 18, 3)), ((1, 4), (1, 17, 2)), ((1, 5), (1, 17, 3))]
)
def test_shapes_that_disagree_are_refused(boxes: tuple[int, ...], keypoints: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected boxes and keypoints of 1 people"):
        Kinematics().observe(0.0, [7], np.zeros(boxes), np.zeros(keypoints), (640, 480))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_person_with_values_that_are_not_finite_is_left_out(bad: float) -> None:
    one = film(standing, 0.2)
    boxes, keypoints = np.repeat(one.boxes[:1], 3, axis=0), np.repeat(one.keypoints[:1], 3, axis=0)
    boxes[0, 2], keypoints[1, 4, 0] = bad, bad
    (bodies,) = Kinematics().observe(0.0, [1, 2, 3], boxes, keypoints, one.size)
    assert bodies.track_ids == [3]


@pytest.mark.slow
def test_people_who_are_gone_are_forgotten() -> None:
    watching = Kinematics()
    for number in range(3000):
        remembered = [each.remembered for each in observe(watching, 10.0 * number, number)]
    assert [len(each) for each in remembered] == [1]
    assert len(watching._times) == 16, "their places are used again"


def test_a_series_is_never_longer_than_what_is_kept() -> None:
    assert moments(HISTORY_S + 100) == MOMENTS


def test_what_was_returned_stays_as_it_was() -> None:
    """Through pages of the history that are full, more people than there was room for, and people who come and go."""
    watching = Kinematics()
    kept: list[tuple[Bodies, np.ndarray, np.ndarray]] = []
    for number in range(400):
        people = [*range(2 + number // 20), 100 + number // 9]
        for bodies in observe(watching, number / 10, *people):
            kept.append((bodies, bodies.past.copy(), bodies.stature.copy()))
    for bodies, past, stature in kept[-40:]:
        np.testing.assert_array_equal(bodies.past, past)
        np.testing.assert_array_equal(bodies.stature, stature)


def test_history_is_complete_across_its_pages() -> None:
    for bodies in follow(film(standing, 40.0))[MOMENTS:]:
        assert not np.isnan(bodies.series(Measure.TILT)).any()


def test_some_of_the_people_are_as_they_are_among_all() -> None:
    watching, bodies = Kinematics(), []
    for number in range(20):
        bodies = observe(watching, number / 10, *range(6))
    (everybody,) = bodies
    rows = np.array([4, 1])
    some = everybody.some(rows).some(np.array([1]))
    assert (some.track_ids, some.people) == ([1], [everybody.people[1]])
    np.testing.assert_array_equal(some.past, everybody.past[[1]])
    np.testing.assert_array_equal(some.lengths(Measure.TALL, 1.0), everybody.lengths(Measure.TALL, 1.0)[[1]])
    several = everybody.several(Measure.HIP_X, Measure.HIP_Y, 1.0)
    np.testing.assert_array_equal(several[:, 1], everybody.series(Measure.HIP_Y, 1.0).T)
