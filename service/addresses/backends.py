"""Parses the URLs and secrets of backends (MQTT, webhook, Redis); nothing is connected to."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

_PREFIX: Final = "whsec_"
_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """Address of an MQTT broker.

    Attributes:
        host: Name or address.
        port: TCP port.
        tls: Whether the connection is encrypted and the certificate checked.
        user: User name, or None.
        password: Password, or None.
    """

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None

    def __repr__(self) -> str:
        return f"BrokerUrl({self.host}:{self.port})"


def broker_url(text: str) -> BrokerUrl:
    """Parse the URL of an MQTT broker.

    Raises:
        ValueError: The URL is not valid; the message does not repeat it, because it may hold a password.
    """
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise ValueError("is not a URL such as mqtt://user:password@broker:1883") from error
    if parts.scheme not in _PORTS or not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("is not a URL such as mqtt://user:password@broker:1883, or mqtts:// for TLS")
    user, password = (None if value is None else unquote(value) for value in (parts.username, parts.password))
    return BrokerUrl(host, port or _PORTS[parts.scheme], parts.scheme == "mqtts", user, password)


def webhook_key(secret: str) -> bytes:
    """The bytes of a webhook's secret: after ``whsec_`` it is base64, otherwise the text itself.

    Raises:
        ValueError: What follows ``whsec_`` is not base64.
    """
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("what follows whsec_ is not base64") from error


def check_redis_url(text: str) -> None:
    """Check the URL of Redis.

    Raises:
        ValueError: The URL is not valid; the message does not repeat it, because it may hold a password.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("redis", "rediss", "unix") or not (parts.hostname or parts.scheme == "unix"):
        raise ValueError("is not a URL such as redis://:password@host:6379/0, or rediss:// for TLS")
