"""A real browser for tests: Chromium, told what to do over its debugging protocol."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.service.servers import PATIENCE_S, eventually


class Page:
    """One tab.

    Args:
        socket: Its debugging connection.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.troubles: list[str] = []

    def open(self, url: str) -> None:
        """Load a page; from now on `troubles` collects what it does wrong, violations of its policy among it."""
        self._command("Runtime.enable")
        self._command("Log.enable")
        self._command("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression on the page; promises are waited for."""
        answer = self._command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until an expression is true on the page."""
        return eventually(lambda: self.evaluate(expression), expression)

    def close_browser(self) -> None:
        """End the browser in order, with all its processes."""
        self._command("Browser.close")

    def _command(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if message.get("id") == number:
                result: dict[str, Any] = message["result"]
                return result
            self._note(message.get("method"), message["params"])

    def _note(self, event: str, parameters: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.troubles.append(str(parameters["exceptionDetails"]))
        if event == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.troubles.append(parameters["entry"]["text"])


@contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """An empty tab of a browser that ends with the block; skips the test where there is no Chromium.

    Args:
        folder: Takes the profile of the browser.
    """
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no Chromium; install the package chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,2000"]
    process = subprocess.Popen(
        [program, *options, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with connect(_tab(folder), max_size=None, compression=None) as socket:
            page = Page(socket)
            yield page
            page.close_browser()
            process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()


def _tab(folder: Path) -> str:
    """Where the first tab of a browser that has just been started is debugged."""
    announced = folder / "DevToolsActivePort"
    port = eventually(lambda: announced.exists() and announced.read_text().partition("\n")[0], "the browser listens")
    tabs = eventually(
        lambda: [tab for tab in httpx.get(f"http://127.0.0.1:{port}/json/list").json() if tab["type"] == "page"],
        "the browser has a tab",
    )
    url: str = tabs[0]["webSocketDebuggerUrl"]
    return url
