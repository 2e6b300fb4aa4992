"""Asks OSV whether the pinned packages have known weaknesses: `python .ci/audit.py [--strict] [REQUIREMENTS]`.

Exit status 1 says that there are some, or that the audit itself went wrong. A machine that cannot connect to OSV cannot
know; it says so, and only `--strict` makes a failure of it. A weakness that does not concern this project goes to
pip-audit as `--ignore-vuln`, with the reason beside it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import requests
from urllib3.exceptions import NewConnectionError

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
CONNECT_TIMEOUT_S = 10
AUDIT_TIMEOUT_S = 600


def main() -> int:
    """Audit the requirements of the command line; the result is the exit status."""
    parser = argparse.ArgumentParser(description="Look for known vulnerabilities in pinned packages.")
    parser.add_argument("requirements", nargs="?", type=Path, default=CONSTRAINTS)
    parser.add_argument("--osv-url", default="https://api.osv.dev/v1/query")
    parser.add_argument("--strict", action="store_true", help="fail where the service cannot be reached")
    arguments = parser.parse_args()

    if not connects(arguments.osv_url):
        print(f"Not audited: {arguments.osv_url} cannot be reached from here.", file=sys.stderr)
        return int(arguments.strict)
    command = [sys.executable, "-m", "pip_audit", "--strict", "--no-deps", "--disable-pip", "--progress-spinner=off"]
    service = ["--vulnerability-service=osv", f"--osv-url={arguments.osv_url}"]
    return subprocess.run(  # noqa: S603
        [*command, *service, f"--requirement={arguments.requirements}"], timeout=AUDIT_TIMEOUT_S
    ).returncode


def connects(url: str) -> bool:
    """Whether a connection to the host of `url` comes about, through the proxy of the environment if there is one.

    Whatever goes wrong once there is a connection, a bad certificate included, is left for the audit to fail on.
    """
    try:
        requests.head(url, timeout=CONNECT_TIMEOUT_S)
    except (requests.ConnectTimeout, requests.exceptions.ProxyError):
        return False
    except requests.ConnectionError as error:
        return not isinstance(getattr(error.args[0], "reason", None), NewConnectionError)
    return True


if __name__ == "__main__":
    sys.exit(main())
