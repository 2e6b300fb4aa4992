"""What people do with their bodies over seconds, in body heights and seconds.

`Kinematics` follows the people of one camera on a time grid of `RATE_HZ`, whatever the frame rate is, and keeps the
last `HISTORY_S` seconds of each. Clips, live cameras and skeleton feeds use it alike. Lengths come in pixels and leave
as body heights, so that neither resolution nor distance matters; a person's height is estimated from the limbs that
were seen, and remembered while the body is foreshortened. A joint that was not seen counts nowhere, and every measure
that needs unseen joints is nan.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pose.boxes import iou
from pose.skeleton import COCO_JOINTS

Floats = NDArray[np.float64]

RATE_HZ: Final = 10.0
"""Moments per second. Human movement has little above 5 Hz (Winter, Biomechanics and Motor Control, 2009)."""

HISTORY_S: Final = 6.0
"""Seconds that are kept of each person."""

MOMENTS: Final = round(HISTORY_S * RATE_HZ)

SEEN: Final = 0.3
"""Confidence from which a joint counts as seen."""

MOST_GAP_S: Final = 0.6
"""Longest time between two sightings of a person that is bridged; at 2 frames per second there are 0.5 s."""

_HOLD_S: Final = 0.12
"""A joint with confidence 0 that was seen so recently moves with the rest of the body until it is seen again."""

_ADOPT_S: Final = 1.5
_ADOPT_H: Final = 0.6
"""A new track that begins so soon after and so near to where a person was lost, in seconds and body heights, is taken
for the same person: trackers lose people who fall, because their boxes change shape."""

_TWIN_IOU: Final = 0.5
"""A new track whose box overlaps that of a person in view by this much (intersection over union) also starts with the
past of that person: for a moment, trackers give one person two numbers and then keep the new one."""

_JUMP_H: Final = 0.15
_JUMP_H_S: Final = 4.0
_JUMP_SHARE: Final = 0.1
_JUMP_JOINTS: Final = 6
_JUMP_IOU: Final = 0.2
"""A skeleton has jumped to another person if all but this share of its joints moved further than this many body heights
plus so many a second, at least so many joints were seen both times, and the boxes overlap less. The feet of somebody
who falls stay behind."""

_FORGET_S: Final = 5.0

_TORSO: Final = 0.32
_THIGH: Final = 0.23
SHANK: Final = 0.22
"""Lengths in body heights, as in `pose.unseen`."""

_LENGTHS: Final = np.array([[_TORSO], [_THIGH], [SHANK]])

_HEIGHT_MEMORY_S: Final = 20.0
"""Time constant in seconds with which a remembered height shrinks towards the present estimate."""

_HEIGHT_UPRIGHT_S: Final = 1.0
"""The same while the whole body is in view and upright, as of somebody who walks away."""

_SHRINK: Final = math.exp(-1 / RATE_HZ / _HEIGHT_MEMORY_S)
_SHRINK_UPRIGHT: Final = math.exp(-1 / RATE_HZ / _HEIGHT_UPRIGHT_S)
"""What is left of a remembered height after one moment."""

_HEIGHT_STEP: Final = 0.3
"""Share of a larger estimate that is taken over at each moment."""

_BORDER: Final = 0.01
"""Share of the picture's side within which a box touches its border."""


class Measure(IntEnum):
    """Columns of `Bodies.past`. Places and lengths are in pixels, y downwards.

    Example:
        >>> Measure.TILT
        <Measure.TILT: 8>
    """

    HEAD_X = 0
    HEAD_Y = 1
    SHOULDER_X = 2
    SHOULDER_Y = 3
    HIP_X = 4
    HIP_Y = 5
    FOOT_X = 6
    FOOT_Y = 7
    """Mean of the ankles."""
    TILT = 8
    """Angle of the torso from upright in degrees: 0 upright, 90 horizontal, 180 upside down."""
    TORSO = 9
    """From hips to shoulders."""
    BOX_X = 10
    """Middle of the box."""
    BOX_Y = 11
    WIDTH = 12
    TALL = 13
    """Sides of the box."""
    STATURE = 14
    """Body height, estimated from all that was seen so far."""
    CUT = 15
    """1 where the box touches the lower border or a side of the picture; else 0."""
    LEFT_WRIST = 16
    RIGHT_WRIST = 17
    LEFT_ANKLE = 18
    RIGHT_ANKLE = 19
    """Speed of these joints against the torso, in pixels per second."""
    LEFT_WRIST_X = 20
    LEFT_WRIST_Y = 21
    RIGHT_WRIST_X = 22
    RIGHT_WRIST_Y = 23
    LEFT_ANKLE_X = 24
    LEFT_ANKLE_Y = 25
    RIGHT_ANKLE_X = 26
    RIGHT_ANKLE_Y = 27
    CONFIDENCE = 28
    """Mean confidence over the 17 joints."""
    JOINTS = 29
    """Number of joints that were seen."""
    KNEE_Y = 30


_COLUMNS: Final = len(Measure)

_BEHIND: Final = 10
"""People who are seen again after `MOST_GAP_S` fill moments at most this far behind the newest."""

_PAGE: Final = 2 * (MOMENTS + _BEHIND)
"""Moments of a page of the history."""

_NEVER: Final = int(np.iinfo(np.int64).min) // 2
"""Number of a moment before all others."""


def _joints(*names: str) -> list[int]:
    return [COCO_JOINTS.index(name) for name in names]


_POINTS: Final = (
    _joints("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    _joints("left_shoulder", "right_shoulder"),
    _joints("left_hip", "right_hip"),
    _joints("left_knee", "right_knee"),
    _joints("left_ankle", "right_ankle"),
)
"""Joints whose mean is a place of a person: head, shoulders, hips, knees and feet."""

_MEMBERS: Final = np.array([[float(joint in point) for point in _POINTS] for joint in range(len(COCO_JOINTS))])

_LIMBS: Final = np.array(_joints("left_wrist", "right_wrist", "left_ankle", "right_ankle"))


@dataclass(frozen=True, slots=True, eq=False)
class Bodies:
    """The people of a camera at one moment of the grid, and what they did before.

    Attributes:
        time: The moment in seconds, on the clock of the poses.
        track_ids: M track numbers.
        people: M numbers of the people themselves: they stay the same when the tracker renumbers somebody, and change
            when a track jumps to somebody else.
        remembered: Numbers of all people who may come back; who is not among them is forgotten.
        stature: Shape ``(M,)``: body heights in pixels.
        size: Width and height of the picture in pixels.
        history: Shape ``(MOMENTS, len(Measure), N)``: all measures of N people, these and others; the last moment is
            `time`. nan where nothing was seen. It stays as it is while these people are remembered.
        columns: M places of these people in `history`. Read `series` and `lengths` rather than both.

    Example:
        >>> pose, box = np.ones((1, 17, 3)) * [100.0, 200.0, 0.9], np.array([[90.0, 100.0, 110.0, 300.0]])
        >>> (bodies,) = Kinematics().observe(1.0, [7], box, pose, (640, 480))
        >>> bodies.series(Measure.BOX_Y, seconds=0.1).tolist()
        [[nan, 200.0]]
    """

    time: float
    track_ids: list[int]
    people: list[int]
    remembered: frozenset[int]
    stature: Floats
    size: tuple[int, int]
    history: Floats
    columns: NDArray[np.int64] | slice

    def __len__(self) -> int:
        return len(self.track_ids)

    @property
    def past(self) -> Floats:
        """All measures over all moments, shape ``(M, MOMENTS, len(Measure))``."""
        return self.history[:, :, self.columns].transpose(2, 0, 1)

    def series(self, measure: Measure, seconds: float = HISTORY_S) -> Floats:
        """One measure over the last seconds, shape ``(M, moments)``, the newest last."""
        return self.history[-moments(seconds) :, measure][:, self.columns].T

    def several(self, first: Measure, last: Measure, seconds: float = HISTORY_S) -> Floats:
        """Measures that follow each other, from `first` to `last`, over the last seconds.

        Returns:
            Shape ``(moments, measures, M)``, the newest moment last. Operations on this order are the fastest, because
            the people lie side by side.
        """
        return self.history[-moments(seconds) :, first : last + 1, self.columns]

    def lengths(self, measure: Measure, seconds: float = HISTORY_S) -> Floats:
        """A place or length over the last seconds, in body heights, shape ``(M, moments)``."""
        return self.series(measure, seconds) / self.stature[:, None]

    def some(self, rows: NDArray[np.int64]) -> Bodies:
        """The people in some rows, as if nobody else were there now."""
        columns = np.arange(self.columns.start, self.columns.stop) if isinstance(self.columns, slice) else self.columns
        chosen = rows.tolist()
        return Bodies(
            time=self.time,
            track_ids=[self.track_ids[row] for row in chosen],
            people=[self.people[row] for row in chosen],
            remembered=self.remembered,
            stature=self.stature[rows],
            size=self.size,
            history=self.history,
            columns=columns[rows],
        )


def moments(seconds: float) -> int:
    """How many moments of the grid lie in some seconds, the present one included.

    Example:
        >>> moments(1.0)
        11
    """
    return min(round(seconds * RATE_HZ) + 1, MOMENTS)


class Kinematics:
    """Follows the people of one camera or clip.

    Example:
        >>> watch = Kinematics()
        >>> pose = np.ones((1, 17, 3)) * [100.0, 200.0, 0.9]
        >>> box = np.array([[90.0, 100.0, 110.0, 300.0]])
        >>> [len(watch.observe(frame / 10, [7], box, pose, (640, 480))) for frame in range(3)]
        [1, 1, 1]
    """

    def __init__(self) -> None:
        self._time = -math.inf
        self._counted = 0
        self._restart()

    def _restart(self) -> None:
        """Forget everybody."""
        self._people: dict[int, int] = {}
        self._free: deque[int] = deque()
        self._forget_at = -math.inf
        # A page of moments that follow each other. What was written stays, so `Bodies` need no copy; a new page begins
        # with the last moments of the full one.
        self._history = np.full((_PAGE, _COLUMNS, 0), np.nan)
        self._begin = _NEVER
        self._joints = np.zeros((0, len(COCO_JOINTS), 3))
        self._seen_at = np.zeros((0, len(COCO_JOINTS)))
        self._boxes = np.zeros((0, 4))
        self._times = np.zeros(0)
        self._grid = np.zeros(0, np.int64)
        self._heights = np.zeros(0)
        self._places = np.zeros((len(_LIMBS), 2, 0))
        self._numbers = np.zeros(0, np.int64)
        self._size = (0, 0)

    def observe(
        self,
        time: float,
        track_ids: Sequence[int],
        boxes: NDArray[np.floating],
        keypoints: NDArray[np.floating],
        size: tuple[int, int],
    ) -> list[Bodies]:
        """Take the people of the next frame.

        Args:
            time: Capture time in seconds. If it is before that of the last frame, all people are forgotten.
            track_ids: M different track numbers.
            boxes: Shape ``(M, 4)``: left, top, right, bottom in pixels. Who has a value here or in the keypoints that
                is not finite is left out.
            keypoints: Shape ``(M, 17, 3)``: COCO x, y in pixels and confidence; 0 is unseen.
            size: Width and height of the picture in pixels.

        Returns:
            The moments of the grid that this frame completes, in order: none between two moments, several after a gap.
            Each holds the people who are known at it.

        Raises:
            ValueError: Shapes disagree or the time is not finite.
        """
        if boxes.shape != (len(track_ids), 4) or keypoints.shape != (len(track_ids), len(COCO_JOINTS), 3):
            raise ValueError(
                f"expected boxes and keypoints of {len(track_ids)} people, got {boxes.shape} and {keypoints.shape}"
            )
        if not math.isfinite(time):
            raise ValueError(f"a time must be finite, got {time}")
        finite_boxes, finite_joints = np.isfinite(boxes), np.isfinite(keypoints)
        if not (finite_boxes.all() and finite_joints.all()):
            usable: NDArray[np.bool_] = finite_boxes.all(axis=1) & finite_joints.all(axis=(1, 2))
            track_ids = [track for track, good in zip(track_ids, usable, strict=True) if good]
            boxes, keypoints = boxes[usable], keypoints[usable]
        places, joints = boxes.astype(np.float64), keypoints.astype(np.float64)
        if time < self._time:
            self._restart()
        self._time, self._size = time, size
        self._forget(time)
        slots = self._slots(time, track_ids, places)
        now = math.floor(time * RATE_HZ + 1e-6)
        if not len(slots):
            return []
        for row in self._jumped(time, slots, places, joints):
            self._free.append(int(slots[row]))
            slots[row] = self._people[track_ids[row]] = self._new_slot()
        joints = self._held(time, slots, joints)
        previous = self._times[slots]
        fresh = ~(time - previous <= MOST_GAP_S)
        start = np.where(fresh, now, self._grid[slots] + 1)
        first = int(start.min())
        result = []
        for grid in range(max(first, now - MOMENTS + 1), now + 1):
            due = start <= grid
            if due.all():
                part = slots, places, joints, fresh
                tracks = list(track_ids)
            else:
                part = slots[due], places[due], joints[due], fresh[due]
                tracks = [track for track, good in zip(track_ids, due.tolist(), strict=True) if good]
            self._write(grid, part[0], part[3], *self._interpolate(grid / RATE_HZ, time, *part))
            result.append(self._bodies(grid, tracks, part[0]))
        self._grid[slots] = np.maximum(self._grid[slots], now)
        self._times[slots] = time
        self._boxes[slots], self._joints[slots] = places, joints
        return result

    def _jumped(self, time: float, slots: NDArray[np.int64], boxes: Floats, keypoints: Floats) -> list[int]:
        """The rows of those whose skeleton is now that of somebody else."""
        elapsed, heights = time - self._times[slots], self._heights[slots]
        apart = iou(self._boxes[slots], boxes) < _JUMP_IOU
        rows = []
        for row in np.flatnonzero(apart & (elapsed <= MOST_GAP_S) & (heights > 0)).tolist():
            before, now = self._joints[slots[row]], keypoints[row]
            both = (now[:, 2] >= SEEN) & (before[:, 2] >= SEEN)
            most = (_JUMP_H + _JUMP_H_S * elapsed[row]) * heights[row]
            far = np.linalg.norm(now[both, :2] - before[both, :2], axis=1) > most
            if len(far) >= _JUMP_JOINTS and far.mean() >= 1 - _JUMP_SHARE:
                rows.append(row)
        return rows

    def _held(self, time: float, slots: NDArray[np.int64], keypoints: Floats) -> Floats:
        """The keypoints, with joints that were seen just before in place of those that are not seen now."""
        seen, unseen = keypoints[..., 2] >= SEEN, keypoints[..., 2] <= 0
        last = self._seen_at[slots]
        self._seen_at[slots] = np.where(seen, time, last)
        if not unseen.any():
            return keypoints
        recent = unseen & (time - last <= _HOLD_S)
        before = self._joints[slots]
        both = (seen & (before[..., 2] >= SEEN))[..., None]
        shift = ((keypoints - before) * both).sum(axis=1) / np.maximum(both.sum(axis=1), 1)
        moved = before + shift[:, None] * (1.0, 1.0, 0.0)
        return np.where(recent[..., None], moved, keypoints)

    def _interpolate(
        self,
        moment: float,
        time: float,
        slots: NDArray[np.int64],
        boxes: Floats,
        keypoints: Floats,
        fresh: NDArray[np.bool_],
    ) -> tuple[Floats, Floats]:
        """Boxes and keypoints at a moment between the last sighting and this one."""
        earlier = np.where(fresh, time - 1.0, self._times[slots])
        share = np.where(fresh, 1.0, (moment - earlier) / (time - earlier)).clip(0.0, 1.0)
        alone = share > 1 - 1e-5
        if alone.all():
            return boxes, keypoints
        before, joints_before = self._boxes[slots], self._joints[slots]
        box = before + share[:, None] * (boxes - before)
        joints = joints_before + share[:, None, None] * (keypoints - joints_before)
        # A joint that was seen on one side only is where it was seen.
        old, new = joints_before[..., 2] >= SEEN, keypoints[..., 2] >= SEEN
        np.copyto(joints, joints_before, where=(old & ~new)[..., None])
        np.copyto(joints, keypoints, where=((new & ~old) | alone[:, None])[..., None])
        np.copyto(box, boxes, where=alone[:, None])
        return box, joints

    def _write(
        self, grid: int, slots: NDArray[np.int64], fresh: NDArray[np.bool_], boxes: Floats, joints: Floats
    ) -> None:
        if grid - self._begin >= _PAGE:
            self._turn(grid)
        measures = _measure(joints, boxes, self._size)
        known = self._heights[slots]
        estimate = measures[Measure.STATURE]
        # A whole, upright body shows its height; any other is foreshortened, and only shrinks the memory slowly.
        shrunk = np.where(_whole(measures), _SHRINK_UPRIGHT, _SHRINK)
        followed = np.where(known > 0, known + _HEIGHT_STEP * (estimate - known), estimate)
        height = np.fmax(followed, known * shrunk)
        height = np.where(np.isnan(height), known, height)
        self._heights[slots] = measures[Measure.STATURE] = height
        limbs = measures[Measure.LEFT_WRIST_X : Measure.RIGHT_ANKLE_Y + 1].reshape(len(_LIMBS), 2, -1)
        places = limbs - _torso(measures)
        moved = places - self._places[:, :, slots]
        speed = np.hypot(moved[:, 0], moved[:, 1]) * RATE_HZ
        measures[Measure.LEFT_WRIST : Measure.RIGHT_ANKLE + 1] = np.where(fresh, np.nan, speed)
        self._places[:, :, slots] = places
        self._history[grid - self._begin, :, slots] = measures.T
        self._grid[slots] = grid

    def _turn(self, grid: int) -> None:
        """Begin a page that reaches beyond this moment."""
        begin = grid - MOMENTS - _BEHIND + 1
        kept = self._history[max(begin - self._begin, 0) :]
        self._history = np.full_like(self._history, np.nan)
        self._history[: len(kept)] = kept
        self._begin = begin

    def _bodies(self, grid: int, track_ids: list[int], slots: NDArray[np.int64]) -> Bodies:
        end = grid - self._begin + 1
        # Most of the time, people have their slots in the order in which they came.
        side_by_side = bool((np.diff(slots) == 1).all())
        return Bodies(
            time=grid / RATE_HZ,
            track_ids=track_ids,
            people=self._numbers[slots].tolist(),
            remembered=frozenset(self._numbers[list(self._people.values())].tolist()),
            stature=np.maximum(self._heights[slots], 1.0),
            size=self._size,
            history=self._history[end - MOMENTS : end],
            columns=slice(int(slots[0]), int(slots[-1]) + 1) if side_by_side else slots,
        )

    def _slots(self, time: float, track_ids: Sequence[int], boxes: Floats) -> NDArray[np.int64]:
        present = set(track_ids)
        for row in [row for row, track in enumerate(track_ids) if track not in self._people]:
            adopted = self._adopted(time, boxes[row], present)
            if adopted is None:
                adopted = self._new_slot()
                twin = self._twin(time, boxes[row])
                if twin is not None:
                    self._copy(twin, adopted)
            self._people[track_ids[row]] = adopted
        return np.array([self._people[track] for track in track_ids], np.int64)

    def _adopted(self, time: float, box: Floats, present: set[int]) -> int | None:
        """The slot of a person who was lost just now where this one begins; takes it from its track."""
        middle = (box[:2] + box[2:]) / 2
        nearest: tuple[float, int] | None = None
        for track, slot in self._people.items():
            if track in present or not time - self._times[slot] <= _ADOPT_S:
                continue
            old = self._boxes[slot]
            away = float(np.linalg.norm((old[:2] + old[2:]) / 2 - middle)) / max(self._heights[slot], 1.0)
            if away <= _ADOPT_H and (nearest is None or away < nearest[0]):
                nearest = away, track
        return None if nearest is None else self._people.pop(nearest[1])

    def _twin(self, time: float, box: Floats) -> int | None:
        """The slot of a person in view whose box this one nearly covers."""
        overlaps = [
            (float(iou(self._boxes[slot], box)), slot)
            for slot in self._people.values()
            if time - self._times[slot] <= MOST_GAP_S
        ]
        best = max(overlaps, default=(0.0, -1))
        return best[1] if best[0] >= _TWIN_IOU else None

    def _copy(self, source: int, target: int) -> None:
        for array in (self._joints, self._seen_at, self._boxes, self._times, self._grid, self._heights):
            array[target] = array[source]
        for array in (self._history, self._places):
            array[..., target] = array[..., source]

    def _new_slot(self) -> int:
        if not self._free:
            self._grow()
        slot = self._free.popleft()
        self._clear(slot)
        return slot

    def _clear(self, slot: int) -> None:
        """Begin with a new person."""
        self._history[..., slot], self._seen_at[slot] = np.nan, -math.inf
        self._times[slot], self._grid[slot], self._heights[slot] = -math.inf, _NEVER, 0.0
        self._numbers[slot] = self._counted
        self._counted += 1

    def _grow(self) -> None:
        old = len(self._times)
        more = max(16, old)
        self._history = _widened(self._history, more)
        self._joints = np.concatenate([self._joints, np.zeros((more, *self._joints.shape[1:]))])
        self._seen_at = np.concatenate([self._seen_at, np.full((more, len(COCO_JOINTS)), -math.inf)])
        self._boxes = np.concatenate([self._boxes, np.zeros((more, 4))])
        self._places = _widened(self._places, more)
        self._times = np.concatenate([self._times, np.zeros(more)])
        self._grid = np.concatenate([self._grid, np.zeros(more, np.int64)])
        self._heights = np.concatenate([self._heights, np.zeros(more)])
        self._numbers = np.concatenate([self._numbers, np.zeros(more, np.int64)])
        self._free.extend(range(old, old + more))

    def _forget(self, time: float) -> None:
        # Nobody was seen last before `_forget_at - _FORGET_S`, so until then nobody needs to be looked at.
        if time <= self._forget_at:
            return
        for track in [track for track, slot in self._people.items() if time - self._times[slot] > _FORGET_S]:
            self._free.append(self._people.pop(track))
        slots = list(self._people.values())
        self._forget_at = min([time, *self._times[slots].tolist()]) + _FORGET_S


def _widened(array: Floats, more: int) -> Floats:
    """The array with more people, of whom nothing is known, in its last axis."""
    return np.concatenate([array, np.full((*array.shape[:-1], more), np.nan)], axis=-1)


def _points(joints: Floats) -> Floats:
    """The places that `_POINTS` names, shape ``(5, 2, M)``; nan where none of their joints was seen.

    A place is the mean of its joints that were seen, weighted by confidence.
    """
    weight = np.where(joints[..., 2] >= SEEN, joints[..., 2], 0.0)
    weighted = np.empty((3, *weight.shape))
    np.multiply(joints[..., 0], weight, out=weighted[0])
    np.multiply(joints[..., 1], weight, out=weighted[1])
    weighted[2] = weight
    sums = (weighted.reshape(-1, len(COCO_JOINTS)) @ _MEMBERS).reshape(3, len(joints), len(_POINTS))
    return np.asarray(sums[:2] / np.where(sums[2] > 0, sums[2], np.nan)).transpose(2, 0, 1)


def _torso(measures: Floats) -> Floats:
    """Middle of shoulders and hips, shape ``(2, M)``; of the shoulders alone where no hip was seen."""
    shoulders = measures[Measure.SHOULDER_X : Measure.SHOULDER_Y + 1]
    hips = measures[Measure.HIP_X : Measure.HIP_Y + 1]
    middle = (shoulders + hips) / 2
    return np.where(np.isnan(middle), shoulders, middle)


def _whole(measures: Floats) -> NDArray[np.bool_]:
    """Whose pose has the proportions of a body that stands, shape ``(M,)``.

    The legs are below an upright torso, and the box is slender and as tall as the limbs say.
    """
    torso, estimate = measures[Measure.TORSO], measures[Measure.STATURE]
    tall, width = measures[Measure.TALL], measures[Measure.WIDTH]
    legs = measures[Measure.FOOT_Y] - measures[Measure.HIP_Y]
    proportion = (legs >= 1.1 * torso) & (legs <= 2.0 * torso)
    box = (tall >= 0.9 * estimate) & (tall <= 1.3 * estimate) & (width <= 0.7 * tall)
    upright = (measures[Measure.TILT] <= 25.0) & (measures[Measure.CUT] == 0)
    return np.asarray(proportion & box & upright)


def _measure(joints: Floats, boxes: Floats, size: tuple[int, int]) -> Floats:
    """All measures of some poses that need no past, shape ``(len(Measure), M)``."""
    result = np.full((_COLUMNS, len(joints)), np.nan)
    points = _points(joints)
    result[Measure.HEAD_X : Measure.HIP_Y + 1] = points[:3].reshape(6, -1)
    result[Measure.KNEE_Y], result[Measure.FOOT_X : Measure.FOOT_Y + 1] = points[3, 1], points[4]
    # Torso, thigh, shank.
    parts = points[1:4] - points[2:]
    result[Measure.TILT] = np.degrees(np.arctan2(np.abs(parts[0, 0]), -parts[0, 1]))
    lengths = np.hypot(parts[:, 0], parts[:, 1])
    result[Measure.TORSO] = lengths[0]
    lengths[2, np.isnan(lengths[1])] = np.nan
    known = ~np.isnan(lengths)
    total = np.where(known, _LENGTHS, 0.0).sum(axis=0)
    result[Measure.STATURE] = np.where(known, lengths, 0.0).sum(axis=0) / np.where(total > 0, total, np.nan)
    left, top, right, bottom = boxes.T
    result[Measure.BOX_X], result[Measure.BOX_Y] = (left + right) / 2, (top + bottom) / 2
    result[Measure.WIDTH], result[Measure.TALL] = right - left, bottom - top
    width, height = size
    across, down = _BORDER * width, _BORDER * height
    result[Measure.CUT] = (left <= across) | (right >= width - across) | (bottom >= height - down)
    limbs = joints[:, _LIMBS]
    places = np.where(limbs[..., 2:] >= SEEN, limbs[..., :2], np.nan)
    result[Measure.LEFT_WRIST_X : Measure.RIGHT_ANKLE_Y + 1] = places.reshape(-1, 2 * len(_LIMBS)).T
    confidence = joints[..., 2]
    result[Measure.CONFIDENCE] = confidence.sum(axis=1) / len(COCO_JOINTS)
    result[Measure.JOINTS] = np.count_nonzero(confidence >= SEEN, axis=1)
    return result
