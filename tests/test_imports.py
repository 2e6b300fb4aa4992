"""Imports go one way: service → model → pose; inside the service, from each row of packages to the rows below."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"pose", "model", "service", "simulation"}
WEB = {"fastapi", "starlette", "uvicorn", "pydantic", "pydantic_settings", "sqlalchemy", "typer"}
ALLOWED_FROM_POSE = {"pose.boxes", "pose.skeleton", "pose.windows"}
HEAVY = ("matplotlib", "scipy.stats", "torchvision", "ultralytics")
"""Packages that take long to import and that a start of the service does not need."""

ROWS = (
    ("cli",),
    ("app", "dashboard"),
    ("api",),
    ("runtime",),
    ("wiring",),
    ("doctor", "retention", "collectors"),
    ("calibration", "notifications"),
    ("cameras",),
    ("incidents",),
    ("clips", "live"),
    ("access", "scoring"),
    ("drawing", "streams", "storage", "settings"),
    ("documents", "addresses", "errors", "metrics", "server", "logs"),
)
"""Packages of the service, and its modules that stand alone, from top to bottom. Each may import only from rows below
its own. `docs/architecture.md` shows the same rows."""

MOST_MODULES = 18
MOST_LINES = 500


@dataclass(frozen=True, slots=True)
class Import:
    """One module imported by another, at whatever depth: in a function and under ``TYPE_CHECKING`` as well."""

    importer: str
    imported: str
    line: int


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Every name that a file imports, down to the module or to a name in it, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} uses a relative import"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def at_import(statement: ast.stmt) -> Iterator[str]:
    """What a statement at the top of a module imports when the module is imported."""
    match statement:
        case ast.Import(names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(str(module), names):
            yield from (f"{module}.{alias.name}" for alias in names)
        case ast.Try(body):
            for inner in body:
                yield from at_import(inner)


def inside_the_service() -> list[Import]:
    known = {name_of(path) for path in modules("service")}
    found = []
    for path in modules("service"):
        for full, line in imported(path):
            name = full
            while name and name not in known:
                name = name.rpartition(".")[0]
            if name and name != name_of(path):
                found.append(Import(name_of(path), name, line))
    return found


def room(name: str) -> str:
    """The package of the service, or the module directly in it, that a module belongs to."""
    return name.split(".")[1] if "." in name else name


def row(name: str) -> int:
    (found,) = [number for number, names in enumerate(ROWS) if name in names]
    return found


def cycles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others."""
    reached: dict[str, set[str]] = {}
    for start in arrows:
        seen, waiting = set[str](), [start]
        while waiting:
            for after in arrows.get(waiting.pop(), set()) - seen:
                seen.add(after)
                waiting.append(after)
        reached[start] = seen
    groups = {
        frozenset({one} | {other for other in reached[one] if one in reached.get(other, set())})
        for one in arrows
        if one in reached[one]
    }
    return sorted(sorted(group) for group in groups)


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name, _ in imported(path)}


def from_pose(path: Path) -> set[str]:
    return {".".join(name.split(".")[:2]) for name, _ in imported(path) if name.split(".")[0] == "pose"}


@pytest.mark.parametrize("path", modules("pose"), ids=lambda path: path.stem)
def test_pose_knows_only_itself(path: Path) -> None:
    assert not roots(path) & (OURS - {"pose"} | WEB)


@pytest.mark.parametrize("path", modules("model"), ids=lambda path: path.stem)
def test_model_knows_only_what_pose_defines_for_it(path: Path) -> None:
    assert not roots(path) & ({"service", "simulation", "ultralytics", "cv2"} | WEB)
    assert from_pose(path) <= ALLOWED_FROM_POSE


@pytest.mark.parametrize("path", modules("service"), ids=lambda path: path.stem)
def test_the_service_leaves_ultralytics_to_pose(path: Path) -> None:
    assert "ultralytics" not in roots(path)


@pytest.mark.parametrize("path", modules("simulation"), ids=lambda path: path.stem)
def test_the_simulation_knows_only_the_skeleton(path: Path) -> None:
    assert not roots(path) & (OURS - {"simulation", "pose"} | WEB | {"torch", "ultralytics"})
    assert from_pose(path) <= {"pose.skeleton"}


@pytest.mark.parametrize("path", [file for room in sorted(OURS) for file in modules(room)], ids=name_of)
def test_heavy_packages_are_imported_where_they_are_used(path: Path) -> None:
    names = {name for statement in ast.parse(path.read_text(encoding="utf-8")).body for name in at_import(statement)}
    assert not [name for name in names for heavy in HEAVY if name == heavy or name.startswith(f"{heavy}.")]


def test_every_package_of_the_service_has_a_place_in_the_order() -> None:
    there = {room(name_of(path)) for path in modules("service")} - {"service"}
    assert there == {name for names in ROWS for name in names}


def test_packages_of_the_service_import_only_from_rows_below() -> None:
    wrong = [
        f"{one.importer}:{one.line} imports {one.imported}"
        for one in inside_the_service()
        if room(one.importer) != room(one.imported) and row(room(one.imported)) <= row(room(one.importer))
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_of_the_service_imports_itself_through_others() -> None:
    arrows: dict[str, set[str]] = {}
    for one in inside_the_service():
        arrows.setdefault(one.importer, set()).add(one.imported)
    assert cycles(arrows) == []


def test_a_cycle_would_be_found() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def test_the_rooms_of_the_service_stay_small() -> None:
    """Prints the map in figures: `pytest -s tests/test_imports.py -k stay_small`."""
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules("service")}
    sizes: dict[str, int] = {}
    for path in modules("service"):
        folder = ".".join(path.parent.relative_to(ROOT).parts)
        sizes[folder] = sizes.get(folder, 0) + (path.name != "__init__.py")
    largest = max(lines, key=lambda name: lines[name])
    rooms = {(room(one.importer), room(one.imported)) for one in inside_the_service()}
    between = sum(importer != imported for importer, imported in rooms)
    print(f"\nservice/: {len(lines)} files, {len(sizes)} folders, {between} imports between rooms on {len(ROWS)} rows")
    print("modules:", ", ".join(f"{folder.removeprefix('service.')} {size}" for folder, size in sorted(sizes.items())))
    print(f"largest module: {largest}, {lines[largest]} lines")
    assert max(sizes.values()) <= MOST_MODULES, sizes
    assert lines[largest] <= MOST_LINES, largest
