"""Whether cameras say that they cannot see: ``python -m benchmarks.sight DIR [--weights FILE]``.

Plays every video below DIR as a camera whose pictures are looked at twice a second, at least 30 seconds long (short
ones over and over), and prints those that are said to be blind although they are plain. Then it takes every 15th video
(``--every``), shows it plain for 15 seconds, and spoils its pictures from then on. The table has the videos that are
said to be blind within 10 seconds, the longest time until then, the reasons, and the same for cameras that start with
spoilt pictures. Pictures are compressed (JPEG, quality 70) after they were spoilt. With pose weights it also has the
people who are still found (confidence 0.5), of those who are found in the plain pictures. At the end it prints what one
look costs.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pose.containers import UnreadableVideo
from pose.estimator import PoseEstimator
from pose.sight import CannotSee, Look, Sight, look_at
from pose.source import FileSource

Spoil = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]

_LEAST_S: Final = 30.0
_BEFORE_S: Final = 15.0
_LIMIT_S: Final = 10.0
_PICTURES: Final = 4
"""Pictures of a video that are spoilt, in turn."""
_WIDTH: Final = 640
_SURE: Final = 0.5
"""Confidence from which a person counts as found."""
_ENDINGS: Final = (".mp4", ".avi", ".mkv", ".ts", ".mov")


def darkened(factor: float, noise: float = 0.0) -> Spoil:
    """Brightness times a factor, with noise of a standard deviation in levels."""

    def spoil(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return _levels(factor * image.astype(np.float32) + _random(image.shape, noise))

    return spoil


def blurred(width: float) -> Spoil:
    """A Gaussian blur with a standard deviation in pixels of a picture that is 640 wide."""
    return lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), width * image.shape[1] / _WIDTH), np.uint8)


def defocused(radius: float) -> Spoil:
    """The blur of a lens out of focus: a disc with a radius in pixels of a picture that is 640 wide."""

    def spoil(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        side = 2 * round(radius * image.shape[1] / _WIDTH) + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.float32)
        return np.asarray(cv2.filter2D(image, -1, disc / disc.sum()), np.uint8)

    return spoil


def covered(share: float = 1.0, brightness: float = 90.0, folds: float = 6.0) -> Spoil:
    """A cloth over the left part of the picture, with folds and noise; it is too near for the lens to be sharp."""

    def spoil(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        cloth = cv2.resize(brightness + _random((6, 8), folds), (width, height), interpolation=cv2.INTER_CUBIC)
        spoilt = image.copy()
        spoilt[:, : round(share * width)] = _levels(cloth + _random((height, width), 2.0))[
            :, : round(share * width), None
        ]
        return spoilt

    return spoil


def sprayed(share: float, brightness: float = 200.0) -> Spoil:
    """Paint that lets a share of the light through, blurred."""
    return lambda image: _levels(
        (1 - share) * blurred(6)(image).astype(np.float32) + share * brightness + _random(image.shape, 1.0)
    )


def overexposed(gain: float) -> Spoil:
    """Brightness times a gain, clipped."""
    return lambda image: _levels(gain * (image.astype(np.float32) + 10))


def glaring(size: float) -> Spoil:
    """Infrared light that is thrown back: grey, with a white spot whose standard deviation is a share of the width."""

    def spoil(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        down, across = np.mgrid[:height, :width]
        distance = ((across - width / 2) ** 2 + (down - height / 2) ** 2) / (size * width) ** 2
        lit = 0.5 * cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) + 400 * np.exp(-distance / 2)
        return np.repeat(_levels(lit)[:, :, None], 3, axis=2)

    return spoil


def infrared(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A night camera that works: grey, lit in the middle, with noise."""
    height, width = image.shape[:2]
    down, across = np.mgrid[:height, :width]
    light = np.exp(-((across / width - 0.5) ** 2 + (down / height - 0.5) ** 2) / 0.45**2)
    grey = 0.8 * light * cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) + _random((height, width), 6.0)
    return np.repeat(_levels(grey)[:, :, None], 3, axis=2)


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Without colour."""
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[:, :, None], 3, axis=2)


SPOILT: Final[Mapping[str, Spoil]] = {
    "grey": grey,
    "infrared light, sees": infrared,
    **{f"brightness x {factor:g}": darkened(factor) for factor in (0.3, 0.2, 0.1, 0.05, 0.03, 0.01)},
    "brightness x 0.1, noise 4": darkened(0.1, 4.0),
    "brightness x 0.05, noise 4": darkened(0.05, 4.0),
    "brightness x 0.03, noise 4": darkened(0.03, 4.0),
    **{f"blur {width:g}": blurred(width) for width in (2, 4, 6, 8, 12, 16)},
    **{f"out of focus {radius:g}": defocused(radius) for radius in (6, 12, 20, 30)},
    **{f"covered {share:.0%}": covered(share) for share in (0.5, 0.8, 0.9, 1)},
    "covered in black": covered(1, 5.0, 2.0),
    "covered in white, with folds": covered(1, 200.0, 20.0),
    **{f"sprayed {share:.0%}": sprayed(share) for share in (0.5, 0.8, 0.9, 0.95)},
    **{f"overexposed x {gain:g}": overexposed(gain) for gain in (2, 4, 8, 16)},
    **{f"infrared glare {size:g}": glaring(size) for size in (0.1, 0.2, 0.4)},
}
"""What is done to the pictures, by name."""


def told_after(before: Iterable[Look], after: Iterable[Look]) -> tuple[float, CannotSee] | None:
    """Show a camera looks at plain pictures and then, in turn, at spoilt ones.

    Args:
        before: Looks half a second apart.
        after: Looks that follow, repeated.

    Returns:
        Seconds of spoilt pictures until the camera cannot see, and the reason; None if it still can after 30 seconds.
    """
    sight, moment = Sight(), 0.0
    for look in before:
        sight.look(look, moment)
        moment += Sight.EVERY_S
    start = moment
    for look in itertools.cycle(after):
        sight.look(look, moment)
        if sight.cannot_see is not None:
            return moment - start, sight.cannot_see
        if moment - start >= _LEAST_S:
            return None
        moment += Sight.EVERY_S
    raise ValueError("there are no spoilt pictures")


def looks_of(path: Path) -> Iterator[tuple[NDArray[np.uint8], Look]]:
    """The pictures of a video half a second apart, with what they show.

    Raises:
        UnreadableVideo: It cannot be read.
    """
    due = 0.0
    with FileSource(path) as source:
        for frame in source:
            if frame.captured_at >= due:
                due = frame.captured_at + Sight.EVERY_S
                yield frame.image, look_at(frame.image)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sight", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="pose weights, to count who is still found")
    parser.add_argument("--every", type=int, default=15, metavar="N", help="spoil every N-th video")
    chosen = parser.parse_args(arguments)
    console = Console(width=120)
    paths = sorted(path for path in chosen.folder.rglob("*") if path.suffix.lower() in _ENDINGS)
    plain: list[tuple[list[Look], list[NDArray[np.uint8]]]] = []
    wrong, blind, total, least = 0, 0, 0, 1.0
    for number, path in enumerate(paths):
        looks: list[Look] = []
        pictures: list[NDArray[np.uint8]] = []
        try:
            for image, look in looks_of(path):
                looks.append(look)
                if number % chosen.every == 0 and len(pictures) < _PICTURES:
                    pictures.append(_narrow(image))
        except UnreadableVideo as error:
            console.print(f"{path.name}: {error}")
            continue
        total += len(looks)
        least = min(least, *(look.detail for look in looks))
        blind += sum(told_after([], [look]) is not None for look in looks)
        if (told := told_after([], looks)) is not None:
            wrong += 1
            console.print(f"{path.name}: said to be {told[1]} after {told[0]:.1f} s although it is plain")
        if pictures:
            plain.append((looks, pictures))
    console.print(
        f"{len(paths)} plain videos, {total} pictures: {wrong} said to be blind; {blind} pictures that alone would be; "
        f"least share of tiles with detail {least:.2f}"
    )
    console.print(_spoilt_table(plain, None if chosen.weights is None else PoseEstimator(chosen.weights)))
    console.print(_cost())


def _spoilt_table(
    plain: Sequence[tuple[list[Look], list[NDArray[np.uint8]]]], estimator: PoseEstimator | None
) -> Table:
    table = Table(
        "pictures", "told within 10 s", "longest, s", "reasons", "from the start", title=f"{len(plain)} videos"
    )
    shown = [picture for _, pictures in plain for picture in pictures[::2]]
    there = [] if estimator is None else [_people(estimator, picture) for picture in shown]
    if estimator is not None:
        table.add_column("people found")
    for name, spoil in SPOILT.items():
        later, first = [], []
        for looks, pictures in plain:
            spoilt = [look_at(_compressed(spoil(picture))) for picture in pictures]
            before = itertools.islice(itertools.cycle(looks), round(_BEFORE_S / Sight.EVERY_S))
            later.append(told_after(before, spoilt))
            first.append(told_after([], spoilt))
        told = [one for one in later if one is not None and one[0] <= _LIMIT_S]
        reasons = Counter(reason.value for _, reason in told)
        row = [
            name,
            f"{len(told)} of {len(later)}",
            f"{max(seconds for seconds, _ in told):.1f}" if told else "-",
            ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()),
            f"{sum(one is not None and one[0] <= _LIMIT_S for one in first)} of {len(first)}",
        ]
        if estimator is not None:
            found = sum(
                _still_found(people, _people(estimator, _compressed(spoil(picture))))
                for people, picture in zip(there, shown, strict=True)
                if len(people)
            )
            row.append(f"{found} of {sum(map(len, there))}")
        table.add_row(*row)
    return table


def _people(estimator: PoseEstimator, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Boxes of the people who are found for sure, shape ``(M, 4)``."""
    (poses,) = estimator([image])
    return np.asarray(poses.boxes[poses.confidences >= _SURE].cpu().numpy(), np.float32)


def _still_found(before: NDArray[np.float32], after: NDArray[np.float32]) -> int:
    """How many boxes have one of the others on them, with an overlap of at least half of their union."""
    if not len(after):
        return 0
    low = np.maximum(before[:, None, :2], after[None, :, :2])
    high = np.minimum(before[:, None, 2:], after[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (before, after)]
    return int((shared / (areas[0][:, None] + areas[1] - shared) >= 0.5).any(axis=1).sum())


def _cost() -> str:
    words = []
    for width, height in ((640, 360), (1920, 1080)):
        image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
        look_at(image)
        began = time.process_time()
        for _ in range(50):
            look_at(image)
        words.append(f"{width}x{height}: {1000 * (time.process_time() - began) / 50:.1f} ms")
    return f"processor time of a look, {', '.join(words)}; at most {1 / Sight.EVERY_S:g} looks a second"


def _narrow(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if width <= _WIDTH:
        return image
    return np.asarray(
        cv2.resize(image, (_WIDTH, round(_WIDTH * height / width)), interpolation=cv2.INTER_AREA), np.uint8
    )


def _compressed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def _random(shape: tuple[int, ...], deviation: float) -> NDArray[np.float32]:
    if not deviation:
        return np.zeros(shape, np.float32)
    return deviation * np.random.default_rng(0).standard_normal(shape, np.float32)


def _levels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(values, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
