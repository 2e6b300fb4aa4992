"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, Final

_PART: Final = ".part"


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; what lies there takes its place in the end, and survives a power cut then.

    Raises:
        OSError: The disk is full or the folder is gone; `target` is untouched.
    """
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex}{_PART}")
    try:
        yield part
        _sync(part)
        part.replace(target)
        _sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_write(target: Path) -> Iterator[IO[bytes]]:
    """Write `target` whole or not at all, as `replacing` does."""
    with replacing(target) as part, part.open("xb") as stream:
        yield stream


def is_storage_full(error: OSError) -> bool:
    """Whether a write failed for want of room: a full disk, a quota or a file size limit."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder; 0 if there is no such folder."""
    total = 0
    # Files come and go while they are looked at: a folder being removed, a file being finished.
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
    return total


def remove_unknown(root: Path, known: Collection[str]) -> list[str]:
    """Remove what is in a folder under an unknown name, and unfinished files one folder below.

    Returns:
        The names removed.
    """
    removed = remove_all(path for path in root.iterdir() if path.name not in known)
    return [*removed, *remove_all(root.glob(f"*/*{_PART}"))]


def remove_all(paths: Iterable[Path]) -> list[str]:
    """Remove files, and folders with everything in them.

    Returns:
        The names removed.
    """
    removed = []
    for path in [*paths]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        removed.append(path.name)
    return removed
