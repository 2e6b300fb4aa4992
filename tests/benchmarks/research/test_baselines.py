import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.research.baselines import (
    Autoencoder,
    AutoencoderBaseline,
    GaussianBaseline,
    MotionEnergyBaseline,
    WindowScorer,
    untrained_flow,
)
from model.config import DAFlowConfig
from model.flow import ActNorm
from pose.windows import Windows, WindowSpec, slice_track
from tests.model.skeletons import swaying

SPEC = WindowSpec(length=8, rate_hz=15.0)
CONFIG = DAFlowConfig(length=8, steps=3)


def windows_of(keypoints: np.ndarray) -> Windows:
    times = np.arange(len(keypoints)) / 15
    return slice_track(1, times, torch.from_numpy(keypoints).float(), SPEC)


def smooth(seed: int, frames: int = 300) -> Windows:
    keypoints = swaying(frames, seed=seed)
    keypoints[..., :2] = np.median(keypoints[..., :2], axis=0)
    phase = 2 * np.pi * (np.arange(frames) / 15)[:, None] + np.arange(17) / 3
    keypoints[..., 0] += 8 * np.sin(phase + seed)
    return windows_of(keypoints)


def wild(seed: int) -> Windows:
    keypoints = swaying(100, seed=seed)
    keypoints[..., :2] += np.random.default_rng(seed).normal(0, 30, keypoints[..., :2].shape)
    return windows_of(keypoints)


@pytest.fixture(params=["gaussian", "autoencoder", "motion energy", "untrained flow", "untrained flow without actnorm"])
def scorer(request: pytest.FixtureRequest) -> WindowScorer:
    made: dict[str, WindowScorer] = {
        "gaussian": GaussianBaseline.fit(smooth(1)),
        "autoencoder": AutoencoderBaseline.fit(smooth(1), epochs=2),
        "motion energy": MotionEnergyBaseline(15.0),
        "untrained flow": untrained_flow(CONFIG, smooth(1), seed=0, actnorm=True),
        "untrained flow without actnorm": untrained_flow(CONFIG, smooth(1), seed=0, actnorm=False),
    }
    return made[request.param]


def test_every_scorer_gives_one_finite_number_for_each_window(scorer: WindowScorer) -> None:
    windows = Windows.concatenate([smooth(2), wild(3)])
    scores = scorer(windows)
    assert (scores.shape, scores.dtype) == ((len(windows),), np.float64)
    assert np.isfinite(scores).all()
    assert scorer(Windows.empty(SPEC)).shape == (0,)
    np.testing.assert_allclose(scorer(windows[np.arange(5)]), scores[:5], rtol=1e-4)


def test_scorers_trained_on_calm_people_score_wild_ones_higher() -> None:
    calm, strange = smooth(2), wild(3)
    labels = np.repeat([0, 1], [len(calm), len(strange)])
    windows = Windows.concatenate([calm, strange])
    for scorer in (
        GaussianBaseline.fit(smooth(1)),
        AutoencoderBaseline.fit(smooth(1), epochs=10),
        MotionEnergyBaseline(15.0),
    ):
        assert roc_auc_score(labels, scorer(windows)) > 0.9, scorer


def test_the_gaussian_is_the_likelihood_of_its_mean_and_covariance() -> None:
    baseline = GaussianBaseline.fit(smooth(1))
    windows = smooth(2)
    size = 2 * 8 * 18
    assert baseline.mean.shape == (size,)
    normal = torch.distributions.MultivariateNormal(
        torch.from_numpy(baseline.mean), covariance_matrix=torch.linalg.inv(torch.from_numpy(baseline.precision))
    )
    expected = -normal.log_prob(windows.tensor.flatten(1).double()) / (size * math.log(2))
    np.testing.assert_allclose(baseline(windows), expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize("length", [4, 6, 8, 15, 24])
def test_the_autoencoder_is_small_and_takes_windows_of_any_length(length: int) -> None:
    network = Autoencoder(length)
    assert sum(parameter.numel() for parameter in network.parameters()) == 12_812
    assert network(torch.randn(2, 2, length, 18)).shape == (2, 2, length, 18)


def test_the_autoencoder_depends_on_its_seed_and_on_nothing_else() -> None:
    windows = smooth(1)
    first = AutoencoderBaseline.fit(windows, seed=1, epochs=2)(windows)
    torch.randn(5)
    np.testing.assert_array_equal(AutoencoderBaseline.fit(windows, seed=1, epochs=2)(windows), first)
    assert (AutoencoderBaseline.fit(windows, seed=2, epochs=2)(windows) != first).any()


def test_the_autoencoder_learns() -> None:
    windows = smooth(1)
    few, many = (AutoencoderBaseline.fit(windows, epochs=epochs)(windows).mean() for epochs in (1, 20))
    assert many < 0.8 * few


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_motion_energy_is_speed_in_body_heights_whatever_the_size(scale: float) -> None:
    body = np.zeros((17, 3))
    body[:, 1] = np.linspace(0, 100, 17)
    keypoints = np.repeat(body[None], 20, axis=0)
    keypoints[..., 0] += 10 * np.arange(20)[:, None]
    keypoints[..., :2] *= scale
    # A tenth of the height a frame, 15 frames a second.
    np.testing.assert_allclose(MotionEnergyBaseline(15.0)(windows_of(keypoints)), 1.5, rtol=1e-4)


def test_motion_energy_of_a_flat_body_is_finite() -> None:
    assert np.isfinite(MotionEnergyBaseline(15.0)(windows_of(np.zeros((20, 17, 3))))).all()


def test_actnorm_of_an_untrained_flow_standardises_the_windows_it_was_given() -> None:
    windows = smooth(1)
    flow = untrained_flow(CONFIG, windows, seed=0, actnorm=True).flow
    x = windows.tensor
    with torch.no_grad():
        for step in flow.flow_steps():
            normalised, _ = step.actnorm(x)
            torch.testing.assert_close(normalised.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)
            torch.testing.assert_close(normalised.std(dim=(0, 2, 3)), torch.ones(2), atol=1e-3, rtol=0)
            x, _ = step(x)


def test_without_actnorm_an_untrained_flow_does_not_depend_on_the_windows() -> None:
    plain = untrained_flow(CONFIG, smooth(1), seed=0, actnorm=False)
    assert all((layer.log_scale == 0).all() for layer in plain.flow.modules() if isinstance(layer, ActNorm))
    np.testing.assert_array_equal(plain(smooth(2)), untrained_flow(CONFIG, wild(3), seed=0, actnorm=False)(smooth(2)))
    assert (plain(smooth(2)) != untrained_flow(CONFIG, smooth(1), seed=1, actnorm=False)(smooth(2))).any()


def test_nothing_to_learn_from_is_refused() -> None:
    none = Windows.empty(SPEC)
    with pytest.raises(ValueError, match="at least 2 windows, got 0"):
        GaussianBaseline.fit(none)
    with pytest.raises(ValueError, match="got none"):
        AutoencoderBaseline.fit(none)
    with pytest.raises(ValueError, match="ActNorm needs windows"):
        untrained_flow(CONFIG, none, seed=0, actnorm=True)
    with pytest.raises(ValueError, match="expected floating-point windows"):
        untrained_flow(DAFlowConfig(length=24), smooth(1), seed=0, actnorm=True)
    with pytest.raises(ValueError, match="rate_hz must be positive"):
        MotionEnergyBaseline(0.0)
