"""Finds people in the frames of a clip and follows them from frame to frame."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from pose.estimator import PoseEstimator
from pose.source import Frame
from pose.tracker import TrackedPoses, Tracker


def followed(
    source: Iterator[Frame], estimator: PoseEstimator, batch: int
) -> Iterator[list[tuple[Frame, TrackedPoses]]]:
    """Find people in a clip and follow them.

    Args:
        source: All frames of the clip.
        estimator: Finds people and their keypoints.
        batch: Frames in one call of the estimator.

    Yields:
        The next frames, at most `batch`, each with the people in it.
    """
    tracker = Tracker()
    while some := list(islice(source, batch)):
        found = estimator([frame.image for frame in some])
        yield [
            (frame, tracker.update(poses, (frame.image.shape[0], frame.image.shape[1]), frame.captured_at))
            for frame, poses in zip(some, found, strict=True)
        ]
