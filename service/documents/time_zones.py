"""Time zones by name."""

from __future__ import annotations

from functools import cache
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator


@cache
def time_zone(name: str) -> ZoneInfo:
    """A time zone by its name in the IANA database, such as `Europe/Berlin`.

    Raises:
        ValueError: There is none of this name.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:
        raise ValueError(f"there is no time zone {name!r}; names look like Europe/Berlin, or UTC") from error


def _known_zone(name: str) -> str:
    time_zone(name)
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]
"""Name of a time zone in the IANA database."""
