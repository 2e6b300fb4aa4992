"""The service against its own OpenAPI document: what is sent is made from it, what is answered is held against it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CheckFunction
from schemathesis.core.failures import Failure
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.access.policy import Scope
from service.settings import Auth
from tests.doubles.servers import LiveServer, Serve

EXAMPLES = 4
ENDLESS = {"/v1/cameras/{camera_id}/live.mjpg", "/v1/incidents/stream"}
CHECKS: list[CheckFunction] = [status_code_conformance, content_type_conformance, response_schema_conformance]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture
def live(serve: Serve) -> Iterator[LiveServer]:
    yield serve(auth=Auth.REQUIRED, requests_per_minute=1_000_000)


@pytest.mark.slow
@pytest.mark.parametrize("scope", list(Scope))
def test_every_answer_is_one_that_the_document_foresees(scope: Scope, live: LiveServer) -> None:
    base = f"http://127.0.0.1:{live.port}"
    key = live.runtime.keys.create("schema", scope)
    headers = {"authorization": f"Bearer {key.text}"}
    schema = schemathesis.openapi.from_url(f"{base}/openapi.json", headers=headers)
    operations = [found.ok() for found in schema.get_all_operations()]
    tried = 0
    for operation in operations:
        if operation.path in ENDLESS or (operation.method.upper(), operation.path) == ("DELETE", "/v1/session"):
            continue

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            nonlocal tried
            tried += 1
            response = case.call(headers=headers, timeout=60)
            assert response.status_code != 500, response.text
            assert response.status_code != 429, "the limits are out of the way"
            case.validate_response(response, checks=CHECKS)

        try:
            ask()
        except Failure as failure:
            raise AssertionError(f"{operation.method.upper()} {operation.path}: {failure}") from failure
    assert tried > 100
    assert live.runtime.keys.verify(key.text) is not None or scope is Scope.ADMIN
    assert live.client.get("/healthz").status_code == 200
