"""The parts of a score: how unlikely the pose is, how unusual the motion, and how unusual a pair of people.

DA-Flow judges the shape of a movement. Normalisation hides from it how fast the movement is, and that somebody else is
near; the parts for motion and pairs measure these two. Each part turns a window into a raw score, and normal footage
turns that into a surprise in bits: minus the binary logarithm of the share of normal windows that score as high
(`Calibration.surprise`). The score of a window is the sum of the surprises, Fisher's combination of p-values (1925):
two parts that each find a window a little unusual count as much as one part that finds it very unusual.

The sum assumes nothing about how the parts depend on each other, because its false alarms are measured on normal
footage afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.calibration import Calibration, CalibrationError, Recording
from model.frames import highest_over_people
from model.motion import MOTION_FEATURES, PAIR_FEATURES, UpperTails, companions, motion_features, pair_features
from pose.windows import Windows, WindowSpec

Floats = NDArray[np.float64]

POSE: Final = "pose"
MOTION: Final = "motion"
PAIR: Final = "pair"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the score beside the pose.

    Attributes:
        tails: The normal range of its features.
        reference: Where the sum of `UpperTails.excess` lies among normal windows.

    Example:
        >>> speed = UpperTails(("speed",), medians=(0.0,), scales=(0.5,))
        >>> part = Part(speed, Calibration((0.0, 4.0), (0.0, 0.9), 0.1, 1.0, 20, 1000, 3600.0, 2.0))
        >>> round(float(part.reference.surprise(np.array(4.0))), 2)
        3.32
    """

    tails: UpperTails
    reference: Calibration


@dataclass(frozen=True, slots=True)
class Parts:
    """What is normal to each part of the score.

    Attributes:
        pose: Where a negative log-likelihood lies among normal windows.
        motion: The motion of one person.
        pair: Two people near each other; None if the normal footage has too few of them.

    Example:
        >>> import torch
        >>> from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
        >>> checkpoint = Checkpoint.load(DEFAULT_CHECKPOINT)
        >>> alone = Windows.of_poses(torch.randn(1, 8, 18, 3), np.array([1]), np.array([1.0]))
        >>> list(checkpoint.parts.surprises(alone, np.array([0.3]), np.array([0]), checkpoint.spec))
        ['pose', 'motion', 'pair']
    """

    pose: Calibration
    motion: Part
    pair: Part | None

    def surprises(
        self, windows: Windows, nll: Floats, cameras: NDArray[np.int64], spec: WindowSpec
    ) -> dict[str, Floats]:
        """How unusual each part finds each window, in bits.

        Args:
            windows: Any number of them, all people of a camera at the same time together.
            nll: Shape ``(N,)``, their negative log-likelihood in bits per dimension.
            cameras: Shape ``(N,)``, number of the camera of each.
            spec: What a window is.

        Returns:
            By name of the part, shape ``(N,)``; nan where a window is not finite.
        """
        surprises = {
            POSE: self.pose.surprise(nll),
            MOTION: self.motion.reference.surprise(motion_scores(windows, self.motion.tails, spec)),
        }
        if self.pair is not None:
            surprises[PAIR] = self.pair.reference.surprise(pair_scores(windows, cameras, self.pair.tails, spec))
        return surprises

    def to_dict(self) -> dict[str, Any]:
        """Field names and values, ready for JSON."""
        return {
            POSE: self.pose.to_dict(),
            MOTION: _part_to_dict(self.motion),
            PAIR: None if self.pair is None else _part_to_dict(self.pair),
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Parts:
        """The inverse of `to_dict`.

        Raises:
            ValueError: A field is missing, unknown or has an impossible value.
        """
        if set(fields) != {POSE, MOTION, PAIR}:
            raise ValueError(f"expected the parts {POSE}, {MOTION} and {PAIR}, got {sorted(fields)}")
        pair = fields[PAIR]
        return cls(
            Calibration.from_dict(fields[POSE]),
            _part(fields[MOTION], MOTION_FEATURES),
            None if pair is None else _part(pair, PAIR_FEATURES),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """One uninterrupted recording of normal life, from which the parts are fitted.

    Attributes:
        windows: Windows of all people in it, at stride 1.
        frame_times: Shape ``(n,)``, times of all frames in seconds, on the clock of the windows.

    Example:
        >>> import torch
        >>> windows = Windows.of_poses(torch.randn(3, 8, 18, 3), np.ones(3, np.int64), np.array([7, 8, 9]) / 15)
        >>> len(Footage(windows, frame_times=np.arange(10) / 15).windows)
        3
    """

    windows: Windows
    frame_times: Floats


def fit_parts(normal: Sequence[Footage], nll: Sequence[Floats], spec: WindowSpec) -> Parts:
    """Fit every part of the score to normal footage.

    Args:
        normal: Footage of normal life, each of one camera.
        nll: For each, the negative log-likelihood of its windows.
        spec: What a window is.

    Raises:
        CalibrationError: The footage is too short.
    """
    pose = calibrated(normal, nll, spec)
    motion = UpperTails.fit(
        MOTION_FEATURES, np.concatenate([motion_values(footage.windows, spec) for footage in normal])
    )
    alone = [np.zeros(len(footage.windows), np.int64) for footage in normal]
    pairs = np.concatenate(
        [pair_values(footage.windows, camera, spec)[1] for footage, camera in zip(normal, alone, strict=True)]
    )
    near = pairs[(pairs > 0).any(axis=1)]
    pair = None
    if len(near):
        tails = UpperTails.fit(PAIR_FEATURES, near)
        scores = [
            pair_scores(footage.windows, camera, tails, spec) for footage, camera in zip(normal, alone, strict=True)
        ]
        # With too few people near each other there is no pair part.
        with contextlib.suppress(CalibrationError):
            pair = Part(tails, calibrated(normal, scores, spec))
    moved = [motion_scores(footage.windows, motion, spec) for footage in normal]
    return Parts(pose, Part(motion, calibrated(normal, moved, spec)), pair)


def calibrated(normal: Sequence[Footage], scores: Sequence[Floats], spec: WindowSpec) -> Calibration:
    """What scores of windows mean, by normal footage.

    Args:
        normal: Footage of normal life, each of one camera.
        scores: For each, the score of its windows.
        spec: What a window is.

    Raises:
        CalibrationError: The footage is too short.
    """
    recordings = [
        Recording(footage.frame_times, highest_over_people(footage.frame_times, footage.windows, own, spec))
        for footage, own in zip(normal, scores, strict=True)
    ]
    return Calibration.fit(np.concatenate([np.empty(0), *scores]), recordings)


def summed(
    windows: Windows, nll: Floats, cameras: NDArray[np.int64], parts: Parts | None, spec: WindowSpec
) -> tuple[Floats, dict[str, Floats]]:
    """The raw score of each window, and its level by part.

    Args:
        windows: Any number of them, all people of a camera at the same time together.
        nll: Shape ``(N,)``, their negative log-likelihood in bits per dimension.
        cameras: Shape ``(N,)``, number of the camera of each.
        parts: What is normal to each part; None if `nll` is the score.
        spec: What a window is.

    Returns:
        The sum of the surprises in bits, shape ``(N,)``, and the level of each part by name, each ``(N,)``; without
        parts `nll` itself and no level.
    """
    if parts is None:
        return nll, {}
    surprises = parts.surprises(windows, nll, cameras, spec)
    return combined_surprise(surprises), {name: 1 - np.exp2(-bits) for name, bits in surprises.items()}


def combined_surprise(surprises: Mapping[str, Floats]) -> Floats:
    """A window's score, the sum of its surprises in bits, shape ``(N,)``; nan where the pose has none."""
    return np.where(np.isnan(surprises[POSE]), np.nan, np.nansum(list(surprises.values()), axis=0))


def motion_scores(windows: Windows, tails: UpperTails, spec: WindowSpec) -> Floats:
    """How far the motion of each window lies above the normal median, shape ``(N,)``; nan where it is not finite."""
    return np.asarray(tails.excess(motion_values(windows, spec)).sum(axis=1))


def motion_values(windows: Windows, spec: WindowSpec) -> Floats:
    """`MOTION_FEATURES` of windows, shape ``(N, 5)``."""
    return motion_features(windows.poses, spec.rate_hz).double().cpu().numpy()


def pair_scores(windows: Windows, cameras: NDArray[np.int64], tails: UpperTails, spec: WindowSpec) -> Floats:
    """How far the most unusual pair of each window lies above the normal median, ``(N,)``; 0 without a companion."""
    first, values = pair_values(windows, cameras, spec)
    scores = np.zeros(len(windows))
    near = np.isfinite(values).all(axis=1) & (values > 0).any(axis=1)
    np.maximum.at(scores, first[near], tails.excess(values[near]).sum(axis=1))
    return scores


def pair_values(windows: Windows, cameras: NDArray[np.int64], spec: WindowSpec) -> tuple[NDArray[np.int64], Floats]:
    """The pairs of every person: the row of the person ``(P,)``, and `PAIR_FEATURES` ``(P, 2)``."""
    moments = np.rint(windows.end_times * spec.rate_hz).astype(np.int64)
    first, second = companions(cameras, moments)
    return first, pair_features(windows.poses, first, second, spec.rate_hz).double().cpu().numpy()


def _part_to_dict(part: Part) -> dict[str, Any]:
    return {"tails": part.tails.to_dict(), "reference": part.reference.to_dict()}


def _part(fields: dict[str, Any], features: tuple[str, ...]) -> Part:
    if set(fields) != {"tails", "reference"}:
        raise ValueError(f"expected tails and reference, got {sorted(fields)}")
    tails = UpperTails.from_dict(fields["tails"])
    if tails.features != features:
        raise ValueError(f"this version knows the features {list(features)}, not {list(tails.features)}")
    return Part(tails, Calibration.from_dict(fields["reference"]))
