from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pose.live import SourceError
from service.addresses.policy import Resolve, StreamPolicy, system_resolve
from service.addresses.urls import StreamUrlError, parse

PUBLIC = "93.184.216.34"

EVERYTHING = StreamPolicy([ip_network("0.0.0.0/0"), ip_network("::/0")])


def resolving(*addresses: str) -> Resolve:
    return lambda _host: addresses


def unresolved(_host: str) -> Sequence[str]:
    raise OSError("no such name")


class TestPolicy:
    @pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"])
    def test_public_addresses_are_allowed(self, address: str) -> None:
        assert StreamPolicy().allows(ip_address(address))

    @pytest.mark.parametrize(
        "address",
        [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.7.7",
            "100.64.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "240.0.0.1",
            "0.1.2.3",
            "::1",
            "fe80::1",
            "fc00::1",
            "fec0::1",
            "2001:db8::1",
            "2001::1",
            "100::1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::127.0.0.1",
            "2002:7f00:1::",
            "2002:0a00:0001::1",
        ],
    )
    def test_special_ones_only_where_their_range_is_listed(self, address: str) -> None:
        one = ip_address(address)
        assert not StreamPolicy().allows(one)
        assert EVERYTHING.allows(one)

    @pytest.mark.parametrize(
        "address",
        [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "64:ff9b:1::a9fe:a9fe",
            "168.63.129.16",
            "100.100.100.200",
            "0.0.0.0",  # noqa: S104 - an address to refuse
            "::",
            "255.255.255.255",
            "224.0.0.1",
            "239.1.2.3",
            "ff02::1",
            "::ffff:224.0.0.1",
        ],
    )
    def test_some_never(self, address: str) -> None:
        assert not EVERYTHING.allows(ip_address(address))

    @given(st.integers(0, 2**32 - 1))
    def test_an_address_inside_another_is_judged_as_what_it_is(self, number: int) -> None:
        inner = IPv4Address(number)
        policy = StreamPolicy([ip_network("10.0.0.0/8")])
        for outer in (
            IPv6Address(0xFFFF << 32 | number),
            IPv6Address((0x64FF9B << 96) | number),
            IPv6Address((0x2002 << 112) | number << 80 | 1),
        ):
            assert policy.allows(outer) == policy.allows(inner)

    def test_a_literal_and_a_name_are_checked_and_an_unknown_name_is_let_through(self) -> None:
        policy = StreamPolicy([ip_network("10.1.0.0/16")])
        policy.check(parse("rtsp://10.1.2.3/x"), unresolved)
        policy.check(parse("rtsp://camera/x"), unresolved)
        policy.check(parse("rtsp://camera/x"), resolving(PUBLIC, "10.1.2.3"))
        for url, resolve in (
            ("rtsp://10.2.0.1/x", unresolved),
            ("rtsp://[::ffff:127.0.0.1]/x", unresolved),
            ("rtsp://user:secret@camera/x", resolving("127.0.0.1")),
            ("rtsp://camera/x", resolving(PUBLIC, "10.2.0.1")),
        ):
            with pytest.raises(StreamUrlError, match="DAFLOW_ALLOWED_STREAM_CIDRS") as caught:
                policy.check(parse(url), resolve)
            assert caught.value.cause == "forbidden-address"
            assert "secret" not in str(caught.value)

    def test_each_connection_resolves_once_and_goes_to_what_was_checked(self) -> None:
        asked: list[str] = []

        def rebinding(host: str) -> Sequence[str]:
            asked.append(host)
            return [PUBLIC] if len(asked) == 1 else ["127.0.0.1"]

        url = parse("rtsp://u:p@camera:8554/x?y=1")
        pinned = StreamPolicy().pin(url, rebinding)
        assert (pinned.address, pinned.host, pinned.port, pinned.target) == (PUBLIC, "camera", 8554, "/x?y=1")
        assert asked == ["camera"]
        with pytest.raises(SourceError) as caught:
            StreamPolicy().pin(url, rebinding)
        assert (caught.value.cause, caught.value.permanent) == ("forbidden", False)

    @pytest.mark.parametrize("resolve", [unresolved, resolving()])
    def test_a_name_that_does_not_resolve_is_a_problem_of_the_connection(self, resolve: Resolve) -> None:
        with pytest.raises(SourceError) as caught:
            StreamPolicy().pin(parse("rtsp://camera/x"), resolve)
        assert (caught.value.cause, caught.value.permanent) == ("dns", False)

    def test_the_system_resolves_literals_and_refuses_what_is_no_name(self) -> None:
        assert system_resolve("127.0.0.1") == ["127.0.0.1"]
        assert "127.0.0.1" in system_resolve("localhost") or "::1" in system_resolve("localhost")
        with pytest.raises(SourceError) as caught:
            StreamPolicy().pin(parse("rtsp://no-such-camera.invalid/x"))
        assert caught.value.cause == "dns"

    def test_files_must_lie_in_a_listed_directory_also_behind_links(self, tmp_path: Path) -> None:
        inside, outside = tmp_path / "media", tmp_path / "private"
        for folder in (inside, outside):
            folder.mkdir()
            (folder / "clip.mp4").write_bytes(b"x")
        (inside / "link.mp4").symlink_to(outside / "clip.mp4")
        (inside / "good.mp4").symlink_to(inside / "clip.mp4")
        (inside / "loop.mp4").symlink_to(inside / "loop.mp4")
        (tmp_path / "media2").mkdir()
        (tmp_path / "media2" / "clip.mp4").write_bytes(b"x")
        policy = StreamPolicy(media_dirs=[inside])
        policy.check(parse(str(inside / "clip.mp4")))
        policy.check(parse(str(inside / "good.mp4")))
        for path, cause in (
            (outside / "clip.mp4", "forbidden-path"),
            (outside / "nothing.mp4", "forbidden-path"),
            (tmp_path / "media2" / "clip.mp4", "forbidden-path"),
            (inside / "link.mp4", "forbidden-path"),
            (inside / "loop.mp4", "no-such-file"),
            (inside / "nothing.mp4", "no-such-file"),
            (inside, "no-such-file"),
        ):
            with pytest.raises(StreamUrlError) as caught:
                policy.check(parse(str(path)))
            assert caught.value.cause == cause, path
        with pytest.raises(StreamUrlError):
            StreamPolicy().check(parse(str(inside / "clip.mp4")))
