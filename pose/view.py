"""Notices that a camera no longer shows the view of an earlier time, whatever the light.

A picture is reduced to the directions of its edges, which stay when the light changes. The directions of the picture
are compared with those of the reference at many shifts. If the view is the same, the edges fit best where they were,
however much of them light, shadows or people have changed; if the camera was turned, they fit best elsewhere; in front
of another place they fit nowhere.

The steps are standard. The background is the median of pictures over time, without people (Lo and Velastin 2001).
Directions are gradients as complex numbers, squared, so that an edge counts the same from dark to bright and from
bright to dark (double-angle representation, Bigün and Granlund 1987), and divided by the strength of edges around
them, so that contrast does not matter (orientation correlation, Fitch et al. 2002). Maps with holes are compared by
masked normalised correlation over shifts (Padfield 2012). A peak of the correlation is judged by how far it stands
above the values at all other shifts (peak-to-sidelobe ratio, Bolme et al. 2010).
"""

from __future__ import annotations

import base64
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft2, ifft2, next_fast_len

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]
Field = NDArray[np.complex64]
Valid = NDArray[np.bool_]

SIDE: Final = 160
"""The longer side of the picture that is compared, in pixels."""

LOOK_S: Final = 2.0
"""Seconds between two pictures that are looked at, at least."""

_KEPT: Final = 9
"""Pictures of which the background is the median. Somebody who stays before the camera for less than half of the time
that they span, which is 8 s or more, is not in it even without a box."""

_FEWEST: Final = 5
"""Pictures that a background needs before it is compared: below that, people show through the median."""

_SIGHTINGS: Final = 3
"""Pictures in which a pixel must have been free of people to count."""

_MARGIN: Final = 0.15
"""By how much of its width and height a bounding box is made larger on each side: hands, feet and shadows."""

_GAP_S: Final = 15.0
"""After a longer gap between pictures the background starts again."""

_NOISE: Final = 1.5
"""Edges well below this many grey levels per pixel count as noise. Sensors have noise of 4 grey levels or more, of
which averaging to `SIDE` and the median leave about half a grey level."""

_NEIGHBOURS: Final = 25
"""Side in pixels of the square around an edge to whose strength its own is compared."""

_REACH: Final = 48
"""Longest shift in pixels at which maps are compared: a third of the picture, which is 20 degrees of a usual lens."""

_HERE: Final = 2
"""Shifts up to this many pixels count as the same view: 1.2 % of the width, or 0.8 degrees of a usual lens."""

_SIDELOBES: Final = 5
"""Beyond this many pixels the correlation of a map with itself has fallen to its surroundings."""

_OVERLAP: Final = 0.3
"""Share of the picture that must be free of people in both maps to compare them."""

LASTING_S: Final = 30.0
"""Seconds for which a view must differ before it counts as changed, and fit before it counts as back. With the median,
which follows after 10 s, a camera that was turned is noticed after about 40 s."""

_COMPARISONS: Final = 5
"""Comparisons that must agree in these seconds, at least."""

_LEAST_TEXTURE: Final = 0.02
"""Share of the picture that must have edges, or nothing is said: it is dark, covered or out of focus."""

_DISTINCT: Final = 0.15
"""How much worse a view must fit itself elsewhere than here, or it cannot be compared, such as one of blinds only."""

_AWAY: Final = 0.4
_STILL: Final = 0.6
"""How much worse a view fits elsewhere than here, as shares of how much worse the reference fits itself elsewhere.
Below `_AWAY` the camera was turned or zoomed: after a turn the view fits better elsewhere, and after a roll or a zoom,
which have no shift, about as well. Above `_STILL` the view is the same. In between, nothing is said."""

_FITS: Final = 0.2
"""Correlation from which a view fits at all."""

_PROMINENT: Final = 4.0
"""Standard deviations above those of other shifts from which a correlation is no chance."""

_COMPARABLE: Final = 0.5
"""If nothing fits, there must be at least this share of the earlier edges to speak of another place: a dark or covered
picture shows few."""

_ROUNDING: Final = 0.02
"""Difference between a stored map and the original, at most."""


class Likeness(StrEnum):
    """What a comparison of two views says.

    Example:
        >>> Likeness("unknown")
        <Likeness.UNKNOWN: 'unknown'>
    """

    SAME = "same"
    OTHER = "other"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, eq=False)
class ViewMap:
    """The directions of edges in a view, independent of light.

    Attributes:
        directions: Shape ``(height, width)``, complex: twice the angle of the edge at each pixel, and as magnitude how
            clear it is, 0 to 1; 0 where it is not known.
        valid: Shape ``(height, width)``: where it is known.
        texture: Share of the known pixels with an edge above noise, 0 to 1.

    Example:
        >>> stripes = np.tile(np.float32([20, 20, 20, 20, 90, 90, 90, 90]), (90, 20))
        >>> view = ViewMap.of(stripes, np.ones(stripes.shape, np.bool_))
        >>> view.directions.shape, bool(np.abs(view.directions.imag).max() < 0.01)
        ((90, 160), True)
    """

    directions: Field
    valid: Valid
    texture: float

    @classmethod
    def of(cls, background: NDArray[np.float32], valid: Valid) -> Self:
        """The map of a background.

        Args:
            background: Shape ``(height, width)``: grey levels, 0 to 255.
            valid: Shape ``(height, width)``: where they are known.
        """
        grey = background.copy()
        grey[~valid] = grey[valid].mean() if valid.any() else 0.0
        # Without what varies slowly: pools of light and soft shadows.
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.0) - cv2.GaussianBlur(grey, (0, 0), 5.0), np.float32)
        across, down = (cv2.Sobel(grey, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
        strength = across * across + down * down
        around = cv2.boxFilter(strength, -1, (_NEIGHBOURS, _NEIGHBOURS))
        # At the border of the picture and of holes there are edges that are not in the view.
        known = cv2.erode(valid.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.bool_)
        known[:2] = known[-2:] = False
        known[:, :2] = known[:, -2:] = False
        directions = (across + 1j * down) ** 2 / (strength + around + _NOISE**2)
        directions[~known] = 0
        texture = float((strength[known] > 1.0).mean()) if known.any() else 0.0
        return cls(np.asarray(directions, np.complex64), known, texture)

    def to_dict(self) -> dict[str, Any]:
        """The map as JSON values, about 40 kB."""
        parts = np.stack([self.directions.real, self.directions.imag])
        coded = np.where(self.valid, np.round(127 * parts), -128).astype(np.int8)
        height, width = self.valid.shape
        return {
            "width": width,
            "height": height,
            "texture": round(self.texture, 4),
            "directions": base64.b64encode(coded.tobytes()).decode(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The map from the values of `to_dict`.

        Raises:
            ValueError: They are damaged.
        """
        try:
            shape = int(values["height"]), int(values["width"])
            coded = np.frombuffer(base64.b64decode(values["directions"], validate=True), np.int8).reshape(2, *shape)
            texture = float(values["texture"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the stored view is damaged: {error}") from error
        if max(shape) > SIDE or not 0 <= texture <= 1:
            raise ValueError(f"the stored view is damaged: {shape[1]}x{shape[0]} pixels, texture {texture}")
        valid = coded[0] != -128
        real, imaginary = np.where(valid, coded, 0).astype(np.float32) / 127
        return cls(np.asarray(real + 1j * imaginary, np.complex64), valid, texture)


class Background:
    """The median of the newest pictures of a camera, without the people in them, at most one every `LOOK_S`.

    Example:
        >>> background = Background()
        >>> picture = np.full((480, 640, 3), 90, np.uint8)
        >>> [background.look(moment, picture, np.empty((0, 4), np.float32)) for moment in (0.0, 1.0, 2.0)]
        [True, False, True]
    """

    def __init__(self) -> None:
        self._looks: deque[tuple[NDArray[np.int16], Valid]] = deque(maxlen=_KEPT)
        self._last = -math.inf

    def due(self, moment: float) -> bool:
        """Whether a picture of this moment, in seconds, would be looked at."""
        return moment - self._last >= LOOK_S

    def look(self, moment: float, image: Image, boxes: Boxes) -> bool:
        """Take a picture, if it is time for one.

        Args:
            moment: When it was captured, in seconds.
            image: Shape ``(height, width, 3)``, BGR.
            boxes: Shape ``(people, 4)``: left, top, right, bottom in pixels.

        Returns:
            Whether it was taken.
        """
        if not self.due(moment):
            return False
        height, width = image.shape[:2]
        scale = SIDE / max(height, width)
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        # Shrunk before it turns grey, which costs less.
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.int16)
        if moment - self._last > _GAP_S or (self._looks and self._looks[-1][0].shape != grey.shape):
            self._looks.clear()
        self._looks.append((grey, _free(boxes * scale, size)))
        self._last = moment
        return True

    def view(self, fewest: int = _FEWEST) -> ViewMap | None:
        """The map of the background; None if fewer pictures than `fewest` were taken."""
        if len(self._looks) < fewest:
            return None
        grey = np.stack([look[0] for look in self._looks])
        free = np.stack([look[1] for look in self._looks])
        count = free.sum(axis=0)
        # Where people are, values are sorted to the end, and the median is that of the others.
        ordered = np.sort(np.where(free, grey, np.int16(1000)), axis=0)
        middle = np.take_along_axis(ordered, np.maximum(count - 1, 0)[None] // 2, axis=0)[0]
        return ViewMap.of(middle.astype(np.float32), count >= _SIGHTINGS)


class ViewReference:
    """The view of a camera over a longer time, such as that of its calibration: the mean of its maps.

    Edges that come and go with the light count less in it than those that stay.

    Example:
        >>> reference = ViewReference()
        >>> reference.view() is None
        True
    """

    def __init__(self) -> None:
        self._background = Background()
        self._sum: NDArray[np.complex128] | None = None
        self._count: NDArray[np.int64] = np.zeros(0, np.int64)
        self._textures: tuple[float, int] = (0.0, 0)

    def look(self, moment: float, image: Image, boxes: Boxes) -> None:
        """Take a picture, if it is time for one; see `Background.look`."""
        if not self._background.look(moment, image, boxes):
            return
        now = self._background.view(_SIGHTINGS)
        if now is None:
            return
        if self._sum is None or self._sum.shape != now.valid.shape:
            self._sum = np.zeros(now.valid.shape, np.complex128)
            self._count = np.zeros(now.valid.shape, np.int64)
            self._textures = (0.0, 0)
        self._sum += now.directions
        self._count += now.valid
        self._textures = self._textures[0] + now.texture, self._textures[1] + 1

    def view(self) -> ViewMap | None:
        """The map; None if there were too few pictures."""
        if self._sum is None:
            return None
        mean = self._sum / np.maximum(self._count, 1)
        return ViewMap(np.asarray(mean, np.complex64), self._count > 0, self._textures[0] / self._textures[1])


@dataclass(frozen=True, slots=True)
class Comparison:
    """How well a view fits to another one at each shift.

    Attributes:
        here: Highest correlation at shifts up to 1.2 % of the width, -1 to 1.
        there: Highest correlation at all other shifts.
        shift: The shift of `there`, to the right and down, in shares of the longer side of the picture.
        alike: Highest correlation of the earlier view with itself at these shifts.
        prominence: By how many standard deviations `here` stands above the correlation at longer shifts.
        texture_before: Share of the earlier view with edges, 0 to 1.
        texture_now: Share of the present view with edges, 0 to 1.

    Example:
        >>> Comparison(0.1, 0.8, (0.05, 0.0), 0.4, 1.9, 0.5, 0.6).likeness
        <Likeness.OTHER: 'other'>
    """

    here: float
    there: float
    shift: tuple[float, float]
    alike: float
    prominence: float
    texture_before: float
    texture_now: float

    @property
    def likeness(self) -> Likeness:
        """Whether both show the same view; unknown if there is too little to see now, or the signs contradict."""
        if self.texture_now < _LEAST_TEXTURE:
            return Likeness.UNKNOWN
        best, distinct = max(self.here, self.there), 1 - self.alike
        if distinct < _DISTINCT:
            return Likeness.UNKNOWN
        loss = (self.here - self.there) / max(self.here, 1e-6)
        if best >= _FITS and loss <= _AWAY * distinct:
            return Likeness.OTHER
        if best >= _FITS and loss >= _STILL * distinct and self.prominence >= _PROMINENT:
            return Likeness.SAME
        detailed = self.texture_now >= _COMPARABLE * self.texture_before
        if best < _FITS and self.prominence < _PROMINENT and detailed:
            return Likeness.OTHER
        return Likeness.UNKNOWN


def compare(reference: ViewMap, now: ViewMap, alike: float | None = None) -> Comparison | None:
    """Compare two views.

    Args:
        reference: The earlier view.
        now: The present one.
        alike: `self_likeness` of the reference, if that is known already.

    Returns:
        None if they cannot be compared: the picture has another shape, or people hide too much of it.

    Example:
        >>> squares = np.kron(np.random.default_rng(0).integers(0, 256, (12, 20)), np.ones((8, 8)))
        >>> views = [ViewMap.of(np.roll(squares, shift, 1).astype(np.float32), squares < 256) for shift in (0, 0, 8)]
        >>> found = [compare(views[0], one) for one in views[1:]]
        >>> [one and one.likeness.value for one in found]
        ['same', 'other']
    """
    if reference.valid.shape != now.valid.shape or (reference.valid & now.valid).mean() < _OVERLAP:
        return None
    fit = _correlated(reference, now)
    distance, rows, columns = _shifts(fit.shape)
    around = fit[distance > _SIDELOBES]
    here = float(fit[distance <= _HERE].max())
    elsewhere = np.where(distance > _HERE, fit, -1.0)
    row, column = np.unravel_index(int(elsewhere.argmax()), elsewhere.shape)
    side = max(now.valid.shape)
    return Comparison(
        here=here,
        there=float(elsewhere[row, column]),
        shift=(float(columns[row, column]) / side, float(rows[row, column]) / side),
        alike=self_likeness(reference) if alike is None else alike,
        prominence=float((here - around.mean()) / max(float(around.std()), 1e-6)),
        texture_before=reference.texture,
        texture_now=now.texture,
    )


def self_likeness(view: ViewMap) -> float:
    """Highest correlation of a view with itself at the shifts that do not count as the same view, -1 to 1.

    Example:
        >>> squares = np.kron(np.random.default_rng(0).integers(0, 256, (12, 20)), np.ones((8, 8)))
        >>> blinds = np.repeat(squares[:, :1], squares.shape[1], axis=1)
        >>> [round(self_likeness(ViewMap.of(one.astype(np.float32), one < 256)), 1) for one in (squares, blinds)]
        [0.5, 1.0]
    """
    fit = _correlated(view, view)
    return float(fit[_shifts(fit.shape)[0] > _HERE].max())


class ViewWatch:
    """Watches whether a camera still shows the view of a reference.

    What it says changes only after the pictures have said otherwise for `LASTING_S`. A picture that cannot be compared,
    such as one of a dark night, changes nothing. It takes a picture every `LOOK_S` at most, keeps nine small ones, and
    the rate at which frames come does not matter.

    Args:
        reference: The view to compare with.

    Attributes:
        moved: Whether the camera shows another view.

    Example:
        >>> squares = np.kron(np.random.default_rng(0).integers(0, 256, (12, 20)), np.ones((8, 8)))
        >>> watch = ViewWatch(ViewMap.of(squares.astype(np.float32), squares < 256))
        >>> turned = np.repeat(np.roll(squares, 8, 1).astype(np.uint8)[..., None], 3, axis=2)
        >>> told = []
        >>> for moment in range(0, 60, 2):
        ...     watch.look(moment, turned, np.empty((0, 4), np.float32))
        ...     told.append(watch.moved)
        >>> told.index(True) * 2
        38
    """

    def __init__(self, reference: ViewMap) -> None:
        self.moved = False
        self._reference = reference
        self._alike = self_likeness(reference)
        self._background = Background()
        self._against: deque[float] = deque(maxlen=_COMPARISONS)
        """Moments of the newest comparisons that contradict `moved`, without one between them that agrees."""
        self._since = math.inf
        """Moment of the first of these."""

    def is_of(self, reference: ViewMap) -> bool:
        """Whether this is the view that it compares with."""
        return self._reference.valid.shape == reference.valid.shape and bool(
            np.abs(self._reference.directions - reference.directions).max() < _ROUNDING
        )

    def look(self, moment: float, image: Image, boxes: Boxes) -> None:
        """Take a picture, if it is time for one, and compare; see `Background.look`."""
        if not self._background.look(moment, image, boxes):
            return
        now = self._background.view()
        found = None if now is None else compare(self._reference, now, self._alike)
        if found is None or found.likeness is Likeness.UNKNOWN:
            return
        if (found.likeness is Likeness.OTHER) == self.moved:
            self._forget()
            return
        if self._against and moment - self._against[-1] > _GAP_S:
            self._forget()
        self._since = min(self._since, moment)
        self._against.append(moment)
        if moment - self._since >= LASTING_S and len(self._against) == _COMPARISONS:
            self.moved = not self.moved
            self._forget()

    def _forget(self) -> None:
        self._against.clear()
        self._since = math.inf


def _free(boxes: Boxes, size: tuple[int, int]) -> Valid:
    """Where nobody is, in a picture of a width and height."""
    width, height = size
    free = np.ones((height, width), np.bool_)
    for left, top, right, bottom in boxes:
        across, down = _MARGIN * (right - left), _MARGIN * (bottom - top)
        rows = slice(max(math.floor(top - down), 0), max(math.ceil(bottom + down), 0))
        free[rows, max(math.floor(left - across), 0) : max(math.ceil(right + across), 0)] = False
    return free


def _centred(view: ViewMap) -> Field:
    """The directions around their mean: in most places upright and level edges prevail, which says nothing."""
    if not view.valid.any():
        return view.directions
    return np.asarray(np.where(view.valid, view.directions - view.directions[view.valid].mean(), 0), np.complex64)


def _correlated(reference: ViewMap, now: ViewMap) -> NDArray[np.float32]:
    """Normalised correlation of two maps at each shift, over the pixels that are known in both.

    Returns:
        Shape ``(2 * down + 1, 2 * across + 1)``, -1 to 1: rows and columns from the longest shift up and to the left,
        to the longest down and to the right; 0 where too few pixels are known in both.
    """
    height, width = now.valid.shape
    down, across = min(_REACH, height // 2), min(_REACH, width // 2)
    size = [next_fast_len(height + down), next_fast_len(width + across)]
    shifts = np.ix_(np.arange(-down, down + 1), np.arange(-across, across + 1))

    def spectrum(field: NDArray[Any]) -> NDArray[np.complex64]:
        return np.asarray(fft2(field.astype(np.complex64), size), np.complex64)

    def product(before: NDArray[np.complex64], after: NDArray[np.complex64]) -> NDArray[np.float32]:
        return np.asarray(np.real(ifft2(np.conj(before) * after))[shifts], np.float32)

    maps = [_centred(one) for one in (reference, now)]
    before, after = (spectrum(field) for field in maps)
    known_before, known_after = (spectrum(one.valid) for one in (reference, now))
    strong_before, strong_after = (spectrum(np.abs(field) ** 2) for field in maps)
    strengths = product(strong_before, known_after) * product(known_before, strong_after)
    fit = product(before, after) / np.sqrt(np.maximum(strengths, 1.0))
    overlap = product(known_before, known_after)
    return np.where(overlap < _OVERLAP * height * width, np.float32(0), fit)


def _shifts(shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """For each element of a correlation its distance from the middle, its shift down and to the right, in pixels."""
    down, across = shape[0] // 2, shape[1] // 2
    rows, columns = np.mgrid[-down : down + 1, -across : across + 1]
    return np.maximum(np.abs(rows), np.abs(columns)), rows, columns
