from __future__ import annotations

import socket
import string
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pose.captures import LoopCapture
from pose.live import LiveSource, LiveTiming, SourceError, SourceState
from service.addresses.policy import Resolve, StreamPolicy, system_resolve
from service.addresses.redaction import redact
from service.addresses.urls import StreamUrl, StreamUrlError, UrlKind, parse
from service.cameras.sources import open_capture
from simulation.scene import EVENTS
from tests.doubles import media
from tests.doubles.servers import eventually
from tests.doubles.streams import peer, silent

PUBLIC = "93.184.216.34"
EVERYTHING = StreamPolicy([ip_network("0.0.0.0/0"), ip_network("::/0")])


def resolving(*addresses: str) -> Resolve:
    return lambda _host: addresses


def unresolved(_host: str) -> Sequence[str]:
    raise OSError("no such name")


class TestParse:
    @pytest.mark.parametrize(
        ("text", "host", "port", "target"),
        [
            ("rtsp://camera.example/stream1", "camera.example", 554, "/stream1"),
            ("RTSP://Camera.Example", "camera.example", 554, "/"),
            ("rtsps://10.0.0.5:7441/a?b=c&d=1", "10.0.0.5", 7441, "/a?b=c&d=1"),
            ("http://[2001:DB8::1]:8080/video.mjpg", "2001:db8::1", 8080, "/video.mjpg"),
            ("https://b\u00fccher.example/x", "xn--bcher-kva.example", 443, "/x"),
            ("rtsp://front_door.local/x", "front_door.local", 554, "/x"),
            ("http://camera.example.:80/x", "camera.example.", 80, "/x"),
        ],
    )
    def test_streams(self, text: str, host: str, port: int, target: str) -> None:
        url = parse(text)
        assert (url.kind, url.host, url.port, url.target) == (UrlKind.STREAM, host, port, target)
        assert (url.user, url.password) == (None, None)
        assert url.text == url.redacted == text

    def test_credentials_are_decoded_and_never_shown(self) -> None:
        url = parse("rtsp://view%20er:p%40ss%3Aword@camera/x?token=abc")
        assert (url.user, url.password, url.target) == ("view er", "p@ss:word", "/x?token=abc")
        assert url.redacted == "rtsp://***@camera/x?token=***"
        for shown in (repr(url), str(url), repr(EVERYTHING.pin(url, resolving(PUBLIC)))):
            assert "ss" not in shown.replace("address", "")
            assert "abc" not in shown

    @pytest.mark.parametrize("given", [0, "0", 12, "63"])
    def test_devices(self, given: str | int) -> None:
        url = parse(given)
        assert (url.kind, url.device) == (UrlKind.DEVICE, int(given))

    def test_files_and_skeletons(self) -> None:
        url = parse("/media/a clip.mp4")
        assert (url.kind, url.path) == (UrlKind.FILE, Path("/media/a clip.mp4"))
        assert parse("skeletons:").kind is UrlKind.SKELETONS

    def test_simulated_cameras(self) -> None:
        assert (parse("simulation:7").seed, parse("simulation:7").incident_every_s) == (7, None)
        url = parse("simulation:0?incident_every=60.5")
        assert (url.kind, url.seed, url.incident_every_s, url.events) == (UrlKind.SIMULATION, 0, 60.5, EVENTS)
        assert parse("simulation:0?incident_every=60&event=fall&event=running").events == ("fall", "running")

    @pytest.mark.parametrize(
        ("text", "cause"),
        [
            ("simulation:", "simulation"),
            ("simulation:-1", "simulation"),
            ("simulation:1?incident_every=2", "simulation"),
            ("simulation:1?incident_every=inf", "simulation"),
            ("simulation:1&seconds=3", "simulation"),
            ("simulation:1?incident_every=60&event=flood", "simulation"),
            ("simulation:1?event=fall", "simulation"),
            ("", "empty"),
            ("rtsp://a/" + "x" * 2048, "too-long"),
            ("file:///etc/passwd", "scheme"),
            ("exec:/bin/sh", "scheme"),
            ("concat:/a|/b", "characters"),
            ("concat:/a", "scheme"),
            ("data:video/mp4;base64,AAAA", "scheme"),
            ("ftp://camera/x", "scheme"),
            ("rtmp://camera/x", "scheme"),
            ("udp://239.0.0.1:1234", "scheme"),
            ("subfile,,start,0,end,9,,:/etc/passwd", "scheme"),
            ("rtsp:/camera/x", "scheme"),
            ("camera", "scheme"),
            ("clip.mp4", "scheme"),
            ("skeletons:x", "scheme"),
            ("-i", "scheme"),
            (-1, "device"),
            (64, "device"),
            ("999", "device"),
            ("\u0661", "device"),
            ("/media/../etc/passwd", "path"),
            ("//host/share", "path"),
            ("/media/a\nb", "characters"),
            ("/media/a\x00b", "characters"),
            ("rtsp://", "host"),
            ("rtsp:///x", "host"),
            ("rtsp://user@/x", "host"),
            ("rtsp://:554/x", "host"),
            ("rtsp://camera:0/x", "port"),
            ("rtsp://camera:65536/x", "port"),
            ("rtsp://camera:abc/x", "port"),
            ("rtsp://camera:-1/x", "port"),
            ("rtsp://camera:/x", "port"),
            ("rtsp://camera/a b", "characters"),
            (" rtsp://camera/x", "characters"),
            ("rtsp://camera/x\r\nHost: other", "characters"),
            ("rtsp://cam\u200bera/x", "characters"),
            ("rtsp://camera\\@other/x", "characters"),
            ("rtsp://camera/x#y", "characters"),
            ("rtsp://camera/\u00fc", "characters"),
            ("rtsp://good@evil@camera/x", "userinfo"),
            ("rtsp://us%0aer:x@camera/", "userinfo"),
            ("rtsp://127.1/x", "host"),
            ("rtsp://2130706433/x", "host"),
            ("rtsp://0x7f000001/x", "host"),
            ("rtsp://0x7f.0.0.1/x", "host"),
            ("rtsp://0177.0.0.1/x", "host"),
            ("rtsp://1.2.3.4.5/x", "host"),
            ("rtsp://256.1.1.1/x", "host"),
            ("rtsp://[::1%25eth0]/x", "host"),
            ("rtsp://[fe80::1%eth0]/x", "host"),
            ("rtsp://[nonsense]/x", "host"),
            ("rtsp://[::1/x", "host"),
            ("rtsp://a..b/x", "host"),
            ("rtsp://-a.b/x", "host"),
            ("rtsp://%31%32%37.0.0.1/x", "host"),
            ("rtsp://" + "a" * 64 + ".example/x", "host"),
        ],
    )
    def test_everything_else_is_refused_with_its_cause(self, text: str | int, cause: str) -> None:
        with pytest.raises(StreamUrlError) as caught:
            parse(text)
        assert caught.value.cause == cause

    @given(st.text() | st.builds("rtsp://{}".format, st.text()) | st.builds("http://{}/x".format, st.text("a.:@[]%0")))
    def test_any_text_is_understood_or_refused(self, text: str) -> None:
        try:
            url = parse(text)
        except StreamUrlError:
            return
        if url.kind is UrlKind.STREAM:
            assert url.host
            assert 1 <= url.port <= 65535
            assert url.target.startswith(("/", "?"))
            assert url.target.isascii()
            assert url.target.isprintable()

    @given(st.text("0123456789abcdefx.", min_size=1, max_size=20))
    def test_a_host_that_the_system_reads_as_a_number_is_refused_or_is_that_number(self, host: str) -> None:
        try:
            accepted = parse(f"rtsp://{host}/").host
        except StreamUrlError:
            return
        try:
            meant = socket.inet_aton(accepted)
        except OSError:
            return
        assert IPv4Address(meant) == ip_address(accepted)


SECRET = st.text(string.ascii_letters + string.digits + "!$*+,-._~", min_size=8, max_size=20).map("Zq".__add__)

USERINFO = st.text(string.ascii_letters + string.digits + "!$&'()*+,;=:-._~", min_size=1).map(
    lambda s: s.replace(":", "%3A")
)


class TestRedact:
    @given(SECRET, SECRET, st.sampled_from(["rtsp", "RTSPS", "http", "https", "postgresql+psycopg"]))
    def test_user_names_and_passwords_go_wherever_they_stand(self, user: str, password: str, scheme: str) -> None:
        text = f"cannot open '{scheme}://{quote(user)}:{quote(password)}@camera:554/x': refused, see http://docs/"
        assert redact(text) == f"cannot open '{scheme}://***@camera:554/x': refused, see http://docs/"

    @pytest.mark.parametrize(
        "name",
        [
            "token",
            "access_token",
            "key",
            "apiKey",
            "X-Amz-Signature",
            "password",
            "pwd",
            "pw",
            "pass",
            "user",
            "auth",
            "usr",
            "_sid",
        ],
    )
    @given(secret=SECRET)
    def test_values_of_telling_parameters_go(self, name: str, secret: str) -> None:
        text = f"rtsp://camera/x?channel=1&{name}={secret}&subtype=0 failed"
        assert redact(text) == f"rtsp://camera/x?channel=1&{name}=***&subtype=0 failed"

    @given(USERINFO, USERINFO)
    def test_of_what_is_understood_no_credentials_are_shown(self, user: str, password: str) -> None:
        url = parse(f"rtsp://{user}:{password}@camera:554/x?token={quote(password)}")
        assert (url.user, url.password) == (unquote(user), unquote(password))
        assert url.redacted == "rtsp://***@camera:554/x?token=***"

    @pytest.mark.timeout(20)
    @pytest.mark.parametrize("text", ["a" * 200_000, "&" + "key" * 60_000, "://" * 3_000, "a://" * 3_000])
    def test_long_texts_take_no_longer_than_their_length(self, text: str) -> None:
        assert redact(text) == text

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("rtsp://a:p@ss@camera/x", "rtsp://***@camera/x"),
            ("rtsp://a:p/ss@camera/x", "rtsp://***@camera/x"),
            ("rtsp://a:p?ss@camera/x", "rtsp://***@camera/x"),
            ("rtsp://user@camera/x", "rtsp://***@camera/x"),
            ("rtsp://a:p'ss@camera/x?key=a'b", "rtsp://***@camera/x?key=***"),
            ("rtsp://camera/x@y", "rtsp://camera/x@y"),
            ("mail me@example.org about http://camera/x", "mail me@example.org about http://camera/x"),
            ("/media/clip.mp4", "/media/clip.mp4"),
            ("rtsp://camera/user=a_password=b_channel=1.sdp?real_stream", "rtsp://camera/user=***"),
            (
                "rtsp://camera/ch=1&user=a&password=b;c&stream=0.sdp",
                "rtsp://camera/ch=1&user=***&password=***&stream=0.sdp",
            ),
            ("two: rtsp://a:b@c/ http://d:e@f/?pwd=g", "two: rtsp://***@c/ http://***@f/?pwd=***"),
        ],
    )
    def test_the_rest_stays(self, text: str, shown: str) -> None:
        assert redact(text) == shown
        assert redact(shown) == shown


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


class TestOpenCapture:
    def test_a_file_is_judged_again_when_it_is_opened(self, tmp_path: Path) -> None:
        path = media.clip(tmp_path, frames=3)
        policy = StreamPolicy(media_dirs=[tmp_path])
        connect = open_capture(parse(str(path)), policy)
        capture = connect()
        assert isinstance(capture, LoopCapture)
        capture.close()
        path.unlink()
        with pytest.raises(SourceError) as caught:
            connect()
        assert (caught.value.cause, caught.value.permanent) == ("not-found", False)
        path.symlink_to("/etc/hostname")
        with pytest.raises(SourceError) as caught:
            connect()
        assert caught.value.cause == "forbidden"

    def test_a_name_that_moves_to_a_forbidden_address_is_not_connected_to(self) -> None:
        with peer(silent) as inner:
            url = parse(f"rtsp://camera:{inner.port}/x")
            with pytest.raises(SourceError) as caught:
                open_capture(url, StreamPolicy(), resolve=resolving("127.0.0.1"))()
            assert caught.value.cause == "forbidden"
            assert inner.connections == 0

    def test_a_device_and_a_name_that_are_not_there_are_sought_again(self) -> None:
        timing = LiveTiming(backoff_first_s=60, backoff_cap_s=60)
        for url, cause in ((parse(63), "device-missing"), (parse("rtsp://camera/x"), "dns")):
            states: list[SourceState] = []
            source = LiveSource(
                "gate",
                open_capture(url, StreamPolicy(), resolve=unresolved),
                timing=timing,
                on_state=lambda change, states=states: states.append(change.state),
            )
            source.start()
            try:
                eventually(lambda states=states: SourceState.RECONNECTING in states, "it is sought again")
                assert source.problem is not None
                assert source.problem.cause == cause
            finally:
                source.stop()

    def test_skeletons_have_nothing_to_connect_to(self) -> None:
        with pytest.raises(ValueError, match="pushed by their device"):
            open_capture(StreamUrl(UrlKind.SKELETONS, "skeletons:", "skeletons:"), StreamPolicy())
