"""Extracts tracked skeletons from videos, or folders of pictures, into files that training and evaluation read.

A clip gets two files. ``<clip>_alphapose_tracked_person.json`` is described in `model.dataset`; its frame keys are
padded with zeros because STG-NF's code sorts them as text. ``<clip>.meta.json`` is an `ExtractionRecord`, which says
what the poses were made from and with. A clip whose record is still valid is not extracted again.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from model.dataset import SUFFIX
from model.layouts import META_SUFFIX, clip_name, pictures_in
from pose.containers import UnreadableVideo, check_pixels
from pose.estimator import PoseEstimator, sha256
from pose.source import Frame
from pose.tracker import TrackedPoses
from service.clips.decoding import ClipLimits, ClipRejected, frames, inspect
from service.clips.scorer import clip_limits
from service.scoring.following import followed
from service.scoring.loading import load_estimator, pose_batch
from service.settings import Settings
from service.storage.writing import atomic_write

_KEY_DIGITS: Final = 4
"""Smallest number of digits of a frame key."""

_DECIMALS: Final = 3
"""Decimals of pixels and confidences in the file."""

_MADE_WITH: Final = ("opencv-python", "torch", "ultralytics")


class ExtractionError(ValueError):
    """Poses cannot be extracted; the message names the file and the problem."""


@dataclass(frozen=True, slots=True)
class ExtractionRecord:
    """What the poses of a clip were made from and with.

    Attributes:
        source: Name of the video or folder of pictures.
        source_sha256: Digest of its content; for a folder, of the names and contents of its pictures.
        fps: Frames per second.
        frames: Number of frames.
        people: Number of tracks.
        poses_sha256: Digest of the file with the poses.
        pose_weights: Name of the pose weights.
        pose_weights_sha256: Digest of their content.
        image_size: Longer side in pixels of the picture that the pose network saw.
        confidence: Smallest confidence of a detection, 0 to 1.
        versions: Versions of the libraries that the poses depend on.
    """

    source: str
    source_sha256: str
    fps: float
    frames: int
    people: int
    poses_sha256: str
    pose_weights: str
    pose_weights_sha256: str
    image_size: int
    confidence: float
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Extraction:
    """The outcome of one clip.

    Attributes:
        poses: The file with its poses.
        record: What the poses were made from and with.
        kept: Whether valid poses existed already and were kept.
    """

    poses: Path
    record: ExtractionRecord
    kept: bool


def check_sources(sources: Sequence[Path]) -> None:
    """Check before any work that all sources exist and that their names are unique.

    Raises:
        ExtractionError: One is missing, or two have the same name without suffix and would write the same file.
    """
    by_name: dict[str, list[Path]] = defaultdict(list)
    for source in sources:
        if not source.exists():
            raise ExtractionError(f"there is no file or folder {source}")
        by_name[clip_name(source.absolute())].append(source)
    for name, same in by_name.items():
        if len(same) > 1:
            raise ExtractionError(f"{' and '.join(map(str, same))} would both become {name}{SUFFIX}; rename one")


class PoseExtractor:
    """Extracts poses with the same front end as clips and cameras.

    Args:
        estimator: The pose estimator.
        limits: Limits on a clip and on its decoder.
        batch: Number of frames in one call of the estimator.
        picture_rate_hz: Frames per second of folders of pictures; without it they are refused.
    """

    def __init__(
        self,
        estimator: PoseEstimator,
        limits: ClipLimits,
        *,
        batch: int = 1,
        picture_rate_hz: float | None = None,
    ) -> None:
        self._estimator = estimator
        self._limits = limits
        self._batch = batch
        self._picture_rate_hz = picture_rate_hz
        self._made_with: dict[str, Any] = {
            "pose_weights": estimator.weights.name,
            "pose_weights_sha256": _digest(estimator.weights),
            "image_size": estimator.image_size,
            "confidence": estimator.confidence,
        }

    @classmethod
    def load(cls, settings: Settings, *, picture_rate_hz: float | None = None) -> PoseExtractor:
        """Load the pose weights that the settings name.

        Raises:
            ModelUnavailable: Weights or device are missing or unusable; names the setting.
        """
        estimator = load_estimator(settings)
        batch = pose_batch(settings, estimator)
        return cls(estimator, clip_limits(settings), batch=batch, picture_rate_hz=picture_rate_hz)

    def extract(
        self,
        source: Path,
        output: Path,
        *,
        force: bool = False,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Extraction:
        """Write the poses of one clip, unless valid ones exist already.

        Args:
            source: A video, or a folder of pictures.
            output: The folder to write into; created if it does not exist.
            force: Extract again what exists, and replace poses that were made by other software.
            on_progress: Called with the number of frames done and their approximate total.

        Raises:
            ClipRejected: The source is no video within the limits.
            ExtractionError: Poses of this clip exist that were made by other software, or the frame rate is not known.
            OSError: A file cannot be read or written.
        """
        name = clip_name(source.absolute())
        poses, meta = output / f"{name}{SUFFIX}", output / f"{name}{META_SUFFIX}"
        digest = _digest(source)
        if not force and poses.exists():
            record = _read_record(meta)
            if record is None:
                raise ExtractionError(f"{poses} exists and was not made by daflow extract; --force replaces it")
            if self._still_holds(record, digest, source, poses):
                return Extraction(poses, record, kept=True)
        fps, total, opened = self._open(source)
        people: dict[int, dict[int, dict[str, object]]] = defaultdict(dict)
        count = 0
        with opened as stream:
            for batch in followed(stream, self._estimator, self._batch):
                for frame, found in batch:
                    _add(people, frame.sequence, found)
                count += len(batch)
                on_progress(count, max(total, count))
        content = _document(people, count)
        record = ExtractionRecord(
            source=source.absolute().name,
            source_sha256=digest,
            fps=fps,
            frames=count,
            people=len(people),
            poses_sha256=hashlib.sha256(content).hexdigest(),
            versions={name: version(name) for name in _MADE_WITH},
            **self._made_with,
        )
        output.mkdir(parents=True, exist_ok=True)
        # The record is written first: if the process dies here, record and poses disagree and are made again.
        with atomic_write(meta) as file:
            file.write(json.dumps(asdict(record), indent=2).encode())
        with atomic_write(poses) as file:
            file.write(content)
        return Extraction(poses, record, kept=False)

    def _still_holds(self, record: ExtractionRecord, digest: str, source: Path, poses: Path) -> bool:
        same_rate = not source.is_dir() or self._picture_rate_hz in (None, record.fps)
        same_making = all(getattr(record, name) == value for name, value in self._made_with.items())
        return same_rate and same_making and record.source_sha256 == digest and record.poses_sha256 == _digest(poses)

    def _open(self, source: Path) -> tuple[float, int, AbstractContextManager[Iterator[Frame]]]:
        """Frame rate in Hz, approximate number of frames, and the frames."""
        if not source.is_dir():
            info = inspect(source, self._limits)
            return info.fps, info.frames, frames(source, self._limits, info)
        pictures = pictures_in(source)
        if not pictures:
            raise ClipRejected("no-frames", "the folder holds no pictures")
        if self._picture_rate_hz is None:
            raise ExtractionError("a folder of pictures has no frame rate; --frame-rate gives it")
        stream = _pictures(source.name, pictures, self._picture_rate_hz, self._limits.max_pixels)
        return self._picture_rate_hz, len(pictures), nullcontext(stream)


def _pictures(name: str, paths: Sequence[Path], fps: float, max_pixels: int) -> Iterator[Frame]:
    for number, path in enumerate(paths):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise ClipRejected("undecodable", f"the picture {path.name} cannot be read")
        try:
            check_pixels(image.shape[1], image.shape[0], max_pixels)
        except UnreadableVideo as error:
            raise ClipRejected(error.cause, f"{path.name}: {error}") from error
        yield Frame(name, number, number / fps, np.asarray(image, np.uint8))


def _add(people: dict[int, dict[int, dict[str, object]]], frame: int, found: TrackedPoses) -> None:
    keypoints = found.keypoints.cpu().numpy().astype(np.float64).round(_DECIMALS)
    for track, pose in zip(found.track_ids, keypoints, strict=True):
        score = round(float(pose[:, 2].mean()), _DECIMALS)
        people[track][frame] = {"keypoints": pose.ravel().tolist(), "scores": score}


def _document(people: dict[int, dict[int, dict[str, object]]], count: int) -> bytes:
    width = max(_KEY_DIGITS, len(str(count)))
    document = {
        str(track): {f"{frame:0{width}d}": pose for frame, pose in sorted(poses.items())}
        for track, poses in sorted(people.items())
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _read_record(path: Path) -> ExtractionRecord | None:
    try:
        return ExtractionRecord(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of the files of a folder."""
    if path.is_file():
        return sha256(path)
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(path)}\0{_digest(file)}\n".encode())
    return digest.hexdigest()
