from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError
from starlette.requests import Request

from service.clips.forms import MultipartBody
from service.clips.refusals import ClipTooLarge, MalformedUpload, UploadIncomplete, UploadStalled
from service.clips.store import ClipStore
from service.clips.tables import ClipJob
from service.clips.uploads import Pace, Upload, receive
from service.errors import StorageFull
from tests.doubles.servers import LiveServer, Serve

BOUNDARY = "----a-boundary"
CONTENT = b"a clip\r\n--with things that look like a boundary\r\n------a-boundar"


def form(content: bytes, name: str = "file", filename: str = "clip.mp4") -> bytes:
    return (
        (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
            "Content-Type: video/mp4\r\n\r\n"
        ).encode()
        + content
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )


FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def request(chunks: Sequence[bytes | None], headers: dict[str, str], pause_s: float = 0.0) -> Request:
    """A request whose body arrives in pieces; None is a client that goes away, the end is a client that waits."""
    pending = list(chunks)

    async def next_message() -> dict[str, Any]:
        if not pending:
            await asyncio.sleep(3600)
        await asyncio.sleep(pause_s)
        piece = pending.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": piece != b""}

    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": encoded}, next_message)


def take(
    target: Path,
    chunks: Sequence[bytes | None],
    headers: dict[str, str] | None = None,
    max_bytes: int = 1000,
    *,
    pause_s: float = 0.0,
    pace: Pace | None = None,
) -> Upload:
    return asyncio.run(receive(request(chunks, headers or {}, pause_s), target, max_bytes, pace or Pace()))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "clip"


def test_a_raw_body_is_the_clip(target: Path) -> None:
    upload = take(target, [b"a c", b"lip", b""], {"content-disposition": 'attachment; filename="C:\\\\x\\\\a.mp4"'})
    assert upload == Upload("a.mp4", 6)
    assert target.read_bytes() == b"a clip"


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        ('attachment; filename="é.mp4"'.encode(), "é.mp4"),
        ("attachment; filename=кадр.mp4".encode(), "кадр.mp4"),
        ('attachment; filename="é.mp4"'.encode("latin-1"), "é.mp4"),
        (b"attachment; filename*=UTF-8''%D0%BA%D0%B0%D0%B4%D1%80.mp4", "кадр.mp4"),
        (b"attachment; filename=\"plain.mp4\"; filename*=utf-8'en'%e2%82%ac.mp4", "€.mp4"),
        (b"attachment; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd", "passwd"),
        (b"attachment; filename*=ISO-8859-1''%E9.mp4", "é.mp4"),
        (b"attachment; filename=\"plain.mp4\"; filename*=UTF-8''%FF", "plain.mp4"),
        (b"attachment; filename=\"plain.mp4\"; filename*=punycode''x.mp4", "plain.mp4"),
        (b"attachment; filename=\"a; filename*=UTF-8''b.mp4\"", "a; filename*=UTF-8''b.mp4"),
        (b"attachment", None),
    ],
)
def test_the_name_of_a_raw_body_is_read_in_every_spelling_in_use(
    target: Path, disposition: bytes, filename: str | None
) -> None:
    raw = request([b"clip", b""], {})
    raw.scope["headers"].append((b"content-disposition", disposition))
    assert asyncio.run(receive(raw, target, 1000)).filename == filename


@given(cuts=st.lists(st.integers(0, len(form(CONTENT))), max_size=6).map(sorted))
def test_the_file_of_a_form_is_found_however_the_form_is_cut(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    target = tmp_path_factory.mktemp("form") / "clip"
    body = form(CONTENT, filename="../überfall.mp4")
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    upload = take(target, [*filter(None, pieces), b""], FORM)
    assert target.read_bytes() == CONTENT
    assert upload == Upload("überfall.mp4", len(CONTENT))


@pytest.mark.parametrize(
    ("chunks", "headers", "error"),
    [
        ([b"x" * 600, b"x" * 600, b""], {}, ClipTooLarge),
        ([], {"content-length": "99999999"}, ClipTooLarge),
        ([form(b"x" * 1001), b""], FORM, ClipTooLarge),
        ([b"half", None], {}, UploadIncomplete),
        ([form(CONTENT)[:200], None], FORM, UploadIncomplete),
        ([form(CONTENT)[:-20], b""], FORM, MalformedUpload),
        ([form(CONTENT, name="video"), b""], FORM, MalformedUpload),
        ([b"no form at all", b""], FORM, MalformedUpload),
        ([b"", b""], FORM, MalformedUpload),
        ([form(CONTENT), b""], {"content-type": "multipart/form-data"}, MalformedUpload),
        ([form(CONTENT), b""], {"content-type": f"multipart/form-data; boundary={'x' * 999}"}, MalformedUpload),
    ],
)
def test_a_refused_body_leaves_no_file(
    target: Path, chunks: list[bytes | None], headers: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        take(target, chunks, headers)
    assert not target.exists()


def test_a_form_is_not_read_for_ever_for_its_other_fields(target: Path) -> None:
    start = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="note"\r\n\r\n'.encode()
    with pytest.raises(ClipTooLarge):
        take(target, [start, *[bytes(50_000)] * 3], FORM)


def test_the_limit_itself_is_accepted(target: Path) -> None:
    assert take(target, [form(b"x" * 1000), b""], FORM).size_bytes == 1000


def test_a_client_that_stops_sending_is_given_up(target: Path) -> None:
    with pytest.raises(UploadStalled, match="nothing arrived for 0 s"):
        take(target, [b"half"], pace=Pace(stall_s=0.05))
    assert not target.exists()


def test_a_client_that_sends_a_byte_now_and_then_is_given_up(target: Path) -> None:
    drops = [b"x"] * 10_000
    with pytest.raises(UploadStalled, match="at least 1000000 bytes a second"):
        take(target, drops, pause_s=0.01, pace=Pace(stall_s=60.0, grace_s=0.1, bytes_per_s=1e6))
    assert not target.exists()


def test_a_client_that_keeps_up_may_take_longer_than_the_grace(target: Path) -> None:
    pieces = [bytes(100)] * 9 + [b""]
    upload = take(target, pieces, pause_s=0.01, pace=Pace(stall_s=60.0, grace_s=0.05, bytes_per_s=1.0))
    assert upload.size_bytes == 900


@pytest.mark.parametrize(
    ("waited_s", "received", "patience"),
    [(0.0, 0, 30.0), (40.0, 0, 20.0), (60.0, 0, 0.0), (60.0, 6_400_000, 30.0), (150.0, 6_400_000, 10.0)],
)
def test_patience_with_an_upload_is_earned_by_bytes(waited_s: float, received: int, patience: float) -> None:
    assert Pace().patience(waited_s, received) == patience


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_without_room_is_told_apart_and_left_clean(
    target: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull):
        take(target, [b"clip", b""])
    assert not target.exists()


EMPTY_PARTS = {
    "no header": b"\r\n\r\n",
    "a header without a value": b"\r\nx:\r\n\r\n",
    "a name": b'\r\nContent-Disposition: form-data; name="a"\r\n\r\n',
    "an empty file of another name": b'\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n',
}


@pytest.mark.parametrize("part", EMPTY_PARTS)
@pytest.mark.parametrize("parts", [101, 100_000])
def test_a_form_of_many_parts_is_refused_at_its_first_hundred(part: str, parts: int, target: Path) -> None:
    body = (f"--{BOUNDARY}".encode() + EMPTY_PARTS[part] + b"\r\n") * parts + form(CONTENT)
    chunks = [body[start : start + 65_536] for start in range(0, len(body), 65_536)]
    with pytest.raises(MalformedUpload, match="more than 100 fields"):
        take(target, [*chunks, b""], FORM, 10**9)
    assert not target.exists()


@pytest.mark.parametrize("where", ["another field", "a header", "the name of a header", "the preamble"])
def test_a_form_with_more_beside_the_file_than_a_form_needs_is_refused(where: str, target: Path) -> None:
    filler, begin = b"x" * 10**6, f"--{BOUNDARY}\r\n".encode()
    body = {
        "another field": begin + b'Content-Disposition: form-data; name="note"\r\n\r\n' + filler + b"\r\n",
        "a header": begin + b"x: " + filler + b"\r\n\r\n\r\n",
        "the name of a header": begin + filler + b": x\r\n\r\n\r\n",
        "the preamble": filler + b"\r\n",
    }[where]
    chunks = [body[start : start + 65_536] for start in range(0, len(body), 65_536)]
    with pytest.raises(MalformedUpload):
        take(target, [*chunks, form(CONTENT), b""], FORM, 10**9)
    assert not target.exists()


def test_the_loop_goes_on_while_a_form_is_parsed(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = MultipartBody._parse

    def slow(body: MultipartBody, chunk: bytes) -> bytes:
        time.sleep(0.5)
        return parse(body, chunk)

    monkeypatch.setattr(MultipartBody, "_parse", slow)

    async def both() -> int:
        taking = asyncio.create_task(receive(request([form(CONTENT), b""], FORM), target, 1000))
        turns = 0
        while not taking.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert (await taking).size_bytes == len(CONTENT)
        return turns

    assert asyncio.run(both()) > 10


LOST = OperationalError("COMMIT", {}, Exception("server closed the connection"))


@pytest.fixture
def live(serve: Serve) -> LiveServer:
    return serve()


def lose_the_answer(monkeypatch: pytest.MonkeyPatch, *, stored: bool) -> None:
    """Lose the database while the row of the next clip is written, after the commit or before it."""
    enqueue, losses = ClipStore.enqueue, iter([True])

    def unreliable(store: ClipStore, clip_id: str, **values: Any) -> ClipJob:
        lost = next(losses, False)
        if lost and not stored:
            raise LOST
        job = enqueue(store, clip_id, **values)
        if lost:
            raise LOST
        return job

    monkeypatch.setattr(ClipStore, "enqueue", unreliable)


def test_a_clip_whose_row_was_stored_without_an_answer_is_accepted(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_the_answer(monkeypatch, stored=True)
    answer = live.client.post_clip(b"clip", wait=60)
    assert (answer.status_code, answer.json()["state"]) == (200, "done")


def test_a_clip_whose_row_was_not_stored_is_refused_and_leaves_no_file(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_the_answer(monkeypatch, stored=False)
    answer = live.client.post_clip(b"clip")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/database-unavailable")
    assert list(live.runtime.folder.clips.iterdir()) == []
    assert list(live.runtime.folder.uploads.iterdir()) == []


def test_a_clip_that_may_be_stored_keeps_its_files_and_is_scored_if_it_is(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_the_answer(monkeypatch, stored=True)
    get, losses = ClipStore.get, iter([True])

    def away(store: ClipStore, clip_id: str) -> ClipJob:
        if next(losses, False):
            raise LOST
        return get(store, clip_id)

    monkeypatch.setattr(ClipStore, "get", away)
    assert live.client.post_clip(b"clip").status_code == 503
    (clip,) = live.client.get("/v1/clips").json()["clips"]
    assert live.client.until(clip["id"], "done", "failed")["state"] == "done"
