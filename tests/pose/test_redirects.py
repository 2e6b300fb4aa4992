from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pose.redirects import RedirectWatch

HEAD = b"RTSP/1.0 302 Moved\r\nCSeq: 1\r\n"
PACKET = b"$\0\0\5\nabcd"
REDIRECTS = {
    "plain": HEAD + b"Location: rtsp://elsewhere/\r\n\r\n",
    "upper case": HEAD + b"LOCATION:rtsp://elsewhere/\r\n\r\n",
    "carriage returns inside": HEAD + b"Lo\rca\rtion: rtsp://elsewhere/\n\n",
    "behind a packet": HEAD + PACKET + b"Location: rtsp://elsewhere/\r\n\r\n",
    "behind three packets": HEAD + PACKET * 3 + b"Location: rtsp://elsewhere/\r\n\r\n",
    "behind an empty packet": HEAD + b"$\0\0\0Location: rtsp://elsewhere/\r\n\r\n",
    "behind a carriage return and a packet": HEAD + b"\r" + PACKET + b"Location: rtsp://elsewhere/\r\n\r\n",
    "in the reply after media": PACKET * 50 + HEAD + PACKET + b"Location: rtsp://elsewhere/\r\n\r\n",
    "after a body": b"RTSP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nv=0" + HEAD + PACKET + b"Location: x\r\n\r\n",
    "after a body that looks like a packet": b"RTSP/1.0 200 OK\r\nContent-Length: 4\r\n\r\n$\0\xff\xff"
    + HEAD
    + PACKET
    + b"Location: x\r\n\r\n",
}
HARMLESS = {
    "another header": b"RTSP/1.0 200 OK\r\nContent-Location: rtsp://camera/\r\n\r\n",
    "a body": b"RTSP/1.0 200 OK\r\nContent-Length: 11\r\n\r\nLocation: xRTSP/1.0 200 OK\r\n\r\n",
    "media": b"RTSP/1.0 200 OK\r\n\r\n$\0\0\x0c\nLocation: x" * 5,
}


@pytest.mark.parametrize("name", REDIRECTS)
@given(data=st.data())
def test_a_redirect_is_found_however_the_bytes_arrive(name: str, data: st.DataObject) -> None:
    sent = REDIRECTS[name]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=8)))
    watch = RedirectWatch()
    pieces = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    assert any(watch.redirected(piece) for piece in pieces)


@pytest.mark.parametrize("name", HARMLESS)
@given(data=st.data())
def test_what_ffmpeg_does_not_take_for_a_header_is_no_redirect(name: str, data: st.DataObject) -> None:
    sent = HARMLESS[name]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=8)))
    watch = RedirectWatch()
    pieces = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    assert not any(watch.redirected(piece) for piece in pieces)
