"""Programs of others that judge what the service says; `.ci/tools` fetches them."""

from __future__ import annotations

from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[2] / ".tools"


def tool(name: str) -> Path:
    """Path of a tool; without it the test is skipped."""
    path = _FOLDER / name
    if not path.exists():
        pytest.skip(f"{path} is missing; .ci/tools fetches it")
    return path
