"""From a scored frame to its verdict: the level, the people, and what happens to incidents.

Nothing here reads a clock, takes a lock or writes anything: `service.cameras.camera` does that.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import numpy as np

from model.calibration import Calibration
from model.online import HeldScore
from service.cameras.config import CameraConfig
from service.cameras.status import Thresholds
from service.documents.base import EndReason
from service.documents.messages import LivePerson, Score
from service.live.detector import Change, Incident, IncidentDetector, Observation, Rules, Started
from service.live.frames import Scored

_CLOSING: Final = 4.0
"""An incident closes below the level that normal life reaches this many times as often as the opening level."""

_ALERT: Final = 0.1
"""An alert is this share as frequent in normal life, unless the camera says otherwise."""

_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the scores of a camera mean, and how many false alarms it may cost.

    Attributes:
        calibration: The level of a score.
        of: Whose normal life that is: of the checkpoint's footage, or of this camera.
        adapted: Whether the camera has weights of its own.
        wanted_rate: False alarms per hour.
    """

    calibration: Calibration
    of: Literal["shipped", "camera"]
    adapted: bool
    wanted_rate: float

    @property
    def rate(self) -> float:
        """False alarms per hour at the opening level: less than wanted where the calibration does not reach so far."""
        return min(self.wanted_rate, self.calibration.highest_rate)


@dataclass(frozen=True, slots=True)
class Times:
    """When a frame was captured and when its score is published.

    Attributes:
        captured_at: Time of day.
        published_at: Time of day.
        age_s: Seconds between the two, on the monotonic clock.
    """

    captured_at: datetime
    published_at: datetime
    age_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one frame means.

    Attributes:
        score: For subscribers.
        changes: What happens to incidents.
        peak: Highest held score of the incident that ends here; nan where nobody was scored.
    """

    score: Score
    changes: list[Change]
    peak: float


class Judge:
    """Judges the frames of one camera.

    Args:
        camera_id: The camera.
        config: What was chosen for it.
        meaning: What its scores mean.
        new_id: Makes ids of incidents.
    """

    def __init__(
        self,
        camera_id: str,
        config: CameraConfig,
        meaning: Meaning,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        rules = rules_of(config, meaning)
        self.thresholds = _thresholds(rules, meaning)
        self._camera_id = camera_id
        self.calibration = meaning.calibration
        self._detector = IncidentDetector(camera_id, rules, new_id)
        self._held = HeldScore(config.min_duration_s)
        self._peak = math.nan
        self._observed_at = -math.inf

    def change(self, config: CameraConfig, meaning: Meaning) -> None:
        """Judge by other rules from now on; an open incident stays open."""
        rules = rules_of(config, meaning)
        self.thresholds = _thresholds(rules, meaning)
        self.calibration = meaning.calibration
        if self._detector.rules != rules:
            self._detector.rules = rules
            # What was held so far was held by other rules, or scored by other weights.
            self._held, self._peak = HeldScore(config.min_duration_s), math.nan

    @property
    def open(self) -> Incident | None:
        """The open incident."""
        return self._detector.open

    @property
    def suppressed(self) -> int:
        """Incidents that the cooldown suppressed."""
        return self._detector.suppressed_total

    @property
    def peak(self) -> float:
        """Highest held score of the open incident; nan where nobody was scored."""
        return self._peak

    def judge(self, scored: Scored, times: Times) -> Verdict:
        """Judge the next frame."""
        level = None if np.isnan(scored.smoothed) else float(self.calibration.level(np.array(scored.smoothed)))
        people = {
            track: window.level
            for track, window in zip(scored.track_ids, scored.newest, strict=True)
            if window is not None
        }
        # A camera that was thought lost may still deliver a frame that was captured before.
        self._observed_at = max(scored.captured_at, self._observed_at)
        changes = self._detector.observe(Observation(self._observed_at, level, people))
        peak, held = self._peak, self._held.update(self._observed_at, scored.smoothed)
        if any(isinstance(change, Started) for change in changes):
            self._peak = math.nan
        if self.open is not None:
            self._peak = float(np.fmax(self._peak, held))
        return Verdict(self._score(scored, times, level), changes, peak)

    def lost(self, now: float) -> list[Change]:
        """Judge that nothing has come from the camera until now, in seconds on the monotonic clock."""
        self._observed_at = now
        return self._detector.lost(now)

    def end(self, now: float, reason: EndReason) -> list[Change]:
        """End the open incident, if there is one."""
        return self._detector.end(max(now, self._observed_at), reason)

    def _score(self, scored: Scored, times: Times, level: float | None) -> Score:
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
            parts={} if level is None else _parts(scored),
            threshold=self.thresholds.open,
            reason=scored.reason,
            people=[_person(scored, index) for index in range(len(scored.track_ids))],
            incident=None if self.open is None else self.open.id,
        )


def rules_of(config: CameraConfig, meaning: Meaning) -> Rules:
    """The rules by which the incidents of a camera begin and end.

    Args:
        config: What was chosen for it.
        meaning: What its scores mean.
    """
    calibration, opening = meaning.calibration, meaning.rate
    alert = min(config.alert_false_alarms_per_hour or _ALERT * opening, opening)
    return Rules(
        open_level=calibration.threshold(opening),
        close_level=calibration.threshold(min(_CLOSING * opening, calibration.highest_rate)),
        alert_level=calibration.threshold(alert),
        min_duration_s=config.min_duration_s,
        quiet_s=config.quiet_s,
        cooldown_s=config.cooldown_s,
    )


def _thresholds(rules: Rules, meaning: Meaning) -> Thresholds:
    return Thresholds(
        open=rules.open_level,
        close=rules.close_level,
        alert=rules.alert_level,
        false_alarms_per_hour=meaning.rate,
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


def _person(scored: Scored, index: int) -> LivePerson:
    left, top, right, bottom = (round(float(side), 2) for side in scored.boxes[index])
    window = scored.newest[index]
    joints = None if window is None or window.joints is None else [round(value, 5) for value in window.joints]
    return LivePerson(
        track=scored.track_ids[index],
        box=(left, top, right, bottom),
        keypoints=[(round(x, 2), round(y, 2), round(c, 3)) for x, y, c in scored.keypoints[index].tolist()],
        score=None if window is None else round(window.nll, 5),
        level=None if window is None else round(window.level, _DIGITS),
        parts={} if window is None else {name: round(value, _DIGITS) for name, value in window.parts.items()},
        joints=joints,
    )
