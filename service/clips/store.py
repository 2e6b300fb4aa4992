"""Clip jobs in the database: a durable queue, safe to use from many threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, String, func, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from pose.probe import VideoInfo
from service.storage.database import Base, Clock, Counter, Database, Turn, Utc, take_turn, utc_now


class ClipState(StrEnum):
    """State of a clip."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to the clip."""
        return not TRANSITIONS[self]


TRANSITIONS: Final[Mapping[ClipState, frozenset[ClipState]]] = {
    ClipState.QUEUED: frozenset({ClipState.RUNNING, ClipState.CANCELLED}),
    # Back to queued when the service stops or was killed while the clip was scored.
    ClipState.RUNNING: frozenset({ClipState.QUEUED, ClipState.DONE, ClipState.FAILED, ClipState.CANCELLED}),
    ClipState.DONE: frozenset(),
    ClipState.FAILED: frozenset(),
    ClipState.CANCELLED: frozenset(),
}


class IllegalClipTransition(RuntimeError):
    """The clip cannot go from its current state to the wanted one."""

    def __init__(self, clip_id: str, current: ClipState, wanted: ClipState) -> None:
        super().__init__(f"clip {clip_id} is {current} and cannot become {wanted}")
        self.current = current
        self.wanted = wanted


class UnknownClip(LookupError):
    """There is no clip with this id."""

    def __init__(self, clip_id: str) -> None:
        super().__init__(f"there is no clip {clip_id}")
        self.clip_id = clip_id


class QueueFull(RuntimeError):
    """The queue holds as many clips as it may."""


@dataclass(frozen=True, slots=True)
class ClipJob:
    """One clip in the store.

    Attributes:
        sequence: Order of arrival, unique.
        id: Random name in URLs and on disk, which cannot be guessed.
        state: State of the clip.
        filename: Name of the file from the client; untrusted text.
        size_bytes: Length of the upload.
        keypoints: Whether the result carries joints.
        video: Properties of the video, as probed.
        attempts: How often scoring was started.
        frames_done: Frames scored when the clip was last written to the store.
        frames_total: Frames to score.
        error_cause: Stable slug of the failure; None unless the clip failed.
        error_detail: The same as a sentence.
        created_at: When the clip was accepted.
        started_at: When scoring was last started.
        finished_at: When the clip was done, failed or cancelled.
    """

    sequence: int
    id: str
    state: ClipState
    filename: str | None
    size_bytes: int
    keypoints: bool
    video: VideoInfo
    attempts: int
    frames_done: int
    frames_total: int
    error_cause: str | None
    error_detail: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ClipRow(Base):
    """Table of clip jobs; see `ClipJob` for the columns."""

    __tablename__ = "clips"

    sequence: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    filename: Mapped[str | None] = mapped_column(String(255))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    keypoints: Mapped[bool]
    video: Mapped[dict[str, Any]] = mapped_column(JSON)
    attempts: Mapped[int] = mapped_column(default=0)
    frames_done: Mapped[int] = mapped_column(default=0)
    frames_total: Mapped[int]
    error_cause: Mapped[str | None] = mapped_column(String(64))
    error_detail: Mapped[str | None] = mapped_column(String(1000))
    created_at: Mapped[datetime] = mapped_column(Utc)
    started_at: Mapped[datetime | None] = mapped_column(Utc)
    finished_at: Mapped[datetime | None] = mapped_column(Utc)

    def job(self) -> ClipJob:
        """A copy that can be used after the session has ended."""
        values = {column.name: getattr(self, column.name) for column in self.__table__.columns}
        return ClipJob(**values | {"state": ClipState(self.state), "video": VideoInfo(**self.video)})


class ClipStore:
    """Clip jobs in the database. Every method is one transaction."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self.database = database
        self._clock = clock
        self._sessions = database.sessions

    def enqueue(
        self, clip_id: str, *, filename: str | None, size_bytes: int, keypoints: bool, video: VideoInfo, limit: int
    ) -> ClipJob:
        """Add a clip to the end of the queue.

        Raises:
            QueueFull: `limit` clips are waiting already.
        """
        row = ClipRow(
            id=clip_id,
            state=ClipState.QUEUED,
            filename=filename,
            size_bytes=size_bytes,
            keypoints=keypoints,
            video=asdict(video),
            attempts=0,
            frames_done=0,
            frames_total=video.frames,
            created_at=self._clock(),
        )
        with self._sessions.begin() as session:
            take_turn(session, Turn.ENQUEUE)
            if _count(session, ClipState.QUEUED) >= limit:
                raise QueueFull(f"{limit} clips are waiting already")
            session.add(row)
            session.flush()
            return row.job()

    def claim(self, most_frames: int | None = None) -> ClipJob | None:
        """Start the clip that has waited longest; each goes to one caller only. None when no clip waits.

        Args:
            most_frames: Only a clip with at most so many frames; None for any.
        """
        waiting = select(ClipRow.sequence).where(ClipRow.state == ClipState.QUEUED)
        if most_frames is not None:
            waiting = waiting.where(ClipRow.frames_total <= most_frames)
        oldest = waiting.order_by(ClipRow.sequence).limit(1).with_for_update(skip_locked=True).scalar_subquery()
        with self._sessions.begin() as session:
            row = session.scalars(
                update(ClipRow)
                .where(ClipRow.sequence == oldest, ClipRow.state == ClipState.QUEUED)
                .values(state=ClipState.RUNNING, attempts=ClipRow.attempts + 1, frames_done=0, started_at=self._clock())
                .returning(ClipRow)
            ).one_or_none()
            return row.job() if row else None

    def finish(self, clip_id: str, *, frames: int) -> ClipJob:
        """Mark a running clip as done; its result is on disk."""
        return self._move(clip_id, ClipState.DONE, frames_done=frames, frames_total=frames, finished_at=self._clock())

    def fail(self, clip_id: str, cause: str, detail: str) -> ClipJob:
        """Mark a running clip as failed."""
        return self._move(
            clip_id, ClipState.FAILED, error_cause=cause[:64], error_detail=detail[:1000], finished_at=self._clock()
        )

    def cancel(self, clip_id: str) -> ClipJob:
        """Mark a waiting or running clip as cancelled."""
        return self._move(clip_id, ClipState.CANCELLED, finished_at=self._clock())

    def put_back(self, clip_id: str) -> ClipJob:
        """Return a running clip to its old place in the queue; the start does not count as an attempt."""
        return self._move(clip_id, ClipState.QUEUED, attempts=ClipRow.attempts - 1, started_at=None)

    def recover(self, max_attempts: int, has_result: Callable[[str], bool]) -> list[ClipJob]:
        """Decide about the clips that were running when the last process died.

        A clip whose result is on disk is done; one that was started `max_attempts` times has failed; the others wait
        again.

        Args:
            max_attempts: Number of starts after which a clip fails.
            has_result: Whether the result of the clip with this id is on disk.

        Returns:
            The clips in their new state.
        """
        settled = []
        for job in self._running():
            if has_result(job.id):
                settled.append(self.finish(job.id, frames=job.frames_total))
            elif job.attempts >= max_attempts:
                detail = f"scoring was interrupted {job.attempts} times, most likely by a crash; it is not tried again"
                settled.append(self.fail(job.id, "interrupted", detail))
            else:
                settled.append(self._move(job.id, ClipState.QUEUED, started_at=None))
        return settled

    def get(self, clip_id: str) -> ClipJob:
        """One clip.

        Raises:
            UnknownClip: There is none.
        """
        with self._sessions() as session:
            return _row(session, clip_id).job()

    def page(
        self, *, limit: int, before: int | None = None, state: ClipState | None = None
    ) -> tuple[list[ClipJob], bool]:
        """Clips, newest first.

        Args:
            limit: Most clips to return.
            before: Only clips that arrived before this `ClipJob.sequence`.
            state: Only clips in this state.

        Returns:
            The clips, and whether there are more.
        """
        query = select(ClipRow).order_by(ClipRow.sequence.desc()).limit(limit + 1)
        if before is not None:
            query = query.where(ClipRow.sequence < before)
        if state is not None:
            query = query.where(ClipRow.state == state)
        with self._sessions() as session:
            jobs = [row.job() for row in session.scalars(query)]
        return jobs[:limit], len(jobs) > limit

    def delete(self, clip_id: str) -> ClipJob:
        """Delete a clip in any state; the caller deletes its files.

        Raises:
            UnknownClip: There is none.
        """
        with self._sessions.begin() as session:
            row = _row(session, clip_id)
            job = row.job()
            session.delete(row)
            return job

    def count(self) -> dict[ClipState, int]:
        """Number of clips in each state."""
        with self._sessions() as session:
            rows = session.execute(select(ClipRow.state, func.count()).group_by(ClipRow.state))
            found = {ClipState(state): number for state, number in rows}
        return {state: found.get(state, 0) for state in ClipState}

    def ids(self) -> set[str]:
        """Ids of all clips."""
        with self._sessions() as session:
            return set(session.scalars(select(ClipRow.id)))

    def finished(self) -> list[ClipJob]:
        """Clips that have finished, in the order in which they finished."""
        states = [state for state in ClipState if state.finished]
        query = select(ClipRow).where(ClipRow.state.in_(states)).order_by(ClipRow.finished_at, ClipRow.sequence)
        with self._sessions() as session:
            return [row.job() for row in session.scalars(query)]

    def running(self) -> set[str]:
        """Ids of the clips that are running."""
        return {job.id for job in self._running()}

    def _running(self) -> list[ClipJob]:
        query = select(ClipRow).where(ClipRow.state == ClipState.RUNNING).order_by(ClipRow.sequence)
        with self._sessions() as session:
            return [row.job() for row in session.scalars(query)]

    def _move(self, clip_id: str, wanted: ClipState, **values: Any) -> ClipJob:
        origins = [state for state, targets in TRANSITIONS.items() if wanted in targets]
        with self._sessions.begin() as session:
            row = session.scalars(
                update(ClipRow)
                .where(ClipRow.id == clip_id, ClipRow.state.in_(origins))
                .values(state=wanted, **values)
                .returning(ClipRow)
            ).one_or_none()
            if row is None:
                raise IllegalClipTransition(clip_id, ClipState(_row(session, clip_id).state), wanted)
            return row.job()


def _count(session: Session, state: ClipState) -> int:
    return session.scalar(select(func.count()).where(ClipRow.state == state)) or 0


def _row(session: Session, clip_id: str) -> ClipRow:
    row = session.scalars(select(ClipRow).where(ClipRow.id == clip_id)).one_or_none()
    if row is None:
        raise UnknownClip(clip_id)
    return row
