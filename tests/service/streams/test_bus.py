from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.documents.messages import Lagged, Score
from service.streams.bus import Posted, ScoreBus, Subscription

T = TypeVar("T")
Reader = Subscription[str, Score | Lagged]

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def score(sequence: int, camera: str = "gate") -> Score:
    return Score(
        camera=camera,
        sequence=sequence,
        captured_at=NOON,
        published_at=NOON,
        age_s=0.1,
        width=64,
        height=48,
        score=None,
        level=None,
        threshold=0.9,
        reason="nobody",
        people=[],
    )


def on_a_loop(scene: Callable[[], Coroutine[Any, Any, T]]) -> T:
    async def limited() -> T:
        return await asyncio.wait_for(scene(), 10)

    return asyncio.run(limited())


async def read(subscription: Reader) -> list[Score | Lagged]:
    return [message async for message in subscription]


@given(
    steps=st.lists(st.sampled_from(["publish", "read"]), max_size=60),
    backlog=st.integers(min_value=1, max_value=5),
)
def test_whatever_the_pace_each_message_arrives_in_order_or_is_counted_as_lost(steps: list[str], backlog: int) -> None:
    published = steps.count("publish")

    async def scene() -> list[Score | Lagged]:
        bus, sequence, got = ScoreBus(backlog), 0, []
        with bus.subscribe("gate") as subscription:
            for step in steps:
                if step == "publish":
                    bus.publish("gate", score(sequence))
                    sequence += 1
                    assert bus.longest_queue <= backlog
                elif bus.longest_queue:
                    posted = await subscription.receive()
                    assert posted is not None
                    got.append(posted.message)
            bus.end("gate")
            return got + await read(subscription)

    expected = 0
    for message in on_a_loop(scene):
        if isinstance(message, Lagged):
            expected += message.dropped
        else:
            assert message.sequence == expected
            expected += 1
    assert expected == published


def test_all_readers_share_one_text() -> None:
    async def scene() -> list[Posted[Score | Lagged] | None]:
        bus = ScoreBus()
        with bus.subscribe("gate") as one, bus.subscribe("gate") as two:
            bus.publish("gate", score(1))
            return [await one.receive(), await two.receive()]

    one, two = on_a_loop(scene)
    assert one is not None
    assert two is not None
    assert one.text is two.text
    assert Score.model_validate_json(one.text) == score(1)


def test_a_publisher_wakes_a_loop_once_however_many_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> int:
        bus, wakes = ScoreBus(), 0
        loop = asyncio.get_running_loop()
        really = loop.call_soon_threadsafe

        def counted(*arguments: Any) -> Any:
            nonlocal wakes
            wakes += 1
            return really(*arguments)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        readers = [bus.subscribe("gate").__enter__() for _ in range(50)]
        # The loop does not run meanwhile, as one that is busy.
        for sequence in range(10):
            bus.publish("gate", score(sequence))
        for reader in readers:
            assert await reader.receive() is not None
        return wakes

    assert on_a_loop(scene) == 1


def test_a_thread_that_publishes_without_pause_loses_nothing_on_the_way_to_a_reader_who_keeps_up() -> None:
    count = 2000

    async def scene() -> list[Score | Lagged]:
        bus = ScoreBus(count)

        def publish() -> None:
            for sequence in range(count):
                bus.publish("gate", score(sequence))
            bus.end("gate")

        with bus.subscribe("gate") as subscription:
            worker = threading.Thread(target=publish)
            worker.start()
            messages = await read(subscription)
            worker.join()
        return messages

    assert on_a_loop(scene) == [score(sequence) for sequence in range(count)]


def test_a_reader_who_gave_up_waiting_has_lost_nothing() -> None:
    async def scene() -> list[Score | Lagged]:
        bus = ScoreBus()
        with bus.subscribe("gate") as subscription:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await subscription.receive()
            bus.publish("gate", score(1))
            bus.end("gate")
            return await read(subscription)

    assert on_a_loop(scene) == [score(1)]


def test_a_key_that_ends_ends_its_readers_after_what_waits_and_no_others() -> None:
    async def scene() -> tuple[list[Score | Lagged], list[Score | Lagged]]:
        bus = ScoreBus()
        with bus.subscribe("gate") as gate, bus.subscribe("yard") as yard:
            assert bus.subscribers == 2
            bus.publish("gate", score(1))
            bus.end("gate")
            bus.publish("gate", score(2))
            found = await read(gate)
            bus.publish("yard", score(3, "yard"))
            bus.end("yard")
            return found, await read(yard)

    assert on_a_loop(scene) == ([score(1)], [score(3, "yard")])
