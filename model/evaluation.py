"""Published protocols: how a data set's frames are scored and judged, so that figures can be compared.

The micro protocol of STG-NF (its public code) judges every frame, those without a score included. On
footage where people are rarely seen that rewards a mere count of people; `conditional` figures therefore judge only the
frames in which somebody has a score, and `people_counts` is there to be compared with.

Published figures are offline: a frame's score comes from windows that reach past it, and smoothing looks ahead.
`evaluate_online` judges what a live camera would have published at each frame (`model.online`), which knows nothing of
later frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torch import Tensor

from model.dataset import DatasetError, PoseClip, Slicing, clip_windows
from model.footage import PoseFootage, online_series
from model.smoothing import DEFAULT_TAU_S
from pose.windows import WindowSpec

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

_SMOOTHING: Final = (1, 2, 3, 4, 5, 6)
"""Standard deviations in frames of the Gaussian filters applied one after the other."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """How well anomaly scores separate frames.

    Attributes:
        auc_roc: Area under the receiver operating characteristic.
        auc_pr: Average precision with anomalous frames as positives.
        eer: Equal error rate.
    """

    auc_roc: float
    auc_pr: float
    eer: float


@dataclass(frozen=True, slots=True)
class OnlineEvaluation:
    """Figures of frames as a live camera would have scored them.

    Attributes:
        published: All frames, causally smoothed; those without a score are filled with the lowest.
        conditional: Frames with a score of their own, causally smoothed.
        conditional_frames: How many those are.
    """

    published: Metrics
    conditional: Metrics
    conditional_frames: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one scorer on one test split.

    Attributes:
        published: All frames, filled and smoothed.
        conditional: Frames with a score of their own, neither filled nor smoothed.
        conditional_frames: How many those are.
        frames: Frames of the split.
    """

    published: Metrics
    conditional: Metrics
    conditional_frames: int
    frames: int


def frame_metrics(labels: Labels, anomaly: Floats) -> Metrics:
    """Judge frame scores.

    Args:
        labels: Shape ``(n,)``, 1 is anomalous.
        anomaly: Shape ``(n,)``, finite, higher is stranger.
    """
    return Metrics(
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


def evaluate(
    nll: Callable[[Tensor], Floats],
    clips: Sequence[PoseClip],
    masks: Mapping[str, Labels],
    spec: WindowSpec,
    *,
    frame_rate_hz: float,
    slicing: Slicing,
) -> Evaluation:
    """Score a test split.

    Args:
        nll: Scores windows ``(N, 2, T, 18)``, such as `model.scorer.Scorer.nll`.
        clips: The test clips.
        masks: Frame labels of every clip by name.
        spec: What a window is.
        frame_rate_hz: Frames per second of the video.
        slicing: How windows are cut.

    Raises:
        DatasetError: A clip has no mask, or the other way round.
    """
    _check_names(clips, masks)
    anomaly = [
        middle_frame_scores(clip, len(masks[clip.name]), nll, spec, frame_rate_hz=frame_rate_hz, slicing=slicing)
        for clip in clips
    ]
    labels = np.concatenate([masks[clip.name] for clip in clips])
    raw = np.concatenate(anomaly)
    scored = np.isfinite(raw)
    return Evaluation(
        published=frame_metrics(labels, np.concatenate(fill_and_smooth(anomaly))),
        conditional=frame_metrics(labels[scored], raw[scored]),
        conditional_frames=int(scored.sum()),
        frames=len(raw),
    )


def evaluate_online(
    nll: Callable[[Tensor], Floats],
    clips: Sequence[PoseClip],
    masks: Mapping[str, Labels],
    spec: WindowSpec,
    *,
    frame_rate_hz: float,
    tau_s: float = DEFAULT_TAU_S,
) -> OnlineEvaluation:
    """Score a test split as live cameras would.

    Args:
        nll: Scores windows ``(N, 2, T, 18)``.
        clips: The test clips.
        masks: Frame labels of every clip by name.
        spec: What a window is.
        frame_rate_hz: Frames per second of the video.
        tau_s: Time constant of the smoothing.

    Raises:
        DatasetError: A clip has no mask, or the other way round.
        ValueError: No frame of the split has a score.
    """
    _check_names(clips, masks)
    smoothed = []
    for clip in clips:
        footage = PoseFootage.of_clip(clip, frame_rate_hz, len(masks[clip.name]))
        windows = footage.windows(spec)
        smoothed.append(online_series(footage, windows, nll(windows.tensor), spec, tau_s=tau_s).smoothed)
    labels, anomaly = np.concatenate([masks[clip.name] for clip in clips]), np.concatenate(smoothed)
    scored = np.isfinite(anomaly)
    if not scored.any():
        raise ValueError("no frame of the split has a score")
    return OnlineEvaluation(
        published=frame_metrics(labels, np.where(scored, anomaly, anomaly[scored].min())),
        conditional=frame_metrics(labels[scored], anomaly[scored]),
        conditional_frames=int(scored.sum()),
    )


def middle_frame_scores(
    clip: PoseClip,
    frames: int,
    nll: Callable[[Tensor], Floats],
    spec: WindowSpec,
    *,
    frame_rate_hz: float,
    slicing: Slicing,
) -> Floats:
    """Give every window's score to its middle frame, the highest over people where they meet.

    Returns:
        Shape ``(frames,)``; nan where no window has its middle.
    """
    windows = clip_windows(clip, spec, frame_rate_hz=frame_rate_hz, slicing=slicing)
    middle = np.rint(spec.center_times(windows.end_times) * frame_rate_hz).astype(np.int64)
    scores = np.full(frames, np.nan)
    inside = middle < frames
    np.fmax.at(scores, middle[inside], nll(windows.tensor)[inside])
    return scores


def fill_and_smooth(anomaly: Sequence[Floats]) -> list[Floats]:
    """The published post-processing of frame scores.

    Frames without a score get the lowest score of the whole split, that is the most normal one; then every clip passes
    Gaussian filters of 1 to 6 frames in turn.

    Args:
        anomaly: For each clip ``(frames,)``, nan where there is no score.

    Raises:
        ValueError: No frame of the split has a score.
    """
    raw = np.concatenate(list(anomaly))
    if not np.isfinite(raw).any():
        raise ValueError("no frame of the split has a score")
    lowest = np.nanmin(raw)
    smoothed = []
    for clip in anomaly:
        scores = np.where(np.isnan(clip), lowest, clip)
        for deviation in _SMOOTHING:
            scores = gaussian_filter1d(scores, deviation)
        smoothed.append(scores)
    return smoothed


def people_counts(clips: Sequence[PoseClip], masks: Mapping[str, Labels]) -> Floats:
    """Number of people in every frame of the split: the baseline that looks at nobody's movement.

    Returns:
        Shape ``(all frames,)``, clips in the order given.

    Raises:
        DatasetError: A clip has no mask, or the other way round.
    """
    _check_names(clips, masks)
    counts = []
    for clip in clips:
        frames = np.concatenate([np.empty(0, np.int64), *(track.frames for track in clip.tracks)])
        length = len(masks[clip.name])
        counts.append(np.bincount(frames[frames < length], minlength=length).astype(np.float64))
    return np.concatenate(counts)


def _check_names(clips: Sequence[PoseClip], masks: Mapping[str, Labels]) -> None:
    alone = {clip.name for clip in clips} ^ set(masks)
    if alone:
        raise DatasetError(f"clips without a mask, or masks without a clip: {', '.join(sorted(alone)[:5])}")
