"""Scores a video file; the jobs of the API and the command line share this code.

Frames come from the decoder process and go through pose estimation, tracking, the window buffer and the scorer. The
timeline joins frames and scores again, and hands over each frame as soon as its scores are final. Beside the scorer,
the named behaviours watch the same people. Skeletons without video take the same path from tracking on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, Self

import torch

from model.behaviours import BEHAVIOURS, Behaviour, Behaviours
from pose.estimator import Poses
from pose.probe import VideoInfo
from pose.tracker import Tracker
from service.clips.anomalies import find_anomalies
from service.clips.decoding import ClipLimits, ClipRejected, frames, inspect
from service.clips.timeline import ClipScoring, explain_missing_scores, explain_video
from service.documents.results import ClipInfo, ClipResult, FrameScore, ModelInfo
from service.documents.skeletons import MAX_PEOPLE, SkeletonSequence, poses_of
from service.scoring.following import followed
from service.scoring.loading import LoadedModels
from service.settings import Settings
from simulation.weights import POSE_WEIGHTS

SIMULATED: Final = (
    "scored with the demo's models, which were trained on simulated people only; for real people start daflow serve"
)
"""Note in the result of a clip that was scored in the demo."""


class ScoringCancelled(Exception):
    """The observer asked to stop."""


class ClipObserver(Protocol):
    """Receives the progress of one clip. It is called on the scoring thread, so it must not block."""

    def progress(self, done: int, total: int) -> None:
        """Report that the pose estimator has processed `done` of about `total` frames."""

    def frame(self, frame: FrameScore) -> None:
        """Hand over the final scores of the next frame, in order."""

    def cancelled(self) -> bool:
        """Whether to stop; asked at every batch of frames."""


def clip_limits(settings: Settings) -> ClipLimits:
    """The limits that the settings put on clips and their decoder."""
    return ClipLimits(
        max_seconds=settings.max_clip_seconds,
        max_pixels=settings.max_clip_pixels,
        max_fps=settings.max_clip_fps,
        stall_s=settings.decode_stall_s,
        memory_bytes=settings.decode_memory_bytes,
        budget_frames=settings.max_clip_frames,
    )


class ClipScorer:
    """Scores clips; may be used from several threads.

    Args:
        models: The loaded models.
        limits: Limits on a clip and on its decoder.
        behaviours: The named behaviours to look for.
    """

    def __init__(
        self, models: LoadedModels, limits: ClipLimits, behaviours: tuple[Behaviour, ...] = BEHAVIOURS
    ) -> None:
        self._behaviours = behaviours
        self._models = models
        self._limits = limits
        self._notes = [SIMULATED] if models.estimator.weights == POSE_WEIGHTS else []

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """Load the models that the settings name.

        Raises:
            ModelUnavailable: Weights, checkpoint or device are missing or unusable; names the setting.
        """
        return cls(LoadedModels.load(settings), clip_limits(settings))

    def score(
        self, path: Path, observer: ClipObserver, *, keypoints: bool = True, video: VideoInfo | None = None
    ) -> ClipResult:
        """Score a clip.

        Args:
            path: The video file.
            observer: Receives the progress and the scores of every frame, and can stop the work.
            keypoints: Whether the result carries the joints.
            video: What `inspect` returned for the file; None inspects it now.

        Returns:
            The scores.

        Raises:
            ClipRejected: The file is not a video within the limits.
            ScoringCancelled: The observer asked to stop.
        """
        models, info = self._models, video or inspect(path, self._limits)
        scoring = self._scoring(models.estimator.device, observer.frame, keypoints=keypoints)
        size = (info.width, info.height)
        with frames(path, self._limits, info) as source:
            for batch in followed(source, models.estimator, models.batch):
                if observer.cancelled():
                    raise ScoringCancelled
                for frame, people in batch:
                    height, width = frame.image.shape[:2]
                    size = (width, height)
                    scoring.add(frame.sequence, frame.captured_at, people, size)
                scoring.settle_some()
                observer.progress(frame.sequence + 1, max(info.frames, frame.sequence + 1))
        result = self._result(models.info, info.fps, size, scoring)
        if not result.clip.frames:
            raise ClipRejected("undecodable", f"none of the {info.frames} pictures could be decoded")
        clip = result.clip.model_copy(
            update={
                "duration_s": round(max(info.duration_s, result.frames[-1].time_s), 3),
                "codec": info.codec,
                "reader": info.reader,
                "undecoded": max(0, info.frames - result.clip.frames),
                "clock_jumps": info.clock_jumps,
            }
        )
        return result.model_copy(update={"clip": clip, "notes": [*result.notes, *explain_video(clip)]})

    def score_skeletons(self, sequence: SkeletonSequence, *, keypoints: bool = True) -> ClipResult:
        """Score skeletons without video.

        Args:
            sequence: The skeletons; people without a track number are followed by a tracker.
            keypoints: Whether the result carries the joints.

        Returns:
            The scores; times count from the first frame.
        """
        scorer = self._models.scorer
        first, last = sequence.frames[0].time_s, sequence.frames[-1].time_s
        fps = (len(sequence.frames) - 1) / (last - first) if last > first else scorer.spec.rate_hz
        tracker = Tracker()
        scoring = self._scoring(torch.device("cpu"), lambda _: None, keypoints=keypoints)
        size = (sequence.width, sequence.height)
        for number, frame in enumerate(sequence.frames):
            people = poses_of(frame, sequence)
            if isinstance(people, Poses):
                people = tracker.update(people, size[::-1], frame.time_s)
            scoring.add(number, frame.time_s - first, people, size)
            scoring.settle_some()
        without_pose = self._models.info.model_copy(update={"pose_weights": None, "pose_runtime": None})
        result = self._result(without_pose, fps, size, scoring)
        surplus = [frame.surplus for frame in sequence.frames if frame.surplus]
        if not surplus:
            return result
        note = (
            f"{len(surplus)} frames hold more than {MAX_PEOPLE} people; those with the highest confidence were "
            f"scored, and {sum(surplus)} people were left out"
        )
        return result.model_copy(update={"notes": [*result.notes, note]})

    def _scoring(self, device: torch.device, on_frame: Callable[[FrameScore], None], *, keypoints: bool) -> ClipScoring:
        models = self._models
        return ClipScoring(
            models.scorer, Behaviours(self._behaviours), device, on_frame, keypoints=keypoints, usual=models.usual
        )

    def _result(self, model: ModelInfo, fps: float, size: tuple[int, int], scoring: ClipScoring) -> ClipResult:
        scorer, threshold = self._models.scorer, self._models.threshold
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
            threshold=threshold,
            frames=scores,
            tracks=scoring.timeline.tracks(),
            anomalies=find_anomalies(scores, scoring.fired, threshold.level, scorer.calibration.merge_s),
            notes=[*self._notes, *explain_missing_scores(scores, duration, scorer.spec)],
        )
