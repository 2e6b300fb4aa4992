"""When a level becomes an incident: pure rules and one state machine for each camera, without I/O or a clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from service.documents.base import EndReason, Severity

MAX_PEOPLE: Final = 64
"""People kept of one incident, those with the highest levels: it may last for days."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When an incident opens, changes and ends.

    Attributes:
        open_level: Levels that stay at or above this open an incident.
        close_level: Levels at or above this keep it open; not above `open_level`.
        alert_level: Levels that stay at or above this make it an alert; not below `open_level`.
        min_duration_s: Seconds that a level must stay, to open an incident or to make it an alert.
        quiet_s: Seconds without a level at or above `close_level` that end an incident. Two runs of high levels at
            least this far apart are two incidents, as they are two false alarms for the calibration.
        cooldown_s: Seconds after an end in which only a more severe incident opens.
        update_s: Shortest time between two updates that are not upgrades.

    Raises:
        ValueError: Levels are not in order or not within 0..1, or a time is negative or not finite.
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
    """What one frame of a camera says.

    Attributes:
        moment: Capture time on the monotonic clock, seconds.
        level: Level of the frame, smoothed; None where nobody is scored.
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
    """One incident as it stands.

    Attributes:
        id: Its name.
        camera_id: The camera.
        severity: Highest so far.
        started: Moment from which the level stayed at or above the opening level.
        updated: Last moment with a level at or above the closing level.
        ended: The same when it is over, which is known only after the quiet period; None while it is open.
        end_reason: Why it ended; None while it is open.
        peak_level: Highest level of a frame.
        peak: Moment of the peak.
        people: Tracks that were at or above the closing level, with the highest level of each.
        suppressed: Incidents that the cooldown held back between the one before and this one.
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
    """An open incident became more severe, reached a new peak, involves more people, or just goes on."""

    incident: Incident


@dataclass(frozen=True, slots=True)
class Ended:
    """An incident is over."""

    incident: Incident


Change = Started | Updated | Ended


@dataclass(frozen=True, slots=True)
class _Run:
    """Levels that have stayed at or above the opening level until now; `alert` is since when also the alert level."""

    since: float
    alert: float | None
    peak_level: float
    peak: float
    people: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class _Cooldown:
    """Until when only what is more severe may open; `seen` is the last moment of what is being held back."""

    until: float
    severity: Severity
    seen: float | None = None


class IncidentDetector:
    """Turns the levels of one camera into incidents, one open at a time.

    The moments handed in must not run backwards; they are all the detector knows of time. What the cooldown holds back
    is an incident like any other, with a quiet period, that nobody is told of: it is counted once, when it is over. If
    it still lasts when the cooldown is over, or becomes an alert after a warning, it opens and is not counted.

    Args:
        camera_id: The camera.
        rules: When an incident opens, changes and ends.
        new_id: Makes the names of incidents.
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
        """When an incident opens, changes and ends; new ones hold from the next observation."""
        return self._rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        # What stayed above the old opening level need not have stayed above the new one.
        if rules != self._rules:
            self._run = None
        self._rules = rules

    @property
    def open(self) -> Incident | None:
        """The open incident."""
        return self._open

    @property
    def suppressed_total(self) -> int:
        """Incidents that the cooldown held back and that are over."""
        return self._suppressed_total

    def observe(self, observation: Observation) -> list[Change]:
        """Take note of a frame.

        Raises:
            ValueError: The moment lies before an earlier one.
        """
        self._advance(observation.moment)
        # After a gap as long as the quiet period nothing is known to have gone on.
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
        """Take note that there is no picture at this moment; after the quiet period that ends an incident.

        Raises:
            ValueError: The moment lies before an earlier one.
        """
        _check_moment(moment)
        self._advance(moment)
        self._run = None
        return self._settle(moment, EndReason.CAMERA_LOST) + self._update(moment)

    def end(self, moment: float, reason: EndReason) -> list[Change]:
        """End the open incident, whatever the levels.

        Raises:
            ValueError: The moment lies before an earlier one.
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
            if severity is not None and self._holds_back(moment, severity):
                self._cooldown = replace(self._cooldown, seen=moment)
                return []
            if self._cooldown.seen is not None:
                self._cooldown = replace(self._cooldown, seen=moment)
        return self._start(moment, severity, self._run) if severity is not None and self._run is not None else []

    def _severity(self, moment: float) -> Severity | None:
        """What the levels up to now make: None before they have stayed for long enough."""
        run, duration = self._run, self._rules.min_duration_s
        if run is None or moment - run.since < duration:
            return None
        return Severity.ALERT if run.alert is not None and moment - run.alert >= duration else Severity.WARNING

    def _holds_back(self, moment: float, severity: Severity) -> bool:
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
        """Tell what has changed since it was last told: upgrades at once, the rest from time to time."""
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
        """End what has been quiet for long enough."""
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
        """Count what was held back, once it is over."""
        cooldown = self._cooldown
        if cooldown is not None and cooldown.seen is not None and moment - cooldown.seen >= quiet_s:
            self._suppressed += 1
            self._suppressed_total += 1
            self._cooldown = replace(cooldown, seen=None)


def _merged(people: Mapping[int, float], levels: Mapping[int, float], lowest: float) -> Mapping[int, float]:
    """The highest level of each track, of those at or above `lowest`; the same object when nothing changed."""
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
