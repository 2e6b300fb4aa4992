"""Requests that no client of good will sends, to every route and WebSocket, on each database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.routing import Mount, WebSocketRoute
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from service.access.policy import Scope
from service.api.authentication import registered
from service.settings import Auth
from tests.doubles.servers import LiveServer, Serve

HUGE = (2**31, 2**32, 2**53, 10**18 - 1)
NAMES = ("clip_id", "camera_id", "incident_id", "key_id", "delivery_id", "slug")
FILTERS = ("camera", "cursor", "last_event_id")


@pytest.fixture
def house(serve: Serve) -> Iterator[tuple[LiveServer, dict[str, str]]]:
    live = serve(auth=Auth.REQUIRED)
    key = live.runtime.keys.create("admin", Scope.ADMIN)
    yield live, {"authorization": f"Bearer {key.text}"}


def ask(house: tuple[LiveServer, dict[str, str]], method: str, path: str) -> int:
    live, headers = house
    if method != "WEBSOCKET":
        return live.client.request(method, path, headers=headers).status_code
    try:
        with connect(f"ws://127.0.0.1:{live.port}{path}", additional_headers=headers) as socket:
            socket.recv(timeout=5)
            return 101
    except InvalidStatus as error:
        return error.response.status_code
    except ConnectionClosed as error:
        assert error.rcvd is not None
        return error.rcvd.code


def addresses(live: LiveServer) -> list[tuple[str, str]]:
    found = []
    for route in registered(live.app.router):
        if isinstance(route.original_route, WebSocketRoute):
            found.append(("WEBSOCKET", route.path or ""))
        elif not isinstance(route.original_route, Mount):
            found += [(method, route.path or "") for method in sorted(route.methods or ()) if method != "HEAD"]
    return found


def filled(path: str, value: str) -> str:
    return path.format(**dict.fromkeys(NAMES, value))


def test_a_nul_in_the_path_or_the_query_is_refused_everywhere(house: tuple[LiveServer, dict[str, str]]) -> None:
    for method, path in addresses(house[0]):
        if "{" in path:
            for value in ("%00", "a%00b"):
                assert ask(house, method, filled(path, value)) == 422, (method, path, value)
        query = "&".join(f"{name}=a%00b" for name in FILTERS)
        assert ask(house, method, f"{filled(path, 'x')}?{query}") == 422, (method, path)


def test_numbers_beyond_32_bits_are_as_good_as_any(house: tuple[LiveServer, dict[str, str]]) -> None:
    for number in HUGE:
        for path in ("/v1/clips?cursor={}", "/v1/incidents?cursor={}", "/v1/notifications?cursor={}"):
            assert ask(house, "GET", path.format(number)) == 200, (path, number)
        assert ask(house, "GET", f"/v1/audit?before={min(number, 2**53)}") == 200
        assert ask(house, "POST", f"/v1/notifications/{number}/retry") == 404
        assert ask(house, "WEBSOCKET", f"/v1/incidents?last_event_id={number}") == 101
    for path in (
        "/v1/clips?cursor={}",
        "/v1/incidents?cursor={}",
        "/v1/audit?before={}",
        "/v1/notifications?cursor={}",
    ):
        assert ask(house, "GET", path.format(10**30)) == 422, path
    assert 400 <= ask(house, "POST", f"/v1/notifications/{10**30}/retry") < 500


@pytest.mark.parametrize("name", ["\0", "a\0b", "\0a", " \0"])
def test_a_name_with_a_nul_is_refused(name: str, house: tuple[LiveServer, dict[str, str]]) -> None:
    live, headers = house
    client = live.client
    assert client.post("/v1/keys", json={"name": name}, headers=headers).status_code == 422
    camera = {"url": "skeletons:", "name": name}
    assert client.put("/v1/cameras/gate", json=camera, headers=headers).status_code in (201, 422)
    assert client.get("/v1/cameras", headers=headers).status_code == 200
    with pytest.raises(ValueError, match="characters"):
        live.runtime.keys.create(name, Scope.READ)
