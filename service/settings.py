"""All configuration: one class, read from ``DAFLOW_…`` variables and a ``.env`` file, checked before any start."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from service.addresses.backends import broker_url, check_redis_url, webhook_key
from service.logs import LogFormat, LogLevel
from simulation.weights import POSE_WEIGHTS

ENV_PREFIX: Final = "DAFLOW_"
ENV_FILE: Final = ".env"

TEST_VARIABLES: Final = frozenset({"DAFLOW_TEST_DATA"})
"""Variables that share the prefix and are no settings: where the test suite finds its clips."""

OLD_VARIABLES: Final = frozenset({f"{ENV_PREFIX}WITNESSES"})
"""Old names of settings that are still read."""

_SHORTEST_SECRET: Final = 16
_DEVICE: Final = re.compile(r"auto|cpu|cuda(:\d+)?")


class SettingsError(Exception):
    """The configuration refuses to start; the message is one line for people."""


class Auth(StrEnum):
    """Who may use the service."""

    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


class Role(StrEnum):
    """What a process does."""

    ALL = "all"
    API = "api"


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """What an operator can choose. Every field is the variable ``DAFLOW_<FIELD NAME>``.

    ``DAFLOW_WITNESSES`` is the old name of ``DAFLOW_SUM_PARTS``. It is read for one more release; if both are set, the
    new name counts.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file=ENV_FILE,
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        populate_by_name=True,
    )

    data_dir: Path = Field(Path("data"), description="Folder for clips, results and the database; one process owns it.")
    host: str = Field("127.0.0.1", description="Address to listen on; beyond loopback everybody needs a key.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 picks a free one.")
    auth: Auth = Field(
        Auth.AUTO,
        description="`auto` asks for keys unless only this machine can reach the port; `required` always does; `off` "
        "lets everybody who reaches the port use the service.",
    )
    requests_per_minute: PositiveInt = Field(
        3000, description="Requests of one key, or of one address without a key, in a minute."
    )
    connections_per_address: PositiveInt = Field(
        256, description="Requests, streams and WebSockets that one address may have open at a time."
    )
    device: str = Field("auto", description="Where the models run: `auto`, `cpu`, `cuda` or `cuda:N`.")
    pose_weights: str = Field(
        "yolov8n-pose.pt",
        min_length=1,
        description="YOLO-pose weights: a file (`.pt`, `.onnx`, `.engine`) or an Ultralytics model name to fetch.",
    )
    pose_image_size: int = Field(
        640, ge=64, le=4096, multiple_of=32, description="Longer side in pixels of the picture that YOLO-pose sees."
    )
    pose_confidence: float = Field(
        0.1, gt=0, lt=1, description="Persons detected below this confidence are ignored; the tracker sorts the rest."
    )
    pose_batch: int | None = Field(
        None, ge=1, le=256, description="Frames in one call of YOLO-pose; unset is 1 on a CPU and 16 on a GPU."
    )
    checkpoint: Path | None = Field(None, description="DA-Flow checkpoint (safetensors); unset uses the shipped one.")
    sum_parts: bool = Field(
        True,
        validation_alias=AliasChoices(f"{ENV_PREFIX}SUM_PARTS", f"{ENV_PREFIX}WITNESSES"),
        description="Score by the sum of three parts (pose, motion, pair); off scores by the pose alone, which is "
        "DA-Flow's likelihood.",
    )
    database_url: str | None = Field(
        None,
        description="URL of the database, one per service, such as `postgresql://user:password@host/daflow`; unset is "
        "SQLite in the data folder.",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="URL of Redis, such as `redis://:password@host:6379/0`, over which processes with the same "
        "database share scores and events; unset keeps them in this process.",
    )
    role: Role = Field(
        Role.ALL,
        description="`all` runs the cameras and clips, in one process per database; `api` serves incidents and streams "
        "only, in as many as you like, and needs `DAFLOW_REDIS_URL`.",
    )
    webhook_url: SecretStr | None = Field(
        None,
        description="Address that every event is posted to; private and local ones must be listed in "
        "`DAFLOW_ALLOWED_STREAM_CIDRS`.",
    )
    webhook_secret: SecretStr | None = Field(
        None, description="What posted events are signed with, 16 characters or more, or `whsec_` and base64."
    )
    mqtt_url: SecretStr | None = Field(
        None, description="MQTT broker, `mqtt://user:password@host:1883`, or `mqtts://` for TLS."
    )
    mqtt_prefix: str = Field(
        "daflow", pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$", description="First level of all MQTT topics."
    )
    false_alarms_per_hour: PositiveFloat = Field(
        1.0, description="Threshold: false alarms per hour of footage like the calibration footage."
    )
    max_clip_bytes: PositiveInt = Field(512 * 1024**2, description="Largest upload in bytes.")
    max_clip_seconds: PositiveFloat = Field(600.0, description="Longest clip in seconds.")
    max_clip_pixels: PositiveInt = Field(3840 * 2160, description="Largest picture of a clip, width times height.")
    max_clip_fps: PositiveFloat = Field(240.0, description="Highest frame rate of a clip.")
    clip_workers: int = Field(1, ge=1, le=64, description="Clips scored at the same time.")
    clip_queue_size: PositiveInt = Field(16, description="Clips that may wait; more are refused with 429.")
    clip_max_attempts: PositiveInt = Field(
        3, description="Starts of one clip, counting those cut short by a crash, before it fails."
    )
    clip_retention_hours: PositiveFloat = Field(168.0, description="Hours after which a finished clip is removed.")
    clip_storage_bytes: PositiveInt = Field(
        20 * 1024**3, description="Bytes of clips and results kept; above it the clips that finished first are removed."
    )
    decode_stall_s: PositiveFloat = Field(
        20.0, description="Seconds without a new frame after which the decoder of a clip is stopped."
    )
    decode_memory_bytes: int = Field(
        4 * 1024**3, ge=256 * 1024**2, description="Address space in bytes that the decoder of one clip may use."
    )
    cameras_file: Path | None = Field(
        None,
        description="YAML file of cameras, by id, that are added or changed at the start; others stay as they are.",
    )
    max_cameras: PositiveInt = Field(64, description="Cameras that may be added.")
    media_dirs: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="Folders, separated by `:`, whose videos may be played as cameras."
    )
    allowed_stream_cidrs: Annotated[tuple[Network, ...], NoDecode] = Field(
        (),
        description="Networks, separated by commas, beyond public addresses where cameras may be, such as "
        "`192.168.1.0/24`.",
    )
    camera_fps: float = Field(
        15.0,
        gt=0,
        le=60,
        description="Pictures per second of each camera that are looked at, unless it says otherwise.",
    )
    max_camera_pixels: PositiveInt = Field(3840 * 2160, description="Largest picture of a camera, width times height.")
    camera_open_s: PositiveFloat = Field(10.0, description="Seconds that connecting to a camera may take.")
    camera_stall_s: PositiveFloat = Field(
        5.0, description="Seconds without a picture after which a camera has stalled."
    )
    camera_read_s: PositiveFloat = Field(
        10.0, description="Seconds without a picture after which a camera is connected to again."
    )
    camera_retry_s: PositiveFloat = Field(
        30.0, description="Longest pause in seconds before the next attempt to connect; it starts at one and doubles."
    )
    incident_retention_hours: PositiveFloat = Field(
        720.0, description="Hours after which an incident is removed, unless its camera says otherwise."
    )
    evidence_bytes: PositiveInt = Field(
        10 * 1024**3, description="Bytes of snapshots and clips kept; above it the oldest are removed first."
    )
    evidence_width: int = Field(
        640, ge=64, le=3840, multiple_of=2, description="Width in pixels of snapshots and clips of incidents."
    )
    evidence_before_s: float = Field(5.0, ge=0, le=60, description="Seconds before an incident that its clip shows.")
    evidence_after_s: float = Field(5.0, ge=0, le=60, description="Seconds after an incident that its clip shows.")
    evidence_max_s: float = Field(60.0, gt=0, le=600, description="Longest clip of an incident in seconds.")
    heartbeat_s: PositiveFloat = Field(15.0, description="A silent stream sends a sign of life this often, in seconds.")
    log_level: LogLevel = Field(
        LogLevel.INFO, description="Least severe record logged: `debug`, `info`, `warning` or `error`."
    )
    log_format: LogFormat = Field(LogFormat.CONSOLE, description="`console` for people, `json` for machines.")

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if not _DEVICE.fullmatch(device):
            raise ValueError(f"must be auto, cpu, cuda or cuda:N, got {device!r}")
        return device

    @field_validator("log_level", "log_format", "auth", "role", mode="before")
    @classmethod
    def _lower_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("media_dirs", mode="before")
    @classmethod
    def _split_paths(cls, value: object) -> object:
        return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value

    @field_validator("allowed_stream_cidrs", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _parseable_url(cls, url: str | None) -> str | None:
        if url is not None:
            try:
                make_url(url)
            except ArgumentError as error:
                # The URL may hold a password, so it is not repeated.
                raise ValueError("is not an SQLAlchemy URL such as sqlite:////var/lib/daflow/daflow.db") from error
        return url

    @field_validator("redis_url")
    @classmethod
    def _redis_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            check_redis_url(url.get_secret_value())
        return url

    @field_validator("webhook_secret")
    @classmethod
    def _webhook_key(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(webhook_key(secret.get_secret_value())) < _SHORTEST_SECRET:
            raise ValueError(f"is too short to protect anything; {_SHORTEST_SECRET} bytes are the least")
        return secret

    @field_validator("mqtt_url")
    @classmethod
    def _broker_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            broker_url(url.get_secret_value())
        return url

    @model_validator(mode="after")
    def _replicas_share_a_bus(self) -> Self:
        if self.role is Role.API and self.redis_url is None:
            raise ValueError(
                f"{ENV_PREFIX}ROLE=api hears of scores and incidents through Redis; set {ENV_PREFIX}REDIS_URL"
            )
        return self

    @model_validator(mode="after")
    def _stalls_before_it_ends(self) -> Self:
        if self.camera_stall_s > self.camera_read_s:
            raise ValueError(
                f"{ENV_PREFIX}CAMERA_STALL_S={self.camera_stall_s:g} is more than "
                f"{ENV_PREFIX}CAMERA_READ_S={self.camera_read_s:g}, after which the connection is given up"
            )
        return self

    @model_validator(mode="after")
    def _storage_holds_a_clip(self) -> Self:
        if self.clip_storage_bytes < self.max_clip_bytes:
            raise ValueError(
                f"{ENV_PREFIX}CLIP_STORAGE_BYTES={self.clip_storage_bytes} is less than one clip may have "
                f"({ENV_PREFIX}MAX_CLIP_BYTES={self.max_clip_bytes})"
            )
        return self

    @property
    def simulated(self) -> bool:
        """Whether pictures are looked at by the demo's model, which knows nothing of real people."""
        return Path(self.pose_weights) == POSE_WEIGHTS

    @property
    def authenticated(self) -> bool:
        """Whether whoever asks must show a key."""
        return self.auth is Auth.REQUIRED or (self.auth is Auth.AUTO and not is_loopback(self.host))

    @property
    def database(self) -> str:
        """The database URL with the default filled in; may hold a password."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'daflow.db'}"


def load_settings(**overrides: Any) -> Settings:
    """Read the settings of this process.

    Args:
        **overrides: Values that take precedence over the environment; None is left out.

    Raises:
        SettingsError: A value is unsafe or makes no sense; names the variable in one line.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(dict(problem)) for problem in error.errors())) from error


def unknown_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """Names in the environment and ``.env`` that carry our prefix and are no setting: most likely misspelt.

    Args:
        environment: What to look at; by default the process environment and the ``.env`` file.
    """
    names: Iterable[str]
    if environment is None:
        names = {*os.environ, *(name.upper() for name in DotEnvSettingsSource(Settings, ENV_FILE).env_vars)}
    else:
        names = environment
    known = {variable_name(field) for field in Settings.model_fields} | OLD_VARIABLES | TEST_VARIABLES
    return sorted(name for name in names if name.upper().startswith(ENV_PREFIX) and name.upper() not in known)


def variable_name(field: str) -> str:
    """The environment variable of a field, such as ``DAFLOW_DATA_DIR``."""
    return ENV_PREFIX + field.upper().removeprefix(ENV_PREFIX)


def settings_table() -> str:
    """All settings as a Markdown table, for docs/settings.md."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "unset" if field.default in (None, ()) else f"`{_plain(field.default)}`"
        rows.append(f"| `{variable_name(name)}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _plain(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


def _explain(problem: dict[str, Any]) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    where = ".".join(str(part) for part in problem["loc"])
    return f"{variable_name(where)}: {message}" if where else message
