"""Behind nginx as docker/nginx/daflow.conf sets it up: TLS, WebSockets, uploads, cookies, and who it was."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from simulation.weights import POSE_WEIGHTS
from tests.service.servers import ServerProcess, eventually, free_port, server_process
from tests.streams import certificate

CONFIGURATION = Path(__file__).parents[2] / "docker" / "nginx" / "daflow.conf"
HOST = "localhost"


@dataclass
class Proxied:
    """A service behind nginx.

    Attributes:
        server: The service.
        port: Where nginx listens.
        trust: What a client needs to believe nginx.
        key: An admin's key.
    """

    server: ServerProcess
    port: int
    trust: ssl.SSLContext
    key: str

    def client(self, key: str | None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=f"https://{HOST}:{self.port}", verify=self.trust, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("there is no nginx; on Debian: apt-get install nginx-light")
    folder = tmp_path_factory.mktemp("proxy")
    pem = certificate(folder, HOST)
    with server_process(folder / "data", auth="required", pose_weights=POSE_WEIGHTS) as server:
        found = re.search(r"dfl_\w{12}_[\w-]{43}", server.log.read_text())
        assert found
        port = free_port()
        configuration = _configured(server.port, port, pem)
        places = "".join(
            f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/nginx.pid; events {{}} http {{ access_log off; {places}\n{configuration}}}\n"
        )
        process = subprocess.Popen([nginx, "-c", folder / "nginx.conf", "-e", folder / "error.log"])
        try:
            eventually(lambda: _listens(port) or process.poll() is not None, "nginx listens")
            assert process.poll() is None, (folder / "error.log").read_text()
            yield Proxied(server, port, ssl.create_default_context(cafile=str(pem)), found.group())
        finally:
            process.terminate()
            process.wait()


def _configured(service: int, port: int, pem: Path) -> str:
    """The configuration that ships, for these ports and files."""
    text = CONFIGURATION.read_text()
    for shipped, here in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("cameras.example;", f"{HOST};"),
        ("/etc/ssl/cameras.example.pem", str(pem)),
        ("/etc/ssl/cameras.example.key", str(pem)),
        ("server 127.0.0.1:8001; server 127.0.0.1:8002;", f"server 127.0.0.1:{service};"),
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{service};"),
    ):
        assert text.count(shipped) == 1, shipped
        text = text.replace(shipped, here)
    return text


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_requests_need_the_key_and_pass_with_it(proxied: Proxied) -> None:
    with proxied.client(None) as stranger, proxied.client(proxied.key) as admin:
        assert stranger.get("/v1/cameras").status_code == 401
        assert admin.get("/v1/cameras").status_code == 200
        assert admin.get("/v1/incidents").status_code == 200


def test_an_upload_larger_than_nginx_takes_by_itself_arrives(proxied: Proxied) -> None:
    with proxied.client(proxied.key) as admin:
        answer = admin.post("/v1/clips", content=b"\x00\x00\x00\x18ftypmp42" + bytes(3_000_000))
    # It is no video, which only the service can know.
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/v1/incidents", "/v1/cameras/gate/scores"])
def test_a_websocket_is_upgraded(proxied: Proxied, path: str) -> None:
    with proxied.client(proxied.key) as admin:
        admin.put("/v1/cameras/gate", json={"url": "skeletons:"}).raise_for_status()
    headers = {"Authorization": f"Bearer {proxied.key}"}
    with connect(f"wss://{HOST}:{proxied.port}{path}", ssl=proxied.trust, additional_headers=headers) as stream:
        assert '"hello"' in str(stream.recv(timeout=30))


def test_the_cookie_of_a_session_is_for_https_only_and_its_origin_is_accepted(proxied: Proxied) -> None:
    with proxied.client(None) as browser:
        own = {"Origin": f"https://{HOST}:{proxied.port}"}
        answer = browser.post("/v1/session", json={"key": proxied.key}, headers=own)
        assert answer.is_success, answer.text
        cookie = answer.headers["set-cookie"].lower()
        assert "secure" in cookie and "httponly" in cookie and "samesite=strict" in cookie
        assert browser.put("/v1/cameras/gate", json={"url": "skeletons:"}, headers=own).is_success
        strange = {"Origin": "https://elsewhere.example"}
        assert browser.put("/v1/cameras/gate", json={"url": "skeletons:"}, headers=strange).status_code == 403


def test_the_log_of_changes_has_the_address_that_nginx_saw(proxied: Proxied) -> None:
    with proxied.client(proxied.key) as admin:
        admin.put("/v1/cameras/seen", json={"url": "skeletons:"}, headers={"X-Forwarded-For": "203.0.113.9"})
        records = admin.get("/v1/audit").json()["records"]
    assert next(record for record in records if "seen" in str(record["target"]))["address"] == "127.0.0.1"
