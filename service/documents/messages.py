"""Messages of live streams: what subscribers of scores and of incidents receive, as one tagged union.

Every message is one JSON object with a ``type``. Events carry ``id``, their place in the log of the store: a subscriber
that comes back with the last id it saw gets everything since.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter

from pose.live import SourceState
from service.documents.base import Document, EndReason, Level, MissingScore, Severity
from service.documents.results import PersonScore

PROTOCOL_VERSION: Final = 1

CAMERA_ID: Final = r"^[a-z0-9][a-z0-9_-]{0,63}$"
"""What a camera may be called: it stands in URLs, topics, metrics and file names."""

EvidenceState = Literal["pending", "ready", "missing", "off"]

CameraName = Annotated[str, Field(description="Id of the camera.", examples=["entrance"])]
IncidentName = Annotated[str, Field(description="Id of the incident.", examples=["5f0c2d7be0a94f7a8b6f7f1c5c0d9f3e"])]
Moment = Annotated[datetime, Field(examples=["2026-01-31T09:26:53.120Z"])]


class Hello(Document):
    """First message of every connection."""

    type: Literal["hello"] = Field(default="hello", description="Tag of the message.")
    version: int = Field(default=PROTOCOL_VERSION, description="Version of the messages; a new one may break readers.")
    cameras: list[str] | None = Field(description="Cameras that this stream is limited to; null means all.")
    last_event_id: int | None = Field(
        default=None,
        description="For streams of events: what comes next is newer than this. Resume after it if nothing came.",
    )
    heartbeat_s: float = Field(description="A silent stream sends a heartbeat this often, in seconds.")


class Heartbeat(Document):
    """The connection lives and nothing has happened."""

    type: Literal["heartbeat"] = Field(default="heartbeat", description="Tag of the message.")
    at: Moment = Field(description="When it was sent.")


class Lagged(Document):
    """This reader was too slow. Scores that it missed are gone; events follow from the store, none is left out."""

    type: Literal["lagged"] = Field(default="lagged", description="Tag of the message.")
    dropped: int = Field(description="Score messages left out since the last one that was sent.", examples=[12])


class LivePerson(PersonScore):
    """One tracked person in the newest frame of a camera.

    `score` and `level` are those of the newest whole window of the person.
    """

    joints: list[float] | None = Field(
        default=None,
        description="What each of the 17 COCO joints adds to `score`, bits per dimension; they sum to it. The flow's "
        "neck, the middle of the shoulders, is counted half to each of them.",
    )


class Score(Document):
    """One processed frame of a camera."""

    type: Literal["score"] = Field(default="score", description="Tag of the message.")
    camera: CameraName
    sequence: int = Field(description="Number of the frame since the camera was added or the service started.")
    captured_at: Moment = Field(description="When the camera delivered the frame.")
    published_at: Moment = Field(description="When this message was made.")
    age_s: float = Field(description="Seconds between the two, on a clock that never steps.", examples=[0.09])
    width: int = Field(description="Width of the picture in pixels; that of the plane of a skeleton feed.")
    height: int = Field(description="Height in pixels.")
    score: float | None = Field(
        description="Highest negative log-likelihood over people, bits per dimension; null where nobody is scored."
    )
    level: Level | None = Field(
        description="Level of the frame: the highest score over people, smoothed causally, on this camera's "
        "calibration; null where nobody is scored."
    )
    parts: dict[str, Level] = Field(default_factory=dict, description="Levels of the parts that make up the level.")
    threshold: Level = Field(description="Levels at or above this open an incident.")
    reason: MissingScore | None = Field(default=None, description="Why there is no score.")
    people: list[LivePerson] = Field(description="Everybody tracked in this frame.")
    incident: str | None = Field(default=None, description="The open incident of this camera.")


class IncidentInfo(Document):
    """An incident as it stands."""

    id: IncidentName
    camera: CameraName
    severity: Severity = Field(description="Highest so far: `warning` or `alert`.")
    started_at: Moment = Field(description="When the level first stayed at or above the threshold.")
    updated_at: Moment = Field(description="Last time that the level was at or above the closing level.")
    ended_at: datetime | None = Field(
        description="The same, when it is over, which is known only after the quiet period; null while it is open."
    )
    end_reason: EndReason | None = Field(description="Why it ended; null while it is open.")
    peak_level: Level = Field(description="Highest level of a frame.")
    peak_at: Moment = Field(description="When that was.")
    people: dict[int, Level] = Field(
        description="Tracks that were at or above the closing level, with the highest level of each; of a crowd, 64."
    )
    suppressed: int = Field(description="Incidents that the cooldown held back between the one before and this one.")
    snapshot: EvidenceState = Field(description="Picture of the peak: `pending`, `ready`, `missing` or `off`.")
    clip: EvidenceState = Field(description="Video of it: `pending`, `ready`, `missing` or `off`.")
    evidence_problem: str | None = Field(description="Why evidence is missing, or what else is to be known of it.")
    acknowledged_at: datetime | None = Field(description="When an operator took note of it.")
    false_alarm: bool = Field(
        description="An operator marked it as a false alarm; its camera's next calibration counts it as normal life."
    )


class _Event(Document):
    id: int = Field(description="Place in the log; give the last one as `last_event_id` to resume after it.")
    at: Moment = Field(description="When the event was stored.")
    camera: CameraName


class _IncidentEvent(_Event):
    incident: IncidentInfo = Field(description="The incident as it stood then.")


class IncidentStarted(_IncidentEvent):
    """An incident opened; sent once."""

    type: Literal["incident.started"] = Field(default="incident.started", description="Tag of the message.")


class IncidentUpdated(_IncidentEvent):
    """An open incident became more severe, reached a new peak, involves more people, or goes on.

    At most about one a second; one that just goes on says so after each quiet period.
    """

    type: Literal["incident.updated"] = Field(default="incident.updated", description="Tag of the message.")


class IncidentEnded(_IncidentEvent):
    """An incident is over; sent once for each that started."""

    type: Literal["incident.ended"] = Field(default="incident.ended", description="Tag of the message.")


class IncidentEvidence(_IncidentEvent):
    """Snapshot or clip of an incident is ready, or will never be."""

    type: Literal["incident.evidence"] = Field(default="incident.evidence", description="Tag of the message.")


class IncidentReviewed(_IncidentEvent):
    """An operator acknowledged an incident or marked it as a false alarm."""

    type: Literal["incident.reviewed"] = Field(default="incident.reviewed", description="Tag of the message.")


class CameraState(_Event):
    """A camera changed its state."""

    type: Literal["camera.state"] = Field(default="camera.state", description="Tag of the message.")
    state: SourceState = Field(description="The state it is in now.")
    previous: SourceState | None = Field(description="The state before; null for a camera that was just added.")
    cause: str | None = Field(default=None, description="Slug of what went wrong.", examples=["unauthorised"])
    detail: str | None = Field(default=None, description="The same as a sentence, without credentials.")


Event = Annotated[
    IncidentStarted | IncidentUpdated | IncidentEnded | IncidentEvidence | IncidentReviewed | CameraState,
    Field(discriminator="type"),
]
"""What the store keeps and subscribers of incidents never miss."""

ScoreStreamMessage = Annotated[Hello | Score | Heartbeat | Lagged, Field(discriminator="type")]
"""Messages of ``/v1/cameras/{id}/scores``."""

EventStreamMessage = Annotated[
    Hello
    | IncidentStarted
    | IncidentUpdated
    | IncidentEnded
    | IncidentEvidence
    | IncidentReviewed
    | CameraState
    | Heartbeat
    | Lagged,
    Field(discriminator="type"),
]
"""Messages of ``/v1/incidents`` (WebSocket) and ``/v1/incidents/stream`` (SSE)."""

event_adapter: Final[TypeAdapter[Event]] = TypeAdapter(Event)
score_stream_adapter: Final[TypeAdapter[ScoreStreamMessage]] = TypeAdapter(ScoreStreamMessage)
event_stream_adapter: Final[TypeAdapter[EventStreamMessage]] = TypeAdapter(EventStreamMessage)
