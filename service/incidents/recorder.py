"""Evidence of incidents: a snapshot of the peak and a clip with seconds before and after, each also as skeletons only.

Frames come from the engine, which must not wait: they pass through a bounded queue to one thread. There each becomes a
small JPEG in its camera's ring, the past that a clip begins with. What a recording has yet to encode stays JPEG as
well, so memory is bounded by bytes, not by luck.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from service.documents.messages import Score
from service.drawing.live_view import encode_jpeg
from service.drawing.overlay import Image, fitted_size, resized
from service.incidents.recording import _VERSIONS, Outcome, Report, _Film, _Recording, _Shot
from service.storage.evidence import EvidenceKind, EvidenceStore

log = structlog.get_logger(__name__)

_WAITING: Final = 16
"""Frames of one camera that may wait for the recorder."""

_WAITING_BYTES: Final = 256 * 1024**2
"""Bytes of pictures that may wait; one of each camera may always, because the newest is in memory anyway."""

_RING_BYTES: Final = 32 * 1024**2
"""What the past of one camera may take; a tenth of it is usual."""

_CONFIRM_S: Final = 2.0
"""How much longer the past is kept than a clip shows, because an incident is known some time after it began."""

_LOOK_S: Final = 0.5
_STOP_S: Final = 5.0
"""What is not encoded this long after the service was told to stop is given up."""


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
