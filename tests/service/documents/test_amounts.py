"""Times and rates in words."""

from __future__ import annotations

import pytest

from service.documents.amounts import about


@pytest.mark.parametrize(
    ("number", "said"), [(0.125, "0.12"), (2.13, "2.1"), (48, "48"), (99.9, "100"), (135, "140"), (1440, "1,400")]
)
def test_a_number_is_said_to_two_digits(number: float, said: str) -> None:
    assert about(number) == said
