"""Metrics that are read from the parts of the service at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from pose.sight import CannotSee
from service.cameras.status import CameraStatus
from service.clips.store import ClipStore
from service.notifications.store import DeliveryState


class BackendsCollector(Collector):
    """Whether each backend (Redis, webhook, MQTT) works.

    Args:
        problems: What is wrong with each backend, by name; None for one that works.
        waiting: Messages that wait for Redis, and scores that were never sent to it; None without Redis.
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
        """One series for each backend; deliveries are left out while the database cannot be read."""
        up = GaugeMetricFamily(
            "daflow_backend_up", "1 while the backend (redis, webhook or mqtt) works, else 0.", labels=["backend"]
        )
        # The name in the first release, kept for existing alerts until the next release.
        old = GaugeMetricFamily("daflow_engine_up", "Old name of daflow_backend_up.", labels=["engine"])
        for name, problem in self._problems().items():
            up.add_metric([name], problem is None)
            old.add_metric([name], problem is None)
        yield from (up, old)
        if self._waiting is not None:
            waiting, dropped = self._waiting()
            yield GaugeMetricFamily("daflow_relay_waiting", "Messages that wait for Redis.", waiting)
            yield CounterMetricFamily("daflow_relay_scores_dropped", "Scores that were never sent to Redis.", dropped)
        if self._deliveries is not None:
            deliveries = GaugeMetricFamily("daflow_deliveries", "Events for the webhook by state.", labels=["state"])
            try:
                for state, number in self._deliveries().items():
                    deliveries.add_metric([state], number)
            except SQLAlchemyError:
                return
            yield deliveries


class ClipCollector(Collector):
    """Number of clips in each state.

    Args:
        store: The clips in the database.
    """

    def __init__(self, store: ClipStore) -> None:
        self._store = store

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Count the clips now; the metric is left out while the database cannot be read."""
        family = GaugeMetricFamily("daflow_clips", "Clips by state.", labels=["state"])
        try:
            counts = self._store.count()
        except SQLAlchemyError:
            return
        for state, number in counts.items():
            family.add_metric([state], number)
        yield family


class CameraCollector(Collector):
    """State, frame rates and counts of each camera.

    Args:
        statuses: Returns the status of each camera.
    """

    def __init__(self, statuses: Callable[[], Sequence[CameraStatus]]) -> None:
        self._statuses = statuses

    def collect(self) -> Iterator[Metric]:
        """Read the status of each camera now."""
        state = GaugeMetricFamily(
            "daflow_camera_state", "1 for the current state of the camera.", labels=["camera", "state"]
        )
        cannot_see = GaugeMetricFamily(
            "daflow_camera_cannot_see",
            "1 while the camera cannot see people for this reason, else 0.",
            labels=["camera", "reason"],
        )
        fps_in = GaugeMetricFamily(
            "daflow_camera_fps_in", "Input frame rate: frames per second that arrive.", labels=["camera"]
        )
        fps = GaugeMetricFamily(
            "daflow_camera_fps_processed", "Processed frame rate: frames per second that are scored.", labels=["camera"]
        )
        read = CounterMetricFamily("daflow_camera_frames_read", "Frames that arrived.", labels=["camera"])
        processed = CounterMetricFamily("daflow_camera_frames_processed", "Frames that were scored.", labels=["camera"])
        dropped = CounterMetricFamily(
            "daflow_camera_frames_dropped",
            "Frames that arrived and were not scored, by reason.",
            labels=["camera", "reason"],
        )
        surplus = CounterMetricFamily(
            "daflow_camera_people_left_out",
            "People that were left out of skeletons because a frame held more than 64.",
            labels=["camera"],
        )
        reconnects = CounterMetricFamily("daflow_camera_reconnects", "Lost connections.", labels=["camera"])
        suppressed = CounterMetricFamily(
            "daflow_incidents_suppressed", "Incidents suppressed by the cooldown.", labels=["camera"]
        )
        stale = GaugeMetricFamily(
            "daflow_camera_calibration_stale",
            "1 while the camera's own calibration does not hold any more, else 0.",
            labels=["camera"],
        )
        for camera in self._statuses():
            stale.add_metric([camera.id], camera.calibration == "stale")
            state.add_metric([camera.id, camera.state], 1)
            for cause in CannotSee:
                cannot_see.add_metric([camera.id, cause], camera.cannot_see is cause)
            fps_in.add_metric([camera.id], camera.fps_in or 0)
            fps.add_metric([camera.id], camera.fps_processed or 0)
            read.add_metric([camera.id], camera.frames_read)
            processed.add_metric([camera.id], camera.frames_processed)
            for reason, number in camera.dropped.items():
                dropped.add_metric([camera.id, reason], number)
            surplus.add_metric([camera.id], camera.surplus)
            reconnects.add_metric([camera.id], camera.reconnects)
            suppressed.add_metric([camera.id], camera.suppressed)
        yield from (state, cannot_see, stale, fps_in, fps, read, processed, dropped, surplus, reconnects, suppressed)
