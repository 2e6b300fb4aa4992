from __future__ import annotations

import socket
import ssl
import threading
from ipaddress import ip_network
from pathlib import Path

import pytest

from service.addresses.policy import StreamPolicy
from service.addresses.web import web_address
from service.notifications import posting
from service.notifications.posting import NotDelivered, Poster
from tests.doubles.streams import certificate, peer
from tests.doubles.websites import heard

POSTER = Poster(None, StreamPolicy((ip_network("127.0.0.0/8"),)))


def test_a_receiver_that_answers_byte_by_byte_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "_WHOLE_S", 0.3)
    pause = threading.Event()

    def slow(connection: socket.socket) -> None:
        heard(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        for _ in range(200):
            connection.sendall(b"a")
            pause.wait(0.02)

    with peer(slow) as web, pytest.raises(NotDelivered, match="has not answered within"):
        POSTER.post(web_address(f"http://127.0.0.1:{web.port}/", "the address"), "evt_1", b"{}")


def test_the_body_of_an_answer_is_not_waited_for() -> None:
    def endless(connection: socket.socket) -> None:
        heard(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        connection.recv(4096)

    with peer(endless) as web:
        POSTER.post(web_address(f"http://127.0.0.1:{web.port}/", "the address"), "evt_1", b"{}")


def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate(tmp_path, "receiver.test"))
    with peer(lambda connection: None, tls=server) as web, pytest.raises(NotDelivered, match="certificate verify"):
        POSTER.post(web_address(f"https://127.0.0.1:{web.port}/", "the address"), "evt_1", b"{}")
