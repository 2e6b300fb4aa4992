"""The incident detector: one state machine per camera that turns levels and named behaviours into incidents.

It does no I/O and has no clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from model.behaviours import Finding, Kind
from model.behaviours.calibration import Usual
from service.documents.base import EndReason, Severity
from service.documents.kinds import SEVERITIES, explained, fires, most_severe, unusual_words
from service.live.incident import Change, Ended, Incident, Seen, Started, Updated

MAX_PEOPLE: Final = 64
"""Most people listed in one incident, which may last for days; those with the highest levels are kept."""

_LONGEST_PAST_S: Final = 30.0
"""An incident begins at most this many seconds before the frame that opens it, even if a behaviour began earlier."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When an incident opens, changes and ends.

    A named behaviour holds its own durations: it opens an incident with the first frame in which it fires.

    Attributes:
        open_level: An incident opens when the level has stayed at or above this for `min_duration_s`.
        close_level: Levels at or above this keep an incident open; at most `open_level`.
        alert_level: An incident becomes an alert when the level has stayed at or above this for `min_duration_s`; at
            least `open_level`.
        min_duration_s: Seconds that the level must stay at or above `open_level` or `alert_level`.
        quiet_s: An incident ends after this many seconds in which no behaviour fires and no level is at or above
            `close_level`. Two runs of high levels at least this far apart are two incidents, as the calibration counts
            them as two false alarms.
        cooldown_s: Seconds after the end of an incident in which only one of a more severe kind or severity opens.
        update_s: Shortest time in seconds between two updates of the same kind and severity.
        severities: Severity of each named behaviour where an observation does not say otherwise; one that is missing is
            switched off.
        usual: What normal life looks like to named behaviours on this camera, and from which scores they fire; one that
            is missing fires at `FIRES`.

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
    severities: Mapping[Kind, Severity] = field(default_factory=lambda: SEVERITIES)
    usual: Mapping[Kind, Usual] = field(default_factory=dict)

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
    """The levels of one frame of a camera, and what the behaviours see in it.

    Attributes:
        moment: Capture time in seconds on the monotonic clock.
        level: Smoothed level of the frame; None if nobody was scored.
        people: Level of each scored track.
        parts: Highest level of each part of the score.
        findings: What named behaviours see.
        severities: Severity of each finding; None takes those of the rules.
        unusual: What a run of high levels means now, in order: from how many seconds on, and then which severity, or
            None for no incident. The first that has lasted long enough decides; without one, the level does.

    Raises:
        ValueError: The moment, or a score or start of a finding is not finite, a level is not within 0..1, or there are
            not as many severities as findings.
    """

    moment: float
    level: float | None
    people: Mapping[int, float] = field(default_factory=dict)
    parts: Mapping[str, float] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    severities: Sequence[Severity] | None = None
    unusual: Sequence[tuple[float, Severity | None]] = ()

    def __post_init__(self) -> None:
        _check_moment(self.moment)
        if self.severities is not None and len(self.severities) != len(self.findings):
            raise ValueError(f"{len(self.findings)} findings have {len(self.severities)} severities")
        levels = (*self.people.values(), *([] if self.level is None else [self.level]))
        if not all(0 <= level <= 1 for level in levels):
            raise ValueError(f"levels must lie within 0..1, got {self.level} and {dict(self.people)}")
        for finding in self.findings:
            if not (math.isfinite(finding.score) and math.isfinite(finding.since)):
                raise ValueError(f"score and start of {finding.kind} must be finite: {finding.score}, {finding.since}")


@dataclass(frozen=True, slots=True)
class _Rated:
    """What a behaviour sees, and how severe it is."""

    finding: Finding
    severity: Severity


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of levels at or above the opening level, up to now.

    Attributes:
        alert: Moment from which the levels were also at or above the alert level; None if the newest is not.
        seen: The run as `unusual`.
    """

    alert: float | None
    seen: Seen


@dataclass(frozen=True, slots=True)
class _Cooldown:
    """The cooldown after an incident.

    Attributes:
        until: Its end; before that only a more severe incident opens.
        severity: Severity of the incident that ended.
        kind: Its kind.
        seen: Last moment of the incident that is being suppressed now; None if there is none.
    """

    until: float
    severity: Severity
    kind: Kind
    seen: float | None = None


class IncidentDetector:
    """Turns the levels and behaviours of one camera into incidents; at most one is open at a time.

    The detector has no clock: time is what the caller passes in, and it must not run backwards. An incident that the
    cooldown suppresses has a quiet period like any other but is not reported; it is counted once, when it has ended.
    If it lasts longer than the cooldown, or becomes more severe than the incident before, it opens and is not counted.

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
        self._last_end = -math.inf
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
        """Process a frame.

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
        firing = self._firing(observation)
        if firing or self._is_high(observation):
            changes += self._active(observation, firing)
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

    def _firing(self, observation: Observation) -> list[_Rated]:
        """What fires, each with its severity."""
        usual, severities = self._rules.usual, self._rules.severities
        if observation.severities is not None:
            rated = map(_Rated, observation.findings, observation.severities)
        else:
            known = [one for one in observation.findings if one.kind in severities]
            rated = map(_Rated, known, [severities[one.kind] for one in known])
        return [one for one in rated if fires(one.finding, usual)]

    def _is_high(self, observation: Observation) -> bool:
        """Whether the level is at or above the closing level, and that means something here and now."""
        if observation.level is None or observation.level < self._rules.close_level:
            return False
        ruled = self._ruled(observation)
        return ruled is None or ruled[1] is not None

    def _ruled(self, observation: Observation) -> tuple[float, Severity | None] | None:
        """The first rule about unusual movement that applies; None if there is none."""
        lasted = 0.0 if self._run is None else observation.moment - self._run.seen.first
        return next((rule for rule in observation.unusual if lasted >= rule[0]), None)

    def _continued(self, observation: Observation) -> _Run | None:
        level, moment, run, rules = observation.level, observation.moment, self._run, self._rules
        if level is None or level < rules.open_level:
            return None
        alert = moment if run is None or run.alert is None else run.alert
        now = _unusual(observation, level, rules.close_level)
        return _Run(
            alert=None if level < rules.alert_level else alert,
            seen=now if run is None else _joined(run.seen, now),
        )

    def _active(self, observation: Observation, rated: Sequence[_Rated]) -> list[Change]:
        """Process a frame in which a behaviour fires or the level is at or above the closing level."""
        moment, firing = observation.moment, [one.finding for one in rated]
        severities: dict[Kind, Severity] = {}
        for one in rated:
            kind = one.finding.kind
            severities[kind] = _highest([one.severity, severities.get(kind, one.severity)])
        unusual = self._unusual_severity(observation)
        if unusual is not None:
            severities[Kind.UNUSUAL] = unusual
        if self._open is not None:
            self._open = self._grown(self._open, observation, firing, severities)
            return []
        if self._cooldown is not None:
            self._release(moment, self._rules.quiet_s)
            if severities and self._suppresses(moment, severities):
                self._cooldown = replace(self._cooldown, seen=moment)
                return []
            if self._cooldown.seen is not None:
                self._cooldown = replace(self._cooldown, seen=moment)
        return self._start(observation, firing, severities) if severities else []

    def _unusual_severity(self, observation: Observation) -> Severity | None:
        """Severity of the present run; None until it has lasted for the minimum duration, and if it means nothing."""
        moment, run, duration = observation.moment, self._run, self._rules.min_duration_s
        if run is None or moment - run.seen.first < duration:
            return None
        if (ruled := self._ruled(observation)) is not None:
            return ruled[1]
        return Severity.ALERT if run.alert is not None and moment - run.alert >= duration else Severity.WARNING

    def _suppresses(self, moment: float, severities: Mapping[Kind, Severity]) -> bool:
        cooldown = self._cooldown
        if cooldown is None or moment >= cooldown.until:
            return False
        is_more_urgent = _highest(severities.values()).rank > cooldown.severity.rank
        return not is_more_urgent and most_severe([*severities, cooldown.kind]) is cooldown.kind

    def _start(
        self, observation: Observation, firing: Sequence[Finding], severities: Mapping[Kind, Severity]
    ) -> list[Change]:
        moment = observation.moment
        began = [max(one.since, moment - _LONGEST_PAST_S) for one in firing]
        if Kind.UNUSUAL in severities and self._run is not None:
            began.append(self._run.seen.first)
        nothing = Incident(
            id=self._new_id(),
            camera_id=self._camera_id,
            severity=_highest(severities.values()),
            started=min(moment, max(self._last_end, min(began))),
            updated=moment,
            ended=None,
            end_reason=None,
            peak_level=0.0,
            people={},
            suppressed=self._suppressed,
            kinds={},
        )
        self._open = self._grown(nothing, observation, firing, severities)
        self._cooldown, self._suppressed = None, 0
        self._told, self._told_at = self._open, moment
        return [Started(self._open)]

    def _grown(
        self,
        incident: Incident,
        observation: Observation,
        firing: Sequence[Finding],
        severities: Mapping[Kind, Severity],
    ) -> Incident:
        """The incident with this frame.

        Args:
            incident: The incident.
            observation: The frame.
            firing: The findings that fire.
            severities: Severity of each kind that is seen now.
        """
        moment, level, levels = observation.moment, observation.level or 0.0, observation.people
        kinds, peak_level, people = dict(incident.kinds), max(incident.peak_level, level), incident.people
        if self._is_high(observation):
            now = _unusual(observation, level, self._rules.close_level)
            people = _merged(people, now.people)
            if Kind.UNUSUAL in kinds:
                kinds[Kind.UNUSUAL] = _joined(kinds[Kind.UNUSUAL], now)
            elif Kind.UNUSUAL in severities and self._run is not None:
                run = self._run.seen
                first, peak = max(run.first, incident.started), max(run.peak, incident.started)
                kinds[Kind.UNUSUAL] = replace(run, first=first, peak=peak)
                people, peak_level = _merged(people, run.people), max(peak_level, run.score)
        at_once = {kind: {track for one in firing if one.kind is kind for track in one.tracks} for kind in Kind}
        for one in firing:
            seen = Seen(
                first=min(max(one.since, incident.started), moment),
                last=moment,
                people=_merged({}, dict.fromkeys(one.tracks, one.score)),
                number=len(at_once[one.kind]),
                score=one.score,
                peak=moment,
                saw=explained(one, self._rules.usual),
                facts=one.facts,
            )
            kinds[one.kind] = _joined(kinds[one.kind], seen) if one.kind in kinds else seen
            people = _merged(people, {track: levels.get(track, 0.0) for track in one.tracks})
        return replace(
            incident,
            severity=_highest([incident.severity, *severities.values()]),
            updated=moment,
            peak_level=peak_level,
            people=people,
            kinds=kinds,
        )

    def _update(self, moment: float) -> list[Change]:
        """Report changes of the open incident: a higher severity or another kind at once, the rest at intervals."""
        incident, told = self._open, self._told
        if incident is None or told is None or incident is told:
            return []
        waited = moment - self._told_at
        urgent = (incident.severity, incident.kind) != (told.severity, told.kind)
        news = _news(incident) != _news(told)
        goes_on = incident.updated == moment and waited >= max(self._rules.quiet_s, self._rules.update_s)
        if urgent or (news and waited >= self._rules.update_s) or goes_on:
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
        self._cooldown = _Cooldown(moment + self._rules.cooldown_s, ended.severity, ended.kind)
        self._last_end = ended.updated
        self._open = self._told = None
        return [Ended(ended)]

    def _release(self, moment: float, quiet_s: float) -> None:
        """Count a suppressed incident once it has ended."""
        cooldown = self._cooldown
        if cooldown is not None and cooldown.seen is not None and moment - cooldown.seen >= quiet_s:
            self._suppressed += 1
            self._suppressed_total += 1
            self._cooldown = replace(cooldown, seen=None)


def _unusual(observation: Observation, level: float, close_level: float) -> Seen:
    """A frame at or above the closing level as `unusual`."""
    moment, parts = observation.moment, observation.parts
    people = {track: one for track, one in observation.people.items() if one >= close_level}
    return Seen(moment, moment, _merged({}, people), len(people), level, moment, unusual_words(level, parts), parts)


def _joined(before: Seen, now: Seen) -> Seen:
    """What was seen of one kind up to now."""
    people = _merged(before.people, now.people)
    best = now if now.score > before.score else before
    number = max(before.number, now.number)
    return replace(best, first=min(before.first, now.first), last=now.last, people=people, number=number)


def _merged(people: Mapping[int, float], now: Mapping[int, float]) -> Mapping[int, float]:
    """Merge scores into the highest of each track; the same object if nothing changes."""
    grown = {track: score for track, score in now.items() if score > people.get(track, -math.inf)}
    if not grown:
        return people
    merged = {**people, **grown}
    if len(merged) <= MAX_PEOPLE:
        return merged
    return dict(sorted(merged.items(), key=lambda item: -item[1])[:MAX_PEOPLE])


def _highest(severities: Iterable[Severity]) -> Severity:
    return max(severities, key=lambda severity: severity.rank)


def _news(incident: Incident) -> object:
    """What subscribers are told of an incident when it changes."""
    kinds = {kind: (seen.score, seen.people.keys()) for kind, seen in incident.kinds.items()}
    return incident.peak_level, incident.people.keys(), kinds


def _check_moment(moment: float) -> None:
    if not math.isfinite(moment):
        raise ValueError(f"a moment must be finite, got {moment}")
