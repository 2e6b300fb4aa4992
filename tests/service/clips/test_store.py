from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from pose.probe import VideoInfo
from service.addresses.urls import StreamUrl, parse
from service.clips.store import ClipStore, IllegalClipTransition, QueueFull, UnknownClip
from service.clips.tables import TRANSITIONS, ClipJob, ClipState
from service.storage.database import Database
from service.storage.secrets import Cipher, SecretLost

VIDEO = VideoInfo(20, 10.0, 64, 48, 2.0, "mp4", "h264")
KEYS = [Fernet.generate_key().decode() for _ in range(2)]
CIPHER = Cipher(KEYS[:1])
ADDRESS = parse("https://viewer:hunter2@videos.example/a%20door.mp4?token=hunter2&channel=1")
CALLBACK = parse("https://hooks.example/clips?key=hunter2")
NOW = datetime(2026, 1, 31, 9, 26, tzinfo=UTC)


@pytest.fixture
def store(database_url: str) -> Iterator[ClipStore]:
    seconds = itertools.count()
    store = ClipStore(Database.open(database_url), clock=lambda: NOW + timedelta(seconds=next(seconds)))
    store.use_cipher(CIPHER)
    yield store
    store.database.close()


def add(store: ClipStore, clip_id: str, limit: int = 100) -> ClipJob:
    return store.enqueue(clip_id, filename=None, size_bytes=7, keypoints=True, video=VIDEO, limit=limit)


def add_address(store: ClipStore, clip_id: str, limit: int = 100, callback: StreamUrl | None = None) -> ClipJob:
    return store.enqueue_address(clip_id, ADDRESS, keypoints=True, limit=limit, callback=callback)


def stored(store: ClipStore) -> str:
    """Every value in the tables of clips and callbacks, as text."""
    with store.database.sessions() as session:
        return repr(
            [session.execute(text(f"SELECT * FROM {table}")).all() for table in ("clips", "callbacks")]  # noqa: S608
        )


def bring(store: ClipStore, state: ClipState) -> ClipJob:
    """A clip in a state, by legal steps."""
    if state is ClipState.FETCHING:
        return add_address(store, "clip")
    add(store, "clip")
    if state is ClipState.CANCELLED:
        return store.cancel("clip")
    if state is not ClipState.QUEUED:
        store.claim()
    match state:
        case ClipState.DONE:
            return store.finish("clip", frames=20)
        case ClipState.FAILED:
            return store.fail("clip", "cause", "detail")
    return store.get("clip")


MOVES: dict[ClipState, Callable[[ClipStore], ClipJob]] = {
    ClipState.DONE: lambda store: store.finish("clip", frames=20),
    ClipState.FAILED: lambda store: store.fail("clip", "cause", "detail"),
    ClipState.CANCELLED: lambda store: store.cancel("clip"),
    ClipState.QUEUED: lambda store: (
        store.fetched("clip", size_bytes=7, video=VIDEO)
        if store.get("clip").state is ClipState.FETCHING
        else store.put_back("clip")
    ),
}


@pytest.mark.parametrize(("origin", "wanted"), list(itertools.product(ClipState, MOVES)))
def test_exactly_the_legal_transitions_happen(store: ClipStore, origin: ClipState, wanted: ClipState) -> None:
    bring(store, origin)
    if wanted in TRANSITIONS[origin]:
        assert MOVES[wanted](store).state is wanted
    else:
        with pytest.raises(IllegalClipTransition, match=f"clip clip is {origin} and cannot become {wanted}"):
            MOVES[wanted](store)
        assert store.get("clip").state is origin


def test_only_short_clips_are_claimed_if_so_asked(store: ClipStore) -> None:
    add(store, "first")
    long = dataclasses.replace(VIDEO, frames=1001)
    store.enqueue("long", filename=None, size_bytes=7, keypoints=True, video=long, limit=100)
    add(store, "last")
    claimed = [store.claim(1000), store.claim(1000), store.claim(1000), store.claim()]
    assert [job and job.id for job in claimed] == ["first", "last", None, "long"]


def test_clips_are_claimed_in_order_of_arrival_each_by_one_worker(store: ClipStore) -> None:
    names = [f"clip{number:02d}" for number in range(30)]
    for name in names:
        add(store, name)
    claimed: list[str] = []

    def work() -> None:
        while job := store.claim():
            claimed.append(job.id)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(claimed) == names


def test_the_oldest_waits_no_longer_than_the_others(store: ClipStore) -> None:
    for name in ("first", "second"):
        add(store, name)
    job = store.claim()
    assert job is not None
    assert (job.id, job.state, job.attempts) == ("first", ClipState.RUNNING, 1)
    assert job.started_at == NOW + timedelta(seconds=2)


def test_a_full_queue_takes_no_more(store: ClipStore) -> None:
    add(store, "one", limit=1)
    with pytest.raises(QueueFull):
        add(store, "two", limit=1)
    assert store.ids() == {"one"}


def test_a_clip_put_back_keeps_its_place_and_the_attempt_does_not_count(store: ClipStore) -> None:
    add(store, "first")
    add(store, "second")
    store.claim()
    assert store.put_back("first").attempts == 0
    claimed = store.claim()
    assert claimed is not None
    assert claimed.id == "first"


def test_recovery_runs_again_what_was_cut_short_and_gives_up_in_the_end(store: ClipStore) -> None:
    add(store, "clip")
    for _ in range(2):
        store.claim()
        assert [job.state for job in store.recover(3, lambda _: False)] == [ClipState.QUEUED]
    store.claim()
    (job,) = store.recover(3, lambda _: False)
    assert (job.state, job.error_cause) == (ClipState.FAILED, "interrupted")
    assert "3 times" in str(job.error_detail)


def test_recovery_never_repeats_a_clip_whose_result_is_on_disk(store: ClipStore) -> None:
    add(store, "clip")
    store.claim()
    (job,) = store.recover(3, lambda clip_id: clip_id == "clip")
    assert (job.state, job.frames_done) == (ClipState.DONE, VIDEO.frames)


def test_pages_do_not_shift_when_clips_arrive_or_go(store: ClipStore) -> None:
    for number in range(5):
        add(store, f"clip{number}")
    first, more = store.page(limit=2)
    assert ([job.id for job in first], more) == (["clip4", "clip3"], True)
    add(store, "new")
    store.delete("clip3")
    second, more = store.page(limit=3, before=first[-1].sequence)
    assert ([job.id for job in second], more) == (["clip2", "clip1", "clip0"], False)


def test_a_page_holds_only_the_state_asked_for(store: ClipStore) -> None:
    for number in range(3):
        add(store, f"clip{number}")
    store.cancel("clip1")
    assert [job.id for job in store.page(limit=9, state=ClipState.CANCELLED)[0]] == ["clip1"]
    assert store.count()[ClipState.QUEUED] == 2


def test_what_is_unknown_is_named(store: ClipStore) -> None:
    for call in (store.get, store.delete, store.cancel):
        with pytest.raises(UnknownClip, match="there is no clip nobody"):
            call("nobody")


def test_everything_survives_a_restart(store: ClipStore, database_url: str) -> None:
    job = bring(store, ClipState.FAILED)
    store.database.close()
    again = ClipStore(Database.open(database_url))
    assert again.get("clip") == job
    again.database.close()


def test_a_number_is_never_given_twice(store: ClipStore) -> None:
    last = add(store, "first").sequence
    store.delete("first")
    assert add(store, "second").sequence > last


def test_a_clip_to_fetch_takes_a_place_and_keeps_it_when_it_is_there(store: ClipStore) -> None:
    job = add_address(store, "fetched", limit=1)
    assert (job.state, job.filename, job.video, job.size_bytes) == (ClipState.FETCHING, "a door.mp4", None, 0)
    assert job.url == "https://***@videos.example/a%20door.mp4?token=***&channel=1"
    for one in (add, add_address):
        with pytest.raises(QueueFull):
            one(store, "another", limit=1)
    assert store.claim() is None
    store.enqueue("later", filename=None, size_bytes=7, keypoints=True, video=VIDEO, limit=2)
    assert store.fetched("fetched", size_bytes=9, video=VIDEO).size_bytes == 9
    claimed = store.claim()
    assert claimed is not None
    assert (claimed.id, claimed.video, claimed.frames_total, claimed.attempts) == ("fetched", VIDEO, 20, 1)


def test_attempts_to_fetch_are_counted_unless_the_service_stops(store: ClipStore) -> None:
    add_address(store, "clip")
    assert store.begin_fetch("clip") == ADDRESS.text
    store.begin_fetch("clip")
    store.postpone_fetch("clip")
    assert [job.attempts for job in store.to_fetch()] == [1]
    assert store.recover(3, lambda _: False) == []
    store.cancel("clip")
    assert store.to_fetch() == []
    with pytest.raises(IllegalClipTransition):
        store.begin_fetch("clip")


def test_addresses_are_encrypted_and_that_of_a_clip_is_gone_with_its_use(store: ClipStore) -> None:
    add_address(store, "clip", callback=CALLBACK)
    assert "hunter2" not in stored(store)
    assert "gAAAA" in stored(store)
    store.cancel("clip")
    assert store.callback_address("clip") == CALLBACK.text
    with store.database.sessions() as session:
        assert session.execute(text("SELECT address FROM clips")).scalars().all() == [None]


def test_a_new_key_encrypts_addresses_again_and_a_lost_one_is_noticed_when_it_is_needed(store: ClipStore) -> None:
    add_address(store, "clip", callback=CALLBACK)
    store.use_cipher(Cipher(KEYS[::-1]))
    store.use_cipher(Cipher(KEYS[1:]))
    assert store.begin_fetch("clip") == ADDRESS.text
    assert store.callback_address("clip") == CALLBACK.text
    store.use_cipher(CIPHER)
    for read in (store.begin_fetch, store.callback_address):
        with pytest.raises(SecretLost):
            read("clip")


def test_a_callback_is_due_when_its_clip_has_finished_and_until_it_was_accepted(store: ClipStore) -> None:
    for name in ("one", "two"):
        store.enqueue(name, filename=None, size_bytes=7, keypoints=True, video=VIDEO, limit=9, callback=CALLBACK)
    add(store, "without")
    assert store.due_callbacks(9) == []
    store.cancel("without")
    store.claim()
    assert store.due_callbacks(9) == []
    store.finish("one", frames=20)
    store.cancel("two")
    assert [job.id for job in store.due_callbacks(9)] == ["one", "two"]
    assert [job.id for job in store.due_callbacks(1)] == ["one"]
    store.called_back("one")
    store.callback_failed("two", "the receiver answered 500", NOW + timedelta(hours=1))
    assert store.due_callbacks(9) == []
    failed = store.get("two").callback
    assert failed is not None
    assert (failed.state, failed.attempts, failed.problem) == ("pending", 1, "the receiver answered 500")
    assert failed.url == "https://hooks.example/clips?key=***"
    store.callback_failed("two", "the receiver answered 500", NOW)
    assert [job.id for job in store.due_callbacks(9)] == ["two"]
    store.callback_failed("two", "the receiver answered 500", None)
    assert store.due_callbacks(9) == []
    assert [job.callback and job.callback.state for job in store.page(limit=9)[0]] == [None, "dead", "delivered"]


def test_deleting_a_clip_removes_its_callback(store: ClipStore) -> None:
    store.enqueue("clip", filename=None, size_bytes=7, keypoints=True, video=VIDEO, limit=9, callback=CALLBACK)
    store.cancel("clip")
    store.delete("clip")
    assert store.due_callbacks(9) == []
    assert stored(store) == "[[], []]"
    with pytest.raises(UnknownClip):
        store.callback_address("clip")
    store.called_back("clip")
    assert stored(store) == "[[], []]"


def test_without_a_cipher_no_address_is_stored(database_url: str) -> None:
    store = ClipStore(Database.open(database_url))
    with pytest.raises(RuntimeError, match="no cipher"):
        add_address(store, "clip")
    assert store.ids() == set()
    store.database.close()
