"""The commands ``daflow keys …``, which open the database directly, also while the service is running.

The commands import the database themselves, so that the help of all commands is quick.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape
from rich.table import Table

from service.access.policy import Scope
from service.cli.console import DataDir, err, one_line_for, out
from service.errors import StartupError
from service.logs import LogFormat
from service.settings import Settings, SettingsError, load_settings
from service.storage.writing import replacing

if TYPE_CHECKING:
    from service.access.keys import KeyInfo, KeyStore

FIRST_KEY: Final = "first-key"
"""File in the data folder with the first key, where there is no terminal to print it on."""

app = typer.Typer(help="Manage access keys.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the key, such as what it is for.")],
    scope: Annotated[
        Scope, typer.Option(help="read: view; operate: view and act; admin: view, act and configure.")
    ] = Scope.READ,
    camera: Annotated[
        list[str] | None,
        typer.Option(help="Limit the key to this camera; may be repeated.", show_default=False),
    ] = None,
    days: Annotated[float | None, typer.Option(help="Days until the key expires.", show_default=False)] = None,
    data_dir: DataDir = None,
) -> None:
    """Create a key and print it. It cannot be printed again."""
    with _keys(data_dir) as keys:
        valid_for = None if days is None else timedelta(days=days)
        made = keys.create(name, scope, cameras=camera or None, valid_for=valid_for)
        _record(keys, "keys create", made.info)
    err.print(f"key {made.info.id} ({_may(made.info)}); it cannot be shown again:", highlight=False)
    print(made.text)


@app.command("list")
def list_keys(data_dir: DataDir = None) -> None:
    """List all keys, without their secrets."""
    table = Table("id", "name", "permissions", "created", "last used", "state")
    with _keys(data_dir) as keys:
        for key in keys.all():
            table.add_row(
                key.id, escape(key.name), _may(key), _day(key.created_at), _day(key.last_used_at), _state(key)
            )
    out.print(table)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="Id of the key.")], data_dir: DataDir = None) -> None:
    """Revoke a key; a running service refuses it within seconds."""
    with _keys(data_dir) as keys:
        info = keys.revoke(key_id)
        _record(keys, "keys revoke", info)
    err.print(f"key {info.id} ({escape(info.name)}) is revoked", highlight=False)


def first_key(settings: Settings, keys: KeyStore) -> None:
    """Create the first key, if the service requires keys and has no admin key.

    The key is printed on a terminal. Without one, others may be able to read what is printed, so the key is written to
    the data folder, readable by the owner only.
    """
    if not settings.authenticated or keys.any_admin():
        return
    made = keys.create("first start", Scope.ADMIN)
    _record(keys, "first start", made.info)
    if settings.log_format is LogFormat.CONSOLE and err.is_terminal:
        err.print(f"This service requires keys and has none yet. The first key, shown only once:\n\n  {made.text}\n")
        return
    path = settings.data_dir / FIRST_KEY
    with replacing(path) as part:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as stream:
            stream.write(f"{made.text}\n")
    said = f"This service requires keys and has none yet. The first key is in {path}: read it and delete the file."
    err.print(said, soft_wrap=True)


@contextmanager
def _keys(data_dir: Path | None) -> Iterator[KeyStore]:
    from service.access.keys import KeyStore, UnknownKey
    from service.storage.database import Database

    with one_line_for(SettingsError, StartupError, UnknownKey, ValueError, OSError):
        settings = load_settings(data_dir=data_dir)
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        with closing(Database.open(settings.database)) as database:
            yield KeyStore(database)


def _record(keys: KeyStore, action: str, key: KeyInfo) -> None:
    keys.record(key_id=None, name="command line", action=action, target=key.id, status=0, address=None)


def _may(key: KeyInfo) -> str:
    return f"{key.scope}, {'everything' if key.cameras is None else ', '.join(key.cameras)}"


def _day(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M}"


def _state(key: KeyInfo) -> str:
    if key.revoked_at is not None:
        return f"revoked {_day(key.revoked_at)}"
    if key.expires_at is None:
        return "valid"
    ended = key.expires_at <= datetime.now(key.expires_at.tzinfo)
    return f"{'expired' if ended else 'valid until'} {_day(key.expires_at)}"
