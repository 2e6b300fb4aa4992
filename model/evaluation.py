"""Judging scorers on a test split: by the published protocol, on frames with a score only, and as a live camera would.

The micro protocol of STG-NF (its public code) judges every frame, also those without a score. Where people are rarely
seen, a mere count of people does well by it. So *conditional* figures judge only the frames in which somebody has a
score, and *common* figures only frames that the caller names, so that scorers with different coverage are judged on the
same frames. `PRESENCE` and `PEOPLE_COUNT` are baselines to compare with.

Published figures are offline: a frame's score comes from windows that reach past it, and smoothing looks ahead.
*Online* figures judge what a live camera would have published at each frame (`model.online`), which knows nothing of
later frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from model.checkpoint import Checkpoint
from model.dataset import DatasetError, PoseClip, Slicing, clip_windows
from model.footage import PoseFootage, online_series
from model.frames import frame_scores_of_track
from model.metrics import (
    Interval,
    MacroAUC,
    MicroAUC,
    bootstrap_by_clip,
    event_metrics,
    frame_metrics,
)
from model.reports import FrameReport, Report, UnitReport
from model.scorer import RawScorer
from model.smoothing import DEFAULT_TAU_S, smooth_causally
from pose.windows import Windows, WindowSpec

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Mask = NDArray[np.bool_]

Assignment = Literal["middle", "covering"]
"""Which frames a window scores: its middle frame, as published; or every frame that it covers and for which its centre
is the nearest, so that the ends of a track are scored as well."""

_SMOOTHING: Final = (1, 2, 3, 4, 5, 6)
"""Standard deviations in frames of the Gaussian filters applied one after the other."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipScores:
    """The scores of one clip of F frames, in the scorer's own unit; higher is more anomalous.

    Attributes:
        name: The clip's.
        offline: Shape ``(F,)``, unsmoothed, highest over people; nan where nobody is scored.
        online: Shape ``(F,)``, what a live camera would publish at each frame, smoothed causally; nan likewise.
        tracks: Offline scores of each person by number, each ``(F,)``; nan where that person is not scored.

    Example:
        >>> offline, online = np.array([np.nan, 0.3]), np.array([np.nan, 0.2])
        >>> scores = ClipScores("01_0222", offline, online, tracks={1: offline})
        >>> np.isfinite(scores.offline).tolist()
        [False, True]
    """

    name: str
    offline: Floats
    online: Floats
    tracks: Mapping[int, Floats]


class FootageScorer(Protocol):
    """Anything that scores the frames of a clip of tracked people.

    Example:
        >>> scorer: FootageScorer = PEOPLE_COUNT
        >>> scorer.name
        'number of people'
    """

    @property
    def name(self) -> str:
        """What to call it in tables."""

    def score_clip(self, clip: PoseClip, frames: int, frame_rate_hz: float) -> ClipScores:
        """Score a clip.

        Args:
            clip: The clip.
            frames: Frames of its video, numbered from 0; sightings beyond it are not judged.
            frame_rate_hz: Frames per second of the video.
        """


@dataclass(frozen=True, slots=True, eq=False)
class WindowFootageScorer:
    """Scores frames by windows of one length.

    Attributes:
        name: What to call it in tables.
        score: Gives N windows N scores; nan is none.
        spec: What a window is.
        slicing: How windows are cut for offline scores; a live camera always cuts on the time grid.
        assignment: Which frames a window scores offline.
        tau_s: Time constant of the smoothing online, seconds.

    Example:
        >>> import torch
        >>> from model.dataset import PersonTrack
        >>> clip = PoseClip("01_0222", (PersonTrack(1, np.arange(12), torch.rand(12, 17, 3)),))
        >>> spec = WindowSpec(length=8, rate_hz=15.0)
        >>> scorer = WindowFootageScorer("zero", lambda windows: np.zeros(len(windows)), spec, assignment="covering")
        >>> scorer.score_clip(clip, frames=14, frame_rate_hz=15.0).offline.tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, nan, nan]
    """

    name: str
    score: Callable[[Windows], Floats]
    spec: WindowSpec
    slicing: Slicing = "grid"
    assignment: Assignment = "middle"
    tau_s: float = DEFAULT_TAU_S

    @classmethod
    def of_checkpoint(
        cls,
        name: str,
        checkpoint: Checkpoint,
        *,
        device: str = "cpu",
        slicing: Slicing = "grid",
        assignment: Assignment = "middle",
    ) -> Self:
        """The likelihood of a trained flow, calibrated or not.

        Raises:
            DeviceUnavailableError: The device is not there.
        """
        scorer = RawScorer.of_checkpoint(checkpoint, device)
        return cls(name, scorer.raw, checkpoint.spec, slicing, assignment)

    def score_clip(self, clip: PoseClip, frames: int, frame_rate_hz: float) -> ClipScores:
        """See `FootageScorer`.

        Raises:
            ValueError: `score` does not give one score for each window.
        """
        footage = PoseFootage.of_clip(clip, frame_rate_hz, frames)
        live = footage.windows(self.spec)
        live_scores = self._scores(live)
        windows, scores = live, live_scores
        if self.slicing != "grid":
            windows = clip_windows(clip, self.spec, frame_rate_hz=frame_rate_hz, slicing=self.slicing)
            scores = self._scores(windows)
        tracks = {}
        for track in np.unique(windows.track_ids).tolist():
            own = windows.track_ids == track
            ends, values = windows.end_times[own], scores[own]
            tracks[track] = (
                middle_frame_scores(frames, ends, values, self.spec, frame_rate_hz=frame_rate_hz)
                if self.assignment == "middle"
                else frame_scores_of_track(footage.frame_times, ends, values, self.spec)
            )
        online = online_series(footage, live, live_scores, self.spec, tau_s=self.tau_s).smoothed
        return ClipScores(clip.name, highest(tracks.values(), frames), online, tracks)

    def _scores(self, windows: Windows) -> Floats:
        scores = self.score(windows) if len(windows) else np.empty(0)
        if scores.shape != (len(windows),):
            raise ValueError(f"{self.name}: expected a score for each of {len(windows)} windows, got {scores.shape}")
        return scores


@dataclass(frozen=True, slots=True)
class PeopleBaseline:
    """Scores a frame by the number of people in it: the baseline that ignores movement.

    Every frame has a score, 0 where nobody is.

    Attributes:
        name: What to call it in tables.
        most: More people than these count as these.

    Example:
        >>> import torch
        >>> from model.dataset import PersonTrack
        >>> clip = PoseClip("01_0222", (PersonTrack(1, np.arange(2), torch.rand(2, 17, 3)),))
        >>> PeopleBaseline("people").score_clip(clip, frames=4, frame_rate_hz=15.0).offline.tolist()
        [1.0, 1.0, 0.0, 0.0]
    """

    name: str
    most: float = np.inf

    def score_clip(self, clip: PoseClip, frames: int, frame_rate_hz: float) -> ClipScores:
        """See `FootageScorer`."""
        counts = np.minimum(people_counts(clip, frames), self.most)
        tracks = {}
        for track in clip.tracks:
            present = np.zeros(frames, bool)
            present[track.frames[track.frames < frames]] = True
            tracks[track.person] = np.where(present, counts, np.nan)
        return ClipScores(clip.name, counts, smooth_causally(np.arange(frames) / frame_rate_hz, counts), tracks)


PRESENCE: Final = PeopleBaseline("presence", most=1)
"""Whether anybody is in the frame."""

PEOPLE_COUNT: Final = PeopleBaseline("number of people")
"""How many people are in the frame."""


def score_split(
    scorer: FootageScorer, clips: Sequence[PoseClip], labels: Mapping[str, Labels], *, frame_rate_hz: float
) -> list[ClipScores]:
    """Score every clip of a test split, over as many frames as it has labels.

    Raises:
        DatasetError: A clip has no labels, or labels have no clip.
    """
    _check_names((clip.name for clip in clips), labels)
    return [scorer.score_clip(clip, len(labels[clip.name]), frame_rate_hz) for clip in clips]


def common_frames(scores: Sequence[Sequence[ClipScores]]) -> dict[str, Mask]:
    """Frames in which every scorer scores somebody offline, by clip name.

    Args:
        scores: Of each scorer, all clips of the same split.
    """
    common: dict[str, Mask] = {}
    for clip in (clip for split in scores for clip in split):
        common[clip.name] = common.get(clip.name, np.ones(len(clip.offline), bool)) & ~np.isnan(clip.offline)
    return common


def judge(
    scores: Sequence[ClipScores],
    labels: Mapping[str, Labels],
    *,
    frame_rate_hz: float,
    judged: Mapping[str, Mask] | None = None,
    common: Mapping[str, Mask] | None = None,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Report:
    """Judge a scorer on a test split.

    Frames that are not judged are dropped before anything is filled or smoothed, as the masks of HR-UBnormal ask for;
    online scores were already smoothed by then, as a live camera does not know the mask. Alarms are counted on the
    clip's own time, where a frame that is not judged raises none and belongs to no event.

    Args:
        scores: The scores of every clip.
        labels: Frame labels of every clip by name, 1 is anomalous.
        frame_rate_hz: Frames per second of the video.
        judged: Frames to judge by clip name; all if missing.
        common: Frames of the common figures by clip name, see `common_frames`.
        replicates: Samples of clips for each interval.
        seed: Decides them; the same for all scorers, so that they are judged on the same samples.
        level: Share of samples inside an interval.

    Raises:
        DatasetError: A clip has no labels, or labels have no clip.
        ValueError: Lengths disagree, a score is infinite, no frame has a score, a common frame has none, or the judged
            frames are all normal or all anomalous.
    """
    _check_names((clip.name for clip in scores), labels)
    keep = {name: np.ones(len(own), bool) for name, own in labels.items()} if judged is None else judged
    for masks in (keep, common or keep):
        _check_names(masks, labels)
    for clip in scores:
        _check_scores(clip, len(labels[clip.name]))
        for mask in (keep[clip.name], (common or keep)[clip.name]):
            if mask.shape != (len(labels[clip.name]),):
                raise ValueError(f"clip {clip.name}: {len(labels[clip.name])} labels, but a mask of shape {mask.shape}")
    bootstrap = _Bootstrap(replicates, seed, level)
    truth = [labels[clip.name][keep[clip.name]] for clip in scores]
    raw = [clip.offline[keep[clip.name]] for clip in scores]
    online = [clip.online[keep[clip.name]] for clip in scores]
    scored, known = [~np.isnan(clip) for clip in raw], [~np.isnan(clip) for clip in online]
    published, smoothed = fill_and_smooth(raw), [smooth_scored(clip) for clip in raw]
    everywhere = [np.ones(len(clip), bool) for clip in truth]
    shared = None if common is None else [common[clip.name][keep[clip.name]] for clip in scores]
    for clip, own, wanted in zip(scores, scored, shared or [], strict=False):
        if (wanted & ~own).any():
            raise ValueError(f"clip {clip.name}: {int((wanted & ~own).sum())} of the common frames have no score")
    hours = sum(map(len, truth)) / frame_rate_hz / 3600
    on_time = [np.where(keep[clip.name], labels[clip.name], 0) for clip in scores]
    kept = [keep[clip.name] for clip in scores]
    published_report = bootstrap.frames(truth, published, everywhere)
    coverage = bootstrap.frames(truth, [_filtered(clip.astype(np.float64)) for clip in scored], everywhere)
    online_report = bootstrap.frames(truth, fill(online), everywhere)
    if published_report is None or coverage is None or online_report is None:
        raise ValueError("nothing to tell apart: the judged frames are all normal or all anomalous")
    return Report(
        clips=len(scores),
        frames=published_report.frames,
        anomalous_frames=published_report.anomalous,
        hours=hours,
        replicates=replicates,
        seed=seed,
        level=level,
        published=published_report,
        coverage=coverage,
        conditional=bootstrap.frames(truth, raw, scored),
        conditional_smoothed=bootstrap.frames(truth, smoothed, scored),
        common=None if shared is None else bootstrap.frames(truth, raw, shared),
        common_smoothed=None if shared is None else bootstrap.frames(truth, smoothed, shared),
        tracks_highest=bootstrap.units(_track_units(scores, truth, kept, _highest_smoothed)),
        tracks_mean=bootstrap.units(_track_units(scores, truth, kept, _mean)),
        clip_level=bootstrap.units(_clip_units(truth, published)),
        events=event_metrics(on_time, _on_time(published, kept), frame_rate_hz=frame_rate_hz, hours=hours),
        online_published=online_report,
        online_conditional=bootstrap.frames(truth, online, known),
        online_events=event_metrics(on_time, _on_time(online, kept), frame_rate_hz=frame_rate_hz, hours=hours),
    )


def middle_frame_scores(
    frames: int, window_end_times: Floats, window_scores: Floats, spec: WindowSpec, *, frame_rate_hz: float
) -> Floats:
    """Give every window's score to its middle frame, the highest where several meet.

    Args:
        frames: Frames of the clip.
        window_end_times: Shape ``(N,)``, seconds of the last grid point of each window.
        window_scores: Shape ``(N,)``.
        spec: What a window is.
        frame_rate_hz: Frames per second of the video.

    Returns:
        Shape ``(frames,)``; nan where no window has its middle.
    """
    middle = np.rint(spec.center_times(window_end_times) * frame_rate_hz).astype(np.int64)
    scores = np.full(frames, np.nan)
    inside = middle < frames
    np.fmax.at(scores, middle[inside], window_scores[inside])
    return scores


def highest(tracks: Iterable[Floats], frames: int) -> Floats:
    """The highest score over people in every frame, shape ``(frames,)``; nan where nobody is scored."""
    return np.asarray(np.fmax.reduce([np.full(frames, np.nan), *tracks]))


def fill(anomaly: Sequence[Floats]) -> list[Floats]:
    """Give frames without a score the lowest score of the whole split, that is the most normal one.

    Args:
        anomaly: For each clip ``(frames,)``, nan where there is no score.

    Raises:
        ValueError: No frame of the split has a score.
    """
    raw = np.concatenate([np.empty(0), *anomaly])
    if np.isnan(raw).all():
        raise ValueError("no frame of the split has a score")
    lowest = np.nanmin(raw)
    return [np.where(np.isnan(clip), lowest, clip) for clip in anomaly]


def fill_and_smooth(anomaly: Sequence[Floats]) -> list[Floats]:
    """The published post-processing of frame scores: `fill`, then Gaussian filters of 1 to 6 frames in turn, by clip.

    Args:
        anomaly: For each clip ``(frames,)``, nan where there is no score.

    Raises:
        ValueError: No frame of the split has a score.
    """
    return [_filtered(clip) for clip in fill(anomaly)]


def smooth_scored(anomaly: Floats) -> Floats:
    """The filters of `fill_and_smooth` over the frames that have a score, weights renormalised: nothing is filled.

    Args:
        anomaly: Shape ``(frames,)``, nan where there is no score.

    Returns:
        Shape ``(frames,)``; nan where `anomaly` is.
    """
    scored = ~np.isnan(anomaly)
    weight = _filtered(scored.astype(np.float64))
    total = _filtered(np.where(scored, anomaly, 0.0))
    smoothed = np.full(len(anomaly), np.nan)
    smoothed[scored] = total[scored] / weight[scored]
    return smoothed


def people_counts(clip: PoseClip, frames: int) -> Floats:
    """Number of people in every frame of a clip, shape ``(frames,)``."""
    seen = np.concatenate([np.empty(0, np.int64), *(track.frames for track in clip.tracks)])
    return np.bincount(seen[seen < frames], minlength=frames).astype(np.float64)


@dataclass(frozen=True, slots=True)
class _Bootstrap:
    replicates: int
    seed: int
    level: float

    def frames(self, labels: list[Labels], anomaly: list[Floats], chosen: list[Mask]) -> FrameReport | None:
        """Judge the chosen frames of every clip."""
        clips = [(y[own], x[own]) for y, x, own in zip(labels, anomaly, chosen, strict=True)]
        truth, scores = (np.concatenate(column) for column in zip(*clips, strict=True))
        anomalous = int(truth.sum())
        if not 0 < anomalous < len(truth):
            return None
        macro = MacroAUC(clips)
        return FrameReport(
            frames=len(truth),
            anomalous=anomalous,
            micro=frame_metrics(truth, scores),
            micro_interval=self._interval(MicroAUC(clips), len(clips)),
            macro_auc_roc=macro(np.ones(len(clips), np.int64)) if macro.clips else None,
            macro_interval=self._interval(macro, len(clips)),
            macro_clips=macro.clips,
        )

    def units(self, clips: list[tuple[Labels, Floats]]) -> UnitReport | None:
        """Judge the units of every clip."""
        truth = np.concatenate([labels for labels, _ in clips])
        anomalous = int(truth.sum())
        if not 0 < anomalous < len(truth):
            return None
        micro = MicroAUC(clips)
        return UnitReport(
            len(truth), anomalous, micro(np.ones(len(clips), np.int64)), self._interval(micro, len(clips))
        )

    def _interval(self, statistic: MicroAUC | MacroAUC, clips: int) -> Interval | None:
        return bootstrap_by_clip(statistic, clips, replicates=self.replicates, seed=self.seed, level=self.level)


def _track_units(
    scores: Sequence[ClipScores], truth: list[Labels], kept: list[Mask], summary: Callable[[Floats], float]
) -> list[tuple[Labels, Floats]]:
    clips = []
    for clip, labels, own in zip(scores, truth, kept, strict=True):
        units = [(labels[~np.isnan(series)], series) for series in (track[own] for track in clip.tracks.values())]
        units = [(seen, series) for seen, series in units if len(seen)]
        majority = np.array([2 * seen.sum() > len(seen) for seen, _ in units], np.int64)
        clips.append((majority, np.array([summary(series) for _, series in units], np.float64)))
    return clips


def _clip_units(truth: list[Labels], published: list[Floats]) -> list[tuple[Labels, Floats]]:
    return [
        (
            np.array([labels.any()] if len(labels) else [], np.int64),
            anomaly.max(keepdims=True) if len(labels) else anomaly,
        )
        for labels, anomaly in zip(truth, published, strict=True)
    ]


def _mean(series: Floats) -> float:
    return float(np.nanmean(series))


def _highest_smoothed(series: Floats) -> float:
    return float(np.nanmax(smooth_scored(series)))


def _on_time(anomaly: list[Floats], kept: list[Mask]) -> list[Floats]:
    """Scores of judged frames back in their places; nan in the others."""
    clips = []
    for scores, own in zip(anomaly, kept, strict=True):
        clip = np.full(len(own), np.nan)
        clip[own] = scores
        clips.append(clip)
    return clips


def _filtered(series: Floats) -> Floats:
    for deviation in _SMOOTHING:
        series = np.asarray(gaussian_filter1d(series, deviation), np.float64)
    return series


def _check_names(clips: Iterable[str], labels: Mapping[str, Labels]) -> None:
    names = list(clips)
    alone = set(names) ^ set(labels)
    if alone:
        raise DatasetError(f"clips without a mask, or masks without a clip: {', '.join(sorted(alone)[:5])}")
    if len(names) != len(labels):
        raise DatasetError(f"{len(names)} clips have only {len(labels)} different names")


def _check_scores(clip: ClipScores, frames: int) -> None:
    for series in (clip.offline, clip.online, *clip.tracks.values()):
        if series.shape != (frames,):
            raise ValueError(f"clip {clip.name}: {frames} frames have labels, but scores have shape {series.shape}")
        if np.isinf(series).any():
            raise ValueError(f"clip {clip.name}: a score is infinite; nan says that there is none")
