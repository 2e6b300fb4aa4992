"""Who runs, and who does not."""

from collections.abc import Callable

import numpy as np
import pytest

from model.behaviours import Kind
from tests.doubles.puppet import Footage, film, of, running, script, standing, times_of, walking, watch

LEFT = (-4.5, 8.0)


@pytest.mark.parametrize("fps", [5, 10, 15, 30])
@pytest.mark.parametrize("speed", [1.8, 2.0, 2.5])
def test_running_across_the_picture_is_named(fps: float, speed: float) -> None:
    seen = of(Kind.RUNNING, watch(film(running(speed), 2.0, fps=fps, place=LEFT)))
    assert 1.0 <= seen[0].time <= 1.3
    assert seen[0].finding.facts["speed_h_s"] == pytest.approx(speed, rel=0.15)
    assert seen[0].finding.since == pytest.approx(0.0, abs=0.3)
    assert seen[0].finding.tracks == (7,)


@pytest.mark.parametrize("change", [lambda f: f.scaled(0.5), lambda f: f.hidden(0.3), lambda f: f.jittered(1.5)])
def test_running_is_named_at_half_size_and_with_joints_hidden(change: Callable[[Footage], Footage]) -> None:
    assert Kind.RUNNING in {each.finding.kind for each in watch(change(film(running(2.0), 2.0, place=LEFT)))}


@pytest.mark.parametrize("fps", [2, 5, 15, 30])
@pytest.mark.parametrize("facing", [0, 30, -30, -60, -90, 90])
@pytest.mark.parametrize("speed", [0.8, 1.0])
def test_walking_is_not_running(fps: float, facing: float, speed: float) -> None:
    footage = film(walking(speed), 7.0, fps=fps, facing=facing, place=(-4.0 if abs(facing) < 90 else 0.0, 8.0))
    assert watch(footage) == []


@pytest.mark.parametrize("fps", [5, 15, 30])
@pytest.mark.parametrize("pixels", [40, 120, 300])
def test_a_box_that_jumps_is_not_running(fps: float, pixels: float) -> None:
    footage = film(standing, 5.0, fps=fps, place=(-2.0, 8.0))
    later = (footage.times >= 2.5) * pixels
    boxes, keypoints = footage.boxes.copy(), footage.keypoints.copy()
    boxes[:, [0, 2]] += later[:, None]
    keypoints[..., 0] += later[:, None]
    assert watch(footage.changed(boxes=boxes, keypoints=keypoints)) == []


@pytest.mark.parametrize("period", [1, 2, 4])
def test_a_skeleton_that_flickers_between_two_people_is_not_running(period: int) -> None:
    one, other = film(standing, 6.0, place=(-1.0, 8.0)), film(standing, 6.0, place=(1.0, 8.0))
    chosen = (np.arange(len(one.times)) // period % 2 == 1)[:, None]
    footage = one.changed(
        keypoints=np.where(chosen[..., None], other.keypoints, one.keypoints),
        boxes=np.where(chosen, other.boxes, one.boxes),
    )
    assert watch(footage) == []


def test_running_ends_with_standing_still() -> None:
    times = times_of(Kind.RUNNING, watch(film(script((1.6, running(2.0)), (1, standing)), 5.0, place=LEFT)))
    assert times
    assert times[-1] < 2.6
