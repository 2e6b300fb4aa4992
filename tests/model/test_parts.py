from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.calibration import Calibration
from model.parts import MOTION, PAIR, POSE, Footage, Parts, combined_surprise, fit_parts
from pose.windows import Windows, WindowSpec

SPEC = WindowSpec(length=8, rate_hz=15.0)


def walk(ends: int, *, people: int = 2, speed: float = 40.0, apart: float = 60.0, seed: int = 0) -> Windows:
    """People of about 100 pixels who walk to the right side by side, livelier in some seconds, at stride 1."""
    rng = np.random.default_rng(seed)
    times = np.arange(ends + SPEC.length - 1) / SPEC.rate_hz
    way = np.cumsum(speed * by_the_second(rng, len(times))) / SPEC.rate_hz
    batches = []
    for person in range(people):
        shape = rng.normal(size=(18, 2)) * [15, 30]
        liveliness = by_the_second(rng, len(times))
        poses = np.ones((len(times), 18, 3))
        poses[..., :2] = shape + rng.normal(size=(len(times), 18, 2)) * liveliness[:, None, None]
        poses[..., 0] += person * apart + way[:, None]
        cut = torch.from_numpy(poses).float().unfold(0, SPEC.length, 1).permute(0, 3, 1, 2)
        batches.append(Windows.of_poses(cut, np.full(ends, person), times[SPEC.length - 1 :]))
    return Windows.concatenate(batches)


def by_the_second(rng: np.random.Generator, points: int) -> NDArray[np.float64]:
    """Positive factors that stay the same for a second, so that what exceeds a threshold comes in separate bursts."""
    return np.repeat(np.exp(rng.normal(size=points) * 0.7), int(SPEC.rate_hz))[:points]


def footage(seed: int, people: int = 2) -> Footage:
    windows = walk(1500, people=people, seed=seed)
    return Footage(windows, np.arange(1500 + SPEC.length - 1) / SPEC.rate_hz)


def nll(windows: Windows, seed: int = 0) -> NDArray[np.float64]:
    return np.log(by_the_second(np.random.default_rng(seed + 100), len(windows)))


def one_camera(windows: Windows) -> NDArray[np.int64]:
    return np.zeros(len(windows), np.int64)


@pytest.fixture(scope="module")
def parts() -> Parts:
    normal = [footage(seed) for seed in range(3)]
    return fit_parts(normal, [nll(own.windows, seed) for seed, own in enumerate(normal)], SPEC)


def test_normal_windows_surprise_each_part_as_rarely_as_they_should(parts: Parts) -> None:
    windows = Windows.concatenate([walk(1500, seed=seed) for seed in range(10, 16)])
    cameras = np.repeat(np.arange(6), 3000)
    surprises = parts.surprises(windows, nll(windows, 9), cameras, SPEC)
    assert list(surprises) == [POSE, MOTION, PAIR]
    for bits in surprises.values():
        assert (bits > -np.log2(0.1)).mean() == pytest.approx(0.1, abs=0.06)


def test_hasty_movement_is_found_by_the_motion_part(parts: Parts) -> None:
    windows = walk(50, speed=2000.0, seed=9)
    surprises = parts.surprises(windows, nll(windows), one_camera(windows), SPEC)
    assert surprises[MOTION].min() > 5
    assert surprises[POSE].mean() < 3


def test_two_people_who_rush_at_each_other_are_found_by_the_pair_part(parts: Parts) -> None:
    left, right = walk(20, people=1, speed=400.0, seed=9), walk(20, people=1, speed=400.0, seed=9)
    mirrored = right.poses * torch.tensor([-1.0, 1.0, 1.0]) + torch.tensor([400.0, 0.0, 0.0])
    both = Windows.concatenate([left, Windows.of_poses(mirrored, right.track_ids + 1, right.end_times)])
    together = parts.surprises(both, nll(both), one_camera(both), SPEC)[PAIR]
    apart = parts.surprises(both, nll(both), both.track_ids, SPEC)[PAIR]
    assert together.max() > 6
    assert not apart.any()


def test_the_score_is_the_sum_of_surprises_and_a_broken_window_has_none() -> None:
    surprises = {
        POSE: np.array([1.0, 5.0, np.nan]),
        MOTION: np.array([4.0, 2.0, 9.0]),
        PAIR: np.array([np.nan, 0.0, 1.0]),
    }
    np.testing.assert_array_equal(combined_surprise(surprises), [5.0, 7.0, np.nan])


def test_a_broken_window_does_not_change_the_surprise_of_other_windows(parts: Parts) -> None:
    windows = walk(5)
    whole = parts.surprises(windows, nll(windows), one_camera(windows), SPEC)
    windows.poses[2] = torch.nan
    spoilt = parts.surprises(windows, nll(windows), one_camera(windows), SPEC)
    assert np.isnan(spoilt[MOTION][2])
    others = np.arange(10) != 2
    np.testing.assert_array_equal(spoilt[MOTION][others], whole[MOTION][others])
    assert np.isfinite(spoilt[PAIR]).all()


def test_without_people_near_each_other_there_is_no_pair_part() -> None:
    normal = [footage(seed, people=1) for seed in range(3)]
    alone = fit_parts(normal, [nll(own.windows) for own in normal], SPEC)
    assert alone.pair is None
    windows = walk(5)
    assert list(alone.surprises(windows, nll(windows), one_camera(windows), SPEC)) == [POSE, MOTION]
    assert Parts.from_dict(alone.to_dict()) == alone


def test_no_windows_give_no_surprises(parts: Parts) -> None:
    windows = Windows.empty(SPEC)
    for bits in parts.surprises(windows, np.empty(0), one_camera(windows), SPEC).values():
        assert bits.shape == (0,)


def test_parts_survive_json_and_refuse_nonsense(parts: Parts) -> None:
    fields = parts.to_dict()
    assert Parts.from_dict(fields) == parts
    with pytest.raises(ValueError, match="expected the parts pose, motion and pair"):
        Parts.from_dict({POSE: fields[POSE]})
    with pytest.raises(ValueError, match="expected tails and reference"):
        Parts.from_dict({**fields, MOTION: {}})
    with pytest.raises(ValueError, match="this version knows the features"):
        Parts.from_dict({**fields, MOTION: fields[PAIR]})


def test_surprise_is_the_binary_logarithm_of_what_a_level_leaves() -> None:
    reference = Calibration((0.0, 1.0, 2.0), (0.0, 0.5, 0.9), 0.2, 0.5, 20, 100, 600.0, 2.0)
    scores = np.array([-1.0, 0.5, 1.9, 2.0, 2.5, 6.0])
    np.testing.assert_allclose(reference.surprise(scores), -np.log2(1 - reference.level(scores)), atol=1e-9)
    exponential = replace(reference, shape=0.0)
    # Far out a level is one to all digits, and a surprise is not infinite.
    assert exponential.level(np.array(60.0)) == 1
    assert exponential.surprise(np.array(60.0)) == pytest.approx((58 / 0.5) / np.log(2) - np.log2(0.1))
    assert np.isnan(reference.surprise(np.array(np.nan)))
