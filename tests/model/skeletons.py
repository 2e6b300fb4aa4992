"""A small data set of people who sway, in STG-NF's layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image


def swaying(frames: int, seed: int) -> np.ndarray:
    """COCO poses ``(frames, 17, 3)`` of somebody who sways and every four seconds jerks."""
    body, rng = np.random.default_rng(0), np.random.default_rng(seed)
    base = body.normal(0, 40, (17, 2)) + rng.uniform(200, 600, 2)
    phase, amplitude = body.uniform(0, 6, (17, 2)), body.uniform(2, 10, (17, 2))
    time = np.arange(frames)[:, None, None] / 15
    poses = base + amplitude * np.sin(2 * np.pi * time + phase) + rng.normal(0, 0.5, (frames, 17, 2))
    for jerk in range(int(rng.integers(60)), frames, 60):
        poses[jerk : jerk + 2] += rng.normal(0, rng.uniform(20, 60), poses[jerk : jerk + 2].shape)
    return np.concatenate([poses, np.full((frames, 17, 1), 0.9)], axis=2)


def entry(poses: np.ndarray, first: int = 0) -> dict[str, object]:
    """One person as the files have it; keys are not zero-padded, as in PoseLift."""
    return {str(first + i): {"keypoints": pose.ravel().tolist(), "scores": None} for i, pose in enumerate(poses)}


def write_clip(folder: Path, name: str, people: object) -> Path:
    """Write one clip's file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_alphapose_tracked_person.json"
    path.write_text(json.dumps(people))
    return path


def write_training_set(root: Path, clips: int = 10, frames: int = 400) -> Path:
    """A training split of two cameras, two people a clip."""
    for index in range(clips):
        people = {str(person): entry(swaying(frames, 10 * index + person), 3 * person) for person in (1, 2)}
        write_clip(root / "pose" / "train", f"{index % 2 + 1:02d}_{index:03d}", people)
    return root


def write_test_set(root: Path, clips: int = 4, frames: int = 120) -> Path:
    """A test split of one person a clip, always in view; the middle third of every clip is anomalous."""
    labels = np.repeat([0, 1, 0], frames // 3)
    masks = root / "gt" / "test_frame_mask"
    masks.mkdir(parents=True)
    for index in range(clips):
        write_clip(root / "pose" / "test", f"01_{index:03d}", {"1": entry(swaying(frames, index))})
        np.save(masks / f"01_{index:03d}.npy", labels)
    return root


def write_supervised_training_set(root: Path, frames: int = 240) -> Path:
    """UBnormal's supervised training split: four normal clips, and one of a man upright beside one who lies down.

    Who lies is marked as abnormal from the first frame to the last but 60.
    """
    for index in range(4):
        people = {str(person): entry(swaying(frames, 10 * index + person)) for person in (1, 2)}
        write_clip(root / "pose" / "train", f"normal_scene_{index % 2 + 1}_scenario_{index}", people)
    name = "abnormal_scene_1_scenario_9"
    lying = swaying(frames, 7)[..., [1, 0, 2]]
    lying[..., 0] += 1000 - lying[..., 0].min()
    write_clip(root / "pose" / "abnormal_train", name, {"1": entry(swaying(frames, 5)), "2": entry(lying)})
    (root / "gt").mkdir()
    (root / "gt" / f"{name}_tracks.txt").write_text(f"1,0,{frames - 60}\n")
    annotations = root / "videos" / "Scene1" / f"{name}_annotations"
    annotations.mkdir(parents=True)
    # Who is outside of the picture counts by its nearest edge.
    picture = Image.fromarray(np.array([[0] * 999 + [1]], np.uint8))
    for frame in range(frames):
        picture.save(annotations / f"{name}_{frame:04d}_gt.png")
    return root


def write_ubnormal_test_set(root: Path) -> Path:
    """UBnormal's test split of four clips of 120 frames; the middle third of the abnormal ones is anomalous.

    Of the first 30 frames of every clip the masks of HR-UBnormal say that they do not count.
    """
    names = [f"{kind}_scene_{scene}_scenario_1" for kind in ("abnormal", "normal") for scene in (2, 3)]
    masks = root / "hr_bool_masks" / "testing" / "test_frame_mask"
    for folder in (root / "gt", masks):
        folder.mkdir(parents=True)
    for index, name in enumerate(names):
        write_clip(root / "pose" / "test", name, {"1": entry(swaying(120, index))})
        normal = np.repeat([1, 0, 1], 40) if name.startswith("abnormal") else np.ones(120)
        with (root / "gt" / f"{name}_tracks.txt").open("wb") as stream:
            np.save(stream, normal.astype(np.float64))
        np.save(masks / f"{name}.npy", np.arange(120) >= 30)
    return root
