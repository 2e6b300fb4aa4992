import math

import numpy as np
import pytest
from scipy.stats import nbinom

from model.calibration import CalibrationError
from model.tracking import SPAN_S, TrackingEvents, TrackingNorm


def test_people_at_the_start_of_a_stream_are_no_event() -> None:
    events = TrackingEvents()
    assert [events.frame(i / 10, [1, 2])[0] for i in range(5)] == [0] * 5


def test_a_person_who_appears_or_is_missing_is_an_event_for_a_while() -> None:
    events = TrackingEvents()
    present = [[1]] * 5 + [[1, 2]] * 3 + [[2]] * 20
    counts = [events.frame(i / 10, people)[0] for i, people in enumerate(present)]
    assert counts[4] == 0
    assert counts[5] == 1
    assert counts[8] == 2
    assert counts[-1] == 0


def test_a_person_who_comes_back_counts_as_missing_but_not_as_new() -> None:
    events = TrackingEvents()
    counts = [events.frame(i / 10, people)[0] for i, people in enumerate([[1]] * 5 + [[]] + [[1]] * 5)]
    assert counts[4:] == [0] + [1] * 6


def test_exposure_is_in_person_seconds_of_the_last_stretch() -> None:
    events = TrackingEvents()
    exposures = [events.frame(i / 10, [1, 2])[1] for i in range(40)]
    assert exposures[0] == 0
    assert exposures[5] == pytest.approx(1.0)
    assert exposures[-1] == pytest.approx(2 * SPAN_S)


def test_the_norm_of_poisson_counts_has_their_rate() -> None:
    rng = np.random.default_rng(0)
    exposure = rng.uniform(0.5, 10, 400)
    norm = TrackingNorm.fit([(int(n), float(e)) for n, e in zip(rng.poisson(0.7 * exposure), exposure, strict=True)])
    assert norm.rate == pytest.approx(0.7, rel=0.1)
    assert norm.dispersion > 20


def test_different_scenes_widen_the_norm() -> None:
    rng = np.random.default_rng(0)
    exposure = np.full(400, 5.0)
    counts = rng.poisson(exposure * rng.gamma(1.5, 0.5, 400))
    norm = TrackingNorm.fit([(int(n), float(e)) for n, e in zip(counts, exposure, strict=True)])
    assert norm.dispersion == pytest.approx(1.5, rel=0.3)


def test_surprise_is_the_binary_logarithm_of_the_tail() -> None:
    norm = TrackingNorm(0.5, 2.0)
    bits = norm.surprise(np.array([0, 3, 9]), np.array([2.0, 2.0, 2.0]))
    assert bits[0] == 0
    assert bits[1] == pytest.approx(-math.log2(nbinom.sf(2, 2.0, 2.0 / 3.0)))
    assert bits[2] > bits[1]
    # From counts that are certain to those with a probability of 1e-286.
    events, exposure = (axis.ravel() for axis in np.meshgrid(np.arange(0, 120, 7), np.array([0.3, 2.0, 40.0])))
    for dispersion in (0.1, 1.0, 300.0):
        mean = 0.5 * exposure
        tail = nbinom.sf(events - 1, dispersion, dispersion / (dispersion + mean))
        seen = TrackingNorm(0.5, dispersion).surprise(events, exposure)
        np.testing.assert_allclose(seen, -np.log2(tail), rtol=1e-9, atol=1e-12)


def test_without_people_there_is_no_surprise() -> None:
    assert np.isnan(TrackingNorm(0.5, 2.0).surprise(np.array([0]), np.array([0.0]))).all()


def test_too_few_events_give_no_norm() -> None:
    with pytest.raises(CalibrationError, match="holds 3 events of tracking, 10 are needed"):
        TrackingNorm.fit([(3, 20.0), (0, 5.0), (0, 0.0)])


def test_an_impossible_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="impossible norm"):
        TrackingNorm(0.0, 1.0)
