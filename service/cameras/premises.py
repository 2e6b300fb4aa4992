"""What a calibration of a camera was made of, and whether that still is as it was.

This module is pure: `service.cameras.camera` looks at the pictures and acts on the outcome.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pose.view import ViewMap
from service.addresses.urls import StreamUrl
from service.cameras.config import CameraConfig
from service.documents.messages import Staleness


@dataclass(frozen=True, slots=True, eq=False)
class Premises:
    """What a calibration was made of.

    Attributes:
        address: Fingerprint of the address without credentials: a new password does not change the view.
        size: Width and height of the picture in pixels; None of a skeleton feed and of a clip.
        min_duration_s: The minimum duration of incidents that false alarms were counted with.
        quiet_s: The quiet period that they were counted with.
        view: What the still background looked like; None of a skeleton feed and of a clip.
    """

    address: str
    size: tuple[int, int] | None
    min_duration_s: float
    quiet_s: float
    view: ViewMap | None

    @classmethod
    def of(cls, url: StreamUrl, config: CameraConfig, size: tuple[int, int] | None, view: ViewMap | None) -> Self:
        """The premises of a calibration that is made now."""
        return cls(fingerprint(url), size, config.min_duration_s, config.quiet_s, view)

    def to_dict(self) -> dict[str, Any]:
        """The premises as JSON values."""
        return {
            "address": self.address,
            "size": None if self.size is None else list(self.size),
            "min_duration_s": self.min_duration_s,
            "quiet_s": self.quiet_s,
            "view": None if self.view is None else self.view.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The premises from the values of `to_dict`.

        Raises:
            ValueError: They are damaged.
        """
        try:
            size, view = values["size"], values["view"]
            return cls(
                address=str(values["address"]),
                size=None if size is None else (int(size[0]), int(size[1])),
                min_duration_s=float(values["min_duration_s"]),
                quiet_s=float(values["quiet_s"]),
                view=None if view is None else ViewMap.from_dict(view),
            )
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"what the calibration was made of cannot be read: {error}") from error

    def broken(
        self, url: StreamUrl, config: CameraConfig, size: tuple[int, int] | None, *, moved: bool
    ) -> tuple[Staleness, ...]:
        """The reasons for which a calibration made of this does not hold; empty if it holds.

        Args:
            url: The address now.
            config: The configuration now.
            size: Width and height of the picture now; None if that is not known yet.
            moved: Whether the picture shows another view.
        """
        reasons = []
        if fingerprint(url) != self.address:
            reasons.append(
                Staleness(
                    cause="address",
                    detail="The address of this camera has changed since it was calibrated. Calibrate again or set the "
                    "address back.",
                )
            )
        if None not in (size, self.size) and size != self.size:
            reasons.append(
                Staleness(
                    cause="resolution",
                    detail=f"The picture has {_pixels(size)} pixels now, and had {_pixels(self.size)} when this camera "
                    "was calibrated. Calibrate again or set the resolution back.",
                )
            )
        if moved:
            reasons.append(
                Staleness(
                    cause="moved",
                    detail="The picture has moved since this camera was calibrated. Calibrate again or turn it back.",
                )
            )
        if config.min_duration_s != self.min_duration_s:
            reasons.append(
                Staleness(
                    cause="min_duration_s",
                    detail=_setting("minimum duration of incidents", config.min_duration_s, self.min_duration_s),
                )
            )
        if config.quiet_s != self.quiet_s:
            reasons.append(
                Staleness(cause="quiet_s", detail=_setting("quiet period of incidents", config.quiet_s, self.quiet_s))
            )
        return tuple(reasons)


def fingerprint(url: StreamUrl) -> str:
    """A name of an address that does not show it; the same for all credentials."""
    return hashlib.sha256(url.redacted.encode()).hexdigest()[:32]


def _pixels(size: tuple[int, int] | None) -> str:
    return "" if size is None else f"{size[0]}x{size[1]}"


def _setting(name: str, now: float, before: float) -> str:
    return (
        f"The {name} is {now:g} s now, and was {before:g} s when this camera was calibrated. Calibrate again or set it "
        "back."
    )
