from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pose.live import TRANSITIONS, LiveTiming, SourceState, StateChange
from pose.tracker import TrackedPoses
from service.cameras.skeleton_feed import SkeletonFeed
from service.documents.skeletons import MIN_STEP_S, BadSkeletons, SkeletonFrame

TIMING = LiveTiming(stall_s=0.2, read_s=0.5)


class Feed:
    """A feed that was started, and what it said."""

    def __init__(self) -> None:
        self.changes: list[StateChange] = []
        self.arrivals = 0
        self.feed = SkeletonFeed("edge", TIMING, self.changes.append, self._arrived)
        self.feed.start()

    def _arrived(self) -> None:
        self.arrivals += 1

    @property
    def states(self) -> list[SourceState]:
        return [change.state for change in self.changes]


def frame(time_s: float, tracks: tuple[int | None, ...] = (1,)) -> SkeletonFrame:
    people: list[dict[str, Any]] = [
        {"track": track, "keypoints": [(100.0 + i, 200.0 + i, 0.9) for i in range(17)]} for track in tracks
    ]
    return SkeletonFrame.model_validate({"time_s": time_s, "width": 640, "height": 480, "people": people})


def test_frames_come_out_in_order_with_their_people() -> None:
    one = Feed()
    for number in range(5):
        one.feed.push(frame(100 + number / 15, (4, 7)))
    assert one.arrivals == one.feed.frames_read == 5
    taken = [one.feed.take() for _ in range(6)]
    assert taken.pop() is None
    assert [item.sequence for item in taken if item] == [0, 1, 2, 3, 4]
    moments = [item.captured_at for item in taken if item]
    assert moments == sorted(set(moments))
    assert moments[-1] <= time.monotonic()
    people = taken[0].people if taken[0] else None
    assert isinstance(people, TrackedPoses)
    assert people.track_ids == [4, 7]
    assert one.feed.size == (640, 480)


def test_people_who_are_left_out_of_a_crowd_are_counted() -> None:
    one = Feed()
    one.feed.push(frame(1.0, tuple(range(1, 65))))
    assert one.feed.surplus == 0
    one.feed.push(frame(1.1, tuple(range(1, 67))))
    one.feed.push(frame(1.2, tuple(range(1, 66))))
    assert one.feed.surplus == 3


@given(steps=st.lists(st.floats(-0.9, 0.9), max_size=20))
def test_a_frame_that_is_not_later_is_refused_and_changes_nothing(steps: list[float]) -> None:
    one, newest = Feed(), 1000.0
    one.feed.push(frame(newest))
    for step in steps:
        moment = newest + step
        if moment - newest < MIN_STEP_S:
            if moment - newest > -1.0:
                with pytest.raises(BadSkeletons, match="time_s"):
                    one.feed.push(frame(moment))
        else:
            one.feed.push(frame(moment))
            newest = moment
    assert one.feed.frames_read == one.arrivals
    moments = []
    while (item := one.feed.take()) is not None:
        moments.append(item.captured_at)
    assert moments == sorted(set(moments))
    assert len(moments) == one.feed.frames_read


def test_a_device_that_was_restarted_begins_anew() -> None:
    one = Feed()
    one.feed.push(frame(5000.0))
    one.feed.push(frame(0.0))
    one.feed.push(frame(0.1))
    moments = [item.captured_at for item in (one.feed.take(), one.feed.take(), one.feed.take()) if item]
    assert moments == sorted(set(moments))
    assert len(moments) == 3


def test_frames_with_and_without_identities_do_not_mix() -> None:
    one = Feed()
    one.feed.push(frame(1.0, ()))
    one.feed.push(frame(2.0, (1, 2)))
    one.feed.push(frame(3.0, ()))
    with pytest.raises(BadSkeletons, match="from one device has tracks"):
        one.feed.push(frame(4.0, (None, None)))
    one.feed.push(frame(4.0, (2,)))
    assert one.feed.frames_read == 4


def test_another_device_has_a_clock_and_identities_of_its_own() -> None:
    one = Feed()
    first = one.feed.connect()
    one.feed.push(frame(50.0, (1,)))
    second = one.feed.connect()
    assert one.feed.connection == second != first
    one.feed.push(frame(49.9, (None,)))
    assert one.feed.frames_read == 2


def test_people_of_another_device_or_of_a_restarted_one_are_other_people() -> None:
    one = Feed()
    one.feed.connect()
    one.feed.push(frame(50.0))
    one.feed.push(frame(50.1))
    one.feed.push(frame(3.0))
    one.feed.connect()
    one.feed.push(frame(3.1))
    taken = [item.connection for item in iter(one.feed.take, None)]
    assert taken[0] == taken[1]
    assert len(set(taken)) == 3


def test_a_silent_device_stalls_is_lost_and_comes_back() -> None:
    one = Feed()
    one.feed.watch(time.monotonic() + 100)
    assert one.states == ["connecting"], "a device that never came has not been lost"
    one.feed.push(frame(1.0))
    arrived = time.monotonic()
    one.feed.watch(arrived + 0.1)
    assert one.states == ["connecting", "online"]
    one.feed.watch(arrived + 0.3)
    assert one.feed.problem is not None
    assert one.feed.problem.cause == "timeout"
    one.feed.watch(arrived + 0.6)
    one.feed.watch(arrived + 0.9)
    one.feed.push(frame(2.0))
    assert one.feed.problem is None
    one.feed.stop()
    assert one.states == ["connecting", "online", "stalled", "reconnecting", "online", "stopped"]
    assert one.feed.reconnects == 1
    assert one.changes[0].previous is None
    for before, after in zip(one.changes, one.changes[1:], strict=False):
        assert after.previous == before.state
        assert after.state in TRANSITIONS[before.state]
    assert one.changes[-1].cause is None


def test_a_feed_that_was_stopped_takes_and_gives_nothing() -> None:
    one = Feed()
    one.feed.push(frame(1.0))
    one.feed.stop()
    one.feed.stop()
    one.feed.push(frame(2.0))
    assert one.feed.take() is None
    assert (one.arrivals, one.states) == (1, ["connecting", "online", "stopped"])


def test_a_feed_keeps_a_bounded_backlog_and_drops_the_oldest() -> None:
    one = Feed()
    for number in range(200):
        one.feed.push(frame(number / 15))
    sequences = []
    while (item := one.feed.take()) is not None:
        sequences.append(item.sequence)
    assert sequences == list(range(200 - len(sequences), 200))
    assert one.feed.frames_overwritten == 200 - len(sequences)
    assert len(sequences) < 100


def test_the_rate_is_that_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("service.cameras.skeleton_feed.time.monotonic", lambda: now)
    one = Feed()
    assert one.feed.fps is None
    for number in range(100):
        now += 0.05
        one.feed.push(frame(number * 0.05))
    assert one.feed.fps == pytest.approx(20)
    now += 3600
    assert one.feed.fps is None, "a device that is gone sends nothing"
    for number in range(100):
        now += 0.1
        one.feed.push(frame(3605 + number * 0.1))
    assert one.feed.fps == pytest.approx(10), "an hour of silence is forgotten"


def test_devices_that_push_at_once_keep_the_order_of_moments() -> None:
    one = Feed()
    lock, clock = threading.Lock(), iter(range(1, 10_000))

    def push() -> None:
        for _ in range(100):
            with lock:
                one.feed.push(frame(next(clock) / 100))

    threads = [threading.Thread(target=push) for _ in range(3)]
    moments: list[float] = []
    for thread in threads:
        thread.start()
    while (
        any(thread.is_alive() for thread in threads)
        or one.feed.frames_read > len(moments) + one.feed.frames_overwritten
    ):
        item = one.feed.take()
        if item is not None:
            moments.append(item.captured_at)
    assert moments == sorted(set(moments))
    assert len(moments) + one.feed.frames_overwritten == one.feed.frames_read == 300
