"""Output of commands: results go to standard output, everything else to standard error, an error in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from service.documents.results import FrameScore

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


def progress_bar() -> Progress:
    """A bar on standard error, which goes when the work is done; nothing where standard error is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_interactive,
    )


class ClipBar:
    """Shows the progress of a clip; the observer of `ClipScorer.score`."""

    def __init__(self, progress: Progress, task: TaskID, description: str = "scoring") -> None:
        self._progress = progress
        self._task = task
        self._description = description

    def progress(self, done: int, total: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, description=self._description, completed=done, total=total)

    def frame(self, frame: FrameScore) -> None:
        """Take the scores of a frame; the bar shows none."""

    def cancelled(self) -> bool:
        """Whether to stop: never."""
        return False
