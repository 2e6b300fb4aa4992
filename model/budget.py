"""The false-alarm budget of a camera and how its parts share it.

The budget says how many false alarms per day are accepted. Half of it is for `unusual`; the named behaviours share the
other half equally, whether they are switched on or not, so that a threshold does not depend on the others' switches.
"""

from __future__ import annotations

from typing import Final

from model.behaviours.base import Kind

UNUSUAL_SHARE: Final = 0.5
"""Share of the budget for movement without a name."""


def share_of(kind: Kind, false_alarms_per_day: float) -> float:
    """What one kind may cost.

    Args:
        kind: The kind.
        false_alarms_per_day: The budget of the camera.

    Returns:
        False alarms per day.

    Example:
        >>> share_of(Kind.UNUSUAL, 1.0)
        0.5
        >>> round(sum(share_of(kind, 3.0) for kind in Kind), 9)
        3.0
    """
    if kind is Kind.UNUSUAL:
        return UNUSUAL_SHARE * false_alarms_per_day
    return (1 - UNUSUAL_SHARE) * false_alarms_per_day / (len(Kind) - 1)
