"""Draws people with skeletons and levels on pictures, and the timeline band of annotated clips.

The functions depend on their arguments only. Text and lines scale with the height of the picture. Annotated clips and
live pictures share them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from typing import Final

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.behaviours import Finding, Kind
from pose.skeleton import COCO_EDGES, COCO_JOINTS, NUM_JOINTS
from service.documents.base import MissingScore
from service.documents.kinds import TITLES, most_severe
from service.documents.messages import LivePerson, Score
from service.documents.results import ClipResult, FrameScore, PersonScore

Image = NDArray[np.uint8]
"""Shape ``(height, width, 3)``, BGR."""

Colour = tuple[int, int, int]

Contributions = Mapping[int, Mapping[Kind, Sequence[int]]]
"""Numbers of the COCO joints that contributed to each named behaviour of each track."""

RAREST: Final = 6.0
"""Greatest value of `rarity`: one window in a million is rarer than calibration footage can show."""

REASONS: Final[dict[MissingScore, str]] = {
    "nobody": "nobody in the picture",
    "track_too_short": "nobody followed for long enough",
    "frame_rate_too_low": "frame rate too low",
    "too_few_joints": "too few joints in view",
}

_UNSCORED: Final = (190, 190, 190)
_CALM: Final = (190, 200, 60)
_WARM: Final = (40, 150, 255)
_HOT: Final = (50, 50, 245)
_NAMED: Final = (245, 95, 225)
_INK: Final = (20, 20, 20)
_PAPER: Final = (245, 245, 245)
_BAND: Final = (34, 30, 28)
_BAND_ANOMALOUS: Final = (40, 40, 96)
_BAND_NAMED: Final = (104, 36, 92)
_BAND_UNSCORED: Final = (66, 60, 56)
_GROUND: Final = 40

_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_SMALLEST_TEXT: Final = 9
_SMALLEST_SIDE: Final = 16
_VISIBLE_JOINT: Final = 0.3
_MOSAIC_CELLS: Final = 12
_MOSAIC_MARGIN: Final = 0.08

_GRAPH_JOINTS: Final = tuple(1.5 if name.endswith("shoulder") else 1.0 for name in COCO_JOINTS)
"""Joints of the 18-joint graph that count towards each COCO joint: the neck counts half to each shoulder."""


def rarity(level: ArrayLike) -> NDArray[np.float64]:
    """Stretch levels so that high ones can be told apart: 0.9, 0.99, 0.999 become 1, 2, 3.

    Args:
        level: Any shape, in 0..1 or NaN.

    Returns:
        ``-log10(1 - level)`` of the same shape, from 0 to `RAREST`; NaN stays.
    """
    return -np.log10(np.clip(1.0 - np.asarray(level, np.float64), 10.0**-RAREST, 1.0))


def level_text(level: float) -> str:
    """A level with two or four digits, rounded down so that it never reads 1 below 1: ``0.71``, ``0.9987``."""
    digits = 2 if level < 0.99 else 4
    return f"{math.floor(level * 10**digits + 1e-6) / 10**digits:.{digits}f}"


def level_colour(level: float | None, threshold: float) -> Colour:
    """Colour of a level: grey without one, calm below the threshold, and warmer with every decade above it.

    Args:
        level: In 0..1, or None.
        threshold: Levels at or above it are anomalous.

    Returns:
        BGR.
    """
    if level is None:
        return _UNSCORED
    if level < threshold:
        return _CALM
    return _blend(_WARM, _HOT, min(float(rarity(level) - rarity(threshold)), 1.0))


def joint_heat(person: PersonScore) -> tuple[float, ...]:
    """How much each joint adds to a person's score, relative to an even share.

    Args:
        person: A person; with `joints` if it is known what each adds.

    Returns:
        One number in 0..1 for each COCO joint: 0 adds nothing or lowers the score, 0.5 is an even share, 1 is twice
        that or more. All are 1 if the shares are unknown or the score is not positive.
    """
    joints = person.joints if isinstance(person, LivePerson) else None
    even = sum(joints) / NUM_JOINTS if joints else 0.0
    if not joints or even <= 0:
        return (1.0,) * len(COCO_JOINTS)
    return tuple(
        min(max(0.5 * added / (parts * even), 0.0), 1.0) for added, parts in zip(joints, _GRAPH_JOINTS, strict=True)
    )


def limb_colour(level: float | None, threshold: float, heat: float) -> Colour:
    """Colour of a limb. A person below the threshold has one colour; limbs of others go from calm over orange to red.

    Args:
        level: Level of the person in 0..1, or None.
        threshold: Levels at or above it are anomalous.
        heat: Heat of the limb, see `joint_heat`; an even share is orange.

    Returns:
        BGR.
    """
    if level is None or level < threshold:
        return level_colour(level, threshold)
    return _blend(_CALM, _WARM, 2 * heat) if heat < 0.5 else _blend(_WARM, _HOT, 2 * heat - 1)


def contributions(findings: Iterable[Finding]) -> dict[int, dict[Kind, tuple[int, ...]]]:
    """The joints that contributed to what the behaviours see in one frame.

    Args:
        findings: The findings of the frame.

    Returns:
        By track and kind, numbers of COCO joints, increasing.
    """
    joints: dict[int, dict[Kind, tuple[int, ...]]] = {}
    for finding in findings:
        for track in finding.tracks:
            kinds = joints.setdefault(track, {})
            kinds[finding.kind] = tuple(sorted({*kinds.get(finding.kind, ()), *finding.joints}))
    return joints


def draw_people(
    image: Image,
    people: Sequence[PersonScore],
    threshold: float,
    scale: tuple[float, float] = (1.0, 1.0),
    joints: Contributions | None = None,
) -> None:
    """Draw boxes, skeletons and labels on a picture.

    If a named behaviour of a person fires, the label has its name, the box has the colour of named behaviours, and so
    have the joints that contributed and the limbs between them. Other limbs of an anomalous person are coloured by
    `limb_colour` if it is known what each joint adds.

    Args:
        image: The picture, changed in place.
        people: The people to draw; without keypoints only the box is drawn.
        threshold: Levels at or above it are anomalous.
        scale: Factors from the people's coordinates to pixels of this picture, across and down.
        joints: The joints that contributed to named behaviours, see `contributions`; only those of behaviours that fire
            are emphasised.
    """
    stroke = max(1, round(image.shape[0] / 400))
    # People with named behaviours and then the person with the highest level are drawn last, on top of the others.
    for person in sorted(people, key=lambda one: (bool(one.firing), -1.0 if one.level is None else one.level)):
        firing = person.firing
        colour = _NAMED if firing else level_colour(person.level, threshold)
        left, top, right, bottom = (
            round(side * factor) for side, factor in zip(person.box, (*scale, *scale), strict=True)
        )
        cv2.rectangle(image, (left, top), (right, bottom), colour, stroke + bool(firing), cv2.LINE_AA)
        if person.keypoints is not None:
            known = (joints or {}).get(person.track, {})
            contributed = {joint for kind in firing for joint in known.get(kind, ())}
            _draw_skeleton(image, person, threshold, scale, stroke, contributed)
        _draw_label(image, _label(person), (left, top), colour)


def band_height(height: int) -> int:
    """Height of the timeline band for a picture of this height, in pixels."""
    return max(36, round(0.11 * height))


def draw_chart(result: ClipResult, width: int, height: int) -> Image:
    """Draw the part of the timeline band that is the same for all frames of a clip: level over time.

    Args:
        result: Scores of the clip.
        width: Width in pixels.
        height: Height in pixels, see `band_height`.

    Returns:
        A new picture; its lower part is left empty for the text of `draw_band`.
    """
    chart = np.empty((height, width, 3), np.uint8)
    chart[:] = _BAND
    plot = chart[: height - _caption_height(height)]
    rows = plot.shape[0] - 1
    levels = _highest_per_column(result, width)
    rare = rarity(levels)
    limit = float(rarity(result.threshold.level))
    top = max(1.3 * limit, 1.05 * float(np.nanmax(rare, initial=0.0)), 1.0)
    threshold_row = rows - round(rows * limit / top)

    plot[:, np.isnan(levels)] = _BAND_UNSCORED
    # What has a name is drawn last, on top.
    for anomaly in sorted(result.anomalies, key=lambda one: one.kind != Kind.UNUSUAL):
        begin, end = _column(anomaly.start_s, result, width), _column(anomaly.end_s, result, width)
        plot[:, begin : end + 1] = _BAND_ANOMALOUS if anomaly.kind == Kind.UNUSUAL else _BAND_NAMED
    for column in np.flatnonzero(~np.isnan(levels)):
        colour = level_colour(float(levels[column]), result.threshold.level)
        plot[rows - round(rows * rare[column] / top) :, column] = colour
    for begin in range(0, width, 8):
        plot[threshold_row, begin : begin + 4] = _PAPER
    return chart


def draw_band(band: Image, chart: Image, frame: FrameScore, result: ClipResult) -> None:
    """Draw the timeline band of one frame.

    Args:
        band: Where to draw, of the same shape as the chart; changed in place.
        chart: From `draw_chart`.
        frame: The frame, for the cursor and the text.
        result: Scores of the clip.
    """
    height, width = chart.shape[:2]
    caption = _caption_height(height)
    anomalous = frame.level is not None and frame.level >= result.threshold.level
    named = _named(frame)
    band[:] = chart
    if named is not None or anomalous:
        band[height - caption :] = _BAND_ANOMALOUS if named is None else _BAND_NAMED
    at = _column(frame.time_s, result, width)
    thickness = max(1, round(height / 50))
    cv2.line(band, (at, 0), (at, height - caption - 1), _PAPER, thickness)

    scale = _scale(max(_SMALLEST_TEXT, 0.55 * caption))
    margin = max(3, caption // 4)
    clock = f"{clock_text(frame.time_s)} / {clock_text(result.clip.duration_s)}"
    used = _write(band, clock, (margin, height), caption, scale, _PAPER)
    words = _words(frame, anomalous=anomalous)
    size = _text_width(words, scale)
    if used + 2 * margin + size <= width - margin:
        colour = _PAPER if named is not None or anomalous else level_colour(frame.level, result.threshold.level)
        _write(band, words, (width - margin - size, height), caption, scale, colour)


def blur_people(image: Image, boxes: Iterable[Sequence[float]], scale: tuple[float, float] = (1.0, 1.0)) -> None:
    """Make people unrecognisable by a mosaic in which a head has a few cells. Undetected people stay visible.

    Args:
        image: The picture, changed in place.
        boxes: Left, top, right, bottom of each person.
        scale: Factors from the boxes' coordinates to pixels of this picture, across and down.
    """
    height, width = image.shape[:2]
    for box in boxes:
        left, top, right, bottom = (side * factor for side, factor in zip(box, (*scale, *scale), strict=True))
        across, down = _MOSAIC_MARGIN * (right - left), _MOSAIC_MARGIN * (bottom - top)
        rows = slice(max(int(top - down), 0), min(math.ceil(bottom + down), height))
        columns = slice(max(int(left - across), 0), min(math.ceil(right + across), width))
        part = image[rows, columns]
        if part.size:
            cell = max(part.shape[0], part.shape[1]) / _MOSAIC_CELLS
            cells = max(1, round(part.shape[1] / cell)), max(1, round(part.shape[0] / cell))
            small = cv2.resize(part, cells, interpolation=cv2.INTER_AREA)
            part[:] = cv2.resize(small, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_NEAREST)


def fitted_size(width: int, height: int, most: int) -> tuple[int, int]:
    """The size at which a picture is shown or stored: even, with the same aspect ratio, and enlarged only if tiny.

    Args:
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.
        most: Greatest width in pixels; the greatest height is twice that.

    Returns:
        Width and height in pixels.
    """
    factor = min(1.0, most / width, 2 * most / height)
    return max(_SMALLEST_SIDE, 2 * int(width * factor / 2)), max(_SMALLEST_SIDE, 2 * int(height * factor / 2))


def draw_live(
    image: Image | None,
    score: Score,
    *,
    background: bool = True,
    size: tuple[int, int] | None = None,
    joints: Contributions | None = None,
) -> Image:
    """Draw a frame of a camera: skeletons, what is seen, level, time, and a red border while an incident is open.

    Args:
        image: The camera's picture, of any size, which is not changed; None if there is none.
        score: Score, level and people of the frame.
        background: Draw on the picture; if False, or without a picture, draw on a plain background.
        size: Width and height of the drawing in pixels; None uses those in `score`.
        joints: The joints that contributed to named behaviours of this frame, see `contributions`.

    Returns:
        A new picture. Without background it does not depend on `image`.
    """
    width, height = size or (score.width, score.height)
    if image is None or not background:
        canvas = np.full((height, width, 3), _GROUND, np.uint8)
    else:
        canvas = resized(image, (width, height)).copy()
    scale = width / score.width, height / score.height
    draw_people(canvas, score.people, score.threshold, scale, joints)
    _draw_caption(canvas, score)
    if score.incident is not None:
        thickness = max(2, round(height / 120))
        cv2.rectangle(canvas, (0, 0), (width - 1, height - 1), _HOT, 2 * thickness)
    return canvas


def resized(image: Image, size: tuple[int, int]) -> Image:
    """Resize a picture; returns the same object if it has that size.

    Args:
        image: The picture.
        size: Width and height in pixels.
    """
    width, height = size
    # Area averaging is fast only when it halves; the rest is at most a factor of two and needs no averaging.
    while image.shape[1] >= 2 * width and image.shape[0] >= 2 * height:
        halves = image.shape[1] // 2, image.shape[0] // 2
        image = np.asarray(cv2.resize(image, halves, interpolation=cv2.INTER_AREA), np.uint8)
    if (image.shape[1], image.shape[0]) == size:
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def clock_text(seconds: float) -> str:
    """Seconds as ``m:ss.t``, or ``h:mm:ss`` from an hour on."""
    tenths = int(seconds * 10 + 1e-6)
    minutes, rest = divmod(tenths // 10, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d}.{tenths % 10}"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _draw_skeleton(
    image: Image,
    person: PersonScore,
    threshold: float,
    scale: tuple[float, float],
    stroke: int,
    contributed: set[int],
) -> None:
    across, down = scale
    points = [
        (round(x * across), round(y * down)) if confidence >= _VISIBLE_JOINT else None
        for x, y, confidence in person.keypoints or ()
    ]
    if isinstance(person, LivePerson):
        heat = joint_heat(person)
        inks = [limb_colour(person.level, threshold, (heat[first] + heat[last]) / 2) for first, last in COCO_EDGES]
    else:
        inks = [level_colour(person.level, threshold)] * len(COCO_EDGES)
    bones = [
        (points[first], points[last], _NAMED, 3)
        if contributed.issuperset((first, last))
        else (points[first], points[last], ink, 1)
        for (first, last), ink in zip(COCO_EDGES, inks, strict=True)
    ]
    for outline in (True, False):
        for start, end, ink, extra in bones:
            if start is not None and end is not None:
                thickness = stroke + extra + 2 * outline
                cv2.line(image, start, end, _INK if outline else ink, thickness, cv2.LINE_AA)
    for joint, point in enumerate(points):
        if point is None:
            continue
        if joint in contributed:
            cv2.circle(image, point, 2 * stroke + 3, _INK, cv2.FILLED, cv2.LINE_AA)
            cv2.circle(image, point, 2 * stroke + 2, _NAMED, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(image, point, stroke + 1, _PAPER, cv2.FILLED, cv2.LINE_AA)


def _draw_caption(image: Image, score: Score) -> None:
    """Time on the left and level on the right, on a darkened strip at the lower edge."""
    height, width = image.shape[:2]
    room = min(height, max(_SMALLEST_TEXT + 6, round(0.05 * height)))
    anomalous = score.level is not None and score.level >= score.threshold
    named = _named(score)
    strip = image[height - room :]
    plain = _BAND_ANOMALOUS if anomalous else _BAND
    ground = np.array(plain if named is None else _BAND_NAMED, np.float32)
    strip[:] = (0.25 * strip + 0.75 * ground).astype(np.uint8)

    scale = _scale(max(_SMALLEST_TEXT, 0.5 * room))
    margin = max(3, room // 2)
    time = score.captured_at.astimezone(UTC)
    words = _words(score, anomalous=anomalous)
    size = _text_width(words, scale)
    if size + 2 * margin <= width:
        colour = _PAPER if named is not None or anomalous else level_colour(score.level, score.threshold)
        _write(image, words, (width - margin - size, height), room, scale, colour)
    for clock in (f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 100_000} UTC", f"{time:%H:%M:%S}"):
        if size + _text_width(clock, scale) + 3 * margin <= width:
            _write(image, clock, (margin, height), room, scale, _PAPER)
            return


def _blend(first: Colour, second: Colour, share: float) -> Colour:
    blue, green, red = (round(one + share * (other - one)) for one, other in zip(first, second, strict=True))
    return blue, green, red


def _draw_label(image: Image, text: str, corner: tuple[int, int], colour: Colour) -> None:
    height, width = image.shape[:2]
    pixels = max(_SMALLEST_TEXT, height / 50)
    scale = _scale(pixels)
    tall, wide = round(1.7 * pixels), _text_width(text, scale) + round(0.8 * pixels)
    left = max(0, min(corner[0], width - wide))
    bottom = max(tall, min(corner[1], height))
    cv2.rectangle(image, (left, bottom - tall), (left + wide - 1, bottom - 1), colour, cv2.FILLED)
    _write(image, text, (left + round(0.4 * pixels), bottom), tall, scale, _INK)


def _write(image: Image, text: str, corner: tuple[int, int], room: int, scale: float, colour: Colour) -> int:
    """Write a line of text, centred in a row of height `room` above the corner; return its right end."""
    (width, tall), _ = cv2.getTextSize(text, _FONT, scale, 1)
    baseline = corner[1] - (room - tall) // 2 - 1
    cv2.putText(image, text, (corner[0], baseline), _FONT, scale, colour, 1, cv2.LINE_AA)
    return corner[0] + int(width)


def _text_width(text: str, scale: float) -> int:
    return int(cv2.getTextSize(text, _FONT, scale, 1)[0][0])


def _scale(pixels: float) -> float:
    return float(cv2.getFontScaleFromHeight(_FONT, round(pixels), 1))


def _label(person: PersonScore) -> str:
    """The number of a person, with what is seen of the person, or else with the level."""
    if person.firing:
        return f"#{person.track} {TITLES[most_severe(person.firing)]}"
    return f"#{person.track}" if person.level is None else f"#{person.track} {level_text(person.level)}"


def _named(frame: FrameScore | Score) -> Kind | None:
    """The most severe named behaviour that fires in a frame."""
    firing = {kind for person in frame.people for kind in person.firing}
    return most_severe(firing) if firing else None


def _words(frame: FrameScore | Score, *, anomalous: bool) -> str:
    named = _named(frame)
    if named is not None:
        return TITLES[named] if frame.level is None else f"{TITLES[named]}, level {level_text(frame.level)}"
    if frame.level is None:
        return REASONS[frame.reason or "nobody"]
    return f"{'anomaly' if anomalous else 'level'} {level_text(frame.level)}"


def _caption_height(height: int) -> int:
    return max(_SMALLEST_TEXT + 6, round(0.32 * height))


def _column(time_s: float, result: ClipResult, width: int) -> int:
    return min(width - 1, int(width * time_s / max(result.clip.duration_s, 1e-9)))


def _highest_per_column(result: ClipResult, width: int) -> NDArray[np.float64]:
    """Highest level of the frames in each column of the chart; NaN where nobody was scored.

    A frame covers the columns from its own up to that of the next frame, at least one.
    """
    begins = [_column(frame.time_s, result, width) for frame in result.frames]
    highest = np.full(width, np.nan)
    for frame, begin, end in zip(result.frames, begins, [*begins[1:], width], strict=True):
        if frame.level is not None:
            span = highest[begin : max(end, begin + 1)]
            np.fmax(span, frame.level, out=span)
    return highest
