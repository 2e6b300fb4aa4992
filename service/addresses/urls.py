"""Parses the addresses of cameras.

With the right to add a camera, nobody must be able to reach hosts that only this machine can reach. So an address is
parsed strictly here. For each connection `service.addresses.policy` resolves the host once, checks every address that
it finds, and connects to one that it checked. Files must be in a listed folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final, cast
from urllib.parse import unquote, urlsplit

from service.addresses.redaction import redact
from simulation.scene import EVENTS, USUAL_EVENTS, Event, demo_scene

_PORTS: Final = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_MAX_LENGTH: Final = 2048
_MAX_DEVICE: Final = 63
_DEVICE: Final = re.compile(r"[0-9]{1,2}")
_SIMULATION: Final = re.compile(
    r"simulation:([0-9]{1,9})(?:\?incident_every=([0-9]{1,6}(?:\.[0-9]{1,3})?)((?:&event=[a-z_]{1,20})*))?"
)
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\<>\"^`{|}\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_HOST: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?"
)
_LOOKS_NUMERIC: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)\.?\Z")


class UrlKind(StrEnum):
    """Kind of address of a camera."""

    STREAM = "stream"
    DEVICE = "device"
    FILE = "file"
    SIMULATION = "simulation"
    SKELETONS = "skeletons"


class StreamUrlError(ValueError):
    """An address is not valid or not allowed; the message holds no credentials.

    Attributes:
        cause: A stable slug: ``empty``, ``too-long``, ``characters``, ``scheme``, ``host``, ``port``, ``userinfo``,
            ``device``, ``path``, ``simulation``, ``forbidden-address``, ``forbidden-path`` or ``no-such-file``.
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class StreamUrl:
    """A parsed address of a camera.

    Attributes:
        kind: Kind of address.
        text: The address as given; may hold credentials.
        redacted: The address without credentials, for logs and responses.
        scheme: Scheme of a stream.
        host: Name or IP address of a stream's host, in lower case, without brackets.
        port: Port of a stream.
        target: Path and query of a stream, as sent to the host.
        user: User name of a stream, decoded.
        password: Password of a stream, decoded.
        device: Index of a local device.
        path: Path of a file.
        seed: Seed of a simulated scene.
        incident_every_s: Seconds between incidents of a simulated scene; None if it has none.
        events: Kinds of incidents of a simulated scene.
    """

    kind: UrlKind
    text: str
    redacted: str
    scheme: str = ""
    host: str = ""
    port: int = 0
    target: str = ""
    user: str | None = None
    password: str | None = None
    device: int | None = None
    path: Path | None = None
    seed: int | None = None
    incident_every_s: float | None = None
    events: tuple[Event, ...] = USUAL_EVENTS

    def __repr__(self) -> str:
        return f"StreamUrl({self.redacted!r})"


def parse(url: str | int) -> StreamUrl:
    """Parse the address of a camera.

    Args:
        url: ``rtsp://``, ``rtsps://``, ``http://`` or ``https://``, the index of a local device, the absolute path of
            a file, ``skeletons:``, or ``simulation:SEED?incident_every=SECONDS``.

    Raises:
        StreamUrlError: The address is something else, or is not valid.
    """
    try:
        text = str(url)
        text.encode()
    except ValueError as error:
        # A number with too many digits for Python, or half of a surrogate pair.
        raise StreamUrlError("characters", "the address is not a text") from error
    if not text:
        raise StreamUrlError("empty", "the address is empty")
    if len(text) > _MAX_LENGTH:
        raise StreamUrlError("too-long", f"the address has {len(text)} characters; at most {_MAX_LENGTH} are accepted")
    if text == "skeletons:":
        return StreamUrl(UrlKind.SKELETONS, text, text)
    if text.startswith("simulation:"):
        return _simulation(text)
    if isinstance(url, int) or text.isdigit():
        return _device(text)
    if text.startswith("/"):
        return _file(text)
    return _stream(text)


def _device(text: str) -> StreamUrl:
    if not _DEVICE.fullmatch(text) or int(text) > _MAX_DEVICE:
        raise StreamUrlError("device", f"the index of a device must be a number from 0 to {_MAX_DEVICE}")
    return StreamUrl(UrlKind.DEVICE, text, text, device=int(text))


def _file(text: str) -> StreamUrl:
    if _CONTROL.search(text):
        raise StreamUrlError("characters", "the path contains control characters")
    if text.startswith("//") or ".." in Path(text).parts:
        raise StreamUrlError("path", "the path of a file must be absolute and must not contain '..'")
    return StreamUrl(UrlKind.FILE, text, text, path=Path(text))


def _simulation(text: str) -> StreamUrl:
    found = _SIMULATION.fullmatch(text)
    if found is None:
        raise StreamUrlError(
            "simulation",
            "a simulated camera is simulation:SEED or simulation:SEED?incident_every=SECONDS, in numbers, the latter "
            f"with as many &event={'|'.join(EVENTS)} as wanted",
        )
    seed, every, names = found.groups()
    incident_every_s = None if every is None else float(every)
    # The scene checks the names and the numbers.
    events = cast(tuple[Event, ...], tuple((names or "").split("&event=")[1:])) or USUAL_EVENTS
    try:
        demo_scene(int(seed), incident_every_s, events)
    except ValueError as error:
        raise StreamUrlError("simulation", str(error)) from error
    return StreamUrl(UrlKind.SIMULATION, text, text, seed=int(seed), incident_every_s=incident_every_s, events=events)


def _stream(text: str) -> StreamUrl:
    if _UNSAFE.search(text):
        raise StreamUrlError(
            "characters", "the address contains spaces, control characters, or other characters that must be escaped"
        )
    scheme, separator, _ = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _PORTS:
        raise StreamUrlError(
            "scheme",
            f"the address must begin with {', '.join(f'{name}://' for name in _PORTS)}, or be the index of a device, "
            "the absolute path of a file, skeletons:, or simulation:SEED",
        )
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        cause = "port" if "port" in str(error).lower() else "host"
        raise StreamUrlError(cause, f"the address has no valid {cause}") from error
    if parts.netloc.count("@") > 1:
        raise StreamUrlError("userinfo", "an @ in the user name or password must be written as %40")
    if "#" in text:
        raise StreamUrlError("characters", "the address of a stream must not have a fragment; write # as %23")
    if not host:
        raise StreamUrlError("host", "the address names no host")
    if port == 0 or parts.netloc.endswith(":"):
        raise StreamUrlError("port", "the port must be a number from 1 to 65535")
    user, password = (unquote(value) if value is not None else None for value in (parts.username, parts.password))
    if any(value is not None and _CONTROL.search(value) for value in (user, password)):
        raise StreamUrlError("userinfo", "the user name and the password must not contain control characters")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii():
        raise StreamUrlError("characters", "characters that are not ASCII must be escaped in the path and the query")
    return StreamUrl(
        UrlKind.STREAM,
        text,
        redact(text),
        scheme=scheme,
        host=_host(host),
        port=port or _PORTS[scheme],
        target=target,
        user=user,
        password=password,
    )


def _host(host: str) -> str:
    if ":" in host:
        try:
            return str(IPv6Address(host.partition("%")[0])) if "%" not in host else _refuse_zone()
        except ValueError as error:
            raise StreamUrlError("host", "the address in brackets is not an IPv6 address") from error
    if _LOOKS_NUMERIC.search(host.rpartition(".")[2] or host):
        # The system's resolver reads 0x7f.1 and 2130706433 as addresses; only the dotted form is accepted.
        try:
            return str(IPv4Address(host))
        except ValueError as error:
            raise StreamUrlError("host", "an IPv4 address must be four decimal numbers") from error
    try:
        name = host.encode("idna").decode("ascii").lower()
    except UnicodeError as error:
        raise StreamUrlError("host", "the host is not a valid name") from error
    if not _HOST.fullmatch(name):
        raise StreamUrlError("host", "the host is not a valid name")
    return name


def _refuse_zone() -> str:
    raise StreamUrlError("host", "an IPv6 address must not name a network interface")
