"""Prometheus metrics that the parts of the service update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

_AGES: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)
_STAGES: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
_BATCHES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_SECONDS: Final = (0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """Counters and histograms; ``/metrics`` shows all of `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.clip_seconds = Histogram(
            "daflow_clip_seconds",
            "Seconds from the start to the end of scoring a clip, by final state.",
            ["state"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.frames = Counter("daflow_frames_scored", "Frames of clips scored.", registry=self.registry)
        self.rejected = Counter(
            "daflow_uploads_rejected",
            "Clips that were refused or could not be fetched, by cause.",
            ["cause"],
            registry=self.registry,
        )
        self.models_ready = Gauge(
            "daflow_models_ready", "1 when the models are loaded, else 0.", registry=self.registry
        )
        self.dropped_events = Counter(
            "daflow_clip_events_dropped",
            "Events of clips that were dropped for slow subscribers.",
            registry=self.registry,
        )
        self.dropped_scores = Counter(
            "daflow_scores_dropped", "Scores of cameras that were dropped for slow subscribers.", registry=self.registry
        )
        self.score_age = Histogram(
            "daflow_score_age_seconds",
            "Seconds from the capture of a frame to the publication of its score.",
            ["camera"],
            buckets=_AGES,
            registry=self.registry,
        )
        self.camera_states = Counter(
            "daflow_camera_state_changes", "State changes of a camera.", ["camera", "state"], registry=self.registry
        )
        self.sight_losses = Counter(
            "daflow_camera_sight_losses",
            "Times that a camera could no longer see people, by reason.",
            ["camera", "reason"],
            registry=self.registry,
        )
        self.incidents = Counter(
            "daflow_incidents",
            "Incidents that started, by kind and severity at the start.",
            ["camera", "kind", "severity"],
            registry=self.registry,
        )
        self.engine_seconds = Histogram(
            "daflow_engine_stage_seconds",
            "Seconds of one round of the live loop, by stage.",
            ["stage"],
            buckets=_STAGES,
            registry=self.registry,
        )
        self.engine_frames = Histogram(
            "daflow_engine_batch_frames",
            "Frames in one round of the live loop.",
            buckets=_BATCHES,
            registry=self.registry,
        )
        self.engine_windows = Histogram(
            "daflow_engine_batch_windows",
            "Windows scored in one round of the live loop.",
            buckets=(0, *_BATCHES),
            registry=self.registry,
        )
        self.notifications = Counter(
            "daflow_notifications",
            "Attempts to notify, by backend or callback, and by outcome: delivered, failed (tried again later) or dead "
            "(given up).",
            ["sink", "outcome"],
            registry=self.registry,
        )
        self.engine_restarts = Counter(
            "daflow_engine_restarts", "Times that the live loop failed and was restarted.", registry=self.registry
        )

    def watch(
        self,
        *,
        models_ready: Callable[[], float],
        score_subscribers: Callable[[], float],
        score_backlog: Callable[[], float],
        event_subscribers: Callable[[], float],
        event_lag: Callable[[], float],
        events_waiting: Callable[[], float],
        evidence_dropped: Callable[[], float],
    ) -> None:
        """Add gauges that call these functions at each scrape."""
        self.models_ready.set_function(models_ready)
        for name, text, ask in (
            ("daflow_score_subscribers", "Subscribers to scores of cameras.", score_subscribers),
            ("daflow_score_backlog", "Scores that wait for the slowest subscriber.", score_backlog),
            ("daflow_event_subscribers", "Subscribers to incidents.", event_subscribers),
            ("daflow_event_lag", "Events that the slowest subscriber has not read.", event_lag),
            ("daflow_events_waiting", "Events that wait to be written to the database.", events_waiting),
            ("daflow_evidence_frames_dropped", "Frames that the recorder of evidence dropped.", evidence_dropped),
        ):
            Gauge(name, text, registry=self.registry).set_function(ask)

    def forget_camera(self, camera_id: str) -> None:
        """Remove the series of a camera that was deleted."""
        self.score_age.remove_by_labels({"camera": camera_id})
        self.camera_states.remove_by_labels({"camera": camera_id})
        self.sight_losses.remove_by_labels({"camera": camera_id})
        self.incidents.remove_by_labels({"camera": camera_id})
