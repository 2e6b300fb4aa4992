"""Who holds both hands up, and who does not."""

import pytest

from model.behaviours import Kind
from simulation import actions
from simulation.body import pose
from tests.doubles.puppet import (
    STAND,
    STYLE,
    SUPINE,
    Act,
    film,
    keys,
    of,
    standing,
    there_and_back,
    times_of,
    walking,
    watch,
)

RAISED = actions.hands_up(STYLE, 0.0)
ABOVE = pose(shoulder_flexion=170, elbow=10)
SURRENDER = pose(shoulder_abduction=90, shoulder_flexion=10, elbow=90)
ON_THE_PHONE = pose(left_shoulder_flexion=60, left_elbow=145, right_shoulder_flexion=5)
FILMING = pose(shoulder_flexion=75, elbow=105)
ONE_HAND = pose(left_shoulder_flexion=170, left_elbow=5)


def held(target: object) -> Act:
    return keys((1.0, STAND), (1.6, target), (9.0, target))


@pytest.mark.parametrize("fps", [5, 10, 30])
@pytest.mark.parametrize("facing", [0, 60, 90, 180, -90])
@pytest.mark.parametrize("target", [RAISED, ABOVE], ids=["beside the head", "above the head"])
def test_both_hands_up_are_named_after_two_seconds(target: object, facing: float, fps: float) -> None:
    seen = of(Kind.HANDS_UP, watch(film(held(target), 8.0, fps=fps, facing=facing)))
    assert 2.8 <= seen[0].time <= 3.8
    assert seen[-1].time == pytest.approx(8.0, abs=0.3)
    first = seen[0].finding
    assert first.since == pytest.approx(1.5, abs=0.4)
    assert first.facts["held_s"] == pytest.approx(seen[0].time - first.since, abs=0.15)
    assert first.facts["over_shoulders_h"] > 0.1
    assert first.saw.startswith("both hands up for ")
    # A camera on which hands are up for longer in normal life can ask for more.
    halfway = next(one for one in seen if one.time >= 5.0).finding
    assert halfway.score == pytest.approx(halfway.facts["held_s"] / 2.0)
    assert seen[-1].finding.score == pytest.approx(3.0, abs=0.3)


def test_time_with_hands_up_now_and_then_does_not_count() -> None:
    waves = [(1.0 + 2 * turn + offset, target) for turn in range(5) for offset, target in ((0.0, STAND), (1.0, ABOVE))]
    act = keys(*waves, (12.0, STAND), (12.5, ABOVE), (20.0, ABOVE))
    seen = of(Kind.HANDS_UP, watch(film(act, 16.0)))
    assert seen[0].time > 13.0
    assert seen[0].finding.facts["held_s"] < 3.5


@pytest.mark.parametrize(
    "act",
    [
        standing,
        walking(0.8),
        held(ON_THE_PHONE),
        held(ONE_HAND),
        there_and_back(ABOVE, lead=1.0, hold=0.8),
        keys((1.0, STAND), (2.0, SUPINE), (9.0, SUPINE)),
    ],
    ids=[
        "stands",
        "walks",
        "telephones",
        "waves with one hand",
        "stretches",
        "lies with arms beyond the head",
    ],
)
@pytest.mark.parametrize("facing", [0, 90, -90])
def test_other_arms_are_not(act: Act, facing: float) -> None:
    assert not of(Kind.HANDS_UP, watch(film(act, 8.0, facing=facing)))


@pytest.mark.parametrize("facing", [0, -90, 180])
def test_somebody_who_films_is_not(facing: float) -> None:
    assert not of(Kind.HANDS_UP, watch(film(held(FILMING), 8.0, facing=facing)))


def test_somebody_who_films_is_not_from_behind_either_where_the_head_hides_the_hands() -> None:
    footage = film(held(FILMING), 8.0, facing=90)
    footage.keypoints[..., 9:11, 2] = 0.0
    assert not of(Kind.HANDS_UP, watch(footage))


def test_hands_that_are_hidden_are_not_up() -> None:
    footage = film(held(RAISED), 8.0, facing=90)
    assert times_of(Kind.HANDS_UP, watch(footage))
    footage.keypoints[..., 9:11, 2] = 0.0
    assert not times_of(Kind.HANDS_UP, watch(footage))
