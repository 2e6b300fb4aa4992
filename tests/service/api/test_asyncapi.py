from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from playwright._impl._driver import compute_driver_executable
from pydantic import TypeAdapter
from starlette.routing import WebSocketRoute

from service.api import cameras, clips, incidents
from service.api.asyncapi import CHANNELS, asyncapi
from service.clips.messages import clip_event_adapter
from service.documents.messages import event_stream_adapter, score_stream_adapter
from service.documents.skeletons import feed_adapter
from tests.doubles.tools import tool

PARSE = """
globalThis.self = globalThis;
const Parser = require(process.argv[1]);
const chunks = [];
process.stdin.on("data", chunk => chunks.push(chunk)).on("end", async () => {
  const answers = [];
  for (const document of JSON.parse(Buffer.concat(chunks).toString())) {
    const found = await new Parser().validate(document);
    answers.push(found.map(({ code, severity, path }) => ({ code, severity, path })));
  }
  console.log(JSON.stringify(answers));
});
"""
"""Runs the parser, which is built for browsers, in Node.js: a list of documents in, the faults of each out."""

WARNING = 1
"""Severities of the parser: 0 is an error, 1 a warning, and what is higher is advice."""


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


def without_action(document: dict[str, Any]) -> None:
    del document["operations"]["sendIncidents"]["action"]


def with_a_reference_to_nothing(document: dict[str, Any]) -> None:
    document["channels"]["incidents"]["messages"]["hello"]["$ref"] = "#/components/messages/nothing"


def with_a_message_of_another_channel(document: dict[str, Any]) -> None:
    document["operations"]["sendIncidents"]["messages"][0]["$ref"] = "#/channels/clipEvents/messages/clipHello"


def with_a_parameter_that_is_not_described(document: dict[str, Any]) -> None:
    del document["channels"]["cameraScores"]["parameters"]["camera_id"]
    document["channels"]["cameraScores"]["parameters"]["camera"] = {"description": "A camera."}


def with_an_operation_on_no_channel(document: dict[str, Any]) -> None:
    document["operations"]["sendIncidents"]["channel"]["$ref"] = "#/components/channels/incidents"


def with_a_schema_that_is_none(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Hello"]["properties"]["heartbeat_s"]["type"] = "seconds"


SPOILED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "without an action": (without_action, "asyncapi-document-resolved"),
    "a reference to nothing": (with_a_reference_to_nothing, "invalid-ref"),
    "a message of another channel": (
        with_a_message_of_another_channel,
        "asyncapi3-operation-messages-from-referred-channel",
    ),
    "a parameter that is not described": (with_a_parameter_that_is_not_described, "asyncapi3-channel-parameters"),
    "an operation on no channel": (
        with_an_operation_on_no_channel,
        "asyncapi3-required-operation-channel-unambiguity",
    ),
    "a schema that is none": (with_a_schema_that_is_none, "asyncapi-document-resolved"),
}
"""How a document is spoiled, and what the parser calls that."""


@pytest.fixture(scope="module")
def faults(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The errors and warnings of AsyncAPI's own parser in the document, over TLS and without, and in spoiled ones."""
    documents = {"ws": document, "wss": asyncapi("DA-Flow Live", "1.2.3", "localhost:8000", secure=True)}
    for name, (spoil, _) in SPOILED.items():
        documents[name] = copy.deepcopy(document)
        spoil(documents[name])
    node, _ = compute_driver_executable()
    parsed = subprocess.run(
        [node, "-e", PARSE, tool("asyncapi-parser.js")],
        input=json.dumps([*documents.values()]),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = [[fault for fault in one if fault["severity"] <= WARNING] for one in json.loads(parsed.stdout)]
    return dict(zip(documents, found, strict=True))


@pytest.mark.parametrize("protocol", ["ws", "wss"])
def test_the_parser_of_asyncapi_has_nothing_against_the_document(
    protocol: str, faults: dict[str, list[dict[str, Any]]]
) -> None:
    assert faults[protocol] == []


@pytest.mark.parametrize("name", SPOILED)
def test_the_parser_of_asyncapi_notices_what_is_wrong(name: str, faults: dict[str, list[dict[str, Any]]]) -> None:
    assert SPOILED[name][1] in {fault["code"] for fault in faults[name]}
