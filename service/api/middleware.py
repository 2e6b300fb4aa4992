"""Middleware: what happens to every request before a route handles it, and to every response after that."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Set
from typing import Final
from urllib.parse import unquote_to_bytes

import structlog
from anyio import BrokenResourceError
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import sockets
from service.api.browsers import SAFE_HEADERS, known_host, same_origin
from service.api.problems import Kind, ProblemError, problem_of, problem_response
from service.clips.refusals import UploadRefused
from service.clips.uploads import read_document

MAX_SMALL_BODY: Final = 64 * 1024
"""Most bytes of a body that is not an upload. A camera with hundreds of zones would have a larger one."""

_SERVED_BY_ALL: Final = re.compile(
    r"/(v1/(incidents(?!/report\Z)|notifications|session|tickets|keys|audit)(/|\Z)|v1/cameras/[^/]+/scores\Z|v1/asyncapi\.json\Z"
    r"|(login|healthz|readyz|metrics|openapi\.json)\Z|(docs|problems)(/|\Z))"
)
"""Paths that every process serves: their content is in the database, comes over Redis, or is about the process."""

_HEAD_S: Final = 0.2
_LINGER_S: Final = 2.0
_LINGER_BYTES: Final = 64 * 1024 * 1024
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

log = structlog.get_logger(__name__)


class SafeHeaders:
    """Adds `SAFE_HEADERS` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""

        async def send_safely(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                MutableHeaders(scope=message).update(SAFE_HEADERS)
            await send(message)

        await self._app(scope, receive, send_safely)


class HeadOfGet:
    """Answers ``HEAD`` with the headers of ``GET``, on every route; a stream is not begun."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        answered = asyncio.Event()

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                answered.set()

        handling = asyncio.ensure_future(self._app({**scope, "method": "GET"}, receive, send_head))
        enough = asyncio.ensure_future(answered.wait())
        try:
            await asyncio.wait({handling, enough}, return_when=asyncio.FIRST_COMPLETED)
            if answered.is_set():
                # What is quickly done ends by itself.
                await asyncio.wait({handling}, timeout=_HEAD_S)
        finally:
            enough.cancel()
            handling.cancel()
            await asyncio.wait({handling})
        if not handling.cancelled():
            handling.result()


class KnownHost:
    """Refuses every request and WebSocket whose ``Host`` header does not name this machine.

    Args:
        app: The application.
        host: The value of ``DAFLOW_HOST``.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        if scope["type"] in ("http", "websocket"):
            host = Headers(scope=scope).get("host")
            if not known_host(host, self._host):
                named = f"the name {host}" if host else "no name"
                detail = f"this service answers only to localhost and 127.0.0.1, and the request has {named}"
                await problem_response(ProblemError(Kind.UNKNOWN_HOST, detail))(scope, receive, send)
                return
        await self._app(scope, receive, send)


class PlainAddress:
    """Refuses every request and WebSocket with a NUL in its path or query; PostgreSQL cannot look for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        if scope["type"] in ("http", "websocket"):
            where = "path" if "\0" in scope["path"] else "query"
            if where == "path" or b"\0" in unquote_to_bytes(scope["query_string"]):
                problem = {"in": where, "name": "", "message": "must not contain NUL characters"}
                error = ProblemError(Kind.INVALID_REQUEST, f"the {where} contains a NUL character", errors=[problem])
                await problem_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class StreamsOnly:
    """Refuses every request and WebSocket that only the process that runs the cameras can answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        if scope["type"] in ("http", "websocket") and not _SERVED_BY_ALL.match(scope["path"]):
            detail = f"{scope['path']} is served only by the process that runs the cameras, and this one runs none"
            await problem_response(ProblemError(Kind.NOT_HERE, detail))(scope, receive, send)
            return
        await self._app(scope, receive, send)


class SameOrigin:
    """Refuses requests that change something, and WebSockets, from web pages of other origins."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        guarded = scope["type"] == "websocket" or (scope["type"] == "http" and scope["method"] not in _SAFE_METHODS)
        if guarded:
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if not same_origin(origin, headers.get("host"), scope["scheme"]):
                error = ProblemError(Kind.CROSS_ORIGIN, f"pages of {origin} may not use this service")
                await problem_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class SmallBodies:
    """Reads the whole body of a request first, and refuses a body that is too large or arrives too slowly.

    Args:
        app: The application.
        streamed: Paths that accept large bodies and have limits of their own.
    """

    def __init__(self, app: ASGIApp, streamed: Set[str]) -> None:
        self._app = app
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        if scope["type"] != "http" or scope["path"] in self._streamed or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        try:
            body = await read_document(Request(scope, receive), MAX_SMALL_BODY)
        except UploadRefused as error:
            await problem_response(problem_of(error))(scope, receive, send)
            return
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, replay, send)


class StreamEnds:
    """Ends a stream whose client reads nothing any more, and every stream when the server stops.

    The application is told that the client has disconnected.

    Args:
        app: The application.
        closing: Set when the server begins to stop.
    """

    def __init__(self, app: ASGIApp, closing: asyncio.Event) -> None:
        self._app = app
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; WebSockets have limits of their own (`service.api.sockets`)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(receive, send, self._closing, scope["path"])
        try:
            await self._app(scope, answer.receive, answer.send)
        except* BrokenResourceError:
            # FastAPI raises this when the client of a stream of events leaves before its end.
            pass
        await answer.complete()


class _Answer:
    def __init__(self, receive: Receive, send: Send, closing: asyncio.Event, path: str) -> None:
        self._receive = receive
        self._send = send
        self._closing = closing
        self._path = path
        self._stalled = asyncio.Event()
        self._asked = False
        self._begun = False
        self._complete = False

    async def receive(self) -> Message:
        if not self._asked:
            message = await self._receive()
            self._asked = not message.get("more_body", False)
            return message
        # The body is complete, so the only message that can still come is the disconnect.
        waiting = [asyncio.ensure_future(wait()) for wait in (self._receive, self._stalled.wait, self._closing.wait)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self._stalled.is_set():
            return
        self._begun = True
        self._complete = message["type"] == "http.response.body" and not message.get("more_body", False)
        try:
            async with asyncio.timeout(sockets.SEND_LIMIT_S):
                await self._send(message)
        except TimeoutError:
            log.info("ended a stream whose client reads nothing", path=self._path, seconds=sockets.SEND_LIMIT_S)
            self._stalled.set()

    async def complete(self) -> None:
        """Send the end of a stream that was cut short because the server stops."""
        if self._closing.is_set() and self._begun and not self._complete:
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})


class LingeringClose:
    """Keeps a connection open for a moment after a response that was sent before the body had arrived.

    If a server closes the connection while the client is still sending, the network discards the response. So the
    response is sent first, then the rest of the body is read and discarded for a limited time, and then the connection
    is closed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not _has_body(scope):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, waits_for_permission="expect" in Headers(scope=scope))
        await self._app(scope, exchange.receive, exchange.send)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


class _Exchange:
    def __init__(self, receive: Receive, send: Send, *, waits_for_permission: bool) -> None:
        self._receive = receive
        self._send = send
        self._client_sends = not waits_for_permission
        self._body_complete = False

    async def receive(self) -> Message:
        self._client_sends = True
        message = await self._receive()
        self._body_complete = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if self._body_complete:
            await self._send(message)
        elif message["type"] == "http.response.start":
            MutableHeaders(scope=message)["connection"] = "close"
            await self._send(message)
        elif message.get("more_body", False):
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            await self._drain()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drain(self) -> None:
        drained = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while self._client_sends and not self._body_complete and drained < _LINGER_BYTES:
                    drained += len((await self.receive()).get("body", b""))
