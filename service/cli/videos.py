"""Videos that a command is given: a file, or an address that is fetched first."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from rich.markup import escape

from service.cli.console import err, one_line_for

if TYPE_CHECKING:
    from service.settings import Settings


def is_address(video: str) -> bool:
    """Whether a video is to be fetched from the web."""
    return video.lower().startswith(("http://", "https://"))


@contextmanager
def local_video(video: str, settings: Settings) -> Iterator[Path]:
    """The file of a video; one that is fetched is removed at the end.

    It is fetched by the rules of the service: only from addresses that it may connect to, and with its limit of bytes.
    What is wrong with an address ends the command with one line.

    Args:
        video: Path or address.
        settings: The configuration.
    """
    if not is_address(video):
        yield Path(video)
        return

    from service.addresses.policy import StreamPolicy
    from service.addresses.urls import StreamUrlError
    from service.clips.download import FetchFailed, clip_address, download
    from service.clips.forms import safe_filename
    from service.errors import StorageFull

    with tempfile.TemporaryDirectory(prefix="daflow-") as folder:
        with one_line_for(StreamUrlError, FetchFailed, StorageFull, OSError):
            address = clip_address(video)
            err.print(f"fetching {escape(address.redacted)}", soft_wrap=True, highlight=False)
            name = safe_filename(unquote(address.target.partition("?")[0]))
            file = Path(folder) / (name if name not in (None, ".", "..") else "video")
            policy = StreamPolicy(settings.allowed_stream_cidrs)
            asyncio.run(download(address, file, policy, settings.max_clip_bytes))
        yield file
