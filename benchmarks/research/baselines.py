"""Plain scorers of windows, to measure what a flow adds.

Each is called with windows and returns scores, shape ``(N,)``, float64, higher is more anomalous. Those that are
trained use normal windows only. Units differ, so scores of two scorers cannot be compared, only their ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from torch import Tensor, nn

from model.config import DAFlowConfig
from model.flow import CHANNELS, ActNorm, DAFlow, check_shape
from model.fused import FusedFlow
from pose.skeleton import NUM_JOINTS
from pose.windows import Windows

Floats = NDArray[np.float64]

_COORDINATES: Final = CHANNELS * NUM_JOINTS
_CHUNK: Final = 256
_MIN_HEIGHT: Final = 1.0
"""Pixels. Keeps the speed of a person whose joints lie on one row finite."""


class WindowScorer(Protocol):
    """Anything that scores windows."""

    def __call__(self, windows: Windows) -> Floats:
        """Shape ``(N,)``, higher is more anomalous."""


@dataclass(frozen=True, slots=True, eq=False)
class GaussianBaseline:
    """One normal distribution over whole windows, its covariance shrunk after Ledoit and Wolf (2004).

    Attributes:
        mean: Shape ``(2 T 18,)``.
        precision: Shape ``(2 T 18, 2 T 18)``, inverse of the covariance.
        log_det: Log-determinant of the covariance.
    """

    mean: Floats
    precision: Floats
    log_det: float

    @classmethod
    def fit(cls, windows: Windows) -> Self:
        """Estimate mean and covariance.

        Raises:
            ValueError: There are fewer than two windows.
        """
        if len(windows) < 2:
            raise ValueError(f"a covariance needs at least 2 windows, got {len(windows)}")
        fitted = LedoitWolf().fit(_flat(windows))
        return cls(fitted.location_, fitted.precision_, float(np.linalg.slogdet(fitted.covariance_)[1]))

    def __call__(self, windows: Windows) -> Floats:
        """Negative log-likelihood in bits per dimension."""
        offset = _flat(windows) - self.mean
        distance = np.einsum("nd,nd->n", offset @ self.precision, offset)
        nats = 0.5 * (distance + self.log_det + len(self.mean) * np.log(2 * np.pi))
        return np.asarray(nats / (len(self.mean) * np.log(2)))


class Autoencoder(nn.Module):
    """Compresses a window to 8 channels at a quarter of its frames, and restores it; 12,812 parameters.

    Args:
        length: Frames T in a window, at least 4.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        half, hidden, code = (length + 1) // 2, 48, 8
        self.layers = nn.Sequential(
            nn.Conv1d(_COORDINATES, hidden, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(hidden, code, 3, stride=2, padding=1),
            nn.Upsample(size=half),
            nn.Conv1d(code, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(size=length),
            nn.Conv1d(hidden, _COORDINATES, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Windows ``(N, 2, T, 18)`` to their reconstructions."""
        series = x.transpose(2, 3).flatten(1, 2)
        restored: Tensor = self.layers(series).view(-1, CHANNELS, NUM_JOINTS, x.shape[2]).transpose(2, 3)
        return restored


@dataclass(frozen=True, slots=True, eq=False)
class AutoencoderBaseline:
    """The reconstruction error of a small autoencoder of skeleton windows.

    Attributes:
        network: The trained network, in evaluation mode.
    """

    network: Autoencoder

    @classmethod
    def fit(
        cls,
        windows: Windows,
        *,
        seed: int = 0,
        epochs: int = 20,
        learning_rate: float = 1e-3,
        batch_size: int = 256,
    ) -> Self:
        """Learn to restore windows with Adam, on their device; on one machine the same seed gives the same network.

        Raises:
            ValueError: There is no window.
        """
        if not len(windows):
            raise ValueError("an autoencoder needs windows to learn from, got none")
        x = windows.tensor
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Autoencoder(x.shape[2]).to(x.device)
        shuffle = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
        for _ in range(epochs):
            order = torch.randperm(len(x), generator=shuffle).to(x.device)
            for rows in _chunks(order, batch_size):
                optimizer.zero_grad()
                _errors(network, x[rows]).mean().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return cls(network.eval())

    def __call__(self, windows: Windows) -> Floats:
        """Mean squared error of a window's normalised coordinates."""
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            return _joined([_errors(self.network, x.to(device)) for x in _chunks(windows.tensor)])


@dataclass(frozen=True, slots=True)
class MotionEnergyBaseline:
    """How fast the joints of a person move, in body heights per second; nothing is learnt.

    A body's height is the median over the window of the extent of its joints in y, so a person who lies or sits counts
    as small and fast.

    Attributes:
        rate_hz: Grid points per second of the windows.
    """

    rate_hz: float

    def __post_init__(self) -> None:
        if not self.rate_hz > 0:
            raise ValueError(f"rate_hz must be positive, got {self.rate_hz}")

    def __call__(self, windows: Windows) -> Floats:
        """Mean speed over joints and frames."""
        points = windows.poses[..., :2].to(torch.float64)
        speed = points.diff(dim=1).norm(dim=-1).mean(dim=(1, 2)) * self.rate_hz
        heights = points[..., 1].amax(dim=2) - points[..., 1].amin(dim=2)
        return _joined([speed / heights.median(dim=1).values.clamp_min(_MIN_HEIGHT)])


@dataclass(frozen=True, slots=True, eq=False)
class FlowBaseline:
    """The likelihood of a flow as it is.

    Attributes:
        flow: The flow, in evaluation mode.
    """

    flow: DAFlow

    def __call__(self, windows: Windows) -> Floats:
        """Negative log-likelihood in bits per dimension."""
        fused = FusedFlow(self.flow, next(self.flow.parameters()).device)
        return _joined([fused.nll(x.to(fused.device)) for x in _chunks(windows.tensor)])


def untrained_flow(config: DAFlowConfig, windows: Windows, *, seed: int, actnorm: bool) -> FlowBaseline:
    """A flow with random weights, of which DA-Flow's abstract says that it finds many anomalies already.

    Batch normalisation keeps its initial statistics, and no step of the optimiser is taken.

    Args:
        config: The architecture.
        windows: Normal windows for `actnorm`; a few hundred are enough.
        seed: Decides the weights.
        actnorm: Whether every ActNorm layer standardises these windows, or passes its input on.

    Raises:
        ValueError: `actnorm` without windows, or windows of another length than the architecture's.
    """
    if actnorm and not len(windows):
        raise ValueError("ActNorm needs windows to standardise, got none")
    check_shape(windows.tensor, config.length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        flow = DAFlow(config).to(windows.tensor.device).eval()
    if actnorm:
        for layer in flow.modules():
            if isinstance(layer, ActNorm):
                layer.train()
        with torch.no_grad():
            flow(windows.tensor)
    return FlowBaseline(flow.eval())


def _flat(windows: Windows) -> Floats:
    return windows.tensor.flatten(1).cpu().numpy().astype(np.float64)


def _errors(network: Autoencoder, x: Tensor) -> Tensor:
    errors: Tensor = (network(x) - x).square().mean(dim=(1, 2, 3))
    return errors


def _chunks(x: Tensor, size: int = _CHUNK) -> Iterator[Tensor]:
    """Consecutive rows, at least one chunk even if that is empty."""
    for start in range(0, max(len(x), 1), size):
        yield x[start : start + size]


def _joined(chunks: list[Tensor]) -> Floats:
    return torch.cat(chunks).cpu().numpy().astype(np.float64)
