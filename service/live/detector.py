"""The incident detector: one state machine per camera that turns levels into incidents, without I/O or a clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from service.documents.base import EndReason, Severity

MAX_PEOPLE: Final = 64
"""Most people listed in one incident, which may last for days; those with the highest levels are kept."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When an incident opens, changes and ends.

    Attributes:
        open_level: An incident opens when the level has stayed at or above this for `min_duration_s`.
        close_level: Levels at or above this keep an incident open; at most `open_level`.
        alert_level: An incident becomes an alert when the level has stayed at or above this for `min_duration_s`; at
            least `open_level`.
        min_duration_s: Seconds that the level must stay at or above `open_level` or `alert_level`.
        quiet_s: An incident ends after this many seconds without a level at or above `close_level`. Two runs of high
            levels at least this far apart are two incidents, as the calibration counts them as two false alarms.
        cooldown_s: Seconds after the end of an incident in which only a more severe one opens.
        update_s: Shortest time in seconds between two updates of the same severity.

    Raises:
        ValueError: The levels are not in order or not within 0..1, a time is negative or not finite, or `quiet_s` is 0.
    """

    open_level: float
    close_level: float
    alert_level: float
    min_duration_s: float = 0.5
    quiet_s: float = 10.0
    cooldown_s: float = 30.0
    update_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.close_level <= self.open_level <= self.alert_level <= 1:
            raise ValueError(
                "levels must be 0 <= close <= open <= alert <= 1, "
                f"got {self.close_level}, {self.open_level}, {self.alert_level}"
            )
        for name in ("min_duration_s", "quiet_s", "cooldown_s", "update_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be zero or more seconds, got {getattr(self, name)}")
        if not self.quiet_s:
            raise ValueError("quiet_s must be more than zero: every frame would be an incident of its own")


@dataclass(frozen=True, slots=True)
class Observation:
    """The levels of one frame of a camera.

    Attributes:
        moment: Capture time in seconds on the monotonic clock.
        level: Smoothed level of the frame; None if nobody was scored.
        people: Level of each scored track.

    Raises:
        ValueError: The moment is not finite or a level is not within 0..1.
    """

    moment: float
    level: float | None
    people: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_moment(self.moment)
        levels = (*self.people.values(), *([] if self.level is None else [self.level]))
        if not all(0 <= level <= 1 for level in levels):
            raise ValueError(f"levels must lie within 0..1, got {self.level} and {dict(self.people)}")


@dataclass(frozen=True, slots=True)
class Incident:
    """The present state of one incident. Moments are seconds on the monotonic clock.

    Attributes:
        id: Id of the incident.
        camera_id: Id of the camera.
        severity: Highest severity so far.
        started: Moment from which the level stayed at or above the opening level.
        updated: Last moment with a level at or above the closing level.
        ended: Equal to `updated` once the incident has ended, after the quiet period; None while it is open.
        end_reason: Why it ended; None while it is open.
        peak_level: Highest level of a frame.
        peak: Moment of the peak.
        people: Highest level of each track that reached the closing level.
        suppressed: Incidents suppressed by the cooldown between the incident before and this one.
    """

    id: str
    camera_id: str
    severity: Severity
    started: float
    updated: float
    ended: float | None
    end_reason: EndReason | None
    peak_level: float
    peak: float
    people: Mapping[int, float]
    suppressed: int


@dataclass(frozen=True, slots=True)
class Started:
    """An incident opened."""

    incident: Incident


@dataclass(frozen=True, slots=True)
class Updated:
    """An open incident became more severe, reached a new peak, involves other people, or continues."""

    incident: Incident


@dataclass(frozen=True, slots=True)
class Ended:
    """An incident ended."""

    incident: Incident


Change = Started | Updated | Ended


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of levels at or above the opening level, up to now.

    Attributes:
        since: Its first moment.
        alert: Moment from which the levels were also at or above the alert level; None if the newest is not.
        peak_level: Highest level in the run.
        peak: Moment of the peak.
        people: Highest level of each track that reached the closing level.
    """

    since: float
    alert: float | None
    peak_level: float
    peak: float
    people: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class _Cooldown:
    """The cooldown after an incident.

    Attributes:
        until: Its end; before that only a more severe incident opens.
        severity: Severity of the incident that ended.
        seen: Last moment of the incident that is being suppressed now; None if there is none.
    """

    until: float
    severity: Severity
    seen: float | None = None


class IncidentDetector:
    """Turns the levels of one camera into incidents; at most one is open at a time.

    The detector has no clock: time is what the caller passes in, and it must not run backwards. An incident that the
    cooldown suppresses has a quiet period like any other but is not reported; it is counted once, when it has ended.
    If it lasts longer than the cooldown, or becomes an alert after a warning, it opens and is not counted.

    Args:
        camera_id: Id of the camera.
        rules: When an incident opens, changes and ends.
        new_id: Makes ids of incidents.
    """

    def __init__(self, camera_id: str, rules: Rules, new_id: Callable[[], str]) -> None:
        self._camera_id = camera_id
        self._rules = rules
        self._new_id = new_id
        self._now = -math.inf
        self._pictured = -math.inf
        self._run: _Run | None = None
        self._open: Incident | None = None
        self._told: Incident | None = None
        self._told_at = -math.inf
        self._cooldown: _Cooldown | None = None
        self._suppressed = 0
        self._suppressed_total = 0

    @property
    def rules(self) -> Rules:
        """When an incident opens, changes and ends; new rules apply from the next observation."""
        return self._rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        # A run above the old opening level may not have stayed above the new one.
        if rules != self._rules:
            self._run = None
        self._rules = rules

    @property
    def open(self) -> Incident | None:
        """The open incident; None if there is none."""
        return self._open

    @property
    def suppressed_total(self) -> int:
        """Number of suppressed incidents that have ended."""
        return self._suppressed_total

    def observe(self, observation: Observation) -> list[Change]:
        """Process the levels of a frame.

        Returns:
            Incidents that started, changed or ended, in order.

        Raises:
            ValueError: The moment is before the last one.
        """
        self._advance(observation.moment)
        # After a gap as long as the quiet period it is unknown whether the incident went on.
        unseen = observation.moment - self._pictured >= self._rules.quiet_s
        if unseen:
            self._run = None
        changes = self._settle(observation.moment, EndReason.CAMERA_LOST if unseen else EndReason.QUIET)
        self._pictured = observation.moment
        self._run = self._continued(observation)
        if observation.level is not None and observation.level >= self._rules.close_level:
            changes += self._high(observation, observation.level)
        return changes + self._update(observation.moment)

    def lost(self, moment: float) -> list[Change]:
        """Note that the camera delivers no frames; this ends an incident after the quiet period.

        Raises:
            ValueError: The moment is before the last one, or not finite.
        """
        _check_moment(moment)
        self._advance(moment)
        self._run = None
        return self._settle(moment, EndReason.CAMERA_LOST) + self._update(moment)

    def end(self, moment: float, reason: EndReason) -> list[Change]:
        """End the open incident at once.

        Raises:
            ValueError: The moment is before the last one, or not finite.
        """
        _check_moment(moment)
        self._advance(moment)
        self._run = None
        self._release(moment, 0.0)
        return self._end(moment, reason)

    def _advance(self, moment: float) -> None:
        if moment < self._now:
            raise ValueError(f"moment {moment} of camera {self._camera_id} lies before {self._now}")
        self._now = moment

    def _continued(self, observation: Observation) -> _Run | None:
        level, moment, rules = observation.level, observation.moment, self._rules
        if level is None or level < rules.open_level:
            return None
        run = self._run or _Run(moment, None, level, moment, {})
        higher = level > run.peak_level
        return _Run(
            since=run.since,
            alert=None if level < rules.alert_level else moment if run.alert is None else run.alert,
            peak_level=level if higher else run.peak_level,
            peak=moment if higher else run.peak,
            people=_merged(run.people, observation.people, rules.close_level),
        )

    def _high(self, observation: Observation, level: float) -> list[Change]:
        moment, severity = observation.moment, self._severity(observation.moment)
        if self._open is not None:
            peaked = level > self._open.peak_level
            self._open = replace(
                self._open,
                severity=severity if severity is Severity.ALERT else self._open.severity,
                updated=moment,
                peak_level=level if peaked else self._open.peak_level,
                peak=moment if peaked else self._open.peak,
                people=_merged(self._open.people, observation.people, self._rules.close_level),
            )
            return []
        if self._cooldown is not None:
            self._release(moment, self._rules.quiet_s)
            if severity is not None and self._suppresses(moment, severity):
                self._cooldown = replace(self._cooldown, seen=moment)
                return []
            if self._cooldown.seen is not None:
                self._cooldown = replace(self._cooldown, seen=moment)
        return self._start(moment, severity, self._run) if severity is not None and self._run is not None else []

    def _severity(self, moment: float) -> Severity | None:
        """Severity of the present run; None until it has lasted for the minimum duration."""
        run, duration = self._run, self._rules.min_duration_s
        if run is None or moment - run.since < duration:
            return None
        return Severity.ALERT if run.alert is not None and moment - run.alert >= duration else Severity.WARNING

    def _suppresses(self, moment: float, severity: Severity) -> bool:
        cooldown = self._cooldown
        if cooldown is None or moment >= cooldown.until:
            return False
        return not (severity is Severity.ALERT and cooldown.severity is Severity.WARNING)

    def _start(self, moment: float, severity: Severity, run: _Run) -> list[Change]:
        self._open = Incident(
            id=self._new_id(),
            camera_id=self._camera_id,
            severity=severity,
            started=run.since,
            updated=moment,
            ended=None,
            end_reason=None,
            peak_level=run.peak_level,
            peak=run.peak,
            people=run.people,
            suppressed=self._suppressed,
        )
        self._cooldown, self._suppressed = None, 0
        self._told, self._told_at = self._open, moment
        return [Started(self._open)]

    def _update(self, moment: float) -> list[Change]:
        """Report changes of the open incident: a higher severity at once, the rest at intervals."""
        incident, told = self._open, self._told
        if incident is None or told is None or incident is told:
            return []
        waited = moment - self._told_at
        news = incident.peak_level != told.peak_level or incident.people.keys() != told.people.keys()
        goes_on = incident.updated == moment and waited >= max(self._rules.quiet_s, self._rules.update_s)
        if incident.severity is not told.severity or (news and waited >= self._rules.update_s) or goes_on:
            self._told, self._told_at = incident, moment
            return [Updated(incident)]
        return []

    def _settle(self, moment: float, reason: EndReason) -> list[Change]:
        """End an incident whose quiet period is over."""
        self._release(moment, self._rules.quiet_s)
        if self._open is None or moment - self._open.updated < self._rules.quiet_s:
            return []
        return self._end(moment, reason)

    def _end(self, moment: float, reason: EndReason) -> list[Change]:
        if self._open is None:
            return []
        ended = replace(self._open, ended=self._open.updated, end_reason=reason)
        self._cooldown = _Cooldown(moment + self._rules.cooldown_s, ended.severity)
        self._open = self._told = None
        return [Ended(ended)]

    def _release(self, moment: float, quiet_s: float) -> None:
        """Count a suppressed incident once it has ended."""
        cooldown = self._cooldown
        if cooldown is not None and cooldown.seen is not None and moment - cooldown.seen >= quiet_s:
            self._suppressed += 1
            self._suppressed_total += 1
            self._cooldown = replace(cooldown, seen=None)


def _merged(people: Mapping[int, float], levels: Mapping[int, float], lowest: float) -> Mapping[int, float]:
    """Merge levels at or above `lowest` into the highest level of each track; the same object if nothing changes."""
    grown = {
        track: level for track, level in levels.items() if level >= lowest and level > people.get(track, -math.inf)
    }
    if not grown:
        return people
    merged = {**people, **grown}
    if len(merged) <= MAX_PEOPLE:
        return merged
    return dict(sorted(merged.items(), key=lambda item: -item[1])[:MAX_PEOPLE])


def _check_moment(moment: float) -> None:
    if not math.isfinite(moment):
        raise ValueError(f"a moment must be finite, got {moment}")
