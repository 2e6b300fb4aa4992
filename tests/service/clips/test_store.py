from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from pose.probe import VideoInfo
from service.clips.store import (
    TRANSITIONS,
    ClipJob,
    ClipState,
    ClipStore,
    IllegalClipTransition,
    QueueFull,
    UnknownClip,
)
from service.storage.database import Database

VIDEO = VideoInfo(20, 10.0, 64, 48, 2.0, "mp4", "h264")
NOW = datetime(2026, 1, 31, 9, 26, tzinfo=UTC)


@pytest.fixture
def store(database_url: str) -> Iterator[ClipStore]:
    seconds = itertools.count()
    store = ClipStore(Database.open(database_url), clock=lambda: NOW + timedelta(seconds=next(seconds)))
    yield store
    store.database.close()


def add(store: ClipStore, clip_id: str, limit: int = 100) -> ClipJob:
    return store.enqueue(clip_id, filename=None, size_bytes=7, keypoints=True, video=VIDEO, limit=limit)


def bring(store: ClipStore, state: ClipState) -> ClipJob:
    """A clip in a state, by legal steps."""
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
    ClipState.QUEUED: lambda store: store.put_back("clip"),
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
