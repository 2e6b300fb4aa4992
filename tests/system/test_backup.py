"""Backup and restore as docs/deployment.md tells: the database while the service works, then its files."""

from __future__ import annotations

import itertools
import os
import sqlite3
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from service.documents.base import EndReason
from service.live.incident import Ended, Started
from service.settings import Settings
from tests.doubles.backends import Servers, program
from tests.doubles.live_records import incident
from tests.doubles.servers import LiveServer, cardboard_inspect, eventually, live_server


@contextmanager
def service(folder: Path, **settings: object) -> Iterator[LiveServer]:
    with live_server(Settings(data_dir=folder, **settings)) as live:
        eventually(lambda: live.runtime.models.loaded is not None, "the models are loaded")
        yield live


@contextmanager
def incidents_happening(live: LiveServer) -> Iterator[list[str]]:
    """Names of incidents that begin and end, one after the other, until the block ends."""
    stopping, names = threading.Event(), list[str]()

    def happen() -> None:
        for number in itertools.count():
            opened = incident(f"incident{number}")
            live.runtime.streams.log.record(Started(opened))
            live.runtime.streams.log.record(Ended(replace(opened, ended=opened.updated, end_reason=EndReason.QUIET)))
            names.append(opened.id)
            if stopping.wait(0.05):
                return

    happening = threading.Thread(target=happen)
    happening.start()
    try:
        eventually(lambda: len(names) > 10, "incidents happen")
        yield names
    finally:
        stopping.set()
        happening.join()


def copy_database(data: Path, backup: Path) -> None:
    """The commands of the guide that copy the database."""
    if url := os.environ.get("DAFLOW_DATABASE_URL"):
        command = [program("pg_dump"), "--format=custom", "--file", str(backup / "daflow.dump"), libpq(url)]
        subprocess.run(command, check=True)
        return
    with closing(sqlite3.connect(data / "daflow.db")) as connection:
        connection.execute("VACUUM INTO ?", [str(backup / "daflow.db")])


def restore_database(backup: Path, data: Path, servers: Servers | None) -> dict[str, object]:
    """The commands of the guide that put it back; gives the setting that names it."""
    if servers is None:
        (backup / "daflow.db").rename(data / "daflow.db")
        return {}
    url = servers.postgres.empty()
    command = [program("pg_restore"), "--clean", "--if-exists", "--no-owner", "--exit-on-error", "--dbname", libpq(url)]
    subprocess.run([*command, str(backup / "daflow.dump")], check=True)
    return {"database_url": url}


def libpq(url: str) -> str:
    """The address as PostgreSQL's own programs want it."""
    return url.replace("+psycopg", "")


def test_a_backup_of_a_service_at_work_brings_all_of_that_moment_back(
    tmp_path: Path, backend: str, servers: Servers | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.clips.uploads.inspect", cardboard_inspect)
    data, backup, restored = tmp_path / "data", tmp_path / "backup", tmp_path / "restored"
    backup.mkdir()
    with service(data) as live, incidents_happening(live) as names:
        live.client.put("/v1/cameras/door", json={"url": "skeletons:", "name": "Door"}).raise_for_status()
        clip = live.client.post_clip(b"film", wait=60).json()
        for name in ("kept", "lost"):
            live.runtime.streams.log.record(Started(incident(name)))
            live.runtime.folder.evidence.make_room(name)
            live.runtime.folder.evidence.file(name, "snapshot", background=False).write_bytes(b"picture")
            live.runtime.streams.log.evidence(name, "snapshot", "ready")
        # What is recorded waits in memory for its turn.
        eventually(lambda: live.client.get("/v1/incidents/lost").json().get("snapshot") == "ready", "they are stored")
        before = live.runtime.streams.incidents.ids()
        copy_database(data, backup)
        after = live.client.post_clip(b"film after the copy", wait=60).json()
        live.runtime.folder.evidence.discard("lost")
        with tarfile.open(backup / "files.tar", "w") as files:
            files.add(data, ".", filter=lambda entry: None if entry.name.startswith("./daflow.db") else entry)
        eventually(lambda: len(live.runtime.streams.incidents.ids()) > len(before) + 10, "incidents go on")

    restored.mkdir()
    subprocess.run(["tar", "--extract", "--file", backup / "files.tar", "--directory", restored], check=True)  # noqa: S607
    with service(restored, **restore_database(backup, restored, servers)) as live:
        assert live.client.get("/readyz").json()["degraded"] == []
        (camera,) = live.client.get("/v1/cameras").json()["cameras"]
        assert camera["config"]["name"] == "Door"
        assert live.client.clip(clip["id"]) == clip
        # What came between the two copies is known by its files only, or without them.
        assert [path.name for path in (restored / "clips").iterdir()] == [clip["id"]]
        assert live.client.get(f"/v1/clips/{after['id']}").status_code == 404
        pictures = [live.client.get(f"/v1/incidents/{name}/snapshot.jpg?background=none") for name in ("kept", "lost")]
        assert [picture.status_code for picture in pictures] == [200, 404]
        assert pictures[1].json()["type"] == "/problems/evidence-missing"
        found = live.runtime.streams.incidents.ids()
        assert before <= found
        found -= {"kept", "lost"}
        assert found == set(names[: len(found)]) != set(names)
        assert live.runtime.streams.incidents.count().open == 0
        # And it goes on from there.
        live.runtime.streams.log.record(Started(incident("later")))
        eventually(lambda: "later" in live.runtime.streams.incidents.ids(), "the next one is stored")
