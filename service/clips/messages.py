"""Messages about a clip while it is scored, and the bus that carries them to subscribers.

A slow subscriber loses progress and scores, and is told how many. Messages that change the state of a clip are never
dropped.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter

from model.behaviours import Kind
from service.clips.tables import ClipJob, ClipState
from service.documents.base import Document
from service.documents.results import FrameScore
from service.streams.bus import Bus

PROTOCOL_VERSION: Final = 1
BACKLOG: Final = 256
"""Messages kept for a subscriber that does not read: about ten seconds of a busy clip."""


class Failure(Document):
    """Why a clip failed."""

    cause: str = Field(description="Stable slug of the cause.", examples=["decoder-died"])
    detail: str = Field(description="The same as a sentence.", examples=["the decoder stopped after frame 118"])


class ClipHello(Document):
    """First message of every connection: the state of the clip."""

    type: Literal["hello"] = Field(default="hello", description="Tag of the message.")
    version: int = Field(default=PROTOCOL_VERSION, description="Version of the messages; a new one may break readers.")
    clip: str = Field(description="Id of the clip.")
    state: ClipState = Field(description="State of the clip.")
    frames_done: int = Field(description="Frames scored so far.")
    frames_total: int = Field(description="Frames to score; an estimate until the clip is done.")


class Progress(Document):
    """Progress of the scoring; sent at most ten times a second."""

    type: Literal["progress"] = Field(default="progress", description="Tag of the message.")
    frames_done: int = Field(description="Frames scored so far.")
    frames_total: int = Field(description="Frames to score; an estimate until the clip is done.")


class ClipScore(Document):
    """The final scores of one frame; frames come in order."""

    type: Literal["score"] = Field(default="score", description="Tag of the message.")
    frame: FrameScore = Field(description="Scores of the frame, as in the result.")


class State(Document):
    """The clip was fetched, started, or waits again because the service is stopping."""

    type: Literal["state"] = Field(default="state", description="Tag of the message.")
    state: Literal[ClipState.QUEUED, ClipState.RUNNING] = Field(description="New state of the clip.")


class ClipLagged(Document):
    """This reader was too slow and messages were dropped; the result has all scores."""

    type: Literal["lagged"] = Field(default="lagged", description="Tag of the message.")
    dropped: int = Field(description="Messages dropped since the last one that was sent.", examples=[12])


class Done(Document):
    """Last message: the result is ready."""

    type: Literal["done"] = Field(default="done", description="Tag of the message.")
    result: str = Field(description="Path of the result.", examples=["/v1/clips/0b1c/result.json"])


class Failed(Document):
    """Last message: the clip could not be scored."""

    type: Literal["failed"] = Field(default="failed", description="Tag of the message.")
    error: Failure = Field(description="Why.")


class Cancelled(Document):
    """Last message: the clip was cancelled or deleted."""

    type: Literal["cancelled"] = Field(default="cancelled", description="Tag of the message.")


FinalEvent = Done | Failed | Cancelled
ClipEvent = Annotated[ClipHello | Progress | ClipScore | State | ClipLagged | FinalEvent, Field(discriminator="type")]

clip_event_adapter: Final[TypeAdapter[ClipEvent]] = TypeAdapter(ClipEvent)
"""Reads a message of any type."""


class ClipSummary(Document):
    """What a clip that is done shows."""

    frames: int = Field(description="Number of frames.", examples=[1394])
    duration_s: float = Field(description="Seconds.", examples=[139.4])
    people: int = Field(description="Number of people who were followed.", examples=[6])
    anomalies: int = Field(description="Number of anomalies.", examples=[2])
    kinds: dict[Kind, int] = Field(description="Number of anomalies of each kind.", examples=[{"fall": 2}])
    peak_level: float | None = Field(description="Highest level of a person; null if nobody has one.", examples=[0.95])


class ClipFinished(Document):
    """What is posted to the callback of a clip when it has finished."""

    type: Literal["clip.done", "clip.failed", "clip.cancelled"] = Field(description="How it ended.")
    clip: str = Field(description="Id of the clip.", examples=["0b1c5a3e9f7d4c2b8a6e1f0d3c5b7a99"])
    state: ClipState = Field(description="`done`, `failed` or `cancelled`.", examples=["done"])
    filename: str | None = Field(description="File name of the clip.", examples=["entrance.mp4"])
    url: str | None = Field(description="Address that it was fetched from, without credentials; null for an upload.")
    finished_at: datetime = Field(description="When it ended.", examples=["2026-01-31T09:27:31Z"])
    summary: ClipSummary | None = Field(description="What a clip that is done shows; null otherwise.")
    error: Failure | None = Field(description="Why a clip failed; null otherwise.")
    result: str | None = Field(
        description="Path of the result of a clip that is done; null otherwise.",
        examples=["/v1/clips/0b1c/result.json"],
    )


def result_path(clip_id: str) -> str:
    """Path of a clip's result in the API."""
    return f"/v1/clips/{clip_id}/result.json"


def failure(job: ClipJob) -> Failure | None:
    """Why a clip failed; None if it did not fail."""
    if job.error_cause is None:
        return None
    return Failure(cause=job.error_cause, detail=job.error_detail or job.error_cause)


def finished_document(job: ClipJob, summary: ClipSummary | None) -> ClipFinished:
    """What is posted to the callback of a clip.

    Args:
        job: The clip; it has finished.
        summary: What it shows, if it is done.

    Raises:
        ValueError: It has not finished.
    """
    types: dict[ClipState, Literal["clip.done", "clip.failed", "clip.cancelled"]] = {
        ClipState.DONE: "clip.done",
        ClipState.FAILED: "clip.failed",
        ClipState.CANCELLED: "clip.cancelled",
    }
    if job.state not in types or job.finished_at is None:
        raise ValueError(f"clip {job.id} is {job.state} and has not finished")
    return ClipFinished(
        type=types[job.state],
        clip=job.id,
        state=job.state,
        filename=job.filename,
        url=job.url,
        finished_at=job.finished_at,
        summary=summary,
        error=failure(job),
        result=result_path(job.id) if job.state is ClipState.DONE else None,
    )


def final_event(job: ClipJob) -> FinalEvent | None:
    """The last message about a clip; None for a clip that is not finished."""
    match job.state:
        case ClipState.DONE:
            return Done(result=result_path(job.id))
        case ClipState.FAILED:
            return Failed(error=failure(job) or Failure(cause="unknown", detail="the cause was not recorded"))
        case ClipState.CANCELLED:
            return Cancelled()
        case _:
            return None


class ClipEventBus(Bus[str, ClipEvent]):
    """Carries the messages of clips, by the id of the clip; a final message ends a subscription."""

    def __init__(self, backlog: int = BACKLOG) -> None:
        super().__init__(
            backlog,
            droppable=lambda message: isinstance(message, Progress | ClipScore),
            final=lambda message: isinstance(message, FinalEvent),
            lagged=lambda dropped: ClipLagged(dropped=dropped),
        )
