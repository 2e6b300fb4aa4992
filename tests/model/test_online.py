import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.online import OnlineFrameScore, held
from model.scorer import ScoredWindow
from model.smoothing import smooth_causally
from pose.windows import WindowSpec

SPEC = WindowSpec(length=4, rate_hz=10.0, max_gap_s=0.5)


def window(track: int, end: float, nll: float) -> ScoredWindow:
    return ScoredWindow(track, end, nll, nll, 0.5, {"pose": 0.5})


def test_a_frame_has_the_highest_of_the_newest_windows_of_its_people() -> None:
    online = OnlineFrameScore(SPEC, tau_s=0.0)
    for scored in (window(1, 0.3, 9.0), window(1, 0.4, 2.0), window(2, 0.3, 3.0)):
        online.add(scored)
    score = online.frame(0.45)
    assert (score.raw, score.smoothed) == (3.0, 3.0)
    assert {track: newest.nll for track, newest in score.people.items()} == {1: 2.0, 2: 3.0}


def test_a_window_scores_frames_for_as_long_as_gaps_are_bridged() -> None:
    online = OnlineFrameScore(SPEC)
    online.add(window(1, 1.0, 2.0))
    assert online.frame(1.5).raw == 2.0
    gone = online.frame(1.51)
    assert math.isnan(gone.raw)
    assert math.isnan(gone.smoothed)
    assert gone.people == {}


def test_older_windows_and_windows_without_a_score_change_nothing() -> None:
    online = OnlineFrameScore(SPEC)
    for scored in (window(1, 1.0, 2.0), window(1, 0.9, 7.0), window(1, 1.1, math.nan), window(2, 1.0, math.inf)):
        online.add(scored)
    assert online.frame(1.1).people == {1: window(1, 1.0, 2.0)}


def test_a_returned_score_does_not_change_later() -> None:
    online = OnlineFrameScore(SPEC)
    online.add(window(1, 1.0, 2.0))
    before = online.frame(1.0)
    online.add(window(1, 1.1, 5.0))
    online.frame(1.1)
    assert before.people == {1: window(1, 1.0, 2.0)}


def test_frames_out_of_order_and_windows_that_end_after_the_frame_are_refused() -> None:
    online = OnlineFrameScore(SPEC)
    online.frame(1.0)
    with pytest.raises(ValueError, match=r"backwards, from 1\.0 to 0\.9"):
        online.frame(0.9)
    online.add(window(1, 2.0, 2.0))
    with pytest.raises(ValueError, match=r"ends at 2\.0, after the frame at 1\.5"):
        online.frame(1.5)


@settings(max_examples=100)
@given(st.lists(st.lists(st.tuples(st.integers(1, 4), st.floats(0, 9)), max_size=4), max_size=40))
def test_the_rule_equals_a_plain_implementation_of_its_description(frames: list[list[tuple[int, float]]]) -> None:
    online = OnlineFrameScore(SPEC, tau_s=0.3, gap_s=1.0)
    windows: list[ScoredWindow] = []
    times, raw, smoothed = [], [], []
    for number, arriving in enumerate(frames):
        time = number / 4
        for track, nll in arriving:
            windows.append(window(track, time - 0.01 * track, nll))
            online.add(windows[-1])
        score = online.frame(time)
        newest = {w.track_id: w for w in windows if time - w.end_time <= SPEC.max_gap_s}
        assert score.people == newest
        times.append(time)
        raw.append(max((w.nll for w in newest.values()), default=math.nan))
        smoothed.append(score.smoothed)
        np.testing.assert_equal(score.raw, raw[-1])
    np.testing.assert_array_equal(smoothed, smooth_causally(np.array(times), np.array(raw), 0.3, 1.0))


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5) | st.none()), max_size=25), st.sampled_from([0, 1, 4, 9])
)
def test_a_held_score_is_the_highest_threshold_at_which_an_alarm_is_raised(
    steps: list[tuple[int, int | None]], min_duration: int
) -> None:
    times = np.cumsum([float(step) for step, _ in steps])
    values = np.array([math.nan if value is None else float(value) for _, value in steps])
    result = held(values, times, float(min_duration))
    for threshold in range(6):
        since: float | None = None
        for i, value in enumerate(values):
            if not value >= threshold:
                since = None
            elif since is None:
                since = times[i]
            raised = since is not None and times[i] - since >= min_duration
            assert raised == bool(result[i] >= threshold)
