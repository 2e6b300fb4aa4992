"""The frame rule of live cameras: the score of a frame at the moment it is seen.

A frame of a clip can wait for the windows around it; a live frame cannot. It uses the newest window of every person
that ended at or before it, at most `WindowSpec.max_gap_s` ago. Its raw score is the highest of those windows, and its
score is the raw score smoothed causally. Evaluation's online mode, calibration and the live engine all score frames by
`OnlineFrameScore`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.scorer import ScoredWindow
from model.smoothing import DEFAULT_GAP_S, DEFAULT_TAU_S, CausalSmoother
from pose.windows import WindowSpec

Floats = NDArray[np.float64]

_TOLERANCE: Final = 1e-6
"""Grid steps by which a window may end after its frame; capture times are floats."""


@dataclass(frozen=True, slots=True)
class OnlineScore:
    """One frame of one camera.

    Attributes:
        raw: Highest `ScoredWindow.raw` over people; nan where nobody is scored.
        smoothed: The same, smoothed causally; nan where nobody is scored.
        nll: Highest negative log-likelihood over people, bits per dimension; nan where nobody is scored.
        people: The window that gives each scored person's score, by track number; a person who was lost less than
            `WindowSpec.max_gap_s` ago is still included.

    Example:
        >>> OnlineScore(raw=math.nan, smoothed=math.nan, nll=math.nan, people={}).people
        {}
    """

    raw: float
    smoothed: float
    nll: float
    people: Mapping[int, ScoredWindow]


class OnlineFrameScore:
    """The frame rule for one camera: add the complete windows, then score the frame.

    Args:
        spec: What a window is.
        tau_s: Time constant of the smoothing, seconds.
        gap_s: Smoothing starts anew after this many seconds without a scored person.

    Example:
        >>> frames = OnlineFrameScore(WindowSpec(length=8, rate_hz=15.0), tau_s=0.0)
        >>> frames.add(ScoredWindow(track_id=7, end_time=1.0, nll=0.4, raw=3.0, level=0.9, parts={"pose": 0.9}))
        >>> frames.frame(1.0).raw
        3.0
    """

    def __init__(self, spec: WindowSpec, tau_s: float = DEFAULT_TAU_S, gap_s: float = DEFAULT_GAP_S) -> None:
        self._tolerance = _TOLERANCE / spec.rate_hz
        self._max_age = spec.max_gap_s + self._tolerance
        self._smoother = CausalSmoother(tau_s, gap_s)
        self._newest: dict[int, ScoredWindow] = {}
        self._time = -math.inf

    def add(self, window: ScoredWindow) -> None:
        """Add a window; one that is older than the person's newest, or without a finite score, changes nothing."""
        known = self._newest.get(window.track_id)
        if math.isfinite(window.raw) and (known is None or window.end_time >= known.end_time):
            self._newest[window.track_id] = window

    def frame(self, time: float) -> OnlineScore:
        """Score the next frame, when all windows of poses up to it have been added.

        Args:
            time: Capture time in seconds, on the clock of the windows.

        Raises:
            ValueError: The frame is earlier than the last one, or a window ends after it.
        """
        if time < self._time:
            raise ValueError(f"frames run backwards, from {self._time} to {time}")
        self._time = time
        people = {track: window for track, window in self._newest.items() if time - window.end_time <= self._max_age}
        self._newest = people
        early = [window.end_time for window in people.values() if window.end_time > time + self._tolerance]
        if early:
            raise ValueError(f"a window ends at {max(early)}, after the frame at {time}")
        raw = max((window.raw for window in people.values()), default=math.nan)
        nll = max((window.nll for window in people.values()), default=math.nan)
        return OnlineScore(raw, self._smoother.update(time, raw), nll, people.copy())


class HeldScore:
    """The highest level that a series has held for a minimum duration, as it grows.

    If an alarm requires a series to stay at or above a threshold for `min_duration_s`, it is raised at the first moment
    at which this value is at or above the threshold.

    Args:
        min_duration_s: Seconds; with 0 every value is held at once.

    Example:
        >>> score = HeldScore(min_duration_s=0.2)
        >>> [score.update(time / 10, value) for time, value in enumerate([5.0, 3.0, 4.0, 9.0])]
        [nan, nan, 3.0, 3.0]
    """

    def __init__(self, min_duration_s: float) -> None:
        self._min_duration_s = min_duration_s
        # Of the shortest stretch that is long enough: all moments, and the values that nothing lower has followed.
        self._moments: deque[float] = deque()
        self._lowest: deque[tuple[float, float]] = deque()

    def update(self, time: float, value: float) -> float:
        """Take the next value.

        Args:
            time: Seconds, not before the last.
            value: nan where there is none, which ends a stretch.

        Returns:
            The lowest value of the shortest stretch that ends here and lasts `min_duration_s`; nan where no unbroken
            stretch lasts so long.
        """
        if math.isnan(value):
            self._moments.clear()
            self._lowest.clear()
            return math.nan
        while self._lowest and self._lowest[-1][1] >= value:
            self._lowest.pop()
        self._lowest.append((time, value))
        self._moments.append(time)
        while len(self._moments) > 1 and time - self._moments[1] >= self._min_duration_s:
            self._moments.popleft()
        while self._lowest[0][0] < self._moments[0]:
            self._lowest.popleft()
        return self._lowest[0][1] if time - self._moments[0] >= self._min_duration_s else math.nan


def held(values: Floats, times: Floats, min_duration_s: float) -> Floats:
    """A whole series through `HeldScore`.

    Args:
        values: Shape ``(n,)``; nan where there is none.
        times: Shape ``(n,)``, seconds, increasing.
        min_duration_s: Seconds; 0 returns `values`.

    Returns:
        Shape ``(n,)``.
    """
    score = HeldScore(min_duration_s)
    series = zip(times.tolist(), values.tolist(), strict=True)
    return np.array([score.update(time, value) for time, value in series], np.float64)
