"""What the pose estimator found in a clip, kept in a file, so that choices behind it can be compared in seconds.

A recording holds detections and no tracks: people are followed again whenever it is scored, as the service follows
them, also after frames or joints were taken away.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from model.checkpoint import write_atomically
from model.footage import PoseFootage, PoseTrack
from pose.estimator import Poses, sha256
from pose.source import Frame
from pose.tracker import Tracker
from service.clips.decoding import frames
from service.clips.scorer import clip_limits
from service.documents.skeletons import SkeletonSequence
from service.scoring.loading import load_estimator, pose_batch
from service.settings import Settings

Floats = NDArray[np.float64]

_DIGITS: Final = 24
"""Digits of a digest in the name of a file."""


@dataclass(frozen=True, eq=False)
class PoseRecording:
    """The people found in every frame of a clip.

    Attributes:
        times: Shape ``(F,)``, seconds, increasing.
        size: Width and height of the picture in pixels.
        frames: Shape ``(N,)``, int64, the frame of each person, not decreasing.
        boxes: Shape ``(N, 4)``: left, top, right, bottom in pixels.
        keypoints: Shape ``(N, 17, 3)``: COCO x, y in pixels and confidence.
        confidences: Shape ``(N,)``, of the detections.
        tracks: Shape ``(N,)``, int64, numbers of the people from 1, if somebody has followed them; else None.
    """

    times: Floats
    size: tuple[int, int]
    frames: NDArray[np.int64]
    boxes: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    confidences: NDArray[np.float32]
    tracks: NDArray[np.int64] | None = None

    @property
    def fps(self) -> float:
        """Frames per second."""
        return float((len(self.times) - 1) / (self.times[-1] - self.times[0])) if len(self.times) > 1 else 1.0

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return float(self.times[-1] - self.times[0]) + 1 / self.fps

    @cached_property
    def people(self) -> list[slice]:
        """Of each frame, which rows are its people."""
        edges = np.searchsorted(self.frames, np.arange(len(self.times) + 1))
        return [slice(first, last) for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]

    def every(self, step: int) -> PoseRecording:
        """Every so many frames only."""
        kept = self.frames % step == 0
        return replace(
            self,
            times=self.times[::step],
            frames=self.frames[kept] // step,
            boxes=self.boxes[kept],
            keypoints=self.keypoints[kept],
            confidences=self.confidences[kept],
            tracks=None if self.tracks is None else self.tracks[kept],
        )

    def at_rate(self, rate_hz: float) -> PoseRecording:
        """Every n-th frame, for about so many frames a second."""
        return self.every(max(1, round(self.fps / rate_hz)))

    def hiding(self, share: float, seed: int) -> PoseRecording:
        """With a share of all joints drawn at random unseen: confidence 0 at the place (0, 0)."""
        keypoints = self.keypoints.copy()
        keypoints[np.random.default_rng(seed).random(keypoints.shape[:2]) < share] = 0
        return replace(self, keypoints=keypoints)

    def sequence(self) -> SkeletonSequence:
        """The recording as a document of ``POST /v1/skeletons``."""
        joints, boxes = self.keypoints.astype(np.float64), self.boxes.astype(np.float64)
        # Of some pose models they are a little more than 1.
        joints[..., 2] = np.clip(joints[..., 2], 0, 1)
        certain = np.clip(self.confidences.astype(np.float64), 0, 1).tolist()
        documents = []
        for time, rows in zip(self.times.tolist(), self.people, strict=True):
            people: list[dict[str, Any]] = [
                {"keypoints": points, "box": box, "confidence": confidence}
                for points, box, confidence in zip(
                    joints[rows].tolist(), boxes[rows].tolist(), certain[rows], strict=True
                )
            ]
            if self.tracks is not None:
                for person, track in zip(people, self.tracks[rows].tolist(), strict=True):
                    person["track"] = track
            documents.append({"time_s": time, "people": people})
        width, height = self.size
        return SkeletonSequence.model_validate({"width": width, "height": height, "frames": documents})

    def followed(self) -> PoseRecording:
        """The recording with the people who have a track, followed as the service follows them.

        Whoever has no track is left out. All confidences are 1: what is certain is that somebody was followed.
        """
        if self.tracks is not None:
            return self
        tracker = Tracker()
        frames, people = [], []
        for number, (time, rows) in enumerate(zip(self.times.tolist(), self.people, strict=True)):
            found = (torch.from_numpy(own[rows]) for own in (self.boxes, self.keypoints, self.confidences))
            people.append(tracker.update(Poses(*found), self.size[::-1], time))
            frames.append(np.full(len(people[-1]), number, np.int64))
        return replace(
            self,
            frames=np.concatenate(frames),
            boxes=np.concatenate([each.boxes for each in people]),
            keypoints=torch.cat([each.keypoints for each in people]).numpy(),
            confidences=np.ones(sum(map(len, people)), np.float32),
            tracks=np.array([track for each in people for track in each.track_ids], np.int64),
        )

    def footage(self) -> PoseFootage:
        """The recording as calibration footage."""
        own = self.followed()
        numbers, tracks = np.asarray(own.tracks, np.int64), []
        for person in np.unique(numbers).tolist():
            rows = numbers == person
            tracks.append(PoseTrack(person, own.times[own.frames[rows]], torch.from_numpy(own.keypoints[rows])))
        return PoseFootage(self.times, tuple(tracks))

    def save(self, path: Path) -> None:
        """Write it into a file."""
        content = io.BytesIO()
        arrays = {
            "times": self.times,
            "size": np.array(self.size),
            "frames": self.frames,
            "boxes": self.boxes,
            "keypoints": self.keypoints,
            "confidences": self.confidences,
        }
        np.savez_compressed(content, allow_pickle=False, **arrays)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> PoseRecording:
        """Read it from a file."""
        with np.load(path) as kept:
            width, height = kept["size"].tolist()
            names = ("frames", "boxes", "keypoints", "confidences")
            return cls(kept["times"], (width, height), *(kept[name] for name in names))


class Collector:
    """Collects what is found in one frame after another."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._found: list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]] = []

    def add(self, time: float, poses: Poses) -> None:
        """Append the people of the next frame."""
        self._times.append(time)
        self._found.append((poses.boxes.cpu().numpy(), poses.keypoints.cpu().numpy(), poses.confidences.cpu().numpy()))

    def recording(self, size: tuple[int, int]) -> PoseRecording:
        """All of it; `size` is width and height of the picture."""
        numbers = np.repeat(np.arange(len(self._times)), [len(boxes) for boxes, _, _ in self._found])
        boxes, keypoints, confidences = (
            np.concatenate([np.empty(shape, np.float32), *(found[i] for found in self._found)]).astype(np.float32)
            for i, shape in enumerate(((0, 4), (0, 17, 3), (0,)))
        )
        return PoseRecording(np.array(self._times), size, numbers, boxes, keypoints, confidences)


class PoseStore:
    """Recordings of videos, each made once.

    A recording lies under the digest of the video and of all that its poses depend on.

    Args:
        folder: Where they are kept.
        settings: Pose weights, device and limits.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.estimator = load_estimator(settings)
        self.weights_sha256 = sha256(self.estimator.weights)
        self.made = 0
        self._folder = folder
        self._settings = settings

    def recording(self, video: Path, *, scale: float = 1.0) -> PoseRecording:
        """What the pose estimator finds in a video.

        Args:
            video: The file.
            scale: Factor of the width and the height of the pictures that the estimator is given.

        Raises:
            ClipRejected: It is not a video within the limits.
        """
        estimator = self.estimator
        made_with = (self.weights_sha256, estimator.runtime, estimator.image_size, estimator.confidence, scale)
        key = hashlib.sha256(repr((sha256(video), *made_with)).encode()).hexdigest()[:_DIGITS]
        kept = self._folder / f"{video.stem}-{key}.npz"
        if not kept.exists():
            self._extract(video, scale).save(kept)
            self.made += 1
        return PoseRecording.load(kept)

    def _extract(self, video: Path, scale: float) -> PoseRecording:
        collector, size = Collector(), (0, 0)
        with frames(video, clip_limits(self._settings)) as source:
            for batch in _batches(source, pose_batch(self._settings, self.estimator)):
                images = [_scaled(frame.image, scale) for frame in batch]
                size = (images[-1].shape[1], images[-1].shape[0])
                for frame, poses in zip(batch, self.estimator(images), strict=True):
                    collector.add(frame.captured_at, poses)
        return collector.recording(size)


def _scaled(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale == 1:
        return image
    return cv2.resize(image, None, None, scale, scale, cv2.INTER_AREA).astype(np.uint8)


def _batches(source: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    while batch := list(islice(source, size)):
        yield batch
