"""The way of one camera's frames through the engine: rate limit, tracking, smoothing and dropped frames."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from model.behaviours import BEHAVIOURS, Behaviour, Behaviours
from model.online import OnlineFrameScore
from model.scorer import ScoredWindow
from pose.estimator import Poses
from pose.source import Frame
from pose.tracker import LOST_S, TrackedPoses, Tracker
from pose.windows import WindowSpec
from service.documents.base import MissingScore
from service.live.frames import Inbox, Scored, Sighting, scene_of
from service.live.zones import Zone, standing_in
from service.scoring.reasons import reason_of

log = structlog.get_logger(__name__)

_RATE_S: Final = 1.0
"""Longest gap between two frames, in seconds, over which the processed frame rate is averaged."""

_SCENE_BITS: Final = 32
TRACK_BITS: Final = 40
"""Bits below the camera's number in a key of the window buffer, see `Lane.key`."""

_RATE_WEIGHT: Final = 0.1
"""Weight of the newest interval in the mean interval between frames."""

_COMPLAIN_S: Final = 10.0
"""Shortest time in seconds between two log lines about frames of one camera that could not be processed."""


class Lane:
    """The way of one camera's frames through the engine.

    Args:
        camera_id: Id of the camera.
        inbox: Where its frames wait.
        deliver: Called on the engine's thread with every processed frame.
        max_fps: Highest processed frame rate, in frames per second.
        ignore: Zones in which people are not scored; any thread may change them.
        behaviours: The named behaviours to look for; any thread may change them.

    Attributes:
        number: Number of the lane, unique in the process, from 1.
        processed: Number of processed frames.
        rate: Processed frame rate in frames per second; 0 until the second frame.
        served: Number of the engine's turn in which this camera was last served.
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
        behaviours: tuple[Behaviour, ...] = BEHAVIOURS,
    ) -> None:
        self.camera_id = camera_id
        self.ignore = ignore
        self.behaviours = behaviours
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
        self._behaviours: tuple[int, Behaviours] | None = None
        """The behaviours, with the number of the scene that they follow."""

    def arrived(self, *, ready: bool) -> None:
        """Count the frames that a new frame has replaced; called on the thread that delivers frames.

        Args:
            ready: Whether the engine is processing frames.
        """
        before, self._arrival = self._arrival, time.monotonic()
        overwritten = self.inbox.frames_overwritten
        if overwritten > self._overwritten:
            # The replaced frame arrived at `before`: it is overload only if a frame was due by then.
            reason = "not_ready" if not ready else "overload" if before >= self._due else "rate_limit"
            self._drop(reason, overwritten - self._overwritten)
            self._overwritten = overwritten

    def take(self) -> Frame | Sighting | None:
        """The next frame, if one is due; frames captured before that time are dropped."""
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
        """Seconds until the next frame is due; not positive if it is."""
        return self._due - time.monotonic()

    def follow(self, item: Frame | Sighting, poses: Poses | TrackedPoses) -> TrackedPoses | None:
        """Give people their track numbers, and leave out those in a zone.

        Args:
            item: The frame.
            poses: The people in it; with track numbers if a device follows them itself.

        Returns:
            The people to score; None for a frame that is not newer than the last, which is dropped.
        """
        if self._rescored:
            self._rescored, self._online = False, None
        gap = item.captured_at - self._last
        if not gap > 0:
            self._lose("out_of_order")
            return None
        self._last, self._gap = item.captured_at, gap
        scene = scene_of(item)
        if scene != self._scene:
            self._scene, self._tracker = scene, None
            self._scenes += 1
        if gap > LOST_S:
            self._tracker = None
        # The rate averages over gaps up to _RATE_S. A longer gap sets it alone, and so does the first one after it.
        known = self.rate * _RATE_S >= 1 and gap <= _RATE_S
        self.rate = 1 / (1 / self.rate + _RATE_WEIGHT * (gap - 1 / self.rate) if known else gap)
        if isinstance(poses, TrackedPoses):
            return self._outside_zones(poses, scene)
        if self._tracker is None:
            self._tracker = Tracker(first=self._next_track)
        people = self._tracker.update(poses, scene[:2], item.captured_at)
        self._next_track = self._tracker.next_number
        # After tracking, so that a person who crosses a zone keeps the track number.
        return self._outside_zones(people, scene)

    def finish(
        self,
        item: Frame | Sighting,
        people: TrackedPoses,
        keypoints: NDArray[np.float32],
        windows: Sequence[ScoredWindow],
        spec: WindowSpec,
    ) -> None:
        """Give a frame its score and deliver it.

        Args:
            item: The frame.
            people: The people in it, from `follow`.
            keypoints: Shape ``(M, 17, 3)``: their keypoints on the CPU.
            windows: Scores of the windows that this frame completed.
            spec: What a window is.
        """
        if self._online is None:
            self._online = OnlineFrameScore(spec)
        for window in windows:
            self._online.add(window)
        score = self._online.frame(item.captured_at)
        reason: MissingScore | None = None
        if math.isnan(score.raw):
            interval = 1 / self.rate if self.rate else self._gap
            too_slow = spec.max_gap_s < interval < math.inf
            reason = reason_of(people, too_slow=too_slow)
        height, width, _ = scene_of(item)
        if self._behaviours is None or self._behaviours[0] != self._scenes:
            # Track numbers of two scenes are unrelated.
            self._behaviours = self._scenes, Behaviours()
        self._behaviours[1].look_for(self.behaviours)
        findings = self._behaviours[1].observe(
            item.captured_at, people.track_ids, people.boxes, keypoints, (width, height)
        )
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
                findings=findings,
            )
        )
        self.processed += 1
        self._under_way = False

    def rescore(self) -> None:
        """Forget the scores of the last seconds, because the weights have changed; callable from any thread."""
        self._rescored = True

    def forget(self) -> None:
        """Forget people and scores: from the next frame on, tracks, windows and behaviours start again."""
        self._tracker, self._online, self._behaviours, self._last = None, None, None, -math.inf

    def fail(self, error: Exception) -> None:
        """Count a frame that could not be processed, log the error, and forget people and scores."""
        self.abandon()
        self.forget()
        if time.monotonic() - self._complained > _COMPLAIN_S:
            self._complained = time.monotonic()
            log.error("a frame could not be processed", camera=self.camera_id, exc_info=error)

    def abandon(self) -> None:
        """Count the frame that was taken and will not be delivered, if there is one, as dropped by an error."""
        if self._under_way:
            self._lose("error")

    @property
    def dropped(self) -> dict[str, int]:
        """Dropped frames by reason; with `processed` and the frames that still wait, these are all that arrived."""
        with self._counting:
            return dict(self._dropped)

    def key(self, track: int) -> int:
        """Key of a track in the window buffer, unique over all cameras.

        The camera's number is above the track's. Between them is the low byte of the scene's number, which changes with
        the size of the picture and with the device, so that no window mixes two scales or two devices.

        Args:
            track: Track number, below 2**32.
        """
        return self.number << TRACK_BITS | (self._scenes & 0xFF) << _SCENE_BITS | track

    def _outside_zones(self, people: TrackedPoses, scene: tuple[int, int, int]) -> TrackedPoses:
        """The people who stand in no zone."""
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
