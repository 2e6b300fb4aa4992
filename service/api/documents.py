"""JSON documents of the routes; scores are in `documents.results`, live messages in `documents.messages`."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from service.cameras.status import CameraStatus
from service.clips.messages import Failure, failure
from service.clips.tables import Callback, CallbackState, ClipJob, ClipState
from service.clips.worker import RunningClip
from service.documents.base import Document
from service.documents.messages import Event, IncidentInfo, IncidentName
from service.documents.results import ClipResult, ModelInfo, Threshold
from service.documents.reviews import MOST_AT_ONCE, ReviewChange
from service.notifications.store import Delivery, DeliveryState


class ClipAddress(Document):
    """A video on the web, which the service fetches."""

    url: str = Field(
        min_length=1,
        max_length=2048,
        description="Address of the video, `https://` or `http://`; a private or local one must be listed in "
        "`DAFLOW_ALLOWED_STREAM_CIDRS`.",
        examples=["https://videos.example/entrance.mp4"],
    )
    callback_url: str | None = Field(
        default=None,
        min_length=1,
        max_length=2048,
        description="Address that is posted to when the clip is done, failed or cancelled; the same rules apply.",
        examples=["https://hooks.example/clips"],
    )


class CallbackInfo(Document):
    """What became of the callback of a clip."""

    url: str = Field(description="The address without credentials.", examples=["https://hooks.example/clips"])
    state: CallbackState = Field(
        description="`pending`: it is posted when the clip has finished, and again until it is accepted; `delivered`; "
        "`dead`: it was given up."
    )
    attempts: int = Field(description="Number of attempts so far.", examples=[1])
    problem: str | None = Field(description="Why the last attempt failed.", examples=["the receiver answered 500"])
    next_at: datetime | None = Field(
        description="When the next attempt is made; null before the clip has finished, and after the last attempt."
    )


class Video(Document):
    """The video as its container describes it; the result has what was decoded."""

    frames: int = Field(description="Number of frames.", examples=[1394])
    fps: float = Field(description="Mean frames per second.", examples=[10.0])
    width: int = Field(description="Pixels.", examples=[768])
    height: int = Field(description="Pixels.", examples=[432])
    duration_s: float = Field(description="Seconds.", examples=[139.4])
    container: str = Field(description="Container format as FFmpeg calls it.", examples=["mov,mp4,m4a,3gp,3g2,mj2"])
    codec: str = Field(description="Video codec as FFmpeg calls it.", examples=["h264"])


class Clip(Document):
    """A clip and its progress."""

    id: str = Field(description="Id of the clip.", examples=["0b1c5a3e9f7d4c2b8a6e1f0d3c5b7a99"])
    state: ClipState = Field(
        description="`fetching` if it was posted as an address, `queued`, `running`, and then one of `done`, `failed`, "
        "`cancelled`.",
        examples=["running"],
    )
    filename: str | None = Field(
        description="File name that the client sent, or the last part of the path of `url`.", examples=["entrance.mp4"]
    )
    url: str | None = Field(
        description="Address that it was posted as, without credentials; null for an upload.",
        examples=["https://videos.example/entrance.mp4"],
    )
    size_bytes: int = Field(description="Size of the file in bytes; 0 until it was fetched.", examples=[2482913])
    keypoints: bool = Field(description="Whether the result has joints.")
    video: Video | None = Field(description="The video as its container describes it; null until it was fetched.")
    attempts: int = Field(
        description="Times that scoring was started; more than one after a crash. While it is fetched, times that "
        "fetching was started.",
        examples=[1],
    )
    frames_done: int = Field(description="Frames scored so far.", examples=[412])
    frames_total: int = Field(description="Frames to score; an estimate until the clip is done.", examples=[1394])
    error: Failure | None = Field(description="Why the clip failed; null otherwise.")
    callback: CallbackInfo | None = Field(description="The callback, and what became of it; null without one.")
    created_at: datetime = Field(description="When the clip was accepted.", examples=["2026-01-31T09:26:53Z"])
    started_at: datetime | None = Field(description="When scoring last started.", examples=["2026-01-31T09:26:54Z"])
    finished_at: datetime | None = Field(
        description="When the clip was done, failed or cancelled.", examples=["2026-01-31T09:27:31Z"]
    )


class ClipWithResult(Clip):
    """A clip, and its scores when it is done."""

    result: ClipResult | None = Field(default=None, description="The scores; left out until the clip is done.")


class ClipPage(Document):
    """A page of clips, newest first."""

    clips: list[Clip] = Field(description="The clips of this page.")
    next: str | None = Field(description="`cursor` of the next page; null on the last one.", examples=["118"])


class CameraList(Document):
    """All cameras."""

    cameras: list[CameraStatus] = Field(description="The cameras, in the order of their ids.")


class PicturesRemoved(Document):
    """What became of the stored pictures of a camera."""

    incidents: int = Field(
        description="Number of incidents that had pictures, with those that are being recorded.", examples=[12]
    )
    files: int = Field(description="Number of snapshots and clips that were removed.", examples=[24])
    size_bytes: int = Field(description="Their size in bytes.", examples=[18240113])


class IncidentForReader(IncidentInfo):
    """The present state of an incident, for the key that asks."""

    unread: bool = Field(description="Whether the key has not read it. An incident from before the key counts as read.")


class IncidentPage(Document):
    """A page of incidents, newest first."""

    incidents: list[IncidentForReader] = Field(description="The incidents of this page.")
    next: str | None = Field(description="`cursor` of the next page; null on the last one.", examples=["118"])


class SeenIncident(Document):
    """An incident as a client saw it."""

    id: IncidentName
    revision: int = Field(
        ge=0, le=2**31 - 1, description="Revision of its review that the client saw; a newer one is not overwritten."
    )


class IncidentChange(ReviewChange):
    """A change of the review of one incident."""

    revision: int = Field(
        ge=0, le=2**31 - 1, description="Revision of its review that the client saw; a newer one is not overwritten."
    )


class IncidentsChange(Document):
    """The same change of the reviews of several incidents."""

    incidents: list[SeenIncident] = Field(min_length=1, max_length=MOST_AT_ONCE, description="The incidents.")
    change: ReviewChange = Field(description="What changes.")


class SeenRevision(Document):
    """The change that is taken back."""

    revision: int = Field(ge=1, le=2**31 - 1, description="The revision that it made; it must be the newest.")


class SeenIncidents(Document):
    """Several incidents whose newest changes are taken back."""

    incidents: list[SeenIncident] = Field(
        min_length=1, max_length=MOST_AT_ONCE, description="The incidents, each with the revision that is taken back."
    )


class IncidentOutcome(Document):
    """What became of one incident of several."""

    id: IncidentName
    done: bool = Field(description="Whether it now is as wanted.")
    problem: str | None = Field(
        description="Type of the problem: `/problems/review-conflict` or `/problems/incident-not-found`; null if there "
        "is none."
    )
    detail: str | None = Field(description="The problem in words.")
    incident: IncidentInfo | None = Field(description="Its present state; null if there is no such incident.")


class IncidentOutcomes(Document):
    """What became of several incidents."""

    results: list[IncidentOutcome] = Field(description="One for each, in the order of the request.")


class ReadIncidents(Document):
    """Which incidents the key has read, or has not."""

    ids: list[IncidentName] | None = Field(
        default=None, max_length=MOST_AT_ONCE, description="The incidents; null for all that the key may see."
    )
    read: bool = Field(default=True, description="Whether they count as read from now on.")


class UnreadCount(Document):
    """How many incidents the key has not read."""

    unread: int = Field(description="Number of incidents that the key may see and has not read.", examples=[7])


class FalseAlarm(Document):
    """The judgement of an operator about an incident."""

    false_alarm: bool = Field(
        default=True,
        description="Whether it is a false alarm. The next calibration of the camera treats a false alarm as normal. "
        "`false` takes an earlier `true` back.",
    )


class Alive(Document):
    """The process is running."""

    status: str = Field(default="alive", description="Always `alive`.", examples=["alive"])


class DeliveryInfo(Document):
    """An event that the webhook has not accepted yet."""

    id: int = Field(description="Id of the delivery, with which it can be retried.", examples=[12])
    state: DeliveryState = Field(description="`pending`: it will be tried again; `dead`: it was given up.")
    event: Event = Field(description="The event, as it is posted.")
    attempts: int = Field(description="Number of attempts so far.", examples=[3])
    problem: str | None = Field(description="Why the last attempt failed.", examples=["the receiver answered 500"])
    created_at: datetime = Field(description="When the event was queued for delivery.")
    next_at: datetime | None = Field(description="When the next attempt is made; null if it was given up.")


class DeliveryPage(Document):
    """A page of events that the webhook has not accepted, newest first."""

    deliveries: list[DeliveryInfo] = Field(description="The deliveries of this page.")
    next: str | None = Field(description="`cursor` of the next page; null on the last one.", examples=["118"])


class Degraded(Document):
    """A backend that does not work at the moment; the service runs without it."""

    what: str = Field(description="`redis`, `webhook` or `mqtt`.", examples=["redis"])
    setting: str = Field(description="The setting that has its URL.", examples=["DAFLOW_REDIS_URL"])
    detail: str = Field(description="What is wrong.")


class Ready(Document):
    """The process is ready: to score, or, if it runs no cameras, to serve incidents and streams."""

    ready: bool = Field(
        default=True, description="Always true; a process that is not ready answers with a problem of status 503."
    )
    model: ModelInfo | None = Field(
        description="The model that computes the scores; null if this process runs no cameras."
    )
    threshold: Threshold | None = Field(
        description="The level above which a frame is an anomaly; null if this process runs no cameras."
    )
    degraded: list[Degraded] = Field(description="Backends that do not work; the service runs without them.")


class ProblemKind(Document):
    """What a problem's `type` means."""

    type: str = Field(description="The identifier.", examples=["/problems/queue-full"])
    title: str = Field(description="Short title.", examples=["The queue is full"])
    status: int = Field(description="HTTP status that goes with it.", examples=[429])
    description: str = Field(description="When it occurs and which additional fields it has.")


def clip_document(job: ClipJob, running: RunningClip | None) -> Clip:
    """The JSON document of a clip.

    Args:
        job: The clip as stored.
        running: Its progress, if it is being scored.
    """
    progress = running or job
    return Clip(
        id=job.id,
        state=job.state,
        filename=job.filename,
        url=job.url,
        size_bytes=job.size_bytes,
        keypoints=job.keypoints,
        video=None if job.video is None else Video.model_validate(job.video, from_attributes=True),
        attempts=job.attempts,
        frames_done=progress.frames_done,
        frames_total=progress.frames_total,
        error=failure(job),
        callback=None if job.callback is None else _callback(job.callback, finished=job.state.finished),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _callback(callback: Callback, *, finished: bool) -> CallbackInfo:
    due = finished and callback.state is CallbackState.PENDING
    return CallbackInfo(
        url=callback.url,
        state=callback.state,
        attempts=callback.attempts,
        problem=callback.problem,
        next_at=callback.next_at if due else None,
    )


def delivery_document(delivery: Delivery) -> DeliveryInfo:
    """The JSON document of a delivery."""
    return DeliveryInfo(
        id=delivery.id,
        state=delivery.state,
        event=delivery.event,
        attempts=delivery.attempts,
        problem=delivery.problem,
        created_at=delivery.created_at,
        next_at=None if delivery.state is DeliveryState.DEAD else delivery.next_at,
    )
