"""Routes for cameras: add, change and delete them, see their state and pictures, follow scores, send skeletons."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from service.api.dependencies import CameraId, NewCameraId, PrincipalDep, RuntimeDep
from service.api.documents import CameraList, PicturesRemoved
from service.api.problems import SMALL_BODY, Kind, ProblemError, media, responses
from service.api.sockets import UNKNOWN_CODE, either, send, send_text, stream
from service.cameras.camera import Camera, Latest
from service.cameras.config import MOST_FPS, CameraConfig, CameraPatch
from service.cameras.manager import NotASkeletonFeed
from service.cameras.preview import MOST_INCIDENTS, PreviewRequest, RulesPreview, preview
from service.cameras.skeleton_feed import SkeletonFeed
from service.cameras.status import CameraStatus
from service.cameras.store import UnknownCamera
from service.documents.messages import Heartbeat, Hello, Lagged, Score
from service.documents.skeletons import BadSkeletons, FeedAck, FeedError, FeedHello, parse_frame
from service.documents.time_zones import time_zone
from service.drawing.live_view import Ground
from service.runtime import Runtime
from service.streams.bus import Subscription

router = APIRouter(prefix="/v1/cameras", tags=["cameras"])

NOT_A_FEED_CODE: Final = 4409
"""WebSocket close code for skeletons sent to a camera that delivers pictures, after HTTP's 409."""

BAD_SKELETONS_CODE: Final = 4422
"""WebSocket close code for a device whose messages are all refused, after HTTP's 422."""

MAX_REFUSED: Final = 10
"""Messages of a feed that may be refused in a row before the connection closes."""

_ACK_S: Final = 1.0
_BOUNDARY: Final = "frame"
_UNKNOWN: Final = "there is no such camera"
_REMOVED: Final = "the camera was removed"

_BackgroundQuery = Annotated[
    Ground,
    Query(
        description="`picture` shows the picture; `blurred` blurs every detected person in it; `none` shows only "
        "skeletons on a "
        "plain background."
    ),
]

_ADDED: Final[dict[int | str, dict[str, Any]]] = {
    201: {"model": CameraStatus, "description": "Added; the header `Location` has its path."}
}


@router.put(
    "/{camera_id}",
    summary="Add or replace a camera",
    responses=_ADDED | responses(*SMALL_BODY, Kind.CROSS_ORIGIN, Kind.TOO_MANY_CAMERAS, Kind.STREAM_URL_REFUSED),
)
def put_camera(runtime: RuntimeDep, camera_id: NewCameraId, config: CameraConfig, response: Response) -> CameraStatus:
    """Add a camera, which is watched from now on and after every restart. Repeating the request changes nothing.

    The answer does not wait for the camera: its `state` shows whether it is connected.
    """
    if runtime.cameras.manager.put(camera_id, config):
        response.status_code = 201
        response.headers["Location"] = f"{router.prefix}/{camera_id}"
    return runtime.cameras.manager.status(camera_id)


@router.get("", summary="List cameras", responses=responses())
def list_cameras(runtime: RuntimeDep, principal: PrincipalDep) -> CameraList:
    """All cameras that the key may see, with their status, in the order of their ids."""
    return CameraList(cameras=[status for status in runtime.cameras.manager.statuses() if principal.sees(status.id)])


@router.get("/{camera_id}", summary="Get a camera", responses=responses(Kind.CAMERA_NOT_FOUND))
def get_camera(runtime: RuntimeDep, camera_id: CameraId) -> CameraStatus:
    """Configuration, state, frame rates, dropped frames by reason, age of the last score. Credentials are hidden."""
    return runtime.cameras.manager.status(camera_id)


@router.patch(
    "/{camera_id}",
    summary="Change a camera",
    responses=responses(*SMALL_BODY, Kind.CROSS_ORIGIN, Kind.CAMERA_NOT_FOUND, Kind.STREAM_URL_REFUSED),
)
def patch_camera(runtime: RuntimeDep, camera_id: CameraId, patch: CameraPatch) -> CameraStatus:
    """Change some fields and keep the others, including credentials in the URL."""
    try:
        runtime.cameras.manager.patch(camera_id, patch)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in found]) from error
    return runtime.cameras.manager.status(camera_id)


@router.delete(
    "/{camera_id}",
    summary="Delete a camera",
    status_code=204,
    responses=responses(Kind.CROSS_ORIGIN, Kind.CAMERA_NOT_FOUND),
)
def delete_camera(runtime: RuntimeDep, camera_id: CameraId) -> None:
    """Stop watching a camera, in any state, and delete its calibration; its incidents stay."""
    runtime.cameras.manager.delete(camera_id)
    runtime.cameras.live_view.forget(camera_id)


@router.delete(
    "/{camera_id}/pictures",
    summary="Remove stored pictures",
    responses=responses(Kind.CROSS_ORIGIN, Kind.CAMERA_NOT_FOUND),
)
def delete_pictures(runtime: RuntimeDep, camera_id: CameraId) -> PicturesRemoved:
    """Remove every stored picture of a camera that was taken until now; this cannot be undone.

    Snapshots and clips of its incidents show only skeletons from then on, and `pictures_removed_at` of each incident
    says so. An incident that is being recorded goes on with skeletons only. Incidents that start later are kept with
    pictures, unless the camera has `"picture": false`. A camera that was removed may still have incidents with
    pictures. Repeating the request changes nothing.
    """
    try:
        runtime.cameras.store.check(camera_id)
    except UnknownCamera:
        if not runtime.streams.incidents.ids(camera_id):
            raise
    removed = runtime.cameras.pictures.remove(camera_id)
    return PicturesRemoved(incidents=removed.incidents, files=removed.files, size_bytes=removed.bytes)


@router.post(
    "/{camera_id}/rules/preview",
    summary="Try rules on past incidents",
    responses=responses(*SMALL_BODY, Kind.CROSS_ORIGIN, Kind.CAMERA_NOT_FOUND),
)
def preview_rules(runtime: RuntimeDep, camera_id: CameraId, asked: PreviewRequest) -> RulesPreview:
    """What these rules would have made of the incidents of the last hours. Nothing changes."""
    camera = runtime.cameras.manager.camera(camera_id)
    until = datetime.now(UTC)
    since = until - timedelta(hours=asked.hours)
    incidents, more = runtime.streams.incidents.page(limit=MOST_INCIDENTS, camera=camera_id, since=since)
    thresholds = camera.status().thresholds
    return preview(
        incidents,
        asked.rules,
        camera.config,
        camera.site if asked.timezone is None else time_zone(asked.timezone),
        1.0 if thresholds is None else thresholds.alert,
        since=since,
        until=until,
        complete=more is None,
    )


@router.get(
    "/{camera_id}/snapshot.jpg",
    summary="Get a picture",
    response_class=Response,
    responses=media("image/jpeg", "The newest frame that was scored, with skeletons and level.")
    | responses(Kind.CAMERA_NOT_FOUND, Kind.NO_PICTURE),
)
def get_snapshot(runtime: RuntimeDep, camera_id: CameraId, background: _BackgroundQuery = "picture") -> Response:
    """The newest frame with the skeleton of every person; the limbs that raise the score are highlighted."""
    latest = runtime.cameras.manager.latest(camera_id)
    if latest is None:
        state = runtime.cameras.manager.status(camera_id).state
        raise ProblemError(
            Kind.NO_PICTURE, f"camera {camera_id} is {state} and has delivered no picture yet", state=state
        )
    jpeg = runtime.cameras.live_view.jpeg(camera_id, latest, background)
    return Response(jpeg, media_type="image/jpeg", headers={"cache-control": "no-store"})


@router.get(
    "/{camera_id}/live.mjpg",
    summary="Follow the pictures",
    response_class=StreamingResponse,
    responses=media(f"multipart/x-mixed-replace; boundary={_BOUNDARY}", "JPEG pictures, one after the other.")
    | responses(Kind.CAMERA_NOT_FOUND),
)
def get_live(
    runtime: RuntimeDep,
    camera_id: CameraId,
    background: _BackgroundQuery = "picture",
    fps: Annotated[float, Query(gt=0, le=MOST_FPS, description="Most pictures per second.", examples=[5])] = 15.0,
) -> StreamingResponse:
    """The newest frames with skeletons, in a form that an `<img>` can show; ends when the camera is deleted.

    A client that reads slowly gets fewer pictures, never older ones.
    """
    runtime.cameras.manager.latest(camera_id)
    pictures = _pictures(runtime, camera_id, background, period=1 / fps)
    media_type = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
    return StreamingResponse(pictures, media_type=media_type, headers={"cache-control": "no-store"})


@router.websocket("/{camera_id}/scores")
async def camera_scores(socket: WebSocket, runtime: RuntimeDep, camera_id: str) -> None:
    """Send the score of every processed frame, until the camera is deleted."""
    await socket.accept()
    # Subscribed before the camera is looked up, so that a deletion in between is noticed.
    with runtime.streams.scores.subscribe(camera_id) as subscription:
        try:
            await run_in_threadpool(runtime.check_camera, camera_id)
        except UnknownCamera:
            await socket.close(UNKNOWN_CODE, _UNKNOWN)
            return
        await stream(socket, _send_scores(socket, runtime, subscription))


@router.websocket("/{camera_id}/skeletons")
async def feed_skeletons(socket: WebSocket, runtime: RuntimeDep, camera_id: str) -> None:
    """Accept the skeletons that a device detects; each message is one frame."""
    await socket.accept()
    try:
        feed = runtime.cameras.manager.feed(camera_id)
    except UnknownCamera:
        await socket.close(UNKNOWN_CODE, _UNKNOWN)
        return
    except NotASkeletonFeed:
        await socket.close(NOT_A_FEED_CODE, "the camera delivers pictures itself")
        return
    await _Intake(socket, runtime, camera_id, feed).run()


async def _send_scores(socket: WebSocket, runtime: Runtime, subscription: Subscription[str, Score | Lagged]) -> None:
    heartbeat_s = runtime.settings.heartbeat_s
    await send(socket, Hello(cameras=[subscription.key], heartbeat_s=heartbeat_s))
    while True:
        try:
            async with asyncio.timeout(heartbeat_s):
                posted = await subscription.receive()
        except TimeoutError:
            await send(socket, Heartbeat(at=datetime.now(UTC)))
            continue
        if posted is None:
            await socket.close(reason=_REMOVED)
            return
        if isinstance(posted.message, Lagged):
            runtime.metrics.dropped_scores.inc(posted.message.dropped)
        await send_text(socket, posted.text)


class _Intake:
    """The connection of one device that sends skeletons."""

    def __init__(self, socket: WebSocket, runtime: Runtime, camera_id: str, feed: SkeletonFeed) -> None:
        self._socket = socket
        self._runtime = runtime
        self._camera_id = camera_id
        self._feed = feed
        self._connection = 0
        self._accepted = 0
        self._refused = 0
        self._surplus = 0
        self._refused_in_a_row = 0

    async def run(self) -> None:
        """Greet the device, and accept its messages until it leaves or another device connects."""
        self._connection = self._feed.connect()
        await either(self._greet_and_acknowledge(), self._take())

    async def _take(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if self._replaced():
                await self._socket.close(reason="the camera was changed or removed, or another device has connected")
                return
            try:
                frame = parse_frame(message.get("text") or message.get("bytes") or "")
                self._feed.push(frame)
            except BadSkeletons as error:
                self._refused += 1
                self._refused_in_a_row += 1
                await send(self._socket, FeedError(detail=str(error)))
                if self._refused_in_a_row >= MAX_REFUSED:
                    await self._socket.close(BAD_SKELETONS_CODE, f"{MAX_REFUSED} messages in a row were refused")
                    return
            else:
                self._accepted += 1
                self._surplus += frame.surplus
                self._refused_in_a_row = 0

    async def _greet_and_acknowledge(self) -> None:
        await send(self._socket, FeedHello(camera=self._camera_id))
        sent = (0, 0)
        while True:
            await asyncio.sleep(_ACK_S)
            counts = (self._accepted, self._refused)
            if counts != sent:
                sent = counts
                await send(self._socket, FeedAck(accepted=self._accepted, refused=self._refused, surplus=self._surplus))

    def _replaced(self) -> bool:
        try:
            feed = self._runtime.cameras.manager.feed(self._camera_id)
        except (UnknownCamera, NotASkeletonFeed):
            return True
        return feed is not self._feed or feed.connection != self._connection


async def _pictures(runtime: Runtime, camera_id: str, background: Ground, *, period: float) -> AsyncIterator[bytes]:
    heartbeat_s = runtime.settings.heartbeat_s
    shown, shown_at = None, 0.0
    # A boundary follows each picture at once, because browsers wait for it before they show the picture.
    boundary = f"--{_BOUNDARY}\r\n".encode()
    # Chromium counts a page as loading until the second picture begins. A camera may have none for hours.
    copies = 2
    yield boundary
    while True:
        began = time.monotonic()
        try:
            camera = runtime.cameras.manager.camera(camera_id)
        except UnknownCamera:
            return
        latest = camera.latest
        # Sending the same picture again from time to time shows whether the client is still there.
        if latest is not None and (latest is not shown or began - shown_at >= heartbeat_s):
            jpeg = await run_in_threadpool(runtime.cameras.live_view.jpeg, camera_id, latest, background)
            yield copies * (
                b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n%b" % (len(jpeg), jpeg, boundary)
            )
            copies, shown, shown_at = 1, latest, time.monotonic()
        await asyncio.sleep(max(0.0, period - (time.monotonic() - began)))
        await _change(camera, latest, heartbeat_s)


async def _change(camera: Camera, seen: Latest | None, limit_s: float) -> None:
    """Wait until a camera has another picture than the one seen, or has stopped, or some seconds are over."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        # A loop that is closed has no client left.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(changed.set)

    # Watched before the picture is compared, so that no change is missed in between.
    with camera.watched(wake):
        if camera.latest is seen:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await changed.wait()
