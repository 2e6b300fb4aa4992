"""Identity over time: who in this frame is who of the frames before, one tracker for each stream.

Frames that follow each other closely are matched by ByteTrack (Zhang et al., ECCV 2022), which compares boxes from
frame to frame. At lower rates boxes of one person no longer overlap: then people are matched by the place where they
should be now, by the overlap of the boxes moved there and by their poses, in body heights and seconds of capture time.
The frame rate may be anything and may change.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import chain
from types import SimpleNamespace
from typing import Final

import lap
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pose.boxes import area, intersection, iou
from pose.estimator import Poses
from pose.frame_times import usual_step
from pose.skeleton import COCO_JOINTS

Floats = NDArray[np.float64]

LOST_S: Final = 3.0
"""Seconds for which a person who is out of sight keeps the track number, unless the tracker is told otherwise."""

_HIGH_CONFIDENCE: Final = 0.25
_LOW_CONFIDENCE: Final = 0.1
"""ByteTrack's thresholds as Ultralytics ships them: the first starts tracks, the second only keeps them alive."""

_IDX: Final = 7
_ID: Final = 4
"""Columns of what ByteTrack returns."""

_SEEN: Final = 0.3
"""Confidence from which a joint counts as seen."""

_FAST_S: Final = 1 / 12
_SLOW_S: Final = 1 / 11
"""Median gaps between frames, in seconds: up to the first ByteTrack decides, beyond the second motion does, and between
them whatever did before. ByteTrack loses more people (6 against 3 a minute in the small world at 10 frames a second).
At full rate, however, what it loses tells fights from other people who are close: 51 % of fights are found at 4 % of
the other clips, against 36 % if motion decides. At 5 frames a second it loses one in four of those who fall."""

_GAPS: Final = 9
"""Gaps of which the median is taken: one pause, or one wrong time stamp, changes no rate."""

_MATCH_COST: Final = 0.8
"""ByteTrack's highest cost of a match, as Ultralytics ships it."""

_OVERLAP_LOST_S: Final = 1.0
"""Seconds for which ByteTrack remembers a person out of sight."""

_LEAST: Final = 0.12
_LEAST_FAINT: Final = 0.27
_LEAST_LOST: Final = 0.4
"""Least similarity in 0..1 of a match: with somebody of the last frame, the same by a faint detection, and with
somebody who was out of sight."""

_ACCELERATION: Final = 3.0
"""Standard deviation of a person's acceleration, in body heights per second squared."""

_ERROR: Final = 0.04
"""Standard deviation of the middle of a box, in body heights."""

_SPEED: Final = 1.0
"""Standard deviation of the speed of somebody new, in body heights per second."""

_CALM_S: Final = 1.0
"""Time constant in seconds with which the speed of somebody unseen is expected to decay: people stop and turn."""

_LIMBS: Final = 0.2
"""Standard deviation of a joint's speed against the body, in body heights per second."""

_FARTHEST: Final = 5.0
"""Standard deviations from the expected place beyond which nobody is the same person."""

_JOINTS: Final = 4
"""Fewest joints seen both times for poses to be compared; below, the boxes decide alone."""

_LEAST_RATIO: Final = 0.35
_LIKE_RATIO: Final = 0.7
"""Ratio of two body heights from which people can be the same, and from which it counts no more."""

_SHRINK: Final = 0.1
"""Share by which a remembered body height follows a smaller one at each sighting; a larger one counts at once."""

_SAME_COVER: Final = 0.6
_SAME_JOINT: Final = 0.08
_SAME_SHARE: Final = 0.5
"""Two detections are one person found twice if the smaller box is covered by this much and more than this share of the
joints are closer than so many body heights."""

_GHOST_S: Final = 0.5
"""A track lost for less than this that should be where an older track is has been that person's shadow."""

_BORDER: Final = 0.01
"""Share of the picture's side within which a box touches its border."""

_GONE_S: Final = 0.3
"""Seconds after which a person who was last seen leaving the picture has left: who comes in next is somebody else."""

_NAMES: Final = ("nose", "eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_FALLOFF: Final = dict(zip(_NAMES, (0.026, 0.025, 0.035, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089), strict=True))
_TOLERANCE: Final = np.array([_FALLOFF[joint.rpartition("_")[2]] for joint in COCO_JOINTS])
"""COCO's falloff of each joint for object keypoint similarity (OKS), in roots of the person's area, which is about half
a body height squared; OKS takes twice of it."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackedPoses:
    """People of one frame, each with the number of a track.

    Attributes:
        track_ids: Numbers of the tracks, different within the frame.
        boxes: Shape ``(M, 4)``: left, top, right, bottom in pixels, on the CPU.
        keypoints: Shape ``(M, 17, 3)`` on the estimator's device: COCO x, y in pixels and confidence.

    Example:
        >>> import torch
        >>> people = TrackedPoses([4, 7], np.zeros((2, 4)), torch.zeros(2, 17, 3))
        >>> len(people), people.track_ids
        (2, [4, 7])
    """

    track_ids: list[int]
    boxes: NDArray[np.float32]
    keypoints: Tensor

    def __len__(self) -> int:
        return len(self.track_ids)


class Tracker:
    """Follows people through the frames of one stream.

    A new stream needs a new tracker. Tracks are numbered in order of appearance, independently of other trackers in the
    process. Both ways of matching see every frame, so that a number is kept when the frame rate changes.

    Args:
        lost_s: Seconds for which a person who is out of sight keeps the track number; ByteTrack remembers for at most
            one.
        first: Number of the first track.

    Raises:
        ValueError: `lost_s` is not a positive number.

    Example:
        >>> import torch
        >>> tracker = Tracker()
        >>> standing = Poses(torch.tensor([[10.0, 10.0, 50.0, 110.0]]), torch.ones(1, 17, 3), torch.tensor([0.9]))
        >>> [tracker.update(standing, (480, 640), frame / 15).track_ids for frame in range(3)]
        [[1], [1], [1]]
    """

    def __init__(self, *, lost_s: float = LOST_S, first: int = 1) -> None:
        if not (math.isfinite(lost_s) and lost_s > 0):
            raise ValueError(f"lost_s must be a positive number, got {lost_s}")
        self._lost_s = lost_s
        self._next = first
        self._time = -math.inf
        self._gaps: deque[float] = deque(maxlen=_GAPS)
        self._fast = True
        self._overlap, self._motion = _ByOverlap(lost_s), _ByMotion(lost_s)
        self._numbers: tuple[dict[int, int], dict[int, int]] = {}, {}

    @property
    def next_number(self) -> int:
        """Number that the next new track will get."""
        return self._next

    def update(self, poses: Poses, image_shape: tuple[int, int], time_s: float) -> TrackedPoses:
        """Give the people of the next frame their numbers.

        Args:
            poses: What the estimator found.
            image_shape: Height and width of the picture in pixels.
            time_s: Capture time in seconds, after that of the last frame.

        Returns:
            The people with a track; the rest of `poses` is left out, such as a person found twice.

        Raises:
            ValueError: The time is not finite, or not after that of the last frame.
        """
        if not (math.isfinite(time_s) and time_s > self._time):
            raise ValueError(f"capture times must be finite and increase; {time_s} s follows {self._time} s")
        if math.isfinite(self._time):
            self._gaps.append(time_s - self._time)
        usual = usual_step(self._gaps, 0.0)
        self._fast = usual <= (_SLOW_S if self._fast else _FAST_S)
        if time_s - self._time > self._overlap.lost_s:
            # ByteTrack counts frames, so a gap without any is no time to it. Motion forgets by the clock.
            self._overlap = _ByOverlap(self._lost_s)
            self._numbers[0].clear()
        self._time = time_s
        boxes = poses.boxes.cpu().numpy()
        confidences = poses.confidences.cpu().numpy()
        tracks = (
            self._overlap.update(boxes, confidences, image_shape, usual),
            self._motion.update(_Found.of(boxes, poses.keypoints.cpu().numpy(), confidences), image_shape, time_s),
        )
        rows, numbers = self._number(tracks)
        return TrackedPoses(numbers, boxes[rows], poses.keypoints[rows])

    def _number(self, tracks: tuple[dict[int, int], dict[int, int]]) -> tuple[list[int], list[int]]:
        """Detections and their numbers, from the detections of the tracks of both ways of matching."""
        used, other = (0, 1) if self._fast else (1, 0)
        known, following = self._numbers[used], self._numbers[other]
        taken = {known[track] for track in tracks[used] if track in known}
        elsewhere = {row: following[track] for track, row in tracks[other].items() if track in following}
        for track, row in tracks[used].items():
            if track in known:
                continue
            number = elsewhere.get(row)
            # A track that the way in use has lost keeps its number as long as it may come back.
            if number is None or number in taken or number in known.values():
                number, self._next = self._next, self._next + 1
            known[track] = number
            taken.add(number)
        by_row = {row: known[track] for track, row in tracks[used].items()}
        following |= {track: by_row[row] for track, row in tracks[other].items() if row in by_row}
        for numbers, alive in zip(self._numbers, (self._overlap.alive, self._motion.alive), strict=True):
            for track in numbers.keys() - alive:
                del numbers[track]
        rows = list(by_row)
        return rows, [by_row[row] for row in rows]


class _ByOverlap:
    """ByteTrack: matches people by the overlap of their boxes from frame to frame.

    Args:
        lost_s: Seconds for which a person who is out of sight is remembered, at most one.

    Attributes:
        lost_s: The same, limited to one.
    """

    def __init__(self, lost_s: float) -> None:
        from ultralytics.trackers.byte_tracker import BYTETracker

        self.lost_s = min(lost_s, _OVERLAP_LOST_S)
        self._tracker = BYTETracker(
            SimpleNamespace(
                track_high_thresh=_HIGH_CONFIDENCE,
                track_low_thresh=_LOW_CONFIDENCE,
                new_track_thresh=_HIGH_CONFIDENCE,
                track_buffer=1,
                match_thresh=_MATCH_COST,
                fuse_score=True,
            )
        )

    @property
    def alive(self) -> set[int]:
        """Numbers of the tracks that may go on."""
        return {track.track_id for track in chain(self._tracker.tracked_stracks, self._tracker.lost_stracks)}

    def update(
        self,
        boxes: NDArray[np.float32],
        confidences: NDArray[np.float32],
        image_shape: tuple[int, int],
        gap_s: float,
    ) -> dict[int, int]:
        """The tracks that are seen in the next frame, each with its detection; `gap_s` lies between two frames."""
        from ultralytics.engine.results import Boxes

        self._tracker.max_frames_lost = max(1, round(self.lost_s / gap_s)) if gap_s else 1
        classes = np.zeros_like(confidences)
        found = Boxes(np.column_stack([boxes, confidences, classes]).reshape(-1, 6), image_shape)
        tracks = self._tracker.update(found)
        return {int(track[_ID]): int(track[_IDX]) for track in tracks}


class _ByMotion:
    """Matches people by where they should be now, by boxes and by poses.

    The middle of a person moves by a Kalman filter with a speed that decays (Singer, IEEE Trans. Aerosp. Electron.
    Syst. 6, 1970); its time step is the true gap between two frames. Confident detections are matched before faint
    ones, as in ByteTrack, and people who were in the last frame before people who are out of sight.

    Args:
        lost_s: Seconds for which a person who is out of sight is remembered.
    """

    def __init__(self, lost_s: float) -> None:
        self._lost_s = lost_s
        self._next = 1
        self._time = -math.inf
        self._people = _People.none()

    @property
    def alive(self) -> set[int]:
        """Numbers of the tracks that may go on."""
        return set(self._people.number.tolist())

    def update(self, found: _Found, image_shape: tuple[int, int], time_s: float) -> dict[int, int]:
        """The tracks that are seen in the next frame, each with its detection."""
        first = not math.isfinite(self._time)
        gap = 0.0 if first else time_s - self._time
        self._time = time_s
        people = self._people
        memory = np.where(people.sightings > 1, self._lost_s, min(1.5 * gap, self._lost_s))
        people.keep(time_s - people.seen_at <= memory + 1e-6)
        people.move(gap)
        left = people.leaving(image_shape) & (time_s - people.seen_at > max(_GONE_S, gap + 1e-6))
        people.keep(~left)

        owners = self._match(found, _repeated(found), time_s, gap)
        matched = np.flatnonzero(owners >= 0)
        people.see(owners[matched], found, matched, time_s)
        fresh = np.flatnonzero((owners == _NOBODY) & (found.confidence >= _HIGH_CONFIDENCE))
        owners[fresh] = people.add(found, fresh, self._next, time_s)
        self._next += len(fresh)
        owners = self._without_ghosts(owners, time_s)

        rows = np.flatnonzero(owners >= 0)
        if not first:
            rows = rows[people.sightings[owners[rows]] > 1]
        return dict(zip(people.number[owners[rows]].tolist(), rows.tolist(), strict=True))

    def _match(self, found: _Found, repeated: NDArray[np.bool_], time_s: float, gap: float) -> NDArray[np.int64]:
        """For each detection the row of its person, `_NOBODY`, or `_REPEATED`."""
        people = self._people
        owners = np.where(repeated, _REPEATED, _NOBODY)
        similarity = _similarity(people, found, time_s)
        high = found.confidence >= _HIGH_CONFIDENCE
        faint = ~high & (found.confidence >= _LOW_CONFIDENCE)
        recent = time_s - people.seen_at <= gap + 1e-6
        known = people.sightings > 1
        for group, detections, least in (
            (recent & known, high, _LEAST),
            (recent & known, faint, _LEAST_FAINT),
            (~recent & known, high, _LEAST_LOST),
            (~known, high, _LEAST),
        ):
            rows = np.flatnonzero(detections & (owners == _NOBODY))
            free = np.setdiff1d(np.flatnonzero(group), owners)
            if len(rows) and len(free):
                cost = 1 - similarity[np.ix_(free, rows)]
                _, chosen, _ = lap.lapjv(cost, extend_cost=True, cost_limit=1 - least)
                taken = chosen >= 0
                owners[rows[chosen[taken]]] = free[taken]
        return owners

    def _without_ghosts(self, owners: NDArray[np.int64], time_s: float) -> NDArray[np.int64]:
        """Forget lost tracks that have been the shadow of an older one; returns the owners renumbered."""
        people = self._people
        present = np.flatnonzero(people.seen_at >= time_s)
        lost = np.flatnonzero((people.seen_at < time_s) & (time_s - people.seen_at < _GHOST_S))
        if not len(present) or not len(lost):
            return owners
        boxes, joints = people.expected()
        ghosts = np.zeros(len(people.number), bool)
        for row in lost.tolist():
            older = present[people.number[present] < people.number[row]]
            ghosts[row] = _same(boxes[row], joints[row], boxes[older], joints[older]).any()
        people.keep(~ghosts)
        return np.where(owners >= 0, (np.cumsum(~ghosts) - 1)[owners], owners)


_NOBODY: Final = -1
_REPEATED: Final = -2


@dataclass(slots=True, eq=False)
class _Found:
    """The detections of a frame: boxes ``(N, 4)``, their middles and sizes ``(N, 2)``, joints ``(N, 17, 3)``."""

    box: Floats
    middle: Floats
    size: Floats
    joints: Floats
    confidence: Floats

    @classmethod
    def of(cls, boxes: NDArray[np.float32], keypoints: NDArray[np.float32], confidences: NDArray[np.float32]) -> _Found:
        box = boxes.astype(np.float64)
        size = np.maximum(box[:, 2:] - box[:, :2], 1.0)
        return cls(
            box, (box[:, :2] + box[:, 2:]) / 2, size, keypoints.astype(np.float64), confidences.astype(np.float64)
        )


@dataclass(slots=True, eq=False)
class _People:
    """Everybody who is followed, a row each.

    Attributes:
        number: Track numbers.
        sightings: How often each was found.
        seen_at: When each was found last.
        state: Shape ``(T, 2, 2)``: of x and y the place of the box's middle in pixels, and its speed per second.
        spread: Shape ``(T, 2, 2)``: covariance of place and speed, the same for x and y.
        middle: Shape ``(T, 2)``: middle of the last box.
        size: Shape ``(T, 2)``: width and height of the last box.
        height: Body heights in pixels: the longer side of the box, also of somebody who lies.
        joints: Shape ``(T, 17, 3)``: the last keypoints.
    """

    number: NDArray[np.int64]
    sightings: NDArray[np.int64]
    seen_at: Floats
    state: Floats
    spread: Floats
    middle: Floats
    size: Floats
    height: Floats
    joints: Floats

    @classmethod
    def none(cls) -> _People:
        counts, pairs = np.zeros(0, np.int64), np.zeros((0, 2))
        matrices, joints = np.zeros((0, 2, 2)), np.zeros((0, len(COCO_JOINTS), 3))
        return cls(counts, counts, np.zeros(0), matrices, matrices, pairs, pairs, np.zeros(0), joints)

    def keep(self, rows: NDArray[np.bool_]) -> None:
        if rows.all():
            return
        for name in self.__slots__:
            setattr(self, name, getattr(self, name)[rows])

    def add(self, found: _Found, rows: NDArray[np.int64], first: int, time_s: float) -> NDArray[np.int64]:
        """Begin to follow some detections; returns the rows of the new people."""
        count, before = len(rows), len(self.number)
        height = found.size[rows].max(axis=1)
        state = np.stack([found.middle[rows], np.zeros((count, 2))], axis=2)
        spread = np.zeros((count, 2, 2))
        spread[:, 0, 0], spread[:, 1, 1] = (_ERROR * height) ** 2, (_SPEED * height) ** 2
        new = _People(
            number=np.arange(first, first + count),
            sightings=np.ones(count, np.int64),
            seen_at=np.full(count, time_s),
            state=state,
            spread=spread,
            middle=found.middle[rows],
            size=found.size[rows],
            height=height,
            joints=found.joints[rows],
        )
        for name in self.__slots__:
            setattr(self, name, np.concatenate([getattr(self, name), getattr(new, name)]))
        return np.arange(before, before + count)

    def move(self, gap: float) -> None:
        """Where everybody should be after some seconds."""
        if not gap > 0:
            return
        remaining = math.exp(-gap / _CALM_S)
        step = np.array([[1.0, _CALM_S * (1 - remaining)], [0.0, remaining]])
        noise = np.array([[gap**3 / 3, gap**2 / 2], [gap**2 / 2, gap]])
        self.state = self.state @ step.T
        self.spread = step @ self.spread @ step.T + ((_ACCELERATION * self.height) ** 2)[:, None, None] * noise

    def see(self, rows: NDArray[np.int64], found: _Found, detections: NDArray[np.int64], time_s: float) -> None:
        """Correct the state of some people by their detections."""
        spread = self.spread[rows]
        gain = spread[:, :, 0] / (spread[:, 0, 0] + (_ERROR * self.height[rows]) ** 2)[:, None]
        away = found.middle[detections] - self.state[rows, :, 0]
        self.state[rows] += away[:, :, None] * gain[:, None, :]
        self.spread[rows] = spread - gain[:, :, None] * spread[:, :1, :]
        size = found.size[detections]
        tall, known = size.max(axis=1), self.height[rows]
        self.height[rows] = np.where(tall > known, tall, known + _SHRINK * (tall - known))
        self.middle[rows], self.size[rows] = found.middle[detections], size
        self.joints[rows] = found.joints[detections]
        self.sightings[rows] += 1
        self.seen_at[rows] = time_s

    def expected(self) -> tuple[Floats, Floats]:
        """The last boxes and joints, moved to where the people should be now."""
        place = self.state[:, :, 0]
        joints = self.joints.copy()
        joints[:, :, :2] += (place - self.middle)[:, None]
        return np.concatenate([place - self.size / 2, place + self.size / 2], axis=1), joints

    def leaving(self, image_shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Who was last seen moving out of the picture, or should be outside by now."""
        picture = np.array(image_shape[::-1], np.float64)
        place, speed = self.state[:, :, 0], self.state[:, :, 1]
        low = (self.middle - self.size / 2 <= _BORDER * picture) & (speed <= 0)
        high = (self.middle + self.size / 2 >= (1 - _BORDER) * picture) & (speed >= 0)
        # A body that stands is often cut by the lower or upper border; who stays there has not left.
        low[:, 1] &= speed[:, 1] < 0
        high[:, 1] &= speed[:, 1] > 0
        outside = (place < 0) | (place > picture)
        return np.asarray((low | high | outside).any(axis=1))


def _similarity(people: _People, found: _Found, time_s: float) -> Floats:
    """How alike everybody who is followed and every detection are, shape ``(T, N)``, in 0..1."""
    if not len(people.number) or not len(found.box):
        return np.zeros((len(people.number), len(found.box)))
    height, place = people.height[:, None], people.state[:, :, 0]
    variance = people.spread[:, 0, 0][:, None]
    away = ((found.middle - place[:, None]) ** 2).sum(axis=-1)
    distance = away / (variance + 2 * (2 * _ERROR * height) ** 2)
    boxes, joints = people.expected()
    overlap = iou(boxes[:, None], found.box)
    both = (joints[:, None, :, 2] >= _SEEN) & (found.joints[:, :, 2] >= _SEEN)
    apart = ((found.joints[:, :, :2] - joints[:, None, :, :2]) ** 2).sum(axis=-1)
    limbs = (_LIMBS * (time_s - people.seen_at)[:, None] * height) ** 2 + variance
    alike = np.exp(-0.5 * apart / ((_TOLERANCE * height) ** 2 + limbs)[:, None])
    count = both.sum(axis=-1)
    pose = np.where(count >= _JOINTS, (alike * both).sum(axis=-1) / np.maximum(count, 1), overlap)
    near = np.maximum(overlap, 0.5 * np.exp(-0.25 * distance))
    tall = found.size.max(axis=1)
    ratio = np.minimum(tall / height, height / tall)
    sized = ((ratio - _LEAST_RATIO) / (_LIKE_RATIO - _LEAST_RATIO)).clip(0.0, 1.0)
    similarity = np.where(distance <= _FARTHEST**2, sized * (pose + near) / 2, 0.0)
    return np.nan_to_num(similarity, copy=False)


def _repeated(found: _Found) -> NDArray[np.bool_]:
    """Which detections are a person who was found twice; the one with the highest confidence stays."""
    repeated = np.zeros(len(found.box), bool)
    kept: list[int] = []
    for row in np.argsort(-found.confidence, kind="stable").tolist():
        if kept and _same(found.box[row], found.joints[row], found.box[kept], found.joints[kept]).any():
            repeated[row] = True
        else:
            kept.append(row)
    return repeated


def _same(box: Floats, joints: Floats, boxes: Floats, others: Floats) -> NDArray[np.bool_]:
    """Whether each of some others ``(K, 4)``, ``(K, 17, 3)`` is the same person at the same moment."""
    shared, own = intersection(boxes, box), area(box)
    cover = shared / np.minimum(area(boxes), own).clip(1e-9)
    both = (joints[:, 2] >= _SEEN) & (others[:, :, 2] >= _SEEN)
    tall = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(axis=1), (box[2:] - box[:2]).max())
    close = np.linalg.norm(others[:, :, :2] - joints[:, :2], axis=2) < _SAME_JOINT * tall[:, None]
    count = both.sum(axis=1)
    agree = np.where(count >= _JOINTS, (close & both).sum(axis=1) / np.maximum(count, 1), iou(boxes, box))
    return np.asarray((cover > _SAME_COVER) & (agree > _SAME_SHARE))
