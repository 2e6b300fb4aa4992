"""The small YOLO-pose that ships with the simulation: frames to train on, training, export, skeletons.

``python -m benchmarks.assets.small_pose pictures DIR`` renders scenes with and without events and writes every
fifteenth frame with its ground truth, in the layout that Ultralytics reads. ``… train DIR --output FILE.onnx`` trains a
YOLO11-pose of an eighth of the full width with Ultralytics' own trainer, and exports it. ``… skeletons DIR --weights
FILE.onnx`` renders scenes of normal life, detects and tracks people with these weights, and writes the skeletons that
``daflow train --layout json`` reads.

Seeds below `FIRST_SEED` are never rendered here: they belong to the demo and to ``benchmarks.research.simulation``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
import yaml
from rich.progress import track

from model.dataset import SUFFIX
from model.layouts import META_SUFFIX
from pose.estimator import PoseEstimator, Poses, configure_ultralytics
from pose.skeleton import COCO_JOINTS
from pose.tracker import TrackedPoses, Tracker
from simulation.camera import SceneCamera
from simulation.rendering import OUTSIDE, VISIBLE, SimulatedFrame, SimulatedPerson, render
from simulation.scene import DEMO_FPS, USUAL_EVENTS, Scene, normal_scene, scene_with
from simulation.weights import IMAGE_SIZE

FIRST_SEED: Final = 100_000
_VALIDATION_SEED: Final = 200_000
_SKELETON_SEED: Final = 300_000

_SCENE_S: Final = 20.0
_EVERY: Final = 15
"""Frames from one picture to the next: a second apart, people have moved."""

_ONSET_S: Final = 4.0
_MIN_SEEN: Final = 3
"""Visible joints that a person needs to be labelled."""

_WIDTH: Final = 0.125
_HALF_FROM: Final = 256
"""Weights in tensors of at least so many numbers are stored with half precision, and computed with in full."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    pictures = commands.add_parser("pictures", help="film scenes for training and validation")
    pictures.add_argument("directory", type=Path)
    pictures.add_argument("--scenes", type=int, default=1200, help="scenes to learn from (default: 1200)")
    pictures.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    pictures.set_defaults(run=lambda options: film(options.directory, options.scenes, options.processes))
    learn = commands.add_parser("train", help="train and export")
    learn.add_argument("directory", type=Path, help="where pictures were written")
    learn.add_argument("--output", type=Path, required=True, help="the ONNX file to write")
    learn.add_argument("--epochs", type=int, default=60)
    learn.add_argument("--hours", type=float, help="train for so long instead, whatever the number of epochs")
    learn.add_argument("--batch", type=int, default=256)
    learn.add_argument("--device", default="cpu")
    learn.add_argument("--workers", type=int, default=multiprocessing.cpu_count())
    learn.set_defaults(run=_train)
    skeletons = commands.add_parser("skeletons", help="film normal life and follow its people")
    skeletons.add_argument("directory", type=Path)
    skeletons.add_argument("--weights", type=Path, required=True, help="what finds them")
    skeletons.add_argument("--scenes", type=int, default=64)
    skeletons.add_argument("--seconds", type=float, default=60.0, help="length of a scene (default: 60)")
    skeletons.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    skeletons.set_defaults(run=_skeletons)
    options = parser.parse_args()
    options.run(options)


def film(directory: Path, scenes: int, processes: int) -> None:
    """Write pictures and labels for training, and a twentieth as many scenes for validation.

    Args:
        directory: Where to; a ``data.yaml`` in it tells Ultralytics about the rest.
        scenes: Scenes to train on.
        processes: Scenes that are rendered at a time.
    """
    for split, first, count in (
        ("train", FIRST_SEED, scenes),
        ("val", _VALIDATION_SEED, max(2, scenes // 20)),
    ):
        for kind in ("images", "labels"):
            (directory / kind / split).mkdir(parents=True, exist_ok=True)
        _each(partial(_film_scene, directory, split), range(first, first + count), processes, f"filming {split}")
    names = list(COCO_JOINTS)
    flip = [names.index(_mirrored(name)) for name in names]
    (directory / "data.yaml").write_text(
        yaml.safe_dump(
            {
                "path": str(directory.resolve()),
                "train": "images/train",
                "val": "images/val",
                "names": {0: "person"},
                "kpt_shape": [len(names), 3],
                "flip_idx": flip,
            }
        )
    )


def _mirrored(name: str) -> str:
    return name.replace("left", "right") if "left" in name else name.replace("right", "left")


def _each(work: Any, items: Iterable[int], processes: int, title: str) -> None:
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        items = list(items)
        for _ in track(pool.map(work, items), title, total=len(items)):
            pass


def _film_scene(directory: Path, split: str, seed: int) -> None:
    cv2.setNumThreads(1)
    # Half of the scenes are normal, the others share the events.
    scene = (
        normal_scene(seed, _SCENE_S)
        if seed % 2
        else scene_with(USUAL_EVENTS[seed // 2 % len(USUAL_EVENTS)], seed, _ONSET_S)
    )
    for number, frame in enumerate(render(scene, every=_EVERY)):
        name = f"{seed}-{number:03d}"
        # The sensor has compressed the picture as JPEG already; compressing it once more hardly changes it.
        cv2.imwrite(str(directory / "images" / split / f"{name}.jpg"), frame.image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        (directory / "labels" / split / f"{name}.txt").write_text(labels(frame, scene.camera))


def labels(frame: SimulatedFrame, camera: SceneCamera) -> str:
    """The label of a frame for Ultralytics: for each person class, box and keypoints in shares of the picture."""
    size = np.array([camera.width, camera.height])
    lines = []
    for person in frame.people:
        if not findable(person):
            continue
        left_top, right_bottom = np.array(person.box).reshape(2, 2) / size
        keypoints = person.keypoints.copy()
        keypoints[:, :2] /= size
        keypoints[keypoints[:, 2] == OUTSIDE] = 0
        numbers = [*((left_top + right_bottom) / 2), *(right_bottom - left_top), *keypoints.ravel()]
        lines.append(" ".join(["0", *(f"{number:.5g}" for number in numbers)]))
    return "\n".join(lines)


def findable(person: SimulatedPerson) -> bool:
    """Whether enough of a person is visible for an estimator to find."""
    return int((person.keypoints[:, 2] == VISIBLE).sum()) >= _MIN_SEEN


def _train(options: argparse.Namespace) -> None:
    configure_ultralytics(options.directory / "ultralytics")
    import ultralytics
    from ultralytics import YOLO

    described = yaml.safe_load((Path(ultralytics.__file__).parent / "cfg/models/11/yolo11-pose.yaml").read_text())
    described["scales"] = {"n": [0.5, _WIDTH, 1024]}
    architecture = options.directory / "yolo11n-pose.yaml"
    architecture.write_text(yaml.safe_dump(described))
    network = YOLO(str(architecture), task="pose")
    network.train(
        data=str(options.directory / "data.yaml"),
        epochs=options.epochs,
        time=options.hours,
        imgsz=IMAGE_SIZE,
        batch=options.batch,
        device=options.device,
        workers=options.workers,
        cache="ram",
        optimizer="AdamW",
        lr0=2e-3,
        cos_lr=True,
        warmup_epochs=1.0,
        close_mosaic=8,
        val=False,
        plots=False,
        seed=0,
        project=str(options.directory / "runs"),
        name="small",
        exist_ok=True,
    )
    best = YOLO(options.directory / "runs" / "small" / "weights" / "last.pt")
    figures = best.val(data=str(options.directory / "data.yaml"), imgsz=IMAGE_SIZE, plots=False, device=options.device)
    print(f"validation: keypoint mAP50-95 {figures.pose.map:.3f}, box mAP50-95 {figures.box.map:.3f}")
    exported = best.export(format="onnx", imgsz=IMAGE_SIZE, dynamic=True, simplify=False, device="cpu")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(exported, options.output)
    store_as_half(options.output)
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.2f} MB")


def store_as_half(path: Path) -> None:
    """Store the large weights of an ONNX file with half precision; the network still computes in single precision."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size < _HALF_FROM:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _skeletons(options: argparse.Namespace) -> None:
    options.directory.mkdir(parents=True, exist_ok=True)
    work = partial(_follow_scene, options.directory, options.weights, options.seconds)
    _each(work, range(_SKELETON_SEED, _SKELETON_SEED + options.scenes), options.processes, "following")


def _follow_scene(directory: Path, weights: Path, seconds: float, seed: int) -> None:
    scene = at_demo_rate(normal_scene(seed, seconds))
    people: dict[str, dict[str, Any]] = defaultdict(dict)
    for number, (_, _, found) in enumerate(follow(scene, weights, directory)):
        for person, keypoints in zip(found.track_ids, found.keypoints, strict=True):
            pose = [round(float(value), 3) for value in keypoints.flatten()]
            people[str(person)][str(number)] = {"keypoints": pose, "scores": None}
    name = f"normal-{seed}"
    (directory / f"{name}{SUFFIX}").write_text(json.dumps(people, separators=(",", ":")))
    (directory / f"{name}{META_SUFFIX}").write_text(json.dumps({"fps": DEMO_FPS, "frames": scene.frames}))


def at_demo_rate(scene: Scene) -> Scene:
    """A scene at the size and rate of the demo's cameras."""
    return replace(scene, camera=replace(scene.camera, fps=DEMO_FPS))


def follow(
    scene: Scene, weights: Path, directory: Path, start_s: float = 0.0
) -> Iterator[tuple[SimulatedFrame, Poses, TrackedPoses]]:
    """A scene's frames, the people that the estimator finds in each, and those of them who have a track.

    Args:
        scene: The scene.
        weights: The pose weights.
        directory: Where Ultralytics may write its settings.
        start_s: Seconds of the scene before the first frame.
    """
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    configure_ultralytics(directory / "ultralytics")
    estimator = PoseEstimator(weights, image_size=IMAGE_SIZE)
    tracker = Tracker()
    for frame in render(scene, start_s=start_s):
        poses = estimator([frame.image])[0]
        yield frame, poses, tracker.update(poses, frame.image.shape[:2], frame.time_s)


if __name__ == "__main__":
    main()
