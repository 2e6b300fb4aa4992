"""Why a frame has no score, by one rule for clips and live cameras."""

from __future__ import annotations

from pose.tracker import TrackedPoses
from pose.unseen import LEAST_JOINTS, seen_joints
from service.documents.base import MissingScore


def reason_of(people: TrackedPoses, *, too_slow: bool) -> MissingScore:
    """Why none of these people has a score.

    Args:
        people: The tracked people of the frame.
        too_slow: Whether frames lie further apart than poses are interpolated.
    """
    if not len(people):
        return "nobody"
    if too_slow:
        return "frame_rate_too_low"
    return "track_too_short" if (seen_joints(people.keypoints) >= LEAST_JOINTS).any() else "too_few_joints"
