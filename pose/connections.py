"""Network connections to cameras, made here and then handed to FFmpeg.

FFmpeg follows redirects of RTSP servers, cannot check the certificate of a host whose address was resolved before, and
cannot be interrupted. So the connection is made here, to one address that was checked: `pose.relay` carries FFmpeg's
RTSP session over it, and `HttpBody` gives FFmpeg a file to read. Both can be aborted from any thread.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Final

from pose.challenges import Challenged
from pose.live import SourceError

_CHUNK: Final = 1 << 16
_BACKLOG: Final = 1 << 18
"""Bytes that may wait for a reader that is behind; beyond them the camera has to drop pictures. Linux doubles it."""

_USER_AGENT: Final = "daflow"
_PEEKED: Final = 2

MOVED: Final = "the camera sends us to another address; give that one if it is wanted"
UNKNOWN_CHALLENGE: Final = "the camera asks for a kind of authentication that is not supported"


@dataclass(frozen=True, slots=True)
class PinnedUrl:
    """A stream and the one address to connect to.

    Attributes:
        scheme: ``rtsp``, ``rtsps``, ``http`` or ``https``.
        host: The host's name, for certificates and the ``Host`` header.
        address: The literal address to connect to.
        port: The port.
        target: Path and query.
        user: User name.
        password: Password.

    Example:
        >>> PinnedUrl("rtsp", "camera.example", "192.0.2.7", 554, "/live", user="viewer", password="secret")
        PinnedUrl(rtsp://camera.example:554 at 192.0.2.7)
    """

    scheme: str
    host: str
    address: str
    port: int
    target: str
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"PinnedUrl({self.scheme}://{self.host}:{self.port} at {self.address})"


class Link:
    """A TCP connection that any thread may abort.

    Args:
        url: Where to.
        timeout_s: Longest wait for each step.

    Raises:
        SourceError: The connection could not be made.

    Example:
        >>> Link(PinnedUrl("rtsp", "camera.example", "127.0.0.1", 1, "/live"), timeout_s=2.0)
        Traceback (most recent call last):
        pose.live.SourceError: the camera refuses the connection: nothing listens at the port
    """

    def __init__(self, url: PinnedUrl, timeout_s: float) -> None:
        self._url = url
        self.socket = socket.socket(socket.AF_INET6 if ":" in url.address else socket.AF_INET)
        try:
            with connection_errors():
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BACKLOG)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.socket.settimeout(timeout_s)
                self.socket.connect((url.address, url.port))
                # A second handle on the connection: TLS takes over the first, and an abort must not race with its
                # reader.
                self._handle = self.socket.dup()
        except SourceError:
            self.socket.close()
            raise

    def secure(self, *, verify_tls: bool) -> None:
        """Use TLS from here on, if the scheme asks for it.

        Raises:
            SourceError: The camera does not use TLS, or its certificate is not that of the host.
        """
        if self._url.scheme not in ("rtsps", "https"):
            return
        context = ssl.create_default_context()
        if not verify_tls:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        with connection_errors():
            self.socket = context.wrap_socket(self.socket, server_hostname=self._url.host)

    def abort(self) -> None:
        """End the connection; a thread that waits for it wakes up."""
        with contextlib.suppress(OSError):
            self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Free both handles; not while another thread reads."""
        self.socket.close()
        self._handle.close()


@contextlib.contextmanager
def connection_errors() -> Iterator[None]:
    """Turn errors of the system and of the peer into a `SourceError`."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise SourceError("tls", f"the camera's certificate is not trusted: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise SourceError("tls", f"the camera does not speak TLS as expected: {error.reason}") from error
    except TimeoutError as error:
        raise SourceError("timeout", "the camera does not answer") from error
    except ConnectionRefusedError as error:
        raise SourceError("refused", "the camera refuses the connection: nothing listens at the port") from error
    except (ConnectionResetError, BrokenPipeError) as error:
        raise SourceError("ended", "the camera has closed the connection") from error
    except HTTPException as error:
        raise SourceError("not-a-video", f"the camera's answer is not HTTP ({type(error).__name__})") from error
    except OSError as error:
        raise SourceError("unreachable", f"the camera cannot be reached: {error.strerror}") from error


class HttpBody:
    """The body of a camera's answer to GET, for FFmpeg to read.

    Redirects are not followed. Basic and digest authentication are done when the camera asks for them.

    Args:
        url: What to get.
        timeout_s: Longest wait for each step of the connection.
        verify_tls: Check the certificate of ``https``.

    Example:
        >>> body = HttpBody(PinnedUrl("http", "camera.example", "127.0.0.1", 1, "/live.mjpg"), 2.0, verify_tls=True)
        >>> body.open()
        Traceback (most recent call last):
        pose.live.SourceError: the camera refuses the connection: nothing listens at the port
    """

    def __init__(self, url: PinnedUrl, timeout_s: float, *, verify_tls: bool) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._verify_tls = verify_tls
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._aborted = False
        self._response: HTTPResponse | None = None
        self._peeked = b""

    def open(self) -> None:
        """Ask for the stream.

        Raises:
            SourceError: There is no connection, or the answer is not a stream.
        """
        response = self._response = self._ask(None)
        if response.status == 401 and self._url.user is not None:
            challenged = Challenged(self._url.user, self._url.password or "")
            if not challenged.hear(response.headers.get_all("WWW-Authenticate", [])):
                raise SourceError("unauthorised", UNKNOWN_CHALLENGE)
            authorization = challenged.authorization("GET", self._url.target)
            self.close()
            response = self._response = self._ask(authorization)
        problem = _refusal(response.status)
        if problem is not None:
            raise problem
        if self.content_type.startswith("image/") and response.length is not None:
            raise SourceError("not-a-video", "the address gives a single picture, and a stream is needed")

    @property
    def content_type(self) -> str:
        """The header of the answer; empty if there is none."""
        return "" if self._response is None else self._response.headers.get("Content-Type", "").strip().lower()

    def peek(self) -> bytes:
        """The first bytes of the body that are not white space, with those before them; `read` gives them again."""
        while len(self._peeked.lstrip()) < _PEEKED and (more := self._receive(_CHUNK)):
            self._peeked += more
        return self._peeked

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes; waits until there are some; empty at the end."""
        if self._peeked:
            data, self._peeked = self._peeked[:size], self._peeked[size:]
            return data
        return self._receive(size)

    def _receive(self, size: int) -> bytes:
        assert self._response is not None, "read before open"  # noqa: S101 - the order of calls is ours
        with connection_errors():
            return self._response.read1(size)

    def abort(self) -> None:
        """End the connection, from any thread."""
        with self._lock:
            self._aborted = True
            if self._link is not None:
                self._link.abort()

    def close(self) -> None:
        """Free the connection; not while another thread reads."""
        with self._lock:
            link, self._link = self._link, None
        if self._response is not None:
            self._response.close()
        if link is not None:
            link.close()

    def _ask(self, authorization: str | None) -> HTTPResponse:
        link = Link(self._url, self._timeout_s)
        with self._lock:
            self._link = link
            if self._aborted:
                link.abort()
        link.secure(verify_tls=self._verify_tls)
        connection = HTTPConnection(self._url.host, self._url.port)
        connection.default_port = 443 if self._url.scheme == "https" else 80
        connection.sock = link.socket
        headers = {"User-Agent": _USER_AGENT, "Accept": "*/*", "Connection": "close"}
        if authorization is not None:
            headers["Authorization"] = authorization
        with connection_errors():
            connection.request("GET", self._url.target, headers=headers)
            response = connection.getresponse()
        # Silence in the stream is for the watchdog, which knows when the camera is late.
        link.socket.settimeout(None)
        return response


def _refusal(status: int) -> SourceError | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return SourceError("redirect", MOVED)
    if status in (401, 403):
        return SourceError("unauthorised", f"the camera refuses the user name and password ({status})")
    if status in (404, 410):
        return SourceError("not-found", f"the camera has no stream under this path ({status})")
    return SourceError("rejected", f"the camera answers with status {status}")
