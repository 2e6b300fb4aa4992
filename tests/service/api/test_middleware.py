"""What surrounds every request, over real connections."""

from __future__ import annotations

from functools import partial

import pytest

from service.api import middleware
from service.api.problems import Kind
from service.clips.uploads import Pace, read_document
from tests.doubles.servers import Client, chunk, raw_connection, read_answer
from tests.service.api.test_clips import problem

PATHS = ["/v1/cameras/gate/calibration", "/v1/incidents/one/false-alarm", "/v1/incidents/one/acknowledge", "/nowhere"]


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_nobody_needs_is_cut_off(path: str, client: Client) -> None:
    with raw_connection(client.base_url.port or 0, {"Transfer-Encoding": "chunked"}, path) as connection:
        connection.sendall(chunk(b"[" * middleware.MAX_SMALL_BODY) + chunk(b"["))
        document = problem(read_answer(connection), Kind.BODY_TOO_LARGE)
    assert document["limit_bytes"] == middleware.MAX_SMALL_BODY


def test_a_body_that_is_promised_and_does_not_come_is_not_waited_for(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "read_document", partial(read_document, pace=Pace(stall_s=0.05)))
    with raw_connection(client.base_url.port or 0, {"Content-Length": "100"}, PATHS[0]) as connection:
        connection.sendall(b'{"seconds":')
        problem(read_answer(connection), Kind.UPLOAD_STALLED)


def test_a_body_in_pieces_arrives_whole(client: Client) -> None:
    head = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    with raw_connection(client.base_url.port or 0, head, "/v1/cameras/gate/calibration") as connection:
        connection.sendall(chunk(b'{"sec') + chunk(b'onds": 60}') + b"0\r\n\r\n")
        problem(read_answer(connection), Kind.CAMERA_NOT_FOUND)
