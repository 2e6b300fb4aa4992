"""A recorder of evidence with a clock of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from model.behaviours import Finding
from service.documents.messages import Score
from service.drawing.overlay import Image
from service.incidents.recorder import EvidenceRecorder
from service.storage.evidence import EvidenceKind, EvidenceStore
from tests.doubles.media import numbered
from tests.doubles.scores import live_score
from tests.doubles.servers import PATIENCE_S, eventually

SIZE = (96, 72)


CAMERA = "entrance"


class Stage:
    """A recorder with a clock of its own, and what it reported.

    Frames are numbered from 0 in the order in which they are shown, over all cameras.
    """

    def __init__(
        self, root: Path, *, before_s: float = 1.0, after_s: float = 1.0, max_s: float = 20.0, width: int = 640
    ) -> None:
        root.mkdir(exist_ok=True)
        self.store = EvidenceStore(root)
        self.now = 100.0
        self.shown: list[float] = []
        self.done: list[tuple[str, EvidenceKind, str, str | None]] = []
        self.recorder = EvidenceRecorder(
            self.store,
            before_s=before_s,
            after_s=after_s,
            max_s=max_s,
            width=width,
            on_done=lambda *news: self.done.append(news),
            monotonic=lambda: self.now,
        )

    def show(self, levels: Sequence[float | None], *, fps: float = 10.0, camera: str = CAMERA) -> None:
        """Let the time pass in which a camera delivers frames of these levels."""
        for level in levels:
            self.frame(level, camera=camera)
            self.now = round(self.now + 1 / fps, 6)

    def frame(self, level: float | None, *, camera: str = CAMERA, picture: bool = True) -> None:
        self.score(live_score(level, camera=camera, size=SIZE, people=[]), picture=picture)

    def score(self, score: Score, *, picture: bool = True, findings: Sequence[Finding] = ()) -> None:
        image = numbered(len(self.shown), *SIZE) if picture else None
        self.recorder.frame(score.camera, image, score, findings)
        self.shown.append(self.now)
        deadline = time.monotonic() + PATIENCE_S
        while self.recorder.waiting:
            assert time.monotonic() < deadline, "the recorder looks at nothing"
            time.sleep(0.001)

    def begin(self, incident: str, *, camera: str = CAMERA, picture: bool = True, ago: float = 0.0) -> None:
        self.recorder.started(camera, incident, picture, self.now - ago)

    def outcome(self, incident: str, kind: EvidenceKind) -> tuple[str, str | None]:
        """What became of a piece of evidence, once it is told."""

        def told() -> list[tuple[str, str | None]]:
            return [news[2:] for news in self.done if news[:2] == (incident, kind)]

        eventually(told, f"the {kind} of {incident} is done")
        (only,) = told()
        return only

    def snapshot(self, incident: str, *, background: bool = True) -> Image:
        image = cv2.imread(str(self.store.file(incident, "snapshot", background=background)))
        return np.asarray(image, np.uint8)

    def clip(self, incident: str, *, background: bool = True) -> tuple[list[float], list[Image]]:
        with av.open(str(self.store.file(incident, "clip", background=background))) as container:
            frames = [*container.decode(video=0)]
        return [float(frame.time) for frame in frames], [
            np.asarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in frames
        ]

    def files(self, incident: str) -> list[str]:
        return sorted(path.name for path in (self.store.root / incident).iterdir())
