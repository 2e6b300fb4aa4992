from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest
from sqlalchemy.exc import OperationalError

from pose.probe import VideoInfo
from service.clips import worker
from service.clips.decoding import ClipLimits
from service.clips.store import ClipStore
from service.clips.tables import ClipJob
from service.scoring.loading import LoadedModels
from service.settings import Settings
from tests.doubles.models import cardboard_models
from tests.doubles.servers import CardboardScorer, Client, Serve, cardboard_inspect, eventually

LIMITS = ClipLimits(max_seconds=60, max_pixels=1920 * 1080, max_fps=240, stall_s=20, memory_bytes=4 * 1024**3)


def test_a_disk_that_fills_up_before_the_result_fails_the_clip_and_says_so(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_target: Path) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(worker, "atomic_write", full)
    document = client.post_clip(b"clip", wait=60).json()
    assert (document["state"], document["error"]["cause"]) == ("failed", "storage-full")


def test_a_database_that_fails_for_a_moment_loses_no_result(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    finish, failures = ClipStore.finish, iter([True, False])

    def unreliable(store: ClipStore, clip_id: str, *, frames: int) -> ClipJob:
        if next(failures):
            raise OperationalError("UPDATE", None, RuntimeError("disk I/O error"))
        return finish(store, clip_id, frames=frames)

    monkeypatch.setattr(ClipStore, "finish", unreliable)
    document = client.post_clip(b"clip", wait=60).json()
    assert (document["state"], document["attempts"]) == ("done", 1)


def test_a_worker_survives_a_queue_that_cannot_be_read(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    live = serve()
    claim, failures = ClipStore.claim, iter([True])

    def unreliable(store: ClipStore, most_frames: int | None = None) -> ClipJob | None:
        if next(failures, False):
            raise OperationalError("UPDATE", None, RuntimeError("disk I/O error"))
        return claim(store, most_frames)

    monkeypatch.setattr(ClipStore, "claim", unreliable)
    assert live.client.post_clip(b"clip", wait=60).json()["state"] == "done"


def connection_lost(written: object) -> NoReturn:
    """What a writer hears if the database is lost after the commit and before the answer."""
    raise OperationalError("COMMIT", None, RuntimeError(f"server closed the connection, {written} is stored"))


def lose_the_answer_of_the_next_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    claim, failures = ClipStore.claim, iter([True])

    def unreliable(store: ClipStore, most_frames: int | None = None) -> ClipJob | None:
        job = claim(store, most_frames)
        return connection_lost(job) if job is not None and next(failures, False) else job

    monkeypatch.setattr(ClipStore, "claim", unreliable)


def test_a_clip_whose_claim_was_stored_without_an_answer_is_scored_all_the_same(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = serve()
    lose_the_answer_of_the_next_claim(monkeypatch)
    document = live.client.post_clip(b"clip", wait=60).json()
    assert (document["state"], document["attempts"]) == ("done", 1)


def test_a_clip_that_runs_stays_with_its_worker_when_a_claim_is_in_doubt(
    serve: Serve, scorer: CardboardScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = serve(clip_workers=2)
    held = live.client.post_clip(b"hold").json()["id"]
    eventually(lambda: scorer.started == [held], "the clip runs")
    lose_the_answer_of_the_next_claim(monkeypatch)
    other = live.client.post_clip(b"clip").json()["id"]
    live.client.until(other, "done")
    scorer.gate.set()
    assert live.client.until(held, "done")["attempts"] == 1
    assert sorted(scorer.started) == sorted([held, other])


@pytest.mark.parametrize(("content", "state", "method"), [(b"clip", "done", "finish"), (b"reject", "failed", "fail")])
def test_an_outcome_that_was_stored_without_an_answer_is_told(
    client: Client, content: bytes, state: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = getattr(ClipStore, method), iter([True])

    def unreliable(*arguments: object, **options: object) -> ClipJob:
        job: ClipJob = write(*arguments, **options)
        return connection_lost(job) if next(failures, False) else job

    monkeypatch.setattr(ClipStore, method, unreliable)
    posted = client.post_clip(content).json()["id"]
    with client.events(posted) as events:
        assert [message["type"] for message in map(json.loads, events)][-1] == state
    assert client.clip(posted)["attempts"] == 1


def test_as_many_clips_run_at_once_as_there_are_workers(serve: Serve, scorer: CardboardScorer) -> None:
    client = serve(clip_workers=2).client
    posted = [client.post_clip(b"hold").json()["id"] for _ in range(3)]
    eventually(lambda: len(scorer.started) == 2, "two clips run")
    assert client.get("/v1/clips", params={"state": "queued"}).json()["clips"][0]["id"] == posted[2]
    scorer.gate.set()
    for clip_id in posted:
        client.until(clip_id, "done")


def test_weights_that_break_their_loader_are_reported_and_tried_again(serve: Serve, tmp_path: Path) -> None:
    attempts = iter([True])

    def load(settings: Settings) -> LoadedModels:
        if next(attempts, False):
            raise ZeroDivisionError("not what weights look like")
        return cardboard_models(settings)

    weights = tmp_path / "weights.onnx"
    live = serve(load, pose_weights=str(weights))
    problem = eventually(lambda: live.runtime.models.problem, "loading has failed")
    assert "not what weights look like" in str(problem)
    assert live.client.get("/readyz").status_code == 503
    weights.touch()
    eventually(lambda: live.client.get("/readyz").status_code == 200, "loading was tried again")


LONG = VideoInfo(worker.SHORT_FRAMES + 1, 240.0, 64, 48, 6.0, "mp4", "h264")


def inspect_long(path: Path, limits: ClipLimits) -> VideoInfo:
    """Clips that hold have many frames, the others few."""
    return LONG if path.read_bytes().startswith(b"hold") else cardboard_inspect(path, limits)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_short_clip_waits_for_no_long_one(
    workers: int, serve: Serve, scorer: CardboardScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_TURN_S", 0.1)
    client = serve(clip_workers=workers).client
    monkeypatch.setattr("service.clips.uploads.inspect", inspect_long)
    long = [client.post_clip(b"hold").json()["id"] for _ in range(workers + 2)]
    eventually(lambda: len(scorer.started) == workers, "long clips run")
    for _ in range(3):
        assert client.post_clip(b"clip", wait=60).json()["state"] == "done"
    states = [client.clip(clip_id)["state"] for clip_id in long]
    assert states == ["running"] * workers + ["queued"] * 2
    scorer.gate.set()
    for clip_id in long:
        client.until(clip_id, "done")


def test_a_clip_that_waits_for_its_turn_can_be_cancelled(
    serve: Serve, scorer: CardboardScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_TURN_S", 0.1)
    client = serve().client
    monkeypatch.setattr("service.clips.uploads.inspect", inspect_long)
    long = client.post_clip(b"hold").json()["id"]
    eventually(lambda: len(scorer.started) == 1, "the long clip runs")
    monkeypatch.setattr("service.clips.uploads.inspect", cardboard_inspect)
    short = client.post_clip(b"hold").json()["id"]
    client.until(short, "running")
    assert client.post(f"/v1/clips/{long}/cancel").json()["state"] == "cancelled"
    assert client.clip(short)["state"] == "running"
    scorer.gate.set()
    client.until(short, "done")


@pytest.mark.parametrize("video", [LONG, cardboard_inspect(Path("/dev/null"), LIMITS)])
def test_a_clip_that_uses_up_its_seconds_fails_and_says_so(
    video: VideoInfo, serve: Serve, scorer: CardboardScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(max_clip_scoring_s=0.5).client
    monkeypatch.setattr("service.clips.uploads.inspect", lambda path, limits: video)
    document = client.post_clip(b"hold", wait=60).json()
    assert (document["state"], document["error"]["cause"]) == ("failed", "takes-too-long")
    assert "more than the 0.5 s" in document["error"]["detail"]
    scorer.gate.set()
    assert client.post_clip(b"clip", wait=60).json()["state"] == "done"
