"""The permission that each route needs, in one table; a route that is missing in it is always refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.access.policy import Rule, Scope, Subject

WEBSOCKET: Final = "WEBSOCKET"
"""Stands in the table for the method of a WebSocket."""

_OPEN: Final = Rule(None)
_READ: Final = Rule(Scope.READ)
_OPERATE: Final = Rule(Scope.OPERATE)
_READ_CAMERA: Final = Rule(Scope.READ, Subject.CAMERA)
_READ_SERVICE: Final = Rule(Scope.READ, Subject.SERVICE)
_OPERATE_CAMERA: Final = Rule(Scope.OPERATE, Subject.CAMERA)
_OPERATE_SERVICE: Final = Rule(Scope.OPERATE, Subject.SERVICE)
_ADMIN_CAMERA: Final = Rule(Scope.ADMIN, Subject.CAMERA)
_ADMIN_SERVICE: Final = Rule(Scope.ADMIN, Subject.SERVICE)

RULES: Final[Mapping[tuple[str, str], Rule]] = {
    # Open to orchestrators, which have no key: they show only whether the service works, and what is wrong if not.
    ("GET", "/healthz"): _OPEN,
    ("GET", "/readyz"): _OPEN,
    ("GET", "/problems/{slug}"): _OPEN,
    ("GET", "/metrics"): _READ_SERVICE,
    ("GET", "/docs"): _READ,
    ("GET", "/openapi.json"): _READ,
    ("GET", "/v1/asyncapi.json"): _READ,
    ("POST", "/v1/session"): _OPEN,
    ("GET", "/v1/session"): _READ,
    ("DELETE", "/v1/session"): _READ,
    ("POST", "/v1/tickets"): _READ,
    ("GET", "/v1/keys"): _ADMIN_SERVICE,
    ("POST", "/v1/keys"): _ADMIN_SERVICE,
    ("DELETE", "/v1/keys/{key_id}"): _ADMIN_SERVICE,
    ("GET", "/v1/audit"): _ADMIN_SERVICE,
    ("POST", "/v1/clips"): _OPERATE_SERVICE,
    ("GET", "/v1/clips"): _READ_SERVICE,
    ("GET", "/v1/clips/{clip_id}"): _READ_SERVICE,
    ("DELETE", "/v1/clips/{clip_id}"): _OPERATE_SERVICE,
    ("POST", "/v1/clips/{clip_id}/cancel"): _OPERATE_SERVICE,
    ("GET", "/v1/clips/{clip_id}/result.json"): _READ_SERVICE,
    ("GET", "/v1/clips/{clip_id}/scores.csv"): _READ_SERVICE,
    ("GET", "/v1/clips/{clip_id}/timeline.png"): _READ_SERVICE,
    ("GET", "/v1/clips/{clip_id}/annotated.mp4"): _READ_SERVICE,
    (WEBSOCKET, "/v1/clips/{clip_id}/events"): _READ_SERVICE,
    ("POST", "/v1/skeletons"): _OPERATE_SERVICE,
    ("GET", "/v1/cameras"): _READ,
    ("PUT", "/v1/cameras/{camera_id}"): _ADMIN_CAMERA,
    ("GET", "/v1/cameras/{camera_id}"): _READ_CAMERA,
    ("PATCH", "/v1/cameras/{camera_id}"): _ADMIN_CAMERA,
    ("DELETE", "/v1/cameras/{camera_id}"): _ADMIN_CAMERA,
    ("DELETE", "/v1/cameras/{camera_id}/pictures"): _ADMIN_CAMERA,
    ("POST", "/v1/cameras/{camera_id}/rules/preview"): _ADMIN_CAMERA,
    ("GET", "/v1/cameras/{camera_id}/snapshot.jpg"): _READ_CAMERA,
    ("GET", "/v1/cameras/{camera_id}/live.mjpg"): _READ_CAMERA,
    (WEBSOCKET, "/v1/cameras/{camera_id}/scores"): _READ_CAMERA,
    (WEBSOCKET, "/v1/cameras/{camera_id}/skeletons"): _OPERATE_CAMERA,
    ("POST", "/v1/cameras/{camera_id}/calibration"): _OPERATE_CAMERA,
    ("GET", "/v1/cameras/{camera_id}/calibration"): _READ_CAMERA,
    ("DELETE", "/v1/cameras/{camera_id}/calibration"): _OPERATE_CAMERA,
    ("POST", "/v1/cameras/{camera_id}/calibration/rollback"): _OPERATE_CAMERA,
    ("GET", "/v1/incidents"): _READ,
    ("PATCH", "/v1/incidents"): _OPERATE,
    ("POST", "/v1/incidents/undo"): _OPERATE,
    ("POST", "/v1/incidents/read"): _READ,
    ("GET", "/v1/incidents/unread"): _READ,
    (WEBSOCKET, "/v1/incidents"): _READ,
    ("GET", "/v1/incidents/stream"): _READ,
    ("GET", "/v1/incidents/{incident_id}"): _READ_CAMERA,
    ("PATCH", "/v1/incidents/{incident_id}"): _OPERATE_CAMERA,
    ("POST", "/v1/incidents/{incident_id}/undo"): _OPERATE_CAMERA,
    ("GET", "/v1/incidents/{incident_id}/reviews"): _READ_CAMERA,
    ("GET", "/v1/incidents/{incident_id}/snapshot.jpg"): _READ_CAMERA,
    ("GET", "/v1/incidents/{incident_id}/clip.mp4"): _READ_CAMERA,
    ("POST", "/v1/incidents/{incident_id}/acknowledge"): _OPERATE_CAMERA,
    ("POST", "/v1/incidents/{incident_id}/false-alarm"): _OPERATE_CAMERA,
    ("GET", "/v1/incidents/report"): _READ,
    ("GET", "/v1/notifications"): _READ_SERVICE,
    ("POST", "/v1/notifications/{delivery_id}/retry"): _OPERATE_SERVICE,
    ("GET", "/"): _OPEN,
    ("GET", "/login"): _OPEN,
}
"""Rules by method and path of the route."""

UNLIMITED: Final = frozenset({"/healthz", "/readyz"})
"""Paths without limits and without a look at keys: what others at an address do must not make the service look down."""

MOUNTS: Final[Mapping[str, Rule]] = {
    "/docs/assets": _OPEN,
    # The dashboard itself shows figures of the whole service. For everything else it calls the routes above, with the
    # session of its user.
    "/dashboard": _READ_SERVICE,
}
"""By path of a mounted application; all paths below it need the same."""


def rule_of(method: str, path: str, *, mounted: bool = False) -> Rule | None:
    """The rule of a route; None if it has none, so that it is refused."""
    return MOUNTS.get(path) if mounted else RULES.get((method, path))
