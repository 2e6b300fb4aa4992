"""Zones drawn on the picture of a camera."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui.element import Element


class Zones(Element, component="components/zones.js"):
    """Zones drawn on the picture.

    Args:
        camera: Id of the camera.
        zones: The zones to begin with: of each kind a list of polygons, with corners in shares of width and height.
        kinds: The kinds of zones, and what they are called.
        seen: Whether the camera has a picture yet.
    """

    def __init__(self, camera: str, zones: Mapping[str, Any], kinds: Mapping[str, str], *, seen: bool) -> None:
        super().__init__()
        self._kinds = list(kinds)
        self._zones = [{"kind": kind, "corners": zone} for kind in kinds for zone in zones[kind]]
        self._props.update(
            {
                "picture": f"/v1/cameras/{camera}/snapshot.jpg" if seen else "",
                "alt": "Current picture of the camera",
                "value": self._zones,
                "kinds": dict(kinds),
            }
        )
        self.on("zones", lambda event: setattr(self, "_zones", event.args))

    @property
    def zones(self) -> dict[str, list[Any]]:
        """The zones as they are drawn now, of each kind."""
        return {kind: [zone["corners"] for zone in self._zones if zone["kind"] == kind] for kind in self._kinds}
