"""The data folder: its lock and its layout.

```
data/
  daflow.lock          held by the one process that owns the folder
  camera.key           encrypts addresses of cameras in the database, unless DAFLOW_SECRET_KEYS does
  first-key            the first admin key, if it could not be shown on a terminal
  instance             name of the process that owns the folder, the same after every start
  daflow.db            SQLite, unless DAFLOW_DATABASE_URL says otherwise
  uploads/<id>         a clip that is being uploaded
  clips/<id>/source    the clip as uploaded
             result.json
             scores.csv, timeline.png, annotated.mp4   made on demand
  incidents/<id>/snapshot.jpg, clip.mp4                         evidence of an incident
                 snapshot-skeletons.jpg, clip-skeletons.mp4     the same without the camera's picture
```

Only the user of the service can read any of it.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Final, Self

from filelock import FileLock, Timeout

from service.errors import StartupError
from service.storage.evidence import EvidenceStore
from service.storage.private import create_private_files, make_private
from service.storage.writing import atomic_write, remove_all, remove_unknown, size_of

SOURCE: Final = "source"
RESULT: Final = "result.json"


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
        """Create the folder if needed, and take its lock.

        Raises:
            StartupError: Another process has the lock, or the folder cannot be written.
        """
        root = root.resolve()
        create_private_files()
        try:
            root.mkdir(parents=True, exist_ok=True)
            make_private(root)
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
        """Open a folder that another process may own; it is created if needed, and not locked.

        Raises:
            StartupError: The folder cannot be created.
        """
        root = root.resolve()
        create_private_files()
        try:
            (root / "incidents").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartupError(
                f"data folder {root} cannot be used: {error.strerror or error}; set DAFLOW_DATA_DIR"
            ) from error
        return cls(root, FileLock(root / "daflow.lock", is_singleton=False))

    def instance(self) -> str:
        """Name of the process that owns the folder; it stays the same after a restart.

        Raises:
            StartupError: The name cannot be stored or read.
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
        """Release the lock."""
        self._lock.release()

    def upload(self, clip_id: str) -> Path:
        """Path to which a clip is written during the upload."""
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
        """Move a complete upload into the folder of its clip."""
        self.clip(clip_id).mkdir()
        self.upload(clip_id).rename(self.source(clip_id))

    def discard(self, clip_id: str) -> None:
        """Remove all files of a clip, including an unfinished upload, if there are any."""
        self.upload(clip_id).unlink(missing_ok=True)
        shutil.rmtree(self.clip(clip_id), ignore_errors=True)

    def remove_orphans(self, known: Collection[str]) -> list[str]:
        """Remove unfinished uploads, and clips that are not in the database.

        Args:
            known: Ids of the clips in the database.

        Returns:
            The names of what was removed.
        """
        return [*remove_all(self.uploads.iterdir()), *remove_unknown(self.clips, known)]

    def remove_abandoned(self, known: Collection[str], older_than_s: float) -> list[str]:
        """Remove clips that are not in the database although the service has run on since they were stored.

        Such a clip is left if the database is lost while its row is written or deleted.

        Args:
            known: Ids of the clips in the database.
            older_than_s: Only what was stored longer ago than this, in seconds; the row of a new clip is yet to come.

        Returns:
            The names removed.
        """
        limit = time.time() - older_than_s
        unknown = [path for path in self.clips.iterdir() if path.name not in known]
        return remove_all(path for path in unknown if path.stat().st_mtime < limit)

    def size(self, clip_id: str) -> int:
        """Size of a clip and of all files made from it, in bytes."""
        return size_of(self.clip(clip_id))

    def check_writable(self) -> None:
        """Write and remove a small file.

        Raises:
            OSError: The folder cannot be written.
        """
        probe = self.uploads / f"probe-{uuid.uuid4().hex}"
        try:
            probe.write_bytes(b"\0")
        finally:
            probe.unlink(missing_ok=True)
