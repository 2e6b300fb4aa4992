"""Cameras and their calibrations in the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, String, UniqueConstraint, delete, func, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from service.storage.database import Base, Clock, Database, Utc, utc_now


class UnknownCamera(LookupError):
    """There is no camera with this id."""

    def __init__(self, camera_id: str) -> None:
        super().__init__(f"there is no camera {camera_id}")
        self.camera_id = camera_id


@dataclass(frozen=True, slots=True)
class StoredCamera:
    """One camera as the store knows it.

    Attributes:
        id: Its name.
        config: What the operator chose; may hold credentials.
        created_at: First added.
        updated_at: Last changed.
    """

    id: str
    config: dict[str, Any]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StoredCalibration:
    """One calibration of a camera.

    Attributes:
        version: Counts the calibrations of the camera, from 1.
        active: Whether this is the one in use; at most one is.
        withdrawn: Whether it was rolled back, never to be used again.
        created_at: When it was made.
        report: What people are told of it.
        calibration: The fitted tail; None where only weights were learnt.
        checkpoint: File of the camera's own weights; None for the shipped ones.
    """

    version: int
    active: bool
    withdrawn: bool
    created_at: datetime
    report: dict[str, Any]
    calibration: dict[str, Any] | None
    checkpoint: str | None


class CameraRow(Base):
    """Table of cameras; see `StoredCamera` for the columns."""

    __tablename__ = "cameras"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(Utc)
    updated_at: Mapped[datetime] = mapped_column(Utc)

    def camera(self) -> StoredCamera:
        """A copy that outlives the session."""
        return StoredCamera(self.id, dict(self.config), self.created_at, self.updated_at)


class CalibrationRow(Base):
    """Table of calibrations; see `StoredCalibration` for the columns."""

    __tablename__ = "calibrations"
    __table_args__ = (UniqueConstraint("camera_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    camera_id: Mapped[str] = mapped_column(String(64), ForeignKey("cameras.id", ondelete="CASCADE"))
    version: Mapped[int]
    active: Mapped[bool]
    withdrawn: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(Utc)
    report: Mapped[dict[str, Any]] = mapped_column(JSON)
    calibration: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    checkpoint: Mapped[str | None] = mapped_column(String(255))

    def record(self) -> StoredCalibration:
        """A copy that outlives the session."""
        return StoredCalibration(
            version=self.version,
            active=self.active,
            withdrawn=self.withdrawn,
            created_at=self.created_at,
            report=dict(self.report),
            calibration=None if self.calibration is None else dict(self.calibration),
            checkpoint=self.checkpoint,
        )


class CameraStore:
    """Cameras and their calibrations. Every method is one transaction."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._sessions = database.sessions
        self._clock = clock

    def put(self, camera_id: str, config: Mapping[str, Any]) -> bool:
        """Add a camera, or give one another configuration.

        Returns:
            Whether it was added.
        """
        now = self._clock()
        with self._sessions.begin() as session:
            row = session.get(CameraRow, camera_id)
            if row is None:
                session.add(CameraRow(id=camera_id, config=dict(config), created_at=now, updated_at=now))
                return True
            row.config, row.updated_at = dict(config), now
            return False

    def get(self, camera_id: str) -> StoredCamera:
        """One camera.

        Raises:
            UnknownCamera: There is none.
        """
        with self._sessions() as session:
            return _row(session, camera_id).camera()

    def all(self) -> list[StoredCamera]:
        """All cameras in the order of their ids."""
        with self._sessions() as session:
            return [row.camera() for row in session.scalars(select(CameraRow).order_by(CameraRow.id))]

    def delete(self, camera_id: str) -> bool:
        """Forget a camera and its calibrations; its incidents stay.

        Returns:
            Whether there was one.
        """
        with self._sessions.begin() as session:
            return bool(
                session.scalars(delete(CameraRow).where(CameraRow.id == camera_id).returning(CameraRow.id)).all()
            )

    def add_calibration(
        self,
        camera_id: str,
        report: Mapping[str, Any],
        calibration: Mapping[str, Any] | None = None,
        checkpoint: str | None = None,
    ) -> int:
        """Add a calibration, which is the active one from now on.

        Returns:
            Its version.

        Raises:
            UnknownCamera: The camera was removed meanwhile.
        """
        with self._sessions.begin() as session:
            _row(session, camera_id)
            newest = select(func.max(CalibrationRow.version)).where(CalibrationRow.camera_id == camera_id)
            version = (session.scalar(newest) or 0) + 1
            _deactivate(session, camera_id)
            session.add(
                CalibrationRow(
                    camera_id=camera_id,
                    version=version,
                    active=True,
                    withdrawn=False,
                    created_at=self._clock(),
                    report=dict(report),
                    calibration=None if calibration is None else dict(calibration),
                    checkpoint=checkpoint,
                )
            )
            return version

    def active(self, camera_id: str) -> StoredCalibration | None:
        """The calibration in use; None for the shipped one."""
        with self._sessions() as session:
            row = _active(session, camera_id)
            return row.record() if row else None

    def history(self, camera_id: str) -> list[StoredCalibration]:
        """All calibrations of a camera, newest first."""
        query = select(CalibrationRow).where(CalibrationRow.camera_id == camera_id)
        with self._sessions() as session:
            return [row.record() for row in session.scalars(query.order_by(CalibrationRow.version.desc()))]

    def roll_back(self, camera_id: str) -> int | None:
        """Withdraw the active calibration and go back to the one that was in use before it.

        Returns:
            The version now active; None when that is the shipped one.
        """
        with self._sessions.begin() as session:
            row = _active(session, camera_id)
            if row is None:
                return None
            row.active, row.withdrawn = False, True
            before = session.scalars(
                select(CalibrationRow)
                .where(CalibrationRow.camera_id == camera_id, CalibrationRow.withdrawn.is_(False))
                .order_by(CalibrationRow.version.desc())
                .limit(1)
            ).one_or_none()
            if before is None:
                return None
            before.active = True
            return before.version


def _row(session: Session, camera_id: str) -> CameraRow:
    row = session.get(CameraRow, camera_id)
    if row is None:
        raise UnknownCamera(camera_id)
    return row


def _active(session: Session, camera_id: str) -> CalibrationRow | None:
    query = select(CalibrationRow).where(CalibrationRow.camera_id == camera_id, CalibrationRow.active)
    return session.scalars(query).one_or_none()


def _deactivate(session: Session, camera_id: str) -> None:
    session.execute(
        update(CalibrationRow).where(CalibrationRow.camera_id == camera_id, CalibrationRow.active).values(active=False)
    )
