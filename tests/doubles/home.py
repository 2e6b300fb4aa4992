"""A user of this machine for whom no library has written anything yet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def run_in_new_home(home: Path, script: str, *arguments: Path) -> list[str]:
    """Run a script in a home folder that is new, and find that it leaves nothing there.

    Args:
        home: The folder, made here.
        script: Python code.
        *arguments: Of the script.

    Returns:
        The words that it prints.
    """
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("YOLO_", "ORT_"))}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=home,
        env=environment | {"HOME": str(home), "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert list(home.rglob("*")) == []
    return done.stdout.split()
