"""What is a fall, and what is not."""

from collections.abc import Callable

import numpy as np
import pytest

from model.behaviours import Kind
from simulation.camera import SceneCamera
from tests.doubles.puppet import (
    BENT,
    CROUCHED,
    KNEELING,
    LYING,
    ON_HEELS,
    ON_ONE_KNEE,
    ON_THE_GROUND,
    SEATED,
    STAND,
    SUPINE,
    Act,
    Footage,
    falling,
    film,
    keys,
    of,
    push_ups,
    rising,
    script,
    standing,
    there_and_back,
    times_of,
    walking,
    watch,
)

BEGINS_S = 2.0
FALLS = script((BEGINS_S, standing), (1, falling()))
FACINGS = [0, 180, 60, -45, -90, 90]
HIGH = SceneCamera(width=640, height=480, height_m=4.0, tilt_deg=25.0)


def named(*people: Footage) -> set[Kind]:
    return {seen.finding.kind for seen in watch(*people)}


def falls(*people: Footage) -> list[float]:
    return times_of(Kind.FALL, watch(*people))


@pytest.mark.parametrize("facing", FACINGS)
@pytest.mark.parametrize("direction", [0, 90, 180], ids=["forward", "sideways", "backward"])
def test_a_fall_is_named_within_a_second_and_as_long_as_the_person_stays_down(facing: float, direction: float) -> None:
    fell = falls(film(script((BEGINS_S, standing), (1, falling(direction))), 8.0, facing=facing))
    assert BEGINS_S + 0.5 <= fell[0] <= BEGINS_S + 1.0
    assert len(fell) == sum(fell[0] <= index / 15 for index in range(120))


def test_somebody_falls_off_a_chair() -> None:
    fell = falls(film(keys((BEGINS_S, SEATED), (BEGINS_S + 0.7, LYING)), 6.0))
    assert BEGINS_S + 0.4 <= fell[0] <= BEGINS_S + 1.0


def test_somebody_falls_while_walking() -> None:
    assert falls(film(script((2.0, walking(0.8)), (1, falling())), 6.0, place=(-2.5, 7.0)))


@pytest.mark.parametrize("fps", [5, 7.5, 10, 15, 30])
@pytest.mark.parametrize("facing", [0, -90])
@pytest.mark.parametrize(
    "change",
    [
        lambda footage: footage,
        lambda footage: footage.scaled(0.5),
        lambda footage: footage.hidden(0.3),
        lambda footage: footage.jittered(2.0),
        lambda footage: footage.scaled(0.5).hidden(0.3).jittered(1.0),
    ],
    ids=["whole", "half size", "joints hidden", "jitter", "all of it"],
)
def test_a_fall_is_named_at_any_rate_and_size_and_with_joints_hidden(
    fps: float, facing: float, change: Callable[[Footage], Footage]
) -> None:
    fell = falls(change(film(FALLS, 7.0, fps=fps, facing=facing)))
    assert BEGINS_S + 0.4 <= fell[0] <= BEGINS_S + 1.2


def test_two_frames_a_second_suffice_for_a_late_alarm() -> None:
    fell = falls(film(FALLS, 7.0, fps=2))
    assert BEGINS_S + 0.5 <= fell[0] <= BEGINS_S + 2.0


@pytest.mark.parametrize("fps", [5, 10, 15, 30])
def test_the_numbers_of_a_fall_are_those_of_the_body(fps: float) -> None:
    footage = film(FALLS, 6.0, fps=fps)
    last = of(Kind.FALL, watch(footage))[-1]
    exact = film(FALLS, 6.0, fps=100).shoulders
    drop, speed = exact[0] - exact.min(), (exact[:-30] - exact[30:]).max() / 0.3
    assert last.finding.facts["drop_h"] == pytest.approx(drop, abs=0.1)
    assert last.finding.facts["speed_h_s"] == pytest.approx(speed, rel=0.2)
    assert last.finding.since == pytest.approx(BEGINS_S + 0.35, abs=0.2)
    assert last.finding.facts["down_s"] == pytest.approx(last.time - last.finding.since, abs=0.1)
    assert last.finding.tracks == (7,)
    assert "shoulders came down by" in last.finding.saw


def test_a_fall_ends_when_the_person_has_got_up_and_a_second_one_is_named_again() -> None:
    act = script((2.0, standing), (3.0, falling()), (2.6, rising), (3.0, standing), (3.0, falling()))
    seen = of(Kind.FALL, watch(film(act, 14.0)))
    up = [each.time for each in seen if 8.4 < each.time < 10.6]
    assert up == []
    assert any(each.time < 7 for each in seen)
    again = [each for each in seen if each.time >= 10.6]
    assert 11.0 <= again[0].time <= 11.6
    assert again[0].finding.since > 10.6


@pytest.mark.parametrize("after", [0.3, 0.6, 2.0])
def test_a_fall_goes_on_under_another_number_after_the_tracker_lost_the_person(after: float) -> None:
    lost = BEGINS_S + 0.85 + after
    footage = film(FALLS, 8.0).numbered(7, (lost, -1), (lost + 1.2, 9))
    seen = of(Kind.FALL, watch(footage))
    assert {each.finding.tracks for each in seen} == {(7,), (9,)}
    later = [each for each in seen if each.finding.tracks == (9,)]
    assert later[0].time <= lost + 1.4
    assert later[-1].time == footage.times[-1]
    assert later[-1].finding.since == pytest.approx(seen[0].finding.since, abs=0.2)


@pytest.mark.parametrize(("gap", "kind"), [(0.5, Kind.FALL), (1.2, Kind.LYING)])
def test_a_person_whom_the_tracker_loses_during_a_fall_is_named_when_they_are_found(gap: float, kind: Kind) -> None:
    footage = film(FALLS, 6.0).numbered(7, (2.4, -1), (2.4 + gap, 9))
    seen = of(kind, watch(footage))
    assert {each.finding.tracks for each in seen} == {(9,)}
    assert seen[0].time <= 2.4 + gap + 1.2


def test_a_fall_in_which_a_person_has_two_numbers_for_a_moment_is_named_under_the_one_that_stays() -> None:
    footage = film(FALLS, 6.0)
    seen = of(Kind.FALL, watch(footage.numbered(7, (2.5, -1)), footage.numbered(-1, (2.2, 8))))
    assert (8,) in {each.finding.tracks for each in seen}


@pytest.mark.parametrize("facing", FACINGS)
@pytest.mark.parametrize("lead", [0.9, 1.3])
def test_bending_to_the_floor_is_no_fall(facing: float, lead: float) -> None:
    assert named(film(there_and_back(BENT, lead=lead, hold=2.0), 8.0, facing=facing)) == set()


@pytest.mark.parametrize("facing", FACINGS)
@pytest.mark.parametrize("pose", [CROUCHED, ON_ONE_KNEE], ids=["crouching", "on one knee"])
def test_tying_shoes_is_no_fall(facing: float, pose: np.ndarray) -> None:
    assert named(film(there_and_back(pose, lead=1.1, hold=6.0), 12.0, facing=facing)) == set()


@pytest.mark.parametrize("facing", FACINGS)
@pytest.mark.parametrize("pose", [KNEELING, ON_HEELS], ids=["upright", "on the heels"])
def test_kneeling_is_no_fall(facing: float, pose: np.ndarray) -> None:
    assert named(film(there_and_back(pose, lead=0.9, hold=6.0), 12.0, facing=facing)) == set()


@pytest.mark.parametrize("facing", FACINGS)
@pytest.mark.parametrize("lead", [0.6, 1.3])
def test_sitting_down_is_no_fall(facing: float, lead: float) -> None:
    assert named(film(there_and_back(SEATED, lead=lead, hold=6.0), 12.0, facing=facing)) == set()


@pytest.mark.parametrize("facing", FACINGS)
def test_sitting_on_the_ground_is_no_fall(facing: float) -> None:
    assert named(film(there_and_back(ON_THE_GROUND, lead=1.2, hold=6.0), 12.0, facing=facing)) == set()


@pytest.mark.parametrize("facing", [0, 180])
@pytest.mark.parametrize("hertz", [0.5, 0.8])
def test_push_ups_are_no_fall(facing: float, hertz: float) -> None:
    down = keys((1.0, STAND), (2.2, CROUCHED), (3.2, push_ups(hertz)(0.0)[0]))
    assert falls(film(script((3.2, down), (1, push_ups(hertz))), 12.0, facing=facing)) == []


@pytest.mark.parametrize("facing", [0, 180, -45, -90])
def test_lying_down_on_purpose_is_no_fall(facing: float) -> None:
    act = keys((2.0, STAND), (3.4, CROUCHED), (4.6, ON_THE_GROUND), (6.0, SUPINE))
    assert falls(film(act, 10.0, facing=facing)) == []


@pytest.mark.parametrize("camera", [None, HIGH], ids=["low camera", "high camera"])
@pytest.mark.parametrize("facing", [-90, -70])
@pytest.mark.parametrize("speed", [0.5, 0.9])
def test_walking_to_the_camera_and_out_of_the_picture_is_no_fall(
    camera: SceneCamera | None, facing: float, speed: float
) -> None:
    footage = film(walking(speed), 12.0, facing=facing, camera=camera, place=(-0.5, 9.0))
    assert footage.boxes[:, 3].max() == 480, "the lower border cuts the person"
    assert named(footage) == set()


@pytest.mark.parametrize("facing", [0, 90, -90])
def test_a_body_cut_by_the_border_is_no_fall(facing: float) -> None:
    act = script((2.0, walking(0.6)), (1, standing))
    footage = film(act, 8.0, facing=facing, place=(-0.8 if facing == 0 else 0.0, 3.2))
    assert (footage.boxes[:, 3] == 480).any()
    assert named(footage) == set()


@pytest.mark.parametrize("facing", FACINGS)
@pytest.mark.parametrize("from_s", [0.0, 2.0], ids=["always", "from a moment on"])
@pytest.mark.parametrize(
    "act",
    [standing, there_and_back(SEATED, lead=1.0, hold=3.0), there_and_back(BENT, lead=1.2, hold=2.0)],
    ids=["stands", "sits down", "bends"],
)
@pytest.mark.parametrize("joints", [("knee", "ankle"), ("hip", "knee", "ankle")], ids=["legs", "hips and legs"])
def test_a_person_half_hidden_is_no_fall(facing: float, from_s: float, act: Act, joints: tuple[str, ...]) -> None:
    whole = film(act, 8.0, facing=facing, place=(0.0, 8.0))
    hidden, later = whole.without(*joints), whole.times >= from_s
    footage = whole.changed(
        keypoints=np.where(later[:, None, None], hidden.keypoints, whole.keypoints),
        boxes=np.where(later[:, None], hidden.boxes, whole.boxes),
    )
    assert named(footage) == set()


@pytest.mark.parametrize("fps", [5, 10, 15, 30])
@pytest.mark.parametrize(
    ("pose", "place"),
    [
        (STAND, (1.0, 4.5)),
        (STAND, (0.6, 6.0)),
        (SEATED, (1.2, 6.0)),
        (ON_THE_GROUND, (1.2, 6.0)),
        (BENT, (1.2, 6.0)),
        (CROUCHED, (1.2, 6.0)),
        (LYING, (1.5, 6.0)),
    ],
    ids=["nearer", "beside", "sits", "sits on the ground", "bends", "crouches", "lies"],
)
def test_a_skeleton_that_jumps_to_another_person_is_no_fall(
    fps: float, pose: np.ndarray, place: tuple[float, float]
) -> None:
    one = film(standing, 5.5, fps=fps, place=(-0.5, 8.0))
    other = film(lambda _: (pose, 0.0), 5.5, fps=fps, place=place)
    assert named(one.then(other, 3.0)) == set()
    assert falls(other.then(one, 3.0)) == []


def test_a_box_that_shrinks_to_the_upper_body_is_no_fall() -> None:
    whole = film(standing, 6.0)
    boxes = whole.boxes.copy()
    boxes[30:, 3] -= 0.6 * (boxes[30:, 3] - boxes[30:, 1])
    keypoints = whole.keypoints.copy()
    keypoints[30:, 11:] = 0.0
    assert named(whole.changed(boxes=boxes, keypoints=keypoints)) == set()


def test_a_fall_counts_in_body_heights_whatever_the_distance() -> None:
    near, far = (of(Kind.FALL, watch(film(FALLS, 6.0, place=(0.0, away))))[-1].finding for away in (4.5, 12.0))
    assert near.facts["drop_h"] == pytest.approx(far.facts["drop_h"], abs=0.15)
