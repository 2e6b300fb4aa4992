"""`DAFlowConfig`: every choice that the public record of DA-Flow leaves open, by name."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from model.attention import Attention, FrameKernel, GateNorm
from model.graph import MAX_HOP, Partition

Residual = Literal["none", "stgnf"]
ResidualPosition = Literal["before_attention", "after_attention"]
Permutation = Literal["reverse", "conv1x1"]
Coupling = Literal["shift_then_scale", "scale_then_shift"]

_MAX_LENGTH: Final = 512
_MAX_STEPS: Final = 64
_CHOICES: Final[dict[str, object]] = {
    "partition": Partition,
    "attention": Attention,
    "attention_norm": GateNorm,
    "frame_kernel": FrameKernel,
    "residual": Residual,
    "residual_position": ResidualPosition,
    "permutation": Permutation,
    "coupling": Coupling,
}


# The default. A digest of the paper states 0.488K parameters; the abstract says that dual attention follows the graph
# convolution in place of a temporal convolution, and speaks of fixed partitions. Eight steps of ActNorm (4), graph
# convolution (4) and dual attention (46), with STG-NF's residual (8) on steps 2 to 8, give 8 * 54 + 7 * 8 = 488. The
# four parameters of the graph convolution are either one partition with bias (A1) or two without (A2). A1's uniform
# reach of 8 bones is 1/18 everywhere, so all joints look alike to the attention behind it: hence A2, the joint itself
# and its direct neighbours apart. The final ReLU, which STG-NF inherits from ST-GCN, allows only shift >= 0 and scale
# >= 0.88; the likelihood of held-out normal clips decided against it (figures in model/checkpoints/README.md).
@dataclass(frozen=True, slots=True)
class DAFlowConfig:
    """Architecture of one flow.

    Attributes:
        length: Frames T in a window.
        steps: Flow steps K, each ActNorm, permutation, coupling.
        partition: How the neighbours of a joint are split (see `model.graph`).
        max_hop: Reach of the graph convolution in bones.
        gcn_bias: Whether the graph convolution has a bias.
        attention: Which branches of dual attention follow it.
        attention_bias: Whether their convolutions have a bias.
        attention_norm: Batch normalisation of the gates: with affine parameters, plain, or none.
        frame_kernel: Orientation of the frame attention's kernel, frames by channels.
        temporal_conv: STG-NF's temporal convolution after the graph convolution, kernel ``T // 2 + 1``.
        residual: STG-NF's projected shortcut of the coupling network, on every step but the first.
        residual_position: Where the shortcut is added.
        final_relu: Whether the coupling network ends in a ReLU.
        permutation: Reversed channels, or a learned 1x1 convolution.
        coupling: ``(x + shift) * scale`` or ``x * scale + shift``.
        prior_mean: Mean R of the normal prior N(R, I).

    Example:
        >>> config = DAFlowConfig(length=8)
        >>> DAFlowConfig.from_dict(config.to_dict()) == config
        True
    """

    length: int = 24
    steps: int = 8
    partition: Partition = "distance"
    max_hop: int = 1
    gcn_bias: bool = False
    attention: Attention = "both"
    attention_bias: bool = False
    attention_norm: GateNorm = "affine"
    frame_kernel: FrameKernel = "7x3"
    temporal_conv: bool = False
    residual: Residual = "stgnf"
    residual_position: ResidualPosition = "before_attention"
    final_relu: bool = False
    permutation: Permutation = "reverse"
    coupling: Coupling = "shift_then_scale"
    prior_mean: float = 3.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, default = getattr(self, field.name), field.default
            wanted = type(default)
            if type(value) is not wanted and not (wanted is float and type(value) is int):
                raise ValueError(f"{field.name} must be {wanted.__name__}, got {value!r}")
            if field.name in _CHOICES and value not in get_args(_CHOICES[field.name]):
                raise ValueError(f"{field.name} must be one of {get_args(_CHOICES[field.name])}, got {value!r}")
        for name, low, high in (("length", 2, _MAX_LENGTH), ("steps", 1, _MAX_STEPS), ("max_hop", 1, MAX_HOP)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must lie in {low}..{high}, got {getattr(self, name)}")
        if self.temporal_conv and self.length % 4:
            raise ValueError(f"the temporal convolution needs a window length divisible by 4, got {self.length}")

    @classmethod
    def a1(cls, length: int = 24) -> DAFlowConfig:
        """STG-NF's block with the temporal convolution swapped for dual attention; 488 parameters."""
        return cls(length=length, partition="uniform", max_hop=MAX_HOP, gcn_bias=True, final_relu=True)

    @classmethod
    def a2(cls, length: int = 24) -> DAFlowConfig:
        """The default: distance partition without bias; 488 parameters."""
        return cls(length=length)

    @classmethod
    def stgnf(cls, length: int = 24) -> DAFlowConfig:
        """STG-NF (Hirschorn and Avidan, ICCV 2023); 616 parameters at T=24, 488 at T=16."""
        return cls(
            length=length,
            partition="uniform",
            max_hop=MAX_HOP,
            gcn_bias=True,
            attention="none",
            temporal_conv=True,
            final_relu=True,
        )

    def to_dict(self) -> dict[str, Any]:
        """Field names and values, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> DAFlowConfig:
        """The inverse of `to_dict`.

        Raises:
            ValueError: A field is missing, unknown or has an impossible value.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if set(fields) != names:
            raise ValueError(f"fields missing {sorted(names - set(fields))}, unknown {sorted(set(fields) - names)}")
        return cls(**fields)
