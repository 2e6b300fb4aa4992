"""Flows in evaluation mode with all constants folded: the same numbers from fewer and larger operations.

With fixed batch statistics each part of the coupling network except maximum and sigmoid is affine. The graph
convolution with the residual becomes one matrix on joints, each attention gate one matrix on its pooled map, ActNorm
with the permutation two by two numbers. The matrices are found by probing the trained layers with unit vectors, so
none of their mathematics is written twice.

Several sets of weights of one architecture are scored in one call: windows are arranged in blocks of one set each, and
all blocks go through the same batched operations, each with its own matrices.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.config import DAFlowConfig
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


@dataclass(frozen=True, slots=True, eq=False)
class FoldedFlow:
    """One set of weights, folded once so that it can be stacked with others again and again.

    Attributes:
        config: The architecture.
        constants: All matrices and offsets, float32 on the CPU.
        temporal: The temporal convolution of each step, if the architecture has them.

    Example:
        >>> folded = FoldedFlow.of(DAFlow(DAFlowConfig(length=8)).eval())
        >>> FusedFlow([folded, folded]).sets
        2
    """

    config: DAFlowConfig
    constants: _Step
    temporal: tuple[nn.Module, ...] | None

    @classmethod
    def of(cls, flow: DAFlow) -> FoldedFlow:
        """Fold a trained flow; it is not changed."""
        # Folding multiplies matrices that training kept apart; double precision keeps the product exact to float32.
        exact = copy.deepcopy(flow).cpu().double().eval()
        with torch.no_grad():
            steps = [_fold_step(step, flow.config.length) for step in exact.flow_steps()]
            constants = _each(lambda tensors: torch.stack(tensors).to(torch.float32), steps)
        temporal = [step.coupling.conditioner.temporal for step in exact.flow_steps()]
        modules = tuple(module.to(torch.float32) for module in temporal if module is not None)
        return cls(flow.config, constants, modules or None)


class FusedFlow:
    """Scores windows as ``DAFlow.nll`` does in evaluation mode, under one or several sets of weights.

    Args:
        flows: One set of weights, or several of the same architecture.
        device: Where to compute.

    Raises:
        ValueError: There is none, their architectures differ, or several have temporal convolutions, which are not
            stacked.

    Example:
        >>> flow = DAFlow(DAFlowConfig(length=8)).eval()
        >>> x = torch.randn(4, 2, 8, 18)
        >>> torch.allclose(FusedFlow(flow).nll(x), flow.nll(x), atol=1e-4)
        True
    """

    def __init__(
        self, flows: DAFlow | FoldedFlow | Sequence[DAFlow | FoldedFlow], device: torch.device | str = "cpu"
    ) -> None:
        several = [flows] if isinstance(flows, DAFlow | FoldedFlow) else list(flows)
        folded = [FoldedFlow.of(flow) if isinstance(flow, DAFlow) else flow for flow in several]
        if not folded or any(flow.config != folded[0].config for flow in folded):
            raise ValueError(f"expected sets of weights of one architecture, got {len(folded)} of them")
        if len(folded) > 1 and folded[0].temporal is not None:
            raise ValueError("flows with temporal convolutions cannot be stacked")
        self.config = folded[0].config
        self.device = torch.device(device)
        self.sets = len(folded)
        self._constants = _each(
            lambda tensors: torch.stack(tensors).to(self.device), [flow.constants for flow in folded]
        )
        self._inputs = (self._constants.mixing != 0).any(dim=0).tolist()
        self._of_first = self._steps_of(torch.zeros(1, dtype=torch.int64))
        temporal = folded[0].temporal
        self._temporal = None if temporal is None else [copy.deepcopy(m).to(self.device) for m in temporal]

    def nll(self, x: Tensor, which: Tensor | None = None) -> Tensor:
        """Negative log-likelihood in bits per dimension.

        Args:
            x: Shape ``(N, 2, T, 18)`` on this flow's device.
            which: Shape ``(N,)``, int64 on the CPU: the number of each window's set of weights; all 0 if missing.

        Returns:
            Shape ``(N,)``; nan or infinite where a window is.

        Raises:
            ValueError: A shape is wrong, or a number names no set.
        """
        return self._score(x, which, (2, 3))

    def nll_by_joint(self, x: Tensor, which: Tensor | None = None) -> Tensor:
        """What each joint adds to `nll`, shape ``(N, 18)``; the sum over joints is `nll`.

        Arguments and errors are those of `nll`.
        """
        return self._score(x, which, (2,))

    def _score(self, x: Tensor, which: Tensor | None, summed: tuple[int, ...]) -> Tensor:
        check_shape(x, self.config.length)
        with torch.inference_mode():
            x = x.to(torch.float32)
            if which is None or not len(x):
                return self._bits(x[None], self._of_first, summed)[0]
            blocks = _Blocks.of(which, len(x), self.sets)
            steps = self._steps_of(blocks.sets)
            if len(blocks.sets) == 1:
                return self._bits(x[None], steps, summed)[0]
            bits = self._bits(x[blocks.windows.to(self.device)], steps, summed)
            return bits.flatten(0, 1)[blocks.places.to(self.device)]

    def _steps_of(self, sets: Tensor) -> list[_Step]:
        """The constants of every step, of some of the sets."""
        number, on_device = int(sets[0]), sets.to(self.device)
        chosen = _each(
            lambda stacks: stacks[0][number : number + 1] if len(sets) == 1 else stacks[0].index_select(0, on_device),
            [self._constants],
        )
        by_field = {name: tensor.unbind(1) for name, tensor in _present(chosen)}
        return [
            _Step(**{name: tensors[number] for name, tensors in by_field.items()})
            for number in range(self.config.steps)
        ]

    def _bits(self, x: Tensor, steps: Sequence[_Step], summed: tuple[int, ...]) -> Tensor:
        """Blocks of windows ``(G, B, 2, T, V)`` to bits per dimension, summed over these axes of ``(G, B, T, V)``."""
        first, second = x.unbind(2)
        log_scales = x.new_zeros(())
        log_det = x.new_zeros(())
        for number, step in enumerate(steps):
            first, second = step.mix(first, second, self._inputs[number])
            shift, scale = self._shift_and_scale(number, step, first)
            shift_first = self.config.coupling == "shift_then_scale"
            second = (second + shift) * scale if shift_first else second * scale + shift
            log_scales = log_scales + scale.log().sum(dim=summed)
            log_det = log_det + step.log_det
        mean = self.config.prior_mean
        squares = (first - mean).square_().add_((second - mean).square_()).sum(dim=summed)
        points = self.config.length * (NUM_JOINTS if len(summed) == 2 else 1)
        constant = points * (CHANNELS * math.log(2 * math.pi) / 2 - log_det).view(-1, *[1] * (squares.ndim - 1))
        return (0.5 * squares - log_scales + constant) / nats_per_window_bit(self.config.length)

    def _shift_and_scale(self, number: int, step: _Step, kept: Tensor) -> tuple[Tensor, Tensor]:
        """The coupling network, ``(G, B, T, V)`` to two of the same."""
        blocks, n, length, joints = kept.shape
        features = torch.baddbmm(step.joints_offset, kept.flatten(1, 2), step.joints)
        features = features.view(blocks, n, length, CHANNELS, joints)
        if self._temporal is not None:
            features = self._temporal[number](features[0].transpose(1, 2)).transpose(1, 2)[None]
        if self.config.residual_position == "before_attention":
            features = step.attend(step.add_residual(features, kept))
        else:
            features = step.add_residual(step.attend(features), kept)
        if self.config.final_relu:
            features = torch.relu(features)
        return features[..., 0, :], torch.sigmoid(features[..., 1, :] + 2.0).add_(MIN_SCALE)


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """Constants of a flow step; in a stack every shape has the sets or blocks in front, and between them the steps.

    Attributes:
        mixing: ``(2, 2, 1, 1, 1)``, ActNorm and permutation, output by input channel.
        mixing_offset: ``(2, 1, 1, 1)``.
        log_det: ``()``, their log-determinant at every point, nats.
        joints: ``(V, 2 V)``, the graph convolution, with the residual if nothing comes between.
        joints_offset: ``(1, 2 V)``.
        residual: ``(1, 1, 2, 1)``, where it is not part of `joints`; zero in the first step, which has none.
        residual_offset: ``(1, 1, 2, 1)``.
        skeleton: ``(2 V, 2 V)``, gate logits of channels and joints.
        skeleton_offset: ``(1, 2 V)``.
        frame: ``(2 T, 2 T)``, gate logits of frames and channels.
        frame_offset: ``(1, 2 T)``.
    """

    mixing: Tensor
    mixing_offset: Tensor
    log_det: Tensor
    joints: Tensor
    joints_offset: Tensor
    residual: Tensor | None = None
    residual_offset: Tensor | None = None
    skeleton: Tensor | None = None
    skeleton_offset: Tensor | None = None
    frame: Tensor | None = None
    frame_offset: Tensor | None = None

    def mix(self, first: Tensor, second: Tensor, inputs: Sequence[Sequence[bool]]) -> tuple[Tensor, Tensor]:
        """ActNorm and permutation, of channels ``(G, B, T, V)``; `inputs` says which weights are not all zero."""
        outputs = []
        for output, used in enumerate(inputs):
            terms = [x * self.mixing[:, output, i] for i, x in enumerate((first, second)) if used[i]]
            outputs.append(sum(terms[1:], terms[0]).add_(self.mixing_offset[:, output]))
        return outputs[0], outputs[1]

    def add_residual(self, features: Tensor, kept: Tensor) -> Tensor:
        """The residual of ``(G, B, T, V)`` on features ``(G, B, T, 2, V)``, where it is not part of `joints`."""
        if self.residual is None or self.residual_offset is None:
            return features
        return features + torch.addcmul(self.residual_offset, kept[..., None, :], self.residual)

    def attend(self, features: Tensor) -> Tensor:
        """Dual attention on features ``(G, B, T, 2, V)``."""
        blocks, n, length, _, joints = features.shape
        gates = []
        if self.skeleton is not None and self.skeleton_offset is not None:
            pooled = features.amax(dim=2).flatten(2)
            gate = torch.sigmoid(torch.baddbmm(self.skeleton_offset, pooled, self.skeleton))
            gates.append(gate.view(blocks, n, 1, CHANNELS, joints))
        if self.frame is not None and self.frame_offset is not None:
            pooled = features.amax(dim=4).flatten(2)
            gate = torch.sigmoid(torch.baddbmm(self.frame_offset, pooled, self.frame))
            gates.append(gate.view(blocks, n, length, CHANNELS, 1))
        if not gates:
            return features
        return features * (1 + sum(gate / len(gates) for gate in gates))


def _present(constants: _Step) -> list[tuple[str, Tensor]]:
    named = [(field.name, getattr(constants, field.name)) for field in dataclasses.fields(_Step)]
    return [(name, tensor) for name, tensor in named if tensor is not None]


def _each(function: Callable[[list[Tensor]], Tensor], several: Sequence[_Step]) -> _Step:
    """One of several, constant by constant."""
    return _Step(**{name: function([getattr(one, name) for one in several]) for name, _ in _present(several[0])})


@dataclass(frozen=True, slots=True, eq=False)
class _Blocks:
    """An arrangement of N windows in blocks of equal size, each of one set of weights.

    Attributes:
        sets: Shape ``(G,)``, the set of each block.
        windows: Shape ``(G, B)``, numbers of the windows in each block, some of them repeated to fill it.
        places: Shape ``(N,)``, where each window stands in the flattened blocks.
    """

    sets: Tensor
    windows: Tensor
    places: Tensor

    @classmethod
    def of(cls, which: Tensor, n: int, sets: int) -> _Blocks:
        """Arrange N windows; at most about as many places stay empty as there are windows."""
        if which.shape != (n,) or which.is_floating_point():
            raise ValueError(f"expected the set of each of {n} windows, got {which.dtype} {tuple(which.shape)}")
        if int(which.min()) < 0 or int(which.max()) >= sets:
            raise ValueError(f"there are {sets} sets of weights, numbered from 0; got {sorted(set(which.tolist()))}")
        order = torch.argsort(which, stable=True)
        numbers, counts = torch.unique_consecutive(which[order], return_counts=True)
        if len(numbers) == 1:
            return cls(numbers, order[None], order)
        size = -(-n // len(numbers))
        blocks = (counts + size - 1) // size
        of_block = torch.repeat_interleave(numbers, blocks)
        first_block = torch.cumsum(blocks, 0) - blocks
        first_window = torch.cumsum(counts, 0) - counts
        within = torch.arange(n) - torch.repeat_interleave(first_window, counts)
        sorted_places = torch.repeat_interleave(first_block * size, counts) + within
        windows = torch.zeros(len(of_block) * size, dtype=torch.int64)
        windows[sorted_places] = order
        places = torch.empty(n, dtype=torch.int64)
        places[order] = sorted_places
        return cls(of_block, windows.view(-1, size), places)


def _probe(layer: Callable[[Tensor], Tensor], size: int) -> tuple[Tensor, Tensor]:
    """Matrix and offset of an affine function from ``(n, size)`` to ``(n, m)``, shapes ``(size, m)`` and ``(1, m)``."""
    offset = layer(torch.zeros((1, size), dtype=torch.float64))
    return layer(torch.eye(size, dtype=torch.float64)) - offset, offset


def _fold_step(step: FlowStep, length: int) -> _Step:
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

    mixing, mixing_offset = _probe(mix, CHANNELS)
    origin = torch.zeros((1, CHANNELS, 1, 1), dtype=torch.float64)
    constants: dict[str, Tensor] = {
        "mixing": mixing.T.reshape(CHANNELS, CHANNELS, 1, 1, 1),
        "mixing_offset": mixing_offset.view(CHANNELS, 1, 1, 1),
        "log_det": step.actnorm(origin)[1] + step.permutation(origin)[1],
    }

    def add(name: str, matrix: Tensor, offset: Tensor) -> None:
        constants.update({name: matrix, f"{name}_offset": offset})

    add("joints", *_probe(on_joints, NUM_JOINTS))
    if not fold_residual:
        nothing = torch.zeros(1, CHANNELS, dtype=torch.float64), torch.zeros(1, CHANNELS, dtype=torch.float64)
        weight, offset = nothing if residual is None else _probe(_flat(residual, 1, 1), 1)
        add("residual", weight.view(1, 1, CHANNELS, 1), offset.view(1, 1, CHANNELS, 1))
    if attention.skeleton is not None:
        logits = _flat(attention.skeleton.gate.logits, CHANNELS, NUM_JOINTS)
        add("skeleton", *_probe(logits, CHANNELS * NUM_JOINTS))
    if attention.frame is not None:
        add("frame", *_probe(_flat(attention.frame.gate.logits, length, CHANNELS), length * CHANNELS))
    return _Step(**constants)


def _flat(gate: Callable[[Tensor], Tensor], height: int, width: int) -> Callable[[Tensor], Tensor]:
    return lambda x: gate(x.view(-1, height, width)).flatten(1)
