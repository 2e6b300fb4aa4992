"""All settings, in one class: read from ``DAFLOW_…`` variables and a ``.env`` file, and checked before the start."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from cryptography.fernet import Fernet
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from service.addresses.backends import broker_url, check_redis_url, webhook_key
from service.documents.budget import per_day_of
from service.documents.time_zones import TimeZone
from service.logs import LogFormat, LogLevel
from simulation.weights import POSE_WEIGHTS

ENV_PREFIX: Final = "DAFLOW_"
ENV_FILE: Final = ".env"

TEST_VARIABLES: Final = frozenset({"DAFLOW_TEST_DATA"})
"""Variables with the same prefix that are not settings: the test suite finds its clips there."""

OLD_VARIABLES: Final = frozenset({f"{ENV_PREFIX}WITNESSES", f"{ENV_PREFIX}FALSE_ALARMS_PER_HOUR"})
"""Old names of settings that are still read."""

_SHORTEST_SECRET: Final = 16
_DEVICE: Final = re.compile(r"auto|cpu|cuda(:\d+)?")


class SettingsError(Exception):
    """A setting is wrong, so the service does not start; the message is one line for people."""


class Auth(StrEnum):
    """When the service requires a key."""

    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


class PoseRuntime(StrEnum):
    """What runs the pose network on a CPU."""

    AUTO = "auto"
    OPENVINO = "openvino"
    ORIGINAL = "original"


class Role(StrEnum):
    """Which part of the service a process runs."""

    ALL = "all"
    API = "api"


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """The settings of the service. Each field is read from the variable ``DAFLOW_<FIELD NAME>``.

    ``DAFLOW_WITNESSES`` is the old name of ``DAFLOW_SUM_PARTS``. It is read for one more release. If both are set, the
    new name counts. ``DAFLOW_FALSE_ALARMS_PER_HOUR`` is the old name of ``DAFLOW_FALSE_ALARMS_PER_DAY``, and is
    converted. Both together are refused.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file=ENV_FILE,
        # Editors on Windows put a byte order mark before the first name.
        env_file_encoding="utf-8-sig",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        populate_by_name=True,
    )

    data_dir: Path = Field(
        Path("data"),
        description="Folder for clips, results and the database; only one process may run on it, unless the others "
        "have `DAFLOW_ROLE=api`.",
    )
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on; with any other than loopback, every client needs a key (see `DAFLOW_AUTH`).",
    )
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 picks a free one.")
    auth: Auth = Field(
        Auth.AUTO,
        description="`auto` requires a key unless only this machine can reach the port; `required` always requires "
        "one; `off` never does, so whoever reaches the port can use the service.",
    )
    requests_per_minute: PositiveInt = Field(
        3000, description="Most requests per minute of one key, or of one address without a key."
    )
    connections_per_address: PositiveInt = Field(
        256, description="Most requests, streams and WebSockets of one address that are open at the same time."
    )
    device: str = Field("auto", description="Where the models run: `auto`, `cpu`, `cuda` or `cuda:N`.")
    pose_weights: str = Field(
        "yolov8n-pose.pt",
        min_length=1,
        description="YOLO-pose weights: a file (`.pt`, `.onnx`, `.engine`), or the name of an Ultralytics model to "
        "download.",
    )
    pose_runtime: PoseRuntime = Field(
        PoseRuntime.AUTO,
        description="What runs YOLO-pose on a CPU. `original`: the weights as they are. `openvino`: `.pt` and `.onnx` "
        "weights are converted once, checked against the original on pictures, and kept in the data folder. `auto`: "
        "OpenVINO where it is faster, or the original if that cannot be.",
    )
    pose_precision: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "float32",
        description="What OpenVINO computes YOLO-pose in, if the CPU has it. `float32` finds what the original finds. "
        "`auto`: OpenVINO's own choice, `bfloat16` where the CPU has instructions for that. Weights that run as they "
        "are need `auto` or `float32`.",
    )
    pose_image_size: int = Field(
        640,
        ge=64,
        le=4096,
        multiple_of=32,
        description="Longer side, in pixels, to which pictures are scaled for YOLO-pose.",
    )
    pose_confidence: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Detections of people below this confidence are ignored; the tracker may ignore some of the "
        "others.",
    )
    pose_batch: int | None = Field(
        None, ge=1, le=256, description="Most frames in one call of YOLO-pose; unset means 1 on a CPU and 16 on a GPU."
    )
    checkpoint: Path | None = Field(
        None, description="DA-Flow checkpoint (safetensors file); unset means the one that is shipped."
    )
    sum_parts: bool = Field(
        False,
        validation_alias=AliasChoices(f"{ENV_PREFIX}SUM_PARTS", f"{ENV_PREFIX}WITNESSES"),
        description="`false` scores by DA-Flow alone; `true` sums three parts of the score: `pose` (DA-Flow), `motion` "
        "and `pair`. Calibrations of cameras are not used after a change; calibrate again, or change it back.",
    )
    database_url: str | None = Field(
        None,
        description="URL of the database, such as `postgresql://user:password@host/daflow`; every service needs its "
        "own; unset means SQLite in the data folder.",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="URL of Redis, such as `redis://:password@host:6379/0`, through which processes with the same "
        "database exchange scores and events; unset means that there is only one process.",
    )
    role: Role = Field(
        Role.ALL,
        description="`all` runs cameras and clips; one process per database may do so. `api` serves only incidents and "
        "streams; any number of processes may, and each needs `DAFLOW_REDIS_URL`.",
    )
    webhook_url: SecretStr | None = Field(
        None,
        description="URL that every event is posted to; a private or local address must be listed in "
        "`DAFLOW_ALLOWED_STREAM_CIDRS`.",
    )
    webhook_secret: SecretStr | None = Field(
        None,
        description="Secret that signs posted events and callbacks of clips: at least 16 characters, or `whsec_` "
        "followed by base64.",
    )
    mqtt_url: SecretStr | None = Field(
        None, description="URL of the MQTT broker, such as `mqtt://user:password@host:1883`, or `mqtts://` for TLS."
    )
    mqtt_prefix: str = Field(
        "daflow", pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$", description="First level of all MQTT topics."
    )
    channels_file: Path | None = Field(None, description="YAML file with channels (Apprise), see docs/backends.md.")
    false_alarms_per_day: PositiveFloat = Field(
        1.0,
        description="False-alarm budget of each camera, and of clips: false alarms per day of footage like the "
        "calibration footage. `unusual` movement gets half of it, named behaviours share the other half; a camera can "
        "have its own (`false_alarms_per_day`). `DAFLOW_FALSE_ALARMS_PER_HOUR` is the old name, for the budget per "
        "hour.",
    )
    false_alarms_per_hour: PositiveFloat | None = Field(
        None, exclude=True, repr=False, description="Old name of `DAFLOW_FALSE_ALARMS_PER_DAY`, per hour."
    )
    max_clip_bytes: PositiveInt = Field(512 * 1024**2, description="Largest clip in bytes, uploaded or fetched.")
    max_clip_seconds: PositiveFloat = Field(600.0, description="Longest clip in seconds.")
    max_clip_pixels: PositiveInt = Field(3840 * 2160, description="Largest picture of a clip, width times height.")
    max_clip_fps: PositiveFloat = Field(240.0, description="Highest frame rate of a clip.")
    max_clip_frames: PositiveInt = Field(36_000, description="Most frames of a clip, whatever its length.")
    max_clip_scoring_s: PositiveFloat = Field(
        3600.0,
        description="Most seconds that scoring a clip may take, without the turns of other clips; then it fails.",
    )
    clip_workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Clips scored at the same time. A long clip and short ones, of at most 1,500 frames, take turns.",
    )
    clip_queue_size: PositiveInt = Field(
        16, description="Most clips that wait to be scored or are fetched; further ones are refused with 429."
    )
    clip_max_attempts: PositiveInt = Field(
        3, description="Attempts to fetch or score a clip, counting those that a crash interrupted, before it fails."
    )
    clip_retention_hours: PositiveFloat = Field(168.0, description="Hours after which a finished clip is removed.")
    clip_storage_bytes: PositiveInt = Field(
        20 * 1024**3,
        description="Most bytes of clips and results; above that, the clips that finished first are removed.",
    )
    decode_stall_s: PositiveFloat = Field(
        20.0, description="Seconds without a new frame after which decoding a clip is given up."
    )
    decode_memory_bytes: int = Field(
        4 * 1024**3, ge=256 * 1024**2, description="Most bytes of address space that the decoder of one clip may use."
    )
    cameras_file: Path | None = Field(
        None,
        description="YAML file with cameras, by id; they are added or changed at each start, and other cameras stay "
        "as they are.",
    )
    secret_keys: SecretStr | None = Field(
        None,
        description="Keys, separated by commas, that encrypt addresses of cameras in the database: the first encrypts, "
        "all decrypt. Each is 32 bytes in URL-safe base64; unset means the file `camera.key` in the data folder.",
    )
    max_cameras: PositiveInt = Field(64, description="Highest number of cameras.")
    media_dirs: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="Folders, separated by `:`, with videos that may be used as cameras."
    )
    allowed_stream_cidrs: Annotated[tuple[Network, ...], NoDecode] = Field(
        (),
        description="Networks, separated by commas, that cameras, the webhook, clips that are fetched and their "
        "callbacks may use besides public addresses, such as `192.168.1.0/24`.",
    )
    camera_fps: float = Field(
        15.0,
        gt=0,
        le=60,
        description="Highest processed frame rate of each camera, in frames per second; a camera can have its own "
        "(`max_fps`).",
    )
    timezone: TimeZone = Field(
        "UTC", description="Time zone by whose clock the rules of cameras apply, such as `Europe/Berlin`."
    )
    max_camera_pixels: PositiveInt = Field(3840 * 2160, description="Largest picture of a camera, width times height.")
    camera_open_s: PositiveFloat = Field(
        10.0, description="Seconds after which an attempt to connect to a camera is given up."
    )
    camera_stall_s: PositiveFloat = Field(
        5.0, description="Seconds without a picture after which a camera counts as stalled."
    )
    camera_read_s: PositiveFloat = Field(
        10.0, description="Seconds without a picture after which the connection to a camera is closed and opened again."
    )
    camera_key_frame_s: PositiveFloat = Field(
        60.0,
        description="Longest wait in seconds for a key frame of a camera that sends video; without one, nothing can be "
        "shown of a stream that was joined in the middle.",
    )
    camera_udp: bool = Field(
        True,
        description="Whether to take RTSP streams over UDP from cameras that refuse TCP; packets from other addresses "
        "are ignored.",
    )
    camera_retry_s: PositiveFloat = Field(
        30.0, description="Longest pause in seconds between attempts to connect; the pause starts at 1 and doubles."
    )
    incident_retention_hours: PositiveFloat = Field(
        720.0, description="Hours after which an incident is removed; a camera can have its own (`retention_hours`)."
    )
    evidence_bytes: PositiveInt = Field(
        10 * 1024**3, description="Most bytes of snapshots and clips of incidents; above that, the oldest are removed."
    )
    evidence_width: int = Field(
        640, ge=64, le=3840, multiple_of=2, description="Width in pixels of snapshots and clips of incidents."
    )
    evidence_before_s: float = Field(5.0, ge=0, le=60, description="Seconds before an incident that its clip shows.")
    evidence_after_s: float = Field(5.0, ge=0, le=60, description="Seconds after an incident that its clip shows.")
    evidence_max_s: float = Field(60.0, gt=0, le=600, description="Longest clip of an incident in seconds.")
    heartbeat_s: PositiveFloat = Field(15.0, description="Seconds of silence after which a stream sends a heartbeat.")
    log_level: LogLevel = Field(
        LogLevel.INFO, description="Lowest level of messages that are logged: `debug`, `info`, `warning` or `error`."
    )
    log_format: LogFormat = Field(LogFormat.CONSOLE, description="`console` for people, `json` for machines.")

    @model_validator(mode="before")
    @classmethod
    def _budget_per_day(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("false_alarms_per_hour") is None:
            return values
        if values.get("false_alarms_per_day") is not None:
            raise ValueError(
                f"{ENV_PREFIX}FALSE_ALARMS_PER_DAY and {ENV_PREFIX}FALSE_ALARMS_PER_HOUR are both set; the second is "
                "the old name, for the budget per hour: set the first alone"
            )
        return per_day_of(values, ["false_alarms_per_day"])

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if not _DEVICE.fullmatch(device):
            raise ValueError(f"must be auto, cpu, cuda or cuda:N, got {device!r}")
        return device

    @field_validator("log_level", "log_format", "auth", "role", "pose_runtime", "pose_precision", mode="before")
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
            raise ValueError(f"is too short; it must have at least {_SHORTEST_SECRET} bytes")
        return secret

    @field_validator("secret_keys")
    @classmethod
    def _fernet_keys(cls, keys: SecretStr | None) -> SecretStr | None:
        for number, key in enumerate(keys.get_secret_value().split(",") if keys is not None else (), 1):
            try:
                Fernet(key.strip())
            except ValueError as error:
                raise ValueError(f"key {number} is not 32 bytes in URL-safe base64") from error
        return keys

    @field_validator("mqtt_url")
    @classmethod
    def _broker_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            broker_url(url.get_secret_value())
        return url

    @model_validator(mode="after")
    def _replicas_share_a_bus(self) -> Self:
        if self.role is Role.API and self.redis_url is None:
            raise ValueError(f"{ENV_PREFIX}ROLE=api gets scores and incidents through Redis; set {ENV_PREFIX}REDIS_URL")
        return self

    @model_validator(mode="after")
    def _stalls_before_it_ends(self) -> Self:
        if self.camera_stall_s > self.camera_read_s:
            raise ValueError(
                f"{ENV_PREFIX}CAMERA_STALL_S={self.camera_stall_s:g} is more than "
                f"{ENV_PREFIX}CAMERA_READ_S={self.camera_read_s:g}, after which the connection is closed"
            )
        return self

    @model_validator(mode="after")
    def _storage_holds_a_clip(self) -> Self:
        if self.clip_storage_bytes < self.max_clip_bytes:
            raise ValueError(
                f"{ENV_PREFIX}CLIP_STORAGE_BYTES={self.clip_storage_bytes} is less than the largest clip "
                f"({ENV_PREFIX}MAX_CLIP_BYTES={self.max_clip_bytes})"
            )
        return self

    @property
    def simulated(self) -> bool:
        """Whether the pose model is that of the demo, which finds only simulated people."""
        return Path(self.pose_weights) == POSE_WEIGHTS

    @property
    def authenticated(self) -> bool:
        """Whether clients need a key."""
        return self.auth is Auth.REQUIRED or (self.auth is Auth.AUTO and not is_loopback(self.host))

    @property
    def database(self) -> str:
        """The database URL with the default filled in; may hold a password."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'daflow.db'}"


def load_settings(**overrides: Any) -> Settings:
    """Read the settings of this process.

    Args:
        **overrides: Values that take precedence over the environment; those that are None are ignored.

    Raises:
        SettingsError: A value is not allowed; the message names the variable, in one line.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        _check_env_file()
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(dict(problem)) for problem in error.errors())) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{ENV_FILE} is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise SettingsError(f"{ENV_FILE} cannot be read: {error.strerror}") from error


def unknown_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """Variables in the environment and ``.env`` that have the prefix and are not settings: most likely misspelt.

    Args:
        environment: The variables; by default those of the process and the ``.env`` file.
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
        if variable_name(name) in OLD_VARIABLES:
            continue
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


def _check_env_file() -> None:
    """Refuse a ``.env`` file that is not text in UTF-8.

    Raises:
        SettingsError: The file holds a zero byte. UTF-16 without a byte order mark can be read as UTF-8, and then no
            name in it is a setting.
        UnicodeDecodeError: The file is not UTF-8.
        OSError: The file cannot be read.
    """
    path = Path(ENV_FILE)
    if path.is_file() and "\0" in path.read_text(encoding="utf-8"):
        raise SettingsError(f"{ENV_FILE} holds zero bytes, as UTF-16 does; save it as UTF-8")


def _plain(default: object) -> str:
    plain = f"{default:g}" if isinstance(default, float) else str(default)
    return plain.lower() if isinstance(default, bool) else plain


def _explain(problem: dict[str, Any]) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    where = ".".join(str(part) for part in problem["loc"])
    return f"{variable_name(where)}: {message}" if where else message
