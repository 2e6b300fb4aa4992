"""A surveillance camera: projection of the world into its picture, and the effects of its sensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Image = NDArray[np.uint8]

NEAREST: Final = 0.1
"""Metres before the lens within which nothing is seen."""

_GRAIN: Final = 64
"""Pixels by which the sensor's noise is shifted from frame to frame at most."""


@dataclass(frozen=True, slots=True)
class SceneCamera:
    """A pinhole camera with a radially distorting lens, over the origin of the ground.

    Attributes:
        width: Pixels across.
        height: Pixels down.
        fps: Frames per second.
        height_m: Height of the lens over the ground in metres.
        tilt_deg: How far it looks down, in degrees.
        yaw_deg: How far it looks to the right of the y axis, in degrees.
        focal: Focal length in picture widths.
        k1: Radial distortion by the square of the radius, as OpenCV has it; negative is a barrel.
        k2: The same by its fourth power.
        exposure: Stops by which the picture is brighter or darker than it should be.
        noise: Standard deviation of the sensor's noise in grey levels.
        jpeg_quality: Quality at which the picture is compressed, 1 to 100.

    Raises:
        ValueError: A value is impossible for a camera.
    """

    width: int = 640
    height: int = 360
    fps: float = 15.0
    height_m: float = 3.2
    tilt_deg: float = 20.0
    yaw_deg: float = 0.0
    focal: float = 0.85
    k1: float = -0.06
    k2: float = 0.0
    exposure: float = 0.0
    noise: float = 4.0
    jpeg_quality: int = 75

    def __post_init__(self) -> None:
        limits = {
            "width": (64, 4096),
            "height": (64, 4096),
            "fps": (1.0, 120.0),
            "height_m": (1.0, 12.0),
            "tilt_deg": (0.0, 60.0),
            "yaw_deg": (-45.0, 45.0),
            "focal": (0.4, 3.0),
            "k1": (-0.2, 0.2),
            "k2": (-0.05, 0.05),
            "exposure": (-3.0, 3.0),
            "noise": (0.0, 40.0),
            "jpeg_quality": (1, 100),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"a camera's {name} must be between {low} and {high}, got {value}")

    @property
    def matrix(self) -> Floats:
        """Shape ``(3, 3)``: the intrinsic matrix in pixels."""
        focal = self.focal * self.width
        return np.array([[focal, 0, self.width / 2], [0, focal, self.height / 2], [0, 0, 1]])

    @property
    def distortion(self) -> Floats:
        """Shape ``(4,)``: OpenCV's distortion coefficients."""
        return np.array([self.k1, self.k2, 0.0, 0.0])

    @property
    def rotation(self) -> Floats:
        """Shape ``(3, 3)``: from the world's axes to right, down and ahead."""
        tilt, yaw = math.radians(self.tilt_deg), math.radians(self.yaw_deg)
        right = np.array([math.cos(yaw), -math.sin(yaw), 0.0])
        level = np.array([math.sin(yaw), math.cos(yaw), 0.0])
        ahead = level * math.cos(tilt) - np.array([0.0, 0.0, math.sin(tilt)])
        return np.stack([right, np.cross(ahead, right), ahead])

    @property
    def position(self) -> Floats:
        """Shape ``(3,)``: where the lens is, in metres."""
        return np.array([0.0, 0.0, self.height_m])

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Project points of the world into the picture.

        Args:
            points: Shape ``(..., 3)``: x, y and height in metres.

        Returns:
            Pixels ``(..., 2)`` behind the distorting lens, and depths ``(...,)`` in metres, at least `NEAREST`. Far
            outside of the picture, where the lens would fold the world back, it is taken as straight.
        """
        seen = (points - self.position) @ self.rotation.T
        depth = np.maximum(seen[..., 2], NEAREST)
        flat = seen[..., :2] / depth[..., None]
        squared = np.minimum((flat**2).sum(axis=-1), self._fold())
        bent = flat * (1 + self.k1 * squared + self.k2 * squared**2)[..., None]
        return bent * self.focal * self.width + (self.width / 2, self.height / 2), depth

    def rays(self, oversampling: int) -> NDArray[np.float32]:
        """Directions, in the world, in which the pixels look.

        Args:
            oversampling: Rays along each side of a pixel.

        Returns:
            Shape ``(height * oversampling, width * oversampling, 3)``, not normalised.
        """
        across = (np.arange(self.width * oversampling) + 0.5) / oversampling - 0.5
        down = (np.arange(self.height * oversampling) + 0.5) / oversampling - 0.5
        pixels = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 1, 2)
        flat = cv2.undistortPoints(pixels, self.matrix, self.distortion).reshape(len(down), len(across), 2)
        return np.asarray(np.concatenate([flat, np.ones_like(flat[..., :1])], axis=-1) @ self.rotation, np.float32)

    def contains(self, pixels: Floats) -> NDArray[np.bool_]:
        """Which pixels ``(..., 2)`` lie in the picture."""
        return np.asarray(((pixels >= 0) & (pixels < (self.width, self.height))).all(axis=-1))

    def _fold(self) -> float:
        """Squared radius from which the lens would map further points nearer to the middle."""
        turning = [
            root.real for root in np.roots([5 * self.k2, 3 * self.k1, 1]) if abs(root.imag) < 1e-9 and root.real > 0
        ]
        return float(min(turning, default=np.inf))


class Sensor:
    """The sensor of one camera: softness, exposure, noise, compression.

    Args:
        camera: The camera.
        rng: Source of random numbers.
    """

    def __init__(self, camera: SceneCamera, rng: np.random.Generator) -> None:
        self._camera = camera
        self._rng = rng
        grain = rng.normal(0.0, 1.0, (camera.height + _GRAIN, camera.width + _GRAIN, 3)).astype(np.float32)
        # Neighbouring pixels share colour, so noise has grain.
        grain = 0.8 * grain + 0.9 * cv2.GaussianBlur(grain, (3, 3), 0)
        self._grain = np.round(camera.noise * grain).astype(np.int16)

    def expose(self, light: Image) -> Image:
        """The frame of a picture of shape ``(height, width, 3)``, BGR."""
        frame = cv2.GaussianBlur(light, (3, 3), 0.55)
        if self._camera.exposure:
            frame = cv2.convertScaleAbs(frame, alpha=2.0**self._camera.exposure)
        if self._camera.noise:
            top, left = self._rng.integers(0, _GRAIN, 2)
            grain = self._grain[top : top + light.shape[0], left : left + light.shape[1]]
            frame = cv2.add(frame, grain, dtype=cv2.CV_8U)
        _, coded = cv2.imencode(".jpg", frame, (cv2.IMWRITE_JPEG_QUALITY, self._camera.jpeg_quality))
        return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
