"""Charts of levels over time, drawn by ECharts in the browser."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

# Importing it tells browsers where to find ECharts, which the components of this module import.
import nicegui.elements.echart  # noqa: F401
from nicegui.element import Element

from model.behaviours import Kind
from service.dashboard.watch import Point
from service.dashboard.words import rarity
from service.documents.kinds import TITLES

_MARK_ROOM: Final = 0.3
"""Room that the name of a mark needs, as a share of the timeline."""
_SHORTEST_SPAN_S: Final = 0.5
"""Seconds of the timeline in which a moment can be seen."""


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


class IncidentTimeline:
    """Where in the clip of an incident something happened.

    Args:
        incident: The incident.
        before_s: Seconds of the clip before the incident.
        after_s: Seconds after it.
    """

    def __init__(self, incident: dict[str, Any], before_s: float, after_s: float) -> None:
        self._incident, self._before_s, self._after_s = incident, before_s, after_s

    def spans(self) -> list[list[float]]:
        """First and last second of each kind in the clip."""
        ends = [[self._second(seen[at]) for at in ("first_at", "last_at")] for seen in self._incident["kinds"]]
        return [[first, max(last, first + _SHORTEST_SPAN_S)] for first, last in ends]

    def marks(self) -> list[dict[str, Any]]:
        """Where named behaviours begin in the clip; without any, where the incident begins and has its peak."""
        incident = self._incident
        named = [seen for seen in incident["kinds"] if seen["kind"] != Kind.UNUSUAL]
        starts = [(self._second(seen["first_at"]), TITLES[seen["kind"]]) for seen in named] or [
            (self._second(incident["started_at"]), "start"),
            (self._second(incident["peak_at"]), "peak"),
        ]
        length = self._second(incident["ended_at"] or incident["updated_at"]) + self._after_s
        return marks(sorted(starts), length)

    def curve(self, points: Sequence[Point]) -> list[list[float | None]]:
        """Seconds and rarities around the incident; empty if the points do not reach back to its beginning."""
        incident = self._incident
        start = datetime.fromisoformat(incident["started_at"]).timestamp() - self._before_s
        end = datetime.fromisoformat(incident["ended_at"] or incident["updated_at"]).timestamp() + self._after_s
        if not points or points[0].at > start + self._before_s:
            return []
        return [[round(point.at - start, 2), rarity(point.level)] for point in points if start <= point.at <= end]

    def _second(self, at: str) -> float:
        """The second of the clip at a moment."""
        began = datetime.fromisoformat(self._incident["started_at"])
        return self._before_s + (datetime.fromisoformat(at) - began).total_seconds()
