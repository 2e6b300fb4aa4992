"""Channels: where people are told about incidents, in a YAML file that maps names to addresses that Apprise knows."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Final, Literal

from apprise import Apprise
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    field_validator,
)

from service.cameras.config import read_yaml
from service.documents.base import Severity

# It quotes addresses, which hold secrets; what went wrong is told without them.
_library = logging.getLogger("apprise")
_library.propagate = False
_library.addHandler(logging.NullHandler())

Picture = Literal["none", "skeletons", "picture"]
"""What a message shows of an incident: nothing, skeletons on a plain background, or the picture of the camera."""


class ChannelsFileError(ValueError):
    """The channels file is missing or invalid; the message names the channel and the field, and no address."""


class Channel(BaseModel):
    """One way to tell people.

    Attributes:
        url: Address for Apprise, such as ``mailto://…``, ``tgram://…`` or ``ntfy://…``.
        cameras: Ids of the cameras that it is told of; None for all.
        severity: Least severity of the incidents that it is told of.
        after_minutes: It is told only of incidents that nobody has acknowledged, and that have no verdict, so many
            minutes after they reached its severity.
        pause_s: Shortest time in seconds between two messages. What comes in between is told in one.
        picture: What a message about one incident shows.
        blindness: Whether it is told of cameras that cannot see people, too.

    Example:
        >>> Channel(url="json://127.0.0.1:9000", severity="warning").severity
        <Severity.WARNING: 'warning'>
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr
    cameras: frozenset[str] | None = None
    severity: Literal[Severity.WARNING, Severity.ALERT] = Severity.ALERT
    after_minutes: float = Field(0.0, ge=0, le=1440)
    pause_s: float = Field(60.0, ge=0, le=86_400)
    picture: Picture = "skeletons"
    blindness: bool = True

    @field_validator("url")
    @classmethod
    def _known(cls, url: SecretStr) -> SecretStr:
        # Apprise takes a list of addresses for several services; each channel is one.
        if Apprise.instantiate(url.get_secret_value().strip(), suppress_exceptions=True) is None:
            raise ValueError("is no address that Apprise understands, such as mailto://user:password@example.com")
        return url


_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,19}$")]
_file: Final = TypeAdapter(dict[_Name, Channel])


def read_channels(path: Path) -> dict[str, Channel]:
    """Read a YAML file that maps the names of channels to their configuration.

    Raises:
        ChannelsFileError: The file is missing or is not such a mapping.
    """
    return read_yaml(path, _file, ChannelsFileError)
