from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.behaviours import Kind
from pose.skeleton import COCO_JOINTS
from service.documents.results import Anomaly, ClipInfo, ClipResult, FrameScore, ModelInfo, PersonScore, Threshold
from service.drawing.overlay import (
    RAREST,
    Image,
    band_height,
    clock_text,
    contributions,
    draw_band,
    draw_chart,
    draw_live,
    draw_people,
    fitted_size,
    joint_heat,
    level_colour,
    level_text,
    limb_colour,
    rarity,
)
from tests.doubles.findings import finding
from tests.doubles.scores import even_joints, live_person, live_score


def person(
    level: float | None = None,
    box: tuple[float, float, float, float] = (100.0, 80.0, 160.0, 200.0),
    keypoints: list[tuple[float, float, float]] | None = None,
    **behaviours: float,
) -> PersonScore:
    return PersonScore(
        track=7,
        box=box,
        keypoints=keypoints,
        score=level,
        level=level,
        behaviours={Kind(kind): score for kind, score in behaviours.items()},
    )


def violet(pixel: NDArray[np.uint8]) -> bool:
    blue, green, red = pixel.astype(int)
    return bool(blue - green > 80 and red - green > 80)


def grey(height: int = 240, width: int = 320) -> Image:
    return np.full((height, width, 3), 90, np.uint8)


def changed(image: Image) -> NDArray[np.bool_]:
    different: NDArray[np.bool_] = np.any(image != 90, axis=-1)
    return different


def test_rarity_counts_decades_and_ends() -> None:
    np.testing.assert_allclose(rarity([0.0, 0.9, 0.99, 0.999]), [0, 1, 2, 3], atol=1e-9)
    assert float(rarity(1.0)) == RAREST
    assert np.isnan(rarity(np.nan))


@pytest.mark.parametrize(
    ("level", "text"),
    [(0.0, "0.00"), (0.29, "0.29"), (0.719, "0.71"), (0.99, "0.9900"), (0.99996, "0.9999"), (1.0, "1.0000")],
)
def test_level_text_never_rounds_up_to_one(level: float, text: str) -> None:
    assert level_text(level) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0:00.0"), (0.1, "0:00.1"), (75.25, "1:15.2"), (3599.99, "59:59.9"), (3661.0, "1:01:01")],
)
def test_clock_text(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text


def test_colour_warms_from_the_threshold_on() -> None:
    unscored, calm, at, beyond = (level_colour(level, 0.99) for level in (None, 0.98, 0.99, 0.9999))
    assert len(set(unscored)) == 1
    assert calm[0] > calm[2]
    assert at[2] > at[0]
    assert beyond[1] < at[1]


def test_people_without_keypoints_are_boxes() -> None:
    image = grey()
    draw_people(image, [person(0.5)], 0.99)
    marked = changed(image)
    assert marked[140, 100]
    assert marked[200, 130]
    assert not marked[90:190, 110:150].any()


def test_joints_that_were_not_seen_are_not_drawn() -> None:
    image = grey()
    unseen = [(130.0, 140.0, 0.05)] * 17
    draw_people(image, [person(0.5, keypoints=unseen)], 0.99)
    assert not changed(image)[90:190, 110:150].any()
    draw_people(image, [person(0.5, keypoints=[(130.0, 140.0, 0.9)] * 17)], 0.99)
    assert changed(image)[140, 130]


def test_the_most_anomalous_person_lies_on_top() -> None:
    image = grey()
    draw_people(image, [person(0.9999), person(0.1), person(None)], 0.99)
    blue, _, red = image[140, 100].tolist()
    assert red > blue


def test_a_person_of_whom_a_named_behaviour_fires_has_a_box_of_its_own_colour_on_top() -> None:
    image = grey()
    draw_people(image, [person(0.1, fall=1.0), person(0.9999), person(None)], 0.99)
    assert violet(image[140, 100])
    image = grey()
    draw_people(image, [person(0.1, fall=0.999)], 0.99)
    assert not violet(image[140, 100])


def test_the_label_says_the_most_severe_behaviour_that_fires() -> None:
    def labelled(**behaviours: float) -> Image:
        image = grey()
        draw_people(image, [person(0.5, **behaviours)], 0.99)
        return image

    both, fall, lying = labelled(lying=2.0, fall=1.1), labelled(fall=1.1), labelled(lying=2.0, fall=0.9)
    np.testing.assert_array_equal(both, fall)
    assert changed(lying).sum() > changed(fall).sum(), "the longer title has the wider label"


def test_joints_of_behaviours_that_fire_are_emphasised_and_no_others() -> None:
    knees_and_ankles = {7: {Kind.FALL: (13, 15), Kind.RUNNING: (14, 16)}}
    keypoints = live_person(box=(100.0, 80.0, 160.0, 200.0)).keypoints
    assert keypoints is not None
    image = grey()
    draw_people(image, [person(0.5, keypoints=keypoints, fall=1.2, running=0.8)], 0.99, joints=knees_and_ankles)
    for (knee, ankle), emphasised in (((13, 15), True), ((14, 16), False)):
        x, y = (round(0.6 * keypoints[knee][axis] + 0.4 * keypoints[ankle][axis]) for axis in (0, 1))
        assert violet(image[y, x]) == emphasised


def test_what_contributed_is_told_by_person_and_kind() -> None:
    seen = [
        finding(Kind.FIGHT, tracks=(1, 2), joints=(9, 10)),
        finding(Kind.FIGHT, tracks=(2, 3), joints=(7, 9)),
        finding(Kind.FALL, tracks=(1,), joints=(11, 12)),
    ]
    assert contributions(seen) == {
        1: {Kind.FIGHT: (9, 10), Kind.FALL: (11, 12)},
        2: {Kind.FIGHT: (7, 9, 10)},
        3: {Kind.FIGHT: (7, 9)},
    }


def test_a_camera_shows_what_it_sees_also_of_people_who_are_not_scored() -> None:
    fallen = live_person(None, behaviours={Kind.FALL: 1.3})
    score = live_score(None, people=[fallen])
    image = draw_live(None, score, joints={1: {Kind.FALL: (5, 6, 11, 12)}})
    left, top, _, bottom = (round(side) for side in fallen.box)
    assert violet(image[(top + bottom) // 2, left])
    unnamed = draw_live(None, live_score(None, people=[live_person(None)]))
    assert not any(violet(pixel) for pixel in unnamed.reshape(-1, 3)[::7])
    strip, plain_strip = image[-3, 5].astype(int), unnamed[-3, 5].astype(int)
    assert strip[0] - strip[1] > 30 > plain_strip[0] - plain_strip[1]


@pytest.mark.parametrize("size", [(120, 160), (2160, 3840), (17, 9)])
@pytest.mark.parametrize("box", [(-50.0, -40.0, 30.0, 60.0), (0.0, 0.0, 1.0, 1.0), (5000.0, 5000.0, 6000.0, 6000.0)])
def test_boxes_beyond_the_picture_are_drawn_as_far_as_they_go(
    size: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    image = grey(*size)
    draw_people(image, [person(0.5, box, [(box[0], box[1], 1.0)] * 17)], 0.99)
    assert changed(image).any()


def result(levels: list[float | None], duration_s: float) -> ClipResult:
    frames = [
        FrameScore(index=index, time_s=index * duration_s / len(levels), score=level, level=level, people=[])
        for index, level in enumerate(levels)
    ]
    return ClipResult(
        clip=ClipInfo(frames=len(levels), fps=len(levels) / duration_s, width=320, height=240, duration_s=duration_s),
        model=ModelInfo(checkpoint="test", parameters=488, window=24, rate_hz=15.0, pose_weights="pose.onnx"),
        threshold=Threshold(level=0.99, unusual_per_day=24.0, false_alarms_per_day=48.0),
        frames=frames,
        tracks=[],
        anomalies=[],
    )


@pytest.mark.parametrize("width", [32, 240, 1920])
@pytest.mark.parametrize("count", [1, 7, 5000])
def test_chart_shows_a_peak_at_any_length_and_width(width: int, count: int) -> None:
    levels: list[float | None] = [0.1] * count
    levels[count // 2] = 0.9999
    chart = draw_chart(result(levels, 10.0), width, 40)
    warm = (chart[..., 2].astype(int) - chart[..., 0] > 100).any(axis=0)
    assert warm.any()
    assert warm.sum() <= width / count + 2


def test_the_chart_and_the_band_tell_a_named_anomaly_from_a_level() -> None:
    clip, height = result([0.5] * 10, 10.0), band_height(240)
    named = clip.model_copy(
        update={
            "frames": [frame.model_copy(update={"people": [person(0.5, fall=1.0)]}) for frame in clip.frames],
            "anomalies": [
                Anomaly(kind=Kind.FALL, start_s=5.0, end_s=7.0, peak_level=0.5, tracks=[7]),
                Anomaly(kind=Kind.UNUSUAL, start_s=5.0, end_s=9.0, peak_level=0.5, tracks=[7]),
            ],
        }
    )
    chart = draw_chart(named, 320, height)
    top = chart[1].astype(int)
    before, both, level = top[100], top[190], top[280]
    assert before.max() - before.min() < 20
    assert both[0] > both[1] + 30
    assert level[2] > level[0] + 30
    bands = [np.zeros_like(chart) for _ in range(2)]
    for band, one in zip(bands, (named, clip), strict=True):
        draw_band(band, chart, one.frames[0], one)
    ground, plain = (band[-2, 160].astype(int) for band in bands)
    assert ground[0] - ground[1] > 30 > plain[0] - plain[1]


def test_band_says_why_there_is_no_score_where_it_fits() -> None:
    clip = result([None, 0.5], 2.0)
    for width in (64, 640):
        height = band_height(240)
        chart = draw_chart(clip, width, height)
        band = np.zeros_like(chart)
        draw_band(band, chart, clip.frames[0], clip)
        text = np.flatnonzero((band[height - 12 :].max(axis=-1) > 120).any(axis=0))
        assert text.min() < 20
        has_reason = bool(np.diff(text).max() > 50)
        assert has_reason == (width == 640)


def test_an_even_share_is_half_hot_at_every_joint_though_shoulders_speak_for_the_neck() -> None:
    assert joint_heat(live_person(0.999, joints=even_joints(2.7))) == pytest.approx([0.5] * 17)


@given(joints=st.lists(st.floats(-5, 5), min_size=17, max_size=17), factor=st.floats(0.1, 10))
def test_heat_is_a_share_and_does_not_depend_on_the_score(joints: list[float], factor: float) -> None:
    heat = joint_heat(live_person(0.999, joints=joints))
    assert all(0.0 <= one <= 1.0 for one in heat)
    if sum(joints) > 1e-6:
        assert joint_heat(live_person(0.999, joints=[factor * one for one in joints])) == pytest.approx(heat, abs=1e-6)


@pytest.mark.parametrize("joints", [None, [0.0] * 17, [-0.1] * 17])
def test_shares_that_are_unknown_or_mean_nothing_colour_the_whole_person(joints: list[float] | None) -> None:
    assert joint_heat(live_person(0.999, joints=joints)) == (1.0,) * 17


def test_only_an_anomalous_person_has_hot_limbs() -> None:
    for level in (None, 0.5):
        assert {limb_colour(level, 0.99, heat) for heat in (0.0, 0.5, 1.0)} == {level_colour(level, 0.99)}
    blues, _, reds = zip(*(limb_colour(0.999, 0.99, heat) for heat in (0.0, 0.5, 1.0)), strict=True)
    assert blues[0] > blues[1]
    assert reds[0] < reds[1]
    assert limb_colour(0.999, 0.99, 1.0) == level_colour(1.0, 0.99)


def test_the_limb_that_made_the_score_is_red_and_the_others_are_not() -> None:
    joints = even_joints(0.5)
    for name in ("left_knee", "left_ankle"):
        joints[COCO_JOINTS.index(name)] = 1.0
    person = live_person(0.9999, joints=joints)
    image = draw_live(None, live_score(0.9999, people=[person]))
    assert person.keypoints is not None
    shins = {}
    for side in ("left", "right"):
        (knee_x, knee_y, _), (ankle_x, ankle_y, _) = (
            person.keypoints[COCO_JOINTS.index(f"{side}_{joint}")] for joint in ("knee", "ankle")
        )
        shins[side] = image[round((knee_y + ankle_y) / 2), round((knee_x + ankle_x) / 2)].astype(int)
    assert shins["left"][2] - shins["left"][0] > 150
    assert shins["right"][0] - shins["right"][2] > 50


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_nothing_of_the_picture_is_left_without_background(seed: int) -> None:
    score = live_score(0.999, incident="a")
    noise = np.random.default_rng(seed).integers(0, 256, (240, 320, 3), np.uint8)
    np.testing.assert_array_equal(draw_live(noise, score, background=False), draw_live(None, score))
    assert not np.array_equal(draw_live(noise, score), draw_live(None, score))


@pytest.mark.parametrize("size", [(16, 16), (90, 60), (640, 480), (1281, 721)])
@pytest.mark.parametrize("shape", [(240, 320), (480, 640), (33, 17)])
def test_people_keep_their_place_at_every_size(size: tuple[int, int], shape: tuple[int, int]) -> None:
    image = grey(*shape)
    drawn = draw_live(image, live_score(0.5, people=[live_person(0.5, box=(0.0, 0.0, 160.0, 120.0))]), size=size)
    assert drawn.shape == (size[1], size[0], 3)
    np.testing.assert_array_equal(image, grey(*shape))
    marked = changed(drawn)
    rows = marked[: round(0.9 * size[1] - 15), :].any(axis=1)
    columns = marked[: size[1] // 2 + 1].any(axis=0)
    if size[0] >= 90:
        assert np.flatnonzero(columns).max() == pytest.approx(size[0] / 2, abs=8)
        assert np.flatnonzero(rows).max() == pytest.approx(size[1] / 2, abs=8)


def test_an_open_incident_has_a_frame() -> None:
    calm, alarmed = (draw_live(grey(), live_score(0.5, people=[], incident=incident)) for incident in (None, "a"))
    edge = np.s_[0, 5:-5]
    assert not changed(calm)[edge].any()
    assert (alarmed[edge][:, 2].astype(int) - alarmed[edge][:, 0] > 150).all()


def test_the_caption_tells_the_time_and_the_level_where_they_fit() -> None:
    level, time = (draw_live(grey(240, width), live_score(0.5, size=(width, 240), people=[])) for width in (70, 640))
    for image, begins in ((level, False), (time, True)):
        text = np.flatnonzero((image[-14:].max(axis=-1) > 120).any(axis=0))
        assert (text.min() < 15) == begins
        assert text.max() > image.shape[1] - 15


@given(
    width=st.integers(1, 10_000), height=st.integers(1, 10_000), most=st.integers(32, 4000).map(lambda half: 2 * half)
)
def test_a_fitted_size_is_even_and_bounded_and_of_the_same_shape(width: int, height: int, most: int) -> None:
    across, down = fitted_size(width, height, most)
    assert across % 2 == down % 2 == 0
    assert across <= max(16, min(width, most))
    assert down <= max(16, min(height, 2 * most))
    if min(across, down) > 16:
        assert across / down == pytest.approx(width / height, rel=0.15)
    if width <= most and height <= 2 * most and width >= 16 <= height:
        assert (across, down) == (width - width % 2, height - height % 2)
