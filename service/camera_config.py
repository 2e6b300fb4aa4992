"""What an operator chooses for one camera."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from service.messages import CAMERA_ID

MOST_FPS: Final = 60.0

CameraId = Annotated[str, StringConstraints(pattern=CAMERA_ID)]


class CamerasFileError(ValueError):
    """The file of cameras cannot be read; the message names the camera and the field."""


class CameraConfig(BaseModel):
    """A camera, a looped file or a skeleton feed, and how it is watched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: int | str = Field(
        description="Where pictures come from: an `rtsp`, `rtsps`, `http` or `https` URL; the index of a camera of "
        "this machine, such as 0; the path of a video in one of `DAFLOW_MEDIA_DIRS`, with `loop`; or `skeletons:` for "
        "a device that sends keypoints instead of pictures.",
        examples=["rtsp://viewer:secret@192.168.1.20/stream1"],
        union_mode="left_to_right",
    )
    name: str | None = Field(default=None, max_length=100, description="What people call it.", examples=["Entrance"])
    enabled: bool = Field(default=True, description="A disabled camera is kept and not connected to.")
    loop: bool = Field(default=False, description="Play a file over and over; other sources never end by themselves.")
    max_fps: float | None = Field(
        default=None,
        gt=0,
        le=MOST_FPS,
        description="Pictures per second that are looked at; null takes the service's setting.",
    )
    verify_tls: bool = Field(default=True, description="Refuse `https` and `rtsps` peers without a valid certificate.")
    picture: bool = Field(
        default=True,
        description="Whether pictures may be shown and kept; otherwise only skeletons leave this camera.",
    )
    false_alarms_per_hour: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Where an incident begins, as false alarms per hour of normal life; null takes the service's.",
    )
    alert_false_alarms_per_hour: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Where an incident becomes an alert; null is a tenth of `false_alarms_per_hour`.",
    )
    min_duration_s: float = Field(
        default=0.5, ge=0, le=60, description="Seconds that the level must stay up before an incident opens."
    )
    quiet_s: float = Field(
        default=10.0, gt=0, le=3600, description="Seconds below the closing level after which an incident ends."
    )
    cooldown_s: float = Field(
        default=30.0,
        ge=0,
        le=86_400,
        description="Seconds after an incident in which no new one opens unless it is more severe; they are counted.",
    )

    @model_validator(mode="after")
    def _alert_is_rarer(self) -> Self:
        asked, alert = self.false_alarms_per_hour, self.alert_false_alarms_per_hour
        if asked is not None and alert is not None and alert > asked:
            raise ValueError(
                f"alert_false_alarms_per_hour={alert:g} must not be higher than false_alarms_per_hour={asked:g}"
            )
        return self


class CameraPatch(BaseModel):
    """Fields of a camera to change; the others stay. See `CameraConfig` for their meaning."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def apply(self, config: CameraConfig) -> CameraConfig:
        """The camera with these changes.

        Raises:
            ValidationError: A field is unknown or has an impossible value.
        """
        return CameraConfig.model_validate(config.model_dump() | (self.model_extra or {}))


_file: Final = TypeAdapter(dict[CameraId, CameraConfig])


def read_cameras(path: Path) -> dict[str, CameraConfig]:
    """Read a YAML file that maps the ids of cameras to their configuration.

    Raises:
        CamerasFileError: The file is missing or is not such a mapping.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CamerasFileError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise CamerasFileError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    try:
        return _file.validate_python({} if document is None else document)
    except ValidationError as error:
        # The rejected values may hold passwords, so they are not repeated.
        found = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False)]
        raise CamerasFileError(f"{path}: {'; '.join(found)}") from error
