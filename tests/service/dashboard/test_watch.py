from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from service.dashboard.watch import STEP_S, Trace
from tests.doubles.scores import live_score

START = datetime(2026, 1, 31, tzinfo=UTC)


def trace(*levels: float | None, every: float) -> Trace:
    made = Trace()
    for number, level in enumerate(levels):
        moment = START + timedelta(seconds=number * every)
        made.add(live_score(level).model_copy(update={"captured_at": moment, "level": level}))
    return made


def test_half_a_second_is_one_point_that_keeps_its_peak() -> None:
    made = trace(0.1, 0.9, None, 0.2, 0.3, 0.4, every=STEP_S / 3 + 1e-3)
    assert [point.level for point in made.points] == [0.9, 0.4]
    assert made.latest is not None and made.latest.level == 0.4


def test_a_reader_gets_every_finished_point_once() -> None:
    made = trace(0.1, 0.2, 0.3, 0.4, every=STEP_S)
    assert [point.level for point in made.since(0)] == [0.1, 0.2, 0.3]
    assert made.since(made.count - 1) == []


def test_old_points_are_forgotten() -> None:
    made = trace(*[0.5] * 2000, every=STEP_S)
    assert len(made.points) == 1200
    assert len(made.since(0)) == 1199


def test_the_newest_score_grows_older_until_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("service.dashboard.watch.time", SimpleNamespace(monotonic=lambda: now))
    assert Trace().age_s is None
    made = Trace()
    made.add(live_score(0.5).model_copy(update={"age_s": 0.25}))
    assert made.age_s == 0.25
    now = 107.0
    assert made.age_s == 7.25
    made.add(live_score(0.5).model_copy(update={"age_s": 0.5}))
    assert made.age_s == 0.5
