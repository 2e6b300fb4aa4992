"""Charts of levels over time, drawn by ECharts in the browser."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

# Importing it tells browsers where to find ECharts, which the components of this module import.
import nicegui.elements.echart  # noqa: F401
from nicegui.element import Element

_MARK_ROOM: Final = 0.3
"""Room that the name of a mark needs, as a share of the timeline."""


class Trend(Element, component="components/trend.js"):
    """Level and threshold of the last minutes of a camera.

    Args:
        points: Pairs of milliseconds since 1970 and rarity.
        limit: Rarity of the threshold.
        title: Description for screen readers.
    """

    def __init__(self, points: list[list[float | None]], limit: float | None, title: str) -> None:
        super().__init__()
        self._props.update({"points": points, "limit": limit, "said": title})


class Player(Element, component="components/player.js"):
    """A video above its timeline; a click on the timeline seeks.

    Args:
        source: Address of the video.
        title: Description for screen readers.
        more: `poster`; `seconds`, the duration, if it is known; `points`, pairs of seconds and rarity; `limit`, the
            rarity of the threshold; `spans`, start and end in seconds of what to highlight; `marks`, seconds with
            names; `ratio`, the aspect ratio of the picture.
    """

    def __init__(self, source: str, title: str, **more: Any) -> None:
        super().__init__()
        self._props.update({"source": source, "title": title, **more})


def marks(starts: Iterable[tuple[float, str]], length_s: float) -> list[dict[str, Any]]:
    """Marks of a timeline; those that begin too close to each other for their names share one.

    Args:
        starts: Seconds and names, in order of time.
        length_s: Length of the timeline.
    """
    found: list[dict[str, Any]] = []
    for at, name in starts:
        if not found or at - found[-1]["at"] >= _MARK_ROOM * length_s:
            found.append({"at": at, "name": name})
        elif name not in found[-1]["name"].split(", "):
            found[-1]["name"] += f", {name}"
    return found
