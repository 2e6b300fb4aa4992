from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from service.live.clock import SteadyClock


class Hands:
    """A monotonic clock and a wall clock that a test moves."""

    def __init__(self) -> None:
        self.monotonic = 1000.0
        self.wall = 1_800_000_000.0
        self.clock = SteadyClock(lambda: self.monotonic, lambda: self.wall)

    def pass_time(self, seconds: float, step: float = 0.0) -> None:
        self.monotonic += seconds
        self.wall += seconds + step

    def behind_s(self) -> float:
        """How far the wall clock is behind what the service says."""
        return self.clock.utc(self.monotonic).timestamp() - self.wall


def test_a_moment_is_the_time_of_day_that_it_was() -> None:
    hands = Hands()
    hands.pass_time(60)
    assert hands.clock.utc(hands.clock.now() - 10) == datetime.fromtimestamp(1_800_000_050, UTC)


def test_a_clock_that_is_put_forward_is_followed_at_once() -> None:
    hands = Hands()
    hands.pass_time(1, step=3600)
    assert abs(hands.behind_s()) < 1e-3


def test_a_clock_that_is_put_back_is_followed_at_half_speed() -> None:
    hands = Hands()
    hands.pass_time(0, step=-3600)
    assert hands.behind_s() == 3600
    hands.pass_time(1800)
    assert abs(hands.behind_s() - 2700) < 1e-3
    hands.pass_time(10_000)
    assert abs(hands.behind_s()) < 1e-3


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-5000, 5000)), max_size=40))
def test_time_never_runs_backwards_whatever_is_done_to_the_wall_clock(steps: list[tuple[float, float]]) -> None:
    hands = Hands()
    last = hands.clock.utc(hands.clock.now())
    for seconds, step in steps:
        hands.pass_time(seconds, step)
        now = hands.clock.utc(hands.clock.now())
        assert now >= last
        last = now
