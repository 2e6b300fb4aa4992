"""The labelled footage: where each clip lies, what happens in it, and where its poses come from.

Every function takes the folder of the data (``events``, ``clips``, ``poselift`` in it) and gives cases in order of
their names. Labels are taken as published; how frames and classes become events is said in each function.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.events.recordings import PoseRecording, PoseStore
from model.behaviours import Kind
from model.dataset import PoseClip, read_split
from model.events import Event
from pose.skeleton import COCO_JOINTS

URFALL_FPS: Final = 30.0
POSELIFT_FPS: Final = 15.0

WHOLE: Final = 1e6
"""End of an event that lasts as long as its clip, in seconds; `Case.events_within` cuts it."""

_MOVENET: Final = (
    "nose",
    *(
        f"{side}_{joint}"
        for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in ("left", "right")
    ),
)
"""Joints of the skeletons of UR Fall in order."""

_PICTURE: Final = (640, 480)
"""Picture in whose width and height those skeletons are fractions."""

SHOWN: Final[Mapping[str, str]] = {
    "nofi049": "a packed dance floor in infrared light",
    "nofi095": "police officers hold the person whom they arrest",
    "nofi135": "people walk briskly through a hall",
    "01_283": "somebody bends down to a low shelf, and the skeleton is scrambled for half a second",
    "03_268": "two people wait in a line; the one behind is half hidden and changes number, and legs appear at once",
    "adl-13": "somebody comes in from the side, and the joints appear a few at a time",
}
"""What is seen in clips whose false alarms were looked at, by name."""

_LYING, _GOING_DOWN = 1, 0

_CLASS: Final = re.compile(r"(Fall\w*|Sleeping)\s*(?:\([A-Z]+\))?\s*\[([^\]]*)")
_SECONDS: Final = re.compile(r"([\d.]+)\s*to\s*([\d.]+)")
_GMDCSA: Final = re.compile(r"(Subject_\d+_(?:Fall|ADL))_(\d+)")


class FootageError(ValueError):
    """The folder does not hold what it should; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Case:
    """A clip with its labels.

    Attributes:
        name: Its name.
        events: What happens in it.
        record: Gives its poses; the argument is the factor of the picture's size that the estimator sees, where there
            is a video.
        video: Whether there is a video.
    """

    name: str
    events: tuple[Event, ...]
    record: Callable[[float], PoseRecording]
    video: bool = True

    def events_within(self, duration_s: float) -> tuple[Event, ...]:
        """The events, none of which lasts longer than the clip."""
        return tuple(
            Event(event.kind, event.start, min(event.end, duration_s), event.reached)
            for event in self.events
            if event.start < duration_s
        )


def urfall_falls(data: Path, store: PoseStore) -> list[Case]:
    """The falls of UR Fall.

    An event runs from the first frame labelled as going down, in the last run that leads to lying, until the person
    lies no longer or the clip ends; delays are also counted from the first frame labelled as lying.
    """
    labels = _urfall_labels(data)
    videos = _videos(data / "events" / "urfall" / "videos", "fall-*.mp4")
    return [Case(path.stem, tuple(falls(labels[path.stem])), _recorder(store, path)) for path in videos]


def urfall_falls_elsewhere(data: Path) -> list[Case]:
    """The same falls as another pose model (MoveNet) saw them."""
    labels = _urfall_labels(data)
    return [
        Case(name, tuple(falls(labels[name])), _given(recording), video=False)
        for name, recording in _movenet(data)
        if name.startswith("fall")
    ]


def urfall_daily(data: Path) -> list[Case]:
    """The daily activities of UR Fall, as skeletons of another pose model.

    Every run of frames labelled as lying is an event.
    """
    labels = _urfall_labels(data)
    return [
        Case(name, tuple(lying(labels[name])), _given(recording), video=False)
        for name, recording in _movenet(data)
        if name.startswith("adl")
    ]


def gmdcsa24(data: Path, store: PoseStore) -> list[Case]:
    """GMDCSA24: the seconds of its classes `Fall` and `Falling` are falls, those of `Sleeping` are lying."""
    folder = data / "events" / "gmdcsa24"
    cases = []
    for path in _videos(folder, "*.mp4"):
        match = _GMDCSA.fullmatch(path.stem)
        if match is None:
            raise FootageError(f"{path.name}: expected Subject_N_Fall_N.mp4 or Subject_N_ADL_N.mp4")
        classes = _classes(folder / f"{match[1]}.csv", f"{match[2]}.mp4")
        cases.append(Case(path.stem, tuple(gmdcsa_events(classes)), _recorder(store, path)))
    return cases


def fights(data: Path, store: PoseStore) -> list[Case]:
    """CCTV clips of fights and of ordinary life. The whole clip of a fight is the event."""
    folder = data / "clips" / "surveillance-fight"
    whole = (Event(Kind.FIGHT, 0.0, WHOLE),)
    return [
        *(Case(path.stem, whole, _recorder(store, path)) for path in _videos(folder / "fight", "*.*")),
        *(Case(path.stem, (), _recorder(store, path)) for path in _videos(folder / "noFight", "*.*")),
    ]


def ordinary(data: Path, store: PoseStore) -> list[Case]:
    """A room that people enter (Intel), and two clips of UBnormal.

    The frames in which UBnormal has marked a person as abnormal are unusual events: they have no name here.
    """
    paths = [
        *_videos(data / "clips" / "intel", "*.mp4"),
        *_videos(data / "clips" / "ubnormal", "*.mp4"),
    ]
    cases = []
    for path in paths:
        tracks = path.with_name(f"{path.stem}_tracks.txt")
        rows = np.loadtxt(tracks, delimiter=",", ndmin=2) if tracks.exists() else np.empty((0, 3))
        events = [Event(Kind.UNUSUAL, first / 30.0, last / 30.0) for _, first, last in rows.tolist()]
        cases.append(Case(path.stem, tuple(events), _recorder(store, path)))
    return cases


def poselift(data: Path) -> list[Case]:
    """Ordinary life in a shop: the training clips of PoseLift, as skeletons that others have followed."""
    clips = read_split(data / "poselift" / "pose" / "train")
    size = _picture(clips)
    return [Case(clip.name, (), _given(_of_clip(clip, size)), video=False) for clip in clips]


def falls(labels: NDArray[np.int8]) -> list[Event]:
    """The fall in the frame labels of a sequence, at 30 frames a second."""
    lying_runs = _runs(labels == _LYING)
    going_down = [run for run in _runs(labels == _GOING_DOWN) if run[1] in {first for first, _ in lying_runs}]
    if not going_down:
        return []
    first, landed = going_down[-1]
    (end,) = [stop for start, stop in lying_runs if start == landed]
    return [Event(Kind.FALL, first / URFALL_FPS, end / URFALL_FPS, reached=landed / URFALL_FPS)]


def lying(labels: NDArray[np.int8]) -> list[Event]:
    """The times at which somebody lies, from the frame labels of a sequence at 30 frames a second."""
    return [Event(Kind.LYING, first / URFALL_FPS, last / URFALL_FPS) for first, last in _runs(labels == _LYING)]


def gmdcsa_events(classes: str) -> list[Event]:
    """The falls and the lying among the classes of a clip.

    Example:
        >>> [(str(one.kind), one.start, one.end) for one in gmdcsa_events("Falling (SW)[1.8 to 6] ; Sitting [0 to 2]")]
        [('fall', 1.8, 6.0)]
    """
    return [
        Event(Kind.LYING if name == "Sleeping" else Kind.FALL, float(start), float(end))
        for name, spans in _CLASS.findall(classes)
        for start, end in _SECONDS.findall(spans)
    ]


def movenet_recording(rows: NDArray[np.float64]) -> PoseRecording:
    """Skeletons of UR Fall as a recording; row i is picture max(0, i - 1), all zero where nobody was found.

    Args:
        rows: Shape ``(T, 13, 4)``: x and y as fractions of 640x480, and two columns that are not used.
    """
    # The first two rows are the same picture.
    pictures = rows[1:, :, :2] * _PICTURE
    there = np.flatnonzero(rows[1:, :, :2].any(axis=(1, 2)))
    keypoints = np.zeros((len(there), len(COCO_JOINTS), 3), np.float32)
    places = [COCO_JOINTS.index(name) for name in _MOVENET]
    keypoints[:, places, :2] = pictures[there]
    keypoints[:, places, 2] = 1.0
    return PoseRecording(
        times=np.arange(len(pictures)) / URFALL_FPS,
        size=_PICTURE,
        frames=there.astype(np.int64),
        boxes=_around(pictures[there]),
        keypoints=keypoints,
        confidences=np.ones(len(there), np.float32),
    )


def _urfall_labels(data: Path) -> dict[str, NDArray[np.int8]]:
    path = data / "events" / "urfall" / "frame_labels.npz"
    if not path.exists():
        raise FootageError(f"there is no {path}")
    with np.load(path) as labels:
        return {name: labels[name] for name in labels.files}


def _movenet(data: Path) -> list[tuple[str, PoseRecording]]:
    with np.load(data / "events" / "urfall" / "movenet13.npz") as skeletons:
        return [(name, movenet_recording(skeletons[name].astype(np.float64))) for name in sorted(skeletons.files)]


def _classes(path: Path, name: str) -> str:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.reader(stream):
            if row and row[0].strip() == name:
                return row[-1]
    raise FootageError(f"{path.name} has no row for {name}")


def _of_clip(clip: PoseClip, size: tuple[int, int]) -> PoseRecording:
    """A clip of a data set; a box reaches around the joints."""
    numbers = np.concatenate([track.frames for track in clip.tracks])
    keypoints = np.concatenate([track.keypoints.numpy() for track in clip.tracks]).astype(np.float32)
    people = np.repeat([track.person for track in clip.tracks], [len(track.frames) for track in clip.tracks])
    order = np.lexsort((people, numbers))
    first, last = int(numbers.min()), int(numbers.max())
    return PoseRecording(
        times=np.arange(last - first + 1) / POSELIFT_FPS,
        size=size,
        frames=(numbers[order] - first).astype(np.int64),
        boxes=_around(keypoints[order, :, :2]),
        keypoints=keypoints[order],
        confidences=np.ones(len(order), np.float32),
        tracks=people[order].astype(np.int64) + 1,
    )


def _picture(clips: Sequence[PoseClip]) -> tuple[int, int]:
    """Width and height of the smallest picture that holds everybody; the files name none."""
    farthest = np.max([track.keypoints[..., :2].amax(dim=(0, 1)).numpy() for clip in clips for track in clip.tracks], 0)
    width, height = (int(side) + 1 for side in farthest)
    return width, height


def _around(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Boxes around joints ``(N, J, 2)``, at least a pixel wide and high."""
    low, high = points.min(axis=1), points.max(axis=1)
    return np.concatenate([low, np.maximum(high, low + 1)], axis=1).astype(np.float32)


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First frame and the one after the last of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(first), int(last)) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def _videos(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.glob(pattern))
    if not found:
        raise FootageError(f"there are no videos {pattern} in {folder}")
    return found


def _recorder(store: PoseStore, path: Path) -> Callable[[float], PoseRecording]:
    return lambda scale: store.recording(path, scale=scale)


def _given(recording: PoseRecording) -> Callable[[float], PoseRecording]:
    return lambda _: recording
