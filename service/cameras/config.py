"""The configuration of a camera, and the file that lists cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Self, TypeVar

import yaml
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from model.behaviours import BEHAVIOURS, Behaviour, Gathering, Kind, Loitering, WrongWay
from pose.sight import CannotSee
from service.cameras.behaviours import GatheringSettings, LoiteringSettings, WrongWaySettings
from service.documents.base import Severity
from service.documents.budget import per_day_of
from service.documents.kinds import ON_REQUEST, SEVERITIES
from service.documents.messages import CAMERA_ID
from service.documents.time_zones import TimeZone
from service.live.rules import MOST_RULES, Mode, Rule
from service.live.zones import MOST_ZONES, Zone

MOST_FPS: Final = 60.0
LONGEST_RETENTION_HOURS: Final = 87_600.0
"""Ten years."""

BUDGETS: Final = ("false_alarms_per_day", "alert_false_alarms_per_day")
"""Fields of a camera with a false-alarm budget."""

USUAL_MODES: Final[dict[Kind, Mode]] = {
    kind: "off" if kind in ON_REQUEST else severity.value for kind, severity in SEVERITIES.items()
}
"""What a camera does with each named behaviour of which its configuration says nothing."""

CameraId = Annotated[str, StringConstraints(pattern=CAMERA_ID)]


class CamerasFileError(ValueError):
    """The cameras file is missing or invalid; the message names the camera and the field where it can."""


class CameraConfig(BaseModel):
    """Configuration of a camera: its source, zones, behaviours, false-alarm budget and incidents."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: StrictInt | str = Field(
        description="Source of the camera: an `rtsp`, `rtsps`, `http` or `https` URL; the index of a camera of "
        "this machine, such as 0; the path of a video in one of `DAFLOW_MEDIA_DIRS`, with `loop`; `skeletons:` for a "
        "device that sends keypoints instead of pictures; or `simulation:SEED?incident_every=SECONDS` for a simulated "
        "camera.",
        examples=["rtsp://viewer:secret@192.168.1.20/stream1"],
        repr=False,
    )
    name: str | None = Field(default=None, max_length=100, description="Name shown to people.", examples=["Entrance"])
    enabled: bool = Field(
        default=True, description="Whether to connect to the camera; a disabled one keeps its configuration."
    )
    loop: bool = Field(
        default=False,
        description="Play a video file again from its start whenever it ends; required for files, and only for them.",
    )
    max_fps: float | None = Field(
        default=None,
        gt=0,
        le=MOST_FPS,
        description="Highest processed frame rate, in frames per second; null uses `DAFLOW_CAMERA_FPS`, or "
        f"{MOST_FPS:g} for a skeleton feed.",
    )
    verify_tls: bool = Field(default=True, description="Whether `https` and `rtsps` servers need a valid certificate.")
    picture: bool = Field(
        default=True,
        description="Whether pictures of this camera may be shown and stored; if not, only skeletons are.",
    )
    sight_checks: tuple[CannotSee, ...] = Field(
        default=tuple(CannotSee),
        max_length=len(CannotSee),
        description="Reasons for which the camera may say that it cannot see people. Leave some out where they are "
        "usual, such as `too_dark` for a room that is dark at night; an empty list switches the check off.",
        examples=[["glare", "blurred", "covered"]],
    )
    ignore: tuple[Zone, ...] = Field(
        default=(),
        max_length=MOST_ZONES,
        description="Zones of the picture in which people are not scored: polygons, with corners as fractions of its "
        "width and height. A person is in a zone if the middle of the lower edge of the bounding box is in it.",
        examples=[[[[0.6, 0.0], [1.0, 0.0], [1.0, 0.4], [0.6, 0.4]]]],
    )
    rest: tuple[Zone, ...] = Field(
        default=(),
        max_length=MOST_ZONES,
        description="Zones of the picture in which lying is normal, such as a bed or a sofa: people there raise no "
        "`lying`, `fall` and `crawling`, but are scored. A person is in a zone if the middle of the bounding box is.",
        examples=[[[[0.1, 0.5], [0.4, 0.5], [0.4, 0.8], [0.1, 0.8]]]],
    )
    behaviours: dict[Kind, Mode] = Field(
        default_factory=dict,
        description="Severity of incidents of a named behaviour on this camera: `alert`, `warning`, `record` for "
        "incidents that notify nobody, or `off` to switch it off. Behaviours left out have their usual mode: "
        + ", ".join(f"`{kind}` {mode}" for kind, mode in USUAL_MODES.items())
        + ".",
        examples=[{"running": "off", "lying": "warning"}],
    )
    rules: tuple[Rule, ...] = Field(
        default=(),
        max_length=MOST_RULES,
        description="What events mean by kind, day, time, place and duration. The first rule that applies decides; if "
        "none does, `behaviours` and the levels decide.",
        examples=[[{"kinds": ["running"], "hours": "22:00-06:00", "then": "alert"}]],
    )
    timezone: TimeZone | None = Field(
        default=None,
        description="Time zone of the site, by whose clock rules apply, such as `Europe/Berlin`; null uses "
        "`DAFLOW_TIMEZONE`.",
        examples=["Europe/Berlin"],
    )
    pause_until: AwareDatetime | None = Field(
        default=None,
        description="Until this time incidents are recorded, and nobody is notified of them.",
        examples=["2026-03-14T18:00:00Z"],
    )
    loitering: LoiteringSettings = Field(
        default_factory=LoiteringSettings,
        description="When somebody loiters; `behaviours` says whether it is reported.",
        examples=[{"seconds": 120}],
    )
    gathering: GatheringSettings = Field(
        default_factory=GatheringSettings,
        description="When people gather; `behaviours` says whether it is reported.",
        examples=[{"people": 5, "seconds": 60}],
    )
    wrong_way: WrongWaySettings | None = Field(
        default=None,
        description="In which direction people are to go; without it, `wrong_way` cannot be reported.",
        examples=[{"direction_deg": 90}],
    )
    false_alarms_per_day: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="False-alarm budget, in false alarms per day, of `unusual` and all named behaviours together. Half "
        "of it sets the level that opens an incident. A calibration of the camera sets the thresholds of named "
        "behaviours by the other half. null uses `DAFLOW_FALSE_ALARMS_PER_DAY`. `false_alarms_per_hour` is the old "
        "name, for the budget per hour.",
        examples=[1.0],
    )
    alert_false_alarms_per_day: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="How many of these false alarms per day may be alerts: half of it sets the alert level. null uses "
        "a tenth of `false_alarms_per_day`. `alert_false_alarms_per_hour` is the old name, for the budget per hour.",
    )
    min_duration_s: float = Field(
        default=0.5,
        ge=0,
        le=60,
        description="Seconds for which the level must stay at or above the threshold before an incident opens.",
    )
    quiet_s: float = Field(
        default=10.0, gt=0, le=3600, description="An incident ends after this many seconds below the closing level."
    )
    cooldown_s: float = Field(
        default=30.0,
        ge=0,
        le=86_400,
        description="Seconds after an incident in which new ones are suppressed and counted, unless more severe.",
    )
    retention_hours: float | None = Field(
        default=None,
        gt=0,
        le=LONGEST_RETENTION_HOURS,
        description="Incidents of this camera are removed with their evidence after this many hours; null uses "
        "`DAFLOW_INCIDENT_RETENTION_HOURS`.",
        examples=[72],
    )

    @model_validator(mode="before")
    @classmethod
    def _budgets_per_day(cls, values: Any) -> Any:
        return per_day_of(values, BUDGETS)

    @field_validator("behaviours")
    @classmethod
    def _only_named_behaviours(cls, behaviours: dict[Kind, Mode]) -> dict[Kind, Mode]:
        if Kind.UNUSUAL in behaviours:
            raise ValueError(
                "unusual is no named behaviour and cannot be switched; set false_alarms_per_day and "
                "alert_false_alarms_per_day, or a rule, instead"
            )
        return behaviours

    @model_validator(mode="after")
    def _alert_is_rarer(self) -> Self:
        asked, alert = self.false_alarms_per_day, self.alert_false_alarms_per_day
        if asked is not None and alert is not None and alert > asked:
            raise ValueError(
                f"alert_false_alarms_per_day={alert:g} must not be higher than false_alarms_per_day={asked:g}"
            )
        return self

    @model_validator(mode="after")
    def _wrong_way_has_a_direction(self) -> Self:
        if self.wrong_way is None and Kind.WRONG_WAY in self.reported:
            raise ValueError(
                "wrong_way needs the direction in which people are to go: set wrong_way.direction_deg, in degrees on "
                "the picture (0 is to its right, 90 up)"
            )
        return self

    @property
    def looked_for(self) -> tuple[Behaviour, ...]:
        """The behaviours to look for: the usual ones, and those that this camera asks for."""
        asked = self.reported & ON_REQUEST
        behaviours: list[Behaviour] = [*BEHAVIOURS]
        if Kind.WRONG_WAY in asked and self.wrong_way is not None:
            behaviours.append(WrongWay(self.wrong_way.direction_deg, self.wrong_way.zone))
        if Kind.LOITERING in asked:
            behaviours.append(Loitering(self.loitering.seconds, self.loitering.zone))
        if Kind.GATHERING in asked:
            behaviours.append(Gathering(self.gathering.people, self.gathering.seconds, self.gathering.zone))
        return tuple(behaviours)

    @property
    def modes(self) -> dict[Kind, Mode]:
        """What each named behaviour means where no rule is about it."""
        return {**USUAL_MODES, **self.behaviours}

    @property
    def severities(self) -> dict[Kind, Severity]:
        """Severity of each named behaviour that is not switched off, where no rule is about it."""
        return {kind: Severity(mode) for kind, mode in self.modes.items() if mode != "off"}

    @property
    def reported(self) -> frozenset[Kind]:
        """The named behaviours that are reported, always or by a rule that names them."""
        ruled = {kind for rule in self.rules if rule.then != "off" for kind in rule.kinds}
        return frozenset(self.severities) | (ruled - {Kind.UNUSUAL})


def _like_config(schema: dict[str, Any]) -> None:
    fields = CameraConfig.model_json_schema(ref_template="#/components/schemas/{model}")["properties"]
    schema["properties"] = {
        name: {key: value for key, value in field.items() if key != "default"} for name, field in fields.items()
    }
    schema["additionalProperties"] = False


class CameraPatch(BaseModel):
    """Fields of a camera's configuration to change; the others stay as they are."""

    model_config = ConfigDict(frozen=True, extra="allow", json_schema_extra=_like_config)

    @model_validator(mode="before")
    @classmethod
    def _budgets_per_day(cls, values: Any) -> Any:
        return per_day_of(values, BUDGETS)

    def apply(self, config: CameraConfig) -> CameraConfig:
        """The configuration with these changes.

        Raises:
            ValidationError: A field is unknown or has an impossible value.
        """
        return CameraConfig.model_validate(config.model_dump() | (self.model_extra or {}))


T = TypeVar("T")

_file: Final = TypeAdapter(dict[CameraId, CameraConfig])


class _Loader(yaml.SafeLoader):
    """Refuses repeated keys: of two cameras with the same id, YAML would silently keep the second only."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{', '.join(twice)} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_cameras(path: Path) -> dict[str, CameraConfig]:
    """Read a YAML file that maps the ids of cameras to their configuration.

    Raises:
        CamerasFileError: The file is missing or is not such a mapping.
    """
    return read_yaml(path, _file, CamerasFileError)


def read_yaml(path: Path, contents: TypeAdapter[T], refused: type[Exception]) -> T:
    """Read a YAML file that holds a mapping.

    Args:
        path: The file.
        contents: Reads the mapping; an empty file is an empty one.
        refused: The error that is raised, with a message that quotes nothing of the file.

    Raises:
        Exception: `refused`, if the file is missing, is not text, is not YAML, or holds something else.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)  # noqa: S506 - a safe loader
    except UnicodeDecodeError as error:
        raise refused(f"{path} is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise refused(f"{path} cannot be read: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        # Message and error of the library quote the line, which may hold a password.
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}" if mark else ""
        raise refused(f"{path} cannot be understood: {error.problem}{where}") from None
    except yaml.YAMLError as error:
        raise refused(f"{path} is not YAML: {type(error).__name__}") from None
    try:
        return contents.validate_python({} if document is None else document)
    except ValidationError as error:
        raise refused(f"{path}: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """What is wrong with a configuration, field by field; without the values, which may hold passwords."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(": ".join(filter(None, (".".join(map(str, item["loc"])), item["msg"]))) for item in found)
