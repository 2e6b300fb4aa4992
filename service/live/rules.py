"""Rules of a camera: what an event means by its kind, the time of day, the place and how long it lasts.

This module is pure. It reads no clock: the time of an event is what the caller passes in.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from model.behaviours import Kind
from service.documents.base import Severity
from service.live.zones import MOST_ZONES, Zone

MOST_RULES: Final = 64

_MINUTES: Final = 24 * 60
_CLOCK: Final = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")


class Day(StrEnum):
    """A day of the week."""

    MONDAY = "mon"
    TUESDAY = "tue"
    WEDNESDAY = "wed"
    THURSDAY = "thu"
    FRIDAY = "fri"
    SATURDAY = "sat"
    SUNDAY = "sun"


Mode = Annotated[
    Literal["off", "record", "warning", "alert"],
    # YAML reads a plain `off` as false.
    BeforeValidator(lambda mode: "off" if mode is False else mode),
]
"""What an event means: nothing, an incident that notifies nobody, or one of a severity."""


@lru_cache
def _read(hours: str) -> tuple[int, int]:
    """First minute of the day, and the minute that ends it; the end is lower if midnight lies between.

    Raises:
        ValueError: They cannot be read.
    """
    times = [_CLOCK.fullmatch(part.strip()) for part in hours.split("-")]
    minutes = [60 * int(time[1]) + int(time[2]) for time in times if time is not None]
    if len(times) != 2 or len(minutes) != 2 or max(minutes) > _MINUTES or minutes[0] == _MINUTES:
        raise ValueError(f"hours look like 22:00-06:00, from 00:00 to 24:00; got {hours!r}")
    if minutes[0] == minutes[1]:
        raise ValueError(f"hours begin and end at the same time in {hours!r}; leave them out for the whole day")
    return minutes[0], minutes[1]


def _checked(hours: str) -> str:
    _read(hours)
    return hours


class Rule(BaseModel):
    """A rule: when it applies, and what an event then means."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str | None = Field(
        default=None, max_length=100, description="Name shown to people.", examples=["Nobody runs in the hall at night"]
    )
    kinds: tuple[Kind, ...] = Field(
        default=(),
        max_length=len(Kind),
        description="Kinds of events it is about; an empty list is all that are not switched off.",
        examples=[["running", "loitering"]],
    )
    days: tuple[Day, ...] = Field(
        default=(),
        max_length=len(Day),
        description="Days of the week; an empty list is every day. Hours past midnight belong to the day on which they "
        "begin.",
        examples=[["mon", "tue", "wed", "thu", "fri"]],
    )
    hours: Annotated[str, AfterValidator(_checked)] | None = Field(
        default=None,
        description="Time of day by the clock of the site, `from-to`, the end not included; it may pass midnight. null "
        "is the whole day.",
        examples=["22:00-06:00"],
    )
    zones: tuple[Zone, ...] = Field(
        default=(),
        max_length=MOST_ZONES,
        description="Zones of the picture: polygons, with corners as fractions of its width and height. An event is in "
        "one if somebody who takes part stands in it: the middle of the lower edge of the bounding box is in it. An "
        "empty list is the whole picture.",
        examples=[[[[0.0, 0.5], [0.5, 0.5], [0.5, 1.0], [0.0, 1.0]]]],
    )
    lasts_s: float = Field(
        default=0.0,
        ge=0,
        le=3600,
        description="Seconds for which the event has lasted at least. Before that the rules below decide.",
        examples=[20],
    )
    then: Mode = Field(
        description="What the event means: `alert` or `warning` opens an incident of this severity, `record` one that "
        "notifies nobody, and `off` none.",
        examples=["record"],
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if len(set(self.kinds)) < len(self.kinds) or len(set(self.days)) < len(self.days):
            raise ValueError("kinds and days name each of theirs once")
        return self

    def concerns(self, kind: Kind) -> bool:
        """Whether it is about a kind."""
        return not self.kinds or kind in self.kinds

    def applies_at(self, local: datetime) -> bool:
        """Whether it applies at a time of the site's clock."""
        first, end = (0, _MINUTES) if self.hours is None else _read(self.hours)
        minute = 60 * local.hour + local.minute
        if first < end:
            return first <= minute < end and self._on(local)
        return (minute >= first and self._on(local)) or (minute < end and self._on(local - timedelta(days=1)))

    def _on(self, local: datetime) -> bool:
        return not self.days or list(Day)[local.weekday()] in self.days


def in_force(rules: Sequence[Rule], at: datetime, zone: tzinfo) -> tuple[Rule, ...]:
    """The rules that apply at a moment, in order.

    The clock of the site decides. In the hour that summer time takes away no rule applies, as it does not come; in the
    hour that comes twice a rule applies twice.

    Args:
        rules: All rules.
        at: The moment, with a time zone.
        zone: The time zone of the site.
    """
    local = at.astimezone(zone)
    return tuple(rule for rule in rules if rule.applies_at(local))


def mode_of(rules: Sequence[Rule], kind: Kind, lasted_s: float, inside: Collection[int], usual: Mode) -> Mode:
    """What an event means: the first rule that is about it decides.

    Args:
        rules: The rules in force.
        kind: Kind of the event.
        lasted_s: Seconds for which it has lasted.
        inside: In the zones of which rules somebody of the event stands, by their place in `rules`.
        usual: What it means if no rule is about it. A kind that is switched off stays so unless a rule names it.
    """
    for number, rule in enumerate(rules):
        if usual == "off" and kind not in rule.kinds:
            continue
        if rule.concerns(kind) and lasted_s >= rule.lasts_s and (not rule.zones or number in inside):
            return rule.then
    return usual


def severity_of(mode: Mode) -> Severity | None:
    """The severity of incidents; None for events that open none."""
    return None if mode == "off" else Severity(mode)
