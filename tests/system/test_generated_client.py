"""A client that a program made from the OpenAPI document, against the service."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.servers import Client


@pytest.fixture
def package(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the generated package, which can be imported."""
    document, config = tmp_path / "openapi.json", tmp_path / "config.json"
    document.write_text(client.get("/openapi.json").text)
    config.write_text(json.dumps({"post_hooks": []}))
    made = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--path", str(document)),
            *("--output-path", str(tmp_path / "generated_daflow"), "--meta", "none", "--config", str(config)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "generated_daflow"
    for name in [name for name in sys.modules if name.startswith("generated_daflow")]:
        del sys.modules[name]


@pytest.mark.slow
def test_a_generated_client_posts_a_clip_and_lists_incidents(package: str, client: Client) -> None:
    def load(name: str) -> Any:
        return importlib.import_module(f"{package}.{name}")

    with load("client").Client(base_url=str(client.base_url), timeout=60) as generated:
        body = load("types").File(payload=BytesIO(b"clip"), file_name="a.mp4", mime_type="application/octet-stream")
        posted = load("api.clips.post_clip").sync(client=generated, body=body, wait=60.0)
        assert (str(posted.state), posted.error) == ("done", None)
        listed = load("api.clips.list_clips").sync(client=generated)
        assert [clip.id for clip in listed.clips] == [posted.id]
        incidents = load("api.incidents.list_incidents").sync(client=generated)
        assert (incidents.incidents, incidents.next_) == ([], None)
