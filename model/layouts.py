"""Public data sets as they lie on disk, and your own data: the poses, the frame labels, the frames that count.

Every layout is a folder. Poses are always files ``<clip>_alphapose_tracked_person.json`` as `model.dataset` describes
them; frame labels are 1 where a frame is anomalous. What each layout expects::

    poselift             pose/train/, pose/test/
                         gt/test_frame_mask/<clip>.npy                   0 or 1 (anomalous)
    shanghaitech         the same; clips are matched by scene and number, so that 01_014 is 01_0014
    shanghaitech-hr      the same without the six test clips whose anomaly is not a person's
    ubnormal             pose/train/, pose/test/
                         gt/<clip>_tracks.txt                            a NumPy file in spite of its name, 1 is normal
    ubnormal-hr          and hr_bool_masks/testing/test_frame_mask/<clip>.npy  True where a frame counts
    ubnormal-supervised  and pose/abnormal_train/
                         gt/<clip>_tracks.txt of those                   text, a line is object,start,end (exclusive)
                         videos/Scene<N>/<clip>_annotations/*.png        a picture a frame; its grey is the object
    avenue               training_videos/*.avi, testing_videos/*.avi     or pose/train/, pose/test/ made from them
                         ground_truth_demo/testing_label_mask/<n>_label.mat  (or testing_label_mask/) with volLabel,
                         or gt/test_frame_mask/<clip>.npy
    ped2                 Train/Train001/*.tif, Test/Test001/*.tif, ...   or pose/train/, pose/test/ made from them
                         Test/UCSDped2.m, or Test/Test001_gt/*.bmp, or gt/test_frame_mask/<clip>.npy
    json                 train/, test/ with poses, or poses in the folder itself, which then are for training
                         gt/<clip>.npy                                   optional
    videos               train/, test/ with videos or folders of pictures; poses go to pose/train/, pose/test/
                         gt/<clip>.npy                                   optional
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from model.dataset import SUFFIX, Axes, DatasetError, PersonTrack, PoseClip, read_masks, read_split
from pose.skeleton import coco_to_graph

Labels = NDArray[np.int64]

Layout = Literal[
    "poselift",
    "shanghaitech",
    "shanghaitech-hr",
    "ubnormal",
    "ubnormal-hr",
    "ubnormal-supervised",
    "avenue",
    "ped2",
    "json",
    "videos",
]
LAYOUTS: Final[tuple[Layout, ...]] = get_args(Layout)

Split = Literal["train", "test"]
SPLITS: Final[tuple[Split, ...]] = get_args(Split)

Extractor = Callable[[Sequence[Path], Path, float | None], None]
"""Writes the poses of some videos or folders of pictures into a folder, at the frame rate given where a source has none
of its own."""

FRAME_RATES_HZ: Final[Mapping[Layout, float]] = {
    "poselift": 15.0,
    "shanghaitech": 24.0,
    "shanghaitech-hr": 24.0,
    "ubnormal": 30.0,
    "ubnormal-hr": 30.0,
    "ubnormal-supervised": 30.0,
    "avenue": 25.0,
    "ped2": 10.0,
}
"""Frames per second of the videos; those of the other layouts stand beside their poses."""

META_SUFFIX: Final = ".meta.json"
"""What follows a clip's name in the name of the file that says how its poses were made."""

PICTURES: Final = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"})
VIDEOS: Final = frozenset(
    {".asf", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"}
)

_LABEL_FORMATS: Final[Mapping[str, Callable[[Path], ImageFile]]] = {
    ".bmp": BmpImageFile,
    ".png": PngImageFile,
    ".tif": TiffImageFile,
    ".tiff": TiffImageFile,
}

_ANY_AXES: Final = frozenset({"poselift", "json"})
"""Layouts whose files may hold y before x."""

_NOT_HUMAN: Final = frozenset({(1, 130), (1, 135), (1, 136), (6, 144), (6, 145), (12, 152)})
"""Scene and number of ShanghaiTech's test clips that the human-related protocol leaves out."""

_VARIANTS: Final = {None: 0, "fog": 51, "fire": 52, "smoke": 53}
"""UBnormal's renderings of a scenario, as the names of MoCoDAD's masks count them."""

_UBNORMAL: Final = re.compile(r"(abnormal|normal)_scene_(\d+)_scenario_?(\d+)(?:_(\w+))?")
_NAMED_SCENE: Final = re.compile(r"\d+_\d+|(?:abnormal|normal)_scene_\d+_.*")
_GT_FRAMES: Final = re.compile(r"\.gt_frame\s*=\s*\[([^\]]*)\]")
_NUMPY_MAGIC: Final = b"\x93NUMPY"
_RATE_TOLERANCE: Final = 0.01
"""Share by which frame rates of one data set may differ, as 29.97 does from 30."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A data set, or the part of it that was asked for.

    Attributes:
        name: The layout.
        frame_rate_hz: Frames per second of the videos.
        train: Clips of normal life.
        test: Clips to judge; a clip without people has no tracks.
        labels: Frame labels of every test clip by name, shape ``(F,)``, 1 is anomalous; empty if there are none.
        train_abnormal: Clips with abnormal people whose poses are marked (`PersonTrack.abnormal`), to learn from.
        judged: Which frames count, by name of the test clip, shape ``(F,)``; a clip without an entry counts whole.
            Frames are dropped before scores are smoothed.

    Example:
        >>> toys = Dataset("json", 15.0, (PoseClip("01_0001", ()),), (), {})
        >>> [clip.camera for clip in toys.train]
        ['01']
    """

    name: Layout
    frame_rate_hz: float
    train: tuple[PoseClip, ...] = ()
    test: tuple[PoseClip, ...] = ()
    labels: Mapping[str, Labels] = field(default_factory=dict)
    train_abnormal: tuple[PoseClip, ...] = ()
    judged: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


def read_dataset(
    layout: Layout,
    folder: Path,
    *,
    splits: Sequence[Split] = SPLITS,
    frame_rate_hz: float | None = None,
    axes: Axes = "auto",
    extractor: Extractor | None = None,
) -> Dataset:
    """Read a data set.

    Args:
        layout: How it lies on disk; see above.
        folder: Its folder.
        splits: The parts to read; files of others need not be there.
        frame_rate_hz: Frames per second of the videos, where the layout's own is not right or not known.
        axes: Which coordinate of a keypoint comes first in the files. ``auto`` detects it for poselift, where it is y
            although published figures took it for x, and for json without records beside the poses; all other layouts
            have x first.
        extractor: Makes the poses of videos and pictures that have none yet; without it they are an error.

    Raises:
        DatasetError: Something is missing or malformed; the message names the file or folder and what was expected.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: there is no such folder")
    source = _Source(layout, folder, frozenset(splits), frame_rate_hz, axes, extractor)
    if layout == "poselift":
        return _poselift(source)
    if layout in ("shanghaitech", "shanghaitech-hr"):
        return _shanghaitech(source)
    if layout in ("ubnormal", "ubnormal-hr", "ubnormal-supervised"):
        return _ubnormal(source)
    if layout == "avenue":
        return _avenue(source)
    if layout == "ped2":
        return _ped2(source)
    return _own(source)


@dataclass(frozen=True, slots=True)
class _Source:
    """What was asked for."""

    layout: Layout
    folder: Path
    splits: frozenset[Split]
    frame_rate_hz: float | None
    axes: Axes
    extractor: Extractor | None

    @property
    def rate(self) -> float:
        return self.frame_rate_hz or FRAME_RATES_HZ[self.layout]

    def read(self, split: Split, folder: str) -> tuple[PoseClip, ...]:
        """Poses of a split that was asked for."""
        if split not in self.splits:
            return ()
        poses, axes = self.folder / folder, self.axes
        if axes == "auto" and (self.layout not in _ANY_AXES or any(poses.glob(f"*{META_SUFFIX}"))):
            axes = "xy"
        return tuple(read_split(poses, axes))

    def extracted(self, split: Split, clips: str, sources: Sequence[Path], poses: str) -> tuple[PoseClip, ...]:
        """Poses of a split that was asked for, made from videos where they are missing."""
        if split not in self.splits:
            return ()
        target = self.folder / poses
        if not sources and not target.is_dir():
            raise DatasetError(
                f"{self.folder}: expected {clips}, or their poses *{SUFFIX} in {poses}; there is neither"
            )
        if self.extractor is not None and (missing := _without_poses(sources, target)):
            self.extractor(missing, target, self.frame_rate_hz or FRAME_RATES_HZ.get(self.layout))
        if missing := _without_poses(sources, target):
            raise DatasetError(
                f"{missing[0]}: {len(missing)} of {len(sources)} clips have no poses in {target}; "
                f"make them with: daflow extract {self.folder / clips} --output {target}"
            )
        return self.read(split, poses)


def _poselift(source: _Source) -> Dataset:
    test = source.read("test", "pose/test")
    labels: dict[str, Labels] = {}
    if "test" in source.splits:
        test, labels = _labelled(test, source.folder / "gt" / "test_frame_mask")
    return Dataset(source.layout, source.rate, source.read("train", "pose/train"), test, labels)


def _shanghaitech(source: _Source) -> Dataset:
    data = _poselift(source)
    if source.layout == "shanghaitech":
        return data
    test = tuple(clip for clip in data.test if _scene_and_number(clip.name) not in _NOT_HUMAN)
    return replace(data, test=test, labels={clip.name: data.labels[clip.name] for clip in test})


def _ubnormal(source: _Source) -> Dataset:
    gt = source.folder / "gt"
    test = source.read("test", "pose/test")
    labels = {clip.name: _inverted_labels(gt / f"{clip.name}_tracks.txt") for clip in test}
    judged: dict[str, NDArray[np.bool_]] = {}
    abnormal: tuple[PoseClip, ...] = ()
    if source.layout == "ubnormal-hr":
        masks = source.folder / "hr_bool_masks" / "testing" / "test_frame_mask"
        judged = {name: _judged(masks, name, len(own)) for name, own in labels.items()}
    if source.layout == "ubnormal-supervised":
        videos = source.folder / "videos"
        abnormal = tuple(_marked(clip, gt, videos) for clip in source.read("train", "pose/abnormal_train"))
    train = source.read("train", "pose/train")
    return Dataset(source.layout, source.rate, train, test, labels, abnormal, judged)


def _avenue(source: _Source) -> Dataset:
    folder = source.folder
    train = source.extracted("train", "training_videos/*.avi", _sources(folder / "training_videos"), "pose/train")
    test = source.extracted("test", "testing_videos/*.avi", _sources(folder / "testing_videos"), "pose/test")
    labels: dict[str, Labels] = {}
    if "test" in source.splits:
        masks = folder / "gt" / "test_frame_mask"
        volumes = [folder / "ground_truth_demo" / "testing_label_mask", folder / "testing_label_mask"]
        found = next((place for place in volumes if place.is_dir()), None)
        if masks.is_dir():
            test, labels = _labelled(test, masks)
        elif found is not None:
            labels = {clip.name: _volume_labels(found / f"{_number(clip)}_label.mat") for clip in test}
        else:
            raise DatasetError(f"{folder}: no labels; expected {volumes[0]}/<n>_label.mat, or {masks}/<clip>.npy")
    return Dataset("avenue", source.rate, _of_one_scene(train, "avenue"), _of_one_scene(test, "avenue"), labels)


def _ped2(source: _Source) -> Dataset:
    folder = source.folder
    parts = {
        name: [path for path in _sources(folder / name) if re.fullmatch(rf"{name}\d+", path.name)]
        for name in ("Train", "Test")
    }
    train = source.extracted("train", "Train/Train[0-9][0-9][0-9]", parts["Train"], "pose/train")
    test = source.extracted("test", "Test/Test[0-9][0-9][0-9]", parts["Test"], "pose/test")
    labels: dict[str, Labels] = {}
    if "test" in source.splits:
        masks, script = folder / "gt" / "test_frame_mask", folder / "Test" / "UCSDped2.m"
        if masks.is_dir():
            test, labels = _labelled(test, masks)
        elif script.is_file() and parts["Test"]:
            labels = _script_labels(script, {path.name: len(pictures_in(path)) for path in parts["Test"]}, test)
        else:
            labels = {clip.name: _picture_labels(folder / "Test" / f"{clip.name}_gt") for clip in test}
    return Dataset("ped2", source.rate, _of_one_scene(train, "ped2"), _of_one_scene(test, "ped2"), labels)


def _own(source: _Source) -> Dataset:
    """Poses or videos that belong to no published data set."""
    folder = source.folder
    if source.layout == "videos":
        places = {split: f"pose/{split}" for split in SPLITS}
        train, test = (
            source.extracted(split, f"{split}/*", _sources(folder / split), places[split]) for split in SPLITS
        )
    else:
        flat = any(folder.glob(f"*{SUFFIX}")) and not (folder / "train").is_dir()
        places = {"train": "." if flat else "train", "test": "test"}
        train, test = (source.read(split, places[split]) for split in SPLITS)
    labels: dict[str, Labels] = {}
    if "test" in source.splits and (folder / "gt").is_dir():
        test, labels = _labelled(test, folder / "gt")
    rate = source.frame_rate_hz or _recorded_rate(folder / places[split] for split in SPLITS if split in source.splits)
    if rate is None:
        raise DatasetError(f"{folder}: the frame rate is not known: no *{META_SUFFIX} beside the poses; give it")
    scene = folder.resolve().name
    return Dataset(source.layout, rate, _of_unnamed_scene(train, scene), _of_unnamed_scene(test, scene), labels)


def layout_named(name: str) -> Layout:
    """The layout of that name.

    Raises:
        DatasetError: There is none; the message lists those that there are.
    """
    for layout in LAYOUTS:
        if layout == name:
            return layout
    raise DatasetError(f"there is no layout {name!r}; there are {', '.join(LAYOUTS)}")


def clip_name(source: Path) -> str:
    """Name of the clip that is made from a video or a folder of pictures."""
    return source.name if source.is_dir() else source.stem


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of the numbers in their names."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not path.name.startswith(".")]
    return sorted(found, key=lambda path: ([int(digits) for digits in re.findall(r"\d+", path.stem)], path.name))


def _sources(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in visible if path.is_dir() or path.suffix.lower() in VIDEOS)


def _without_poses(sources: Sequence[Path], poses: Path) -> list[Path]:
    return [source for source in sources if not (poses / f"{clip_name(source)}{SUFFIX}").is_file()]


def _of_one_scene(clips: Iterable[PoseClip], scene: str) -> tuple[PoseClip, ...]:
    return tuple(replace(clip, scene=scene) for clip in clips)


def _of_unnamed_scene(clips: Iterable[PoseClip], scene: str) -> tuple[PoseClip, ...]:
    return tuple(clip if _NAMED_SCENE.fullmatch(clip.name) else replace(clip, scene=scene) for clip in clips)


def _recorded_rate(folders: Iterable[Path]) -> float | None:
    rates: dict[str, float] = {}
    for path in sorted(path for folder in folders for path in folder.glob(f"*{META_SUFFIX}")):
        try:
            rates[path.name.removesuffix(META_SUFFIX)] = float(json.loads(path.read_bytes())["fps"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{path}: expected an object with the frame rate under 'fps'") from error
    if not rates:
        return None
    slowest, fastest = min(rates, key=lambda name: rates[name]), max(rates, key=lambda name: rates[name])
    if rates[fastest] > rates[slowest] * (1 + _RATE_TOLERANCE):
        raise DatasetError(
            f"clips of one data set need one frame rate: {slowest} has {rates[slowest]:.4g}, "
            f"{fastest} has {rates[fastest]:.4g}"
        )
    return float(np.median(list(rates.values())))


def _scene_and_number(name: str) -> tuple[int, int] | None:
    match = re.match(r"(\d+)_(\d+)", name)
    return (int(match[1]), int(match[2])) if match else None


def _labelled(clips: Sequence[PoseClip], folder: Path) -> tuple[tuple[PoseClip, ...], dict[str, Labels]]:
    """Give test clips their masks; a mask whose clip has no poses becomes a clip without people, as in STG-NF."""
    masks = read_masks(folder)
    same = {key: name for name in masks if (key := _scene_and_number(name)) is not None}
    labels: dict[str, Labels] = {}
    for clip in clips:
        key = _scene_and_number(clip.name)
        own = clip.name if clip.name in masks else same.get(key) if key is not None else None
        if own is None or own not in masks:
            raise DatasetError(f"{folder / f'{clip.name}.npy'}: the mask of a test clip is missing")
        labels[clip.name] = masks.pop(own)
    unseen = [PoseClip(name, ()) for name in masks]
    return tuple(sorted([*clips, *unseen], key=lambda clip: clip.name)), labels | masks


def _inverted_labels(path: Path) -> Labels:
    """UBnormal's labels of a test clip."""
    if not path.is_file():
        raise DatasetError(f"{path}: the labels of a test clip are missing")
    with path.open("rb") as stream:
        if stream.read(len(_NUMPY_MAGIC)) != _NUMPY_MAGIC:
            raise DatasetError(
                f"{path}: expected frame labels as a NumPy file in spite of its name, got text; "
                "object,start,end is what clips to learn from have, and it lacks the number of frames"
            )
    normal = _array(path)
    if normal.ndim != 1 or not np.isin(normal, (0, 1)).all():
        raise DatasetError(f"{path}: expected a vector of 0 and 1, got shape {normal.shape}")
    return 1 - normal.astype(np.int64)


def _judged(folder: Path, name: str, frames: int) -> NDArray[np.bool_]:
    """HR-UBnormal's mask of a clip, under the clip's name or MoCoDAD's number of it."""
    candidates = [folder / f"{name}.npy"]
    if match := _UBNORMAL.fullmatch(name):
        kind, scene, scenario, variant = match.groups()
        code = int(variant) if variant and variant.isdigit() else _VARIANTS.get(variant)
        if code is not None:
            candidates.append(folder / f"{int(kind == 'normal')}{int(scene):02d}_{int(scenario):02d}{code:02d}.npy")
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise DatasetError(f"{' or '.join(map(str, candidates))}: the mask of the frames that count is missing")
    mask = _array(path).reshape(-1)
    if len(mask) != frames or not np.isin(mask, (0, 1)).all():
        raise DatasetError(
            f"{path}: expected {frames} of True and False, as many as {name} has labels, got {len(mask)}"
        )
    return mask.astype(np.bool_)


def _array(path: Path) -> NDArray[Any]:
    try:
        # A path that does not end in .npy is a file all the same.
        with path.open("rb") as stream:
            return np.asarray(np.load(stream, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path}: cannot be read as an array: {error}") from error


def _marked(clip: PoseClip, gt: Path, videos: Path) -> PoseClip:
    """Mark abnormal poses: those with more than half of the 18 joints on an object that is abnormal at the time."""
    if clip.name.startswith("normal_"):
        return replace(clip, tracks=tuple(_with_marks(track, {}) for track in clip.tracks))
    match = _UBNORMAL.match(clip.name)
    if match is None:
        raise DatasetError(f"{clip.name}: expected a name such as abnormal_scene_1_scenario_2")
    events = _events(gt / f"{clip.name}_tracks.txt")
    folder = videos / f"Scene{match[2]}" / f"{clip.name}_annotations"
    pictures = pictures_in(folder) if folder.is_dir() else []
    if not pictures:
        raise DatasetError(f"{folder}: no annotations *.png; expected a picture for each frame of {clip.name}")
    regions = {}
    for frame in sorted({int(frame) for track in clip.tracks for frame in track.frames}):
        objects = [number for number, start, end in events if start <= frame < end]
        if objects:
            if frame >= len(pictures):
                raise DatasetError(f"{folder}: no picture of frame {frame}; there are {len(pictures)}")
            regions[frame] = np.isin(_grey(pictures[frame]), objects)
    return replace(clip, tracks=tuple(_with_marks(track, regions) for track in clip.tracks))


def _with_marks(track: PersonTrack, regions: Mapping[int, NDArray[np.bool_]]) -> PersonTrack:
    joints = np.floor(coco_to_graph(track.keypoints)[..., :2].numpy()).astype(np.int64)
    abnormal = np.zeros(len(track.frames), np.bool_)
    for row, frame in enumerate(track.frames.tolist()):
        if frame in regions:
            height, width = regions[frame].shape
            x, y = joints[row, :, 0].clip(0, width - 1), joints[row, :, 1].clip(0, height - 1)
            abnormal[row] = 2 * regions[frame][y, x].sum() > joints.shape[1]
    return replace(track, abnormal=abnormal)


def _events(path: Path) -> list[tuple[int, int, int]]:
    """Object, first frame and frame after the last of each abnormal event."""
    if not path.is_file():
        raise DatasetError(f"{path}: the annotation of an abnormal clip is missing")
    content = path.read_bytes()
    if content.startswith(_NUMPY_MAGIC):
        raise DatasetError(f"{path}: expected lines of object,start,end, got a NumPy file, which test clips have")
    events = []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        if line.strip():
            try:
                kind, start, end = (int(float(value)) for value in line.split(","))
            except ValueError:
                raise DatasetError(f"{path}, line {number}: expected object,start,end, got {line!r}") from None
            events.append((kind, start, end))
    return events


def _number(clip: PoseClip) -> int:
    try:
        return int(clip.name)
    except ValueError:
        raise DatasetError(f"{clip.name}: expected a clip of Avenue to be named by its number, as 01") from None


def _volume_labels(path: Path) -> Labels:
    """Avenue's labels: ``volLabel`` holds a mask for each frame, and one pixel is enough."""
    if not path.is_file():
        raise DatasetError(f"{path}: the labels of a test clip are missing")
    try:
        masks = np.ravel(loadmat(path)["volLabel"])
    except (MatReadError, zlib.error, OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise DatasetError(f"{path}: cannot be read as a MATLAB file with volLabel: {error}") from error
    return np.array([np.any(mask) for mask in masks], np.int64)


def _picture_labels(folder: Path) -> Labels:
    """Ped2's labels from masks: a picture for each frame, and one pixel is enough."""
    pictures = pictures_in(folder) if folder.is_dir() else []
    if not pictures:
        raise DatasetError(
            f"{folder}: no masks *.bmp; expected them, or {folder.parent / 'UCSDped2.m'}, "
            f"or {folder.parent.parent / 'gt' / 'test_frame_mask'}"
        )
    return np.array([np.any(_grey(path)) for path in pictures], np.int64)


def _script_labels(path: Path, frames: Mapping[str, int], test: Sequence[PoseClip]) -> dict[str, Labels]:
    """Ped2's labels from its script: a line of ranges for each clip in order, counted from 1, ends included."""
    lines = _GT_FRAMES.findall(path.read_text("utf-8", "replace"))
    if len(lines) != len(frames):
        raise DatasetError(f"{path}: expected gt_frame of {len(frames)} clips, got {len(lines)}")
    labels = {}
    for (name, count), line in zip(sorted(frames.items()), lines, strict=True):
        own = np.zeros(count, np.int64)
        for part in re.split(r"[,\s]+", line.strip()):
            bounds = re.fullmatch(r"(\d+)(?::(\d+))?", part)
            first, last = (int(bounds[1]), int(bounds[2] or bounds[1])) if bounds else (0, 0)
            if not 1 <= first <= last <= count:
                raise DatasetError(f"{path}: {name} has frames 1 to {count}, got the range {part!r}")
            own[first - 1 : last] = 1
        labels[name] = own
    for clip in test:
        if clip.name not in labels:
            raise DatasetError(f"{path.parent / clip.name}: the folder of a clip that has poses is missing")
    return {clip.name: labels[clip.name] for clip in test}


def _grey(path: Path) -> NDArray[np.uint8]:
    """A picture that holds labels, so none of a lossy format."""
    # Not by Pillow's `open`: Ultralytics replaces it by one that installs a package where it meets a damaged picture.
    try:
        with _LABEL_FORMATS[path.suffix.lower()](path) as image:
            return np.asarray(image.convert("L"), np.uint8)
    except KeyError:
        raise DatasetError(f"{path}: expected a picture of labels as {', '.join(_LABEL_FORMATS)}") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as a picture") from error
