from __future__ import annotations

import cv2
import numpy as np
import pytest

from simulation.camera import SceneCamera, Sensor


@pytest.mark.parametrize("k1, k2", [(0.0, 0.0), (-0.12, 0.0), (0.05, -0.01)])
def test_points_fall_where_opencv_projects_them(k1: float, k2: float) -> None:
    camera = SceneCamera(height_m=3.4, tilt_deg=24, yaw_deg=7, focal=0.9, k1=k1, k2=k2)
    points = np.random.default_rng(0).uniform((-2.5, 4, 0), (2.5, 10, 2), (50, 3))
    turn, _ = cv2.Rodrigues(camera.rotation)
    shift = -camera.rotation @ camera.position
    expected, _ = cv2.projectPoints(points, turn, shift, camera.matrix, camera.distortion)
    pixels, depth = camera.project(points)
    assert pixels == pytest.approx(expected[:, 0], abs=1e-6)
    assert depth == pytest.approx((points @ camera.rotation.T + shift)[:, 2])


def test_a_ray_goes_through_the_point_that_its_pixel_shows() -> None:
    camera = SceneCamera(width=160, height=90, k1=-0.1, yaw_deg=5)
    rays = camera.rays(1)
    points = camera.position + 6 * rays.reshape(-1, 3)
    pixels, _ = camera.project(points.astype(float))
    across, down = np.meshgrid(np.arange(160), np.arange(90))
    assert pixels == pytest.approx(np.column_stack([across.ravel(), down.ravel()]), abs=0.02)


def test_the_far_side_of_a_barrel_does_not_fold_into_the_picture() -> None:
    camera = SceneCamera(k1=-0.2)
    pixels, _ = camera.project(np.array([[30.0, 3.0, 1.0], [-30.0, 3.0, 1.0]]))
    assert not camera.contains(pixels).any()


@pytest.mark.parametrize(
    "setting, value",
    [("width", 10), ("fps", 0.0), ("fps", float("nan")), ("tilt_deg", 90.0), ("focal", -1.0), ("jpeg_quality", 0)],
)
def test_an_impossible_camera_is_refused(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=setting):
        SceneCamera(**{setting: value})  # type: ignore[arg-type]


def test_a_sensor_brightens_and_adds_noise() -> None:
    light = np.full((90, 160, 3), 80, np.uint8)

    def shot(camera: SceneCamera) -> np.ndarray:
        return Sensor(camera, np.random.default_rng(0)).expose(light).astype(float)

    plain = SceneCamera(width=160, height=90, noise=0.0, jpeg_quality=95)
    assert shot(plain).mean() == pytest.approx(80, abs=1)
    assert shot(SceneCamera(width=160, height=90, noise=0.0, exposure=1.0, jpeg_quality=95)).mean() == pytest.approx(
        160, abs=2
    )
    assert shot(SceneCamera(width=160, height=90, noise=8.0, jpeg_quality=95)).std() > shot(plain).std() + 3
