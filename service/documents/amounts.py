"""Times and rates in words."""

from __future__ import annotations

import math


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


def about(number: float) -> str:
    """A number to two digits, such as ``0.13``, ``2.1`` or ``1,400``."""
    if number < 99.5:
        return f"{number:.2g}"
    digits = 10 ** (math.floor(math.log10(number)) - 1)
    return f"{round(number / digits) * digits:,}"


def rate(per_day: float) -> str:
    """A rate of false alarms, such as ``0.25 per day``."""
    return f"{per_day:.3g} per day"
