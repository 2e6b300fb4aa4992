"""Clients that are slow, idle or ill-willed, against the real server: what they take is bounded."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from service.api.authentication import UNAUTHENTICATED_CODE
from service.server import HEAD_S
from tests.doubles.servers import ServerProcess, raw_connection, read_answer, server_process

MOST = 40
FEED = {"url": "skeletons:"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Needs no models: nothing is scored here."""
    with server_process(
        tmp_path_factory.mktemp("hostile") / "data",
        ready=False,
        pose_weights="nowhere.onnx",
        connections_per_address=MOST,
        max_clip_bytes=1_000_000,
    ) as running:
        assert running.client.put("/v1/cameras/gate", json=FEED).status_code == 201
        yield running


def test_an_address_may_have_so_much_open_and_no_more(server: ServerProcess) -> None:
    address = f"ws://127.0.0.1:{server.port}/v1/cameras/gate/scores"
    with ExitStack() as stack:
        for _ in range(MOST):
            assert json.loads(stack.enter_context(connect(address)).recv())["type"] == "hello"
        with pytest.raises(InvalidStatus, match="429"), connect(address):
            pass
        refused = server.client.get("/v1/cameras")
        assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-requests")
    with connect(address) as socket_again:
        assert json.loads(socket_again.recv())["type"] == "hello"


@pytest.mark.slow
def test_connections_that_ask_nothing_or_never_finish_their_head_are_closed(server: ServerProcess) -> None:
    with ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=6 * HEAD_S))
            for _ in range(1000)
        ]
        for connection in silent[::2]:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        assert server.client.get("/healthz").status_code == 200
        assert {connection.recv(1) for connection in silent} == {b""}
    assert server.client.get("/healthz").status_code == 200


def test_a_message_of_a_hundred_megabytes_ends_its_connection_before_it_is_there(server: ServerProcess) -> None:
    with connect(f"ws://127.0.0.1:{server.port}/v1/cameras/gate/skeletons", max_size=None) as device:
        device.recv()
        with pytest.raises(ConnectionClosed):
            device.send("x" * 100_000_000)
            while True:
                device.recv()
    assert server.client.get("/healthz").status_code == 200


def test_compressed_bodies_are_not_blown_up(server: ServerProcess) -> None:
    bomb = gzip.compress(bytes(100_000_000))
    for path, method in (("/v1/cameras/bomb", "PUT"), ("/v1/skeletons", "POST")):
        headers = {"content-encoding": "gzip", "content-type": "application/json"}
        answer = server.client.request(method, path, content=bomb, headers=headers)
        assert answer.status_code in (413, 422, 503), answer.text


def test_an_upload_that_promises_more_than_is_allowed_is_refused_at_its_head(server: ServerProcess) -> None:
    with raw_connection(server.port, {"Content-Length": str(10**12), "Content-Type": "video/mp4"}) as connection:
        answer = read_answer(connection)
    assert answer.status_code in (413, 503)


def test_a_socket_without_a_key_waits_for_its_first_message_and_gets_nothing(tmp_path: Path) -> None:
    with server_process(tmp_path / "data", ready=False, pose_weights="nowhere.onnx", auth="required") as locked:
        address = f"ws://127.0.0.1:{locked.port}/v1/cameras/gate/skeletons"
        with connect(address) as device:
            device.send(json.dumps({"time_s": 0.0, "people": []}))
            with pytest.raises(ConnectionClosed) as closed:
                device.recv(timeout=60)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == UNAUTHENTICATED_CODE
