"""Snapshots and clips of incidents on disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from service.storage.writing import remove_unknown, size_of, sync

EvidenceKind = Literal["snapshot", "clip"]
EVIDENCE_KINDS: Final[tuple[EvidenceKind, ...]] = ("snapshot", "clip")
_EVIDENCE_SUFFIX: Final[dict[EvidenceKind, str]] = {"snapshot": ".jpg", "clip": ".mp4"}


class EvidenceStore:
    """Pictures and videos of incidents, in one folder for each incident.

    Args:
        root: Parent of these folders; it must exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def file(self, incident_id: str, kind: EvidenceKind, *, background: bool = True) -> Path:
        """Path of a piece of evidence, whether it exists or not.

        Args:
            incident_id: The incident.
            kind: Picture of the peak, or video.
            background: Whether it shows the camera's picture; otherwise it shows skeletons on a plain background.
        """
        name = kind if background else f"{kind}-skeletons"
        return self._folder(incident_id) / (name + _EVIDENCE_SUFFIX[kind])

    def has(self, incident_id: str, kind: EvidenceKind) -> bool:
        """Whether a piece of evidence is complete: the version with skeletons is always written, and written last."""
        return self.file(incident_id, kind, background=False).exists()

    def make_room(self, incident_id: str) -> None:
        """Create the folder of an incident; does nothing if it exists."""
        self._folder(incident_id).mkdir(exist_ok=True)

    def discard(self, incident_id: str) -> None:
        """Remove all evidence of an incident, if there is any."""
        shutil.rmtree(self._folder(incident_id), ignore_errors=True)

    def discard_kind(self, incident_id: str, kind: EvidenceKind) -> None:
        """Remove both versions of one piece of evidence, if they exist."""
        for background in (True, False):
            self.file(incident_id, kind, background=background).unlink(missing_ok=True)

    def pictures(self, incident_id: str) -> list[Path]:
        """The files of an incident that show the camera's picture."""
        files = (self.file(incident_id, kind) for kind in EVIDENCE_KINDS)
        return [file for file in files if file.exists()]

    def discard_pictures(self, incident_id: str) -> list[int]:
        """Remove the files that show the camera's picture, so that no loss of power brings them back.

        The folder keeps its time, with which retention judges how old the evidence is.

        Returns:
            The size in bytes of each file that was removed.

        Raises:
            OSError: A file cannot be removed.
        """
        sizes, folder = [], self._folder(incident_id)
        with suppress(FileNotFoundError):
            before = folder.stat()
            for file in self.pictures(incident_id):
                with suppress(FileNotFoundError):
                    size = file.stat().st_size
                    file.unlink()
                    sizes.append(size)
            if sizes:
                os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
                sync(folder)
        return sizes

    def ids(self) -> set[str]:
        """Ids of the incidents that have a folder."""
        return {path.name for path in self.root.iterdir()}

    def written_at(self, incident_id: str) -> datetime:
        """When a file of an incident was last added or removed; 1970 if its folder does not exist."""
        try:
            seconds = self._folder(incident_id).stat().st_mtime
        except FileNotFoundError:
            seconds = 0.0
        return datetime.fromtimestamp(seconds, UTC)

    def size(self, incident_id: str) -> int:
        """Size of the evidence of an incident in bytes."""
        return size_of(self._folder(incident_id))

    def remove_orphans(self, known: Collection[str]) -> list[str]:
        """Remove evidence of incidents that are not in the database, and what was left unfinished.

        A piece of evidence of which only the version with the picture was written is unfinished too.

        Args:
            known: Ids of the incidents in the database.

        Returns:
            The names of what was removed.
        """
        removed = remove_unknown(self.root, known)
        for incident_id in self.ids():
            for kind in EVIDENCE_KINDS:
                if not self.has(incident_id, kind):
                    alone = self.file(incident_id, kind)
                    removed += [f"{incident_id}/{alone.name}"] if alone.exists() else []
                    self.discard_kind(incident_id, kind)
        return removed

    def _folder(self, incident_id: str) -> Path:
        return self.root / incident_id
