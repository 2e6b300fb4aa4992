"""Poses recorded from one camera, and how its frames would have been scored live."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.dataset import PoseClip
from model.online import OnlineFrameScore
from model.scorer import ScoredWindow
from model.smoothing import DEFAULT_GAP_S, DEFAULT_TAU_S
from pose.windows import Windows, WindowSpec, slice_track

Floats = NDArray[np.float64]

_TOLERANCE: Final = 1e-6
"""Grid steps by which a window may end after the sighting that completes it; capture times are floats."""


@dataclass(frozen=True, slots=True, eq=False)
class PoseTrack:
    """One person as a camera saw them.

    Attributes:
        track_id: The person's number.
        times: Shape ``(n,)``, capture times in seconds, strictly increasing.
        keypoints: Shape ``(n, 17, 3)``: COCO x, y in pixels and confidence.

    Example:
        >>> import torch
        >>> track = PoseTrack(1, np.array([0.0, 0.1]), torch.rand(2, 17, 3))
        >>> len(track.times)
        2
    """

    track_id: int
    times: Floats
    keypoints: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class PoseFootage:
    """One uninterrupted recording of a camera, as poses.

    Attributes:
        frame_times: Shape ``(F,)``, capture times of all frames in seconds, increasing, those without people included.
        tracks: All people in it, with times among `frame_times`.

    Example:
        >>> import torch
        >>> times = np.arange(30) / 15
        >>> footage = PoseFootage(times, (PoseTrack(1, times, torch.rand(30, 17, 3)),))
        >>> len(footage.windows(WindowSpec(length=8, rate_hz=15.0)))
        23
        >>> len(footage.between(0.0, 1.0).frame_times)
        15
    """

    frame_times: Floats
    tracks: tuple[PoseTrack, ...]

    @classmethod
    def of_clip(cls, clip: PoseClip, frame_rate_hz: float, frames: int | None = None) -> PoseFootage:
        """A clip of a data set on its own clock.

        Args:
            clip: The clip.
            frame_rate_hz: Frames per second of its video.
            frames: Frames of the video; if missing, the first is the first with a person and the last the last.
        """
        numbers = clip.frame_span() if frames is None else np.arange(frames)
        tracks = [PoseTrack(track.person, track.frames / frame_rate_hz, track.keypoints) for track in clip.tracks]
        return cls(numbers / frame_rate_hz, tuple(tracks))

    def between(self, start: float, stop: float) -> PoseFootage:
        """The piece with ``start <= time < stop``, as a recording of its own."""
        kept = (self.frame_times >= start) & (self.frame_times < stop)
        tracks = []
        for track in self.tracks:
            inside = slice(*np.searchsorted(track.times, [start, stop]).tolist())
            if len(track.times[inside]):
                tracks.append(PoseTrack(track.track_id, track.times[inside], track.keypoints[inside]))
        return PoseFootage(self.frame_times[kept], tuple(tracks))

    def windows(self, spec: WindowSpec, *, stride: int = 1) -> Windows:
        """All windows, track by track."""
        batches = [
            slice_track(track.track_id, track.times, track.keypoints, spec, stride=stride) for track in self.tracks
        ]
        return Windows.concatenate(batches) if batches else Windows.empty(spec)


@dataclass(frozen=True, slots=True, eq=False)
class OnlineSeries:
    """Scores of all frames as they would have been published.

    Attributes:
        raw: Shape ``(F,)``, highest raw score over people; nan where nobody is scored.
        smoothed: Shape ``(F,)``, the same smoothed causally.

    Example:
        >>> OnlineSeries(raw=np.array([np.nan, 1.0]), smoothed=np.array([np.nan, 0.8])).smoothed.tolist()
        [nan, 0.8]
    """

    raw: Floats
    smoothed: Floats


def online_series(
    footage: PoseFootage,
    windows: Windows,
    scores: Floats,
    spec: WindowSpec,
    *,
    tau_s: float = DEFAULT_TAU_S,
    gap_s: float = DEFAULT_GAP_S,
) -> OnlineSeries:
    """Replay a recording through the frame rule of live cameras.

    A window is known from the moment its person is first seen at or after its end, as in a `WindowBuffer`.

    Args:
        footage: The recording.
        windows: Its windows at stride 1, as `PoseFootage.windows` gives them.
        scores: Shape ``(N,)``, the raw score of each window.
        spec: What a window is.
        tau_s: Time constant of the smoothing, seconds.
        gap_s: See `OnlineFrameScore`.
    """
    known_from = _known_from(footage.tracks, windows, spec)
    order = np.argsort(known_from, kind="stable")
    columns = (known_from[order], windows.track_ids[order], windows.end_times[order], scores[order])
    waiting = list(zip(*(column.tolist() for column in columns), strict=True))[::-1]
    online = OnlineFrameScore(spec, tau_s, gap_s)
    raw, smoothed = [], []
    for time in footage.frame_times.tolist():
        while waiting and waiting[-1][0] <= time:
            _, track, end, value = waiting.pop()
            online.add(ScoredWindow(track, end, math.nan, value, math.nan, {}))
        score = online.frame(time)
        raw.append(score.raw)
        smoothed.append(score.smoothed)
    return OnlineSeries(np.array(raw, np.float64), np.array(smoothed, np.float64))


def _known_from(tracks: Sequence[PoseTrack], windows: Windows, spec: WindowSpec) -> Floats:
    known = np.empty(len(windows))
    for track in tracks:
        own = windows.track_ids == track.track_id
        known[own] = track.times[np.searchsorted(track.times, windows.end_times[own] - _TOLERANCE / spec.rate_hz)]
    return known
