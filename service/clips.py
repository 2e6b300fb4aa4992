"""From a video file to its scores: the one path that the API's jobs and the command line share.

Frames come from the decoder process and go through pose estimation, tracking, the window buffer and the scorer; the
timeline joins frames and scores again and gives each frame away as soon as its scores are final. Skeletons that come
without video take the same path from tracking on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import structlog
import torch

from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint, CheckpointError
from model.scorer import DeviceUnavailableError, Scorer, available_device
from pose.estimator import PoseEstimator, Poses, WeightsUnavailable, configure_ultralytics, find_weights
from pose.source import Frame, VideoInfo
from pose.tracker import TrackedPoses, Tracker
from pose.windows import WindowBuffer, Windows
from service.decoding import ClipLimits, frames, inspect
from service.results import ClipInfo, ClipResult, FrameScore, ModelInfo, Threshold
from service.settings import Settings
from service.skeletons import SkeletonSequence, poses_of
from service.timeline import Timeline, explain_missing_scores, find_anomalies
from simulation.weights import POSE_WEIGHTS

SIMULATED: Final = (
    "people were looked for with the demo's model, which knows nothing of real ones; for those start daflow serve"
)
"""What is noted of a clip that was scored in the demo."""

log = structlog.get_logger(__name__)

_CPU_BATCH: Final = 1
_GPU_BATCH: Final = 16
"""Frames in one call of the estimator. A CPU gains nothing from more; a GPU is idle with less."""

_SCORE_EVERY: Final = 16
"""Frames between two calls of the scorer, which costs about as much for many windows as for one."""


class Cancelled(Exception):
    """The observer asked to stop."""


class ModelUnavailable(RuntimeError):
    """The models cannot be loaded.

    Attributes:
        setting: Name of the variable that fixes it.
    """

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(message)
        self.setting = setting


class ClipObserver(Protocol):
    """Who watches a clip being scored; called on the scoring thread, so it must not block."""

    def progress(self, done: int, total: int) -> None:
        """Tell that `done` of about `total` frames have been through the pose estimator."""

    def frame(self, frame: FrameScore) -> None:
        """Hand over the final scores of the next frame, in order."""

    def cancelled(self) -> bool:
        """Say whether to stop; asked at every batch of frames."""


def clip_limits(settings: Settings) -> ClipLimits:
    """The limits that the settings put on clips and their decoder."""
    return ClipLimits(
        max_seconds=settings.max_clip_seconds,
        max_pixels=settings.max_clip_pixels,
        max_fps=settings.max_clip_fps,
        stall_s=settings.decode_stall_s,
        memory_bytes=settings.decode_memory_bytes,
    )


def load_checkpoint(settings: Settings) -> Checkpoint:
    """The DA-Flow checkpoint that the settings name, with its witnesses or without.

    Raises:
        CheckpointError: The file is no checkpoint.
        OSError: It cannot be read.
    """
    checkpoint = Checkpoint.load(settings.checkpoint or DEFAULT_CHECKPOINT)
    return checkpoint if settings.sum_parts else checkpoint.pose_alone()


def resolve_device(device: str) -> torch.device:
    """Turn the setting into a device that exists.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. Only ``auto`` may fall back to the CPU.

    Raises:
        ModelUnavailable: The device was asked for by name and is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return available_device(device)
    except DeviceUnavailableError as error:
        raise ModelUnavailable(
            "DAFLOW_DEVICE",
            f"{error}; install the driver (in Docker, the NVIDIA container toolkit) or set DAFLOW_DEVICE=cpu",
        ) from error


def load_estimator(settings: Settings) -> PoseEstimator:
    """Load the pose weights that the settings name, on the device that they name.

    Raises:
        ModelUnavailable: Weights or device are missing or unusable; names the setting.
    """
    try:
        configure_ultralytics(settings.data_dir / "ultralytics")
    except OSError as error:
        raise ModelUnavailable(
            "DAFLOW_DATA_DIR", f"the data folder {settings.data_dir} cannot be written: {error.strerror}"
        ) from error
    return _load_estimator(settings, resolve_device(settings.device))


def pose_batch(settings: Settings, estimator: PoseEstimator) -> int:
    """Frames in one call of the estimator."""
    return settings.pose_batch or (_CPU_BATCH if estimator.device.type == "cpu" else _GPU_BATCH)


def followed(
    source: Iterator[Frame], estimator: PoseEstimator, fps: float, batch: int
) -> Iterator[list[tuple[Frame, TrackedPoses]]]:
    """Find and follow people through a clip.

    Args:
        source: All frames of the clip.
        estimator: Finds people and their joints.
        fps: Frames per second of the clip.
        batch: Frames in one call of the estimator.

    Yields:
        The next frames and who is in them.
    """
    tracker = Tracker(fps)
    while some := list(islice(source, batch)):
        found = estimator([frame.image for frame in some])
        yield [
            (frame, tracker.update(poses, (frame.image.shape[0], frame.image.shape[1])))
            for frame, poses in zip(some, found, strict=True)
        ]


class ClipScorer:
    """Scores clips; loads the models once and may be used from several threads.

    Args:
        estimator: Finds people and their joints; live cameras share it.
        scorer: Scores their windows.
        limits: What a clip may be.
        false_alarms_per_hour: Where the threshold lies on the scorer's calibration.
        batch: Frames in one call of the estimator.

    Raises:
        ValueError: The calibration has no threshold for that rate of false alarms.
    """

    def __init__(
        self,
        estimator: PoseEstimator,
        scorer: Scorer,
        limits: ClipLimits,
        *,
        false_alarms_per_hour: float = 1.0,
        batch: int = 1,
    ) -> None:
        self.estimator = estimator
        self.scorer = scorer
        self._limits = limits
        self.batch = batch
        self._notes = [SIMULATED] if estimator.weights == POSE_WEIGHTS else []
        self.model = ModelInfo(
            checkpoint=scorer.checkpoint.name,
            parameters=scorer.parameters,
            window=scorer.spec.length,
            rate_hz=scorer.spec.rate_hz,
            pose_weights=estimator.weights.name,
        )
        self.threshold = Threshold(
            level=scorer.calibration.threshold(false_alarms_per_hour),
            false_alarms_per_hour=false_alarms_per_hour,
        )

    @classmethod
    def load(cls, settings: Settings) -> ClipScorer:
        """Load the models that the settings name.

        Raises:
            ModelUnavailable: Weights, checkpoint or device are missing or unusable; names the setting.
        """
        estimator = load_estimator(settings)
        try:
            scorer = Scorer(load_checkpoint(settings), estimator.device)
        except (CheckpointError, OSError) as error:
            raise ModelUnavailable("DAFLOW_CHECKPOINT", str(error)) from error
        try:
            return cls(
                estimator,
                scorer,
                clip_limits(settings),
                false_alarms_per_hour=settings.false_alarms_per_hour,
                batch=pose_batch(settings, estimator),
            )
        except ValueError as error:
            raise ModelUnavailable("DAFLOW_FALSE_ALARMS_PER_HOUR", str(error)) from error

    def score(
        self, path: Path, observer: ClipObserver, *, keypoints: bool = True, video: VideoInfo | None = None
    ) -> ClipResult:
        """Score a clip.

        Args:
            path: The video file.
            observer: Hears of progress and of every frame's scores, and can stop the work.
            keypoints: Whether the result carries the joints.
            video: What `inspect` said of the file when it was accepted; None inspects it now.

        Returns:
            The scores.

        Raises:
            ClipRejected: The file is not a video within the limits.
            Cancelled: The observer asked to stop.
        """
        info = video or inspect(path, self._limits)
        scoring = _Scoring(self.scorer, self.estimator.device, observer.frame, keypoints=keypoints)
        size = (info.width, info.height)
        with frames(path, self._limits) as source:
            for batch in followed(source, self.estimator, info.fps, self.batch):
                if observer.cancelled():
                    raise Cancelled
                for frame, people in batch:
                    height, width = frame.image.shape[:2]
                    size = (width, height)
                    scoring.add(frame.sequence, frame.captured_at, people)
                scoring.settle_some()
                observer.progress(frame.sequence + 1, max(info.frames, frame.sequence + 1))
        return self._result(self.model, info.fps, size, scoring)

    def score_skeletons(self, sequence: SkeletonSequence, *, keypoints: bool = True) -> ClipResult:
        """Score skeletons that came without video.

        Args:
            sequence: The skeletons; people without a number are followed by a tracker.
            keypoints: Whether the result carries the joints.

        Returns:
            The scores; times count from the first frame.
        """
        first, last = sequence.frames[0].time_s, sequence.frames[-1].time_s
        fps = (len(sequence.frames) - 1) / (last - first) if last > first else self.scorer.spec.rate_hz
        tracker = Tracker(fps)
        scoring = _Scoring(self.scorer, torch.device("cpu"), lambda _: None, keypoints=keypoints)
        size = (sequence.width, sequence.height)
        for number, frame in enumerate(sequence.frames):
            people = poses_of(frame)
            if isinstance(people, Poses):
                people = tracker.update(people, size[::-1])
            scoring.add(number, frame.time_s - first, people)
            scoring.settle_some()
        return self._result(self.model.model_copy(update={"pose_weights": None}), fps, size, scoring)

    def _result(self, model: ModelInfo, fps: float, size: tuple[int, int], scoring: _Scoring) -> ClipResult:
        scores = scoring.finish()
        duration = scores[-1].time_s + 1 / fps if scores else 0.0
        clip = ClipInfo(
            frames=len(scores),
            fps=round(fps, 3),
            width=size[0],
            height=size[1],
            duration_s=round(duration, 3),
        )
        return ClipResult(
            clip=clip,
            model=model,
            threshold=self.threshold,
            frames=scores,
            tracks=scoring.timeline.tracks(),
            anomalies=find_anomalies(scores, self.threshold.level, self.scorer.calibration.merge_s),
            notes=[*self._notes, *explain_missing_scores(scores, duration, self.scorer.spec)],
        )


class _Scoring:
    """One clip on its way from people with identities to final scores of its frames."""

    def __init__(
        self, scorer: Scorer, device: torch.device, on_frame: Callable[[FrameScore], None], *, keypoints: bool
    ) -> None:
        self.timeline = Timeline(scorer.spec, keypoints=keypoints)
        self._scorer = scorer
        self._buffer = WindowBuffer(scorer.spec, device)
        self._on_frame = on_frame
        self._windows: list[Windows] = []
        self._settled: list[FrameScore] = []
        self._waiting = 0
        self._newest = 0.0

    def add(self, sequence: int, time: float, people: TrackedPoses) -> None:
        """Append the next frame."""
        times = np.full(len(people), time)
        self._windows.append(self._buffer.push(times, people.track_ids, people.keypoints))
        self.timeline.add_frame(sequence, time, people)
        self._waiting += 1
        self._newest = time

    def settle_some(self) -> None:
        """Score what has come together, if that is enough for a call of the scorer."""
        if self._waiting >= _SCORE_EVERY:
            self._settle(self._newest)

    def finish(self) -> list[FrameScore]:
        """All frames, in order; nothing can be added after that."""
        self._settle(np.inf)
        return self._settled

    def _settle(self, scored_until: float) -> None:
        self._waiting = 0
        if self._windows:
            self.timeline.add_scores(self._scorer.score(Windows.concatenate(self._windows)))
            self._windows.clear()
        for frame in self.timeline.settle(scored_until):
            self._settled.append(frame)
            self._on_frame(frame)


def _load_estimator(settings: Settings, device: torch.device) -> PoseEstimator:
    try:
        weights = find_weights(settings.pose_weights, settings.data_dir / "weights")
        estimator = PoseEstimator(
            weights, device, image_size=settings.pose_image_size, confidence=settings.pose_confidence
        )
    except WeightsUnavailable as error:
        raise ModelUnavailable("DAFLOW_POSE_WEIGHTS", str(error)) from error
    if estimator.device.type != device.type:
        missing = (
            f"{weights.name} runs on {estimator.device.type}, not on {device.type}, because its runtime lacks support "
            "for it; use .pt weights, or for ONNX install onnxruntime-gpu in place of onnxruntime"
        )
        if settings.device != "auto":
            raise ModelUnavailable("DAFLOW_DEVICE", missing)
        log.warning("slower than this machine could be", reason=missing)
    return estimator
