"""How a person looks: skin, hair and clothes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np

Colour = tuple[float, float, float]
"""Blue, green, red, 0 to 255."""

Pattern = Literal["plain", "stripes", "plaid", "print", "jacket"]

_PATTERNS: Final[tuple[Pattern, ...]] = ("plain", "stripes", "plaid", "print", "jacket")
_SKIN: Final = ((165, 190, 225), (135, 165, 210), (105, 140, 190), (75, 105, 150), (50, 70, 105), (150, 175, 205))
_HAIR: Final = ((25, 25, 30), (30, 40, 55), (40, 60, 90), (80, 120, 160), (120, 120, 125), (35, 35, 70))
_SHOES: Final = ((30, 30, 32), (45, 55, 75), (210, 210, 212), (90, 85, 80), (35, 35, 90))
_TROUSERS: Final = (
    (95, 65, 45),
    (60, 48, 42),
    (32, 32, 34),
    (85, 100, 115),
    (110, 130, 150),
    (75, 75, 78),
    (55, 70, 60),
)


@dataclass(frozen=True, slots=True)
class Clothing:
    """Colours and cuts of one person.

    Attributes:
        skin: Colour of the skin.
        hair: Colour of the hair.
        long_hair: Whether it falls on the shoulders.
        top: Colour of shirt or jacket.
        accent: Colour of its pattern.
        pattern: What the pattern is; a jacket is open over the accent.
        long_sleeves: Whether the forearms are covered.
        bottom: Colour of the trousers.
        long_trousers: Whether the shanks are covered.
        shoes: Colour of the shoes.
        cap: Colour of a cap, if one is worn.
        bag: Colour of a backpack, if one is carried.
        loose: Width of the clothes; 1 is tight.
    """

    skin: Colour
    hair: Colour
    long_hair: bool
    top: Colour
    accent: Colour
    pattern: Pattern
    long_sleeves: bool
    bottom: Colour
    long_trousers: bool
    shoes: Colour
    cap: Colour | None
    bag: Colour | None
    loose: float


def random_clothing(rng: np.random.Generator) -> Clothing:
    """Clothes as they are worn: trousers mostly dark, tops of any colour."""
    return Clothing(
        skin=_near(_SKIN[rng.integers(len(_SKIN))], rng),
        hair=_near(_HAIR[rng.integers(len(_HAIR))], rng),
        long_hair=rng.random() < 0.35,
        top=_dye(rng),
        accent=_dye(rng),
        pattern=_PATTERNS[rng.choice(len(_PATTERNS), p=(0.4, 0.16, 0.12, 0.12, 0.2))],
        long_sleeves=rng.random() < 0.6,
        bottom=_near(_TROUSERS[rng.integers(len(_TROUSERS))], rng),
        long_trousers=rng.random() < 0.85,
        shoes=_near(_SHOES[rng.integers(len(_SHOES))], rng),
        cap=_dye(rng) if rng.random() < 0.12 else None,
        bag=_dye(rng) if rng.random() < 0.15 else None,
        loose=float(rng.uniform(1.05, 1.3)),
    )


def _near(colour: Colour, rng: np.random.Generator) -> Colour:
    blue, green, red = np.clip(np.array(colour) * rng.uniform(0.85, 1.12) + rng.normal(0, 4, 3), 8, 245)
    return float(blue), float(green), float(red)


def _dye(rng: np.random.Generator) -> Colour:
    """A colour of cloth: often grey, seldom bright."""
    saturation = rng.choice((rng.uniform(0, 40), rng.uniform(60, 170)))
    pixel = np.array([[[rng.integers(180), saturation, rng.uniform(45, 215)]]], np.uint8)
    blue, green, red = cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].astype(float)
    return float(blue), float(green), float(red)
