"""Runs ``daflow`` so that it stops just before it removes a chosen file, and a test can kill it there.

``python stopped.py FILE python -c CODE ARGUMENTS…`` takes the place of the command that is named after the file. The
program itself is not changed: Python tells audit hooks of every file that it is about to remove.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from service.cli.main import main


def stopping_at(file: Path) -> list[str]:
    """What to put before a command of `tests.doubles.servers.command`, so that it stops at a file."""
    # -P, since this folder holds modules with names that other packages have as well.
    return [sys.executable, "-P", __file__, str(file)]


def run() -> None:
    """Run the command that the arguments name."""
    file, _python, _option, _code, *arguments = sys.argv[1:]

    def stop(event: str, about: tuple[object, ...]) -> None:
        if event == "os.remove" and str(about[0]) == file:
            # Sent to this very thread, which would else remove the file before another one has taken the signal.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    sys.addaudithook(stop)
    sys.argv = ["daflow", *arguments]
    main()


if __name__ == "__main__":
    run()
