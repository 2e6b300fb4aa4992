"""Takes the commands of a block of shell apart, as far as documentation uses the shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

_ASSIGNMENT = re.compile(r"(\w+)=(.*)", re.DOTALL)
_PUNCTUATION = set("();<>|&")


@dataclass(frozen=True)
class Command:
    """A simple command: variables that are set for it, and its words."""

    words: list[str]
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def program(self) -> str:
        """Its first word; empty where variables are set and nothing is run."""
        return self.words[0] if self.words else ""


def commands(text: str) -> list[Command]:
    """The commands of a block.

    Raises:
        ValueError: A quotation is not closed.
    """
    return [command for line in _logical_lines(text.splitlines()) for command in _split(line)]


def session(text: str) -> list[tuple[str, str]]:
    """What was typed in a session on a console, after each ``$``, and what that printed."""
    found: list[tuple[str, str]] = []
    lines = text.splitlines()
    while lines:
        line = lines.pop(0)
        if line.startswith("$ "):
            whole = line.removeprefix("$ ")
            while not _complete(whole):
                whole += "\n" + lines.pop(0)
            found.append((whole, ""))
        else:
            typed, printed = found[-1]
            found[-1] = (typed, printed + line + "\n")
    return found


def _logical_lines(lines: list[str]) -> Iterator[str]:
    """Lines with their continuations: after a backslash, and within quotes."""
    whole = ""
    for line in lines:
        whole += line
        if _complete(whole):
            yield whole
            whole = ""
        else:
            whole += "\n"
    if whole:
        raise ValueError(f"a quotation is not closed: {whole}")


def _complete(text: str) -> bool:
    if text.endswith("\\"):
        return False
    try:
        _tokens(text)
    except ValueError:
        return False
    return True


def _tokens(text: str) -> list[str]:
    lexer = shlex.shlex(text.replace("\\\n", ""), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


def _split(line: str) -> list[Command]:
    found: list[Command] = []
    words: list[str] = []
    variables: dict[str, str] = {}
    tokens = iter([*_tokens(line), ";"])
    for token in tokens:
        assignment = None if words else _ASSIGNMENT.fullmatch(token)
        if set(token) <= {"<", ">"} and token:
            next(tokens)
        elif token and set(token) <= _PUNCTUATION:
            if words or variables:
                found.append(Command(words, variables))
            words, variables = [], {}
        elif assignment:
            variables[assignment[1]] = assignment[2]
        else:
            words.append(token)
    return found
