import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.calibration import Calibration, CalibrationError, Recording, exceedance_runs

HOUR_S = 3600.0
RATE_HZ = 10.0


def gpd(rng: np.random.Generator, size: int, shape: float, scale: float) -> np.ndarray:
    return scale * ((1 - rng.uniform(size=size)) ** -shape - 1) / shape


def camera(seed: int, hours: float, bursts_per_hour: float = 60.0) -> Recording:
    """Ordinary frames around 1 with rare bursts, one second long, whose peaks lie generalised Pareto above 2."""
    rng = np.random.default_rng(seed)
    frames = int(hours * HOUR_S * RATE_HZ)
    highest = rng.uniform(0.5, 1.5, frames)
    starts = np.arange(0, frames - 60, int(HOUR_S * RATE_HZ / bursts_per_hour))
    peaks = 2 + gpd(rng, len(starts), 0.2, 0.3)
    for start, peak in zip(starts, peaks, strict=True):
        highest[start : start + 10] = peak
    return Recording(np.arange(frames) / RATE_HZ, highest)


@pytest.fixture(scope="module")
def fitted() -> Calibration:
    recording = camera(0, hours=10)
    return Calibration.fit(recording.highest, [recording], tail_share=0.01)


def test_levels_are_monotone_continuous_and_within_0_and_1(fitted: Calibration) -> None:
    scores = np.linspace(-5, 20, 20_001)
    levels = fitted.level(scores)
    assert ((levels >= 0) & (levels <= 1)).all()
    assert (np.diff(levels) >= 0).all()
    assert np.diff(levels).max() < 0.01
    u = fitted.knots[-1]
    assert fitted.level(np.array([u, np.nextafter(u, 9)])) == pytest.approx([fitted.levels[-1]] * 2)


@given(arrays(np.float64, 5, elements=st.floats(allow_nan=False)))
@settings(max_examples=100)
def test_any_score_gets_a_level_and_order_is_kept(scores: np.ndarray) -> None:
    fitted = Calibration((0.0, 1.0, 2.0), (0.0, 0.5, 0.9), 0.2, 0.5, 50, 1000, 3600.0, 2.0)
    levels = fitted.level(np.sort(scores))
    assert ((levels >= 0) & (levels <= 1)).all()
    assert (np.diff(levels) >= 0).all()


@given(st.floats(0.0, 0.999999), st.floats(0.0, 0.8))
@settings(max_examples=100)
def test_a_level_becomes_a_score_and_the_same_level_again(level: float, shape: float) -> None:
    fitted = Calibration((0.0, 1.0, 2.0), (0.0, 0.5, 0.9), shape, 0.5, 50, 1000, 3600.0, 2.0)
    assert float(fitted.level(fitted.nll(np.array(level)))) == pytest.approx(level, abs=1e-9)


def test_the_level_of_a_quantile_is_its_probability() -> None:
    scores = np.random.default_rng(3).gamma(3.0, size=20_000)
    recording = Recording(np.arange(len(scores)) / RATE_HZ, scores)
    fitted = Calibration.fit(scores, [recording], merge_s=0.0)
    probabilities = np.array([0.01, 0.1, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999])
    fresh = np.random.default_rng(4).gamma(3.0, size=200_000)
    assert fitted.level(np.quantile(fresh, probabilities)) == pytest.approx(probabilities, abs=0.012)


def test_a_missing_score_has_a_missing_level(fitted: Calibration) -> None:
    assert np.isnan(fitted.level(np.array([np.nan, 1.0]))).tolist() == [True, False]


def test_a_generalised_pareto_tail_is_recovered() -> None:
    rng = np.random.default_rng(1)
    for shape in (0.1, 0.3, 0.5):
        scores = 2 + gpd(rng, 20_000, shape, 0.4)
        apart = np.stack([scores, np.full_like(scores, np.nan)], axis=1).ravel()
        fitted = Calibration.fit(scores, [Recording(np.arange(40_000.0), apart)], tail_share=0.5, merge_s=0.0)
        # Above its median u the excesses of a generalised Pareto have the same shape and the scale grows with u.
        assert fitted.shape == pytest.approx(shape, abs=0.07)
        assert fitted.scale == pytest.approx(0.4 + shape * (fitted.knots[-1] - 2), rel=0.08)


def test_a_tail_with_an_end_is_taken_as_exponential() -> None:
    scores = np.random.default_rng(1).uniform(size=5000)
    fitted = Calibration.fit(scores, [Recording(np.arange(5000.0), scores)], merge_s=0.0)
    assert fitted.shape == 0.0
    assert float(fitted.level(np.array(1.5))) < 1


def test_rate_and_level_state_the_same_threshold(fitted: Calibration) -> None:
    for rate in (0.24, 12.0, 24.0, 480.0, fitted.highest_per_day):
        level = fitted.threshold(false_alarms_per_day=rate)
        assert fitted.false_alarms_per_day(level) == pytest.approx(rate, rel=1e-6)
    rates = np.array([2.4, 24.0, 240.0])
    levels = [fitted.threshold(false_alarms_per_day=rate) for rate in rates]
    assert levels == sorted(levels, reverse=True)


@pytest.mark.slow
def test_held_out_footage_raises_as_many_false_alarms_as_promised() -> None:
    promised = 24 * 6.0
    inside = 0
    for seed in range(10):
        recording = camera(seed, hours=5)
        fitted = Calibration.fit(recording.highest, [recording], tail_share=0.01)
        level = fitted.threshold(false_alarms_per_day=promised)
        low, high = fitted.interval_per_day(level)
        assert low < promised < high
        fresh = camera(1000 + seed, hours=100)
        alarms = len(exceedance_runs(fresh.times, fitted.level(fresh.highest), level, fitted.merge_s)) * 24 / 100
        inside += low <= alarms <= high
        assert alarms == pytest.approx(promised, rel=0.5)
    assert inside >= 7


def test_the_rate_of_a_threshold_lies_in_its_interval_which_narrows_with_footage() -> None:
    widths = []
    for hours in (2, 20):
        recording = camera(7, hours=hours)
        fitted = Calibration.fit(recording.highest, [recording], tail_share=0.01)
        level = fitted.threshold(false_alarms_per_day=24.0)
        low, high = fitted.interval_per_day(level)
        assert low < 24.0 < high
        assert fitted.interval_per_day(level, confidence=0.5) > (low, 0)
        assert fitted.interval_per_day(level, confidence=0.5)[1] < high
        widths.append(math.log(high / low))
    assert widths[1] < widths[0] / 2


def test_what_the_footage_cannot_support_is_refused(fitted: Calibration) -> None:
    for rate in (0.0, -1.0, math.nan, fitted.highest_per_day * 1.01):
        with pytest.raises(CalibrationError, match=r"footage \(10\.00 h\) supports .* up to \d+\.\d false alarms"):
            fitted.threshold(false_alarms_per_day=rate)
    for level in (0.5, 1.1):
        with pytest.raises(CalibrationError, match="false alarms are known for levels from"):
            fitted.false_alarms_per_day(level)
    with pytest.raises(ValueError, match="levels lie between 0 and 1"):
        fitted.nll(np.array(1.5))


def test_too_little_or_invalid_footage_is_refused() -> None:
    short = camera(0, hours=0.1)
    with pytest.raises(CalibrationError, match=r"0\.10 h .* hold \d+ independent exceedances.*at least 10 are needed"):
        Calibration.fit(short.highest, [short], tail_share=0.01)
    with pytest.raises(CalibrationError, match="got 0 windows"):
        Calibration.fit(np.empty(0), [])
    with pytest.raises(CalibrationError, match="finite"):
        Calibration.fit(np.array([1.0, np.nan]), [short])
    with pytest.raises(CalibrationError, match="all but equal"):
        Calibration.fit(np.ones(1000), [short])
    with pytest.raises(ValueError, match="tail_share"):
        Calibration.fit(short.highest, [short], tail_share=0.0)


def test_footage_and_exceedances_are_counted(fitted: Calibration) -> None:
    assert fitted.footage_s == pytest.approx(10 * HOUR_S)
    # One per cent of the frames lie above u, in bursts of ten.
    assert fitted.exceedances == pytest.approx(fitted.windows * 0.01 / 10, abs=2)
    assert fitted.windows == 10 * HOUR_S * RATE_HZ


def test_a_calibration_survives_its_dictionary(fitted: Calibration) -> None:
    assert Calibration.from_dict(fitted.to_dict()) == fitted


@pytest.mark.parametrize(
    "change",
    [{"shape": -0.1}, {"shape": 1.0}, {"scale": 0.0}, {"footage_s": 0.0}, {"knots": (2.0, 1.0)}, {"levels": (0.0,)}],
)
def test_impossible_calibrations_are_refused(fitted: Calibration, change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"impossible|calibration"):
        replace(fitted, **change)


@pytest.mark.parametrize("change", [{"shape": None}, {"knots": 3}, {"shape": "x"}, {"extra": 1}])
def test_malformed_dictionaries_are_refused(fitted: Calibration, change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Calibration.from_dict(fitted.to_dict() | change)


@pytest.mark.parametrize(
    ("values", "merge_s", "runs"),
    [
        ([], 0.0, []),
        ([0, 0, 0], 5.0, []),
        ([1, 1, 1], 0.0, [(0, 2)]),
        ([1, 0, 1], 0.0, [(0, 0), (2, 2)]),
        ([1, 0, 1], 2.0, [(0, 0), (2, 2)]),
        ([1, 0, 1], 2.1, [(0, 2)]),
        ([0, 1, 1, 0, 0, 0, 1, 0], 3.0, [(1, 2), (6, 6)]),
        ([math.nan, 1, math.nan, 1, 0, 0, 0, 1], 3.0, [(1, 3), (7, 7)]),
    ],
)
def test_runs_are_stretches_at_or_above_the_threshold_joined_across_short_gaps(
    values: list[float], merge_s: float, runs: list[tuple[int, int]]
) -> None:
    assert exceedance_runs(np.arange(float(len(values))), np.array(values), 1.0, merge_s) == runs


@given(arrays(np.bool_, st.integers(1, 60)), st.floats(0.0, 10.0))
@settings(max_examples=100)
def test_runs_cover_all_exceedances_and_lie_apart(above: np.ndarray, merge_s: float) -> None:
    times = np.arange(float(len(above)))
    runs = exceedance_runs(times, above.astype(float), 1.0, merge_s)
    covered = np.zeros(len(above), bool)
    for start, end in runs:
        assert above[start]
        assert above[end]
        covered[start : end + 1] = True
    assert covered[above].all()
    assert all(times[later] - times[end] >= max(merge_s, 1.5) for (_, end), (later, _) in pairwise(runs))


def test_a_rate_is_supported_when_its_threshold_cannot_cost_ten_times_as_much(fitted: Calibration) -> None:
    assert fitted.supported_per_day(240.0) == 240.0
    assert fitted.needed_s(240.0) == 0.0
    for asked in (2.4e-5, 1e-9):
        supported = fitted.supported_per_day(asked)
        assert supported > asked
        assert fitted.interval_per_day(fitted.threshold(false_alarms_per_day=supported))[1] <= 10 * supported
        stricter = 0.99 * supported
        assert fitted.interval_per_day(fitted.threshold(false_alarms_per_day=stricter))[1] > 10 * stricter
        assert fitted.needed_s(asked) > 0
    assert fitted.supported_per_day(2.4e-5) == pytest.approx(fitted.supported_per_day(1e-9), rel=1e-6)
    for refused in (fitted.supported_per_day, fitted.needed_s):
        for rate in (fitted.highest_per_day * 2, 0.0, math.nan):
            with pytest.raises(CalibrationError, match="supports thresholds of more than 0") as too_high:
                refused(rate)
            assert too_high.value.needed_s is None


def test_more_footage_supports_stricter_thresholds() -> None:
    supported = []
    for hours in (0.5, 2, 8):
        recording = camera(0, hours=hours)
        supported.append(Calibration.fit(recording.highest, [recording], tail_share=0.01).supported_per_day(1e-6))
    assert supported[0] > 2 * supported[1] > 4 * supported[2]


def test_footage_says_about_how_much_more_of_it_a_rate_needs() -> None:
    short = camera(0, hours=0.5)
    fitted = Calibration.fit(short.highest, [short], tail_share=0.01)
    needed = [fitted.needed_s(24 * rate) for rate in (0.05, 0.02, 0.01)]
    assert 0 < needed[0] < needed[1] < needed[2]
    # The longer footage has another tail, so the estimate is only of the right size.
    longer = camera(0, hours=0.5 + 4 * needed[0] / HOUR_S)
    enough = Calibration.fit(longer.highest, [longer], tail_share=0.01)
    assert enough.supported_per_day(24 * 0.05) == 24 * 0.05


def test_too_few_exceedances_are_extrapolated_to_enough() -> None:
    short = camera(0, hours=0.1)
    with pytest.raises(CalibrationError) as refusal:
        Calibration.fit(short.highest, [short], tail_share=0.01)
    needed_s = refusal.value.needed_s or 0.0
    assert 0 < needed_s < HOUR_S
    longer = camera(0, hours=0.1 + 1.1 * needed_s / HOUR_S)
    assert Calibration.fit(longer.highest, [longer], tail_share=0.01).exceedances >= 10
