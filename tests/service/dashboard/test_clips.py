from __future__ import annotations

from model.behaviours import Kind
from service.dashboard.clips import digest
from service.documents.results import Anomaly, ClipResult
from tests.doubles.servers import clip_result


def seen(*anomalies: Anomaly) -> ClipResult:
    return clip_result(100).model_copy(update={"anomalies": list(anomalies)})


def anomaly(kind: Kind, start: float, end: float, **more: object) -> Anomaly:
    fields = {"kind": kind, "start_s": start, "end_s": end, "peak_level": 0.95, "tracks": [1, 3]}
    return Anomaly.model_validate(fields | more)


def test_an_anomaly_is_listed_with_its_title_its_time_and_what_was_seen() -> None:
    fall = anomaly(Kind.FALL, 2.0, 4.5, title="Fall, 2 people", explanation="hips fell 0.6 body heights in 0.7 s")
    found = digest(seen(fall))
    assert found["anomalies"] == [
        {
            "title": "Fall, 2 people",
            "when": "0:02.0 to 0:04.5",
            "why": "Hips fell 0.6 body heights in 0.7 s.",
            "who": "people 1, 3",
            "tone": "alert",
        }
    ]
    assert found["spans"] == [[2.0, 4.5]]
    assert not found["rare"]


def test_how_rare_an_anomaly_of_an_older_result_is_stands_for_its_explanation() -> None:
    found = digest(seen(anomaly(Kind.UNUSUAL, 1.0, 1.0)))
    (one,) = found["anomalies"]
    assert (one["title"], one["why"], one["tone"]) == ("Unusual movement", "1 in 20.", "warning")
    assert found["rare"]
    assert found["marks"] == []


def test_named_behaviours_are_marked_on_the_timeline_and_close_ones_share_a_mark() -> None:
    kinds = [(Kind.RUNNING, 0.5), (Kind.FALL, 4.0), (Kind.UNUSUAL, 4.0), (Kind.LYING, 4.2), (Kind.FALL, 4.3)]
    marks = digest(seen(*(anomaly(kind, start, start + 1) for kind, start in kinds)))["marks"]
    assert marks == [{"at": 0.5, "name": "Running"}, {"at": 4.0, "name": "Fall, Person lying"}]


def test_without_anomalies_the_page_says_what_was_looked_for() -> None:
    assert "no named behaviour was seen" in digest(seen())["nothing"]
    nobody = clip_result(0).model_copy(update={"anomalies": []})
    assert digest(nobody)["nothing"] == "No named behaviour was seen, and nobody could be scored."
