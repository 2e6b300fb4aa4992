"""Stores cameras and their calibrations in the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, ForeignKey, String, UniqueConstraint, delete, func, select, update
from sqlalchemy.orm import Mapped, Session, deferred, mapped_column

from service.storage.database import Base, Clock, Counter, Database, Utc, utc_now
from service.storage.secrets import Cipher, SecretLost

_ENCRYPTED: Final = "encrypted"


class UnknownCamera(LookupError):
    """There is no camera with this id."""

    def __init__(self, camera_id: str) -> None:
        super().__init__(f"there is no camera {camera_id}")
        self.camera_id = camera_id


@dataclass(frozen=True, slots=True)
class StoredCamera:
    """One stored camera.

    Attributes:
        id: Id of the camera.
        config: Its configuration; may hold credentials.
        created_at: When it was added.
        updated_at: When it was last changed.
    """

    id: str
    config: dict[str, Any]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StoredCalibration:
    """One calibration of a camera.

    Attributes:
        version: Number of the calibration among those of the camera, from 1.
        active: Whether it is in use; at most one of a camera is.
        withdrawn: Whether it was rolled back; it is never used again.
        created_at: When it was made.
        report: Its report, as the API shows it.
        calibration: The fitted calibration; None if only weights were learnt.
        checkpoint: File of the camera's own weights; None for those of the service.
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

    def camera(self, cipher: Cipher | None) -> StoredCamera:
        """A copy that outlives the session.

        Raises:
            SecretLost: The address is encrypted, and the cipher has no key for it.
        """
        return StoredCamera(self.id, _opened(self.config, cipher), self.created_at, self.updated_at)


class CalibrationRow(Base):
    """Table of calibrations; see `StoredCalibration` for the columns."""

    __tablename__ = "calibrations"
    __table_args__ = (UniqueConstraint("camera_id", "version"),)

    id: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    camera_id: Mapped[str] = mapped_column(String(64), ForeignKey("cameras.id", ondelete="CASCADE"))
    version: Mapped[int]
    active: Mapped[bool]
    withdrawn: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(Utc)
    report: Mapped[dict[str, Any]] = mapped_column(JSON)
    calibration: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    checkpoint: Mapped[str | None] = mapped_column(String(255))
    # Larger than all the rest, and needed only for the calibration in use.
    premises: Mapped[dict[str, Any] | None] = deferred(mapped_column(JSON(none_as_null=True)))
    """What the calibration was made of, as JSON; None for one of an older version."""

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
    """Cameras and their calibrations. Every method is one transaction.

    Addresses of streams, which may hold passwords, are encrypted in the database.

    Args:
        database: Where they are stored.
        clock: Tells the time.
        cipher: Encrypts the addresses; None stores them as they are, and cannot read encrypted ones.
    """

    def __init__(self, database: Database, clock: Clock = utc_now, cipher: Cipher | None = None) -> None:
        self._database = database
        self._sessions = database.sessions
        self._clock = clock
        self._cipher = cipher

    @property
    def cipher(self) -> Cipher | None:
        """What encrypts the addresses; None until there is a key."""
        return self._cipher

    def encrypt_all(self, new_cipher: Callable[[], Cipher]) -> None:
        """Encrypt the addresses that are not, or not with the newest key.

        Args:
            new_cipher: Makes a key. It is called if there is none, and nothing was ever encrypted.

        Raises:
            SecretLost: An address is encrypted, and there is no key for it.
        """
        changed = False
        with self._sessions.begin() as session:
            rows = session.scalars(select(CameraRow).order_by(CameraRow.id)).all()
            if self._cipher is None:
                if any(isinstance(row.config.get("url"), dict) for row in rows):
                    raise SecretLost
                self._cipher = new_cipher()
            for row in rows:
                url = row.config.get("url")
                if isinstance(url, dict) and self._cipher.is_current(url[_ENCRYPTED]):
                    continue
                config = _sealed(_opened(row.config, self._cipher), self._cipher)
                if config != row.config:
                    row.config = config
                    changed = True
        if changed:
            self._database.forget_old_pages()

    def put(self, camera_id: str, config: Mapping[str, Any]) -> bool:
        """Add a camera, or replace its configuration.

        Returns:
            Whether it was added.
        """
        now, stored = self._clock(), _sealed(config, self._cipher)
        with self._sessions.begin() as session:
            row = session.get(CameraRow, camera_id)
            if row is None:
                session.add(CameraRow(id=camera_id, config=stored, created_at=now, updated_at=now))
                return True
            row.config, row.updated_at = stored, now
            return False

    def check(self, camera_id: str) -> None:
        """Check that a camera exists, without a look at its address.

        Raises:
            UnknownCamera: There is none.
        """
        with self._sessions() as session:
            _row(session, camera_id)

    def get(self, camera_id: str) -> StoredCamera:
        """One camera.

        Raises:
            UnknownCamera: There is none.
        """
        with self._sessions() as session:
            return _row(session, camera_id).camera(self._cipher)

    def shows_pictures(self, camera_id: str) -> bool:
        """Whether pictures of a camera may be shown; those of a camera that was removed may."""
        with self._sessions() as session:
            row = session.get(CameraRow, camera_id)
            return row is None or bool(row.config.get("picture", True))

    def all(self) -> list[StoredCamera]:
        """All cameras in the order of their ids."""
        with self._sessions() as session:
            return [row.camera(self._cipher) for row in session.scalars(select(CameraRow).order_by(CameraRow.id))]

    def delete(self, camera_id: str) -> bool:
        """Remove a camera and its calibrations; its incidents stay.

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
        premises: Mapping[str, Any] | None = None,
    ) -> int:
        """Add a calibration and make it the active one.

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
                    premises=None if premises is None else dict(premises),
                )
            )
            return version

    def active(self, camera_id: str) -> StoredCalibration | None:
        """The calibration in use; None if that is the one of the service."""
        with self._sessions() as session:
            row = _active(session, camera_id)
            return row.record() if row else None

    def premises(self, camera_id: str) -> dict[str, Any] | None:
        """What the calibration in use was made of; None if there is none, or an older version made it."""
        query = select(CalibrationRow.premises).where(CalibrationRow.camera_id == camera_id, CalibrationRow.active)
        with self._sessions() as session:
            return session.scalars(query).one_or_none()

    def history(self, camera_id: str) -> list[StoredCalibration]:
        """All calibrations of a camera, newest first."""
        query = select(CalibrationRow).where(CalibrationRow.camera_id == camera_id)
        with self._sessions() as session:
            return [row.record() for row in session.scalars(query.order_by(CalibrationRow.version.desc()))]

    def roll_back(self, camera_id: str) -> int | None:
        """Withdraw the active calibration and return to the newest one that was not withdrawn.

        Returns:
            The version that is active now; None if the camera uses the calibration of the service.
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


def _sealed(config: Mapping[str, Any], cipher: Cipher | None) -> dict[str, Any]:
    """A configuration as it is stored; addresses of streams are encrypted."""
    url = config.get("url")
    if cipher is None or not isinstance(url, str) or "://" not in url:
        return dict(config)
    return {**config, "url": {_ENCRYPTED: cipher.encrypt(url)}}


def _opened(config: Mapping[str, Any], cipher: Cipher | None) -> dict[str, Any]:
    url = config.get("url")
    if not isinstance(url, dict):
        return dict(config)
    if cipher is None:
        raise SecretLost
    return {**config, "url": cipher.decrypt(url[_ENCRYPTED])}


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
