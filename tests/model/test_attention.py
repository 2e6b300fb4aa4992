import torch

from model.attention import DualAttention, FrameAttention, SkeletonAttention


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_parameter_cost_is_that_of_two_kernels_and_two_norms() -> None:
    assert count(DualAttention()) == 2 * (21 + 2)
    assert count(DualAttention(bias=True)) == 48
    assert count(DualAttention(norm="plain")) == count(DualAttention(norm="none")) == 42
    assert count(DualAttention("skeleton")) == count(DualAttention("frame")) == 23


def test_skeleton_attention_gates_all_frames_alike() -> None:
    features = torch.randn(3, 2, 5, 18)
    gate = SkeletonAttention().eval()(features) / features
    torch.testing.assert_close(gate, gate[:, :, :1].expand_as(gate))
    assert ((gate > 0) & (gate < 1)).all()


def test_frame_attention_gates_all_joints_alike() -> None:
    features = torch.randn(3, 2, 5, 18)
    for kernel in ("7x3", "3x7"):
        gate = FrameAttention(kernel=kernel).eval()(features) / features
        torch.testing.assert_close(gate, gate[..., :1].expand_as(gate))


def test_dual_attention_is_the_mean_of_its_branches_and_the_identity() -> None:
    features = torch.randn(3, 2, 5, 18)
    dual = DualAttention().eval()
    expected = (dual.skeleton(features) + dual.frame(features)) / 2 + features
    torch.testing.assert_close(dual(features), expected)
    single = DualAttention("frame").eval()
    torch.testing.assert_close(single(features), single.frame(features) + features)
    assert torch.equal(DualAttention("none")(features), features)
