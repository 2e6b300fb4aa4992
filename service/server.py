"""The web server: uvicorn, told to let streams end before it stops."""

from __future__ import annotations

import asyncio
import socket

import uvicorn


class Server(uvicorn.Server):
    """Serves until it is told to stop, and then does not wait for answers that have no end.

    Args:
        config: What to serve and how.
        closing: Set when the server begins to stop.
    """

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event) -> None:
        super().__init__(config)
        self._closing = closing

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop."""
        self._closing.set()
        await super().shutdown(sockets)
