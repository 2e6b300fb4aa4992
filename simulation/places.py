"""Places without people: floor, walls and furniture, with textures in perspective, drawn once for a scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from simulation.camera import Floats, Image
from simulation.scene import Scene

Map = NDArray[np.float32]

_OVERSAMPLING: Final = 2
_FACES: Final = np.array([0.72, 0.9, 1.15], np.float32)
"""Brightness of a box's sides, of its front and of its top."""

_TABLE: Final = 256
"""Side of the table of random numbers from which noise is read."""


@dataclass(frozen=True, slots=True)
class Box:
    """A piece of furniture, its sides along the world's axes, in metres.

    Attributes:
        left: Lowest x.
        right: Highest x.
        near: Lowest y.
        far: Highest y.
        height: Height of its top.
        colour: Blue, green, red.
        grid: Width and height of its panels, for lines.
        seat: Whether people sit on it, towards the camera.
    """

    left: float
    right: float
    near: float
    far: float
    height: float
    colour: tuple[float, float, float]
    grid: tuple[float, float]
    seat: bool = False

    def covers(self, points: Floats, margin: float) -> NDArray[np.bool_]:
        """Which points of the ground ``(N, 2)`` lie under it or nearer than a margin."""
        x, y = points.T
        return np.asarray(
            (x > self.left - margin) & (x < self.right + margin) & (y > self.near - margin) & (y < self.far + margin)
        )

    def nearest(self, point: Floats) -> Floats:
        """Its point on the ground that is nearest to another one."""
        return np.clip(point, (self.left, self.near), (self.right, self.far))

    def hides(self, point: Floats) -> bool:
        """Whether no side of it parts a point of the ground from the camera, so that it may hide the point."""
        x, y = point
        return not (y <= self.near or (x <= self.left and self.left > 0) or (x >= self.right and self.right < 0))


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """A place without people.

    Attributes:
        image: Shape ``(height, width, 3)``, BGR.
        boxes: Its furniture.
        masks: For each box, where it is seen: left, top, and a mask of shape ``(h, w)``, 255 inside, empty if nowhere.
        light: Horizontal metres, x and y, that a shadow falls for each metre of height.
        shade: Darkness of shadows, 0 to 1.
    """

    image: Image
    boxes: tuple[Box, ...]
    masks: tuple[tuple[int, int, Image], ...]
    light: tuple[float, float]
    shade: float


def furnish(scene: Scene) -> tuple[Box, ...]:
    """The furniture of a scene's place."""
    rng = np.random.default_rng((scene.seed, 3))

    def tint(*colour: float) -> tuple[float, float, float]:
        blue, green, red = np.clip(np.array(colour) * rng.uniform(0.75, 1.2) + rng.normal(0, 6, 3), 15, 235)
        return float(blue), float(green), float(red)

    def bench(far: float, colour: tuple[float, float, float], grid: tuple[float, float]) -> Box:
        left = rng.uniform(-3.2, 1.2)
        near = far + rng.uniform(0, 0.6)
        return Box(left, left + rng.uniform(1.6, 2.4), near, near + 0.5, 0.44, colour, grid, seat=True)

    side = rng.choice((-1.0, 1.0))
    match scene.place:
        case "hall":
            x = side * rng.uniform(1.4, 2.6)
            pillar = Box(x - 0.25, x + 0.25, 6.2, 6.7, 3.6, tint(175, 180, 185), (5.0, 1.2))
            return (pillar, bench(8.6, tint(70, 100, 140), (0.6, 1.0)))
        case "street":
            x = side * rng.uniform(1.6, 2.8)
            bin_ = Box(x - 0.3, x + 0.3, 5.6, 6.2, 1.05, tint(70, 95, 60), (1.0, 0.35))
            return (bin_, bench(8.8, tint(80, 110, 150), (3.0, 0.11)))
        case "park":
            x = side * rng.uniform(1.8, 2.8)
            planter = Box(x - 0.7, x + 0.7, 5.4, 6.0, 0.6, tint(95, 105, 120), (0.7, 0.3))
            return (planter, bench(8.4, tint(55, 90, 130), (3.0, 0.12)))
        case "shop":
            x = side * rng.uniform(2.4, 3.0)
            shelf = Box(x - 0.45, x + 0.45, 6.0, 9.0, 1.5, tint(150, 160, 170), (0.3, 0.36))
            counter = Box(-side * 2.2 - 0.8, -side * 2.2 + 0.8, 5.2, 5.8, 0.95, tint(90, 120, 160), (0.8, 2.0))
            return (shelf, counter, bench(9.4, tint(120, 60, 60), (0.8, 1.0)))


def draw_background(scene: Scene, boxes: tuple[Box, ...]) -> Background:
    """The scene's place as its camera sees it without people."""
    rng = np.random.default_rng((scene.seed, 4))
    return _Painter(scene, boxes, rng).paint()


class _Painter:
    """Follows the ray of every pixel to the first surface, and looks up the colour there."""

    def __init__(self, scene: Scene, boxes: tuple[Box, ...], rng: np.random.Generator) -> None:
        self._scene = scene
        self._boxes = boxes
        self._rng = rng
        self._table = rng.random((_TABLE, _TABLE), np.float32)
        self._wall = rng.uniform(11.5, 14.0)
        self._light = (float(rng.uniform(-0.5, 0.5)), float(rng.uniform(0.1, 0.5)))

    def paint(self) -> Background:
        camera = self._scene.camera
        rays = camera.rays(_OVERSAMPLING)
        x, y, z = rays[..., 0], rays[..., 1], rays[..., 2]
        height = np.float32(camera.height_m)
        away = np.full(z.shape, 1e6, np.float32)
        np.divide(-height, z, out=away, where=z < -1e-4)
        wall = np.where(y > 1e-4, np.float32(self._wall) / np.maximum(y, np.float32(1e-4)), np.float32(1e6))
        on_wall = wall < away
        reach = np.minimum(away, wall)
        picture = self._floor(x * reach, y * reach)
        self._upright(picture, on_wall, x * wall, height + z * wall)
        far = np.clip(1.08 - 0.018 * reach, 0.75, 1.08)[..., None]
        picture *= far
        masks = []
        for box in self._boxes:
            masks.append(self._box(picture, reach, rays, box))
        self._blemish(picture)
        size = (camera.width, camera.height)
        small = cv2.resize(np.clip(picture, 0, 255).astype(np.uint8), size, interpolation=cv2.INTER_AREA)
        cut = tuple(_cut(np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), np.uint8)) for mask in masks)
        shade = 0.34 if self._scene.place in ("hall", "shop") else float(self._rng.uniform(0.3, 0.5))
        return Background(np.asarray(small, np.uint8), self._boxes, cut, self._light, shade)

    def _noise(self, u: Map, v: Map, scale: float) -> Map:
        """Smooth noise between 0 and 1 that varies over `scale` metres."""
        u, v = (np.mod(part / np.float32(scale), _TABLE).astype(np.float32) for part in (u, v))
        return np.asarray(cv2.remap(self._table, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32)

    def _rough(self, u: Map, v: Map, scale: float) -> Map:
        """Noise at several scales, around 0, at most 1."""
        layers = [(self._noise(u + 17 * octave, v, scale / 2.7**octave) - 0.5) * 0.6**octave for octave in range(4)]
        return np.asarray(sum(layers), np.float32)

    def _cells(self, u: Map, v: Map) -> Map:
        """Random numbers between 0 and 1, one for each unit square."""
        rows, columns = (np.mod(np.floor(part), _TABLE).astype(np.int32) for part in (v, u))
        return self._table[rows, columns]

    def _floor(self, u: Map, v: Map) -> Map:
        rng = self._rng
        rough = self._rough(u, v, 1.6)
        match self._scene.place:
            case "hall":
                side = np.float32(rng.uniform(0.45, 0.9))
                base = np.array(rng.choice([(150, 160, 170), (125, 130, 135), (165, 180, 190)]), np.float32)
                checked = np.mod(np.floor(u / side) + np.floor(v / side), 2) * rng.choice((0, 0.22))
                tone = 0.93 + 0.12 * self._cells(u / side, v / side) + 0.14 * rough - checked
                return _tinted(base, tone * _joints(u / side, v / side, 0.02 / float(side), 0.75))
            case "street":
                base = np.array((100, 98, 96), np.float32)
                tone = 0.95 + 0.35 * rough + 0.12 * (self._noise(u, v, 0.02) - 0.5)
                kerb = np.float32(rng.uniform(7.5, 9.5))
                paved = v > kerb
                slabs = 1.35 + 0.18 * self._cells(u / 0.5, v / 0.5) + 0.12 * rough
                tone = np.where(paved, slabs * _joints(u / 0.5, v / 0.5, 0.03, 0.8), tone)
                line = (np.abs(v - kerb + 1.2) < 0.06) & (np.mod(u, 2.0) < 1.1)
                tone = np.where(line, 1.9 + 0.4 * rough, np.where(np.abs(v - kerb) < 0.09, 1.55, tone))
                return _tinted(base, tone)
            case "park":
                grass = _tinted(
                    np.array((45, 105, 90), np.float32), 0.95 + 0.5 * rough + 0.35 * (self._noise(u, v, 0.05) - 0.5)
                )
                gravel = _tinted(
                    np.array((140, 160, 175), np.float32), 0.95 + 0.25 * rough + 0.2 * (self._noise(u, v, 0.03) - 0.5)
                )
                bend = 1.2 * self._noise(u, np.zeros_like(v), 6.0)
                path = np.abs(v - 6.2 - bend) + 0.25 * rough < rng.uniform(1.0, 2.2)
                return np.where(path[..., None], gravel, grass)
            case "shop":
                base = np.array(rng.choice([(95, 135, 175), (70, 100, 135), (150, 155, 160)]), np.float32)
                board = u / 0.16
                tone = (
                    0.88 + 0.2 * self._cells(board, v / 1.4 + 5 * np.floor(board)) + 0.12 * self._rough(u * 6, v, 1.2)
                )
                return _tinted(base, tone * _joints(board, v / 1.4 + 0.37 * np.floor(board), 0.05, 0.8))

    def _upright(self, picture: Map, where: NDArray[np.bool_], u: Map, v: Map) -> None:
        """Paint the wall in the background: plaster, bricks, a hedge or shelves, with doors, windows and signs."""
        if not where.any():
            return
        rng = self._rng
        rows = slice(0, int(np.flatnonzero(where.any(axis=1))[-1]) + 1)
        u, v, where = u[rows], v[rows], where[rows]
        rough = self._rough(u, v, 1.1)
        match self._scene.place:
            case "hall" | "shop":
                base = np.array(rng.choice([(185, 195, 200), (170, 185, 170), (200, 190, 180)]), np.float32)
                colour = _tinted(base, 0.95 + 0.1 * rough)
                colour[v < 0.14] *= 0.55
                openings = 5
            case "street":
                shifted = u / 0.42 + 0.5 * np.mod(np.floor(v / 0.14), 2)
                tone = 0.8 + 0.3 * self._cells(shifted, v / 0.14) + 0.15 * rough
                colour = _tinted(np.array((75, 95, 150), np.float32), tone * _joints(shifted, v / 0.14, 0.06, 1.25))
                openings = 6
            case "park":
                leaves = 0.8 + 0.8 * rough + 0.5 * (self._noise(u, v, 0.12) - 0.5)
                colour = _tinted(np.array((40, 80, 62), np.float32), leaves)
                sky = v > 2.4 + 1.5 * self._noise(u, np.zeros_like(v), 2.2)
                colour[sky] = np.array((225, 212, 200), np.float32)
                openings = 0
        for number in range(openings):
            left = -8.0 + 3.1 * number + rng.uniform(0, 1.6)
            low, high = rng.choice([(0.0, 2.1), (1.0, 2.2), (1.3, 1.9)])
            wide = rng.uniform(0.7, 1.5)
            inside = (u > left) & (u < left + wide) & (v > low) & (v < high)
            frame = inside & ((u < left + 0.07) | (u > left + wide - 0.07) | (v > high - 0.07))
            paint = (0.4 * rng.uniform(50, 200, 3) + 0.6 * rng.uniform(50, 200)).astype(np.float32)
            colour[inside] = paint * (1 + 0.3 * rough[inside])[:, None]
            colour[frame] = rng.uniform(40, 220)
        picture[rows][where] = colour[where]

    def _box(self, picture: Map, reach: Map, rays: Map, box: Box) -> Image:
        """Paint the visible part of a box, and return its mask."""
        camera = self._scene.camera
        low = np.array([box.left, box.near, -camera.height_m], np.float32)
        high = np.array([box.right, box.far, box.height - camera.height_m], np.float32)
        safe = np.where(np.abs(rays) < 1e-6, np.float32(1e-6), rays)
        enter, leave = np.minimum(low / safe, high / safe), np.maximum(low / safe, high / safe)
        first = enter.max(axis=-1)
        hit = (first < leave.min(axis=-1)) & (first > 0) & (first < reach + 1e-3)
        mask = np.asarray(hit * np.uint8(255), np.uint8)
        if not hit.any():
            return mask
        left, top, width, height = cv2.boundingRect(mask)
        area = slice(top, top + height), slice(left, left + width)
        inside = hit[area]
        point = rays[area] * first[area][..., None] + camera.position.astype(np.float32)
        axis = enter[area].argmax(axis=-1)
        u = np.where(axis == 0, point[..., 1], point[..., 0])
        v = np.where(axis == 2, point[..., 1], point[..., 2])
        grid_u, grid_v = box.grid
        tone = _FACES[axis] * (1 + 0.22 * self._rough(u, v, 0.8))
        tone *= _joints(u / grid_u, v / grid_v, 0.025 / grid_u, 0.6)
        if self._scene.place == "shop" and not box.seat:
            tone *= 0.6 + 0.8 * self._cells(u / grid_u * 2, v / grid_v)
        picture[area][inside] = _tinted(np.array(box.colour, np.float32), tone)[inside]
        reach[area][inside] = first[area][inside]
        return mask

    def _blemish(self, picture: Map) -> None:
        """Darker corners, as lenses have them, and uneven lamps."""
        height, width = picture.shape[:2]
        down, across = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
        lamp = 0.12 * np.cos(2.2 * across + self._rng.uniform(-2, 2)) * np.cos(1.7 * down + self._rng.uniform(-1, 1))
        picture *= (1 + lamp - 0.16 * (down**2 + across**2) / 2)[..., None].astype(np.float32)


def _tinted(base: Map, tone: Map) -> Map:
    return np.asarray(base * tone[..., None], np.float32)


def _joints(u: Map, v: Map, width: float, tone: float) -> Map:
    """`tone` along the lines between unit squares, else 1."""
    line = (np.mod(u, 1) < width) | (np.mod(v, 1) < width)
    return np.where(line, np.float32(tone), np.float32(1))


def _cut(mask: Image) -> tuple[int, int, Image]:
    """The part of a mask that is not empty, and where it begins."""
    left, top, width, height = cv2.boundingRect(mask)
    return left, top, np.where(mask[top : top + height, left : left + width] > 127, np.uint8(255), np.uint8(0))
