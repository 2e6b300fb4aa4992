"""Settings of the behaviours that a camera reports only if it is asked to."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.live.zones import Zone

_Somewhere = Annotated[
    Zone | None,
    Field(
        description="Zone of the picture in which it counts: a polygon, with corners as fractions of its width and "
        "height. A person is in it if the middle of the lower edge of the bounding box is. null is the whole picture."
    ),
]


class _BehaviourSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class LoiteringSettings(_BehaviourSettings):
    """When somebody loiters."""

    seconds: float = Field(
        default=60.0, ge=10, le=3600, description="Seconds that somebody stays within about 1.4 metres of one place."
    )
    zone: _Somewhere = None


class GatheringSettings(_BehaviourSettings):
    """When people gather."""

    people: int = Field(default=4, ge=2, le=64, description="People who stand together at least.")
    seconds: float = Field(default=30.0, ge=5, le=3600, description="Seconds that they stay together.")
    zone: _Somewhere = None


class WrongWaySettings(_BehaviourSettings):
    """In which direction people are to go."""

    direction_deg: float = Field(
        ge=0,
        lt=360,
        description="Direction in which people are to go, in degrees on the picture: 0 is to its right, 90 up, 180 to "
        "its left, and 270 down.",
    )
    zone: _Somewhere = None
