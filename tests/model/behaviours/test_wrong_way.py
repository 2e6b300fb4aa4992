"""Who goes the wrong way, and who does not."""

import pytest

from model.behaviours import Behaviours, Kind, WrongWay
from tests.doubles.puppet import STAND, Act, Footage, Seen, film, keys, script, standing, walking, watch

WALK = walking(0.8)


def against(direction_deg: float, *people: Footage, **changes: object) -> list[Seen]:
    return watch(*people, behaviours=Behaviours([WrongWay(direction_deg, **changes)]))


def walk(facing: float, fps: float = 15.0, act: Act = WALK) -> Footage:
    place = {0.0: (-3.0, 8.0), 180.0: (3.0, 8.0), 90.0: (0.0, 5.0), -90.0: (0.0, 11.0)}[facing]
    return film(act, 5.0, fps=fps, facing=facing, place=place)


@pytest.mark.parametrize("fps", [5, 10, 30])
@pytest.mark.parametrize(("facing", "declared"), [(180.0, 0.0), (0.0, 180.0), (90.0, 270.0), (-90.0, 90.0)])
def test_who_goes_against_the_direction_is_named(fps: float, facing: float, declared: float) -> None:
    seen = against(declared, walk(facing, fps))
    assert 1.0 <= seen[0].time <= 4.5
    assert seen[0].finding.kind is Kind.WRONG_WAY
    assert seen[0].finding.tracks == (7,)
    assert seen[0].finding.facts["against_h"] >= 1.2
    assert "against the direction of this place" in seen[0].finding.saw


@pytest.mark.parametrize("fps", [5, 30])
@pytest.mark.parametrize(("facing", "declared"), [(0.0, 0.0), (180.0, 180.0), (90.0, 0.0), (0.0, 90.0), (0.0, 270.0)])
def test_who_goes_along_or_across_is_not(fps: float, facing: float, declared: float) -> None:
    assert against(declared, walk(facing, fps)) == []


@pytest.mark.parametrize(
    "act",
    [standing, script((1.0, WALK), (1.0, standing)), keys((0.0, STAND), (5.0, STAND))],
    ids=["stands", "a few steps", "still"],
)
def test_a_few_steps_are_not(act: Act) -> None:
    assert against(0.0, walk(180.0, act=act)) == []


@pytest.mark.parametrize("fps", [5, 30])
def test_a_box_that_jumps_is_not(fps: float) -> None:
    footage = film(standing, 5.0, fps=fps)
    later = (footage.times >= 2.5) * 200
    boxes, keypoints = footage.boxes.copy(), footage.keypoints.copy()
    boxes[:, [0, 2]] -= later[:, None]
    keypoints[..., 0] -= later[:, None]
    assert against(0.0, footage.changed(boxes=boxes, keypoints=keypoints)) == []


def test_it_counts_in_its_zone_only() -> None:
    left, right = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)), ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))
    assert min(each.time for each in against(0.0, walk(180.0), zone=left)) > 2.0
    assert max(each.time for each in against(0.0, walk(180.0), zone=right)) < 2.6
    assert against(0.0, walk(180.0), zone=((0.0, 0.0), (1.0, 0.0), (1.0, 0.1))) == []
