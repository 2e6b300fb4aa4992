"""The audit of the pinned packages against a stand-in for OSV, which speaks its protocol on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).parents[1] / ".ci" / "audit.py"
WEAKNESS = {
    "id": "PYSEC-2019-217",
    "modified": "2019-04-08T13:29:00Z",
    "summary": "Escape from the sandbox",
    "affected": [
        {
            "package": {"name": "jinja2", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.10.1"}]}],
        }
    ],
}

Answer = Callable[[dict[str, Any]], tuple[int, bytes]]


def knows(query: dict[str, Any]) -> tuple[int, bytes]:
    """What OSV says to a query: the weakness of jinja2 2.10, and an empty document for everything else."""
    weak = query == {"package": {"name": "jinja2", "ecosystem": "PyPI"}, "version": "2.10"}
    return 200, json.dumps({"vulns": [WEAKNESS]} if weak else {}).encode()


@contextmanager
def osv(answer: Answer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that gives `answer` to each query: its URL, and the queries that have come."""
    queries: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(405)
            self.end_headers()

        def do_POST(self) -> None:
            queries.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, body = answer(queries[-1])
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query", queries
        finally:
            server.shutdown()
            thread.join()


def audit(url: str, pins: Path | None, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, AUDIT, f"--osv-url={url}", *options, *([pins] if pins else [])],
        capture_output=True,
        text=True,
        timeout=120,
    )


def pinned(folder: Path, *pins: str) -> Path:
    path = folder / "constraints.txt"
    path.write_text("\n".join(pins) + "\n")
    return path


def nowhere() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}/v1/query"


def test_a_known_weakness_of_one_package_fails_the_audit_and_is_named(tmp_path: Path) -> None:
    with osv(knows) as (url, queries):
        done = audit(url, pinned(tmp_path, "idna==3.20", "jinja2==2.10"))
    assert done.returncode == 1
    assert "PYSEC-2019-217" in done.stdout and "2.10.1" in done.stdout
    assert [query["package"]["name"] for query in queries] == ["idna", "jinja2"]


def test_every_pin_of_this_project_is_asked_about_and_passes_where_nothing_is_known() -> None:
    with osv(knows) as (url, queries):
        done = audit(url, None)
    assert done.returncode == 0, done.stderr
    lines = (AUDIT.parents[1] / "constraints.txt").read_text().splitlines()
    assert len(queries) == sum(not line.startswith("#") for line in lines) > 100


@pytest.mark.parametrize(("options", "status"), [((), 0), (("--strict",), 1)])
def test_a_service_out_of_reach_is_said_in_one_line_and_fails_only_if_strict(
    tmp_path: Path, options: tuple[str, ...], status: int
) -> None:
    url = nowhere()
    done = audit(url, pinned(tmp_path, "jinja2==2.10"), *options)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr == f"Not audited: {url} cannot be reached from here.\n"


def test_a_name_that_does_not_resolve_is_out_of_reach(tmp_path: Path) -> None:
    done = audit("http://osv.invalid/v1/query", pinned(tmp_path, "jinja2==2.10"))
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)


@pytest.mark.parametrize(
    "answer", [lambda _: (500, b""), lambda _: (404, b"{}"), lambda _: (200, b"<html>sign in</html>")]
)
def test_a_service_that_answers_something_else_fails_the_audit(tmp_path: Path, answer: Answer) -> None:
    with osv(answer) as (url, _):
        assert audit(url, pinned(tmp_path, "idna==3.20")).returncode != 0


def test_a_service_that_hangs_up_fails_the_audit(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=hang_up)
        thread.start()
        done = audit(f"http://127.0.0.1:{server.getsockname()[1]}/v1/query", pinned(tmp_path, "idna==3.20"))
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert done.returncode != 0 and "Not audited" not in done.stderr


def test_a_package_without_an_exact_version_fails_the_audit(tmp_path: Path) -> None:
    with osv(knows) as (url, _):
        assert audit(url, pinned(tmp_path, "jinja2>=2")).returncode != 0
