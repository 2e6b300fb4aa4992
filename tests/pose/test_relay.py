from __future__ import annotations

import itertools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from pose.captures import StreamCapture
from pose.connections import Link, PinnedUrl
from pose.live import SourceError
from pose.relay import RtspRelay
from tests.doubles.servers import eventually
from tests.doubles.streams import Behaviour, answers, peer, silent

Answer = tuple[str, dict[str, str], str]
"""Status, headers and body."""

SDP = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=cam\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:t1\r\n"
)
OVER_TCP = {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1", "Session": "77;timeout=3"}
GOOD: Mapping[str, Answer] = {
    "OPTIONS": ("200 OK", {"Public": "OPTIONS, DESCRIBE, SETUP, PLAY"}, ""),
    "DESCRIBE": ("200 OK", {"Content-Type": "application/sdp"}, SDP),
    "SETUP": ("200 OK", OVER_TCP, ""),
    "PLAY": ("200 OK", {"Session": "77"}, ""),
    "GET_PARAMETER": ("200 OK", {}, ""),
}
UDP_ONLY = "RTP/AVP;unicast;client_port=5000-5001;server_port=6000-6001"


class Camera:
    """An RTSP camera that answers each method as told, and sends no video.

    Attributes:
        requests: Every request, its first line and its headers.
    """

    def __init__(self, challenge: str | None = None, before: bytes = b"", **told: Answer) -> None:
        self._answers = {**GOOD, **told}
        self._challenge = challenge
        self._before = before
        self.requests: list[tuple[str, dict[str, str]]] = []

    def __call__(self, connection: socket.socket) -> None:
        held = b""
        while data := connection.recv(4096):
            held += data
            while b"\r\n\r\n" in held:
                head, _, held = held.partition(b"\r\n\r\n")
                first, *lines = head.decode().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                self.requests.append((first, headers))
                connection.sendall(self._before + self._answer(first, headers))

    def _answer(self, first: str, asked: dict[str, str]) -> bytes:
        status, headers, body = self._answers[first.split(" ")[0]]
        if self._challenge is not None and "authorization" not in asked:
            status, headers, body = "401 Unauthorized", {"WWW-Authenticate": self._challenge}, ""
        lines = [
            f"RTSP/1.0 {status}",
            f"CSeq: {asked['cseq']}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode()

    def count(self, method: str) -> int:
        return sum(first.startswith(method) for first, _ in list(self.requests))


def problem(camera: Behaviour, *, user: str | None = None, allow_udp: bool = True) -> SourceError:
    """Why a camera gives no stream."""
    with peer(camera) as running, pytest.raises(SourceError) as caught:
        url = PinnedUrl("rtsp", "camera.test", "127.0.0.1", running.port, "/live", user, user and "secret")
        StreamCapture(url, open_s=5, allow_udp=allow_udp)
    assert "secret" not in str(caught.value)
    return caught.value


@contextmanager
def relayed(camera: Behaviour) -> Iterator[Callable[[str], bytes]]:
    """A session through a relay, as FFmpeg would lead it: sends a request, returns what comes."""
    with peer(camera) as running:
        url = PinnedUrl("rtsp", "camera.test", "127.0.0.1", running.port, "/live", "viewer", "secret")
        relay = RtspRelay(Link(url, 5), url, 5)
        port = int(re.findall(r":(\d+)/", relay.url)[0])
        with socket.create_connection(("127.0.0.1", port), timeout=5) as player:
            numbers = itertools.count(1)

            def ask(method: str) -> bytes:
                player.sendall(f"{method} {relay.url} RTSP/1.0\r\nCSeq: {next(numbers)}\r\n\r\n".encode())
                return player.recv(65536)

            yield ask
        relay.abort()


@pytest.mark.parametrize(
    ("camera", "cause", "words"),
    [
        (Camera(SETUP=("461 Unsupported Transport", {}, "")), "transport", "neither over TCP nor over UDP"),
        (Camera(DESCRIBE=("200 OK", {}, SDP.replace("m=video", "m=audio"))), "not-a-video", "no video"),
        (Camera(DESCRIBE=("404 Not Found", {}, "")), "not-found", "404"),
        (Camera(DESCRIBE=("403 Forbidden", {}, "")), "unauthorised", "403"),
        (Camera(SETUP=("453 Not Enough Bandwidth", {}, "")), "rejected", "busy"),
        (Camera(PLAY=("455 Method Not Valid in This State", {}, "")), "rejected", "PLAY with status 455"),
        (Camera(DESCRIBE=("500 Internal Server Error", {}, "")), "rejected", "status 500"),
        (Camera(DESCRIBE=("302 Moved", {}, "")), "redirect", "another address"),
        (Camera('Digest realm="x", nonce="n"'), "unauthorised", "asks for a user name"),
    ],
    ids=["461", "audio", "404", "403", "453", "455", "500", "302", "no password"],
)
def test_each_refusal_has_its_true_cause_in_words(camera: Camera, cause: str, words: str) -> None:
    refusal = problem(camera)
    assert (refusal.cause, words in str(refusal)) == (cause, True), str(refusal)


@pytest.mark.parametrize("setup", [("461 Unsupported Transport", {}, ""), ("200 OK", {"Transport": UDP_ONLY}, "")])
def test_udp_is_used_only_where_it_is_allowed(setup: Answer) -> None:
    camera = Camera(SETUP=setup)
    refusal = problem(camera, allow_udp=False)
    assert (refusal.cause, "UDP is not allowed" in str(refusal)) == ("transport", True)
    assert camera.count("SETUP") == 1


@pytest.mark.parametrize("challenge", ["Negotiate", 'Digest realm="x", nonce="n", algorithm=SHA3-256'])
def test_a_kind_of_authentication_that_is_not_supported_is_no_wrong_password(challenge: str) -> None:
    refusal = problem(Camera(challenge), user="viewer")
    assert (refusal.cause, "not supported" in str(refusal)) == ("unauthorised", True)


@pytest.mark.parametrize(
    ("challenge", "answer"),
    [
        ('Digest realm="x", nonce="n", algorithm=SHA-256', "algorithm=SHA-256"),
        ('Digest realm="x", nonce="n", algorithm=SHA-256, qop="auth"', "nc=0000000"),
        ('Digest realm="x", nonce="n"', 'response="'),
        ('Basic realm="x"', "Basic dmlld2VyOnNlY3JldA=="),
    ],
)
def test_every_request_after_a_challenge_carries_the_answer(challenge: str, answer: str) -> None:
    camera = Camera(challenge)
    with relayed(camera) as ask:
        for method in ("OPTIONS", "DESCRIBE", "SETUP", "PLAY"):
            assert b" 200 OK" in ask(method)
    assert "authorization" not in camera.requests[0][1]
    assert all(answer in headers["authorization"] for _, headers in camera.requests[1:])
    numbers = [int(headers["cseq"]) for _, headers in camera.requests]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.slow
def test_a_session_is_kept_alive_with_get_parameter_within_its_own_limit() -> None:
    camera = Camera()
    with relayed(camera) as ask:
        for method in ("OPTIONS", "DESCRIBE", "SETUP", "PLAY"):
            ask(method)
        started = time.monotonic()
        eventually(lambda: camera.count("GET_PARAMETER") >= 3, "it was kept alive")
        assert time.monotonic() - started < 6
        # What answers them is not for the player.
        assert b"CSeq: 5\r\n" in ask("OPTIONS")
    assert all(headers["session"] == "77" for first, headers in camera.requests if first.startswith("GET_PARAMETER"))


@pytest.mark.slow
def test_a_camera_that_knows_no_get_parameter_is_asked_once() -> None:
    camera = Camera(GET_PARAMETER=("501 Not Implemented", {}, ""))
    with relayed(camera) as ask:
        for method in ("OPTIONS", "DESCRIBE", "SETUP", "PLAY"):
            ask(method)
        eventually(lambda: camera.count("GET_PARAMETER"), "it was asked")
        time.sleep(2.5)
    assert camera.count("GET_PARAMETER") == 1


@pytest.mark.parametrize("header", ["Location", "location", "LOCATION", "Loca\rtion"])
@pytest.mark.parametrize("before", [b"", b"$\x00\x00\x02ab", b"$\x00\x00\x13\nno location: here!", b"\r\n"])
def test_an_rtsp_server_cannot_redirect(header: str, before: bytes) -> None:
    with peer(silent) as elsewhere:
        moved: Answer = ("302 Moved", {header: f"rtsp://127.0.0.1:{elsewhere.port}/x"}, "")
        assert problem(Camera(OPTIONS=moved, before=before)).cause == "redirect"
        assert problem(Camera(DESCRIBE=moved, before=before)).cause == "redirect"
        assert (
            problem(answers("RTSP/1.0 302 Moved", f"{header}: rtsp://127.0.0.1:{elsewhere.port}/x")).cause == "redirect"
        )
        assert elsewhere.connections == 0


def test_threads_of_relays_end_with_their_sessions() -> None:
    before = set(threading.enumerate())
    with relayed(Camera()) as ask:
        ask("OPTIONS")
    eventually(lambda: set(threading.enumerate()) <= before, "the threads have ended")
