from __future__ import annotations

import socket
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.addresses.policy import Resolve, StreamPolicy
from service.addresses.urls import StreamUrlError, UrlKind, parse
from simulation.scene import USUAL_EVENTS

PUBLIC = "93.184.216.34"

EVERYTHING = StreamPolicy([ip_network("0.0.0.0/0"), ip_network("::/0")])


def resolving(*addresses: str) -> Resolve:
    return lambda _host: addresses


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
        assert url.text == text
        assert url.redacted == text.replace("b=c&d=1", "b=***&d=***")

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
        assert (url.kind, url.seed, url.incident_every_s, url.events) == (UrlKind.SIMULATION, 0, 60.5, USUAL_EVENTS)
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
