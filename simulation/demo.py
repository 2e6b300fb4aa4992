"""The cameras of the demo: their scenes and their calibrations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from simulation.scene import Event, story

CALIBRATIONS: Final = Path(__file__).parent / "weights" / "calibrations.json"


@dataclass(frozen=True, slots=True)
class DemoCamera:
    """A camera of the demo.

    Attributes:
        id: Its id.
        name: Its name on the page.
        seed: Seed of its scene.
        incident_every_s: Seconds from one incident to the next, the first after half of them; none if there are none.
        events: Kinds of these incidents, which come in turn.
    """

    id: str
    name: str
    seed: int
    incident_every_s: float | None = None
    events: tuple[Event, ...] = ()

    @property
    def url(self) -> str:
        """The camera's address, as the service takes it."""
        query = "" if self.incident_every_s is None else f"?incident_every={self.incident_every_s:g}"
        return f"simulation:{self.seed}{query}" + "".join(f"&event={event}" for event in self.events)

    @property
    def story(self) -> str | None:
        """What happens there, as words; None if nothing unusual does."""
        return None if self.incident_every_s is None else story(self.incident_every_s, self.events)

    def calibration(self) -> dict[str, Any]:
        """Its calibration on half an hour of normal life, written by ``benchmarks.assets.demo_calibration``."""
        found: dict[str, Any] = json.loads(CALIBRATIONS.read_text(encoding="utf-8"))[self.id]
        return found


DEMO_CAMERAS: Final = (
    DemoCamera("hall", "Hall", seed=13, incident_every_s=40.0, events=("fall", "fight", "running")),
    DemoCamera("street", "Street", seed=8),
)
