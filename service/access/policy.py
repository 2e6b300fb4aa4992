"""Decides who may do what; a pure rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Final


class Scope(StrEnum):
    """What a key may do; each scope includes those before it."""

    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"

    def includes(self, other: Scope) -> bool:
        """Whether a key with this scope may do what needs the other scope."""
        order = list(Scope)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sends a request.

    Attributes:
        key_id: Id of the key; empty if the service requires no keys.
        name: Name of the key.
        scope: What it may do.
        cameras: The only cameras that it may access; None for all.
        session: Digest of the session of a browser that the request belongs to; empty for a key that was sent itself.
    """

    key_id: str
    name: str
    scope: Scope
    cameras: frozenset[str] | None
    session: str = field(default="", compare=False, repr=False)

    def sees(self, camera: str) -> bool:
        """Whether it may access a camera."""
        return self.cameras is None or camera in self.cameras


EVERYBODY: Final = Principal("", "this machine", Scope.ADMIN, None)
"""The sender of every request to a service that requires no keys."""


class Subject(Enum):
    """What an action is about."""

    NOTHING = "nothing"
    """Nothing that belongs to a camera; or a list, which leaves out what the key may not access."""

    CAMERA = "camera"
    """One camera, or something that belongs to one."""

    SERVICE = "service"
    """The whole service, or clips, which belong to no camera; refused to keys that are for some cameras only."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What an action needs.

    Attributes:
        scope: The lowest scope that may do it; None if no key is needed.
        subject: What the action is about.
    """

    scope: Scope | None
    subject: Subject = Subject.NOTHING


class Refusal(StrEnum):
    """Why an action is refused."""

    NO_KEY = "no-key"
    SCOPE = "scope"
    CAMERA = "camera"
    SERVICE = "service"


def refusal(principal: Principal | None, rule: Rule, camera: str | None = None) -> Refusal | None:
    """Decide whether an action is allowed.

    Args:
        principal: Who sends the request; None without a valid key.
        rule: What the action needs.
        camera: The camera that the action is about; None if it does not exist.

    Returns:
        Why the action is refused; None if it is allowed.
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
