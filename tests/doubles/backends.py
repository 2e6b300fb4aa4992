"""PostgreSQL, Redis, Mosquitto and nginx for tests: the real servers, on loopback, killed and started at will."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import psycopg
import pytest
import redis
from sqlalchemy import create_engine

from service.storage.database import migrate

PATIENCE_S = 60.0

_TEMPLATE = "template_daflow"
_DEBIAN = "/usr/lib/postgresql/*/bin"

E = TypeVar("E", bound="Engine")


class Engine:
    """A server in a process of its own, with its files in a folder of its own.

    Args:
        folder: Where its files lie.
    """

    binary = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Listen; what was stored before is there again."""
        with (self.folder / "log").open("ab") as log:
            deadline = time.monotonic() + PATIENCE_S
            while True:
                self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, start_new_session=True)
                while self._process.poll() is None and time.monotonic() < deadline:
                    if self._answers():
                        return
                    time.sleep(0.02)
                # What is left of a server that was killed may hold its files for a moment.
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.1)

    def kill(self) -> None:
        """End as by a power cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


class Postgres(Engine):
    """A cluster of its own; flushing to disk is off, which a kill of processes does not notice."""

    binary = "postgres"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._made = 0
        shutil.chown(folder, _user())
        authentication = ["--auth=trust", "--username=daflow", "--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run(
            [*_as_user(), program("initdb"), *authentication, str(folder / "data")],
            check=True,
            capture_output=True,
            cwd=folder,
        )

    def url(self, name: str = "postgres") -> str:
        """Address of a database."""
        return f"postgresql+psycopg://daflow@127.0.0.1:{self.port}/{name}"

    def fresh(self) -> str:
        """Address of a new database with the newest schema."""
        if not self._made:
            self._create(_TEMPLATE)
            engine = create_engine(self.url(_TEMPLATE))
            migrate(engine)
            engine.dispose()
        self._made += 1
        name = f"test_{self._made}"
        self._create(name, f" TEMPLATE {_TEMPLATE}")
        return self.url(name)

    def empty(self) -> str:
        """Address of a new database with nothing in it."""
        self._made += 1
        name = f"empty_{self._made}"
        self._create(name)
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, and whoever is connected to it."""
        self._execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def _create(self, name: str, how: str = "") -> None:
        self._execute(f"CREATE DATABASE {name}{how}")

    def _execute(self, statement: str) -> None:
        address = f"host=127.0.0.1 port={self.port} user=daflow dbname=postgres"
        with closing(psycopg.connect(address, autocommit=True)) as connection:
            connection.execute(statement)

    def _command(self) -> list[str]:
        options = [
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            f"unix_socket_directories={self.folder}",
            "fsync=off",
            "full_page_writes=off",
            "max_connections=200",
        ]
        flags = [part for option in options for part in ("-c", option)]
        return [*_as_user(), program(self.binary), "-D", str(self.folder / "data"), *flags]

    def _answers(self) -> bool:
        try:
            self._execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


class Redis(Engine):
    """A server that keeps what it was given in an append-only file."""

    binary = "redis-server"

    def url(self, number: int = 0) -> str:
        """Address of a numbered database."""
        return f"redis://127.0.0.1:{self.port}/{number}"

    def flush(self) -> None:
        """Forget everything."""
        with closing(redis.Redis(port=self.port)) as client:
            client.flushall()

    def _command(self) -> list[str]:
        files = ["--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        return [program(self.binary), "--bind", "127.0.0.1", "--port", str(self.port), *files]


class Broker(Engine):
    """Mosquitto; it forgets what is retained when it is killed."""

    binary = "mosquitto"

    def __init__(self, folder: Path, credentials: tuple[str, str] | None = None) -> None:
        super().__init__(folder)
        anonymous = "false" if credentials else "true"
        lines = [f"listener {self.port} 127.0.0.1", "persistence false", f"allow_anonymous {anonymous}"]
        self._userinfo = ""
        if credentials:
            user, password = credentials
            self._userinfo = f"{quote(user, safe='')}:{quote(password, safe='')}@"
            subprocess.run(
                [program("mosquitto_passwd"), "-c", "-b", str(folder / "users"), user, password],
                check=True,
                capture_output=True,
            )
            lines.append(f"password_file {folder / 'users'}")
        if os.geteuid() == 0:
            lines.append("user root")
        (folder / "mosquitto.conf").write_text("\n".join([*lines, ""]))

    @property
    def url(self) -> str:
        """Its address, with the credentials that it asks for."""
        return f"mqtt://{self._userinfo}127.0.0.1:{self.port}"

    def _command(self) -> list[str]:
        return [program(self.binary), "-c", str(self.folder / "mosquitto.conf")]


class Proxy(Engine):
    """nginx in one process, with a configuration of ours.

    Args:
        folder: Where its files lie.
        configure: Makes what goes into the ``http`` block, of the folder and the port to listen on.

    Attributes:
        access: Where it writes a line for each request, of its path and the server that it was passed to.
    """

    binary = "nginx"

    def __init__(self, folder: Path, configure: Callable[[Path, int], str]) -> None:
        super().__init__(folder)
        self.access = folder / "access"
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        lines = [
            *(["user root;"] if os.geteuid() == 0 else []),
            # A process that is killed must not leave others behind.
            "daemon off; master_process off; pid nginx.pid; error_log log;",
            "events {}",
            "http {",
            *(f"{kind}_temp_path {folder / kind};" for kind in kinds),
            f"log_format passed '$uri $upstream_addr'; access_log {self.access} passed;",
            configure(folder, self.port),
            "}",
        ]
        (folder / "nginx.conf").write_text("\n".join([*lines, ""]))

    def _command(self) -> list[str]:
        files = ["-p", str(self.folder), "-e", str(self.folder / "log"), "-c", str(self.folder / "nginx.conf")]
        return [program(self.binary), *files]


@contextmanager
def running(kind: type[E], **options: object) -> Iterator[E]:
    """Run a server until the block ends; skips the test where it is not installed."""
    if not installed(kind):
        pytest.skip(f"{kind.binary} is not installed; .ci/run names the Debian packages")
    # Not pytest's folder, which the user that PostgreSQL runs as may not enter.
    with tempfile.TemporaryDirectory(prefix="daflow-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        engine = kind(folder, **options)
        engine.start()
        try:
            yield engine
        finally:
            engine.kill()


def installed(kind: type[Engine]) -> bool:
    """Whether there can be such a server on this machine."""
    return _path(kind.binary) is not None


def program(binary: str) -> str:
    """Where a program of a server is."""
    path = _path(binary)
    assert path is not None, f"{binary} is not installed"
    return path


def _path(binary: str) -> str | None:
    folders = [os.environ.get("PATH", ""), "/usr/sbin", *sorted(map(str, Path("/").glob(_DEBIAN[1:])), reverse=True)]
    return shutil.which(binary, path=os.pathsep.join(folders))


def _user() -> str:
    """Who PostgreSQL runs as: it refuses to be root."""
    return "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def _as_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={_user()}", f"--regid={_user()}", "--init-groups", "--"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Servers:
    """The real servers that a run with ``--backends=servers`` uses."""

    postgres: Postgres
    redis: Redis
