"""Finds the file in the body of a request: the body itself, or the field ``file`` of a multipart form."""

from __future__ import annotations

import contextlib
import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Final, Protocol
from urllib.parse import unquote_to_bytes

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from service.clips.refusals import MalformedUpload

_MAX_PARTS: Final = 100
"""Most fields of a form; each costs time whatever its size."""

_MAX_FILENAME: Final = 255
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.?)*(?:"|\Z)')
_EXTENDED_FILENAME: Final = re.compile(
    r";\s*filename\*\s*=\s*(?P<charset>utf-8|iso-8859-1)'[^';]*'(?P<name>[^\s;\"]*)", re.IGNORECASE
)


class Body(Protocol):
    """Reads a body chunk by chunk.

    Attributes:
        filename: Name of the file from the client, once it is known; untrusted text.
    """

    filename: str | None

    async def feed(self, chunk: bytes) -> bytes:
        """Parse the next chunk and return the bytes of the clip in it."""

    def finish(self) -> None:
        """Raise `MalformedUpload` or `FormParserError` if the body is incomplete."""


class RawBody:
    """A body that is the file itself.

    Args:
        disposition: Value of the header ``Content-Disposition``.
    """

    def __init__(self, disposition: str | None) -> None:
        self.filename = _disposition_filename(disposition)

    async def feed(self, chunk: bytes) -> bytes:
        """The chunk itself."""
        return chunk

    def finish(self) -> None:
        """Nothing can be missing."""


class MultipartBody:
    """Finds the field ``file`` in a form; other fields are ignored.

    Args:
        boundary: What separates the parts of the form.
    """

    def __init__(self, boundary: bytes) -> None:
        self.filename: str | None = None
        self._found = False
        self._inside = False
        self._complete = False
        self._parts = 0
        self._name = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._data = bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._take,
                "on_end": self._end,
            },
        )

    async def feed(self, chunk: bytes) -> bytes:
        """The bytes of the file in a chunk; raises `MalformedUpload` or `FormParserError`."""
        # Not on the event loop: a chunk of many small parts takes long.
        return await run_in_threadpool(self._parse, chunk)

    def _parse(self, chunk: bytes) -> bytes:
        self._data.clear()
        if chunk:
            self._parser.write(chunk)
        return bytes(self._data)

    def finish(self) -> None:
        """Raise `MalformedUpload` or `FormParserError` if the form is incomplete."""
        self._parser.finalize()
        if not self._complete:
            raise MalformedUpload("the multipart form ends in the middle")
        if not self._found:
            raise MalformedUpload("the multipart form has no field named 'file'")

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise MalformedUpload(f"the multipart form has more than {_MAX_PARTS} fields")
        self._inside = False
        self._disposition = b""

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        if _option(self._disposition, b"name") == "file":
            if self._found:
                raise MalformedUpload("the multipart form has more than one field named 'file'")
            self._found = self._inside = True
            self.filename = _option(self._disposition, b"filename")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self._data += data[start:end]

    def _end(self) -> None:
        self._complete = True


def body_of(request: Request) -> Body:
    """A reader for the body of a request.

    Raises:
        MalformedUpload: The headers announce a form and name no boundary.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        return RawBody(request.headers.get("content-disposition"))
    if not options.get(b"boundary"):
        raise MalformedUpload("the multipart form names no boundary")
    try:
        return MultipartBody(options[b"boundary"])
    except FormParserError as error:
        raise MalformedUpload(f"the multipart form cannot be read: {error}") from error


def _option(header: bytes, name: bytes) -> str | None:
    # The parser does not decode the value.
    value = parse_options_header(header)[1].get(name)
    return value.decode("utf-8", "replace") if value is not None else None


def _disposition_filename(header: str | None) -> str | None:
    """The name in the header of a raw body: RFC 6266's ``filename*``, or ``filename`` in UTF-8 or Latin-1."""
    if header is None:
        return None
    # HTTP headers are bytes that arrive here as Latin-1.
    octets = header.encode("latin-1")
    extended = _EXTENDED_FILENAME.search(_QUOTED.sub('""', header))
    with contextlib.suppress(LookupError, UnicodeDecodeError):
        if extended is not None:
            return unquote_to_bytes(extended["name"]).decode(extended["charset"])
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        octets = header.encode("utf-8")
    return _option(octets, b"filename")


def safe_filename(name: str | None) -> str | None:
    """A name from elsewhere, without folders and control characters; None if nothing is left."""
    if not name:
        return None
    base = PureWindowsPath(PurePosixPath(name).name).name
    return "".join(character for character in base if character.isprintable())[:_MAX_FILENAME] or None
