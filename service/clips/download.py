"""Downloads a video from the web into a file; it is trusted as little as an upload."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import IO, Final
from urllib.parse import urldefrag, urljoin

import httpx

from pose.live import SourceError
from service.addresses.policy import StreamPolicy
from service.addresses.redaction import redact
from service.addresses.urls import StreamUrl
from service.addresses.web import pinned_request, web_address
from service.clips.refusals import UploadStalled
from service.clips.uploads import BLOCK, Pace, paced, write_all
from service.errors import StorageFull
from service.storage.writing import is_storage_full

CONNECT_S: Final = 10.0
"""Longest time of an attempt to connect, in seconds."""

ANSWER_S: Final = 30.0
"""Longest time until the headers of an answer are there, in seconds."""

MOST_REDIRECTS: Final = 5

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HEADERS: Final = {
    "accept": "video/*, application/octet-stream;q=0.9, */*;q=0.1",
    # What is compressed for the way may become any number of bytes.
    "accept-encoding": "identity",
}
_ADVICE: Final = {
    401: "give a user name and a password in the address that it accepts",
    403: "give an address that it serves without a log-in, or upload the file",
    404: "check the address",
    410: "check the address",
}


def clip_address(url: str) -> StreamUrl:
    """Parse the address of a clip.

    Raises:
        StreamUrlError: The address is not valid, or neither http nor https.
    """
    return web_address(url, "the address of a clip")


class FetchFailed(Exception):
    """A file cannot be fetched; the message says why and what to do, and holds no credentials.

    Attributes:
        cause: A stable slug: ``dns``, ``forbidden``, ``unreachable``, ``timeout``, ``tls``, ``not-http``, ``status``,
            ``redirect``, ``compressed``, ``clip-too-large``, ``stalled`` or ``cut-short``.
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(redact(message))
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Download:
    """A file that was downloaded.

    Attributes:
        size_bytes: Number of bytes.
        media_type: What the server says that it is; untrusted text.
    """

    size_bytes: int
    media_type: str | None


async def download(
    address: StreamUrl, target: Path, policy: StreamPolicy, max_bytes: int, pace: Pace | None = None
) -> Download:
    """Download a file into a new file. Redirects are followed, each checked as the address itself.

    Bytes are counted as they arrive, whatever the headers say. After any failure the file is removed.

    Args:
        address: Where to fetch it; http or https.
        target: The new file.
        policy: Which addresses may be connected to.
        max_bytes: Most bytes.
        pace: The slowest download that is accepted.

    Raises:
        FetchFailed: The file cannot be fetched.
        StorageFull: The disk is full.
    """
    pace = pace or Pace()
    timeout = httpx.Timeout(None, connect=CONNECT_S)
    async with httpx.AsyncClient(timeout=timeout, verify=_trusted(), trust_env=False) as client:
        answer, host = await _answer(client, address, policy)
        try:
            _check(answer, host, max_bytes)
            with target.open("xb", buffering=0) as stream:
                size = await _copy(answer, host, stream, max_bytes, pace)
                await asyncio.to_thread(os.fsync, stream.fileno())
        except BaseException as error:
            _remove(target)
            if isinstance(error, OSError) and is_storage_full(error):
                raise StorageFull("the clip") from error
            raise
        finally:
            await answer.aclose()
    return Download(size, answer.headers.get("content-type"))


def _remove(target: Path) -> None:
    # Not in a thread: the file is removed even when the download is being cancelled.
    target.unlink(missing_ok=True)


@cache
def _trusted() -> ssl.SSLContext:
    return ssl.create_default_context()


async def _answer(client: httpx.AsyncClient, address: StreamUrl, policy: StreamPolicy) -> tuple[httpx.Response, str]:
    """The first answer that is no redirect, and the host that gave it."""
    for _ in range(MOST_REDIRECTS + 1):
        answer = await _ask(client, address, policy)
        if answer.status_code not in _REDIRECTS:
            return answer, address.host
        await answer.aclose()
        address = _redirected(address, answer.headers.get("location", ""))
    raise FetchFailed(
        "redirect", f"the server redirects more than {MOST_REDIRECTS} times; give the address of the file itself"
    )


async def _ask(client: httpx.AsyncClient, address: StreamUrl, policy: StreamPolicy) -> httpx.Response:
    host = address.host
    try:
        pinned = await asyncio.to_thread(policy.pin, address)
        async with asyncio.timeout(ANSWER_S):
            return await client.send(pinned_request("GET", pinned, _HEADERS), stream=True)
    except SourceError as error:
        raise FetchFailed(error.cause, str(error)) from error
    except (TimeoutError, httpx.TimeoutException) as error:
        raise FetchFailed(
            "timeout", f"{host} does not answer in time; check the address, the network and the server"
        ) from error
    except httpx.ProtocolError as error:
        raise FetchFailed("not-http", f"the answer of {host} is not HTTP; check the address and its port") from error
    except httpx.HTTPError as error:
        raise _unreachable(host, error) from error


def _unreachable(host: str, error: httpx.HTTPError) -> FetchFailed:
    for reason in _reasons(error):
        if isinstance(reason, ssl.SSLCertVerificationError):
            return FetchFailed(
                "tls",
                f"the certificate of {host} is not trusted: {reason.verify_message}; upload the file instead, or give "
                "the server a certificate of an authority that this machine trusts",
            )
        if isinstance(reason, ssl.SSLError):
            return FetchFailed("tls", f"{host} does not speak TLS as expected; check the address and its port")
    return FetchFailed(
        "unreachable",
        f"{host} cannot be reached: {error or type(error).__name__}; check the address and that the server runs",
    )


def _reasons(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _redirected(address: StreamUrl, location: str) -> StreamUrl:
    named = f"[{address.host}]" if ":" in address.host else address.host
    here = f"{address.scheme}://{named}:{address.port}"
    try:
        found = web_address(urldefrag(urljoin(here + address.target, location)).url, "the address")
    except ValueError as error:
        raise FetchFailed("redirect", f"{address.host} redirects to an address that cannot be used: {error}") from error
    if (address.scheme, found.scheme) == ("https", "http"):
        raise FetchFailed(
            "redirect", f"{address.host} redirects from https to http; give an address that stays with https"
        )
    same = (found.host, found.scheme, found.port) == (address.host, address.scheme, address.port)
    # Nobody else gets the password.
    return replace(found, user=address.user, password=address.password) if same and found.user is None else found


def _check(answer: httpx.Response, host: str, max_bytes: int) -> None:
    status = answer.status_code
    if status != HTTPStatus.OK:
        advice = _ADVICE.get(status, "try again later" if status >= 500 or status == 429 else "check the address")
        raise FetchFailed("status", f"{host} answered {status}; {advice}")
    coding = answer.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise FetchFailed(
            "compressed", f"{host} sends the file compressed ({coding[:64]!r}); give an address that sends it as it is"
        )
    length = answer.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise _too_large(max_bytes)


async def _copy(answer: httpx.Response, host: str, stream: IO[bytes], max_bytes: int, pace: Pace) -> int:
    size = 0
    block = bytearray()
    try:
        async for chunk in paced(answer.aiter_raw(), pace):
            size += len(chunk)
            if size > max_bytes:
                raise _too_large(max_bytes)
            block += chunk
            if len(block) >= BLOCK:
                await asyncio.to_thread(write_all, stream, bytes(block))
                block.clear()
    except UploadStalled as error:
        raise FetchFailed("stalled", f"{host} sends the file too slowly: {error}; try again later") from error
    except httpx.HTTPError as error:
        raise FetchFailed(
            "cut-short", f"{host} ended the connection after {size} bytes, before the file was complete; try again"
        ) from error
    await asyncio.to_thread(write_all, stream, bytes(block))
    return size


def _too_large(limit: int) -> FetchFailed:
    return FetchFailed("clip-too-large", f"the file is larger than the {limit} bytes that are accepted")
