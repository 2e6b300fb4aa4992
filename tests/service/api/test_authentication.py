"""The door against every route that the application registers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from starlette.routing import Mount, Route, WebSocketRoute
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from service.access.keys import KeyStore, NewKey, TokenRow
from service.access.limits import GUESSES
from service.access.policy import Scope, Subject
from service.api import authentication
from service.api.permissions import MOUNTS, RULES, WEBSOCKET, rule_of
from service.live.incident import Started
from service.settings import Auth
from tests.doubles.live_records import incident
from tests.doubles.servers import LiveServer, Serve, eventually, trusted

FEED = {"url": "skeletons:"}


class House:
    """A service that asks for keys, with two cameras and keys of every kind."""

    def __init__(self, live: LiveServer) -> None:
        self.live = live
        self.keys = {scope: live.runtime.keys.create(f"all {scope}", scope) for scope in Scope}
        self.yard = {scope: live.runtime.keys.create(f"yard {scope}", scope, cameras=["yard"]) for scope in Scope}
        for camera in ("gate", "yard"):
            assert self.ask("PUT", f"/v1/cameras/{camera}", self.keys[Scope.ADMIN], json=FEED).status_code == 201

    def ask(self, method: str, path: str, key: NewKey | None = None, **options: Any) -> httpx.Response:
        headers = options.pop("headers", {}) | ({"authorization": f"Bearer {key.text}"} if key else {})
        url = f"http://127.0.0.1:{self.live.port}{path}"
        return httpx.request(method, url, headers=headers, verify=trusted(), **options)

    def opens(self, path: str, key: NewKey | None = None, **options: Any) -> int:
        """Status of the handshake of a WebSocket, or the code with which it is closed at once."""
        headers = {"authorization": f"Bearer {key.text}"} if key else {}
        try:
            with connect(f"ws://127.0.0.1:{self.live.port}{path}", additional_headers=headers, **options) as socket:
                socket.send("{}")
                socket.recv(timeout=5)
                return 101
        except InvalidStatus as error:
            return error.response.status_code
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd else 1006


@pytest.fixture
def house(serve: Serve) -> Iterator[House]:
    live = serve(auth=Auth.REQUIRED)
    yield House(live)


def routes(house: House) -> list[tuple[str, str]]:
    """Method and path of all that the application registers."""
    found = []
    for route in authentication.registered(house.live.app.router):
        if isinstance(route.original_route, WebSocketRoute):
            found.append((WEBSOCKET, route.path))
        elif isinstance(route.original_route, Mount):
            assert route.path in MOUNTS, f"nobody says who may use {route.path}"
        else:
            assert isinstance(route.original_route, Route), f"a kind of route that the sweep does not know: {route}"
            found += [(method, route.path) for method in sorted(route.methods or ()) if method != "HEAD"]
    return found


def address(path: str, camera: str = "gate") -> str:
    names = {"camera_id": camera, "incident_id": "i" * 32, "clip_id": "c" * 32, "key_id": "0" * 12, "delivery_id": "1"}
    names["slug"] = "forbidden"
    return path.format(**names)


def test_every_route_has_a_rule_and_every_rule_a_route(house: House) -> None:
    found = routes(house)
    assert set(found) == set(RULES)
    assert len(found) > 40
    assert rule_of("GET", "/v1/anything") is None


def test_nobody_without_a_key_gets_behind_the_door(house: House) -> None:
    for method, path in routes(house):
        rule = RULES[method, path]
        status = house.opens(address(path)) if method == WEBSOCKET else house.ask(method, address(path)).status_code
        if rule.scope is None:
            assert status not in (401, 403), (method, path)
        else:
            assert status == (authentication.UNAUTHENTICATED_CODE if method == WEBSOCKET else 401), (method, path)


def test_a_scope_too_small_is_refused_everywhere(house: House) -> None:
    order, refused = list(Scope), 0
    for method, path in routes(house):
        scope = RULES[method, path].scope
        for less in order[: order.index(scope)] if scope else []:
            key = house.keys[less]
            status = (
                house.opens(address(path), key)
                if method == WEBSOCKET
                else house.ask(method, address(path), key).status_code
            )
            assert status == 403, (method, path, less)
            refused += 1
    assert refused > 20


def test_a_key_for_another_camera_is_refused_everywhere(house: House) -> None:
    key, refused = house.yard[Scope.ADMIN], 0
    for method, path in routes(house):
        if RULES[method, path].subject is Subject.NOTHING:
            continue
        status = (
            house.opens(address(path), key)
            if method == WEBSOCKET
            else house.ask(method, address(path), key).status_code
        )
        assert status == 403, (method, path)
        refused += 1
    assert refused > 30
    assert house.ask("GET", "/v1/cameras/yard", key).status_code == 200
    assert house.opens("/v1/cameras/yard/scores", key) == 101


def test_lists_and_streams_leave_out_what_a_key_may_not_see(house: House) -> None:
    key = house.yard[Scope.READ]
    listed = house.ask("GET", "/v1/cameras", key).json()["cameras"]
    assert [camera["id"] for camera in listed] == ["yard"]
    assert house.ask("GET", "/v1/incidents", key).json() == {"incidents": [], "next": None}
    today = datetime.now(UTC).date().isoformat()
    for kind, camera in (("gate", "gate"), ("yard", "yard"), ("gone", "removed")):
        house.live.runtime.streams.log.record(Started(incident(kind, camera, time.monotonic())))
    eventually(lambda: len(house.ask("GET", "/v1/incidents", house.keys[Scope.READ]).json()["incidents"]) == 3, "all")
    report = house.ask("GET", f"/v1/incidents/report?day={today}", key).json()
    assert [one["camera"] for one in report["cameras"]] == ["yard"]
    assert report["total"]["incidents"] == 1
    base = f"ws://127.0.0.1:{house.live.port}/v1/incidents"
    headers = {"authorization": f"Bearer {key.text}"}
    with connect(f"{base}?last_event_id=0", additional_headers=headers) as socket:
        assert json.loads(socket.recv())["cameras"] == ["yard"]
        told = {json.loads(socket.recv())["camera"] for _ in range(1)}
        assert told == {"yard"}
    with pytest.raises(InvalidStatus, match="403"), connect(f"{base}?camera=gate", additional_headers=headers):
        pass
    url = f"http://127.0.0.1:{house.live.port}/v1/incidents/stream?last_event_id=0"
    with httpx.stream("GET", url, headers=headers, verify=trusted()) as stream:
        lines = stream.iter_lines()
        hello = next(line for line in lines if line.startswith("data:"))
        assert json.loads(hello[5:])["cameras"] == ["yard"]


def test_people_review_and_read_only_what_they_may_see_and_are_named(house: House) -> None:
    for name, camera in (("g", "gate"), ("y", "yard")):
        house.live.runtime.streams.log.record(Started(incident(name, camera, time.monotonic())))
    eventually(lambda: len(house.live.runtime.streams.incidents.ids()) == 2, "they are stored")
    anna, ben = house.yard[Scope.OPERATE], house.keys[Scope.OPERATE]
    both = [{"id": name, "revision": 0} for name in ("g", "y")]
    body = {"incidents": both, "change": {"verdict": "drill"}}
    results = house.ask("PATCH", "/v1/incidents", anna, json=body).json()["results"]
    assert [(one["done"], one["problem"], one["incident"] is None) for one in results] == [
        (False, "/problems/incident-not-found", True),
        (True, None, False),
    ]
    assert results[1]["incident"]["review"]["by"] == "yard operate"
    taken = house.ask("POST", "/v1/incidents/undo", anna, json={"incidents": [one | {"revision": 1} for one in both]})
    assert [one["done"] for one in taken.json()["results"]] == [False, True]
    assert house.ask("PATCH", "/v1/incidents/g", anna, json={"revision": 0, "note": "x"}).status_code == 403
    house.ask("POST", "/v1/incidents/read", anna, json={"ids": ["g", "y"]})
    assert house.ask("GET", "/v1/incidents/unread", anna).json() == {"unread": 0}
    assert house.ask("GET", "/v1/incidents/unread", ben).json() == {"unread": 2}
    acknowledged = house.ask("POST", "/v1/incidents/y/acknowledge", ben).json()
    assert acknowledged["acknowledged_by"] == "all operate"
    refused = house.ask("PATCH", "/v1/incidents/y", anna, json={"revision": 2, "note": "x"})
    assert (refused.status_code, refused.json()["detail"][:28]) == (409, "all operate acknowledged it ")
    changes = house.ask("GET", "/v1/audit", house.keys[Scope.ADMIN]).json()["records"]
    assert {one["action"] for one in changes if "incidents" in one["action"]} == {
        "PATCH /v1/incidents",
        "POST /v1/incidents/undo",
        "POST /v1/incidents/{incident_id}/acknowledge",
    }


def test_a_websocket_opens_by_its_first_message_or_by_a_ticket_that_works_once(house: House) -> None:
    key = house.keys[Scope.READ]
    base = f"ws://127.0.0.1:{house.live.port}/v1/cameras/gate/scores"
    with connect(base) as socket:
        socket.send(json.dumps({"type": "authenticate", "key": key.text}))
        assert json.loads(socket.recv())["type"] == "hello"
    with connect(base) as socket:
        socket.send(json.dumps({"type": "authenticate", "key": key.text + "x"}))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == authentication.UNAUTHENTICATED_CODE
    ticket = house.ask("POST", "/v1/tickets", key).json()["ticket"]
    offered: list[Any] = ["daflow", f"daflow.ticket.{ticket}"]
    with connect(base, subprotocols=offered) as socket:
        assert socket.subprotocol == "daflow"
        assert json.loads(socket.recv())["type"] == "hello"
    with pytest.raises(InvalidStatus, match="401"), connect(base, subprotocols=offered):
        pass


def test_a_browser_logs_in_with_a_key_and_out_again(house: House) -> None:
    base = f"http://127.0.0.1:{house.live.port}"
    with httpx.Client(base_url=base, verify=trusted()) as browser:
        refused = browser.post("/v1/session", json={"key": "dfl_nonsense"})
        assert (refused.status_code, refused.json()["type"]) == (401, "/problems/unauthenticated")
        answer = browser.post("/v1/session", json={"key": house.keys[Scope.OPERATE].text})
        assert answer.json() == {"name": "all operate", "scope": "operate", "cameras": None, "open": False}
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert browser.get("/v1/session").json()["scope"] == "operate"
        assert browser.get("/v1/cameras").status_code == 200
        foreign = browser.post("/v1/tickets", headers={"origin": "https://evil.example"})
        assert foreign.status_code == 403
        assert browser.delete("/v1/session").status_code == 204
        browser.cookies.set(authentication.COOKIE, answer.cookies[authentication.COOKIE])
        assert browser.get("/v1/cameras").status_code == 401


def test_a_revoked_key_ends_its_sessions_and_its_streams(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "RECHECK_S", 0.1)
    admin, key = house.keys[Scope.ADMIN], house.keys[Scope.READ]
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{house.live.port}", verify=trusted()) as browser,
        connect(
            f"ws://127.0.0.1:{house.live.port}/v1/cameras/gate/scores",
            additional_headers={"authorization": f"Bearer {key.text}"},
        ) as socket,
    ):
        browser.post("/v1/session", json={"key": key.text})
        assert json.loads(socket.recv())["type"] == "hello"
        assert house.ask("DELETE", f"/v1/keys/{key.info.id}", admin).json()["revoked_at"]
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=30)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == authentication.UNAUTHENTICATED_CODE
        assert browser.get("/v1/cameras").status_code == 401
    assert house.ask("GET", "/v1/cameras", key).status_code == 401
    assert house.ask("DELETE", "/v1/keys/000000000000", admin).json()["type"] == "/problems/key-not-found"


def test_keys_are_made_and_listed_without_their_secrets(house: House) -> None:
    admin = house.keys[Scope.ADMIN]
    wanted = {"name": "night shift", "scope": "operate", "cameras": ["yard"], "expires_in_days": 1}
    made = house.ask("POST", "/v1/keys", admin, json=wanted)
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    key = made.json().pop("key")
    listed = house.ask("GET", "/v1/keys", admin)
    assert key.split("_")[2] not in listed.text
    assert listed.json()["keys"][-1]["name"] == "night shift"
    assert house.ask("GET", "/v1/cameras/yard", headers={"authorization": f"Bearer {key}"}).status_code == 200
    nobody = house.ask("POST", "/v1/keys", admin, json={"name": "nobody", "cameras": []})
    assert nobody.json()["type"] == "/problems/invalid-request"


def test_changes_are_written_down_with_who_made_them_and_without_secrets(house: House) -> None:
    operator, admin = house.keys[Scope.OPERATE], house.keys[Scope.ADMIN]
    audit = "/v1/audit?limit=2"

    def newest() -> set[tuple[str, str, int, str]]:
        records = house.ask("GET", audit, admin).json()["records"]
        return {(one["action"], one["target"], one["status"], one["name"]) for one in records}

    # Changes are recorded after their answers: those of the setup may still come, and of two the second may be first.
    eventually(lambda: len(newest()) == 2, "the setup is recorded")
    assert house.ask("PATCH", "/v1/cameras/gate", admin, json={"name": "hunter2"}).status_code == 200
    assert house.ask("DELETE", "/v1/cameras/yard", operator).status_code == 403
    assert house.ask("DELETE", "/v1/cameras/yard", admin).status_code == 204
    made = {
        ("DELETE /v1/cameras/{camera_id}", "/v1/cameras/yard", 204, "all admin"),
        ("PATCH /v1/cameras/{camera_id}", "/v1/cameras/gate", 200, "all admin"),
    }
    eventually(lambda: newest() == made, "both changes are recorded")
    records = house.ask("GET", audit, admin).json()
    assert "hunter2" not in json.dumps(records)
    older = house.ask("GET", f"/v1/audit?before={records['next']}", admin).json()["records"]
    assert all(one["id"] < records["next"] for one in older)


@pytest.mark.parametrize("stream", ["live.mjpg", "events", "socket", "socket with a ticket"])
@pytest.mark.parametrize("ending", ["log-out", "another process", "expiry", "revoked key"])
def test_every_stream_ends_within_five_seconds_of_its_session_or_key(house: House, stream: str, ending: str) -> None:
    base, key = f"127.0.0.1:{house.live.port}", house.keys[Scope.READ]
    with httpx.Client(base_url=f"http://{base}", timeout=20, verify=trusted()) as browser, ExitStack() as opened:
        browser.post("/v1/session", json={"key": key.text})
        cookie = {"cookie": f"{authentication.COOKIE}={browser.cookies[authentication.COOKIE]}"}
        if stream.startswith("socket"):
            offered: list[Any] = []
            if stream == "socket with a ticket":
                offered = ["daflow", f"daflow.ticket.{browser.post('/v1/tickets').json()['ticket']}"]
            where, head = f"ws://{base}/v1/cameras/gate/scores", {} if offered else cookie
            socket = opened.enter_context(connect(where, additional_headers=head, subprotocols=offered or None))
            assert json.loads(socket.recv())["type"] == "hello"
        else:
            path = "/v1/cameras/gate/live.mjpg" if stream == "live.mjpg" else "/v1/incidents/stream"
            chunks = opened.enter_context(browser.stream("GET", path)).iter_raw()
            next(chunks)
        match ending:
            case "log-out":
                assert httpx.delete(f"http://{base}/v1/session", headers=cookie, verify=trusted()).status_code == 204
            case "another process":
                KeyStore(house.live.runtime.database).end_session(browser.cookies[authentication.COOKIE])
            case "revoked key":
                KeyStore(house.live.runtime.database).revoke(key.info.id)
            case _:
                with house.live.runtime.database.sessions.begin() as session:
                    session.execute(update(TokenRow).values(expires_at=datetime.now(UTC)))
        ended = time.monotonic()
        if stream.startswith("socket"):
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    socket.recv(timeout=20)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == authentication.UNAUTHENTICATED_CODE
        else:
            for _ in chunks:
                pass
        assert time.monotonic() - ended < 5.0


def guess(house: House, credential: str, key: str) -> int:
    """Status of the answer to a wrong credential."""
    match credential:
        case "key":
            return house.ask("GET", "/v1/cameras", headers={"authorization": f"Bearer {key}"}).status_code
        case "key of a socket":
            return house.opens("/v1/incidents", subprotocols=["daflow", f"daflow.ticket.{key}"])
        case "key of an open page":
            return house.ask("GET", "/login", headers={"authorization": f"Bearer {key}"}).status_code
        case _:
            return house.ask("POST", "/v1/session", json={"key": key}).status_code


@pytest.mark.parametrize("credential", ["key", "key of a socket", "key of an open page", "log-in"])
def test_the_guesses_of_one_lock_out_nobody_with_a_valid_key_or_session(house: House, credential: str) -> None:
    key = house.keys[Scope.ADMIN]
    session = house.ask("POST", "/v1/session", json={"key": key.text}).cookies[authentication.COOKIE]
    statuses = [guess(house, credential, "dfl_wrong") for _ in range(GUESSES + 3)]
    assert statuses == [401] * GUESSES + [429] * 3
    locked = house.ask("GET", "/v1/cameras", headers={"authorization": "Bearer dfl_wrong"})
    assert locked.json()["type"] == "/problems/too-many-requests"
    assert int(locked.headers["retry-after"]) > 0
    assert house.ask("GET", "/v1/cameras", key).status_code == 200
    assert house.ask("GET", "/v1/cameras", headers={"cookie": f"{authentication.COOKIE}={session}"}).status_code == 200
    assert house.ask("POST", "/v1/session", json={"key": key.text}).status_code == 200
    ticket = house.ask("POST", "/v1/tickets", key).json()["ticket"]
    assert house.opens("/v1/cameras/gate/scores", subprotocols=["daflow", f"daflow.ticket.{ticket}"]) == 101
    assert house.opens("/v1/cameras/gate/scores", key) == 101
    for path in ("/healthz", "/readyz", "/login", "/problems/forbidden"):
        assert house.ask("GET", path).status_code == 200


@pytest.mark.parametrize("ending", ["expired", "revoked"])
@pytest.mark.parametrize("credential", ["key", "key of an open page", "log-in"])
def test_a_key_that_was_valid_once_is_not_a_guess(house: House, credential: str, ending: str) -> None:
    keys = house.live.runtime.keys
    old = keys.create("old", Scope.READ, valid_for=timedelta(seconds=0.01) if ending == "expired" else None)
    if ending == "revoked":
        keys.revoke(old.info.id)
    time.sleep(0.02)
    assert [guess(house, credential, old.text) for _ in range(GUESSES + 3)] == [401] * (GUESSES + 3)
    assert guess(house, credential, "dfl_wrong") == 401
    assert house.ask("GET", "/healthz", headers={"authorization": f"Bearer {old.text}"}).status_code == 200


def test_health_is_answered_whatever_others_at_the_address_do(serve: Serve) -> None:
    house = House(serve(auth=Auth.REQUIRED, requests_per_minute=20, connections_per_address=2))
    for _ in range(30):
        house.ask("GET", "/v1/cameras")
        house.ask("GET", "/login")
    assert house.ask("GET", "/login").status_code == 429
    incidents = f"ws://127.0.0.1:{house.live.port}/v1/incidents"
    with connect(incidents), connect(incidents):
        for _ in range(25):
            for path in ("/healthz", "/readyz"):
                assert house.ask("GET", path, headers={"authorization": "Bearer dfl_wrong"}).status_code == 200
        # A WebSocket that has sent no key yet takes no place of a client with a key.
        assert house.ask("GET", "/v1/cameras", house.keys[Scope.READ]).status_code == 200


def test_more_requests_than_allowed_are_refused_by_key(serve: Serve) -> None:
    house = House(serve(auth=Auth.REQUIRED, requests_per_minute=5))
    statuses = [house.ask("GET", "/v1/cameras", house.keys[Scope.READ]).status_code for _ in range(12)]
    assert 429 in statuses
    assert statuses[:5] == [200] * 5
    assert house.ask("GET", "/v1/cameras", house.keys[Scope.OPERATE]).status_code == 200


def test_a_service_of_this_machine_alone_asks_for_no_key(serve: Serve) -> None:
    live = serve()
    eventually(lambda: live.client.get("/v1/cameras").status_code == 200, "it answers")
    assert live.client.get("/v1/session").json()["open"] is True
    assert live.client.post("/v1/tickets").json()["type"] == "/problems/forbidden"
