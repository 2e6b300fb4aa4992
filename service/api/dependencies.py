"""Parameters that routes share."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from fastapi import Depends, Path, Query
from starlette.requests import HTTPConnection

from service.access.policy import Principal
from service.api.authentication import principal_of
from service.documents.messages import CAMERA_ID
from service.runtime import Runtime


def get_runtime(connection: HTTPConnection) -> Runtime:
    """The runtime of the application that serves this request or WebSocket."""
    return cast(Runtime, connection.app.state.runtime)


RuntimeDep = Annotated[Runtime, Depends(get_runtime)]

PrincipalDep = Annotated[Principal, Depends(principal_of)]

ClipId = Annotated[
    str,
    Path(description="Id of the clip, as returned when it was posted.", examples=["0b1c5a3e9f7d4c2b8a6e1f0d3c5b7a99"]),
]

CameraId = Annotated[str, Path(description="Id of the camera, as chosen when it was added.", examples=["entrance"])]

NewCameraId = Annotated[
    str,
    Path(
        pattern=CAMERA_ID,
        description="Id for the camera: at most 64 lower-case letters, digits, `-` and `_`.",
        examples=["entrance"],
    ),
]

IncidentId = Annotated[str, Path(description="Id of the incident.", examples=["5f0c2d7be0a94f7a8b6f7f1c5c0d9f3e"])]

Cursor = Annotated[
    str | None, Query(pattern=r"^\d{1,18}$", description="`next` of the previous page.", examples=["118"])
]

Background = Literal["picture", "none"]
