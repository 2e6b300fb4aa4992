from __future__ import annotations

import pytest

from model.behaviours import Kind
from pose.sight import CannotSee
from service.dashboard import words
from service.documents.base import EndReason
from tests.doubles.scores import live_person


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(4.4, "4 s"), (125, "2 min 5 s"), (120, "2 min"), (12_000, "3 h 20 min"), (7200, "2 h"), (604_800, "7 days")],
)
def test_durations_are_said_in_units_that_fit(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


def test_sizes_and_rates_are_said_in_units_that_fit() -> None:
    assert [words.size(count) for count in (12, 1500, 537_000_000)] == ["12 B", "1.5 KB", "537 MB"]
    assert [words.rate(one) for one in (1.0, 0.25)] == ["1 per day", "0.25 per day"]


@pytest.mark.parametrize(
    ("incidents", "files", "said"),
    [
        (0, 0, "No pictures were stored."),
        (1, 1, "Pictures of 1 incident removed: 1 file, 1.5 KB."),
        (1200, 2400, "Pictures of 1,200 incidents removed: 2,400 files, 1.5 KB."),
    ],
)
def test_what_became_of_stored_pictures_is_said(incidents: int, files: int, said: str) -> None:
    assert words.pictures_removed({"incidents": incidents, "files": files, "size_bytes": 1500}) == said


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


def test_a_camera_that_cannot_see_says_so_and_never_that_nobody_is_there() -> None:
    for reason in CannotSee:
        assert words.no_people("online", 0.1, 0, reason).startswith("Unknown: cannot see")
        assert words.state_of({"state": "online", "cannot_see": reason, "calibration": "stale"}) == (
            f"Cannot see: {words.SIGHTS[reason]}",
            "bad",
        )
        assert words.state_of({"state": "stalled", "cannot_see": reason, "calibration": "none"}) == ("No frames", "bad")
    assert words.SIGHTS["too_dark"] == "too dark"
    assert words.no_people("online", 0.1, 1, CannotSee.BLURRED) == ""
    assert words.state_of({"state": "online", "cannot_see": None, "calibration": "none"}) == ("Live", "good")


def test_what_happens_now_is_named_most_severe_first_with_the_number_of_people() -> None:
    people = [
        live_person(behaviours={Kind.RUNNING: 1.2, Kind.FIGHT: 1.0}),
        live_person(behaviours={Kind.FIGHT: 3.0, Kind.FALL: 0.99}),
        live_person(0.5),
    ]
    assert words.happening(people) == {Kind.FIGHT: "Fight, 2 people", Kind.RUNNING: "Running, 1 person"}
    assert words.now_words(people, 0.9999, 0.99) == "Now: Fight, 2 people; Running, 1 person"


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (None, "Nobody scored"),
        (0.3, "Level 0.30: normal"),
        (0.98, "Level 0.98: 1 in 50 normal movements"),
        (0.9968, "Now: Unusual movement, level 0.9968 (1 in 310)"),
    ],
)
def test_without_a_named_behaviour_the_level_is_said(level: float | None, said: str) -> None:
    assert words.now_words([live_person(level)], level, 0.99) == said


def test_the_severity_of_a_kind_is_that_of_the_camera() -> None:
    assert [words.tone(kind, {"lying": "warning"}) for kind in Kind] == [
        "alert",
        "alert",
        *["warning"] * 9,
    ]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("drop_h", 0.6213, ("Drop", "0.62 body heights")),
        ("top_speed_h_s", 1.3, ("Top speed", "1.3 body heights per second")),
        ("down_s", 1250.4, ("Down", "1,250 s")),
        ("tilt_deg", 82.4, ("Tilt", "82°")),
        ("strikes", 4.0, ("Strikes", "4")),
    ],
)
def test_a_measured_number_is_said_with_its_unit(name: str, value: float, said: tuple[str, str]) -> None:
    assert words.fact(name, value) == said


def test_the_end_of_an_incident_is_explained_for_named_behaviours_and_levels() -> None:
    assert set(words.ENDS) == {str(reason) for reason in EndReason}
    assert "behaviour" in words.ENDS["quiet"] and "level" in words.ENDS["quiet"]


@pytest.mark.parametrize(
    ("state", "calibration", "said"),
    [
        ("online", "current", ("Live", "good")),
        ("online", "stale", ("Live, calibration stale", "bad")),
        ("stopped", "stale", ("Off", "quiet")),
        ("failed", "none", ("Failed: needs attention", "bad")),
    ],
)
def test_the_state_says_that_the_calibration_is_stale(state: str, calibration: str, said: tuple[str, str]) -> None:
    assert words.state_of({"state": state, "cannot_see": None, "calibration": calibration}) == said
