"""The data folder: who owns it, what lies where, and writes that are either whole or not there.

```
data/
  daflow.lock          held by the one process that owns the folder
  instance             name of the process that owns the folder, the same after every start
  daflow.db            SQLite, unless DAFLOW_DATABASE_URL says otherwise
  uploads/<id>         a clip on its way in
  clips/<id>/source    the clip as uploaded
             result.json
             scores.csv, timeline.png, annotated.mp4   made on demand
  incidents/<id>/snapshot.jpg, clip.mp4                         evidence of an incident
                 snapshot-skeletons.jpg, clip-skeletons.mp4     the same without the camera's picture
```
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, Literal, Self

from filelock import FileLock, Timeout

SOURCE: Final = "source"
RESULT: Final = "result.json"

_PART: Final = ".part"

EvidenceKind = Literal["snapshot", "clip"]
EVIDENCE_KINDS: Final[tuple[EvidenceKind, ...]] = ("snapshot", "clip")

_EVIDENCE_SUFFIX: Final[dict[EvidenceKind, str]] = {"snapshot": ".jpg", "clip": ".mp4"}


class StartupError(Exception):
    """The service cannot start; the message is one line for people."""


class StorageFull(Exception):
    """There is no room left to store something.

    Attributes:
        cause: A stable slug.
    """

    cause = "storage-full"

    def __init__(self, what: str) -> None:
        super().__init__(f"there is no room left to store {what}")


class DataFolder:
    """A locked data folder. Open one with `DataFolder.open` and close it when done."""

    def __init__(self, root: Path, lock: FileLock) -> None:
        self.root = root
        self.uploads = root / "uploads"
        self.clips = root / "clips"
        self.cameras = root / "cameras"
        self.evidence = EvidenceStore(root / "incidents")
        self._lock = lock

    @classmethod
    def open(cls, root: Path) -> Self:
        """Create the folder where needed and take its lock.

        Raises:
            StartupError: Another process owns it, or it cannot be written.
        """
        root = root.resolve()
        try:
            root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(root / "daflow.lock", timeout=0, is_singleton=False)
            lock.acquire()
            folder = cls(root, lock)
            folder.uploads.mkdir(exist_ok=True)
            folder.clips.mkdir(exist_ok=True)
            folder.cameras.mkdir(exist_ok=True)
            folder.evidence.root.mkdir(exist_ok=True)
        except Timeout as error:
            raise StartupError(
                f"data folder {root} is in use by another daflow process; stop it or set DAFLOW_DATA_DIR"
            ) from error
        except OSError as error:
            raise StartupError(
                f"data folder {root} cannot be used: {error.strerror or error}; set DAFLOW_DATA_DIR"
            ) from error
        return folder

    @classmethod
    def share(cls, root: Path) -> Self:
        """Look into a folder that another process may own; it is created where needed, and not locked.

        Raises:
            StartupError: It cannot be created.
        """
        root = root.resolve()
        try:
            (root / "incidents").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartupError(
                f"data folder {root} cannot be used: {error.strerror or error}; set DAFLOW_DATA_DIR"
            ) from error
        return cls(root, FileLock(root / "daflow.lock", is_singleton=False))

    def instance(self) -> str:
        """A name for the process that owns the folder, which stays the same when it starts again.

        Raises:
            StartupError: It cannot be written down.
        """
        path = self.root / "instance"
        try:
            if not path.exists():
                with atomic_write(path) as stream:
                    stream.write(uuid.uuid4().hex.encode())
            return path.read_text(encoding="ascii")
        except OSError as error:
            raise StartupError(f"{path} cannot be used: {error.strerror or error}; set DAFLOW_DATA_DIR") from error

    def close(self) -> None:
        """Give up the lock."""
        self._lock.release()

    def upload(self, clip_id: str) -> Path:
        """Where a clip is written while it arrives."""
        return self.uploads / clip_id

    def clip(self, clip_id: str) -> Path:
        """The folder of one clip."""
        return self.clips / clip_id

    def source(self, clip_id: str) -> Path:
        """The clip as it was uploaded."""
        return self.clip(clip_id) / SOURCE

    def result(self, clip_id: str) -> Path:
        """The scores as JSON."""
        return self.clip(clip_id) / RESULT

    def adopt(self, clip_id: str) -> None:
        """Turn a complete upload into a clip."""
        self.clip(clip_id).mkdir()
        self.upload(clip_id).rename(self.source(clip_id))

    def discard(self, clip_id: str) -> None:
        """Remove every file of a clip, finished or on its way in; nothing to remove is fine."""
        self.upload(clip_id).unlink(missing_ok=True)
        shutil.rmtree(self.clip(clip_id), ignore_errors=True)

    def remove_orphans(self, known: Collection[str]) -> list[str]:
        """Remove uploads cut short and clips that the store does not know.

        Args:
            known: Ids of the clips in the store.

        Returns:
            The names removed.
        """
        return [*_clear(self.uploads.iterdir()), *_remove_unknown(self.clips, known)]

    def size(self, clip_id: str) -> int:
        """Bytes that a clip and everything made from it take."""
        return _size(self.clip(clip_id))

    def check_writable(self) -> None:
        """Write and remove a small file.

        Raises:
            OSError: That failed, with the reason.
        """
        probe = self.uploads / f"probe-{uuid.uuid4().hex}"
        try:
            probe.write_bytes(b"\0")
        finally:
            probe.unlink(missing_ok=True)


class EvidenceStore:
    """Pictures and videos of incidents, a folder for each incident that has any.

    Args:
        root: Where the folders are; it has to exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def file(self, incident_id: str, kind: EvidenceKind, *, background: bool = True) -> Path:
        """Where a piece of evidence lies when it is there.

        Args:
            incident_id: The incident.
            kind: Picture of the peak or video.
            background: The one with the camera's picture; otherwise the one with skeletons on a plain ground.
        """
        name = kind if background else f"{kind}-skeletons"
        return self._folder(incident_id) / (name + _EVIDENCE_SUFFIX[kind])

    def has(self, incident_id: str, kind: EvidenceKind) -> bool:
        """Whether a piece of evidence is there; the version with skeletons only is written last, and always."""
        return self.file(incident_id, kind, background=False).exists()

    def make_room(self, incident_id: str) -> None:
        """Create the folder of an incident; once more does nothing."""
        self._folder(incident_id).mkdir(exist_ok=True)

    def discard(self, incident_id: str) -> None:
        """Remove all evidence of an incident; nothing to remove is fine."""
        shutil.rmtree(self._folder(incident_id), ignore_errors=True)

    def discard_kind(self, incident_id: str, kind: EvidenceKind) -> None:
        """Remove one piece of evidence in both versions; nothing to remove is fine."""
        for background in (True, False):
            self.file(incident_id, kind, background=background).unlink(missing_ok=True)

    def ids(self) -> set[str]:
        """Incidents that have a folder."""
        return {path.name for path in self.root.iterdir()}

    def written_at(self, incident_id: str) -> datetime:
        """When a file of an incident was last added; long ago if there is none any more."""
        try:
            seconds = self._folder(incident_id).stat().st_mtime
        except FileNotFoundError:
            seconds = 0.0
        return datetime.fromtimestamp(seconds, UTC)

    def size(self, incident_id: str) -> int:
        """Bytes that the evidence of an incident takes."""
        return _size(self._folder(incident_id))

    def remove_orphans(self, known: Collection[str]) -> list[str]:
        """Remove evidence of incidents that the store does not know, and what was not finished.

        Args:
            known: Ids of the incidents in the store.

        Returns:
            The names removed.
        """
        return _remove_unknown(self.root, known)

    def _folder(self, incident_id: str) -> Path:
        return self.root / incident_id


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


def _size(folder: Path) -> int:
    total = 0
    # Files come and go while they are looked at: a folder being removed, a file being finished.
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
    return total


def _remove_unknown(root: Path, known: Collection[str]) -> list[str]:
    removed = _clear(path for path in root.iterdir() if path.name not in known)
    return [*removed, *_clear(root.glob(f"*/*{_PART}"))]


def _clear(paths: Iterable[Path]) -> list[str]:
    removed = []
    for path in [*paths]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        removed.append(path.name)
    return removed
