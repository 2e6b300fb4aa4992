"""The live loop: takes the newest frames of all cameras, finds and follows people, and scores their windows.

One thread owns the device. It takes the newest frames and never waits for a single camera. The camera served longest
ago comes first. Under overload, frames are therefore dropped instead of queued, and every camera gets its share. An
exception in the processing of one camera costs that camera one frame. After a device failure the loop restarts with
freshly loaded models.
"""

from __future__ import annotations

import itertools
import math
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog
import torch

from model.scorer import CameraModel, ScoredWindow, Scorer, WindowScores
from pose.estimator import PoseEstimator, Poses
from pose.source import Frame
from pose.tracker import TrackedPoses
from pose.windows import WindowBuffer, Windows
from service.live.frames import Sighting
from service.live.lane import TRACK_BITS, Lane
from service.metrics import Metrics
from service.scoring.keeper import ModelKeeper
from service.scoring.loading import LoadedModels

log = structlog.get_logger(__name__)

_WAIT_S: Final = 0.25
_STOP_S: Final = 10.0
_RESTART_S: Final = (0.5, 30.0)
"""First and longest pause in seconds before the loop restarts after a failure."""
_MOST_FAILURES: Final = 50
"""After this many pictures in a row that cannot be processed, of any cameras, the device counts as failed."""

_DEVICE_ERRORS: Final = re.compile(r"(CUDA|CUDNN|CUBLAS|HIP) (error|failure|driver)|CU(BLAS|DNN)_STATUS", re.IGNORECASE)
"""Device errors by their text: torch and ONNX Runtime raise most of them as a plain RuntimeError."""


class DeviceFailed(RuntimeError):
    """The device no longer computes; the loop has to restart."""


@dataclass(slots=True)
class _Seen:
    """A frame between tracking and scoring."""

    lane: Lane
    item: Frame | Sighting
    people: TrackedPoses


@dataclass(slots=True)
class _Core:
    """Models and buffers, which a restart replaces.

    Attributes:
        estimator: Finds people in pictures.
        batch: Most pictures in one call of the estimator.
        scorer: Scores windows.
        buffer: Cuts windows.
        failures: Pictures in a row that could not be processed.
    """

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
        models: Provides estimator and scorer; the loop waits until they are loaded.
        metrics: Counters and times of the engine.

    Attributes:
        restarts: How often the loop has restarted after a failure.
        problem: Why the loop failed, until it works again; None if it works.
    """

    def __init__(self, models: ModelKeeper, metrics: Metrics) -> None:
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
        """Start the loop."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current round; if the device does not answer within 10 seconds, stop waiting for it."""
        self._stopping.set()
        self.wake()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)
            if self._thread.is_alive():
                log.error("the device does not answer; stopping without it", waited_s=_STOP_S)

    def add(self, lane: Lane, model: CameraModel | None = None) -> None:
        """Serve one more camera, with its own calibration and weights if it has any."""
        self.set_model(lane, model)
        with self._condition:
            self._lanes[lane.camera_id] = lane

    def remove(self, lane: Lane) -> None:
        """Stop serving a camera; a frame that is being processed may still be delivered."""
        with self._condition:
            if self._lanes.get(lane.camera_id) is lane:
                del self._lanes[lane.camera_id]
        self.set_model(lane, None)

    def set_model(self, lane: Lane, model: CameraModel | None) -> None:
        """Score a camera with its own calibration and weights from now on; None uses those of the service."""
        # Stacking weights takes a while, and must not delay threads that deliver frames.
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
            models = self._models.loaded
            if models is None:
                self._stopping.wait(_WAIT_S)
                continue
            started = time.monotonic()
            try:
                self._open(models)
                while not self._stopping.is_set():
                    self._round()
            except Exception as error:
                self._core = None
                if time.monotonic() - started > _RESTART_S[1]:
                    pause = _RESTART_S[0]
                self._restart(error, pause)
                pause = min(2 * pause, _RESTART_S[1])
        self._core = None

    def _open(self, models: LoadedModels) -> None:
        with self._equipping:
            cameras = Scorer(models.scorer.checkpoint, models.scorer.device)
            for number, model in self._camera_models.items():
                _install(cameras, number, model)
            buffer = WindowBuffer(models.scorer.spec, models.estimator.device)
            self._core = _Core(models.estimator, models.batch, cameras, buffer)
        with self._condition:
            for lane in self._lanes.values():
                lane.forget()
        self.problem = None
        log.info("engine started", device=str(models.estimator.device), batch=models.batch)

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
            scores = core.scorer.score(windows, windows.track_ids >> TRACK_BITS, joints=True)
        with self._timed("publish"):
            self._deliver(core, seen, scores)
        self._metrics.engine_frames.observe(len(seen))
        self._metrics.engine_windows.observe(len(windows))

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        with self._metrics.engine_seconds.labels(stage).time():
            yield

    def _take(self, batch: int) -> list[tuple[Lane, Frame | Sighting]]:
        """Take the newest frames of the cameras served longest ago, at most `batch` pictures; wait if there is none."""
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
                # Count turns, not rounds: with equal numbers the same cameras would always come first.
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
        """Find people in all pictures, one call per picture size: pictures of several sizes would be padded."""
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
                    raise DeviceFailed(f"no picture can be processed: {error}") from error
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
            # The lanes should have dropped frames that the buffer refuses; if not, all cameras start again.
            for one in seen:
                one.lane.fail(error)
            core.buffer = WindowBuffer(core.buffer.spec, core.device)
            return None

    def _deliver(self, core: _Core, seen: Sequence[_Seen], scores: WindowScores) -> None:
        keypoints = torch.cat([one.people.keypoints.to(core.device) for one in seen]).cpu().numpy()
        windows: dict[int, list[ScoredWindow]] = {}
        for window in scores:
            windows.setdefault(window.track_id >> TRACK_BITS, []).append(window)
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
        # The loop goes on: this camera is scored with the shared weights, and the others as before.
        scorer.remove_model(number)
        log.error("a camera's own weights do not fit; calibrate it again", lane=number, reason=str(error))


def _raise_if_device_failed(error: Exception) -> None:
    """Raise `DeviceFailed` if an error comes from the device and not from the frame."""
    accelerator = getattr(torch, "AcceleratorError", torch.cuda.OutOfMemoryError)
    if isinstance(error, torch.cuda.OutOfMemoryError | accelerator) or _DEVICE_ERRORS.search(str(error)):
        raise DeviceFailed(str(error)) from error
