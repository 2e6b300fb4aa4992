"""Gathers calibration footage: the poses of a camera or of a clip, cut into uninterrupted recordings."""

from __future__ import annotations

import math
import threading
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.behaviours import Behaviour, Behaviours
from model.behaviours.calibration import NormalLife
from model.footage import PoseFootage, PoseTrack
from pose.view import ViewMap, ViewReference
from service.documents.results import ClipResult
from service.live.frames import Scored
from service.live.zones import Zone, without_rest

_MOST_POSES: Final = 200_000
"""Most poses of one calibration; gathering ends early when they are reached. The poses and the windows cut from them
take a few hundred megabytes."""

_BREAK_S: Final = 2.0
"""After a gap between frames longer than this, in seconds, a new recording starts: what happened meanwhile is
unknown."""

_EMPTY_S: Final = 1.0
"""After this many seconds with nobody in view, one frame is kept in each such span until somebody is."""

_LONGEST_RECORDING_S: Final = 600.0
"""Longer recordings are cut, to limit the windows that are in memory at a time."""


class CalibrationRefused(RuntimeError):
    """The calibration cannot be started as asked."""


class _Sightings:
    """Poses of one person, packed, because there may be many."""

    def __init__(self) -> None:
        self._times = array("d")
        self._joints = array("f")

    def add(self, moment: float, keypoints: NDArray[np.float32]) -> None:
        """Add a pose.

        Args:
            moment: Seconds.
            keypoints: Shape ``(17, 3)``.
        """
        self._times.append(moment)
        self._joints.frombytes(np.ascontiguousarray(keypoints, np.float32).tobytes())

    def track(self, number: int) -> PoseTrack:
        """All poses as a track."""
        joints = np.array(self._joints, np.float32).reshape(len(self._times), -1, 3)
        return PoseTrack(number, np.array(self._times), torch.from_numpy(joints))


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """Calibration footage.

    Attributes:
        recordings: The poses, as uninterrupted recordings.
        life: What named behaviours saw of it.
        size: Width and height of the newest picture in pixels; None without pictures of the camera.
        view: The still background of the pictures; None without them.
    """

    recordings: list[PoseFootage]
    life: NormalLife
    size: tuple[int, int] | None = None
    view: ViewMap | None = None


class Gathering:
    """Gathers calibration footage from the processed frames of one camera; callable from any thread.

    Args:
        behaviours: The behaviours that the camera looks for.
        rest: Zones of the camera in which lying is normal.

    Attributes:
        seconds: Seconds of footage so far, without long gaps between frames.
        poses: Number of poses so far.
        full: Set when no more frames are taken.
    """

    def __init__(self, behaviours: Sequence[Behaviour], rest: Sequence[Zone] = ()) -> None:
        self.seconds = 0.0
        self.poses = 0
        self._rest = rest
        self._kinds = frozenset(behaviour.kind for behaviour in behaviours)
        self._life = NormalLife(self._kinds)
        self.full = threading.Event()
        self._lock = threading.Lock()
        self._times = array("d")
        self._people: dict[int, _Sightings] = {}
        self._last = -math.inf
        self._peopled = -math.inf
        self._size: tuple[int, int] | None = None
        self._view = ViewReference()

    def add(self, scored: Scored) -> None:
        """Add a processed frame; one that is not newer than the last is left out."""
        moment = scored.captured_at
        with self._lock:
            gap = moment - self._last
            if self.full.is_set() or gap <= 0:
                return
            self._last = moment
            if gap <= _BREAK_S:
                self.seconds += gap
            size = (scored.width, scored.height)
            counted = without_rest(scored.findings, scored.track_ids, scored.boxes, self._rest, size)
            self._life.add(moment, len(scored.track_ids), counted)
            if scored.image is not None:
                self._size = size
                self._view.look(moment, scored.image, scored.boxes)
            if scored.track_ids:
                self._peopled = moment
            elif gap <= _BREAK_S and moment - self._times[-1] < _EMPTY_S < moment - self._peopled:
                return
            self._times.append(moment)
            for track, keypoints in zip(scored.track_ids, scored.keypoints, strict=True):
                self._people.setdefault(track, _Sightings()).add(moment, keypoints)
            self.poses += len(scored.track_ids)
            if self.poses >= _MOST_POSES:
                self.full.set()

    def hand_over(self) -> Gathered:
        """Return the footage and stop gathering; the memory is freed."""
        with self._lock:
            self.full.set()
            times, people, life = self._times, self._people, self._life
            self._times, self._people, self._life = array("d"), {}, NormalLife(self._kinds)
            size, view = self._size, self._view.view()
            self._view = ViewReference()
        return Gathered(_recordings(np.array(times), people), life, size, view)


def _recordings(times: NDArray[np.float64], people: Mapping[int, _Sightings]) -> list[PoseFootage]:
    """Cut footage into uninterrupted recordings.

    Args:
        times: Capture times of all frames in seconds, increasing.
        people: The poses of each person, by track number.
    """
    if not len(times):
        return []
    whole = PoseFootage(times, tuple(seen.track(number) for number, seen in people.items()))
    starts = [float(times[0])]
    for before, moment in pairwise(times.tolist()):
        if moment - before > _BREAK_S or moment - starts[-1] > _LONGEST_RECORDING_S:
            starts.append(moment)
    return [whole.between(start, stop) for start, stop in pairwise([*starts, math.inf])]


def clip_footage(result: ClipResult, looked_for: Sequence[Behaviour], rest: Sequence[Zone] = ()) -> Gathered:
    """The poses of a scored clip, as calibration footage.

    Named behaviours look at them again: the clip may have been scored by a version that knew fewer.

    Args:
        result: The scored clip.
        looked_for: The behaviours that the camera looks for.
        rest: Zones of the camera in which lying is normal.

    Raises:
        CalibrationRefused: The clip was scored without keypoints.
    """
    people: dict[int, _Sightings] = {}
    behaviours, life = Behaviours(looked_for), NormalLife(behaviour.kind for behaviour in looked_for)
    size = (result.clip.width, result.clip.height)
    for frame in result.frames:
        joints = []
        for person in frame.people:
            if person.keypoints is None:
                raise CalibrationRefused("the clip was scored without keypoints; post it again with keypoints=true")
            joints.append(np.array(person.keypoints, np.float32))
            people.setdefault(person.track, _Sightings()).add(frame.time_s, joints[-1])
        tracks = [person.track for person in frame.people]
        boxes = np.array([person.box for person in frame.people], np.float32).reshape(-1, 4)
        poses = np.array(joints, np.float32).reshape(len(tracks), -1, 3) if tracks else np.empty((0, 17, 3), np.float32)
        findings = behaviours.observe(frame.time_s, tracks, boxes, poses, size)
        life.add(frame.time_s, len(tracks), without_rest(findings, tracks, boxes, rest, size))
    return Gathered(_recordings(np.array([frame.time_s for frame in result.frames]), people), life)
