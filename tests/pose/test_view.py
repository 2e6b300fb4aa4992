from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.view import LIGHT, MOVES, NOBODY, crowd, infrared, place, reference, told_after
from pose.view import Background, Likeness, ViewMap, ViewWatch, compare
from simulation.scene import PLACES, Place

MINUTE = 60.0
TWO_PLACES: tuple[Place, ...] = ("hall", "park")
"""One with straight edges, one without."""


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("move", [one for one in MOVES if one != "turned by half a degree"])
def test_a_camera_that_moved_is_noticed_within_a_minute(name: Place, move: str) -> None:
    watch = ViewWatch(reference(place(name)))
    moved = place(name, **MOVES[move])
    assert (told_after(watch, lambda _: moved) or MINUTE) < MINUTE


@pytest.mark.parametrize("light", LIGHT)
@pytest.mark.parametrize("name", TWO_PLACES)
def test_a_change_of_light_is_no_change_of_the_view(name: Place, light: str) -> None:
    image = place(name)
    assert told_after(ViewWatch(reference(image)), lambda moment: LIGHT[light](image, moment)) is None


@pytest.mark.parametrize("name", TWO_PLACES)
def test_a_turn_is_noticed_in_other_light_too(name: Place) -> None:
    turned = infrared(place(name, yaw=3.0))
    assert (told_after(ViewWatch(reference(place(name))), lambda _: turned) or MINUTE) < MINUTE


@pytest.mark.parametrize("name", PLACES)
def test_another_place_is_noticed_within_a_minute(name: Place) -> None:
    watch = ViewWatch(reference(place(name)))
    other = place(PLACES[PLACES.index(name) - 1])
    assert (told_after(watch, lambda _: other) or MINUTE) < MINUTE


def test_a_camera_that_was_turned_back_is_current_again_within_a_minute() -> None:
    watch = ViewWatch(reference(place("hall")))
    assert told_after(watch, lambda _: place("hall", yaw=3.0))
    assert (told_after(watch, lambda _: place("hall"), start=100.0) or MINUTE) < MINUTE
    assert not watch.moved


def test_a_dark_night_leaves_what_was_said() -> None:
    watch = ViewWatch(reference(place("hall")))
    assert told_after(watch, lambda _: place("hall", yaw=3.0))
    assert told_after(watch, lambda _: np.zeros_like(place("hall")), start=100.0) is None
    assert watch.moved


@pytest.mark.parametrize("fps", [0.4, 1.0, 10.0])
def test_the_frame_rate_does_not_matter(fps: float) -> None:
    watch = ViewWatch(reference(place("street")))
    assert told_after(watch, lambda _: place("street", yaw=3.0), fps=fps) == pytest.approx(40, abs=6)


def test_something_that_stands_before_the_camera_for_a_while_is_nothing() -> None:
    image = place("street")
    lorry = image.copy()
    lorry[120:, 100:400] = 200
    assert told_after(ViewWatch(reference(image)), lambda moment: lorry if moment > 20 else image) is None
    wall = np.full_like(image, 200)
    assert told_after(ViewWatch(reference(image)), lambda moment: wall if 20 < moment < 50 else image) is None


@pytest.mark.parametrize("seen", [True, False])
def test_a_crowd_is_no_change_of_the_view_whether_it_is_found_or_not(seen: bool) -> None:
    image = place("park")
    watch = ViewWatch(reference(image))
    for moment in np.arange(0, 80, 2.0):
        full, boxes = crowd(image, moment, 14)
        watch.look(moment, full, boxes if seen else NOBODY)
        assert not watch.moved


def test_people_who_stand_still_are_not_in_the_background() -> None:
    image = place("hall")
    full, boxes = crowd(image, 0.0, 6)
    background = Background()
    for number in range(9):
        # The place is seen in some of the pictures only.
        background.look(2.0 * number, image if number % 3 == 0 else full, NOBODY if number % 3 == 0 else boxes)
    plain = Background()
    for number in range(9):
        plain.look(2.0 * number, image, NOBODY)
    found, expected = background.view(), plain.view()
    assert found is not None and expected is not None
    np.testing.assert_allclose(found.directions[found.valid], expected.directions[found.valid], atol=0.05)


def test_too_many_people_hide_the_view_and_nothing_is_said() -> None:
    image = place("hall")
    view = reference(image)
    background = Background()
    for moment in range(0, 20, 2):
        background.look(moment, image, np.array([[0, 0, 640, 360]], np.float32))
    now = background.view()
    assert now is not None
    assert compare(view, now) is None


def test_a_view_that_looks_the_same_at_every_shift_cannot_be_compared() -> None:
    blinds = np.repeat(place("street")[:, :1], 640, axis=1)
    found = compare(reference(blinds), reference(blinds))
    assert found is not None
    assert found.likeness is Likeness.UNKNOWN


def test_pictures_of_another_shape_are_not_compared() -> None:
    watch = ViewWatch(reference(place("hall")))
    assert told_after(watch, lambda _: cv2.resize(place("hall"), (360, 640))) is None


def test_the_memory_is_bounded() -> None:
    background = Background()
    for moment in range(0, 200, 2):
        background.look(moment, place("hall"), NOBODY)
    assert len(background._looks) == 9


def test_a_stored_view_is_the_same_and_a_damaged_one_is_refused() -> None:
    view = reference(place("shop"))
    stored = view.to_dict()
    again = ViewMap.from_dict(stored)
    assert ViewWatch(view).is_of(again)
    assert not ViewWatch(reference(place("hall"))).is_of(again)
    np.testing.assert_array_equal(again.valid, view.valid)
    for damage in ({"directions": "AAAA"}, {"width": 7}, {"texture": 2.0}, {"height": None}):
        with pytest.raises(ValueError, match="the stored view is damaged"):
            ViewMap.from_dict(stored | damage)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.floats(0.2, 1.0), st.floats(0.0, 60.0))
def test_whatever_the_place_brightness_and_contrast_do_not_matter(seed: int, contrast: float, lift: float) -> None:
    squares = np.random.default_rng(seed).integers(60, 200, (12, 20))
    grey = np.kron(squares, np.ones((8, 8))).astype(np.float32)
    valid = np.ones(grey.shape, np.bool_)
    found = compare(ViewMap.of(grey, valid), ViewMap.of(contrast * grey + lift, valid))
    assert found is not None
    assert found.likeness is Likeness.SAME


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.integers(-30, 30), st.integers(-20, 20))
def test_whatever_the_place_a_shift_is_found(seed: int, across: int, down: int) -> None:
    squares = np.random.default_rng(seed).integers(0, 256, (12, 20))
    grey = np.kron(squares, np.ones((8, 8))).astype(np.float32)
    valid = np.ones(grey.shape, np.bool_)
    found = compare(ViewMap.of(grey, valid), ViewMap.of(np.roll(grey, (down, across), (0, 1)), valid))
    assert found is not None
    if max(abs(across), abs(down)) > 3:
        assert found.likeness is Likeness.OTHER
        assert found.shift == pytest.approx((across / 160, down / 160), abs=1e-6)
    elif max(abs(across), abs(down)) <= 1:
        assert found.likeness is Likeness.SAME
