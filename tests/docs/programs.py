"""Asks programs, or what they would read, whether they take the arguments that the documentation gives them."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import typer
import yaml
from typer.core import TyperGroup

from service.cli.main import app as command_line
from tests.docs.markdown import ROOT
from tests.docs.shell import Command, commands

TOOLS = {
    *("cat", "command", "cp", "id", "ls", "mkdir", "mv", "rm", "touch"),
    *("nginx", "pg_dump", "pg_restore", "sqlite3", "systemctl", "tar"),
}
"""Programs of the system that the documentation uses; nothing of ours can be wrong in them."""

CALLS = {"curl", "websocat"}
"""Programs that talk to the service; their calls are made, see `tests.docs.calls`."""


def check(command: Command, *, whole: bool = True) -> None:
    """See that a program takes these arguments.

    Args:
        command: What is run.
        whole: Whether nothing that is required may be missing; in a sentence only what matters there is named.
    """
    words = command.words
    while words and words[0] in ("sudo", "time"):
        words = words[1:]
    if not words:
        return
    program, arguments = Path(words[0]).name, words[1:]
    if program == "daflow":
        _check_command_line(arguments, whole=whole)
    elif program in ("python", "python3"):
        _check_python(arguments)
    elif program == "sh":
        assert arguments[0] == "-c"
        for inner in commands(arguments[1]):
            check(inner)
    elif program in CHECKS:
        CHECKS[program](arguments)
    else:
        assert program in TOOLS | CALLS, f"nothing checks {program}"


def _check_command_line(arguments: list[str], *, whole: bool) -> None:
    command = typer.main.get_command(command_line)
    rest = list(arguments)
    while isinstance(command, TyperGroup):
        name = rest.pop(0)
        assert name in command.commands, f"daflow has no command {name}"
        command = command.commands[name]
    try:
        command.make_context(command.name, rest)
    except Exception as error:
        # Typer keeps the classes of these errors to itself.
        if whole or type(error).__name__ != "MissingParameter":
            raise


def _check_python(arguments: list[str]) -> None:
    if arguments[0] == "-c":
        ast.parse(arguments[1])
    elif arguments[0] == "-m":
        module, options = arguments[1], [word.partition("=")[0] for word in arguments[2:] if re.match("--?[a-z]", word)]
        assert find_spec(module), f"there is no module {module}"
        if module.startswith(("benchmarks", "simulation")):
            assert [option for option in options if f'"{option}"' not in _source(module)] == []
    else:
        assert (ROOT / arguments[0]).is_file(), arguments


@cache
def _source(module: str) -> str:
    """The text of a module and of those of its package that it imports: somewhere there its options are defined."""
    spec = find_spec(module)
    assert spec is not None
    if spec.submodule_search_locations:
        return _source(f"{module}.__main__")
    assert spec.origin is not None
    text = Path(spec.origin).read_text(encoding="utf-8")
    package = module.partition(".")[0]
    imported = {
        node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.module
    } - {module}
    found = [find_spec(name) for name in sorted(imported) if name.partition(".")[0] == package]
    more = [Path(one.origin).read_text(encoding="utf-8") for one in found if one is not None and one.origin]
    return "\n".join([text, *more])


def _check_make(arguments: list[str]) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    wanted = [word for word in arguments if "=" not in word]
    assert [target for target in wanted if target not in targets] == []


def _check_pytest(arguments: list[str]) -> None:
    files = [word for word in arguments if "/" in word]
    assert files and all((ROOT / file).exists() for file in files)


def _check_docker(arguments: list[str]) -> None:
    if arguments[:1] == ["build"]:
        file = arguments[arguments.index("--file") + 1]
        assert (ROOT / file).is_file(), file


def _check_compose(arguments: list[str]) -> None:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    services = set(document["services"])
    profiles = {profile for service in document["services"].values() for profile in service.get("profiles", [])}
    rest = list(arguments)
    while rest[0] == "--profile":
        assert rest[1] in profiles, rest[1]
        rest = rest[2:]
    verb, rest = rest[0], rest[1:]
    entrypoint = None
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option == "--entrypoint":
            entrypoint = rest.pop(0)
    if verb in ("exec", "run"):
        assert rest[0] in services, rest[0]
        check(Command([entrypoint, *rest[1:]] if entrypoint else rest[1:]))
    else:
        assert verb in ("build", "config", "down", "ps", "stop", "up"), verb
        assert set(rest) <= services, rest


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "make": _check_make,
    "pytest": _check_pytest,
    "docker": _check_docker,
    "docker-compose": _check_compose,
}
