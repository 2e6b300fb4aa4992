"""Who may talk to the service: pure rules."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final


class Scope(StrEnum):
    """What a key may do; each includes those before it."""

    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"

    def includes(self, other: Scope) -> bool:
        """Whether a key of this scope may do what needs the other."""
        order = list(Scope)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    Attributes:
        key_id: The key that was shown; empty for whoever sits at the machine of a service that asks for none.
        name: Of the key.
        scope: What it may do.
        cameras: The only cameras it may see and touch; None for everything.
    """

    key_id: str
    name: str
    scope: Scope
    cameras: frozenset[str] | None

    def sees(self, camera: str) -> bool:
        """Whether a camera may be shown to it."""
        return self.cameras is None or camera in self.cameras


EVERYBODY: Final = Principal("", "this machine", Scope.ADMIN, None)
"""Who asks a service that is open: nobody is told from anybody."""


class Subject(Enum):
    """What an action is about."""

    NOTHING = "nothing"
    """Nothing that belongs to a camera, or lists from which the answer leaves out what may not be seen."""

    CAMERA = "camera"
    """One camera, or something of one."""

    SERVICE = "service"
    """The whole service, or clips, which belong to no camera: not for keys of some cameras."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What an action needs.

    Attributes:
        scope: The least scope; None lets everybody in.
        subject: What it is about.
    """

    scope: Scope | None
    subject: Subject = Subject.NOTHING


class Refusal(StrEnum):
    """Why somebody may not."""

    NO_KEY = "no-key"
    SCOPE = "scope"
    CAMERA = "camera"
    SERVICE = "service"


def refusal(principal: Principal | None, rule: Rule, camera: str | None = None) -> Refusal | None:
    """Why somebody may not do something; None if they may.

    Args:
        principal: Who asks; None without a key that holds.
        rule: What the action needs.
        camera: Which camera it is about; None if that camera does not exist.
    """
    if rule.scope is None:
        return None
    if principal is None:
        return Refusal.NO_KEY
    if not principal.scope.includes(rule.scope):
        return Refusal.SCOPE
    if principal.cameras is None or rule.subject is Subject.NOTHING:
        return None
    if rule.subject is Subject.SERVICE:
        return Refusal.SERVICE
    return None if camera is not None and principal.sees(camera) else Refusal.CAMERA
