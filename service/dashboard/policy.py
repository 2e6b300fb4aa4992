"""The content security policy of the page."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SCRIPT: Final = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)


class PagePolicy:
    """Gives each page of NiceGUI a policy that allows its own scripts and connections to this service only.

    The policy is as strict as NiceGUI allows. Inline scripts are allowed by their digests, so an injected script does
    not run. ``unsafe-eval`` is needed: Vue compiles templates in the browser, and the server sends expressions over the
    page's socket. ``unsafe-inline`` styles are needed: Quasar and ECharts create styles at run time, which no digest
    covers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        body = bytearray()

        async def send_with_policy(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                if Headers(raw=message["headers"]).get("content-type", "").startswith("text/html"):
                    start = message
                    return
            elif start is not None:
                body.extend(message.get("body", b""))
                if message.get("more_body", False):
                    return
                MutableHeaders(raw=start["headers"])["content-security-policy"] = page_policy(bytes(body))
                await send(start)
                message = {"type": "http.response.body", "body": bytes(body)}
            await send(message)

        await self._app(scope, receive, send_with_policy)


def page_policy(page: bytes) -> str:
    """The ``Content-Security-Policy`` of a page as it is sent."""
    digests = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in _SCRIPT.findall(page)]
    return "; ".join(
        (
            "default-src 'none'",
            " ".join(["script-src 'self' 'unsafe-eval'", *(f"'sha256-{digest}'" for digest in digests)]),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self'",
            "media-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
