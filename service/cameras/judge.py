"""Turns the scored frames of a camera into levels, behaviours and incidents.

This module is pure: it reads no clock, takes no lock and writes nothing. `service.cameras.camera` does that.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Final, Literal

import numpy as np

from model.behaviours import FIRES, Finding, Kind
from model.behaviours.calibration import Usual
from model.budget import share_of
from model.calibration import Calibration
from model.online import HeldScore
from service.cameras.config import CameraConfig
from service.cameras.ruling import Ruled, Ruling
from service.cameras.status import Thresholds
from service.documents.base import EndReason
from service.documents.kinds import firing_by_track, scores_by_track
from service.documents.messages import LivePerson, Score
from service.live.detector import IncidentDetector, Observation, Rules
from service.live.frames import Scored
from service.live.incident import Change, Incident, Started
from service.live.zones import without_rest

_CLOSING: Final = 4.0
"""The closing level costs this many times as many false alarms as the opening level."""

_ALERT: Final = 0.1
"""False alarms at the alert level, as a share of those at the opening level; the default."""

_DIGITS: Final = 9
"""Digits of a level: enough to tell one false alarm in years from none."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """The calibration of a camera and its false-alarm budget.

    Attributes:
        calibration: Turns scores into levels, and levels into false alarms per day.
        of: Which calibration it is: `shipped` with the checkpoint, or fitted to this `camera`.
        adapted: Whether the camera has its own weights.
        budget: The false-alarm budget, in false alarms per day.
        usual: What normal life of this camera looks like to named behaviours; empty if that is not known.
    """

    calibration: Calibration
    of: Literal["shipped", "camera"]
    adapted: bool
    budget: float
    usual: Mapping[Kind, Usual] = field(default_factory=dict)

    @property
    def unusual_per_day(self) -> float:
        """False alarms per day at the opening level.

        They are the share of the budget that is for `unusual`, or the lowest rate that the calibration footage supports
        if that is higher, or the highest that the calibration covers if that is lower.
        """
        share = min(share_of(Kind.UNUSUAL, self.budget), self.calibration.highest_per_day)
        return self.calibration.supported_per_day(share)


@dataclass(frozen=True, slots=True)
class Times:
    """When a frame was captured and when its score is published.

    Attributes:
        captured_at: Time of day of the capture.
        published_at: Time of day of the publication.
        age_s: Seconds between the two, on the monotonic clock.
    """

    captured_at: datetime
    published_at: datetime
    age_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one frame.

    Attributes:
        score: The message for subscribers.
        changes: Incidents that started, changed or ended with this frame.
        peak: Highest held score of the incident that was open before this frame; nan if it has none. See
            `model.online.HeldScore`.
    """

    score: Score
    changes: list[Change]
    peak: float


class Judge:
    """Judges the frames of one camera.

    Args:
        camera_id: Id of the camera.
        config: Its configuration.
        meaning: Its calibration and false-alarm budget.
        new_id: Makes ids of incidents.
        site: The time zone by whose clock its rules apply.

    Attributes:
        calibration: The calibration in use.
        thresholds: The levels that open and close incidents, as the API shows them.
    """

    def __init__(
        self,
        camera_id: str,
        config: CameraConfig,
        meaning: Meaning,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        site: tzinfo = UTC,
    ) -> None:
        rules = rules_of(config, meaning)
        self.thresholds = _thresholds(rules, meaning, config.reported)
        self._ruling = Ruling(config, site, meaning.usual)
        self._camera_id = camera_id
        self.calibration = meaning.calibration
        self._detector = IncidentDetector(camera_id, rules, new_id)
        self._held = HeldScore(config.min_duration_s)
        self._peak = math.nan
        self._observed_at = -math.inf
        self._rest = config.rest

    def change(self, config: CameraConfig, meaning: Meaning, site: tzinfo = UTC) -> None:
        """Use another configuration or calibration from now on; an open incident stays open.

        If the rules differ from those before, the held scores are forgotten: they belong to the rules before.
        """
        rules = rules_of(config, meaning)
        self.thresholds = _thresholds(rules, meaning, config.reported)
        self._ruling = Ruling(config, site, meaning.usual)
        self.calibration = meaning.calibration
        self._rest = config.rest
        if self._detector.rules != rules:
            self._detector.rules = rules
            self._held, self._peak = HeldScore(config.min_duration_s), math.nan

    @property
    def open(self) -> Incident | None:
        """The open incident."""
        return self._detector.open

    @property
    def suppressed(self) -> int:
        """Number of incidents that the cooldown suppressed."""
        return self._detector.suppressed_total

    @property
    def peak(self) -> float:
        """Highest held score of the open incident; nan if it has none."""
        return self._peak

    def judge(self, scored: Scored, times: Times) -> Verdict:
        """Judge the next frame.

        Args:
            scored: The frame; one that was captured before the newest moment counts as captured at that moment.
            times: When it was captured and published.
        """
        level = None if np.isnan(scored.smoothed) else float(self.calibration.level(np.array(scored.smoothed)))
        people = {
            track: window.level
            for track, window in zip(scored.track_ids, scored.newest, strict=True)
            if window is not None
        }
        parts = {} if level is None else _parts(scored)
        ruled = self._ruled(scored, people, times.captured_at)
        # A frame captured earlier may still arrive after the camera was reported lost.
        self._observed_at = max(scored.captured_at, self._observed_at)
        changes = self._detector.observe(
            Observation(
                self._observed_at,
                level,
                people,
                parts,
                ruled.findings,
                severities=ruled.severities,
                unusual=ruled.unusual,
            )
        )
        peak, held = self._peak, self._held.update(self._observed_at, scored.smoothed)
        if any(isinstance(change, Started) for change in changes):
            self._peak = math.nan
        if self.open is not None:
            self._peak = float(np.fmax(self._peak, held))
        return Verdict(self._score(scored, times, level, parts, ruled.findings), changes, peak)

    def lost(self, now: float) -> list[Change]:
        """Note that the camera has delivered nothing up to now.

        Args:
            now: Seconds on the monotonic clock.
        """
        self._observed_at = now
        return self._detector.lost(now)

    def end(self, now: float, reason: EndReason) -> list[Change]:
        """End the open incident, if there is one.

        Args:
            now: Seconds on the monotonic clock.
            reason: Why it ends.
        """
        return self._detector.end(max(now, self._observed_at), reason)

    def _ruled(self, scored: Scored, people: Mapping[int, float], at: datetime) -> Ruled:
        """What the frame means: nothing that is switched off here and now, and nobody who rests."""
        size = (scored.width, scored.height)
        findings = without_rest(scored.findings, scored.track_ids, scored.boxes, self._rest, size)
        return self._ruling.of(scored, findings, people, at)

    def _score(
        self,
        scored: Scored,
        times: Times,
        level: float | None,
        parts: dict[str, float],
        findings: Sequence[Finding],
    ) -> Score:
        behaviours = scores_by_track(findings)
        firing = firing_by_track(findings, self._detector.rules.usual)
        return Score(
            camera=self._camera_id,
            sequence=scored.sequence,
            captured_at=times.captured_at,
            published_at=times.published_at,
            age_s=round(times.age_s, 4),
            width=scored.width,
            height=scored.height,
            score=None if np.isnan(scored.nll) else round(scored.nll, 5),
            level=None if level is None else round(level, _DIGITS),
            parts=parts,
            threshold=self.thresholds.open,
            reason=scored.reason,
            people=[_person(scored, index, behaviours, firing) for index in range(len(scored.track_ids))],
            incident=None if self.open is None else self.open.id,
        )


def rules_of(config: CameraConfig, meaning: Meaning) -> Rules:
    """The rules by which the incidents of a camera open and end.

    Args:
        config: The configuration of the camera.
        meaning: Its calibration and false-alarm budget.
    """
    calibration, opening = meaning.calibration, meaning.unusual_per_day
    asked = config.alert_false_alarms_per_day
    alert = min(_ALERT * opening if asked is None else share_of(Kind.UNUSUAL, asked), opening)
    return Rules(
        open_level=calibration.threshold(false_alarms_per_day=opening),
        close_level=calibration.threshold(
            false_alarms_per_day=min(_CLOSING * opening, calibration.highest_per_day),
        ),
        alert_level=calibration.threshold(false_alarms_per_day=alert),
        min_duration_s=config.min_duration_s,
        quiet_s=config.quiet_s,
        cooldown_s=config.cooldown_s,
        severities=config.severities,
        usual=meaning.usual,
    )


def _thresholds(rules: Rules, meaning: Meaning, reported: Collection[Kind]) -> Thresholds:
    return Thresholds(
        open=rules.open_level,
        close=rules.close_level,
        alert=rules.alert_level,
        false_alarms_per_day=meaning.budget,
        unusual_per_day=meaning.unusual_per_day,
        behaviours={
            kind: meaning.usual[kind].threshold if kind in meaning.usual else FIRES for kind in Kind if kind in reported
        },
        calibration=meaning.of,
        adapted=meaning.adapted,
    )


def _parts(scored: Scored) -> dict[str, float]:
    """The highest level of each part over the people of a frame."""
    highest: dict[str, float] = {}
    for window in scored.newest:
        for name, level in ({} if window is None else window.parts).items():
            highest[name] = max(round(level, _DIGITS), highest.get(name, 0.0))
    return highest


def _person(
    scored: Scored,
    index: int,
    behaviours: Mapping[int, dict[Kind, float]],
    firing: Mapping[int, list[Kind]],
) -> LivePerson:
    left, top, right, bottom = (round(float(side), 2) for side in scored.boxes[index])
    window = scored.newest[index]
    joints = None if window is None or window.joints is None else [round(value, 5) for value in window.joints]
    track = scored.track_ids[index]
    return LivePerson(
        track=track,
        box=(left, top, right, bottom),
        keypoints=[(round(x, 2), round(y, 2), round(c, 3)) for x, y, c in scored.keypoints[index].tolist()],
        score=None if window is None else round(window.nll, 5),
        level=None if window is None else round(window.level, _DIGITS),
        parts={} if window is None else {name: round(value, _DIGITS) for name, value in window.parts.items()},
        behaviours=behaviours.get(track, {}),
        firing=firing.get(track, []),
        joints=joints,
    )
