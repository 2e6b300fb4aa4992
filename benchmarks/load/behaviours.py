"""What the named behaviours cost: ``python -m benchmarks.load.behaviours [--people N] [--fps N] [--clip FILE]``.

First, milliseconds per live tick. People walk up and down in front of one camera, and their joints are jittered as
those of pose estimators are. Every tenth falls from time to time. Each frame is one call of `Behaviours.observe`; the
first seconds, in which the history fills, do not count. The target is a mean of at most 1 ms with 40 people. It is
processor time; the scene is seen several times, and the shortest time of each tick counts, so that other programs
disturb the figures little.

With --clip also the share of a clip's time: the clip is scored as the service scores it, decoder process included. The
target is at most 5 %.
"""

from __future__ import annotations

import argparse
import time as clock
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.load.clip import Silent, timed_models
from benchmarks.load.scorer import processor
from model.behaviours import BEHAVIOURS, Behaviour, Behaviours, Finding
from pose.skeleton import COCO_JOINTS
from pose.unseen import STANDING
from service.clips import scorer
from service.settings import load_settings

SIZE = (1920, 1080)
WARM_UP_S = 10.0
FALL_EVERY_S = 12.0
DOWN_S = 4.0

Shot = tuple[float, NDArray[np.float32], NDArray[np.float32]]
"""A time in seconds, boxes and keypoints."""

FIGURE = np.array([(0.0, 0.08)] + [(sign * across, down) for across, down in STANDING.values() for sign in (1, -1)])
"""A standing adult, in body heights, for COCO's 17 joints: the nose, then left and right of each pair."""


class TimedBehaviours(Behaviours):
    """Behaviours that add up the seconds of their calls, those of all instances together."""

    seconds = 0.0

    def observe(
        self,
        time: float,
        track_ids: Sequence[int],
        boxes: NDArray[np.float32],
        keypoints: NDArray[np.float32],
        size: tuple[int, int],
    ) -> list[Finding]:
        """Observe, and take the time."""
        began = clock.perf_counter()
        findings = super().observe(time, track_ids, boxes, keypoints, size)
        TimedBehaviours.seconds += clock.perf_counter() - began
        return findings


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--fps", type=float, default=15.0)
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of the scene that are measured")
    parser.add_argument("--rounds", type=int, default=3, help="times that the scene is seen")
    parser.add_argument("--clip", type=Path, help="also measure the share of this clip's time")
    arguments = parser.parse_args()
    frames = list(scene(arguments.people, arguments.fps, WARM_UP_S + arguments.seconds))
    table = Table("people", "fps", "behaviours", "mean, ms", "95 %, ms", "highest, ms", title="A live tick")
    one_by_one = {str(behaviour.kind): (behaviour,) for behaviour in BEHAVIOURS}
    for name, behaviours in {"all": BEHAVIOURS, "kinematics alone": (), **one_by_one}.items():
        taken = np.min([ticks(frames, arguments.people, behaviours) for _ in range(arguments.rounds)], axis=0)
        figures = (np.mean(taken), np.quantile(taken, 0.95), np.max(taken))
        table.add_row(
            str(arguments.people), f"{arguments.fps:g}", name, *(f"{1000 * figure:.2f}" for figure in figures)
        )
    console = Console(width=100)
    console.print(table)
    if arguments.clip:
        console.print(share(arguments.clip))
    console.print(processor())


def ticks(frames: Sequence[Shot], people: int, behaviours: Sequence[Behaviour]) -> list[float]:
    """Seconds of processor time of each frame after the first seconds."""
    watch, taken = Behaviours(behaviours), []
    for moment, boxes, keypoints in frames:
        began = clock.thread_time()
        watch.observe(moment, range(people), boxes, keypoints, SIZE)
        if moment >= WARM_UP_S:
            taken.append(clock.thread_time() - began)
    return taken


def share(clip: Path) -> Table:
    """The seconds that a clip takes, as a table."""
    settings = load_settings()
    models, estimator = timed_models(settings, 1)
    with patch.object(scorer, "Behaviours", TimedBehaviours):
        began = clock.perf_counter()
        result = scorer.ClipScorer(models, scorer.clip_limits(settings)).score(clip, Silent())
        wall = clock.perf_counter() - began
    people = sum(len(frame.people) for frame in result.frames) / max(len(result.frames), 1)
    table = Table("clip", "frames", "people", "whole, s", "pose, s", "behaviours, s", "share", title="A clip")
    seconds = (wall, estimator.seconds, TimedBehaviours.seconds)
    table.add_row(
        *(clip.name, str(result.clip.frames), f"{people:.1f}"),
        *(f"{each:.2f}" for each in seconds),
        f"{TimedBehaviours.seconds / wall:.1%}",
    )
    return table


def scene(people: int, fps: float, seconds: float) -> Iterator[Shot]:
    """Times, boxes ``(people, 4)`` and keypoints ``(people, 17, 3)`` of a scene."""
    rng = np.random.default_rng(0)
    height = rng.uniform(100, 300, people)
    start = rng.uniform((100, 400), (SIZE[0] - 100, SIZE[1] - 100), (people, 2))
    for frame in range(round(seconds * fps)):
        moment = frame / fps
        angle = np.where(np.arange(people) % 10 == 0, np.clip(moment % FALL_EVERY_S - DOWN_S, 0, 1) * 90, 0.0)
        turn = np.deg2rad(np.where(moment % FALL_EVERY_S > 2 * DOWN_S, 0.0, angle))[:, None]
        across, up = FIGURE[:, 0] + 0.03 * np.sin(8 * moment), 1.0 - FIGURE[:, 1]
        x = across * np.cos(turn) + up * np.sin(turn)
        y = across * np.sin(turn) - up * np.cos(turn)
        place = np.stack([x, y], axis=2) * height[:, None, None] + start[:, None]
        place[..., 0] += (height * np.sin(moment))[:, None]
        place += rng.normal(0, 0.01, place.shape) * height[:, None, None]
        keypoints = np.concatenate([place, rng.uniform(0.2, 1.0, (people, len(COCO_JOINTS), 1))], axis=2)
        boxes = np.concatenate([place.min(axis=1), place.max(axis=1)], axis=1)
        yield moment, boxes.astype(np.float32), keypoints.astype(np.float32)


if __name__ == "__main__":
    main()
