from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from service.clips.messages import (
    Cancelled,
    ClipEvent,
    ClipEventBus,
    ClipHello,
    ClipLagged,
    ClipScore,
    Done,
    Failed,
    Failure,
    Progress,
    State,
    clip_event_adapter,
)
from service.clips.tables import ClipState
from service.documents.results import FrameScore
from service.streams.bus import Subscription

DONE = Done(result="/v1/clips/clip/result.json")


def progress(done: int) -> Progress:
    return Progress(frames_done=done, frames_total=100)


async def read(subscription: Subscription[str, ClipEvent]) -> list[ClipEvent]:
    return [event async for event in subscription]


def told(messages: Sequence[ClipEvent], backlog: int = 8) -> list[ClipEvent]:
    """What a reader gets who starts to read when all has been published."""

    async def scene() -> list[ClipEvent]:
        bus = ClipEventBus(backlog)
        with bus.subscribe("clip") as subscription:
            for message in messages:
                bus.publish("clip", message)
            return await asyncio.wait_for(read(subscription), 10)

    return asyncio.run(scene())


def test_a_reader_gets_everything_in_order_until_the_final_event() -> None:
    messages = [State(state=ClipState.RUNNING), progress(1), progress(2), DONE]
    assert told([*messages, progress(3)]) == messages


def test_a_slow_reader_loses_the_oldest_and_is_told_how_many() -> None:
    events = told([*map(progress, range(10)), DONE], backlog=4)
    assert events == [ClipLagged(dropped=7), progress(7), progress(8), progress(9), DONE]


def test_changes_of_state_are_never_dropped() -> None:
    events = told([State(state=ClipState.RUNNING), *map(progress, range(10)), DONE], backlog=2)
    assert events == [ClipLagged(dropped=10), State(state=ClipState.RUNNING), DONE]


def test_events_reach_only_the_readers_of_their_clip_and_of_their_time() -> None:
    async def scene() -> tuple[list[ClipEvent], int]:
        bus = ClipEventBus()
        bus.publish("clip", progress(1))
        with bus.subscribe("clip") as subscription:
            bus.publish("another", progress(2))
            bus.publish("clip", Cancelled())
            events = await read(subscription)
        return events, bus.listeners("clip")

    assert asyncio.run(scene()) == ([Cancelled()], 0)


def test_a_worker_thread_can_publish_while_the_loop_waits() -> None:
    async def scene() -> list[ClipEvent]:
        bus = ClipEventBus()
        with bus.subscribe("clip") as subscription:
            worker = threading.Timer(0.05, bus.publish, ("clip", DONE))
            worker.start()
            events = await asyncio.wait_for(read(subscription), 10)
            worker.join()
        return events

    assert asyncio.run(scene()) == [DONE]


def test_publishing_to_a_reader_whose_loop_has_ended_is_harmless() -> None:
    bus = ClipEventBus()

    async def leave() -> Subscription[str, ClipEvent]:
        return bus.subscribe("clip").__enter__()

    asyncio.run(leave())
    bus.publish("clip", DONE)


@pytest.mark.parametrize(
    "event",
    [
        ClipHello(clip="a", state=ClipState.QUEUED, frames_done=0, frames_total=9),
        progress(1),
        ClipScore(frame=FrameScore(index=0, time_s=0.0, score=None, level=None, reason="nobody", people=[])),
        State(state=ClipState.RUNNING),
        ClipLagged(dropped=2),
        DONE,
        Failed(error=Failure(cause="truncated", detail="the file ends early")),
        Cancelled(),
    ],
    ids=lambda event: event.type,
)
def test_every_message_is_told_apart_by_its_type(event: ClipEvent) -> None:
    assert clip_event_adapter.validate_json(event.model_dump_json()) == event
