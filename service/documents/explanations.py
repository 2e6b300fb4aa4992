"""Says in words what is unusual about a level, and how rare that is."""

from __future__ import annotations

import math
from collections.abc import Mapping


def one_in(level: float) -> str:
    """How rare a level is: one in so many normal scores reaches it; two digits, at most a million.

    Args:
        level: In 0..1.

    Example:
        >>> one_in(0.99961), one_in(0.9)
        ('1 in 2,600', '1 in 10')
    """
    share = 1 - level
    if share < 1e-6:
        return "rarer than 1 in 1,000,000"
    times = 1 / share
    digits = 10 ** max(0, math.floor(math.log10(times)) - 1)
    return f"1 in {round(times / digits) * digits:,.0f}"


def unusual(level: float, parts: Mapping[str, float]) -> str:
    """What is unusual: the level, how rare it is, and the part of the score with the highest level.

    Args:
        level: In 0..1, of the frame.
        parts: Level of each part of the score, of the person with the highest level in that frame; may be empty.

    Returns:
        A sentence without a full stop, in which the level is rounded down to five digits.

    Example:
        >>> unusual(0.99961, {"pose": 0.84, "motion": 0.9998})
        'level 0.99961 (1 in 2,600 moments of normal life); strongest part: motion'
    """
    sentence = f"level {math.floor(level * 1e5 + 1e-6) / 1e5:.5f} ({one_in(level)} moments of normal life)"
    if not parts:
        return sentence
    return f"{sentence}; strongest part: {max(parts, key=parts.__getitem__)}"
