"""The recording of one incident: a snapshot and a clip, each with pictures and as skeletons only."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
import structlog

from model.behaviours import Finding, Kind
from service.documents.kinds import most_severe
from service.documents.messages import Score
from service.drawing.live_view import encode_jpeg
from service.drawing.overlay import Image, contributions, draw_live
from service.drawing.video import VideoWriter
from service.errors import StorageFull
from service.storage.evidence import EVIDENCE_KINDS, EvidenceKind, EvidenceStore
from service.storage.writing import atomic_write, is_storage_full, replacing

log = structlog.get_logger(__name__)

Outcome = Literal["ready", "missing"]
Report = Callable[[str, EvidenceKind, Outcome, str | None], None]
"""Called with an incident, the kind of evidence, whether it is ready or missing, and a problem in words."""

_BACKLOG_BYTES: Final = 32 * 1024**2
"""Most bytes of frames that one recording has still to encode; beyond that frames are dropped."""

_SNAPSHOT_S: Final = 1.0
"""Shortest time in seconds between two snapshots of a growing peak."""

_LATE_S: Final = 1.0
"""Seconds that a clip waits for its last frames."""

_FPS: Final = 15.0
"""Frame rate of a clip that begins with a single frame, in frames per second."""

_SNAPSHOT_QUALITY: Final = 92
VERSIONS: Final = (True, False)
"""The two versions of snapshots and clips: with pictures (True), and as skeletons only (False)."""

_NOTHING: Final = "no picture of it was taken"
_CUT_SHORT: Final = "the clip ends before the incident does, because it has reached its longest duration"


Rank = tuple[int, float, float]


def rank_of(score: Score) -> Rank:
    """How well a frame shows an incident, as a tuple to compare: the most severe kind first, then its score.

    Args:
        score: Score of the frame. Without a behaviour that fires, its level counts.
    """
    level = -1.0 if score.level is None else score.level
    best: dict[Kind, float] = {}
    for person in score.people:
        for kind in person.firing:
            best[kind] = max(person.behaviours[kind], best.get(kind, 0.0))
    if not best:
        return 0, level, score.score or 0.0
    kind = most_severe(best)
    return len(Kind) - kind.rank, best[kind], level


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame, kept small.

    Attributes:
        moment: Capture time in seconds on the monotonic clock.
        size: Width and height in pixels, both even.
        jpeg: The picture; None if there is none.
        score: The score message of the frame, as JSON.
        findings: What named behaviours see in the frame.
        rank: See `rank_of`; the frame with the highest rank is the peak.
    """

    moment: float
    size: tuple[int, int]
    jpeg: bytes | None
    score: bytes
    findings: Sequence[Finding]
    rank: Rank

    @property
    def bytes(self) -> int:
        """Bytes of picture and score."""
        return len(self.score) + len(self.jpeg or b"")


class Film:
    """A queue of shots in order of time.

    Attributes:
        shots: The shots.
        bytes: Bytes of all shots.
    """

    def __init__(self) -> None:
        self.shots: deque[Shot] = deque()
        self.bytes = 0

    def append(self, shot: Shot) -> None:
        """Add the newest shot."""
        self.shots.append(shot)
        self.bytes += shot.bytes

    def popleft(self) -> Shot:
        """Remove the oldest shot and return it."""
        shot = self.shots.popleft()
        self.bytes -= shot.bytes
        return shot


class IncidentRecording:
    """Snapshot and clip of one incident; used on the recorder's thread only.

    Args:
        camera_id: Id of the camera.
        incident_id: Id of the incident.
        store: Where the files are written.
        versions: The versions to make, of `VERSIONS`.
        max_s: Longest clip in seconds.
        report: Called once for the snapshot and once for the clip.
    """

    def __init__(
        self,
        camera_id: str,
        incident_id: str,
        store: EvidenceStore,
        *,
        versions: tuple[bool, ...],
        max_s: float,
        report: Report,
    ) -> None:
        self.camera_id = camera_id
        self.incident_id = incident_id
        self._store = store
        self._versions = versions
        self._max_s = max_s
        self._began: float | None = None
        self._until = math.inf
        self._report = report
        self._reported: set[EvidenceKind] = set()
        self._over = False
        self._peak: Shot | None = None
        self._unsaved = False
        self._saved_at = -math.inf
        self._problem = _NOTHING
        self._backlog = Film()
        self._complete = False
        self._cut_short = True
        self._writers: dict[bool, VideoWriter] = {}
        self._size = (0, 0)
        self._files: dict[bool, ExitStack] = {}

    @property
    def done(self) -> bool:
        """Whether nothing more will be written."""
        return self._over and not self._unsaved and len(self._reported) == len(EVIDENCE_KINDS)

    def offer(self, shot: Shot, *, course: bool = True) -> bool:
        """Take the next frame.

        Args:
            shot: The frame.
            course: Whether it is part of the incident; only such a frame can be the peak.

        Returns:
            False if the frame was dropped because too many wait to be encoded.
        """
        if course and not self._over and (self._peak is None or shot.rank > self._peak.rank):
            self._peak, self._unsaved = shot, True
        if self._began is None:
            self._began = shot.moment
            self._until = min(self._until, shot.moment + self._max_s)
        self._complete = self._complete or shot.moment > self._until
        if self._complete:
            return True
        if self._backlog.bytes + shot.bytes > _BACKLOG_BYTES:
            return False
        self._backlog.append(shot)
        return True

    def end(self, moment: float, after_s: float) -> None:
        """Note that the incident ended: its peak is known, and the clip goes on within its longest duration.

        Args:
            moment: End in seconds on the monotonic clock.
            after_s: Seconds that the clip shows after it.
        """
        if not self._over:
            self._over = True
            self._cut_short = moment + after_s > self._until
            self._until = min(self._until, moment + after_s)

    def cut(self) -> None:
        """Finish with the frames that are there; no others will come."""
        self._cut_short = self._cut_short and (self._over or self._complete)
        self._over = self._complete = True

    def drop_pictures(self) -> bool:
        """Go on with skeletons only, and abandon the video with pictures; the caller removes the snapshot.

        Returns:
            Whether there were any pictures until now.
        """
        shots = [*self._backlog.shots, *([] if self._peak is None else [self._peak])]
        had = True in self._versions and (True in self._writers or any(shot.jpeg is not None for shot in shots))
        self._versions = VERSIONS[1:]
        self._abandon(True)
        return had

    def give_up(self, problem: str) -> None:
        """Give up the evidence that is not finished.

        Args:
            problem: Why, in words.
        """
        self._over, self._unsaved = True, False
        self._abandon_clip()
        for kind in EVIDENCE_KINDS:
            self._settle(kind, "missing", problem)

    def step(self, now: float, *, drained: bool) -> bool:
        """Do one small step: write a snapshot, encode a frame, or finish the clip.

        Args:
            now: Seconds on the monotonic clock.
            drained: Whether no frame of the camera waits for the recorder any more.

        Returns:
            False if there is nothing to do now.
        """
        if self._peak is not None and self._unsaved and (self._over or now >= self._saved_at + _SNAPSHOT_S):
            self._save(self._peak, now)
        elif self._over and "snapshot" not in self._reported:
            self._settle("snapshot", "missing", self._problem)
        elif "clip" in self._reported:
            return False
        elif self._backlog.shots:
            self._film(self._encode)
        elif self._complete or (drained and now > self._until + _LATE_S):
            self._film(self._finish)
        else:
            return False
        return True

    def _save(self, shot: Shot, now: float) -> None:
        self._unsaved, self._saved_at = False, now
        try:
            self._store.make_room(self.incident_id)
            for version, image in _draw(shot, self._versions, shot.size):
                with atomic_write(self._store.file(self.incident_id, "snapshot", background=version)) as stream:
                    stream.write(encode_jpeg(image, _SNAPSHOT_QUALITY))
        except Exception as error:
            self._problem = self._explain("snapshot", error)
        else:
            self._settle("snapshot", "ready", None)

    def _film(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            self._abandon_clip()
            self._settle("clip", "missing", self._explain("clip", error))

    def _encode(self) -> None:
        if not self._writers:
            self._roll()
        shot = self._backlog.popleft()
        for version, image in _draw(shot, tuple(self._writers), self._size):
            self._writers[version].add(image, shot.moment - (self._began or 0.0))

    def _roll(self) -> None:
        """Open the videos for the first shot."""
        first, last = self._backlog.shots[0], self._backlog.shots[-1]
        span = last.moment - first.moment
        fps = (len(self._backlog.shots) - 1) / span if span > 0 else _FPS
        self._size = first.size
        self._store.make_room(self.incident_id)
        for version in self._versions:
            if version and first.jpeg is None:
                continue
            target = self._store.file(self.incident_id, "clip", background=version)
            files = self._files[version] = ExitStack()
            part = files.enter_context(replacing(target))
            # One thread, because many cameras may record at once and the engine needs the processors.
            writer = VideoWriter(part, self._size, min(max(fps, 1.0), 60.0), threads=1)
            self._writers[version] = files.enter_context(writer)

    def _finish(self) -> None:
        if not self._writers:
            self._settle("clip", "missing", _NOTHING)
            return
        # The version with skeletons comes last: see `EvidenceStore.has`.
        for version in VERSIONS:
            if version in self._files:
                self._files.pop(version).close()
        self._settle("clip", "ready", _CUT_SHORT if self._cut_short else None)

    def _abandon_clip(self) -> None:
        if "clip" not in self._reported:
            for version in VERSIONS:
                self._abandon(version)

    def _abandon(self, version: bool) -> None:
        """Remove the unfinished video of one version."""
        self._writers.pop(version, None)
        with suppress(_Abandoned), self._files.pop(version, ExitStack()):
            raise _Abandoned

    def _settle(self, kind: EvidenceKind, outcome: Outcome, problem: str | None) -> None:
        if kind == "clip":
            self._complete = True
            self._backlog = Film()
            self._writers = {}
        if kind not in self._reported:
            self._reported.add(kind)
            if outcome == "missing":
                # One of the two versions may have been written.
                with suppress(OSError):
                    self._store.discard_kind(self.incident_id, kind)
            self._report(self.incident_id, kind, outcome, problem)

    def _explain(self, kind: EvidenceKind, error: Exception) -> str:
        if isinstance(error, OSError) and is_storage_full(error):
            problem = str(StorageFull(f"the {kind}"))
        else:
            problem = f"the {kind} could not be written: {getattr(error, 'strerror', None) or type(error).__name__}"
        defect = None if isinstance(error, OSError) else error
        log.error("evidence lost", camera=self.camera_id, incident=self.incident_id, reason=problem, exc_info=defect)
        return problem


class _Abandoned(Exception):
    """Raised and suppressed to remove the unfinished files of a clip."""


def _draw(shot: Shot, versions: Iterable[bool], size: tuple[int, int]) -> Iterator[tuple[bool, Image]]:
    """Draw the frame in each version; the version with pictures is left out if there is no picture."""
    score, joints = Score.model_validate_json(shot.score), contributions(shot.findings)
    for version in versions:
        if not version:
            yield version, draw_live(None, score, background=False, size=size, joints=joints)
        elif shot.jpeg is not None:
            picture = cv2.imdecode(np.frombuffer(shot.jpeg, np.uint8), cv2.IMREAD_COLOR)
            yield version, draw_live(np.asarray(picture, np.uint8), score, size=size, joints=joints)
