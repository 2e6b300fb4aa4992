from __future__ import annotations

import math
import threading
from dataclasses import replace

import numpy as np
import pytest

from pose.live import SourceError
from service.cameras.sources import SimulatedCapture
from simulation.rendering import render
from simulation.scene import Scene, demo_scene

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
