"""The status of a camera as the API shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from model.behaviours import Kind
from pose.live import SourceState
from pose.sight import CannotSee
from service.cameras.config import CameraConfig
from service.documents.base import Document, Level, Severity
from service.documents.messages import Staleness, Validity


class SourceProblem(Document):
    """Why a camera delivers no frames."""

    cause: str = Field(description="Stable slug.", examples=["unauthorised"])
    detail: str = Field(
        description="The cause as a sentence.", examples=["the camera refuses the user or the password"]
    )


class Thresholds(Document):
    """The levels at which incidents of a camera open, end and become alerts."""

    open: Level = Field(description="Levels at or above this open an incident.", examples=[0.9987])
    close: Level = Field(
        description="An incident ends after its level has stayed below this for `quiet_s`.", examples=[0.995]
    )
    alert: Level = Field(description="Levels at or above this make an incident an alert.", examples=[0.9999])
    false_alarms_per_day: float = Field(
        description="The false-alarm budget, in false alarms per day, of `unusual` and named behaviours together.",
        examples=[1.0],
    )
    unusual_per_day: float = Field(
        description="False alarms per day at the opening level: half of the budget. If the footage supports no rate "
        "that low, the lowest that it supports; if it covers none that high, the highest that it covers.",
        examples=[2.3],
    )
    behaviours: dict[Kind, float] = Field(
        description="Score from which each named behaviour fires that is not switched off: 1, or what a calibration of "
        "this camera has found.",
        examples=[{"fall": 1.0, "running": 1.35}],
    )
    calibration: Literal["shipped", "camera"] = Field(
        description="Which calibration is in use: the one that ships with the checkpoint, or one of this camera."
    )
    adapted: bool = Field(description="Whether the camera has its own weights.")


class CameraStatus(Document):
    """A camera: its configuration, its state and its counters."""

    id: str = Field(description="Id of the camera.", examples=["entrance"])
    config: CameraConfig = Field(description="Its configuration; credentials in the URL are masked.")
    state: SourceState = Field(description="State of its source.")
    since: datetime = Field(description="Since when it has this state.")
    problem: SourceProblem | None = Field(description="What went wrong last; null if nothing is wrong.")
    picture: Literal["ok", "black", "frozen"] = Field(description="Whether the picture is black or frozen.")
    cannot_see: CannotSee | None = Field(
        default=None,
        description="Why the camera cannot see people: `too_dark`, `glare`, `blurred`, `covered` or "
        "`people_too_small`; null if it sees, and for a skeleton feed. Without new pictures it keeps what was "
        "known last.",
    )
    cannot_see_since: datetime | None = Field(
        default=None, description="Since when it cannot see people; null if it sees."
    )
    width: int | None = Field(description="Width of the picture in pixels.")
    height: int | None = Field(description="Height of the picture in pixels.")
    fps_in: float | None = Field(description="Input frame rate, in frames per second.", examples=[25.0])
    fps_processed: float | None = Field(description="Processed frame rate, in frames per second.", examples=[14.8])
    frames_read: int = Field(description="Frames that arrived since the camera was last started.")
    frames_processed: int = Field(description="Frames that were processed.")
    dropped: dict[str, int] = Field(
        description="Dropped frames, by reason: `rate_limit`, the input frame rate is above `max_fps`; `overload`, the "
        "machine was too slow; `not_ready`, the models were not loaded; `out_of_order`, the frame was not newer "
        "than the one before; `error`, the frame could not be processed.",
        examples=[{"rate_limit": 1042, "overload": 3}],
    )
    surplus: int = Field(
        default=0,
        description="People that were left out of skeletons because a frame held more than 64, since the camera was "
        "last started; a person counts in every such frame.",
    )
    reconnects: int = Field(description="How often the connection was lost and opened again.")
    last_score_at: datetime | None = Field(description="Capture time of the newest score.")
    last_score_age_s: float | None = Field(
        description="Age of that score when it was published: seconds since capture."
    )
    thresholds: Thresholds | None = Field(description="The levels in use; null until the models are loaded.")
    calibration: Validity = Field(
        default="none",
        description="`current`, the calibration of this camera holds; `stale`, it does not, because the picture has "
        "moved or a setting has changed, and the camera is scored as if it had none until that is undone or it is "
        "calibrated again; `none`, it has no calibration of its own.",
    )
    stale: list[Staleness] = Field(
        default_factory=list, description="Why the calibration is stale; empty if it is not."
    )
    incident: str | None = Field(description="Id of the open incident; null if there is none.")
    incident_severity: Severity | None = Field(default=None, description="Its severity so far.")
    suppressed: int = Field(description="Incidents suppressed by the cooldown since the camera was last started.")
