from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pose.live import (
    TRANSITIONS,
    Capture,
    IllegalStreamTransition,
    LiveSource,
    LiveTiming,
    Picture,
    PictureWatch,
    SourceError,
    SourceState,
    StateChange,
    StreamClock,
)
from tests.doubles.servers import eventually

CONNECTING, WAITING, ONLINE, STALLED, RECONNECTING, STOPPED, FAILED = SourceState
QUICK = LiveTiming(
    open_s=1, read_s=0.6, stall_s=0.25, backoff_first_s=0.05, backoff_cap_s=0.2, backoff_jitter=0.0, healthy_s=0.5
)


class Script:
    """A camera that does what the test says: each connection runs one generator of pictures."""

    def __init__(self, *connections: Callable[[Script], Iterator[Picture]]) -> None:
        self.connections = list(connections)
        self.opened = self.closed = 0
        self.gate = threading.Event()

    def open(self) -> Capture:
        self.opened += 1
        connection = self.connections[min(self.opened, len(self.connections)) - 1]
        return _Scripted(self, connection(self))


class _Scripted:
    def __init__(self, script: Script, pictures: Iterator[Picture]) -> None:
        self.script, self.pictures = script, pictures

    def read(self) -> Picture:
        picture = next(self.pictures, None)
        if picture is None:
            raise SourceError("ended", "the script is over")
        return picture

    def close(self) -> None:
        self.script.closed += 1


def picture(value: int = 100, stream_time: float | None = None) -> Picture:
    return Picture(np.full((48, 64, 3), value, np.uint8), stream_time)


def few(count: int) -> Callable[[Script], Iterator[Picture]]:
    return lambda _: iter([picture() for _ in range(count)])


def steady(script: Script) -> Iterator[Picture]:
    while True:
        yield picture()
        time.sleep(0.02)


def one_then_silence(script: Script) -> Iterator[Picture]:
    yield picture()
    script.gate.wait()


def silence(script: Script) -> Iterator[Picture]:
    script.gate.wait()
    yield from ()


class Recorder:
    def __init__(self) -> None:
        self.changes: list[StateChange] = []

    def __call__(self, change: StateChange) -> None:
        self.changes.append(change)

    @property
    def states(self) -> list[SourceState]:
        return [change.state for change in self.changes]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def make(recorder: Recorder) -> Iterator[Callable[..., LiveSource]]:
    """Makes sources that are stopped at the end of the test."""
    sources: list[LiveSource] = []

    def make(open_capture: Callable[[], Capture], timing: LiveTiming = QUICK, **more: object) -> LiveSource:
        sources.append(LiveSource("gate", open_capture, timing=timing, on_state=recorder, **more))  # type: ignore[arg-type]
        return sources[-1]

    yield make
    for source in sources:
        source.stop()


def refused() -> Capture:
    raise SourceError("refused", "nothing listens")


def assert_legal(changes: list[StateChange]) -> None:
    assert changes[0].previous is None
    for before, after in pairwise(changes):
        assert after.previous is before.state
        assert after.state in TRANSITIONS[before.state]
        assert after.moment >= before.moment


class TestLiveSource:
    def test_only_the_newest_frame_is_kept_and_the_rest_is_counted(self, make: Callable[..., LiveSource]) -> None:
        def three_then_wait(script: Script) -> Iterator[Picture]:
            yield from (picture(1), picture(2), picture(3))
            script.gate.wait()

        script = Script(three_then_wait)
        source = make(script.open)
        source.start()
        eventually(lambda: source.frames_read == 3, "three frames were read")
        frame = source.take()
        assert frame is not None
        assert (frame.camera_id, frame.sequence, frame.image[0, 0, 0]) == ("gate", 2, 3)
        assert source.frames_overwritten == 2
        assert source.size == (64, 48)
        assert frame.captured_at <= time.monotonic()
        assert source.take() is None
        script.gate.set()

    def test_frames_that_a_capture_skipped_are_counted_as_dropped(self, make: Callable[..., LiveSource]) -> None:
        def skips(script: Script) -> Iterator[Picture]:
            yield picture()
            yield replace(picture(), skipped=5)
            script.gate.wait()

        script = Script(skips)
        source = make(script.open)
        source.start()
        eventually(lambda: source.frames_read == 7, "all are counted")
        frame = source.take()
        assert frame is not None
        assert frame.sequence == 6
        assert source.frames_overwritten == 6
        script.gate.set()

    def test_frames_are_numbered_on_over_reconnections_and_moments_increase(
        self, make: Callable[..., LiveSource], recorder: Recorder
    ) -> None:
        frames = []
        taken = threading.Event()

        def counted(script: Script) -> Iterator[Picture]:
            for index in range(3):
                taken.clear()
                yield picture(stream_time=index / 10)
                assert taken.wait(5)

        def take() -> None:
            frames.append(source.take())
            taken.set()

        source = make(Script(counted).open, on_frame=take)
        source.start()
        eventually(lambda: len(frames) >= 9, "three connections gave their frames")
        source.stop()
        assert [frame.sequence for frame in frames[:9]] == list(range(9))
        assert all(a.captured_at < b.captured_at for a, b in pairwise(frames))
        assert source.reconnects >= 2
        assert recorder.states[:5] == [CONNECTING, ONLINE, RECONNECTING, ONLINE, RECONNECTING]

    def test_a_camera_that_sends_nothing_stalls_and_is_online_with_the_next_frame(
        self, make: Callable[..., LiveSource], recorder: Recorder
    ) -> None:
        def pauses(script: Script) -> Iterator[Picture]:
            yield picture()
            script.gate.wait()
            yield from steady(script)

        script = Script(pauses)
        source = make(script.open, replace(QUICK, read_s=60))
        source.start()
        eventually(lambda: recorder.states[-1:] == [STALLED], "it has stalled")
        assert source.problem is not None
        assert source.problem.cause == "timeout"
        script.gate.set()
        eventually(lambda: recorder.states[-1:] == [ONLINE], "it is online again")
        assert source.problem is None
        assert recorder.states == [CONNECTING, ONLINE, STALLED, ONLINE]
        assert recorder.changes[2].cause == "timeout"

    def test_a_silent_connection_is_given_up_and_made_anew(
        self, make: Callable[..., LiveSource], recorder: Recorder
    ) -> None:
        class Abortable(_Scripted):
            def close(self) -> None:
                super().close()
                self.script.gate.set()

        class Silent(Script):
            def open(self) -> Capture:
                self.gate.clear()
                self.opened += 1
                return Abortable(self, one_then_silence(self) if self.opened == 1 else steady(self))

        script = Silent()
        source = make(script.open)
        source.start()
        eventually(lambda: recorder.states[-2:] == [RECONNECTING, ONLINE], "it is online by another connection")
        assert recorder.states == [CONNECTING, ONLINE, STALLED, RECONNECTING, ONLINE]
        assert script.opened == 2
        assert source.reconnects == 1
        assert recorder.changes[3].cause == "timeout"

    def test_a_connection_without_a_first_picture_is_given_up(
        self, make: Callable[..., LiveSource], recorder: Recorder
    ) -> None:
        script = Script(silence)
        source = make(script.open)
        source.start()
        eventually(lambda: recorder.states[-1:] == [RECONNECTING], "it gave up")
        assert recorder.states == [CONNECTING, RECONNECTING]
        script.gate.set()

    def test_connecting_to_a_missing_camera_is_retried_with_growing_pauses(
        self, make: Callable[..., LiveSource], recorder: Recorder
    ) -> None:
        attempts: list[float] = []
        script = Script(steady)

        def open_capture() -> Capture:
            attempts.append(time.monotonic())
            if len(attempts) < 6:
                refused()
            return script.open()

        source = make(open_capture)
        source.start()
        eventually(lambda: recorder.states[-1:] == [ONLINE], "it is there")
        assert recorder.states == [CONNECTING, RECONNECTING, ONLINE]
        assert recorder.changes[1].cause == "refused"
        assert source.reconnects == 1
        pauses = [b - a for a, b in pairwise(attempts)]
        for pause, least in zip(pauses, (0.05, 0.1, 0.2, 0.2, 0.2), strict=True):
            assert pause >= least

    def test_pauses_leave_the_generator_of_the_process_alone(self, make: Callable[..., LiveSource]) -> None:
        attempts = []

        def open_capture() -> Capture:
            attempts.append(time.monotonic())
            refused()

        random.seed(1)
        before = random.getstate()
        make(open_capture, replace(QUICK, backoff_first_s=0.001, backoff_cap_s=0.002)).start()
        eventually(lambda: len(attempts) > 3, "it tried several times")
        assert random.getstate() == before

    def test_a_wrong_password_waits_for_the_longest_pause_at_once(self, make: Callable[..., LiveSource]) -> None:
        attempts: list[float] = []

        def open_capture() -> Capture:
            attempts.append(time.monotonic())
            raise SourceError("unauthorised", "wrong password")

        source = make(open_capture, replace(QUICK, backoff_first_s=0.001, backoff_cap_s=0.5))
        source.start()
        eventually(lambda: len(attempts) == 2, "it was tried twice")
        assert attempts[1] - attempts[0] >= 0.5

    def test_a_permanent_problem_ends_the_source(self, make: Callable[..., LiveSource], recorder: Recorder) -> None:
        def open_capture() -> Capture:
            raise SourceError("ended", "played to its end", permanent=True)

        source = make(open_capture)
        source.start()
        eventually(lambda: recorder.states[-1:] == [FAILED], "it has failed")
        assert recorder.states == [CONNECTING, FAILED]
        source.stop()
        assert recorder.states[-1] is STOPPED

    def test_a_defect_of_a_capture_is_a_problem_like_any_other(
        self, make: Callable[..., LiveSource], caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(script: Script) -> Iterator[Picture]:
            raise ZeroDivisionError("rtsp://user:secret@camera/")
            yield

        source = make(Script(broken, steady).open)
        source.start()
        eventually(lambda: source.state is ONLINE, "it is online after all")
        assert "ZeroDivisionError" in caplog.text

    def test_a_failing_listener_does_not_stop_the_camera(self, caplog: pytest.LogCaptureFixture) -> None:
        def fail(*_: object) -> None:
            raise ZeroDivisionError

        source = LiveSource("gate", Script(steady).open, timing=QUICK, on_state=fail, on_frame=fail)
        source.start()
        eventually(lambda: source.frames_read > 3, "frames are read")
        source.stop()
        assert "a listener for states failed" in caplog.text
        assert "a listener for frames failed" in caplog.text

    def test_the_rate_is_that_of_arrival(self, make: Callable[..., LiveSource]) -> None:
        source = make(Script(steady).open)
        assert source.fps is None
        source.start()
        eventually(lambda: source.frames_read > 20, "frames are read")
        fps = source.fps
        assert fps is not None
        assert 5 < fps <= 50.5

    def test_a_source_starts_only_when_stopped_and_may_start_again(
        self, make: Callable[..., LiveSource], recorder: Recorder
    ) -> None:
        source = make(Script(steady).open)
        source.start()
        with pytest.raises(IllegalStreamTransition, match=r"a source that is \w+ cannot become connecting"):
            source.start()
        source.stop()
        source.start()
        eventually(lambda: recorder.states[-1:] == [ONLINE], "it is online again")
        source.stop()
        first = recorder.states.index(STOPPED) + 1
        assert recorder.states[:first] in ([CONNECTING, STOPPED], [CONNECTING, ONLINE, STOPPED])
        assert recorder.states[first:] == [CONNECTING, ONLINE, STOPPED]
        assert_legal(recorder.changes)


def blocked_open(script: Script) -> Callable[[], Capture]:
    def open_capture() -> Capture:
        script.gate.wait()
        return script.open()

    return open_capture


STOPPABLE: dict[str, tuple[Callable[[Script], Callable[[], Capture]], LiveTiming, SourceState]] = {
    "blocked open": (blocked_open, QUICK, CONNECTING),
    "online": (lambda script: script.open, QUICK, ONLINE),
    "blocked read": (lambda script: script.open, replace(QUICK, stall_s=60, read_s=60), ONLINE),
    "stalled": (lambda script: script.open, replace(QUICK, read_s=60), STALLED),
    "backing off": (lambda _: refused, replace(QUICK, backoff_first_s=60, backoff_cap_s=60), RECONNECTING),
}


@pytest.mark.parametrize("name", STOPPABLE)
def test_stop_returns_within_a_second_from_every_state_and_no_change_follows(
    name: str, make: Callable[..., LiveSource], recorder: Recorder
) -> None:
    opening, timing, state = STOPPABLE[name]
    script = Script(steady if name == "online" else one_then_silence)
    source = make(opening(script), timing)
    source.start()
    eventually(lambda: source.state is state, f"it is {state}")
    asked = time.monotonic()
    source.stop()
    assert time.monotonic() - asked < 1
    assert source.state is STOPPED
    assert recorder.states[-1] is STOPPED
    assert_legal(recorder.changes)
    heard, read = len(recorder.changes), source.frames_read
    script.gate.set()
    readers = [thread for thread in threading.enumerate() if thread.name == "read-gate"]
    for thread in readers:
        thread.join(5)
        assert not thread.is_alive()
    source.stop()
    assert (len(recorder.changes), source.frames_read, source.take()) == (heard, read, None)
    assert script.closed >= script.opened


def test_stop_from_a_listener_and_stop_while_a_listener_hangs_return_in_time() -> None:
    hangs, release = threading.Event(), threading.Event()
    heard: list[SourceState] = []

    def hang(change: StateChange) -> None:
        heard.append(change.state)
        if change.state is ONLINE:
            hangs.set()
            release.wait()

    source = LiveSource("gate", Script(steady).open, timing=QUICK, on_state=hang)
    source.start()
    assert hangs.wait(5)
    asked = time.monotonic()
    source.stop()
    assert time.monotonic() - asked < 1
    release.set()
    eventually(lambda: heard == [CONNECTING, ONLINE, STOPPED], "the stop was reported in its turn")

    def stop(change: StateChange) -> None:
        heard.append(change.state)
        if change.state is ONLINE:
            itself.stop()

    heard.clear()
    itself = LiveSource("gate", Script(steady).open, timing=QUICK, on_state=stop)
    itself.start()
    eventually(lambda: heard == [CONNECTING, ONLINE, STOPPED], "it stopped itself")


def test_fifty_sources_start_and_stop_at_once_and_leave_no_threads() -> None:
    before = set(threading.enumerate())
    sources = [LiveSource(f"camera-{n}", Script(steady).open, timing=QUICK) for n in range(50)]
    for source in sources:
        source.start()
    eventually(lambda: all(source.state is ONLINE for source in sources), "all are online")
    for source in sources:
        source.stop()

    def gone() -> bool:
        return set(threading.enumerate()) <= before

    eventually(gone, "their threads have ended")


class TestLiveTiming:
    @given(
        failures=st.integers(1, 10_000),
        chance=st.floats(0, 1),
        first=st.floats(0.01, 10),
        cap=st.floats(0.01, 100),
        jitter=st.floats(0, 1),
    )
    def test_pauses_double_up_to_the_cap_minus_the_random_share(
        self, failures: int, chance: float, first: float, cap: float, jitter: float
    ) -> None:
        timing = LiveTiming(backoff_first_s=first, backoff_cap_s=cap, backoff_jitter=jitter)
        longest = timing.backoff_s(failures, 0.0)
        assert longest <= cap
        assert timing.backoff_s(failures + 1, 0.0) == pytest.approx(min(cap, 2 * longest))
        assert (1 - jitter) * longest - 1e-9 <= timing.backoff_s(failures, chance) <= longest

    @pytest.mark.parametrize(
        "wrong", [{"open_s": 0}, {"read_s": math.nan}, {"stall_s": -1}, {"backoff_jitter": 1.5}, {"healthy_s": -1}]
    )
    def test_impossible_times_are_refused(self, wrong: dict[str, float]) -> None:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            LiveTiming(**wrong)


def test_every_state_may_be_stopped_and_a_failed_source_only_that() -> None:
    assert all(STOPPED in TRANSITIONS[state] for state in SourceState if state is not STOPPED)
    assert TRANSITIONS[FAILED] == {STOPPED}
    assert TRANSITIONS[STOPPED] == {CONNECTING}


@st.composite
def arrivals(draw: st.DrawFn) -> list[tuple[float, float | None]]:
    """Arrivals that increase, with stream times that jump, stand still, run back or are missing."""
    moment = 1000.0
    times: list[tuple[float, float | None]] = []
    for _ in range(draw(st.integers(1, 60))):
        moment += draw(st.floats(1e-6, 20))
        times.append((moment, draw(st.none() | st.floats(-1e6, 1e6) | st.just(moment - 7) | st.just(math.nan))))
    return times


class TestStreamClock:
    @given(arrivals())
    def test_moments_strictly_increase_and_are_never_later_than_the_arrival(
        self, times: list[tuple[float, float | None]]
    ) -> None:
        clock = StreamClock()
        moments = [clock.capture_moment(arrival, stream_time) for arrival, stream_time in times]
        assert all(a < b for a, b in pairwise(moments))
        assert all(moment <= arrival for moment, (arrival, _) in zip(moments, times, strict=True))

    @given(
        st.lists(st.floats(0, 0.4), min_size=90, max_size=120),
        st.sampled_from([8, 15, 30]),
        st.sampled_from([0.5, 0.97, 1.0, 1.03]),
    )
    def test_jitter_of_the_network_does_not_distort_movement(self, jitter: list[float], fps: int, speed: float) -> None:
        clock = StreamClock()
        arrival, lates = 0.0, []
        for index, delay in enumerate([0.0, *jitter]):
            taken = 50 + index / fps
            # Delays end with the next quarter of a second, whose first picture arrives in time.
            most = (-index % (fps // 4)) / fps
            arrival = max(math.nextafter(arrival, math.inf), taken + min(delay, most))
            lates.append(clock.capture_moment(arrival, speed * index / fps) - taken)
            assert lates[-1] <= arrival - taken + 1e-9
        if speed == 1.0:
            np.testing.assert_allclose(lates, 0, atol=1e-6)
        assert np.max(np.abs(lates[2 * fps :])) <= 0.15

    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("speed", [0.5, 0.97, 0.995, 1.0])
    def test_capture_times_are_more_even_than_arrivals(self, speed: float, seed: int) -> None:
        clock, chance = StreamClock(), random.Random(seed)  # noqa: S311 - repeats the same jitter
        arrival, moments, arrivals = 0.0, [], []
        for index in range(900):
            arrival = max(arrival + 1e-6, 50 + index / 15 + chance.uniform(0, 0.2))
            arrivals.append(arrival)
            moments.append(clock.capture_moment(arrival, speed * index / 15))
        uneven, even = (np.abs(np.diff(times[30:]) - 1 / 15).mean() for times in (arrivals, moments))
        assert even < uneven / 2

    def test_a_burst_after_an_interruption_keeps_its_own_times(self) -> None:
        clock = StreamClock()
        for index in range(50):
            clock.capture_moment(100 + index / 25, index / 25)
        burst = [clock.capture_moment(105 + index * 1e-3, 2 + index / 25) for index in range(75)]
        np.testing.assert_allclose(np.diff(burst), 1 / 25, atol=1e-3)

    @pytest.mark.parametrize("jump", [-40.0, 3600.0, 1e6])
    def test_after_a_jump_of_the_stream_clock_the_age_is_right_at_once(self, jump: float) -> None:
        clock = StreamClock()
        for index in range(50):
            clock.capture_moment(100 + index / 25, index / 25)
        assert clock.capture_moment(102, 2 + jump) == pytest.approx(102)
        assert clock.capture_moment(102.04, 2.04 + jump) == pytest.approx(102.04)

    @pytest.mark.parametrize("fps", [2, 10, 25])
    @pytest.mark.parametrize("drift", [-1.0, -0.2, -0.03, -0.005, 0.005, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75])
    def test_a_stream_clock_of_the_wrong_speed_changes_neither_age_nor_speed_of_movement(
        self, drift: float, fps: int
    ) -> None:
        clock = StreamClock()
        moments = []
        for index in range(300 * fps):
            moments.append(clock.capture_moment(100 + index / fps, (1 - drift) * index / fps))
        taken = 100 + np.arange(300 * fps) / fps
        # Within two seconds the speed is known, and a tenth of a second is within what jitter may be.
        settled = slice(2 * fps, None)
        assert np.max(taken - moments) <= 1.5 * max(drift, 0) + 0.1
        assert np.max((taken - moments)[settled]) <= 0.15
        np.testing.assert_allclose(np.diff(moments)[settled], 1 / fps, atol=0.02)

    @pytest.mark.parametrize("outlier", [100.0, 36_000.0, -40.0])
    @pytest.mark.parametrize("speed", [0.97, 1.0])
    def test_a_single_wild_stream_time_changes_nothing_for_the_pictures_after_it(
        self, outlier: float, speed: float
    ) -> None:
        clock = StreamClock()
        ages = []
        for index in range(600):
            stream = speed * index / 15 + (outlier if index % 50 == 20 else 0.0)
            ages.append(100 + index / 15 - clock.capture_moment(100 + index / 15, stream))
        assert max(ages) <= 0.15

    def test_a_stream_that_stood_still_with_its_clock_is_right_again_in_seconds(self) -> None:
        clock = StreamClock()
        for index in range(150):
            clock.capture_moment(100 + index / 15, index / 15)
        ages = []
        for index in range(150, 300):
            arrival = 105 + index / 15
            ages.append(arrival - clock.capture_moment(arrival, index / 15))
        assert max(ages[60:]) <= 0.15

    def test_a_restarted_stream_does_not_depend_on_the_last_one(self) -> None:
        clock = StreamClock()
        clock.capture_moment(100, 5.0)
        clock.restart()
        assert clock.capture_moment(200, 5.5) == 200


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (96, 128, 3), np.uint8)


class TestPictureWatch:
    def test_a_dark_and_flat_picture_is_black_after_some_seconds_and_a_bright_one_ends_it(self) -> None:
        watch = PictureWatch()
        black = np.full((96, 128, 3), 5, np.uint8)
        states = []
        for second in range(5):
            black[0, 0] = second
            watch.look(black, float(second))
            states.append(watch.state)
        assert states == ["ok", "ok", "ok", "black", "black"]
        watch.look(noise(0), 5.0)
        assert watch.state == "ok"

    def test_a_picture_that_stays_the_same_to_the_bit_is_frozen_and_one_with_a_little_noise_is_not(self) -> None:
        watch, noisy = PictureWatch(), PictureWatch()
        still = noise(0)
        for second in range(12):
            watch.look(still, float(second))
            little = still.copy()
            little[::8, ::8, 0] ^= np.uint8(second & 1)
            noisy.look(little, float(second))
            assert watch.state == ("frozen" if second >= 10 else "ok")
            assert noisy.state == "ok"
        watch.look(noise(1), 12.0)
        assert watch.state == "ok"

    def test_it_looks_about_once_a_second(self) -> None:
        watch = PictureWatch()
        watch.look(np.zeros((96, 128, 3), np.uint8), 0.0)
        for index in range(1, 100):
            watch.look(noise(index) if index % 30 else np.zeros((96, 128, 3), np.uint8), index / 30)
        assert watch.state == "black"
