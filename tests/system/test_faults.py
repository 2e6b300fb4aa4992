"""Bad input and faults, against a real ``daflow serve`` with real models."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import httpx
import psutil
import pytest

from service.clips.messages import ClipHello, ClipScore, clip_event_adapter
from service.clips.store import ClipStore
from service.clips.tables import ClipState
from service.storage.database import Database
from tests.doubles import media
from tests.doubles.servers import (
    PATIENCE_S,
    ServerProcess,
    chunk,
    command,
    environment,
    eventually,
    raw_connection,
    read_answer,
    server_process,
)

MAX_BYTES = 4_000_000
STALL_S = 6

Maker = Callable[[Path], Path]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, pose_weights: Path) -> Iterator[ServerProcess]:
    with server_process(
        tmp_path_factory.mktemp("faults") / "data",
        pose_weights=pose_weights,
        pose_image_size=320,
        max_clip_bytes=MAX_BYTES,
        max_clip_seconds=60,
        max_clip_pixels=1280 * 720,
        max_clip_fps=150,
        clip_queue_size=2,
        decode_stall_s=STALL_S,
    ) as server:
        yield server


@pytest.fixture
def long_clip(test_data: Path) -> Path:
    """A clip that takes long enough to be interfered with."""
    return test_data / "clips" / "ubnormal" / "normal_scene_16_scenario_2.mp4"


@pytest.fixture
def street_clip(test_data: Path) -> Path:
    """Two seconds of people."""
    return test_data / "clips" / "surveillance-fight" / "fight" / "fi001.mp4"


@pytest.fixture(autouse=True)
def _nothing_left_over(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test on the shared server it lives, is idle, and the disk holds its clips and nothing else."""
    yield
    if "server" not in request.fixturenames:
        return
    server: ServerProcess = request.getfixturevalue("server")
    assert server.client.get("/readyz").status_code == 200
    known = [clip["id"] for clip in server.client.get("/v1/clips", params={"limit": 200}).json()["clips"]]
    assert server.clip_folders() == sorted(known)
    eventually(lambda: server.uploads() == [], "no upload is left")
    for clip_id in known:
        server.client.delete(f"/v1/clips/{clip_id}")
    eventually(lambda: server.clip_folders() == [], "deleted clips leave no files")


def refused(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"/problems/{slug}"
    return document


def start(server: ServerProcess, clip: Path) -> str:
    """Post a clip and wait until frames of it have been scored."""
    clip_id: str = server.client.post_clip(clip).json()["id"]
    eventually(lambda: server.client.clip(clip_id)["frames_done"] > 0, "scoring is under way")
    return clip_id


def decoders(server: ServerProcess) -> list[psutil.Process]:
    """The server's decoder processes."""
    return [child for child in psutil.Process(server.process.pid).children() if _is_decoder(child)]


@pytest.mark.parametrize(
    ("make", "causes"),
    [
        (media.empty, {"empty"}),
        (media.text_named_mp4, {"not-a-video"}),
        (media.picture, {"picture"}),
        (media.audio_only, {"no-video-stream"}),
        (media.truncated_moov, {"truncated", "not-a-video"}),
        (media.truncated_faststart, {"truncated"}),
        (media.zero_length_stream, {"empty", "no-frames", "undecodable"}),
        (media.hostile_size, {"too-many-pixels", "undecodable"}),
        (media.hostile_length, {"truncated", "too-long", "too-many-frames"}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_bad_file_is_refused_with_its_cause(
    server: ServerProcess, tmp_path: Path, make: Maker, causes: set[str]
) -> None:
    problem = refused(server.client.post_clip(make(tmp_path)), 422, "clip-rejected")
    assert problem["cause"] in causes, problem


def test_a_playlist_with_a_videos_name_opens_nothing(server: ServerProcess, tmp_path: Path, street_clip: Path) -> None:
    refused(server.client.post_clip(media.playlist_in_disguise(tmp_path, street_clip)), 422, "clip-rejected")


@pytest.mark.parametrize(
    ("make", "cause", "figures"),
    [
        (lambda folder: media.clip(folder, frames=130, fps=2, size=(64, 48)), "too-long", ("65", "60")),
        (lambda folder: media.clip(folder, frames=3, size=(1600, 900)), "too-many-pixels", ("1600", "921600")),
        (lambda folder: media.clip(folder, frames=40, fps=200), "frame-rate-too-high", ("200", "150")),
    ],
    ids=["seconds", "pixels", "frame rate"],
)
def test_a_clip_beyond_a_limit_is_refused_with_the_figure_and_the_limit(
    server: ServerProcess, tmp_path: Path, make: Maker, cause: str, figures: tuple[str, str]
) -> None:
    problem = refused(server.client.post_clip(make(tmp_path)), 422, "clip-rejected")
    assert problem["cause"] == cause
    assert all(figure in problem["detail"] for figure in figures), problem


@pytest.mark.parametrize("announced", [True, False])
def test_a_clip_beyond_the_byte_limit_is_refused_while_it_is_sent(server: ServerProcess, announced: bool) -> None:
    head = {"Content-Length": str(2 * MAX_BYTES)} if announced else {"Transfer-Encoding": "chunked"}
    with raw_connection(server.port, head) as connection:
        if not announced:
            connection.sendall(chunk(bytes(MAX_BYTES + 1)))
        refused(read_answer(connection), 413, "clip-too-large")


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        media.one_frame,
        media.shorter_than_a_window,
        media.one_fps,
        media.fast,
        media.odd_size,
        media.constant_black,
        media.portrait,
        media.variable_rate,
        media.hostile_container_size,
    ],
    ids=lambda make: make.__name__,
)
def test_an_odd_clip_gets_a_valid_result_that_says_why_there_are_no_scores(
    server: ServerProcess, tmp_path: Path, make: Maker
) -> None:
    document = server.client.post_clip(make(tmp_path), wait=PATIENCE_S).json()
    assert document["state"] == "done", document
    result = document["result"]
    assert len(result["frames"]) == result["clip"]["frames"] == document["frames_total"]
    assert all(frame["level"] is None and frame["reason"] for frame in result["frames"])
    assert result["notes"]


@pytest.mark.slow
def test_a_telephones_portrait_clip_is_turned_upright(server: ServerProcess, tmp_path: Path) -> None:
    result = server.client.post_clip(media.portrait(tmp_path), wait=PATIENCE_S).json()["result"]
    assert (result["clip"]["width"], result["clip"]["height"]) == (240, 320)


@pytest.mark.slow
def test_a_full_queue_refuses_and_waiting_and_running_clips_can_be_cancelled(
    server: ServerProcess, tmp_path: Path
) -> None:
    # Three thousand frames: a machine that answers slowly still answers before they are scored. A short clip would be
    # scored in between.
    longest = media.clip(tmp_path, frames=3_000, fps=60, size=(160, 120))
    running = start(server, longest)
    waiting = [server.client.post_clip(longest).json()["id"] for _ in range(2)]
    answer = server.client.post_clip(longest)
    refused(answer, 429, "queue-full")
    assert int(answer.headers["retry-after"]) >= 1
    for clip_id in [*waiting, running]:
        assert server.client.post(f"/v1/clips/{clip_id}/cancel").json()["state"] == "cancelled"


def test_a_client_gone_in_the_middle_leaves_nothing(server: ServerProcess, long_clip: Path) -> None:
    with raw_connection(server.port, {"Content-Length": "3000000"}) as connection:
        connection.sendall(long_clip.read_bytes()[:500_000])
        eventually(server.uploads, "the upload has begun")
    eventually(lambda: server.uploads() == [], "the partial file is gone")


@pytest.mark.slow
def test_a_decoder_that_dies_costs_one_clip(server: ServerProcess, long_clip: Path, street_clip: Path) -> None:
    clip_id = start(server, long_clip)
    for decoder in decoders(server):
        decoder.kill()
    document = server.client.until(clip_id, "failed", "done")
    assert document["error"]["cause"] == "decoder-died"
    assert server.client.post_clip(street_clip, wait=PATIENCE_S).json()["state"] == "done"


@pytest.mark.slow
def test_a_decoder_that_hangs_is_given_up(server: ServerProcess, long_clip: Path, street_clip: Path) -> None:
    clip_id = start(server, long_clip)
    for decoder in decoders(server):
        decoder.suspend()
    document = server.client.until(clip_id, "failed", "done")
    assert document["error"]["cause"] == "decoder-stalled"
    assert decoders(server) == []
    assert server.client.post_clip(street_clip, wait=PATIENCE_S).json()["state"] == "done"


def test_a_running_clip_can_be_deleted(server: ServerProcess, long_clip: Path) -> None:
    clip_id = start(server, long_clip)
    assert server.client.delete(f"/v1/clips/{clip_id}").status_code == 204
    eventually(lambda: decoders(server) == [], "its decoder has ended")
    assert clip_id not in server.clip_folders()


def test_a_real_clip_is_followed_live_and_fetched_in_every_form(server: ServerProcess, street_clip: Path) -> None:
    clip_id = server.client.post_clip(street_clip).json()["id"]
    with server.client.events(clip_id) as socket:
        events = [clip_event_adapter.validate_json(message) for message in socket]
    assert isinstance(events[0], ClipHello)
    assert events[-1].type == "done"
    result = server.client.get(f"/v1/clips/{clip_id}/result.json").json()
    assert result["tracks"]
    told = [json.loads(event.frame.model_dump_json()) for event in events if isinstance(event, ClipScore)]
    assert told
    assert told == result["frames"][-len(told) :]
    rows = server.client.get(f"/v1/clips/{clip_id}/scores.csv").text.splitlines()
    assert len(rows) > len(result["frames"])
    assert server.client.get(f"/v1/clips/{clip_id}/timeline.png").content.startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_annotated_clip_is_made_once_and_served_in_ranges(
    server: ServerProcess, street_clip: Path, tmp_path: Path
) -> None:
    clip_id = server.client.post_clip(street_clip, wait=PATIENCE_S).json()["id"]
    url = f"/v1/clips/{clip_id}/annotated.mp4"
    bodies: list[bytes] = []
    askers = [threading.Thread(target=lambda: bodies.append(server.client.get(url).content)) for _ in range(2)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert bodies[0] == bodies[1]
    part = server.client.get(url, headers={"range": "bytes=0-99"})
    assert (part.status_code, part.content) == (206, bodies[0][:100])
    video = tmp_path / "annotated.mp4"
    video.write_bytes(bodies[0])
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert sum(1 for _ in container.decode(stream)) == 53


@pytest.mark.slow
def test_a_second_service_on_the_same_folder_refuses_in_one_line(server: ServerProcess) -> None:
    second = subprocess.run(
        command("serve"), env=environment(server.data_dir, port=0), capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert second.returncode == 1
    (line,) = second.stderr.strip().splitlines()
    assert "in use by another daflow process" in line


@pytest.mark.slow
def test_a_service_told_to_stop_closes_its_database_and_gives_up_its_folder(
    tmp_path: Path, pose_weights: Path, long_clip: Path
) -> None:
    data = tmp_path / "data"
    with server_process(data, ready=False, pose_weights=pose_weights) as server:
        clip_id = start(server, long_clip)
        server.process.terminate()
        server.process.wait(PATIENCE_S)
        assert not (data / "daflow.db-wal").exists()
    with closing(Database.open(f"sqlite:///{data / 'daflow.db'}")) as database:
        job = ClipStore(database).get(clip_id)
    assert (job.state, job.attempts) == (ClipState.QUEUED, 0)


@pytest.mark.slow
def test_missing_weights_are_told_by_everything_and_used_as_soon_as_they_appear(
    tmp_path: Path, pose_weights: Path, street_clip: Path
) -> None:
    late = tmp_path / f"late{pose_weights.suffix}"
    with server_process(tmp_path / "data", ready=False, pose_weights=late, pose_image_size=320) as server:
        eventually(lambda: "late" in server.client.get("/readyz").text, "loading has failed")
        (missing,) = refused(server.client.get("/readyz"), 503, "not-ready")["missing"]
        assert missing["setting"] == "DAFLOW_POSE_WEIGHTS"
        assert str(late) in missing["detail"]
        refusal = refused(server.client.post_clip(street_clip), 503, "models-unavailable")
        assert refusal["setting"] == "DAFLOW_POSE_WEIGHTS"
        doctor = subprocess.run(
            command("doctor", "--json"),
            env=environment(server.data_dir, pose_weights=late),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert doctor.returncode == 1
        findings = [finding for finding in json.loads(doctor.stdout) if not finding["ok"]]
        assert [finding["setting"] for finding in findings] == ["DAFLOW_POSE_WEIGHTS"]
        late.symlink_to(pose_weights)
        eventually(lambda: server.client.get("/readyz").status_code == 200, "the models are loaded")
        assert server.client.post_clip(street_clip, wait=PATIENCE_S).json()["state"] == "done"


def _is_decoder(process: psutil.Process) -> bool:
    try:
        return "service.clips.decoding" in process.cmdline()
    except psutil.NoSuchProcess:
        return False
