"""JSON documents of the routes; scores themselves are in `documents.results`, live messages in `documents.messages`."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from service.cameras.status import CameraStatus
from service.clips.messages import Failure, failure
from service.clips.store import ClipJob, ClipState
from service.clips.worker import RunningClip
from service.documents.base import Document
from service.documents.messages import Event, IncidentInfo
from service.documents.results import ClipResult, ModelInfo, Threshold
from service.notifications.store import Delivery, DeliveryState


class Video(Document):
    """What the container says about the clip; the result says what was decoded."""

    frames: int = Field(description="Number of frames.", examples=[1394])
    fps: float = Field(description="Mean frames per second.", examples=[10.0])
    width: int = Field(description="Pixels.", examples=[768])
    height: int = Field(description="Pixels.", examples=[432])
    duration_s: float = Field(description="Seconds.", examples=[139.4])
    container: str = Field(description="Container format as FFmpeg calls it.", examples=["mov,mp4,m4a,3gp,3g2,mj2"])
    codec: str = Field(description="Video codec as FFmpeg calls it.", examples=["h264"])


class Clip(Document):
    """A clip and where it stands."""

    id: str = Field(description="Id of the clip.", examples=["0b1c5a3e9f7d4c2b8a6e1f0d3c5b7a99"])
    state: ClipState = Field(
        description="`queued`, `running`, and then one of `done`, `failed`, `cancelled`.", examples=["running"]
    )
    filename: str | None = Field(description="Name that the client gave the file.", examples=["entrance.mp4"])
    size_bytes: int = Field(description="Length of the upload.", examples=[2482913])
    keypoints: bool = Field(description="Whether the result carries joints.")
    video: Video = Field(description="What the container says.")
    attempts: int = Field(description="Times that scoring was started; more than one after a crash.", examples=[1])
    frames_done: int = Field(description="Frames scored so far.", examples=[412])
    frames_total: int = Field(description="Frames to score; an estimate until the clip is done.", examples=[1394])
    error: Failure | None = Field(description="Why the clip failed; null otherwise.")
    created_at: datetime = Field(description="When the clip was accepted.", examples=["2026-01-31T09:26:53Z"])
    started_at: datetime | None = Field(description="When scoring last started.", examples=["2026-01-31T09:26:54Z"])
    finished_at: datetime | None = Field(
        description="When the clip was done, failed or cancelled.", examples=["2026-01-31T09:27:31Z"]
    )


class ClipWithResult(Clip):
    """A clip, and its scores when it is done."""

    result: ClipResult | None = Field(default=None, description="The scores; left out until the clip is done.")


class ClipPage(Document):
    """Some clips, newest first."""

    clips: list[Clip] = Field(description="The clips of this page.")
    next: str | None = Field(description="`cursor` of the next page; null on the last one.", examples=["118"])


class CameraList(Document):
    """All cameras."""

    cameras: list[CameraStatus] = Field(description="The cameras, in the order of their ids.")


class IncidentPage(Document):
    """Some incidents, newest first."""

    incidents: list[IncidentInfo] = Field(description="The incidents of this page.")
    next: str | None = Field(description="`cursor` of the next page; null on the last one.", examples=["118"])


class FalseAlarm(Document):
    """What an operator says of an incident."""

    false_alarm: bool = Field(
        default=True,
        description="Whether it is a false alarm, which the next calibration of the camera counts as normal life; "
        "false takes that back.",
    )


class Alive(Document):
    """The process answers."""

    status: str = Field(default="alive", description="Always `alive`.", examples=["alive"])


class DeliveryInfo(Document):
    """An event that the webhook has not taken yet."""

    id: int = Field(description="Number of the delivery; name it to have it tried again.", examples=[12])
    state: DeliveryState = Field(description="`pending`: it is tried again; `dead`: it was given up.")
    event: Event = Field(description="What is to be told, as it is posted.")
    attempts: int = Field(description="Times that it was tried.", examples=[3])
    problem: str | None = Field(description="What went wrong last.", examples=["the receiver answered 500"])
    created_at: datetime = Field(description="When it was first to be told.")
    next_at: datetime | None = Field(description="When it is tried next; null if it was given up.")


class DeliveryPage(Document):
    """Some events that the webhook has not taken, newest first."""

    deliveries: list[DeliveryInfo] = Field(description="The deliveries of this page.")
    next: str | None = Field(description="`cursor` of the next page; null on the last one.", examples=["118"])


class Degraded(Document):
    """What does not work at the moment, and what the service goes on without."""

    what: str = Field(description="`redis`, `webhook` or `mqtt`.", examples=["redis"])
    setting: str = Field(description="The variable that says where it is.", examples=["DAFLOW_REDIS_URL"])
    detail: str = Field(description="What is wrong.")


class Ready(Document):
    """Clips can be scored now, or, by a process that runs no cameras, incidents be told."""

    ready: bool = Field(default=True, description="Always true; otherwise the answer is a problem with status 503.")
    model: ModelInfo | None = Field(description="What computes the scores; null where no cameras run.")
    threshold: Threshold | None = Field(description="Where a level becomes an anomaly; null where no cameras run.")
    degraded: list[Degraded] = Field(description="What does not work, and does not keep the service from its work.")


class ProblemKind(Document):
    """What a problem's `type` means."""

    type: str = Field(description="The identifier.", examples=["/problems/queue-full"])
    title: str = Field(description="A few words.", examples=["The queue is full"])
    status: int = Field(description="HTTP status that goes with it.", examples=[429])
    description: str = Field(description="When it occurs and which further fields it has.")


def clip_document(job: ClipJob, running: RunningClip | None) -> Clip:
    """What the API says about a clip.

    Args:
        job: The clip as stored.
        running: Its worker, which knows how far it is.
    """
    progress = running or job
    return Clip(
        id=job.id,
        state=job.state,
        filename=job.filename,
        size_bytes=job.size_bytes,
        keypoints=job.keypoints,
        video=Video.model_validate(job.video, from_attributes=True),
        attempts=job.attempts,
        frames_done=progress.frames_done,
        frames_total=progress.frames_total,
        error=failure(job),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def delivery_document(delivery: Delivery) -> DeliveryInfo:
    """What the API says about a delivery."""
    return DeliveryInfo(
        id=delivery.id,
        state=delivery.state,
        event=delivery.event,
        attempts=delivery.attempts,
        problem=delivery.problem,
        created_at=delivery.created_at,
        next_at=None if delivery.state is DeliveryState.DEAD else delivery.next_at,
    )
