"""Who runs apart, and who does not."""

import numpy as np
import pytest

from model.behaviours import Kind
from tests.doubles.puppet import Act, Footage, film, of, running, script, standing, times_of, walking, watch

PLACES = ((-0.6, 8.6), (0.6, 8.6), (0.0, 7.4), (0.2, 8.0))
OUTWARD = (150.0, 30.0, -80.0, 0.0)
AWAY = running(1.9)


def group(
    act: Act = AWAY,
    *,
    people: int = 4,
    fps: float = 15.0,
    facing: tuple[float, ...] = OUTWARD,
    starts: tuple[float, ...] = (2.0, 2.2, 2.4, 2.1),
    spread: float = 1.0,
) -> list[Footage]:
    """People who stand together, and then act each in their own direction and from their own time on."""
    middle = np.mean(PLACES, axis=0)
    return [
        film(
            script((starts[number], standing), (1.0, act)),
            6.0,
            fps=fps,
            facing=facing[number],
            place=tuple(middle + spread * (np.array(PLACES[number]) - middle)),
        ).numbered(number + 1)
        for number in range(people)
    ]


@pytest.mark.parametrize("fps", [5, 10, 30])
@pytest.mark.parametrize("people", [3, 4])
def test_people_who_stand_together_and_run_apart_are_named(fps: float, people: int) -> None:
    seen = of(Kind.DISPERSAL, watch(*group(fps=fps, people=people)))
    assert 2.4 <= seen[0].time <= 3.6
    finding = seen[0].finding
    assert set(finding.tracks) <= set(range(1, people + 1))
    assert finding.since == pytest.approx(2.0, abs=0.4)
    assert 1.0 <= finding.facts["speed_h_s"] <= 2.6
    assert finding.facts["within_s"] <= 2.2
    assert finding.saw.startswith(f"{len(finding.tracks)} people who stood together run apart at ")
    assert times_of(Kind.DISPERSAL, watch(*group(fps=fps, people=people)))[-1] < 4.6


def test_joints_that_are_hidden_or_jitter_hide_nothing() -> None:
    for change in (lambda one: one.hidden(0.3), lambda one: one.jittered(1.5), lambda one: one.scaled(0.5)):
        assert of(Kind.DISPERSAL, watch(*(change(one) for one in group())))


def test_those_who_are_out_of_the_picture_already_count() -> None:
    people = group(people=3)
    gone = people[0].numbered(1, (3.0, -1))
    seen = of(Kind.DISPERSAL, watch(gone, *people[1:]))
    assert seen
    assert all(set(each.finding.tracks) <= {2, 3} for each in seen if each.time >= 3.0)


@pytest.mark.parametrize("fps", [5, 15])
@pytest.mark.parametrize(
    "changes",
    [
        {"people": 2},
        {"act": walking(0.8)},
        {"act": walking(0.9)},
        {"facing": (0.0, 0.0, 0.0, 0.0)},
        {"facing": (20.0, -10.0, 0.0, 10.0)},
        {"starts": (0.6, 2.6, 4.4, 5.9)},
        {"spread": 5.0, "people": 3},
    ],
    ids=["two", "walk", "walk fast", "same way", "nearly the same way", "one after another", "not together"],
)
def test_what_is_no_dispersal(fps: float, changes: dict) -> None:
    assert not of(Kind.DISPERSAL, watch(*group(fps=fps, **changes)))


def test_runners_who_pass_each_other_do_not_run_apart() -> None:
    places = ((-3.5, 8.0), (3.5, 8.5), (-3.5, 9.0), (3.5, 9.5))
    runners = [
        film(running(1.9), 3.0, facing=0.0 if place[0] < 0 else 180.0, place=place).numbered(number)
        for number, place in enumerate(places, 1)
    ]
    assert not of(Kind.DISPERSAL, watch(*runners))


@pytest.mark.parametrize("fps", [5, 15, 30])
def test_boxes_that_jump_apart_do_not_run(fps: float) -> None:
    people = []
    for number, one in enumerate(group(standing, fps=fps)):
        moved = ((-90.0, 0.0), (90.0, 0.0), (0.0, 80.0), (60.0, -40.0))[number]
        later = (one.times >= 3.0)[:, None] * np.array(moved)
        keypoints = one.keypoints.copy()
        keypoints[..., :2] += later[:, None]
        people.append(one.changed(keypoints=keypoints, boxes=one.boxes + np.tile(later, 2)))
    assert not of(Kind.DISPERSAL, watch(*people))
