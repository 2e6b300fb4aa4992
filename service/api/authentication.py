"""Authentication: finds out whose key a request carries, and refuses what that key may not do."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlencode

import structlog
from fastapi.routing import RouteContext, iter_route_contexts
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, cookie_parser
from starlette.responses import RedirectResponse
from starlette.routing import Match, Mount, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.keys import KeyStore
from service.access.limits import GUESSES_S, Limits
from service.access.policy import EVERYBODY, Principal, Refusal, Rule, Subject, refusal
from service.api.browsers import client_network
from service.api.login import LOGIN, PAGES
from service.api.permissions import UNLIMITED, WEBSOCKET, rule_of
from service.api.problems import Kind, ProblemError, database_problem, problem_response
from service.incidents.rows import UnknownIncident

COOKIE: Final = "daflow_session"
"""Name of the cookie that holds the session of a browser."""

SUBPROTOCOL: Final = "daflow"
"""Subprotocol of a WebSocket with a ticket; the ticket is offered beside it as ``daflow.ticket.<ticket>``."""

UNAUTHENTICATED_CODE: Final = 4401
FORBIDDEN_CODE: Final = 4403
"""WebSocket close codes, after HTTP's 401 and 403, for sockets that send the key as their first message."""

FIRST_MESSAGE_S: Final = 10.0
"""Seconds that a WebSocket has to send its key."""

RECHECK_S: Final = 2.0
"""Seconds between two checks of the key and the session of a stream. A stream ends within 5 seconds of either, even if
another process ended them, which remembers keys for some seconds itself."""

_TICKET: Final = f"{SUBPROTOCOL}.ticket."
_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}
_UNKNOWN_KEY: Final = "this key is unknown, expired or revoked"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_UNRECORDED: Final = frozenset(
    {"/v1/tickets", "/v1/skeletons", "/v1/cameras/{camera_id}/rules/preview", "/v1/incidents/read"}
)
"""Routes that change nothing for others, so that the log of changes leaves them out."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Guard:
    """What authentication needs to decide.

    Attributes:
        authenticated: Whether clients need a key.
        keys: Keys, sessions and the log of changes.
        limits: Limits of requests and connections.
        camera_of: Returns the camera of an incident.
    """

    authenticated: bool
    keys: KeyStore
    limits: Limits
    camera_of: Callable[[str], str]


def registered(router: Router) -> Iterator[RouteContext]:
    """Every route and mounted application of a router and of the routers that it includes."""
    return iter_route_contexts(router.routes)


def too_many(detail: str, seconds: int) -> ProblemError:
    """The problem of a client that exceeds a limit.

    Args:
        detail: Which limit, and what to do.
        seconds: When to try again.
    """
    return ProblemError(Kind.TOO_MANY_REQUESTS, detail, headers={"Retry-After": str(seconds)})


def wrong_key(keys: KeyStore, limits: Limits, key: str, address: str) -> ProblemError:
    """The problem of a client whose key is not accepted; a guess is counted.

    A key that has expired or was revoked is not a guess. Others at the same address are not affected: valid keys and
    sessions are never refused for guesses. So the limit does not protect keys, which cannot be guessed, but the log.

    Args:
        keys: Knows all keys.
        limits: Counts guesses.
        key: The key.
        address: Network of the client.
    """
    refused = ProblemError(Kind.UNAUTHENTICATED, _UNKNOWN_KEY, headers=_CHALLENGE)
    if keys.was_valid(key):
        if not limits.ask(f"refused {address}"):
            return too_many("more requests than DAFLOW_REQUESTS_PER_MINUTE allows; wait a minute", 60)
        return refused
    return _guess(limits, address, refused)


def _guess(limits: Limits, address: str, refused: ProblemError) -> ProblemError:
    if limits.locked_out(address):
        return too_many(f"too many wrong keys came from this address; wait up to {GUESSES_S} s", GUESSES_S)
    limits.guessed(address)
    log.warning("a wrong key was used", address=address)
    return refused


def principal_of(connection: HTTPConnection) -> Principal:
    """Whose key a request carries.

    Raises:
        ProblemError: The request carries no valid key.
    """
    found = connection.scope.get("principal")
    if found is None:
        raise ProblemError(Kind.UNAUTHENTICATED, "a key is needed")
    return cast(Principal, found)


class Authentication:
    """Middleware that passes on only requests whose key allows them.

    Args:
        app: The application.
        router: The routes of the application, to find the rule of a request.
        guard: Keys and limits.
    """

    def __init__(self, app: ASGIApp, router: Router, guard: Guard) -> None:
        self._app = app
        self._router = router
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        route = _route(self._router, scope)
        if route is None:
            # No such route; the application answers with 404 or 405.
            await self._app(scope, receive, send)
            return
        if route.path in UNLIMITED:
            await self._app(scope, receive, send)
            return
        admission = _Admission(self._guard, scope, receive, send, route)
        try:
            try:
                principal = await admission.admit()
            except ProblemError as error:
                await admission.refuse(error)
                return
            except SQLAlchemyError as error:
                problem = database_problem(error)
                if problem is None:
                    raise
                await admission.refuse(problem)
                return
            if principal is not None:
                scope["principal"] = principal
            await admission.run(self._app, principal)
        finally:
            admission.leave()


@dataclass(frozen=True, slots=True)
class _Route:
    method: str
    path: str
    rule: Rule | None
    parameters: dict[str, Any]


def _route(router: Router, scope: Scope) -> _Route | None:
    method = WEBSOCKET if scope["type"] == "websocket" else scope["method"]
    for route in registered(router):
        match, found = route.matches(scope)
        if match is Match.FULL:
            path, mounted = route.path or "", isinstance(route.original_route, Mount)
            rule = rule_of("GET" if method == "HEAD" else method, path, mounted=mounted)
            return _Route(method, path, rule, found.get("path_params", {}))
    return None


class _Admission:
    """Authentication of one request or WebSocket."""

    def __init__(self, guard: Guard, scope: Scope, receive: Receive, send: Send, route: _Route) -> None:
        self._guard = guard
        self._scope = scope
        self._receive = receive
        self._send = send
        self._route = route
        self._headers = Headers(scope=scope)
        self._address = client_network((scope.get("client") or ("",))[0])
        self._place: str | None = None
        self._opened = False
        self._announced = False
        self._protocol: str | None = None
        self._status = 0

    async def admit(self) -> Principal | None:
        """Whose key the request carries; None for a route that needs none, without a key.

        Raises:
            ProblemError: The request is refused.
        """
        rule = self._route.rule
        if rule is None:
            raise ProblemError(Kind.FORBIDDEN, f"no rule allows {self._route.path}")
        guard = self._guard
        if not guard.authenticated:
            self._enter(EVERYBODY)
            return EVERYBODY
        principal = await self._identify()
        self._enter(principal)
        if principal is None and rule.scope is not None and self._scope["type"] == "websocket":
            principal = await self._first_message()
            self._enter(principal)
        if not guard.limits.ask(principal.key_id if principal else self._address):
            raise too_many("more requests than DAFLOW_REQUESTS_PER_MINUTE allows; wait a minute", 60)
        reason = refusal(principal, rule, await self._camera(principal, rule))
        if reason is Refusal.NO_KEY:
            raise self._unauthenticated("a key is needed; send it as Authorization: Bearer …")
        if reason is not None and principal is not None:
            raise ProblemError(Kind.FORBIDDEN, _why(reason, principal, rule))
        return principal

    def _enter(self, principal: Principal | None) -> None:
        """Count the connection: for its key at this address, or without a key for the address alone.

        Clients without a key therefore take no place from those who have one.

        Raises:
            ProblemError: There are too many.
        """
        self.leave()
        who = f"{self._address} {principal.key_id}" if principal is not None else self._address
        if not self._guard.limits.enter(who):
            raise too_many("as many connections are open as DAFLOW_CONNECTIONS_PER_ADDRESS allows", 10)
        self._place = who

    def leave(self) -> None:
        """Uncount the connection, if it was counted."""
        if self._place is not None:
            self._guard.limits.leave(self._place)
            self._place = None

    async def refuse(self, error: ProblemError) -> None:
        """Answer with the problem: as a page, a response, or the close code of an open WebSocket."""
        if error.kind is Kind.UNAUTHENTICATED and self._is_for_people():
            query = urlencode({"next": self._scope["path"]})
            await RedirectResponse(f"{LOGIN}?{query}", 303)(self._scope, self._receive, self._send)
            return
        if not self._opened:
            await problem_response(error)(self._scope, self._receive, self._send)
            return
        code = UNAUTHENTICATED_CODE if error.kind is Kind.UNAUTHENTICATED else FORBIDDEN_CODE
        await self._send({"type": "websocket.close", "code": code, "reason": error.detail[:120]})

    def _is_for_people(self) -> bool:
        """Whether a browser asks for a page of the dashboard."""
        wanted = self._scope["type"] == "http" and self._scope["path"].startswith(f"{PAGES}/")
        return wanted and "text/html" in self._headers.get("accept", "")

    async def run(self, app: ASGIApp, principal: Principal | None) -> None:
        """Call the application, end the call when the key becomes invalid, and record a change."""
        receive = self._replayed if self._opened else self._receive
        call = app(self._scope, receive, self._send_observed)
        if principal is None or not principal.key_id:
            await call
        else:
            await self._while_valid(call, principal)
        changed = self._scope["type"] == "http" and self._route.method not in _SAFE_METHODS
        if changed and self._route.path not in _UNRECORDED and 200 <= self._status < 400:
            await self._record(principal or self._scope.get("principal") or EVERYBODY)

    async def _identify(self) -> Principal | None:
        """Whose key, ticket or session the head of the request carries; None if it carries none."""
        keys = self._guard.keys
        scheme, _, credential = self._headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await self._verified(credential.strip())
        offered = [name.strip() for name in self._headers.get("sec-websocket-protocol", "").split(",")]
        ticket = next((name.removeprefix(_TICKET) for name in offered if name.startswith(_TICKET)), None)
        if self._scope["type"] == "websocket" and ticket is not None:
            self._protocol = SUBPROTOCOL if SUBPROTOCOL in offered else None
            found = await run_in_threadpool(keys.redeem, ticket)
            if found is None:
                otherwise = self._unauthenticated("this ticket was used, or has expired; get a new one")
                raise _guess(self._guard.limits, self._address, otherwise)
            return found
        cookie = cookie_parser(self._headers.get("cookie", "")).get(COOKIE)
        # An expired session is not counted as a wrong key: its browser is just not logged in any more.
        return await run_in_threadpool(keys.session, cookie) if cookie else None

    async def _verified(self, key: str) -> Principal:
        keys, limits = self._guard.keys, self._guard.limits
        found = await run_in_threadpool(keys.verify, key)
        if found is None:
            raise await run_in_threadpool(wrong_key, keys, limits, key, self._address)
        return found

    async def _first_message(self) -> Principal:
        """Open the WebSocket and wait for ``{"type": "authenticate", "key": …}``."""
        await self._receive()
        await self._send({"type": "websocket.accept"})
        self._opened = True
        otherwise = 'send {"type": "authenticate", "key": …} first'
        try:
            async with asyncio.timeout(FIRST_MESSAGE_S):
                message = await self._receive()
        except TimeoutError as error:
            raise self._unauthenticated(otherwise) from error
        try:
            content = json.loads(message.get("text") or message.get("bytes") or "null")
            key = content["key"] if content["type"] == "authenticate" else None
        except (ValueError, TypeError, KeyError):
            key = None
        if not isinstance(key, str):
            raise self._unauthenticated(otherwise)
        return await self._verified(key)

    async def _camera(self, principal: Principal | None, rule: Rule) -> str | None:
        """The camera that a request is about; None if the rule or the key does not depend on it."""
        if rule.subject is not Subject.CAMERA or principal is None or principal.cameras is None:
            return None
        camera = self._route.parameters.get("camera_id")
        if camera is not None:
            return cast(str, camera)
        with contextlib.suppress(UnknownIncident):
            return await run_in_threadpool(self._guard.camera_of, self._route.parameters["incident_id"])
        return None

    async def _replayed(self) -> Message:
        """What the application receives on a WebSocket that is open already: first the request to connect."""
        if not self._announced:
            self._announced = True
            return {"type": "websocket.connect"}
        return await self._receive()

    async def _send_observed(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif message["type"] == "websocket.accept":
            if self._opened:
                return
            if self._protocol is not None:
                message = {**message, "subprotocol": self._protocol}
        await self._send(message)

    async def _while_valid(self, call: Awaitable[None], principal: Principal) -> None:
        task = asyncio.ensure_future(call)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=RECHECK_S)
                if not task.done() and not await self._is_valid(principal):
                    break
        finally:
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if not task.cancelled():
            task.result()
        else:
            log.info(
                "ended a stream whose key or session is no longer valid", key=principal.key_id, path=self._scope["path"]
            )
            ending: Message = {"type": "http.response.body", "body": b"", "more_body": False}
            if self._scope["type"] == "websocket":
                ending = {
                    "type": "websocket.close",
                    "code": UNAUTHENTICATED_CODE,
                    "reason": "the key or session is no longer valid",
                }
            with contextlib.suppress(RuntimeError):
                await self._send(ending)

    async def _is_valid(self, principal: Principal) -> bool:
        try:
            return await run_in_threadpool(self._guard.keys.is_valid, principal)
        except SQLAlchemyError:
            # While the database cannot be read, streams go on.
            return True

    async def _record(self, principal: Principal) -> None:
        record = {
            "key_id": principal.key_id or None,
            "name": principal.name,
            "action": f"{self._route.method} {self._route.path}",
            "target": self._scope["path"],
            "status": self._status,
            "address": (self._scope.get("client") or (None,))[0],
        }
        log.info("changed", **{name: value for name, value in record.items() if value is not None})
        try:
            await run_in_threadpool(lambda: self._guard.keys.record(**record))
        except SQLAlchemyError as error:
            log.error("a change could not be recorded", reason=str(getattr(error, "orig", error)))

    def _unauthenticated(self, detail: str) -> ProblemError:
        return ProblemError(Kind.UNAUTHENTICATED, detail, headers=_CHALLENGE)


def _why(reason: Refusal, principal: Principal, rule: Rule) -> str:
    if reason is Refusal.SCOPE:
        return f"this needs the scope {rule.scope}; the key {principal.name!r} has {principal.scope}"
    if reason is Refusal.CAMERA:
        return f"the key {principal.name!r} is not for this camera"
    return f"the key {principal.name!r} is for some cameras only, and this concerns the whole service"
