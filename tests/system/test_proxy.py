"""The service behind the nginx configuration of docs/deployment.md, by the real nginx, with TLS."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.doubles.backends import Proxy, Redis, running
from tests.doubles.servers import PATIENCE_S, ServerProcess, eventually, server_process

pytestmark = pytest.mark.slow

ELSEWHERE = "https://elsewhere.example"
ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "docker" / "nginx" / "daflow.conf"
SAMPLE = ROOT / "docker" / "rtsp" / "clips" / "sample.mp4"
WEIGHTS = ROOT / "simulation" / "weights" / "pose.onnx"


@dataclass
class Proxied:
    """The service as those see it who come through the proxy.

    Attributes:
        proxy: nginx.
        trust: What its certificate is checked with.
        key: Of an admin.
        cameras: The process that runs cameras and clips.
        streams: The processes that tell of them.
    """

    proxy: Proxy
    trust: ssl.SSLContext
    key: str
    cameras: ServerProcess
    streams: list[ServerProcess]

    @property
    def authority(self) -> str:
        return f"localhost:{self.proxy.port}"

    def client(self, key: str | None = None, address: str = "127.0.0.1") -> httpx.Client:
        """A client that comes from an address of its own."""
        return httpx.Client(
            base_url=f"https://{self.authority}",
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
            transport=httpx.HTTPTransport(verify=self.trust, local_address=address),
            timeout=PATIENCE_S,
        )

    def socket(self, path: str, **headers: str) -> connect:
        """A WebSocket. It sends and receives in one thread: two threads must not use one TLS connection at once."""
        return connect(
            f"wss://{self.authority}{path}", ssl=self.trust, additional_headers=headers, open_timeout=PATIENCE_S
        )

    def passed_to(self, path: str) -> set[int]:
        """Ports of the servers that requests for a path were passed to; nginx notes a request once it is over."""
        return eventually(lambda: self._noted(path), f"{path} is noted")

    def _noted(self, path: str) -> set[int]:
        lines = [line.split(maxsplit=1) for line in self.proxy.access.read_text().splitlines()]
        return {int(port) for asked, servers in lines if asked == path for port in re.findall(r":(\d+)", servers)}


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """Three processes on one database behind nginx."""
    folder = tmp_path_factory.mktemp("proxied")
    data = folder / "data"
    with ExitStack() as stack:
        redis = stack.enter_context(running(Redis))
        behind: dict[str, Any] = {"redis_url": redis.url(), "auth": "required", "log_format": "json"}
        cameras = stack.enter_context(server_process(data, **behind, pose_weights=WEIGHTS))
        streams = [stack.enter_context(server_process(data, role="api", **behind)) for _ in range(2)]

        def configure(home: Path, port: int) -> str:
            _certify(home)
            return _configuration(home, port, [server.port for server in (cameras, *streams)])

        proxy = stack.enter_context(running(Proxy, configure=configure))
        trust = ssl.create_default_context(cafile=proxy.folder / "cameras.example.pem")
        yield Proxied(proxy, trust, (data / "first-key").read_text().strip(), cameras, streams)


def _certify(folder: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-out", str(folder / "cameras.example.pem"), "-keyout", str(folder / "cameras.example.key")),
        ],
        check=True,
        capture_output=True,
    )


def _configuration(folder: Path, port: int, servers: list[int]) -> str:
    """The configuration that the guide shows, with this machine's ports and files."""
    text = CONFIGURATION.read_text()
    replacements = {"listen 443 ssl": f"listen 127.0.0.1:{port} ssl", "/etc/ssl/": f"{folder}/"}
    replacements |= {f"127.0.0.1:{8000 + number};": f"127.0.0.1:{server};" for number, server in enumerate(servers)}
    for shown, here in replacements.items():
        assert shown in text
        text = text.replace(shown, here)
    return text


def test_requests_with_a_key_reach_the_process_that_answers_them(proxied: Proxied) -> None:
    with proxied.client(proxied.key) as client:
        assert client.get("/v1/cameras").json() == {"cameras": []}
        for _ in proxied.streams:
            assert client.get("/v1/incidents").status_code == 200
    with proxied.client() as stranger:
        assert stranger.get("/v1/cameras").status_code == stranger.get("/v1/incidents").status_code == 401
    assert proxied.passed_to("/v1/cameras") == {proxied.cameras.port}
    streams = {server.port for server in proxied.streams}
    eventually(lambda: proxied.passed_to("/v1/incidents") == streams, "both have answered")


def test_websockets_pass_in_both_directions(proxied: Proxied) -> None:
    path, authorization = "/v1/cameras/door", f"Bearer {proxied.key}"
    with proxied.client(proxied.key) as client:
        assert client.put(path, json={"url": "skeletons:"}).status_code == 201
        message = asyncio.run(_first_score(proxied, path, authorization))
        assert (message["type"], message["camera"], message["reason"]) == ("score", "door", "nobody")
        assert client.delete(path).status_code == 204
    assert proxied.passed_to(f"{path}/scores") <= {server.port for server in proxied.streams}
    with pytest.raises(InvalidStatus) as refused:
        asyncio.run(_open(proxied.socket("/v1/incidents", Authorization=authorization, Origin=ELSEWHERE)))
    assert refused.value.response.status_code == 403


async def _first_score(proxied: Proxied, path: str, authorization: str) -> dict[str, Any]:
    """Send skeletons of nobody to a camera until its subscribers receive a score."""
    async with (
        proxied.socket(f"{path}/scores", Authorization=authorization) as scores,
        proxied.socket(f"{path}/skeletons", Authorization=authorization) as feed,
    ):
        assert json.loads(await asyncio.wait_for(scores.recv(), PATIENCE_S))["type"] == "hello"
        # A subscriber at another process is known to the cameras only after a moment.
        for number in range(round(PATIENCE_S / 0.2)):
            await feed.send(json.dumps({"time_s": number / 5, "width": 640, "height": 480, "people": []}))
            try:
                message: dict[str, Any] = json.loads(await asyncio.wait_for(scores.recv(), 0.2))
            except TimeoutError:
                continue
            if message["type"] == "score":
                return message
    raise AssertionError("no score came")


async def _open(socket: connect) -> None:
    async with socket:
        pass


def test_events_are_passed_on_at_once(proxied: Proxied) -> None:
    with proxied.client(proxied.key) as client, client.stream("GET", "/v1/incidents/stream") as answer:
        assert next(answer.iter_lines()) == "event: hello"


def test_an_upload_of_more_than_a_megabyte_goes_through(proxied: Proxied) -> None:
    padding = 3 * 1024**2
    film = SAMPLE.read_bytes() + struct.pack(">I4s", padding, b"free") + bytes(padding - 8)
    with proxied.client(proxied.key) as client:
        answer = client.post("/v1/clips", files={"file": ("clip.mp4", film)})
        assert answer.status_code == 202, answer.text
        folder = proxied.cameras.data_dir / "clips" / answer.json()["id"]
        assert len(film) in [path.stat().st_size for path in folder.iterdir()]
        assert client.post(f"/v1/clips/{answer.json()['id']}/cancel").status_code == 200


def test_a_browser_logs_in_with_a_cookie_that_goes_over_tls_only(proxied: Proxied) -> None:
    with proxied.client() as browser:
        origin = {"Origin": f"https://{proxied.authority}"}
        answer = browser.post("/v1/session", json={"key": proxied.key}, headers=origin)
        assert answer.status_code == 200, answer.text
        assert {"Secure", "HttpOnly", "SameSite=strict"} <= set(answer.headers["set-cookie"].split("; "))
        assert browser.get("/v1/incidents").status_code == browser.get("/v1/cameras").status_code == 200
        elsewhere = {"Origin": ELSEWHERE}
        assert browser.post("/v1/session", json={"key": proxied.key}, headers=elsewhere).status_code == 403


def test_the_address_of_a_client_is_its_own_whatever_it_claims(proxied: Proxied) -> None:
    guesser, other = "127.0.0.2", "127.0.0.3"
    with proxied.client("wrong", guesser) as client:
        claims = [{"X-Forwarded-For": f"192.0.2.{number}"} for number in range(11)]
        answers = [client.get("/v1/cameras", headers=claim).status_code for claim in claims]
        assert answers == [401] * 10 + [429]
    with proxied.client("wrong", other) as client:
        assert client.get("/v1/cameras").status_code == 401
    for address in (guesser, other):
        with proxied.client(proxied.key, address) as client:
            assert client.get("/v1/cameras").status_code == 200
    assert f'"address":"{guesser}"' in proxied.cameras.log.read_text().replace(" ", "")


def test_streams_go_on_when_one_of_their_processes_ends(proxied: Proxied) -> None:
    proxied.streams[0].kill()
    with proxied.client(proxied.key) as client:
        assert [client.get("/v1/incidents").status_code for _ in range(4)] == [200] * 4
