"""What routes ask for."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Path
from starlette.requests import HTTPConnection

from service.runtime import Runtime


def get_runtime(connection: HTTPConnection) -> Runtime:
    """The runtime of the application that serves this request or WebSocket."""
    return cast(Runtime, connection.app.state.runtime)


RuntimeDep = Annotated[Runtime, Depends(get_runtime)]

ClipId = Annotated[
    str,
    Path(description="Id of the clip, as returned when it was posted.", examples=["0b1c5a3e9f7d4c2b8a6e1f0d3c5b7a99"]),
]
