"""What the documentation says that the repository can be asked about."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pose.live import TRANSITIONS
from service.settings import TEST_VARIABLES, Settings, variable_name
from tests.docs.markdown import CARDS, DOCUMENTS, GUIDES, README, ROOT, anchors, blocks, links, name_of, prose, spans

MOST_LINES = 160
"""The README is read to the end by whoever decides whether to try this."""

MOST_FILES = 8
"""A path through the service that is longer than this cannot be kept in mind."""

PHRASES = (
    # In quotation marks and as an option it is the old name, which files and commands may go on using for one release.
    r"(?<![\"-])witness(es)?(?!\")",
    r"who (speaks|spoke)",
    r"spoke most",
    r"leaves? the word to",
    r"told from (anybody|whom)",
    r"who is there\?",
    r"held back",
    r"rests on",
    r"truly between",
    r"for ever",
    r"that were had",
    r"everybody but those",
    r"pictures come(?! from)",
    r"frames left out",
)
"""What had to be read twice. Say: part, suppressed, dropped, input frame rate, 95 % interval."""

BANNED = re.compile("|".join(rf"\b{phrase}(?!\w)" for phrase in PHRASES).replace(" ", r"\s+"), re.IGNORECASE)

ARCHITECTURE = ROOT / "docs" / "architecture.md"
OURS = re.compile(
    r"(benchmarks|docker|docs|model|pose(?!/(abnormal_)?(train|test))|service|simulation|tests|\.ci)/[\w./-]*"
)
"""A file or folder of the repository; data sets have folders of their own called ``pose``."""

SOURCES = sorted(
    path
    for folder in ("model", "pose", "service", "simulation")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".js", ".css", ".html", ".mako"}
)
EVERY_DOCUMENT = pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
EXPLAINING = pytest.mark.parametrize("path", [*GUIDES, *CARDS], ids=name_of)
"""All but the log of changes, which also names what is gone."""


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@EVERY_DOCUMENT
def test_every_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    broken = []
    for target in links(path):
        file, _, fragment = target.partition("#")
        leads_to = (path.parent / file).resolve() if file else path
        if not leads_to.exists() or (fragment and fragment not in anchors(leads_to)):
            broken.append(target)
    assert broken == []


@EXPLAINING
def test_every_file_that_is_named_is_there(path: Path) -> None:
    assert [span for span in spans(path) if OURS.fullmatch(span) and not (ROOT / span).exists()] == []


@EXPLAINING
def test_every_variable_that_is_named_is_a_setting(path: Path) -> None:
    known = {variable_name(field) for field in Settings.model_fields} | TEST_VARIABLES
    named = set(re.findall(r"\bDAFLOW_[A-Z][A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8")))
    assert named - known == set()


@EVERY_DOCUMENT
def test_no_document_has_a_phrase_that_must_be_read_twice(path: Path) -> None:
    assert _banned(path) == []


@pytest.mark.parametrize("folder", ["model", "pose", "service", "simulation"])
def test_no_source_has_a_phrase_that_must_be_read_twice(folder: str) -> None:
    found = {
        name_of(path): phrases for path in SOURCES if name_of(path).startswith(folder) and (phrases := _banned(path))
    }
    assert found == {}


def test_the_diagram_of_states_shows_every_transition_and_no_other() -> None:
    diagrams = [block for path in DOCUMENTS for block in blocks(path) if block.language == "mermaid"]
    assert [name_of(block.path) for block in diagrams] == ["docs/cameras.md"]
    arrows = re.findall(r"^    (\w+) --> (\w+)", diagrams[0].text, re.MULTILINE)
    assert sorted(arrows) == sorted((state, after) for state, further in TRANSITIONS.items() for after in further)


def test_the_architecture_lists_every_package_of_the_service() -> None:
    table = _section("Packages of service/")
    listed = [name for row in _rows(table) for name in re.findall(r"`(\w+)/?`", row[0])]
    packages = {path.parent.name for path in (ROOT / "service").glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / "service").glob("*.py")} - {"__init__"}
    assert sorted(listed) == sorted(packages | modules)


@pytest.mark.parametrize("title", ["A posted clip", "A live frame", "An incident"])
def test_every_path_through_the_service_is_short_and_returns_at_most_once(title: str) -> None:
    whole = _section("Three paths")
    table = whole.split(f"**{title}**", 1)[1].split("\n**", 1)[0]
    files = [row[1].strip("`") for row in _rows(table)]
    assert 1 < len(files) <= MOST_FILES
    assert len(files) - len(set(files)) <= 1
    assert [file for file in files if not (ROOT / file).is_file()] == []


def _banned(path: Path) -> list[str]:
    return [" ".join(match[0].split()) for match in BANNED.finditer(path.read_text(encoding="utf-8"))]


def _section(heading: str) -> str:
    return prose(ARCHITECTURE).split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


def _rows(table: str) -> list[list[str]]:
    """The cells of the rows below the head of each table."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in rows[2:] if not set(row[0]) <= {"-", "|"}]
