"""Whether the service in this container can work: exit status 0, or 1 and a line that says what is missing.

Run by ``HEALTHCHECK`` with the standard library alone, so that it costs next to nothing.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request

_TIMEOUT_S = 4.0


def main() -> int:
    """Ask ``/readyz`` of the service on this machine."""
    url = f"http://127.0.0.1:{os.environ.get('DAFLOW_PORT') or 8000}/readyz"
    # A proxy in the environment is for cameras and downloads, not for this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_TIMEOUT_S):
            print("ready")
            return 0
    except urllib.error.HTTPError as error:
        print(_detail(error))
    except OSError as error:
        print(f"{url} does not answer: {error}")
    return 1


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"/readyz answers {error.code}"


sys.exit(main())
