from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from service.overlay import (
    RAREST,
    Image,
    band_height,
    clock_text,
    draw_band,
    draw_chart,
    draw_people,
    level_colour,
    level_text,
    rarity,
)
from service.results import ClipInfo, ClipResult, FrameScore, ModelInfo, PersonScore, Threshold


def person(
    level: float | None = None,
    box: tuple[float, float, float, float] = (100.0, 80.0, 160.0, 200.0),
    keypoints: list[tuple[float, float, float]] | None = None,
) -> PersonScore:
    return PersonScore(track=7, box=box, keypoints=keypoints, score=level, level=level)


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
        threshold=Threshold(level=0.99, false_alarms_per_hour=1.0),
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
