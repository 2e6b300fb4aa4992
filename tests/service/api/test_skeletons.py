"""Scoring of skeleton sequences over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from model.behaviours import Behaviours, Finding
from model.behaviours import Kind as Behaviour
from service.api import skeletons
from service.api.problems import Kind
from service.clips import scorer
from service.documents.results import ClipResult
from tests.doubles.findings import SAW, finding
from tests.doubles.models import unavailable
from tests.doubles.servers import (
    HELD_S,
    CardboardScorer,
    LiveServer,
    Serve,
    chunk,
    eventually,
    raw_connection,
    read_answer,
)
from tests.doubles.subscribers import skeleton_frame
from tests.service.api.test_clips import problem


def sequence(frames: int, start: float = 0.0) -> dict[str, Any]:
    people = [skeleton_frame(number) for number in range(frames)]
    shown = [{"time_s": start + frame["time_s"], "people": frame["people"]} for frame in people]
    return {"width": 640, "height": 480, "frames": shown}


def test_a_sequence_is_scored_like_a_clip(live: LiveServer) -> None:
    answer = live.client.post("/v1/skeletons", json=sequence(60))
    assert answer.status_code == 200, answer.text
    result = ClipResult.model_validate_json(answer.content)
    assert (result.clip.frames, result.clip.width, result.clip.fps) == (60, 640, 15)
    assert [track.id for track in result.tracks] == [1]
    assert all(frame.level is not None for frame in result.frames[:50])
    assert result.frames[0].people[0].keypoints is None
    whole = live.client.post("/v1/skeletons", json=sequence(3), params={"keypoints": True}).json()
    assert len(whole["frames"][0]["people"][0]["keypoints"]) == 17


class Falling(Behaviours):
    """Sees the first person lie from the second frame on."""

    def observe(
        self,
        time: float,
        track_ids: Sequence[int],
        boxes: NDArray[np.float32],
        keypoints: NDArray[np.float32],
        size: tuple[int, int],
    ) -> list[Finding]:
        assert (boxes.shape, keypoints.shape, size) == ((1, 4), (1, 17, 3), (640, 480))
        return [finding(Behaviour.LYING, 0.9 + 2 * time, 0.0, tracks=tuple(track_ids))]


def test_what_happens_is_named_though_the_sequence_is_too_short_for_a_score(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorer, "Behaviours", Falling)
    answer = live.client.post("/v1/skeletons", json=sequence(3, start=100.0))
    result = ClipResult.model_validate_json(answer.content)
    assert all(frame.level is None for frame in result.frames)
    assert [frame.people[0].firing for frame in result.frames] == [[], [Behaviour.LYING], [Behaviour.LYING]]
    (anomaly,) = answer.json()["anomalies"]
    assert anomaly == {
        "kind": "lying",
        "title": "Person lying, 1 person",
        "start_s": 0.0,
        "end_s": pytest.approx(2 / 15, abs=1e-6),
        "explanation": SAW,
        "facts": {"fell_h": 0.6, "fall_s": 0.7},
        "joints": [11, 12],
        "peak_level": 0.0,
        "tracks": [1],
    }


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"", ""),
        (b"{]", ""),
        (json.dumps(sequence(0)).encode(), "frames"),
        (json.dumps(sequence(2) | {"width": 0}).encode(), "width"),
        (json.dumps({"width": 1, "height": 1, "frames": [{"time_s": 1, "people": [{}]}]}).encode(), "frames.0"),
    ],
)
def test_a_sequence_that_is_none_is_refused_and_the_mistake_named(body: bytes, name: str, live: LiveServer) -> None:
    document = problem(live.client.post("/v1/skeletons", content=body), Kind.INVALID_REQUEST)
    assert document["errors"][0]["name"].startswith(name)


def test_a_thousand_mistakes_are_told_in_a_few_lines(live: LiveServer) -> None:
    wrong = sequence(1000)
    for frame in wrong["frames"]:
        frame["people"][0]["track"] = 0
    assert len(live.client.post("/v1/skeletons", json=wrong).content) < 5000


def test_a_body_that_never_ends_is_cut_off(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skeletons, "MAX_BYTES", 1000)
    with raw_connection(client.base_url.port or 0, {"Transfer-Encoding": "chunked"}, "/v1/skeletons") as connection:
        connection.sendall(chunk(b"[" * 999) + chunk(b"[["))
        assert problem(read_answer(connection), Kind.BODY_TOO_LARGE)["limit_bytes"] == 1000


def test_sequences_wait_for_their_turn_and_only_a_few_may(serve: Serve, scorer: CardboardScorer) -> None:
    live = serve()

    def post() -> httpx.Response:
        return live.client.post("/v1/skeletons", json=sequence(2, HELD_S))

    queue = live.app.state.skeletons
    with ThreadPoolExecutor(skeletons.QUEUE_SIZE) as pool:
        waiting = [pool.submit(post) for _ in range(skeletons.QUEUE_SIZE)]
        eventually(lambda: queue.waiting == skeletons.QUEUE_SIZE, "every place is taken")
        refused = post()
        assert refused.headers["retry-after"] == "5"
        problem(refused, Kind.QUEUE_FULL)
        assert scorer.started == ["skeletons"]
        scorer.gate.set()
        assert [answer.result().status_code for answer in waiting] == [200] * skeletons.QUEUE_SIZE
    assert queue.waiting == 0


def test_without_models_there_are_no_scores(serve: Serve) -> None:
    live = serve(unavailable)
    eventually(lambda: live.runtime.models.problem is not None, "the models have failed")
    document = problem(live.client.post("/v1/skeletons", json=sequence(2)), Kind.MODELS_UNAVAILABLE)
    assert document["setting"] == "DAFLOW_POSE_WEIGHTS"
