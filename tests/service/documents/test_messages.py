"""Messages of live streams as subscribers read them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pose.live import SourceState
from pose.sight import CannotSee
from service.documents.base import Document
from service.documents.messages import (
    CameraSight,
    CameraState,
    Heartbeat,
    Hello,
    IncidentEnded,
    IncidentEvidence,
    IncidentReviewed,
    IncidentStarted,
    IncidentUpdated,
    Lagged,
    event_adapter,
    event_stream_adapter,
    score_stream_adapter,
)
from tests.doubles.live_records import at, incident_info, over
from tests.doubles.scores import live_person, live_score

CONTROL: list[Document] = [Hello(cameras=None, heartbeat_s=15.0), Heartbeat(at=at(0)), Lagged(dropped=3)]
EVENTS: list[Document] = [
    *(
        kind(id=7, at=at(1), camera="door", incident=incident_info("a"))
        for kind in (IncidentStarted, IncidentUpdated, IncidentEvidence, IncidentReviewed)
    ),
    IncidentEnded(id=8, at=at(9), camera="door", incident=over(incident_info("a"))),
    CameraState(id=9, at=at(9), camera="door", state=SourceState.ONLINE, previous=None),
    CameraSight(id=10, at=at(9), camera="door", cannot_see=CannotSee.TOO_DARK, previous=None, detail="too dark"),
]
SCORES: list[Document] = [live_score(), live_score(None, people=[live_person(0.5, joints=[0.1] * 17)])]


@pytest.mark.parametrize("message", [*CONTROL, *EVENTS], ids=lambda one: one.type)
def test_messages_of_incidents_are_read_as_what_they_were(message: Document) -> None:
    assert event_stream_adapter.validate_json(message.model_dump_json()) == message


@pytest.mark.parametrize("message", [*CONTROL, *SCORES], ids=lambda one: one.type)
def test_messages_of_scores_are_read_as_what_they_were(message: Document) -> None:
    assert score_stream_adapter.validate_json(message.model_dump_json()) == message


@pytest.mark.parametrize("message", EVENTS, ids=lambda one: one.type)
def test_events_are_those_messages_that_the_store_keeps(message: Document) -> None:
    assert event_adapter.validate_json(message.model_dump_json()) == message


@pytest.mark.parametrize("message", [*CONTROL, *SCORES], ids=lambda one: one.type)
def test_no_other_message_is_an_event(message: Document) -> None:
    with pytest.raises(ValidationError):
        event_adapter.validate_json(message.model_dump_json())


@pytest.mark.parametrize("event", [one for one in EVENTS if "incident" in one.type], ids=lambda one: one.type)
def test_an_event_that_was_stored_before_incidents_had_a_kind_is_unusual(event: Document) -> None:
    stored = event.model_dump(mode="json")
    for name in ("kind", "title", "explanation", "kinds"):
        del stored["incident"][name]
    assert event_adapter.validate_python(stored) == event


def test_a_message_cannot_be_changed_and_has_no_unknown_field() -> None:
    message = Heartbeat(at=at(0))
    with pytest.raises(ValidationError):
        message.at = at(1)  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Heartbeat.model_validate({"at": at(0), "colour": "red"})
