"""Metrics that are read from the parts of the service when Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from service.cameras.status import CameraStatus
from service.clips.store import ClipStore
from service.notifications.store import DeliveryState


class BackendsCollector(Collector):
    """Whether Redis, the webhook and MQTT work.

    Args:
        problems: What is wrong with each, by name; None for one that works.
        waiting: Messages that Redis has not got yet, and scores that it never got; None without Redis.
        deliveries: Deliveries of the webhook by state; None without a webhook.
    """

    def __init__(
        self,
        problems: Callable[[], Mapping[str, str | None]],
        waiting: Callable[[], tuple[int, int]] | None,
        deliveries: Callable[[], Mapping[DeliveryState, int]] | None,
    ) -> None:
        self._problems = problems
        self._waiting = waiting
        self._deliveries = deliveries

    def collect(self) -> Iterator[Metric]:
        """One series for each; a database that cannot be read leaves its metric out."""
        up = GaugeMetricFamily("daflow_backend_up", "1 while Redis, the webhook or MQTT works.", labels=["backend"])
        # The name of the first release, for alerts that were written then; the next release drops it.
        old = GaugeMetricFamily("daflow_engine_up", "Use daflow_backend_up.", labels=["engine"])
        for name, problem in self._problems().items():
            up.add_metric([name], problem is None)
            old.add_metric([name], problem is None)
        yield from (up, old)
        if self._waiting is not None:
            waiting, dropped = self._waiting()
            yield GaugeMetricFamily("daflow_relay_waiting", "Messages that wait for Redis.", waiting)
            yield CounterMetricFamily("daflow_relay_scores_dropped", "Scores that Redis never got.", dropped)
        if self._deliveries is not None:
            deliveries = GaugeMetricFamily("daflow_deliveries", "Events for the webhook by state.", labels=["state"])
            try:
                for state, number in self._deliveries().items():
                    deliveries.add_metric([state], number)
            except SQLAlchemyError:
                return
            yield deliveries


class ClipCollector(Collector):
    """Clips by state.

    Args:
        store: Where they are counted.
    """

    def __init__(self, store: ClipStore) -> None:
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


class CameraCollector(Collector):
    """How all cameras are at the time of asking.

    Args:
        statuses: Says how they are.
    """

    def __init__(self, statuses: Callable[[], Sequence[CameraStatus]]) -> None:
        self._statuses = statuses

    def collect(self) -> Iterator[Metric]:
        """One series for each camera."""
        state = GaugeMetricFamily("daflow_camera_state", "1 for the state it is in.", labels=["camera", "state"])
        fps_in = GaugeMetricFamily("daflow_camera_fps_in", "Frames per second that arrive.", labels=["camera"])
        fps = GaugeMetricFamily("daflow_camera_fps_processed", "Frames per second that are scored.", labels=["camera"])
        read = CounterMetricFamily("daflow_camera_frames_read", "Frames that arrived.", labels=["camera"])
        processed = CounterMetricFamily("daflow_camera_frames_processed", "Frames that were scored.", labels=["camera"])
        dropped = CounterMetricFamily(
            "daflow_camera_frames_dropped", "Frames that were not scored.", labels=["camera", "reason"]
        )
        reconnects = CounterMetricFamily("daflow_camera_reconnects", "Lost connections.", labels=["camera"])
        suppressed = CounterMetricFamily(
            "daflow_incidents_suppressed", "Incidents held back by the cooldown.", labels=["camera"]
        )
        for camera in self._statuses():
            state.add_metric([camera.id, camera.state], 1)
            fps_in.add_metric([camera.id], camera.fps_in or 0)
            fps.add_metric([camera.id], camera.fps_processed or 0)
            read.add_metric([camera.id], camera.frames_read)
            processed.add_metric([camera.id], camera.frames_processed)
            for reason, number in camera.dropped.items():
                dropped.add_metric([camera.id, reason], number)
            reconnects.add_metric([camera.id], camera.reconnects)
            suppressed.add_metric([camera.id], camera.suppressed)
        yield from (state, fps_in, fps, read, processed, dropped, reconnects, suppressed)
