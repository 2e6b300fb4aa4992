"""Clip jobs in the database: a durable queue, safe to use from many threads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from dataclasses import asdict
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from pose.probe import VideoInfo
from service.addresses.urls import StreamUrl
from service.clips.forms import safe_filename
from service.clips.tables import PROBLEM, TRANSITIONS, CallbackRow, CallbackState, ClipJob, ClipRow, ClipState
from service.storage.database import Clock, Database, Turn, take_turn, utc_now
from service.storage.secrets import Cipher, SecretLost


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


class ClipStore:
    """Clip jobs in the database. Every method is one transaction.

    Addresses, which may hold passwords, are encrypted in the database.

    Attributes:
        database: Where they are stored.
    """

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self.database = database
        self._clock = clock
        self._sessions = database.sessions
        self._cipher: Cipher | None = None

    def use_cipher(self, cipher: Cipher) -> None:
        """Encrypt addresses from now on, and those that were encrypted with an older key again.

        What none of the keys can decrypt stays as it is. It fails when it is needed.
        """
        self._cipher = cipher
        with self._sessions.begin() as session:
            clips = session.scalars(select(ClipRow).where(ClipRow.address.is_not(None))).all()
            rows: list[ClipRow | CallbackRow] = [*clips, *session.scalars(select(CallbackRow)).all()]
            for row in rows:
                if row.address is not None and not cipher.is_current(row.address):
                    with contextlib.suppress(SecretLost):
                        row.address = cipher.encrypt(cipher.decrypt(row.address))

    def enqueue(
        self,
        clip_id: str,
        *,
        filename: str | None,
        size_bytes: int,
        keypoints: bool,
        video: VideoInfo,
        limit: int,
        callback: StreamUrl | None = None,
    ) -> ClipJob:
        """Add a clip to the end of the queue.

        Args:
            clip_id: A new id.
            filename: Name of the file from the client.
            size_bytes: Length of the upload.
            keypoints: Whether the result carries joints.
            video: Properties of the video, as probed.
            limit: Most clips that may wait or be fetched.
            callback: Where to post that the clip has finished.

        Raises:
            QueueFull: `limit` clips are waiting or being fetched already.
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
            callback=self._new_callback(callback),
        )
        return self._add(row, limit)

    def enqueue_address(
        self, clip_id: str, address: StreamUrl, *, keypoints: bool, limit: int, callback: StreamUrl | None = None
    ) -> ClipJob:
        """Add a clip that is yet to be fetched.

        Args:
            clip_id: A new id.
            address: Where it is fetched from; the last part of the path names the file.
            keypoints: Whether the result carries joints.
            limit: Most clips that may wait or be fetched.
            callback: Where to post that the clip has finished.

        Raises:
            QueueFull: `limit` clips are waiting or being fetched already.
        """
        row = ClipRow(
            id=clip_id,
            state=ClipState.FETCHING,
            filename=safe_filename(unquote(address.target.partition("?")[0])),
            size_bytes=0,
            keypoints=keypoints,
            video=None,
            attempts=0,
            frames_done=0,
            frames_total=0,
            created_at=self._clock(),
            url=address.redacted,
            address=self._seal(address),
            callback=self._new_callback(callback),
        )
        return self._add(row, limit)

    def to_fetch(self) -> list[ClipJob]:
        """Clips that are yet to be fetched, or are being fetched, in the order of their arrival."""
        return self._in_state(ClipState.FETCHING)

    def begin_fetch(self, clip_id: str) -> str:
        """Count an attempt to fetch a clip.

        Returns:
            The address; it may hold credentials.

        Raises:
            UnknownClip: There is no such clip.
            IllegalClipTransition: It is not to be fetched.
            SecretLost: The address was encrypted with a key that is lost.
        """
        with self._sessions.begin() as session:
            row = _row(session, clip_id)
            if row.state != ClipState.FETCHING or row.address is None:
                raise IllegalClipTransition(clip_id, ClipState(row.state), ClipState.FETCHING)
            row.attempts += 1
            return self._unseal(row.address)

    def postpone_fetch(self, clip_id: str) -> None:
        """Take back an attempt to fetch a clip, which the end of the service interrupted."""
        with self._sessions.begin() as session:
            session.execute(
                update(ClipRow)
                .where(ClipRow.id == clip_id, ClipRow.state == ClipState.FETCHING, ClipRow.attempts > 0)
                .values(attempts=ClipRow.attempts - 1)
            )

    def fetched(self, clip_id: str, *, size_bytes: int, video: VideoInfo) -> ClipJob:
        """Put a clip that was fetched into the queue, at the place of its arrival."""
        values = {"size_bytes": size_bytes, "video": asdict(video), "frames_total": video.frames, "attempts": 0}
        return self._move(clip_id, ClipState.QUEUED, origins=[ClipState.FETCHING], **values)

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
        """Mark a running clip as failed, or one that cannot be fetched."""
        return self._move(
            clip_id, ClipState.FAILED, error_cause=cause[:64], error_detail=detail[:1000], finished_at=self._clock()
        )

    def cancel(self, clip_id: str) -> ClipJob:
        """Mark a clip that has not finished as cancelled."""
        return self._move(clip_id, ClipState.CANCELLED, finished_at=self._clock())

    def put_back(self, clip_id: str) -> ClipJob:
        """Return a running clip to its old place in the queue; the start does not count as an attempt."""
        values = {"attempts": ClipRow.attempts - 1, "started_at": None}
        return self._move(clip_id, ClipState.QUEUED, origins=[ClipState.RUNNING], **values)

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
        for job in self._in_state(ClipState.RUNNING):
            if has_result(job.id):
                settled.append(self.finish(job.id, frames=job.frames_total))
            elif job.attempts >= max_attempts:
                detail = f"scoring was interrupted {job.attempts} times, most likely by a crash; it is not tried again"
                settled.append(self.fail(job.id, "interrupted", detail))
            else:
                settled.append(self._move(job.id, ClipState.QUEUED, origins=[ClipState.RUNNING], started_at=None))
        return settled

    def due_callbacks(self, limit: int) -> list[ClipJob]:
        """Clips that have finished and whose callbacks are due, those that have waited longest first."""
        query = (
            select(ClipRow)
            .join(CallbackRow)
            .where(
                CallbackRow.state == CallbackState.PENDING,
                CallbackRow.next_at <= self._clock(),
                ClipRow.state.in_([state for state in ClipState if state.finished]),
            )
            .order_by(CallbackRow.next_at, ClipRow.sequence)
            .limit(limit)
        )
        with self._sessions() as session:
            return [row.job() for row in session.scalars(query)]

    def callback_address(self, clip_id: str) -> str:
        """Where to post that a clip has finished; it may hold credentials.

        Raises:
            UnknownClip: The clip was deleted, or has no callback.
            SecretLost: The address was encrypted with a key that is lost.
        """
        with self._sessions() as session:
            row = session.get(CallbackRow, clip_id)
            if row is None:
                raise UnknownClip(clip_id)
            return self._unseal(row.address)

    def called_back(self, clip_id: str) -> None:
        """Note that a callback was accepted."""
        self._note_callback(clip_id, CallbackState.DELIVERED, problem=None)

    def callback_failed(self, clip_id: str, problem: str, next_at: datetime | None) -> None:
        """Note a failed attempt.

        Args:
            clip_id: Id of the clip.
            problem: Why it failed.
            next_at: When to try again; None gives the callback up.
        """
        state = CallbackState.DEAD if next_at is None else CallbackState.PENDING
        self._note_callback(clip_id, state, problem=problem[:PROBLEM], next_at=next_at or self._clock())

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
        return {job.id for job in self._in_state(ClipState.RUNNING)}

    def _add(self, row: ClipRow, limit: int) -> ClipJob:
        with self._sessions.begin() as session:
            take_turn(session, Turn.ENQUEUE)
            if _count(session, ClipState.QUEUED) + _count(session, ClipState.FETCHING) >= limit:
                raise QueueFull(f"{limit} clips are waiting or being fetched already")
            session.add(row)
            session.flush()
            return row.job()

    def _note_callback(self, clip_id: str, state: CallbackState, **values: Any) -> None:
        with self._sessions.begin() as session:
            session.execute(
                update(CallbackRow)
                .where(CallbackRow.clip_id == clip_id)
                .values(state=state, attempts=CallbackRow.attempts + 1, **values)
            )

    def _new_callback(self, callback: StreamUrl | None) -> CallbackRow | None:
        if callback is None:
            return None
        return CallbackRow(
            address=self._seal(callback), url=callback.redacted, state=CallbackState.PENDING, next_at=self._clock()
        )

    def _seal(self, address: StreamUrl) -> str:
        if self._cipher is None:
            raise RuntimeError("the store of clips has no cipher for addresses; call use_cipher first")
        return self._cipher.encrypt(address.text)

    def _unseal(self, token: str) -> str:
        if self._cipher is None:
            raise SecretLost
        return self._cipher.decrypt(token)

    def _in_state(self, state: ClipState) -> list[ClipJob]:
        query = select(ClipRow).where(ClipRow.state == state).order_by(ClipRow.sequence)
        with self._sessions() as session:
            return [row.job() for row in session.scalars(query)]

    def _move(
        self, clip_id: str, wanted: ClipState, *, origins: Collection[ClipState] | None = None, **values: Any
    ) -> ClipJob:
        """Change the state; from each state that allows it, or only from some."""
        if origins is None:
            origins = [state for state, targets in TRANSITIONS.items() if wanted in targets]
        with self._sessions.begin() as session:
            row = session.scalars(
                update(ClipRow)
                .where(ClipRow.id == clip_id, ClipRow.state.in_(origins))
                # Whatever is no longer fetched needs no address.
                .values(state=wanted, address=None, **values)
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
