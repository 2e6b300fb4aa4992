"""Routes for keys, sessions, tickets and the log of changes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field, SecretStr
from starlette.concurrency import run_in_threadpool

from service.access.keys import SESSION, AuditRecord, KeyInfo
from service.access.policy import EVERYBODY, Principal, Scope
from service.api.authentication import COOKIE, wrong_key
from service.api.browsers import client_network
from service.api.dependencies import PrincipalDep, RuntimeDep
from service.api.problems import SMALL_BODY, Kind, ProblemError, responses
from service.documents.messages import CAMERA_ID

router = APIRouter(prefix="/v1", tags=["keys"])

_LONGEST_DAYS: Final = 3650

_CameraName = Annotated[str, Field(pattern=CAMERA_ID)]
_KeyId = Annotated[str, Path(description="Id of the key.", examples=["3f9a0c11d2e4"])]


class NewKeyRequest(BaseModel):
    """The properties of a new key."""

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00]*[^\s\x00][^\x00]*$",
        description="What the key is for.",
        examples=["wall"],
    )
    scope: Scope = Field(Scope.READ, description="`read` may view, `operate` may also act, `admin` may also configure.")
    cameras: list[_CameraName] | None = Field(
        None, min_length=1, max_length=1000, description="The only cameras that the key may access; null for all."
    )
    expires_in_days: float | None = Field(
        None, gt=0, le=_LONGEST_DAYS, description="Days until the key expires; null for never.", examples=[90]
    )


class CreatedKey(KeyInfo):
    """A key that was just made."""

    key: str = Field(description="The key itself. It is shown only in this answer.")


class KeyList(BaseModel):
    """All keys."""

    keys: list[KeyInfo] = Field(description="All keys, oldest first, including expired and revoked ones.")


class Login(BaseModel):
    """A key to log in with."""

    key: SecretStr = Field(min_length=1, max_length=200, description="The key.")


class Session(BaseModel):
    """Who is logged in."""

    name: str = Field(description="Name of the key.", examples=["night shift"])
    scope: Scope = Field(description="What the key may do.")
    cameras: list[str] | None = Field(description="The only cameras that the key may access; null for all.")
    open: bool = Field(description="Whether the service requires no keys.")


class Ticket(BaseModel):
    """A ticket, which opens one WebSocket."""

    ticket: str = Field(
        description="Offer it in the subprotocols of the WebSocket: `daflow` and `daflow.ticket.<ticket>`. It works "
        "once."
    )
    expires_at: datetime = Field(description="When the ticket expires.")


class AuditPage(BaseModel):
    """A page of changes, newest first."""

    records: list[AuditRecord] = Field(description="Changes, newest first.")
    next: int | None = Field(description="`before` for the next page; null when there are no more.")


@router.get("/keys", summary="List keys", responses=responses())
def list_keys(runtime: RuntimeDep) -> KeyList:
    """All keys, without their secrets."""
    return KeyList(keys=runtime.keys.all())


@router.post("/keys", summary="Create a key", status_code=201, responses=responses(*SMALL_BODY, Kind.CROSS_ORIGIN))
def create_key(runtime: RuntimeDep, wanted: NewKeyRequest, response: Response) -> CreatedKey:
    """Create a key. Only this answer shows it."""
    days = wanted.expires_in_days
    made = runtime.keys.create(
        wanted.name,
        wanted.scope,
        cameras=wanted.cameras,
        valid_for=None if days is None else timedelta(days=days),
    )
    response.headers["cache-control"] = "no-store"
    return CreatedKey(**made.info.model_dump(), key=made.text)


@router.delete("/keys/{key_id}", summary="Revoke a key", responses=responses(Kind.CROSS_ORIGIN, Kind.KEY_NOT_FOUND))
def revoke_key(runtime: RuntimeDep, key_id: _KeyId) -> KeyInfo:
    """Revoke a key with its sessions and tickets; streams that it opened end within seconds."""
    return runtime.keys.revoke(key_id)


@router.get("/audit", summary="List changes", responses=responses())
def list_changes(
    runtime: RuntimeDep,
    limit: Annotated[int, Query(ge=1, le=500, description="Most changes on the page.")] = 100,
    before: Annotated[int | None, Query(ge=1, le=2**53, description="`next` of the previous page.")] = None,
) -> AuditPage:
    """Who changed what and when: cameras, calibrations, incidents, clips, keys, logins."""
    found = runtime.keys.audit(limit=limit, before=before)
    return AuditPage(records=found, next=found[-1].id if len(found) == limit else None)


@router.post("/session", summary="Log in", responses=responses(*SMALL_BODY, Kind.CROSS_ORIGIN))
async def log_in(request: Request, runtime: RuntimeDep, login: Login, response: Response) -> Session:
    """Start a session of a browser with a key; the answer sets a cookie that scripts cannot read."""
    principal = EVERYBODY
    if runtime.settings.authenticated:
        key = login.key.get_secret_value()
        found = await run_in_threadpool(runtime.keys.verify, key)
        if found is None:
            address = client_network(request.client.host if request.client else "")
            raise await run_in_threadpool(wrong_key, runtime.keys, runtime.limits, key, address)
        principal = found
        secret, _ = await run_in_threadpool(runtime.keys.issue, principal, "session")
        response.set_cookie(
            COOKIE,
            secret,
            max_age=int(SESSION.total_seconds()),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
    request.scope["principal"] = principal
    return _session(principal, runtime.settings.authenticated)


@router.get("/session", summary="Get the current session", responses=responses())
def who_am_i(runtime: RuntimeDep, principal: PrincipalDep) -> Session:
    """What the key or session of this request may do."""
    return _session(principal, runtime.settings.authenticated)


@router.delete("/session", summary="Log out", status_code=204, responses=responses(Kind.CROSS_ORIGIN))
def log_out(request: Request, runtime: RuntimeDep, response: Response) -> None:
    """End the session of this browser."""
    secret = request.cookies.get(COOKIE)
    if secret:
        runtime.keys.end_session(secret)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


@router.post("/tickets", summary="Get a ticket for a WebSocket", responses=responses(Kind.CROSS_ORIGIN))
def issue_ticket(runtime: RuntimeDep, principal: PrincipalDep, response: Response) -> Ticket:
    """Get a ticket that opens one WebSocket within 30 seconds, for web pages, which cannot send a key in a header."""
    if not principal.key_id:
        raise ProblemError(Kind.FORBIDDEN, "this service requires no keys, so a WebSocket needs no ticket")
    ticket, expires = runtime.keys.issue(principal, "ticket")
    response.headers["cache-control"] = "no-store"
    return Ticket(ticket=ticket, expires_at=expires)


def _session(principal: Principal, authenticated: bool) -> Session:
    cameras = None if principal.cameras is None else sorted(principal.cameras)
    return Session(name=principal.name, scope=principal.scope, cameras=cameras, open=not authenticated)
