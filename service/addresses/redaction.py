"""Removes credentials from addresses, for logs and responses."""

from __future__ import annotations

import re
from typing import Final

_TELLING: Final = "key|token|pass|psw|pw|user|usr|login|auth|secret|sig|credential|session|sid"
_USERINFO: Final = re.compile(r"(?i)([a-z][a-z0-9+.-]{0,31}:/{2,})(?:[^\s/?#\"<>]*|[^\s/?#:\"<>]*:[^\s\"<>]*)@")
"""User name and password. Everything between a colon and the last @ counts as password, even invalid characters."""

_NAMED_VALUE: Final = re.compile(rf"(?i)([/?&;,][\w.-]{{0,64}}?(?:{_TELLING})[\w.-]{{0,64}}=)[^&#\s\"<>]*")
"""A value in the query or the path: many recorders use ``/user=admin_password=…_channel=1.sdp``."""


_ADDRESS: Final = re.compile(r"(?i)[a-z][a-z0-9+.-]{0,31}:/{2,}[^\s\"<>]*")
_VALUE: Final = re.compile(r"(?P<mark>[/?&;,])(?P<name>[^=&#/?;,]{1,128})=(?P<value>[^&#]*)")
_WORD: Final = re.compile(r"(?P<mark>[?&])(?P<name>[^=&#?]+)(?=[&#]|\Z)")
_PLAIN: Final = re.compile(r"[\w.:-]{0,32}")

# fmt: off
_HARMLESS: Final = frozenset(
    {
        "audio", "bitrate", "camera", "cam", "ch", "channel", "channelid", "codec", "compression",
        "container", "dummy", "encoding", "fps", "format", "framerate", "h264", "h265", "height", "id",
        "index", "inst", "interlaced", "line", "live", "lossless", "main", "media", "mjpeg", "mode",
        "multicast", "nowms", "number", "primary", "profile", "proto", "protocol", "qp", "quality", "rate",
        "real_stream", "resolution", "rotation", "secondary", "seek", "sslmode", "stream", "streamid",
        "streamtype", "sub", "subtype", "tcp", "track", "transport", "transportmode", "type", "udp",
        "unicast", "video", "videocodec", "videokeyframeinterval", "width"
    }
)
# fmt: on
"""Names of values that cameras and recorders expect and that are no secrets."""


def redact(text: str) -> str:
    """Replace the credentials of every address in a text by ``***``.

    Credentials are user names and passwords before an ``@``, and all values in the query or the path of an address but
    those with a known harmless name. Outside of addresses only values with a telling name are replaced.
    """
    text = _NAMED_VALUE.sub(r"\1***", _USERINFO.sub(r"\1***@", text))
    return _ADDRESS.sub(lambda found: _WORD.sub(_word, _VALUE.sub(_value, found.group())), text)


def _value(found: re.Match[str]) -> str:
    harmless = found["name"].lower() in _HARMLESS and _PLAIN.fullmatch(found["value"]) is not None
    return f"{found['mark']}{found['name']}={found['value'] if harmless else '***'}"


def _word(found: re.Match[str]) -> str:
    return found.group() if found["name"].lower() in _HARMLESS else f"{found['mark']}***"
