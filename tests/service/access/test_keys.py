from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from service.access.keys import SESSION, TICKET, KeyStore, UnknownKey
from service.access.policy import Scope
from service.cli.console import err
from service.cli.keys import FIRST_KEY, first_key
from service.logs import LogFormat
from service.settings import Auth, Settings
from service.storage.database import Database
from tests.doubles.servers import command, environment


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(f"sqlite:///{tmp_path / 'keys.db'}")
    yield database
    database.close()


@pytest.fixture
def keys(database: Database, clock: Clock) -> KeyStore:
    return KeyStore(database, clock, clock.seconds)


def test_a_key_is_known_again_and_stored_as_its_digest_only(keys: KeyStore, database: Database) -> None:
    made = keys.create(" night shift ", Scope.OPERATE, cameras=["yard", "gate"])
    found = keys.verify(made.text)
    assert found is not None
    assert (found.key_id, found.name, found.scope) == (made.info.id, "night shift", Scope.OPERATE)
    assert found.cameras == {"gate", "yard"}
    secret = made.text.split("_", 2)[2]
    with database.engine.connect() as connection:
        assert secret not in str(connection.execute(text("SELECT * FROM api_keys")).all())
    assert keys.all() == [made.info.model_copy(update={"last_used_at": keys.all()[0].last_used_at})]


@pytest.mark.parametrize("change", ["", "x", "dfl_", "upper", "other id", "last letter"])
def test_what_is_not_a_key_is_not_known(change: str, keys: KeyStore) -> None:
    made, other = keys.create("one", Scope.READ), keys.create("two", Scope.ADMIN)
    wrong = {
        "upper": made.text.upper(),
        "other id": made.text.replace(made.info.id, other.info.id),
        "last letter": made.text[:-1] + ("A" if made.text[-1] != "A" else "B"),
    }
    assert keys.verify(wrong.get(change, change)) is None


def test_a_key_ends_when_it_said_so(keys: KeyStore, clock: Clock) -> None:
    made = keys.create("visitor", Scope.READ, valid_for=timedelta(hours=1))
    principal = keys.verify(made.text)
    assert principal is not None
    assert keys.is_valid(principal)
    clock.now += timedelta(hours=1)
    assert keys.verify(made.text) is None
    assert not keys.is_valid(principal)


def test_a_key_that_was_valid_once_is_told_from_a_guess(keys: KeyStore, clock: Clock) -> None:
    expired = keys.create("visitor", Scope.READ, valid_for=timedelta(hours=1)).text
    revoked = keys.create("guard", Scope.READ)
    keys.revoke(revoked.info.id)
    clock.now += timedelta(hours=2)
    for key in (expired, revoked.text):
        assert keys.verify(key) is None
        assert keys.was_valid(key)
        assert not keys.was_valid(key[:-1] + ("A" if key[-1] != "A" else "B"))
    assert not keys.was_valid("dfl_nonsense")
    assert not keys.was_valid(f"dfl_000000000000_{'x' * 43}")


@pytest.mark.parametrize("opened_by", ["session", "ticket of the session"])
@pytest.mark.parametrize("ending", ["log-out", "time", "revoked key", "expired key"])
def test_what_a_session_opened_is_no_longer_valid_when_the_session_has_ended(
    opened_by: str, ending: str, keys: KeyStore, clock: Clock
) -> None:
    valid_for = SESSION - timedelta(hours=1) if ending == "expired key" else None
    made = keys.create("wall", Scope.READ, valid_for=valid_for)
    by_key = keys.verify(made.text)
    assert by_key is not None
    secret, _ = keys.issue(by_key, "session")
    principal = keys.session(secret)
    assert principal is not None
    unused, _ = keys.issue(principal, "ticket")
    if opened_by != "session":
        principal = keys.redeem(keys.issue(principal, "ticket")[0])
        assert principal is not None
    assert keys.is_valid(principal)
    match ending:
        case "log-out":
            keys.end_session(secret)
            assert keys.redeem(unused) is None
            assert keys.is_valid(by_key)
        case "revoked key":
            keys.revoke(made.info.id)
        case "expired key":
            clock.now += SESSION - timedelta(hours=1)
        case _:
            clock.now += SESSION
    assert not keys.is_valid(principal)


def test_a_revoked_key_takes_its_sessions_and_tickets_along_at_once(keys: KeyStore) -> None:
    made = keys.create("wall", Scope.READ)
    principal = keys.verify(made.text)
    assert principal is not None
    session, _ = keys.issue(principal, "session")
    ticket, _ = keys.issue(principal, "ticket")
    assert keys.session(session) == principal
    revoked = keys.revoke(made.info.id)
    assert revoked.revoked_at is not None
    assert keys.revoke(made.info.id).revoked_at == revoked.revoked_at
    assert (keys.verify(made.text), keys.session(session), keys.redeem(ticket)) == (None, None, None)
    with pytest.raises(UnknownKey, match="there is no key 000000000000"):
        keys.revoke("000000000000")


def test_a_ticket_works_once_and_not_as_a_session(keys: KeyStore, clock: Clock) -> None:
    principal = keys.verify(keys.create("wall", Scope.READ).text)
    assert principal is not None
    ticket, expires = keys.issue(principal, "ticket")
    assert expires == clock.now + TICKET
    assert keys.session(ticket) is None
    assert keys.redeem(ticket) == principal
    assert keys.redeem(ticket) is None
    late, _ = keys.issue(principal, "ticket")
    clock.now += TICKET
    assert keys.redeem(late) is None


def test_a_session_ends_by_itself_or_when_one_logs_out(keys: KeyStore, clock: Clock) -> None:
    principal = keys.verify(keys.create("wall", Scope.READ).text)
    assert principal is not None
    one, two = keys.issue(principal, "session")[0], keys.issue(principal, "session")[0]
    keys.end_session(one)
    assert keys.session(one) is None
    assert keys.session(two) == principal
    assert keys.redeem(two) is None
    clock.now += SESSION
    assert keys.session(two) is None


def test_the_last_use_is_written_down_to_the_minute(keys: KeyStore, clock: Clock) -> None:
    made = keys.create("wall", Scope.READ)
    keys.verify(made.text)
    first = clock.now
    clock.now += timedelta(seconds=30)
    keys.verify(made.text)
    assert keys.all()[0].last_used_at == first
    clock.now += timedelta(seconds=31)
    keys.verify(made.text)
    assert keys.all()[0].last_used_at == clock.now


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("  ", {}, "name of 1 to 100 characters"),
        ("n" * 101, {}, "got 101"),
        ("n", {"cameras": []}, "the list of cameras is empty"),
        ("n", {"valid_for": timedelta()}, "must be positive"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(
    name: str, options: dict[str, object], said: str, keys: KeyStore
) -> None:
    with pytest.raises(ValueError, match=said):
        keys.create(name, Scope.READ, **options)  # type: ignore[arg-type]
    assert keys.all() == []


def test_the_first_start_makes_a_key_where_one_is_asked_for(
    keys: KeyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first_key(Settings(data_dir=tmp_path), keys)
    assert keys.all() == []
    keys.create("for one camera", Scope.ADMIN, cameras=["yard"])
    settings = Settings(data_dir=tmp_path, auth=Auth.REQUIRED)
    monkeypatch.setattr(err, "_force_terminal", True)
    first_key(settings, keys)
    told = next(word for word in capsys.readouterr().err.split() if word.startswith("dfl_"))
    found = keys.verify(told)
    assert found is not None
    assert (found.scope, found.cameras) == (Scope.ADMIN, None)
    first_key(settings, keys)
    assert len(keys.all()) == 2
    keys.revoke(found.key_id)
    first_key(settings.model_copy(update={"log_format": LogFormat.JSON}), keys)
    captured = capsys.readouterr()
    assert "dfl_" not in captured.err + captured.out
    path = tmp_path / FIRST_KEY
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.verify(path.read_text().strip()) is not None


@pytest.mark.parametrize("log_format", LogFormat)
@pytest.mark.parametrize("mask", [0o022, 0o000, 0o077])
def test_without_a_terminal_the_first_key_is_in_a_file_for_its_owner_only(
    mask: int, log_format: LogFormat, keys: KeyStore, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # What is printed without a terminal ends in a log that others may read.
    before = os.umask(mask)
    try:
        first_key(Settings(data_dir=tmp_path, auth=Auth.REQUIRED, log_format=log_format), keys)
    finally:
        os.umask(before)
    captured = capfd.readouterr()
    path = tmp_path / FIRST_KEY
    assert "dfl_" not in captured.err + captured.out
    assert FIRST_KEY in captured.err
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.verify(path.read_text().strip()) is not None


@pytest.mark.slow
def test_keys_are_made_listed_and_revoked_on_the_command_line(tmp_path: Path) -> None:
    def daflow(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command("keys", *arguments), env=environment(tmp_path), capture_output=True, text=True, check=False
        )

    made = daflow("create", "night shift", "--scope", "operate", "--camera", "yard", "--days", "30")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert key.startswith("dfl_")
    assert key not in made.stderr
    listed = daflow("list")
    assert "night shift" in listed.stdout
    assert key.split("_", 2)[2] not in listed.stdout
    assert daflow("revoke", key.split("_")[1]).returncode == 0
    wrong = daflow("revoke", "nothing")
    assert (wrong.returncode, wrong.stderr.strip()) == (1, "error: there is no key nothing")
    database = Database.open(f"sqlite:///{(tmp_path / 'daflow.db').resolve()}")
    store = KeyStore(database)
    assert store.verify(key) is None
    assert [record.action for record in store.audit(limit=9)] == ["keys revoke", "keys create"]
    database.close()
