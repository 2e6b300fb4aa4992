"""Words of the page: names of states and parts, and numbers with their units."""

from __future__ import annotations

import math
from typing import Any, Final

STATES: Final = {
    "connecting": "Connecting",
    "online": "Live",
    "stalled": "No frames",
    "reconnecting": "Reconnecting",
    "failed": "Failed: needs attention",
    "stopped": "Off",
}
"""Names of the states of a camera, by `pose.live.SourceState`."""

TONES: Final = {"online": "good", "stopped": "quiet", "connecting": "quiet"}
"""Colours of the states, as classes of ``page.css``; all other states are ``bad``."""

ENDS: Final = {
    "quiet": "the level stayed below the closing level",
    "camera-lost": "the camera was lost",
    "camera-stopped": "the camera was stopped or changed",
    "service-stopped": "the service was stopped",
    "interrupted": "the service was interrupted",
}
"""Why an incident ended, by `service.documents.base.EndReason`."""

DROPS: Final = {
    "rate_limit": "above the maximum frame rate",
    "overload": "overload",
    "not_ready": "models not loaded",
    "out_of_order": "out of order",
    "error": "processing error",
}
"""Why frames were dropped, by the keys of `CameraStatus.dropped`."""

PARTS: Final = {"pose": "pose", "motion": "motion", "pair": "pair (two people close together)"}
"""Names of the parts of a score."""

RARITY_NOTE: Final = (
    "“1 in 100” means that one in 100 normal movements (half a second of one person) is as unusual or more."
)

FRESH_S: Final = 5.0
"""An older score, in seconds, does not say what is happening now."""

NO_LIVE_DATA: Final = "No live data"

RAREST: Final = 6.0
"""Highest rarity: levels closer to 1 than a millionth are shown alike."""


def rarity(level: float | None) -> float | None:
    """``-log10(1 - level)`` in 0..6, which spreads levels near 1: 0.9 becomes 1, 0.99 becomes 2; None stays None."""
    return None if level is None else round(-math.log10(min(max(1 - level, 10**-RAREST), 1.0)), 3)


def sentence(words: str) -> str:
    """Words as a sentence, with a capital and a full stop."""
    return f"{words[:1].upper()}{words[1:]}."


def number(value: float | None, unit: str = "", digits: int = 1) -> str:
    """A number with its unit; a dash for None."""
    if value is None:
        return "-"
    return f"{value:,.{digits}f}{unit}"


def duration(seconds: float) -> str:
    """Seconds in units that fit, such as ``4 s``, ``2 min 5 s``, ``3 h 20 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    if whole >= 2 * 86_400:
        return f"{whole / 86_400:.3g} days"
    return f"{whole // 3600} h {whole % 3600 // 60} min" if whole % 3600 >= 60 else f"{whole // 3600} h"


def size(count: float) -> str:
    """A number of bytes in the unit that fits, such as ``1.5 KB``."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def rate(per_hour: float) -> str:
    """A rate of false alarms, such as ``0.25 per hour``."""
    return f"{per_hour:.3g} per hour"


def camera_name(status: dict[str, Any]) -> str:
    """The name of a camera; its id if it has none."""
    return str(status["config"]["name"] or status["id"])


def is_current(state: str, age_s: float | None) -> bool:
    """Whether the newest score of a camera says what is happening now.

    Args:
        state: State of the camera, a key of `STATES`.
        age_s: Seconds since the frame of that score was captured; None if there is no score.
    """
    return state == "online" and age_s is not None and age_s <= FRESH_S


def no_people(state: str, age_s: float | None, people: int) -> str:
    """Why the list of people has no rows, as a text; empty if it has some.

    Only a current score says that nobody is in the picture. Without one it is unknown.

    Args:
        state: State of the camera, a key of `STATES`.
        age_s: Seconds since the frame of the newest score was captured; None if there is no score.
        people: Number of people in that score.
    """
    if not is_current(state, age_s):
        return NO_LIVE_DATA
    return "" if people else "Nobody in the picture"


def cover(status: dict[str, Any], *, seen: bool) -> str:
    """Why a camera has no picture, as a sentence; empty if it has one.

    Args:
        status: `CameraStatus` as JSON.
        seen: Whether a frame was processed already.
    """
    problem = status["problem"]
    match status["state"]:
        case "online":
            return "" if seen else "Processing the first frame…"
        case "stopped":
            return "Turn on “Enabled” in its settings."
        case "connecting":
            return "Waiting for the first frame…"
        case _:
            detail = problem["detail"] if problem else "no frames arrive"
            return sentence(detail)
