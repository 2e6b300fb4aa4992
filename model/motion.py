"""How people move, which a normalised pose does not show: speed, acceleration, limbs and other people nearby.

Normalisation removes position and size from a window, and with them speed. These features measure them, in body heights
and seconds, so that they mean the same near the camera and far from it. All are one-sided: higher is more unusual. In
normal footage they are close to log-normal: `UpperTails` says how far above its median a feature lies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose.skeleton import JOINTS

MOTION_FEATURES: Final = ("speed", "acceleration", "limbs", "fastest joint", "growth")
"""Of one person: the torso's speed (heights/s) and acceleration (heights/s2), the joints' root mean square speed
relative to the torso weighted by confidence (heights/s), the speed of the third fastest joint (heights/s), and the
rate at which the figure grows or shrinks in the picture (1/s)."""

PAIR_FEATURES: Final = ("relative speed", "limbs near")
"""Of a person and another one nearby: the speed of one torso relative to the other (heights/s), and the faster of the
two people's limbs (heights/s), both weighted by nearness: 1 at the same place, 0 from `REACH` on."""

REACH: Final = 1.5
"""Body heights between two torsos; two people farther apart are no pair."""

OFFSETS: Final = {
    "speed": 0.05,
    "acceleration": 0.2,
    "limbs": 0.05,
    "fastest joint": 0.05,
    "growth": 0.05,
    "relative speed": 0.05,
    "limbs near": 0.05,
}
"""Added to a feature before its logarithm, in the unit of the feature: smaller values are jitter of the keypoints."""

_TORSO: Final = [JOINTS.index(name) for name in ("neck", "right_shoulder", "left_shoulder", "right_hip", "left_hip")]
_HEIGHT_PER_SPREAD: Final = 3.4
"""Height of an upright adult over the root mean square distance of the 18 joints from their mean."""
_MIN_CONFIDENCE: Final = 0.05
_ALIKE: Final = 0.6
"""Two figures whose heights differ by more than this ratio stand at different distances from the camera."""
_FASTER: Final = 2
"""Joints that may be faster than the one whose speed is the feature: keypoints jump."""
_UPPER: Final = 0.95
_UPPER_DEVIATIONS: Final = 1.645
"""Standard deviations from the median to the quantile `_UPPER` of a normal distribution."""
_MIN_SCALE: Final = 1e-3


@dataclass(frozen=True, slots=True)
class UpperTails:
    """The upper end of normal features: their logarithms as normal distributions above the median.

    Attributes:
        features: Names, keys of `OFFSETS`.
        medians: Median of ``log(feature + offset)`` in normal footage, one each.
        scales: Standard deviation above it, from the 95 % quantile, one each.

    Example:
        >>> tails = UpperTails(features=("speed",), medians=(0.0,), scales=(0.5,))
        >>> tails.excess(np.array([[0.95], [np.e - 0.05]])).round(3).tolist()
        [[0.0], [4.0]]
    """

    features: tuple[str, ...]
    medians: tuple[float, ...]
    scales: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.features or not set(self.features) <= set(OFFSETS):
            raise ValueError(f"features must be among {list(OFFSETS)}, got {list(self.features)}")
        if not len(self.features) == len(self.medians) == len(self.scales):
            raise ValueError("every feature needs one median and one scale")
        if not (np.isfinite(self.medians).all() and np.isfinite(self.scales).all() and min(self.scales) > 0):
            raise ValueError("medians must be finite, scales finite and positive")

    @classmethod
    def fit(cls, features: Sequence[str], values: NDArray[np.float64]) -> UpperTails:
        """Fit to normal windows.

        Args:
            features: F names.
            values: Shape ``(N, F)``, N at least 1, finite.
        """
        logs = np.log(values + _offsets(features))
        medians = np.median(logs, axis=0)
        scales = (np.quantile(logs, _UPPER, axis=0) - medians) / _UPPER_DEVIATIONS
        return cls(tuple(features), tuple(medians.tolist()), tuple(np.maximum(scales, _MIN_SCALE).tolist()))

    def excess(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Squared standard deviations above the median, 0 below it; ``(N, F)`` to ``(N, F)``. Their sum is a score."""
        z = (np.log(values + _offsets(self.features)) - self.medians) / self.scales
        return np.asarray(np.square(np.maximum(z, 0.0)))

    def to_dict(self) -> dict[str, Any]:
        """Field names and values, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> UpperTails:
        """The inverse of `to_dict`.

        Raises:
            ValueError: A field is missing, unknown or has an impossible value.
        """
        if set(fields) != {"features", "medians", "scales"}:
            raise ValueError(f"expected features, medians and scales, got {sorted(fields)}")
        medians, scales = (tuple(float(value) for value in fields[name]) for name in ("medians", "scales"))
        return cls(tuple(map(str, fields["features"])), medians, scales)


def body_heights(poses: Tensor) -> Tensor:
    """Body height in pixels, the median over the window, whatever the posture.

    Args:
        poses: Shape ``(N, T, 18, >=2)``, x and y in pixels.

    Returns:
        Shape ``(N,)``, at least 1.
    """
    xy = poses[..., :2]
    spread = (xy - xy.mean(dim=2, keepdim=True)).square().sum(-1).mean(-1).sqrt()
    return (_HEIGHT_PER_SPREAD * spread.median(dim=1).values).clamp_min(1.0)


def motion_features(poses: Tensor, rate_hz: float) -> Tensor:
    """`MOTION_FEATURES` of windows.

    Args:
        poses: Shape ``(N, T, 18, 3)``, T at least 3: x and y in pixels, confidence.
        rate_hz: Grid points per second.

    Returns:
        Shape ``(N, 5)``.
    """
    xy = poses[..., :2] / body_heights(poses)[:, None, None, None]
    root = _root(xy)
    times = _times(xy, rate_hz)
    squares = times.square() - times.square().mean()
    acceleration = 2 * _slope(root, squares)
    energies = _energies(xy, root, rate_hz)
    limbs = _limbs(energies, poses)
    seen = _moving(poses)
    means = (energies * seen).sum(dim=1) / seen.sum(dim=1).clamp_min(1.0)
    fastest = means.topk(_FASTER + 1, dim=1).values[:, _FASTER]
    size = (xy - xy.mean(dim=2, keepdim=True)).square().sum(-1).mean(-1).sqrt().clamp_min(1e-2).log()
    growth = _slope(size[..., None], times)[:, 0].abs()
    speed = _slope(root, times).norm(dim=-1)
    return torch.stack([speed, acceleration.norm(dim=-1), limbs, fastest.sqrt(), growth], dim=1)


def pair_features(poses: Tensor, first: NDArray[np.int64], second: NDArray[np.int64], rate_hz: float) -> Tensor:
    """`PAIR_FEATURES` of pairs of windows that cover the same time in the same picture.

    Args:
        poses: Shape ``(N, T, 18, 3)``.
        first: Shape ``(P,)``, one window of each pair.
        second: Shape ``(P,)``, the other.
        rate_hz: Grid points per second.

    Returns:
        Shape ``(P, 2)``; zero for people farther apart than `REACH`, or at different distances from the camera.
    """
    if not len(first):
        return poses.new_zeros((0, len(PAIR_FEATURES)))
    heights, root = body_heights(poses), _root(poses[..., :2])
    xy = poses[..., :2] / heights[:, None, None, None]
    limbs = _limbs(_energies(xy, _root(xy), rate_hz), poses)
    a, b = (torch.from_numpy(index).to(poses.device) for index in (first, second))
    scale = (heights[a] + heights[b]) / 2
    apart = (root[a] - root[b]) / scale[:, None, None]
    distance = apart.norm(dim=-1).mean(dim=1)
    alike = torch.minimum(heights[a], heights[b]) >= _ALIKE * torch.maximum(heights[a], heights[b])
    near = (1 - distance / REACH).clamp_min(0) * alike
    speed = _slope(apart, _times(apart, rate_hz)).norm(dim=-1)
    return torch.stack([speed * near, torch.maximum(limbs[a], limbs[b]) * near], dim=1)


def companions(cameras: NDArray[np.int64], moments: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ordered pairs of rows with the same camera and the same moment, each pair both ways.

    Args:
        cameras: Shape ``(N,)``.
        moments: Shape ``(N,)``, numbers of grid points.

    Returns:
        Two arrays ``(P,)`` of row numbers.
    """
    order = np.lexsort((moments, cameras))
    _, sizes = np.unique(np.stack([cameras, moments]), axis=1, return_counts=True)
    # Each row of a group of n meets all n of the group, one after the other.
    meetings = np.repeat(sizes, sizes)
    first = np.repeat(np.arange(len(order)), meetings)
    group_start = np.repeat(np.cumsum(sizes) - sizes, sizes)
    second = (
        np.arange(len(first)) - np.repeat(np.cumsum(meetings) - meetings, meetings) + np.repeat(group_start, meetings)
    )
    other = first != second
    return order[first[other]], order[second[other]]


def _offsets(features: Sequence[str]) -> NDArray[np.float64]:
    return np.array([OFFSETS[name] for name in features])


def _root(xy: Tensor) -> Tensor:
    """Centre of the torso: ``(N, T, 18, 2)`` to ``(N, T, 2)``."""
    return xy[:, :, _TORSO].mean(dim=2)


def _energies(xy: Tensor, root: Tensor, rate_hz: float) -> Tensor:
    """Squared speed of each joint relative to the torso, ``(N, T - 2, 18)``."""
    limbs = xy - root[:, :, None]
    return (limbs[:, 2:] - limbs[:, :-2]).square().sum(-1) * (rate_hz / 2) ** 2


def _limbs(energies: Tensor, poses: Tensor) -> Tensor:
    """Root of the mean of squared speeds ``(N, T - 2, 18)`` weighted by confidence, ``(N,)``."""
    weight = poses[:, 1:-1, :, 2].clamp_min(_MIN_CONFIDENCE) * _moving(poses)
    return ((energies * weight).sum((1, 2)) / weight.sum((1, 2)).clamp_min(_MIN_CONFIDENCE)).sqrt()


def _moving(poses: Tensor) -> Tensor:
    """Whether the speed of a joint was seen, at the point itself and on either side: ``(N, T - 2, 18)``, 0 or 1."""
    seen = poses[..., 2] > 0
    return (seen[:, 2:] & seen[:, 1:-1] & seen[:, :-2]).to(poses.dtype)


def _times(like: Tensor, rate_hz: float) -> Tensor:
    """Seconds of the grid points from the middle of the window, shape ``(T,)``."""
    points = torch.arange(like.shape[1], device=like.device, dtype=like.dtype)
    return (points - points.mean()) / rate_hz


def _slope(values: Tensor, regressor: Tensor) -> Tensor:
    """Least-squares slope of ``(N, T, D)`` over a centred regressor ``(T,)``, shape ``(N, D)``."""
    return (values * regressor[:, None]).sum(dim=1) / regressor.square().sum()
