"""Removes the pictures from the evidence of a camera's incidents, and leaves the skeletons."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from service.incidents.log import IncidentLog
from service.incidents.recorder import EvidenceRecorder
from service.incidents.store import IncidentStore
from service.storage.evidence import EvidenceStore

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RemovedPictures:
    """What was removed.

    Attributes:
        incidents: Incidents that lost pictures, those that are being recorded included.
        files: Files that were removed.
        bytes: Their size.
    """

    incidents: int
    files: int
    bytes: int


class PictureRemoval:
    """Removes pictures that are stored with incidents.

    The removal is first noted in the database, and then the files go. So after a crash in between, no incident shows
    its pictures, and `finish` removes the files that are left.

    Args:
        store: The incidents in the database.
        log: Notes the removal and publishes it.
        recorder: Records the evidence of incidents that are not over.
        evidence: Pictures and videos on disk.
    """

    def __init__(
        self, store: IncidentStore, log: IncidentLog, recorder: EvidenceRecorder, evidence: EvidenceStore
    ) -> None:
        self._store = store
        self._log = log
        self._recorder = recorder
        self._evidence = evidence

    def remove(self, camera_id: str) -> RemovedPictures:
        """Remove every picture of a camera that was taken until now; without pictures, nothing changes.

        Raises:
            SQLAlchemyError: The database cannot be used.
            OSError: A file cannot be removed; no incident shows it, and the next call tries again.
        """
        # Read first: an incident that starts after the recorder has dropped its pictures shows only later ones.
        known = self._store.ids(camera_id)
        recorded = self._recorder.drop_pictures(camera_id)
        for incident_id in recorded:
            self._log.pictures_removed(incident_id)
        affected = recorded | {incident_id for incident_id in known if self._evidence.pictures(incident_id)}
        self._log.remove_pictures(affected)
        sizes = [size for incident_id in sorted(affected) for size in self._evidence.discard_pictures(incident_id)]
        log.info("pictures removed", camera=camera_id, incidents=len(affected), files=len(sizes), bytes=sum(sizes))
        return RemovedPictures(len(affected), len(sizes), sum(sizes))

    def finish(self) -> None:
        """Remove what a crash has left of earlier removals.

        Raises:
            SQLAlchemyError: The database cannot be used.
            OSError: A file cannot be removed.
        """
        for incident_id in self._store.ids(pictures_removed=True):
            if self._evidence.discard_pictures(incident_id):
                log.warning("removed pictures that were to be removed before the last end", incident=incident_id)
