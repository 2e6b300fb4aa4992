"""Skeletons without video: messages of skeleton feeds, and whole sequences that are scored at once."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Final, Literal, Self

import numpy as np
import torch
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from pose.estimator import Poses
from pose.skeleton import COCO_JOINTS
from pose.tracker import TrackedPoses
from service.documents.base import Document

MAX_PEOPLE: Final = 64
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
        max_length=len(COCO_JOINTS),
        description="The 17 COCO joints as x, y in pixels and confidence in 0..1.",
    )
    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate] | None = Field(
        default=None,
        description="Left, top, right, bottom in pixels; null uses the smallest box around the visible joints.",
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
    people: list[SkeletonPerson] = Field(max_length=MAX_PEOPLE, description="All people in view; may be empty.")

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


class SkeletonFrame(SequenceFrame):
    """One message of a skeleton feed."""

    width: Pixels = Field(description="Width in pixels of the picture that the joints lie in.", examples=[1280])
    height: Pixels = Field(description="Height in pixels.", examples=[720])


class SkeletonSequence(Document):
    """A sequence of frames of one camera."""

    width: Pixels = Field(description="Width in pixels of the picture that the joints lie in.", examples=[1280])
    height: Pixels = Field(description="Height in pixels.", examples=[720])
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
    message = f"{place}: {first['msg']}{more}" if place else f"{first['msg']}{more}"
    return message[:_LONGEST_COMPLAINT]


def poses_of(frame: SequenceFrame) -> Poses | TrackedPoses:
    """The people of a frame, on the CPU: `TrackedPoses` if they have track numbers, else `Poses`."""
    people = frame.people
    keypoints = torch.tensor([person.keypoints for person in people], dtype=torch.float32)
    keypoints = keypoints.reshape(-1, len(COCO_JOINTS), 3)
    boxes = np.array([_box(person) for person in people], np.float32).reshape(-1, 4)
    if frame.tracked:
        return TrackedPoses([person.track for person in people if person.track is not None], boxes, keypoints)
    confidences = torch.tensor([1.0 if person.confidence is None else person.confidence for person in people])
    return Poses(torch.from_numpy(boxes), keypoints, confidences)


def _box(person: SkeletonPerson) -> tuple[float, float, float, float]:
    if person.box is not None:
        return person.box
    seen = [point for point in person.keypoints if point[2] > 0] or person.keypoints
    xs, ys = [point[0] for point in seen], [point[1] for point in seen]
    left, top = min(xs), min(ys)
    # At least one pixel in each direction: the tracker compares areas.
    return left, top, max(max(xs), left + 1), max(max(ys), top + 1)
