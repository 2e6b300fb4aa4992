"""The demo's models on scenes that neither was trained on: ``python -m benchmarks.research.simulation [--json FILE]``.

Renders held-out scenes as the demo's cameras would see them, with each event and with none, and passes every frame
through the service's own stages: pose estimator, tracker, windows, scorer, calibration, incident rules. It prints the
precision of the keypoints (COCO's measure, at the confidence that the service uses), how well people keep their track
number, how many events are found and how soon, and the false alarms of normal life. Intervals are the middle 90 % of
samples of scenes, drawn with replacement.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import motmetrics
import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torchvision.ops import box_iou

from benchmarks.assets.small_pose import at_demo_rate, findable, follow
from model.budget import UNUSUAL_SHARE
from model.checkpoint import Checkpoint
from model.metrics import Segments, detection_delays, event_f1
from model.online import OnlineFrameScore
from model.scorer import Scorer
from pose.estimator import Poses
from pose.skeleton import COCO_JOINTS
from pose.tracker import TrackedPoses
from pose.windows import WindowBuffer
from service.cameras.config import CameraConfig
from service.cameras.judge import Meaning, rules_of
from service.documents.base import EndReason
from service.documents.budget import HOURS_PER_DAY
from service.live.detector import IncidentDetector, Observation
from service.live.incident import Change, Ended, Started
from simulation.rendering import OUTSIDE, SimulatedFrame
from simulation.scene import DEMO_FPS, USUAL_EVENTS, Event, Scene, normal_scene, scene_with
from simulation.weights import CHECKPOINT, POSE_WEIGHTS

_FIRST_SEED: Final = 50_000
"""Between the seeds of the demo and those of training."""

_ONSET_S: Final = 10.0
_NORMAL_S: Final = 60.0
_JUDGED: Final = 10
"""Keypoints are judged in one of so many frames: a second apart, people have moved."""

_AREA: Final = 0.53
"""Share of a box that COCO's people fill; the simulation knows no area."""

_SAMPLES: Final = 1000
_SAME_IOU: Final = 0.5
"""Least intersection over union of two boxes of the same person, as the MOT challenges take it."""

_OVERLAP: Final = 1e-9
_CLOSE: Final = 0.3
"""Least temporal intersection over union of an incident and its event: any at all, and a strict one."""


@dataclass(frozen=True, slots=True)
class Told:
    """Incidents of one scene at one threshold.

    Attributes:
        alarms: For each the frame in which it was told, and its end.
        incidents: For each the first frame at or above the opening level, and its end.
    """

    alarms: list[tuple[int, int]]
    incidents: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Followed:
    """What became of one scene.

    Attributes:
        event: What happened in it.
        events: First frame and end of what happened.
        told: What was told of it, by the false alarms per hour that were asked for.
        frames: Frames of the scene.
        truth: People and keypoints of the judged frames, as COCO's annotations.
        found: The same as COCO's results.
        identity: Counts of identities, as motmetrics names them.
    """

    event: Event | None
    events: list[tuple[int, int]]
    told: dict[float, Told]
    frames: int
    truth: list[dict[str, Any]]
    found: list[dict[str, Any]]
    identity: dict[str, int]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=POSE_WEIGHTS, help="the YOLO-pose")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="the DA-Flow")
    parser.add_argument("--scenes", type=int, default=20, help="scenes of each event (default: 20)")
    parser.add_argument("--normal", type=int, default=60, help="minutes without events (default: 60)")
    parser.add_argument(
        "--false-alarms", type=float, nargs="+", default=[1.0, 10.0, 60.0], help="per hour that thresholds may cost"
    )
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()

    scenes: list[tuple[Event | None, int]] = [
        (event, _FIRST_SEED + 1000 * number + seed)
        for number, event in enumerate(USUAL_EVENTS, 1)
        for seed in range(options.scenes)
    ]
    scenes += [(None, _FIRST_SEED + seed) for seed in range(options.normal)]
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(options.processes, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        work = partial(_follow, options.weights, options.checkpoint, options.false_alarms, Path(folder))
        console = Console(stderr=True)
        followed = list(track(pool.map(work, scenes), "filming", total=len(scenes), console=console))
    figures = summarise(followed, options.false_alarms)
    Console(width=110).print(*_tables(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _scene(event: Event | None, seed: int) -> Scene:
    return at_demo_rate(normal_scene(seed, _NORMAL_S) if event is None else scene_with(event, seed, _ONSET_S))


def _follow(
    weights: Path, checkpoint: Path, rates: Sequence[float], folder: Path, what: tuple[Event | None, int]
) -> Followed:
    event, seed = what
    scene = _scene(event, seed)
    scorer = Scorer(Checkpoint.load(checkpoint))
    windows, scores = WindowBuffer(scorer.spec), OnlineFrameScore(scorer.spec)
    config = CameraConfig(url="skeletons:")
    detectors = {
        rate: IncidentDetector("camera", rules_of(config, _meaning(scorer, rate)), lambda: "incident") for rate in rates
    }
    identities = motmetrics.MOTAccumulator(auto_id=True)
    changes: dict[float, list[tuple[float, Change]]] = {rate: [] for rate in rates}
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, (frame, poses, tracked) in enumerate(follow(scene, weights, folder)):
        times = np.full(len(tracked), frame.time_s)
        judged = scorer.score(windows.push(times, tracked.track_ids, tracked.keypoints))
        for window in judged:
            scores.add(window)
        score = scores.frame(frame.time_s)
        level = None if math.isnan(score.smoothed) else float(scorer.calibration.level(np.array(score.smoothed)))
        people = {person: window.level for person, window in score.people.items()}
        for rate, detector in detectors.items():
            observed = detector.observe(Observation(frame.time_s, level, people))
            changes[rate] += [(frame.time_s, change) for change in observed]
        _identify(identities, frame, tracked)
        if number % _JUDGED == 0:
            image = seed * 10_000 + number
            truth += [{**person, "image_id": image} for person in labelled(frame)]
            found += [{**person, "image_id": image} for person in detections(poses)]
    end = (scene.frames or 0) / DEMO_FPS
    for rate, detector in detectors.items():
        changes[rate] += [(end, change) for change in detector.end(end, EndReason.CAMERA_STOPPED)]
    return Followed(
        event=event,
        events=[_frames(incident.onset_s, incident.end_s) for incident in scene.incidents],
        told={
            rate: Told(_spans(noted, lambda moment, _: moment), _spans(noted, lambda _, started: started))
            for rate, noted in changes.items()
        },
        frames=scene.frames or 0,
        truth=truth,
        found=found,
        identity=_counts(identities),
    )


def _meaning(scorer: Scorer, rate: float) -> Meaning:
    """The shipped calibration, with a budget of which unusual movement may spend so many false alarms per hour."""
    budget = HOURS_PER_DAY * rate / UNUSUAL_SHARE
    return Meaning(scorer.calibration, of="shipped", adapted=False, budget=budget)


def _frames(start_s: float, end_s: float) -> tuple[int, int]:
    """A span of time as first frame and the one after the last."""
    return round(start_s * DEMO_FPS), round(end_s * DEMO_FPS) + 1


def _spans(changes: Iterable[tuple[float, Change]], begin: Callable[[float, float], float]) -> list[tuple[int, int]]:
    spans, start = [], 0.0
    for moment, change in changes:
        if isinstance(change, Started):
            start = begin(moment, change.incident.started)
        elif isinstance(change, Ended):
            spans.append(_frames(start, max(change.incident.updated, start)))
    return spans


def labelled(frame: SimulatedFrame) -> list[dict[str, Any]]:
    """The truth about a frame in COCO's terms; people of whom too little is seen count neither way."""
    people = []
    for person in frame.people:
        left, top, right, bottom = person.box
        keypoints = person.keypoints.copy()
        keypoints[keypoints[:, 2] == OUTSIDE] = 0
        hidden = not findable(person)
        people.append(
            {
                "category_id": 1,
                "bbox": [left, top, right - left, bottom - top],
                "area": _AREA * (right - left) * (bottom - top),
                "keypoints": keypoints.ravel().tolist(),
                "num_keypoints": 0 if hidden else int((keypoints[:, 2] > 0).sum()),
                "iscrowd": int(hidden),
            }
        )
    return people


def detections(poses: Poses) -> list[dict[str, Any]]:
    """What was found in a frame in COCO's terms."""
    return [
        {"category_id": 1, "keypoints": keypoints.flatten().tolist(), "score": float(confidence)}
        for keypoints, confidence in zip(poses.keypoints, poses.confidences, strict=True)
    ]


def _identify(accumulator: Any, frame: SimulatedFrame, tracked: TrackedPoses) -> None:
    """Compare who is there with who was followed; people of whom too little is seen are not asked for."""
    people = [person for person in frame.people if findable(person)]
    boxes = torch.tensor([person.box for person in people]).reshape(-1, 4)
    distance = 1 - box_iou(boxes, torch.from_numpy(tracked.boxes)).numpy().astype(np.float64)
    distance[distance > 1 - _SAME_IOU] = np.nan
    accumulator.update([person.identity for person in people], tracked.track_ids, distance)


def _counts(accumulator: Any) -> dict[str, int]:
    names = ["num_switches", "num_objects", "num_unique_objects", "idtp", "idfp", "idfn"]
    found = motmetrics.metrics.create().compute(accumulator, metrics=names, return_dataframe=False)
    return {name: int(found[name]) for name in names}


def summarise(followed: Sequence[Followed], rates: Sequence[float]) -> dict[str, Any]:
    """All figures.

    Args:
        followed: The scenes.
        rates: False alarms per hour that thresholds may cost.
    """
    eventful = [scene for scene in followed if scene.event is not None]
    normal = [scene for scene in followed if scene.event is None]
    return {
        "scenes": {"events": len(eventful), "normal": len(normal), "normal_hours": round(_hours(normal), 3)},
        "keypoints": keypoint_precision(followed),
        "identity": _identity(followed),
        "rates": [
            {
                "asked": rate,
                "false_alarms_per_hour": _interval(normal, partial(_false_alarms, rate)),
                "events": {
                    "all": _events(eventful, rate),
                    **{event: _events([one for one in eventful if one.event == event], rate) for event in USUAL_EVENTS},
                },
            }
            for rate in rates
        ],
    }


def _false_alarms(rate: float, scenes: Sequence[Followed]) -> float:
    return sum(len(scene.told[rate].incidents) for scene in scenes) / _hours(scenes)


def keypoint_precision(followed: Sequence[Followed]) -> dict[str, float]:
    """COCO's mean average precision of keypoints over the judged frames."""
    truth = [person for scene in followed for person in scene.truth]
    found = [person for scene in followed for person in scene.found]
    data = COCO()
    data.dataset = {
        "images": [{"id": image} for image in sorted({person["image_id"] for person in truth + found})],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO_JOINTS)}],
        "annotations": [{**person, "id": number} for number, person in enumerate(truth, 1)],
    }
    # The library prints its progress.
    with contextlib.redirect_stdout(io.StringIO()):
        data.createIndex()
        judge = COCOeval(data, data.loadRes(found), "keypoints")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return {
        "map50_95": round(float(judge.stats[0]), 4),
        "map50": round(float(judge.stats[1]), 4),
        "recall": round(float(judge.stats[5]), 4),
        "people": sum(not person["iscrowd"] for person in truth),
        "pictures": len(data.dataset["images"]),
    }


def _identity(followed: Sequence[Followed]) -> dict[str, float]:
    total = {name: sum(scene.identity[name] for scene in followed) for name in followed[0].identity}
    minutes = total["num_objects"] / DEMO_FPS / 60
    return {
        "switches": total["num_switches"],
        "person_minutes": round(minutes, 1),
        "switches_per_person_minute": round(total["num_switches"] / minutes, 4),
        "idf1": round(2 * total["idtp"] / (2 * total["idtp"] + total["idfp"] + total["idfn"]), 4),
    }


def _events(scenes: Sequence[Followed], rate: float) -> dict[str, Any]:
    delays = [float(delay) / DEMO_FPS for scene in scenes for delay in _delays(scene, rate)]
    return {
        "events": len(scenes),
        "detected": len(delays),
        "f1": _interval(scenes, partial(_f1, rate, min_iou=_OVERLAP)),
        "f1_iou": _interval(scenes, partial(_f1, rate, min_iou=_CLOSE)),
        "onset_to_incident_s": [round(float(share), 2) for share in np.quantile(delays, [0.0, 0.5, 0.9, 1.0])]
        if delays
        else None,
    }


def _delays(scene: Followed, rate: float) -> Sequence[int]:
    return [int(delay) for delay in detection_delays(_array(scene.told[rate].alarms), _array(scene.events))]


def _f1(rate: float, scenes: Sequence[Followed], min_iou: float) -> float:
    """F1 over scenes, laid one after the other."""
    starts = np.cumsum([0, *(scene.frames + 1 for scene in scenes[:-1])])
    pairs = list(zip(scenes, starts, strict=True))
    predicted = np.concatenate([_array(scene.told[rate].incidents) + start for scene, start in pairs])
    events = np.concatenate([_array(scene.events) + start for scene, start in pairs])
    return event_f1(predicted, events, min_iou)


def _array(spans: Sequence[tuple[int, int]]) -> Segments:
    return np.array(spans, np.int64).reshape(-1, 2)


def _hours(scenes: Sequence[Followed]) -> float:
    return sum(scene.frames for scene in scenes) / DEMO_FPS / 3600


def _interval(scenes: Sequence[Followed], figure: Callable[[Sequence[Followed]], float]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    drawn = (rng.integers(len(scenes), size=len(scenes)) for _ in range(_SAMPLES))
    sampled = [figure([scenes[index] for index in indices]) for indices in drawn]
    low, high = np.quantile(sampled, [0.05, 0.95])
    return {"value": round(figure(scenes), 4), "interval": [round(float(low), 4), round(float(high), 4)]}


def _tables(figures: dict[str, Any]) -> list[Table]:
    scenes, keypoints, identity = figures["scenes"], figures["keypoints"], figures["identity"]
    whole = Table("", "", title=f"{scenes['events']} scenes with an event, {scenes['normal_hours']:.2f} h without")
    whole.add_row("keypoint mAP50-95", f"{keypoints['map50_95']:.3f} ({keypoints['people']} people)")
    whole.add_row("keypoint mAP50", f"{keypoints['map50']:.3f}")
    whole.add_row("identity switches", f"{identity['switches']} in {identity['person_minutes']:.0f} person-minutes")
    whole.add_row("IDF1", f"{identity['idf1']:.3f}")
    return [whole, *(_table(found) for found in figures["rates"])]


def _table(found: dict[str, Any]) -> Table:
    false = found["false_alarms_per_hour"]
    table = Table(
        *("", "detected", "F1", f"F1 at IoU {_CLOSE:g}", "onset to incident, s: least, median, 90 %, most"),
        title=f"{found['asked']:g} false alarms per hour asked for, {_spread(false)} on normal scenes",
    )
    for name, row in found["events"].items():
        delays = row["onset_to_incident_s"]
        table.add_row(
            name,
            f"{row['detected']} of {row['events']}",
            _spread(row["f1"]),
            _spread(row["f1_iou"]),
            "-" if delays is None else ", ".join(f"{delay:.1f}" for delay in delays),
        )
    return table


def _spread(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['value']:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
