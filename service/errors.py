"""Errors that any part of the service may raise: it cannot start, or storage is full."""

from __future__ import annotations


class StartupError(Exception):
    """The service cannot start; the message is one line for people."""


class StorageFull(Exception):
    """Disk or database has no room left to store something.

    Attributes:
        cause: A stable slug.
    """

    cause = "storage-full"

    def __init__(self, what: str) -> None:
        super().__init__(f"there is no room left to store {what}")
