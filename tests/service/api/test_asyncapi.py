from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.routing import WebSocketRoute

from service.api import cameras, clips, incidents
from service.api.asyncapi import CHANNELS, asyncapi
from service.clips.messages import clip_event_adapter
from service.documents.messages import event_stream_adapter, score_stream_adapter
from service.documents.skeletons import feed_adapter


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return asyncapi("DA-Flow Live", "1.2.3", "localhost:8000", secure=False)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def resolve(document: dict[str, Any], reference: str) -> Any:
    node: Any = document
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]
    return resolve(document, node["$ref"]) if set(node) == {"$ref"} else node


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = list(references(document))
    assert len(found) > 100
    for reference in found:
        assert resolve(document, reference), reference


@pytest.mark.parametrize(
    ("channel", "adapter"),
    [
        ("clipEvents", clip_event_adapter),
        ("cameraScores", score_stream_adapter),
        ("cameraSkeletons", feed_adapter),
        ("incidents", event_stream_adapter),
        ("incidentStream", event_stream_adapter),
    ],
)
def test_the_service_sends_exactly_the_messages_of_the_union(
    channel: str, adapter: TypeAdapter[Any], document: dict[str, Any]
) -> None:
    operation = document["operations"][f"send{channel[0].upper()}{channel[1:]}"]
    messages = [resolve(document, message["$ref"]) for message in operation["messages"]]
    described = {message["name"]: resolve(document, message["payload"]["$ref"]) for message in messages}
    for tag, schema in described.items():
        assert schema["properties"]["type"]["const"] == tag
    union = adapter.json_schema()
    wanted = {tag: union["$defs"][ref.rsplit("/", 1)[-1]] for tag, ref in union["discriminator"]["mapping"].items()}
    assert {tag: set(schema["properties"]) for tag, schema in described.items()} == {
        tag: set(schema["properties"]) for tag, schema in wanted.items()
    }


def test_a_device_sends_frames_of_skeletons(document: dict[str, Any]) -> None:
    operation = document["operations"]["receiveCameraSkeletons"]
    (message,) = [resolve(document, message["$ref"]) for message in operation["messages"]]
    properties = resolve(document, message["payload"]["$ref"])["properties"]
    assert set(properties) == {"time_s", "people", "width", "height", "layout", "units"}


def test_every_stream_of_the_service_is_described_and_nothing_else() -> None:
    routes = [route for router in (clips.router, cameras.router, incidents.router) for route in router.routes]
    sockets = {route.path for route in routes if isinstance(route, WebSocketRoute)}
    events = {route.path for route in routes if isinstance(route, APIRoute) and route.path.endswith("/stream")}
    assert {channel.address for channel in CHANNELS if channel.protocol == "ws"} == sockets
    assert {channel.address for channel in CHANNELS if channel.protocol == "http"} == events


def test_every_message_and_every_field_is_explained(document: dict[str, Any]) -> None:
    for name, message in document["components"]["messages"].items():
        assert message["summary"], name
    for name, schema in document["components"]["schemas"].items():
        for field, definition in schema.get("properties", {}).items():
            target = resolve(document, definition["$ref"]) if "$ref" in definition else definition
            assert target.get("description"), f"{name}.{field}"


def test_two_messages_never_share_a_name(document: dict[str, Any]) -> None:
    assert {"Hello", "ClipHello", "Score", "ClipScore", "Lagged", "ClipLagged"} <= set(
        document["components"]["schemas"]
    )
    assert not any("__" in name for name in document["components"]["schemas"])
