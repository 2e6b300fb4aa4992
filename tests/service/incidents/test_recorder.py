"""Recording the evidence of all incidents: what a clip shows, and that the recorder never makes anybody wait."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.drawing.overlay import Image
from service.drawing.video import VideoWriter
from service.incidents import recorder, recording
from tests.doubles.evidence import CAMERA, SIZE, Stage
from tests.doubles.media import frame_number, numbered
from tests.doubles.scores import live_score
from tests.doubles.servers import eventually


def test_a_clip_has_the_seconds_before_and_after_at_the_times_at_which_frames_came(stage: Stage) -> None:
    stage.show([0.1] * 20)
    stage.begin("a")
    stage.show([0.999] * 4, fps=4)
    stage.show([0.2] * 5)
    stage.recorder.ended(CAMERA, "a")
    stage.show([0.1] * 20)
    assert stage.outcome("a", "clip") == ("ready", None)
    expected = [*range(10, 40)]
    for background in (True, False):
        times, images = stage.clip("a", background=background)
        assert times == pytest.approx([stage.shown[index] - stage.shown[10] for index in expected], abs=1e-4)
        if background:
            assert [frame_number(image) for image in images] == expected
        else:
            assert max(image[:48].max() for image in images) < 90
    assert stage.files("a") == ["clip-skeletons.mp4", "clip.mp4", "snapshot-skeletons.jpg", "snapshot.jpg"]
    assert eventually(lambda: not stage.recorder.recording, "nothing is recorded")


def test_a_camera_that_falls_silent_does_not_keep_the_clip_open(stage: Stage) -> None:
    stage.begin("a")
    stage.show([0.999] * 5)
    stage.recorder.ended(CAMERA, "a")
    eventually(lambda: stage.recorder.recording == {"a"} and not stage.recorder.waiting, "the incident ended")
    assert "clip" not in [news[1] for news in stage.done]
    stage.now += 3.0
    assert stage.outcome("a", "clip") == ("ready", None)
    assert len(stage.clip("a")[0]) == 5


def test_removing_a_camera_finishes_its_clips_and_no_others(stage: Stage) -> None:
    for camera in (CAMERA, "yard"):
        stage.begin(f"at {camera}", camera=camera)
        stage.show([0.999] * 5, camera=camera)
    stage.recorder.forget(CAMERA)
    assert stage.outcome(f"at {CAMERA}", "clip") == ("ready", None)
    stage.show([0.999] * 5)
    assert stage.recorder.recording == {"at yard"}
    assert len(stage.clip(f"at {CAMERA}")[0]) == 5
    stage.begin("again")
    stage.recorder.forget(CAMERA)
    stage.outcome("again", "clip")
    assert [frame_number(image) for image in stage.clip("again")[1]] == [*range(10, 15)]


def test_incidents_of_one_camera_may_overlap(stage: Stage) -> None:
    stage.begin("a")
    stage.show([0.999] * 5)
    stage.recorder.ended(CAMERA, "a")
    stage.begin("b")
    stage.begin("b")
    stage.show([0.999] * 12)
    stage.recorder.ended(CAMERA, "b")
    stage.recorder.ended(CAMERA, "unknown")
    stage.show([0.1] * 15)
    for incident, frames in (("a", range(16)), ("b", range(28))):
        assert stage.outcome(incident, "clip") == ("ready", None)
        assert [frame_number(image) for image in stage.clip(incident)[1]] == [*frames]


@given(
    gaps=st.lists(st.sampled_from([0.05, 0.25, 1.0, 4.0]), min_size=4, max_size=20),
    begin=st.integers(0, 3),
    length=st.integers(1, 12),
    before_s=st.sampled_from([0.0, 0.5, 3.0]),
    after_s=st.sampled_from([0.0, 0.5, 3.0]),
    max_s=st.sampled_from([0.5, 2.0, 30.0]),
)
@settings(max_examples=25)
def test_a_clip_shows_what_lies_around_the_incident_and_is_never_too_long(
    tmp_path_factory: pytest.TempPathFactory,
    gaps: list[float],
    begin: int,
    length: int,
    before_s: float,
    after_s: float,
    max_s: float,
) -> None:
    stage = Stage(tmp_path_factory.mktemp("evidence"), before_s=before_s, after_s=after_s, max_s=max_s)
    stage.recorder.start()
    began = ended = 0.0
    for index, gap in enumerate(gaps):
        stage.frame(0.5)
        if index == begin:
            began = stage.now
            stage.begin("a")
        if index == min(begin + length, len(gaps) - 1):
            ended = stage.now
            stage.recorder.ended(CAMERA, "a")
        stage.now += gap
    stage.recorder.stop()
    stage.outcome("a", "clip")
    past = [moment for moment in stage.shown if moment >= began - min(before_s, max_s / 2)]
    expected = [moment for moment in past if moment <= min(past[0] + max_s, ended + after_s)]
    times, images = stage.clip("a")
    assert times == pytest.approx([moment - expected[0] for moment in expected], abs=1e-4)
    assert [stage.shown[frame_number(image)] for image in images] == expected


def test_offering_frames_never_waits_and_memory_is_bounded_for_each_camera(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "incidents")
    picture = np.zeros((2160, 3840, 3), np.uint8)
    for number, _ in itertools.product(range(20), range(30)):
        stage.recorder.frame(f"camera{number}", picture, live_score(size=(3840, 2160)), ())
    stage.begin("a", camera="camera3")
    stage.recorder.ended("camera3", "a")
    waiting = stage.recorder.waiting - 2
    assert 20 <= waiting <= 20 + 256 * 1024**2 // picture.nbytes
    assert stage.recorder.frames_dropped == 600 - waiting
    assert stage.recorder.recording == {"a"}
    for _ in range(30):
        stage.recorder.frame("feed", None, live_score(), ())
    assert stage.recorder.waiting - 2 - waiting == 16
    stage.recorder.start()
    eventually(lambda: not stage.recorder.waiting, "all were looked at")
    stage.recorder.stop()
    assert stage.outcome("a", "clip") == ("ready", None)


def test_the_past_is_bounded_in_bytes_and_forgotten_when_a_camera_falls_silent(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_RING_BYTES", 8_000)
    stage.show([0.1] * 9)
    stage.begin("a")
    stage.recorder.forget(CAMERA)
    assert stage.outcome("a", "clip") == ("ready", None)
    assert 1 < len(stage.clip("a")[0]) < 9
    stage.show([0.1] * 3, camera="yard")
    stage.now += 10.0
    ring = stage.recorder._rings
    eventually(lambda: "yard" not in ring, "the past of a silent camera is dropped")


def test_a_frame_that_cannot_be_drawn_costs_nobody_else_anything(stage: Stage) -> None:
    stage.begin("a")
    stage.show([0.999] * 3)
    stage.recorder.frame(CAMERA, np.zeros((0, 5), np.uint8), live_score(size=SIZE), ())
    stage.show([0.999] * 3)
    stage.recorder.forget(CAMERA)
    assert stage.outcome("a", "clip") == ("ready", None)
    assert len(stage.clip("a")[0]) == 6


def test_a_listener_that_fails_does_not_end_the_recorder(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "incidents")
    calls = threading.Semaphore(0)

    def fail(*_: object) -> None:
        calls.release()
        raise RuntimeError

    stage.recorder._on_done = fail
    stage.recorder.start()
    for incident in ("a", "b"):
        stage.begin(incident)
        stage.show([0.999] * 3)
        stage.recorder.forget(CAMERA)
    for _ in range(4):
        assert calls.acquire(timeout=60)
    stage.recorder.stop()
    assert len(stage.clip("b")[0]) == 3


def test_a_stop_finishes_what_is_open(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "incidents")
    stage.recorder.start()
    stage.show([0.1] * 3)
    stage.begin("a")
    stage.show([0.999] * 3)
    stage.recorder.stop()
    assert sorted(news[1:3] for news in stage.done) == [("clip", "ready"), ("snapshot", "ready")]
    assert len(stage.clip("a")[0]) == 6


def test_what_cannot_be_finished_when_the_service_stops_is_missing_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_STOP_S", 0.0)
    going = threading.Event()
    add = VideoWriter.add

    def slow(self: VideoWriter, image: Image, time_s: float) -> None:
        going.wait(60)
        add(self, image, time_s)

    monkeypatch.setattr(VideoWriter, "add", slow)
    stage = Stage(tmp_path / "incidents")
    for _ in range(10):
        stage.recorder.frame(CAMERA, numbered(0, *SIZE), live_score(0.999, size=SIZE), ())
        stage.now += 0.05
    stage.begin("a")
    stage.recorder.start()
    eventually(lambda: not stage.recorder.waiting, "all were looked at")
    threading.Timer(0.2, going.set).start()
    stage.recorder.stop()
    assert stage.outcome("a", "clip") == ("missing", "the service stopped before it was written")
    assert [name for name in stage.files("a") if not name.startswith("snapshot")] == []


def test_a_defect_in_one_recording_gives_up_that_one(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    step: Callable[..., bool] = recording.IncidentRecording.step

    def broken(self: recording.IncidentRecording, now: float, *, drained: bool) -> bool:
        if self.incident_id == "broken":
            raise ZeroDivisionError
        return step(self, now, drained=drained)

    monkeypatch.setattr(recording.IncidentRecording, "step", broken)
    for incident in ("broken", "whole"):
        stage.begin(incident)
    stage.show([0.999] * 3)
    stage.recorder.forget(CAMERA)
    assert stage.outcome("whole", "clip") == ("ready", None)
    assert stage.outcome("broken", "clip") == ("missing", "an internal error stopped the recording")
    assert eventually(lambda: not stage.recorder.recording, "nothing is recorded")
