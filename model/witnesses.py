"""The witnesses of a person's behaviour: the likelihood of the pose, the motion, and the pair of people.

DA-Flow judges the shape of a movement; normalisation hides how fast it is, and that somebody else is near. Each witness
turns a window into a raw score, and normal footage turns that into a surprise: minus the binary logarithm of the share
of normal windows that score as high (`Calibration.surprise`). A window's score is the sum of the surprises, Fisher's
combination of p-values (1925): weak witnesses who agree count as much as a strong one alone. The largest addend says
who spoke. What a score costs in false alarms is measured on normal footage afterwards, so nothing depends on witnesses
being independent of each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.calibration import Calibration
from model.motion import MOTION_FEATURES, PAIR_FEATURES, UpperTails, companions, motion_features, pair_features
from pose.windows import Windows, WindowSpec

Floats = NDArray[np.float64]

POSE: Final = "pose"
MOTION: Final = "motion"
PAIR: Final = "pair"


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness beside the pose.

    Attributes:
        tails: What of its features is normal.
        reference: Where the sum of `UpperTails.excess` lies among normal windows.
    """

    tails: UpperTails
    reference: Calibration


@dataclass(frozen=True, slots=True)
class Witnesses:
    """What is normal to each witness.

    Attributes:
        pose: Where a negative log-likelihood lies among normal windows.
        motion: The witness of one person's motion.
        pair: The witness of two people near each other; None if normal footage never showed enough of them.
    """

    pose: Calibration
    motion: Witness
    pair: Witness | None

    def surprises(
        self, windows: Windows, nll: Floats, cameras: NDArray[np.int64], spec: WindowSpec
    ) -> dict[str, Floats]:
        """How rare each witness finds each window, in bits.

        Args:
            windows: Any number of them, all people of a camera at the same time together.
            nll: Shape ``(N,)``, their negative log-likelihood in bits per dimension.
            cameras: Shape ``(N,)``, number of the camera of each.
            spec: What a window is.

        Returns:
            By name of the witness, shape ``(N,)``; nan where a window is not finite.
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
            MOTION: _witness_to_dict(self.motion),
            PAIR: None if self.pair is None else _witness_to_dict(self.pair),
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Witnesses:
        """The inverse of `to_dict`.

        Raises:
            ValueError: A field is missing, unknown or has an impossible value.
        """
        if set(fields) != {POSE, MOTION, PAIR}:
            raise ValueError(f"expected the witnesses {POSE}, {MOTION} and {PAIR}, got {sorted(fields)}")
        pair = fields[PAIR]
        return cls(
            Calibration.from_dict(fields[POSE]),
            _witness(fields[MOTION], MOTION_FEATURES),
            None if pair is None else _witness(pair, PAIR_FEATURES),
        )


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
    """How far the strangest pair of each window lies above the normal median, shape ``(N,)``; 0 without a companion."""
    first, values = pair_values(windows, cameras, spec)
    scores = np.zeros(len(windows))
    near = np.isfinite(values).all(axis=1) & (values > 0).any(axis=1)
    np.maximum.at(scores, first[near], tails.excess(values[near]).sum(axis=1))
    return scores


def pair_values(windows: Windows, cameras: NDArray[np.int64], spec: WindowSpec) -> tuple[NDArray[np.int64], Floats]:
    """Everybody's pairs: the row of the person ``(P,)``, and `PAIR_FEATURES` ``(P, 2)``."""
    moments = np.rint(windows.end_times * spec.rate_hz).astype(np.int64)
    first, second = companions(cameras, moments)
    return first, pair_features(windows.poses, first, second, spec.rate_hz).double().cpu().numpy()


def _witness_to_dict(witness: Witness) -> dict[str, Any]:
    return {"tails": witness.tails.to_dict(), "reference": witness.reference.to_dict()}


def _witness(fields: dict[str, Any], features: tuple[str, ...]) -> Witness:
    if set(fields) != {"tails", "reference"}:
        raise ValueError(f"expected tails and reference, got {sorted(fields)}")
    tails = UpperTails.from_dict(fields["tails"])
    if tails.features != features:
        raise ValueError(f"this version knows the features {list(features)}, not {list(tails.features)}")
    return Witness(tails, Calibration.from_dict(fields["reference"]))
