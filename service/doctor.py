"""Checks the machine and the settings, and names the setting that fixes what is wrong."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import metadata, version
from pathlib import Path
from typing import Final

import torch
from pydantic import SecretStr
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from pose.live import SourceError
from service.addresses.backends import broker_url
from service.addresses.policy import StreamPolicy
from service.addresses.redaction import redact
from service.addresses.urls import StreamUrlError
from service.notifications.channels import ChannelsFileError, read_channels
from service.notifications.webhook import webhook_address
from service.scoring.loading import LoadedModels, ModelUnavailable, resolve_device
from service.settings import Settings, unknown_variables
from service.storage.database import connect, database_url, reason
from service.streams import relay
from simulation.weights import CHECKPOINT, POSE_WEIGHTS

_LIBRARIES: Final = ("torch", "ultralytics", "onnxruntime", "openvino", "opencv-python", "av", "fastapi")
_GIB: Final = 1024**3
_CONNECT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        name: What was checked.
        value: What was found.
        ok: Whether the service can work with it.
        setting: The variable that fixes it, if it is not ok.
    """

    name: str
    value: str
    ok: bool = True
    setting: str | None = None


def examine(settings: Settings, models: LoadedModels | None = None) -> list[Finding]:
    """Check everything that the service needs; clips and the database are not changed.

    Args:
        settings: The configuration.
        models: The models, if they are loaded already; otherwise they are loaded here.
    """
    # Checked before the models are loaded, because loading creates the folder.
    folder = _data_folder(settings.data_dir)
    return [
        Finding("daflow-live", version("daflow-live")),
        Finding("licence", metadata("daflow-live")["License-Expression"] or "AGPL-3.0-or-later"),
        Finding("python", f"{platform.python_version()} on {platform.platform()}"),
        *(Finding(library, version(library)) for library in _LIBRARIES),
        Finding("cuda", _cuda()),
        _device(settings),
        *_models(settings, models),
        Finding("demo", f"models of {(POSE_WEIGHTS.stat().st_size + CHECKPOINT.stat().st_size) / 1e6:.1f} MB are here"),
        folder,
        _disk(settings),
        _database(settings.database),
        *_backends(settings),
        *(
            Finding(name, "is not a setting of daflow; check the spelling", ok=False, setting=name)
            for name in unknown_variables()
        ),
    ]


def _cuda() -> str:
    if not torch.cuda.is_available():
        return "not available"
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return f"{torch.version.cuda}: {', '.join(names)}"


def _device(settings: Settings) -> Finding:
    try:
        return Finding("device", str(resolve_device(settings.device)))
    except ModelUnavailable as error:
        return Finding("device", str(error), ok=False, setting=error.setting)


def _models(settings: Settings, models: LoadedModels | None) -> list[Finding]:
    try:
        models = models or LoadedModels.load(settings)
    except ModelUnavailable as error:
        return [Finding("models", str(error), ok=False, setting=error.setting)]
    model = models.info
    return [
        Finding("pose weights", _weights(settings)),
        Finding("pose runtime", f"{model.pose_runtime}: {models.runtime_reason}"),
        Finding(
            "checkpoint",
            f"{model.checkpoint}: {model.parameters} parameters, windows of {model.window} at {model.rate_hz:g} Hz",
        ),
    ]


def _weights(settings: Settings) -> str:
    """Which pose weights are used, and where they come from."""
    given = Path(settings.pose_weights).expanduser()
    if settings.simulated:
        return f"{given.name}, of the demo"
    if given.exists():
        return f"{given}, as set in DAFLOW_POSE_WEIGHTS"
    return f"{settings.data_dir / 'weights' / given.name}, downloaded or copied there"


def _data_folder(folder: Path) -> Finding:
    existing = _nearest(folder)
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Finding("data folder", f"{folder} cannot be written", ok=False, setting="DAFLOW_DATA_DIR")
    return Finding("data folder", str(folder) if folder.exists() else f"{folder}, will be created")


def _nearest(folder: Path) -> Path:
    resolved = folder.resolve()
    return next(path for path in (resolved, *resolved.parents) if path.exists())


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(_nearest(settings.data_dir)).free
    value = f"{free / _GIB:.1f} GiB free, up to {settings.clip_storage_bytes / _GIB:.1f} GiB used for clips"
    if free < settings.max_clip_bytes:
        return Finding("disk", f"{value}; not enough for one clip", ok=False, setting="DAFLOW_DATA_DIR")
    return Finding("disk", value)


def _backends(settings: Settings) -> list[Finding]:
    """Check the backends that are configured (Redis, webhook, MQTT, channels); nothing is posted or published."""
    configured: list[tuple[str, SecretStr | None, Callable[[str], str]]] = [
        ("redis", settings.redis_url, _redis),
        ("webhook", settings.webhook_url, partial(_webhook, settings)),
        ("mqtt", settings.mqtt_url, _mqtt),
    ]
    findings = []
    for name, url, check in configured:
        if url is None:
            continue
        try:
            findings.append(Finding(name, check(url.get_secret_value())))
        except (RedisError, StreamUrlError, SourceError, OSError) as error:
            findings.append(Finding(name, str(error), ok=False, setting=f"DAFLOW_{name.upper()}_URL"))
    if settings.channels_file is not None:
        findings.append(_channels(settings.channels_file))
    return findings


def _channels(path: Path) -> Finding:
    try:
        channels = read_channels(path)
    except ChannelsFileError as error:
        return Finding("channels", str(error), ok=False, setting="DAFLOW_CHANNELS_FILE")
    return Finding("channels", ", ".join(channels) or f"{path} has none")


def _redis(url: str) -> str:
    return f"{redact(url)}, version {relay.check(url)}"


def _webhook(settings: Settings, url: str) -> str:
    address = webhook_address(url)
    pinned = StreamPolicy(settings.allowed_stream_cidrs, settings.media_dirs).pin(address)
    socket.create_connection((pinned.address, pinned.port), _CONNECT_S).close()
    return f"{address.scheme}://{address.host}:{address.port}" + ("" if settings.webhook_secret else ", not signed")


def _mqtt(url: str) -> str:
    broker = broker_url(url)
    socket.create_connection((broker.host, broker.port), _CONNECT_S).close()
    return f"{broker.host}:{broker.port}"


def _database(url: str) -> Finding:
    parsed = database_url(url)
    shown = parsed.render_as_string(hide_password=True)
    # Connecting would create the file.
    if parsed.get_backend_name() == "sqlite" and not (parsed.database and Path(parsed.database).exists()):
        return Finding("database", f"{shown}, will be created")
    try:
        engine = connect(url)
        try:
            engine.connect().close()
        finally:
            engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        return Finding("database", f"{shown}: {reason(error)}", ok=False, setting="DAFLOW_DATABASE_URL")
    return Finding("database", shown)
