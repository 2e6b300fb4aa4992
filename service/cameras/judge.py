"""From a scored frame to its verdict: rules, levels and people. Pure functions."""

from __future__ import annotations

from typing import Final

from model.calibration import Calibration
from service.cameras.config import CameraConfig
from service.documents.messages import LivePerson
from service.live.detector import Rules
from service.live.frames import Scored

_CLOSING: Final = 4.0
"""An incident closes below the level that normal life reaches this many times as often as the opening level."""


_ALERT: Final = 0.1
"""An alert is this share as frequent in normal life, unless the camera says otherwise."""


_DIGITS: Final = 9


def rules_of(calibration: Calibration, config: CameraConfig, wanted_rate: float) -> Rules:
    """The rules by which the incidents of a camera begin and end.

    Args:
        calibration: What its scores mean.
        config: What was chosen for it.
        wanted_rate: False alarms per hour that it may cost.
    """
    opening = min(wanted_rate, calibration.highest_rate)
    alert = min(config.alert_false_alarms_per_hour or _ALERT * opening, opening)
    return Rules(
        open_level=calibration.threshold(opening),
        close_level=calibration.threshold(min(_CLOSING * opening, calibration.highest_rate)),
        alert_level=calibration.threshold(alert),
        min_duration_s=config.min_duration_s,
        quiet_s=config.quiet_s,
        cooldown_s=config.cooldown_s,
    )


def _parts(scored: Scored) -> dict[str, float]:
    """The highest level of each witness over the people of a frame."""
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
