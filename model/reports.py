"""The figures that `model.evaluation` gives of a scorer, as records that survive JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from model.metrics import EventMetrics, FrameMetrics, Interval


@dataclass(frozen=True, slots=True)
class FrameReport:
    """Figures for some of the frames of a split; intervals come from a bootstrap over whole clips.

    Attributes:
        frames: How many were judged.
        anomalous: How many of those are anomalous.
        micro: Of all frames pooled.
        micro_interval: Of the micro AUC-ROC; None if no sample had both classes.
        macro_auc_roc: Mean over clips with both classes; None if there is none.
        macro_interval: Of that.
        macro_clips: How many clips have both classes.

    Example:
        >>> report = FrameReport(100, 20, FrameMetrics(0.7, 0.4, 0.3), None, None, None, 0)
        >>> FrameReport.from_dict(asdict(report)) == report
        True
    """

    frames: int
    anomalous: int
    micro: FrameMetrics
    micro_interval: Interval | None
    macro_auc_roc: float | None
    macro_interval: Interval | None
    macro_clips: int

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of `dataclasses.asdict`, also after JSON."""
        intervals = {name: _interval(values[name]) for name in ("micro_interval", "macro_interval")}
        return cls(**values | {"micro": FrameMetrics(**values["micro"])} | intervals)


@dataclass(frozen=True, slots=True)
class UnitReport:
    """Figures of tracks or clips, each with one label and one score.

    Attributes:
        units: How many were judged.
        anomalous: How many of those are anomalous.
        auc_roc: Of all pooled.
        interval: From a bootstrap over whole clips; None if no sample had both classes.

    Example:
        >>> report = UnitReport(30, 6, 0.7, Interval(0.6, 0.8, 1000))
        >>> UnitReport.from_dict(asdict(report)) == report
        True
    """

    units: int
    anomalous: int
    auc_roc: float
    interval: Interval | None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of `dataclasses.asdict`, also after JSON."""
        return cls(**values | {"interval": _interval(values["interval"])})


@dataclass(frozen=True, slots=True)
class Report:
    """One scorer on one test split. Reports of frames or units that are all normal or all anomalous are None.

    Attributes:
        clips: Clips of the split.
        frames: Frames judged.
        anomalous_frames: How many of those are anomalous.
        hours: Their duration.
        replicates: Samples drawn for each interval.
        seed: What decided them.
        level: Share of samples inside an interval.
        published: All frames by `fill_and_smooth`.
        coverage: All frames by whether they have a score alone, smoothed as published: the share of `published` that
            comes from where the scorer has scores.
        conditional: Frames with a score of their own, unsmoothed.
        conditional_smoothed: The same frames by `smooth_scored`.
        common: Frames that the caller named, unsmoothed; None if none were named.
        common_smoothed: The same frames by `smooth_scored`, which smooths over all frames with a score.
        tracks_highest: People with a score. A person counts as anomalous if more than half of the scored frames are,
            even if another person caused that; the score is the highest by `smooth_scored`.
        tracks_mean: The same with the mean of the unsmoothed scores.
        clip_level: Clips: an anomalous clip has an anomalous frame; the score is the highest of the published ones.
        events: Alarms of the published scores, which use later frames.
        online_published: All frames as a live camera would have published them; those without a score are filled with
            the lowest.
        online_conditional: Frames for which a live camera had a score.
        online_events: Alarms of a live camera; a frame without a score raises none.

    Example:
        >>> import numpy as np
        >>> from model.evaluation import ClipScores, judge
        >>> labels = {"01_0001": np.array([0, 0, 1, 1])}
        >>> scores = ClipScores("01_0001", np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.1, 0.2, 0.8, 0.9]), {})
        >>> report = judge([scores], labels, frame_rate_hz=15.0, replicates=10)
        >>> report.conditional.micro.auc_roc
        1.0
    """

    clips: int
    frames: int
    anomalous_frames: int
    hours: float
    replicates: int
    seed: int
    level: float
    published: FrameReport
    coverage: FrameReport
    conditional: FrameReport | None
    conditional_smoothed: FrameReport | None
    common: FrameReport | None
    common_smoothed: FrameReport | None
    tracks_highest: UnitReport | None
    tracks_mean: UnitReport | None
    clip_level: UnitReport | None
    events: EventMetrics
    online_published: FrameReport
    online_conditional: FrameReport | None
    online_events: EventMetrics

    def to_dict(self) -> dict[str, Any]:
        """Field names and values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Report:
        """Inverse of `to_dict`, also after JSON."""
        nested: dict[str, Any] = {}
        for kind, names in _NESTED.items():
            nested |= {name: None if values[name] is None else kind.from_dict(values[name]) for name in names}
        return cls(**values | nested)


_NESTED: Final[dict[type[FrameReport] | type[UnitReport] | type[EventMetrics], tuple[str, ...]]] = {
    FrameReport: (
        "published",
        "coverage",
        "conditional",
        "conditional_smoothed",
        "common",
        "common_smoothed",
        "online_published",
        "online_conditional",
    ),
    UnitReport: ("tracks_highest", "tracks_mean", "clip_level"),
    EventMetrics: ("events", "online_events"),
}


def _interval(values: dict[str, Any] | None) -> Interval | None:
    return None if values is None else Interval(**values)
