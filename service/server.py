"""The web server: uvicorn, told to let streams end before it stops, and not to wait for requests that never come."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from typing import Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S: Final = 10.0
"""A connection on which no whole request has come for so long is closed."""


class PromptProtocol(H11Protocol):
    """HTTP/1.1 for clients that say what they want.

    uvicorn waits for the first request as long as a client likes, and for the rest of a head that has begun; every
    such connection is a file that a camera may need.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody has connected."""
        super().connection_made(transport)
        self._await_head()

    def on_response_complete(self) -> None:
        """An answer has been sent."""
        super().on_response_complete()
        self._await_head()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """From here on the connection is a WebSocket's."""
        self._cancel()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left."""
        self._cancel()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._cancel()
        self._deadline = self.loop.call_later(HEAD_S, self._give_up)

    def _give_up(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()


class Server(uvicorn.Server):
    """Serves until it is told to stop, and then does not wait for answers that have no end.

    Args:
        config: What to serve and how.
        closing: Set when the server begins to stop.
        on_started: Told the address when somebody can connect.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        closing: asyncio.Event,
        on_started: Callable[[tuple[str, int]], None] = lambda _: None,
    ) -> None:
        super().__init__(config)
        self._closing = closing
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._on_started((host, port))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop."""
        self._closing.set()
        await super().shutdown(sockets)


def raise_file_limit() -> None:
    """Let this process open as many files as the system allows it: cameras, clips and clients share them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
