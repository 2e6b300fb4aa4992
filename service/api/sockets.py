"""Sending on WebSockets: with a time limit, and until the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from fastapi import WebSocket
from pydantic import BaseModel
from starlette.websockets import WebSocketDisconnect

SEND_LIMIT_S: Final = 30.0
"""Seconds after which a client that reads nothing is disconnected."""

UNKNOWN_CODE: Final = 4404
"""Close code for an id that does not exist, after HTTP's 404."""


class ReaderStalled(Exception):
    """The client of a stream has read nothing for `SEND_LIMIT_S`."""


async def send_text(socket: WebSocket, text: str) -> None:
    """Send a message.

    Raises:
        ReaderStalled: The client reads nothing.
        WebSocketDisconnect: The client has disconnected.
    """
    try:
        async with asyncio.timeout(SEND_LIMIT_S):
            await socket.send_text(text)
    except TimeoutError as error:
        raise ReaderStalled from error


async def send(socket: WebSocket, message: BaseModel) -> None:
    """Send a message as JSON; see `send_text`."""
    await send_text(socket, message.model_dump_json())


async def stream(socket: WebSocket, sending: Coroutine[Any, Any, None]) -> None:
    """Send messages until there are no more or the client has disconnected.

    Args:
        socket: An accepted connection; messages from the client are ignored.
        sending: Sends the messages and closes the connection.
    """
    await either(sending, _until_disconnected(socket))


async def either(*sides: Coroutine[Any, Any, None]) -> None:
    """Run both sides of a connection until one of them ends; a client that left or stalled is not an error."""
    tasks = [asyncio.create_task(side) for side in sides]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        # A stalled client would not read a closing message either: the server drops the connection.
        if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect | ReaderStalled):
            raise result


async def _until_disconnected(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
