from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

import pytest

from service.settings import Settings
from tests.doubles.models import blind_models
from tests.doubles.servers import eventually, live_server
from tests.doubles.subscribers import silent_reader


def test_streams_without_end_do_not_hold_up_the_end_of_the_service(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        with live_server(Settings(data_dir=tmp_path / "data"), blind_models) as live:
            live.client.put("/v1/cameras/gate", json={"url": "skeletons:"})
            readers = [
                stack.enter_context(silent_reader(live, path, upgrade=False))
                for path in ("/v1/incidents/stream", "/v1/cameras/gate/live.mjpg")
            ]
            sockets = [
                stack.enter_context(silent_reader(live, path)) for path in ("/v1/incidents", "/v1/cameras/gate/scores")
            ]
            eventually(lambda: live.runtime.streams.feed.subscribers == 2, "followers are known")
            eventually(lambda: live.runtime.streams.scores.subscribers == 1, "the listener is known")
            heads = [reader.recv(17) for reader in (*readers, *sockets)]
        for reader in readers:
            answer = b"".join(iter(lambda reader=reader: reader.recv(65536), b""))
            # The end of a chunked body: the client sees a stream that is over and not one that broke.
            assert answer.endswith(b"0\r\n\r\n")
    assert [head[9:12] for head in heads] == [b"200", b"200", b"101", b"101"]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
