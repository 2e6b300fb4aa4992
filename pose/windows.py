"""The one definition of a skeleton window: time grid, interpolation, normalisation.

A window is `WindowSpec.length` consecutive points of a fixed time grid, ``k / rate_hz`` for integer ``k``, filled with
the poses of one tracked person. Cameras run at any rate and drop frames, so poses are interpolated linearly between
capture times. Where the person was not seen for longer than `WindowSpec.max_gap_s`, the run of grid points ends and a
new one begins. A joint that was not seen gets the place that `pose.unseen` gives it, and keeps confidence 0.

Training, evaluation and calibration cut whole tracks with `slice_track`; clips and live streams push poses one frame at
a time into a `WindowBuffer`. Both place a pose on the grid with `_grid_range` and `_interpolate` and both end in
`normalise`, so the same poses give the same windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose.skeleton import COCO_JOINTS, NUM_JOINTS, coco_to_graph
from pose.unseen import LEAST_JOINTS, complete, hide_unseen, seen_joints

_GRID_TOLERANCE: Final = 1e-6
"""A pose this close to a grid point, in grid steps, is on it (capture times are floats)."""

_ASPECT: Final = 480 / 856
"""The published normalisation divides x by 856 and y by 480 and then both by the spread of y. That equals scaling x by
480/856 and keeping y in pixels, which no longer depends on the resolution."""

_MIN_SPREAD: Final = 1e-3
"""Pixels. Keeps a degenerate window, all joints on one row for its whole length, finite."""

_CHANNELS: Final = 3
"""x, y in pixels, and the confidence of the joint."""


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """What one window is; stored in every checkpoint.

    Attributes:
        length: Number of grid points T in a window.
        rate_hz: Grid points per second.
        max_gap_s: Longest time in seconds between two sightings of a person that is bridged by interpolation.

    Example:
        >>> spec = WindowSpec(length=8, rate_hz=15.0)
        >>> round(spec.duration_s, 3)
        0.467
    """

    length: int = 24
    rate_hz: float = 15.0
    max_gap_s: float = 0.5

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ValueError(f"a window needs at least 2 grid points, got length={self.length}")
        if not (math.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise ValueError(f"rate_hz must be a positive number, got {self.rate_hz}")
        if not (math.isfinite(self.max_gap_s) and self.max_gap_s > 0):
            raise ValueError(f"max_gap_s must be a positive number, got {self.max_gap_s}")

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last grid point of a window."""
        return (self.length - 1) / self.rate_hz

    def center_times(self, end_times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Time of the frame that a window scores: grid point ``first + T // 2`` (STG-NF's convention).

        Args:
            end_times: Shape ``(N,)``, seconds of the last grid point.

        Returns:
            Shape ``(N,)``, seconds.
        """
        return end_times - (self.length - 1 - self.length // 2) / self.rate_hz


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """A batch of normalised windows.

    Attributes:
        tensor: Shape ``(N, 2, T, 18)``, float32; the channels are x and y, without unit.
        track_ids: Shape ``(N,)``, int64; whose window it is.
        end_times: Shape ``(N,)``, float64; seconds of the last grid point on the clock of the poses.
        poses: Shape ``(N, T, 18, 3)``, float32, on the device of `tensor`; the same windows before normalisation: x
            and y in pixels, and confidence.

    Example:
        >>> poses = torch.randn(2, 8, 18, 3)
        >>> windows = Windows.of_poses(poses, track_ids=np.array([4, 7]), end_times=np.array([1.0, 1.0]))
        >>> windows.tensor.shape
        torch.Size([2, 2, 8, 18])
        >>> windows[windows.track_ids == 7].track_ids
        array([7])
    """

    tensor: Tensor
    track_ids: NDArray[np.int64]
    end_times: NDArray[np.float64]
    poses: Tensor

    def __len__(self) -> int:
        return len(self.track_ids)

    @classmethod
    def empty(cls, spec: WindowSpec, device: torch.device | str = "cpu") -> Windows:
        """No windows, with the right shapes."""
        return cls.of_poses(
            torch.empty((0, spec.length, NUM_JOINTS, _CHANNELS), device=device),
            np.empty(0, np.int64),
            np.empty(0, np.float64),
        )

    @classmethod
    def of_poses(cls, poses: Tensor, track_ids: NDArray[np.int64], end_times: NDArray[np.float64]) -> Windows:
        """Normalise raw windows ``(N, T, 18, 3)``; the rest as in `Windows`."""
        return cls(normalise(poses), track_ids, end_times, poses)

    def __getitem__(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Windows:
        """Some of the windows: by their numbers, or a mask ``(N,)``."""
        chosen = torch.from_numpy(rows).to(self.tensor.device)
        return Windows(self.tensor[chosen], self.track_ids[rows], self.end_times[rows], self.poses[chosen])

    @classmethod
    def concatenate(cls, batches: Sequence[Windows]) -> Windows:
        """Join batches in order.

        Raises:
            ValueError: There is nothing to join.
        """
        if not batches:
            raise ValueError("no windows to concatenate; use Windows.empty(spec)")
        return cls(
            torch.cat([batch.tensor for batch in batches]),
            np.concatenate([batch.track_ids for batch in batches]),
            np.concatenate([batch.end_times for batch in batches]),
            torch.cat([batch.poses for batch in batches]),
        )


def normalise(poses: Tensor) -> Tensor:
    """Remove position and size from raw windows.

    Computes ``(x * 480/856, y)``, subtracts the mean of each over all points of the window and divides both by the
    population standard deviation of y. On benchmark video this equals the published protocol (x/856, y/480, centre,
    divide by the std of y); it does not depend on the resolution.

    Args:
        poses: Shape ``(N, T, V, >=2)``; the first two channels are x and y in pixels, the rest is ignored.

    Returns:
        Shape ``(N, 2, T, V)``, contiguous.
    """
    scaled = poses[..., :2] * poses.new_tensor([_ASPECT, 1.0])
    centred = scaled - scaled.mean(dim=(1, 2), keepdim=True)
    spread = centred[..., 1].square().mean(dim=(1, 2)).sqrt().clamp_min(_MIN_SPREAD)
    return (centred / spread[:, None, None, None]).permute(0, 3, 1, 2).contiguous()


def slice_track(
    track_id: int,
    times: NDArray[np.float64],
    keypoints: Tensor,
    spec: WindowSpec,
    *,
    stride: int = 1,
) -> Windows:
    """Cut one whole track into windows.

    Args:
        track_id: Number written into `Windows.track_ids`.
        times: Shape ``(n,)``, capture times in seconds, strictly increasing.
        keypoints: Shape ``(n, 17, 3)``: COCO x, y in pixels and confidence.
        spec: What a window is.
        stride: Grid points between the starts of consecutive windows of one run.

    Returns:
        All windows in order of time.

    Raises:
        ValueError: Times and poses disagree in number, times do not increase, or `stride` is not positive.
    """
    _check(times, keypoints)
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    if len(times) > 1 and not (np.diff(times) > 0).all():
        raise ValueError("capture times of a track must strictly increase")
    judged = seen_joints(keypoints) >= LEAST_JOINTS
    times, keypoints = times[judged], keypoints[torch.from_numpy(judged).to(keypoints.device)]
    joints = hide_unseen(coco_to_graph(keypoints.to(torch.float32)))
    breaks = np.flatnonzero(np.diff(times) > _longest_gap(spec)) + 1
    joints = _completed(joints, times, {0, *breaks.tolist()}, spec)
    batches = []
    for run in np.split(np.arange(len(times)), breaks):
        grid, resampled = _resample(times[run], joints[run[0] : run[-1] + 1] if len(run) else joints, spec.rate_hz)
        if len(grid) < spec.length:
            continue
        cut = resampled.unfold(0, spec.length, stride).permute(0, 3, 1, 2)
        ends = grid[spec.length - 1 :: stride] / spec.rate_hz
        batches.append(Windows.of_poses(cut, np.full(len(ends), track_id, np.int64), ends))
    return Windows.concatenate(batches) if batches else Windows.empty(spec, keypoints.device)


class WindowBuffer:
    """Ring buffers on the device that turn a stream of poses into windows.

    Every track owns a slot of a tensor of shape ``(slots, 2T, 18, 3)``. Grid point k is written at ``k mod T`` and
    again T further on, so that the last T points are always one contiguous view. Slots of tracks that have not been
    seen for a while are reused, so the number of slots depends only on the number of people in view.

    Args:
        spec: What a window is.
        device: Where poses arrive and windows leave.
        stride: Grid points between consecutive windows of one run.
        slots: Tracks to make room for at first.

    Example:
        >>> buffer = WindowBuffer(WindowSpec(length=3, rate_hz=10.0))
        >>> for frame in range(4):
        ...     windows = buffer.push(np.array([frame / 10]), [7], torch.rand(1, 17, 3))
        ...     print(len(windows), windows.end_times.round(1).tolist())
        0 []
        0 []
        1 [0.2]
        1 [0.3]
    """

    _FORGET_S: Final = 5.0

    def __init__(
        self, spec: WindowSpec, device: torch.device | str = "cpu", *, stride: int = 1, slots: int = 16
    ) -> None:
        if stride < 1:
            raise ValueError(f"stride must be at least 1, got {stride}")
        self.spec = spec
        self.stride = stride
        self._ring = torch.zeros((slots, 2 * spec.length, NUM_JOINTS, _CHANNELS), device=device)
        self._last = torch.zeros((slots, NUM_JOINTS, _CHANNELS), device=device)
        self._seen_at = np.full((slots, NUM_JOINTS), -np.inf)
        self._last_time = np.full(slots, -np.inf)
        self._run_start = np.zeros(slots, np.int64)
        self._slot_of: dict[int, int] = {}
        self._free = list(range(slots - 1, -1, -1))

    @property
    def tracks(self) -> int:
        """Number of tracks that own a slot."""
        return len(self._slot_of)

    def push(self, times: NDArray[np.float64], track_ids: Sequence[int], keypoints: Tensor) -> Windows:
        """Add one pose for each of some tracks and return the windows that this completes.

        All times come from one clock. Poses of several cameras can be pushed in one call, each with its own capture
        time, if their track numbers differ.

        Args:
            times: Shape ``(M,)``, capture times in seconds.
            track_ids: M different track numbers.
            keypoints: Shape ``(M, 17, 3)`` on the buffer's device.

        Returns:
            The completed windows, in order of time for each track.

        Raises:
            ValueError: Lengths disagree, a track occurs twice, or a track's time does not increase.
        """
        _check(times, keypoints)
        if len(track_ids) != len(times) or len(set(track_ids)) != len(track_ids):
            raise ValueError("push needs one time and one pose for each of M different tracks")
        seen = seen_joints(keypoints)
        judged = np.flatnonzero(seen >= LEAST_JOINTS)
        if len(judged) < len(times):
            times, track_ids = times[judged], [track_ids[row] for row in judged.tolist()]
            keypoints = keypoints[torch.from_numpy(judged).to(keypoints.device)]
        if not len(times):
            return Windows.empty(self.spec, self._ring.device)
        self._forget(float(times.max()) - self.spec.max_gap_s - self._FORGET_S)
        slots = np.array([self._slot(track) for track in track_ids])
        previous = self._last_time[slots]
        if not (times > previous).all():
            late = track_ids[int(np.argmin(times > previous))]
            raise ValueError(f"capture times of track {late} must strictly increase")

        fresh = times - previous > _longest_gap(self.spec)
        joints = coco_to_graph(keypoints.to(torch.float32))
        if (seen[judged] < len(COCO_JOINTS)).any():
            joints = self._completed(joints, slots, times, fresh)
        else:
            self._seen_at[slots] = times[:, None]
        earlier = np.where(fresh, times, previous)
        first, last = _grid_range(times, self.spec.rate_hz, previous=np.where(fresh, np.nan, previous))
        self._run_start[slots[fresh]] = first[fresh]
        device = self._ring.device
        slots_t = torch.from_numpy(slots).to(device)
        left = torch.where(torch.from_numpy(fresh).to(device)[:, None, None], joints, self._last[slots_t])

        batches = []
        for step in range(int((last - first).max()) + 1):
            rows = np.flatnonzero(first + step <= last)
            grid = (first + step)[rows]
            rows_t = torch.from_numpy(rows).to(device)
            poses = _interpolate(left[rows_t], joints[rows_t], grid, earlier[rows], times[rows], self.spec.rate_hz)
            at = torch.from_numpy(grid % self.spec.length).to(device)
            self._ring[slots_t[rows_t], at] = poses
            self._ring[slots_t[rows_t], at + self.spec.length] = poses
            batches.append(self._ready(rows, slots, grid, track_ids))
        self._last[slots_t] = joints
        self._last_time[slots] = times
        return Windows.concatenate(batches) if batches else Windows.empty(self.spec, device)

    def _completed(
        self, joints: Tensor, slots: NDArray[np.int64], times: NDArray[np.float64], fresh: NDArray[np.bool_]
    ) -> Tensor:
        """The poses ``(M, 18, 3)`` with a place for every joint; notes when each joint was seen."""
        joints = hide_unseen(joints)
        seen = (joints[..., 2] > 0).cpu().numpy()
        seen_at = np.where(fresh[:, None], -np.inf, self._seen_at[slots])
        held = torch.from_numpy(times[:, None] - seen_at <= _longest_gap(self.spec)).to(joints.device)
        self._seen_at[slots] = np.where(seen, times[:, None], seen_at)
        return complete(joints, self._last[torch.from_numpy(slots).to(joints.device)], held)

    def _ready(
        self, rows: NDArray[np.int64], slots: NDArray[np.int64], grid: NDArray[np.int64], track_ids: Sequence[int]
    ) -> Windows:
        beyond = grid - self._run_start[slots[rows]] - (self.spec.length - 1)
        ready = np.flatnonzero((beyond >= 0) & (beyond % self.stride == 0))
        if not len(ready):
            return Windows.empty(self.spec, self._ring.device)
        start = (grid[ready] + 1) % self.spec.length
        views = [
            self._ring[slot, begin : begin + self.spec.length]
            for slot, begin in zip(slots[rows[ready]].tolist(), start.tolist(), strict=True)
        ]
        tracks = np.array([track_ids[row] for row in rows[ready]], np.int64)
        return Windows.of_poses(torch.stack(views), tracks, grid[ready] / self.spec.rate_hz)

    def _slot(self, track_id: int) -> int:
        slot = self._slot_of.get(track_id)
        if slot is None:
            if not self._free:
                self._grow()
            slot = self._slot_of[track_id] = self._free.pop()
            self._last_time[slot] = -np.inf
        return slot

    def _forget(self, before: float) -> None:
        for track, slot in list(self._slot_of.items()):
            if self._last_time[slot] < before:
                del self._slot_of[track]
                self._free.append(slot)

    def _grow(self) -> None:
        size = len(self._last_time)
        self._ring = torch.cat([self._ring, torch.zeros_like(self._ring)])
        self._last = torch.cat([self._last, torch.zeros_like(self._last)])
        self._seen_at = np.concatenate([self._seen_at, np.full((size, NUM_JOINTS), -np.inf)])
        self._last_time = np.concatenate([self._last_time, np.full(size, -np.inf)])
        self._run_start = np.concatenate([self._run_start, np.zeros(size, np.int64)])
        self._free.extend(range(2 * size - 1, size - 1, -1))


def _check(times: NDArray[np.float64], keypoints: Tensor) -> None:
    if keypoints.ndim != 3 or keypoints.shape[2] != _CHANNELS or len(keypoints) != len(times):
        raise ValueError(f"expected {len(times)} poses of shape (17, 3), got {tuple(keypoints.shape)}")


def _completed(joints: Tensor, times: NDArray[np.float64], starts: set[int], spec: WindowSpec) -> Tensor:
    """The poses ``(n, 18, 3)`` of one track with a place for every joint, one after the other as `WindowBuffer` does.

    Args:
        joints: The poses as they were seen.
        times: Shape ``(n,)``, their capture times.
        starts: Numbers of the poses that begin a run.
        spec: What a window is.
    """
    seen = (joints[..., 2] > 0).cpu().numpy()
    if seen.all():
        return joints
    # What was seen when does not depend on the guesses, so only poses with an unseen joint are visited one by one.
    seen_at = np.where(seen, times[:, None], -np.inf)
    bounds = [*sorted(starts), len(times)]
    for start, end in pairwise(bounds):
        seen_at[start:end] = np.maximum.accumulate(seen_at[start:end], axis=0)
    held = torch.from_numpy(times[:, None] - seen_at <= _longest_gap(spec)).to(joints.device)
    completed = joints.clone()
    for number in np.flatnonzero(~seen.all(axis=1)).tolist():
        before = number if number in starts else number - 1
        rows = slice(number, number + 1)
        completed[rows] = complete(joints[rows], completed[before : before + 1], held[rows])
    return completed


def _longest_gap(spec: WindowSpec) -> float:
    return spec.max_gap_s + _GRID_TOLERANCE / spec.rate_hz


def _grid_range(
    times: NDArray[np.float64], rate_hz: float, *, previous: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last grid point in ``(previous, times]``; where `previous` is nan, that at `times` if there is one."""
    last = np.floor(times * rate_hz + _GRID_TOLERANCE).astype(np.int64)
    at_start = np.ceil(times * rate_hz - _GRID_TOLERANCE)
    after_previous = np.floor(previous * rate_hz + _GRID_TOLERANCE) + 1
    return np.where(np.isnan(previous), at_start, after_previous).astype(np.int64), last


def _interpolate(
    left: Tensor,
    right: Tensor,
    grid: NDArray[np.int64],
    earlier: NDArray[np.float64],
    later: NDArray[np.float64],
    rate_hz: float,
) -> Tensor:
    """Poses at grid points that lie between two sightings each; exactly the sighting where both are one.

    A joint that is unseen at an end that counts is unseen in between.
    """
    span = later - earlier
    weight = np.clip((grid / rate_hz - earlier) / np.where(span > 0, span, 1.0), 0.0, 1.0)
    weight_t = torch.from_numpy(weight.astype(np.float32)).to(right.device)[:, None]
    between = torch.lerp(left, right, weight_t[..., None])
    seen = ((left[..., 2] > 0) | (weight_t >= 1)) & ((right[..., 2] > 0) | (weight_t <= 0))
    return torch.cat([between[..., :2], (between[..., 2] * seen)[..., None]], dim=-1)


def _resample(times: NDArray[np.float64], joints: Tensor, rate_hz: float) -> tuple[NDArray[np.int64], Tensor]:
    """Grid points of one run without long gaps, and the poses there."""
    if not len(times):
        return np.empty(0, np.int64), joints
    previous = np.concatenate([[np.nan], times[:-1]])
    first, last = _grid_range(times, rate_hz, previous=previous)
    right = np.repeat(np.arange(len(times)), np.maximum(last - first + 1, 0))
    grid = np.arange(first[0], first[0] + len(right))
    left = np.maximum(right - 1, 0)
    return grid, _interpolate(joints[left], joints[right], grid, times[left], times[right], rate_hz)
