"""Errors as RFC 9457 problem documents: the kinds of problem, and which exception becomes which."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DisconnectionError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from service.access.keys import UnknownKey
from service.addresses.urls import StreamUrlError
from service.api.browsers import SAFE_HEADERS
from service.calibration.calibrator import CalibrationRunning
from service.calibration.gathering import CalibrationRefused
from service.cameras.manager import TooManyCameras
from service.cameras.store import UnknownCamera
from service.clips.decoding import ClipRejected
from service.clips.refusals import BodyTooLarge, ClipTooLarge, MalformedUpload, UploadIncomplete, UploadStalled
from service.clips.store import IllegalClipTransition, QueueFull, UnknownClip
from service.errors import StorageFull
from service.incidents.reviews import ReviewConflict
from service.incidents.rows import UnknownIncident
from service.notifications.store import UnknownDelivery
from service.storage.database import is_database_full, reason
from service.storage.writing import is_storage_full

MEDIA_TYPE: Final = "application/problem+json"

_RETRY_S: Final = 5

log = structlog.get_logger(__name__)


class Problem(BaseModel):
    """What went wrong (RFC 9457). Some kinds of problem have additional fields, which their description names."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(
        description="Stable identifier of the kind of problem; also the path of its explanation.",
        examples=["/problems/clip-rejected"],
    )
    title: str = Field(description="The kind of problem in a few words.", examples=["The clip cannot be scored"])
    status: int = Field(description="HTTP status.", examples=[422])
    detail: str = Field(
        description="What went wrong in this request.",
        examples=["the clip lasts 812.0 s; at most 600.0 s are accepted"],
    )


class Kind(Enum):
    """The kinds of problem.

    Attributes:
        slug: Last part of `type`.
        status: HTTP status.
        title: Short title.
        description: When it occurs and which additional fields it has.
    """

    MALFORMED_UPLOAD = (
        "malformed-upload",
        400,
        "The upload cannot be read",
        "The body is not the form that its headers announce.",
    )
    UPLOAD_INCOMPLETE = (
        "upload-incomplete",
        400,
        "The upload was cut short",
        "The connection ended before the body was complete.",
    )
    UNAUTHENTICATED = (
        "unauthenticated",
        401,
        "A key is needed",
        "The request has no key, or its key is unknown, expired or revoked.",
    )
    FORBIDDEN = ("forbidden", 403, "Not allowed", "The key does not allow this, or not for this camera.")
    CROSS_ORIGIN = (
        "cross-origin",
        403,
        "Cross-origin request refused",
        "A web page of another origin sent the request.",
    )
    NOT_FOUND = ("not-found", 404, "Not found", "The path does not exist.")
    CLIP_NOT_FOUND = (
        "clip-not-found",
        404,
        "No such clip",
        "The clip never existed, was deleted, or was removed by retention.",
    )
    CAMERA_NOT_FOUND = ("camera-not-found", 404, "No such camera", "The camera was never added, or was deleted.")
    INCIDENT_NOT_FOUND = (
        "incident-not-found",
        404,
        "No such incident",
        "The incident never existed, or was removed by retention.",
    )
    KEY_NOT_FOUND = ("key-not-found", 404, "No such key", "No key has this id.")
    EVIDENCE_MISSING = (
        "evidence-missing",
        404,
        "No such evidence",
        "The incident has no such picture or video. `state` is `pending` if it is not finished yet, `missing` if it "
        "was not made or was removed, or `ready` if only the version with skeletons exists.",
    )
    METHOD_NOT_ALLOWED = (
        "method-not-allowed",
        405,
        "Method not allowed",
        "The path exists, but not with this method.",
    )
    UPLOAD_STALLED = ("upload-stalled", 408, "The upload stalled", "The client stopped sending, or sends too slowly.")
    CLIP_NOT_DONE = (
        "clip-not-done",
        409,
        "No result",
        "The clip has no result; `state` shows whether it is still queued or running, failed, or was cancelled.",
    )
    CLIP_FINISHED = (
        "clip-finished",
        409,
        "The clip has finished",
        "A finished clip cannot be cancelled; `state` shows how it ended.",
    )
    NO_PICTURE = ("no-picture", 409, "No picture yet", "The camera has delivered no frame yet; `state` is its state.")
    TOO_MANY_CAMERAS = (
        "too-many-cameras",
        409,
        "Too many cameras",
        "There are already as many cameras as `DAFLOW_MAX_CAMERAS` allows; delete one first.",
    )
    CALIBRATION_RUNNING = (
        "calibration-running",
        409,
        "A calibration is running",
        "The camera is being calibrated; wait until that has ended, or cancel it.",
    )
    REVIEW_CONFLICT = (
        "review-conflict",
        409,
        "Somebody else was faster",
        "The review was changed after the revision that the request names; `incident` is the present state.",
    )
    BODY_TOO_LARGE = (
        "body-too-large",
        413,
        "The body is too large",
        "The body has more than `limit_bytes` bytes. The answer may come before the whole body was sent.",
    )
    CLIP_TOO_LARGE = (
        "clip-too-large",
        413,
        "The clip is too large",
        "The clip has more than `limit_bytes` bytes. The answer may come before the whole body was sent.",
    )
    DELIVERY_NOT_FOUND = (
        "delivery-not-found",
        404,
        "No such delivery",
        "The event has been delivered, or there never was such a delivery.",
    )
    NOT_HERE = (
        "not-here",
        421,
        "Not served here",
        "This process serves only incidents and streams (`DAFLOW_ROLE=api`); ask the process that runs the cameras.",
    )
    UNKNOWN_HOST = (
        "unknown-host",
        421,
        "Unknown host",
        "The service answers only to names of this machine, and the header `Host` has another.",
    )
    INVALID_REQUEST = (
        "invalid-request",
        422,
        "The request is not valid",
        "Parameters are missing or wrong; `errors` lists them.",
    )
    CLIP_REJECTED = (
        "clip-rejected",
        422,
        "The clip cannot be scored",
        "The file is not a video, is damaged, or exceeds a limit; `cause` is a stable slug such as `not-a-video`, "
        "`truncated` or `too-long`.",
    )
    STREAM_URL_REFUSED = (
        "stream-url-refused",
        422,
        "The address is refused",
        "The address of a camera, a clip or a callback is not valid or not allowed; `cause` is a stable slug such as "
        "`scheme`, `forbidden-address` or `no-such-file`. No connection was made.",
    )
    CALIBRATION_REFUSED = (
        "calibration-refused",
        422,
        "The camera cannot be calibrated this way",
        "The camera is disabled, or the given clip has no scores or no joints. Whether there is enough footage is "
        "known "
        "only after it was gathered: see `refusal` in the status of the calibration.",
    )
    QUEUE_FULL = (
        "queue-full",
        429,
        "The queue is full",
        "Too many clips or sequences wait; the header `Retry-After` says when to try again.",
    )
    TOO_MANY_REQUESTS = (
        "too-many-requests",
        429,
        "Too many requests",
        "More requests than allowed, or too many wrong keys; the header `Retry-After` says when to try again.",
    )
    INTERNAL_ERROR = ("internal-error", 500, "Internal error", "An error in the service; its log has the details.")
    MODELS_UNAVAILABLE = (
        "models-unavailable",
        503,
        "The models are not available",
        "The models cannot be loaded; `setting` names the setting that fixes it.",
    )
    DATABASE_UNAVAILABLE = (
        "database-unavailable",
        503,
        "The database is not available",
        "The database cannot be reached, or does not answer; the header `Retry-After` says when to try again.",
    )
    NOT_READY = (
        "not-ready",
        503,
        "Not ready",
        "`missing` lists what is missing, each with the `setting` that fixes it.",
    )
    STORAGE_FULL = (
        "storage-full",
        507,
        "Storage is full",
        "There is no room left to store what was sent, or files made from it.",
    )

    def __init__(self, slug: str, status: int, title: str, description: str) -> None:
        self.slug = slug
        self.status = status
        self.title = title
        self.description = description

    @property
    def type(self) -> str:
        """Value of `Problem.type`."""
        return f"/problems/{self.slug}"


SMALL_BODY: Final = (Kind.UPLOAD_INCOMPLETE, Kind.UPLOAD_STALLED, Kind.BODY_TOO_LARGE)
"""Problems of every request with a small body, found before the route is called."""

_ALWAYS: Final = (
    Kind.UNAUTHENTICATED,
    Kind.FORBIDDEN,
    Kind.UNKNOWN_HOST,
    Kind.NOT_HERE,
    Kind.INVALID_REQUEST,
    Kind.TOO_MANY_REQUESTS,
    Kind.INTERNAL_ERROR,
    Kind.DATABASE_UNAVAILABLE,
    Kind.STORAGE_FULL,
)


class ProblemError(Exception):
    """Ends a request with a problem document.

    Args:
        kind: What kind of problem.
        detail: What went wrong in this request.
        headers: Additional headers of the response.
        fields: Additional fields of the document.
    """

    def __init__(self, kind: Kind, detail: str, *, headers: Mapping[str, str] | None = None, **fields: object) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = headers
        self.fields = fields


def problem_response(error: ProblemError) -> JSONResponse:
    """The response for a problem."""
    document = {
        "type": error.kind.type,
        "title": error.kind.title,
        "status": error.kind.status,
        "detail": error.detail,
        **error.fields,
    }
    return JSONResponse(document, error.kind.status, headers=error.headers, media_type=MEDIA_TYPE)


def responses(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """The argument ``responses=`` of a route: these problems, and those that every route can end in."""
    by_status: dict[int | str, list[Kind]] = {}
    for kind in (*kinds, *_ALWAYS):
        if kind not in by_status.setdefault(kind.status, []):
            by_status[kind.status].append(kind)
    return {
        status: {
            "description": " ".join(f"`{kind.type}`: {kind.description}" for kind in found),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {kind.slug: {"value": _example(kind)} for kind in found},
                }
            },
        }
        for status, found in by_status.items()
    }


def media(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    """The argument ``responses=`` of a route that answers with a file."""
    schema = {"type": "string", "format": "binary", "description": description}
    return {200: {"description": description, "content": {media_type: {"schema": schema}}}}


_KINDS: Final[Mapping[type[Exception], Kind]] = {
    UnknownClip: Kind.CLIP_NOT_FOUND,
    UnknownCamera: Kind.CAMERA_NOT_FOUND,
    UnknownIncident: Kind.INCIDENT_NOT_FOUND,
    ReviewConflict: Kind.REVIEW_CONFLICT,
    UnknownKey: Kind.KEY_NOT_FOUND,
    UnknownDelivery: Kind.DELIVERY_NOT_FOUND,
    TooManyCameras: Kind.TOO_MANY_CAMERAS,
    StreamUrlError: Kind.STREAM_URL_REFUSED,
    CalibrationRunning: Kind.CALIBRATION_RUNNING,
    CalibrationRefused: Kind.CALIBRATION_REFUSED,
    IllegalClipTransition: Kind.CLIP_FINISHED,
    ClipRejected: Kind.CLIP_REJECTED,
    BodyTooLarge: Kind.BODY_TOO_LARGE,
    ClipTooLarge: Kind.CLIP_TOO_LARGE,
    MalformedUpload: Kind.MALFORMED_UPLOAD,
    UploadStalled: Kind.UPLOAD_STALLED,
    UploadIncomplete: Kind.UPLOAD_INCOMPLETE,
    StorageFull: Kind.STORAGE_FULL,
}
"""Which problem each exception of the service becomes; subclasses become the same."""


def problem_of(error: Exception) -> ProblemError:
    """The problem that an exception of the service becomes.

    Args:
        error: An instance of a class that the table of kinds names, or of a subclass.
    """
    kind = next(_KINDS[cls] for cls in type(error).__mro__ if cls in _KINDS)
    return ProblemError(kind, str(error), **_further_fields(error))


def database_problem(error: SQLAlchemyError) -> ProblemError | None:
    """The problem that a failure of the database becomes; None if it is a defect of the service.

    Args:
        error: What the database library raised.
    """
    if is_database_full(error):
        return ProblemError(Kind.STORAGE_FULL, "there is no room left in the database")
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout | DisconnectionError):
        detail = "the database cannot be reached, or does not answer"
        return ProblemError(Kind.DATABASE_UNAVAILABLE, detail, headers={"Retry-After": str(_RETRY_S)})
    return None


def install(app: FastAPI) -> None:
    """Answer every error of an application with a problem document."""
    for cls in _KINDS:
        app.add_exception_handler(cls, _on_known)
    app.exception_handler(SQLAlchemyError)(_on_database)
    app.exception_handler(OSError)(_on_system)
    app.exception_handler(ProblemError)(_on_problem)
    app.exception_handler(RequestValidationError)(_on_invalid)
    app.exception_handler(HTTPException)(_on_http)
    app.exception_handler(Exception)(_on_defect)


def queue_full(error: QueueFull, seconds: float) -> ProblemError:
    """The problem of a full queue.

    Args:
        error: The error of the queue.
        seconds: When there is likely to be room again.
    """
    return ProblemError(Kind.QUEUE_FULL, str(error), headers={"Retry-After": str(max(1, math.ceil(seconds)))})


def _further_fields(error: Exception) -> dict[str, Any]:
    match error:
        case StreamUrlError() | ClipRejected():
            return {"cause": error.cause}
        case ReviewConflict():
            return {"incident": error.incident.model_dump(mode="json")}
        case IllegalClipTransition():
            return {"state": error.current}
        case BodyTooLarge() | ClipTooLarge():
            return {"limit_bytes": error.limit}
        case _:
            return {}


async def _on_known(_request: Request, error: Exception) -> JSONResponse:
    return problem_response(problem_of(error))


async def _on_database(request: Request, error: SQLAlchemyError) -> JSONResponse:
    problem = database_problem(error)
    if problem is None:
        raise error
    log.warning("the database failed a request", path=request.url.path, reason=reason(error))
    return problem_response(problem)


async def _on_system(request: Request, error: OSError) -> JSONResponse:
    if not is_storage_full(error):
        raise error
    log.warning("the disk is full", path=request.url.path)
    return problem_response(ProblemError(Kind.STORAGE_FULL, "there is no room left on the disk"))


async def _on_problem(_request: Request, error: ProblemError) -> JSONResponse:
    return problem_response(error)


async def _on_invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
    found = [
        {"in": str(item["loc"][0]), "name": ".".join(map(str, item["loc"][1:])), "message": str(item["msg"])}
        for item in error.errors()
    ]
    detail = "; ".join(f"{item['name']}: {item['message']}" for item in found)
    return problem_response(ProblemError(Kind.INVALID_REQUEST, detail, errors=found))


async def _on_http(request: Request, error: HTTPException) -> JSONResponse:
    if error.status_code == 400:
        # FastAPI answers 400, not a validation error, when a body cannot even be decoded as JSON.
        found = [{"in": "body", "name": "", "message": error.detail}]
        return problem_response(ProblemError(Kind.INVALID_REQUEST, error.detail, errors=found))
    detail = f"{request.method} {request.url.path}: {error.detail}"
    kind = {404: Kind.NOT_FOUND, 405: Kind.METHOD_NOT_ALLOWED}.get(error.status_code)
    if kind is not None:
        return problem_response(ProblemError(kind, detail, headers=error.headers))
    title = HTTPStatus(error.status_code).phrase
    document = {"type": "about:blank", "title": title, "status": error.status_code, "detail": detail}
    return JSONResponse(document, error.status_code, headers=error.headers, media_type=MEDIA_TYPE)


async def _on_defect(_request: Request, _error: Exception) -> JSONResponse:
    # The server logs the traceback and closes the connection. This response does not pass through the middleware.
    headers = {**SAFE_HEADERS, "connection": "close"}
    return problem_response(ProblemError(Kind.INTERNAL_ERROR, "the service's log has the details", headers=headers))


def _example(kind: Kind) -> dict[str, Any]:
    return {"type": kind.type, "title": kind.title, "status": kind.status, "detail": kind.description}
