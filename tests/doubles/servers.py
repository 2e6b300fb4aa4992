"""Servers for tests: one in this process with a scorer made of cardboard, and the real one as a process of its own."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from websockets.sync.client import ClientConnection, connect

from model.behaviours import Kind
from pose.probe import VideoInfo
from service.app import create_app
from service.clips.decoding import ClipLimits, ClipRejected
from service.clips.scorer import ClipObserver, ClipScorer, ScoringCancelled
from service.documents.results import (
    Anomaly,
    ClipInfo,
    ClipResult,
    FrameScore,
    PersonScore,
    Threshold,
    Track,
)
from service.documents.skeletons import SkeletonSequence
from service.runtime import Runtime
from service.scoring.loading import LoadedModels
from service.server import Server
from service.settings import Settings
from tests.doubles.forks import Fork
from tests.doubles.models import MODEL, cardboard_models

T = TypeVar("T")

PATIENCE_S = 90.0
"""How long a test waits for what must happen; only a defect waits that long."""

FRAMES = 5
HELD_S = 4711.0
"""Skeletons that begin at this time wait for the gate of the scorer."""


def eventually(look: Callable[[], T | None], what: str) -> T:
    """Wait until `look` returns something true."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {PATIENCE_S:.0f} s in vain until {what}")


def frame_score(index: int) -> FrameScore:
    person = PersonScore(
        track=1,
        box=(1.0, 2.0, 30.0, 40.0),
        score=1.5,
        level=0.5,
        parts={"pose": 0.5},
        behaviours={Kind.FALL: 1.4 if index < 2 else 0.6},
    )
    return FrameScore(index=index, time_s=index / 10, score=1.5, level=0.5, people=[person])


def clip_result(frames: int = FRAMES) -> ClipResult:
    return ClipResult(
        clip=ClipInfo(frames=frames, fps=10.0, width=64, height=48, duration_s=frames / 10),
        model=MODEL,
        threshold=Threshold(level=0.9, unusual_per_day=24.0, false_alarms_per_day=48.0),
        frames=[frame_score(index) for index in range(frames)],
        tracks=[Track(id=1, first_frame=0, last_frame=frames - 1, windows=1, peak_level=0.5)],
        anomalies=[
            Anomaly(
                kind=Kind.FALL,
                title="Fall, 1 person",
                start_s=0.0,
                end_s=0.1,
                explanation="hips fell 0.6 body heights in 0.7 s",
                facts={"fell_h": 0.6, "fall_s": 0.7},
                joints=[11, 12],
                peak_level=0.5,
                tracks=[1],
            )
        ],
    )


@dataclass
class CardboardScorer:
    """Does what the bytes of the clip say: ``hold`` waits for `gate`, ``crash`` raises, ``reject`` is damaged."""

    gate: threading.Event = field(default_factory=threading.Event)
    started: list[str] = field(default_factory=list)

    def score(
        self, path: Path, observer: ClipObserver, *, keypoints: bool = True, video: VideoInfo | None = None
    ) -> ClipResult:
        content = path.read_bytes()
        self.started.append(path.parent.name)
        if content.startswith(b"crash"):
            raise ZeroDivisionError("a defect with /secret/path in it")
        if content.startswith(b"reject"):
            raise ClipRejected("undecodable", "frame 3 cannot be decoded")
        for index in range(FRAMES):
            while content.startswith(b"hold") and index == 2 and not self.gate.is_set():
                if observer.cancelled():
                    raise ScoringCancelled
                time.sleep(0.01)
            observer.frame(frame_score(index))
            observer.progress(index + 1, FRAMES)
        return clip_result()

    def score_skeletons(self, sequence: SkeletonSequence, *, keypoints: bool = True) -> ClipResult:
        self.started.append("skeletons")
        while sequence.frames[0].time_s == HELD_S and not self.gate.wait(0.01):
            pass
        return clip_result(len(sequence.frames))


def cardboard_inspect(path: Path, limits: ClipLimits) -> VideoInfo:
    """Takes everything but files that start with ``bad``."""
    if path.read_bytes().startswith(b"bad"):
        raise ClipRejected("not-a-video", "the file is not a video")
    return VideoInfo(FRAMES, 10.0, 64, 48, FRAMES / 10, "mp4", "h264")


@cache
def trusted() -> ssl.SSLContext:
    """The authorities that clients trust, read once: httpx reads them for each client, longer than a request takes."""
    return ssl.create_default_context()


class Client(httpx.Client):
    """Talks to one server, and waits for what takes time."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"verify": trusted()} | options)

    def post_clip(self, content: bytes | Path, **parameters: Any) -> httpx.Response:
        body = content.read_bytes() if isinstance(content, Path) else content
        return self.post("/v1/clips", content=body, params=parameters)

    def clip(self, clip_id: str) -> dict[str, Any]:
        answer = self.get(f"/v1/clips/{clip_id}")
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def until(self, clip_id: str, *states: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            document = self.clip(clip_id)
            return document if document["state"] in states else None

        return eventually(look, f"clip {clip_id} is {' or '.join(states)}")

    def events(self, clip_id: str) -> ClientConnection:
        url = str(self.base_url).replace("http", "ws", 1)
        return connect(f"{url}/v1/clips/{clip_id}/events", compression=None)


@dataclass
class LiveServer:
    """A server in a thread of this process."""

    client: Client
    runtime: Runtime
    port: int
    app: FastAPI


Serve = Callable[..., LiveServer]
"""Starts a server; see the fixture `serve`."""


@contextmanager
def live_server(
    settings: Settings,
    load: Callable[[Settings], LoadedModels] = cardboard_models,
    scorer: CardboardScorer | None = None,
) -> Iterator[LiveServer]:
    """Serve on a free loopback port until the block ends.

    Args:
        settings: Of the service.
        load: Loads the models.
        scorer: Scores clips in place of the real one; there is always one for models made of cardboard.
    """
    cardboard: Any = scorer or (CardboardScorer() if load is cardboard_models else None)
    runtime = Runtime.open(settings, load, ClipScorer if cardboard is None else lambda models, limits: cardboard)
    app = create_app(runtime)
    # FastAPI completes its routes at their first use, and hushes warnings meanwhile for the threads of all servers.
    for _ in iter_route_contexts(app.routes):
        pass
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, loop="asyncio", http="h11", log_config=None, timeout_graceful_shutdown=1
    )
    server = Server(config, app.state.closing)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started or not thread.is_alive(), "the server has started")
        port = server.servers[0].sockets[0].getsockname()[1]
        with Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
            yield LiveServer(client, runtime, port, app)
    finally:
        server.should_exit = True
        thread.join()
        runtime.close()


@dataclass
class ServerProcess:
    """A real ``daflow serve``."""

    process: subprocess.Popen[bytes] | Fork
    client: Client
    port: int
    data_dir: Path
    log: Path

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def clip_folders(self) -> list[str]:
        return sorted(path.name for path in (self.data_dir / "clips").iterdir())

    def uploads(self) -> list[str]:
        return sorted(path.name for path in (self.data_dir / "uploads").iterdir())


def environment(data_dir: Path, **settings: object) -> dict[str, str]:
    """The environment of a ``daflow`` command: nothing of ours but what the test sets, and the servers of the run."""
    if Path(str(settings.get("pose_weights", ""))).is_file():
        # The tests look at many pictures, in a third of the time.
        settings = {"pose_precision": "auto"} | settings
        share_runtimes(data_dir)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DAFLOW_")}
    ours = {f"DAFLOW_{name.upper()}": str(value) for name, value in settings.items()}
    behind = {name: os.environ[name] for name in ("DAFLOW_DATABASE_URL", "DAFLOW_REDIS_URL") if name in os.environ}
    return inherited | {"DAFLOW_DATA_DIR": str(data_dir)} | behind | ours


def share_runtimes(data_dir: Path) -> None:
    """Let a data folder keep its converted weights where those of the other tests are: they take seconds to make."""
    data_dir.mkdir(parents=True, exist_ok=True)
    shared = data_dir / "runtimes"
    if not shared.exists():
        shared.symlink_to(os.environ["TEST_RUNTIMES"])


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from service.cli.main import main; main()", *arguments]


@contextmanager
def server_process(
    data_dir: Path,
    *,
    name: str = "serve",
    wrapper: list[str] | None = None,
    new: bool = False,
    ready: bool = True,
    **settings: object,
) -> Iterator[ServerProcess]:
    """Run ``daflow serve`` on a free loopback port until the block ends.

    Args:
        data_dir: Its data folder.
        name: Another command that serves.
        wrapper: Command that runs the server, such as one that limits what it may use.
        new: Start Python anew, as a user does, instead of forking a process that has imported the service; a wrapped
            server always does.
        ready: Wait until the models are loaded, and not only until it answers.
        **settings: Its settings.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    port = free_port()
    log = data_dir.parent / f"{data_dir.name}-{port}.log"
    variables, folder = environment(data_dir, port=port, **settings), data_dir.parent
    process: subprocess.Popen[bytes] | Fork
    if new or wrapper:
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*(wrapper or []), *command(name)],
                env=variables,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
    else:
        process = Fork(name, env=variables, cwd=folder, output=log)
    try:
        with Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
            server = ServerProcess(process, client, port, data_dir, log)
            _await_start(server, "/readyz" if ready else "/healthz")
            yield server
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def raw_connection(port: int, head: Mapping[str, str], path: str = "/v1/clips") -> socket.socket:
    """A connection on which the head of an upload has been sent and the body is the test's."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    connection.sendall("\r\n".join(lines).encode())
    return connection


def read_answer(connection: socket.socket) -> httpx.Response:
    """The answer on a `raw_connection`, whole, in however many pieces it arrives."""
    with HTTPResponse(connection) as answer:
        answer.begin()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())


def chunk(data: bytes) -> bytes:
    """One piece of a body without a length."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _await_start(server: ServerProcess, path: str) -> None:
    def look() -> bool:
        assert server.process.poll() is None, server.log.read_text()
        try:
            return server.client.get(path).status_code == 200
        except httpx.TransportError:
            return False

    eventually(look, f"{path} answers 200; log: {server.log}")
