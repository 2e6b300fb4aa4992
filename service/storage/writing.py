"""Files that are written whole or not at all, and the removal of what was left unfinished."""

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
    """Yield a temporary path beside `target`; at the end, its file replaces `target` and is synced to disk.

    Raises:
        OSError: The disk is full or the folder does not exist; `target` is unchanged.
    """
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex}{_PART}")
    try:
        yield part
        sync(part)
        part.replace(target)
        sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_write(target: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that replaces `target` at the end, as in `replacing`; only this user can read it."""
    with replacing(target) as part, open(part, "xb", opener=_open_private) as stream:
        yield stream


def sync(path: Path) -> None:
    """Write a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_storage_full(error: OSError) -> bool:
    """Whether a write failed because there is no room: a full disk, a quota, or a limit of file sizes."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def size_of(folder: Path) -> int:
    """Size of the files in a folder, in bytes; 0 if the folder does not exist."""
    total = 0
    # Files may be removed or renamed meanwhile.
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


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
