import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.smoothing import CausalSmoother, smooth_causally

SERIES = st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(-5.0, 5.0) | st.just(math.nan)), max_size=30)


def series(steps: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.cumsum([step for step, _ in steps]), np.array([value for _, value in steps])


@settings(max_examples=200)
@given(SERIES, st.floats(0.05, 3.0), st.floats(0.0, 3.0))
def test_a_smoothed_value_is_the_weighted_mean_of_its_stretch(
    steps: list[tuple[float, float]], tau_s: float, gap_s: float
) -> None:
    times, values = series(steps)
    smoothed = smooth_causally(times, values, tau_s, gap_s)
    known = [i for i in range(len(values)) if not math.isnan(values[i])]
    assert np.array_equal(np.isnan(smoothed), np.isnan(values))
    for place, i in enumerate(known):
        stretch = [i]
        for earlier in reversed(known[:place]):
            if times[stretch[0]] - times[earlier] > gap_s:
                break
            stretch.insert(0, earlier)
        # Every value counts for the time before it, the first for all the time before that.
        ages = np.exp(-(times[i] - times[stretch]) / tau_s)
        weights = ages - np.concatenate([[0.0], ages[:-1]])
        assert smoothed[i] == pytest.approx(float(weights @ values[stretch]), abs=1e-9)


@settings(max_examples=100)
@given(SERIES)
def test_value_by_value_and_as_a_series_are_the_same(steps: list[tuple[float, float]]) -> None:
    times, values = series(steps)
    smoother = CausalSmoother(0.4, 1.0)
    one_by_one = [smoother.update(float(time), float(value)) for time, value in zip(times, values, strict=True)]
    np.testing.assert_array_equal(one_by_one, smooth_causally(times, values, 0.4, 1.0))


def test_the_frame_rate_hardly_matters() -> None:
    smoothed = []
    for rate in (5, 15, 60):
        times = np.arange(0, 2 + 1e-9, 1 / rate)
        smoothed.append(smooth_causally(times, np.where(times > 0.5, 1.0, 0.0), 0.5, 1.0)[-1])
    assert smoothed == pytest.approx([1 - math.exp(-3)] * 3, abs=0.02)


def test_no_time_constant_means_no_smoothing() -> None:
    values = np.array([1.0, 5.0, math.nan, -2.0])
    np.testing.assert_array_equal(smooth_causally(np.array([0.0, 0.0, 0.1, 0.2]), values, 0.0, 1.0), values)


def test_time_that_runs_backwards_and_impossible_constants_are_refused() -> None:
    smoother = CausalSmoother()
    smoother.update(1.0, 0.0)
    with pytest.raises(ValueError, match=r"backwards, from 1\.0 to 0\.5"):
        smoother.update(0.5, 0.0)
    for tau_s, gap_s in ((-1.0, 1.0), (math.inf, 1.0), (1.0, -1.0), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="must not be negative"):
            CausalSmoother(tau_s, gap_s)
