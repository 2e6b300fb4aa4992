"""Renders a scene into frames, each with the ground truth of every person in it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pose.skeleton import COCO_JOINTS
from simulation.actions import Action
from simulation.camera import Floats, Image, SceneCamera, Sensor
from simulation.figures import Figures, draw_shadows
from simulation.places import Background, draw_background, furnish
from simulation.scene import Scene, SceneIncident
from simulation.world import Actor, World

OUTSIDE: Final = 0
HIDDEN: Final = 1
VISIBLE: Final = 2
"""COCO's visibility of a keypoint: not in the picture, hidden, or visible."""


_NEAR: Final = np.array([(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1)])
"""A pixel and those around it."""


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedPerson:
    """The ground truth of one person in one frame.

    Attributes:
        identity: Number of the person, the same in all frames.
        action: What the person does.
        incident: The anomalous event that the person takes part in right now, with its onset and end.
        keypoints: Shape ``(17, 3)``: COCO x, y in pixels, and `OUTSIDE`, `HIDDEN` or `VISIBLE`. Hidden means behind
            another person, behind furniture, or, for the face, behind the person's own head.
        box: Left, top, right, bottom in pixels of what is drawn of the person, behind others or not, cut at the frame.
    """

    identity: int
    action: Action
    incident: SceneIncident | None
    keypoints: Floats
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedFrame:
    """One frame.

    Attributes:
        image: Shape ``(height, width, 3)``, BGR.
        time_s: Seconds since the scene began.
        people: Every person who is at least partly in the frame, hidden or not.
    """

    image: Image
    time_s: float
    people: tuple[SimulatedPerson, ...]


def render(scene: Scene, *, every: int = 1, start_s: float = 0.0) -> Iterator[SimulatedFrame]:
    """Renders the frames of a scene, one after the other; endlessly if the scene has no end.

    Args:
        scene: The scene with its camera.
        every: Draw only every n-th frame. The frames between are simulated but not drawn, which costs far less.
        start_s: Seconds of the scene before the first frame that is drawn.

    Raises:
        ValueError: The scene's camera cannot see anybody from head to foot, `every` is less than 1, or `start_s` is
            negative.
    """
    if every < 1:
        raise ValueError(f"one of at least 1 frame can be drawn, got one of {every}")
    if start_s < 0:
        raise ValueError(f"a scene has no time before it begins, got {start_s} s")
    boxes = furnish(scene)
    world = World(scene, boxes)
    background = draw_background(scene, boxes)
    return _frames(scene, world, background, every, math.ceil(start_s * scene.camera.fps))


def empty(scene: Scene) -> Image:
    """The scene's place without people and without noise of the sensor, BGR."""
    return draw_background(scene, furnish(scene)).image


def draw_people(
    image: Image, camera: SceneCamera, background: Background, actors: Sequence[Actor], joints: Floats
) -> tuple[SimulatedPerson, ...]:
    """Draw all people from the farthest to the nearest, with furniture in between, and return their ground truth.

    Args:
        image: The place with the shadows on its ground; changed.
        camera: The camera.
        background: The place.
        actors: The people.
        joints: Shape ``(P, J, 3)``: their joints in metres.

    Returns:
        The ground truth of all people who are at least partly in the frame.
    """
    figures = Figures(camera, joints, [actor.body for actor in actors], [actor.clothing for actor in actors])
    labels = np.zeros(image.shape[:2], np.uint8)
    for item in _order(background, actors, joints):
        if item < len(actors):
            figures.draw(image, labels, item, item + 1)
        else:
            left, top, mask = background.masks[item - len(actors)]
            area = slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1])
            cv2.copyTo(background.image[area], mask, image[area])
            cv2.bitwise_and(labels[area], cv2.bitwise_not(mask), dst=labels[area])
    boxes = figures.boxes(camera)
    away = figures.faces_away()
    people = []
    for row, actor in enumerate(actors):
        left, top, right, bottom = boxes[row]
        if right - left < 2 or bottom - top < 2:
            continue
        pixels = figures.pixels[row, : len(COCO_JOINTS)]
        seen = _seen(camera, labels, pixels, row + 1)
        seen[:5] = np.where(away[row] & (seen[:5] == VISIBLE), HIDDEN, seen[:5])
        people.append(
            SimulatedPerson(
                identity=actor.identity,
                action=actor.action,
                incident=actor.incident if actor.event is not None else None,
                keypoints=np.column_stack([pixels, seen]),
                box=(float(left), float(top), float(right), float(bottom)),
            )
        )
    return tuple(people)


def _frames(scene: Scene, world: World, background: Background, every: int, first: int) -> Iterator[SimulatedFrame]:
    sensor = Sensor(scene.camera, np.random.default_rng((scene.seed, 5)))
    numbers = itertools.count() if scene.frames is None else range(scene.frames)
    for number in numbers:
        if number:
            world.step()
        if number < first or (number - first) % every:
            continue
        joints = world.joints()
        light = background.image.copy()
        draw_shadows(light, scene.camera, joints, background.light, background.shade)
        people = draw_people(light, scene.camera, background, world.actors, joints)
        yield SimulatedFrame(sensor.expose(light), number / scene.camera.fps, people)


def _order(background: Background, actors: Sequence[Actor], joints: Floats) -> list[int]:
    """People, then boxes, as numbers in the order in which they must be drawn."""
    feet = joints[:, :, :2].mean(axis=1)
    ranges = np.hypot(*feet.T)
    crowd = sorted(range(len(actors)), key=lambda row: -float(ranges[row]))
    order: list[int] = []
    drawn: set[int] = set()
    for row in crowd:
        for number, box in enumerate(background.boxes):
            before = box is actors[row].seat or not box.hides(feet[row])
            if before and number not in drawn and _overlaps(background.masks[number]):
                drawn.add(number)
                order.append(len(actors) + number)
        order.append(row)
    order += [len(actors) + number for number in range(len(background.boxes)) if number not in drawn]
    return [item for item in order if item < len(actors) or _overlaps(background.masks[item - len(actors)])]


def _overlaps(mask: tuple[int, int, Image]) -> bool:
    return mask[2].size > 0


def _seen(camera: SceneCamera, labels: Image, pixels: Floats, label: int) -> NDArray[np.int64]:
    """For each pixel whether it is outside, belongs to somebody else, or is within a pixel of the person's own."""
    inside = camera.contains(pixels)
    x = np.clip(np.round(pixels[:, 0]).astype(int), 1, camera.width - 2)
    y = np.clip(np.round(pixels[:, 1]).astype(int), 1, camera.height - 2)
    own = (labels[y[:, None] + _NEAR[:, 0], x[:, None] + _NEAR[:, 1]] == label).any(axis=1)
    return np.where(inside, np.where(own, VISIBLE, HIDDEN), OUTSIDE)
