"""Tables of clips and their callbacks, and the values that are made of their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from pose.probe import VideoInfo
from service.storage.database import Base, Counter, Utc

PROBLEM: Final = 1000
"""Most characters of the reason for a failed callback."""


class ClipState(StrEnum):
    """State of a clip."""

    FETCHING = "fetching"
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
    ClipState.FETCHING: frozenset({ClipState.QUEUED, ClipState.FAILED, ClipState.CANCELLED}),
    ClipState.QUEUED: frozenset({ClipState.RUNNING, ClipState.CANCELLED}),
    # Back to queued when the service stops or was killed while the clip was scored.
    ClipState.RUNNING: frozenset({ClipState.QUEUED, ClipState.DONE, ClipState.FAILED, ClipState.CANCELLED}),
    ClipState.DONE: frozenset(),
    ClipState.FAILED: frozenset(),
    ClipState.CANCELLED: frozenset(),
}


class CallbackState(StrEnum):
    """State of a callback."""

    PENDING = "pending"
    """It is posted when the clip has finished, and again until it was accepted."""
    DELIVERED = "delivered"
    DEAD = "dead"
    """It was given up."""


@dataclass(frozen=True, slots=True)
class Callback:
    """Where to post that a clip has finished, and what became of it.

    Attributes:
        url: The address without credentials.
        state: State of the callback.
        attempts: Number of attempts so far.
        problem: Why the last attempt failed.
        next_at: When the next attempt is made, once the clip has finished.
    """

    url: str
    state: CallbackState
    attempts: int
    problem: str | None
    next_at: datetime


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
        video: Properties of the video, as probed; None until it was fetched.
        attempts: How often scoring was started; while it is fetched, how often that was.
        frames_done: Frames scored when the clip was last written to the store.
        frames_total: Frames to score.
        error_cause: Stable slug of the failure; None unless the clip failed.
        error_detail: The same as a sentence.
        created_at: When the clip was accepted.
        started_at: When scoring was last started.
        finished_at: When the clip was done, failed or cancelled.
        url: Address that it is or was fetched from, without credentials; None for an upload.
        callback: Where to post that it has finished; None if nowhere.
    """

    sequence: int
    id: str
    state: ClipState
    filename: str | None
    size_bytes: int
    keypoints: bool
    video: VideoInfo | None
    attempts: int
    frames_done: int
    frames_total: int
    error_cause: str | None
    error_detail: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    url: str | None
    callback: Callback | None


class CallbackRow(Base):
    """Table of callbacks; see `Callback` for the columns."""

    __tablename__ = "callbacks"
    __table_args__ = (Index("ix_callbacks_state_next_at", "state", "next_at"),)

    clip_id: Mapped[str] = mapped_column(String(32), ForeignKey("clips.id", ondelete="CASCADE"), primary_key=True)
    address: Mapped[str] = mapped_column(Text)
    """The address, encrypted."""
    url: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(default=0)
    problem: Mapped[str | None] = mapped_column(String(PROBLEM))
    next_at: Mapped[datetime] = mapped_column(Utc)

    def callback(self) -> Callback:
        """A copy that can be used after the session has ended."""
        return Callback(self.url, CallbackState(self.state), self.attempts, self.problem, self.next_at)


class ClipRow(Base):
    """Table of clip jobs; see `ClipJob` for the columns."""

    __tablename__ = "clips"

    sequence: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    filename: Mapped[str | None] = mapped_column(String(255))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    keypoints: Mapped[bool]
    video: Mapped[dict[str, Any] | None] = mapped_column(JSON, nullable=False)
    """JSON's null until the video was fetched."""
    attempts: Mapped[int] = mapped_column(default=0)
    frames_done: Mapped[int] = mapped_column(default=0)
    frames_total: Mapped[int]
    error_cause: Mapped[str | None] = mapped_column(String(64))
    error_detail: Mapped[str | None] = mapped_column(String(1000))
    created_at: Mapped[datetime] = mapped_column(Utc)
    started_at: Mapped[datetime | None] = mapped_column(Utc)
    finished_at: Mapped[datetime | None] = mapped_column(Utc)
    url: Mapped[str | None] = mapped_column(Text)
    address: Mapped[str | None] = mapped_column(Text)
    """The address that it is fetched from, encrypted; None when it is no longer needed."""
    callback: Mapped[CallbackRow | None] = relationship(
        lazy="selectin", cascade="all, delete-orphan", passive_deletes=True
    )

    def job(self) -> ClipJob:
        """A copy that can be used after the session has ended."""
        values = {column.name: getattr(self, column.name) for column in self.__table__.columns}
        del values["address"]
        return ClipJob(
            **values
            | {
                "state": ClipState(self.state),
                "video": None if self.video is None else VideoInfo(**self.video),
                "callback": None if self.callback is None else self.callback.callback(),
            }
        )
