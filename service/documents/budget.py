"""False-alarm budgets in documents: per day, and per hour under their old names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

HOURS_PER_DAY: Final = 24.0

_PER_DAY: Final = "_per_day"
_PER_HOUR: Final = "_per_hour"


def per_day_of(values: Any, names: Iterable[str]) -> Any:
    """Convert budgets that are given per hour, under their old names, into budgets per day.

    Args:
        values: The fields of a document, before they are checked; what is no mapping is returned as it is.
        names: The names of the budgets per day, such as `false_alarms_per_day`. The old name ends in `_per_hour`. A
            field that is null is not given.

    Raises:
        ValueError: A budget is given under both names.

    Example:
        >>> per_day_of({"false_alarms_per_hour": 2}, ["false_alarms_per_day"])
        {'false_alarms_per_day': 48.0}
    """
    if not isinstance(values, dict):
        return values
    converted = dict(values)
    for name in names:
        old = name.removesuffix(_PER_DAY) + _PER_HOUR
        if old not in converted:
            continue
        hourly = converted.pop(old)
        if hourly is None:
            converted.setdefault(name, None)
            continue
        if converted.get(name) is not None:
            raise ValueError(
                f"{name} and {old} are both given; {old} is the old name, for the budget per hour: give {name} alone"
            )
        converted[name] = _daily(hourly)
    return converted


def _daily(hourly: Any) -> Any:
    """A rate per hour as one per day; what is no number is returned as it is, and the field refuses it."""
    if isinstance(hourly, bool):
        return hourly
    try:
        return HOURS_PER_DAY * float(hourly)
    except (TypeError, ValueError, OverflowError):
        return hourly
