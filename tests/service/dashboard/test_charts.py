from __future__ import annotations

from service.dashboard.charts import marks


def test_names_that_begin_too_close_share_a_mark_and_none_is_repeated() -> None:
    starts = [(0.5, "Running"), (6.0, "Fall"), (6.1, "Person lying"), (6.2, "Fall"), (9.5, "Running")]
    assert marks(starts, 10.0) == [
        {"at": 0.5, "name": "Running"},
        {"at": 6.0, "name": "Fall, Person lying"},
        {"at": 9.5, "name": "Running"},
    ]
    assert marks([], 10.0) == []
