"""How a page asks the service: through its own public API, as the person who looks at it."""

from __future__ import annotations

from typing import Any

import httpx
from fastapi import FastAPI
from starlette.requests import Request


class Refused(RuntimeError):
    """The service refuses, or fails; the message is a sentence for people."""


class Visitor:
    """One open page. What it may see and do is decided where it is for everybody: by the routes of the API.

    Args:
        app: The application, asked without a network.
        request: How the page was asked for; its host and its cookies are those of the questions.
    """

    def __init__(self, app: FastAPI, request: Request) -> None:
        host = request.headers.get("host", "127.0.0.1")
        origin = f"{request.url.scheme}://{host}"
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False, client=_client(request)),
            base_url=origin,
            headers={"origin": origin},
            cookies=request.cookies,
        )

    async def get(self, path: str, **parameters: Any) -> Any:
        """What is there, as JSON.

        Raises:
            Refused: It is not there, or not for this visitor.
        """
        return await self._ask("GET", path, params={name: value for name, value in parameters.items() if value})

    async def post(self, path: str, document: Any = None) -> Any:
        """Do something.

        Raises:
            Refused: It cannot be done.
        """
        return await self._ask("POST", path, json=document)

    async def put(self, path: str, document: Any) -> Any:
        """Put something there; raises `Refused`."""
        return await self._ask("PUT", path, json=document)

    async def patch(self, path: str, document: Any) -> Any:
        """Change something; raises `Refused`."""
        return await self._ask("PATCH", path, json=document)

    async def delete(self, path: str) -> None:
        """Remove something; raises `Refused`."""
        await self._ask("DELETE", path)

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        answer = await self._client.request(method, path, **options)
        if answer.is_success:
            return answer.json() if answer.content else None
        raise Refused(_words(answer))


def _client(request: Request) -> tuple[str, int]:
    return (request.client.host, request.client.port) if request.client else ("127.0.0.1", 0)


def _words(answer: httpx.Response) -> str:
    """A problem document as a sentence, with the fields that are wrong and the setting that helps."""
    try:
        problem = answer.json()
    except ValueError:
        return f"The service answered with status {answer.status_code}."
    text = str(problem.get("detail") or problem.get("title") or f"status {answer.status_code}")
    setting = problem.get("setting")
    if setting and setting not in text:
        text += f"; set {setting}"
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
