"""Messages of live frames for tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from model.behaviours import Finding, Kind
from model.scorer import ScoredWindow
from pose.skeleton import COCO_JOINTS
from service.documents.base import MissingScore
from service.documents.messages import LivePerson, Score
from service.live.frames import Scored

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)

STANDING = [
    (50, 8),
    (53, 5),
    (47, 5),
    (57, 7),
    (43, 7),
    (65, 25),
    (35, 25),
    (72, 45),
    (28, 45),
    (75, 62),
    (25, 62),
    (60, 60),
    (40, 60),
    (61, 80),
    (39, 80),
    (62, 98),
    (38, 98),
]
"""COCO joints of a person who faces the camera, in percent of the box."""


def live_person(
    level: float | None = None,
    *,
    box: tuple[float, float, float, float] = (100.0, 40.0, 180.0, 200.0),
    joints: Sequence[float] | None = None,
    track: int = 1,
    behaviours: Mapping[Kind, float] | None = None,
) -> LivePerson:
    left, top, right, bottom = box
    keypoints = [(left + (right - left) * x / 100, top + (bottom - top) * y / 100, 0.9) for x, y in STANDING]
    return LivePerson(
        track=track,
        box=box,
        keypoints=keypoints,
        score=level if joints is None else sum(joints),
        level=level,
        behaviours=dict(behaviours or {}),
        joints=None if joints is None else list(joints),
    )


def even_joints(score: float) -> list[float]:
    """What each COCO joint adds where all 18 joints of the graph add the same."""
    return [score / 18 * (1.5 if name.endswith("shoulder") else 1.0) for name in COCO_JOINTS]


def live_score(
    level: float | None = 0.5,
    *,
    camera: str = "entrance",
    sequence: int = 0,
    age_s: float = 0.0,
    size: tuple[int, int] = (320, 240),
    threshold: float = 0.99,
    people: Sequence[LivePerson] | None = None,
    incident: str | None = None,
    captured_at: datetime = NOON,
) -> Score:
    return Score(
        camera=camera,
        sequence=sequence,
        captured_at=captured_at,
        published_at=captured_at + timedelta(seconds=age_s),
        age_s=age_s,
        width=size[0],
        height=size[1],
        score=level,
        level=level,
        parts={} if level is None else {"pose": level},
        threshold=threshold,
        reason=None if level is not None else "nobody",
        people=[live_person(level)] if people is None else list(people),
        incident=incident,
    )


def scored_frame(
    captured_at: float,
    people: Mapping[int, NDArray[np.float64]] | None = None,
    windows: Sequence[ScoredWindow | None] | None = None,
    *,
    camera: str = "gate",
    nll: float = math.nan,
    smoothed: float = math.nan,
    reason: MissingScore | None = None,
    findings: Sequence[Finding] = (),
) -> Scored:
    """A frame as the engine delivers it.

    Args:
        captured_at: Seconds on the monotonic clock.
        people: Keypoints ``(17, 3)`` of each track.
        windows: The newest window of each of them; without any if left out.
        camera: Id of the camera.
        nll: Score of the frame.
        smoothed: Its smoothed raw score.
        reason: Why nobody is scored.
        findings: What named behaviours see.
    """
    people = people or {}
    return Scored(
        camera_id=camera,
        sequence=0,
        captured_at=captured_at,
        image=None,
        width=640,
        height=480,
        track_ids=list(people),
        boxes=np.zeros((len(people), 4), np.float32),
        keypoints=np.array(list(people.values()), np.float32).reshape(-1, 17, 3),
        newest=[None] * len(people) if windows is None else list(windows),
        nll=nll,
        smoothed=smoothed,
        reason=reason,
        findings=list(findings),
    )
