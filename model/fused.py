"""The flow in evaluation mode, with everything constant folded: same numbers, fewer and larger operations.

With fixed batch statistics each part of the coupling network except maximum and sigmoid is affine. The graph
convolution with the residual becomes one matrix on joints, each attention gate one matrix on its pooled map, ActNorm
with the permutation two by two numbers. The matrices are found by probing the trained layers with unit vectors, so
nothing of their mathematics is written twice.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.flow import (
    CHANNELS,
    MIN_SCALE,
    AffineCoupling,
    Conditioner,
    DAFlow,
    FlowStep,
    check_shape,
    nats_per_window_bit,
)
from pose.skeleton import NUM_JOINTS


class FusedFlow:
    """Scores windows as ``DAFlow.nll`` does in evaluation mode.

    Args:
        flow: The trained flow; it is not changed.
        device: Where to compute.
    """

    def __init__(self, flow: DAFlow, device: torch.device | str = "cpu") -> None:
        self.config = flow.config
        self.device = torch.device(device)
        # Folding multiplies what training kept apart; double precision keeps that exact to float32.
        exact = copy.deepcopy(flow).cpu().double().eval()
        with torch.no_grad():
            self._steps = [_fuse_step(step, flow.config.length, self.device) for step in exact.flow_steps()]

    def nll(self, x: Tensor) -> Tensor:
        """Negative log-likelihood in bits per dimension.

        Args:
            x: Shape ``(N, 2, T, 18)`` on this flow's device.

        Returns:
            Shape ``(N,)``; nan or infinite where a window is.

        Raises:
            ValueError: The shape is wrong.
        """
        check_shape(x, self.config.length)
        with torch.inference_mode():
            first, second = x.to(torch.float32).unbind(1)
            log_det = 0.0
            log_scales = x.new_zeros(x.shape[0])
            for step in self._steps:
                first, second = step.mix(first, second)
                shift, scale = step.shift_and_scale(first)
                second = (second + shift) * scale if step.shift_first else second * scale + shift
                log_scales = log_scales + scale.log().sum(dim=(1, 2))
                log_det += step.log_det
            mean = self.config.prior_mean
            squares = (first - mean).square_().add_((second - mean).square_()).sum(dim=(1, 2))
            points = self.config.length * NUM_JOINTS
            constant = points * (CHANNELS * math.log(2 * math.pi) / 2 - log_det)
            return (0.5 * squares - log_scales + constant) / nats_per_window_bit(self.config.length)


@dataclass(frozen=True, slots=True, eq=False)
class _Affine:
    """``x @ matrix + offset``, matrix ``(n, m)`` and offset ``(m,)``."""

    matrix: Tensor
    offset: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return torch.addmm(self.offset, x, self.matrix)

    def per_channel(self, x: Tensor) -> Tensor:
        """One channel ``(N, T, V)`` to m, ``(N, T, m, V)``; for n = 1."""
        return torch.addcmul(self.offset[:, None], x[:, :, None], self.matrix.T)


@dataclass(frozen=True, slots=True, eq=False)
class _FusedStep:
    """One flow step on channels apart, each ``(N, T, V)``.

    Attributes:
        weight: ActNorm and permutation as a matrix of numbers, ``[out][in]``.
        bias: Their offset.
        log_det: Their log-determinant at every point, nats.
        joints: The graph convolution, with the residual if nothing comes between, V to 2 V.
        temporal: The temporal convolution, if any.
        late_residual: The residual, one channel to two, where it is not part of `joints`.
        residual_first: Whether that residual comes before attention.
        skeleton: Gate logits of channels and joints, 2 V to 2 V.
        frame: Gate logits of frames and channels, 2 T to 2 T.
        final_relu: Whether shift and raw scale pass a ReLU.
        shift_first: Form of the coupling.
    """

    weight: list[list[float]]
    bias: list[float]
    log_det: float
    joints: _Affine
    temporal: nn.Module | None
    late_residual: _Affine | None
    residual_first: bool
    skeleton: _Affine | None
    frame: _Affine | None
    final_relu: bool
    shift_first: bool

    def mix(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """ActNorm and permutation."""
        outputs = []
        for weights, bias in zip(self.weight, self.bias, strict=True):
            terms = [x * w for x, w in zip((first, second), weights, strict=True) if w]
            outputs.append(sum(terms[1:], terms[0]).add_(bias))
        return outputs[0], outputs[1]

    def shift_and_scale(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """The coupling network, ``(N, T, V)`` to two of the same."""
        n, length, joints = kept.shape
        features = self.joints(kept.reshape(-1, joints)).view(n, length, CHANNELS, joints)
        if self.temporal is not None:
            features = self.temporal(features.transpose(1, 2)).transpose(1, 2)
        if self.residual_first:
            features = self._attend(self._add_residual(features, kept))
        else:
            features = self._add_residual(self._attend(features), kept)
        if self.final_relu:
            features = torch.relu(features)
        return features[:, :, 0], torch.sigmoid(features[:, :, 1] + 2.0).add_(MIN_SCALE)

    def _add_residual(self, features: Tensor, kept: Tensor) -> Tensor:
        return features if self.late_residual is None else features + self.late_residual.per_channel(kept)

    def _attend(self, features: Tensor) -> Tensor:
        n, length, _, joints = features.shape
        gates = []
        if self.skeleton is not None:
            gate = torch.sigmoid(self.skeleton(features.amax(dim=1).flatten(1)))
            gates.append(gate.view(n, 1, CHANNELS, joints))
        if self.frame is not None:
            gate = torch.sigmoid(self.frame(features.amax(dim=3).flatten(1)))
            gates.append(gate.view(n, length, CHANNELS, 1))
        if not gates:
            return features
        return features * (1 + sum(gate / len(gates) for gate in gates))


def _probe(layer: Callable[[Tensor], Tensor], size: int) -> tuple[Tensor, Tensor]:
    """Matrix and offset of an affine function from ``(n, size)`` to ``(n, m)``."""
    offset = layer(torch.zeros((1, size), dtype=torch.float64))
    return layer(torch.eye(size, dtype=torch.float64)) - offset, offset[0]


def _fuse_step(step: FlowStep, length: int, device: torch.device) -> _FusedStep:
    def affine(layer: Callable[[Tensor], Tensor], size: int) -> _Affine:
        matrix, offset = _probe(layer, size)
        return _Affine(matrix.to(device, torch.float32).contiguous(), offset.to(device, torch.float32))

    def mix(x: Tensor) -> Tensor:
        normalised: Tensor = step.actnorm(x[:, :, None, None])[0]
        mixed: Tensor = step.permutation(normalised)[0]
        return mixed.flatten(1)

    coupling: AffineCoupling = step.coupling
    network: Conditioner = coupling.conditioner
    residual, attention = network.residual, network.attention
    fold_residual = network.residual_first and network.temporal is None

    def on_joints(x: Tensor) -> Tensor:
        features: Tensor = network.graph(x[:, None])
        return (features + residual(x[:, None]) if fold_residual and residual is not None else features).flatten(1)

    weight, bias = _probe(mix, CHANNELS)
    origin = torch.zeros((1, CHANNELS, 1, 1), dtype=torch.float64)
    log_det = step.actnorm(origin)[1] + step.permutation(origin)[1]
    late = None if residual is None or fold_residual else affine(_flat(residual, 1, 1), 1)
    skeleton, frame = attention.skeleton, attention.frame
    return _FusedStep(
        weight=weight.T.tolist(),
        bias=bias.tolist(),
        log_det=float(log_det),
        joints=affine(on_joints, NUM_JOINTS),
        temporal=None if network.temporal is None else network.temporal.to(device, torch.float32),
        late_residual=late,
        residual_first=network.residual_first,
        skeleton=None
        if skeleton is None
        else affine(_flat(skeleton.gate.logits, CHANNELS, NUM_JOINTS), CHANNELS * NUM_JOINTS),
        frame=None if frame is None else affine(_flat(frame.gate.logits, length, CHANNELS), length * CHANNELS),
        final_relu=network.final_relu,
        shift_first=coupling.shift_first,
    )


def _flat(gate: Callable[[Tensor], Tensor], height: int, width: int) -> Callable[[Tensor], Tensor]:
    return lambda x: gate(x.view(-1, height, width)).flatten(1)
