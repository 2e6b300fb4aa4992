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
        title: What it shows, in words.
    """

    def __init__(self, points: list[list[float | None]], limit: float | None, title: str) -> None:
        super().__init__()
        self._props.update({"points": points, "limit": limit, "said": title})


class Player(Element, component="components/player.js"):
    """A video beside its timeline, which seeks.

    Args:
        source: Address of the video.
        title: What it is, in words.
        more: `poster`; `seconds`, its length, if it is known; `points`, pairs of seconds and rarity; `limit`, the
            rarity of the threshold; `spans`, pairs of seconds that stand out; `marks`, seconds with names; `ratio`,
            the shape of the picture.
    """

    def __init__(self, source: str, title: str, **more: Any) -> None:
        super().__init__()
        self._props.update({"source": source, "title": title, **more})
