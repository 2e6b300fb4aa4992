"""Calibrations of the demo's cameras: ``python -m benchmarks.assets.demo_calibration``.

Renders normal life of each camera, from half an hour after the start of the demo on, detects and tracks people as the
service does, fits the calibration that the service would fit, and writes it beside the demo's models.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from benchmarks.assets.small_pose import follow
from model.adaptation import fit_camera
from model.behaviours import Behaviours, Finding, Kind
from model.behaviours.calibration import NormalLife, fit_behaviours
from model.budget import share_of
from model.checkpoint import Checkpoint
from model.footage import PoseFootage, PoseTrack
from service.calibration.report import fitted_report
from service.cameras.config import CameraConfig
from simulation.demo import CALIBRATIONS, DEMO_CAMERAS, DemoCamera
from simulation.scene import demo_scene
from simulation.weights import CHECKPOINT, POSE_WEIGHTS

_START_S: Final = 1800.0
_PIECE_S: Final = 120.0
_BUDGET: Final = 48.0
"""False alarms per day for which the thresholds are fitted: half of them of unusual movement, one an hour."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=30, help="of normal life for each camera (default: 30)")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="whose scores are calibrated")
    parser.add_argument("--output", type=Path, default=CALIBRATIONS, help="the JSON to write")
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    options = parser.parse_args()
    pieces = [(camera, index) for camera in DEMO_CAMERAS for index in range(round(options.minutes * 60 / _PIECE_S))]
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(options.processes, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        filmed = list(
            track(
                pool.map(partial(_film, Path(folder)), pieces),
                "filming",
                total=len(pieces),
                console=Console(stderr=True),
            )
        )
    base = Checkpoint.load(options.checkpoint)
    footage: dict[str, list[_Piece]] = defaultdict(list)
    for (camera, _), piece in zip(pieces, filmed, strict=True):
        footage[camera.id].append(piece)
    found = {camera_id: _fit(recordings, base) for camera_id, recordings in footage.items()}
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for camera_id, entry in found.items():
        print(camera_id, entry["report"])


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """A piece of normal life: its poses, and time, number of people and findings of each frame."""

    poses: PoseFootage
    seen: list[tuple[float, int, list[Finding]]]


def _film(folder: Path, piece: tuple[DemoCamera, int]) -> _Piece:
    camera, index = piece
    start = _START_S + index * _PIECE_S
    # A piece ends where the next begins; a person in both pieces gets two tracks.
    scene = replace(demo_scene(camera.seed), duration_s=start + _PIECE_S)
    behaviours, size = Behaviours(), (scene.camera.width, scene.camera.height)
    found: list[tuple[float, int, list[Finding]]] = []
    times: list[float] = []
    seen: dict[int, list[tuple[float, torch.Tensor]]] = defaultdict(list)
    for frame, _, tracked in follow(scene, POSE_WEIGHTS, folder, start):
        times.append(frame.time_s)
        people = tracked.track_ids
        findings = behaviours.observe(frame.time_s, people, tracked.boxes, tracked.keypoints.numpy(), size)
        found.append((frame.time_s, len(people), findings))
        for person, keypoints in zip(tracked.track_ids, tracked.keypoints, strict=True):
            seen[person].append((frame.time_s, keypoints))
    tracks = [
        PoseTrack(person, np.array([time for time, _ in poses]), torch.stack([pose for _, pose in poses]))
        for person, poses in seen.items()
    ]
    return _Piece(PoseFootage(np.array(times), tuple(tracks)), found)


def _fit(pieces: list[_Piece], base: Checkpoint) -> dict[str, Any]:
    config = CameraConfig(url="skeletons:")
    fit = fit_camera(
        [piece.poses for piece in pieces],
        base,
        false_alarms_per_day=share_of(Kind.UNUSUAL, _BUDGET),
        merge_s=config.quiet_s,
        min_duration_s=config.min_duration_s,
    )
    life = NormalLife(behaviour.kind for behaviour in config.looked_for)
    for piece in pieces:
        for time, people, findings in piece.seen:
            life.add(time, people, findings)
    usual = fit_behaviours(life, false_alarms_per_day=_BUDGET, merge_s=config.quiet_s)
    report = fitted_report(fit, base, _BUDGET, usual)
    return {"report": report.model_dump(mode="json"), "calibration": fit.calibration.to_dict()}


if __name__ == "__main__":
    main()
