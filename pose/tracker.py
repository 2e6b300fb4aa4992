"""Identity over time: ByteTrack, one tracker for each stream."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from types import SimpleNamespace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pose.estimator import Poses

_HIGH_CONFIDENCE: Final = 0.25
_LOW_CONFIDENCE: Final = 0.1
_MATCH_COST: Final = 0.8
"""ByteTrack's thresholds as Ultralytics ships them."""

_IDX: Final = 7
_ID: Final = 4


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
    process.

    Args:
        frame_rate: Frames per second passed to `update`; the time for which a lost person is kept depends on it.
        lost_s: Seconds for which a person who is out of sight keeps the track number.
        first: Number of the first track.

    Example:
        >>> import torch
        >>> tracker = Tracker(frame_rate=15.0)
        >>> standing = Poses(torch.tensor([[10.0, 10.0, 50.0, 110.0]]), torch.ones(1, 17, 3), torch.tensor([0.9]))
        >>> [tracker.update(standing, (480, 640)).track_ids for _ in range(3)]
        [[1], [1], [1]]
    """

    def __init__(self, frame_rate: float, *, lost_s: float = 1.0, first: int = 1) -> None:
        from ultralytics.trackers.byte_tracker import BYTETracker

        self._tracker = BYTETracker(
            SimpleNamespace(
                track_high_thresh=_HIGH_CONFIDENCE,
                track_low_thresh=_LOW_CONFIDENCE,
                new_track_thresh=_HIGH_CONFIDENCE,
                track_buffer=_frames(lost_s, frame_rate),
                match_thresh=_MATCH_COST,
                fuse_score=True,
            )
        )
        self._lost_s = lost_s
        self._numbers: dict[int, int] = {}
        self._next = first

    @property
    def next_number(self) -> int:
        """Number that the next new track will get."""
        return self._next

    def expect(self, frame_rate: float) -> None:
        """Set the processed frame rate from now on; it falls when the machine is too slow for every frame.

        Raises:
            ValueError: It is not a positive number.
        """
        self._tracker.max_frames_lost = _frames(self._lost_s, frame_rate)

    def update(self, poses: Poses, image_shape: tuple[int, int]) -> TrackedPoses:
        """Give the people of the next frame their numbers.

        Args:
            poses: What the estimator found.
            image_shape: Height and width of the picture in pixels.

        Returns:
            The people with a track; the rest of `poses` is left out.
        """
        from ultralytics.engine.results import Boxes

        boxes = poses.boxes.cpu().numpy()
        confidences = poses.confidences.cpu().numpy()
        classes = np.zeros_like(confidences)
        detections = Boxes(np.column_stack([boxes, confidences, classes]).reshape(-1, 6), image_shape)
        tracks = self._tracker.update(detections)
        self._forget_ended_tracks()
        if not len(tracks):
            return TrackedPoses([], boxes[:0], poses.keypoints[:0])
        rows = tracks[:, _IDX].astype(int)
        numbers = [self._number(int(raw)) for raw in tracks[:, _ID]]
        return TrackedPoses(numbers, boxes[rows], poses.keypoints[rows])

    def _forget_ended_tracks(self) -> None:
        alive = {track.track_id for track in chain(self._tracker.tracked_stracks, self._tracker.lost_stracks)}
        self._numbers = {raw: number for raw, number in self._numbers.items() if raw in alive}

    def _number(self, raw: int) -> int:
        if raw not in self._numbers:
            self._numbers[raw] = self._next
            self._next += 1
        return self._numbers[raw]


def _frames(seconds: float, frame_rate: float) -> int:
    if not (math.isfinite(frame_rate) and frame_rate > 0):
        raise ValueError(f"frame_rate must be a positive number, got {frame_rate}")
    return max(1, round(seconds * frame_rate))
