"""How well anomaly scores find what is labelled: by frame, by clip and by event. Pure functions of arrays.

Labels are 1 where something is anomalous; a higher score is more anomalous. Frames are judged by rank alone, so any
increasing map of the scores leaves these figures unchanged. Intervals come from a bootstrap over whole clips, because
frames of one clip are far from independent.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Counts = NDArray[np.int64]
"""Shape ``(clips,)``, how often each clip is in a sample of clips."""

Segments = NDArray[np.int64]
"""Shape ``(n, 2)``, first frame and the one after the last, in order of time and apart."""

EVENT_GAP_S: Final = 1.0
"""Seconds; alarms closer than this are one, because a guard who looks at the first sees the second as well."""

FALSE_ALARM_RATES: Final = (1.0, 5.0, 10.0)
"""False alarms per camera-hour at which events are counted."""

_ORACLE_THRESHOLDS: Final = 200
_ROUNDING: Final = 1e-9
"""Keeps a whole number of false alarms whole although rate and hours are floats."""


@dataclass(frozen=True, slots=True)
class FrameMetrics:
    """How well anomaly scores separate frames.

    Attributes:
        auc_roc: Area under the receiver operating characteristic.
        auc_pr: Average precision with anomalous frames as positives.
        eer: Equal error rate.

    Example:
        >>> frame_metrics(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.3, 0.9])).auc_roc
        0.75
    """

    auc_roc: float
    auc_pr: float
    eer: float


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile interval.

    Attributes:
        low: Its lower end.
        high: Its upper end.
        replicates: Samples that it is taken from; samples without both classes are left out.

    Example:
        >>> bootstrap_by_clip(lambda counts: float(counts[0]), clips=2, replicates=100, seed=0)
        Interval(low=0.0, high=2.0, replicates=100)
    """

    low: float
    high: float
    replicates: int


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Alarms at the threshold that costs a given number of false alarms.

    Attributes:
        rate_per_hour: False alarms per camera-hour that are accepted.
        allowed: How many that allows on this footage, rounded down: short footage cannot tell low rates from none.
        threshold: The lowest threshold for which neither it nor any higher one costs more; None if the highest score
            already does, and then there are no alarms.
        false_alarms: Predicted segments that overlap no event.
        detected: Events that a predicted segment overlaps.
        recall: Share of events detected.
        f1_20: F1 of predicted segments against events at a temporal IoU of at least 0.2.
        f1_50: The same at 0.5.
        median_delay_s: Seconds from the onset of a detected event to its first alarm, 0 for an alarm already open;
            None if none is detected.
        alarm_share: Share of the footage in alarm; near 1, an alarm that never ends detects every event.

    Example:
        >>> labels, anomaly = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.3, 0.9])
        >>> event_metrics([labels], [anomaly], frame_rate_hz=1.0, hours=1.0).at(1.0).detected
        1
    """

    rate_per_hour: float
    allowed: int
    threshold: float | None
    false_alarms: int
    detected: int
    recall: float
    f1_20: float
    f1_50: float
    median_delay_s: float | None
    alarm_share: float


@dataclass(frozen=True, slots=True)
class EventMetrics:
    """Events found and false alarms raised.

    Attributes:
        events: Runs of anomalous frames.
        hours: Footage in hours.
        best_f1_20: Highest F1 at a temporal IoU of at least 0.2 over thresholds; an oracle chose the threshold.
        best_f1_50: The same at 0.5.
        points: What is found at each of `FALSE_ALARM_RATES`.

    Example:
        >>> labels, anomaly = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.3, 0.9])
        >>> event_metrics([labels], [anomaly], frame_rate_hz=1.0, hours=1.0).events
        1
    """

    events: int
    hours: float
    best_f1_20: float
    best_f1_50: float
    points: tuple[OperatingPoint, ...]

    def at(self, rate_per_hour: float) -> OperatingPoint:
        """The point at one of `FALSE_ALARM_RATES`."""
        return next(point for point in self.points if point.rate_per_hour == rate_per_hour)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of `dataclasses.asdict`, also after JSON."""
        return cls(**values | {"points": tuple(OperatingPoint(**point) for point in values["points"])})


def frame_metrics(labels: Labels, anomaly: Floats) -> FrameMetrics:
    """Judge frame scores.

    Args:
        labels: Shape ``(n,)``, 1 is anomalous.
        anomaly: Shape ``(n,)``, finite, higher is more anomalous.

    Raises:
        ValueError: There are not both normal and anomalous frames.
    """
    anomalous = int(np.sum(labels))
    if not 0 < anomalous < len(labels):
        raise ValueError(f"nothing to tell apart: {anomalous} of {len(labels)} frames are anomalous")
    return FrameMetrics(
        auc_roc=float(roc_auc_score(labels, anomaly)),
        auc_pr=float(average_precision_score(labels, anomaly)),
        eer=equal_error_rate(labels, anomaly),
    )


def equal_error_rate(labels: Labels, anomaly: Floats) -> float:
    """The error rate where false alarms and misses are equally frequent.

    The mean of both at the corner of scikit-learn's ROC curve (collinear points dropped) where they differ least.
    """
    false_alarms, hits, _ = roc_curve(labels, anomaly)
    misses = 1 - hits
    nearest = np.argmin(np.abs(false_alarms - misses))
    return float(false_alarms[nearest] + misses[nearest]) / 2


class MicroAUC:
    """AUC-ROC of the pooled frames of a sample of clips, as a function of how often each clip is in it.

    Every pair of clips is compared once (Mann-Whitney, ties count half), so that a sample costs one matrix product.

    Args:
        clips: Labels and scores of each clip, finite and of equal length; a clip may be empty.

    Example:
        >>> clips = [(np.array([0, 1]), np.array([0.2, 0.9])), (np.array([0, 1]), np.array([0.5, 0.4]))]
        >>> MicroAUC(clips)(np.array([1, 1]))
        0.75
    """

    def __init__(self, clips: Sequence[tuple[Labels, Floats]]) -> None:
        anomalous = [anomaly[labels == 1] for labels, anomaly in clips]
        normal = [np.sort(anomaly[labels == 0]) for labels, anomaly in clips]
        self._anomalous = np.array([len(scores) for scores in anomalous], np.float64)
        self._normal = np.array([len(scores) for scores in normal], np.float64)
        pooled = np.concatenate([np.empty(0), *anomalous])
        order = np.argsort(pooled)
        owner = np.repeat(np.arange(len(clips)), self._anomalous.astype(np.int64))[order]
        self._wins = np.zeros((len(clips), len(clips)))
        for clip, scores in enumerate(normal):
            beaten = np.searchsorted(scores, pooled[order], "left") + np.searchsorted(scores, pooled[order], "right")
            self._wins[:, clip] = np.bincount(owner, beaten / 2, minlength=len(clips))

    def __call__(self, counts: Counts) -> float:
        """The AUC of one sample; nan if it has not both classes."""
        pairs = float((counts @ self._anomalous) * (counts @ self._normal))
        return float(counts @ self._wins @ counts) / pairs if pairs else math.nan


class MacroAUC:
    """Mean AUC-ROC of the clips of a sample that have both classes, as a function of how often each clip is in it.

    Args:
        clips: Labels and scores of each clip, finite and of equal length; a clip may be empty.

    Example:
        >>> clips = [(np.array([0, 1]), np.array([0.2, 0.9])), (np.array([0, 1]), np.array([0.5, 0.4]))]
        >>> MacroAUC(clips)(np.array([1, 1]))
        0.5
    """

    def __init__(self, clips: Sequence[tuple[Labels, Floats]]) -> None:
        self._of_clip = np.array([auc_roc(labels, anomaly) for labels, anomaly in clips])
        self._both = np.isfinite(self._of_clip)

    @property
    def clips(self) -> int:
        """How many clips have both classes."""
        return int(self._both.sum())

    def __call__(self, counts: Counts) -> float:
        """The mean of one sample; nan if no clip of it has both classes."""
        weights = counts[self._both]
        return float(weights @ self._of_clip[self._both]) / float(weights.sum()) if weights.any() else math.nan


def auc_roc(labels: Labels, anomaly: Floats) -> float:
    """AUC-ROC of finite scores; nan if there are not both classes."""
    return MicroAUC([(labels, anomaly)])(np.ones(1, np.int64))


def bootstrap_by_clip(
    statistic: Callable[[Counts], float], clips: int, *, replicates: int, seed: int, level: float = 0.95
) -> Interval | None:
    """Percentile interval of a statistic under drawing whole clips with replacement.

    The same seed draws the same clips, so differences of two scorers on one split can be resampled as one statistic.

    Args:
        statistic: Takes how often each clip was drawn, shape ``(clips,)``; nan leaves the sample out. `MicroAUC`,
            `MacroAUC`, or a function of several of them.
        clips: How many clips there are.
        replicates: Samples to draw.
        seed: Decides them.
        level: Share of the samples inside the interval.

    Returns:
        None if no sample has the statistic.

    Raises:
        ValueError: There are no clips, or the level is out of range.
    """
    if clips < 1 or not 0 < level < 1:
        raise ValueError(f"expected clips and a level between 0 and 1, got {clips} clips and level {level}")
    drawn = np.random.default_rng(seed).multinomial(clips, np.full(clips, 1 / clips), size=replicates)
    values = np.array([statistic(counts) for counts in drawn], np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), len(values))


def segments(mask: NDArray[np.bool_], gap: int = 1) -> Segments:
    """Runs of True; those separated by fewer than `gap` frames are one.

    Args:
        mask: Shape ``(frames,)``.
        gap: Frames, at least 1.
    """
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    apart = starts[1:] - stops[:-1] >= gap
    first, last = np.ones(len(starts), bool), np.ones(len(starts), bool)
    first[1:], last[:-1] = apart, apart
    return np.stack([starts[first], stops[last]], axis=1)


def overlaps(predicted: Segments, events: Segments) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """All pairs that share a frame, in order of time.

    Returns:
        For each pair the number of the predicted segment, that of the event, and the temporal IoU: frames that both
        share over frames in either.
    """
    first = np.searchsorted(events[:, 1], predicted[:, 0], "right")
    partners = np.maximum(np.searchsorted(events[:, 0], predicted[:, 1], "left") - first, 0)
    own = np.repeat(np.arange(len(predicted)), partners)
    others = np.arange(len(own)) - np.repeat(np.cumsum(partners) - partners - first, partners)
    p, e = predicted[own], events[others]
    shared = np.minimum(p[:, 1], e[:, 1]) - np.maximum(p[:, 0], e[:, 0])
    return own, others, shared / (p[:, 1] - p[:, 0] + e[:, 1] - e[:, 0] - shared)


def event_f1(predicted: Segments, events: Segments, min_iou: float) -> float:
    """F1 of predicted segments, each matched with one event at most, and as many as can be.

    Args:
        predicted: Predicted segments.
        events: Labelled ones.
        min_iou: Lowest temporal IoU of a match, above 0.

    Returns:
        0..1; 1 if there is neither a prediction nor an event.
    """
    total = len(predicted) + len(events)
    own, others, iou = overlaps(predicted, events)
    close = iou >= min_iou
    if not close.any():
        return 0.0 if total else 1.0
    pairs = csr_array((np.ones(int(close.sum())), (own[close], others[close])), shape=(len(predicted), len(events)))
    return 2 * int((maximum_bipartite_matching(pairs) >= 0).sum()) / total


def detection_delays(predicted: Segments, events: Segments) -> NDArray[np.int64]:
    """Frames from the onset of each detected event to its first alarm.

    Returns:
        Shape ``(detected,)``; 0 where the alarm was open before.
    """
    own, others, _ = overlaps(predicted, events)
    detected, first = np.unique(others, return_index=True)
    return np.asarray(np.maximum(predicted[own[first], 0] - events[detected, 0], 0))


@dataclass(frozen=True, slots=True, eq=False)
class AlarmSweep:
    """False alarms and detected events at every threshold, from the highest score down.

    Attributes:
        thresholds: Shape ``(n,)``, all different scores, falling.
        false_alarms: Shape ``(n,)``, predicted segments that overlap no event.
        detected: Shape ``(n,)``, events that a predicted segment overlaps.

    Example:
        >>> sweep = alarm_sweep(np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.8, np.nan]), gap=1)
        >>> sweep.threshold(allowed=0), sweep.detected.tolist()
        (0.1, [1, 1, 1])
    """

    thresholds: Floats
    false_alarms: NDArray[np.int64]
    detected: NDArray[np.int64]

    def threshold(self, allowed: int) -> float | None:
        """The lowest threshold down to which none costs more than `allowed` false alarms; None if there is none.

        The number of false alarms may also fall with the threshold, because alarms grow together and into events. The
        first threshold with too many counts; otherwise an alarm that never ends would be the best.
        """
        too_many = np.flatnonzero(self.false_alarms > allowed)
        last = (too_many[0] if len(too_many) else len(self.thresholds)) - 1
        return float(self.thresholds[last]) if last >= 0 else None


def alarm_sweep(labels: Labels, anomaly: Floats, gap: int) -> AlarmSweep:
    """Count false alarms and detected events at every threshold.

    Frames are added in order of their scores and segments only grow, so that all thresholds together cost little more
    than one.

    Args:
        labels: Shape ``(frames,)``.
        anomaly: Shape ``(frames,)``; nan is below every threshold.
        gap: See `segments`.
    """
    frames = np.flatnonzero(~np.isnan(anomaly))
    frames = frames[np.argsort(-anomaly[frames], kind="stable")]
    scores = anomaly[frames]
    lowest_of_value = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
    alarms = _GrowingAlarms(labels, gap)
    thresholds, false_alarms, detected = [], [], []
    for frame, score, complete in zip(frames.tolist(), scores.tolist(), lowest_of_value.tolist(), strict=True):
        alarms.add(frame)
        if complete:
            thresholds.append(score)
            false_alarms.append(alarms.false)
            detected.append(len(alarms.detected))
    return AlarmSweep(np.array(thresholds), np.array(false_alarms, np.int64), np.array(detected, np.int64))


def event_metrics(
    labels: Sequence[Labels],
    anomaly: Sequence[Floats],
    *,
    frame_rate_hz: float,
    hours: float,
    gap_s: float = EVENT_GAP_S,
) -> EventMetrics:
    """Judge alarms: runs of scores at or above a threshold, those less than `gap_s` apart being one.

    Args:
        labels: Of each clip; every run of ones is an event.
        anomaly: Of each clip; nan raises no alarm.
        frame_rate_hz: Frames per second.
        hours: Footage that false alarms are counted over.
        gap_s: Seconds.

    Raises:
        ValueError: There is no event.
    """
    gap = max(1, math.ceil(gap_s * frame_rate_hz - _ROUNDING))
    # All clips on one time line, far enough apart that no alarm reaches from one into the next.
    truth = np.concatenate([np.pad(clip, (0, gap)) for clip in labels])
    scores = np.concatenate([np.pad(clip, (0, gap), constant_values=np.nan) for clip in anomaly])
    events = segments(truth == 1)
    if not len(events):
        raise ValueError("there is no event to detect: no frame is anomalous")
    sweep = alarm_sweep(truth, scores, gap)
    return EventMetrics(
        events=len(events),
        hours=hours,
        best_f1_20=_best_f1(scores, events, gap, 0.2),
        best_f1_50=_best_f1(scores, events, gap, 0.5),
        points=tuple(
            _operating_point(rate, sweep, scores, events, gap, frame_rate_hz, hours) for rate in FALSE_ALARM_RATES
        ),
    )


class _GrowingAlarms:
    """Predicted segments while the threshold falls.

    Attributes:
        false: Segments that overlap no event.
        detected: Numbers of the events that a segment overlaps.
    """

    def __init__(self, labels: Labels, gap: int) -> None:
        self.false = 0
        self.detected: set[int] = set()
        self._gap = gap
        self._starts: list[int] = []
        self._stops: list[int] = []
        anomalous = labels == 1
        self._anomalous_before: list[int] = np.concatenate([[0], np.cumsum(anomalous)]).tolist()
        number = np.cumsum(np.diff(anomalous.astype(np.int8), prepend=0) == 1)
        self._event_of: list[int] = np.where(anomalous, number, 0).tolist()

    def add(self, frame: int) -> None:
        """Lower the threshold to the score of a frame."""
        starts, stops = self._starts, self._stops
        right = bisect_right(starts, frame)
        left = right - 1
        if left >= 0 and frame < stops[left]:
            return
        joins_left = left >= 0 and frame - stops[left] < self._gap
        joins_right = right < len(starts) and starts[right] - frame - 1 < self._gap
        start, new_from = (starts[left], stops[left]) if joins_left else (frame, frame)
        stop, new_to = (stops[right], starts[right]) if joins_right else (frame + 1, frame + 1)
        replaced = slice(left if joins_left else right, right + 1 if joins_right else right)
        self.false += self._is_false(start, stop) - sum(map(self._is_false, starts[replaced], stops[replaced]))
        starts[replaced], stops[replaced] = [start], [stop]
        self.detected.update(event for event in self._event_of[new_from:new_to] if event)

    def _is_false(self, start: int, stop: int) -> bool:
        return self._anomalous_before[start] == self._anomalous_before[stop]


def _operating_point(
    rate: float, sweep: AlarmSweep, scores: Floats, events: Segments, gap: int, frame_rate_hz: float, hours: float
) -> OperatingPoint:
    allowed = math.floor(rate * hours + _ROUNDING)
    threshold = sweep.threshold(allowed)
    predicted = segments(scores >= (math.inf if threshold is None else threshold), gap)
    delays = detection_delays(predicted, events)
    return OperatingPoint(
        rate_per_hour=rate,
        allowed=allowed,
        threshold=threshold,
        false_alarms=len(predicted) - len(np.unique(overlaps(predicted, events)[0])),
        detected=len(delays),
        recall=len(delays) / len(events),
        f1_20=event_f1(predicted, events, 0.2),
        f1_50=event_f1(predicted, events, 0.5),
        median_delay_s=float(np.median(delays)) / frame_rate_hz if len(delays) else None,
        alarm_share=float(np.diff(predicted, axis=1).sum()) / (hours * 3600 * frame_rate_hz),
    )


def _best_f1(scores: Floats, events: Segments, gap: int, min_iou: float) -> float:
    values = np.unique(scores[~np.isnan(scores)])
    chosen = values[np.unique(np.linspace(0, len(values) - 1, min(len(values), _ORACLE_THRESHOLDS)).astype(np.int64))]
    return max((event_f1(segments(scores >= threshold, gap), events, min_iou) for threshold in chosen), default=0.0)
