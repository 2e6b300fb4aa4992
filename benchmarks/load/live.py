"""A service with looped files as cameras, measured by its subscribers and the operating system."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from service.documents.messages import Score, score_stream_adapter

_START_S = 120.0


@dataclass
class Listener:
    """Reads the scores of one camera and keeps their arrival times and ages."""

    url: str
    arrived: list[float] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Listen on a thread of its own until the connection ends."""
        threading.Thread(target=self._listen, daemon=True).start()

    def ages_between(self, begin: float, end: float) -> list[float]:
        """Ages in seconds of the scores that arrived in a stretch of the monotonic clock."""
        pairs = list(zip(self.arrived, self.ages, strict=False))
        return [age for at, age in pairs if begin <= at < end]

    def _listen(self) -> None:
        with contextlib.suppress(ConnectionClosed), connect(self.url, compression=None) as socket:
            for text in socket:
                message = score_stream_adapter.validate_json(text)
                if isinstance(message, Score):
                    self.ages.append(message.age_s)
                    self.arrived.append(time.monotonic())


@dataclass
class Service:
    """A running ``daflow serve``."""

    client: httpx.Client
    process: psutil.Process
    base: str

    def add_looped(self, camera_id: str, clip: Path, **config: object) -> None:
        """Add a file as a camera."""
        self.add(camera_id, url=str(clip.resolve()), loop=True, **config)

    def add(self, camera_id: str, **config: object) -> None:
        """Add a camera."""
        self.client.put(f"/v1/cameras/{camera_id}", json=config).raise_for_status()

    def listen(self, camera_id: str) -> Listener:
        """Subscribe to the scores of a camera."""
        listener = Listener(f"{self.base.replace('http', 'ws', 1)}/v1/cameras/{camera_id}/scores")
        listener.start()
        return listener

    def cameras(self) -> list[dict[str, object]]:
        """The state of every camera."""
        found: list[dict[str, object]] = self.client.get("/v1/cameras").raise_for_status().json()["cameras"]
        return found


@contextlib.contextmanager
def service(media: Sequence[Path], **settings: object) -> Iterator[Service]:
    """Run the service on a free loopback port with a data folder of its own until the block ends.

    Args:
        media: Clips that cameras may play.
        **settings: Further settings.
    """
    folders = os.pathsep.join(sorted({str(clip.resolve().parent) for clip in media}))
    with tempfile.TemporaryDirectory() as data, (Path(data) / "log").open("wb") as log:
        ours = {"data_dir": data, "port": 0, "media_dirs": folders, **settings}
        environment = os.environ | {f"DAFLOW_{name.upper()}": str(value) for name, value in ours.items()}
        process = subprocess.Popen(
            [sys.executable, "-c", "from service.cli.main import main; main()", "serve"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            base = _wait(process)
            with httpx.Client(base_url=base, timeout=30) as client:
                yield Service(client, psutil.Process(process.pid), base)
        finally:
            process.terminate()
            process.wait()


def _wait(process: subprocess.Popen[bytes]) -> str:
    """Address of the service once its models are loaded."""
    deadline = time.monotonic() + _START_S
    watched = psutil.Process(process.pid)
    while time.monotonic() < deadline and process.poll() is None:
        for connection in watched.net_connections(kind="tcp"):
            base = f"http://127.0.0.1:{connection.laddr.port}"
            if connection.status == psutil.CONN_LISTEN and _ready(base):
                return base
        time.sleep(0.5)
    raise SystemExit(f"the service was not ready after {_START_S:.0f} s: set DAFLOW_POSE_WEIGHTS, see daflow doctor")


def _ready(base: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{base}/readyz", timeout=5).is_success
    return False
