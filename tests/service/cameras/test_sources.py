from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pose.captures import LoopCapture
from pose.live import LiveSource, LiveTiming, SourceError, SourceState
from service.addresses.policy import Resolve, StreamPolicy
from service.addresses.urls import StreamUrl, UrlKind, parse
from service.cameras.sources import SimulatedCapture, open_capture
from simulation.rendering import render
from simulation.scene import Scene, demo_scene
from tests.doubles import media
from tests.doubles.servers import eventually
from tests.doubles.streams import peer, silent

SCENE = replace(demo_scene(seed=8), duration_s=0.5)


def test_a_scene_is_read_picture_by_picture_at_its_own_pace() -> None:
    capture = SimulatedCapture(SCENE)
    pictures = [capture.read() for _ in range(5)]
    for picture, frame in zip(pictures, render(SCENE), strict=True):
        assert np.array_equal(picture.image, frame.image)
        assert picture.stream_time is not None
        assert picture.stream_time >= frame.time_s
    with pytest.raises(SourceError, match="the scene is over"):
        capture.read()


def test_a_machine_that_lags_sees_life_go_on_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 0.0, 5.0, 5.05])
    monkeypatch.setattr("service.cameras.sources.time.monotonic", lambda: next(moments))
    capture = SimulatedCapture(SCENE)
    times = [capture.read().stream_time for _ in range(3)]
    assert times == pytest.approx([0.0, 5.0, 5.1])


def test_closing_ends_a_read_that_waits() -> None:
    camera = replace(SCENE.camera, fps=1.0)
    capture = SimulatedCapture(Scene(seed=1, camera=camera, duration_s=math.inf))
    capture.read()
    closing = threading.Timer(0.05, capture.close)
    closing.start()
    with pytest.raises(SourceError, match="closed"):
        capture.read()
    closing.join()
    with pytest.raises(SourceError):
        capture.read()


def resolving(*addresses: str) -> Resolve:
    return lambda _host: addresses


def unresolved(_host: str) -> Sequence[str]:
    raise OSError("no such name")


class TestOpenCapture:
    def test_a_file_is_judged_again_when_it_is_opened(self, tmp_path: Path) -> None:
        path = media.clip(tmp_path, frames=3)
        policy = StreamPolicy(media_dirs=[tmp_path])
        connect = open_capture(parse(str(path)), policy)
        capture = connect()
        assert isinstance(capture, LoopCapture)
        capture.close()
        path.unlink()
        with pytest.raises(SourceError) as caught:
            connect()
        assert (caught.value.cause, caught.value.permanent) == ("not-found", False)
        path.symlink_to("/etc/hostname")
        with pytest.raises(SourceError) as caught:
            connect()
        assert caught.value.cause == "forbidden"

    def test_a_file_that_became_a_link_out_of_the_folders_is_not_played_again(self, tmp_path: Path) -> None:
        folder, outside = tmp_path / "media", tmp_path / "outside"
        folder.mkdir()
        outside.mkdir()
        path = media.clip(folder, frames=3, fps=30)
        capture = open_capture(parse(str(path)), StreamPolicy(media_dirs=[folder]))()
        capture.read()
        path.unlink()
        path.symlink_to(media.clip(outside, frames=3, fps=30))
        with pytest.raises(SourceError) as caught:
            for _ in range(4):
                capture.read()
        assert caught.value.cause == "forbidden"
        capture.close()

    def test_a_name_that_moves_to_a_forbidden_address_is_not_connected_to(self) -> None:
        with peer(silent) as inner:
            url = parse(f"rtsp://camera:{inner.port}/x")
            with pytest.raises(SourceError) as caught:
                open_capture(url, StreamPolicy(), resolve=resolving("127.0.0.1"))()
            assert caught.value.cause == "forbidden"
            assert inner.connections == 0

    def test_a_device_and_a_name_that_are_not_there_are_sought_again(self) -> None:
        timing = LiveTiming(backoff_first_s=60, backoff_cap_s=60)
        for url, cause in ((parse(63), "device-missing"), (parse("rtsp://camera/x"), "dns")):
            states: list[SourceState] = []
            source = LiveSource(
                "gate",
                open_capture(url, StreamPolicy(), resolve=unresolved),
                timing=timing,
                on_state=lambda change, states=states: states.append(change.state),
            )
            source.start()
            try:
                eventually(lambda states=states: SourceState.RECONNECTING in states, "it is sought again")
                assert source.problem is not None
                assert source.problem.cause == cause
            finally:
                source.stop()

    def test_skeletons_have_nothing_to_connect_to(self) -> None:
        with pytest.raises(ValueError, match="receives frames from its device"):
            open_capture(StreamUrl(UrlKind.SKELETONS, "skeletons:", "skeletons:"), StreamPolicy())
