"""Reads the past of incidents and cameras from the database: for reports, and for what people were told."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, func, select

from service.documents.base import Severity
from service.documents.messages import CameraEvent, CameraSight, CameraState, IncidentInfo
from service.incidents.tables import EventRow, IncidentRow
from service.storage.database import Database

_STATE: Final = "camera.state"
_TYPES: Final = (_STATE, "camera.sight")
_TOLD: Final = ("incident.started", "incident.updated")
_ROWS: Final = 500


class History:
    """Incidents and events of cameras in a time.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._sessions = database.sessions

    def incidents(
        self, since: datetime, until: datetime, cameras: Collection[str] | None = None
    ) -> Iterator[IncidentInfo]:
        """The incidents that began in a time, in order.

        Args:
            since: From this time on.
            until: Before this time.
            cameras: Only incidents of these cameras; None for all.
        """
        query = select(IncidentRow).where(IncidentRow.started_at >= since, IncidentRow.started_at < until)
        if cameras is not None:
            query = query.where(IncidentRow.camera_id.in_(sorted(cameras)))
        with self._sessions() as session:
            for row in session.scalars(query.order_by(IncidentRow.sequence).execution_options(yield_per=_ROWS)):
                yield row.info()

    def events(self, since: datetime, until: datetime, cameras: Collection[str] | None = None) -> list[CameraEvent]:
        """The states of cameras and whether they can see, in order.

        Args:
            since: From this time on. Before it come the last event of each camera and type, and the one with which the
                watch of the camera last began.
            until: Before this time.
            cameras: Only events of these cameras; None for all.
        """
        wanted: list[ColumnElement[bool]] = [EventRow.type.in_(_TYPES)]
        if cameras is not None:
            wanted.append(EventRow.camera_id.in_(sorted(cameras)))
        before = select(func.max(EventRow.id)).where(*wanted, EventRow.at < since)
        last = before.group_by(EventRow.camera_id, EventRow.type)
        begin = EventRow.type == _STATE, EventRow.payload["previous"].as_string().is_(None)
        began = before.where(*begin).group_by(EventRow.camera_id)
        inside = (EventRow.at >= since) & (EventRow.at < until)
        query = select(EventRow).where(*wanted, EventRow.id.in_(last) | EventRow.id.in_(began) | inside)
        with self._sessions() as session:
            found = [row.event() for row in session.scalars(query.order_by(EventRow.id))]
        return [event for event in found if isinstance(event, CameraState | CameraSight)]

    def reached(self, incident_id: str, severity: Severity, up_to: int) -> bool:
        """Whether an incident had at least a severity by some event.

        Args:
            incident_id: The incident.
            severity: The severity.
            up_to: Id of the last event that counts.
        """
        enough = [one for one in Severity if one.rank >= severity.rank]
        query = select(EventRow.id).where(
            EventRow.incident_id == incident_id,
            EventRow.id <= up_to,
            EventRow.type.in_(_TOLD),
            EventRow.payload["incident"]["severity"].as_string().in_(enough),
        )
        with self._sessions() as session:
            return session.scalars(query.limit(1)).first() is not None
