"""The result of a scored clip: the JSON document that the API returns and the command line writes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from model.behaviours import FIRES, Kind
from service.documents.base import Document, Level, MissingScore
from service.documents.budget import per_day_of
from service.documents.kinds import TITLES


class ClipInfo(Document):
    """The decoded video."""

    frames: int = Field(description="Number of decoded frames.", examples=[1394])
    fps: float = Field(description="Mean frames per second, from presentation times.", examples=[10.0])
    width: int = Field(description="Pixels, as shown: upright and with square pixels.", examples=[768])
    height: int = Field(description="Pixels, as shown: upright and with square pixels.", examples=[432])
    duration_s: float = Field(description="Seconds from the first frame to the end of the last.", examples=[139.4])
    codec: str | None = Field(
        default=None,
        description="Name of the video codec; null for skeletons, and in results of versions that did not say.",
        examples=["h264"],
    )
    reader: Literal["opencv", "pyav"] | None = Field(
        default=None,
        description="What decoded the video: `opencv`, or `pyav` for what OpenCV does not show right, such as "
        "interlaced or mirrored pictures; null for skeletons, and in results of versions that did not say.",
        examples=["opencv"],
    )
    undecoded: int = Field(
        default=0, ge=0, description="Pictures of the video that could not be decoded and are not in `frames`."
    )
    clock_jumps: int = Field(
        default=0,
        ge=0,
        description="How often the clock of the video starts again, or is set forwards by more than 90 s. A frame "
        "after a jump is placed one usual step after the frame before it.",
    )


class ModelInfo(Document):
    """The models that computed the scores."""

    checkpoint: str = Field(description="Name of the DA-Flow checkpoint.", examples=["daflow-poselift"])
    parameters: int = Field(description="Trained parameters of the flow.", examples=[488])
    window: int = Field(description="Number of poses in one window.", examples=[24])
    rate_hz: float = Field(description="Poses per second in a window.", examples=[15.0])
    pose_weights: str | None = Field(
        description="File name of the pose estimator's weights; null for skeletons that were posted without video.",
        examples=["yolov8n-pose.onnx"],
    )
    pose_runtime: str | None = Field(
        None,
        description="What ran the pose estimator, with its precision if that depends on the CPU; null where "
        "`pose_weights` is, and in results of versions that did not say it.",
        examples=["OpenVINO, bf16"],
    )


class Threshold(Document):
    """The level at which an anomaly begins."""

    level: Level = Field(description="Levels at or above this are anomalous.", examples=[0.9987])
    unusual_per_day: float = Field(
        description="False alarms per day that this level costs, in footage like the calibration footage: half of the "
        "budget, or the lowest rate that the calibration footage supports if that is higher.",
        examples=[2.3],
    )
    false_alarms_per_day: float = Field(
        description="The false-alarm budget, in false alarms per day, of `unusual` and named behaviours together.",
        examples=[1.0],
    )

    @model_validator(mode="before")
    @classmethod
    def _budget_per_day(cls, values: Any) -> Any:
        """Read a threshold of a version whose budget was per hour, and for `unusual` alone."""
        values = per_day_of(values, ["false_alarms_per_day"])
        if isinstance(values, dict) and "false_alarms_per_day" in values:
            return {"unusual_per_day": values["false_alarms_per_day"]} | values
        return values


class PersonScore(Document):
    """One tracked person in one frame."""

    track: int = Field(description="Number of the track, unique within the clip, from 1.", examples=[3])
    box: tuple[float, float, float, float] = Field(
        description="Left, top, right, bottom in pixels.", examples=[(312.5, 88.0, 371.0, 260.4)]
    )
    keypoints: list[tuple[float, float, float]] | None = Field(
        default=None, description="The 17 COCO joints as x, y in pixels and confidence in 0..1; left out on request."
    )
    score: float | None = Field(
        description="Negative log-likelihood in bits per dimension; null if no window of the track covers this frame.",
        examples=[1.92],
    )
    level: Level | None = Field(
        description="Position among the scores of normal life, 0 to 1, by the calibration; all parts together.",
        examples=[0.71],
    )
    parts: dict[str, Level] = Field(
        default_factory=dict,
        description="Level of each part of the score: `pose` (the DA-Flow score), `motion`, and `pair` (with a person "
        "nearby). The part with the highest level contributes most.",
        examples=[{"pose": 0.71, "motion": 0.42, "pair": 0.0}],
    )
    behaviours: dict[Kind, float] = Field(
        default_factory=dict,
        description="Score of each named behaviour of this person, from 0.5. A behaviour fires at 1, or at the "
        "threshold that a calibration of the camera has found for it.",
        examples=[{"fall": 1.4}],
    )
    firing: list[Kind] = Field(
        default_factory=list,
        description="The named behaviours of this person that fire, most severe first.",
        examples=[["fall"]],
    )

    @model_validator(mode="before")
    @classmethod
    def _fires_at_the_usual_score(cls, values: Any) -> Any:
        """Give a person of an older version, or one without thresholds of a camera, what fires."""
        if not isinstance(values, dict) or "firing" in values or not isinstance(values.get("behaviours"), dict):
            return values
        fires = {
            kind for kind, score in values["behaviours"].items() if isinstance(score, int | float) and score >= FIRES
        }
        return values | {"firing": [kind for kind in Kind if kind in fires]}


class FrameScore(Document):
    """One frame of the clip."""

    index: int = Field(description="Number of the frame, from 0.", examples=[125])
    time_s: float = Field(description="Presentation time in seconds from the first frame.", examples=[12.5])
    score: float | None = Field(description="Highest score over people; null if nobody could be scored.")
    level: Level | None = Field(description="Highest level over people; null if nobody could be scored.")
    reason: MissingScore | None = Field(
        default=None,
        description="Why there is no score: `nobody` is in the picture; `track_too_short`, no person was followed for "
        "a whole window around this frame; `frame_rate_too_low`, the gap between frames is too long to interpolate "
        "poses; `too_few_joints`, fewer than 6 joints of each person were seen.",
    )
    people: list[PersonScore] = Field(description="All tracked people in this frame.")


class Track(Document):
    """One person followed over time."""

    id: int = Field(description="Number of the track.", examples=[3])
    first_frame: int = Field(description="Index of the first frame with this person.", examples=[88])
    last_frame: int = Field(description="Index of the last frame with this person.", examples=[240])
    windows: int = Field(description="Number of windows scored.", examples=[129])
    peak_level: Level | None = Field(description="Highest level of the track; null if it has no window.")


class Anomaly(Document):
    """A period in which a named behaviour was seen, or in which the level was at or above the threshold."""

    kind: Kind = Field(
        default=Kind.UNUSUAL,
        description="What happened: a named behaviour, or `unusual` for a level at or above the threshold. Results of "
        "versions that knew no behaviours have `unusual` only.",
        examples=["fall"],
    )
    title: str = Field(
        default=TITLES[Kind.UNUSUAL],
        description="The kind and the number of people, in words.",
        examples=["Fall, 1 person"],
    )
    start_s: float = Field(
        description="Presentation time at which it began, seconds: for `unusual` that of its first frame, for a named "
        "behaviour the time at which the movement began.",
        examples=[12.4],
    )
    end_s: float = Field(
        description="Presentation time of the last frame in which the behaviour fires or the level is at or above the "
        "threshold, seconds.",
        examples=[15.1],
    )
    explanation: str = Field(
        default="",
        description="What was seen when it was clearest, with numbers.",
        examples=["shoulders came down by 0.6 body heights, at up to 1.4 a second"],
    )
    facts: dict[str, float] = Field(
        default_factory=dict,
        description="The numbers of the explanation by name; the unit ends the name (`_s` seconds, `_h` body heights, "
        "`_deg` degrees). For `unusual`, the level and that of each part of the score.",
        examples=[{"drop_h": 0.727, "speed_h_s": 1.316, "down_s": 1.2}],
    )
    joints: list[int] = Field(
        default_factory=list,
        description="Numbers of the COCO joints that contributed, from 0; empty for `unusual`.",
        examples=[[5, 6, 11, 12]],
    )
    peak_level: Level = Field(
        description="Highest level of a frame in the period; 0 if nobody was scored in it.", examples=[0.9998]
    )
    tracks: list[int] = Field(description="The people: tracks of which this was seen in the period.", examples=[[3]])


class ClipResult(Document):
    """Scores of one clip."""

    clip: ClipInfo
    model: ModelInfo
    threshold: Threshold
    frames: list[FrameScore] = Field(description="Every frame, in order.")
    tracks: list[Track] = Field(description="All tracks, in order of appearance.")
    anomalies: list[Anomaly] = Field(description="What was seen, in order of time; kinds may overlap.")
    notes: list[str] = Field(
        default_factory=list, description="Limits of this result in words, for example that nobody was seen."
    )
