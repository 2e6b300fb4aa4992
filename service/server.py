"""The web server: uvicorn, which ends streams before it stops and closes connections that send no request."""

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
"""Seconds after which a connection that has sent no complete request head is closed."""


class PromptProtocol(H11Protocol):
    """HTTP/1.1 with a time limit for the head of a request.

    uvicorn limits only the pause between two requests (`timeout_keep_alive`) and waits without end for the first one
    and for the rest of a head. Each such connection takes a file descriptor that a camera may need, so this class
    closes it after `HEAD_S` seconds.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._await_head()

    def on_response_complete(self) -> None:
        """A response has been sent."""
        super().on_response_complete()
        self._await_head()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """From here on the connection is a WebSocket."""
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
    """Serves until it is told to stop, and then ends the streams, which would never end by themselves.

    Args:
        config: Configuration of uvicorn.
        closing: Set when the server begins to stop.
        on_started: Called with host and port once clients can connect.
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
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._on_started((host, port))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Announce the end to all streams, then stop."""
        self._closing.set()
        await super().shutdown(sockets)


def raise_file_limit() -> None:
    """Raise the limit of open files to what the system allows; cameras, clips and clients share it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
