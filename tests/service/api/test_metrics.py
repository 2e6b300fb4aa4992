from __future__ import annotations

import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.doubles.servers import Client, Serve
from tests.doubles.tools import tool


def test_the_metrics_are_what_prometheus_can_read(client: Client) -> None:
    assert client.post_clip(b"clip", wait=60).json()["state"] == "done"
    assert client.put("/v1/cameras/gate", json={"url": "skeletons:"}).status_code == 201
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = list(text_string_to_metric_families(answer.text))
    names = [family.name for family in families]
    assert len(set(names)) == len(names)
    assert {"daflow_frames_scored", "daflow_camera_frames_read", "daflow_clip_seconds"} <= set(names)
    for family in families:
        assert family.documentation, family.name
        assert family.type in ("counter", "gauge", "histogram", "summary", "info"), family.name
        samples = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
        assert len(set(samples)) == len(samples), family.name
    assert answer.text.endswith("\n")


def promtool(metrics: str) -> str:
    """What Prometheus's own checker has against metrics, one fault a line; empty if nothing."""
    checked = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=metrics, capture_output=True, text=True, timeout=60
    )
    faults = checked.stdout + checked.stderr
    assert bool(faults) == bool(checked.returncode)
    return faults


def test_the_checker_of_prometheus_has_nothing_against_any_metric(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.live.lane.Lane.dropped", {"overload": 1})
    live = serve(
        redis_url="redis://127.0.0.1:9",
        webhook_url="http://127.0.0.1:9/",
        webhook_secret="0123456789" * 4,
        allowed_stream_cidrs="127.0.0.0/8",
        mqtt_url="mqtt://127.0.0.1:9",
    )
    assert live.client.post_clip(b"clip", wait=60).json()["state"] == "done"
    assert live.client.put("/v1/cameras/gate", json={"url": "skeletons:"}).status_code == 201
    kept = live.runtime.metrics
    for counter, labels in (
        (kept.incidents, ("gate", "fall", "alert")),
        (kept.camera_states, ("gate", "online")),
        (kept.sight_losses, ("gate", "too_dark")),
        (kept.notifications, ("webhook", "failed")),
        (kept.rejected, ("too-large",)),
    ):
        counter.labels(*labels).inc()
    kept.score_age.labels("gate").observe(0.1)
    kept.engine_seconds.labels("pose").observe(0.1)
    metrics = live.client.get("/metrics").text
    families = {family.name: family.samples for family in text_string_to_metric_families(metrics)}
    assert {"daflow_backend_up", "daflow_relay_scores_dropped", "daflow_deliveries", "daflow_clips"} <= families.keys()
    assert [name for name, samples in families.items() if not samples] == [], "a metric without values is not checked"
    assert promtool(metrics) == ""


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("daflow_frames_scored_total", "daflow_frames_scored", 'should have "_total" suffix'),
        ("# HELP daflow_models_ready 1 when the models are loaded, else 0.\n", "", "no help text"),
        ("daflow_models_ready", "daflowModelsReady", "snake_case"),
        ("daflow_models_ready 1.0", "daflow_models_ready yes", "expected float"),
    ],
)
def test_the_checker_of_prometheus_notices_what_is_wrong(before: str, after: str, fault: str, client: Client) -> None:
    metrics = client.get("/metrics").text
    assert before in metrics
    assert fault in promtool(metrics.replace(before, after))
