"""Keeps files from other users of the machine, whatever the umask of the process was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import structlog

_OTHERS: Final = 0o077

log = structlog.get_logger(__name__)


def create_private_files() -> None:
    """From now on, only this user can read the files and enter the folders that the process creates."""
    os.umask(_OTHERS)


def make_private(root: Path) -> None:
    """Take all rights of other users away from a file, or from a folder and everything in it.

    Links are left alone, because they may lead out of the folder. What belongs to somebody else is logged.
    """
    _close(root)
    if root.is_dir():
        for folder, folders, files in os.walk(root):
            for name in (*folders, *files):
                _close(Path(folder, name))


def _close(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
        if mode & _OTHERS and not path.is_symlink():
            path.chmod(mode & ~_OTHERS & 0o7777)
    except FileNotFoundError:
        # Files come and go meanwhile.
        pass
    except PermissionError:
        log.warning("other users may read this, and it belongs to somebody else", path=str(path))
