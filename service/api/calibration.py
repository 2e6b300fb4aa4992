"""Calibration of a camera: what its scores mean, learnt from its own normal life."""

from __future__ import annotations

from fastapi import APIRouter

from service.api.dependencies import CameraId, RuntimeDep
from service.api.problems import SMALL_BODY, Kind, responses
from service.calibration.report import CalibrationRequest, CalibrationStatus

router = APIRouter(prefix="/v1/cameras/{camera_id}/calibration", tags=["cameras"])


@router.post(
    "",
    summary="Calibrate a camera",
    status_code=202,
    response_description="Begun; ask again with GET.",
    responses=responses(
        *SMALL_BODY,
        Kind.CROSS_ORIGIN,
        Kind.CAMERA_NOT_FOUND,
        Kind.CLIP_NOT_FOUND,
        Kind.CALIBRATION_RUNNING,
        Kind.CALIBRATION_REFUSED,
    ),
)
def post_calibration(runtime: RuntimeDep, camera_id: CameraId, request: CalibrationRequest) -> CalibrationStatus:
    """Gather normal footage for a time or from a clip, and put the threshold where it causes few false alarms.

    When the footage is there and cannot support what was asked, the status says so and how much more is needed; the
    calibration in use stays.
    """
    return runtime.cameras.calibrator.start(camera_id, request)


@router.get("", summary="Look at a calibration", responses=responses(Kind.CAMERA_NOT_FOUND))
def get_calibration(runtime: RuntimeDep, camera_id: CameraId) -> CalibrationStatus:
    """The calibration in use, those before it, and how far a running one is."""
    return runtime.cameras.calibrator.status(runtime.cameras.manager.camera(camera_id).id)


@router.delete(
    "",
    summary="Cancel a calibration",
    status_code=204,
    responses=responses(Kind.CROSS_ORIGIN, Kind.CAMERA_NOT_FOUND),
)
def cancel_calibration(runtime: RuntimeDep, camera_id: CameraId) -> None:
    """Give up a running calibration; the one in use stays."""
    runtime.cameras.calibrator.cancel(runtime.cameras.manager.camera(camera_id).id)


@router.post(
    "/rollback",
    summary="Go back to the calibration before",
    responses=responses(Kind.CROSS_ORIGIN, Kind.CAMERA_NOT_FOUND),
)
def roll_back_calibration(runtime: RuntimeDep, camera_id: CameraId) -> CalibrationStatus:
    """Undo the last calibration, its adapted weights too; before the first there is that of the service."""
    return runtime.cameras.calibrator.roll_back(camera_id)
