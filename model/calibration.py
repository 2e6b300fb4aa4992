"""The meaning of a score: its level among normal scores, and the false alarms per day that a threshold costs.

`Calibration` is fitted to normal footage of one camera. Below a high score u, the *body*, the level of a score is its
empirical quantile among the scores of normal windows. Above u, the *tail*, excesses over u follow a generalised Pareto
distribution (Pickands 1975, Balkema and de Haan 1974) with survival function
``S(y) = (1 + shape * y / scale)^(-1 / shape)``.

Alarms are counted by peaks over threshold (Davison and Smith 1990). Neighbouring frames are dependent, so exceedances
are declustered first: one false alarm is one run of frames whose highest score is at or above the threshold, and runs
closer than `merge_s` are one. Normal footage crosses u in ``lambda_u`` runs per day and a fraction S of those runs
peaks higher than ``u + y``, hence, with ``p_u`` the share of windows above u,

    rate(u + y) = lambda_u * S(y)        level(u + y) = 1 - p_u * S(y)        rate = lambda_u * (1 - level) / p_u,

so a level and a false-alarm rate state the same threshold. S is fitted to the peaks of the runs, which are
independent; asymptotically the excesses of all windows follow it as well.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_KNOTS: Final = 257
_MIN_EXCEEDANCES: Final = 10
_MAX_SHAPE: Final = 0.9
"""Below one the tail has a mean. An estimate from a short recording cannot show that it has none."""
_MIN_SHAPE: Final = 1e-9
"""Below this the tail is exponential to all digits, and the general formula would divide by zero."""
_SHAPE_PER_SCALE: Final = np.logspace(-4, 3, 300)
"""Values of shape / scale, in units of one over the mean excess, among which the likelihood is maximised."""


WIDEST: Final = 10.0
"""A rate of false alarms is supported by footage if the upper end of its 90 % interval is at most this many times the
rate."""

DAY_S: Final = 86_400.0
_REPLICATES: Final = 400
_MOST_DRAWN: Final = 250
_STEPS: Final = 40
"""Halvings of the interval in which the lowest supported rate is searched."""


class CalibrationError(ValueError):
    """The footage does not support what was asked of it.

    Attributes:
        needed_s: About how many more seconds of calibration footage are needed; None if that is unknown or would not
            help.
    """

    def __init__(self, message: str, needed_s: float | None = None) -> None:
        super().__init__(message)
        self.needed_s = needed_s


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Frames of one uninterrupted piece of normal footage.

    Attributes:
        times: Shape ``(n,)``, capture times in seconds, increasing.
        highest: Shape ``(n,)``, the highest score over people of each frame; nan where nobody was scored.

    Example:
        >>> Recording(np.arange(5) / 10, np.array([0.1, 0.3, np.nan, 0.2, 0.1])).duration_s
        0.5
    """

    times: Floats
    highest: Floats

    @property
    def duration_s(self) -> float:
        """Seconds the frames cover, the last one counted as long as the average."""
        frames = len(self.times)
        return float(self.times[-1] - self.times[0]) * frames / (frames - 1) if frames > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Levels and thresholds for one camera, or for footage like it.

    Attributes:
        knots: Scores in bits per dimension, strictly increasing; the last one is u, where the tail begins.
        levels: Level of each knot, strictly increasing from 0; the last one is ``1 - p_u``.
        shape: Shape of the generalised Pareto tail, at least 0.
        scale: Scale of the tail in bits per dimension.
        exceedances: Independent runs above u that the tail was fitted to.
        windows: Scores that the body was fitted to: of windows, or of frames of a live camera.
        footage_s: Seconds of normal footage, frames without people included.
        merge_s: Runs of exceedances closer than this many seconds count as one.

    Example:
        >>> scores = np.random.default_rng(0).gumbel(size=20_000)
        >>> calibration = Calibration.fit(scores, [Recording(np.arange(20_000) / 10, scores)], merge_s=0.0)
        >>> round(float(calibration.level(np.median(scores))), 2)
        0.5
        >>> level = calibration.threshold(false_alarms_per_day=144.0)
        >>> round(calibration.false_alarms_per_day(level), 6)
        144.0
        >>> calibration.supported_per_day(144.0), calibration.supported_per_day(1e-4) > 1e-4
        (144.0, True)
    """

    knots: tuple[float, ...]
    levels: tuple[float, ...]
    shape: float
    scale: float
    exceedances: int
    windows: int
    footage_s: float
    merge_s: float

    def __post_init__(self) -> None:
        knots, levels = np.asarray(self.knots, np.float64), np.asarray(self.levels, np.float64)
        if len(knots) < 2 or knots.shape != levels.shape:
            raise ValueError(
                f"a calibration needs as many levels as knots, two or more; got {knots.shape}, {levels.shape}"
            )
        if not (np.isfinite(knots).all() and (np.diff(knots) > 0).all() and (np.diff(levels) > 0).all()):
            raise ValueError("knots and levels of a calibration must be finite and strictly increase")
        if not (levels[0] == 0 and levels[-1] < 1):
            raise ValueError(f"the body's levels must run from 0 to less than 1, got {levels[0]} to {levels[-1]}")
        if not (0 <= self.shape < 1 and 0 < self.scale < math.inf):
            raise ValueError(f"impossible tail: shape={self.shape}, scale={self.scale}")
        if not (self.exceedances > 0 and 0 < self.footage_s < math.inf and 0 <= self.merge_s < math.inf):
            raise ValueError(
                f"impossible footage: exceedances {self.exceedances} in {self.footage_s} s, merge_s={self.merge_s}"
            )

    @classmethod
    def fit(
        cls,
        scores: Floats,
        recordings: Sequence[Recording],
        *,
        merge_s: float = 2.0,
        tail_share: float = 0.1,
        further_peaks: Sequence[float] = (),
    ) -> Calibration:
        """Fit to normal footage.

        Args:
            scores: Shape ``(N,)``, what levels rank: scores of all windows of the footage, or of all its frames.
            recordings: The footage frame by frame.
            merge_s: Seconds under which two runs of exceedances are one false alarm.
            tail_share: Share of the windows whose scores make up the tail.
            further_peaks: Peaks of independent runs of normal life outside the footage; those in the tail are fitted
                and counted with it, as if they had come in its time.

        Raises:
            CalibrationError: A score is not finite, all are equal, or fewer than 10 independent exceedances were seen.
        """
        if not 0 < tail_share < 1:
            raise ValueError(f"tail_share must lie between 0 and 1, got {tail_share}")
        if not len(scores) or not np.isfinite(scores).all():
            raise CalibrationError(f"calibration needs finite scores of normal windows, got {len(scores)} windows")
        knots, levels = _body(np.asarray(scores, np.float64), 1 - tail_share)
        excesses = [_peaks(recording, knots[-1], merge_s) - knots[-1] for recording in recordings]
        excess = np.concatenate([np.empty(0), *excesses])
        if len(excess) < _MIN_EXCEEDANCES or excess.max() <= 0:
            footage_s = sum(recording.duration_s for recording in recordings)
            raise CalibrationError(
                f"{footage_s / 3600:.2f} h of normal footage hold {len(excess)} independent exceedances of the "
                f"{1 - tail_share:.0%} quantile; at least {_MIN_EXCEEDANCES} are needed: calibrate with more footage",
                footage_s * max(_MIN_EXCEEDANCES / max(len(excess), 1) - 1, 1 / _MIN_EXCEEDANCES),
            )
        further = np.asarray(further_peaks, np.float64) - knots[-1]
        excess = np.concatenate([excess, further[further > 0]])
        shape, scale = _fit_tail(excess[None])
        return cls(
            knots=tuple(knots.tolist()),
            levels=tuple(levels.tolist()),
            shape=float(shape[0]),
            scale=float(scale[0]),
            exceedances=len(excess),
            windows=len(scores),
            footage_s=sum(recording.duration_s for recording in recordings),
            merge_s=merge_s,
        )

    @property
    def highest_per_day(self) -> float:
        """Runs per day above u: the largest rate of false alarms that the tail covers."""
        return self.exceedances / (self.footage_s / DAY_S)

    def level(self, nll: Floats) -> Floats:
        """Position of scores among normal ones, 0 to 1: continuous, non-decreasing; nan stays nan.

        Args:
            nll: Any shape, bits per dimension.
        """
        nll = np.asarray(nll, np.float64)
        body = np.interp(nll, self.knots, self.levels)
        with np.errstate(over="ignore"):
            tail = 1 - (1 - self.levels[-1]) * _survival(np.maximum(nll - self.knots[-1], 0), self.shape, self.scale)
        return np.where(nll > self.knots[-1], tail, body)

    def surprise(self, nll: Floats) -> Floats:
        """How unusual scores are among normal ones, ``-log2(1 - level)`` in bits without loss of digits; nan stays nan.

        Args:
            nll: Any shape, bits per dimension.
        """
        nll = np.asarray(nll, np.float64)
        body = -np.log2(1 - np.interp(nll, self.knots, self.levels))
        excess = np.maximum(nll - self.knots[-1], 0)
        safe = max(self.shape, _MIN_SHAPE)
        log_survival = np.log1p(safe * excess / self.scale) / safe if self.shape > _MIN_SHAPE else excess / self.scale
        return np.where(nll > self.knots[-1], -math.log2(1 - self.levels[-1]) + log_survival / math.log(2), body)

    def nll(self, level: Floats) -> Floats:
        """The score of a level, the inverse of `level`; infinite at level 1.

        Args:
            level: Any shape, 0 to 1.

        Raises:
            ValueError: A level is out of range.
        """
        level = np.asarray(level, np.float64)
        if not ((level >= 0) & (level <= 1)).all():
            raise ValueError("levels lie between 0 and 1")
        survival = np.minimum((1 - level) / (1 - self.levels[-1]), 1.0)
        tail = self.knots[-1] + _excess(survival, self.shape, self.scale)
        return np.where(level > self.levels[-1], tail, np.interp(level, self.levels, self.knots))

    def threshold(self, *, false_alarms_per_day: float) -> float:
        """The level that normal footage reaches so many times per day.

        Raises:
            CalibrationError: The rate is not positive, or higher than `highest_per_day`.
        """
        self._check_rate(false_alarms_per_day)
        return 1 - (1 - self.levels[-1]) * false_alarms_per_day / self.highest_per_day

    def false_alarms_per_day(self, level: float) -> float:
        """How many times per day normal footage reaches a level, the inverse of `threshold`.

        Raises:
            CalibrationError: The level lies in the body, where runs were not counted, or above 1.
        """
        if not self.levels[-1] <= level <= 1:
            raise CalibrationError(
                f"false alarms are known for levels from {self.levels[-1]:.4f} to 1, not for {level:.4f}"
            )
        return self.highest_per_day * (1 - level) / (1 - self.levels[-1])

    def interval_per_day(self, level: float, confidence: float = 0.9) -> tuple[float, float]:
        """Interval of the false alarms per day that a level costs, from a parametric bootstrap.

        Returns:
            Lower and upper end, per day.

        Raises:
            CalibrationError: The level lies in the body.
        """
        self.false_alarms_per_day(level)
        rates, shapes, scales = _bootstrap(self.exceedances, self.footage_s, self.shape, self.scale)
        excess = float(self.nll(np.array(level))) - self.knots[-1]
        low, high = _interval(rates * _survival(np.array(excess), shapes, scales), confidence)
        return float(low), float(high)

    def supported_per_day(self, false_alarms_per_day: float) -> float:
        """The lowest rate of false alarms, from the one that is asked for on, that the calibration footage supports.

        A rate is supported if the upper end of its 90 % interval is at most `WIDEST` times the rate: beyond that, a
        threshold would be extrapolated from footage that says next to nothing of such rare scores.

        Args:
            false_alarms_per_day: What is asked for.

        Returns:
            Per day; what is asked for if that is supported.

        Raises:
            CalibrationError: The rate is not positive, or higher than `highest_per_day`.
        """
        self._check_rate(false_alarms_per_day)
        if self._excess_of_interval(false_alarms_per_day) <= WIDEST:
            return false_alarms_per_day
        low, high = math.log(false_alarms_per_day), math.log(self.highest_per_day)
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._excess_of_interval(math.exp(middle)) > WIDEST else (low, middle)
        return min(math.exp(high), self.highest_per_day)

    def needed_s(self, false_alarms_per_day: float) -> float:
        """About how many more seconds of footage would support a rate of false alarms; 0 if it is supported.

        The logarithm of the rate of a threshold is uncertain by about one over the square root of the number of
        exceedances; the footage that is needed follows from that.

        Raises:
            CalibrationError: The rate is not positive, or higher than `highest_per_day`.
        """
        self._check_rate(false_alarms_per_day)
        spread = math.log(self._excess_of_interval(false_alarms_per_day)) / math.log(WIDEST)
        return self.footage_s * max(spread**2 - 1, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Field names and values, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Calibration:
        """The inverse of `to_dict`.

        Raises:
            ValueError: A field is missing, unknown or has an impossible value.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if set(fields) != names:
            raise ValueError(f"fields missing {sorted(names - set(fields))}, unknown {sorted(set(fields) - names)}")
        try:
            knots, levels = (tuple(float(value) for value in fields[name]) for name in ("knots", "levels"))
            return cls(
                knots=knots,
                levels=levels,
                shape=float(fields["shape"]),
                scale=float(fields["scale"]),
                exceedances=int(fields["exceedances"]),
                windows=int(fields["windows"]),
                footage_s=float(fields["footage_s"]),
                merge_s=float(fields["merge_s"]),
            )
        except TypeError as error:
            raise ValueError(f"a field is not a number: {error}") from error

    def _check_rate(self, false_alarms_per_day: float) -> None:
        if not 0 < false_alarms_per_day <= self.highest_per_day:
            raise CalibrationError(
                f"the calibration footage ({self.footage_s / 3600:.2f} h) supports thresholds of more than 0 and up to "
                f"{self.highest_per_day:.1f} false alarms per day, not {false_alarms_per_day:g}"
            )

    def _excess_of_interval(self, false_alarms_per_day: float) -> float:
        """The upper end of the 90 % interval of a rate, as a multiple of the rate."""
        level = self.threshold(false_alarms_per_day=false_alarms_per_day)
        return self.interval_per_day(level)[1] / false_alarms_per_day


@lru_cache(maxsize=64)
def _bootstrap(exceedances: int, footage_s: float, shape: float, scale: float) -> tuple[Floats, Floats, Floats]:
    """Runs per day, shapes and scales as footage of the same length could have shown them; the same at every call.

    Estimates from many exceedances scatter as those from `_MOST_DRAWN`, less by the square root of the ratio.
    """
    rng = np.random.default_rng(0)
    counts = np.maximum(rng.poisson(exceedances, _REPLICATES), 1)
    drawn = min(exceedances, _MOST_DRAWN)
    survival = rng.uniform(size=(_REPLICATES, drawn))
    shapes, scales = _fit_tail(_excess(survival, shape, scale))
    narrower = math.sqrt(drawn / exceedances)
    return counts / (footage_s / DAY_S), shape + narrower * (shapes - shape), scale + narrower * (scales - scale)


def exceedance_runs(times: Floats, values: Floats, threshold: float, merge_s: float) -> list[tuple[int, int]]:
    """Stretches of frames at or above a threshold.

    Args:
        times: Shape ``(n,)``, seconds, increasing.
        values: Shape ``(n,)``; nan is below any threshold.
        threshold: In the unit of `values`.
        merge_s: Two runs are joined if the last frame of one and the first of the next are less than this apart.

    Returns:
        Index of the first and of the last frame of each run, in order of time.
    """
    above = np.flatnonzero(np.asarray(values) >= threshold)
    if not len(above):
        return []
    apart = (np.diff(above) > 1) & (np.diff(np.asarray(times)[above]) >= merge_s)
    starts = above[np.concatenate([[True], apart])]
    ends = above[np.concatenate([apart, [True]])]
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _peaks(recording: Recording, threshold: float, merge_s: float) -> Floats:
    runs = exceedance_runs(recording.times, recording.highest, threshold, merge_s)
    return np.array([np.nanmax(recording.highest[start : end + 1]) for start, end in runs], np.float64)


def _body(scores: Floats, top: float) -> tuple[Floats, Floats]:
    """Quantile knots from level 0 to `top`; tied quantiles keep the highest of their levels, except at 0."""
    levels = np.linspace(0, top, _KNOTS)
    knots = np.quantile(scores, levels)
    last = np.concatenate([np.diff(knots) > 0, [True]])
    knots, levels = knots[last], levels[last]
    if len(knots) < 2:
        raise CalibrationError("the scores of the normal windows are all but equal; there is nothing to rank")
    levels[0] = 0.0
    return knots, levels


def _survival(excess: Floats, shape: float | Floats, scale: float | Floats) -> Floats:
    shape = np.asarray(shape)
    safe = np.maximum(shape, _MIN_SHAPE)
    return np.where(shape > _MIN_SHAPE, np.exp(-np.log1p(safe * excess / scale) / safe), np.exp(-excess / scale))


def _excess(survival: Floats, shape: float | Floats, scale: float | Floats) -> Floats:
    """The inverse of `_survival`; survivals and parameters broadcast over trailing axes of the survivals."""
    shape, scale = np.asarray(shape), np.asarray(scale)
    if shape.ndim and survival.ndim > shape.ndim:
        shape, scale = shape[:, None], scale[:, None]
    with np.errstate(divide="ignore"):
        depth = -np.log(survival)
    safe = np.maximum(shape, _MIN_SHAPE)
    return np.asarray(scale * np.where(shape > _MIN_SHAPE, np.expm1(safe * depth) / safe, depth))


def _fit_tail(excess: Floats) -> tuple[Floats, Floats]:
    """Maximum-likelihood shape and scale of generalised Pareto samples (Grimshaw 1993).

    For a given ``theta = shape / scale`` the best shape is ``mean(log(1 + theta * excess))`` and the mean
    log-likelihood is ``-log(shape / theta) - shape - 1``, which leaves one parameter to search. Negative shapes are
    left out: they would put an end to the scores that footage can have, and a short recording cannot know one.

    Args:
        excess: Shape ``(samples, n)``.

    Returns:
        Shapes and scales, each ``(samples,)``.
    """
    mean = excess.mean(axis=1)
    best_shape, best_scale, best = np.zeros_like(mean), mean, -np.log(mean) - 1
    for per_scale in _SHAPE_PER_SCALE:
        theta = per_scale / mean
        shape = np.log1p(theta[:, None] * excess).mean(axis=1)
        likelihood = -np.log(shape / theta) - shape - 1
        better = (likelihood > best) & (shape < _MAX_SHAPE)
        best_shape = np.where(better, shape, best_shape)
        best_scale = np.where(better, shape / theta, best_scale)
        best = np.where(better, likelihood, best)
    return best_shape, best_scale


def _interval(values: Floats, confidence: float) -> Floats:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    return np.asarray(np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2]))
