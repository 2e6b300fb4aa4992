"""Who lies, and who does not."""

import numpy as np
import pytest

from model.behaviours import Kind
from tests.doubles.puppet import (
    CROUCHED,
    LYING,
    ON_THE_GROUND,
    PLANK,
    STAND,
    SUPINE,
    Act,
    falling,
    film,
    keys,
    of,
    push_ups,
    rising,
    script,
    standing,
    times_of,
    watch,
)


def lie(pose: np.ndarray) -> Act:
    return lambda _: (pose, 0.0)


@pytest.mark.parametrize("facing", [0, -45, 90, -90])
@pytest.mark.parametrize("pose", [LYING, SUPINE], ids=["on the belly", "on the back"])
def test_a_person_who_was_not_seen_to_go_down_lies_after_three_seconds(facing: float, pose: np.ndarray) -> None:
    times = times_of(Kind.LYING, watch(film(lie(pose), 8.0, facing=facing)))
    if abs(facing) == 90:  # A body that points to the camera looks like one that is half hidden.
        assert not times or times[0] >= 2.5
    else:
        assert 2.5 <= times[0] <= 3.2
        assert times[-1] == pytest.approx(8.0, abs=0.1)


@pytest.mark.parametrize("fps", [2, 5, 15, 30])
def test_somebody_who_lies_down_slowly_lies_a_second_later(fps: float) -> None:
    act = keys((2.0, STAND), (3.4, CROUCHED), (4.6, ON_THE_GROUND), (6.0, SUPINE))
    seen = of(Kind.LYING, watch(film(act, 12.0, fps=fps)))
    assert 5.5 <= seen[0].time <= 7.5
    last = seen[-1]
    assert last.time > 11
    assert last.finding.since == pytest.approx(5.6, abs=0.6)
    assert last.finding.facts["down_s"] == pytest.approx(last.time - last.finding.since, abs=0.15)
    assert last.finding.facts["tilt_deg"] == pytest.approx(88, abs=6)
    assert last.finding.facts["height_h"] < 0.4 < last.finding.facts["width_h"]
    assert last.finding.saw.endswith("degrees from upright")


def test_a_body_that_points_to_the_camera_is_not_said_to_be_upright() -> None:
    act = keys((2.0, STAND), (3.4, CROUCHED), (4.6, ON_THE_GROUND), (6.0, SUPINE))
    said = {one.finding.saw.partition(" s, ")[2] for one in of(Kind.LYING, watch(film(act, 12.0, facing=90)))}
    assert said
    for words in said:
        assert words.startswith(("and only 0.", "and 1.", "and 2.", "with the torso ")), words
        if words.startswith("with"):
            assert float(words.split()[3]) >= 55, words


def test_lying_ends_with_getting_up() -> None:
    act = script((2.0, standing), (4.0, falling()), (2.6, rising), (3.0, standing))
    times = times_of(Kind.LYING, watch(film(act, 12.0)))
    assert times[0] < 5
    assert times[-1] < 8.2


@pytest.mark.parametrize("hertz", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("facing", [0, 180])
def test_push_ups_are_not_lying(hertz: float, facing: float) -> None:
    assert watch(film(push_ups(hertz), 12.0, facing=facing)) == []


@pytest.mark.parametrize("hertz", [0.8, 1.0])
def test_going_down_to_push_ups_is_not_lying(hertz: float) -> None:
    down = keys((1.0, STAND), (2.2, CROUCHED), (3.2, PLANK))
    assert watch(film(script((3.2, down), (1, push_ups(hertz))), 12.0)) == []


def test_lying_goes_on_under_another_number() -> None:
    footage = film(lie(LYING), 9.0).numbered(7, (5.0, -1), (6.2, 9))
    seen = of(Kind.LYING, watch(footage))
    assert {each.finding.tracks for each in seen} == {(7,), (9,)}
    assert seen[-1].time == footage.times[-1]
    assert seen[-1].finding.since == pytest.approx(0.0, abs=0.3)
