"""Makes the calls of the API that the documentation makes with ``curl`` and ``websocat``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.sync.client import connect

from service.cameras.config import CameraConfig
from tests.doubles.servers import PATIENCE_S, LiveServer

HERE = "127.0.0.1:8000"
ORIGINS = {f"http://{HERE}", "https://cameras.example"}
"""Where the documentation has the service."""


def listen(address: str, live: LiveServer) -> None:
    """Open a stream and wait for its first message."""
    path = urlsplit(address).path
    _have_camera(live, path)
    with connect(f"ws://127.0.0.1:{live.port}{path}", compression=None) as stream:
        assert json.loads(stream.recv(timeout=PATIENCE_S))["type"] == "hello"


class Call:
    """A request as ``curl`` would make it."""

    def __init__(self, method: str | None, address: str, headers: dict[str, str], data: str | None, form: str | None):
        self.url = urlsplit(address)
        self.method = method or ("GET" if data is None and form is None else "POST")
        self.headers = headers
        self.data = data
        self.form = form

    @classmethod
    def of(cls, words: list[str], key: str) -> Call:
        """Understand the arguments of ``curl``; one that is not known is an error."""
        given: dict[str, str] = {}
        headers: dict[str, str] = {}
        rest = iter(words)
        for word in rest:
            if word == "-H":
                name, _, value = next(rest).partition(": ")
                headers[name.lower()] = value.replace("$KEY", key)
            elif word in ("-X", "-d", "-F"):
                given[word] = next(rest)
            elif word != "-N":
                assert not word.startswith("-"), word
                given["address"] = word
        return cls(given.get("-X"), given["address"], headers, given.get("-d"), given.get("-F"))

    def run(self, live: LiveServer, api: dict[str, Any]) -> None:
        """Make the request; it must be one that the API lists, and succeed."""
        path = self.url.path
        assert f"{self.url.scheme}://{self.url.netloc}" in ORIGINS
        operation = self._operation(api)
        known = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"}
        asked = parse_qs(self.url.query, strict_parsing=bool(self.url.query))
        assert asked.keys() <= known, f"{path} takes {known}"
        if self.method != "PUT":
            _have_camera(live, path)
        request = live.client.build_request(self.method, path, params=asked, headers=self.headers, **self._body())
        answer = live.client.send(request, stream=True)
        try:
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                assert next(answer.iter_lines())
            else:
                answer.read()
                assert answer.status_code < 300, answer.text
        finally:
            answer.close()

    def _operation(self, api: dict[str, Any]) -> dict[str, Any]:
        for template, operations in api["paths"].items():
            pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
            if re.fullmatch(pattern, self.url.path) and self.method.lower() in operations:
                found: dict[str, Any] = operations[self.method.lower()]
                return found
        raise AssertionError(f"the API has no {self.method} {self.url.path}")

    def _body(self) -> dict[str, Any]:
        if self.form is not None:
            name, _, file = self.form.partition("=@")
            return {"files": {name: (Path(file).name, b"a clip")}}
        if self.data is None:
            return {}
        document = json.loads(self.data)
        if self.method == "PUT":
            CameraConfig.model_validate(document)
            # The camera of an example is not there, and nothing shall look for it.
            document["enabled"] = False
        return {"content": json.dumps(document)}


def _have_camera(live: LiveServer, path: str) -> None:
    """Add the camera that an example goes on with."""
    named = re.match(r"(/v1/cameras/[\w-]+)/", path)
    if named:
        answer = live.client.put(named[1], json={"url": "skeletons:"})
        assert answer.status_code < 300, answer.text
