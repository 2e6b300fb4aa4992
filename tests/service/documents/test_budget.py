"""Budgets per hour, under their old names."""

from __future__ import annotations

from typing import Any

import pytest

from service.documents.budget import per_day_of
from service.documents.results import PersonScore, Threshold

NAME = "false_alarms_per_day"


@pytest.mark.parametrize(
    ("given", "converted"),
    [
        ({}, {}),
        ({NAME: 3}, {NAME: 3}),
        ({"false_alarms_per_hour": 2, "url": "x"}, {NAME: 48.0, "url": "x"}),
        ({"false_alarms_per_hour": "2"}, {NAME: 48.0}),
        ({"false_alarms_per_hour": "often"}, {NAME: "often"}),
        ({"false_alarms_per_hour": True}, {NAME: True}),
        ({"false_alarms_per_hour": [1]}, {NAME: [1]}),
        ({"false_alarms_per_hour": None}, {NAME: None}),
        ({"false_alarms_per_hour": None, NAME: 3}, {NAME: 3}),
        ({"false_alarms_per_hour": 2, NAME: None}, {NAME: 48.0}),
        ("no mapping", "no mapping"),
    ],
)
def test_a_budget_per_hour_becomes_one_per_day(given: Any, converted: Any) -> None:
    before = dict(given) if isinstance(given, dict) else given
    assert per_day_of(given, [NAME]) == converted
    assert given == before


def test_both_names_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"are both given; false_alarms_per_hour is the old name"):
        per_day_of({NAME: 24, "false_alarms_per_hour": 1}, [NAME])


def test_results_of_older_versions_are_read() -> None:
    old = Threshold.model_validate({"level": 0.9994, "false_alarms_per_hour": 1.0})
    assert old == Threshold(level=0.9994, unusual_per_day=24.0, false_alarms_per_day=24.0)
    person = {"track": 1, "box": (0, 0, 1, 1), "score": None, "level": None}
    known = PersonScore.model_validate(person | {"behaviours": {"running": 1.2, "fall": 1, "fight": 0.9}})
    assert known.firing == ["fall", "running"]
    assert PersonScore.model_validate(person).firing == []
    assert PersonScore.model_validate(person | {"behaviours": {"running": 1.2}, "firing": []}).firing == []
