from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pose.view import Background, Likeness, ViewMap, ViewReference, ViewWatch, compare
from simulation.places import draw_background, furnish
from simulation.scene import PLACES, Place, demo_scene

Image = NDArray[np.uint8]
Change = Callable[[Image, float], Image]

NOBODY = np.empty((0, 4), np.float32)
MINUTE = 60.0
TWO_PLACES: tuple[Place, ...] = ("hall", "park")
"""One with straight edges, one without."""


@cache
def place(name: Place, *, yaw: float = 0.0, tilt: float = 0.0, rise: float = 0.0, zoom: float = 1.0) -> Image:
    """A place of the small world without people, from a camera that was turned, raised or zoomed."""
    scene = replace(demo_scene(3), place=name)
    camera = scene.camera
    moved = replace(
        camera,
        yaw_deg=camera.yaw_deg + yaw,
        tilt_deg=camera.tilt_deg + tilt,
        height_m=camera.height_m + rise,
        focal=camera.focal * zoom,
    )
    return draw_background(replace(scene, camera=moved), furnish(scene)).image


@cache
def noise(number: int) -> NDArray[np.float32]:
    return np.random.default_rng(number).normal(0, 6, (640, 640, 3)).astype(np.float32)


def grain(image: Image, moment: float) -> Image:
    """A picture with the noise of a sensor."""
    height, width = image.shape[:2]
    return np.clip(image + noise(round(moment / 2) % 9)[:height, :width], 0, 255).astype(np.uint8)


def reference(image: Image) -> ViewMap:
    calibrated = ViewReference()
    for moment in range(0, 30, 2):
        calibrated.look(moment, grain(image, moment), NOBODY)
    view = calibrated.view()
    assert view is not None
    return view


def told_after(
    watch: ViewWatch, picture: Callable[[float], Image], *, seconds: float = 80.0, fps: float = 0.5, start: float = 0.0
) -> float | None:
    """Seconds until what a watch says changes; None if it does not."""
    before = watch.moved
    for number in range(round(seconds * fps)):
        moment = number / fps
        watch.look(start + moment, grain(picture(moment), start + moment), NOBODY)
        if watch.moved != before:
            return moment
    return None


def table(levels: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.uint8]:
    return np.clip(levels(np.arange(256.0)), 0, 255).astype(np.uint8)


def shaded(image: Image, place: float) -> Image:
    """With sharp shadows across the picture, which begin at a share of its width."""
    height, width = image.shape[:2]
    light = np.ones((height, width), np.float32)
    for left in (place, place + 0.35):
        corners = np.array([[left, 0], [left + 0.15, 0], [left + 0.45, 1], [left + 0.25, 1]]) * (width, height)
        cv2.fillPoly(light, [corners.astype(np.int32)], 0.35)
    return (image * light[..., None]).astype(np.uint8)


def infrared(image: Image) -> Image:
    """Grey, from the red channel, in the light of a lamp at the camera."""
    height, width = image.shape[:2]
    down, across = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    lit = 255 * (image[..., 2] / 255) ** 0.6 * np.exp(-1.2 * (down**2 + across**2))
    return np.repeat(lit.astype(np.uint8)[..., None], 3, axis=2)


def lamps(image: Image) -> Image:
    height, width = image.shape[:2]
    down, across = np.mgrid[:height, :width]
    lit = image * 0.12
    for x, y in ((0.2, 0.3), (0.7, 0.2), (0.5, 0.8)):
        pool = np.exp(-((across - x * width) ** 2 + (down - y * height) ** 2) / (0.06 * width) ** 2)
        lit = lit + 150 * pool[..., None]
    return np.clip(lit, 0, 255).astype(np.uint8)


LIGHT: dict[str, Change] = {
    "as it was": lambda image, _: image,
    "darker": lambda image, _: cv2.LUT(image, table(lambda grey: 255 * (grey / 255) ** 2)),
    "brighter": lambda image, _: cv2.LUT(image, table(lambda grey: 1.6 * grey + 20)),
    "little contrast": lambda image, _: cv2.LUT(image, table(lambda grey: 90 + 0.3 * (grey - 128))),
    "warm": lambda image, _: np.clip(image * np.array([0.5, 0.9, 1.3]), 0, 255).astype(np.uint8),
    "shadows": lambda image, _: shaded(image, 0.1),
    "moving shadows": lambda image, moment: shaded(image, moment / 100),
    "infrared": lambda image, _: infrared(image),
    "dusk": lambda image, moment: (image * max(1 - moment / 60, 0.02)).astype(np.uint8),
    "flicker": lambda image, moment: (image * (0.5 if round(moment / 10) % 2 else 1.0)).astype(np.uint8),
    "night with lamps": lambda image, _: lamps(image),
    "dark": lambda image, _: (image * 0.01).astype(np.uint8),
    "light switched on and off": lambda image, moment: image if round(moment / 30) % 2 else infrared(image),
}

MOVES = {
    "turned by 3 degrees": {"yaw": 3.0},
    "turned by 3 degrees to the other side": {"yaw": -3.0},
    "tilted by 3 degrees": {"tilt": 3.0},
    "raised by half a metre": {"rise": 0.5},
    "zoomed by a tenth": {"zoom": 1.1},
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("move", MOVES)
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
    lorry[60:, 100:560] = 200
    assert told_after(ViewWatch(reference(image)), lambda moment: lorry if moment > 20 else image) is None
    wall = np.full_like(image, 200)
    assert told_after(ViewWatch(reference(image)), lambda moment: wall if 20 < moment < 50 else image) is None


def crowd(image: Image, moment: float, people: int) -> tuple[Image, NDArray[np.float32]]:
    rng = np.random.default_rng(round(1000 * moment))
    height, width = image.shape[:2]
    full, boxes = image.copy(), []
    for _ in range(people):
        left, top = rng.uniform(0, width - 60), rng.uniform(0.1 * height, height - 160)
        boxes.append((left, top, left + 60, top + 150))
        texture = rng.integers(0, 256, (15, 6, 3)).astype(np.uint8)
        shown = cv2.resize(texture, (60, 150), interpolation=cv2.INTER_NEAREST)
        full[round(top) : round(top) + 150, round(left) : round(left) + 60] = shown
    return full, np.array(boxes, np.float32)


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
