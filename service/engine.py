"""The live loop: newest frames of all cameras, one pose batch, one tracker each, one scoring batch, for ever.

One thread owns the device. It takes what is newest and never waits for a camera; cameras that were served longest ago
come first, so that under overload every camera gets its share and frames are dropped instead of queued. An exception on
the way of one camera costs that camera a frame; a device that fails costs a restart of the loop with freshly loaded
models.
"""

from __future__ import annotations

import itertools
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from model.online import OnlineFrameScore
from model.scorer import CameraModel, ScoredWindow, Scorer, WindowScores
from pose.estimator import PoseEstimator, Poses
from pose.source import Frame
from pose.tracker import TrackedPoses, Tracker
from pose.windows import WindowBuffer, Windows, WindowSpec
from service.clips import ClipScorer
from service.metrics import Metrics
from service.models import Models
from service.results import MissingScore
from service.zones import Zone, standing_in

LOST_S: Final = 1.0
"""Seconds for which a person out of sight keeps the number; a longer silence of the camera begins with new people."""

_WAIT_S: Final = 0.25
_STOP_S: Final = 10.0
_RESTART_S: Final = (0.5, 30.0)
"""First and longest pause before the loop starts again after the device failed."""
_SCENE_BITS: Final = 32
_TRACK_BITS: Final = 40
"""A key of the window buffer is the camera's number above, the track's below: no two cameras ever share one. Between
them is the low byte of the scene's number: no window holds poses on two scales, or of two devices."""
_RATE_WEIGHT: Final = 0.1
_COMPLAIN_S: Final = 10.0
_MOST_FAILURES: Final = 50
"""Pictures that fail one after another, of whatever camera, before it is the device that counts as failed."""
_DEVICE_ERRORS: Final = re.compile(r"(CUDA|CUDNN|CUBLAS|HIP) (error|failure|driver)|CU(BLAS|DNN)_STATUS", re.IGNORECASE)
"""What torch and ONNX Runtime call it: most of it comes as a plain RuntimeError."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """People seen elsewhere: what a skeleton feed delivers instead of a picture.

    Attributes:
        camera_id: The feed.
        sequence: Number of the frame in the feed, from 0.
        captured_at: Seconds on the monotonic clock.
        width: Pixels of the plane that the keypoints lie in.
        height: Pixels.
        people: Whom the device saw; with identities if it follows people itself.
        connection: Number of the device's connection; identities of another one are other people's.
    """

    camera_id: str
    sequence: int
    captured_at: float
    width: int
    height: int
    people: Poses | TrackedPoses
    connection: int = 0


class Inbox(Protocol):
    """Where a camera's newest frame waits."""

    @property
    def frames_overwritten(self) -> int:
        """Frames that were replaced by a newer one before anybody took them."""

    def take(self) -> Frame | Sighting | None:
        """The newest frame, once; None if it was taken already."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A processed frame on its way out of the engine.

    Attributes:
        camera_id: The camera.
        sequence: Number of the frame.
        captured_at: Seconds on the monotonic clock.
        image: The picture, BGR; None from a skeleton feed.
        width: Pixels.
        height: Pixels.
        track_ids: People in the frame.
        boxes: Shape ``(M, 4)``, pixels.
        keypoints: Shape ``(M, 17, 3)`` on the CPU.
        newest: For each of them the newest window, if there is one that still speaks for the frame.
        nll: Highest negative log-likelihood over people, bits per dimension; nan where nobody is scored.
        smoothed: Highest raw score over people (`ScoredWindow.raw`), causally smoothed.
        reason: Why nobody is scored.
    """

    camera_id: str
    sequence: int
    captured_at: float
    image: NDArray[np.uint8] | None
    width: int
    height: int
    track_ids: list[int]
    boxes: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    newest: list[ScoredWindow | None]
    nll: float
    smoothed: float
    reason: MissingScore | None


class Lane:
    """One camera's way through the engine.

    Args:
        camera_id: The camera.
        inbox: Where its frames wait.
        deliver: Called on the engine's thread with every processed frame.
        max_fps: Frames per second that are processed at most.
        ignore: Where in the picture nobody is scored; any thread may change it.
    """

    _numbers = itertools.count(1)

    def __init__(
        self,
        camera_id: str,
        inbox: Inbox,
        deliver: Callable[[Scored], None],
        *,
        max_fps: float,
        ignore: tuple[Zone, ...] = (),
    ) -> None:
        self.camera_id = camera_id
        self.ignore = ignore
        self.number = next(self._numbers)
        self.inbox = inbox
        self.deliver = deliver
        self.processed = 0
        self.rate = 0.0
        self.served = 0
        self._dropped: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._period = 1 / max_fps
        self._due = -math.inf
        self._arrival = -math.inf
        self._overwritten = 0
        self._under_way = False
        self._rescored = False
        self._tracker: Tracker | None = None
        self._next_track = 1
        self._scene: tuple[int, int, int] | None = None
        self._scenes = 0
        self._last = -math.inf
        self._gap = math.inf
        self._complained = -math.inf
        self._online: OnlineFrameScore | None = None

    def arrived(self, *, ready: bool) -> None:
        """Count what the arrival of a frame pushed out; called by the thread that delivers frames.

        Args:
            ready: Whether the engine works at all.
        """
        before, self._arrival = self._arrival, time.monotonic()
        overwritten = self.inbox.frames_overwritten
        if overwritten > self._overwritten:
            # What was pushed out had come before: the engine was too slow only if it already wanted a frame then.
            reason = "not_ready" if not ready else "overload" if before >= self._due else "rate_limit"
            self._drop(reason, overwritten - self._overwritten)
            self._overwritten = overwritten

    def take(self) -> Frame | Sighting | None:
        """The next frame, if this camera's turn has come; frames that were captured before it are dropped."""
        if time.monotonic() < self._due:
            return None
        while (item := self.inbox.take()) is not None:
            if item.captured_at >= self._due:
                self._due = max(self._due + self._period, item.captured_at - self._period)
                self._under_way = True
                return item
            self._drop("rate_limit")
        return None

    def due_in(self) -> float:
        """Seconds until the next frame may be taken."""
        return self._due - time.monotonic()

    def follow(self, item: Frame | Sighting, poses: Poses | TrackedPoses) -> TrackedPoses | None:
        """Give people their numbers; None for a frame that is not newer than the last."""
        if self._rescored:
            self._rescored, self._online = False, None
        gap = item.captured_at - self._last
        if not gap > 0:
            self._lose("out_of_order")
            return None
        self._last, self._gap = item.captured_at, gap
        scene = _scene(item)
        if scene != self._scene:
            self._scene, self._tracker = scene, None
            self._scenes += 1
        if gap > LOST_S:
            self._tracker = None
        # What a longer silence says of the rate holds until the camera is faster again, and not a frame longer.
        known = self.rate * LOST_S >= 1 and gap <= LOST_S
        self.rate = 1 / (1 / self.rate + _RATE_WEIGHT * (gap - 1 / self.rate) if known else gap)
        if isinstance(poses, TrackedPoses):
            return self._minded(poses, scene)
        if self._tracker is None:
            self._tracker = Tracker(self.rate or 1 / self._period, lost_s=LOST_S, first=self._next_track)
        self._tracker.expect(self.rate or 1 / self._period)
        people = self._tracker.update(poses, scene[:2])
        self._next_track = self._tracker.next_number
        # After tracking, so that who crosses a zone stays the same person.
        return self._minded(people, scene)

    def finish(
        self,
        item: Frame | Sighting,
        people: TrackedPoses,
        keypoints: NDArray[np.float32],
        windows: Sequence[ScoredWindow],
        spec: WindowSpec,
    ) -> None:
        """Score a frame by the windows that it completed, and deliver it."""
        if self._online is None:
            self._online = OnlineFrameScore(spec)
        for window in windows:
            self._online.add(window)
        score = self._online.frame(item.captured_at)
        reason: MissingScore | None = None
        if math.isnan(score.raw):
            interval = 1 / self.rate if self.rate else self._gap
            too_slow = spec.max_gap_s < interval < math.inf
            reason = "nobody" if not len(people) else "frame_rate_too_low" if too_slow else "track_too_short"
        height, width, _ = _scene(item)
        self.deliver(
            Scored(
                camera_id=self.camera_id,
                sequence=item.sequence,
                captured_at=item.captured_at,
                image=item.image if isinstance(item, Frame) else None,
                width=width,
                height=height,
                track_ids=people.track_ids,
                boxes=people.boxes,
                keypoints=keypoints,
                newest=[score.people.get(self.key(track)) for track in people.track_ids],
                nll=score.nll,
                smoothed=score.smoothed,
                reason=reason,
            )
        )
        self.processed += 1
        self._under_way = False

    def rescore(self) -> None:
        """Forget the scores of the last seconds, because those to come have other weights; from any thread."""
        self._rescored = True

    def forget(self) -> None:
        """Begin anew: people get new numbers, and no window reaches back."""
        self._tracker, self._online, self._last = None, None, -math.inf

    def fail(self, error: Exception) -> None:
        """Count the frame that an exception cost, and begin anew."""
        self.abandon()
        self.forget()
        if time.monotonic() - self._complained > _COMPLAIN_S:
            self._complained = time.monotonic()
            log.error("a frame could not be processed", camera=self.camera_id, exc_info=error)

    def abandon(self) -> None:
        """Count the frame that was taken and will not be delivered, if there is one."""
        if self._under_way:
            self._lose("error")

    @property
    def dropped(self) -> dict[str, int]:
        """Frames that were not processed, by reason; together with `processed` all that arrived but the newest."""
        with self._counting:
            return dict(self._dropped)

    def key(self, track: int) -> int:
        """The track's number among those of all cameras."""
        return self.number << _TRACK_BITS | (self._scenes & 0xFF) << _SCENE_BITS | track

    def _minded(self, people: TrackedPoses, scene: tuple[int, int, int]) -> TrackedPoses:
        """Everybody but those who stand where nobody is scored."""
        height, width, _ = scene
        (kept,) = np.nonzero(~standing_in(people.boxes, self.ignore, (width, height)))
        if len(kept) == len(people):
            return people
        return TrackedPoses([people.track_ids[index] for index in kept], people.boxes[kept], people.keypoints[kept])

    def _lose(self, reason: str) -> None:
        self._under_way = False
        self._drop(reason)

    def _drop(self, reason: str, frames: int = 1) -> None:
        with self._counting:
            self._dropped[reason] += frames


def _scene(item: Frame | Sighting) -> tuple[int, int, int]:
    """Height and width of the picture, and the connection that identities belong to."""
    if isinstance(item, Sighting):
        return item.height, item.width, item.connection
    height, width = item.image.shape[:2]
    return height, width, 0


class DeviceFailed(RuntimeError):
    """The device does not compute any more; nothing but a restart may help."""


@dataclass(slots=True)
class _Seen:
    """A frame between tracking and scoring."""

    lane: Lane
    item: Frame | Sighting
    people: TrackedPoses


@dataclass(slots=True)
class _Core:
    """What a restart replaces."""

    estimator: PoseEstimator
    batch: int
    scorer: Scorer
    buffer: WindowBuffer
    failures: int = 0

    @property
    def device(self) -> torch.device:
        return self.estimator.device


class Engine:
    """Runs the live loop on a thread of its own.

    Args:
        models: Where estimator and scorer come from; nothing happens until they are loaded.
        metrics: What is counted.
    """

    def __init__(self, models: Models, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics
        self._lanes: dict[str, Lane] = {}
        self._camera_models: dict[int, CameraModel] = {}
        self._core: _Core | None = None
        self._turns = itertools.count(1)
        self._equipping = threading.Lock()
        self._condition = threading.Condition()
        self._fresh = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="engine", daemon=True)
        self.restarts = 0
        self.problem: str | None = None

    @property
    def ready(self) -> bool:
        """Whether frames are being processed."""
        return self._core is not None

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End after the current round; a device that never answers is left to the process's end."""
        self._stopping.set()
        self.wake()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)
            if self._thread.is_alive():
                log.error("the device does not answer; stopping without it", waited_s=_STOP_S)

    def add(self, lane: Lane, model: CameraModel | None = None) -> None:
        """Serve one more camera."""
        self.set_model(lane, model)
        with self._condition:
            self._lanes[lane.camera_id] = lane

    def remove(self, lane: Lane) -> None:
        """Stop serving a camera; a frame of it that is being processed may still be delivered."""
        with self._condition:
            if self._lanes.get(lane.camera_id) is lane:
                del self._lanes[lane.camera_id]
        self.set_model(lane, None)

    def set_model(self, lane: Lane, model: CameraModel | None) -> None:
        """Score a camera with a calibration and weights of its own from now on, or with those of the service."""
        # Stacking weights takes a while, and who delivers a frame must not wait for it.
        with self._equipping:
            core = self._core
            if core is not None:
                _install(core.scorer, lane.number, model)
            if model is None:
                self._camera_models.pop(lane.number, None)
            else:
                self._camera_models[lane.number] = model
        lane.rescore()

    def wake(self) -> None:
        """Tell the loop that a frame has arrived."""
        with self._condition:
            self._fresh = True
            self._condition.notify()

    def _serve(self) -> None:
        pause = _RESTART_S[0]
        while not self._stopping.is_set():
            scorer = self._models.scorer
            if scorer is None:
                self._stopping.wait(_WAIT_S)
                continue
            started = time.monotonic()
            try:
                self._open(scorer)
                while not self._stopping.is_set():
                    self._round()
            except Exception as error:
                self._core = None
                if time.monotonic() - started > _RESTART_S[1]:
                    pause = _RESTART_S[0]
                self._restart(error, pause)
                pause = min(2 * pause, _RESTART_S[1])
        self._core = None

    def _open(self, scorer: ClipScorer) -> None:
        with self._equipping:
            cameras = Scorer(scorer.scorer.checkpoint, scorer.scorer.device)
            for number, model in self._camera_models.items():
                _install(cameras, number, model)
            buffer = WindowBuffer(scorer.scorer.spec, scorer.estimator.device)
            self._core = _Core(scorer.estimator, scorer.batch, cameras, buffer)
        with self._condition:
            for lane in self._lanes.values():
                lane.forget()
        self.problem = None
        log.info("engine started", device=str(scorer.estimator.device), batch=scorer.batch)

    def _restart(self, error: Exception, pause: float) -> None:
        self.restarts += 1
        self._metrics.engine_restarts.inc()
        self.problem = f"the engine failed and starts again: {' '.join(str(error).split())[:300]}"
        log.error("engine failed; starting again", pause_s=pause, restarts=self.restarts, exc_info=error)
        self._stopping.wait(pause)
        if isinstance(error, DeviceFailed):
            self._models.reload()

    def _round(self) -> None:
        core = self._core
        assert core is not None  # noqa: S101 - set before the first round
        taken = self._take(core.batch)
        try:
            if taken:
                self._process(core, taken)
        except Exception as error:
            for lane, _ in taken:
                lane.abandon()
            _raise_if_device_failed(error)
            raise

    def _process(self, core: _Core, taken: Sequence[tuple[Lane, Frame | Sighting]]) -> None:
        with self._timed("pose"):
            found = self._find_people(core, taken)
        with self._timed("track"):
            seen = _follow(found)
        if not seen:
            return
        with self._timed("window"):
            windows = self._push(core, seen)
        if windows is None:
            return
        with self._timed("score"):
            scores = core.scorer.score(windows, windows.track_ids >> _TRACK_BITS, joints=True)
        with self._timed("publish"):
            self._deliver(core, seen, scores)
        self._metrics.engine_frames.observe(len(seen))
        self._metrics.engine_windows.observe(len(windows))

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        with self._metrics.engine_seconds.labels(stage).time():
            yield

    def _take(self, batch: int) -> list[tuple[Lane, Frame | Sighting]]:
        """Newest frames of the cameras served longest ago, at most `batch` pictures; waits for one if there is none."""
        with self._condition:
            lanes = sorted(self._lanes.values(), key=lambda lane: lane.served)
            self._fresh = False
        taken: list[tuple[Lane, Frame | Sighting]] = []
        pictures = 0
        for lane in lanes:
            if pictures == batch:
                break
            item = lane.take()
            if item is not None:
                # A number for each turn, not for each round: among equals the same cameras would always come first.
                lane.served = next(self._turns)
                pictures += isinstance(item, Frame)
                taken.append((lane, item))
        if not taken:
            soonest = min((wait for lane in lanes if (wait := lane.due_in()) > 0), default=_WAIT_S)
            with self._condition:
                if not self._fresh and not self._stopping.is_set():
                    self._condition.wait(min(soonest, _WAIT_S))
        return taken

    def _find_people(
        self, core: _Core, taken: Sequence[tuple[Lane, Frame | Sighting]]
    ) -> list[tuple[Lane, Frame | Sighting, Poses | TrackedPoses]]:
        """Pose estimation, one call for all pictures of a size: with several sizes in a call each would be padded."""
        found: list[tuple[Lane, Frame | Sighting, Poses | TrackedPoses]] = []
        by_shape: dict[tuple[int, ...], list[tuple[Lane, Frame]]] = {}
        for lane, item in taken:
            if isinstance(item, Sighting):
                found.append((lane, item, item.people))
            else:
                by_shape.setdefault(item.image.shape, []).append((lane, item))
        for group in by_shape.values():
            found.extend(self._estimate(core, group))
        return found

    def _estimate(self, core: _Core, group: Sequence[tuple[Lane, Frame]]) -> list[tuple[Lane, Frame, Poses]]:
        try:
            poses = core.estimator([frame.image for _, frame in group])
        except Exception as error:
            _raise_if_device_failed(error)
            if len(group) == 1:
                group[0][0].fail(error)
                core.failures += 1
                if core.failures == _MOST_FAILURES:
                    raise DeviceFailed(f"no picture can be looked at any more: {error}") from error
                return []
            return [one for single in group for one in self._estimate(core, [single])]
        core.failures = 0
        return [(lane, frame, found) for (lane, frame), found in zip(group, poses, strict=True)]

    def _push(self, core: _Core, seen: Sequence[_Seen]) -> Windows | None:
        times = np.concatenate([np.full(len(one.people), one.item.captured_at) for one in seen])
        keys = [one.lane.key(track) for one in seen for track in one.people.track_ids]
        keypoints = torch.cat([one.people.keypoints.to(core.device, torch.float32) for one in seen])
        try:
            return core.buffer.push(times, keys, keypoints)
        except ValueError as error:
            # The lanes let nothing pass that the buffer refuses; should that be wrong, everybody begins anew.
            for one in seen:
                one.lane.fail(error)
            core.buffer = WindowBuffer(core.buffer.spec, core.device)
            return None

    def _deliver(self, core: _Core, seen: Sequence[_Seen], scores: WindowScores) -> None:
        keypoints = torch.cat([one.people.keypoints.to(core.device) for one in seen]).cpu().numpy()
        windows: dict[int, list[ScoredWindow]] = {}
        for window in scores:
            windows.setdefault(window.track_id >> _TRACK_BITS, []).append(window)
        first = 0
        for one in seen:
            own = keypoints[first : first + len(one.people)]
            first += len(one.people)
            ready = windows.get(one.lane.number, [])
            try:
                if not all(math.isfinite(window.nll) for window in ready):
                    raise ValueError("a window of this camera has no finite score")
                one.lane.finish(one.item, one.people, own, ready, core.buffer.spec)
            except Exception as error:
                one.lane.fail(error)


def _follow(found: Sequence[tuple[Lane, Frame | Sighting, Poses | TrackedPoses]]) -> list[_Seen]:
    seen = []
    for lane, item, poses in found:
        try:
            people = lane.follow(item, poses)
        except Exception as error:
            _raise_if_device_failed(error)
            lane.fail(error)
            continue
        if people is not None:
            seen.append(_Seen(lane, item, people))
    return seen


def _install(scorer: Scorer, number: int, model: CameraModel | None) -> None:
    if model is None:
        scorer.remove_model(number)
        return
    try:
        scorer.set_model(number, model)
    except ValueError as error:
        # No reason to stop the loop: the camera is scored by the shared weights, and the others as before.
        scorer.remove_model(number)
        log.error("a camera's own weights do not fit; calibrate it again", lane=number, reason=str(error))


def _raise_if_device_failed(error: Exception) -> None:
    """Tell a device that does not compute any more from a frame that cannot be computed."""
    accelerator = getattr(torch, "AcceleratorError", torch.cuda.OutOfMemoryError)
    if isinstance(error, torch.cuda.OutOfMemoryError | accelerator) or _DEVICE_ERRORS.search(str(error)):
        raise DeviceFailed(str(error)) from error
