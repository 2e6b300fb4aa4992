"""The AsyncAPI document: every WebSocket and event stream with its messages, generated from the models of messages."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from service.clips.messages import ClipEvent
from service.documents.messages import EventStreamMessage, ScoreStreamMessage
from service.documents.skeletons import FeedMessage, SkeletonFrame

VERSION: Final = "3.0.0"


@dataclass(frozen=True, slots=True)
class Channel:
    """One WebSocket or event stream.

    Attributes:
        name: Key in the document.
        address: Path, with parameters in braces.
        title: Short title.
        description: Which messages it carries and how the connection ends.
        sent: Messages that the service sends.
        received: Messages that the service accepts.
        protocol: ``ws``, or ``http`` for server-sent events.
        query: Parameters of the address beyond the path, by name, with their description.
    """

    name: str
    address: str
    title: str
    description: str
    sent: tuple[type[BaseModel], ...]
    received: tuple[type[BaseModel], ...] = ()
    protocol: str = "ws"
    query: dict[str, str] = field(default_factory=dict)


def _members(union: Any) -> tuple[type[BaseModel], ...]:
    """The models of a tagged union, ``Annotated[A | B, Field(discriminator=...)]``."""
    return get_args(get_args(union)[0])


_RESUME: Final = {
    "camera": "Only events of this camera; may be given several times.",
    "last_event_id": "Id of the last event that the client has; the stream begins after it.",
}

CHANNELS: Final = (
    Channel(
        "clipEvents",
        "/v1/clips/{clip_id}/events",
        "Progress and scores of a clip",
        "Messages from the time of connecting until the clip has finished. A client that reads too slowly loses "
        "scores, "
        "and a message says how many. Closes with 4404 if there is no such clip.",
        _members(ClipEvent),
    ),
    Channel(
        "cameraScores",
        "/v1/cameras/{camera_id}/scores",
        "Scores of a camera",
        "One message for each processed frame, until the camera is deleted. A client that reads too slowly loses the "
        "oldest scores, and a message says how many. Closes with 4404 if there is no such camera.",
        _members(ScoreStreamMessage),
    ),
    Channel(
        "cameraSkeletons",
        "/v1/cameras/{camera_id}/skeletons",
        "Skeletons from a device at the edge",
        "For a camera with the URL `skeletons:`. The device sends one message for each frame, including frames without "
        "people. The service reports at most once a second how many were accepted, and at once when one was refused. "
        "Closes with 4404 if there is no such camera, with 4409 if the camera delivers pictures, and with 4422 after "
        "ten refused messages in a row.",
        _members(FeedMessage),
        (SkeletonFrame,),
    ),
    Channel(
        "incidents",
        "/v1/incidents",
        "Incidents and states of cameras",
        "Every event, once and in order. A client that reads slowly loses none: `lagged` only says that the following "
        "events are read from the database. To resume, give the id of the last event, or `last_event_id` of `hello` if "
        "none came. If a parameter is not valid, the handshake is refused with 403.",
        _members(EventStreamMessage),
        query=_RESUME,
    ),
    Channel(
        "incidentStream",
        "/v1/incidents/stream",
        "Incidents and states of cameras, as server-sent events",
        "The same messages as `incidents`. Each message is the `data` of an event; the name of the event is the `type` "
        "of the message, and its `id` is the id of the event in the log. Browsers resume by themselves, with the "
        "header `Last-Event-ID`.",
        _members(EventStreamMessage),
        protocol="http",
        query=_RESUME,
    ),
)

_PARAMETERS: Final = {
    "clip_id": "Id of the clip, as returned when it was posted.",
    "camera_id": "Id of the camera, as chosen when it was added.",
}


def asyncapi(title: str, version: str, host: str, *, secure: bool) -> dict[str, Any]:
    """Make the AsyncAPI document.

    Args:
        title: Name of the service.
        version: Version of the service.
        host: Host and port to which the client sent its request.
        secure: Whether the request came over TLS.
    """
    sent = {model for channel in CHANNELS for model in channel.sent}
    received = {model for channel in CHANNELS for model in channel.received}
    models = sorted(sent | received, key=lambda model: model.__name__)
    messages = {_key(model): _message(model) for model in models}
    return {
        "asyncapi": VERSION,
        "info": {"title": title, "version": version, "description": "Streams of the service; see also `/docs`."},
        "defaultContentType": "application/json",
        "servers": {
            "ws": {"host": host, "protocol": "wss" if secure else "ws"},
            "http": {"host": host, "protocol": "https" if secure else "http"},
        },
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": dict(operation for channel in CHANNELS for operation in _operations(channel)),
        "components": {"messages": messages, "schemas": _schemas(sent, received)},
    }


def _schemas(sent: Set[type[BaseModel]], received: Set[type[BaseModel]]) -> dict[str, Any]:
    """Schemas of the messages and of the models inside them, by the names of their classes."""
    modes: dict[type[BaseModel], JsonSchemaMode] = dict.fromkeys(sent, "serialization")
    modes |= dict.fromkeys(received, "validation")
    _, document = models_json_schema(list(modes.items()), ref_template="#/components/schemas/{model}")
    return dict(sorted(document["$defs"].items()))


def _key(model: type[BaseModel]) -> str:
    return model.__name__[0].lower() + model.__name__[1:]


def _message(model: type[BaseModel]) -> dict[str, Any]:
    name = model.__name__
    tag = model.model_fields.get("type")
    return {
        "name": tag.default if tag else name,
        "title": name,
        "summary": " ".join((model.__doc__ or "").split()),
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{name}"},
    }


def _channel(channel: Channel) -> dict[str, Any]:
    document: dict[str, Any] = {
        "address": channel.address,
        "title": channel.title,
        "description": channel.description,
        "servers": [{"$ref": f"#/servers/{channel.protocol}"}],
        "messages": {
            _key(model): {"$ref": f"#/components/messages/{_key(model)}"}
            for model in (*channel.sent, *channel.received)
        },
    }
    parameters = {name: text for name, text in _PARAMETERS.items() if f"{{{name}}}" in channel.address}
    if parameters:
        document["parameters"] = {name: {"description": text} for name, text in parameters.items()}
    if channel.query and channel.protocol == "ws":
        properties = {name: {"type": "string", "description": text} for name, text in channel.query.items()}
        document["bindings"] = {"ws": {"method": "GET", "query": {"type": "object", "properties": properties}}}
    return document


def _operations(channel: Channel) -> Iterable[tuple[str, dict[str, Any]]]:
    for action, models in (("send", channel.sent), ("receive", channel.received)):
        if models:
            document: dict[str, Any] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{channel.name}"},
                "summary": channel.title,
                "messages": [{"$ref": f"#/channels/{channel.name}/messages/{_key(model)}"} for model in models],
            }
            if channel.query and channel.protocol == "http":
                properties = {name: {"type": "string", "description": text} for name, text in channel.query.items()}
                query = {"type": "object", "properties": properties}
                document["bindings"] = {"http": {"method": "GET", "query": query}}
            yield f"{action}{channel.name[0].upper()}{channel.name[1:]}", document
