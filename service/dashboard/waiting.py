"""The state of pages whose browser never came: how much of it one address may hold."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Final, Protocol, TypeVar

from nicegui import Client
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.browsers import client_network

MOST_WAITING: Final = 16
"""Pages of one address that may wait for their browser. One browser opens one, and a moment later its socket."""


class _Page(Protocol):
    created: float

    @property
    def ip(self) -> str: ...

    @property
    def has_socket_connection(self) -> bool: ...


P = TypeVar("P", bound=_Page)


class PageLimit:
    """Frees the oldest pages of an address that loads one after another without opening the socket of any.

    NiceGUI keeps the state of each page, about 200 kB, for a minute, in case its browser still comes. Programs that
    load pages over and over, such as monitors, never do.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        await self._app(scope, receive, send)
        if scope["type"] == "http":
            for page in surplus(Client.instances.values(), (scope.get("client") or ("",))[0]):
                page.delete()


def surplus(pages: Iterable[P], address: str) -> list[P]:
    """The pages of an address to free, oldest first: all that wait for their browser, but the newest `MOST_WAITING`.

    Args:
        pages: The pages of all addresses.
        address: The address that loads another one.
    """
    network = client_network(address)
    waiting = [page for page in pages if not page.has_socket_connection and client_network(page.ip) == network]
    return sorted(waiting, key=attrgetter("created"))[:-MOST_WAITING]
