"""Messages to subscribers of scores and of incidents.

Every message is one JSON object with a ``type``. An event has an ``id``, its place in the event log: a subscriber that
reconnects with the last id that it received gets all events since.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter, model_validator

from model.behaviours import Kind
from pose.live import SourceState
from pose.sight import CannotSee
from service.documents.base import Document, EndReason, Level, MissingScore, Severity
from service.documents.kinds import title, unusual_words
from service.documents.results import PersonScore
from service.documents.reviews import Review, Verdict

PROTOCOL_VERSION: Final = 1

CAMERA_ID: Final = r"^[a-z0-9][a-z0-9_-]{0,63}$"
"""Pattern of camera ids, which occur in URLs, MQTT topics, metrics and file names."""

EvidenceState = Literal["pending", "ready", "missing", "off"]

Validity = Literal["none", "current", "stale"]
"""Whether a camera has a calibration of its own, and whether that still holds."""

StaleCause = Literal["moved", "address", "resolution", "min_duration_s", "quiet_s"]
"""What has changed since a calibration was made."""

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
        description="For streams of events: all events that follow have a higher id. If none came, resume after it.",
    )
    heartbeat_s: float = Field(description="After this many seconds without a message, a heartbeat is sent.")


class Heartbeat(Document):
    """The connection is open; there was nothing to send."""

    type: Literal["heartbeat"] = Field(default="heartbeat", description="Tag of the message.")
    at: Moment = Field(description="When it was sent.")


class Lagged(Document):
    """The subscriber was too slow. Missed scores are lost; missed events follow, all of them."""

    type: Literal["lagged"] = Field(default="lagged", description="Tag of the message.")
    dropped: int = Field(description="Score messages dropped since the last one that was sent.", examples=[12])


class LivePerson(PersonScore):
    """One tracked person in the newest frame of a camera.

    `score` and `level` are those of the newest complete window of the person.
    """

    joints: list[float] | None = Field(
        default=None,
        description="What each of the 17 COCO joints adds to `score`, in bits per dimension; the sum is `score`. The "
        "neck, which the model places between the shoulders, counts half to each shoulder.",
    )


class Score(Document):
    """One processed frame of a camera."""

    type: Literal["score"] = Field(default="score", description="Tag of the message.")
    camera: CameraName
    sequence: int = Field(description="Number of the frame since the camera was added or the service started.")
    captured_at: Moment = Field(description="When the camera delivered the frame.")
    published_at: Moment = Field(description="When the score was published.")
    age_s: float = Field(
        description="Seconds between `captured_at` and `published_at`, on a monotonic clock.", examples=[0.09]
    )
    width: int = Field(
        description="Width of the picture in pixels; of a skeleton feed, the width that the device gives."
    )
    height: int = Field(description="Height in pixels.")
    score: float | None = Field(
        description="Highest negative log-likelihood over people, in bits per dimension; null if nobody is scored."
    )
    level: Level | None = Field(
        description="Level of the frame: the highest score over people, smoothed over past frames, turned into a level "
        "by the calibration of this camera; null if nobody is scored."
    )
    parts: dict[str, Level] = Field(
        default_factory=dict, description="Highest level of each part of the score over people."
    )
    threshold: Level = Field(description="Levels at or above this open an incident.")
    reason: MissingScore | None = Field(default=None, description="Why there is no score; null if there is one.")
    people: list[LivePerson] = Field(description="All tracked people in this frame.")
    incident: str | None = Field(
        default=None, description="Id of the open incident of this camera; null if there is none."
    )


class KindSeen(Document):
    """One kind of event within an incident."""

    kind: Kind = Field(description="What was seen; `unusual` is a level at or above the threshold.")
    first_at: Moment = Field(description="When it began.")
    last_at: Moment = Field(description="Last time that it was seen.")
    people: list[int] = Field(
        description="Track numbers of the people who did it, increasing; at most 64.", examples=[[3]]
    )
    number: int | None = Field(
        default=None,
        description="Most people at one moment. A person who gets another track number is still one. Null for what was "
        "stored by an older version.",
        examples=[1],
    )
    score: float = Field(
        description="Highest score: of a named behaviour, which fires at 1; of `unusual`, the highest level.",
        examples=[1.214],
    )
    explanation: str = Field(
        description="What was seen at the highest score, in words with numbers.",
        examples=["shoulders came down by 0.6 body heights, at up to 1.4 a second"],
    )
    facts: dict[str, float] = Field(
        description="The numbers of the explanation by name, with the unit at the end: `_s` seconds, `_h` body "
        "heights, `_deg` degrees. Of `unusual`, the level of each part of the score.",
        examples=[{"drop_h": 0.6, "speed_h_s": 1.4}],
    )

    @property
    def title(self) -> str:
        """What was seen, and of how many people."""
        return title(self.kind, len(self.people) if self.number is None else self.number)


class IncidentInfo(Document):
    """The present state of an incident.

    An incident that was stored before incidents had a kind is read as `unusual`.
    """

    id: IncidentName
    camera: CameraName
    kind: Kind = Field(description="The most severe kind so far; it gives the title.")
    title: str = Field(description="What happened, in words.", examples=["Fall, 1 person"])
    explanation: str = Field(
        description="What was seen of `kind`, in words with numbers.",
        examples=["shoulders came down by 0.6 body heights, at up to 1.4 a second"],
    )
    kinds: list[KindSeen] = Field(description="Every kind that was seen, most severe first.")
    severity: Severity = Field(
        description="Highest severity so far: `alert`, `warning`, or `record` if nobody is notified."
    )
    started_at: Moment = Field(
        description="When the behaviour began, or from when the level stayed at or above the threshold."
    )
    updated_at: Moment = Field(
        description="Last time that a behaviour fired or the level was at or above the closing level."
    )
    ended_at: datetime | None = Field(
        description="Equal to `updated_at` once the incident has ended, after the quiet period; null while it is open."
    )
    end_reason: EndReason | None = Field(description="Why it ended; null while it is open.")
    peak_level: Level = Field(description="Highest level of a frame; 0 if nobody was scored.")
    peak_at: Moment = Field(
        description="The moment of the snapshot: of the highest score of `kind`; of `unusual`, of the highest level."
    )
    people: dict[int, Level] = Field(
        description="Highest level of each track that reached the closing level or did what `kinds` names; 0 for one "
        "that was not scored. The 64 highest if there are more."
    )
    suppressed: int = Field(
        description="Incidents suppressed by the cooldown between the incident before and this one."
    )
    snapshot: EvidenceState = Field(description="Picture of the peak: `pending`, `ready`, `missing` or `off`.")
    clip: EvidenceState = Field(description="Video of the incident: `pending`, `ready`, `missing` or `off`.")
    evidence_problem: str | None = Field(description="Why evidence is missing or incomplete; null if it is not.")
    pictures_removed_at: datetime | None = Field(
        default=None,
        description="When pictures were removed from its snapshot and clip on request, which left only skeletons; null "
        "if they were not.",
    )
    acknowledged_at: datetime | None = Field(description="When an operator acknowledged it; null if nobody has.")
    acknowledged_by: str | None = Field(
        default=None,
        description="Name of the key that acknowledged it; null if none has, or an older version stored it.",
    )
    false_alarm: bool = Field(
        description="Whether the verdict of `review` is `false_alarm`; the next calibration of the camera then "
        "counts its `unusual` movement as normal life."
    )
    review: Review = Field(default_factory=Review, description="What people have said of it.")

    @model_validator(mode="before")
    @classmethod
    def _judged_before_there_were_reviews(cls, values: Any) -> Any:
        """Give an incident its verdict if it was stored before there were others than false alarms."""
        if isinstance(values, dict) and values.get("false_alarm") is True and "review" not in values:
            return values | {"review": {"verdict": Verdict.FALSE_ALARM}}
        return values

    @model_validator(mode="before")
    @classmethod
    def _unusual_without_a_kind(cls, values: Any) -> Any:
        """Give an incident its kind if it was stored before there were kinds."""
        if not isinstance(values, dict) or "kind" in values or not {"peak_level", "people"} <= values.keys():
            return values
        words = unusual_words(values["peak_level"], {})
        seen = {
            "kind": Kind.UNUSUAL,
            "first_at": values.get("started_at"),
            "last_at": values.get("updated_at"),
            "people": sorted(int(track) for track in values["people"]),
            "score": values["peak_level"],
            "explanation": words,
            "facts": {},
        }
        named = {"kind": Kind.UNUSUAL, "title": title(Kind.UNUSUAL, len(values["people"])), "explanation": words}
        return values | named | {"kinds": [seen]}


class _Event(Document):
    id: int = Field(description="Place in the event log; to resume after an event, give its id as `last_event_id`.")
    at: Moment = Field(description="When the event was stored.")
    camera: CameraName


class _IncidentEvent(_Event):
    incident: IncidentInfo = Field(description="The incident at that time.")


class IncidentStarted(_IncidentEvent):
    """An incident opened; sent once."""

    type: Literal["incident.started"] = Field(default="incident.started", description="Tag of the message.")


class IncidentUpdated(_IncidentEvent):
    """An open incident became more severe, changed its kind, reached a new peak, involves other people, or continues.

    Sent at most about once a second; an incident that only continues is sent after each quiet period.
    """

    type: Literal["incident.updated"] = Field(default="incident.updated", description="Tag of the message.")


class IncidentEnded(_IncidentEvent):
    """An incident ended; sent once for each that started."""

    type: Literal["incident.ended"] = Field(default="incident.ended", description="Tag of the message.")


class IncidentEvidence(_IncidentEvent):
    """Snapshot or clip of an incident is ready or missing."""

    type: Literal["incident.evidence"] = Field(default="incident.evidence", description="Tag of the message.")


class IncidentReviewed(_IncidentEvent):
    """A person acknowledged an incident, gave a verdict, corrected its kind, assigned it, or wrote a note."""

    type: Literal["incident.reviewed"] = Field(default="incident.reviewed", description="Tag of the message.")


class CameraState(_Event):
    """A camera changed its state."""

    type: Literal["camera.state"] = Field(default="camera.state", description="Tag of the message.")
    state: SourceState = Field(description="The new state.")
    previous: SourceState | None = Field(description="The state before; null for a camera that was just added.")
    cause: str | None = Field(default=None, description="Slug of what went wrong.", examples=["unauthorised"])
    detail: str | None = Field(default=None, description="The cause as a sentence, without credentials.")


class CameraSight(_Event):
    """A camera cannot see people, cannot see them for another reason, or sees again.

    A camera that connects anew is taken to see until it says otherwise.
    """

    type: Literal["camera.sight"] = Field(default="camera.sight", description="Tag of the message.")
    cannot_see: CannotSee | None = Field(
        description="Why it cannot see people; null if it sees again, or is no longer watched.", examples=["too_dark"]
    )
    previous: CannotSee | None = Field(description="Why it could not see until now; null if it could.")
    detail: str | None = Field(default=None, description="The reason as a sentence; null if it sees again.")


class Staleness(Document):
    """One reason for which the calibration of a camera does not hold any more."""

    cause: StaleCause = Field(
        description="What has changed since the calibration: `moved`, the picture, because the camera was turned or "
        "moved or another one is connected; `address`, the URL; `resolution`; `min_duration_s` or `quiet_s`."
    )
    detail: str = Field(
        description="The reason in words, with what to do.",
        examples=["The picture has moved since this camera was calibrated. Calibrate again or turn it back."],
    )


class CameraCalibration(_Event):
    """The calibration of a camera became stale or current, or the camera has no calibration of its own any more."""

    type: Literal["camera.calibration"] = Field(default="camera.calibration", description="Tag of the message.")
    calibration: Validity = Field(
        description="`current`; `stale`, so that the camera is scored as if it had no calibration; or `none`."
    )
    stale: list[Staleness] = Field(description="Why it is stale; empty if it is not.")


CameraEvent = CameraState | CameraSight | CameraCalibration
"""Events of a camera and of no incident."""

_AnyEvent = IncidentStarted | IncidentUpdated | IncidentEnded | IncidentEvidence | IncidentReviewed | CameraEvent

Event = Annotated[_AnyEvent, Field(discriminator="type")]
"""An event: it is stored, and every subscriber of incidents receives it."""


def notifies(event: Event) -> bool:
    """Whether the webhook and MQTT are told of an event: not of incidents that are only recorded.

    An incident that becomes more severe is told from then on, first as `incident.updated`.
    """
    return not isinstance(event, _IncidentEvent) or event.incident.severity is not Severity.RECORD


ScoreStreamMessage = Annotated[Hello | Score | Heartbeat | Lagged, Field(discriminator="type")]
"""Messages of ``/v1/cameras/{id}/scores``."""

EventStreamMessage = Annotated[Hello | _AnyEvent | Heartbeat | Lagged, Field(discriminator="type")]
"""Messages of ``/v1/incidents`` (WebSocket) and ``/v1/incidents/stream`` (SSE)."""

event_adapter: Final[TypeAdapter[Event]] = TypeAdapter(Event)
score_stream_adapter: Final[TypeAdapter[ScoreStreamMessage]] = TypeAdapter(ScoreStreamMessage)
event_stream_adapter: Final[TypeAdapter[EventStreamMessage]] = TypeAdapter(EventStreamMessage)
