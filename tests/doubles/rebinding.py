"""Names that move, asked of the system's own resolver; `test_rebinding` runs this file in a network of its own.

The network is this machine's loopback under three addresses: a public one, that of a metadata service, and 127.0.0.1,
where a DNS server of the test answers. Whatever connects to any of them is counted.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import pytest

from pose.live import LiveSource, LiveTiming, SourceError
from service.addresses.policy import StreamPolicy, system_resolve
from service.addresses.urls import StreamUrlError, parse
from service.cameras.sources import open_capture
from tests.doubles.servers import Serve, eventually
from tests.doubles.streams import Peer, peer

PUBLIC = "93.184.216.34"
METADATA = "169.254.169.254"
LOOPBACK = "127.0.0.1"
PORT = 8554
URL = f"http://camera.example:{PORT}/video"


class Names:
    """A DNS server with a time to live of zero.

    Attributes:
        answers: Addresses of each name, one list for each time that it is asked for; the last one stays.
        asked: Names whose IPv4 addresses have been asked for.
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 53))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        # An empty datagram ends it: closing does not wake up who waits for one.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", (LOOPBACK, 53))
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            wire, client = self._socket.recvfrom(512)
            if not wire:
                return
            self._socket.sendto(self._answer(dns.message.from_wire(wire)).to_wire(), client)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query, recursion_available=True)
        question = query.question[0]
        if question.rdtype == dns.rdatatype.A:
            name = question.name.to_text(omit_final_dot=True)
            self.asked.append(name)
            times = self.answers[name]
            addresses = times.pop(0) if len(times) > 1 else times[0]
            answer.answer.append(dns.rrset.from_text(question.name, 0, "IN", "A", *addresses))
        return answer


@dataclass(frozen=True)
class Network:
    """What there is to connect to."""

    names: Names
    public: Peer
    metadata: Peer
    loopback: Peer

    def connections(self) -> tuple[int, int, int]:
        return self.public.connections, self.metadata.connections, self.loopback.connections


@pytest.fixture
def network() -> Iterator[Network]:
    def leave(connection: socket.socket) -> None:
        connection.recv(4096)

    with contextlib.ExitStack() as stack:
        names = Names()
        stack.callback(names.close)
        yield Network(
            names, *(stack.enter_context(peer(leave, address=(at, PORT))) for at in (PUBLIC, METADATA, LOOPBACK))
        )


def refusal(policy: StreamPolicy) -> str:
    """Why a connection to `URL` does not give pictures."""
    with pytest.raises(SourceError) as caught:
        open_capture(parse(URL), policy)()
    return caught.value.cause


@pytest.mark.parametrize("inside", [LOOPBACK, METADATA, "10.1.2.3"])
def test_a_name_that_moves_after_the_check_is_refused_before_anything_is_connected(
    network: Network, inside: str
) -> None:
    network.names.answers["camera.example"] = [[PUBLIC], [inside]]
    StreamPolicy().check(parse(URL))
    assert refusal(StreamPolicy()) == "forbidden"
    assert network.names.asked == ["camera.example"] * 2
    assert network.connections() == (0, 0, 0)


@pytest.mark.parametrize("order", [[PUBLIC, LOOPBACK], [LOOPBACK, PUBLIC], [PUBLIC, METADATA]])
def test_one_forbidden_address_among_others_refuses_the_name(network: Network, order: list[str]) -> None:
    network.names.answers["camera.example"] = [order]
    assert sorted(system_resolve("camera.example")) == sorted(order)
    with pytest.raises(StreamUrlError) as caught:
        StreamPolicy().check(parse(URL))
    assert caught.value.cause == "forbidden-address"
    assert refusal(StreamPolicy()) == "forbidden"
    assert network.connections() == (0, 0, 0)


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_connection_goes_to_the_address_that_was_judged_though_the_name_has_moved(
    network: Network, scheme: str
) -> None:
    network.names.answers["camera.example"] = [[PUBLIC], [LOOPBACK]]
    with pytest.raises(SourceError) as caught:
        open_capture(parse(URL.replace("http", scheme)), StreamPolicy())()
    assert caught.value.cause != "forbidden"
    eventually(lambda: network.public.connections, "the public address has been connected to")
    assert system_resolve("camera.example") == [LOOPBACK]
    assert network.connections() == (1, 0, 0)


def test_where_loopback_is_allowed_the_same_name_does_lead_there(network: Network) -> None:
    network.names.answers["camera.example"] = [[LOOPBACK]]
    assert refusal(StreamPolicy([ip_network("127.0.0.0/8")])) != "forbidden"
    eventually(lambda: network.loopback.connections, "loopback has been connected to")


def test_a_source_that_lost_its_connection_does_not_follow_the_name_inside(network: Network) -> None:
    network.names.answers["camera.example"] = [[PUBLIC], [METADATA]]
    source = LiveSource(
        "gate", open_capture(parse(URL), StreamPolicy()), timing=LiveTiming(backoff_first_s=0.05, backoff_cap_s=0.05)
    )
    source.start()
    try:
        eventually(lambda: source.problem is not None and source.problem.cause == "forbidden", "the name is refused")
        eventually(lambda: len(network.names.asked) >= 4, "it has been sought again")
    finally:
        source.stop()
    assert network.connections() == (1, 0, 0)


def test_a_running_service_connects_to_no_name_that_has_moved_inside(network: Network, serve: Serve) -> None:
    network.names.answers["camera.example"] = [[PUBLIC]]
    client = serve().client
    assert client.put("/v1/cameras/gate", json={"url": URL}).status_code == 201
    eventually(lambda: network.public.connections, "the camera has been connected to")

    network.names.answers["camera.example"] = [[METADATA]]

    def forbidden() -> bool:
        problem = client.get("/v1/cameras/gate").json()["problem"]
        return problem is not None and problem["cause"] == "forbidden"

    eventually(forbidden, "the camera says what keeps it")
    refused = client.put("/v1/cameras/attic", json={"url": URL})
    assert (refused.status_code, refused.json()["cause"]) == (422, "forbidden-address")
    assert network.connections()[1:] == (0, 0)


def test_a_clip_and_a_callback_do_not_follow_a_name_that_moves_inside_after_it_was_accepted(
    network: Network, serve: Serve
) -> None:
    client = serve().client
    network.names.answers["camera.example"] = [[PUBLIC], [METADATA]]
    network.names.answers["hooks.example"] = [[PUBLIC], [LOOPBACK]]
    document = {"url": URL, "callback_url": URL.replace("camera", "hooks")}
    accepted = client.post("/v1/clips", json=document)
    assert accepted.status_code == 202, accepted.text
    assert client.until(accepted.json()["id"], "failed")["error"]["cause"] == "forbidden"

    def told() -> bool:
        callback = client.clip(accepted.json()["id"])["callback"]
        return callback["attempts"] == 1 and "DAFLOW_ALLOWED_STREAM_CIDRS" in callback["problem"]

    eventually(told, "the callback was tried")
    assert network.connections() == (0, 0, 0)


def test_a_clip_is_fetched_from_the_address_that_was_judged_though_the_name_has_moved(
    network: Network, serve: Serve
) -> None:
    client = serve().client
    network.names.answers["camera.example"] = [[PUBLIC], [PUBLIC], [LOOPBACK]]
    clip = client.post("/v1/clips", json={"url": URL}).json()
    assert client.until(clip["id"], "failed")["error"]["cause"] != "forbidden"
    assert system_resolve("camera.example") == [LOOPBACK]
    assert network.connections() == (1, 0, 0)
