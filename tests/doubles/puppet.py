"""One person of the small world in front of a camera, who acts what a test says; what is seen of them is exact.

An act gives the pose of a person over time, and how far they have gone. `film` shows it to a camera, and `watch` lets
behaviours see one or several people.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.behaviours import Behaviours, Finding, Kind
from simulation import actions
from simulation.body import BODY_JOINTS, INDEX, Body, forward_kinematics, pose, random_body
from simulation.camera import SceneCamera

Floats = NDArray[np.float64]
Act = Callable[[float], tuple[Floats, float]]
"""From seconds to a pose and the metres that the person has gone ahead."""

BODY: Body = random_body(np.random.default_rng(1))
STYLE = dataclasses.replace(actions.random_style(np.random.default_rng(1)), stoop=3.0, direction=0.0)
STAND = actions.stand(STYLE, 0.0)

_LEANING = {"root_pitch": 65.0, "hip_flexion": 65.0}
"""The pelvis turns over straight legs."""

BENT = pose(**_LEANING, spine_flexion=45, shoulder_flexion=95, elbow=5)
CROUCHED = pose(root_pitch=20, spine_flexion=30, hip_flexion=95, knee=120, ankle=-15, shoulder_flexion=60)
ON_ONE_KNEE = pose(
    root_pitch=10,
    spine_flexion=35,
    shoulder_flexion=55,
    elbow=20,
    left_hip_flexion=95,
    left_knee=85,
    right_hip_flexion=15,
    right_knee=95,
    right_ankle=40,
)
"""Tying a shoe."""
KNEELING = pose(knee=90, ankle=50, spine_flexion=5)
ON_HEELS = pose(hip_flexion=60, knee=145, ankle=50, spine_flexion=10)
SEATED = actions.sit(BODY, STYLE, 0.0)
ON_THE_GROUND = pose(root_pitch=-12, hip_flexion=80, knee=30, spine_flexion=20, shoulder_flexion=35, elbow=20)
ALL_FOURS = actions.crawl(STYLE, 0.0, actions.KNEEL_S)
PLANK = pose(root_pitch=68, shoulder_flexion=68, ankle=-10, head_pitch=-20)
LOW_PLANK = pose(root_pitch=84, shoulder_flexion=-10, elbow=95, ankle=-5, head_pitch=-20)
LYING = actions.fall(BODY, STYLE, 10.0)
SUPINE = actions.fall(BODY, dataclasses.replace(STYLE, direction=180.0), 10.0)


def standing(seconds: float) -> tuple[Floats, float]:
    """Standing."""
    return actions.stand(STYLE, seconds), 0.0


def keys(*moments: tuple[float, Floats]) -> Act:
    """Go smoothly from pose to pose, on the spot."""

    def act(seconds: float) -> tuple[Floats, float]:
        for (start, before), (end, after) in itertools.pairwise(moments):
            if seconds < end:
                share = max(seconds - start, 0.0) / (end - start)
                return before + share * share * (3 - 2 * share) * (after - before), 0.0
        return moments[-1][1], 0.0

    return act


def there_and_back(target: Floats, *, lead: float, hold: float) -> Act:
    """From standing to a pose in `lead` seconds, and back after `hold`."""
    return keys((1.5, STAND), (1.5 + lead, target), (1.5 + lead + hold, target), (1.5 + 2 * lead + hold, STAND))


def walking(speed_h_s: float) -> Act:
    """Walking ahead, at a speed in body heights per second."""
    return _gait(actions.walk, speed_h_s, running=False)


def running(speed_h_s: float) -> Act:
    """Running ahead, at a speed in body heights per second."""
    return _gait(actions.run, speed_h_s, running=True)


def crawling(seconds: float) -> tuple[Floats, float]:
    """On hands and knees, at half a metre per second."""
    return actions.crawl(STYLE, 0.9 * seconds, actions.KNEEL_S), 0.5 * seconds


def falling(direction: float = 0.0) -> Act:
    """A fall in 0.85 s, and lying; 0 is forward, 90 to the left, 180 backward."""
    style = dataclasses.replace(STYLE, direction=direction)
    return lambda seconds: (actions.fall(BODY, style, seconds), 0.0)


def rising(seconds: float) -> tuple[Floats, float]:
    """Getting up from the ground in 2.6 s."""
    return actions.rise(BODY, STYLE, seconds), 0.0


def push_ups(hertz: float) -> Act:
    """Push-ups, beginning with straight arms."""

    def act(seconds: float) -> tuple[Floats, float]:
        share = 0.5 - 0.5 * np.cos(2 * np.pi * hertz * seconds)
        return PLANK + share * (LOW_PLANK - PLANK), 0.0

    return act


def script(*parts: tuple[float, Act]) -> Act:
    """Acts one after another, each for some seconds; the last goes on."""

    def act(seconds: float) -> tuple[Floats, float]:
        gone = 0.0
        for length, part in parts[:-1]:
            if seconds < length:
                break
            seconds -= length
            gone += part(length)[1]
        else:
            part = parts[-1][1]
        position, ahead = part(seconds)
        return position, gone + ahead

    return act


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """What a perfect pose estimator and tracker see of one person.

    Attributes:
        times: Shape ``(N,)``, seconds.
        keypoints: Shape ``(N, 17, 3)``; joints outside of the picture have confidence 0.
        boxes: Shape ``(N, 4)``, within the picture.
        tracks: Shape ``(N,)``: the person's number in each frame; -1 where nobody was found.
        size: Width and height of the picture.
        shoulders: Shape ``(N,)``: how high the shoulders truly are, in body heights.
    """

    times: Floats
    keypoints: Floats
    boxes: Floats
    tracks: NDArray[np.int64]
    size: tuple[int, int]
    shoulders: Floats

    def hidden(self, share: float, seed: int = 0) -> Footage:
        """The same with a share of the joints unseen, drawn anew in each frame."""
        unseen = np.random.default_rng(seed).random(self.keypoints.shape[:2]) < share
        return self.changed(keypoints=np.where(unseen[..., None], 0.0, self.keypoints))

    def without(self, *joints: str) -> Footage:
        """The same with these joints never seen; the box ends where the rest of the body does."""
        unseen = np.array([any(part in name for part in joints) for name in BODY_JOINTS[:17]])
        keypoints = np.where(unseen[None, :, None], 0.0, self.keypoints)
        boxes = self.boxes.copy()
        boxes[:, 3] = np.minimum(boxes[:, 3], keypoints[..., 1].max(axis=1) + 5.0)
        return self.changed(keypoints=keypoints, boxes=boxes)

    def jittered(self, pixels: float, seed: int = 0) -> Footage:
        """The same with noise on the places of the joints and on the sides of the boxes."""
        rng = np.random.default_rng(seed)
        keypoints, boxes = self.keypoints.copy(), self.boxes + rng.normal(0, pixels, self.boxes.shape)
        keypoints[..., :2] += rng.normal(0, pixels, keypoints[..., :2].shape)
        return self.changed(keypoints=keypoints, boxes=boxes)

    def scaled(self, factor: float) -> Footage:
        """The same in a picture of another resolution."""
        size = round(self.size[0] * factor), round(self.size[1] * factor)
        return self.changed(keypoints=self.keypoints * (factor, factor, 1.0), boxes=self.boxes * factor, size=size)

    def numbered(self, first: int, *changes: tuple[float, int]) -> Footage:
        """The same under other numbers: the first one, and from each time on another; -1 is not found."""
        tracks = np.full(len(self.times), first)
        for start, number in changes:
            tracks[self.times >= start] = number
        return self.changed(tracks=tracks)

    def then(self, other: Footage, seconds: float) -> Footage:
        """This person, and from a time on the other one at their place in the picture under the same number."""
        later = self.times >= seconds
        return self.changed(
            keypoints=np.where(later[:, None, None], other.keypoints, self.keypoints),
            boxes=np.where(later[:, None], other.boxes, self.boxes),
        )

    def changed(self, **changes: object) -> Footage:
        """The same with other values of its attributes."""
        return dataclasses.replace(self, **changes)


def film(
    act: Act,
    seconds: float,
    *,
    fps: float = 15.0,
    facing: float = 0.0,
    place: tuple[float, float] = (0.0, 6.0),
    camera: SceneCamera | None = None,
) -> Footage:
    """Film a person.

    Args:
        act: What the person does.
        seconds: How long the film is.
        fps: Frames per second.
        facing: Where the person faces and goes, in degrees: 0 to the right of the picture, -90 to the camera.
        place: Where the person starts: metres to the right of the camera, and ahead of it.
        camera: The camera; by default 640 x 480 pixels, at 2.6 m, looking down 14 degrees.
    """
    camera = camera or SceneCamera(width=640, height=480, height_m=2.6, tilt_deg=14.0)
    times = np.arange(round(seconds * fps)) / fps
    poses, gone = zip(*(act(float(time)) for time in times), strict=True)
    heading = np.deg2rad(facing)
    places = np.array(place) + np.array(gone)[:, None] * (np.cos(heading), np.sin(heading))
    joints = forward_kinematics(
        np.repeat(BODY.lengths()[None], len(times), axis=0), np.array(poses), places, np.full(len(times), heading)
    )
    pixels, _ = camera.project(joints)
    margin = 0.02 * np.ptp(pixels[..., 1], axis=1)[:, None]
    limit = (camera.width, camera.height)
    boxes = np.concatenate([pixels.min(axis=1) - margin, pixels.max(axis=1) + margin], axis=1)
    coco = pixels[:, :17]
    seen = camera.contains(coco)
    keypoints = np.concatenate([np.where(seen[..., None], coco, 0.0), 0.9 * seen[..., None]], axis=2)
    empty = seen.sum(axis=1) < 3
    shoulders = joints[:, [INDEX["left_shoulder"], INDEX["right_shoulder"]], 2].mean(axis=1)
    return Footage(
        times=times,
        keypoints=keypoints,
        boxes=boxes.clip(0, (*limit, *limit)),
        tracks=np.where(empty, -1, 7),
        size=limit,
        shoulders=shoulders / BODY.stature,
    )


def frames(*people: Footage) -> Iterator[tuple[float, list[int], Floats, Floats]]:
    """What the people look like together: time, track numbers, boxes and keypoints of each frame."""
    for index, time in enumerate(people[0].times.tolist()):
        found = [person for person in people if person.tracks[index] >= 0]
        boxes, keypoints = np.zeros((len(found), 4)), np.zeros((len(found), 17, 3))
        for row, person in enumerate(found):
            boxes[row], keypoints[row] = person.boxes[index], person.keypoints[index]
        yield time, [int(person.tracks[index]) for person in found], boxes, keypoints


@dataclass(frozen=True, slots=True)
class Seen:
    """A finding, and when it was reported."""

    time: float
    finding: Finding


def watch(*people: Footage, behaviours: Behaviours | None = None) -> list[Seen]:
    """All findings that fire, frame by frame."""
    watching = behaviours or Behaviours()
    return [
        Seen(time, finding)
        for time, tracks, boxes, keypoints in frames(*people)
        for finding in watching.observe(time, tracks, boxes, keypoints, people[0].size)
        if finding.score >= 1
    ]


def of(kind: Kind, seen: list[Seen]) -> list[Seen]:
    """The findings of one kind."""
    return [each for each in seen if each.finding.kind is kind]


def times_of(kind: Kind, seen: list[Seen]) -> list[float]:
    """When findings of one kind fire."""
    return [each.time for each in of(kind, seen)]


def _gait(step: Callable[..., Floats], speed_h_s: float, *, running: bool) -> Act:
    speed = speed_h_s * BODY.stature
    stride = actions.stride_length(BODY, speed, running=running)
    return lambda seconds: (step(BODY, STYLE, seconds * speed / stride, speed), speed * seconds)
