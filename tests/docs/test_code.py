"""Every block of code in the documentation runs, or is checked by the program that would run it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.api.asyncapi import asyncapi
from service.cameras.config import read_cameras
from service.clips import uploads
from service.documents.base import EndReason
from service.live.incident import Ended, Started
from service.notifications.channels import read_channels
from service.notifications.posting import sign
from service.settings import Settings
from tests.docs.calls import HERE, Call, listen
from tests.docs.markdown import DOCUMENTS, ROOT, Block, blocks, name_of, spans
from tests.docs.programs import check
from tests.docs.shell import Command, commands, session
from tests.doubles.live_records import incident
from tests.doubles.servers import LiveServer, cardboard_inspect, eventually, live_server

PATIENCE_S = 60.0

BLOCKS = [block for path in DOCUMENTS for block in blocks(path)]


def of(*languages: str) -> pytest.MarkDecorator:
    """Runs a test with every block in one of these languages."""
    chosen = [block for block in BLOCKS if block.language in languages]
    assert chosen, f"no document has a block of {languages}"
    return pytest.mark.parametrize("block", chosen, ids=str)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The service that the documentation talks to."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), allowed_stream_cidrs="192.168.1.0/24")
    with pytest.MonkeyPatch.context() as patch, live_server(settings) as server:
        patch.setattr(uploads, "inspect", cardboard_inspect)
        eventually(lambda: server.client.get("/readyz").status_code == 200, "the service is ready")
        yield server


@pytest.fixture(scope="module")
def key(live: LiveServer) -> str:
    """What stands for ``$KEY``."""
    answer = live.client.post("/v1/keys", json={"name": "documentation", "scope": "admin"})
    made: str = answer.json()["key"]
    return made


@pytest.fixture(scope="module")
def api(live: LiveServer) -> dict[str, Any]:
    return live.app.openapi()


@pytest.fixture(scope="module")
def field_names(api: dict[str, Any]) -> set[str]:
    """Names of all fields of all documents and messages."""
    return {*_properties(api), *_properties(asyncapi("", "", "", secure=False))}


def test_every_block_names_a_language_that_is_checked() -> None:
    known = {"console", "json", "mermaid", "nginx", "python", "sh", "text", "yaml"}
    assert [str(block) for block in BLOCKS if block.language not in known] == []


@of("python")
def test_every_block_of_python_runs(block: Block, live: LiveServer, tmp_path: Path) -> None:
    script, film = tmp_path / "example.py", tmp_path / "clip.mp4"
    script.write_text(block.text.replace(HERE, f"127.0.0.1:{live.port}"), encoding="utf-8")
    film.write_bytes(b"a clip")
    endless = "while True:" in block.text
    with subprocess.Popen(
        [sys.executable, "-u", "-W", "error", script.name],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        overdue = threading.Timer(PATIENCE_S, process.kill)
        overdue.start()
        try:
            assert process.stdout is not None
            if endless:
                _let_something_happen(live)
                heard = []
                for line in process.stdout:
                    heard.append(line)
                    if line.startswith("incident.ended on door"):
                        break
                assert any(line.startswith("incident.started on door: warning") for line in heard), heard
                process.kill()
            else:
                printed = process.stdout.read()
                assert process.wait() == 0, printed
        finally:
            overdue.cancel()


def test_the_receiver_of_a_webhook_takes_what_the_service_signs_and_nothing_else() -> None:
    (block,) = [block for block in BLOCKS if block.language == "python" and "webhook-signature" in block.text]
    names: dict[str, Any] = {}
    exec(compile(block.text, str(block), "exec"), names)  # noqa: S102 - it is ours
    headers = {"webhook-id": "evt_7", "webhook-timestamp": "1700000000"}
    headers["webhook-signature"] = sign(b"a secret of words", "evt_7", 1700000000, b"{}")
    assert names["genuine"](headers, b"{}", "a secret of words")
    assert not names["genuine"](headers, b"[]", "a secret of words")
    encoded = "whsec_YSBzZWNyZXQgb2Ygd29yZHM="
    assert names["genuine"](headers, b"{}", encoded)


@of("sh", "console")
def test_every_command_is_one_that_its_program_takes(block: Block) -> None:
    for command in _commands_of(block):
        check(command)


@of("sh", "console")
def test_every_block_of_shell_is_shell(block: Block) -> None:
    text = block.text
    if block.language == "console":
        text = "\n".join(typed for typed, _ in session(text))
    subprocess.run(["/bin/bash", "-n", "-c", text], check=True)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_command_within_a_sentence_is_one_that_its_program_takes(path: Path) -> None:
    for span in spans(path):
        if re.match(r"(DAFLOW_\w+=\S+ )?(daflow|make|python|pytest|docker|docker-compose) ", span):
            for command in commands(span):
                check(command, whole=False)


@of("sh", "console")
def test_every_call_of_the_api_succeeds(block: Block, live: LiveServer, key: str, api: dict[str, Any]) -> None:
    for command in _commands_of(block):
        if command.program == "curl":
            Call.of(command.words[1:], key).run(live, api)
        elif command.program == "websocat":
            listen(command.words[1], live)


@of("json")
def test_every_block_of_json_has_only_fields_that_there_are(block: Block, field_names: set[str]) -> None:
    assert _keys(_parsed(block.text)) - field_names == set()


def test_every_answer_in_a_session_has_only_fields_that_there_are(field_names: set[str]) -> None:
    answers = [
        printed
        for block in BLOCKS
        if block.language == "console"
        for _, printed in session(block.text)
        if printed.startswith("{")
    ]
    assert len(answers) >= 2
    for answer in answers:
        assert _keys(_parsed(answer)) - field_names == set()


def test_every_event_of_a_stream_has_only_fields_that_there_are(field_names: set[str]) -> None:
    (stream,) = [block for block in BLOCKS if block.language == "text" and block.text.startswith("event: ")]
    events = re.findall(r"^data: (.*\n(?:  .*\n)*)", stream.text, re.MULTILINE)
    assert len(events) > 2
    for event in events:
        assert _keys(_parsed(event)) - field_names == set()


@of("yaml")
def test_every_block_of_yaml_is_a_file_of_cameras_or_channels(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(block.text, encoding="utf-8")
    assert read_channels(file) if "after_minutes" in block.text else read_cameras(file)


@of("nginx")
def test_every_line_of_nginx_is_in_the_configuration(block: Block) -> None:
    configuration = (ROOT / "docker" / "nginx" / "daflow.conf").read_text(encoding="utf-8").splitlines()
    assert [line for line in block.text.splitlines() if line not in configuration] == []


def _commands_of(block: Block) -> list[Command]:
    if block.language == "sh":
        return commands(block.text)
    return [command for typed, _ in session(block.text) for command in commands(typed)]


def _let_something_happen(live: LiveServer) -> None:
    opened = incident("documented")
    live.runtime.streams.log.record(Started(opened))
    live.runtime.streams.log.record(Ended(replace(opened, ended=opened.updated, end_reason=EndReason.QUIET)))


def _parsed(text: str) -> Any:
    """JSON in which ``…`` stands for what was left out."""
    return json.loads(re.sub(r",?\s*…(?!\")", "", text))


def _keys(node: Any) -> set[str]:
    """Names of all fields; keys of people are their numbers, and facts have the names that behaviours give them."""
    if isinstance(node, dict):
        below = (_keys(value) for name, value in node.items() if name not in ("facts", "behaviours"))
        return {name for name in node if not name.isdecimal()}.union(*below)
    return set().union(*map(_keys, node)) if isinstance(node, list) else set()


def _properties(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from node.get("properties", {})
        # Levels by part have the names of parts, which only the model knows.
        yield from ("pose", "motion", "pair")
        for value in node.values():
            yield from _properties(value)
    elif isinstance(node, list):
        for item in node:
            yield from _properties(item)
