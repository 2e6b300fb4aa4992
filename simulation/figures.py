"""Drawing people: limbs as shaded capsules in clothes, heads with a direction, and shadows on the ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from simulation.body import INDEX, Body
from simulation.camera import Floats, Image, SceneCamera
from simulation.clothing import Clothing, Colour

Polygon = NDArray[np.int32]

_SHIFT: Final = 4
"""Binary digits behind the point of the coordinates that polygons are drawn with."""

_LAYERS: Final = ((1.0, 0.0, 0.72), (0.74, 0.2, 0.95), (0.4, 0.36, 1.13))
"""Width, shift towards the light, and brightness of the layers that make a limb look round."""

_SIDES: Final = ("left", "right")


@dataclass(frozen=True, slots=True)
class _Limb:
    """A capsule between two joints; radii are shares of the stature."""

    start: str
    end: str
    start_radius: float
    end_radius: float
    cloth: str


def _both(start: str, end: str, start_radius: float, end_radius: float, cloth: str) -> list[_Limb]:
    return [_Limb(f"{side}_{start}", f"{side}_{end}", start_radius, end_radius, cloth) for side in _SIDES]


_LIMBS: Final = (
    *_both("hip", "knee", 0.05, 0.034, "bottom"),
    *_both("knee", "ankle", 0.033, 0.022, "shank"),
    *_both("heel", "toe", 0.021, 0.019, "shoes"),
    *_both("shoulder", "elbow", 0.031, 0.025, "top"),
    *_both("elbow", "wrist", 0.024, 0.017, "forearm"),
    *_both("wrist", "hand", 0.016, 0.019, "skin"),
    _Limb("neck", "chin", 0.034, 0.03, "skin"),
)

_STARTS: Final = [INDEX[limb.start] for limb in _LIMBS]
_ENDS: Final = [INDEX[limb.end] for limb in _LIMBS]
_RADII: Final = np.array([(limb.start_radius, limb.end_radius) for limb in _LIMBS])
_TROUSERED: Final = np.array([limb.cloth in ("bottom", "shank") for limb in _LIMBS])
_SLEEVED: Final = np.array([limb.cloth in ("top", "forearm") for limb in _LIMBS])

_ARC: Final = np.linspace(-1, 1, 7)
_CIRCLE: Final = np.stack(
    [np.cos(np.linspace(0, 2 * np.pi, 12, endpoint=False)), np.sin(np.linspace(0, 2 * np.pi, 12, endpoint=False))], -1
)

_SHADOW_BONES: Final = tuple(
    (INDEX[start], INDEX[end], radius)
    for start, end, radius in (
        ("left_ankle", "left_knee", 0.06),
        ("right_ankle", "right_knee", 0.06),
        ("left_knee", "left_hip", 0.075),
        ("right_knee", "right_hip", 0.075),
        ("pelvis", "neck", 0.2),
        ("neck", "crown", 0.09),
        ("left_shoulder", "left_elbow", 0.05),
        ("right_shoulder", "right_elbow", 0.05),
        ("left_elbow", "left_wrist", 0.045),
        ("right_elbow", "right_wrist", 0.045),
        ("left_heel", "left_toe", 0.1),
        ("right_heel", "right_toe", 0.1),
    )
)
_SHADOW_SCALE: Final = 4


class Figures:
    """All people in one frame, ready to be drawn one after the other.

    Args:
        camera: The camera.
        joints: Shape ``(P, J, 3)`` in metres, joints as `simulation.body.BODY_JOINTS` names them.
        bodies: Size of each.
        clothes: Clothes of each.
    """

    def __init__(
        self, camera: SceneCamera, joints: Floats, bodies: Sequence[Body], clothes: Sequence[Clothing]
    ) -> None:
        self._joints = joints
        self._clothes = clothes
        self.pixels, self._depths = camera.project(joints)
        self._scale = camera.focal * camera.width / self._depths
        self._stature = np.array([body.stature for body in bodies])
        self._girth = self._stature * np.array([body.girth for body in bodies])
        self._view = camera.position - joints[:, INDEX["skull"]]
        # How much each face looks into the camera: 1 straight into it, -1 straight away.
        look = joints[:, INDEX["nose"]] - 0.6 * joints[:, INDEX["skull"]] - 0.4 * joints[:, INDEX["chin"]]
        self._facing = (look * self._view).sum(-1) / (
            np.linalg.norm(look, axis=-1) * np.linalg.norm(self._view, axis=-1)
        )
        self._away = self._behind_the_head()
        self._outlines = self._capsules()

    def faces_away(self) -> NDArray[np.bool_]:
        """Shape ``(P, 5)``: which of nose, eyes and ears the head itself hides."""
        return self._away

    def _behind_the_head(self) -> NDArray[np.bool_]:
        face = self._joints[:, :5] - self._joints[:, INDEX["skull"], None]
        away = (face * self._view[:, None]).sum(axis=-1)
        reach = np.linalg.norm(face, axis=-1) * np.linalg.norm(self._view, axis=-1)[:, None]
        return np.asarray(away < -0.2 * reach)

    def boxes(self, camera: SceneCamera) -> Floats:
        """Shape ``(P, 4)``: left, top, right, bottom of the outline of each person in pixels, cut at the frame."""
        outlines = self._outlines[:, :, 0].reshape(len(self._outlines), -1, 2) / (1 << _SHIFT)
        head = 0.05 * (self._stature * self._scale[:, INDEX["skull"]])[:, None, None]
        skull = self.pixels[:, [INDEX["skull"], INDEX["crown"]]]
        points = np.concatenate([outlines, skull - head, skull + head, self.pixels[:, : INDEX["crown"] + 1]], axis=1)
        sides = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
        return np.asarray(np.clip(sides, 0, (camera.width, camera.height) * 2))

    def draw(self, image: Image, labels: Image, person: int, label: int) -> None:
        """Draw one person, and write the label where the person is seen.

        Args:
            image: Shape ``(height, width, 3)``, BGR.
            labels: Shape ``(height, width)``: the label of whoever is in front at each pixel.
            person: Row of the person.
            label: What to write into `labels`.
        """
        clothing = self._clothes[person]
        depths = self._depths[person]
        parts = [
            ((depths[start] + depths[end]) / 2, number)
            for number, (start, end) in enumerate(zip(_STARTS, _ENDS, strict=True))
        ]
        trunk = (depths[INDEX["neck"]] + depths[INDEX["pelvis"]]) / 2
        parts += [(trunk, -1), (depths[INDEX["skull"]] - 0.03, -2)]
        brush = _Brush(image, labels, label)
        for _, number in sorted(parts, reverse=True):
            if number == -1:
                self._trunk(brush, person, clothing)
            elif number == -2:
                self._head(brush, person, clothing)
            else:
                colour = _colour(clothing, _LIMBS[number].cloth)
                for layer, (_, _, tone) in enumerate(_LAYERS):
                    brush.fill(self._outlines[person, number, layer], colour, tone, mark=layer == 0)

    def _capsules(self) -> Polygon:
        """Shape ``(P, limbs, layers, points, 2)``: outlines of all limbs in fractions of pixels."""
        start, end = self.pixels[:, _STARTS], self.pixels[:, _ENDS]
        radii = _RADII[None] * self._girth[:, None, None]
        loose = np.array([clothing.loose for clothing in self._clothes])[:, None]
        long = np.array([clothing.long_trousers for clothing in self._clothes])[:, None]
        wide = np.where(_TROUSERED & (long | (_RADII[:, 0] > 0.04)), loose, 1.0) * np.where(_SLEEVED, loose, 1.0)
        radii = radii * wide[..., None]
        first = np.maximum(radii[..., 0] * self._scale[:, _STARTS], 0.7)
        second = np.maximum(radii[..., 1] * self._scale[:, _ENDS], 0.6)
        return np.stack(
            [
                _capsule(
                    start + np.array([-0.5, -0.6]) * shift * first[..., None],
                    end + np.array([-0.5, -0.6]) * shift * second[..., None],
                    first * width,
                    second * width,
                )
                for width, shift, _ in _LAYERS
            ],
            axis=2,
        )

    def _trunk(self, brush: _Brush, person: int, clothing: Clothing) -> None:
        """Trousers around the hips, and the top over them with its pattern."""
        at, scale = self.pixels[person], self._scale[person]
        unit = self._girth[person]

        def circles(*spots: tuple[str, float]) -> Floats:
            return np.concatenate(
                [at[INDEX[name]] + _CIRCLE * radius * unit * scale[INDEX[name]] for name, radius in spots]
            )

        def hull(points: Floats) -> Polygon:
            return np.asarray(cv2.convexHull(_fixed(points))[:, 0], np.int32)

        loose = clothing.loose
        away = float(self._facing[person]) < -0.1
        back = self._joints[person, INDEX["neck"]] - self._ahead(person) * 0.17 * unit
        if clothing.bag is not None and not away:
            self._bag(brush, person, clothing.bag, back)
        brush.fill(
            hull(circles(("waist", 0.058), ("left_hip", 0.053 * loose), ("right_hip", 0.053 * loose))),
            clothing.bottom,
            0.85,
        )
        torso = circles(
            ("left_shoulder", 0.034 * loose),
            ("right_shoulder", 0.034 * loose),
            ("neck", 0.04),
            ("waist", 0.064 * loose),
            ("left_hip", 0.047 * loose),
            ("right_hip", 0.047 * loose),
        )
        chest = 0.55 * at[INDEX["neck"]] + 0.45 * at[INDEX["waist"]]
        torso = np.concatenate([torso, chest + _CIRCLE * 0.066 * loose * unit * scale[INDEX["waist"]]])
        outline = hull(torso)
        middle = outline.mean(axis=0)
        light = np.array([-1.1, -1.3]) * 0.05 * unit * scale[INDEX["waist"]] * (1 << _SHIFT)
        for width, shift, tone in _LAYERS:
            layer = (middle + (outline - middle) * width + light * shift).astype(np.int32)
            brush.fill(layer, clothing.top, tone, mark=shift == 0)
        self._pattern(brush, person, clothing, away=away)
        if clothing.bag is not None and away:
            self._bag(brush, person, clothing.bag, back)

    def _pattern(self, brush: _Brush, person: int, clothing: Clothing, *, away: bool) -> None:
        at = self.pixels[person]
        left, right = at[INDEX["left_shoulder"]], at[INDEX["right_shoulder"]]
        low_left, low_right = at[INDEX["left_hip"]], at[INDEX["right_hip"]]

        def spot(across: float, down: float) -> Floats:
            top, bottom = left + (right - left) * across, low_left + (low_right - low_left) * across
            return np.asarray(top + (bottom - top) * down)

        def patch(left: float, right: float, top: float, bottom: float) -> Polygon:
            return _fixed(np.stack([spot(left, top), spot(right, top), spot(right, bottom), spot(left, bottom)]))

        if clothing.pattern in ("stripes", "plaid"):
            for top in (0.12, 0.34, 0.56, 0.78):
                brush.fill(patch(-0.02, 1.02, top, top + 0.09), clothing.accent, 0.9, mark=False)
        if clothing.pattern == "plaid":
            for side in (0.12, 0.45, 0.78):
                brush.fill(patch(side, side + 0.1, 0.02, 0.95), clothing.accent, 0.75, mark=False)
        if clothing.pattern == "print" and not away:
            brush.fill(patch(0.25, 0.75, 0.2, 0.5), clothing.accent, 1.0, mark=False)
        if clothing.pattern == "jacket" and not away:
            brush.fill(patch(0.4, 0.6, -0.04, 0.95), clothing.accent, 1.0, mark=False)

    def _bag(self, brush: _Brush, person: int, colour: Colour, back: Floats) -> None:
        at, scale = self.pixels[person], self._scale[person]
        unit = self._girth[person]
        way = at[INDEX["waist"]] - at[INDEX["neck"]]
        # The pack hangs behind the shoulders; its pixels follow the spine's.
        shift = (back - self._joints[person, INDEX["neck"]])[:2]
        aside = np.array([shift[0] * scale[INDEX["neck"]] * 0.6, 0.0])
        outline = _capsule(
            (at[INDEX["neck"]] + 0.3 * way + aside)[None],
            (at[INDEX["neck"]] + 1.0 * way + aside)[None],
            np.array([0.075 * unit * scale[INDEX["neck"]]]),
            np.array([0.085 * unit * scale[INDEX["neck"]]]),
        )[0]
        brush.fill(outline, colour, 0.85)

    def _head(self, brush: _Brush, person: int, clothing: Clothing) -> None:
        at, scale = self.pixels[person], self._scale[person, INDEX["skull"]]
        size = 0.128 * self._stature[person] * scale
        size = max(size, float(np.hypot(*(at[INDEX["crown"]] - at[INDEX["chin"]]))) * 0.8, 1.5)
        skull = at[INDEX["skull"]]
        up = (at[INDEX["crown"]] - at[INDEX["chin"]]) / size
        nose = at[INDEX["nose"]]
        look = (nose - skull - 0.15 * (at[INDEX["chin"]] - skull)) / size
        facing = float(self._facing[person])
        hair = clothing.cap or clothing.hair

        def blob(middle: Floats, along: Floats, thick: float) -> Polygon:
            ends = np.sign(_CIRCLE @ along)[:, None] * along
            return _fixed(middle + _CIRCLE * thick + ends)

        back = skull - 0.16 * look * size + 0.05 * up * size
        if clothing.long_hair:
            brush.fill(blob(back - 0.3 * up * size, 0.3 * up * size, 0.36 * size), clothing.hair, 0.8)
        scalp = blob(back + 0.05 * up * size, 0.1 * up * size, 0.39 * size)
        face = blob(skull + (0.1 * look - 0.08 * up) * size, 0.14 * up * size, 0.33 * size)
        if facing > 0.0:
            brush.fill(scalp, hair, 0.95)
            brush.fill(face, clothing.skin, 0.85)
            lit = blob(
                skull + (0.14 * look - 0.1 * up) * size + np.array([-0.06, -0.04]) * size, 0.12 * up * size, 0.24 * size
            )
            brush.fill(lit, clothing.skin, 1.05, mark=False)
            brush.fill(blob(skull + 0.3 * up * size - 0.04 * look * size, 0.02 * up * size, 0.28 * size), hair, 1.0)
        else:
            brush.fill(face, clothing.skin, 0.8)
            brush.fill(scalp, hair, 0.9)
            brush.fill(
                blob(back + np.array([-0.06, -0.06]) * size, 0.06 * up * size, 0.22 * size), hair, 1.2, mark=False
            )
        if size < 9:
            return
        hidden = self._away[person]
        for ear in (3, 4):
            if not hidden[ear] and not clothing.long_hair:
                brush.fill(blob(at[ear], 0.05 * up * size, 0.06 * size), clothing.skin, 0.75)
        if facing > 0.15:
            for eye in (1, 2):
                if not hidden[eye]:
                    brush.fill(blob(at[eye], 0.0 * up, 0.05 * size), (35, 35, 40), 1.0, mark=False)
                    brush.fill(blob(at[eye] + 0.1 * up * size, 0.01 * up, 0.045 * size), clothing.hair, 0.9, mark=False)
            brush.fill(blob(nose, 0.05 * up * size, 0.05 * size), clothing.skin, 0.72, mark=False)
            mouth = nose + 0.55 * (at[INDEX["chin"]] - nose)
            aside = np.array([up[1], -up[0]]) * 0.1 * size
            brush.fill(blob(mouth, aside, 0.025 * size), (70, 70, 130), 0.9, mark=False)

    def _ahead(self, person: int) -> Floats:
        """Unit vector in which the chest looks."""
        joints = self._joints[person]
        across = joints[INDEX["left_shoulder"]] - joints[INDEX["right_shoulder"]]
        ahead = np.cross(across, joints[INDEX["neck"]] - joints[INDEX["pelvis"]])
        return np.asarray(ahead / max(float(np.linalg.norm(ahead)), 1e-9))


def draw_shadows(image: Image, camera: SceneCamera, joints: Floats, light: tuple[float, float], shade: float) -> None:
    """Darken the ground where people stand in the light.

    Args:
        image: Shape ``(height, width, 3)``, BGR; changed.
        camera: The camera.
        joints: Shape ``(P, J, 3)`` in metres.
        light: Horizontal metres that a shadow falls for each metre of height.
        shade: Darkness of the shadows, 0 to 1.
    """
    ground = np.concatenate([joints[..., :2] + joints[..., 2:] * light, np.zeros_like(joints[..., :1])], axis=-1)
    pixels, depth = camera.project(ground)
    scale = camera.focal * camera.width / depth / _SHADOW_SCALE
    size = (-(-camera.height // _SHADOW_SCALE), -(-camera.width // _SHADOW_SCALE))
    mask = np.zeros(size, np.uint8)
    spots = _fixed(pixels / _SHADOW_SCALE).tolist()
    for person, widths in zip(spots, scale, strict=True):
        for start, end, radius in _SHADOW_BONES:
            thickness = max(round(2 * radius * float(widths[start])), 1)
            cv2.line(mask, person[start], person[end], 255, min(thickness, 200), cv2.LINE_AA, _SHIFT)
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return
    cv2.GaussianBlur(mask, (5, 5), 1.3, dst=mask)
    left, top = max(left - 3, 0), max(top - 3, 0)
    part = mask[top : top + height + 6, left : left + width + 6]
    area = image[
        top * _SHADOW_SCALE : (top + part.shape[0]) * _SHADOW_SCALE,
        left * _SHADOW_SCALE : (left + part.shape[1]) * _SHADOW_SCALE,
    ]
    soft = cv2.resize(
        part, (part.shape[1] * _SHADOW_SCALE, part.shape[0] * _SHADOW_SCALE), interpolation=cv2.INTER_LINEAR
    )
    left_over = cv2.convertScaleAbs(soft[: area.shape[0], : area.shape[1]], alpha=-shade, beta=0)
    keep = cv2.cvtColor(255 - left_over, cv2.COLOR_GRAY2BGR)
    cv2.multiply(area, keep, dst=area, scale=1 / 255)


class _Brush:
    """Fills polygons of one person in the picture and in the map of who is in front."""

    def __init__(self, image: Image, labels: Image, label: int) -> None:
        self._image = image
        self._labels = labels
        self._label = label

    def fill(self, outline: Polygon, colour: Colour, tone: float, *, mark: bool = True) -> None:
        blue, green, red = colour
        shaded = (min(blue * tone, 255), min(green * tone, 255), min(red * tone, 255))
        cv2.fillConvexPoly(self._image, outline, shaded, cv2.LINE_AA, _SHIFT)
        if mark:
            cv2.fillConvexPoly(self._labels, outline, self._label, cv2.LINE_8, _SHIFT)


def _capsule(start: Floats, end: Floats, first: Floats, second: Floats) -> Polygon:
    """Outlines ``(..., 14, 2)`` of two circles and what is between them, in fractions of pixels."""
    way = end - start
    length = np.maximum(np.hypot(way[..., 0], way[..., 1]), 1e-6)
    towards = np.arctan2(way[..., 1], way[..., 0])[..., None]
    lean = np.arccos(np.clip((first - second) / length, -1, 1))[..., None]
    around_end = towards + lean * _ARC
    around_start = towards + np.pi + (np.pi - lean) * _ARC
    outline = np.concatenate(
        [
            end[..., None, :] + second[..., None, None] * np.stack([np.cos(around_end), np.sin(around_end)], axis=-1),
            start[..., None, :]
            + first[..., None, None] * np.stack([np.cos(around_start), np.sin(around_start)], axis=-1),
        ],
        axis=-2,
    )
    return _fixed(outline)


def _fixed(points: Floats) -> Polygon:
    """Pixels as the fixed-point numbers that OpenCV draws with."""
    return np.round(np.clip(points, -3e4, 3e4) * (1 << _SHIFT)).astype(np.int32)


def _colour(clothing: Clothing, cloth: str) -> Colour:
    match cloth:
        case "top":
            return clothing.top
        case "forearm":
            return clothing.top if clothing.long_sleeves else clothing.skin
        case "bottom":
            return clothing.bottom
        case "shank":
            return clothing.bottom if clothing.long_trousers else clothing.skin
        case "shoes":
            return clothing.shoes
        case _:
            return clothing.skin
