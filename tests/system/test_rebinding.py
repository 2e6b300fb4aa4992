from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.doubles import rebinding

UNSHARE = ["unshare", "--mount", "--net", *(["--map-root-user"] if os.getuid() else [])]
NETWORK = f"""
set -e
ip link set lo up
ip address add {rebinding.PUBLIC}/32 dev lo
ip address add {rebinding.METADATA}/32 dev lo
mount --bind "$1/resolv.conf" /etc/resolv.conf
mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
shift
exec "$@"
"""


@pytest.mark.slow
def test_no_name_that_moves_leads_inside_by_the_resolver_of_the_system(tmp_path: Path) -> None:
    """Runs the tests of `rebinding` where its own server answers for all names and every address is this machine."""
    refused = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True)
    if refused.returncode:
        pytest.skip(f"this machine grants no network and mounts of one's own: {refused.stderr.strip()}")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
    tests = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-q",
        "-o",
        "addopts=--import-mode=importlib",
    ]
    done = subprocess.run(
        [*UNSHARE, "sh", "-c", NETWORK, "sh", tmp_path, *tests, f"--basetemp={tmp_path / 'inner'}", rebinding.__file__],
        env={name: value for name, value in os.environ.items() if not name.startswith(("DAFLOW_", "PYTEST_"))},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^13 passed in ", done.stdout, re.MULTILINE), done.stdout
