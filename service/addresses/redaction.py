"""Removes credentials from addresses, for logs and responses."""

from __future__ import annotations

import re
from typing import Final

_TELLING: Final = "key|token|pass|psw|pw|user|usr|login|auth|secret|sig|credential|session|sid"
_USERINFO: Final = re.compile(r"(?i)([a-z][a-z0-9+.-]{0,31}:/{2,})(?:[^\s/?#\"<>]*|[^\s/?#:\"<>]*:[^\s\"<>]*)@")
"""User name and password. Everything between a colon and the last @ counts as password, even invalid characters."""

_NAMED_VALUE: Final = re.compile(rf"(?i)([/?&;,][\w.-]{{0,64}}?(?:{_TELLING})[\w.-]{{0,64}}=)[^&#\s\"<>]*")
"""A value in the query or the path: many recorders use ``/user=admin_password=…_channel=1.sdp``."""


def redact(text: str) -> str:
    """Replace the credentials of every address in a text by ``***``.

    Credentials are user names and passwords before an ``@``, and values in the query or the path whose name looks like
    that of a secret.
    """
    return _NAMED_VALUE.sub(r"\1***", _USERINFO.sub(r"\1***@", text))
