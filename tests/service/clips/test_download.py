from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import threading
from ipaddress import ip_network
from pathlib import Path
from typing import IO

import pytest

from pose.connections import PinnedUrl
from service.addresses.policy import Resolve, StreamPolicy
from service.addresses.urls import StreamUrl
from service.clips import download as module
from service.clips.download import MOST_REDIRECTS, Download, FetchFailed, clip_address, download
from service.clips.uploads import Pace
from service.errors import StorageFull
from tests.doubles.servers import free_port
from tests.doubles.streams import certificate, peer, silent
from tests.doubles.websites import Page, answer, bomb, endless, held, redirect, site, video

LOOPBACK = StreamPolicy((ip_network("127.0.0.0/8"),))
LIMIT = 1000


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "clip"


def fetch(url: str, target: Path, pace: Pace | None = None, policy: StreamPolicy = LOOPBACK) -> Download:
    return asyncio.run(download(clip_address(url), target, policy, LIMIT, pace))


def refused(url: str, target: Path, pace: Pace | None = None, policy: StreamPolicy = LOOPBACK) -> FetchFailed:
    """Why a file is not fetched; nothing of it is left."""
    with pytest.raises(FetchFailed) as failure:
        fetch(url, target, pace, policy)
    assert not target.exists()
    return failure.value


def refused_page(page: Page, target: Path, pace: Pace | None = None) -> FetchFailed:
    with peer(site({"/a.mp4": page})) as web:
        return refused(f"http://127.0.0.1:{web.port}/a.mp4", target, pace)


def test_a_file_is_fetched_as_it_is_with_the_credentials_of_the_address(target: Path) -> None:
    requests: list[str] = []
    with peer(site({"/a.mp4?x=1": video(b"a clip")}, requests)) as web:
        found = fetch(f"http://viewer:hunter2@127.0.0.1:{web.port}/a.mp4?x=1", target)
    assert found == Download(6, "video/mp4")
    assert target.read_bytes() == b"a clip"
    head = requests[0].lower()
    assert f"host: 127.0.0.1:{web.port}\r\n" in head
    assert "accept-encoding: identity\r\n" in head
    assert "authorization: basic dmlld2vyomh1bnrlcji=" in head


def test_a_file_of_several_blocks_is_written_whole(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 100)
    content = bytes(range(250)) * 4
    with peer(site({"/a.mp4": video(content)})) as web:
        assert fetch(f"http://127.0.0.1:{web.port}/a.mp4", target).size_bytes == LIMIT
    assert target.read_bytes() == content


@pytest.mark.parametrize(
    ("page", "cause", "words"),
    [
        (answer("404 Not Found"), "status", "127.0.0.1 answered 404; check the address"),
        (answer("401 Unauthorized"), "status", "user name and a password"),
        (answer("403 Forbidden"), "status", "upload the file"),
        (answer("503 Service Unavailable"), "status", "try again later"),
        (answer("206 Partial Content", body=b"clip"), "status", "answered 206"),
        (answer("204 No Content"), "status", "answered 204"),
        (bomb(), "compressed", "give an address that sends it as it is"),
        (video(bytes(LIMIT + 1)), "clip-too-large", "larger than the 1000 bytes"),
        (answer("200 OK", length=10**18), "clip-too-large", "larger than the 1000 bytes"),
        (endless, "clip-too-large", "larger than the 1000 bytes"),
        (answer("200 OK", body=b"half", length=8), "cut-short", "after 4 bytes, before the file was complete"),
        (lambda connection: connection.sendall(b"\0 what?\r\n\r\n"), "not-http", "not HTTP"),
        (redirect(""), "redirect", "more than"),
        (redirect("ftp://videos.example/a.mp4"), "redirect", "must begin with https:// or http://"),
        (redirect("http://[half/"), "redirect", "cannot be used"),
        (redirect("file:///etc/passwd"), "redirect", "cannot be used"),
        (redirect("http://169.254.169.254/latest/meta-data"), "forbidden", "169.254.169.254"),
        (redirect("http://[::1]/a.mp4"), "forbidden", "DAFLOW_ALLOWED_STREAM_CIDRS"),
        (redirect("http://10.0.0.7/a.mp4"), "forbidden", "DAFLOW_ALLOWED_STREAM_CIDRS"),
    ],
)
def test_what_cannot_be_fetched_says_why_and_what_to_do(page: Page, cause: str, words: str, target: Path) -> None:
    failure = refused_page(page, target)
    assert failure.cause == cause
    assert words in str(failure)


def test_a_bomb_is_refused_before_it_is_read(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def copy(*_: object) -> int:
        raise AssertionError("its body was read")

    monkeypatch.setattr(module, "_copy", copy)
    assert refused_page(bomb(), target).cause == "compressed"


def test_a_length_that_promises_less_than_there_is_cuts_the_file_there(target: Path) -> None:
    with peer(site({"/a.mp4": answer("200 OK", body=bytes(5000), length=5)})) as web:
        assert fetch(f"http://127.0.0.1:{web.port}/a.mp4", target).size_bytes == 5


def test_a_server_that_stops_sending_is_given_up(target: Path) -> None:
    failure = refused_page(held(threading.Event()), target, Pace(stall_s=0.2))
    assert failure.cause == "stalled"
    assert "nothing arrived for 0 s" in str(failure)


def test_a_server_that_sends_byte_by_byte_is_given_up(target: Path) -> None:
    pause = threading.Event()

    def page(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
        for _ in range(900):
            connection.sendall(b"x")
            pause.wait(0.02)

    failure = refused_page(page, target, Pace(stall_s=5, grace_s=0.3, bytes_per_s=10_000))
    assert failure.cause == "stalled"
    assert "bytes a second are expected" in str(failure)


def test_headers_that_never_end_are_given_up(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.3)

    def page(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        for _ in range(200):
            connection.sendall(b"a")
            threading.Event().wait(0.02)

    assert refused_page(page, target).cause == "timeout"
    with peer(silent) as web:
        assert refused(f"http://127.0.0.1:{web.port}/a.mp4", target).cause == "timeout"


def test_nobody_who_listens_and_a_name_that_is_unknown_are_told_apart(target: Path) -> None:
    failure = refused(f"http://127.0.0.1:{free_port()}/a.mp4", target)
    assert (failure.cause, "cannot be reached" in str(failure)) == ("unreachable", True)
    assert refused("http://nowhere.invalid/a.mp4", target).cause == "dns"


def test_an_address_that_is_not_allowed_is_never_connected_to(target: Path) -> None:
    with peer(site({"/a.mp4": video()})) as web:
        assert refused(f"http://127.0.0.1:{web.port}/a.mp4", target, policy=StreamPolicy()).cause == "forbidden"
        assert web.connections == 0


def test_a_redirect_to_this_machine_is_refused_where_it_is_not_allowed(target: Path) -> None:
    only_one = StreamPolicy((ip_network("127.0.0.1/32"),))
    with contextlib.ExitStack() as stack:
        inside = stack.enter_context(peer(site({"/secret": video()}), address=("127.0.0.2", 0)))
        web = stack.enter_context(peer(site({"/a.mp4": redirect(f"http://127.0.0.2:{inside.port}/secret")})))
        failure = refused(f"http://127.0.0.1:{web.port}/a.mp4", target, policy=only_one)
        assert inside.connections == 0
    assert failure.cause == "forbidden"


def test_redirects_are_followed_a_few_times_and_take_the_password_to_nobody_else(target: Path) -> None:
    first: list[str] = []
    second: list[str] = []
    with peer(site({"/a.mp4": video(b"here")}, second)) as other:
        pages = {"/a.mp4": redirect("/b.mp4"), "/b.mp4": redirect(f"http://127.0.0.1:{other.port}/a.mp4")}
        with peer(site(pages, first)) as web:
            fetch(f"http://viewer:hunter2@127.0.0.1:{web.port}/a.mp4", target)
    assert target.read_bytes() == b"here"
    assert ["authorization" in head.lower() for head in [*first, *second]] == [True, True, False]


def test_redirects_in_a_circle_end(target: Path) -> None:
    requests: list[str] = []
    with peer(site({"/a.mp4": redirect("/a.mp4")}, requests)) as web:
        failure = refused(f"http://127.0.0.1:{web.port}/a.mp4", target)
    assert failure.cause == "redirect"
    assert len(requests) == MOST_REDIRECTS + 1


class Here(StreamPolicy):
    """Every name is one of this machine."""

    def pin(self, url: StreamUrl, resolve: Resolve = lambda host: ["127.0.0.1"]) -> PinnedUrl:
        return StreamPolicy.pin(self, url, resolve)


def test_https_is_not_left_and_a_certificate_of_an_unknown_authority_is_refused(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path = certificate(tmp_path, "localhost")
    server.load_cert_chain(path)
    with peer(site({"/a.mp4": redirect("http://127.0.0.1/a.mp4"), "/b.mp4": video()}), tls=server) as web:
        url = f"https://localhost:{web.port}"
        policy = Here(LOOPBACK.allowed_cidrs)
        failure = refused(f"{url}/b.mp4", target, policy=policy)
        assert failure.cause == "tls"
        assert "certificate of localhost is not trusted" in str(failure)
        monkeypatch.setattr(module, "_trusted", lambda: ssl.create_default_context(cafile=path))
        assert fetch(f"{url}/b.mp4", target, policy=policy).size_bytes == 4
        target.unlink()
        failure = refused(f"{url}/a.mp4", target, policy=policy)
    assert (failure.cause, "from https to http" in str(failure)) == ("redirect", True)
    with peer(silent) as plain:
        pass
    assert refused(f"https://localhost:{plain.port}/", target, policy=policy).cause == "unreachable"


def test_a_server_without_tls_is_said_to_have_none(target: Path) -> None:
    def plain(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with peer(plain) as web:
        failure = refused(f"https://127.0.0.1:{web.port}/a.mp4", target)
    assert (failure.cause, "does not speak TLS" in str(failure)) == ("tls", True)


def test_a_full_disk_is_said_and_leaves_nothing(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_stream: IO[bytes], _data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "write_all", full)
    with peer(site({"/a.mp4": video()})) as web, pytest.raises(StorageFull):
        fetch(f"http://127.0.0.1:{web.port}/a.mp4", target)
    assert not target.exists()


def test_messages_hold_no_credentials() -> None:
    said = str(FetchFailed("redirect", "https://viewer:hunter2@a.example/b?token=hunter2 cannot be used"))
    assert "hunter2" not in said
