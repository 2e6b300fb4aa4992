from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pose.source import VideoInfo
from service.files import DataFolder
from service.retention import Janitor, RetentionPolicy, StoredClip, to_remove
from service.storage import Store

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def stored(name: str, hours_ago: float, size: int = 10) -> StoredClip:
    return StoredClip(name, NOW - hours_ago * HOUR, size)


@pytest.mark.parametrize(
    ("clips", "unfinished", "removed"),
    [
        ([], 0, []),
        ([stored("new", 1), stored("newer", 0.5)], 0, []),
        ([stored("old", 24), stored("new", 1)], 0, ["old"]),
        ([stored("a", 3, 60), stored("b", 2, 30), stored("c", 1, 30)], 0, ["a"]),
        ([stored("c", 1, 60), stored("a", 3, 60), stored("b", 2, 60)], 0, ["a", "b"]),
        ([stored("a", 3, 40)], 70, ["a"]),
        ([stored("a", 3, 40)], 200, ["a"]),
        ([stored("old", 30, 90), stored("new", 1, 90)], 0, ["old"]),
    ],
)
def test_what_is_too_old_goes_and_then_the_oldest_until_the_rest_fits(
    clips: list[StoredClip], unfinished: int, removed: list[str]
) -> None:
    policy = RetentionPolicy(max_age=24 * HOUR, max_bytes=100)
    assert to_remove(policy, clips, unfinished, NOW) == removed


def test_a_sweep_removes_rows_and_files_and_spares_what_is_not_finished(tmp_path: Path) -> None:
    time = [NOW]
    folder = DataFolder.open(tmp_path)
    store = Store.open(f"sqlite:///{tmp_path / 'daflow.db'}", clock=lambda: time[0])
    janitor = Janitor(store, folder, RetentionPolicy(24 * HOUR, 100), clock=lambda: time[0])
    for name in ("done", "later", "waiting"):
        folder.clip(name).mkdir()
        folder.source(name).write_bytes(bytes(40))
        store.enqueue(
            name,
            filename=None,
            size_bytes=40,
            keypoints=True,
            video=VideoInfo(1, 1.0, 1, 1, 1.0, "mp4", "h264"),
            limit=9,
        )
    for name in ("done", "later"):
        store.claim()
        store.finish(name, frames=1)
        time[0] += HOUR
    assert janitor.sweep() == ["done"]
    assert janitor.sweep() == []
    time[0] += 30 * HOUR
    assert janitor.sweep() == ["later"]
    assert store.ids() == {"waiting"}
    assert [path.name for path in folder.clips.iterdir()] == ["waiting"]
    store.close()
    folder.close()
