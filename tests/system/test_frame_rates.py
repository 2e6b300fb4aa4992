"""The same people, filmed at other frame rates and resolutions, get the same scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from model.scorer import Scorer
from pose.estimator import PoseEstimator
from pose.probe import probe
from pose.source import FileSource
from pose.tracker import Tracker
from pose.windows import slice_track
from tests.doubles import media

MEDIAN_BITS = 0.01
WORST_BITS = 0.1
"""Tolerated difference of one window's score, in bits per dimension. For comparison: half of the calibration footage of
the shipped checkpoint lies above 0.17, and one window in a hundred above 4.01."""

SAME_PERSON_IOU = 0.6
VARIANTS = {"30 fps": (1, 1.0), "15 fps": (2, 1.0), "10 fps": (3, 1.0), "half size": (1, 0.5)}


@dataclass
class Person:
    times: list[float] = field(default_factory=list)
    boxes: list[NDArray[np.float32]] = field(default_factory=list)
    keypoints: list[torch.Tensor] = field(default_factory=list)


@dataclass
class Take:
    """One version of the clip: who was followed, and the score of every window by track and grid point."""

    width: int
    fps: float
    people: dict[int, Person]
    scores: dict[int, dict[int, float]]


@pytest.fixture(scope="module")
def take(pose_weights: Path, test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Take]:
    """A version of the first frames of the clip, filmed once."""
    original = test_data / "clips/ubnormal/normal_scene_16_scenario_2.mp4"
    folder = tmp_path_factory.mktemp("takes")
    estimator = PoseEstimator(pose_weights)
    scorer = Scorer(Checkpoint.load(DEFAULT_CHECKPOINT))

    @cache
    def make(name: str, frames: int) -> Take:
        every, scale = VARIANTS[name]
        path = folder / f"{name} {frames}.mp4"
        return film(media.reencode(original, path, every=every, scale=scale, frames=frames), estimator, scorer)

    return make


def film(path: Path, estimator: PoseEstimator, scorer: Scorer) -> Take:
    info = probe(path)
    tracker, people = Tracker(), dict[int, Person]()
    with FileSource(path) as source:
        for frame in source:
            (poses,) = estimator([frame.image])
            tracked = tracker.update(poses, (info.height, info.width), frame.captured_at)
            for track, box, joints in zip(tracked.track_ids, tracked.boxes, tracked.keypoints, strict=True):
                person = people.setdefault(track, Person())
                person.times.append(frame.captured_at)
                person.boxes.append(box)
                person.keypoints.append(joints)
    scores = {}
    for track, person in people.items():
        windows = slice_track(track, np.array(person.times), torch.stack(person.keypoints), scorer.spec)
        grid = np.rint(windows.end_times * scorer.spec.rate_hz).astype(int)
        scores[track] = dict(zip(grid.tolist(), scorer.score(windows).nll.tolist(), strict=True))
    return Take(info.width, info.fps, people, scores)


def overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / (float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared)


def same_windows(reference: Take, other: Take, length: int, rate_hz: float) -> Iterator[tuple[float, float]]:
    """Scores of windows in which both takes followed the same person from the first point to the last."""
    scale = reference.width / other.width
    seen = {
        (round(time, 3), track): box
        for track, person in reference.people.items()
        for time, box in zip(person.times, person.boxes, strict=True)
    }
    for theirs, person in other.people.items():
        for ours in reference.people:
            together = [
                time
                for time, box in zip(person.times, person.boxes, strict=True)
                if (found := seen.get((round(time, 3), ours))) is not None
                and overlap(found, box * scale) > SAME_PERSON_IOU
            ]
            for point in reference.scores[ours].keys() & other.scores[theirs].keys():
                first, last = (point - length + 1) / rate_hz - 1e-3, point / rate_hz + 1e-3
                wanted = int((last - first) * min(other.fps, reference.fps))
                if sum(first <= time <= last for time in together) >= wanted:
                    yield reference.scores[ours][point], other.scores[theirs][point]


@pytest.mark.parametrize(
    ("name", "frames", "windows"),
    [
        ("10 fps", 80, 40),
        pytest.param("15 fps", 80, 40, marks=pytest.mark.slow),
        pytest.param("half size", 80, 40, marks=pytest.mark.slow),
    ],
)
def test_a_walk_gets_the_same_scores_as_at_30_fps_and_full_size(
    name: str, frames: int, windows: int, take: Callable[[str, int], Take], capsys: pytest.CaptureFixture[str]
) -> None:
    spec = Checkpoint.load(DEFAULT_CHECKPOINT).spec
    pairs = np.array(list(same_windows(take("30 fps", frames), take(name, frames), spec.length, spec.rate_hz)))
    difference = np.abs(pairs[:, 1] - pairs[:, 0])
    with capsys.disabled():
        print(
            f"\n{name} against 30 fps: {len(pairs)} windows, "
            f"scores {pairs[:, 0].min():.2f} to {pairs[:, 0].max():.2f}; "
            f"difference median {np.median(difference):.4f}, worst {difference.max():.4f} bits per dimension"
        )
    assert len(pairs) > windows
    assert np.median(difference) < MEDIAN_BITS
    assert difference.max() < WORST_BITS
