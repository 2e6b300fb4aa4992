"""Whether a camera can see people: too dark, glare, blurred, covered, or people too small.

`look_at` measures one picture at low resolution, `Sight` decides over time. Both are pure: times are capture times, so
the answer depends neither on the frame rate nor on the clock of the machine.

A picture is divided into tiles. A tile shows *detail* if its brightness varies, and its steepest edges are sharp. How
sharp is measured as by Zhuo and Sim (*Defocus map estimation from a single image*, Pattern Recognition 44, 2011): an
edge of blur ``s`` is blurred once more by ``b``, and its slope falls by the ratio

    ``R = sqrt((s² + b²) / s²)``,

whatever the contrast of the edge. That the share of edges which disappear tells of a covered or defocused camera is the
finding of Lee, Lee and Lim (*Unified Camera Tamper Detection Based on Edge and Object Information*, Sensors 15, 2015).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

_LONG_SIDE: Final = 320
"""Pixels of the longer side at which pictures are measured: half of what the pose estimator looks at, so that noise of
single pixels averages out and edges that matter to it remain."""

_TILE: Final = 16
"""Side of a tile in these pixels: a twentieth of the picture."""

_SMOOTHING: Final = 0.7
"""Standard deviation in pixels of the blur before edges are measured, against noise and artefacts of compression."""

_BLUR_AGAIN: Final = 4.0
"""Standard deviation in pixels of the second blur, ``b``."""

_STEEPEST: Final = 8
"""Pixels of a tile with the steepest slopes, over which the ratio is taken: half of an edge across the tile."""

_SHARP: Final = 1.64
"""Ratio from which a tile is sharp: below it, edges are blurred by more than 3 pixels here, which is 6 of the 640 that
the pose estimator sees, as wide as the arm of a person of 80 pixels."""

_STEEP: Final = 1 / 7.7
"""Least slope of a sharp tile per pixel, as a share of its range of brightness: an edge of that range with a blur of 3
pixels has ``1 / (sqrt(2π) sqrt(3² + _SMOOTHING²))``. Without it, the small steps that compression leaves in a smooth
gradient would count as sharp."""

_CONTRAST: Final = 10.0
"""Least range of brightness in a tile with detail, of 255. The coarsest quantisation of dark video leaves steps of up
to about 5."""

_NOISE_RANGE: Final = 8.0
"""Range of pure noise within a tile, in standard deviations of the picture's noise, with a margin: 256 values of a
normal distribution span about 6 of them."""

_DARK: Final = 40.0
"""Mean brightness below which a tile without detail is dark."""

_BRIGHT: Final = 215.0
"""Mean brightness above which a tile without detail is glare."""

_CLIPPED: Final = 250
"""Brightness from which a pixel is clipped."""

_TOO_MUCH_CLIPPED: Final = 0.3
"""Share of clipped pixels above which a tile shows no detail: its edges are those of the glare, not of what is lit."""


class CannotSee(StrEnum):
    """Why a camera cannot see people.

    Example:
        >>> CannotSee.TOO_DARK.words
        'the picture is too dark to see people'
    """

    TOO_DARK = "too_dark"
    GLARE = "glare"
    BLURRED = "blurred"
    COVERED = "covered"
    PEOPLE_TOO_SMALL = "people_too_small"

    @property
    def words(self) -> str:
        """The reason as a sentence, without capital and full stop."""
        return _WORDS[self]


_WORDS: Final = {
    CannotSee.TOO_DARK: "the picture is too dark to see people",
    CannotSee.GLARE: "the picture is overexposed, or infrared light glares",
    CannotSee.BLURRED: "the picture is blurred or out of focus",
    CannotSee.COVERED: "the camera is covered or sprayed: the picture shows hardly anything",
    CannotSee.PEOPLE_TOO_SMALL: "people are too small in the picture",
}


@dataclass(frozen=True, slots=True)
class SightChange:
    """A camera cannot see people, cannot see them for another reason, or sees again.

    Attributes:
        camera_id: The camera.
        previous: Why it could not see until now; None if it could.
        cannot_see: Why it cannot see; None if it sees, or is no longer watched.
        moment: When, in seconds on the monotonic clock.

    Example:
        >>> SightChange("yard", previous=None, cannot_see=CannotSee.COVERED, moment=12.5).cannot_see.value
        'covered'
    """

    camera_id: str
    previous: CannotSee | None
    cannot_see: CannotSee | None
    moment: float


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What one picture shows.

    The upper and the lower row of tiles count for nothing: cameras write the time and their name there, and that stays
    sharp whatever the lens sees.

    Attributes:
        detail: Share of the tiles that show detail, 0..1.
        hidden_by: What most of the other tiles suffer from; one of the first four reasons.
        brightness: Shape ``(rows, columns)``: mean brightness of each tile, 0..255.

    Example:
        >>> import numpy as np
        >>> look = look_at(np.full((360, 640, 3), 4, np.uint8))
        >>> look.detail, look.hidden_by.value, look.brightness.shape
        (0.0, 'too_dark', (11, 20))
    """

    detail: float
    hidden_by: CannotSee
    brightness: NDArray[np.float32]


def look_at(image: NDArray[np.uint8]) -> Look:
    """Measure one picture.

    Args:
        image: Shape ``(height, width, 3)``, BGR, or ``(height, width)``, grey; uint8.

    Raises:
        ValueError: The picture is empty, has another shape, or is not uint8.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0 or image.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"a picture must be (height, width, 3) or (height, width), uint8, got {image.shape} {image.dtype}"
        )
    grey = _reduced(image)
    smooth = np.asarray(cv2.GaussianBlur(grey, (0, 0), _SMOOTHING), np.float32)
    blurred = np.asarray(cv2.GaussianBlur(smooth, (0, 0), _BLUR_AGAIN), np.float32)
    slopes, blurred_slopes, levels = _tiles(_slope(smooth)), _tiles(_slope(blurred)), _tiles(smooth)
    steepest = np.argpartition(slopes, -_STEEPEST, axis=-1)[..., -_STEEPEST:]
    slope = np.take_along_axis(slopes, steepest, -1).mean(-1)
    blurred_slope = np.take_along_axis(blurred_slopes, steepest, -1).mean(-1)
    contrast = levels.max(-1) - levels.min(-1)
    brightness = levels.mean(-1)
    varied = contrast >= max(_CONTRAST, _NOISE_RANGE * _noise(grey))
    clipped = (_tiles(grey) >= _CLIPPED).mean(-1) > _TOO_MUCH_CLIPPED
    detail = varied & ~clipped & (slope >= _SHARP * blurred_slope) & (slope >= _STEEP * contrast)
    inner = slice(1, -1)
    hidden, varied, bright = ~detail[inner], varied[inner], brightness[inner]
    glare = hidden & (clipped[inner] | (~varied & (bright > _BRIGHT)))
    dark = hidden & ~glare & ~varied & (bright < _DARK)
    wide = hidden & ~glare & varied
    flat = hidden & ~glare & ~dark & ~varied
    found = {
        CannotSee.COVERED: flat,
        CannotSee.TOO_DARK: dark,
        CannotSee.GLARE: glare,
        CannotSee.BLURRED: wide,
    }
    return Look(
        detail=float(detail[inner].mean()),
        hidden_by=max(found, key=lambda reason: int(found[reason].sum())),
        brightness=brightness,
    )


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The picture in grey, reduced to `_LONG_SIDE`, with whole tiles and at least three rows and columns of them."""
    height, width = image.shape[:2]
    scale = _LONG_SIDE / max(height, width)
    size = max(round(scale * width), 3 * _TILE), max(round(scale * height), 3 * _TILE)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    grey = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    return grey[: size[1] // _TILE * _TILE, : size[0] // _TILE * _TILE].astype(np.float32)


def _tiles(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shape ``(rows, columns, pixels of a tile)``."""
    rows, columns = values.shape[0] // _TILE, values.shape[1] // _TILE
    return values.reshape(rows, _TILE, columns, _TILE).swapaxes(1, 2).reshape(rows, columns, _TILE * _TILE)


def _slope(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Steepness at each pixel, in levels of brightness per pixel."""
    across, down = (cv2.Sobel(picture, cv2.CV_32F, *axis, scale=0.125) for axis in ((1, 0), (0, 1)))
    return np.asarray(cv2.magnitude(across, down), np.float32)


def _noise(grey: NDArray[np.float32]) -> float:
    """Standard deviation of the noise that is left after smoothing, in levels of brightness.

    Immerkær, *Fast Noise Variance Estimation* (Computer Vision and Image Understanding 64, 1996), in the fifth of the
    tiles that varies least: elsewhere, texture counts as noise.
    """
    residue = _tiles(np.abs(cv2.filter2D(grey, cv2.CV_32F, _IMMERKAER))).mean(-1)
    before = math.sqrt(math.pi / 2) / 6 * float(np.percentile(residue, 20))
    return before / (2 * math.sqrt(math.pi) * _SMOOTHING)


_IMMERKAER: Final = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


class Sight:
    """Decides from pictures and people whether a camera can see people.

    A picture is *blind* if too few of its tiles show detail: less than `_LEAST_DETAIL`, or less than `_KEPT` of what
    this camera usually shows. Blind pictures add their seconds to a sum, others take them away; the sum stays between 0
    and `_LASTING_S`. At its upper end the camera cannot see, at its lower end it sees. So a single odd picture, or
    somebody who walks past the lens, changes nothing, and neither does a single good picture of a blind camera. What
    most of the blind pictures suffered from is the reason.

    A camera that is blind from its first picture says so too. People who are well seen prove that it is not: while they
    are there no picture counts as blind, and a bare wall behind them is not taken for a cover afterwards.

    People are too small if none of the last `_PEOPLE` people was ever tall enough; the next one who is ends that.

    Attributes:
        cannot_see: Why the camera cannot see people; None if it can, or if that is not known yet.

    Example:
        >>> import numpy as np
        >>> sight, dark = Sight(), look_at(np.zeros((360, 640, 3), np.uint8))
        >>> for moment in np.arange(0.0, 8.0, 0.5):
        ...     sight.look(dark, moment)
        >>> sight.cannot_see.value
        'too_dark'
    """

    EVERY_S: Final = 0.5
    """Shortest time between two looks, in seconds."""

    _LASTING_S: Final = 6.0
    """Seconds of blind pictures that make a camera blind: longer than somebody takes to pass the lens, and with time to
    spare within ten seconds."""
    _LONGEST_STEP_S: Final = 2.0
    """Most seconds that one look stands for: at least three looks decide, however slow the camera is."""
    _LEAST_DETAIL: Final = 0.1
    """Least share of tiles with detail. Plain surveillance videos show detail in half of their tiles and more; where
    darkness, blur or glare leaves less than a tenth, the pose estimator finds one person in ten
    (``python -m benchmarks.sight``)."""
    _KEPT: Final = 0.25
    """Least share of what this camera usually shows: a cover that leaves a quarter of the picture hides most people."""
    _BACK: Final = 1.5
    """By what factor a blind camera must show more than the limit to see again."""
    _USUAL_S: Final = 30.0
    """Time constant in seconds of what a camera usually shows."""
    _KNOWN_S: Final = 10.0
    """Seconds after which it is known what the camera usually shows."""
    _PROOF_S: Final = 2.0
    """Seconds for which people who were well seen prove that the camera sees."""
    _JOINTS: Final = 8
    """Joints with a confidence of at least `_CONFIDENT` that make a person well seen: about half of the 17."""
    _CONFIDENT: Final = 0.5
    _ALIKE: Final = 24.0
    _MOSTLY: Final = 0.8
    """A picture looks like another if so many of its tiles differ by at most `_ALIKE` levels of brightness."""
    _FOLLOWING: Final = 0.05
    """How far the wall follows each picture of it."""
    _PEOPLE: Final = 20
    _FOLLOWED_S: Final = 2.0
    _GONE_S: Final = 3.0
    _TALL: Final = 24 / 640
    """Least height of a person, as a share of the picture's longer side. The pose estimator scales that side to 640
    pixels and its finest cells have 8: at 24 pixels an upper arm is half a cell long."""

    def __init__(self) -> None:
        self._looked = -math.inf
        self._blind_s = 0.0
        self._hidden: CannotSee | None = None
        self._reasons: dict[CannotSee, float] = {}
        self._usual = 0.0
        self._usual_s = 0.0
        self._proved = -math.inf
        self._wall: NDArray[np.float32] | None = None
        """Brightness of the tiles when people were well seen in front of a picture without detail."""
        self._followed: dict[int, tuple[float, float, float]] = {}
        """Of each person: the first and the last moment, and the greatest height."""
        self._heights: deque[float] = deque(maxlen=self._PEOPLE)
        self._small = False

    @property
    def cannot_see(self) -> CannotSee | None:
        """Why the camera cannot see people; None if it can, or if that is not known yet."""
        return self._hidden or (CannotSee.PEOPLE_TOO_SMALL if self._small else None)

    def due(self, moment: float) -> bool:
        """Whether the camera should be looked at again.

        Args:
            moment: Capture time of the newest picture in seconds.
        """
        return moment - self._looked >= self.EVERY_S

    def look(self, look: Look, moment: float) -> None:
        """Take in the next picture.

        Args:
            look: What it shows.
            moment: Its capture time in seconds. One that is not later than the last is passed over.
        """
        if not moment > self._looked:
            return
        step = min(moment - self._looked, self._LONGEST_STEP_S) if math.isfinite(self._looked) else 0.0
        self._looked = moment
        reason = self._blind(look, moment)
        if reason is None:
            self._blind_s = max(self._blind_s - step, 0.0)
        else:
            self._blind_s = min(self._blind_s + step, self._LASTING_S)
            self._count(reason, step)
        if self._blind_s >= self._LASTING_S:
            self._hidden = max(self._reasons, key=lambda each: self._reasons[each])
        elif not self._blind_s:
            self._hidden = None
            self._reasons.clear()
            self._learn(look, step)

    def people(
        self,
        keypoints: NDArray[np.float32],
        boxes: NDArray[np.float32],
        tracks: Iterable[int],
        size: tuple[int, int],
        moment: float,
    ) -> None:
        """Take in the people whom the pose estimator found.

        Args:
            keypoints: Shape ``(M, 17, 3)``: x and y in pixels, and confidence in 0..1.
            boxes: Shape ``(M, 4)``: left, top, right, bottom in pixels.
            tracks: Track numbers of the ``M`` people.
            size: Width and height of the picture in pixels.
            moment: Its capture time in seconds.
        """
        heights = (boxes[:, 3] - boxes[:, 1]) / max(size)
        joints = (keypoints[:, :, 2] >= self._CONFIDENT).sum(axis=1)
        if ((joints >= self._JOINTS) & (heights >= self._TALL)).any():
            self._proved = moment
        for track, height in zip(tracks, heights.tolist(), strict=True):
            first, _, tallest = self._followed.get(track, (moment, moment, 0.0))
            self._followed[track] = (first, moment, max(tallest, height))
        self._measure_people(moment)

    def _blind(self, look: Look, moment: float) -> CannotSee | None:
        """What hides people in a picture; None if nothing does."""
        usual = self._usual if self._usual_s >= self._KNOWN_S else 0.0
        limit = max(self._LEAST_DETAIL, self._KEPT * usual)
        if look.detail >= limit * (self._BACK if self._hidden else 1.0):
            return None
        if abs(moment - self._proved) <= self._PROOF_S:
            self._wall = look.brightness
            return None
        if look.hidden_by is CannotSee.COVERED and self._wall is not None and self._shows_the_wall(look, self._wall):
            # The wall is followed through slow changes of light.
            self._wall = self._wall + self._FOLLOWING * (look.brightness - self._wall)
            return None
        return look.hidden_by

    def _shows_the_wall(self, look: Look, wall: NDArray[np.float32]) -> bool:
        """Whether a picture without detail is the one in front of which people were well seen."""
        if wall.shape != look.brightness.shape:
            return False
        return float((np.abs(look.brightness - wall) <= self._ALIKE).mean()) >= self._MOSTLY

    def _count(self, reason: CannotSee, step: float) -> None:
        """Add to the seconds of a reason; what is older than `_LASTING_S` fades, so that the reason can change."""
        kept = 1 - step / (2 * self._LASTING_S)
        self._reasons = {known: kept * seconds for known, seconds in self._reasons.items()}
        self._reasons[reason] = self._reasons.get(reason, 0.0) + step

    def _learn(self, look: Look, step: float) -> None:
        self._usual_s = min(self._usual_s + step, self._USUAL_S)
        # A mean of all looks at first, and of the last ones later.
        weight = step / self._usual_s if self._usual_s else 1.0
        self._usual += weight * (look.detail - self._usual)

    def _measure_people(self, moment: float) -> None:
        for track, (first, last, tallest) in list(self._followed.items()):
            if tallest >= self._TALL:
                self._small = False
                self._heights.clear()
            if moment - last > self._GONE_S or moment < last:
                del self._followed[track]
                if last - first >= self._FOLLOWED_S:
                    self._heights.append(tallest)
        if len(self._heights) == self._PEOPLE and max(self._heights) < self._TALL:
            self._small = True
