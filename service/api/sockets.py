"""What all WebSockets share: how to tell, how to notice that nobody listens, and how not to wait for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from fastapi import WebSocket
from pydantic import BaseModel
from starlette.websockets import WebSocketDisconnect

SEND_LIMIT_S: Final = 30.0
"""A reader who takes nothing for this long is let go."""

UNKNOWN_CODE: Final = 4404
"""Close code for an id that does not exist, after HTTP's 404."""


class ReaderStalled(Exception):
    """The reader of a stream has taken nothing for `SEND_LIMIT_S`."""


async def send_text(socket: WebSocket, text: str) -> None:
    """Send a message.

    Raises:
        ReaderStalled: The reader takes nothing.
        WebSocketDisconnect: The reader has left.
    """
    try:
        async with asyncio.timeout(SEND_LIMIT_S):
            await socket.send_text(text)
    except TimeoutError as error:
        raise ReaderStalled from error


async def send(socket: WebSocket, message: BaseModel) -> None:
    """Send a message that only this reader gets; see `send_text`."""
    await send_text(socket, message.model_dump_json())


async def tell(socket: WebSocket, telling: Coroutine[Any, Any, None]) -> None:
    """Run until everything is told or the reader has left.

    Args:
        socket: An accepted connection; what the reader sends is ignored.
        telling: Sends the messages and closes the connection.
    """
    await either(telling, _until_gone(socket))


async def either(*talks: Coroutine[Any, Any, None]) -> None:
    """Run the sides of a conversation until the first of them ends; a reader who left or stalled ends it as well."""
    tasks = [asyncio.create_task(talk) for talk in talks]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        # A stalled reader would not take a closing message either: the server drops the connection.
        if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect | ReaderStalled):
            raise result


async def _until_gone(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
