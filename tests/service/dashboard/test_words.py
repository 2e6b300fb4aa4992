from __future__ import annotations

import pytest

from service.dashboard import words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(4.4, "4 s"), (125, "2 min 5 s"), (120, "2 min"), (12_000, "3 h 20 min"), (7200, "2 h"), (604_800, "7 days")],
)
def test_durations_are_said_in_units_that_fit(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


def test_sizes_and_rates_are_said_in_units_that_fit() -> None:
    assert [words.size(count) for count in (12, 1500, 537_000_000)] == ["12 B", "1.5 KB", "537 MB"]
    assert [words.rate(one) for one in (1.0, 0.25)] == ["1 per hour", "0.25 per hour"]


@pytest.mark.parametrize(
    ("state", "said"),
    [("online", ""), ("stopped", "Turn on “Enabled” in its settings."), ("reconnecting", "The camera is off.")],
)
def test_a_camera_without_a_picture_says_why(state: str, said: str) -> None:
    status = {"state": state, "problem": {"cause": "refused", "detail": "the camera is off"}}
    assert words.cover(status, seen=True) == said


@pytest.mark.parametrize(
    ("state", "age_s", "people", "said"),
    [
        ("online", 0.1, 0, "Nobody in the picture"),
        ("online", words.FRESH_S, 0, "Nobody in the picture"),
        ("online", 0.1, 2, ""),
        ("online", words.FRESH_S + 0.1, 0, "No live data"),
        ("online", words.FRESH_S + 0.1, 2, "No live data"),
        ("online", None, 0, "No live data"),
        *((state, 0.1, 0, "No live data") for state in words.STATES if state != "online"),
    ],
)
def test_only_a_fresh_score_of_a_live_camera_says_that_nobody_is_in_the_picture(
    state: str, age_s: float | None, people: int, said: str
) -> None:
    assert words.no_people(state, age_s, people) == said
