"""The way of one camera's frames through the engine, without the engine."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.behaviours import BEHAVIOURS, Behaviour, Finding, Kind, Loitering
from model.scorer import ScoredWindow
from pose.source import Frame
from pose.tracker import TrackedPoses
from pose.windows import WindowSpec
from service.live.frames import Scored, Sighting
from service.live.lane import Lane
from tests.doubles.walkers import RATE_HZ, Queue, frame_at, person


def test_no_two_tracks_of_any_cameras_share_a_key() -> None:
    lanes = [Lane("same", Queue(), print, max_fps=1) for _ in range(3)]
    keys = [lane.key(track) for lane in lanes for track in (1, 2, 2**31 - 1)]
    assert len(set(keys)) == len(keys)
    assert all(key >> 40 == lane.number for lane in lanes for key in (lane.key(1), lane.key(2**31 - 1)))
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


def test_scores_of_the_weights_before_are_not_used_for_frames_of_the_new_ones() -> None:
    lane = Lane("hall", Queue(), lambda one: delivered.append(one), max_fps=15)
    delivered: list[Scored] = []
    spec = WindowSpec()

    def frame(moment: float, *nll: float) -> None:
        item = frame_at(moment)
        people = lane.follow(item, TrackedPoses([1], np.zeros((1, 4), np.float32), torch.zeros(1, 17, 3)))
        assert people is not None
        windows = [ScoredWindow(lane.key(1), moment, value, value, 0.5, {}) for value in nll]
        lane.finish(item, people, np.zeros((1, 17, 3), np.float32), windows, spec)

    frame(10.0, 9.0)
    frame(10.1)
    lane.rescore()
    frame(10.2)
    frame(10.3, 1.0)
    assert [one.nll for one in delivered] == pytest.approx([9.0, 9.0, np.nan, 1.0], nan_ok=True)
    assert delivered[-1].smoothed == pytest.approx(1.0)


@dataclass
class Watcher:
    """Behaviours that see what they are told to."""

    seen: list[tuple[float, list[int], tuple[int, int]]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    looked_for: tuple[Behaviour, ...] = ()

    def look_for(self, behaviours: tuple[Behaviour, ...]) -> None:
        self.looked_for = behaviours

    def observe(
        self, time: float, track_ids: list[int], boxes: object, keypoints: object, size: tuple[int, int]
    ) -> list[Finding]:
        self.seen.append((time, list(track_ids), size))
        return self.findings


@dataclass
class Hall:
    """A lane whose behaviours are watchers, fed by a device that follows people itself."""

    watchers: list[Watcher] = field(default_factory=list)
    delivered: list[Scored] = field(default_factory=list)
    lane: Lane = field(init=False)

    def __post_init__(self) -> None:
        self.lane = Lane("hall", Queue(), self.delivered.append, max_fps=15)

    def watcher(self) -> Watcher:
        self.watchers.append(Watcher())
        return self.watchers[-1]

    def frame(self, moment: float, *, width: int = 640, connection: int = 0, tracks: tuple[int, ...] = (1,)) -> None:
        count = len(tracks)
        people = TrackedPoses(list(tracks), np.zeros((count, 4), np.float32), torch.zeros(count, 17, 3))
        item = Sighting("hall", 0, moment, width, 480, people, connection)
        kept = self.lane.follow(item, people)
        if kept is not None:
            self.lane.finish(item, kept, np.zeros((len(kept), 17, 3), np.float32), [], WindowSpec())


@pytest.fixture
def hall(monkeypatch: pytest.MonkeyPatch) -> Hall:
    hall = Hall()
    monkeypatch.setattr("service.live.lane.Behaviours", hall.watcher)
    return hall


def test_behaviours_see_every_frame_in_order_and_their_findings_are_delivered(hall: Hall) -> None:
    fall = Finding(Kind.FALL, (4,), 1.2, 10.0, "fell", {})
    hall.frame(10.0)
    hall.watchers[0].findings = [fall]
    for moment in (10.1, 10.05, 10.2):
        hall.frame(moment, tracks=(1, 4))
    (watcher,) = hall.watchers
    assert watcher.seen == [(10.0, [1], (640, 480)), (10.1, [1, 4], (640, 480)), (10.2, [1, 4], (640, 480))]
    assert [one.findings for one in hall.delivered] == [[], [fall], [fall]]


def test_behaviours_to_look_for_can_change_while_they_watch(hall: Hall) -> None:
    hall.frame(1.0)
    (watcher,) = hall.watchers
    assert watcher.looked_for == BEHAVIOURS
    hall.lane.behaviours = (*BEHAVIOURS, Loitering(30.0))
    hall.frame(1.1)
    assert hall.watchers == [watcher]
    assert watcher.looked_for == (*BEHAVIOURS, Loitering(30.0))


def test_behaviours_do_not_see_who_stands_in_a_zone_to_ignore(hall: Hall) -> None:
    hall.lane.ignore = (((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),)
    hall.frame(10.0)
    assert hall.watchers[0].seen == [(10.0, [], (640, 480))]


def test_behaviours_start_anew_where_track_numbers_do(hall: Hall) -> None:
    hall.frame(10.0)
    hall.frame(10.1, width=320)
    hall.frame(10.2, width=320, connection=1)
    hall.frame(10.3, width=320, connection=1)
    hall.lane.rescore()
    hall.frame(10.4, width=320, connection=1)
    hall.lane.forget()
    hall.frame(10.5, width=320, connection=1)
    assert [[time for time, _, _ in one.seen] for one in hall.watchers] == [[10.0], [10.1], [10.2, 10.3, 10.4], [10.5]]


@dataclass
class Newest:
    """A camera as `LiveSource` shows it: the newest frame, and how many nobody took."""

    lane: Lane = field(init=False)
    frames_overwritten: int = 0
    frames: int = 0
    slot: Frame | None = None

    def take(self) -> Frame | None:
        frame, self.slot = self.slot, None
        return frame

    def arrive(self, *, ready: bool = True) -> None:
        self.frames_overwritten += self.slot is not None
        self.slot = frame_at(time.monotonic())
        self.frames += 1
        self.lane.arrived(ready=ready)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["arrive", "arrive while loading", "take"]), st.floats(0.001, 0.2)), max_size=60
    ),
    max_fps=st.sampled_from([5.0, 15.0, 60.0]),
)
def test_arrivals_are_processed_dropped_for_a_reason_or_still_wait(
    steps: list[tuple[str, float]], max_fps: float
) -> None:
    now = 1000.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.live.lane.time.monotonic", lambda: now)
        camera, taken = Newest(), 0
        camera.lane = Lane("hall", camera, print, max_fps=max_fps)
        began = now
        for what, pause in steps:
            now += pause
            if what == "take":
                taken += camera.lane.take() is not None
            else:
                camera.arrive(ready=what == "arrive")
        assert camera.frames == taken + sum(camera.lane.dropped.values()) + (camera.slot is not None)
        assert taken <= max_fps * (now - began) + 3


def test_a_camera_that_is_faster_than_wanted_is_not_called_an_overload() -> None:
    now = 1000.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.live.lane.time.monotonic", lambda: now)
        camera, taken = Newest(), 0
        camera.lane = Lane("hall", camera, print, max_fps=10)
        for _ in range(300):
            now += 1 / 30
            camera.arrive()
            taken += camera.lane.take() is not None
        assert camera.lane.dropped.keys() == {"rate_limit"}
        assert taken == pytest.approx(100, abs=3)
        for _ in range(30):
            now += 1 / 30
            camera.arrive()
        assert camera.lane.dropped["overload"] > 20


def test_a_feed_faster_than_wanted_does_not_fall_behind() -> None:
    now = 1000.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.live.lane.time.monotonic", lambda: now)
        queue, ages = Queue(), []
        lane = Lane("edge", queue, print, max_fps=15)
        for number in range(600):
            now += 1 / 30
            queue.items.append(Sighting("edge", number, now, 640, 480, person(0, now)))
            # The engine looks in every tenth of a second, after a pause of two.
            while number > 60 and number % 3 == 0 and (item := lane.take()) is not None:
                ages.append(now - item.captured_at)
        assert max(ages[-50:]) < 0.2
        assert len(ages) + sum(lane.dropped.values()) + len(queue.items) == 600
        assert len(ages) == pytest.approx(300, abs=5)


def test_people_get_new_numbers_when_the_picture_gets_another_size() -> None:
    lane = Lane("hall", Queue(), print, max_fps=15)
    numbers = []
    for step in range(8):
        image = np.zeros((480, 640, 3) if step < 4 else (400, 640, 3), np.uint8)
        moment = 1000.0 + step / RATE_HZ
        people = lane.follow(Frame("hall", step, moment, image), person(0, moment))
        assert people is not None
        numbers += people.track_ids
    assert set(numbers) == {1, 2}


def test_the_rate_follows_a_camera_that_becomes_slow_and_fast_again() -> None:
    lane = Lane("hall", Queue(), print, max_fps=1000)
    nobody = TrackedPoses([], np.zeros((0, 4), np.float32), torch.zeros(0, 17, 3))
    moment = 1000.0
    for steps, gap in ((50, 0.04), (2, 1.25), (1, 3600.0), (2, 0.04)):
        for _ in range(steps):
            moment += gap
            lane.follow(Sighting("hall", 0, moment, 640, 480, nobody), nobody)
        assert lane.rate == pytest.approx(1 / gap)
