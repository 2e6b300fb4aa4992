"""Render the simulated world: ``python -m simulation --seed 0 --seconds 20 --event fight --output out.mp4``.

With ``--truth`` it also writes the ground truth as JSON: the settings, the events with their onset and end, and the
identity, action, box and keypoints of every person in every frame.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from simulation.camera import Image
from simulation.rendering import SimulatedFrame, render
from simulation.scene import EVENTS, Scene, normal_scene, scene_with
from simulation.video import write_video


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a video and, if asked, its ground truth."""
    parser = argparse.ArgumentParser(
        prog="python -m simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="who is there, where, and what they do (default: 0)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the video (default: 20)")
    parser.add_argument("--event", choices=EVENTS, help="what happens out of the ordinary, after a quarter of the time")
    parser.add_argument("--output", type=Path, required=True, help="the MP4 to write")
    parser.add_argument("--truth", type=Path, help="the JSON to write")
    options = parser.parse_args(arguments)
    try:
        scene = _scene(options.seed, options.seconds, options.event)
        frames, kept = render(scene), list[dict[str, Any]]()
        write_video(options.output, _noting(frames, kept), scene.camera)
        if options.truth is not None:
            options.truth.write_text(json.dumps(_truth(scene, kept)), encoding="utf-8")
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{options.output}: {scene.frames} frames, {scene.people} people, {options.event or 'nothing unusual'}")


def _scene(seed: int, seconds: float, event: Any) -> Scene:
    if event is None:
        return normal_scene(seed, seconds)
    scene = scene_with(event, seed, onset_s=seconds / 4)
    (incident,) = scene.incidents
    return replace(scene, duration_s=seconds, incidents=(replace(incident, end_s=min(incident.end_s, seconds)),))


def _noting(frames: Iterator[SimulatedFrame], kept: list[dict[str, Any]]) -> Iterator[Image]:
    """The pictures of frames; their ground truth is appended to a list."""
    for frame in frames:
        people = [
            {
                "identity": person.identity,
                "action": person.action,
                "event": None if person.incident is None else person.incident.event,
                "box": [round(side, 2) for side in person.box],
                "keypoints": person.keypoints.round(2).tolist(),
            }
            for person in frame.people
        ]
        kept.append({"time_s": frame.time_s, "people": people})
        yield frame.image


def _truth(scene: Scene, frames: list[dict[str, Any]]) -> dict[str, Any]:
    events = [
        asdict(incident)
        for incident in itertools.takewhile(lambda one: one.onset_s < scene.duration_s, scene.schedule())
    ]
    return {
        "seed": scene.seed,
        "place": scene.place,
        "camera": asdict(scene.camera),
        "events": events,
        "frames": frames,
    }


if __name__ == "__main__":
    main()
