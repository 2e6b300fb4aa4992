"""What protects a browser's user: host and origin of requests, and headers of answers."""

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
    # Not no-referrer, which makes browsers withhold the origin from forms that our own pages send.
    "referrer-policy": "same-origin",
    # Pages of others may not even show our pictures, which have addresses that can be guessed.
    "cross-origin-resource-policy": "same-origin",
}
"""Headers of every answer."""

_INLINE: Final = re.compile(r"<(?P<tag>script|style)>(?P<content>.*?)</(?P=tag)>", re.DOTALL)
_HOST: Final = re.compile(r"(?P<name>[^\s:/?#@\[\]]+|\[(?P<address>[0-9a-f:.]+)\])(?::\d*)?", re.IGNORECASE)


def client_network(address: str) -> str:
    """Whose address it is, for counting: an IPv6 network of 64 bits belongs to one customer.

    Args:
        address: Of the client; what is none is returned as it is.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))


def known_host(host: str | None, configured: str) -> bool:
    """Whether a request is addressed to this machine by a name that nobody else can give it.

    The owner of a web page may let the page's own name lead to 127.0.0.1 after the page was loaded. To the browser the
    service then belongs to that page, which may read everything; only the name in the request tells.

    Args:
        host: The ``Host`` header.
        configured: What the operator chose to listen on.
    """
    found = _HOST.fullmatch(host or "")
    if found is None:
        return False
    name = (found["address"] or found["name"]).lower()
    return name == configured.lower() or is_loopback(name)


def same_origin(origin: str | None, host: str | None) -> bool:
    """Whether a request comes from our own pages, or from a program that is no browser.

    A browser tells the origin of the page that sends a request which could change something. Without this rule any web
    page that an operator visits could post clips to a service on the operator's machine, or read its events.

    Args:
        origin: The ``Origin`` header.
        host: The ``Host`` header.
    """
    if origin is None:
        return True
    return bool(host) and urlsplit(origin).netloc.lower() == str(host).lower()


def page_policy(page: str) -> str:
    """The ``Content-Security-Policy`` of a page that carries its script and style within and asks only us.

    Args:
        page: The page as it is sent; its script and style are allowed by their digests, and no others.
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
