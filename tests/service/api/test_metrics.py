from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.doubles.servers import Client


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
