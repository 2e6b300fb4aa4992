from __future__ import annotations

import itertools
import threading
import time

from service.clips.slots import Slots
from tests.doubles.servers import eventually


def never() -> bool:
    return False


def test_a_slot_goes_to_who_has_waited_longest() -> None:
    slots, order = Slots(1, 0.0), list[int]()
    held = slots.take(never)
    assert held is not None

    def wait(number: int) -> None:
        slot = slots.take(never)
        assert slot is not None
        with slot:
            order.append(number)

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=wait, args=[number]))
        threads[-1].start()
        eventually(lambda: len(slots._waiting) == len(threads), "it waits")
    with held:
        assert slots.wanted
    for thread in threads:
        thread.join()
    assert order == list(range(5))
    assert not slots.wanted


def test_turns_alternate_and_only_ones_own_count() -> None:
    slots, turns = Slots(1, 0.02), list[str]()
    spent = dict[str, float]()

    def work(name: str) -> None:
        slot = slots.take(never)
        assert slot is not None
        with slot:
            for _ in range(20):
                turns.append(name)
                time.sleep(0.01)
                assert slot.pass_on(never)
            spent[name] = slot.seconds

    began = time.monotonic()
    threads = [threading.Thread(target=work, args=[name]) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = time.monotonic() - began
    changes = sum(one != other for one, other in itertools.pairwise(turns))
    assert changes >= 8
    assert sum(spent.values()) <= whole + 0.05
    assert min(spent.values()) >= 0.2


def test_who_gives_up_gets_no_slot_and_keeps_nobody_from_one() -> None:
    slots = Slots(1, 0.0)
    first = slots.take(never)
    assert first is not None
    with first:
        assert slots.take(lambda: True) is None
        assert not slots.wanted
        kept = threading.Event()

        def keep() -> None:
            assert slots.take(never) is not None
            kept.set()

        waiting = threading.Thread(target=keep)
        waiting.start()
        eventually(lambda: slots.wanted, "another waits")
        assert not first.pass_on(kept.is_set)
        waiting.join()
    assert not slots.wanted
