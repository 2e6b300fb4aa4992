from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from model.scorer import Scorer
from pose.estimator import Poses
from pose.source import Frame
from pose.tracker import TrackedPoses
from service.engine import Engine, Lane, Scored, Sighting
from service.metrics import Metrics
from tests.service.servers import eventually

RATE_HZ = 15.0


def walker(times: NDArray[np.float64], place: int = 0) -> NDArray[np.float64]:
    """COCO poses ``(n, 17, 3)`` of somebody who walks on the spot at a place of their own."""
    body = np.random.default_rng(0)
    base = body.uniform(100, 200, (17, 2)) + np.array([place, 0])
    phase, reach = body.uniform(0, 6, (17, 2)), body.uniform(1, 8, (17, 2))
    joints = base + reach * np.sin(2 * np.pi * times[:, None, None] + phase)
    return np.concatenate([joints, np.full((len(times), 17, 1), 0.9)], axis=2)


@dataclass
class Queue:
    """An inbox that hands out what was put in, one after another."""

    items: deque[Frame | Sighting] = field(default_factory=deque)
    frames_overwritten: int = 0

    def take(self) -> Frame | Sighting | None:
        return self.items.popleft() if self.items else None


@dataclass
class Endless:
    """A camera that always has a new picture, like one that is faster than any machine."""

    camera_id: str
    colour: int = 0
    taken: int = 0
    frames_overwritten: int = 0

    def take(self) -> Frame:
        self.taken += 1
        image = np.full((48, 64, 3), self.colour, np.uint8)
        return Frame(self.camera_id, self.taken, time.monotonic(), image)


class Estimator:
    """Sees one walker whose place depends on the colour of the picture; may be told to fail."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.fail: Callable[[list[int]], Exception | None] = lambda _: None
        self.pause_s = 0.0

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Poses]:
        colours = [int(image[0, 0, 0]) for image in images]
        self.batches.append(colours)
        time.sleep(self.pause_s)
        error = self.fail(colours)
        if error is not None:
            raise error
        return [person(colour, time.monotonic()) for colour in colours]


def person(place: int, moment: float) -> Poses:
    keypoints = torch.from_numpy(walker(np.array([moment]), place)).to(torch.float32)
    low, high = keypoints[0, :, :2].amin(dim=0), keypoints[0, :, :2].amax(dim=0)
    return Poses(torch.cat([low, high])[None], keypoints, torch.tensor([0.9]))


@dataclass
class Loaded:
    estimator: Estimator
    scorer: Scorer
    batch: int = 4


@dataclass
class LoadedModels:
    scorer: Loaded | None
    reloads: int = 0

    def reload(self) -> None:
        self.reloads += 1


@dataclass
class Bench:
    engine: Engine
    models: LoadedModels
    estimator: Estimator
    delivered: dict[str, list[Scored]] = field(default_factory=dict)

    def add(self, camera_id: str, inbox: Any, max_fps: float = 1000.0) -> Lane:
        self.delivered[camera_id] = []
        lane = Lane(camera_id, inbox, self.delivered[camera_id].append, max_fps=max_fps)
        self.engine.add(lane)
        return lane


@contextmanager
def running(batch: int = 4) -> Iterator[Bench]:
    estimator = Estimator()
    models = LoadedModels(Loaded(estimator, Scorer(Checkpoint.load(DEFAULT_CHECKPOINT)), batch))
    engine = Engine(models, Metrics())
    engine.start()
    try:
        yield Bench(engine, models, estimator)
    finally:
        engine.stop()


@pytest.fixture
def bench() -> Iterator[Bench]:
    with running() as found:
        yield found


def walk(camera_id: str, seconds: float, *, place: int = 0, tracks: Sequence[int] = (1,)) -> Queue:
    """A device that saw people walk and follows them itself."""
    times = np.arange(0, seconds, 1 / RATE_HZ)
    keypoints = torch.from_numpy(walker(times, place)).to(torch.float32)
    boxes = np.tile(np.array([0, 0, 50, 100], np.float32), (len(tracks), 1))
    queue = Queue()
    for i, moment in enumerate(times + 1000.0):
        people = TrackedPoses(list(tracks), boxes, keypoints[i].expand(len(tracks), 17, 3))
        queue.items.append(Sighting(camera_id, i, float(moment), 640, 480, people))
    return queue


def test_a_walker_is_scored_once_a_window_is_full(bench: Bench) -> None:
    queue = walk("hall", 4.0)
    frames = len(queue.items)
    bench.add("hall", queue)
    delivered = bench.delivered["hall"]
    eventually(lambda: len(delivered) == frames, "all frames are delivered")
    scored = [not np.isnan(one.raw) for one in delivered]
    assert scored == sorted(scored), "no score before the first whole window, and none missing after it"
    assert scored.index(True) == 23
    assert [one.reason for one in delivered] == ["track_too_short"] * 23 + [None] * (frames - 23)
    last = delivered[-1].newest[0]
    assert last is not None and last.joints is not None
    assert sum(last.joints) == pytest.approx(last.nll, rel=1e-4)


def test_two_cameras_with_the_same_people_score_as_each_does_alone(bench: Bench) -> None:
    with running() as alone:
        queue = walk("one", 3.0, tracks=(1, 2))
        frames = len(queue.items)
        alone.add("one", queue)
        eventually(lambda: len(alone.delivered["one"]) == frames, "the lonely camera is done")
        expected = [one.raw for one in alone.delivered["one"]]
    for name in ("left", "right"):
        bench.add(name, walk(name, 3.0, tracks=(1, 2)))
    for name in ("left", "right"):
        delivered = bench.delivered[name]
        eventually(lambda delivered=delivered: len(delivered) == frames, "both cameras are done")
        assert [one.raw for one in delivered] == pytest.approx(expected, nan_ok=True, rel=1e-4)
        assert {track for one in delivered for track in one.track_ids} == {1, 2}


def test_no_two_tracks_of_any_cameras_share_a_key() -> None:
    lanes = [Lane("same", Queue(), print, max_fps=1) for _ in range(3)]
    keys = [lane.key(track) for lane in lanes for track in (1, 2, 2**31 - 1)]
    assert len(set(keys)) == len(keys)
    assert all(key >> 32 == lane.number for lane in lanes for key in (lane.key(1), lane.key(2**31 - 1)))
    assert max(keys) < 2**63


def test_a_person_keeps_one_number_and_a_new_one_follows_after_a_silence() -> None:
    lane = Lane("hall", Queue(), print, max_fps=15)
    for step in range(10):
        moment = 50 + step / 15
        people = lane.follow(frame_at(moment), person(0, moment))
        assert people is not None
        assert people.track_ids in ([], [1])
    later = [lane.follow(frame_at(90 + step / 15), person(0, 90 + step / 15)) for step in range(5)]
    assert {track for people in later if people is not None for track in people.track_ids} == {2}


def frame_at(moment: float, camera_id: str = "hall") -> Frame:
    return Frame(camera_id, 0, moment, np.zeros((480, 640, 3), np.uint8))


@given(steps=st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=30))
def test_a_frame_that_is_not_newer_is_dropped_and_counted(steps: list[float]) -> None:
    lane = Lane("hall", Queue(), print, max_fps=15)
    moments = np.cumsum([100.0, *steps])
    newest, late = -np.inf, 0
    for moment in moments.tolist():
        people = lane.follow(frame_at(moment), person(0, moment))
        assert (people is None) == (moment <= newest)
        late += moment <= newest
        newest = max(newest, moment)
    assert lane.dropped.get("out_of_order", 0) == late


def test_every_camera_gets_its_share_of_a_machine_that_is_too_slow(bench: Bench) -> None:
    bench.estimator.pause_s = 0.005
    lanes = [bench.add(f"camera-{number}", Endless(f"camera-{number}", number)) for number in range(11)]
    eventually(lambda: min(lane.processed for lane in lanes) >= 1, "every camera was served")
    before = [lane.processed for lane in lanes]
    eventually(lambda: min(lane.processed for lane in lanes) >= 20, "every camera was served twenty times")
    served = sorted(lane.processed - first for lane, first in zip(lanes, before, strict=True))
    assert served[-1] - served[0] <= 2
    assert {len(batch) for batch in bench.estimator.batches[-20:]} == {4}, (
        "a batch is full and no larger than it may be"
    )


def test_a_camera_is_not_processed_more_often_than_it_wants(bench: Bench) -> None:
    calm, eager = Endless("calm"), Endless("eager", 1)
    bench.add("calm", calm, max_fps=20)
    bench.add("eager", eager)
    started = time.monotonic()
    eventually(lambda: calm.taken >= 10, "ten pictures were taken")
    elapsed = time.monotonic() - started
    assert calm.taken <= 20 * elapsed + 3
    assert eager.taken > 2 * calm.taken


def test_one_camera_that_cannot_be_processed_costs_the_others_nothing(bench: Bench) -> None:
    bench.estimator.fail = lambda colours: ValueError("a picture that breaks the network") if 66 in colours else None
    broken, sound = bench.add("broken", Endless("broken", 66)), bench.add("sound", Endless("sound", 1))
    eventually(lambda: broken.dropped.get("error", 0) >= 3 and sound.processed >= 3, "both cameras had their turns")
    assert not bench.delivered["broken"]
    assert bench.engine.restarts == 0


def test_a_subscriber_that_raises_costs_its_own_camera_a_frame(bench: Bench) -> None:
    def refuse(_scored: Scored) -> None:
        raise ZeroDivisionError

    lane = Lane("faulty", Endless("faulty"), refuse, max_fps=1000)
    bench.engine.add(lane)
    sound = bench.add("sound", Endless("sound", 1))
    eventually(lambda: lane.dropped.get("error", 0) >= 3 and sound.processed >= 3, "both cameras had their turns")
    assert bench.engine.restarts == 0


def test_a_device_that_fails_restarts_the_engine_which_says_so(bench: Bench) -> None:
    broken = threading.Event()
    broken.set()
    bench.estimator.fail = lambda _: RuntimeError("CUDA error: an illegal memory access") if broken.is_set() else None
    bench.add("hall", Endless("hall"))
    eventually(lambda: bench.engine.problem, "the engine says what happened")
    assert "illegal memory access" in str(bench.engine.problem)
    broken.clear()
    eventually(lambda: bench.delivered["hall"], "frames are processed again")
    assert bench.engine.restarts >= 1
    assert bench.models.reloads >= 1
    assert bench.engine.problem is None


def test_windows_that_are_not_finite_cost_only_their_own_camera(bench: Bench) -> None:
    poisoned = walk("poisoned", 3.0)
    for item in poisoned.items:
        item.people.keypoints[:] = torch.nan  # type: ignore[union-attr]
    sound = walk("sound", 3.0)
    frames = len(sound.items)
    bench.add("poisoned", poisoned)
    bench.add("sound", sound)
    eventually(lambda: len(bench.delivered["sound"]) == frames, "the sound camera is done")
    assert not np.isnan(bench.delivered["sound"][-1].raw)
    assert bench.engine.restarts == 0


def test_nothing_is_delivered_before_the_models_are_loaded() -> None:
    models = LoadedModels(None)
    engine = Engine(models, Metrics())
    engine.start()
    try:
        inbox = Endless("hall")
        lane = Lane("hall", inbox, print, max_fps=10)
        engine.add(lane)
        inbox.frames_overwritten = 5
        lane.arrived(ready=engine.ready)
        assert lane.dropped == {"not_ready": 5}
        assert inbox.taken == 0
    finally:
        engine.stop()
