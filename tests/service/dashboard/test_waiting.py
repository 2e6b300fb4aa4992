from __future__ import annotations

from dataclasses import dataclass

import pytest

from service.dashboard.waiting import MOST_WAITING, surplus


@dataclass
class Page:
    created: float
    ip: str = "192.0.2.1"
    has_socket_connection: bool = False


@pytest.mark.parametrize("count", [0, 1, MOST_WAITING, MOST_WAITING + 1, 2200])
def test_the_oldest_pages_that_wait_for_their_browser_are_freed(count: int) -> None:
    freed = surplus([Page(moment) for moment in reversed(range(count))], "192.0.2.1")
    assert [page.created for page in freed] == list(range(max(count - MOST_WAITING, 0)))


def test_open_pages_and_those_of_other_addresses_are_kept() -> None:
    pages = [Page(moment, has_socket_connection=True) for moment in range(100)]
    pages += [Page(moment, ip=f"192.0.2.{moment}") for moment in range(2, 100)]
    assert surplus(pages, "192.0.2.1") == []


def test_addresses_of_one_network_count_as_one() -> None:
    pages = [Page(moment, ip=f"2001:db8::{moment:x}") for moment in range(MOST_WAITING + 5)]
    assert len(surplus(pages, "2001:db8::ffff")) == 5
