from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from pose.captures import BEHIND_S, SEAM_S, DeviceCapture, LoopCapture, StreamCapture
from pose.connections import PinnedUrl
from pose.live import Capture, LiveSource, LiveTiming, SourceError, SourceState, StateChange
from tests.doubles import media
from tests.doubles.rtsp import RtspServer, joined_late, rtsp_server
from tests.doubles.servers import eventually
from tests.doubles.streams import (
    Behaviour,
    answers,
    certificate,
    garbage,
    jpeg,
    motion_jpeg,
    peer,
    pictures_between,
    silent,
    trickle,
)
from tests.doubles.zoo import ZOO

CONNECTING, WAITING, ONLINE, STALLED, RECONNECTING, STOPPED, FAILED = SourceState
QUICK = LiveTiming(
    open_s=5, read_s=2, stall_s=0.7, backoff_first_s=0.1, backoff_cap_s=0.5, backoff_jitter=0.0, healthy_s=0.5
)

MIXED = "Content-Type: multipart/x-mixed-replace; boundary=frame"
PART = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"


def pinned(port: int, *, scheme: str = "http", target: str = "/x", **more: str) -> PinnedUrl:
    return PinnedUrl(scheme, "camera.test", "127.0.0.1", port, target, **more)


class TestLoopCapture:
    @pytest.mark.slow
    def test_a_file_loops_at_its_own_pace_with_a_pause_between_rounds(self, tmp_path: Path) -> None:
        path = media.clip(tmp_path, frames=10, fps=20)
        capture = LoopCapture(path)
        started = time.monotonic()
        pictures = [capture.read() for _ in range(20)]
        elapsed = time.monotonic() - started
        capture.close()
        assert [media.frame_number(picture.image) for picture in pictures] == [*range(10), *range(10)]
        times = [picture.stream_time for picture in pictures if picture.stream_time is not None]
        steps = np.diff(times)
        assert steps[9] == pytest.approx(SEAM_S, abs=0.3)
        assert elapsed >= times[-1] - 0.3
        assert np.median(steps) == pytest.approx(1 / 20, abs=1e-3)
        assert (steps > 0).all()

    def test_a_machine_that_cannot_keep_up_plays_more_slowly_without_delay(self, tmp_path: Path) -> None:
        capture = LoopCapture(media.clip(tmp_path, frames=30, fps=30))
        first = capture.read().stream_time
        time.sleep(0.3)
        late = capture.read().stream_time
        assert first is not None
        assert late is not None
        assert late - first >= 0.27
        capture.close()

    @pytest.mark.parametrize("name", ["interlaced-h264.mp4", "fields.ts", "mirrored.mp4", "av1.webm", "cover.mov"])
    def test_a_looped_file_is_shown_as_a_player_shows_it(self, name: str, tmp_path: Path) -> None:
        (animal,) = [one for one in ZOO if one.name == name]
        animal.make(tmp_path / name)
        with opened(LoopCapture(tmp_path / name)) as capture:
            pictures = [capture.read() for _ in range(5)]
        for index, picture in enumerate(pictures):
            assert np.abs(np.subtract(picture.image, animal.picture(index), dtype=np.int16)).mean() < animal.alike
            assert picture.stream_time == pytest.approx(animal.times[index], abs=0.2)

    def test_without_loop_the_end_of_the_file_is_permanent(self, tmp_path: Path) -> None:
        capture = LoopCapture(media.clip(tmp_path, frames=3, fps=30), loop=False)
        for _ in range(3):
            capture.read()
        with pytest.raises(SourceError, match="played to its end") as caught:
            capture.read()
        assert (caught.value.cause, caught.value.permanent) == ("ended", True)
        capture.close()

    def test_a_file_that_is_no_video_is_a_permanent_problem_and_a_missing_one_is_not(self, tmp_path: Path) -> None:
        text = tmp_path / "text.mp4"
        text.write_text("hello")
        for path, cause, permanent in (
            (text, "not-a-video", True),
            (tmp_path / "none.mp4", "not-found", False),
        ):
            with pytest.raises(SourceError) as caught:
                LoopCapture(path)
            assert (caught.value.cause, caught.value.permanent) == (cause, permanent)

    def test_too_many_pixels_are_refused(self, tmp_path: Path) -> None:
        path = media.clip(tmp_path, frames=3)
        with pytest.raises(SourceError, match="320x240") as caught:
            LoopCapture(path, max_pixels=1000)
        assert caught.value.cause == "too-many-pixels"

    def test_closing_wakes_a_reader_that_waits_for_the_next_picture(self, tmp_path: Path) -> None:
        assert_woken(LoopCapture(media.one_fps(tmp_path)))


def assert_woken(capture: Capture, pictures: int = 1) -> None:
    for _ in range(pictures):
        capture.read()
    over: list[float] = []

    def read() -> None:
        with suppress(SourceError):
            while True:
                capture.read()
        over.append(time.monotonic())

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.2)
    asked = time.monotonic()
    capture.close()
    reader.join(5)
    assert over
    assert over[0] - asked < 0.5
    capture.close()
    with pytest.raises(SourceError):
        capture.read()


def test_a_missing_device_is_named() -> None:
    with pytest.raises(SourceError, match="there is no device /dev/video63") as caught:
        DeviceCapture(63)
    assert (caught.value.cause, caught.value.permanent) == ("device-missing", False)


CaptureType = TypeVar("CaptureType", LoopCapture, StreamCapture)


@contextmanager
def opened(capture: CaptureType) -> Iterator[CaptureType]:
    try:
        yield capture
    finally:
        capture.close()


def problem(behaviour: Behaviour, scheme: str, *, open_s: float = 5.0, **more: str) -> SourceError:
    """Why a connection to a peer fails."""
    with peer(behaviour) as nobody, pytest.raises(SourceError) as caught:
        StreamCapture(pinned(nobody.port, scheme=scheme, **more), open_s=open_s)
    assert "secret" not in str(caught.value)
    return caught.value


class TestHttp:
    def test_motion_jpeg_survives_a_change_of_size(self) -> None:
        with (
            peer(motion_jpeg([(320, 240), (160, 120), (640, 480)], each=5)) as camera,
            opened(StreamCapture(pinned(camera.port))) as capture,
        ):
            pictures = [capture.read() for _ in range(15)]
        numbers = [media.frame_number(picture.image) for picture in pictures]
        assert numbers == list(range(numbers[0], numbers[0] + 15))
        assert {picture.image.shape for picture in pictures} == {(240, 320, 3), (120, 160, 3), (480, 640, 3)}
        # FFmpeg makes times up for this format.
        assert all(picture.stream_time is None for picture in pictures)

    @pytest.mark.parametrize(
        "camera",
        [
            pictures_between(PART, b"\r\n", MIXED, lead=b"\r\n"),
            pictures_between(PART, b"\r\n", MIXED, lead=b"This is a multipart message\r\n\r\n"),
            pictures_between(PART.partition(b"\r\n")[2], b"\r\n--frame\r\n", MIXED),
            pictures_between(b"\r\n" + PART, b"", MIXED, chunked=True),
            pictures_between(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n", b"\r\n", MIXED),
            pictures_between(PART.replace(b"\r", b""), b"\n", MIXED),
            pictures_between(b"\r\n--frame\r\n\r\n", b"", "Content-Type: text/html"),
            pictures_between(PART, b"\r\n"),
            pictures_between(b"", b"", "Content-Type: video/x-motion-jpeg"),
            pictures_between(b"", b"", "Content-Type: image/jpeg"),
            pictures_between(b"", b"", "Content-Type: application/octet-stream"),
        ],
        ids=["line end", "preamble", "headers first", "esp32", "no length", "line feeds", "wrong type", "no type",
             "bare", "bare, as a picture", "bare, as anything"],
    )  # fmt: skip
    def test_motion_jpeg_is_read_however_it_is_framed_from_its_first_picture_on(self, camera: Behaviour) -> None:
        with peer(camera) as running, opened(StreamCapture(pinned(running.port))) as capture:
            numbers = [media.frame_number(capture.read().image) for _ in range(5)]
        assert numbers == [0, 1, 2, 3, 4]

    @pytest.mark.slow
    @pytest.mark.parametrize("framing", [(PART, b"\r\n", MIXED), (b"", b"", "Content-Type: image/jpeg")])
    def test_a_slow_camera_is_online_with_its_first_picture(self, framing: tuple[bytes, bytes, str]) -> None:
        with (
            peer(pictures_between(*framing, pause_s=3.0)) as camera,
            opened(StreamCapture(pinned(camera.port), open_s=2.0)) as capture,
        ):
            assert media.frame_number(capture.read().image) == 0

    def test_the_address_of_a_single_picture_is_named_as_such(self) -> None:
        still = answers("HTTP/1.1 200 OK", "Content-Type: image/jpeg", body=jpeg(0, (160, 120)))
        refusal = problem(still, "http")
        assert (refusal.cause, "a single picture" in str(refusal)) == ("not-a-video", True)

    def test_pictures_that_grow_beyond_what_is_allowed_end_the_connection(self) -> None:
        with (
            peer(motion_jpeg([(160, 120), (320, 240)], each=5)) as camera,
            opened(StreamCapture(pinned(camera.port), max_pixels=160 * 120)) as capture,
            pytest.raises(SourceError, match="320x240") as caught,
        ):
            for _ in range(20):
                capture.read()
        assert caught.value.cause == "too-many-pixels"

    @pytest.mark.parametrize(
        ("name", "size"),
        [
            ("interlaced-h264.ts", (320, 192)),
            ("interlaced-mpeg2.ts", (320, 192)),
            ("wide-pixels-libx264.ts", (640, 192)),
        ],
    )
    def test_fields_and_wide_pixels_are_shown_as_a_player_shows_them(
        self, name: str, size: tuple[int, int], tmp_path: Path
    ) -> None:
        (animal,) = [one for one in ZOO if one.name == name]
        animal.make(tmp_path / name)
        camera = answers("HTTP/1.1 200 OK", "Content-Type: video/mp2t", body=(tmp_path / name).read_bytes())
        with peer(camera) as served, opened(StreamCapture(pinned(served.port))) as capture:
            pictures = [capture.read() for _ in range(10)]
        for picture in pictures:
            assert picture.image.shape == (size[1], size[0], 3)
            wanted = animal.picture(media.frame_number(picture.image))
            assert np.abs(np.subtract(picture.image, wanted, dtype=np.int16)).mean() < animal.alike

    def test_closing_wakes_a_reader(self) -> None:
        with peer(motion_jpeg([(160, 120)], pictures=5)) as camera:
            assert_woken(StreamCapture(pinned(camera.port)), pictures=5)

    @pytest.mark.parametrize("scheme", ["http", "rtsp", "https", "rtsps"])
    def test_a_silent_server_is_given_up_in_time(self, scheme: str) -> None:
        asked = time.monotonic()
        assert problem(silent, scheme, open_s=0.5).cause == "timeout"
        assert time.monotonic() - asked < 3

    def test_a_server_that_never_finishes_is_given_up_in_time(self) -> None:
        assert problem(trickle, "http", open_s=0.5).cause == "timeout"
        assert problem(trickle, "rtsp", open_s=0.5).cause == "timeout"

    @pytest.mark.parametrize(("scheme", "cause"), [("http", "not-a-video"), ("rtsp", "not-a-video"), ("https", "tls")])
    def test_garbage_is_named_as_such(self, scheme: str, cause: str) -> None:
        assert problem(garbage, scheme, open_s=2).cause == cause

    @pytest.mark.parametrize(
        "body",
        [
            b"<html>hello</html>" * 100,
            b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
            b"ffconcat version 1.0\nfile /etc/passwd\n",
            b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
            b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
        ],
        ids=["page", "hls", "concat", "sdp", "dash"],
    )
    def test_streams_that_are_no_video_or_redirect_are_refused(self, body: bytes) -> None:
        assert problem(answers("HTTP/1.1 200 OK", body=body), "http").cause == "not-a-video"

    @pytest.mark.parametrize(
        ("status", "headers", "cause"),
        [
            ("301 Moved", ["Location: http://127.0.0.1:9/"], "redirect"),
            ("302 Found", ["Location: file:///etc/passwd"], "redirect"),
            ("401 Unauthorized", [], "unauthorised"),
            ("401 Unauthorized", ['WWW-Authenticate: Basic realm="camera"'], "unauthorised"),
            ("401 Unauthorized", ['WWW-Authenticate: Digest realm="c", nonce="n", qop="auth"'], "unauthorised"),
            ("403 Forbidden", [], "unauthorised"),
            ("404 Not Found", [], "not-found"),
            ("503 Busy", [], "rejected"),
        ],
    )
    def test_different_refusals_have_different_causes(self, status: str, headers: list[str], cause: str) -> None:
        refusal = problem(answers(f"HTTP/1.1 {status}", *headers), "http", user="viewer", password="secret")  # noqa: S106
        assert refusal.cause == cause
        assert not refusal.permanent

    def test_a_refused_connection_is_named(self) -> None:
        with peer(silent) as gone:
            port = gone.port
        for scheme in ("http", "rtsp"):
            with pytest.raises(SourceError) as caught:
                StreamCapture(pinned(port, scheme=scheme))
            assert caught.value.cause == "refused"

    @pytest.mark.parametrize(
        "challenge",
        [
            'Basic realm="camera"',
            'Digest realm="camera", nonce="abc", qop="auth", algorithm=MD5',
            'Digest realm="camera", nonce="abc", qop="auth", algorithm=SHA-256',
            'Digest realm="camera", nonce="abc", algorithm=SHA-256',
        ],
    )
    def test_the_camera_gets_the_password_when_it_asks(self, challenge: str) -> None:
        heard: list[bytes] = []
        stream = motion_jpeg([(160, 120)])

        def behave(connection: socket.socket) -> None:
            heard.append(connection.recv(4096, socket.MSG_PEEK))
            if b"Authorization" in heard[-1]:
                stream(connection)
            else:
                answers("HTTP/1.1 401 No", f"WWW-Authenticate: {challenge}")(connection)

        with (
            peer(behave) as camera,
            opened(StreamCapture(pinned(camera.port, user="viewer", password="pass:word"))) as capture,  # noqa: S106
        ):
            assert capture.read().image.shape == (120, 160, 3)
        first, second = heard
        assert b"Authorization" not in first
        assert b"Host: camera.test:" in first
        expected = base64.b64encode(b"viewer:pass:word") if challenge.startswith("Basic") else b'username="viewer"'
        assert expected in second
        assert (b"pass:word" in second) is False


class TestTls:
    def test_a_certificate_is_checked_for_the_name_unless_told_otherwise(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = certificate(tmp_path, "camera.test")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(path)
        with peer(motion_jpeg([(160, 120)]), tls=server) as camera:
            url = pinned(camera.port, scheme="https")
            with pytest.raises(SourceError, match="not trusted") as caught:
                StreamCapture(url)
            assert caught.value.cause == "tls"
            with opened(StreamCapture(url, verify_tls=False)) as capture:
                assert capture.read().image.shape == (120, 160, 3)
            monkeypatch.setenv("SSL_CERT_FILE", str(path))
            with opened(StreamCapture(url)) as capture:
                assert capture.read().image.shape == (120, 160, 3)
            with pytest.raises(SourceError, match="not trusted"):
                StreamCapture(replace(url, host="other.test"))

    def test_closing_wakes_a_reader(self, tmp_path: Path) -> None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate(tmp_path, "camera.test"))
        with peer(motion_jpeg([(160, 120)], pictures=5), tls=server) as camera:
            assert_woken(StreamCapture(pinned(camera.port, scheme="https"), verify_tls=False), pictures=5)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | str]:
    folder = tmp_path_factory.mktemp("rtsp")
    small = media.clip(folder, "small.mp4", frames=60)
    return {
        "small": small,
        "large": media.clip(folder, "large.mp4", frames=60, size=(640, 480)),
        "slow": media.clip(folder, "slow.mp4", frames=10, fps=1),
        "black": media.clip(folder, "black.mp4", frames=60, fps=15, paint=media.black),
        "jpeg": f"{small}@jpeg",
        "h265": f"{small}@h265",
    }


class TestRtsp:
    @pytest.mark.slow
    @pytest.mark.parametrize(("name", "fps"), [("small", 30), ("jpeg", 30), ("h265", 30), ("slow", 1)])
    def test_streams_of_each_codec_and_rate_come_with_their_own_times(
        self, name: str, fps: int, clips: dict[str, Path | str]
    ) -> None:
        with rtsp_server({"cam": clips[name]}) as server, opened(capture_of(server)) as capture:
            pictures = [capture.read() for _ in range(3 if fps == 1 else 20)]
        times = [picture.stream_time for picture in pictures if picture.stream_time is not None]
        np.testing.assert_allclose(np.diff(times), 1 / fps, atol=2e-3)
        assert pictures[0].image.shape == (240, 320, 3)
        numbers = [media.frame_number(picture.image) for picture in pictures]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))

    def test_the_right_password_opens_and_a_wrong_one_says_so(self, clips: dict[str, Path | str]) -> None:
        with rtsp_server({"cam": clips["small"]}, "viewer:p@ss word") as server:
            url = pinned(server.port, scheme="rtsp", target="/cam", user="viewer", password="p@ss word")  # noqa: S106
            with opened(StreamCapture(url)) as capture:
                assert capture.read().image.shape == (240, 320, 3)
            for password in ("secret", ""):
                with pytest.raises(SourceError) as caught:
                    StreamCapture(replace(url, password=password))
                assert caught.value.cause == "unauthorised"
                assert "secret" not in str(caught.value)

    def test_an_unknown_path_is_not_found(self, clips: dict[str, Path | str]) -> None:
        with rtsp_server({"cam": clips["small"]}) as server, pytest.raises(SourceError) as caught:
            StreamCapture(pinned(server.port, scheme="rtsp", target="/other"))
        assert caught.value.cause == "not-found"

    @pytest.mark.parametrize("name", ["small", "jpeg", "h265"])
    def test_a_camera_that_refuses_tcp_is_read_over_udp(self, name: str, clips: dict[str, Path | str]) -> None:
        with rtsp_server({"cam": clips[name]}, udp=True) as server:
            with opened(capture_of(server)) as capture:
                pictures = [capture.read() for _ in range(20)]
            numbers = [media.frame_number(picture.image) for picture in pictures]
            assert numbers == list(range(numbers[0], numbers[0] + 20))
            with pytest.raises(SourceError, match="UDP is not allowed") as caught:
                StreamCapture(pinned(server.port, scheme="rtsp", target="/cam"), allow_udp=False)
            assert caught.value.cause == "transport"

    @pytest.mark.slow
    @pytest.mark.parametrize(("limit_s", "states"), [(60, [CONNECTING, WAITING, ONLINE]), (2, [CONNECTING, WAITING])])
    def test_a_stream_that_is_joined_between_key_frames_waits_for_the_next_and_says_so(
        self, limit_s: float, states: list[SourceState], tmp_path: Path
    ) -> None:
        changes: list[StateChange] = []
        clip = media.clip(tmp_path, frames=120, fps=10, group=120)
        with peer(joined_late(clip, fps=10, begin=60)) as camera:
            source = LiveSource(
                "gate",
                lambda: StreamCapture(pinned(camera.port, scheme="rtsp"), open_s=8),
                timing=replace(QUICK, read_s=1, stall_s=0.7, key_frame_s=limit_s),
                on_state=changes.append,
            )
            source.start()
            try:
                eventually(lambda: len(changes) > 2, "the key frame came, or the wait is over")
            finally:
                source.stop()
        assert [change.state for change in changes[: len(states)]] == states
        if limit_s == 2:
            assert (changes[2].state, changes[2].cause) == (RECONNECTING, "timeout")
            assert "no key frame" in str(changes[2].detail)

    @pytest.mark.slow
    def test_a_camera_may_go_freeze_and_return_with_another_size_and_codec(self, clips: dict[str, Path | str]) -> None:
        changes: list[StateChange] = []
        with rtsp_server({"cam": clips["small"]}) as server:
            source = LiveSource("gate", lambda: capture_of(server), timing=QUICK, on_state=changes.append)
            source.start()
            try:
                eventually(lambda: source.state is ONLINE, "it is online")
                server.kill()
                eventually(lambda: source.state is RECONNECTING, "it is gone")
                server.mounts = {"cam": clips["large"]}
                server.start()
                eventually(lambda: source.state is ONLINE and source.size == (640, 480), "it is back, larger")
                server.freeze()
                eventually(lambda: source.state is STALLED, "it has stalled")
                eventually(lambda: source.state is RECONNECTING, "it was given up")
                server.kill()
                server.mounts = {"cam": clips["jpeg"]}
                server.start()
                eventually(lambda: source.state is ONLINE and source.size == (320, 240), "it is back in JPEG")
                server.freeze()
                eventually(lambda: source.state is STALLED, "it has stalled again")
                asked = time.monotonic()
            finally:
                source.stop()
            assert time.monotonic() - asked < 1
        states = [change.state for change in changes]
        assert states[:4] == [CONNECTING, ONLINE, RECONNECTING, ONLINE]
        assert states[-1] is STOPPED
        assert changes[2].cause == "ended"
        assert {change.cause for change in changes if change.state is STALLED} == {"timeout"}

    def test_a_short_pause_is_a_stall_and_no_reconnection(self, clips: dict[str, Path | str]) -> None:
        changes: list[StateChange] = []
        with rtsp_server({"cam": clips["small"]}) as server:
            timing = replace(QUICK, read_s=60)
            source = LiveSource("gate", lambda: capture_of(server), timing=timing, on_state=changes.append)
            source.start()
            try:
                eventually(lambda: source.state is ONLINE, "it is online")
                server.freeze()
                eventually(lambda: source.state is STALLED, "it has stalled")
                server.thaw()
                eventually(lambda: source.state is ONLINE, "it speaks again")
            finally:
                source.stop()
        assert [change.state for change in changes] == [CONNECTING, ONLINE, STALLED, ONLINE, STOPPED]

    @pytest.mark.slow
    def test_a_black_picture_is_noticed(self, clips: dict[str, Path | str]) -> None:
        with rtsp_server({"cam": clips["black"]}) as server:
            source = LiveSource("gate", lambda: capture_of(server), timing=QUICK)
            source.start()
            try:
                eventually(lambda: source.picture == "black", "the picture is black")
            finally:
                source.stop()

    @pytest.mark.parametrize(
        ("pause", "least", "most"), [(2.0, 20, 70), pytest.param(7.0, 150, 215, marks=pytest.mark.slow)]
    )
    def test_a_decoder_that_was_behind_catches_up_and_counts_dropped_frames(
        self, pause: float, least: int, most: int, clips: dict[str, Path | str]
    ) -> None:
        with rtsp_server({"cam": clips["small"]}) as server, opened(capture_of(server)) as capture:
            times = [(time.monotonic(), capture.read()) for _ in range(10)]
            time.sleep(pause)
            times += [(time.monotonic(), capture.read()) for _ in range(30)]
            skipped = sum(picture.skipped for _, picture in times)
        assert least <= skipped <= most
        delays = [asked - picture.stream_time for asked, picture in times if picture.stream_time is not None]
        # As near to the camera as before, within a packet's wait, although nothing was lost on the way.
        assert min(delays[-10:]) <= min(delays[:10]) + BEHIND_S


def capture_of(server: RtspServer) -> StreamCapture:
    return StreamCapture(pinned(server.port, scheme="rtsp", target="/cam"), open_s=QUICK.open_s)
