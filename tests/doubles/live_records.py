"""Incidents and states of cameras for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from model.behaviours import Kind
from pose.live import SourceState, StateChange
from pose.sight import CannotSee
from service.cameras.config import CameraConfig
from service.cameras.status import CameraStatus
from service.documents.base import EndReason, Severity
from service.documents.kinds import unusual_words
from service.documents.messages import IncidentInfo, KindSeen
from service.documents.reviews import ReviewChange, Verdict
from service.live.incident import Incident, Seen

ACKNOWLEDGED = ReviewChange(acknowledged=True)
FALSE = ReviewChange(verdict=Verdict.FALSE_ALARM)
NO_VERDICT = ReviewChange(verdict=None)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """A time of day."""
    return NOON + timedelta(seconds=seconds)


def incident_info(name: str, camera: str = "door", start: float = 0.0, **values: object) -> IncidentInfo:
    """An incident that is open."""
    seen = KindSeen(
        kind=Kind.UNUSUAL,
        first_at=at(start),
        last_at=at(start + 1),
        people=[1],
        score=0.95,
        explanation="level 0.950 (1 in 20 moments of normal life)",
        facts={},
    )
    incident = IncidentInfo(
        id=name,
        camera=camera,
        kind=Kind.UNUSUAL,
        title="Unusual movement, 1 person",
        explanation=seen.explanation,
        kinds=[seen],
        severity=Severity.WARNING,
        started_at=at(start),
        updated_at=at(start + 1),
        ended_at=None,
        end_reason=None,
        peak_level=0.95,
        peak_at=at(start + 0.5),
        people={1: 0.95},
        suppressed=0,
        snapshot="pending",
        clip="pending",
        evidence_problem=None,
        acknowledged_at=None,
        false_alarm=False,
    )
    return incident.model_copy(update=values)


def camera_status(
    name: str,
    state: SourceState = SourceState.ONLINE,
    incident: str | None = None,
    title: str | None = "Front door",
    severity: Severity = Severity.WARNING,
    cannot_see: CannotSee | None = None,
) -> CameraStatus:
    """A camera whose source has a state."""
    return CameraStatus(
        id=name, config=CameraConfig(url="skeletons:", name=title), state=state, since=at(0), problem=None,
        picture="ok", cannot_see=cannot_see, width=None, height=None, fps_in=None, fps_processed=None, frames_read=0,
        frames_processed=0, dropped={}, reconnects=0, last_score_at=None, last_score_age_s=None, thresholds=None,
        incident=incident, incident_severity=severity if incident else None, suppressed=0,
    )  # fmt: skip


def over(incident: IncidentInfo, seconds: float = 5.0, **values: object) -> IncidentInfo:
    """The incident when it has ended."""
    end = incident.started_at + timedelta(seconds=seconds)
    kinds = [seen.model_copy(update={"last_at": end}) for seen in incident.kinds]
    return incident.model_copy(
        update={"updated_at": end, "ended_at": end, "end_reason": EndReason.QUIET, "kinds": kinds} | values,
    )


def incident(
    name: str, camera: str = "door", start: float = 0.0, *, peak_level: float = 0.95, kind: Kind = Kind.UNUSUAL
) -> Incident:
    """An incident that is open, in moments of the monotonic clock."""
    score, saw = (peak_level, unusual_words(peak_level, {})) if kind is Kind.UNUSUAL else (1.25, f"saw a {kind}")
    facts = {} if kind is Kind.UNUSUAL else {"speed_h_s": 1.25}
    return Incident(
        id=name,
        camera_id=camera,
        severity=Severity.WARNING,
        started=start,
        updated=start + 1,
        ended=None,
        end_reason=None,
        peak_level=peak_level,
        people={1: peak_level},
        suppressed=0,
        kinds={kind: Seen(start, start + 1, {1: score}, 1, score, start + 0.5, saw, facts)},
    )


def state_change(
    camera: str,
    state: SourceState = SourceState.ONLINE,
    previous: SourceState | None = SourceState.CONNECTING,
    cause: str | None = None,
    detail: str | None = None,
) -> StateChange:
    """A camera that changed its state."""
    return StateChange(camera, previous, state, 0.0, cause, detail)
