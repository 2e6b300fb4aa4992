"""What happened in a night, a day or a week: incidents, reviews and cameras that could not see. Pure."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from pydantic import Field

from model.behaviours import Kind
from pose.live import SourceState
from pose.sight import CannotSee
from service.documents.base import Document, Severity
from service.documents.messages import CameraCalibration, CameraEvent, CameraSight, CameraState, IncidentInfo, Validity
from service.documents.reviews import Verdict

MOST_DAYS: Final = 31

_DAY_S: Final = 86_400.0


class ResponseTimes(Document):
    """How soon incidents were acknowledged."""

    acknowledged: int = Field(description="Acknowledged incidents.", examples=[9])
    waiting: int = Field(
        description="Warnings and alerts that nobody has acknowledged or given a verdict.", examples=[1]
    )
    median_s: float | None = Field(description="Median of the seconds from the start to the acknowledgement.")
    longest_s: float | None = Field(description="The longest of them.")


class Verdicts(Document):
    """What people said of incidents."""

    real: int = Field(description="Incidents that happened.", examples=[3])
    false_alarm: int = Field(description="Incidents in which nothing was wrong.", examples=[2])
    drill: int = Field(description="Incidents that happened on purpose.", examples=[1])
    open: int = Field(description="Incidents without a verdict.", examples=[6])


class ReportPart(Document):
    """Incidents of some cameras."""

    incidents: int = Field(description="Incidents that began in the time.", examples=[12])
    severities: dict[Severity, int] = Field(description="Incidents by their highest severity.")
    kinds: dict[Kind, int] = Field(description="Incidents by the kind that gives the title, most severe first.")
    false_alarms: int = Field(description="Incidents with the verdict false alarm.", examples=[2])
    verdicts: Verdicts
    budget: float = Field(description="False alarms that the budget allows in the time.", examples=[1.0])
    response: ResponseTimes


class CameraReport(ReportPart):
    """The same of one camera, and how long it saw."""

    camera: str = Field(description="Id of the camera.")
    name: str | None = Field(description="Its name.")
    online_s: float = Field(
        description="Seconds in which it delivered pictures or skeletons. After a crash of the service the "
        "time until its next start counts as what it was before.",
        examples=[86012.4],
    )
    lost_s: float = Field(description="Seconds in which it was to deliver some and did not.", examples=[387.6])
    off_s: float = Field(description="Seconds in which it was switched off or the service was stopped.")
    unknown_s: float = Field(description="Seconds before the first that is known of it.")
    cannot_see_s: dict[CannotSee, float] = Field(
        description="Seconds in which it was online and said that it cannot see people, by the reason."
    )
    calibration: Validity = Field(description="Its calibration now: `current`, `stale` or `none`.")


class Report(Document):
    """What happened in some days at all cameras that the key may see."""

    since: datetime = Field(description="Begin: midnight of the first day by the clock of the site.")
    until: datetime = Field(description="End: midnight after the last day, or now if that is earlier.")
    timezone: str = Field(description="The clock of the site.", examples=["Europe/Berlin"])
    total: ReportPart
    cameras: list[CameraReport] = Field(
        description="Each camera, by its id; those that were removed since only if they had incidents."
    )


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a camera now.

    Attributes:
        name: Its name.
        budget: Its false-alarm budget, in false alarms per day.
        calibration: Whether its calibration holds.
    """

    name: str | None
    budget: float
    calibration: Validity


def days_of(first: date, days: int, site: tzinfo) -> tuple[datetime, datetime]:
    """Begin and end of some days by the clock of a site, in UTC; a day may have 23 or 25 hours.

    Args:
        first: The first day.
        days: How many.
        site: The time zone.
    """
    begin, end = (datetime.combine(day, time(), site) for day in (first, first + timedelta(days=days)))
    # Between two times of one zone Python counts what its clock shows, and not what has passed.
    return begin.astimezone(UTC), end.astimezone(UTC)


def report_of(
    incidents: Iterable[IncidentInfo],
    events: Sequence[CameraEvent],
    cameras: Mapping[str, Known],
    *,
    since: datetime,
    until: datetime,
    timezone: str,
) -> Report:
    """Put together a report.

    Args:
        incidents: All that began in the time.
        events: Events of cameras from before `since`, as far as they are kept, until `until`, in order.
        cameras: What is known of each camera now, by id.
        since: Begin.
        until: End.
        timezone: Name of the clock of the site.
    """
    days = (until - since).total_seconds() / _DAY_S
    by_camera: dict[str, list[IncidentInfo]] = {camera: [] for camera in cameras}
    for incident in incidents:
        by_camera.setdefault(incident.camera, []).append(incident)
    happened: dict[str, list[CameraEvent]] = defaultdict(list)
    for event in events:
        happened[event.camera].append(event)
    rows = []
    for camera in sorted(by_camera):
        known = cameras.get(camera, Known(None, 0.0, "none"))
        seconds = _Seconds(since, until)
        for event in happened[camera]:
            seconds.take(event)
        part = _part(by_camera[camera], known.budget * days).model_dump()
        seen = {"camera": camera, "name": known.name, "calibration": known.calibration, **seconds.finished()}
        rows.append(CameraReport.model_validate(part | seen))
    whole = _part([one for found in by_camera.values() for one in found], sum(row.budget for row in rows))
    return Report(since=since, until=until, timezone=timezone, total=whole, cameras=rows)


def _part(incidents: Sequence[IncidentInfo], budget: float) -> ReportPart:
    severities, kinds = Counter(one.severity for one in incidents), Counter(one.kind for one in incidents)
    took = [(one.acknowledged_at - one.started_at).total_seconds() for one in incidents if one.acknowledged_at]
    waiting = [
        one
        for one in incidents
        if one.severity is not Severity.RECORD and one.acknowledged_at is None and one.review.verdict is None
    ]
    verdicts = Counter(one.review.verdict for one in incidents)
    return ReportPart(
        incidents=len(incidents),
        severities={severity: severities[severity] for severity in reversed(Severity)},
        kinds={kind: kinds[kind] for kind in Kind if kinds[kind]},
        false_alarms=verdicts[Verdict.FALSE_ALARM],
        verdicts=Verdicts(**{verdict.value: verdicts[verdict] for verdict in Verdict}, open=verdicts[None]),
        budget=round(budget, 6),
        response=ResponseTimes(
            acknowledged=len(took),
            waiting=len(waiting),
            median_s=round(statistics.median(took), 3) if took else None,
            longest_s=round(max(took), 3) if took else None,
        ),
    )


class _Seconds:
    """Adds up how long a camera was in each state."""

    def __init__(self, since: datetime, until: datetime) -> None:
        self._since, self._until, self._at = since, until, since
        self._state: SourceState | None = None
        self._blind: CannotSee | None = None
        self._online = self._lost = self._off = self._unknown = 0.0
        self._blind_s: dict[CannotSee, float] = defaultdict(float)

    def take(self, event: CameraEvent) -> None:
        """Take the next event of the camera."""
        self._pass(event.at)
        match event:
            case CameraState():
                self._state = event.state
                if event.previous is None:
                    # It begins to be watched, and is taken to see until it says otherwise.
                    self._blind = None
            case CameraSight():
                self._blind = event.cannot_see
            case CameraCalibration():
                pass

    def finished(self) -> dict[str, float | dict[CannotSee, float]]:
        """The seconds, by the fields of `CameraReport`."""
        self._pass(self._until)
        return {
            "online_s": round(self._online, 3),
            "lost_s": round(self._lost, 3),
            "off_s": round(self._off, 3),
            "unknown_s": round(self._unknown, 3),
            "cannot_see_s": {reason: round(seconds, 3) for reason, seconds in sorted(self._blind_s.items())},
        }

    def _pass(self, at: datetime) -> None:
        """Let time go on."""
        end = min(max(at, self._at), self._until)
        seconds = (end - self._at).total_seconds()
        self._at = end
        if self._state is None:
            self._unknown += seconds
        elif self._state is SourceState.ONLINE:
            self._online += seconds
            if self._blind is not None:
                self._blind_s[self._blind] += seconds
        elif self._state is SourceState.STOPPED:
            self._off += seconds
        else:
            self._lost += seconds
