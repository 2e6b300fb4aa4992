"""Addresses without their credentials, for logs and answers."""

from __future__ import annotations

import re
from typing import Final

_TELLING: Final = "key|token|pass|psw|pw|user|usr|login|auth|secret|sig|credential|session|sid"
_USERINFO: Final = re.compile(r"(?i)([a-z][a-z0-9+.-]{0,31}:/{2,})(?:[^\s/?#\"<>]*|[^\s/?#:\"<>]*:[^\s\"<>]*)@")
"""Also where a password holds what it must not: after a colon everything up to the last @ is taken for it."""

_NAMED_VALUE: Final = re.compile(rf"(?i)([/?&;,][\w.-]{{0,64}}?(?:{_TELLING})[\w.-]{{0,64}}=)[^&#\s\"<>]*")
"""Of a query, or of a path: many recorders take ``/user=admin_password=…_channel=1.sdp``."""


def redact(text: str) -> str:
    """Take the credentials out of every address in a text.

    User names and passwords before an ``@`` and values that are named like a secret, in the query or the path, become
    ``***``.
    """
    return _NAMED_VALUE.sub(r"\1***", _USERINFO.sub(r"\1***@", text))
