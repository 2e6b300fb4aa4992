from __future__ import annotations

from pathlib import Path

import pytest

from service.cli.videos import is_address, local_video
from service.settings import Settings
from tests.doubles.streams import peer
from tests.doubles.websites import answer, site, video

LOOPBACK = Settings(allowed_stream_cidrs="127.0.0.0/8")


def test_a_file_is_itself() -> None:
    with local_video("a/b.mp4", LOOPBACK) as file:
        assert file == Path("a/b.mp4")
    assert not is_address("a/b.mp4")
    assert is_address("HTTPS://videos.example/b.mp4")


@pytest.mark.parametrize(("path", "name"), [("/a%20door.mp4?x=1", "a door.mp4"), ("/", "video"), ("/a/..", "video")])
def test_an_address_is_fetched_and_removed_afterwards(path: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = video(b"a clip")
    with peer(site({"/a%20door.mp4?x=1": page, "/": page})) as web:
        address = f"http://viewer:hunter2@127.0.0.1:{web.port}{path}"
        with local_video(address, LOOPBACK) as file:
            assert (file.name, file.read_bytes()) == (name, b"a clip")
        assert not file.parent.exists()
    assert "hunter2" not in "".join(capsys.readouterr())


def test_what_cannot_be_fetched_ends_in_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    def refused(address: str, settings: Settings) -> str:
        with pytest.raises(SystemExit), local_video(address, settings):
            raise AssertionError("nothing was fetched")
        return capsys.readouterr().err.splitlines()[-1]

    with peer(site({"/a.mp4": answer("404 Not Found")})) as web:
        address = f"http://127.0.0.1:{web.port}/a.mp4"
        assert refused(address, LOOPBACK) == "error: 127.0.0.1 answered 404; check the address"
        assert "DAFLOW_ALLOWED_STREAM_CIDRS" in refused(address, Settings())
    assert "must be escaped" in refused("https://a b/", Settings())
