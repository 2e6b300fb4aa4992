"""Records evidence of incidents: a snapshot of the peak, and a clip with some seconds before and after the incident.

Both are also made as skeletons only. Frames come from the engine, which must not wait, so they pass through a bounded
queue to one thread. It keeps the last seconds of each camera as small JPEGs, with which clips begin. Frames that are
not encoded yet are kept as JPEGs too, and their bytes are limited.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from model.behaviours import Finding
from service.documents.messages import Score
from service.drawing.live_view import encode_jpeg
from service.drawing.overlay import Image, fitted_size, resized
from service.incidents.recording import VERSIONS, Film, IncidentRecording, Outcome, Report, Shot, rank_of
from service.storage.evidence import EvidenceKind, EvidenceStore

log = structlog.get_logger(__name__)

_WAITING: Final = 16
"""Most frames of one camera that wait for the recorder."""

_WAITING_BYTES: Final = 256 * 1024**2
"""Most bytes of pictures that wait. One picture of each camera may always wait: its newest is in memory anyway."""

_RING_BYTES: Final = 32 * 1024**2
"""Most bytes of the last seconds of one camera; a tenth of it is usual."""

_CONFIRM_S: Final = 2.0
"""Seconds of the past that are kept beyond what a clip shows, because an incident is detected after it began."""

_LOOK_S: Final = 0.5
"""Longest time in seconds that the idle recorder waits before it checks its recordings again."""

_STOP_S: Final = 5.0
"""Seconds after `stop` in which clips are still encoded; what is not finished then is missing."""


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    camera_id: str
    image: Image | None
    score: Score
    findings: Sequence[Finding]
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


@dataclass(frozen=True, slots=True)
class _PicturesRemoved:
    camera_id: str
    dropped: Future[set[str]]


_Item = _Frame | _Started | _Ended | _Forgotten | _PicturesRemoved


class EvidenceRecorder:
    """Records snapshots and clips of incidents on a thread of its own.

    Args:
        store: Where evidence is written.
        before_s: Seconds that a clip shows before the incident.
        after_s: Seconds that it shows after the incident.
        max_s: Longest clip in seconds; a clip of a longer incident shows its beginning.
        width: Greatest width of snapshots and clips in pixels.
        on_done: Called on the recorder's thread, once for each incident and kind, when the evidence is ready or
            missing, with a problem in words if there is one. A snapshot that is ready is still replaced while the
            peak grows.
        monotonic: Gives seconds on the monotonic clock.
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
        self._queue: deque[_Item] = deque()
        self._waiting: Counter[str] = Counter()
        self._waiting_bytes = 0
        self._dropped = 0
        self._stopping = False
        self._rings: dict[str, Film] = {}
        self._recordings: dict[str, IncidentRecording] = {}
        self._thread = threading.Thread(target=self._serve, name="evidence", daemon=True)

    @property
    def frames_dropped(self) -> int:
        """Dropped frames: those that the recorder had no time or room for."""
        return self._dropped

    @property
    def waiting(self) -> int:
        """Number of frames, and of starts and ends of incidents, that wait for the recorder."""
        return len(self._queue)

    @property
    def recording(self) -> frozenset[str]:
        """Ids of the incidents whose evidence is not finished."""
        with self._changed:
            return frozenset(self._recordings) | {
                item.incident_id for item in self._queue if isinstance(item, _Started)
            }

    def start(self) -> None:
        """Start the recorder."""
        self._thread.start()

    def stop(self) -> None:
        """Finish open recordings within some seconds, and stop; what takes longer is missing."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def frame(self, camera_id: str, image: Image | None, score: Score, findings: Sequence[Finding]) -> None:
        """Offer a processed frame; never blocks. If the recorder is behind, the frame is dropped and counted.

        Args:
            camera_id: Id of the camera.
            image: Its picture, which must not be changed later; None if there is none or it must not be stored.
            score: Score and people of the frame.
            findings: What named behaviours see in it.
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
            self._put(_Frame(camera_id, image, score, findings, moment))

    def started(self, camera_id: str, incident_id: str, picture: bool, moment: float) -> None:
        """Begin the evidence of an incident; it uses earlier frames of the camera too.

        Args:
            camera_id: Id of the camera.
            incident_id: Id of the incident.
            picture: Whether pictures of the camera may be stored; if not, only skeletons are.
            moment: When the incident began, in seconds on the monotonic clock.
        """
        with self._changed:
            self._put(_Started(camera_id, incident_id, picture, moment))

    def ended(self, camera_id: str, incident_id: str) -> None:
        """Note that an incident ended; the clip goes on for some seconds.

        Args:
            camera_id: Id of the camera.
            incident_id: Id of the incident; one that is not being recorded is ignored.
        """
        log.debug("incident ended; its clip goes on for some seconds", camera=camera_id, incident=incident_id)
        with self._changed:
            self._put(_Ended(incident_id, self._monotonic()))

    def forget(self, camera_id: str) -> None:
        """Note that a camera was removed: finish its recordings with the frames there are, and drop its past."""
        with self._changed:
            self._put(_Forgotten(camera_id))

    def drop_pictures(self, camera_id: str) -> set[str]:
        """Forget the pictures of a camera that were taken until now: its recordings go on with skeletons only.

        Files that are complete stay; the caller removes them. Waits for the recorder, which first takes the frames that
        came before. Incidents that start later are recorded from now on, as their camera is set.

        Returns:
            Ids of the incidents whose recording has dropped pictures.
        """
        item = _PicturesRemoved(camera_id, Future())
        with self._changed:
            self._put(item)
        while self._thread.is_alive():
            with suppress(TimeoutError):
                return item.dropped.result(_LOOK_S)
        # A recorder that has ended writes nothing more; one that has not begun has nothing yet.
        return item.dropped.result() if item.dropped.done() else set()

    def _put(self, item: _Item) -> None:
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

    def _next(self, *, wait: bool) -> _Item | None:
        """Take the next item of the queue; None if there is none, after a wait if that is asked for."""
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

    def _handle(self, item: _Item) -> None:
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
                    self._cut(self._recordings_of(item.camera_id))
                case _PicturesRemoved():
                    self._rings.pop(item.camera_id, None)
                    item.dropped.set_result(
                        {one.incident_id for one in self._recordings_of(item.camera_id) if one.drop_pictures()}
                    )
        except Exception as error:
            # A picture that cannot be drawn must not stop the evidence of other incidents.
            log.exception("a step of recording evidence failed", step=type(item).__name__.strip("_").lower())
            if isinstance(item, _PicturesRemoved):
                item.dropped.set_exception(error)

    def _keep(self, frame: _Frame) -> None:
        score = frame.score
        size = fitted_size(score.width, score.height, self._width)
        shot = Shot(
            moment=frame.moment,
            size=size,
            jpeg=None if frame.image is None else encode_jpeg(resized(frame.image, size)),
            score=score.model_dump_json().encode(),
            findings=frame.findings,
            rank=rank_of(score),
        )
        ring = self._rings.setdefault(frame.camera_id, Film())
        ring.append(shot)
        while len(ring.shots) > 1 and (ring.bytes > _RING_BYTES or self._past(ring.shots[0], shot.moment)):
            ring.popleft()
        for recording in self._recordings_of(frame.camera_id):
            if not recording.offer(shot):
                with self._changed:
                    self._dropped += 1

    def _past(self, shot: Shot, now: float) -> bool:
        return shot.moment < now - self._before_s - _CONFIRM_S

    def _forget_silent(self) -> None:
        """Drop the past of cameras that have stopped sending."""
        now = self._monotonic()
        for camera_id in [one for one, ring in self._rings.items() if self._past(ring.shots[-1], now)]:
            del self._rings[camera_id]

    def _open(self, item: _Started) -> None:
        if item.incident_id in self._recordings:
            return
        ring = self._rings.get(item.camera_id, Film())
        begin = item.began - min(self._before_s, self._max_s / 2)
        past = [shot for shot in ring.shots if shot.moment >= begin]
        recording = IncidentRecording(
            item.camera_id,
            item.incident_id,
            self._store,
            versions=VERSIONS if item.picture else VERSIONS[1:],
            max_s=self._max_s,
            report=self._report,
        )
        for shot in past:
            recording.offer(shot, course=shot.moment >= item.began or shot is past[-1])
        with self._changed:
            self._recordings[item.incident_id] = recording

    def _recordings_of(self, camera_id: str) -> list[IncidentRecording]:
        return [recording for recording in self._recordings.values() if recording.camera_id == camera_id]

    def _cut(self, recordings: Iterable[IncidentRecording]) -> None:
        for recording in recordings:
            recording.cut()

    def _work(self) -> bool:
        """Do one step of one recording, taking turns; False if there is nothing to do."""
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

    def _step(self, recording: IncidentRecording, now: float, *, drained: bool) -> bool:
        try:
            return recording.step(now, drained=drained)
        except Exception:
            log.exception("evidence given up", camera=recording.camera_id, incident=recording.incident_id)
            recording.give_up("an internal error stopped the recording")
            return True

    def _report(self, incident_id: str, kind: EvidenceKind, outcome: Outcome, problem: str | None) -> None:
        try:
            self._on_done(incident_id, kind, outcome, problem)
        except Exception:
            log.exception("evidence could not be reported", incident=incident_id, kind=kind)
