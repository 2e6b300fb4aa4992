"""DA-Flow: a normalizing flow of skeleton windows whose coupling network is a graph convolution with dual attention.

With C channels (x, y), T frames and V joints, a window ``x (C, T, V)`` is mapped through K steps of ActNorm, channel
permutation and affine coupling to ``z``, and

    log p(x) = log N(z; R, I) + sum log |det dz/dx|.

Sources: DA-Flow, arXiv 2406.02976; STG-NF (Hirschorn and Avidan, ICCV 2023); Glow (Kingma and Dhariwal, NeurIPS 2018).
Every layer returns its log-determinant per point ``(N, T, V)``, or something that broadcasts to it, because all of them
act on the channels of one point at a time; so the likelihood can be attributed to joints.
"""

from __future__ import annotations

import math
from typing import Final, cast

import torch
from torch import Tensor, nn

from model.attention import DualAttention
from model.config import DAFlowConfig
from model.graph import adjacency
from pose.skeleton import NUM_JOINTS

CHANNELS: Final = 2
MIN_SCALE: Final = 1e-6
_MIN_STD: Final = 1e-6


class ActNorm(nn.Module):
    """``y = (x + b) * exp(s)`` per channel; the first training batch sets b and s to standardise it (Glow, 3.1).

    The buffer `initialised` is part of the state dict, so a loaded layer is never initialised again.

    Example:
        >>> layer = ActNorm()
        >>> y, log_det = layer(2 + 3 * torch.randn(64, 2, 8, 18))
        >>> torch.allclose(y.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-5)
        True
    """

    initialised: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, CHANNELS, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(1, CHANNELS, 1, 1))
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, 2, T, V)`` to the same and the log-determinant of every point, a scalar."""
        if self.training and not self.initialised:
            self._initialise(x)
        return (x + self.bias) * self.log_scale.exp(), self.log_scale.sum()

    def inverse(self, y: Tensor) -> Tensor:
        """Undo `forward`."""
        return y * (-self.log_scale).exp() - self.bias

    @torch.no_grad()
    def _initialise(self, x: Tensor) -> None:
        std, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0, keepdim=True)
        self.bias.copy_(-mean)
        self.log_scale.copy_(-std.clamp_min(_MIN_STD).log())
        self.initialised.fill_(True)


class ReverseChannels(nn.Module):
    """Swap x and y, so that consecutive couplings change both.

    Example:
        >>> layer, x = ReverseChannels(), torch.randn(4, 2, 8, 18)
        >>> torch.allclose(layer.inverse(layer(x)[0]), x, atol=1e-5)
        True
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, 2, T, V)`` to the same and a log-determinant of zero."""
        return x.flip(1), x.new_zeros(())

    def inverse(self, y: Tensor) -> Tensor:
        """Undo `forward`."""
        return y.flip(1)


class Conv1x1(nn.Module):
    """A learned invertible mix of the channels, started as a random rotation (Glow, 3.2).

    Example:
        >>> layer, x = Conv1x1(), torch.randn(4, 2, 8, 18)
        >>> torch.allclose(layer.inverse(layer(x)[0]), x, atol=1e-5)
        True
    """

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.linalg.qr(torch.randn(CHANNELS, CHANNELS)).Q)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, 2, T, V)`` to the same and the log-determinant of every point, a scalar."""
        return torch.einsum("ij,njtv->nitv", self.matrix, x), torch.linalg.slogdet(self.matrix).logabsdet

    def inverse(self, y: Tensor) -> Tensor:
        """Undo `forward`."""
        return torch.einsum("ij,njtv->nitv", torch.linalg.inv(self.matrix), y)


class GraphConvolution(nn.Module):
    """``y_c = sum_p (w_cp * x + b_cp) @ A_p`` from one channel to two, on every frame.

    Args:
        config: Partition, reach and bias.

    Example:
        >>> GraphConvolution(DAFlowConfig(length=8))(torch.randn(4, 8, 18)).shape
        torch.Size([4, 2, 8, 18])
    """

    adjacency: Tensor

    def __init__(self, config: DAFlowConfig) -> None:
        super().__init__()
        self.register_buffer("adjacency", adjacency(config.partition, config.max_hop), persistent=False)
        partitions = len(self.adjacency)
        # The uniform range of torch's own 1x1 convolution with a fan-in of one.
        self.weight = nn.Parameter(torch.empty(CHANNELS, partitions).uniform_(-1, 1))
        self.bias = nn.Parameter(torch.empty(CHANNELS, partitions).uniform_(-1, 1)) if config.gcn_bias else None

    def joint_map(self) -> tuple[Tensor, Tensor | None]:
        """The layer as one affine map of joints: matrix ``(V, 2 V)`` and offset ``(2 V,)``, channels outermost."""
        matrix = torch.einsum("cp,pvw->vcw", self.weight, self.adjacency).flatten(1)
        if self.bias is None:
            return matrix, None
        return matrix, torch.einsum("cp,pw->cw", self.bias, self.adjacency.sum(dim=1)).flatten()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, T, V)`` to ``(N, 2, T, V)``."""
        matrix, offset = self.joint_map()
        mapped = x @ matrix
        if offset is not None:
            mapped = mapped + offset
        return mapped.view(*x.shape[:2], CHANNELS, NUM_JOINTS).transpose(1, 2)


class Shortcut(nn.Module):
    """STG-NF's projected residual ``BN(w_c * x + b_c)`` from one channel to two.

    Example:
        >>> Shortcut()(torch.randn(4, 8, 18)).shape
        torch.Size([4, 2, 8, 18])
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(CHANNELS, 1, 1).uniform_(-1, 1))
        self.bias = nn.Parameter(torch.empty(CHANNELS, 1, 1).uniform_(-1, 1))
        self.norm = nn.BatchNorm2d(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, T, V)`` to ``(N, 2, T, V)``."""
        result: Tensor = self.norm(x[:, None] * self.weight + self.bias)
        return result


class TemporalConvolution(nn.Sequential):
    """STG-NF's temporal block: BN, ReLU, convolution over ``T // 2 + 1`` frames, BN.

    Args:
        length: Frames T in a window.

    Example:
        >>> TemporalConvolution(length=8)(torch.randn(4, 2, 8, 18)).shape
        torch.Size([4, 2, 8, 18])
    """

    def __init__(self, length: int) -> None:
        kernel = length // 2 + 1
        super().__init__(
            nn.BatchNorm2d(CHANNELS),
            nn.ReLU(),
            nn.Conv2d(CHANNELS, CHANNELS, (kernel, 1), padding=(kernel // 2, 0)),
            nn.BatchNorm2d(CHANNELS),
        )


class Conditioner(nn.Module):
    """The coupling network: graph convolution, optional temporal convolution, dual attention, residual, optional ReLU.

    Args:
        config: The architecture.
        first: Whether this is the flow's first step, which has no residual.

    Example:
        >>> Conditioner(DAFlowConfig(length=8), first=True)(torch.randn(4, 8, 18)).shape
        torch.Size([4, 2, 8, 18])
    """

    def __init__(self, config: DAFlowConfig, *, first: bool) -> None:
        super().__init__()
        self.graph = GraphConvolution(config)
        self.temporal = TemporalConvolution(config.length) if config.temporal_conv else None
        self.attention = DualAttention(
            config.attention,
            frame_kernel=config.frame_kernel,
            bias=config.attention_bias,
            norm=config.attention_norm,
        )
        self.residual = None if first or config.residual == "none" else Shortcut()
        self.residual_first = config.residual_position == "before_attention"
        self.final_relu = config.final_relu

    def forward(self, x: Tensor) -> Tensor:
        """The unchanged channel ``(N, T, V)`` to shift and raw scale ``(N, 2, T, V)``."""
        features = self.graph(x)
        if self.temporal is not None:
            features = self.temporal(features)
        residual = 0 if self.residual is None else self.residual(x)
        features = self.attention(features + residual) if self.residual_first else self.attention(features) + residual
        result: Tensor = torch.relu(features) if self.final_relu else features
        return result


class AffineCoupling(nn.Module):
    """Shift and scale the second channel by functions of the first; ``scale = sigmoid(raw + 2) + 1e-6`` (STG-NF).

    Args:
        config: The architecture.
        first: Whether this is the flow's first step.

    Example:
        >>> layer, x = AffineCoupling(DAFlowConfig(length=8), first=True).eval(), torch.randn(4, 2, 8, 18)
        >>> torch.allclose(layer.inverse(layer(x)[0]), x, atol=1e-3)
        True
    """

    def __init__(self, config: DAFlowConfig, *, first: bool) -> None:
        super().__init__()
        self.conditioner = Conditioner(config, first=first)
        self.shift_first = config.coupling == "shift_then_scale"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, 2, T, V)`` to the same and the log-determinant of every point ``(N, T, V)``."""
        kept, changed = x[:, 0], x[:, 1]
        shift, scale = self._shift_and_scale(kept)
        changed = (changed + shift) * scale if self.shift_first else changed * scale + shift
        return torch.stack([kept, changed], dim=1), scale.log()

    def inverse(self, y: Tensor) -> Tensor:
        """Undo `forward`."""
        kept, changed = y[:, 0], y[:, 1]
        shift, scale = self._shift_and_scale(kept)
        changed = changed / scale - shift if self.shift_first else (changed - shift) / scale
        return torch.stack([kept, changed], dim=1)

    def _shift_and_scale(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = self.conditioner(kept).unbind(1)
        return shift, torch.sigmoid(raw + 2.0) + MIN_SCALE


class FlowStep(nn.Module):
    """ActNorm, channel permutation, affine coupling.

    Args:
        config: The architecture.
        first: Whether this is the flow's first step.

    Example:
        >>> layer, x = FlowStep(DAFlowConfig(length=8), first=True), torch.randn(4, 2, 8, 18)
        >>> _ = layer(x)  # ActNorm takes its statistics from the first batch
        >>> layer = layer.eval()
        >>> torch.allclose(layer.inverse(layer(x)[0]), x, atol=1e-3)
        True
    """

    def __init__(self, config: DAFlowConfig, *, first: bool) -> None:
        super().__init__()
        self.actnorm = ActNorm()
        self.permutation = ReverseChannels() if config.permutation == "reverse" else Conv1x1()
        self.coupling = AffineCoupling(config, first=first)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, 2, T, V)`` to the same and the log-determinant of every point ``(N, T, V)``."""
        x, of_actnorm = self.actnorm(x)
        x, of_permutation = self.permutation(x)
        x, of_coupling = self.coupling(x)
        return x, of_actnorm + of_permutation + of_coupling

    def inverse(self, y: Tensor) -> Tensor:
        """Undo `forward`."""
        result: Tensor = self.actnorm.inverse(self.permutation.inverse(self.coupling.inverse(y)))
        return result


class DAFlow(nn.Module):
    """The flow.

    Batch normalisation uses batch statistics in training mode, so a window's likelihood then depends on its batch and
    `inverse` is refused; call ``eval()`` first.

    Args:
        config: The architecture.

    Example:
        >>> flow = DAFlow(DAFlowConfig()).eval()
        >>> sum(p.numel() for p in flow.parameters())
        488
        >>> flow.nll(torch.randn(3, 2, 24, 18)).shape
        torch.Size([3])

    Example:
        >>> flow = DAFlow(DAFlowConfig(length=8)).eval()
        >>> flow.nll(torch.randn(4, 2, 8, 18)).shape
        torch.Size([4])
        >>> flow.sample(3).shape
        torch.Size([3, 2, 8, 18])
    """

    def __init__(self, config: DAFlowConfig) -> None:
        super().__init__()
        self.config = config
        self.steps = nn.ModuleList(FlowStep(config, first=index == 0) for index in range(config.steps))

    def flow_steps(self) -> list[FlowStep]:
        """The steps in the order of `forward`."""
        return cast(list[FlowStep], list(self.steps))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map windows to latents.

        Args:
            x: Shape ``(N, 2, T, 18)``, normalised windows.

        Returns:
            The latent of the same shape and the log-determinant in nats, shape ``(N,)``.

        Raises:
            ValueError: The shape is wrong or a value is not finite.
        """
        z, log_det = self._transform(x)
        return z, log_det.sum(dim=(1, 2))

    def inverse(self, z: Tensor) -> Tensor:
        """Map latents ``(N, 2, T, 18)`` back to windows.

        Raises:
            ValueError: The shape is wrong or a value is not finite.
            RuntimeError: The flow is in training mode, where no inverse exists.
        """
        if self.training:
            raise RuntimeError("the inverse needs fixed batch statistics: call eval() on the flow first")
        self._check(z)
        for step in reversed(self.flow_steps()):
            z = step.inverse(z)
        return z

    def log_prob(self, x: Tensor, abnormal: Tensor | None = None) -> Tensor:
        """Log-likelihood of windows in nats, shape ``(N,)``; arguments and errors are those of `nll`."""
        return self._log_density(x, abnormal).sum(dim=(1, 2))

    def nll(self, x: Tensor, abnormal: Tensor | None = None) -> Tensor:
        """Negative log-likelihood of windows in bits per dimension.

        Args:
            x: Shape ``(N, 2, T, 18)``, normalised windows.
            abnormal: Shape ``(N,)``, boolean: windows known to be abnormal, which get the prior N(-R, I) so that
                training drives them away from the normal ones (STG-NF's supervised setting). Leave it out to score
                unknown windows: then all get the normal prior N(R, I).

        Returns:
            Shape ``(N,)``.

        Raises:
            ValueError: A shape is wrong, a value is not finite, or `abnormal` is not boolean.
        """
        return -self.log_prob(x, abnormal) / nats_per_window_bit(self.config.length)

    def nll_by_joint(self, x: Tensor) -> Tensor:
        """What each joint adds to `nll`, shape ``(N, 18)``; the sum over joints is `nll`."""
        return -self._log_density(x).sum(dim=1) / nats_per_window_bit(self.config.length)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw windows.

        Args:
            n: How many.
            generator: Source of randomness, on the flow's device.

        Returns:
            Shape ``(n, 2, T, 18)``.
        """
        device = next(self.parameters()).device
        noise = torch.randn((n, CHANNELS, self.config.length, NUM_JOINTS), generator=generator, device=device)
        return self.inverse(noise + self.config.prior_mean)

    def _transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self._check(x)
        log_det = x.new_zeros((len(x), *x.shape[2:]))
        for step in self.flow_steps():
            x, of_step = step(x)
            log_det = log_det + of_step
        return x, log_det

    def _log_density(self, x: Tensor, abnormal: Tensor | None = None) -> Tensor:
        """Log-likelihood in nats of every point, shape ``(N, T, V)``."""
        z, log_det = self._transform(x)
        if abnormal is None:
            offset = z - self.config.prior_mean
        else:
            if abnormal.shape != (len(x),) or abnormal.dtype != torch.bool:
                raise ValueError(f"expected {len(x)} booleans, got {abnormal.dtype} {tuple(abnormal.shape)}")
            offset = z + self.config.prior_mean * (2.0 * abnormal.to(z.dtype) - 1.0)[:, None, None, None]
        return log_det - 0.5 * (offset.square() + math.log(2 * math.pi)).sum(dim=1)

    def _check(self, x: Tensor) -> None:
        check_shape(x, self.config.length)
        if not torch.isfinite(x).all():
            raise ValueError("windows must be finite; found nan or infinity")


def check_shape(x: Tensor, length: int) -> None:
    """Refuse anything but a batch of windows.

    Raises:
        ValueError: `x` is not of shape ``(N, 2, length, 18)`` or not floating point.
    """
    if x.ndim != 4 or x.shape[1:] != (CHANNELS, length, NUM_JOINTS) or not x.is_floating_point():
        wanted = f"(N, {CHANNELS}, {length}, {NUM_JOINTS})"
        raise ValueError(f"expected floating-point windows of shape {wanted}, got {x.dtype} {tuple(x.shape)}")


def nats_per_window_bit(length: int) -> float:
    """Nats in one bit per dimension of a window: ``ln 2 * C T V``."""
    return math.log(2) * CHANNELS * length * NUM_JOINTS
