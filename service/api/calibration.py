"""Routes for the calibration of a camera: start, status, cancel, roll back."""

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
    response_description="Started; GET shows the progress.",
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
    """Gather calibration footage for a time or from a clip, and set the threshold that keeps the false-alarm budget.

    If there is too little footage for that budget, the status says so and how much more is needed, and the calibration
    in use stays.
    """
    return runtime.cameras.calibrator.start(camera_id, request)


@router.get("", summary="Get the calibration", responses=responses(Kind.CAMERA_NOT_FOUND))
def get_calibration(runtime: RuntimeDep, camera_id: CameraId) -> CalibrationStatus:
    """The calibration in use, earlier ones, and the progress of a running one."""
    return runtime.cameras.calibrator.status(runtime.cameras.manager.camera(camera_id).id)


@router.delete(
    "",
    summary="Cancel a calibration",
    status_code=204,
    responses=responses(Kind.CROSS_ORIGIN, Kind.CAMERA_NOT_FOUND),
)
def cancel_calibration(runtime: RuntimeDep, camera_id: CameraId) -> None:
    """Cancel a running calibration; the one in use stays."""
    runtime.cameras.calibrator.cancel(runtime.cameras.manager.camera(camera_id).id)


@router.post(
    "/rollback",
    summary="Roll back to the previous calibration",
    responses=responses(Kind.CROSS_ORIGIN, Kind.CAMERA_NOT_FOUND),
)
def roll_back_calibration(runtime: RuntimeDep, camera_id: CameraId) -> CalibrationStatus:
    """Undo the last calibration, including its adapted weights; before the first one, the service's own is used."""
    return runtime.cameras.calibrator.roll_back(camera_id)
