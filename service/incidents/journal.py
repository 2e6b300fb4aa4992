"""What the log of the process says of events."""

from __future__ import annotations

import structlog

from service.documents.messages import (
    CameraCalibration,
    CameraEvent,
    CameraSight,
    CameraState,
    Event,
    IncidentEnded,
    IncidentEvidence,
    IncidentInfo,
    IncidentReviewed,
    IncidentStarted,
    IncidentUpdated,
)

log = structlog.get_logger(__name__)


def tell(event: Event) -> None:
    """Write an event to the log of the process, without notes."""
    told = log.bind(**_identity(event))
    match event:
        case IncidentStarted(incident=incident):
            told.info("incident started", **_course(incident))
        case IncidentUpdated(incident=incident):
            told.debug("incident updated", **_course(incident))
        case IncidentEnded(incident=incident):
            told.info("incident ended", reason=incident.end_reason, **_course(incident))
        case IncidentEvidence(incident=incident):
            told.info(
                "incident evidence",
                snapshot=incident.snapshot,
                clip=incident.clip,
                problem=incident.evidence_problem,
            )
        case IncidentReviewed(incident=incident):
            told.info("incident reviewed", revision=incident.review.revision, verdict=incident.review.verdict)
        case CameraState():
            told.debug("camera state stored", state=event.state)
        case CameraSight():
            told.debug("camera sight stored", cannot_see=event.cannot_see)
        case CameraCalibration():
            told.debug("camera calibration stored", calibration=event.calibration)


def _identity(event: Event) -> dict[str, object]:
    names: dict[str, object] = {"camera": event.camera, "event_id": event.id}
    return names if isinstance(event, CameraEvent) else names | {"incident": event.incident.id}


def _course(incident: IncidentInfo) -> dict[str, object]:
    return {"kind": incident.kind, "severity": incident.severity, "peak_level": incident.peak_level}
