"""Tracked skeletons on disk, in STG-NF's layout, and the windows cut from them.

A data set is a folder with ``pose/train`` and ``pose/test`` holding one file ``<clip>_alphapose_tracked_person.json``
for each clip, ``{person: {frame: {"keypoints": [x, y, confidence] * 17}}}``, and ``gt/test_frame_mask/<clip>.npy``, one
0 or 1 (anomalous) for each frame.

PoseLift's files hold ``[y, x, confidence]``. Read as ``[x, y, confidence]``, as the layout says, all of its people lie
on their sides, and a model trained on them takes a standing person for a fallen one. `read_split` detects such files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose.skeleton import COCO_JOINTS, FLIP, coco_to_graph
from pose.windows import Windows, WindowSpec, slice_track

Slicing = Literal["grid", "published", "scrambled"]
"""How windows are cut: on the time grid of `pose.windows`; from consecutive rows, as STG-NF intends; or as STG-NF's
code does where frame keys are not zero-padded, poses in string order (1, 10, 100, 2) beside frame numbers in numeric
order. The last loses the order of time and is there to reproduce figures published for PoseLift."""

Mirror = Literal["none", "plain", "swap"]
"""Mirrored copies of training windows: none; x negated (STG-NF); x negated and left joints swapped with right ones."""

Axes = Literal["auto", "xy", "yx"]
"""Which of the two coordinates of a keypoint comes first in the files: right (x), down (y), or decided by
`transposed`."""

SUFFIX: Final = "_alphapose_tracked_person.json"
"""What follows a clip's name in the name of its file."""

_VALUES: Final = 3 * len(COCO_JOINTS)
_SCENE: Final = re.compile(r"(?:abnormal_|normal_)?(?:scene_)?(\d+)")
_MISSING_ALLOWED: Final = 2
"""STG-NF keeps a window from which no more than two of its consecutive frames are missing."""


_GUESSED: Final = 0.05
"""Confidence of a keypoint whose file has none."""
_SURE: Final = 0.3
"""Confidence from which a keypoint is used to decide the axes."""
_SURE_POSES: Final = 50
"""Poses needed to decide the axes of a data set."""
_UPRIGHT: Final = 1.5
"""Median extent from nose to ankles along one axis over that along the other, from which people stand along the first;
it is 5 in PoseLift."""


class DatasetError(ValueError):
    """A file of the data set is missing or not what it should be."""


@dataclass(frozen=True, slots=True, eq=False)
class PersonTrack:
    """One person of a clip.

    Attributes:
        person: The person's number in the file.
        frames: Shape ``(n,)``, int64, strictly increasing frame numbers.
        keypoints: Shape ``(n, 17, 3)``, float32: x, y in pixels and confidence, 0.05 where the file has none.
        abnormal: Shape ``(n,)``, bool: poses annotated as abnormal; None if people were not annotated one by one.
        keys: The frame numbers as text in the file; None if they have no leading zeros.

    Example:
        >>> track = PersonTrack(1, np.array([0, 1, 3]), torch.rand(3, 17, 3))
        >>> len(track.frames)
        3
    """

    person: int
    frames: NDArray[np.int64]
    keypoints: Tensor
    abnormal: NDArray[np.bool_] | None = None
    keys: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PoseClip:
    """All people of one clip.

    Attributes:
        name: The file's name without its suffix, such as ``01_0222``.
        tracks: The people, in order of their numbers.
        scene: Where it was filmed, if the name does not say so.

    Example:
        >>> clip = PoseClip("01_0222", (PersonTrack(1, np.array([2, 3, 5]), torch.rand(3, 17, 3)),))
        >>> clip.camera, clip.frame_span().tolist()
        ('01', [2, 3, 4, 5])
    """

    name: str
    tracks: tuple[PersonTrack, ...]
    scene: str | None = None

    @property
    def camera(self) -> str:
        """The scene: the first number of the name, as in ``01_0222`` or ``normal_scene_1_scenario_2``."""
        if self.scene is not None:
            return self.scene
        match = _SCENE.match(self.name)
        return match[1] if match else self.name

    def frame_span(self) -> NDArray[np.int64]:
        """Every frame number from the first to the last with a person."""
        frames = np.concatenate([track.frames for track in self.tracks]) if self.tracks else np.empty(0, np.int64)
        return np.arange(frames.min(), frames.max() + 1) if len(frames) else frames


def read_split(folder: Path, axes: Axes = "auto") -> list[PoseClip]:
    """Read all clips of ``pose/train`` or ``pose/test``, in order of their names.

    Args:
        folder: The folder.
        axes: What comes first in the files. Published figures for PoseLift took it for x.

    Raises:
        DatasetError: The folder holds no clips, or one of them is malformed.
    """
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        why = "" if folder.is_dir() else "; there is no such folder"
        raise DatasetError(f"{folder}: no files named *{SUFFIX}{why}")
    clips = [read_clip(path) for path in paths]
    swap = transposed(clips) if axes == "auto" else axes == "yx"
    return [_swapped(clip) for clip in clips] if swap else clips


def transposed(clips: Sequence[PoseClip]) -> bool:
    """Whether most people lie on their sides, so that the files must hold y before x.

    Judged by the way from the nose to the ankles where those were seen with confidence; too few such poses leave the
    axes as they are.
    """
    ways = [_nose_to_ankles(track) for clip in clips for track in clip.tracks]
    extent = torch.cat([torch.empty((0, 2)), *ways]).abs()
    if len(extent) < _SURE_POSES:
        return False
    right, down = extent.median(dim=0).values.tolist()
    return bool(right > _UPRIGHT * down)


def read_clip(path: Path) -> PoseClip:
    """Read one clip.

    Raises:
        DatasetError: The file is not JSON of the layout above; the message names the person and the frame.
    """
    try:
        people = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(people, dict):
        raise DatasetError(f"{path}: expected an object of people, got {type(people).__name__}")
    tracks = [_track(path, person, entry) for person, entry in people.items()]
    tracks.sort(key=lambda track: track.person)
    return PoseClip(path.name.removesuffix(SUFFIX), tuple(tracks))


def read_masks(folder: Path) -> dict[str, NDArray[np.int64]]:
    """Read frame labels by clip name; each has shape ``(frames,)``, 1 is anomalous.

    Raises:
        DatasetError: There are none, or one is not a vector of zeros and ones.
    """
    masks = {}
    for path in sorted(folder.glob("*.npy")):
        try:
            mask = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path}: cannot be read as an array: {error}") from error
        if mask.ndim != 1 or not np.isin(mask, (0, 1)).all():
            raise DatasetError(f"{path}: expected a vector of 0 and 1, got shape {mask.shape}")
        masks[path.stem] = mask.astype(np.int64)
    if not masks:
        raise DatasetError(f"{folder}: no frame masks *.npy")
    return masks


def clip_windows(
    clip: PoseClip, spec: WindowSpec, *, frame_rate_hz: float, slicing: Slicing = "grid", stride: int = 1
) -> Windows:
    """Cut all people of a clip.

    Times are seconds on the clip's clock, ``frame number / frame_rate_hz``. A published window that starts at frame f
    gets the end time it would have without missing frames, so `WindowSpec.center_times` names frame ``f + T // 2`` for
    both.

    Args:
        clip: The clip.
        spec: What a window is; for published slicing only its length counts.
        frame_rate_hz: Frames per second of the video.
        slicing: How to cut.
        stride: Grid points, or rows, between the starts of consecutive windows of a person.
    """
    batches = [
        slice_track(track.person, track.frames / frame_rate_hz, track.keypoints, spec, stride=stride)
        if slicing == "grid"
        else _published_windows(
            _scrambled(track) if slicing == "scrambled" else track, spec.length, frame_rate_hz, stride
        )
        for track in clip.tracks
    ]
    return Windows.concatenate(batches) if batches else Windows.empty(spec)


def abnormal_windows(clip: PoseClip, windows: Windows, spec: WindowSpec, *, frame_rate_hz: float) -> NDArray[np.bool_]:
    """Which windows are abnormal: as in STG-NF, those whose first pose is annotated as abnormal.

    Args:
        clip: The clip; people without annotation are normal.
        windows: Its windows, however they were cut.
        spec: What a window is.
        frame_rate_hz: Frames per second of the video.

    Returns:
        Shape ``(N,)``. Where the first grid point lies between two sightings, the nearer one counts.
    """
    first = np.rint((windows.end_times - spec.duration_s) * frame_rate_hz)
    abnormal = np.zeros(len(windows), np.bool_)
    for track in clip.tracks:
        if track.abnormal is not None and len(track.frames):
            rows = np.flatnonzero(windows.track_ids == track.person)
            nearest = np.abs(track.frames[None, :] - first[rows, None]).argmin(axis=1)
            abnormal[rows] = track.abnormal[nearest]
    return abnormal


def mirrored(windows: Tensor, mirror: Mirror) -> Tensor:
    """Append mirrored copies to normalised windows ``(N, 2, T, 18)``; with ``none`` they are returned as they are.

    Normalised windows are centred, so negating x mirrors them; that equals STG-NF's flip of the picture.
    """
    if mirror == "none":
        return windows
    copies = windows * windows.new_tensor([-1.0, 1.0])[:, None, None]
    return torch.cat([windows, copies[..., list(FLIP)] if mirror == "swap" else copies])


def hold_out(clips: Sequence[PoseClip], share: float, seed: int) -> tuple[list[PoseClip], list[PoseClip]]:
    """Split clips into those to learn from and those held out, the same share from every camera.

    A camera with a single clip is learnt from only.

    Args:
        clips: All clips.
        share: Share of each camera's clips to hold out, between 0 and 1.
        seed: Decides which.

    Returns:
        The clips to learn from and the clips held out, each in the order given.

    Raises:
        ValueError: The share is out of range.
        DatasetError: No camera has a clip to spare.
    """
    if not 0 < share < 1:
        raise ValueError(f"the held-out share must lie between 0 and 1, got {share}")
    rng = np.random.default_rng(seed)
    held = set()
    for camera in sorted({clip.camera for clip in clips}):
        own = [index for index, clip in enumerate(clips) if clip.camera == camera]
        if len(own) > 1:
            held.update(rng.permutation(own)[: max(1, round(share * len(own)))].tolist())
    if not held:
        raise DatasetError("no clip can be held out: a camera needs at least two clips")
    return (
        [clip for index, clip in enumerate(clips) if index not in held],
        [clip for index, clip in enumerate(clips) if index in held],
    )


def _published_windows(track: PersonTrack, length: int, frame_rate_hz: float, stride: int) -> Windows:
    """STG-NF's slicing: rows as they come, ``ceil((n - T) / stride)`` starts, at most two frames missing."""
    starts = np.arange(0, max(len(track.frames) - length, 0), stride)
    first = track.frames[starts]
    rows = starts[:, None] + np.arange(length)
    present = (track.frames[rows] < (first + length)[:, None]).sum(axis=1)
    kept = present >= length - _MISSING_ALLOWED
    poses = coco_to_graph(track.keypoints[torch.from_numpy(rows[kept])])
    # The published protocol takes every joint as it comes, seen or not.
    poses[..., 2].clamp_min_(_GUESSED)
    ends = (first[kept] + length - 1) / frame_rate_hz
    return Windows.of_poses(poses, np.full(len(ends), track.person, np.int64), ends)


def _nose_to_ankles(track: PersonTrack) -> Tensor:
    """Shape ``(n, 2)``, the poses in which all three were seen."""
    nose = track.keypoints[:, COCO_JOINTS.index("nose")]
    ankles = track.keypoints[:, [COCO_JOINTS.index("left_ankle"), COCO_JOINTS.index("right_ankle")]]
    sure = (nose[:, 2] > _SURE) & (ankles[..., 2] > _SURE).all(dim=1)
    return (ankles[..., :2].mean(dim=1) - nose[:, :2])[sure]


def _swapped(clip: PoseClip) -> PoseClip:
    return replace(
        clip, tracks=tuple(replace(track, keypoints=track.keypoints[..., [1, 0, 2]]) for track in clip.tracks)
    )


def _scrambled(track: PersonTrack) -> PersonTrack:
    keys = track.keys or tuple(map(str, track.frames.tolist()))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return PersonTrack(track.person, track.frames, track.keypoints[order])


def _track(path: Path, person: str, entry: Any) -> PersonTrack:
    where = f"{path}: person {person!r}"
    frames: dict[int, Any] = {}
    keys: dict[int, str] = {}
    for part in entry if isinstance(entry, list) else [entry]:
        if not isinstance(part, Mapping):
            raise DatasetError(f"{where}: expected an object of frames, got {type(part).__name__}")
        for key, pose in part.items():
            frame = _number(key, where, "frame")
            frames[frame], keys[frame] = pose, key
    order = sorted(frames)
    poses = [_pose(frames[frame], f"{where}, frame {frame}") for frame in order]
    keypoints = torch.tensor(poses, dtype=torch.float32).view(len(order), len(COCO_JOINTS), 3)
    if not torch.isfinite(keypoints[..., :2]).all():
        raise DatasetError(f"{where}: a keypoint is not finite")
    # PoseLift marks the poses its authors interpolated by a confidence of nan. They are no sightings, but good guesses.
    keypoints[..., 2].nan_to_num_(nan=_GUESSED)
    names = tuple(keys[frame] for frame in order)
    padded = any(name != str(frame) for name, frame in zip(names, order, strict=True))
    return PersonTrack(
        _number(person, where, "person"), np.array(order, np.int64), keypoints, keys=names if padded else None
    )


def _pose(pose: Any, where: str) -> list[float]:
    values = pose.get("keypoints") if isinstance(pose, Mapping) else None
    if not isinstance(values, list) or len(values) != _VALUES or not all(type(v) in (int, float) for v in values):
        raise DatasetError(f"{where}: expected {_VALUES} numbers under 'keypoints'")
    return values


def _number(key: str, where: str, what: str) -> int:
    try:
        return int(key)
    except ValueError:
        raise DatasetError(f"{where}: {what} key {key!r} is not a number") from None
