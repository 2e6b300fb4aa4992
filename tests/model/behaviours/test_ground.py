from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.behaviours.ground import inside, within
from model.kinematics import Kinematics

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


@pytest.mark.parametrize(
    ("point", "found"),
    [
        ((0.2, 0.5), True),
        ((0.7, 0.5), False),
        ((0.2, 1.0), True),
        ((0.5, 0.5), True),
        ((-0.1, 1.3), True),
        ((0.2, np.nan), False),
    ],
)
def test_a_point_is_in_a_zone_up_to_its_edge_and_one_outside_the_picture_is_at_the_edge(
    point: tuple[float, float], found: bool
) -> None:
    assert inside(np.array([point]), LEFT).tolist() == [found]


def test_who_is_cut_by_the_lower_edge_of_the_picture_stands_in_a_zone_that_reaches_it() -> None:
    boxes = np.array([[20.0, 40.0, 60.0, 100.0], [120.0, 40.0, 160.0, 100.0]])
    (bodies,) = Kinematics().observe(1.0, [1, 2], boxes, np.zeros((2, 17, 3)), (200, 100))
    assert within(bodies, LEFT).tolist() == [True, False]
    assert within(bodies, None).tolist() == [True, True]


@given(
    corners=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=8, unique=True),
    point=st.tuples(st.integers(-3, 23), st.integers(-3, 23)),
)
def test_points_are_in_the_zones_in_which_opencv_finds_them(
    corners: list[tuple[int, int]], point: tuple[int, int]
) -> None:
    zone = tuple((x / 20, y / 20) for x, y in corners)
    place = np.clip(point, 0, 20)
    expected = cv2.pointPolygonTest(np.array(corners, np.float32), place.astype(float).tolist(), measureDist=False) >= 0
    assert inside(np.array([point]) / 20, zone).tolist() == [expected]
