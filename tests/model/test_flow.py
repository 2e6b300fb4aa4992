import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import DAFlowConfig
from model.flow import DAFlow
from model.fused import FusedFlow

VARIANTS = {
    "a1": DAFlowConfig.a1(8),
    "a2": DAFlowConfig.a2(8),
    "plain gates": DAFlowConfig(length=8, gcn_bias=True, attention_norm="plain"),
    "stgnf": DAFlowConfig.stgnf(8),
    "spatial": DAFlowConfig(length=8, partition="spatial", attention="frame", frame_kernel="3x7", attention_bias=True),
    "late residual": DAFlowConfig(length=8, residual_position="after_attention", final_relu=True),
    "no residual": DAFlowConfig(length=8, residual="none", attention="skeleton", attention_norm="none"),
    "conv1x1": DAFlowConfig(length=8, permutation="conv1x1", coupling="scale_then_shift"),
    "temporal": replace(DAFlowConfig.stgnf(8), attention="both", residual_position="after_attention"),
}


def trained_a_little(config: DAFlowConfig, seed: int = 0) -> DAFlow:
    """A flow whose norms have seen data and whose parameters are nowhere special."""
    torch.manual_seed(seed)
    flow = DAFlow(config)
    with torch.no_grad():
        for _ in range(5):
            flow(torch.randn(32, 2, config.length, 18))
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return flow.eval()


@pytest.fixture(params=VARIANTS, ids=str)
def flow(request: pytest.FixtureRequest) -> DAFlow:
    return trained_a_little(VARIANTS[request.param])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (DAFlowConfig(), 488),
        (DAFlowConfig.a1(), 488),
        (DAFlowConfig.a2(), 488),
        (DAFlowConfig(gcn_bias=True, attention_norm="plain"), 488),
        (DAFlowConfig.a2(16), 488),
        (DAFlowConfig.stgnf(24), 616),
        (DAFlowConfig.stgnf(16), 488),
        (DAFlowConfig.stgnf(4), 296),
        (DAFlowConfig.stgnf(32), 744),
        (replace(DAFlowConfig.stgnf(24), permutation="conv1x1"), 648),
        (replace(DAFlowConfig.stgnf(24), partition="distance", max_hop=1), 648),
        (replace(DAFlowConfig.a1(), attention="skeleton"), 304),
        (replace(DAFlowConfig.a1(), attention="none"), 120),
        (replace(DAFlowConfig.a1(), temporal_conv=True), 984),
        (DAFlowConfig(gcn_bias=True, attention_norm="plain", attention="none"), 152),
        (replace(DAFlowConfig(), residual="none"), 432),
    ],
)
def test_parameter_counts_are_those_of_the_budget(config: DAFlowConfig, expected: int) -> None:
    assert sum(parameter.numel() for parameter in DAFlow(config).parameters()) == expected


def test_the_inverse_undoes_the_flow(flow: DAFlow) -> None:
    # In double precision: where scales are small the inverse magnifies the rounding of float32 latents.
    x = torch.randn(16, 2, 8, 18, dtype=torch.float64)
    flow = flow.double()
    with torch.no_grad():
        z, _ = flow(x)
        assert (z - x).abs().max() > 0.1
        torch.testing.assert_close(flow.inverse(z), x, atol=1e-9, rtol=0)


def test_the_log_determinant_is_that_of_the_jacobian(flow: DAFlow) -> None:
    config = replace(flow.config, length=4)
    small = trained_a_little(config).double()
    x = torch.randn(1, 2, 4, 18, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: small(v.view_as(x))[0].flatten(), x.flatten())
    torch.testing.assert_close(small(x)[1][0], torch.linalg.slogdet(jacobian).logabsdet)


def test_the_fused_flow_gives_the_same_scores(flow: DAFlow) -> None:
    x = torch.randn(64, 2, 8, 18)
    with torch.no_grad():
        torch.testing.assert_close(FusedFlow(flow).nll(x), flow.nll(x), atol=1e-5, rtol=1e-5)


def test_the_fused_flow_shares_scores_among_joints_as_the_flow_does(flow: DAFlow) -> None:
    x = torch.randn(64, 2, 8, 18)
    with torch.no_grad():
        by_joint = FusedFlow(flow).nll_by_joint(x)
        torch.testing.assert_close(by_joint, flow.nll_by_joint(x), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(by_joint.sum(dim=1), FusedFlow(flow).nll(x), atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module", params=["a2", "late residual"])
def several(request: pytest.FixtureRequest) -> list[DAFlow]:
    config = DAFlowConfig(length=8)
    if request.param == "late residual":
        config = replace(config, residual_position="after_attention", permutation="conv1x1", final_relu=True)
    flows = []
    for seed in range(4):
        torch.manual_seed(seed)
        flows.append(trained_a_little(config))
    return flows


@settings(max_examples=15)
@given(st.lists(st.integers(0, 3), max_size=40))
def test_stacked_flows_score_every_window_under_its_own_weights(several: list[DAFlow], numbers: list[int]) -> None:
    x = torch.randn(len(numbers), 2, 8, 18, generator=torch.Generator().manual_seed(5))
    stack, which = FusedFlow(several), torch.tensor(numbers, dtype=torch.int64)
    with torch.no_grad():
        under_each = torch.stack([flow.nll_by_joint(x) for flow in several])
    expected = under_each[which, torch.arange(len(which))]
    torch.testing.assert_close(stack.nll_by_joint(x, which), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(stack.nll(x, which), expected.sum(dim=1), atol=1e-4, rtol=1e-4)


def test_a_window_that_is_not_finite_does_not_affect_others(several: list[DAFlow]) -> None:
    x, which = torch.randn(9, 2, 8, 18), torch.arange(9) % 4
    clean = FusedFlow(several).nll(x, which)
    x[4, 1, 3, 2] = torch.nan
    spoilt = FusedFlow(several).nll(x, which)
    assert torch.isnan(spoilt).nonzero().flatten().tolist() == [4]
    others = [0, 1, 2, 3, 5, 6, 7, 8]
    torch.testing.assert_close(spoilt[others], clean[others])


def test_weights_that_cannot_be_stacked_or_are_not_there_are_refused(several: list[DAFlow]) -> None:
    stgnf = DAFlow(DAFlowConfig.stgnf(8))
    with pytest.raises(ValueError, match="temporal convolutions cannot be stacked"):
        FusedFlow([stgnf, stgnf])
    for flows in ([], [several[0], DAFlow(DAFlowConfig(length=12))]):
        with pytest.raises(ValueError, match="expected sets of weights of one architecture"):
            FusedFlow(flows)
    stack, x = FusedFlow(several), torch.randn(2, 2, 8, 18)
    for which in (torch.tensor([0, 4]), torch.tensor([-1, 0])):
        with pytest.raises(ValueError, match="there are 4 sets of weights, numbered from 0"):
            stack.nll(x, which)
    for which in (torch.tensor([0]), torch.tensor([0.0, 1.0])):
        with pytest.raises(ValueError, match="expected the set of each of 2 windows"):
            stack.nll(x, which)


def test_fusing_leaves_the_flow_as_it_was(flow: DAFlow) -> None:
    before = {name: value.clone() for name, value in flow.state_dict().items()}
    FusedFlow(flow.train())
    assert flow.training
    assert all(torch.equal(value, before[name]) for name, value in flow.state_dict().items())


def test_joints_share_the_likelihood(flow: DAFlow) -> None:
    x = torch.randn(8, 2, 8, 18)
    with torch.no_grad():
        by_joint = flow.nll_by_joint(x)
        assert by_joint.shape == (8, 18)
        torch.testing.assert_close(by_joint.sum(dim=1), flow.nll(x))


def test_likelihood_is_the_prior_plus_the_log_determinant_in_bits_per_dimension() -> None:
    flow = trained_a_little(DAFlowConfig(length=8))
    x = torch.randn(4, 2, 8, 18)
    with torch.no_grad():
        z, log_det = flow(x)
        prior = torch.distributions.Normal(3.0, 1.0).log_prob(z).sum(dim=(1, 2, 3))
        torch.testing.assert_close(flow.log_prob(x), prior + log_det)
        torch.testing.assert_close(flow.nll(x), -(prior + log_det) / (2 * 8 * 18) / torch.log(torch.tensor(2.0)))


@settings(max_examples=20)
@given(st.permutations(range(12)), st.integers(1, 11))
def test_a_window_scores_the_same_in_any_batch_and_order(order: list[int], cut: int) -> None:
    flow = trained_a_little(DAFlowConfig(length=8))
    x = torch.randn(12, 2, 8, 18, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        alone = torch.cat([flow.nll(window[None]) for window in x])
        shuffled = torch.cat([flow.nll(x[order[:cut]]), flow.nll(x[order[cut:]])])
    torch.testing.assert_close(shuffled, alone[order], atol=1e-5, rtol=1e-5)


def test_the_first_training_batch_standardises_and_the_flag_survives_the_state_dict() -> None:
    flow = DAFlow(DAFlowConfig(length=8))
    x = 5 + 3 * torch.randn(64, 2, 8, 18)
    flow.eval()(x)
    actnorm = flow.flow_steps()[0].actnorm
    assert not actnorm.initialised
    flow.train()(x)
    y, _ = actnorm(x)
    torch.testing.assert_close(y.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(y.std(dim=(0, 2, 3), correction=0), torch.ones(2), atol=1e-4, rtol=0)
    loaded = DAFlow(DAFlowConfig(length=8))
    loaded.load_state_dict(flow.state_dict())
    before = loaded.flow_steps()[0].actnorm.bias.clone()
    loaded.train()(100 + x)
    assert torch.equal(loaded.flow_steps()[0].actnorm.bias, before)


def test_an_untrained_flow_gives_finite_scores_that_differ() -> None:
    torch.manual_seed(0)
    scores = DAFlow(DAFlowConfig()).eval().nll(torch.randn(8, 2, 24, 18))
    assert torch.isfinite(scores).all()
    assert scores.std() > 0


def test_samples_are_windows_that_the_generator_repeats() -> None:
    flow = trained_a_little(DAFlowConfig(length=8))
    first, second = (flow.sample(3, torch.Generator().manual_seed(4)) for _ in range(2))
    assert first.shape == (3, 2, 8, 18)
    assert torch.equal(first, second)


@pytest.mark.parametrize("shape", [(2, 24, 18), (1, 3, 24, 18), (1, 2, 23, 18), (1, 2, 24, 17)])
def test_a_wrong_shape_is_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    flow = DAFlow(DAFlowConfig()).eval()
    with pytest.raises(ValueError, match=r"\(N, 2, 24, 18\), got torch\.float32 \("):
        flow(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"\(N, 2, 24, 18\)"):
        FusedFlow(flow).nll(torch.zeros(shape))


def test_integers_nan_and_infinity_are_refused() -> None:
    flow = DAFlow(DAFlowConfig()).eval()
    with pytest.raises(ValueError, match=r"floating-point"):
        flow(torch.zeros((1, 2, 24, 18), dtype=torch.int64))
    for value in (float("nan"), float("inf")):
        x = torch.zeros(1, 2, 24, 18)
        x[0, 1, 3, 5] = value
        with pytest.raises(ValueError, match="must be finite"):
            flow(x)


def test_the_inverse_is_refused_in_training_mode() -> None:
    with pytest.raises(RuntimeError, match=r"call eval\(\)"):
        DAFlow(DAFlowConfig()).train().inverse(torch.zeros(1, 2, 24, 18))


def test_windows_known_to_be_abnormal_get_the_mirrored_prior() -> None:
    flow = trained_a_little(DAFlowConfig(length=8, prior_mean=2.0))
    x, abnormal = torch.randn(6, 2, 8, 18), torch.tensor([True, False, True, False, False, True])
    nll = flow.nll(x, abnormal)
    z, log_det = flow(x)
    means = torch.where(abnormal, -2.0, 2.0)[:, None, None, None]
    log_density = torch.distributions.Normal(means, 1.0).log_prob(z).sum(dim=(1, 2, 3))
    torch.testing.assert_close(nll, -(log_density + log_det) / (math.log(2) * 2 * 8 * 18))
    torch.testing.assert_close(nll[~abnormal], flow.nll(x)[~abnormal])
    torch.testing.assert_close(flow.nll(x, torch.zeros(6, dtype=torch.bool)), flow.nll(x))


def test_learning_from_abnormal_windows_separates_them_under_the_normal_prior() -> None:
    torch.manual_seed(0)
    flow = DAFlow(DAFlowConfig(length=8, steps=4, prior_mean=3.0))
    still, wild = torch.randn(128, 2, 1, 18).expand(-1, -1, 8, -1), torch.randn(128, 2, 8, 18)
    x, abnormal = torch.cat([still, wild]), torch.arange(256) >= 128
    optimizer = torch.optim.Adam(flow.parameters(), lr=2e-2)
    for _ in range(60):
        optimizer.zero_grad()
        flow.nll(x, abnormal).mean().backward()
        optimizer.step()
    with torch.no_grad():
        nll = flow.eval().nll(x)
    assert nll[abnormal].median() > nll[~abnormal].median() + 0.5


@pytest.mark.parametrize("abnormal", [torch.zeros(4, dtype=torch.bool), torch.zeros(3), torch.zeros(3, 1) > 0])
def test_labels_must_be_one_boolean_for_each_window(abnormal: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="expected 3 booleans, got"):
        DAFlow(DAFlowConfig(length=8)).nll(torch.randn(3, 2, 8, 18), abnormal)
