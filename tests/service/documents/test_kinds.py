"""Kinds of incidents in words."""

from __future__ import annotations

import pytest

from model.behaviours import Kind
from service.documents import kinds


def test_every_kind_has_a_title_and_every_named_one_a_severity() -> None:
    assert list(kinds.TITLES) == list(Kind)
    assert list(kinds.SEVERITIES) == [kind for kind in Kind if kind is not Kind.UNUSUAL]


@pytest.mark.parametrize(
    ("seen", "first"),
    [
        (list(Kind), Kind.FALL),
        ([Kind.UNUSUAL, Kind.RUNNING, Kind.LYING], Kind.LYING),
        ([Kind.UNUSUAL], Kind.UNUSUAL),
    ],
)
def test_the_most_severe_kind_gives_the_name(seen: list[Kind], first: Kind) -> None:
    assert kinds.most_severe(seen) is first


@pytest.mark.parametrize(
    ("kind", "people", "said"),
    [
        (Kind.FALL, 1, "Fall, 1 person"),
        (Kind.FIGHT, 3, "Fight, 3 people"),
        (Kind.LYING, 1, "Person lying, 1 person"),
        (Kind.UNUSUAL, 0, "Unusual movement"),
    ],
)
def test_a_title_counts_the_people_if_there_are_any(kind: Kind, people: int, said: str) -> None:
    assert kinds.title(kind, people) == said


@pytest.mark.parametrize(
    ("level", "said"),
    [(0.2, "normal"), (0.9, "1 in 10"), (0.9998, "1 in 5,000"), (0.9999999, "rarer than 1 in 1,000,000")],
)
def test_levels_are_said_as_how_rare_they_are(level: float, said: str) -> None:
    assert kinds.rarity_words(level) == said


@pytest.mark.parametrize(
    ("level", "parts", "said"),
    [
        (
            0.99961,
            {"pose": 0.71, "motion": 0.9996},
            "level 0.99961 (1 in 2,600 moments of normal life); strongest part: motion",
        ),
        (0.95, {}, "level 0.950 (1 in 20 moments of normal life)"),
        (0.25, {}, "level 0.25 (normal)"),
        (0.99999996, {}, "level 0.999999960 (rarer than 1 in 1,000,000 moments of normal life)"),
        (1.0, {}, "level above 0.999999999 (rarer than 1 in 1,000,000 moments of normal life)"),
    ],
)
def test_an_unusual_level_is_explained(level: float, parts: dict[str, float], said: str) -> None:
    assert kinds.unusual_words(level, parts) == said


@pytest.mark.parametrize(
    ("score", "shown"), [(0.99951, 0.999), (0.99999999, 0.999), (1.0, 1.0), (1.0004, 1.0), (0.5004, 0.5)]
)
def test_a_score_is_shown_as_firing_only_if_the_behaviour_fires(score: float, shown: float) -> None:
    assert kinds.shown_score(score) == shown
