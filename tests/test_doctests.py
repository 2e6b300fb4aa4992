"""The examples in docstrings run, and every public class of pose/ and model/ has one."""

from __future__ import annotations

import ast
import doctest
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
PACKAGES = ("pose", "model", "simulation", "service")
WITHOUT_EXAMPLE = {
    "PoseEstimator": "needs weights; it shows its use in a block that does not run",
    "TrainingReport": "is what a training returns",
}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@cache
def modules() -> list[tuple[str, ast.Module]]:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return [(name, ast.parse(path.read_text(encoding="utf-8"))) for name, path in zip(names, paths, strict=True)]


def has_example(node: ast.AST) -> bool:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return isinstance(node, documented) and ">>> " in (ast.get_docstring(node) or "")


def public_classes(package: str) -> Iterator[ast.ClassDef]:
    for name, tree in modules():
        if name.split(".")[0] == package:
            yield from (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_")


def is_exception(node: ast.ClassDef) -> bool:
    return any(
        isinstance(base, ast.Name) and (base.id == "Exception" or base.id.endswith("Error")) for base in node.bases
    )


@pytest.mark.parametrize("name", [name for name, tree in modules() if any(map(has_example, ast.walk(tree)))])
def test_the_examples_of_a_module_do_what_they_show(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    result = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert result.attempted > 0
    assert result.failed == 0, "see the captured output"


@pytest.mark.parametrize("package", ["pose", "model"])
def test_every_public_class_has_an_example(package: str) -> None:
    classes = [node for node in public_classes(package) if not is_exception(node)]
    assert [node.name for node in classes if not has_example(node) and node.name not in WITHOUT_EXAMPLE] == []
