"""Programs that load the page: with a key in a header, with HEAD, and over and over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.servers import ServerProcess, server_process

MOST_GROWTH_MIB = 25
VIEWS = ["/", "/cameras/none", "/incidents", "/incidents/none", "/report", "/clips", "/system"]


@pytest.fixture(scope="module")
def without_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Needs no models, like the other one: nothing is scored here."""
    folder = tmp_path_factory.mktemp("pages") / "data"
    with server_process(folder, ready=False, pose_weights="nowhere.onnx") as running:
        yield running


def memory(server: ServerProcess) -> int:
    """Resident memory in MiB."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024


def test_a_program_with_a_key_in_a_header_gets_every_view_or_a_refusal(tmp_path: Path) -> None:
    with server_process(tmp_path / "data", ready=False, pose_weights="nowhere.onnx", auth="required") as server:
        file = server.data_dir / "first-key"
        key = file.read_text().strip()
        assert key not in server.log.read_text()
        assert file.stat().st_mode & 0o777 == 0o600
        for view in VIEWS:
            answer = server.client.get(f"/dashboard{view}", headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == 200, view
            for wrong in ("Bearer dfl_wrong", "Basic YTpi", "nonsense"):
                refused = server.client.get(f"/dashboard{view}", headers={"Authorization": wrong})
                assert refused.status_code == 401, (view, wrong)
            assert server.client.head(f"/dashboard{view}", headers={"Authorization": f"Bearer {key}"}).is_success
        assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("authorization", ["Bearer dfl_x", "Basic YTpi", "nonsense"])
def test_without_keys_a_header_with_one_changes_nothing(authorization: str, without_keys: ServerProcess) -> None:
    for view in VIEWS:
        answer = without_keys.client.get(f"/dashboard{view}", headers={"Authorization": authorization})
        assert answer.status_code == 200, view
    assert "Traceback" not in without_keys.log.read_text()


@pytest.mark.slow
def test_pages_whose_browser_never_comes_take_no_more_and_more_memory(without_keys: ServerProcess) -> None:
    for _ in range(50):
        without_keys.client.get("/dashboard/")
    before = memory(without_keys)
    for _ in range(250):
        assert without_keys.client.get("/dashboard/").status_code == 200
    assert memory(without_keys) - before < MOST_GROWTH_MIB
