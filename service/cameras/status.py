"""A camera's status as the API shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from pose.live import SourceState
from service.cameras.config import CameraConfig
from service.documents.base import Document, Level


class SourceProblem(Document):
    """What keeps a camera from delivering pictures."""

    cause: str = Field(description="Stable slug.", examples=["unauthorised"])
    detail: str = Field(description="The same as a sentence.", examples=["the camera refuses the user or the password"])


class Thresholds(Document):
    """Where the incidents of a camera begin and end."""

    open: Level = Field(description="Levels at or above this open an incident.", examples=[0.9987])
    close: Level = Field(description="Levels below this let it end.", examples=[0.995])
    alert: Level = Field(description="Levels at or above this make it an alert.", examples=[0.9999])
    false_alarms_per_hour: float = Field(
        description="False alarms per hour of normal life that the opening level stands for; less than asked for where "
        "the calibration does not reach so far.",
        examples=[1.0],
    )
    calibration: Literal["shipped", "camera"] = Field(
        description="Whose normal life that is: that of the checkpoint's footage, or of this camera."
    )
    adapted: bool = Field(description="Whether the camera has weights of its own.")


class CameraStatus(Document):
    """A camera and how it is."""

    id: str = Field(description="Id of the camera.", examples=["entrance"])
    config: CameraConfig = Field(description="What was chosen for it; credentials in the URL are left out.")
    state: SourceState = Field(description="Where its source stands.")
    since: datetime = Field(description="Since when.")
    problem: SourceProblem | None = Field(description="What went wrong last; null while all is well.")
    picture: Literal["ok", "black", "frozen"] = Field(description="What is plainly wrong with the picture itself.")
    width: int | None = Field(description="Width of the picture in pixels.")
    height: int | None = Field(description="Height of the picture in pixels.")
    fps_in: float | None = Field(description="Frames per second that arrive.", examples=[25.0])
    fps_processed: float | None = Field(description="Frames per second that are scored.", examples=[14.8])
    frames_read: int = Field(description="Frames that arrived since the camera was last started.")
    frames_processed: int = Field(description="Frames that were scored.")
    dropped: dict[str, int] = Field(
        description="Frames that were not, by reason: `rate_limit`, more came than are wanted; `overload`, the machine "
        "was too slow; `not_ready`, the models were not loaded; `out_of_order`; `error`.",
        examples=[{"rate_limit": 1042, "overload": 3}],
    )
    reconnects: int = Field(description="Times that the connection was lost and tried again.")
    last_score_at: datetime | None = Field(description="Capture time of the newest score.")
    last_score_age_s: float | None = Field(description="How old that score was when it was published, in seconds.")
    thresholds: Thresholds | None = Field(description="Where incidents begin; null until the models are loaded.")
    incident: str | None = Field(description="The open incident.")
    suppressed: int = Field(description="Incidents held back by the cooldown since the camera was last started.")
