"""Who may talk to the service: pure rules."""

from __future__ import annotations

from urllib.parse import urlsplit


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
