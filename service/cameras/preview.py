"""What other rules would have made of the incidents of the last time; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from model.behaviours import Kind
from service.cameras.config import CameraConfig
from service.documents.base import Document, Severity
from service.documents.messages import IncidentInfo, KindSeen
from service.documents.time_zones import TimeZone
from service.live.rules import MOST_RULES, Mode, Rule, in_force, mode_of, severity_of

MOST_HOURS: Final = 31 * 24
MOST_INCIDENTS: Final = 1000

_STEP_S: Final = 60.0
"""Rules change with the minute."""

_LONGEST_S: Final = 24 * 3600.0
"""Of an event that lasted longer, so much is looked at."""


class PreviewRequest(BaseModel):
    """Rules to try on past incidents."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    rules: tuple[Rule, ...] = Field(max_length=MOST_RULES, description="The rules, as in the camera's configuration.")
    timezone: TimeZone | None = Field(
        default=None, description="Time zone of the site; null uses that of the camera.", examples=["Europe/Berlin"]
    )
    hours: float = Field(
        default=24.0,
        gt=0,
        le=MOST_HOURS,
        description="Incidents that began in so many hours before now.",
        examples=[12],
    )


class PreviewedIncident(Document):
    """A past incident, and what it would have been."""

    id: str = Field(description="Id of the incident.")
    title: str = Field(description="What happened, in words.", examples=["Running, 1 person"])
    started_at: datetime = Field(description="When it began.")
    severity: Severity = Field(description="Its severity.")
    would_be: Severity | None = Field(description="Its severity under these rules; null if it would not have opened.")
    depends_on_zone: bool = Field(
        description="Whether a rule with zones could decide otherwise. Incidents do not keep where people stood, so "
        "rules with zones are taken not to apply."
    )


class RulesPreview(Document):
    """What rules would have made of the incidents of the last time.

    Events that opened no incident are not kept, so rules that report more than today cannot be tried. What happened
    several times in one incident counts as one event, and of an event that lasted long before its incident began only
    the last half minute of that is known. Pauses are left out.
    """

    since: datetime = Field(description="Incidents that began at this time or later.")
    until: datetime = Field(description="Now.")
    before: dict[str, int] = Field(
        description="Incidents by severity as they were.", examples=[{"alert": 2, "warning": 14, "record": 0}]
    )
    after: dict[str, int] = Field(
        description="The same under these rules; `off` counts those that would not have opened.",
        examples=[{"alert": 3, "warning": 1, "record": 12, "off": 0}],
    )
    complete: bool = Field(description=f"Whether these are all incidents; at most the newest {MOST_INCIDENTS} are.")
    incidents: list[PreviewedIncident] = Field(description="The incidents, newest first.")


def preview(
    incidents: Sequence[IncidentInfo],
    rules: Sequence[Rule],
    config: CameraConfig,
    site: tzinfo,
    alert_level: float,
    *,
    since: datetime,
    until: datetime,
    complete: bool,
) -> RulesPreview:
    """Try rules on incidents of a camera.

    Args:
        incidents: The incidents, newest first.
        rules: The rules to try.
        config: Configuration of the camera; its own rules are left out.
        site: The time zone by whose clock rules apply.
        alert_level: Level from which `unusual` is an alert.
        since: Incidents are those from this time on.
        until: The end of the time.
        complete: Whether these are all incidents of the time.
    """
    tried = [_tried(incident, rules, config, site, alert_level) for incident in incidents]
    before = Counter(str(one.severity) for one in tried)
    after = Counter("off" if one.would_be is None else str(one.would_be) for one in tried)
    names = [str(severity) for severity in reversed(Severity)]
    return RulesPreview(
        since=since,
        until=until,
        before={name: before[name] for name in names},
        after={name: after[name] for name in [*names, "off"]},
        complete=complete,
        incidents=tried,
    )


def _tried(
    incident: IncidentInfo, rules: Sequence[Rule], config: CameraConfig, site: tzinfo, alert_level: float
) -> PreviewedIncident:
    nowhere: list[Severity | None] = []
    everywhere: list[Severity | None] = []
    for seen in incident.kinds:
        usual: Mode = config.modes.get(seen.kind, "off")
        if seen.kind is Kind.UNUSUAL:
            usual = "alert" if seen.score >= alert_level else "warning"
        for at, lasted in _moments(seen, rules):
            now = in_force(rules, at, site)
            nowhere.append(severity_of(mode_of(now, seen.kind, lasted, (), usual)))
            everywhere.append(severity_of(mode_of(now, seen.kind, lasted, range(len(now)), usual)))
    return PreviewedIncident(
        id=incident.id,
        title=incident.title,
        started_at=incident.started_at,
        severity=incident.severity,
        would_be=_highest(nowhere),
        depends_on_zone=_highest(nowhere) != _highest(everywhere),
    )


def _moments(seen: KindSeen, rules: Sequence[Rule]) -> list[tuple[datetime, float]]:
    """Moments at which rules can decide anew, each with the seconds for which the event has lasted."""
    length = min((seen.last_at - seen.first_at).total_seconds(), _LONGEST_S)
    steps = {0.0, length, *(rule.lasts_s for rule in rules), *(_STEP_S * n for n in range(int(length / _STEP_S) + 1))}
    return [(seen.first_at + timedelta(seconds=step), step) for step in sorted(steps) if step <= length]


def _highest(severities: Iterable[Severity | None]) -> Severity | None:
    known = [severity for severity in severities if severity is not None]
    return max(known, key=lambda severity: severity.rank, default=None)
