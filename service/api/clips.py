"""Routes for clips: post a video, follow its progress, fetch its scores."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from service.addresses.urls import StreamUrl
from service.api.dependencies import ClipId, Cursor, RuntimeDep
from service.api.documents import Clip, ClipAddress, ClipPage, ClipWithResult, clip_document
from service.api.middleware import MAX_SMALL_BODY
from service.api.problems import Kind, ProblemError, media, queue_full, responses
from service.api.sockets import UNKNOWN_CODE, send, send_text, stream
from service.clips.download import clip_address
from service.clips.messages import ClipEvent, ClipHello, ClipLagged, final_event
from service.clips.renditions import Rendition
from service.clips.store import QueueFull, UnknownClip
from service.clips.tables import ClipJob, ClipState
from service.clips.uploads import read_document
from service.documents.results import ClipResult
from service.notifications.callbacks import callback_address
from service.runtime import Runtime
from service.storage.folder import RESULT
from service.streams.bus import Subscription

router = APIRouter(prefix="/v1/clips", tags=["clips"])

MAX_WAIT_S: Final = 300.0

_CANCEL_WAIT_S: Final = 5.0
_RETRY_AFTER_S: Final = 5.0

_UPLOAD_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The video file: as the body itself, or as the field `file` of a form. Or its address, as JSON.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "The video file."},
                    },
                }
            },
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary", "description": "The video file."}
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/ClipAddress"}},
        },
    },
    "callbacks": {
        "finished": {
            "{$request.query.callback_url}": {
                "post": {
                    "summary": "A clip has finished",
                    "description": "Signed as events of the webhook are. Any answer but 2xx is tried again later.",
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ClipFinished"}}},
                    },
                    "responses": {"2XX": {"description": "Accepted."}},
                }
            }
        }
    },
}
_FINISHED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": ClipWithResult, "description": "Finished within `wait`; if it is done, `result` has the scores."}
}


@router.post(
    "",
    summary="Post a clip",
    status_code=202,
    response_model=ClipWithResult,
    response_description="Accepted; the header `Location` has the path of the clip.",
    openapi_extra=_UPLOAD_BODY,
    responses=_FINISHED
    | responses(
        Kind.MALFORMED_UPLOAD,
        Kind.UPLOAD_INCOMPLETE,
        Kind.CROSS_ORIGIN,
        Kind.UPLOAD_STALLED,
        Kind.CLIP_TOO_LARGE,
        Kind.BODY_TOO_LARGE,
        Kind.CLIP_REJECTED,
        Kind.STREAM_URL_REFUSED,
        Kind.QUEUE_FULL,
        Kind.MODELS_UNAVAILABLE,
        Kind.STORAGE_FULL,
    ),
)
async def post_clip(
    request: Request,
    runtime: RuntimeDep,
    wait: Annotated[
        float, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait for the result before answering.", examples=[30])
    ] = 0.0,
    keypoints: Annotated[bool, Query(description="Whether the result has the joints of every person.")] = True,
    callback_url: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=2048,
            description="Address that is posted to when the clip is done, failed or cancelled. It belongs into the "
            "document if the clip is posted as an address.",
            examples=["https://hooks.example/clips"],
        ),
    ] = None,
) -> Response:
    """Upload a video, or post its address. It waits in the queue until a worker is free to score it."""
    _require_models(runtime)
    posted = await _posted_address(request)
    if posted is not None and callback_url is not None:
        raise _invalid("query", "callback_url", "belongs into the JSON document, beside url")
    callback = await _allowed(runtime, posted.callback_url if posted else callback_url, callback_address)
    address = await _allowed(runtime, posted.url if posted else None, clip_address)
    try:
        if address is None:
            job = await runtime.clips.intake.accept(request, keypoints=keypoints, callback=callback)
        else:
            job = await runtime.clips.intake.accept_address(address, keypoints=keypoints, callback=callback)
            runtime.clips.fetcher.wake()
    except QueueFull as error:
        raise queue_full(error, runtime.clips.runner.seconds_per_clip() or _RETRY_AFTER_S) from error
    runtime.clips.runner.wake()
    if wait > 0:
        job = await _finished(runtime, job.id, wait)
    body = await run_in_threadpool(_with_result, runtime, job)
    status = 200 if job.state.finished else 202
    return Response(body, status, {"Location": f"{router.prefix}/{job.id}"}, media_type="application/json")


@router.get("", summary="List clips", responses=responses())
def list_clips(
    runtime: RuntimeDep,
    limit: Annotated[int, Query(ge=1, le=200, description="Most clips on the page.")] = 50,
    cursor: Cursor = None,
    state: Annotated[ClipState | None, Query(description="Only clips in this state.")] = None,
) -> ClipPage:
    """Clips, newest first. New clips do not shift the pages."""
    jobs, more = runtime.clips.store.page(limit=limit, before=int(cursor) if cursor else None, state=state)
    clips = [clip_document(job, runtime.clips.runner.running(job.id)) for job in jobs]
    return ClipPage(clips=clips, next=str(jobs[-1].sequence) if more else None)


@router.get("/{clip_id}", summary="Get a clip", response_model=ClipWithResult, responses=responses(Kind.CLIP_NOT_FOUND))
def get_clip(runtime: RuntimeDep, clip_id: ClipId) -> Response:
    """State and progress, and the scores when the clip is done."""
    body = _with_result(runtime, runtime.clips.store.get(clip_id))
    return Response(body, media_type="application/json")


@router.delete(
    "/{clip_id}",
    summary="Delete a clip",
    status_code=204,
    responses=responses(Kind.CROSS_ORIGIN, Kind.CLIP_NOT_FOUND),
)
def delete_clip(runtime: RuntimeDep, clip_id: ClipId) -> None:
    """Delete a clip, its files and its callback, in any state; fetching and scoring end at once."""
    runtime.clips.runner.delete(clip_id)


@router.post(
    "/{clip_id}/cancel",
    summary="Cancel a clip",
    responses=responses(Kind.CROSS_ORIGIN, Kind.CLIP_NOT_FOUND, Kind.CLIP_FINISHED),
)
async def cancel_clip(runtime: RuntimeDep, clip_id: ClipId) -> Clip:
    """Take a clip out of the queue, or stop fetching or scoring it; it stays in the list."""
    await run_in_threadpool(runtime.clips.runner.cancel, clip_id)
    job = await _finished(runtime, clip_id, _CANCEL_WAIT_S)
    return clip_document(job, runtime.clips.runner.running(clip_id))


@router.get(
    "/{clip_id}/result.json",
    summary="Scores as JSON",
    response_model=ClipResult,
    responses=responses(Kind.CLIP_NOT_FOUND, Kind.CLIP_NOT_DONE),
)
def get_result(runtime: RuntimeDep, clip_id: ClipId) -> FileResponse:
    """Only the scores, as `daflow score --json` writes them."""
    _require_done(runtime.clips.store.get(clip_id))
    return _download(runtime.folder.result(clip_id), "application/json", clip_id, RESULT)


@router.get(
    "/{clip_id}/scores.csv",
    summary="Scores as CSV",
    response_class=FileResponse,
    responses=media("text/csv", "One row per frame and person.")
    | responses(Kind.CLIP_NOT_FOUND, Kind.CLIP_NOT_DONE, Kind.STORAGE_FULL),
)
async def get_scores(runtime: RuntimeDep, clip_id: ClipId) -> FileResponse:
    """A table for spreadsheets with one row per frame and person."""
    return await _rendition(runtime, clip_id, Rendition.SCORES, "text/csv")


@router.get(
    "/{clip_id}/timeline.png",
    summary="Levels over time",
    response_class=FileResponse,
    responses=media("image/png", "Levels over time.")
    | responses(Kind.CLIP_NOT_FOUND, Kind.CLIP_NOT_DONE, Kind.STORAGE_FULL),
)
async def get_timeline(runtime: RuntimeDep, clip_id: ClipId) -> FileResponse:
    """A picture of the levels of the clip and of every person in it."""
    return await _rendition(runtime, clip_id, Rendition.TIMELINE, "image/png")


@router.get(
    "/{clip_id}/annotated.mp4",
    summary="The clip with skeletons and levels",
    response_class=FileResponse,
    responses=media("video/mp4", "H.264 video; byte ranges are served.")
    | responses(Kind.CLIP_NOT_FOUND, Kind.CLIP_NOT_DONE, Kind.CLIP_REJECTED, Kind.STORAGE_FULL),
)
async def get_annotated(runtime: RuntimeDep, clip_id: ClipId) -> FileResponse:
    """The clip with the skeleton and level of every person; encoded at the first request."""
    return await _rendition(runtime, clip_id, Rendition.ANNOTATED, "video/mp4")


@router.websocket("/{clip_id}/events")
async def clip_events(socket: WebSocket, runtime: RuntimeDep, clip_id: str) -> None:
    """Send progress and scores of a clip, from now until it has finished."""
    await socket.accept()
    # Subscribed before the state is read, so that no message is lost in between.
    with runtime.clips.events.subscribe(clip_id) as subscription:
        try:
            job = await run_in_threadpool(runtime.clips.store.get, clip_id)
        except UnknownClip:
            await socket.close(UNKNOWN_CODE, "there is no such clip")
            return
        await stream(socket, _send_events(socket, runtime, job, subscription))


async def _send_events(
    socket: WebSocket, runtime: Runtime, job: ClipJob, subscription: Subscription[str, ClipEvent]
) -> None:
    progress = runtime.clips.runner.running(job.id) or job
    await send(
        socket,
        ClipHello(clip=job.id, state=job.state, frames_done=progress.frames_done, frames_total=progress.frames_total),
    )
    final = final_event(job)
    if final is not None:
        await send(socket, final)
    else:
        while (posted := await subscription.receive()) is not None:
            if isinstance(posted.message, ClipLagged):
                runtime.metrics.dropped_events.inc(posted.message.dropped)
            await send_text(socket, posted.text)
    await socket.close()


async def _posted_address(request: Request) -> ClipAddress | None:
    """The address of a video in the body; None if the body is the video itself, and was not read."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return None
    body = await read_document(request, MAX_SMALL_BODY)
    try:
        return ClipAddress.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in found]) from error


async def _allowed(runtime: Runtime, url: str | None, read: Callable[[str], StreamUrl]) -> StreamUrl | None:
    """An address that a client gave, read and checked; raises `StreamUrlError`."""
    if url is None:
        return None
    address = read(url)
    await run_in_threadpool(runtime.policy.check, address)
    return address


def _invalid(where: str, name: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": (where, name), "msg": message, "type": "value_error"}])


async def _finished(runtime: Runtime, clip_id: str, seconds: float) -> ClipJob:
    """The clip when it has finished, or as it is when the time is over."""
    with runtime.clips.events.subscribe(clip_id) as subscription:
        job = await run_in_threadpool(runtime.clips.store.get, clip_id)
        if not job.state.finished:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    async for _ in subscription:
                        pass
            job = await run_in_threadpool(runtime.clips.store.get, clip_id)
    return job


def _with_result(runtime: Runtime, job: ClipJob) -> bytes:
    # The result may have many megabytes and is JSON already, so the file is inserted as it is.
    document = clip_document(job, runtime.clips.runner.running(job.id)).model_dump_json().encode()
    if job.state is not ClipState.DONE:
        return document
    try:
        result = runtime.folder.result(job.id).read_bytes()
    except FileNotFoundError as error:
        raise UnknownClip(job.id) from error
    return document[:-1] + b',"result":' + result + b"}"


def _require_models(runtime: Runtime) -> None:
    problem = runtime.models.problem
    if problem is not None:
        runtime.metrics.rejected.labels(Kind.MODELS_UNAVAILABLE.slug).inc()
        raise ProblemError(Kind.MODELS_UNAVAILABLE, str(problem), setting=problem.setting)


def _require_done(job: ClipJob) -> None:
    if job.state is not ClipState.DONE:
        raise ProblemError(Kind.CLIP_NOT_DONE, f"clip {job.id} is {job.state}", state=job.state)


async def _rendition(runtime: Runtime, clip_id: str, rendition: Rendition, media_type: str) -> FileResponse:
    _require_done(await run_in_threadpool(runtime.clips.store.get, clip_id))
    try:
        path = await runtime.clips.renditions.get(clip_id, rendition)
    except FileNotFoundError as error:
        raise UnknownClip(clip_id) from error
    return _download(path, media_type, clip_id, rendition)


def _download(path: Path, media_type: str, clip_id: str, name: str) -> FileResponse:
    # The clip may have been deleted since it was looked up.
    if not path.exists():
        raise UnknownClip(clip_id)
    return FileResponse(path, media_type=media_type, filename=f"{clip_id}-{name}", content_disposition_type="inline")
