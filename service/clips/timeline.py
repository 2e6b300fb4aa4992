"""Joins frames, window scores and named behaviours into the scores of frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.behaviours import Behaviours, Finding, Kind
from model.behaviours.calibration import Usual
from model.frames import frame_scores_of_track
from model.scorer import Scorer, WindowScores
from pose.tracker import TrackedPoses
from pose.unseen import LEAST_JOINTS
from pose.windows import WindowBuffer, Windows, WindowSpec
from service.clips.anomalies import Fired
from service.documents.base import MissingScore
from service.documents.kinds import explained, fires, firing_by_track, scores_by_track
from service.documents.results import ClipInfo, FrameScore, PersonScore, Track
from service.scoring.reasons import reason_of

_LEVEL_DIGITS: Final = 9
"""Digits of a level. It is compared with the threshold after rounding, so thresholds of very few false alarms need many
digits."""

_TIME_DIGITS: Final = 6


class Timeline:
    """Joins frames, window scores and named behaviours; hands over a frame once its scores are final.

    Args:
        spec: What a window is.
        keypoints: Whether the scores carry the joints.
        usual: What is usual on the camera that made the clip, by behaviour; empty if that is not known.
    """

    def __init__(self, spec: WindowSpec, *, keypoints: bool, usual: Mapping[Kind, Usual] | None = None) -> None:
        self._spec = spec
        self._keypoints = keypoints
        self._usual = usual or {}
        self._waiting: deque[_Waiting] = deque()
        self._history: dict[int, _TrackHistory] = {}
        self._last_time: float | None = None
        # A window over a frame ends at most this much later, and is complete when the person is next seen after that.
        self._horizon = spec.duration_s + spec.max_gap_s + 1 / spec.rate_hz

    def add_frame(self, sequence: int, time: float, people: TrackedPoses, findings: Iterable[Finding] = ()) -> None:
        """Append the next frame: its number, its time in seconds, its people, and what the behaviours see in it."""
        findings = list(findings)
        firing = firing_by_track(findings, self._usual)
        self._waiting.append(_Waiting(sequence, time, people, scores_by_track(findings), firing))
        for track in people.track_ids:
            history = self._history.setdefault(track, _TrackHistory(sequence, sequence))
            history.last_frame = sequence

    def add_scores(self, scores: WindowScores) -> None:
        """Add the scores of windows, for each track in order of time."""
        for i, track in enumerate(scores.track_ids.tolist()):
            parts = {name: float(values[i]) for name, values in scores.parts.items()}
            self._history[track].add(float(scores.end_times[i]), float(scores.nll[i]), float(scores.level[i]), parts)

    def settle(self, scored_until: float) -> list[FrameScore]:
        """Hand over the frames that are final once all windows of frames up to `scored_until` seconds are scored."""
        ready = []
        while self._waiting and self._waiting[0].time + self._horizon <= scored_until:
            ready.append(self._waiting.popleft())
        if not ready:
            return []
        rows = self._person_rows(ready)
        frames = []
        for one in ready:
            persons = [
                self._person(one, i, rows.get((one.index, track))) for i, track in enumerate(one.people.track_ids)
            ]
            frames.append(self._frame(one, persons))
        for history in self._history.values():
            history.forget_before(ready[-1].time)
        return frames

    def tracks(self) -> list[Track]:
        """All people that were tracked, in order of appearance."""
        return [
            Track(
                id=track,
                first_frame=history.first_frame,
                last_frame=history.last_frame,
                windows=history.windows,
                peak_level=None if history.peak_level is None else round(history.peak_level, _LEVEL_DIGITS),
            )
            for track, history in sorted(self._history.items())
        ]

    def _person_rows(self, ready: Sequence[_Waiting]) -> dict[tuple[int, int], _Score]:
        seen: dict[int, list[tuple[int, float]]] = {}
        for one in ready:
            for track in one.people.track_ids:
                seen.setdefault(track, []).append((one.index, one.time))
        rows = {}
        for track, sightings in seen.items():
            history = self._history[track]
            if not history.end_times:
                continue
            times = np.array([time for _, time in sightings])
            chosen = self._chosen(times, history)
            for (index, _), window in zip(sightings, chosen, strict=True):
                if window is not None:
                    parts = {name: values[window] for name, values in history.parts.items()}
                    rows[index, track] = _Score(history.nll[window], history.level[window], parts)
        return rows

    def _chosen(self, times: NDArray[np.float64], history: _TrackHistory) -> Iterable[int | None]:
        numbers = np.arange(len(history.end_times), dtype=np.float64)
        chosen = frame_scores_of_track(times, np.array(history.end_times), numbers, self._spec)
        return [None if np.isnan(window) else int(window) for window in chosen]

    def _person(self, frame: _Waiting, i: int, score: _Score | None) -> PersonScore:
        people = frame.people
        left, top, right, bottom = (round(float(value), 2) for value in people.boxes[i])
        joints = None
        if self._keypoints:
            joints = [(round(x, 2), round(y, 2), round(c, 3)) for x, y, c in people.keypoints[i].tolist()]
        return PersonScore(
            track=people.track_ids[i],
            box=(left, top, right, bottom),
            keypoints=joints,
            score=None if score is None else round(score.nll, 5),
            level=None if score is None else round(score.level, _LEVEL_DIGITS),
            parts={} if score is None else {name: round(value, _LEVEL_DIGITS) for name, value in score.parts.items()},
            behaviours=frame.behaviours.get(people.track_ids[i], {}),
            firing=frame.firing.get(people.track_ids[i], []),
        )

    def _frame(self, frame: _Waiting, people: list[PersonScore]) -> FrameScore:
        interval = frame.time - self._last_time if self._last_time is not None else 0.0
        self._last_time = frame.time
        nll = [person.score for person in people if person.score is not None]
        levels = [person.level for person in people if person.level is not None]
        reason: MissingScore | None = None
        if not levels:
            reason = reason_of(frame.people, too_slow=interval > self._spec.max_gap_s)
        return FrameScore(
            index=frame.index,
            time_s=round(frame.time, _TIME_DIGITS),
            score=max(nll, default=None),
            level=max(levels, default=None),
            reason=reason,
            people=people,
        )


def explain_missing_scores(scores: Sequence[FrameScore], duration: float, spec: WindowSpec) -> list[str]:
    """Sentences that say why nobody in the clip could be scored; empty if somebody was.

    Args:
        scores: All frames, in order.
        duration: Duration of the clip in seconds.
        spec: Length and rate of a window.
    """
    if any(frame.level is not None for frame in scores):
        return []
    people = [frame for frame in scores if frame.people]
    if not people:
        return ["nobody was seen in the clip"]
    # The first frame has no frame before it.
    if 2 * sum(frame.reason == "frame_rate_too_low" for frame in people[1:]) > len(people[1:]):
        return [
            f"nobody could be scored: the frames lie further apart than the {spec.max_gap_s:g} s "
            "over which poses are interpolated"
        ]
    if 2 * sum(frame.reason == "too_few_joints" for frame in people) > len(people):
        return [f"nobody could be scored: fewer than {LEAST_JOINTS} joints of each person were seen"]
    window = f"{spec.length} points at {spec.rate_hz:g} per second, {spec.duration_s:.2f} s"
    if duration < spec.duration_s:
        return [f"nobody could be scored: the clip lasts {duration:.2f} s and is shorter than one window ({window})"]
    return [f"nobody could be scored: no person was followed without a break for a whole window ({window})"]


def explain_video(clip: ClipInfo) -> list[str]:
    """Sentences that say what is wrong with the video itself: pictures that are missing, a clock that jumps."""
    notes = []
    if clip.undecoded:
        stored = clip.frames + clip.undecoded
        notes.append(
            f"{clip.undecoded} of {stored} pictures could not be decoded; nothing that happened in them was seen"
        )
    if clip.clock_jumps:
        times = "once" if clip.clock_jumps == 1 else f"{clip.clock_jumps} times"
        notes.append(f"the clock of the video jumps {times}; a frame after a jump is placed right after the one before")
    return notes


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A frame whose scores are not final yet."""

    index: int
    time: float
    people: TrackedPoses
    behaviours: dict[int, dict[Kind, float]]
    """By track."""
    firing: dict[int, list[Kind]]
    """By track."""


@dataclass(frozen=True, slots=True)
class _Score:
    nll: float
    level: float
    parts: dict[str, float]


@dataclass(slots=True)
class _TrackHistory:
    """Windows of one person so far."""

    first_frame: int
    last_frame: int
    windows: int = 0
    peak_level: float | None = None
    end_times: list[float] = field(default_factory=list)
    nll: list[float] = field(default_factory=list)
    level: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)

    def add(self, end_time: float, nll: float, level: float, parts: dict[str, float]) -> None:
        self.windows += 1
        self.peak_level = level if self.peak_level is None else max(self.peak_level, level)
        self.end_times.append(end_time)
        self.nll.append(nll)
        self.level.append(level)
        for name, value in parts.items():
            self.parts.setdefault(name, []).append(value)

    def forget_before(self, time: float) -> None:
        """Drop windows that ended before `time`: no unsettled frame lies in them."""
        kept = next((i for i, end in enumerate(self.end_times) if end >= time), len(self.end_times))
        for values in (self.end_times, self.nll, self.level, *self.parts.values()):
            del values[:kept]


_SCORE_EVERY: Final = 16
"""Frames between two calls of the scorer; a call for many windows costs about as much as for one."""


class ClipScoring:
    """One clip while it is scored: takes tracked people frame by frame, hands over final scores of frames.

    Args:
        scorer: Scores windows of poses.
        behaviours: The named behaviours of this clip, before its first frame.
        device: Where the keypoints are.
        on_frame: Called with the scores of the next frame as soon as they are final.
        keypoints: Whether the scores carry the joints.
        usual: What is usual on the camera that made the clip, by behaviour; empty if that is not known.

    Attributes:
        timeline: The frames and tracks so far.
        fired: The findings so far whose behaviour fires.
    """

    def __init__(
        self,
        scorer: Scorer,
        behaviours: Behaviours,
        device: torch.device,
        on_frame: Callable[[FrameScore], None],
        *,
        keypoints: bool,
        usual: Mapping[Kind, Usual] | None = None,
    ) -> None:
        self.timeline = Timeline(scorer.spec, keypoints=keypoints, usual=usual)
        self._usual = usual or {}
        self.fired: list[Fired] = []
        self._scorer = scorer
        self._behaviours = behaviours
        self._buffer = WindowBuffer(scorer.spec, device)
        self._on_frame = on_frame
        self._windows: list[Windows] = []
        self._settled: list[FrameScore] = []
        self._waiting = 0
        self._newest = 0.0

    def add(self, sequence: int, time: float, people: TrackedPoses, size: tuple[int, int]) -> None:
        """Append the next frame.

        Args:
            sequence: Its number.
            time: Its presentation time in seconds.
            people: The people in it.
            size: Width and height of its picture in pixels.
        """
        times = np.full(len(people), time)
        self._windows.append(self._buffer.push(times, people.track_ids, people.keypoints))
        joints = people.keypoints.cpu().numpy()
        findings = self._behaviours.observe(time, people.track_ids, people.boxes, joints, size)
        self.timeline.add_frame(sequence, time, people, findings)
        self.fired += [
            Fired(round(time, _TIME_DIGITS), replace(one, saw=explained(one, self._usual)))
            for one in findings
            if fires(one, self._usual)
        ]
        self._waiting += 1
        self._newest = time

    def settle_some(self) -> None:
        """Score the waiting windows, if there are enough for a call of the scorer."""
        if self._waiting >= _SCORE_EVERY:
            self._settle(self._newest)

    def finish(self) -> list[FrameScore]:
        """Score what is left and return all frames, in order; no frame can be added after that."""
        self._settle(np.inf)
        return self._settled

    def _settle(self, scored_until: float) -> None:
        self._waiting = 0
        if self._windows:
            self.timeline.add_scores(self._scorer.score(Windows.concatenate(self._windows)))
            self._windows.clear()
        for frame in self.timeline.settle(scored_until):
            self._settled.append(frame)
            self._on_frame(frame)
