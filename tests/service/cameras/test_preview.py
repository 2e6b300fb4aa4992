"""What other rules would have made of past incidents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from model.behaviours import Kind
from service.cameras.config import CameraConfig
from service.cameras.preview import PreviewedIncident, RulesPreview, preview
from service.documents.base import Severity
from service.documents.messages import IncidentInfo
from service.documents.time_zones import time_zone
from service.live.rules import Rule
from tests.doubles.live_records import incident_info

EVENING = datetime(2026, 11, 30, 21, 30, tzinfo=UTC)
ANYWHERE = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]


def happened(kind: Kind, *, lasted_s: float = 4.0, at: datetime = EVENING, score: float = 1.2) -> IncidentInfo:
    info = incident_info("one")
    (seen,) = info.kinds
    seen = seen.model_copy(
        update={"kind": kind, "first_at": at, "last_at": at + timedelta(seconds=lasted_s), "score": score}
    )
    return info.model_copy(update={"kind": kind, "kinds": [seen], "started_at": at})


def tried(incident: IncidentInfo, *rules: dict[str, Any], zone: str = "UTC", **values: Any) -> PreviewedIncident:
    return tried_all([incident], *rules, zone=zone, **values).incidents[0]


def tried_all(incidents: list[IncidentInfo], *rules: dict[str, Any], zone: str = "UTC", **values: Any) -> RulesPreview:
    return preview(
        incidents,
        [Rule.model_validate(rule) for rule in rules],
        CameraConfig(url="skeletons:", **values),
        time_zone(zone),
        0.999,
        since=EVENING - timedelta(days=1),
        until=EVENING + timedelta(days=1),
        complete=True,
    )


def test_without_rules_the_configuration_decides() -> None:
    assert tried(happened(Kind.FALL)).would_be is Severity.ALERT
    assert tried(happened(Kind.RUNNING), behaviours={"running": "off"}).would_be is None
    assert tried(happened(Kind.UNUSUAL, score=0.998)).would_be is Severity.WARNING
    assert tried(happened(Kind.UNUSUAL, score=0.9995)).would_be is Severity.ALERT


def test_hours_count_by_the_clock_of_the_site_at_which_it_happened() -> None:
    night = {"hours": "22:00-06:00", "then": "record"}
    assert tried(happened(Kind.RUNNING), night).would_be is Severity.WARNING
    assert tried(happened(Kind.RUNNING), night, zone="Europe/Berlin").would_be is Severity.RECORD


def test_an_event_that_goes_on_into_the_hours_of_a_rule_is_as_severe_as_at_its_worst() -> None:
    night = {"hours": "22:00-06:00", "kinds": ["loitering"], "then": "alert"}
    assert tried(happened(Kind.LOITERING, lasted_s=1700), night).would_be is None
    assert tried(happened(Kind.LOITERING, lasted_s=1810), night).would_be is Severity.ALERT


def test_durations_count() -> None:
    long = [{"kinds": ["running"], "lasts_s": 5, "then": "alert"}, {"kinds": ["running"], "then": "off"}]
    assert tried(happened(Kind.RUNNING, lasted_s=4.9), *long).would_be is None
    assert tried(happened(Kind.RUNNING, lasted_s=5.0), *long).would_be is Severity.ALERT


def test_rules_with_a_zone_are_said_to_be_unknown() -> None:
    zone = {"kinds": ["running"], "zones": [ANYWHERE], "then": "alert"}
    found = tried(happened(Kind.RUNNING), zone)
    assert (found.would_be, found.depends_on_zone) == (Severity.WARNING, True)
    assert not tried(happened(Kind.FALL), zone).depends_on_zone
    assert not tried(happened(Kind.RUNNING), {"then": "off"}, zone).depends_on_zone


def test_incidents_are_counted_by_severity_before_and_after() -> None:
    incidents = [happened(Kind.FALL), happened(Kind.RUNNING), happened(Kind.RUNNING, lasted_s=20)]
    rules = [{"kinds": ["running"], "lasts_s": 10, "then": "record"}, {"kinds": ["running"], "then": "off"}]
    found = tried_all(incidents, *rules)
    assert found.before == {"alert": 0, "warning": 3, "record": 0}
    assert found.after == {"alert": 1, "warning": 0, "record": 1, "off": 1}


@pytest.mark.parametrize("days", [1, 40])
def test_an_event_of_days_is_tried_in_time(days: int) -> None:
    night = {"hours": "22:00-06:00", "then": "record"}
    found = tried(happened(Kind.LOITERING, lasted_s=86_400 * days), night, behaviours={"loitering": "warning"})
    assert found.would_be is Severity.WARNING
