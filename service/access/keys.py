"""API keys, their sessions and tickets, and the log of changes, in the database.

Keys, sessions and tickets are stored only as SHA-256 digests, so that a copy of the database does not give access. A
slow hash is not needed: it protects passwords that can be guessed, and a key is 256 random bits.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from cachetools import TTLCache
from pydantic import BaseModel, Field
from sqlalchemy import JSON, ForeignKey, String, delete, or_, select, update
from sqlalchemy.orm import Mapped, mapped_column

from service.access.policy import Principal, Scope
from service.storage.database import Base, Clock, Counter, Database, Utc, utc_now

PREFIX: Final = "dfl"
"""Prefix of every key, by which scanners for leaked secrets find them."""

SESSION: Final = timedelta(hours=12)
TICKET: Final = timedelta(seconds=30)
"""How long a session and a ticket are valid."""

_KEY: Final = re.compile(rf"{PREFIX}_(?P<id>[0-9a-f]{{12}})_(?P<secret>[A-Za-z0-9_-]{{43}})")
_REMEMBERED_S: Final = 2.0
_REMEMBERED: Final = 1024
_USED_EVERY: Final = timedelta(minutes=1)

Token = Literal["session", "ticket"]


class UnknownKey(LookupError):
    """There is no key with this id."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no key {key_id}")


class KeyInfo(BaseModel):
    """A key without its secret."""

    id: str = Field(description="Id of the key; it is not secret.", examples=["3f9a0c11d2e4"])
    name: str = Field(description="What the key is for.", examples=["night shift"])
    scope: Scope = Field(description="`read` may view, `operate` may also act, `admin` may also configure.")
    cameras: list[str] | None = Field(description="The only cameras that the key may access; null for all.")
    created_at: datetime = Field(description="When the key was created.")
    expires_at: datetime | None = Field(description="When the key expires; null for never.")
    revoked_at: datetime | None = Field(description="When the key was revoked; null if it was not.")
    last_used_at: datetime | None = Field(description="When the key was last used, to the minute; null for never.")


class AuditRecord(BaseModel):
    """One change, and the key with which it was made."""

    id: int = Field(description="Id of the record; later records have higher ids.")
    at: datetime = Field(description="Time of the change.")
    key_id: str | None = Field(
        description="Id of the key; null if the service requires no keys, or for the command line."
    )
    name: str = Field(description="Name of the key at that time.", examples=["night shift"])
    action: str = Field(description="Method and route.", examples=["PATCH /v1/cameras/{camera_id}"])
    target: str = Field(description="Path of the request.", examples=["/v1/cameras/entrance"])
    status: int = Field(description="HTTP status of the answer.", examples=[200])
    address: str | None = Field(description="Address of the client.", examples=["192.0.2.7"])


class KeyRow(Base):
    """Table of keys; see `KeyInfo` for the columns."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    digest: Mapped[str] = mapped_column(String(64))
    scope: Mapped[str] = mapped_column(String(16))
    cameras: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(Utc)
    expires_at: Mapped[datetime | None] = mapped_column(Utc)
    revoked_at: Mapped[datetime | None] = mapped_column(Utc)
    last_used_at: Mapped[datetime | None] = mapped_column(Utc)

    def info(self) -> KeyInfo:
        """A copy that outlives the session."""
        fields = {name: getattr(self, name) for name in KeyInfo.model_fields if name != "cameras"}
        return KeyInfo(cameras=None if self.cameras is None else list(self.cameras), **fields)

    def principal(self, now: datetime, session: str = "") -> Principal | None:
        """Who uses the key, perhaps in a session; None if the key has expired or was revoked."""
        if self.revoked_at is not None or (self.expires_at is not None and self.expires_at <= now):
            return None
        cameras = None if self.cameras is None else frozenset(self.cameras)
        return Principal(self.id, self.name, Scope(self.scope), cameras, session)


class TokenRow(Base):
    """Table of sessions and tickets. `session` is the digest of the session that a ticket was issued to."""

    __tablename__ = "api_tokens"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    key_id: Mapped[str] = mapped_column(String(12), ForeignKey("api_keys.id", ondelete="CASCADE"))
    expires_at: Mapped[datetime] = mapped_column(Utc, index=True)
    session: Mapped[str | None] = mapped_column(String(64), index=True)


class AuditRow(Base):
    """Table of changes; see `AuditRecord` for the columns."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(Utc)
    key_id: Mapped[str | None] = mapped_column(String(12))
    name: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(200))
    target: Mapped[str] = mapped_column(String(300))
    status: Mapped[int]
    address: Mapped[str | None] = mapped_column(String(64))

    def record(self) -> AuditRecord:
        """A copy that outlives the session."""
        return AuditRecord(**{name: getattr(self, name) for name in AuditRecord.model_fields})


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just created.

    Attributes:
        info: The key without its secret.
        text: The key itself; it cannot be shown again.
    """

    info: KeyInfo
    text: str


class KeyStore:
    """Keys, sessions, tickets and the log of changes. Every method is one transaction.

    A key or session that was found is remembered for some seconds, so that pictures and videos do not query the
    database a hundred times a second. A revocation by another process takes effect when those seconds are over.

    Args:
        database: Where they are stored.
        clock: Tells the time.
        monotonic: Tells the age, in seconds, of what is remembered.
    """

    def __init__(
        self, database: Database, clock: Clock = utc_now, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._sessions = database.sessions
        self._clock = clock
        self._lock = threading.Lock()
        self._found: TTLCache[str, Principal] = TTLCache(_REMEMBERED, _REMEMBERED_S, monotonic)

    def create(
        self,
        name: str,
        scope: Scope,
        *,
        cameras: Collection[str] | None = None,
        valid_for: timedelta | None = None,
    ) -> NewKey:
        """Create a key.

        Args:
            name: What it is for, 1 to 100 characters.
            scope: What it may do.
            cameras: The only cameras that it may access; None for all.
            valid_for: How long it is valid; None for no limit.

        Raises:
            ValueError: The name is empty, too long or has a NUL character, the list of cameras is empty, or the time is
                not positive.
        """
        if not 1 <= len(name.strip()) <= 100:
            raise ValueError(f"a key needs a name of 1 to 100 characters, got {len(name.strip())}")
        if "\0" in name:
            raise ValueError("the name of a key must not contain NUL characters")
        if cameras is not None and not cameras:
            raise ValueError("the list of cameras is empty; leave it out for all cameras, or name some")
        if valid_for is not None and valid_for <= timedelta():
            raise ValueError("the time for which a key is valid must be positive")
        key_id, secret, now = uuid.uuid4().hex[:12], secrets.token_urlsafe(32), self._clock()
        row = KeyRow(
            id=key_id,
            name=name.strip(),
            digest=_digest(secret),
            scope=scope,
            cameras=None if cameras is None else sorted(cameras),
            created_at=now,
            expires_at=None if valid_for is None else now + valid_for,
        )
        with self._sessions.begin() as session:
            session.add(row)
        return NewKey(row.info(), f"{PREFIX}_{key_id}_{secret}")

    def all(self) -> list[KeyInfo]:
        """All keys, oldest first, including expired and revoked ones."""
        with self._sessions() as session:
            return [row.info() for row in session.scalars(select(KeyRow).order_by(KeyRow.created_at, KeyRow.id))]

    def any_admin(self) -> bool:
        """Whether there is a valid key that may create others."""
        now = self._clock()
        with self._sessions() as session:
            found = (row.principal(now) for row in session.scalars(select(KeyRow)))
            return any(one is not None and one.scope is Scope.ADMIN and one.cameras is None for one in found)

    def revoke(self, key_id: str) -> KeyInfo:
        """Revoke a key, and end its sessions and tickets; doing it again changes nothing.

        Raises:
            UnknownKey: No key has this id.
        """
        with self._sessions.begin() as session:
            row = session.get(KeyRow, key_id)
            if row is None:
                raise UnknownKey(key_id)
            row.revoked_at = row.revoked_at or self._clock()
            session.execute(delete(TokenRow).where(TokenRow.key_id == key_id))
            info = row.info()
        with self._lock:
            self._found.clear()
        return info

    def verify(self, key: str) -> Principal | None:
        """Whose key this is; None if it is unknown, expired or revoked."""
        shape = _KEY.fullmatch(key)
        if shape is None:
            return None
        digest = _digest(shape["secret"])
        return self._remembered(f"{shape['id']}:{digest}", lambda: self._look_up(shape["id"], digest))

    def issue(self, principal: Principal, kind: Token) -> tuple[str, datetime]:
        """Create a session or a single-use ticket for a key.

        Returns:
            The secret, and when it expires.
        """
        secret, now = secrets.token_urlsafe(32), self._clock()
        expires = now + (SESSION if kind == "session" else TICKET)
        row = TokenRow(digest=_digest(secret), kind=kind, key_id=principal.key_id, expires_at=expires)
        if kind == "ticket":
            row.session = principal.session or None
        with self._sessions.begin() as session:
            session.execute(delete(TokenRow).where(TokenRow.expires_at <= now))
            session.add(row)
        return secret, expires

    def session(self, secret: str) -> Principal | None:
        """Whose session this is; None if it is unknown or has ended."""
        digest = _digest(secret)
        return self._remembered(f"session:{digest}", lambda: self._token(digest, "session"))

    def redeem(self, secret: str) -> Principal | None:
        """Whose ticket this is, which is thereby used up; None if it is unknown, used or expired."""
        return self._token(_digest(secret), "ticket")

    def end_session(self, secret: str) -> None:
        """End a session and its tickets; an unknown one is ignored."""
        digest = _digest(secret)
        with self._sessions.begin() as session:
            session.execute(delete(TokenRow).where(or_(TokenRow.digest == digest, TokenRow.session == digest)))
        with self._lock:
            self._found.pop(f"session:{digest}", None)

    def is_valid(self, principal: Principal) -> bool:
        """Whether a key is neither expired nor revoked, and the session in which it is used has not ended."""
        now = self._clock()
        with self._sessions() as session:
            row = session.get(KeyRow, principal.key_id)
            if row is None or row.principal(now) is None:
                return False
            if not principal.session:
                return True
            token = session.get(TokenRow, principal.session)
            return token is not None and token.expires_at > now

    def was_valid(self, key: str) -> bool:
        """Whether a key that is no longer accepted was valid once, so that it is not a guess."""
        shape = _KEY.fullmatch(key)
        if shape is None:
            return False
        with self._sessions() as session:
            row = session.get(KeyRow, shape["id"])
            return row is not None and hmac.compare_digest(row.digest, _digest(shape["secret"]))

    def record(
        self, *, key_id: str | None, name: str, action: str, target: str, status: int, address: str | None
    ) -> None:
        """Add a change to the log."""
        row = AuditRow(
            at=self._clock(),
            key_id=key_id,
            name=name[:100],
            action=action[:200],
            target=target[:300],
            status=status,
            address=address,
        )
        with self._sessions.begin() as session:
            session.add(row)

    def audit(self, *, limit: int, before: int | None = None) -> list[AuditRecord]:
        """Changes, newest first.

        Args:
            limit: Most records to return.
            before: Only records with a lower id.
        """
        query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
        if before is not None:
            query = query.where(AuditRow.id < before)
        with self._sessions() as session:
            return [row.record() for row in session.scalars(query)]

    def _look_up(self, key_id: str, digest: str) -> Principal | None:
        now = self._clock()
        with self._sessions() as session:
            row = session.get(KeyRow, key_id)
            if row is None or not hmac.compare_digest(row.digest, digest):
                return None
            principal, used = row.principal(now), row.last_used_at
        if principal is not None and (used is None or now - used >= _USED_EVERY):
            with self._sessions.begin() as session:
                session.execute(update(KeyRow).where(KeyRow.id == key_id).values(last_used_at=now))
        return principal

    def _token(self, digest: str, kind: Token) -> Principal | None:
        now = self._clock()
        with self._sessions.begin() as session:
            row = session.get(TokenRow, digest)
            if row is None or row.kind != kind or row.expires_at <= now:
                return None
            of_session = digest
            if kind == "ticket":
                session.delete(row)
                of_session = row.session or ""
            key = session.get(KeyRow, row.key_id)
            return None if key is None else key.principal(now, of_session)

    def _remembered(self, name: str, look: Callable[[], Principal | None]) -> Principal | None:
        with self._lock:
            known = self._found.get(name)
        if known is not None:
            return known
        found = look()
        if found is not None:
            with self._lock:
                self._found[name] = found
        return found


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
