"""What can be said of the container files without an engine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from service.metrics import Metrics

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DASHBOARD = json.loads((ROOT / "docker" / "grafana" / "dashboards" / "daflow-live.json").read_text())


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_pinned_unprivileged_read_only_and_looked_after(name: str) -> None:
    service = SERVICES[name]
    tag = service["image"].rsplit(":", 1)[-1].rstrip("}")
    assert re.match(r"v?\d+\.\d+", tag), f"no version in {service['image']}"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["user"].split(":")[0] not in ("", "0", "root")
    assert service["healthcheck"]["test"]
    assert all(str(port).startswith("${") and "127.0.0.1" in str(port) for port in service.get("ports", []))


def test_the_service_stands_alone_unless_more_is_asked_for() -> None:
    assert [name for name, service in SERVICES.items() if not service.get("profiles")] == ["daflow"]
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", [])}
    assert profiles == {"postgres", "redis", "mqtt", "monitoring", "rtsp", "gpu"}


def test_the_image_runs_as_nobody_in_particular_and_says_what_it_is() -> None:
    text = (ROOT / "docker" / "Dockerfile").read_text()
    assert re.search(r"^USER 10001", text, re.MULTILINE)
    assert "--constraint constraints.txt" in text
    for label in ("title", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in text
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*", "nothing goes to the builder that is not named"
    assert not {"!.git", "!data/", "!tests/"} & set(rules)


def test_panels_and_alerts_ask_for_metrics_that_there_are() -> None:
    named = set()
    for module in ("metrics.py", "collectors.py"):
        named |= set(re.findall(r"daflow_\w+", (ROOT / "service" / module).read_text()))
    named |= set(re.findall(r"daflow_\w+", generate_latest(Metrics().registry).decode()))
    asked = set(re.findall(r"daflow_\w+", json.dumps(DASHBOARD)))
    asked |= set(re.findall(r"daflow_\w+", (ROOT / "docker" / "prometheus" / "alerts.yml").read_text()))
    assert len(asked) > 10
    known = named | {f"{name}{end}" for name in named for end in ("_total", "_bucket", "_sum", "_count")}
    assert asked <= known, asked - known
