from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from pose.live import SourceState
from service.documents.messages import Event, Heartbeat, Lagged, event_adapter
from service.incidents.feed import EventFeed
from service.incidents.store import IncidentStore
from service.live.clock import SteadyClock
from service.storage.database import Database
from tests.doubles.servers import PATIENCE_S

Message = Event | Lagged | Heartbeat


@pytest.fixture
def store(database: Database) -> IncidentStore:
    return IncidentStore(database)


def feed_of(store: IncidentStore, *, tail: int = 1024, heartbeat_s: float = 1000.0) -> EventFeed:
    return EventFeed(store, SteadyClock(), tail=tail, heartbeat_s=heartbeat_s)


def write(store: IncidentStore, feed: EventFeed | None, number: int, camera: str = "door") -> None:
    """Store events, and publish them where there is a feed."""
    for _ in range(number):
        event = store.camera_state(camera, SourceState.ONLINE, None)
        if feed is not None:
            feed.publish(event)


def play(scene: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(scene(), PATIENCE_S))


@asynccontextmanager
async def following(feed: EventFeed, *arguments: Any) -> AsyncIterator[Callable[[], Coroutine[Any, Any, str]]]:
    """Read one message at a time: an event as its id, anything else as its type."""
    async with aclosing(feed.follow(*arguments)) as stream:

        async def read() -> str:
            message = await anext(stream)
            return message.type if isinstance(message, Lagged | Heartbeat) else str(message.id)

        yield read


async def take(read: Callable[[], Coroutine[Any, Any, str]], number: int) -> list[str]:
    return [await read() for _ in range(number)]


def ids(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last + 1)]


def test_a_new_subscriber_gets_what_comes_next(store: IncidentStore) -> None:
    async def scene() -> list[str]:
        write(store, None, 5)
        feed = feed_of(store)
        async with following(feed) as read:
            first = asyncio.create_task(read())
            await asyncio.sleep(0)
            write(store, feed, 3)
            return [await first, *await take(read, 2)]

    assert play(scene) == ids(6, 8)


@pytest.mark.parametrize("after", [0, 1, 37, 190, 199, 200, 249])
def test_resuming_gives_everything_since_once_and_in_order(store: IncidentStore, after: int) -> None:
    async def scene() -> list[str]:
        write(store, None, 150)
        feed = feed_of(store, tail=16)
        write(store, feed, 100)
        async with following(feed, after) as read:
            old = await take(read, 250 - after)
            write(store, feed, 3)
            return old + await take(read, 3)

    assert play(scene) == ids(after + 1, 253)


@pytest.mark.slow
def test_two_hundred_subscribers_at_any_pace_get_every_event_once_and_in_order(store: IncidentStore) -> None:
    total = 400

    async def scene() -> list[list[str]]:
        write(store, None, 50)
        feed = feed_of(store, tail=32)

        async def subscriber(number: int) -> list[str]:
            after = number % 50
            async with following(feed, after) as read:
                found = []
                while not found or found[-1] != str(total):
                    found.append(await read())
                    if number % 10 == 0 and len(found) % 25 == 0:
                        await asyncio.sleep(0.02)
                return [str(after), *(message for message in found if message != "lagged")]

        subscribers = [asyncio.create_task(subscriber(number)) for number in range(200)]
        await asyncio.sleep(0)
        writer = threading.Thread(target=write, args=(store, feed, total - 50))
        writer.start()
        found = await asyncio.gather(*subscribers)
        writer.join()
        assert feed.subscribers == 0
        return found

    for found in play(scene):
        assert found == ids(int(found[0]), total)


def test_a_subscriber_who_never_reads_holds_nobody_up_and_costs_no_memory(store: IncidentStore) -> None:
    async def scene() -> None:
        feed = feed_of(store, tail=32)
        async with following(feed, 0) as asleep, following(feed, 0) as awake:
            write(store, feed, 1)
            await asleep()
            for number in range(20):
                write(store, feed, 16)
                await take(awake, 17 if number == 0 else 16)
                assert len(feed._events) < 64
            assert feed.lag == 320
            assert await take(asleep, 321) == ["lagged", *ids(2, 321)]
            write(store, feed, 1)
            assert (await asleep(), feed.lag) == ("322", 1)

    play(scene)


def test_falling_behind_is_told_once_each_time(store: IncidentStore) -> None:
    async def scene() -> list[str]:
        feed = feed_of(store, tail=4)
        async with following(feed, 0) as read:
            write(store, feed, 2)
            found = await take(read, 2)
            write(store, feed, 200)
            found += await take(read, 201)
            write(store, feed, 2)
            found += await take(read, 2)
            write(store, feed, 20)
            return found + await take(read, 21)

    assert play(scene) == [*ids(1, 2), "lagged", *ids(3, 204), "lagged", *ids(205, 224)]


def test_an_id_from_another_store_counts_as_knowing_nothing(store: IncidentStore) -> None:
    async def scene() -> list[str]:
        feed = feed_of(store)
        write(store, feed, 3)
        async with following(feed, 5000) as read:
            found = await take(read, 4)
            write(store, feed, 1)
            return [*found, await read()]

    assert play(scene) == ["lagged", *ids(1, 4)]


def test_an_id_that_is_stored_and_not_yet_published_is_known(store: IncidentStore) -> None:
    async def scene() -> list[str]:
        feed = feed_of(store)
        write(store, feed, 3)
        late = store.camera_state("door", SourceState.ONLINE, None)
        async with following(feed, 0) as early, following(feed, late.id) as read:
            waiting = asyncio.create_task(read())
            assert await take(early, 3) == ids(1, 3)
            await asyncio.sleep(0.05)
            feed.publish(late)
            write(store, feed, 1)
            return [await waiting, *await take(early, 2)]

    assert play(scene) == ["5", "4", "5"]


def test_a_filter_leaves_other_cameras_out_and_passes_over_them(store: IncidentStore) -> None:
    async def scene() -> list[str]:
        for camera in ("door", "yard", "yard", "hall") * 40:
            write(store, None, 1, camera)
        feed = feed_of(store, tail=8)
        async with following(feed, 0, frozenset({"door", "hall"})) as read:
            old = await take(read, 80)
            write(store, feed, 100, "yard")
            write(store, feed, 1, "door")
            new = await read()
            assert feed.lag == 0
            return [*old, new]

    wanted = [number for number in range(1, 161) if number % 4 in (1, 0)]
    assert play(scene) == [*map(str, wanted), "261"]


def test_silence_is_filled_with_heartbeats_even_while_other_cameras_are_busy(store: IncidentStore) -> None:
    async def scene() -> list[str]:
        feed = feed_of(store, heartbeat_s=0.05)
        stop = threading.Event()

        def busy() -> None:
            while not stop.is_set():
                write(store, feed, 1, "yard")

        writer = threading.Thread(target=busy)
        writer.start()
        try:
            async with following(feed, None, frozenset({"door"})) as read:
                return await take(read, 3)
        finally:
            stop.set()
            writer.join()

    assert play(scene) == ["heartbeat"] * 3


def test_a_store_that_cannot_be_read_for_a_while_delays_and_loses_nothing(
    store: IncidentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.incidents.feed._RETRY_S", 0.01)
    read_store, failures = store.events_after, iter(range(5))

    def unreliable(*arguments: Any) -> list[Event]:
        if next(failures, None) is not None:
            raise OperationalError("", None, Exception("the database is gone"))
        return read_store(*arguments)

    async def scene() -> list[str]:
        write(store, None, 10)
        feed = feed_of(store, heartbeat_s=0.001)
        monkeypatch.setattr(store, "events_after", unreliable)
        async with following(feed, 0) as read:
            found = []
            while "10" not in found:
                found.append(await read())
            return found

    found = play(scene)
    assert [message for message in found if message != "heartbeat"] == ids(1, 10)
    assert found.count("heartbeat") >= 3


def test_the_text_of_a_new_event_is_made_once(store: IncidentStore) -> None:
    feed = feed_of(store, tail=4)
    event = store.camera_state("door", SourceState.ONLINE, None)
    feed.publish(event)
    assert feed.text(event) is feed.text(event.model_copy())
    assert event_adapter.validate_json(feed.text(event)) == event
    write(store, feed, 20)
    assert feed.text(event) == event.model_dump_json()
    assert len(feed._texts) <= 8


def test_events_are_published_in_order_only(store: IncidentStore) -> None:
    feed = feed_of(store)
    first, second = (store.camera_state("door", SourceState.ONLINE, None) for _ in range(2))
    feed.publish(second)
    with pytest.raises(ValueError, match="event 1 comes after event 2"):
        feed.publish(first)


def test_subscribers_are_counted_while_they_listen(store: IncidentStore) -> None:
    feed = feed_of(store)

    async def scene() -> None:
        async with following(feed, 0) as one, following(feed, 0) as another:
            write(store, feed, 1)
            await one()
            await another()
            assert feed.subscribers == 2
        assert feed.subscribers == 0
        assert feed._followers == {}

    play(scene)


def test_publishing_while_the_loops_of_subscribers_end_is_harmless(store: IncidentStore) -> None:
    feed = feed_of(store)

    async def scene() -> str:
        async with following(feed, 0) as read:
            return await read()

    found: list[str] = []
    server = threading.Thread(target=lambda: found.extend(play(scene) for _ in range(30)))
    server.start()
    while server.is_alive():
        write(store, feed, 1)
    server.join()
    assert found == ["1"] * 30
    assert feed.subscribers == 0


def test_a_subscriber_rests_while_nothing_happens(store: IncidentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    feed, looks = feed_of(store), []
    recent = feed._recent
    monkeypatch.setattr(feed, "_recent", lambda *arguments: looks.append(1) or recent(*arguments))

    async def scene() -> str:
        async with following(feed, 0) as read:
            write(store, feed, 1)
            await read()
            waiting = asyncio.create_task(read())
            await asyncio.sleep(0.2)
            write(store, feed, 1)
            return await waiting

    assert play(scene) == "2"
    assert len(looks) <= 8
