from __future__ import annotations

import random
import socket

import pytest

from pose.datagrams import InOrder, UdpTrack
from tests.doubles.servers import eventually


def packet(number: int) -> bytes:
    return b"\x80\x60" + (number & 0xFFFF).to_bytes(2) + bytes(8) + number.to_bytes(4)


@pytest.mark.parametrize("first", [0, 65_500])
@pytest.mark.parametrize("seed", range(5))
def test_packets_that_overtook_each_other_come_in_order_and_none_is_lost(first: int, seed: int) -> None:
    chance, order, found = random.Random(seed), InOrder(), []  # noqa: S311 - repeats the same order
    numbers = list(range(first, first + 300))
    for at in range(1, 290, 5):
        part = numbers[at : at + 5]
        chance.shuffle(part)
        numbers[at : at + 5] = part
    for index, number in enumerate(numbers):
        found += order.add(packet(number), index * 0.001)
    assert found == [packet(number) for number in range(first, first + 300)]


def test_a_lost_packet_holds_the_others_up_for_a_tenth_of_a_second_at_most() -> None:
    order = InOrder()
    assert order.add(packet(1), 0.0) == [packet(1)]
    assert order.add(packet(3), 0.01) == []
    assert order.add(packet(4), 0.05) == []
    assert order.add(packet(5), 0.12) == [packet(3), packet(4), packet(5)]
    assert order.add(packet(2), 0.13) == []


@pytest.mark.parametrize("short", [b"", b"\x80", bytes(11)])
def test_what_is_no_packet_is_left_out(short: bytes) -> None:
    assert InOrder().add(short, 0.0) == []


def test_packets_of_other_machines_are_ignored() -> None:
    track = UdpTrack("127.0.0.1", "127.0.0.1", 0)
    try:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as camera,
        ):
            stranger.bind(("127.0.0.2", 0))
            camera.bind(("127.0.0.1", 0))
            stranger.sendto(packet(7), ("127.0.0.1", track.port))
            camera.sendto(packet(1), ("127.0.0.1", track.port))
            assert eventually(lambda: track.receive(track.rtp), "it arrived") == [(0, packet(1))]
            assert track.port % 2 == 0
            assert track.rtcp.getsockname()[1] == track.port + 1
    finally:
        track.close()
