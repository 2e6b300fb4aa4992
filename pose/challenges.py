"""Answers to the challenges of cameras that ask for a user name and a password, over HTTP and RTSP.

Digest authentication by RFC 7616 with SHA-256, SHA-512-256 and MD5, and basic authentication by RFC 7617.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Final
from urllib.request import parse_http_list, parse_keqv_list

_ALGORITHMS: Final[Mapping[str, str]] = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}
"""Name in a challenge and in `hashlib`, strongest first."""


class Challenged:
    """Answers the challenges of one server.

    Args:
        user: User name.
        password: Password.

    Example:
        >>> camera = Challenged("viewer", "secret")
        >>> camera.authorization("GET", "/live") is None
        True
        >>> camera.hear(['Basic realm="camera"'])
        True
        >>> camera.authorization("GET", "/live")
        'Basic dmlld2VyOnNlY3JldA=='
    """

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._password = password
        self._digest: dict[str, str] | None = None
        self._basic = False
        self._count = 0

    def hear(self, headers: Iterable[str]) -> bool:
        """Take the challenges of a refusal; the strongest is answered from now on.

        Args:
            headers: The values of ``WWW-Authenticate``.

        Returns:
            Whether one of them can be answered.
        """
        challenges = [challenge for header in headers for challenge in _challenges(header)]
        digests = [fields for scheme, fields in challenges if scheme == "digest" and _is_understood(fields)]
        self._digest = min(digests, key=_rank, default=None)
        self._basic = any(scheme == "basic" for scheme, _ in challenges)
        self._count = 0
        return self._digest is not None or self._basic

    def authorization(self, method: str, uri: str) -> str | None:
        """The value of ``Authorization`` for a request; None before a challenge was heard.

        Args:
            method: Method of the request.
            uri: What is asked for, as in the first line of the request.
        """
        if self._digest is not None:
            return self._digest_answer(self._digest, method, uri)
        if self._basic:
            return "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode("ascii")
        return None

    def _digest_answer(self, challenge: Mapping[str, str], method: str, uri: str) -> str:
        algorithm = challenge.get("algorithm", "MD5")
        digest = _hash(_ALGORITHMS[algorithm.upper().removesuffix("-SESS")])
        nonce, own = challenge["nonce"], secrets.token_hex(8)
        secret = digest(f"{self._user}:{challenge['realm']}:{self._password}")
        if algorithm.upper().endswith("-SESS"):
            secret = digest(f"{secret}:{nonce}:{own}")
        asked = digest(f"{method}:{uri}")
        fields = {"username": self._user, "realm": challenge["realm"], "nonce": nonce, "uri": uri}
        bare: dict[str, str] = {}
        if "qop" in challenge:
            self._count += 1
            bare = {"qop": "auth", "nc": f"{self._count:08x}"}
            fields["cnonce"] = own
            fields["response"] = digest(f"{secret}:{nonce}:{bare['nc']}:{own}:auth:{asked}")
        else:
            fields["response"] = digest(f"{secret}:{nonce}:{asked}")
        if "opaque" in challenge:
            fields["opaque"] = challenge["opaque"]
        if "algorithm" in challenge:
            bare["algorithm"] = algorithm
        quoted = [f'{name}="{_escaped(value)}"' for name, value in fields.items()]
        return "Digest " + ", ".join([*quoted, *(f"{name}={value}" for name, value in bare.items())])


def _challenges(header: str) -> list[tuple[str, dict[str, str]]]:
    """Scheme and parameters of each challenge in a header, which may have several."""
    found: list[tuple[str, list[str]]] = []
    for item in parse_http_list(header):
        scheme, _, rest = item.partition(" ")
        if "=" not in scheme:
            found.append((scheme.lower(), []))
            item = rest.strip()
        if found and "=" in item:
            found[-1][1].append(item)
    return [
        (scheme, {name.lower(): value for name, value in parse_keqv_list(items).items()}) for scheme, items in found
    ]


def _is_understood(fields: Mapping[str, str]) -> bool:
    known = fields.get("algorithm", "MD5").upper().removesuffix("-SESS") in _ALGORITHMS
    protection = [name.strip() for name in fields.get("qop", "auth").split(",")]
    return known and "auth" in protection and {"realm", "nonce"} <= fields.keys()


def _rank(fields: Mapping[str, str]) -> int:
    return list(_ALGORITHMS).index(fields.get("algorithm", "MD5").upper().removesuffix("-SESS"))


def _hash(name: str) -> Callable[[str], str]:
    return lambda text: hashlib.new(name, text.encode()).hexdigest()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
