"""Routes for incidents: history, evidence, feedback of operators, and live streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Header, Query, WebSocket
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import AfterValidator

from model.behaviours import Kind as IncidentKind
from service.access.policy import Principal
from service.api.dependencies import Background, Cursor, IncidentId, PrincipalDep, RuntimeDep
from service.api.documents import (
    FalseAlarm,
    IncidentChange,
    IncidentForReader,
    IncidentOutcome,
    IncidentOutcomes,
    IncidentPage,
    IncidentsChange,
    ReadIncidents,
    SeenIncident,
    SeenIncidents,
    SeenRevision,
    UnreadCount,
)
from service.api.problems import SMALL_BODY, Kind, ProblemError, media, responses
from service.api.sockets import send, send_text, stream
from service.documents.base import Severity
from service.documents.messages import Event, Heartbeat, Hello, IncidentInfo, Lagged
from service.documents.reviews import LONGEST_NAME, ReviewList, Verdict
from service.documents.time_zones import time_zone
from service.incidents.report import MOST_DAYS, Known, Report, days_of, report_of
from service.incidents.reviews import Outcome, ReviewConflict, Seen
from service.runtime import Runtime
from service.storage.evidence import EvidenceKind

router = APIRouter(prefix="/v1/incidents", tags=["incidents"])

_EARLIEST: Final = date(2000, 1, 1)
_LATEST: Final = date(2999, 1, 1)
"""First days of reports."""

_RETRY_MS: Final = 2000
_LARGEST_ID: Final = 2**63 - 1


def _utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is outside the range of dates") from error


_Moment = Annotated[datetime, AfterValidator(_utc)]
_Cameras = Annotated[
    list[str] | None,
    Query(description="Only events of this camera; may be given several times. The camera may be added later."),
]
_LastEventId = Annotated[
    int | None,
    Query(ge=0, le=_LARGEST_ID, description="Id of the last event that the client has; the stream begins after it."),
]
_BackgroundQuery = Annotated[
    Background | None,
    Query(
        description="`picture` shows the picture; `none` shows only skeletons on a plain background. The default is "
        "`picture` if the picture was kept and not removed, else `none`."
    ),
]


@router.get("", summary="List incidents", responses=responses())
def list_incidents(
    runtime: RuntimeDep,
    principal: PrincipalDep,
    limit: Annotated[int, Query(ge=1, le=200, description="Most incidents on the page.")] = 50,
    cursor: Cursor = None,
    camera: Annotated[str | None, Query(description="Only incidents of this camera.")] = None,
    severity: Annotated[Severity | None, Query(description="Only incidents of this severity.")] = None,
    kind: Annotated[
        IncidentKind | None,
        Query(description="Only incidents in which this kind was seen, whether it gives the title or not."),
    ] = None,
    open: Annotated[
        bool | None, Query(description="`true`: only open incidents; `false`: only those that have ended.")
    ] = None,
    since: Annotated[
        _Moment | None,
        Query(description="Only incidents that started at this time or later; UTC if it has no time zone."),
    ] = None,
    until: Annotated[
        _Moment | None, Query(description="Only incidents that started before this time; UTC if it has no time zone.")
    ] = None,
    verdict: Annotated[
        Verdict | Literal["none"] | None, Query(description="Only incidents with this verdict; `none`: without one.")
    ] = None,
    assigned_to: Annotated[
        str | None, Query(max_length=LONGEST_NAME, description="Only incidents that are assigned to this person.")
    ] = None,
    acknowledged: Annotated[
        bool | None, Query(description="`true`: only acknowledged incidents; `false`: only the others.")
    ] = None,
    unread: Annotated[
        bool | None, Query(description="`true`: only incidents that the key has not read; `false`: only the others.")
    ] = None,
) -> IncidentPage:
    """Incidents of the cameras that the key may see, newest first. New incidents do not shift the pages."""
    found, before = runtime.streams.incidents.page(
        limit=limit,
        before=int(cursor) if cursor else None,
        camera=camera,
        severity=severity,
        kind=kind,
        open=open,
        since=since,
        until=until,
        cameras=principal.cameras,
        verdict=verdict,
        assigned_to=assigned_to,
        acknowledged=acknowledged,
        unread=None if unread is None else (principal.key_id, unread),
    )
    rows = _for_reader(runtime, principal, found)
    return IncidentPage(incidents=rows, next=None if before is None else str(before))


@router.patch(
    "", summary="Change the reviews of several incidents", responses=responses(*SMALL_BODY, Kind.CROSS_ORIGIN)
)
def change_incidents(runtime: RuntimeDep, principal: PrincipalDep, wanted: IncidentsChange) -> IncidentOutcomes:
    """Change the reviews of up to 200 incidents alike, such as their verdict.

    A conflict or an unknown id costs only itself. Incidents of cameras that the key may not see look unknown.
    """
    return _outcomes(wanted.incidents, runtime.streams.log.review_all(_seen(wanted), wanted.change, principal))


@router.post(
    "/undo", summary="Take back changes of several reviews", responses=responses(*SMALL_BODY, Kind.CROSS_ORIGIN)
)
def undo_reviews(runtime: RuntimeDep, principal: PrincipalDep, wanted: SeenIncidents) -> IncidentOutcomes:
    """Take back the newest change of the reviews of up to 200 incidents, each only if nobody has changed it since."""
    return _outcomes(wanted.incidents, runtime.streams.log.review_all(_seen(wanted), None, principal))


@router.post(
    "/read", summary="Mark incidents as read", status_code=204, responses=responses(*SMALL_BODY, Kind.CROSS_ORIGIN)
)
def mark_incidents_read(runtime: RuntimeDep, principal: PrincipalDep, wanted: ReadIncidents) -> None:
    """Say which incidents the key has read. Others who use the same key have then read them, too."""
    runtime.streams.incidents.reviews.read(wanted.ids, principal, wanted.read)


@router.get("/unread", summary="Count unread incidents", responses=responses())
def count_unread_incidents(runtime: RuntimeDep, principal: PrincipalDep) -> UnreadCount:
    """How many incidents the key has not read, of those that began after it was made."""
    return UnreadCount(unread=runtime.streams.incidents.reviews.unread(principal))


@router.get("/report", summary="Report of a day or a week", responses=responses())
def get_report(
    runtime: RuntimeDep,
    principal: PrincipalDep,
    day: Annotated[
        date | None,
        Query(ge=_EARLIEST, le=_LATEST, description="The first day, by the clock of the site; yesterday if left out."),
    ] = None,
    days: Annotated[int, Query(ge=1, le=MOST_DAYS, description="How many days.", examples=[7])] = 1,
) -> Report:
    """Incidents by kind and severity, what was done about them, and how long each camera was lost or could not see.

    The clock is that of `DAFLOW_TIMEZONE`. A day that is not over counts until now. What is older than
    `DAFLOW_INCIDENT_RETENTION_HOURS` is forgotten.
    """
    zone, now = runtime.settings.timezone, datetime.now(UTC)
    site = time_zone(zone)
    first = day or now.astimezone(site).date() - timedelta(days=1)
    since, until = (min(moment, now) for moment in days_of(first, days, site))
    history = runtime.streams.history
    cameras = {
        camera.id: Known(camera.config.name, camera.budget, camera.validity)
        for camera in runtime.cameras.manager.cameras()
        if principal.sees(camera.id)
    }
    return report_of(
        history.incidents(since, until, principal.cameras),
        history.events(since, until, principal.cameras),
        cameras,
        since=since,
        until=until,
        timezone=zone,
    )


@router.websocket("")
async def incident_events(
    socket: WebSocket,
    runtime: RuntimeDep,
    principal: PrincipalDep,
    camera: _Cameras = None,
    last_event_id: _LastEventId = None,
) -> None:
    """Send every event, from now on or from where the client left off."""
    wanted = _visible(principal, camera)
    await socket.accept()
    await stream(socket, _send_events(socket, runtime, wanted, last_event_id))


@dataclass(frozen=True, slots=True)
class _Following:
    """Messages of one stream of server-sent events.

    Attributes:
        hello: The first message.
        messages: The following ones.
    """

    hello: Hello
    messages: AsyncGenerator[Event | Heartbeat | Lagged, None]


async def _following(
    runtime: RuntimeDep,
    principal: PrincipalDep,
    camera: _Cameras = None,
    last_event_id: _LastEventId = None,
    resume_after: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            pattern=r"^\d{0,18}$",
            description="Id of the last event; a browser sends it when it reconnects.",
        ),
    ] = None,
) -> AsyncIterator[_Following]:
    """Follow events until the response ends; a dependency, since FastAPI does not close a generator that it streams."""
    # A browser that reconnects repeats the original URL, so its header is newer than `last_event_id` in the URL.
    after = _start(runtime, int(resume_after) if resume_after else last_event_id)
    wanted = _visible(principal, camera)
    async with aclosing(runtime.streams.feed.follow(after, _filter(wanted))) as messages:
        yield _Following(await _hello(runtime, wanted, after), messages)


@router.get(
    "/stream",
    summary="Follow incidents",
    response_class=EventSourceResponse,
    responses=responses(),
)
async def stream_incidents(
    runtime: RuntimeDep, following: Annotated[_Following, Depends(_following)]
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: incidents that start, change and end, and cameras that change their state.

    The messages are those of the WebSocket `/v1/incidents`. The name of an event is the `type` of its message, and its
    `id` is the id of the event in the log.
    """
    hello = following.hello
    resume = str(hello.last_event_id)
    yield ServerSentEvent(raw_data=hello.model_dump_json(), event=hello.type, id=resume, retry=_RETRY_MS)
    async for message in following.messages:
        number = None if isinstance(message, Heartbeat | Lagged) else str(message.id)
        yield ServerSentEvent(raw_data=_text(runtime, message), event=message.type, id=number)


@router.get("/{incident_id}", summary="Get an incident", responses=responses(Kind.INCIDENT_NOT_FOUND))
def get_incident(runtime: RuntimeDep, principal: PrincipalDep, incident_id: IncidentId) -> IncidentForReader:
    """An incident in its current state. To get it does not mark it as read."""
    (incident,) = _for_reader(runtime, principal, [runtime.streams.incidents.get(incident_id)])
    return incident


@router.patch(
    "/{incident_id}",
    summary="Change the review of an incident",
    responses=responses(*SMALL_BODY, Kind.CROSS_ORIGIN, Kind.INCIDENT_NOT_FOUND, Kind.REVIEW_CONFLICT),
)
def change_incident(
    runtime: RuntimeDep, principal: PrincipalDep, incident_id: IncidentId, wanted: IncidentChange
) -> IncidentInfo:
    """Give a verdict, correct the kind, assign the incident, write a note or acknowledge it.

    Only the fields that are sent change. If somebody else has changed the review since `revision`, nothing changes.
    """
    return runtime.streams.log.review(Seen(incident_id, wanted.revision), wanted, principal)


@router.post(
    "/{incident_id}/undo",
    summary="Take back a change of a review",
    responses=responses(*SMALL_BODY, Kind.CROSS_ORIGIN, Kind.INCIDENT_NOT_FOUND, Kind.REVIEW_CONFLICT),
)
def undo_review(
    runtime: RuntimeDep, principal: PrincipalDep, incident_id: IncidentId, wanted: SeenRevision
) -> IncidentInfo:
    """Take back the newest change of a review, whoever made it; that is a change, too, and can be taken back."""
    return runtime.streams.log.review(Seen(incident_id, wanted.revision), None, principal)


@router.get("/{incident_id}/reviews", summary="List changes of a review", responses=responses(Kind.INCIDENT_NOT_FOUND))
def list_reviews(runtime: RuntimeDep, incident_id: IncidentId) -> ReviewList:
    """Who changed what in the review of an incident, and when; the newest 200 changes are kept."""
    return ReviewList(reviews=runtime.streams.incidents.reviews.history(incident_id))


@router.get(
    "/{incident_id}/snapshot.jpg",
    summary="Picture of the peak",
    response_class=FileResponse,
    responses=media("image/jpeg", "The frame with the highest level, with skeletons.")
    | responses(Kind.INCIDENT_NOT_FOUND, Kind.EVIDENCE_MISSING),
)
def get_incident_snapshot(
    runtime: RuntimeDep, incident_id: IncidentId, background: _BackgroundQuery = None
) -> FileResponse:
    """The frame with the highest level; while the incident is open, the highest so far."""
    return _evidence(runtime, incident_id, "snapshot", background)


@router.get(
    "/{incident_id}/clip.mp4",
    summary="Video of an incident",
    response_class=FileResponse,
    responses=media("video/mp4", "H.264 video with skeletons; byte ranges are served.")
    | responses(Kind.INCIDENT_NOT_FOUND, Kind.EVIDENCE_MISSING),
)
def get_incident_clip(
    runtime: RuntimeDep, incident_id: IncidentId, background: _BackgroundQuery = None
) -> FileResponse:
    """Video from some seconds before the incident to some seconds after it."""
    return _evidence(runtime, incident_id, "clip", background)


@router.post(
    "/{incident_id}/acknowledge",
    summary="Acknowledge an incident",
    responses=responses(Kind.CROSS_ORIGIN, Kind.INCIDENT_NOT_FOUND),
)
def acknowledge_incident(runtime: RuntimeDep, principal: PrincipalDep, incident_id: IncidentId) -> IncidentInfo:
    """Record that somebody has dealt with the incident; only the first time counts."""
    return runtime.streams.log.acknowledge(incident_id, principal)


@router.post(
    "/{incident_id}/false-alarm",
    summary="Mark an incident as a false alarm",
    responses=responses(*SMALL_BODY, Kind.CROSS_ORIGIN, Kind.INCIDENT_NOT_FOUND),
)
def mark_false_alarm(
    runtime: RuntimeDep, principal: PrincipalDep, incident_id: IncidentId, judgement: FalseAlarm | None = None
) -> IncidentInfo:
    """Give the verdict `false_alarm`, from which the next calibration of the camera learns, or take it back.

    It replaces another verdict, whoever gave it; `PATCH /v1/incidents/{incident_id}` does not.
    """
    return runtime.streams.log.mark_false_alarm(incident_id, judgement is None or judgement.false_alarm, principal)


async def _send_events(socket: WebSocket, runtime: Runtime, camera: list[str] | None, known: int | None) -> None:
    after = _start(runtime, known)
    await send(socket, await _hello(runtime, camera, after))
    async with aclosing(runtime.streams.feed.follow(after, _filter(camera))) as messages:
        async for message in messages:
            await send_text(socket, _text(runtime, message))


def _start(runtime: Runtime, known: int | None) -> int:
    """Id of the event after which a stream begins; the first message has it, too."""
    return runtime.streams.feed.newest_id if known is None else known


async def _hello(runtime: Runtime, camera: list[str] | None, after: int) -> Hello:
    begin = await runtime.streams.feed.start(after)
    return Hello(cameras=camera or None, last_event_id=begin, heartbeat_s=runtime.streams.feed.heartbeat_s)


def _visible(principal: Principal, camera: list[str] | None) -> list[str] | None:
    """Those of the requested cameras that the key may see; None for all.

    Raises:
        ProblemError: The key may see none of them.
    """
    if principal.cameras is None:
        return camera
    wanted = sorted(principal.cameras & set(camera)) if camera else sorted(principal.cameras)
    if not wanted:
        raise ProblemError(Kind.FORBIDDEN, f"the key {principal.name!r} is not for these cameras")
    return wanted


def _filter(camera: list[str] | None) -> frozenset[str] | None:
    return frozenset(camera) if camera else None


def _text(runtime: Runtime, message: Event | Heartbeat | Lagged) -> str:
    if isinstance(message, Heartbeat | Lagged):
        return message.model_dump_json()
    return runtime.streams.feed.text(message)


def _for_reader(runtime: Runtime, principal: Principal, found: Sequence[IncidentInfo]) -> list[IncidentForReader]:
    """Incidents as the key that asks sees them."""
    unread = runtime.streams.incidents.reviews.unread_among([one.id for one in found], principal)
    return [IncidentForReader(**dict(one), unread=one.id in unread) for one in found]


def _seen(wanted: IncidentsChange | SeenIncidents) -> list[Seen]:
    return [Seen(one.id, one.revision) for one in wanted.incidents]


def _outcomes(wanted: Sequence[SeenIncident], outcomes: Sequence[Outcome]) -> IncidentOutcomes:
    return IncidentOutcomes(results=[_outcome(one.id, became) for one, became in zip(wanted, outcomes, strict=True)])


def _outcome(incident_id: str, became: Outcome) -> IncidentOutcome:
    if isinstance(became, IncidentInfo):
        return IncidentOutcome(id=incident_id, done=True, problem=None, detail=None, incident=became)
    kind = Kind.REVIEW_CONFLICT if isinstance(became, ReviewConflict) else Kind.INCIDENT_NOT_FOUND
    now = became.incident if isinstance(became, ReviewConflict) else None
    return IncidentOutcome(id=incident_id, done=False, problem=kind.type, detail=str(became), incident=now)


def _evidence(runtime: Runtime, incident_id: str, kind: EvidenceKind, background: Background | None) -> FileResponse:
    incident = runtime.streams.incidents.get(incident_id)
    removed = incident.pictures_removed_at
    shown = removed is None and runtime.cameras.store.shows_pictures(incident.camera)
    wanted: tuple[bool, ...] = (True, False) if background is None else (background == "picture",)
    if not shown:
        # The incident may be older than the wish that pictures are not shown, and files are removed after it is noted.
        wanted = tuple(with_picture for with_picture in wanted if not with_picture)
    for with_picture in wanted:
        path = runtime.folder.evidence.file(incident_id, kind, background=with_picture)
        if path.exists():
            name = f"{incident.camera}-{incident_id}-{path.name}"
            headers = {"cache-control": "no-cache"}
            return FileResponse(path, filename=name, content_disposition_type="inline", headers=headers)
    state = incident.snapshot if kind == "snapshot" else incident.clip
    why = f": {incident.evidence_problem}" if incident.evidence_problem else ""
    detail = f"the {kind} of incident {incident_id} is {state}{why}"
    if background == "picture" and removed is not None:
        when = f"{removed:%Y-%m-%d %H:%M} UTC"
        detail = f"the pictures of incident {incident_id} were removed at {when}; request background=none"
    elif not shown and background == "picture":
        detail = f"pictures of camera {incident.camera} are not shown; request background=none"
    elif state == "ready":
        detail = f"incident {incident_id} has only a {kind} with skeletons; request it with background=none"
    raise ProblemError(Kind.EVIDENCE_MISSING, detail, state=state)
