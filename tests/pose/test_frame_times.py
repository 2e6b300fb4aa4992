from __future__ import annotations

import itertools

import numpy as np
import pytest

from pose.frame_times import LONGEST_PAUSE_S, FrameTimes


def times_of(stamps: list[float | None], period: float = 0.1) -> list[float]:
    return [time for _, time in FrameTimes(period).of((None, stamp) for stamp in stamps)]


def even(count: int, period: float, start: float = 0.0) -> list[float | None]:
    return [start + index * period for index in range(count)]


@pytest.mark.parametrize("start", [0.0, 7.5, -0.2, 95_443.7])
def test_times_count_from_the_first_frame(start: float) -> None:
    np.testing.assert_allclose(times_of(even(20, 0.04, start)), even(20, 0.04), atol=1e-9)


@pytest.mark.parametrize("at", [1, 9, 18])
@pytest.mark.parametrize("wild", [0.3, 5.0, 100.0, 36_000.0, -0.5, -50.0, -36_000.0])
def test_one_wild_time_stamp_moves_no_other_frame(wild: float, at: int) -> None:
    stamps = even(20, 0.1)
    stamps[at] = at * 0.1 + wild
    np.testing.assert_allclose(times_of(stamps), even(20, 0.1), atol=1e-9)


@pytest.mark.parametrize("leap", [100.0, 36_000.0, -0.9, -100.0])
def test_a_clock_that_is_set_in_the_middle_is_bridged(leap: float) -> None:
    times = FrameTimes(0.1)
    stamps = [*even(10, 0.1), *even(10, 0.1, 1.0 + leap)]
    np.testing.assert_allclose([time for _, time in times.of((None, one) for one in stamps)], even(20, 0.1), atol=1e-9)
    assert times.jumps == 1


@pytest.mark.parametrize("pause", [0.5, 10.0, 60.0, LONGEST_PAUSE_S - 1])
def test_a_pause_keeps_its_length(pause: float) -> None:
    stamps = [*even(10, 0.1), *even(10, 0.1, 1.0 + pause)]
    np.testing.assert_allclose(times_of(stamps), stamps, atol=1e-9)


def test_pictures_far_apart_are_no_jumps() -> None:
    stamps = even(6, 300.0)
    np.testing.assert_allclose(times_of(stamps, period=300.0), stamps)


def test_recordings_of_different_rates_keep_their_distances() -> None:
    stamps = [*even(50, 0.04), *even(20, 0.1), *even(10, 0.2)]
    wanted = [*even(50, 0.04), *even(20, 0.1, 2.0), *even(10, 0.2, 2.0 + 20 * 0.1)]
    np.testing.assert_allclose(np.diff(times_of(stamps)), np.diff(wanted), atol=0.11)
    assert times_of(stamps)[-1] == pytest.approx(wanted[-1], abs=0.11)


@pytest.mark.parametrize(
    "stamps",
    [
        [0.0, 0.0, 0.0, 0.0],
        [None, None, None],
        [None, 0.0, 0.1, None, 0.3],
        [0.0, 0.1, 0.1, 0.3, 0.4],
        [0.2, 0.1, 0.4, 0.3, 0.6],
        [0.0, 100.0, 100.1, 0.1, 0.2, 0.2, 36_000.0, 0.3],
    ],
)
def test_times_strictly_increase_whatever_the_file_says(stamps: list[float | None]) -> None:
    times = times_of(stamps)
    assert len(times) == len(stamps)
    assert times[0] == 0
    assert all(before < after <= before + 0.31 for before, after in itertools.pairwise(times))


def test_a_frame_without_a_time_stamp_delays_no_other() -> None:
    stamps = even(10, 0.1)
    stamps[4] = None
    assert times_of(stamps)[5:] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])
