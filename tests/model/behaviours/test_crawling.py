"""Who crawls, and who does not."""

from collections.abc import Callable

import numpy as np
import pytest

from model.behaviours import Kind
from tests.doubles.puppet import (
    ALL_FOURS,
    BENT,
    CROUCHED,
    LYING,
    ON_THE_GROUND,
    STAND,
    SUPINE,
    Act,
    Footage,
    crawling,
    falling,
    film,
    keys,
    of,
    push_ups,
    rising,
    running,
    script,
    standing,
    times_of,
    walking,
    watch,
)

LEFT = (-2.5, 6.0)


def lie(pose: np.ndarray) -> Act:
    return lambda _: (pose, 0.0)


@pytest.mark.parametrize("fps", [5, 10, 30])
@pytest.mark.parametrize("facing", [0, 180])
def test_crawling_across_the_picture_is_named(fps: float, facing: float) -> None:
    place = LEFT if facing == 0 else (2.5, 6.0)
    seen = of(Kind.CRAWLING, watch(film(crawling, 6.0, fps=fps, facing=facing, place=place)))
    assert 2.2 <= seen[0].time <= 3.0
    assert seen[0].finding.since == pytest.approx(0.0, abs=0.6)
    assert seen[0].finding.facts["speed_h_s"] == pytest.approx(0.3, abs=0.06)
    assert seen[0].finding.facts["tilt_deg"] == pytest.approx(80, abs=15)
    assert seen[-1].time == pytest.approx(6.0, abs=0.25)


@pytest.mark.parametrize("fps", [5, 10, 30])
@pytest.mark.parametrize("facing", [0, 180])
def test_who_crawls_does_not_lie(fps: float, facing: float) -> None:
    place = LEFT if facing == 0 else (2.5, 6.0)
    assert {each.finding.kind for each in watch(film(crawling, 8.0, fps=fps, facing=facing, place=place))} == {
        Kind.CRAWLING
    }


@pytest.mark.parametrize("change", [lambda f: f.scaled(0.5), lambda f: f.hidden(0.3), lambda f: f.jittered(1.5)])
def test_crawling_is_named_at_half_size_and_with_joints_hidden(change: Callable[[Footage], Footage]) -> None:
    assert of(Kind.CRAWLING, watch(change(film(crawling, 6.0, place=LEFT))))


def test_who_stops_crawling_and_stays_down_lies() -> None:
    act = script((5.0, crawling), (5.0, lie(LYING)))
    seen = watch(film(act, 10.0, place=LEFT))
    assert times_of(Kind.CRAWLING, seen)[0] < 3
    assert times_of(Kind.CRAWLING, seen)[-1] < 7.5
    assert times_of(Kind.LYING, seen)[-1] == pytest.approx(10.0, abs=0.1)


@pytest.mark.parametrize("fps", [5, 15, 30])
@pytest.mark.parametrize("direction", [0, 90, 180])
def test_a_fall_is_not_crawling(fps: float, direction: float) -> None:
    act = script((2.0, standing), (4.0, falling(direction)))
    assert of(Kind.CRAWLING, watch(film(act, 8.0, fps=fps))) == []


@pytest.mark.parametrize("fps", [5, 15, 30])
@pytest.mark.parametrize("pose", [LYING, SUPINE], ids=["on the belly", "on the back"])
def test_going_down_slowly_is_not_crawling(fps: float, pose: np.ndarray) -> None:
    act = keys((1.0, STAND), (3.4, pose), (6.0, pose))
    assert of(Kind.CRAWLING, watch(film(act, 6.0, fps=fps))) == []


@pytest.mark.parametrize("fps", [5, 15, 30])
def test_getting_up_is_not_crawling(fps: float) -> None:
    assert of(Kind.CRAWLING, watch(film(script((2.6, rising), (2.0, standing)), 5.0, fps=fps))) == []


@pytest.mark.parametrize("pose", [LYING, SUPINE, ALL_FOURS], ids=["on the belly", "on the back", "on all fours"])
@pytest.mark.parametrize("pixels", [0.0, 3.0])
def test_staying_down_is_not_crawling(pose: np.ndarray, pixels: float) -> None:
    assert of(Kind.CRAWLING, watch(film(lie(pose), 8.0).jittered(pixels))) == []


@pytest.mark.parametrize("hertz", [0.5, 1.0])
def test_push_ups_are_not_crawling(hertz: float) -> None:
    assert of(Kind.CRAWLING, watch(film(push_ups(hertz), 10.0))) == []


@pytest.mark.parametrize("fps", [5, 15, 30])
def test_walking_running_and_walking_bent_over_are_not_crawling(fps: float) -> None:
    def bent(seconds: float) -> tuple[np.ndarray, float]:
        return BENT, 0.6 * seconds

    for act in (walking(0.8), running(2.0), bent):
        assert of(Kind.CRAWLING, watch(film(act, 4.0, fps=fps, place=(-3.0, 8.0)))) == []


def test_sitting_down_on_the_ground_is_not_crawling() -> None:
    act = keys((1.0, STAND), (2.2, CROUCHED), (3.4, ON_THE_GROUND), (8.0, ON_THE_GROUND))
    assert of(Kind.CRAWLING, watch(film(act, 8.0))) == []


@pytest.mark.parametrize("pixels", [30, 120])
def test_somebody_who_lies_and_whose_box_jumps_does_not_crawl(pixels: float) -> None:
    footage = film(lie(LYING), 8.0)
    later = (footage.times >= 4.0) * float(pixels)
    boxes, keypoints = footage.boxes.copy(), footage.keypoints.copy()
    boxes[:, [0, 2]] += later[:, None]
    keypoints[..., 0] += later[:, None]
    assert of(Kind.CRAWLING, watch(footage.changed(boxes=boxes, keypoints=keypoints))) == []
