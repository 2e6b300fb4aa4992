"""Output of commands: results go to standard output, everything else to standard error, an error in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

DataDir = Annotated[Path | None, typer.Option(help="Overrides DAFLOW_DATA_DIR.", show_default=False)]

err = Console(stderr=True)
out = Console()


@contextmanager
def one_line_for(*expected: type[Exception]) -> Iterator[None]:
    """Turn these errors into one line that names the setting to change, and end the command with status 1."""
    try:
        yield
    except expected as error:
        setting = getattr(error, "setting", None)
        fail(f"{error} (set {setting})" if setting and setting not in str(error) else str(error))


def fail(message: str) -> NoReturn:
    """Print an error and end the command with status 1."""
    complain(message)
    sys.exit(1)


def complain(message: str) -> None:
    """Print an error in one line and continue."""
    err.print("[red]error:[/]", escape(" ".join(message.split())), soft_wrap=True, highlight=False)
