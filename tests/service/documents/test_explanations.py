from __future__ import annotations

import pytest

from service.documents.explanations import one_in, unusual


@pytest.mark.parametrize(
    ("level", "rare"),
    [
        (0.0, "1 in 1"),
        (0.5, "1 in 2"),
        (0.9, "1 in 10"),
        (0.99961, "1 in 2,600"),
        (0.999998, "1 in 500,000"),
        (0.9999998, "rarer than 1 in 1,000,000"),
        (1.0, "rarer than 1 in 1,000,000"),
    ],
)
def test_a_level_is_one_in_so_many(level: float, rare: str) -> None:
    assert one_in(level) == rare


def test_the_level_is_never_rounded_up_to_one() -> None:
    assert unusual(0.9999999, {}) == "level 0.99999 (rarer than 1 in 1,000,000 moments of normal life)"


def test_the_part_with_the_highest_level_is_the_strongest() -> None:
    assert unusual(0.99, {"pose": 0.4, "pair": 0.995, "motion": 0.99}).endswith("; strongest part: pair")
