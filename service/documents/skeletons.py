"""Skeletons without video: messages of skeleton feeds, and whole sequences that are scored at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import Annotated, Final, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from pose.estimator import Poses
from pose.skeleton import COCO_FROM_LAYOUT, COCO_JOINTS, JOINTS_IN_LAYOUT
from pose.tracker import TrackedPoses
from service.documents.base import Document

MAX_PEOPLE: Final = 64
"""Most people of a frame that are scored; of more, those with the highest confidence."""

_MOST_PEOPLE: Final = 1024
"""Most people that a frame may list."""

MAX_FRAMES: Final = 20_000
PROTOCOL_VERSION: Final = 1

MIN_STEP_S: Final = 1e-3
"""Shortest time between two frames of one sequence, in seconds; it bounds the work for each second."""

_FARTHEST: Final = 1e5
"""Largest coordinate in pixels. People may reach beyond the picture, but squares must fit single precision."""

_LONGEST_COMPLAINT: Final = 300
"""Most characters of an error message."""

Coordinate = Annotated[float, Field(ge=-_FARTHEST, le=_FARTHEST, allow_inf_nan=False)]
Confidence = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]
Pixels = Annotated[int, Field(ge=1, le=65_535)]
Keypoint = tuple[Coordinate, Coordinate, Confidence]
Layout = Literal["coco17", "openpose18", "body25"]
Units = Literal["pixels", "fraction"]

_BEYOND: Final = 2.0
"""Largest coordinate of people who reach beyond the picture, in widths and heights of it."""


class BadSkeletons(ValueError):
    """A message is no valid skeleton frame, or does not fit the frames before it; the text says why in one line."""


class SkeletonPerson(Document):
    """One person in one frame."""

    track: int | None = Field(
        default=None,
        ge=1,
        lt=2**31,
        description="Track number of the person, if the device follows people itself. Then every person in the frame "
        "needs one, and a number is never given to another person. Without numbers the service follows people.",
        examples=[3],
    )
    keypoints: list[Keypoint] = Field(
        min_length=len(COCO_JOINTS),
        max_length=max(JOINTS_IN_LAYOUT.values()),
        description="The joints in the order of `layout`, each as x, y in `units` and confidence in 0..1. Confidence 0 "
        "means that the joint was not seen, and so does the place 0, 0; such coordinates are ignored.",
    )
    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate] | None = Field(
        default=None,
        description="Left, top, right, bottom in `units`; null uses the smallest box around the visible joints.",
        examples=[(312.5, 88.0, 371.0, 260.4)],
    )
    confidence: Confidence | None = Field(
        default=None, description="Confidence of the detection; null counts as 1.", examples=[0.87]
    )

    @model_validator(mode="after")
    def _box_is_upright(self) -> Self:
        if self.box is not None and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise ValueError("box must be left, top, right, bottom with left < right and top < bottom")
        return self


class SequenceFrame(Document):
    """The people in one frame."""

    time_s: Seconds = Field(
        description="Time of the frame in seconds, on a monotonic clock of the sender.", examples=[12.466]
    )
    people: list[SkeletonPerson] = Field(
        max_length=_MOST_PEOPLE,
        description=f"All people in view; may be empty. At most {MAX_PEOPLE} are scored, those with the highest "
        "confidence; the rest is counted.",
    )

    @model_validator(mode="after")
    def _everybody_or_nobody_is_numbered(self) -> Self:
        numbers = [person.track for person in self.people if person.track is not None]
        if numbers and len(numbers) != len(self.people):
            raise ValueError("either all people in a frame must have a track or none")
        if len(set(numbers)) != len(numbers):
            raise ValueError("a track occurs twice in one frame")
        return self

    @property
    def tracked(self) -> bool:
        """Whether the people have track numbers; False for a frame without people."""
        return any(person.track is not None for person in self.people)

    @property
    def surplus(self) -> int:
        """People that are left out because there are too many."""
        return max(len(self.people) - MAX_PEOPLE, 0)


class Plane(Document):
    """What the coordinates of skeletons mean."""

    width: Pixels = Field(description="Width in pixels of the picture that the joints lie in.", examples=[1280])
    height: Pixels = Field(description="Height in pixels.", examples=[720])
    layout: Layout = Field(
        default="coco17",
        description="Which joints there are, in which order: `coco17`; `openpose18`, COCO with a neck in OpenPose's "
        "order; `body25`, OpenPose's BODY_25, of which the feet and the middle of the hips are ignored.",
    )
    units: Units = Field(
        default="pixels",
        description="What coordinates count: `pixels`, or `fraction` of the picture's width and height.",
    )

    def check(self, people: Sequence[SkeletonPerson], where: str) -> None:
        """Refuse people whose joints do not fit the layout or the units.

        Raises:
            ValueError: They do not; the text says what to send.
        """
        expected = JOINTS_IN_LAYOUT[self.layout]
        for number, person in enumerate(people):
            if len(person.keypoints) != expected:
                fitting = [name for name, joints in JOINTS_IN_LAYOUT.items() if joints == len(person.keypoints)]
                advice = f"; set layout to {fitting[0]} if that is what they are" if fitting else ""
                raise ValueError(
                    f"{where}person {number} has {len(person.keypoints)} joints, but the layout {self.layout} has "
                    f"{expected}{advice}"
                )
        if self.units == "pixels":
            return
        sides = (value for person in people if person.box is not None for value in person.box)
        farthest = max(map(abs, chain(_seen_coordinates(people), sides)), default=0.0)
        if farthest > _BEYOND:
            raise ValueError(
                f"{where}a joint or a box lies {farthest:g} widths or heights from the corner; set units to pixels, "
                "or send fractions of the width and the height"
            )

    def check_units(self, people: Sequence[SkeletonPerson]) -> None:
        """Refuse pixels that are plainly fractions: everybody is smaller than two pixels, and not a single point.

        Raises:
            ValueError: They are; the text says what to send.
        """
        if self.units == "fraction" or min(self.width, self.height) <= _BEYOND:
            return
        # Of pixels, one of the first joints usually ends this.
        if any(abs(value) > _BEYOND for value in _seen_coordinates(people)):
            return
        seen = list(_seen_coordinates(people))
        if seen and max(seen) > min(seen):
            raise ValueError(
                f"all joints lie between 0 and {_BEYOND:g}; set units to fraction, or send pixels of the "
                f"{self.width} by {self.height} picture"
            )


class SkeletonFrame(SequenceFrame, Plane):
    """One message of a skeleton feed."""

    @model_validator(mode="after")
    def _fits_its_plane(self) -> Self:
        self.check(self.people, "")
        self.check_units(self.people)
        return self


class SkeletonSequence(Plane):
    """A sequence of frames of one camera."""

    frames: list[SequenceFrame] = Field(
        min_length=1, max_length=MAX_FRAMES, description="Frames in order of time, including those without people."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for i, (before, after) in enumerate(pairwise(self.frames)):
            if after.time_s - before.time_s < MIN_STEP_S:
                raise ValueError(
                    f"frame {i + 1}: time_s={after.time_s:g} must be at least {MIN_STEP_S:g} s after {before.time_s:g}"
                )
        if len({frame.tracked for frame in self.frames if frame.people}) > 1:
            raise ValueError("either every frame with people has tracks or none")
        for i, frame in enumerate(self.frames):
            self.check(frame.people, f"frame {i}: ")
        self.check_units([person for frame in self.frames for person in frame.people])
        return self


class FeedHello(Document):
    """First message to a device that sends skeletons."""

    type: Literal["hello"] = Field(default="hello", description="Tag of the message.")
    version: int = Field(default=PROTOCOL_VERSION, description="Version of the messages; a new one may break devices.")
    camera: str = Field(description="Id of the camera.")


class FeedAck(Document):
    """Counts of the frames received; sent at most once a second, after frames have arrived."""

    type: Literal["ack"] = Field(default="ack", description="Tag of the message.")
    accepted: int = Field(description="Frames accepted on this connection.", examples=[450])
    refused: int = Field(description="Messages refused on this connection.", examples=[0])
    surplus: int = Field(
        default=0,
        description=f"People left out on this connection, because a frame had more than {MAX_PEOPLE}.",
        examples=[0],
    )


class FeedError(Document):
    """A message was refused. The connection stays open unless too many in a row are refused."""

    type: Literal["error"] = Field(default="error", description="Tag of the message.")
    detail: str = Field(
        description="Why it was refused.", examples=["people.0.keypoints: List should have at least 17 items"]
    )


FeedMessage = Annotated[FeedHello | FeedAck | FeedError, Field(discriminator="type")]
feed_adapter: Final[TypeAdapter[FeedMessage]] = TypeAdapter(FeedMessage)
"""Parses the answers of the service on ``/v1/cameras/{id}/skeletons``."""


def parse_frame(text: str | bytes) -> SkeletonFrame:
    """Parse one message of a skeleton feed.

    Raises:
        BadSkeletons: It is not a `SkeletonFrame`.
    """
    try:
        return SkeletonFrame.model_validate_json(text)
    except ValidationError as error:
        raise BadSkeletons(complaint(error)) from error


def complaint(error: ValidationError) -> str:
    """Describe what is wrong with a document, in one line and without its values."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    first = found[0]
    place = ".".join(map(str, first["loc"]))
    more = f"; {len(found) - 1} more" if len(found) > 1 else ""
    text = str(first["msg"]).removeprefix("Value error, ")
    message = f"{place}: {text}{more}" if place else f"{text}{more}"
    return message[:_LONGEST_COMPLAINT]


def poses_of(frame: SequenceFrame, plane: Plane) -> Poses | TrackedPoses:
    """The people of a frame that are scored, on the CPU: `TrackedPoses` if they have track numbers, else `Poses`.

    Args:
        frame: The frame, which fits the plane.
        plane: What its coordinates mean.
    """
    people = _most_certain(frame.people)
    scale = (plane.width, plane.height, 1) if plane.units == "fraction" else (1, 1, 1)
    joints = np.array([person.keypoints for person in people], np.float64).reshape(
        -1, JOINTS_IN_LAYOUT[plane.layout], 3
    )
    placed = joints[:, COCO_FROM_LAYOUT[plane.layout]] * scale
    # The very corner of the picture is how many devices say that they did not see a joint, whatever the confidence.
    placed[(placed[..., :2] == 0).all(axis=-1), 2] = 0
    for person in placed:
        seen = person[person[:, 2] > 0, :2]
        if len(seen) and not np.ptp(seen, axis=0).any():
            # This is how some devices say that they did not see somebody.
            person[:, 2] = 0
    keypoints = torch.from_numpy(placed.astype(np.float32))
    given = [None if person.box is None else np.array(person.box) * (*scale[:2], *scale[:2]) for person in people]
    boxes = np.array(
        [_around(points) if box is None else box for box, points in zip(given, placed, strict=True)], np.float32
    ).reshape(-1, 4)
    # At least one pixel in each direction: the tracker compares areas.
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    if frame.tracked:
        return TrackedPoses([person.track for person in people if person.track is not None], boxes, keypoints)
    confidences = torch.tensor([1.0 if person.confidence is None else person.confidence for person in people])
    return Poses(torch.from_numpy(boxes), keypoints, confidences)


def _seen_coordinates(people: Sequence[SkeletonPerson]) -> Iterator[float]:
    return (value for person in people for x, y, confidence in person.keypoints if confidence > 0 for value in (x, y))


def _most_certain(people: Sequence[SkeletonPerson]) -> Sequence[SkeletonPerson]:
    """At most `MAX_PEOPLE` of them, in the order given."""
    if len(people) <= MAX_PEOPLE:
        return people
    doubt = [-1.0 if person.confidence is None else -person.confidence for person in people]
    kept = sorted(np.argsort(doubt, kind="stable")[:MAX_PEOPLE].tolist())
    return [people[index] for index in kept]


def _around(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest box around the joints ``(17, 3)`` that were seen: left, top, right, bottom."""
    seen = joints[joints[:, 2] > 0] if (joints[:, 2] > 0).any() else joints
    return np.concatenate([seen[:, :2].min(axis=0), seen[:, :2].max(axis=0)])
