"""How the parts of a camera share its false-alarm budget."""

from __future__ import annotations

import pytest

from model.behaviours import Kind
from model.budget import share_of


@pytest.mark.parametrize("budget", [0.01, 1.0, 48.0])
def test_the_shares_are_the_budget_half_of_it_for_unusual_and_the_rest_even(budget: float) -> None:
    assert sum(share_of(kind, budget) for kind in Kind) == pytest.approx(budget)
    assert share_of(Kind.UNUSUAL, budget) == budget / 2
    assert len({share_of(kind, budget) for kind in Kind if kind is not Kind.UNUSUAL}) == 1
