"""Rules that protect the users of browsers: host and origin of requests, headers of responses."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from service.settings import is_loopback

SAFE_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: browsers would then leave the origin out of forms that our own pages send.
    "referrer-policy": "same-origin",
    # Pages of other origins may not show our pictures, whose addresses can be guessed.
    "cross-origin-resource-policy": "same-origin",
}
"""Headers of every response."""

_INLINE: Final = re.compile(r"<(?P<tag>script|style)>(?P<content>.*?)</(?P=tag)>", re.DOTALL)
_HOST: Final = re.compile(r"(?P<name>[^\s:/?#@\[\]]+|\[(?P<address>[0-9a-f:.]+)\])(?::\d*)?", re.IGNORECASE)


def client_network(address: str) -> str:
    """The address by which limits count a client; of IPv6 the /64 network, which belongs to one customer.

    Args:
        address: Address of the client; text that is not an address is returned as it is.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))


def known_host(host: str | None, configured: str) -> bool:
    """Whether a request names this machine in a way that no web page can imitate.

    The owner of a web page can make the page's own name resolve to 127.0.0.1 after the page was loaded (DNS rebinding).
    The browser then treats the service as part of that page and lets the page read everything. Only the ``Host`` header
    shows this.

    Args:
        host: The ``Host`` header.
        configured: The value of ``DAFLOW_HOST``.
    """
    found = _HOST.fullmatch(host or "")
    if found is None:
        return False
    name = (found["address"] or found["name"]).lower()
    return name == configured.lower() or is_loopback(name)


def same_origin(origin: str | None, host: str | None, scheme: str) -> bool:
    """Whether a request comes from our own pages, or from a program that is not a browser.

    Browsers send the origin of the page with every request that could change something. Without this rule, any web page
    that an operator visits could post clips to a service on the operator's machine, or read its events.

    Args:
        origin: The ``Origin`` header.
        host: The ``Host`` header.
        scheme: Scheme of the request, such as ``https`` or ``wss``; behind a proxy the one that the proxy forwards.
    """
    if origin is None:
        return True
    ours = {"ws": "http", "wss": "https"}.get(scheme, scheme)
    place = _place(f"{ours}://{host}") if host else None
    return place is not None and place == _place(origin)


def _place(origin: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port of an origin; None if it is not one."""
    try:
        parts = urlsplit(origin)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    if parts.path or parts.query or parts.fragment or parts.username is not None or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, port


def page_policy(page: str) -> str:
    """The ``Content-Security-Policy`` of a page with inline script and style that sends requests only to this service.

    Args:
        page: The page as it is sent; only its own scripts and styles are allowed, by their digests.
    """
    digests: dict[str, list[str]] = {"script": [], "style": []}
    for found in _INLINE.finditer(page):
        digest = base64.b64encode(hashlib.sha256(found["content"].encode()).digest()).decode()
        digests[found["tag"]].append(f"'sha256-{digest}'")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(digests['script'])}",
            f"style-src {' '.join(digests['style'])}",
            "img-src 'self' data:",
            "media-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
