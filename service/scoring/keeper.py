"""Loads the models of the service in the background, and tries again until they can be loaded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from service.scoring.loading import LoadedModels, ModelUnavailable

_LOOK_S: Final = 1.0
"""Seconds between two checks of the watched files."""

_RETRY_S: Final = 60.0
"""Loading is tried again after this many seconds even if no file has changed."""

log = structlog.get_logger(__name__)


class ModelKeeper:
    """Loads the models on a thread and keeps them.

    Args:
        load: Loads the models; raises `ModelUnavailable`, which names the setting to change.
        watched: Files that loading depends on; if one of them changes, loading is tried again within a second.
        look_s: Seconds between two looks at those files.
    """

    def __init__(
        self, load: Callable[[], LoadedModels], watched: Sequence[Path] = (), *, look_s: float = _LOOK_S
    ) -> None:
        self._load = load
        self._watched = tuple(watched)
        self._look_s = look_s
        self._loaded: LoadedModels | None = None
        self._problem: ModelUnavailable | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep_trying, name="models", daemon=True)

    @property
    def loaded(self) -> LoadedModels | None:
        """The models; None while they are loading or cannot be loaded."""
        return self._loaded

    @property
    def problem(self) -> ModelUnavailable | None:
        """Why the models cannot be loaded; None while they are loading and once they are loaded."""
        return self._problem

    def start(self) -> None:
        """Start loading."""
        self._thread.start()

    def stop(self) -> None:
        """Stop trying to load."""
        self._stopping.set()

    def reload(self) -> None:
        """Load the models again, after a device failure.

        `loaded` is None until they are loaded; clips that are being scored keep the models they have.
        """
        with self._lock:
            self._loaded = None
            if self._thread.is_alive() or self._stopping.is_set():
                return
            self._thread = threading.Thread(target=self._keep_trying, name="models", daemon=True)
            self._thread.start()

    def _keep_trying(self) -> None:
        # Before loading, so that a file which is completed while loading fails counts as changed.
        seen = self._fingerprint()
        while not self._try() and not self._stopping.is_set():
            seen = self._wait_for_change(seen)

    def _try(self) -> bool:
        try:
            loaded = self._load()
        except ModelUnavailable as error:
            if self._problem is None or str(error) != str(self._problem):
                log.error("models unavailable", reason=str(error), setting=error.setting)
            self._problem = error
            return False
        except Exception as error:
            # Weights are files from elsewhere: no error in loading them may end this thread, which tries again.
            log.exception("models failed to load")
            self._problem = ModelUnavailable("DAFLOW_POSE_WEIGHTS", f"loading the models failed: {error!r}")
            return False
        self._loaded, self._problem = loaded, None
        info = loaded.info
        log.info(
            "models ready",
            checkpoint=info.checkpoint,
            pose_weights=info.pose_weights,
            pose_runtime=info.pose_runtime,
            reason=loaded.runtime_reason,
        )
        return True

    def _wait_for_change(self, seen: list[tuple[int, int] | None]) -> list[tuple[int, int] | None]:
        waited, now = 0.0, seen
        while now == seen and waited < _RETRY_S and not self._stopping.wait(self._look_s):
            waited += self._look_s
            now = self._fingerprint()
        return now

    def _fingerprint(self) -> list[tuple[int, int] | None]:
        return [_stamp(path) for path in self._watched]


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
