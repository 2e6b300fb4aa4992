from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from tests.service.servers import CardboardScorer, Client, LiveServer, Serve, cardboard_inspect, eventually, live_server


@pytest.fixture
def scorer() -> CardboardScorer:
    return CardboardScorer()


@pytest.fixture
def serve(tmp_path: Path, scorer: CardboardScorer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts servers in this process, with the cardboard scorer unless told otherwise."""
    monkeypatch.setattr("service.uploads.inspect", cardboard_inspect)
    with ExitStack() as stack:

        def start(load: Callable[[Settings], Any] | None = None, **settings: object) -> LiveServer:
            chosen = Settings(data_dir=tmp_path / "data", **settings)
            live = stack.enter_context(live_server(chosen, load or (lambda _: scorer)))
            if load is None:
                eventually(lambda: live.runtime.models.scorer is not None, "the models are loaded")
            return live

        yield start
        scorer.gate.set()


@pytest.fixture
def client(serve: Serve) -> Client:
    return serve().client
