"""Evidence of incidents: a snapshot of the peak and a clip with seconds before and after, each also as skeletons only.

Frames come from the engine, which must not wait: they pass through a bounded queue to one thread. There each becomes a
small JPEG in its camera's ring, the past that a clip begins with. What a recording has yet to encode stays JPEG as
well, so memory is bounded by bytes, not by luck.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
import structlog

from service.files import (
    EVIDENCE_KINDS,
    EvidenceKind,
    EvidenceStore,
    StorageFull,
    atomic_write,
    is_storage_full,
    replacing,
)
from service.live_view import encode_jpeg
from service.messages import Score
from service.overlay import Image, draw_live, fitted_size, resized
from service.video import VideoWriter

Outcome = Literal["ready", "missing"]
Report = Callable[[str, EvidenceKind, Outcome, str | None], None]

_WAITING: Final = 16
"""Frames of one camera that may wait for the recorder."""
_WAITING_BYTES: Final = 256 * 1024**2
"""Bytes of pictures that may wait; one of each camera may always, because the newest is in memory anyway."""
_RING_BYTES: Final = 32 * 1024**2
"""What the past of one camera may take; a tenth of it is usual."""
_BACKLOG_BYTES: Final = 32 * 1024**2
"""What one recording may have yet to encode; beyond it the clip gets fewer pictures."""
_CONFIRM_S: Final = 2.0
"""How much longer the past is kept than a clip shows, because an incident is known some time after it began."""
_SNAPSHOT_S: Final = 1.0
"""A growing peak is written at most this often."""
_LATE_S: Final = 1.0
"""A clip waits this long for frames that are on their way."""
_LOOK_S: Final = 0.5
_STOP_S: Final = 5.0
"""What is not encoded this long after the service was told to stop is given up."""
_FPS: Final = 15.0
"""Frame rate of a clip that begins with a single picture."""
_SNAPSHOT_QUALITY: Final = 92
_VERSIONS: Final = (True, False)
"""With the picture, and with skeletons only."""
_NOTHING: Final = "no picture of it was taken"
_CUT_SHORT: Final = "the clip ends before the incident does, because it may not be longer"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Shot:
    """A frame as it is kept.

    Attributes:
        moment: Seconds on the monotonic clock.
        size: Width and height in pixels, both even.
        jpeg: The picture; None if there is none.
        score: What was found in it, as JSON.
        rank: Level and score; the frame with the highest is the peak.
    """

    moment: float
    size: tuple[int, int]
    jpeg: bytes | None
    score: bytes
    rank: tuple[float, float]

    @property
    def bytes(self) -> int:
        return len(self.score) + len(self.jpeg or b"")


class _Film:
    """Shots in order of time, and the bytes that they take."""

    def __init__(self) -> None:
        self.shots: deque[_Shot] = deque()
        self.bytes = 0

    def append(self, shot: _Shot) -> None:
        self.shots.append(shot)
        self.bytes += shot.bytes

    def popleft(self) -> _Shot:
        shot = self.shots.popleft()
        self.bytes -= shot.bytes
        return shot


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    camera_id: str
    image: Image | None
    score: Score
    moment: float


@dataclass(frozen=True, slots=True)
class _Started:
    camera_id: str
    incident_id: str
    picture: bool
    began: float


@dataclass(frozen=True, slots=True)
class _Ended:
    incident_id: str
    moment: float


@dataclass(frozen=True, slots=True)
class _Forgotten:
    camera_id: str


class EvidenceRecorder:
    """Records snapshots and clips of incidents on a thread of its own.

    Args:
        store: Where evidence lies.
        before_s: Seconds before an incident that its clip shows.
        after_s: Seconds after it.
        max_s: Longest clip; of a longer incident the clip shows the beginning.
        width: Width in pixels of what is kept.
        on_done: Called from the recorder's thread, once for each incident and kind, when a piece of evidence is there
            or will never be, with a sentence if there is something to say about it. A snapshot that is ready is
            still replaced as long as the peak grows.
        monotonic: Seconds on the clock of all moments.
    """

    def __init__(
        self,
        store: EvidenceStore,
        *,
        before_s: float,
        after_s: float,
        max_s: float,
        width: int,
        on_done: Report,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._before_s = before_s
        self._after_s = after_s
        self._max_s = max_s
        self._width = width
        self._on_done = on_done
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._queue: deque[_Frame | _Started | _Ended | _Forgotten] = deque()
        self._waiting: Counter[str] = Counter()
        self._waiting_bytes = 0
        self._dropped = 0
        self._stopping = False
        self._rings: dict[str, _Film] = {}
        self._recordings: dict[str, _Recording] = {}
        self._thread = threading.Thread(target=self._serve, name="evidence", daemon=True)

    @property
    def frames_dropped(self) -> int:
        """Frames that were left out because the recorder was behind."""
        return self._dropped

    @property
    def waiting(self) -> int:
        """Frames, and starts and ends of incidents, that the recorder has not looked at yet."""
        return len(self._queue)

    @property
    def recording(self) -> frozenset[str]:
        """Incidents whose evidence is not finished."""
        with self._changed:
            return frozenset(self._recordings) | {
                item.incident_id for item in self._queue if isinstance(item, _Started)
            }

    def start(self) -> None:
        """Begin to record."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is open within seconds; what takes longer is missing."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def frame(self, camera_id: str, image: Image | None, score: Score) -> None:
        """Offer a processed frame; never blocks. It is left out, and counted, when the recorder is behind.

        Args:
            camera_id: The camera.
            image: Its picture, which must not be changed any more; None if there is none or it must not be kept.
            score: What was found in it.
        """
        moment = self._monotonic() - score.age_s
        size = 0 if image is None else image.nbytes
        with self._changed:
            if self._stopping:
                return
            waiting = self._waiting[camera_id]
            no_room = size > 0 and self._waiting_bytes + size > _WAITING_BYTES
            if waiting and (waiting >= _WAITING or no_room):
                self._dropped += 1
                return
            self._waiting[camera_id] += 1
            self._waiting_bytes += size
            self._put(_Frame(camera_id, image, score, moment))

    def started(self, camera_id: str, incident_id: str, picture: bool, moment: float) -> None:
        """An incident opened; frames offered before this call are its past, later ones its course.

        Args:
            camera_id: The camera.
            incident_id: The incident.
            picture: Whether the camera's picture may be kept; otherwise only skeletons are.
            moment: When it began, in seconds on the monotonic clock.
        """
        with self._changed:
            self._put(_Started(camera_id, incident_id, picture, moment))

    def ended(self, camera_id: str, incident_id: str) -> None:
        """An incident ended; what follows it is still recorded for some seconds.

        Args:
            camera_id: The camera.
            incident_id: The incident; one that is not being recorded is ignored.
        """
        log.debug("incident ended; recording what follows", camera=camera_id, incident=incident_id)
        with self._changed:
            self._put(_Ended(incident_id, self._monotonic()))

    def forget(self, camera_id: str) -> None:
        """A camera was removed: its recordings are finished with what there is, its past is dropped."""
        with self._changed:
            self._put(_Forgotten(camera_id))

    def _put(self, item: _Frame | _Started | _Ended | _Forgotten) -> None:
        self._queue.append(item)
        self._changed.notify()

    def _serve(self) -> None:
        busy, deadline = False, None
        while True:
            item = self._next(wait=not busy)
            if item is not None:
                self._handle(item)
            elif self._stopping:
                deadline = deadline or time.monotonic() + _STOP_S
                self._cut(self._recordings.values())
            else:
                self._forget_silent()
            busy = self._work()
            if deadline is not None and (not busy or time.monotonic() > deadline):
                break
        for recording in self._recordings.values():
            recording.give_up("the service stopped before it was written")

    def _next(self, *, wait: bool) -> _Frame | _Started | _Ended | _Forgotten | None:
        """What was put first; None if nothing was, or if nothing comes for a while."""
        with self._changed:
            if wait and not self._queue and not self._stopping:
                self._changed.wait(_LOOK_S)
            if not self._queue:
                return None
            item = self._queue.popleft()
            if isinstance(item, _Frame):
                self._waiting[item.camera_id] -= 1
                if not self._waiting[item.camera_id]:
                    del self._waiting[item.camera_id]
                self._waiting_bytes -= 0 if item.image is None else item.image.nbytes
            return item

    def _handle(self, item: _Frame | _Started | _Ended | _Forgotten) -> None:
        try:
            match item:
                case _Frame():
                    self._keep(item)
                case _Started():
                    self._open(item)
                case _Ended():
                    recording = self._recordings.get(item.incident_id)
                    if recording is not None:
                        recording.end(item.moment, self._after_s)
                case _Forgotten():
                    self._rings.pop(item.camera_id, None)
                    self._cut(one for one in self._recordings.values() if one.camera_id == item.camera_id)
        except Exception:
            # One picture that cannot be drawn must not cost all others their evidence.
            log.exception("evidence lost a step", step=type(item).__name__.strip("_").lower())

    def _keep(self, frame: _Frame) -> None:
        score = frame.score
        size = fitted_size(score.width, score.height, self._width)
        shot = _Shot(
            moment=frame.moment,
            size=size,
            jpeg=None if frame.image is None else encode_jpeg(resized(frame.image, size)),
            score=score.model_dump_json().encode(),
            rank=(-1.0 if score.level is None else score.level, score.score or 0.0),
        )
        ring = self._rings.setdefault(frame.camera_id, _Film())
        ring.append(shot)
        while len(ring.shots) > 1 and (ring.bytes > _RING_BYTES or self._past(ring.shots[0], shot.moment)):
            ring.popleft()
        for recording in self._recordings.values():
            if recording.camera_id == frame.camera_id and not recording.offer(shot):
                with self._changed:
                    self._dropped += 1

    def _past(self, shot: _Shot, now: float) -> bool:
        return shot.moment < now - self._before_s - _CONFIRM_S

    def _forget_silent(self) -> None:
        """Drop the past of cameras that send nothing any more."""
        now = self._monotonic()
        for camera_id in [one for one, ring in self._rings.items() if self._past(ring.shots[-1], now)]:
            del self._rings[camera_id]

    def _open(self, item: _Started) -> None:
        if item.incident_id in self._recordings:
            return
        ring = self._rings.get(item.camera_id, _Film())
        begin = item.began - min(self._before_s, self._max_s / 2)
        past = [shot for shot in ring.shots if shot.moment >= begin]
        recording = _Recording(
            item.camera_id,
            item.incident_id,
            self._store,
            versions=_VERSIONS if item.picture else _VERSIONS[1:],
            max_s=self._max_s,
            report=self._report,
        )
        for shot in past:
            recording.offer(shot, course=shot.moment >= item.began or shot is past[-1])
        with self._changed:
            self._recordings[item.incident_id] = recording

    def _cut(self, recordings: Iterable[_Recording]) -> None:
        for recording in recordings:
            recording.cut()

    def _work(self) -> bool:
        """Do one step of one recording, all in turn; false if none has anything to do."""
        now = self._monotonic()
        for incident_id, recording in [*self._recordings.items()]:
            with self._changed:
                drained = recording.camera_id not in self._waiting
            worked = self._step(recording, now, drained=drained)
            if worked or recording.done:
                with self._changed:
                    del self._recordings[incident_id]
                    if not recording.done:
                        self._recordings[incident_id] = recording
            if worked:
                return True
        return False

    def _step(self, recording: _Recording, now: float, *, drained: bool) -> bool:
        try:
            return recording.step(now, drained=drained)
        except Exception:
            log.exception("evidence given up", camera=recording.camera_id, incident=recording.incident_id)
            recording.give_up("a defect stopped the recording")
            return True

    def _report(self, incident_id: str, kind: EvidenceKind, outcome: Outcome, problem: str | None) -> None:
        try:
            self._on_done(incident_id, kind, outcome, problem)
        except Exception:
            log.exception("evidence could not be reported", incident=incident_id, kind=kind)


class _Recording:
    """Snapshot and clip of one incident; lives on the recorder's thread.

    Args:
        camera_id: The camera.
        incident_id: The incident.
        store: Where the files go.
        versions: Which are made, of `_VERSIONS`.
        max_s: Longest clip.
        report: Told once about the snapshot and once about the clip.
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
        self._peak: _Shot | None = None
        self._unsaved = False
        self._saved_at = -math.inf
        self._problem = _NOTHING
        self._backlog = _Film()
        self._complete = False
        self._cut_short = True
        self._writers: dict[bool, VideoWriter] = {}
        self._size = (0, 0)
        self._files = ExitStack()

    @property
    def done(self) -> bool:
        """Whether nothing more will be written."""
        return self._over and not self._unsaved and len(self._reported) == len(EVIDENCE_KINDS)

    def offer(self, shot: _Shot, *, course: bool = True) -> bool:
        """Take the next frame.

        Args:
            shot: The frame.
            course: Whether the incident had begun; the peak is not before that.

        Returns:
            False if the clip has no room for it.
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
        """The incident ended: the peak is known, and the clip goes on for `after_s` where it may."""
        if not self._over:
            self._over = True
            self._cut_short = moment + after_s > self._until
            self._until = min(self._until, moment + after_s)

    def cut(self) -> None:
        """No frames come any more: finish with those that are there."""
        self._cut_short = self._cut_short and (self._over or self._complete)
        self._over = self._complete = True

    def give_up(self, problem: str) -> None:
        """Leave what is not finished."""
        self._over, self._unsaved = True, False
        self._abandon_clip()
        for kind in EVIDENCE_KINDS:
            self._settle(kind, "missing", problem)

    def step(self, now: float, *, drained: bool) -> bool:
        """Do a small piece of work.

        Args:
            now: Seconds on the monotonic clock.
            drained: Whether no frame of the camera waits for the recorder.

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

    def _save(self, shot: _Shot, now: float) -> None:
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
        # What is entered first is finished last: see `EvidenceStore.has`.
        for version in reversed(self._versions):
            if version and first.jpeg is None:
                continue
            target = self._store.file(self.incident_id, "clip", background=version)
            part = self._files.enter_context(replacing(target))
            # Many cameras may record at once, and the engine needs the processors more.
            writer = VideoWriter(part, self._size, min(max(fps, 1.0), 60.0), threads=1)
            self._writers[version] = self._files.enter_context(writer)

    def _finish(self) -> None:
        if not self._writers:
            self._settle("clip", "missing", _NOTHING)
            return
        self._files.close()
        self._settle("clip", "ready", _CUT_SHORT if self._cut_short else None)

    def _abandon_clip(self) -> None:
        if "clip" not in self._reported:
            with suppress(_Abandoned), self._files:
                raise _Abandoned
            with suppress(OSError):
                self._store.discard_kind(self.incident_id, "clip")

    def _settle(self, kind: EvidenceKind, outcome: Outcome, problem: str | None) -> None:
        if kind == "clip":
            self._complete = True
            self._backlog = _Film()
            self._writers = {}
        if kind not in self._reported:
            self._reported.add(kind)
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
    """Makes the files of a clip roll back."""


def _draw(shot: _Shot, versions: Iterable[bool], size: tuple[int, int]) -> Iterator[tuple[bool, Image]]:
    """The frame in each version; the one with the picture only if there is a picture."""
    score = Score.model_validate_json(shot.score)
    for version in versions:
        if not version:
            yield version, draw_live(None, score, background=False, size=size)
        elif shot.jpeg is not None:
            picture = cv2.imdecode(np.frombuffer(shot.jpeg, np.uint8), cv2.IMREAD_COLOR)
            yield version, draw_live(np.asarray(picture, np.uint8), score, size=size)
