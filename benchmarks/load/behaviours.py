"""Milliseconds per live tick of the named behaviours: ``python -m benchmarks.load.behaviours [--people N] [--fps N]``.

People walk up and down in front of one camera, and their joints are jittered as those of pose estimators are. Every
tenth falls from time to time. Each frame is one call of `Behaviours.observe`; the first seconds, in which the history
fills, do not count. The target is a mean of at most 1 ms with 40 people.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.load.scorer import processor
from model.behaviours import Behaviours
from pose.skeleton import COCO_JOINTS
from pose.unseen import STANDING

SIZE = (1920, 1080)
WARM_UP_S = 10.0
FALL_EVERY_S = 12.0
DOWN_S = 4.0

FIGURE = np.array([(0.0, 0.08)] + [(sign * across, down) for across, down in STANDING.values() for sign in (1, -1)])
"""A standing adult, in body heights, for COCO's 17 joints: the nose, then left and right of each pair."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Milliseconds per live tick of the named behaviours.")
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--fps", type=float, default=15.0)
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of the scene that are measured")
    arguments = parser.parse_args()
    watch, taken = Behaviours(), []
    for moment, boxes, keypoints in scene(arguments.people, arguments.fps, WARM_UP_S + arguments.seconds):
        began = time.perf_counter()
        watch.observe(moment, range(arguments.people), boxes, keypoints, SIZE)
        if moment >= WARM_UP_S:
            taken.append(1000 * (time.perf_counter() - began))
    table = Table("people", "fps", "mean, ms", "95 %, ms", "highest, ms")
    figures = (np.mean(taken), np.quantile(taken, 0.95), np.max(taken))
    table.add_row(str(arguments.people), f"{arguments.fps:g}", *(f"{figure:.2f}" for figure in figures))
    console = Console(width=100)
    console.print(table)
    console.print(processor())


def scene(people: int, fps: float, seconds: float) -> Iterator[tuple[float, NDArray[np.float32], NDArray[np.float32]]]:
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
