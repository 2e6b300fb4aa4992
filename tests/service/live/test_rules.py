"""Rules by the clock of a site, by place and by duration."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.behaviours import Kind
from service.documents.time_zones import time_zone
from service.live.rules import Rule, in_force, mode_of

NIGHT = {"hours": "22:00-06:00", "then": "record"}
"""What most sites have."""


def rule(**values: Any) -> Rule:
    return Rule.model_validate({"then": "alert"} | values)


def applies(to: Rule, at: str, zone: str = "UTC") -> bool:
    return bool(in_force([to], datetime.fromisoformat(at), time_zone(zone)))


@pytest.mark.parametrize(
    ("values", "at", "zone", "expected"),
    [
        # A rule without hours and days always applies.
        ({}, "2026-11-30T03:00:00Z", "UTC", True),
        # From the first minute on; the last is not included.
        (NIGHT, "2026-11-30T21:59:59Z", "UTC", False),
        (NIGHT, "2026-11-30T22:00:00Z", "UTC", True),
        (NIGHT, "2026-12-01T05:59:59Z", "UTC", True),
        (NIGHT, "2026-12-01T06:00:00Z", "UTC", False),
        ({"hours": "18:00-24:00"}, "2026-11-30T23:59:59Z", "UTC", True),
        ({"hours": "18:00-24:00"}, "2026-12-01T00:00:00Z", "UTC", False),
        # By the clock of the site: it is 22:30 in Berlin, and 16:30 in New York.
        (NIGHT, "2026-11-30T21:30:00Z", "Europe/Berlin", True),
        (NIGHT, "2026-11-30T21:30:00Z", "America/New_York", False),
        ({"hours": "09:00-17:00"}, "2026-11-30T03:30:00Z", "Asia/Kolkata", True),
        # The same hours in summer and in winter, although UTC differs.
        ({"hours": "08:00-09:00"}, "2026-07-01T06:30:00Z", "Europe/Berlin", True),
        ({"hours": "08:00-09:00"}, "2026-01-15T07:30:00Z", "Europe/Berlin", True),
        # Days: Monday's night goes on until Tuesday morning; Monday morning belongs to Sunday.
        ({"days": ["mon"]} | NIGHT, "2026-11-30T23:00:00Z", "UTC", True),
        ({"days": ["mon"]} | NIGHT, "2026-12-01T05:00:00Z", "UTC", True),
        ({"days": ["mon"]} | NIGHT, "2026-11-30T05:00:00Z", "UTC", False),
        ({"days": ["sun"]} | NIGHT, "2026-11-30T05:00:00Z", "UTC", True),
        # It is Monday in Auckland already.
        ({"days": ["mon"]}, "2026-11-29T12:00:00Z", "Pacific/Auckland", True),
        ({"days": ["sun"]}, "2026-11-29T12:00:00Z", "Pacific/Auckland", False),
        # The hour that summer time takes away: at 01:00 UTC clocks in Berlin go from 02:00 to 03:00.
        ({"hours": "02:00-03:00"}, "2026-03-29T00:59:59Z", "Europe/Berlin", False),
        ({"hours": "02:00-03:00"}, "2026-03-29T01:00:00Z", "Europe/Berlin", False),
        ({"hours": "01:30-02:30"}, "2026-03-29T00:59:59Z", "Europe/Berlin", True),
        ({"hours": "01:30-02:30"}, "2026-03-29T01:00:00Z", "Europe/Berlin", False),
        (NIGHT, "2026-03-29T03:59:59Z", "Europe/Berlin", True),
        (NIGHT, "2026-03-29T04:00:00Z", "Europe/Berlin", False),
        # The hour that comes twice: 02:30 in Berlin is 00:30 and 01:30 UTC.
        ({"hours": "02:00-03:00"}, "2026-10-25T00:30:00Z", "Europe/Berlin", True),
        ({"hours": "02:00-03:00"}, "2026-10-25T01:30:00Z", "Europe/Berlin", True),
        ({"hours": "02:00-03:00"}, "2026-10-25T02:00:00Z", "Europe/Berlin", False),
        # A leap day is a Tuesday in 2028.
        ({"days": ["tue"]} | NIGHT, "2028-02-29T23:00:00Z", "UTC", True),
        ({"days": ["tue"]} | NIGHT, "2028-03-01T05:00:00Z", "UTC", True),
        ({"days": ["wed"]} | NIGHT, "2028-03-01T05:00:00Z", "UTC", False),
    ],
)
def test_the_clock_of_the_site_decides(values: dict[str, Any], at: str, zone: str, expected: bool) -> None:
    assert applies(rule(**values), at, zone) is expected


@given(
    st.integers(0, 1439),
    st.integers(0, 1439),
    st.datetimes(datetime(2026, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]),
)
def test_of_two_rules_that_share_a_day_one_applies_at_any_time(first: int, end: int, at: datetime, zone: str) -> None:
    if first == end:
        return
    clock = [f"{minute // 60:02}:{minute % 60:02}" for minute in (first, end)]
    rules = [rule(hours=f"{clock[0]}-{clock[1]}"), rule(hours=f"{clock[1]}-{clock[0]}")]
    assert len(in_force(rules, at, time_zone(zone))) == 1


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)))
def test_a_night_of_every_day_is_the_same_as_every_night(at: datetime) -> None:
    zone = time_zone("Europe/Berlin")
    days = [rule(days=[day], hours="22:00-06:00") for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")]
    assert len(in_force(days, at, zone)) == len(in_force([rule(hours="22:00-06:00")], at, zone))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hours": "22-6"}, "hours look like 22:00-06:00, from 00:00 to 24:00; got '22-6'"),
        ({"hours": "22:00"}, "hours look like"),
        ({"hours": "24:00-06:00"}, "hours look like"),
        ({"hours": "22:00-24:30"}, "hours look like"),
        ({"hours": "08:00-08:00"}, "leave them out for the whole day"),
        ({"days": ["monday"]}, "'mon'"),
        ({"days": ["mon", "mon"]}, "name each of theirs once"),
        ({"kinds": ["sleeping"]}, "'fall'"),
        ({"zones": [[[0, 0], [1, 1]]]}, "at least 3 items"),
        ({"then": "page"}, "'off', 'record', 'warning' or 'alert'"),
        ({"lasts_s": -1}, "greater than or equal to 0"),
        ({"sound": "horn"}, "Extra inputs are not permitted"),
    ],
)
def test_an_impossible_rule_says_what_is_wrong(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said.replace("(", r"\(")):
        rule(**values)


def test_there_is_no_time_zone_of_this_name() -> None:
    with pytest.raises(ValueError, match="there is no time zone 'Berlin'; names look like Europe/Berlin"):
        time_zone("Berlin")
    with pytest.raises(ValueError, match="no time zone"):
        time_zone("../etc/passwd")


def test_the_first_rule_that_applies_decides() -> None:
    rules = [
        rule(kinds=["loitering"], lasts_s=300, then="alert"),
        rule(kinds=["loitering", "running"], zones=[[[0, 0], [1, 0], [1, 1]]], then="warning"),
        rule(then="record"),
    ]
    assert mode_of(rules, Kind.LOITERING, 400.0, (), "warning") == "alert"
    assert mode_of(rules, Kind.LOITERING, 299.0, {1}, "warning") == "warning"
    assert mode_of(rules, Kind.LOITERING, 299.0, (), "warning") == "record"
    assert mode_of(rules, Kind.FALL, 0.0, (), "alert") == "record"
    assert mode_of([], Kind.FALL, 0.0, (), "alert") == "alert"


def test_a_kind_that_is_switched_off_stays_so_unless_a_rule_names_it() -> None:
    assert mode_of([rule(then="record")], Kind.GATHERING, 0.0, (), "off") == "off"
    assert mode_of([rule(kinds=["gathering"], then="record")], Kind.GATHERING, 0.0, (), "off") == "record"
    assert mode_of([rule(kinds=["fall"], then="off")], Kind.FALL, 0.0, (), "alert") == "off"


def test_yaml_reads_off_as_false() -> None:
    assert Rule.model_validate({"then": False}).then == "off"


def test_time_goes_on_past_midnight() -> None:
    zone, night = time_zone("Europe/Berlin"), rule(hours="22:00-06:00")
    begin = datetime(2026, 10, 24, 12, tzinfo=UTC)
    minutes = [bool(in_force([night], begin + timedelta(minutes=minute), zone)) for minute in range(24 * 60)]
    # In this night the clock shows 02:00 to 03:00 twice, so it is one hour longer.
    assert sum(minutes) == 9 * 60
