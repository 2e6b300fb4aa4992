from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.api.problems import MEDIA_TYPE
from service.app import create_app
from service.runtime import Runtime
from service.settings import Settings

ALWAYS = {"401", "403", "421", "422", "429", "500", "503", "507"}

EXPECTED: dict[tuple[str, str], set[str]] = {
    ("post", "/v1/clips"): {"400", "408", "413", "503", "507"},
    ("get", "/v1/clips"): set(),
    ("get", "/v1/clips/{clip_id}"): {"404"},
    ("delete", "/v1/clips/{clip_id}"): {"404"},
    ("post", "/v1/clips/{clip_id}/cancel"): {"404", "409"},
    ("get", "/v1/clips/{clip_id}/result.json"): {"404", "409"},
    ("get", "/v1/clips/{clip_id}/scores.csv"): {"404", "409", "507"},
    ("get", "/v1/clips/{clip_id}/timeline.png"): {"404", "409", "507"},
    ("get", "/v1/clips/{clip_id}/annotated.mp4"): {"404", "409", "507"},
    ("put", "/v1/cameras/{camera_id}"): {"400", "408", "409", "413"},
    ("get", "/v1/cameras"): set(),
    ("get", "/v1/cameras/{camera_id}"): {"404"},
    ("patch", "/v1/cameras/{camera_id}"): {"400", "404", "408", "413"},
    ("delete", "/v1/cameras/{camera_id}"): {"404"},
    ("delete", "/v1/cameras/{camera_id}/pictures"): {"404"},
    ("post", "/v1/cameras/{camera_id}/rules/preview"): {"400", "404", "408", "413"},
    ("get", "/v1/cameras/{camera_id}/snapshot.jpg"): {"404", "409"},
    ("get", "/v1/cameras/{camera_id}/live.mjpg"): {"404"},
    ("post", "/v1/cameras/{camera_id}/calibration"): {"400", "404", "408", "409", "413"},
    ("get", "/v1/cameras/{camera_id}/calibration"): {"404"},
    ("delete", "/v1/cameras/{camera_id}/calibration"): {"404"},
    ("post", "/v1/cameras/{camera_id}/calibration/rollback"): {"404"},
    ("get", "/v1/incidents"): set(),
    ("patch", "/v1/incidents"): {"400", "408", "413"},
    ("post", "/v1/incidents/undo"): {"400", "408", "413"},
    ("post", "/v1/incidents/read"): {"400", "408", "413"},
    ("get", "/v1/incidents/unread"): set(),
    ("get", "/v1/incidents/report"): set(),
    ("get", "/v1/incidents/stream"): set(),
    ("get", "/v1/incidents/{incident_id}"): {"404"},
    ("patch", "/v1/incidents/{incident_id}"): {"400", "404", "408", "409", "413"},
    ("post", "/v1/incidents/{incident_id}/undo"): {"400", "404", "408", "409", "413"},
    ("get", "/v1/incidents/{incident_id}/reviews"): {"404"},
    ("get", "/v1/incidents/{incident_id}/snapshot.jpg"): {"404"},
    ("get", "/v1/incidents/{incident_id}/clip.mp4"): {"404"},
    ("post", "/v1/incidents/{incident_id}/acknowledge"): {"404"},
    ("post", "/v1/incidents/{incident_id}/false-alarm"): {"400", "404", "408", "413"},
    ("post", "/v1/skeletons"): {"400", "408", "413", "503"},
    ("get", "/healthz"): set(),
    ("get", "/readyz"): {"503"},
    ("get", "/metrics"): set(),
    ("get", "/v1/asyncapi.json"): set(),
    ("get", "/problems/{slug}"): {"404"},
    ("get", "/v1/keys"): set(),
    ("post", "/v1/keys"): {"400", "408", "413"},
    ("delete", "/v1/keys/{key_id}"): {"404"},
    ("get", "/v1/audit"): set(),
    ("post", "/v1/session"): {"400", "408", "413"},
    ("get", "/v1/session"): set(),
    ("delete", "/v1/session"): set(),
    ("post", "/v1/tickets"): set(),
    ("get", "/v1/notifications"): set(),
    ("post", "/v1/notifications/{delivery_id}/retry"): {"404"},
}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    runtime = Runtime.open(Settings(data_dir=tmp_path_factory.mktemp("data")))
    yield create_app(runtime).openapi()
    runtime.close()


def operations(document: dict[str, Any]) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield (method, path), operation


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_operations_are_named_as_a_person_would_name_a_function(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    assert {"post_clip", "list_clips", "list_incidents", "put_camera", "metrics"} <= set(names)
    for name in names:
        assert re.fullmatch(r"[a-z]+(_[a-z]+){0,4}", name), name
        assert "v1" not in name


def test_every_route_lists_every_error_it_can_end_in(document: dict[str, Any]) -> None:
    listed = {
        route: {status for status in operation["responses"] if status[0] in "45"}
        for route, operation in operations(document)
    }
    assert listed == {route: ALWAYS | own for route, own in EXPECTED.items()}


def test_every_error_is_a_problem_with_an_example(document: dict[str, Any]) -> None:
    for route, operation in operations(document):
        for status, response in operation["responses"].items():
            if status[0] in "45":
                ((media_type, content),) = response["content"].items()
                assert media_type == MEDIA_TYPE, (route, status)
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
                for example in content["examples"].values():
                    assert example["value"]["status"] == int(status)


def test_every_route_has_a_summary_and_a_description(document: dict[str, Any]) -> None:
    for route, operation in operations(document):
        assert operation["summary"], route
        assert operation["description"], route
        assert operation["tags"], route


def test_every_parameter_is_described(document: dict[str, Any]) -> None:
    for route, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (route, parameter["name"])


def test_every_field_of_every_schema_is_described(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        for field, definition in schema.get("properties", {}).items():
            described = definition.get("description") or _target(document, definition).get("description")
            assert described, f"{name}.{field}"


def test_the_messages_of_the_websocket_are_documented(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["ClipEvent"]
    assert set(schema["discriminator"]["mapping"]) == {
        "hello", "progress", "score", "state", "lagged", "done", "failed", "cancelled",
    }  # fmt: skip


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in _references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"], reference


def _target(document: dict[str, Any], definition: dict[str, Any]) -> dict[str, Any]:
    name = definition.get("$ref", "").removeprefix("#/components/schemas/")
    found: dict[str, Any] = document["components"]["schemas"].get(name, {})
    return found


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def test_a_change_of_a_camera_describes_the_fields_of_a_camera(document: dict[str, Any]) -> None:
    whole, change = (document["components"]["schemas"][name] for name in ("CameraConfig", "CameraPatch"))
    assert change["properties"].keys() == whole["properties"].keys()
    assert change["additionalProperties"] is False
    assert "required" not in change
    # A generated client would send what is left out with its default.
    assert not any("default" in field for field in change["properties"].values())
