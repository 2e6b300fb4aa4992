"""Reads the Markdown of the repository: blocks of code, spans of code, links and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
GUIDES = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
"""What explains the project to its users and maintainers."""

CARDS = sorted(path for folder in ("docker", "model", "simulation") for path in (ROOT / folder).rglob("*.md"))
"""What lies beside weights and samples and explains them."""

DOCUMENTS = [*GUIDES, ROOT / "CHANGELOG.md", *CARDS]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    path: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{name_of(self.path)}:{self.line}"


def name_of(path: Path) -> str:
    """The path inside the repository."""
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a document, in order."""
    document = path.read_text(encoding="utf-8")
    for match in _FENCE.finditer(document):
        indent = match["indent"]
        text = "".join(line.removeprefix(indent) for line in match["text"].splitlines(keepends=True))
        yield Block(path, document.count("\n", 0, match.start()) + 1, match["language"], text)


def prose(path: Path) -> str:
    """A document without its fenced blocks."""
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def spans(path: Path) -> list[str]:
    """Code within sentences; what a line break cuts is one line again."""
    return [" ".join(span.split()) for span in _SPAN.findall(prose(path))]


def links(path: Path) -> list[str]:
    """Targets of links and pictures that are not on another server."""
    found: list[str] = _LINK.findall(_SPAN.sub("", prose(path)))
    # The text of a link may be code, which is gone with the spans; its target is not.
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(path: Path) -> set[str]:
    """Fragments that lead to the headings of a document, as GitHub makes them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")
        for heading in _HEADING.findall(prose(path))
    }
