"""Broken and hostile files against the decoder and the service."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.clips.decoding import ClipLimits, ClipRejected, frames, inspect
from tests.doubles import hostile_media, media
from tests.doubles.servers import ServerProcess, server_process

LIMITS = ClipLimits(max_seconds=20.0, max_pixels=1920 * 1080, max_fps=60.0, stall_s=20.0, memory_bytes=4 * 1024**3)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """Hears whoever connects, by TCP."""
    with socket.create_server(("127.0.0.1", 0)) as heard:
        heard.setblocking(False)
        yield heard


@pytest.fixture(scope="module")
def every(request: pytest.FixtureRequest) -> int:
    """How many files stand for one another: none where slow tests run as well, else six."""
    return 6 if request.config.getoption("markexpr") == "not slow" else 1


@pytest.fixture(scope="module")
def clips(test_data: Path) -> list[Path]:
    fights = test_data / "clips" / "surveillance-fight"
    return [fights / "fight" / "fi001.mp4", *(fights / "noFight" / f"nofi00{number}.mp4" for number in (1, 3, 5))]


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of a size that no other has, outside of where anything may be read."""
    return media.clip(tmp_path_factory.mktemp("secret"), "secret.mp4", size=(322, 242), frames=10)


@pytest.fixture(scope="module")
def pointing(
    clips: list[Path], secret: Path, listener: socket.socket, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    folder = tmp_path_factory.mktemp("pointing")
    return list(hostile_media.pointing(clips[0], folder, secret, listener.getsockname()[1]))


def nobody_connected(listener: socket.socket) -> bool:
    try:
        listener.accept()
    except BlockingIOError:
        return True
    return False


def fate(path: Path) -> str:
    """What becomes of a file: why it is refused, or the size of its pictures if all of it can be decoded."""
    try:
        inspect(path, LIMITS)
        sizes = set()
        with frames(path, LIMITS) as decoded:
            for frame in decoded:
                sizes.add(frame.image.shape)
        return f"decoded {sorted(sizes)}"
    except ClipRejected as error:
        return error.cause


@pytest.mark.slow
def test_broken_clips_are_decoded_or_refused_and_cost_nothing_else(
    every: int, clips: list[Path], tmp_path: Path
) -> None:
    corpus = list(hostile_media.broken(clips, tmp_path))
    assert len(corpus) >= 110
    corpus = corpus[::every]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        fates = Counter(pool.map(fate, corpus))
    decoded = sum(count for name, count in fates.items() if name.startswith("decoded"))
    assert 0 < decoded < len(corpus)
    assert "decoder-stalled" not in fates
    assert fate(clips[0]).startswith("decoded")


@pytest.mark.slow
def test_files_that_point_elsewhere_lead_nowhere(
    every: int, pointing: list[Path], secret: Path, listener: socket.socket
) -> None:
    assert len(pointing) >= 100
    pointing = pointing[::every]
    assert fate(secret) == "decoded [(242, 322, 3)]", "the secret is worth opening"
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        fates = dict(zip(pointing, pool.map(fate, pointing), strict=True))
    assert not [path.name for path, found in fates.items() if "(242, 322, 3)" in found]
    lists = [found for path, found in fates.items() if not path.name.endswith("dref.mp4")]
    assert not [found for found in lists if found.startswith("decoded")]
    assert nobody_connected(listener)


@pytest.fixture
def server(backend: str, tmp_path: Path, pose_weights: Path) -> Iterator[ServerProcess]:
    with server_process(
        tmp_path / "data", pose_weights=pose_weights, pose_image_size=160, clip_queue_size=500
    ) as running:
        yield running


@pytest.mark.slow
def test_a_service_that_was_sent_them_is_as_well_as_before(
    server: ServerProcess, clips: list[Path], pointing: list[Path], listener: socket.socket, tmp_path: Path
) -> None:
    sent = [*pointing[::12], *list(hostile_media.broken(clips[:1], tmp_path))[::6]]
    accepted = []
    for path in sent:
        answer = server.client.post_clip(path)
        assert answer.status_code in (202, 422), answer.text
        if answer.status_code == 202:
            accepted.append(answer.json()["id"])
        else:
            assert answer.json()["type"] == "/problems/clip-rejected"
    for clip_id in accepted:
        assert server.client.until(clip_id, "done", "failed")["state"] in ("done", "failed")
    assert server.client.get("/readyz").status_code == 200
    sound = server.client.post_clip(clips[1]).json()["id"]
    assert server.client.until(sound, "done", "failed")["state"] == "done"
    assert nobody_connected(listener)
    assert server.uploads() == []
