"""One camera's way through the live loop: turns, tracking, windows, counted drops."""

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

from model.online import OnlineFrameScore
from model.scorer import ScoredWindow
from pose.estimator import Poses
from pose.source import Frame
from pose.tracker import TrackedPoses, Tracker
from pose.windows import WindowSpec
from service.documents.base import MissingScore
from service.live.frames import Inbox, Scored, Sighting, _scene
from service.live.zones import Zone, standing_in

log = structlog.get_logger(__name__)

LOST_S: Final = 1.0
"""Seconds for which a person out of sight keeps the number; a longer silence of the camera begins with new people."""

_SCENE_BITS: Final = 32
_TRACK_BITS: Final = 40
"""A key of the window buffer is the camera's number above, the track's below: no two cameras ever share one. Between
them is the low byte of the scene's number: no window holds poses on two scales, or of two devices."""

_RATE_WEIGHT: Final = 0.1
_COMPLAIN_S: Final = 10.0


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
