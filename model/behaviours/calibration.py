"""Thresholds of named behaviours for one camera, from what they see of its normal life.

Without calibration a behaviour fires at `FIRES`, on physical thresholds. Where normal life looks like the behaviour, as
in a gym where people run, its share of the false-alarm budget would be spent within minutes; the camera then gets a
threshold of its own.

One false alarm is one run: moments at which the behaviour fires, of any person, with less than the quiet period of
incidents between them. Runs come ``n`` times in the footage, at a rate ``r``. How far their highest scores exceed
``u``, the lowest of them, is taken as exponentially distributed with a mean ``m``: the generalised Pareto tail of
`model.calibration` with shape 0, since a handful of runs cannot show another. A threshold ``u + m * d`` is then reached
at the rate ``r * exp(-d)``. The logarithm of that rate is uncertain by ``sqrt((1 + d^2) / n)``, from the number of runs
and their mean. As for `unusual`, a rate is supported if it is at most `WIDEST` times too low at the upper end of its
90 % interval, which limits d:

    1.645 * sqrt((1 + d^2) / n) <= log(WIDEST).

The threshold is that of the behaviour's share of the budget, or of the lowest rate that is supported; and it is above
everything seen, apart from as many runs as the budget allows in the time of the footage.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.behaviours.base import FIRES, LOOSEST, Finding, Kind
from model.budget import share_of
from model.calibration import DAY_S, WIDEST

Floats = NDArray[np.float64]

STRICTEST: Final = 2.0
"""No threshold is higher. At twice its physical threshold a behaviour misses most of what it is meant to find, so where
normal life asks for more, it is said not to be usable on this camera."""

MOST_OVER: Final = 2.0
"""Confirmed incidents may make a behaviour cost this many times its share of the budget. The named behaviours share
half of it, so even if incidents of every kind are confirmed, they cost no more than the whole."""

_MARGIN: Final = 1.1
"""A threshold lies above the highest score of normal life by this factor: the same movement, measured again at another
place in the picture, differs by about a tenth."""

_SPREAD: Final = 0.1
"""Mean excess of runs over the lowest before any was seen. It counts as one run, so that two equal scores are not taken
for proof that all are equal."""

_NORMAL_QUANTILE: Final = 1.645
"""Upper end of a 90 % interval, in standard deviations."""

_RULE_OF_THREE: Final = 3.0
"""What did not happen in a time T happens, with 95 % confidence, less often than 3 / T."""

_DIGITS: Final = 2
_BREAK_S: Final = 2.0
"""A longer gap between two frames, in seconds, counts as no footage."""


@dataclass(frozen=True, slots=True)
class Usual:
    """What normal life of a camera looks like to one behaviour, and the threshold that follows.

    Attributes:
        threshold: Score from which the behaviour fires on this camera, `LOOSEST` to `STRICTEST`.
        highest: Highest score on normal life; None if the behaviour reported nothing.
        times: How often it would have fired at its usual threshold `FIRES`.
        marked: Incidents marked as false alarms that count as normal life as well.
        footage_s: Seconds of calibration footage.
        per_day: False alarms per day to expect at the threshold; None if normal life never fired.
        usable: Whether the threshold does what it should. If not, normal life asks for one above `STRICTEST`, and more
            false alarms than the budget are to be expected.
        confirmed: Incidents that people confirmed to be this.
        missed: Those of them that score below the threshold, since a lower one would cost too many false alarms.
        unconfirmed: The threshold that normal life alone asks for; None if it is the same.

    Example:
        >>> Usual(threshold=1.35, highest=1.22, times=4, marked=0, footage_s=1920.0, per_day=13.0, usable=True).times
        4
    """

    threshold: float
    highest: float | None
    times: int
    marked: int
    footage_s: float
    per_day: float | None
    usable: bool
    confirmed: int = 0
    missed: int = 0
    unconfirmed: float | None = None

    def __post_init__(self) -> None:
        if not LOOSEST <= self.threshold <= STRICTEST:
            raise ValueError(f"thresholds lie within {LOOSEST:g} and {STRICTEST:g}, got {self.threshold}")


class NormalLife:
    """What named behaviours see of normal life, gathered frame by frame.

    Args:
        kinds: The behaviours that are looked for. Others get no threshold: that they saw nothing means nothing.

    Attributes:
        kinds: The same.
        footage_s: Seconds gathered so far, without long gaps between frames.
        occupied_s: Those with somebody in view.

    Example:
        >>> life = NormalLife([Kind.FALL])
        >>> for moment in range(100):
        ...     life.add(moment / 10, people=1, findings=[])
        >>> round(life.occupied_s, 1)
        9.9
    """

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self.kinds = frozenset(kinds)
        self.footage_s = 0.0
        self.occupied_s = 0.0
        self._last = -math.inf
        self._times: dict[Kind, array[float]] = {}
        self._highest: dict[Kind, array[float]] = {}

    def add(self, time: float, people: int, findings: Sequence[Finding]) -> None:
        """Add a frame.

        Args:
            time: Capture time in seconds, later than that of the frame before.
            people: How many people are in view.
            findings: What the behaviours see, without what is normal there anyway, such as lying in a bed.
        """
        gap = time - self._last
        self._last = time
        if gap <= _BREAK_S:
            self.footage_s += gap
            self.occupied_s += gap if people else 0.0
        for kind in self.kinds.intersection(finding.kind for finding in findings):
            self._times.setdefault(kind, array("d")).append(time)
            highest = max(finding.score for finding in findings if finding.kind is kind)
            self._highest.setdefault(kind, array("d")).append(highest)

    def highest(self, kind: Kind) -> float | None:
        """The highest score of a behaviour; None if it reported nothing."""
        scores = self._highest.get(kind)
        return max(scores) if scores else None

    def peaks(self, kind: Kind, merge_s: float, threshold: float = FIRES) -> list[float]:
        """The highest score of each run in which a behaviour would have fired, in order of time.

        Args:
            kind: The behaviour.
            merge_s: Runs with less than this many seconds between them are one.
            threshold: Score from which it would have fired.
        """
        times, scores = np.array(self._times.get(kind, ())), np.array(self._highest.get(kind, ()))
        times, scores = times[scores >= threshold], scores[scores >= threshold]
        runs = np.split(scores, np.flatnonzero(np.diff(times) >= merge_s) + 1)
        return [float(run.max()) for run in runs if len(run)]


def fit_behaviours(
    life: NormalLife,
    *,
    false_alarms_per_day: float,
    merge_s: float,
    marked: Mapping[Kind, Sequence[float]] | None = None,
    confirmed: Mapping[Kind, Sequence[float]] | None = None,
) -> dict[Kind, Usual]:
    """Fit the thresholds of the named behaviours that were looked for to normal life.

    Args:
        life: What they saw of it.
        false_alarms_per_day: The budget of the camera; see `share_of`.
        merge_s: Quiet period of incidents: runs closer than this are one false alarm.
        marked: Scores in incidents that an operator marked as false alarms, by behaviour. They count as normal life, as
            if they had come in the time of the footage.
        confirmed: Scores in incidents that people confirmed, by behaviour. The threshold is at most the lowest of them
            that costs no more than `MOST_OVER` times the share of the behaviour in the budget.

    Example:
        >>> life = NormalLife([Kind.RUNNING, Kind.FALL])
        >>> for moment in range(600):
        ...     score = 1.2 if moment % 150 == 0 else 0.7
        ...     life.add(float(moment), 1, [Finding(Kind.RUNNING, (1,), score, 0.0, "", {})])
        >>> found = fit_behaviours(life, false_alarms_per_day=1.0, merge_s=10.0)
        >>> found[Kind.RUNNING].times, found[Kind.RUNNING].threshold
        (4, 1.32)
        >>> found[Kind.FALL].threshold
        1.0
        >>> seen = {Kind.RUNNING: [1.25]}
        >>> found = fit_behaviours(life, false_alarms_per_day=1.0, merge_s=10.0, confirmed=seen)
        >>> found[Kind.RUNNING].threshold, found[Kind.RUNNING].missed
        (1.32, 1)
    """
    fitted: dict[Kind, Usual] = {}
    for kind in (kind for kind in Kind if kind in life.kinds):
        share, wrong = share_of(kind, false_alarms_per_day), _finite((marked or {}).get(kind, ()))
        usual = _fitted(life.peaks(kind, merge_s), wrong, life.highest(kind), life, share)
        right = _finite((confirmed or {}).get(kind, ()))
        fitted[kind] = _with_confirmed(usual, right, partial(_cost, life, kind, merge_s, wrong), share)
    return fitted


def _finite(scores: Iterable[float]) -> list[float]:
    return [score for score in scores if math.isfinite(score)]


def _with_confirmed(usual: Usual, scores: Sequence[float], cost: Callable[[float], float], share: float) -> Usual:
    """Lower a threshold for confirmed incidents, as far as that may cost false alarms.

    Args:
        usual: What normal life asks for.
        scores: Scores of confirmed incidents.
        cost: The false alarms per day to expect at a threshold.
        share: False alarms per day that the behaviour may cost by itself.
    """
    scale = 10**_DIGITS
    # Rounded down, so that the incident itself would be found again.
    wanted = sorted(max(math.floor(round(score * scale, 6)) / scale, LOOSEST) for score in scores)
    threshold = next((one for one in wanted if one < usual.threshold and cost(one) <= MOST_OVER * share), None)
    if threshold is not None:
        expected = cost(threshold) or usual.per_day
        usual = replace(usual, threshold=threshold, per_day=expected, unconfirmed=usual.threshold)
    return replace(usual, confirmed=len(scores), missed=sum(score < usual.threshold for score in scores))


def _cost(life: NormalLife, kind: Kind, merge_s: float, marked: Sequence[float], threshold: float) -> float:
    """The false alarms per day to expect at a threshold.

    They are those of the footage and the marked incidents. Above all of these, they are those of the tail, down to the
    lowest rate that is supported.

    Args:
        life: The footage.
        kind: The behaviour.
        merge_s: Runs closer than this are one false alarm.
        marked: Scores in incidents that were marked as false alarms.
        threshold: The threshold.
    """
    days = max(life.footage_s / DAY_S, 1 / DAY_S)
    reached = len(life.peaks(kind, merge_s, threshold)) + sum(max(score, FIRES) >= threshold for score in marked)
    fired = [*life.peaks(kind, merge_s), *(max(score, FIRES) for score in marked)]
    if not fired or threshold <= min(fired):
        return reached / days
    lowest, mean, supported = _tail(fired)
    depth = min((threshold - lowest) / mean, supported)
    return max(reached, len(fired) * math.exp(-depth)) / days


def _tail(fired: Sequence[float]) -> tuple[float, float, float]:
    """Lowest score, mean excess over it, and how many times the mean above it a rate is still supported."""
    number, lowest = len(fired), min(fired)
    mean = (sum(score - lowest for score in fired) + _SPREAD) / number
    return lowest, mean, math.sqrt(max((math.log(WIDEST) / _NORMAL_QUANTILE) ** 2 * number - 1, 0.0))


def _fitted(
    peaks: Sequence[float], marked: Sequence[float], highest: float | None, life: NormalLife, share: float
) -> Usual:
    """The threshold of one behaviour.

    Args:
        peaks: Highest scores of the runs of the footage in which it would have fired.
        marked: Scores in incidents that were marked as false alarms.
        highest: Its highest score on the footage.
        life: The footage.
        share: False alarms per day that it may cost.
    """
    days = life.footage_s / DAY_S
    fired = sorted([*peaks, *(max(score, FIRES) for score in marked)], reverse=True)
    per_day: float | None = None
    if len(fired) > share * days:
        wanted, per_day = _exceeded(fired, max(days, 1 / DAY_S), share)
    elif fired:
        wanted, per_day = FIRES, len(fired) / days
    else:
        wanted = _never_exceeded(highest or 0.0, days, life.occupied_s / DAY_S, share)
    scale = 10**_DIGITS
    wanted = math.ceil(round(wanted * scale, 6)) / scale
    return Usual(
        threshold=min(wanted, STRICTEST),
        highest=max([*marked, *([] if highest is None else [highest])], default=None),
        times=len(peaks),
        marked=len(marked),
        footage_s=life.footage_s,
        per_day=per_day,
        usable=wanted <= STRICTEST,
    )


def _exceeded(fired: Sequence[float], days: float, share: float) -> tuple[float, float]:
    """The threshold where normal life fired more often than the budget allows, and the false alarms per day it costs.

    Args:
        fired: Highest scores of the runs, highest first.
        days: Length of the footage.
        share: False alarms per day that are accepted.
    """
    rate = len(fired) / days
    lowest, mean, supported = _tail(fired)
    depth = min(math.log(rate / share), supported)
    threshold = max(lowest + mean * depth, _MARGIN * fired[math.floor(share * days)])
    reached = min(max(min(threshold, STRICTEST) - lowest, 0.0) / mean, supported)
    return threshold, rate * math.exp(-reached)


def _never_exceeded(highest: float, days: float, occupied_days: float, share: float) -> float:
    """The threshold where normal life never fired: stricter if it came near, looser if the footage is long enough.

    Args:
        highest: Highest score.
        days: Length of the footage.
        occupied_days: The same of the footage with somebody in view.
        share: False alarms per day that are accepted.
    """
    above = _MARGIN * highest
    if above > FIRES:
        return above if share * days < 1 else FIRES
    return max(above, LOOSEST) if occupied_days * share >= _RULE_OF_THREE else FIRES
