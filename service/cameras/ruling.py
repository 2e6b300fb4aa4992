"""Applies the rules of a camera to its frames: what everything that is seen means now, and here."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from model.behaviours import Finding, Kind
from model.behaviours.calibration import Usual
from service.cameras.config import CameraConfig
from service.documents.base import Severity
from service.documents.kinds import fires
from service.live.frames import Scored
from service.live.rules import Rule, in_force, mode_of, severity_of
from service.live.zones import standing_in

_PAUSE_S: Final = 1.0
"""A behaviour that stops firing for longer has ended."""

_Event = tuple[Kind, tuple[int, ...]]
"""A kind, and the tracks of those who do it."""


@dataclass(frozen=True, slots=True)
class Ruled:
    """What is seen in one frame, and what it means.

    Attributes:
        findings: The findings that mean something.
        severities: Severity of each.
        unusual: What a run of high levels means; see `service.live.detector.Observation`.
    """

    findings: list[Finding]
    severities: list[Severity]
    unusual: list[tuple[float, Severity | None]]


class Ruling:
    """The rules of one camera.

    Args:
        config: Its configuration.
        site: The time zone by whose clock rules apply.
        usual: What is usual on the camera to named behaviours.
    """

    def __init__(self, config: CameraConfig, site: tzinfo, usual: Mapping[Kind, Usual]) -> None:
        self._rules, self._site, self._usual = config.rules, site, usual
        self._lasting: dict[_Event, tuple[float, float]] = {}
        self._modes, self._pause_until = config.modes, config.pause_until
        self._minute: int | None = None
        self._in_force: tuple[Rule, ...] = ()

    def of(self, scored: Scored, findings: Sequence[Finding], people: Mapping[int, float], at: datetime) -> Ruled:
        """What the frame means.

        Args:
            scored: The frame.
            findings: What named behaviours see in it.
            people: Level of each scored track.
            at: Time of day at which it was captured.
        """
        rules, now = self._at(at), scored.captured_at
        self._lasting = {event: span for event, span in self._lasting.items() if now - span[1] <= _PAUSE_S}
        standing = self._standing(rules, scored) if findings or people else {}
        paused = self._pause_until is not None and at < self._pause_until
        ruled = Ruled([], [], [])
        for finding in findings:
            lasted, inside = self._lasted(finding, now), _inside(standing, finding.tracks)
            severity = severity_of(mode_of(rules, finding.kind, lasted, inside, self._modes.get(finding.kind, "off")))
            if severity is not None:
                ruled.findings.append(finding)
                ruled.severities.append(Severity.RECORD if paused else severity)
        most = max(people, key=people.__getitem__, default=None)
        inside = _inside(standing, () if most is None else (most,))
        for number, rule in enumerate(rules):
            if rule.concerns(Kind.UNUSUAL) and (not rule.zones or number in inside):
                severity = severity_of(rule.then)
                ruled.unusual.append((rule.lasts_s, Severity.RECORD if paused and severity is not None else severity))
        if paused:
            ruled.unusual.append((0.0, Severity.RECORD))
        return ruled

    def _lasted(self, finding: Finding, now: float) -> float:
        """For how many seconds the same people have done the same.

        Some behaviours look at the last seconds only, and say since when in these; it may have gone on before.
        """
        if not fires(finding, self._usual):
            return 0.0
        key = finding.kind, finding.tracks
        since = min(finding.since, self._lasting.get(key, (math.inf, now))[0])
        self._lasting[key] = since, now
        return now - since

    def _at(self, at: datetime) -> tuple[Rule, ...]:
        """The rules in force; they change with the minute."""
        minute = int(at.timestamp() // 60)
        if minute != self._minute:
            self._minute, self._in_force = minute, in_force(self._rules, at, self._site)
        return self._in_force

    @staticmethod
    def _standing(rules: Sequence[Rule], scored: Scored) -> dict[int, set[int]]:
        """Who stands in the zones of each rule that has some: tracks by the place of the rule."""
        size = (scored.width, scored.height)
        return {
            number: {
                track
                for track, there in zip(
                    scored.track_ids, standing_in(scored.boxes, rule.zones, size).tolist(), strict=True
                )
                if there
            }
            for number, rule in enumerate(rules)
            if rule.zones
        }


def _inside(standing: Mapping[int, Collection[int]], tracks: Iterable[int]) -> set[int]:
    """The rules in whose zones one of these tracks stands."""
    seen = set(tracks)
    return {number for number, there in standing.items() if not seen.isdisjoint(there)}
