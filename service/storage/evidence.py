"""Snapshots and clips of incidents on disk."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from service.storage.writing import remove_unknown, size_of

EvidenceKind = Literal["snapshot", "clip"]
EVIDENCE_KINDS: Final[tuple[EvidenceKind, ...]] = ("snapshot", "clip")
_EVIDENCE_SUFFIX: Final[dict[EvidenceKind, str]] = {"snapshot": ".jpg", "clip": ".mp4"}


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
        return size_of(self._folder(incident_id))

    def remove_orphans(self, known: Collection[str]) -> list[str]:
        """Remove evidence of incidents that the store does not know, and what was not finished.

        Args:
            known: Ids of the incidents in the store.

        Returns:
            The names removed.
        """
        return remove_unknown(self.root, known)

    def _folder(self, incident_id: str) -> Path:
        return self.root / incident_id
