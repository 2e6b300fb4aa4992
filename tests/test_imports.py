"""Imports go one way: service → model → pose; the simulation knows only the skeleton."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"pose", "model", "service", "simulation"}
WEB = {"fastapi", "starlette", "uvicorn", "pydantic", "pydantic_settings", "sqlalchemy", "typer"}
ALLOWED_FROM_POSE = {"pose.skeleton", "pose.windows"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} uses a relative import"
            yield node.module or ""


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", modules("pose"), ids=lambda path: path.stem)
def test_pose_knows_only_itself(path: Path) -> None:
    assert not roots(path) & (OURS - {"pose"} | WEB)


@pytest.mark.parametrize("path", modules("model"), ids=lambda path: path.stem)
def test_model_knows_only_windows_and_the_skeleton(path: Path) -> None:
    assert not roots(path) & ({"service", "simulation", "ultralytics", "cv2"} | WEB)
    assert {name for name in imported(path) if name.startswith("pose.")} <= ALLOWED_FROM_POSE


@pytest.mark.parametrize("path", modules("service"), ids=lambda path: path.stem)
def test_the_service_leaves_ultralytics_to_pose(path: Path) -> None:
    assert "ultralytics" not in roots(path)


@pytest.mark.parametrize("path", modules("simulation"), ids=lambda path: path.stem)
def test_the_simulation_knows_only_the_skeleton(path: Path) -> None:
    assert not roots(path) & (OURS - {"simulation", "pose"} | WEB | {"torch", "ultralytics"})
    assert {name for name in imported(path) if name.startswith("pose")} <= {"pose.skeleton"}
