"""Processes of ``daflow`` that begin with everything imported, as forks of one that has imported the service.

Nearly all of the five to seven seconds of processor time that a start takes are imports. The fork runs the command with
the environment, the folder and the output that it was given, and ends with the command's own exit status. Python starts
anew in `tests/system/test_kills.py`, in the first test of the demo, and wherever a service runs inside another command.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# Only modules that start no thread: a fork has none of the threads of its parent. Torchvision comes with the first
# picture that the pose network looks at, and takes as long to import as Torch.
_PRELOADED: Final = ["service.cli.main", "service.app", "service.dashboard", "uvicorn", "torchvision"]
_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(_PRELOADED)


class Fork:
    """A command that runs, used like a `subprocess.Popen`."""

    def __init__(self, *arguments: str, env: Mapping[str, str], cwd: Path, output: Path) -> None:
        # A daemon is ended with the tests if a test leaves it behind.
        self._process = _CONTEXT.Process(target=_run, args=(arguments, dict(env), cwd, output), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid: Final[int] = self._process.pid

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends.

        Raises:
            TimeoutExpired: It runs for longer than these seconds.
        """
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired("daflow", timeout or 0.0)
        return status

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()


def _run(arguments: tuple[str, ...], env: dict[str, str], cwd: Path, output: Path) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    stream = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for standard in (1, 2):
        os.dup2(stream, standard)
    os.close(stream)
    sys.argv = ["daflow", *arguments]
    from service.cli.main import main

    main()
