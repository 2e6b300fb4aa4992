"""Whether a camera can see people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from benchmarks.sight import blurred, covered, darkened, defocused, grey, infrared, looks_of, overexposed, told_after
from pose.sight import CannotSee, Look, Sight, look_at
from simulation.rendering import render
from simulation.scene import demo_scene

Image = NDArray[np.uint8]

HAND = Look(0.0, CannotSee.COVERED, np.full((11, 20), 90, np.float32))


def room(seed: int = 0) -> Image:
    """A picture with many edges, as wide as 640 pixels."""
    chance = np.random.default_rng(seed)
    image = np.full((360, 640, 3), 120, np.uint8)
    for _ in range(250):
        left, top = chance.integers(0, 620), chance.integers(0, 340)
        wide, high = chance.integers(10, 90, 2)
        colour = [int(level) for level in chance.integers(20, 235, 3)]
        cv2.rectangle(image, (int(left), int(top)), (int(left + wide), int(top + high)), colour, -1)
    return image


def wall(level: int = 180) -> Image:
    """A bare wall that fills the picture, with a little noise."""
    noise = np.random.default_rng(1).normal(level, 1.0, (360, 640, 1))
    return np.repeat(noise.astype(np.uint8), 3, axis=2)


ROOM = look_at(room())
WALL = look_at(wall())


def watch(sight: Sight, look: Look, seconds: float, since: float, step: float = 0.5) -> float:
    """Show a camera the same for some seconds; returns the moment after that."""
    steps = round(seconds / step)
    for number in range(steps):
        sight.look(look, since + number * step)
    return since + steps * step


def people(sight: Sight, moment: float, height: float = 120.0, confidence: float = 0.9, track: int = 1) -> None:
    """Show a camera one person."""
    keypoints = np.full((1, 17, 3), confidence, np.float32)
    sight.people(keypoints, np.array([[10, 10, 50, 10 + height]], np.float32), [track], (640, 360), moment)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (darkened(0.03), CannotSee.TOO_DARK),
        (darkened(0.03, noise=4), CannotSee.TOO_DARK),
        (overexposed(30), CannotSee.GLARE),
        (blurred(12), CannotSee.BLURRED),
        (defocused(30), CannotSee.BLURRED),
        (covered(), CannotSee.COVERED),
    ],
)
def test_a_camera_whose_pictures_are_spoilt_says_why_within_ten_seconds(
    spoil: Callable[[Image], Image], reason: CannotSee
) -> None:
    told = told_after([ROOM] * 30, [look_at(spoil(room()))])
    assert told is not None
    assert told[0] <= 10
    assert told[1] is reason


@pytest.mark.parametrize("spoil", [grey, infrared, darkened(0.3), blurred(2), covered(0.4)])
def test_what_still_shows_people_is_not_blind(spoil: Callable[[Image], Image]) -> None:
    assert told_after([ROOM] * 30, [look_at(spoil(room()))]) is None


def test_a_camera_that_is_blind_from_the_start_says_so() -> None:
    assert told_after([], [look_at(darkened(0.01)(room()))]) == (6.0, CannotSee.TOO_DARK)


@pytest.mark.parametrize("step", [0.5, 1.0, 2.0])
def test_the_time_until_it_is_said_does_not_depend_on_the_frame_rate(step: float) -> None:
    sight = Sight()
    since = watch(sight, ROOM, 20, 0.0, step)
    watch(sight, HAND, 6 - step, since, step)
    assert sight.cannot_see is None
    watch(sight, HAND, 2 * step, since + 6 - step, step)
    assert sight.cannot_see is CannotSee.COVERED


def test_a_slow_camera_needs_three_blind_pictures() -> None:
    sight = Sight()
    said = []
    for number, look in enumerate([ROOM, HAND, HAND, HAND]):
        sight.look(look, 60.0 * number)
        said.append(sight.cannot_see)
    assert said == [None, None, None, CannotSee.COVERED]


def test_single_odd_pictures_change_nothing() -> None:
    sight, moment = Sight(), 0.0
    for number in range(200):
        sight.look(HAND if number % 5 == 0 else ROOM, moment)
        assert sight.cannot_see is None
        moment += 0.5
    moment = watch(sight, HAND, 8, moment)
    for number in range(200):
        sight.look(ROOM if number % 5 == 0 else HAND, moment)
        assert sight.cannot_see is CannotSee.COVERED
        moment += 0.5


def test_somebody_close_to_the_lens_for_a_moment_changes_nothing() -> None:
    sight = Sight()
    moment = watch(sight, ROOM, 20, 0.0)
    moment = watch(sight, HAND, 5, moment)
    assert sight.cannot_see is None
    watch(sight, ROOM, 5, moment)
    assert sight.cannot_see is None


def test_a_camera_sees_again_by_itself_and_not_at_the_first_picture() -> None:
    sight = Sight()
    moment = watch(sight, HAND, 10, watch(sight, ROOM, 20, 0.0))
    moment = watch(sight, ROOM, 5, moment)
    assert sight.cannot_see is CannotSee.COVERED
    watch(sight, ROOM, 2, moment)
    assert sight.cannot_see is None


def test_pictures_at_the_limit_do_not_make_the_state_flap() -> None:
    sight = Sight()
    moment = watch(sight, ROOM, 60, 0.0)
    changes, before = 0, None
    chance = np.random.default_rng(2)
    for _ in range(2000):
        detail = float(ROOM.detail / 4 + chance.normal(0, 0.01))
        sight.look(Look(detail, CannotSee.BLURRED, ROOM.brightness), moment)
        changes += sight.cannot_see is not before
        before, moment = sight.cannot_see, moment + 0.5
    assert changes <= 1


def test_a_blind_camera_that_becomes_blind_for_another_reason_says_so() -> None:
    sight = Sight()
    moment = watch(sight, look_at(darkened(0.01)(room())), 10, watch(sight, ROOM, 20, 0.0))
    assert sight.cannot_see is CannotSee.TOO_DARK
    watch(sight, HAND, 15, moment)
    assert sight.cannot_see is CannotSee.COVERED


def test_less_than_a_quarter_of_what_a_camera_usually_shows_is_too_little() -> None:
    part = Look(0.2 * ROOM.detail, CannotSee.COVERED, ROOM.brightness)
    assert told_after([ROOM] * 30, [part]) is not None
    # A camera that never showed more is not blind.
    assert told_after([], [part]) is None


def test_a_bare_wall_is_a_cover_until_people_are_well_seen_in_front_of_it() -> None:
    sight = Sight()
    moment = watch(sight, WALL, 10, 0.0)
    assert sight.cannot_see is CannotSee.COVERED
    for _ in range(20):
        people(sight, moment)
        sight.look(WALL, moment)
        moment += 0.5
    assert sight.cannot_see is None
    moment = watch(sight, WALL, 600, moment)
    assert sight.cannot_see is None
    # The wall may change slowly with the light; a cover of another brightness is noticed.
    for level in range(180, 110, -1):
        moment = watch(sight, look_at(wall(level)), 30, moment)
        assert sight.cannot_see is None
    watch(sight, look_at(wall(60)), 10, moment)
    assert sight.cannot_see is CannotSee.COVERED


def test_a_night_in_which_people_are_well_seen_is_not_too_dark() -> None:
    sight, night = Sight(), look_at(darkened(0.03)(room()))
    moment = watch(sight, ROOM, 20, 0.0)
    for _ in range(100):
        people(sight, moment)
        sight.look(night, moment)
        moment += 0.5
    assert sight.cannot_see is None
    watch(sight, night, 10, moment)
    assert sight.cannot_see is CannotSee.TOO_DARK


@pytest.mark.parametrize(("height", "confidence"), [(120.0, 0.3), (20.0, 0.9)])
def test_people_who_are_badly_seen_prove_nothing(height: float, confidence: float) -> None:
    sight, moment = Sight(), 0.0
    for _ in range(40):
        people(sight, moment, height, confidence)
        sight.look(HAND, moment)
        moment += 0.5
    assert sight.cannot_see is CannotSee.COVERED


def test_people_are_too_small_when_twenty_in_a_row_were() -> None:
    sight, moment = Sight(), 0.0
    for track in range(20):
        assert sight.cannot_see is None
        for _ in range(30):
            people(sight, moment, height=15.0, track=track)
            moment += 0.1
        moment += 5
    people(sight, moment, height=15.0, track=20)
    assert sight.cannot_see is CannotSee.PEOPLE_TOO_SMALL
    people(sight, moment + 1, height=60.0, track=21)
    assert sight.cannot_see is None


def test_what_is_remembered_of_people_is_bounded() -> None:
    sight = Sight()
    for track in range(5000):
        people(sight, 0.1 * track, height=10.0, track=track)
    assert len(sight._followed) < 100
    assert len(sight._heights) <= 20


def test_a_picture_that_is_not_newer_is_passed_over() -> None:
    sight = Sight()
    watch(sight, ROOM, 10, 0.0)
    for _ in range(100):
        sight.look(HAND, 5.0)
    assert sight.cannot_see is None


def test_the_words_that_a_camera_writes_into_its_picture_do_not_count() -> None:
    image = covered()(room())
    for place in ((10, 14), (500, 352)):
        cv2.putText(image, "2026-11-30 10:37", place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
    look = look_at(image)
    assert look.detail < 0.01
    assert look.hidden_by is CannotSee.COVERED


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.uint8,
        st.one_of(
            st.tuples(st.integers(1, 80), st.integers(1, 80), st.just(3)),
            st.tuples(st.integers(1, 80), st.integers(1, 80)),
        ),
    )
)
def test_any_picture_can_be_looked_at(image: Image) -> None:
    look = look_at(image)
    assert 0 <= look.detail <= 1
    assert look.hidden_by is not CannotSee.PEOPLE_TOO_SMALL
    assert np.isfinite(look.brightness).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 4000, 3), (4000, 2, 3), (1080, 1920, 3), (360, 640)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_pictures_of_one_colour_show_nothing(shape: tuple[int, ...], level: int) -> None:
    look = look_at(np.full(shape, level, np.uint8))
    assert look.detail == 0
    assert look.hidden_by is {0: CannotSee.TOO_DARK, 128: CannotSee.COVERED, 255: CannotSee.GLARE}[level]


def test_a_grey_picture_is_measured_like_its_colours() -> None:
    image = room()
    assert look_at(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.uint8)).detail == pytest.approx(
        ROOM.detail, abs=0.02
    )


def test_the_same_scene_shows_as_much_in_every_size() -> None:
    for size in ((320, 180), (1280, 720), (1920, 1080)):
        resized = cv2.resize(room(), size, interpolation=cv2.INTER_AREA).astype(np.uint8)
        assert look_at(resized).detail == pytest.approx(ROOM.detail, abs=0.05)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((360, 640, 3), np.uint16),
        np.zeros((360, 640, 3), np.float32),
        np.zeros((360, 640, 4), np.uint8),
        np.zeros((0, 640, 3), np.uint8),
        np.zeros(640, np.uint8),
    ],
    ids=["16 bits", "floats", "four channels", "empty", "a line"],
)
def test_what_is_no_picture_of_eight_bits_is_refused(image: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="a picture must be"):
        look_at(image)


@pytest.mark.parametrize("seed", range(4))
def test_the_cameras_of_the_small_world_see(seed: int) -> None:
    frame = next(render(demo_scene(seed)))
    assert look_at(frame.image).detail > 0.2


@pytest.mark.parametrize("name", ["clips/intel", "clips/ubnormal", "events/gmdcsa24"])
def test_no_plain_clip_is_blind_and_its_spoilt_pictures_are(name: str, test_data: Path) -> None:
    path = min((test_data / name).glob("*.mp4"), key=lambda file: file.stat().st_size)
    pictures, looks = zip(*looks_of(path), strict=True)
    assert told_after([], looks) is None
    for spoil in (darkened(0.03), blurred(16), covered()):
        told = told_after(looks * 3, [look_at(spoil(pictures[0]))])
        assert told is not None
        assert told[0] <= 10
