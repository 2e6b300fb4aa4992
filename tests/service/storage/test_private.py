from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.storage.database import Database
from service.storage.folder import DataFolder
from service.storage.private import make_private
from service.storage.writing import atomic_write


def rights(root: Path) -> dict[str, int]:
    paths = [root, *root.rglob("*")]
    return {str(path.relative_to(root)): path.lstat().st_mode & 0o777 for path in paths if not path.is_symlink()}


def assert_private(root: Path) -> None:
    for name, mode in rights(root).items():
        assert mode & 0o077 == 0, f"{name} has {mode:o}"


@pytest.fixture(params=[0o000, 0o002, 0o022, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_nobody_else_reads_what_is_written_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    root = tmp_path / "data"
    folder = DataFolder.open(root)
    database = Database.open(f"sqlite:///{root / 'daflow.db'}")
    folder.instance()
    folder.upload("clip").write_bytes(b"video")
    folder.adopt("clip")
    with atomic_write(folder.result("clip")) as stream:
        stream.write(b"{}")
    folder.evidence.make_room("incident")
    folder.evidence.file("incident", "snapshot").write_bytes(b"picture")
    assert (root / "daflow.db-wal").exists()
    assert_private(root)
    database.close()
    folder.close()


def test_what_an_older_version_left_open_is_closed_at_the_start(umask: int, tmp_path: Path) -> None:
    root, outside = tmp_path / "data", tmp_path / "outside"
    (root / "incidents" / "old").mkdir(parents=True)
    for path in (root / "incidents" / "old" / "clip.mp4", root / "instance", outside):
        path.write_bytes(b"x")
        path.chmod(0o644)
    for path in (root, root / "incidents", root / "incidents" / "old"):
        path.chmod(0o755)
    (root / "link").symlink_to(outside)
    DataFolder.open(root).close()
    assert_private(root)
    assert outside.stat().st_mode & 0o777 == 0o644


def test_a_database_elsewhere_is_private_too(umask: int, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    sqlite3.connect(path).execute("CREATE TABLE t (x)").connection.close()
    path.chmod(0o666)
    database = Database.open(f"sqlite:///{path}")
    assert_private_files = [found for found in tmp_path.iterdir() if found.stat().st_mode & 0o077]
    assert assert_private_files == []
    database.close()


def test_what_is_gone_is_no_error(tmp_path: Path) -> None:
    make_private(tmp_path / "gone")
