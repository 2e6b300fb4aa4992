"""What the page says: states, numbers and times as people say them."""

from __future__ import annotations

import math
from typing import Any, Final

STATES: Final = {
    "connecting": "Connecting",
    "online": "Live",
    "stalled": "No picture",
    "reconnecting": "Reconnecting",
    "failed": "Cannot connect",
    "stopped": "Off",
}
"""Names of the states of a camera."""

TONES: Final = {"online": "good", "stopped": "quiet", "connecting": "quiet"}
"""How the states look; the others look bad."""

ENDS: Final = {
    "quiet": "it became quiet",
    "camera-lost": "the camera was lost",
    "camera-stopped": "the camera was stopped or changed",
    "service-stopped": "the service was stopped",
    "interrupted": "the service was interrupted",
}

DROPS: Final = {
    "rate_limit": "more came than are wanted",
    "overload": "the machine was too slow",
    "not_ready": "the models were not loaded",
    "out_of_order": "out of order",
    "error": "could not be processed",
}

PARTS: Final = {"pose": "posture", "motion": "movement", "pair": "another person near"}
"""Names of the parts of a score."""

RAREST: Final = 6.0


def rarity(level: float | None) -> float | None:
    """``-log10(1 - level)``, so that the upper tail can be seen; None stays."""
    return None if level is None else round(-math.log10(min(max(1 - level, 10**-RAREST), 1.0)), 3)


def rarity_words(level: float) -> str:
    """How unusual a level is, such as ``1 in 5,000``: so many normal windows for one like it."""
    share = 1 - level
    if share >= 0.5:
        return "usual"
    if share < 1e-6:
        return "rarer than 1 in 1,000,000"
    times = 1 / share
    digits = 10 ** max(0, math.floor(math.log10(times)) - 1)
    return f"1 in {round(times / digits) * digits:,.0f}"


def number(value: float | None, unit: str = "", digits: int = 1) -> str:
    """A figure with its unit; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:,.{digits}f}{unit}"


def duration(seconds: float) -> str:
    """Seconds as people say them, such as ``4 s``, ``2 min 5 s``, ``3 h 20 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    if whole >= 2 * 86_400:
        return f"{whole / 86_400:.3g} days"
    return f"{whole // 3600} h {whole % 3600 // 60} min" if whole % 3600 >= 60 else f"{whole // 3600} h"


def size(count: float) -> str:
    """Bytes in the unit that fits."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def rate(per_hour: float) -> str:
    """False alarms, such as ``1 false alarm per hour``."""
    return f"{per_hour:.3g} false alarm{'' if per_hour == 1 else 's'} per hour"


def camera_name(status: dict[str, Any]) -> str:
    """What people call a camera."""
    return str(status["config"]["name"] or status["id"])


def cover(status: dict[str, Any], *, seen: bool) -> str:
    """Why there is no picture, in words; nothing where there is one."""
    problem = status["problem"]
    match status["state"]:
        case "online":
            return "" if seen else "The first picture is being looked at…"
        case "stopped":
            return "Switch it on in its settings."
        case "connecting":
            return "Waiting for the first picture…"
        case _:
            detail = problem["detail"] if problem else "no picture comes"
            return f"{detail[:1].upper()}{detail[1:]}."
