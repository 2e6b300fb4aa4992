"""Dual attention (DA-Flow, arXiv 2406.02976): gates over joints and over frames, after the graph convolution.

Both branches squeeze the feature map ``(N, C, T, V)`` along one axis by its maximum, run one small convolution over the
remaining map, and gate the features with the sigmoid of the result. They cost ``2 * (21 + 2)`` parameters together.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Attention = Literal["none", "skeleton", "frame", "both"]
GateNorm = Literal["affine", "plain", "none"]
FrameKernel = Literal["7x3", "3x7"]

_JOINT_REACH = 7
_CHANNEL_REACH = 3
_SKELETON_KERNEL = (_CHANNEL_REACH, _JOINT_REACH)


class Gate(nn.Module):
    """``sigmoid(norm(conv(map)))`` on a two-dimensional map with one channel.

    Args:
        kernel: Height and width of the convolution, both odd; the map keeps its size.
        bias: Whether the convolution has a bias.
        norm: Batch normalisation with learned scale and shift, without them, or none.

    Example:
        >>> Gate((3, 7), bias=False, norm="affine")(torch.randn(4, 2, 18)).shape
        torch.Size([4, 2, 18])
    """

    def __init__(self, kernel: tuple[int, int], *, bias: bool, norm: GateNorm) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.conv = nn.Conv2d(1, 1, kernel, padding=padding, bias=bias)
        self.norm = nn.Identity() if norm == "none" else nn.BatchNorm2d(1, affine=norm == "affine")

    def logits(self, pooled: Tensor) -> Tensor:
        """The gate before the sigmoid, shape ``(N, H, W)`` in and out."""
        logits: Tensor = self.norm(self.conv(pooled[:, None]))
        return logits[:, 0]

    def forward(self, pooled: Tensor) -> Tensor:
        """Gate values in 0..1, shape ``(N, H, W)`` in and out."""
        return torch.sigmoid(self.logits(pooled))


class SkeletonAttention(nn.Module):
    """Which joints matter: ``X * sigmoid(BN(conv_3x7(max_T X)))``, the map is channels by joints.

    Args:
        bias: Whether the convolution has a bias.
        norm: See `Gate`.

    Example:
        >>> SkeletonAttention()(torch.randn(4, 2, 8, 18)).shape
        torch.Size([4, 2, 8, 18])
    """

    def __init__(self, *, bias: bool = False, norm: GateNorm = "affine") -> None:
        super().__init__()
        self.gate = Gate(_SKELETON_KERNEL, bias=bias, norm=norm)

    def forward(self, features: Tensor) -> Tensor:
        """Gate ``(N, C, T, V)`` with one value per channel and joint."""
        gate: Tensor = self.gate(features.amax(dim=2))
        return features * gate[:, :, None, :]


class FrameAttention(nn.Module):
    """Which frames matter: ``X * sigmoid(BN(conv(max_V X)))``, the map is frames by channels.

    Args:
        kernel: Frames by channels. A map of two channels leaves four of the seven columns of ``3x7`` unused, which is
            why ``7x3`` is the sensible reading; the redrawn figure shows ``3x7``.
        bias: Whether the convolution has a bias.
        norm: See `Gate`.

    Example:
        >>> FrameAttention()(torch.randn(4, 2, 8, 18)).shape
        torch.Size([4, 2, 8, 18])
    """

    def __init__(self, *, kernel: FrameKernel = "7x3", bias: bool = False, norm: GateNorm = "affine") -> None:
        super().__init__()
        size = (_JOINT_REACH, _CHANNEL_REACH) if kernel == "7x3" else (_CHANNEL_REACH, _JOINT_REACH)
        self.gate = Gate(size, bias=bias, norm=norm)

    def forward(self, features: Tensor) -> Tensor:
        """Gate ``(N, C, T, V)`` with one value per channel and frame."""
        gate: Tensor = self.gate(features.amax(dim=3).transpose(1, 2))
        return features * gate.transpose(1, 2)[..., None]


class DualAttention(nn.Module):
    """``DAM(X) = (SA(X) + FA(X)) / 2 + X``; with one branch alone, that branch plus X.

    Args:
        attention: Which branches exist.
        frame_kernel: See `FrameAttention`.
        bias: Whether the convolutions have a bias.
        norm: See `Gate`.

    Example:
        >>> DualAttention()(torch.randn(4, 2, 8, 18)).shape
        torch.Size([4, 2, 8, 18])
    """

    def __init__(
        self,
        attention: Attention = "both",
        *,
        frame_kernel: FrameKernel = "7x3",
        bias: bool = False,
        norm: GateNorm = "affine",
    ) -> None:
        super().__init__()
        self.skeleton = SkeletonAttention(bias=bias, norm=norm) if attention in ("skeleton", "both") else None
        self.frame = (
            FrameAttention(kernel=frame_kernel, bias=bias, norm=norm) if attention in ("frame", "both") else None
        )

    def forward(self, features: Tensor) -> Tensor:
        """Reweigh ``(N, C, T, V)``."""
        branches: list[Tensor] = [branch(features) for branch in (self.skeleton, self.frame) if branch is not None]
        return features + sum(branches) / len(branches) if branches else features
