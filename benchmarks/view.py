"""How soon a camera that moved is noticed, and whether changes of light and crowds are taken for it.

The places of the small world are drawn without people, from where their cameras are and from where they come to be.
Of clips of fixed cameras, the first half is the reference; the second half is put into another light, or cut and turned
as if the camera had been. Every picture gets the noise of a sensor. ``python -m benchmarks.view [CLIP...]`` prints how
often each change was noticed in 120 seconds, and after how many seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pose.pictures import resized
from pose.source import FileSource
from pose.view import LOOK_S, ViewMap, ViewReference, ViewWatch
from simulation.places import draw_background, furnish
from simulation.scene import PLACES, Place, demo_scene

Image = NDArray[np.uint8]
Change = Callable[[Image, float], Image]
"""A picture and the seconds since the change began, to the picture as it is then."""

NOBODY: Final = np.empty((0, 4), np.float32)


@cache
def place(name: Place, *, yaw: float = 0.0, tilt: float = 0.0, rise: float = 0.0, zoom: float = 1.0) -> Image:
    """A place of the small world without people, from a camera that was turned, raised or zoomed."""
    scene = replace(demo_scene(3), place=name)
    camera = scene.camera
    moved = replace(
        camera,
        yaw_deg=camera.yaw_deg + yaw,
        tilt_deg=camera.tilt_deg + tilt,
        height_m=camera.height_m + rise,
        focal=camera.focal * zoom,
    )
    return np.asarray(draw_background(replace(scene, camera=moved), furnish(scene)).image, np.uint8)


@cache
def noise(number: int) -> NDArray[np.float32]:
    """One of the pictures of noise, of 640x640 pixels with a standard deviation of 6 grey levels."""
    return np.random.default_rng(number).normal(0, 6, (640, 640, 3)).astype(np.float32)


def grain(image: Image, moment: float) -> Image:
    """A picture with the noise of a sensor."""
    height, width = image.shape[:2]
    return np.asarray(np.clip(image + noise(round(moment / 2) % 9)[:height, :width], 0, 255), np.uint8)


def reference(*images: Image) -> ViewMap:
    """The view of a calibration in which a camera has shown these pictures in turn."""
    calibrated = ViewReference()
    for number in range(15):
        moment = LOOK_S * number
        calibrated.look(moment, grain(images[number % len(images)], moment), NOBODY)
    view = calibrated.view()
    if view is None:
        raise ValueError("there are no pictures")
    return view


def told_after(
    watch: ViewWatch, picture: Callable[[float], Image], *, seconds: float = 120.0, fps: float = 0.5, start: float = 0.0
) -> float | None:
    """Seconds until what a watch says changes; None if it does not."""
    before = watch.moved
    for number in range(round(seconds * fps)):
        moment = number / fps
        watch.look(start + moment, grain(picture(moment), start + moment), NOBODY)
        if watch.moved != before:
            return moment
    return None


def relit(image: Image, levels: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Image:
    """A picture with other grey levels."""
    table = np.clip(levels(np.arange(256.0)), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), np.uint8)


def shaded(image: Image, place: float) -> Image:
    """With sharp shadows across the picture, which begin at a share of its width."""
    height, width = image.shape[:2]
    light = np.ones((height, width), np.float32)
    for left in (place, place + 0.35):
        corners = np.array([[left, 0], [left + 0.15, 0], [left + 0.45, 1], [left + 0.25, 1]]) * (width, height)
        cv2.fillPoly(light, [corners.astype(np.int32)], 0.35)
    return (image * light[..., None]).astype(np.uint8)


def infrared(image: Image) -> Image:
    """Grey, from the red channel, in the light of a lamp at the camera."""
    height, width = image.shape[:2]
    down, across = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    lit = 255 * (image[..., 2] / 255) ** 0.6 * np.exp(-1.2 * (down**2 + across**2))
    return np.asarray(np.repeat(lit[..., None], 3, axis=2), np.uint8)


def lamps(image: Image) -> Image:
    """At night, with three lamps."""
    height, width = image.shape[:2]
    down, across = np.mgrid[:height, :width]
    lit = image * 0.12
    for x, y in ((0.2, 0.3), (0.7, 0.2), (0.5, 0.8)):
        pool = np.exp(-((across - x * width) ** 2 + (down - y * height) ** 2) / (0.06 * width) ** 2)
        lit = lit + 150 * pool[..., None]
    return np.asarray(np.clip(lit, 0, 255), np.uint8)


LIGHT: Final[dict[str, Change]] = {
    "as it was": lambda image, _: image,
    "darker": lambda image, _: relit(image, lambda grey: 255 * (grey / 255) ** 2),
    "brighter": lambda image, _: relit(image, lambda grey: 1.6 * grey + 20),
    "little contrast": lambda image, _: relit(image, lambda grey: 90 + 0.3 * (grey - 128)),
    "warm": lambda image, _: np.clip(image * np.array([0.5, 0.9, 1.3]), 0, 255).astype(np.uint8),
    "shadows": lambda image, _: shaded(image, 0.1),
    "moving shadows": lambda image, moment: shaded(image, moment / 100),
    "infrared": lambda image, _: infrared(image),
    "dusk": lambda image, moment: (image * max(1 - moment / 60, 0.02)).astype(np.uint8),
    "flicker": lambda image, moment: (image * (0.5 if round(moment / 10) % 2 else 1.0)).astype(np.uint8),
    "night with lamps": lambda image, _: lamps(image),
    "dark": lambda image, _: (image * 0.01).astype(np.uint8),
    "light switched on and off": lambda image, moment: image if round(moment / 30) % 2 else infrared(image),
}

MOVES: Final[dict[str, dict[str, float]]] = {
    "turned by half a degree": {"yaw": 0.5},
    "turned by 1.5 degrees": {"yaw": 1.5},
    "turned by 3 degrees": {"yaw": 3.0},
    "turned by 3 degrees to the other side": {"yaw": -3.0},
    "tilted by 3 degrees": {"tilt": 3.0},
    "raised by half a metre": {"rise": 0.5},
    "zoomed by a tenth": {"zoom": 1.1},
}


def crowd(image: Image, moment: float, people: int) -> tuple[Image, NDArray[np.float32]]:
    """A picture full of people of 60x150 pixels, at other places at each moment, and their bounding boxes."""
    rng = np.random.default_rng(round(1000 * moment))
    height, width = image.shape[:2]
    full, boxes = image.copy(), []
    for _ in range(people):
        left, top = rng.uniform(0, width - 60), rng.uniform(0.1 * height, height - 160)
        boxes.append((left, top, left + 60, top + 150))
        texture = rng.integers(0, 256, (15, 6, 3)).astype(np.uint8)
        shown = cv2.resize(texture, (60, 150), interpolation=cv2.INTER_NEAREST)
        full[round(top) : round(top) + 150, round(left) : round(left) + 60] = shown
    return full, np.array(boxes, np.float32)


TURNED: Final[dict[str, tuple[float, float, float, float]]] = {
    "shifted by 2 % of the width": (0.02, 0.0, 0.0, 1.0),
    "shifted by 4.5 %, as after 3 degrees": (0.045, 0.0, 0.0, 1.0),
    "shifted down by 3 % of the height": (0.0, 0.03, 0.0, 1.0),
    "rolled by 3 degrees": (0.0, 0.0, 3.0, 1.0),
    "zoomed by a tenth": (0.0, 0.0, 0.0, 1.1),
}
"""Shift in shares of width and height, angle in degrees, and zoom of pictures of clips."""


def warped(image: Image, across: float, down: float, angle: float, zoom: float) -> Image:
    """A picture as after a movement of the camera, cut so that no border shows."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.12 * zoom)
    matrix[:, 2] += (across * width, down * height)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height)), np.uint8)


def halves(clip: Path) -> tuple[list[Image], list[Image]]:
    """Nine pictures of each half of a clip, 480 pixels wide, spread evenly."""
    shown = []
    with FileSource(clip) as frames:
        for frame in frames:
            height, width = frame.image.shape[:2]
            shown.append(resized(frame.image, (480, round(480 * height / width))))
    chosen = [shown[index] for index in np.linspace(0, len(shown) - 1, 18).astype(int)]
    return chosen[:9], chosen[9:]


def playing(images: Sequence[Image], change: Change = lambda image, _: image) -> Callable[[float], Image]:
    """The picture at each moment: these in turn, changed."""
    return lambda moment: change(images[round(moment / LOOK_S) % len(images)], moment)


def settled(view: ViewMap, images: Sequence[Image]) -> ViewWatch:
    """A watch that has looked at the unchanged view for 18 seconds, until moment 0."""
    watch = ViewWatch(view)
    for number in range(9):
        moment = LOOK_S * (number - 9)
        watch.look(moment, grain(images[number % len(images)], moment), NOBODY)
    return watch


def of_world() -> Iterator[tuple[str, float | None]]:
    """Each change in each place of the small world, and after how many seconds it was noticed."""
    for name in PLACES:
        image, other = place(name), place(PLACES[PLACES.index(name) - 1])
        view = reference(image)
        for move, how in MOVES.items():
            yield move, told_after(settled(view, [image]), playing([place(name, **how)]))
        yield "another place", told_after(settled(view, [image]), playing([other]))
        for light, change in LIGHT.items():
            yield light, told_after(settled(view, [image]), playing([image], change))
        for people in (6, 14, 24):
            full = [crowd(image, number, people)[0] for number in range(60)]
            yield f"crowd of {people}, not found", told_after(settled(view, [image]), playing(full))


def of_clips(clips: Sequence[Path]) -> Iterator[tuple[str, float | None]]:
    """The same for clips of fixed cameras."""
    before: tuple[ViewMap, list[Image]] | None = None
    for clip in clips:
        first, second = halves(clip)
        view = reference(*first)
        for light, change in LIGHT.items():
            yield light, told_after(settled(view, first), playing(second, change))
        straight = [warped(image, 0.0, 0.0, 0.0, 1.0) for image in first]
        cut = reference(*straight)
        for move, how in TURNED.items():
            yield move, told_after(settled(cut, straight), playing([warped(image, *how) for image in second]))
        if before is not None and before[0].valid.shape == view.valid.shape:
            yield "another place", told_after(settled(*before), playing(second))
        before = view, first


def cost() -> float:
    """Milliseconds of one look at a picture of 1280x720, with the comparison."""
    image = resized(place("street"), (1280, 720))
    watch = ViewWatch(reference(place("street")))
    for number in range(9):
        watch.look(LOOK_S * number, image, NOBODY)
    began = time.perf_counter()
    for number in range(9, 29):
        watch.look(LOOK_S * number, image, NOBODY)
    return 1000 * (time.perf_counter() - began) / 20


def main(clips: Sequence[Path]) -> None:
    """Print the tables."""
    console = Console()
    for title, found in (("The small world", of_world()), (f"{len(clips)} clips", of_clips(clips))):
        rows: dict[str, list[float | None]] = {}
        for change, after in found:
            rows.setdefault(change, []).append(after)
        table = Table("change", "noticed", "median, s", "longest, s", title=title)
        for change, afters in rows.items():
            noticed = [one for one in afters if one is not None]
            figures = (f"{median(noticed):.0f}", f"{max(noticed):.0f}") if noticed else ("-", "-")
            table.add_row(change, f"{len(noticed)} of {len(afters)}", *figures)
        if rows:
            console.print(table)
    console.print(f"One look costs {cost():.1f} ms.")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
