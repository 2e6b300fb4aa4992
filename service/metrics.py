"""Prometheus metrics of one service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from service.storage import Store

_SECONDS: Final = (0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """Counters that the rooms of the service raise; `registry` is what ``/metrics`` shows."""

    def __init__(self, store: Store) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_ClipStates(store))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.clip_seconds = Histogram(
            "daflow_clip_seconds",
            "Seconds that scoring a clip took.",
            ["state"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.frames = Counter("daflow_frames_scored", "Frames scored.", registry=self.registry)
        self.rejected = Counter(
            "daflow_uploads_rejected", "Uploads that were not accepted.", ["cause"], registry=self.registry
        )
        self.models_ready = Gauge("daflow_models_ready", "1 when the models are loaded.", registry=self.registry)
        self.dropped_events = Counter(
            "daflow_clip_events_dropped", "Events that slow WebSocket readers did not get.", registry=self.registry
        )


class _ClipStates(Collector):
    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Count clips at the time of asking; a database that cannot be read leaves the metric out."""
        family = GaugeMetricFamily("daflow_clips", "Clips by state.", labels=["state"])
        try:
            counts = self._store.count()
        except SQLAlchemyError:
            return
        for state, number in counts.items():
            family.add_metric([state], number)
        yield family
