"""How a page calls the service: through the public API, with the rights of its viewer."""

from __future__ import annotations

from typing import Any, Final, cast

import httpx
from fastapi import FastAPI
from starlette.requests import Request

from service.access.policy import EVERYBODY, Principal

_KEPT: Final = ("authorization",)


class Refused(RuntimeError):
    """The service refused or failed; the message is a sentence for the viewer.

    Attributes:
        status: HTTP status of the answer.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Visitor:
    """Calls the API for one open page. The routes of the API check what the viewer may see and do, as for any client.

    Args:
        app: The application, called without a network.
        request: The request for the page; the calls carry its host, its cookies and its ``Authorization``.
    """

    def __init__(self, app: FastAPI, request: Request) -> None:
        host = request.headers.get("host", "127.0.0.1")
        origin = f"{request.url.scheme}://{host}"
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False, client=_client(request)),
            base_url=origin,
            headers={"origin": origin} | {name: request.headers[name] for name in _KEPT if name in request.headers},
            cookies=request.cookies,
        )

    async def get(self, path: str, **parameters: Any) -> Any:
        """Get a document.

        Raises:
            Refused: There is none, or the viewer may not see it.
        """
        return await self._ask("GET", path, params={name: value for name, value in parameters.items() if value})

    async def post(self, path: str, document: Any = None) -> Any:
        """Post a document.

        Raises:
            Refused: The request was refused.
        """
        return await self._ask("POST", path, json=document)

    async def put(self, path: str, document: Any) -> Any:
        """Put a document; raises `Refused`."""
        return await self._ask("PUT", path, json=document)

    async def patch(self, path: str, document: Any) -> Any:
        """Change a document; raises `Refused`."""
        return await self._ask("PATCH", path, json=document)

    async def delete(self, path: str) -> Any:
        """Delete a document; raises `Refused`."""
        return await self._ask("DELETE", path)

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        answer = await self._client.request(method, path, **options)
        if answer.is_success:
            return answer.json() if answer.content else None
        raise Refused(_words(answer), answer.status_code)


def reader(request: Request) -> Principal:
    """Who looks at a page."""
    return cast(Principal, request.scope.get("principal", EVERYBODY))


def _client(request: Request) -> tuple[str, int]:
    return (request.client.host, request.client.port) if request.client else ("127.0.0.1", 0)


def _words(answer: httpx.Response) -> str:
    """A problem document as a sentence, with the setting that helps."""
    try:
        problem = answer.json()
    except ValueError:
        return f"The service answered with status {answer.status_code}."
    text = str(problem.get("detail") or problem.get("title") or f"status {answer.status_code}")
    setting = problem.get("setting")
    if setting and setting not in text:
        text += f"; set {setting}"
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
