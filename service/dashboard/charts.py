"""Charts of levels over time, drawn by ECharts in the browser."""

from __future__ import annotations

from typing import Any

# Importing it tells browsers where to find ECharts, which the components of this module import.
import nicegui.elements.echart  # noqa: F401
from nicegui.element import Element


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
