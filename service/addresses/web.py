"""Requests to web servers: each goes to the one address of the host that was checked, and to no other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import httpx

from pose.connections import PinnedUrl
from service.addresses.urls import StreamUrl, StreamUrlError, parse

_PORTS: Final = {"http": 80, "https": 443}
_WEB: Final = re.compile(r"https?://", re.IGNORECASE)


def web_address(url: str, what: str) -> StreamUrl:
    """Parse the address of something on the web.

    Args:
        url: The address.
        what: What the address is for, such as ``the URL of a webhook``.

    Raises:
        StreamUrlError: It is not valid, or neither http nor https; the message holds no credentials.
    """
    if not _WEB.match(url):
        raise StreamUrlError("scheme", f"{what} must begin with https:// or http://")
    return parse(url)


def pinned_request(
    method: str, url: PinnedUrl, headers: Mapping[str, str], content: bytes | None = None
) -> httpx.Request:
    """A request whose connection goes to the checked address; the certificate must be that of the host's name.

    Args:
        method: The method of HTTP.
        url: The address, checked by `service.addresses.policy`.
        headers: Further headers.
        content: The body.
    """
    named = f"[{url.host}]" if ":" in url.host else url.host
    request = httpx.Request(
        method,
        httpx.URL(scheme=url.scheme, host=url.address, port=url.port, raw_path=url.target.encode()),
        headers={
            "host": named if url.port == _PORTS[url.scheme] else f"{named}:{url.port}",
            "user-agent": "daflow",
            **headers,
        },
        content=content,
        extensions={"sni_hostname": url.host},
    )
    if url.user is not None:
        return next(httpx.BasicAuth(url.user, url.password or "").auth_flow(request))
    return request
