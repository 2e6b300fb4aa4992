"""Adds, changes, watches and removes the cameras of a running service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Final
from weakref import WeakValueDictionary

import structlog
from pydantic import ValidationError

from service.addresses.urls import StreamUrl, StreamUrlError, UrlKind, parse
from service.cameras.camera import Camera, Latest, Post
from service.cameras.config import CameraConfig, CameraPatch, CamerasFileError, explain, read_cameras
from service.cameras.models import CameraModels
from service.cameras.skeleton_feed import SkeletonFeed
from service.cameras.status import CameraStatus
from service.cameras.store import CameraStore, UnknownCamera
from service.documents.base import EndReason

log = structlog.get_logger(__name__)

_WATCH_S: Final = 0.5
_SOURCE_FIELDS: Final = ("url", "enabled", "loop", "max_fps", "verify_tls", "picture")
"""A change of one of these fields opens the source anew."""


class TooManyCameras(RuntimeError):
    """The limit on the number of cameras is reached."""


class NotASkeletonFeed(RuntimeError):
    """Skeletons were sent for a camera that takes none."""


class CameraManager:
    """All cameras of the service; callable from any thread.

    Args:
        store: Where cameras are kept.
        post: What cameras use and report to.
        models: The calibration and weights of each camera.
    """

    def __init__(self, store: CameraStore, post: Post, models: CameraModels) -> None:
        self._store = store
        self._post = post
        self._models = models
        self._removal_listeners: list[Callable[[str], None]] = []
        self._lock = threading.Lock()
        self._adding = threading.Lock()
        self._turns: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._cameras: dict[str, Camera] = {}
        self._running = False
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="cameras", daemon=True)

    def when_removed(self, listener: Callable[[str], None]) -> None:
        """Call a listener with the id of each camera that is removed, before the id can be used again."""
        self._removal_listeners.append(listener)

    def load(self) -> None:
        """Create the cameras of the store and of the cameras file, without connecting to them.

        A stored camera that this version does not understand is skipped, and the log says so.

        Raises:
            CamerasFileError: The file cannot be read, or one of its cameras is refused.
        """
        for stored in self._store.all():
            try:
                config = CameraConfig.model_validate(stored.config)
                camera = Camera(stored.id, config, parse(config.url), self._post)
            except (ValidationError, StreamUrlError) as error:
                log.error("stored camera is not understood; put it again", camera=stored.id, reason=_reason(error))
                continue
            self._cameras[stored.id] = camera
            self._models.equip(camera)
        path = self._post.settings.cameras_file
        if path is not None:
            for camera_id, config in read_cameras(path).items():
                try:
                    self.put(camera_id, config)
                except (StreamUrlError, TooManyCameras) as error:
                    raise CamerasFileError(f"{path}: {camera_id}: {error}") from error

    def start(self) -> None:
        """Connect to all cameras."""
        with self._lock:
            self._running = True
        for camera in self.cameras():
            camera.start()
        self._watcher.start()

    def stop(self) -> None:
        """Stop all cameras in parallel, since each may take a second; their incidents end."""
        with self._lock:
            self._running = False
        self._stopping.set()
        if self._watcher.ident is not None:
            self._watcher.join()
        cameras = self.cameras()
        with ThreadPoolExecutor(max(len(cameras), 1)) as pool:
            for stopped in [pool.submit(camera.stop, EndReason.SERVICE_STOPPED) for camera in cameras]:
                stopped.result()

    def put(self, camera_id: str, config: CameraConfig) -> bool:
        """Add a camera, or change its configuration; the same configuration again changes nothing.

        Returns:
            Whether it is new.

        Raises:
            StreamUrlError: The URL is invalid or not allowed.
            TooManyCameras: The limit on the number of cameras is reached.
        """
        self._check(config)
        with self._turn(camera_id):
            return self._change(camera_id, config)

    def patch(self, camera_id: str, patch: CameraPatch) -> None:
        """Change some fields of a camera.

        Raises:
            UnknownCamera: There is none.
            ValidationError: A field is unknown or has an invalid value.
            StreamUrlError: The URL is invalid or not allowed.
        """
        with self._turn(camera_id):
            old = self.config(camera_id)
            config = patch.apply(old)
            if (config.url, config.loop) != (old.url, old.loop):
                self._check(config)
            self._change(camera_id, config)

    def delete(self, camera_id: str) -> None:
        """Remove a camera; its incidents stay.

        Raises:
            UnknownCamera: There is none.
        """
        with self._turn(camera_id):
            camera = self.camera(camera_id)
            self._store.delete(camera_id)
            with self._lock:
                del self._cameras[camera_id]
            camera.stop(EndReason.CAMERA_STOPPED)
            self._post.scores.end(camera_id)
            self._post.metrics.forget_camera(camera_id)
            self._models.forget(camera_id)
            for listener in self._removal_listeners:
                listener(camera_id)
        log.info("camera removed", camera=camera_id)

    def camera(self, camera_id: str) -> Camera:
        """One camera.

        Raises:
            UnknownCamera: There is none.
        """
        with self._lock:
            camera = self._cameras.get(camera_id)
        if camera is None:
            raise UnknownCamera(camera_id)
        return camera

    def config(self, camera_id: str) -> CameraConfig:
        """The configuration of a camera, with the credentials in its URL.

        Raises:
            UnknownCamera: There is none.
        """
        return self.camera(camera_id).config

    def status(self, camera_id: str) -> CameraStatus:
        """Status of a camera.

        Raises:
            UnknownCamera: There is none.
        """
        return self.camera(camera_id).status()

    def retention(self) -> dict[str, timedelta]:
        """How long incidents are kept, for each camera that has its own retention time."""
        chosen = {camera.id: camera.config.retention_hours for camera in self.cameras()}
        return {camera_id: timedelta(hours=hours) for camera_id, hours in chosen.items() if hours is not None}

    def statuses(self) -> list[CameraStatus]:
        """Status of all cameras, in order of their ids."""
        return [camera.status() for camera in self.cameras()]

    def latest(self, camera_id: str) -> Latest | None:
        """The newest processed frame of a camera, if there is one.

        Raises:
            UnknownCamera: There is none.
        """
        return self.camera(camera_id).latest

    def feed(self, camera_id: str) -> SkeletonFeed:
        """The skeleton feed to which a device sends.

        Raises:
            UnknownCamera: There is none.
            NotASkeletonFeed: The camera is no skeleton feed, or is disabled.
        """
        source = self.camera(camera_id).source
        if not isinstance(source, SkeletonFeed):
            raise NotASkeletonFeed(f"camera {camera_id} takes no skeletons; set its url to skeletons: and enable it")
        return source

    @contextmanager
    def _turn(self, camera_id: str) -> Iterator[None]:
        """Allow one change of a camera at a time: the old source stops before the new one starts."""
        with self._lock:
            turn = self._turns.setdefault(camera_id, threading.Lock())
        with turn:
            yield

    def _check(self, config: CameraConfig) -> None:
        url = parse(config.url)
        _check_loop(url, config)
        self._post.policy.check(url)

    def _change(self, camera_id: str, config: CameraConfig) -> bool:
        with self._lock:
            old = self._cameras.get(camera_id)
        if old is not None and config.url == old.url.redacted:
            # The API shows the URL without its password; sending that URL back keeps the password.
            config = config.model_copy(update={"url": old.config.url})
        if old is not None and old.config == config:
            return False
        url = parse(config.url)
        _check_credentials(url)
        if old is not None and _same_source(old.config, config):
            self._store.put(camera_id, config.model_dump(mode="json"))
            old.change(config)
            return False
        camera = Camera(camera_id, config, url, self._post)
        if old is not None:
            camera.adopt(old)
        self._insert(camera)
        if old is not None:
            old.stop(EndReason.CAMERA_STOPPED)
        self._models.equip(camera)
        log.info("camera added" if old is None else "camera changed", camera=camera_id, url=url.redacted)
        with self._lock:
            running = self._running
        if running:
            camera.start()
        return old is None

    def _insert(self, camera: Camera) -> None:
        """Store a camera, replacing the one with the same id."""
        most = self._post.settings.max_cameras
        with self._adding:
            with self._lock:
                full = camera.id not in self._cameras and len(self._cameras) >= most
            if full:
                raise TooManyCameras(f"the limit of {most} cameras is reached (DAFLOW_MAX_CAMERAS)")
            self._store.put(camera.id, camera.config.model_dump(mode="json"))
            with self._lock:
                self._cameras[camera.id] = camera

    def cameras(self) -> list[Camera]:
        """All cameras, in order of their ids."""
        with self._lock:
            return [self._cameras[camera_id] for camera_id in sorted(self._cameras)]

    def _watch(self) -> None:
        while not self._stopping.wait(_WATCH_S):
            now = self._post.clock.now()
            for camera in self.cameras():
                try:
                    camera.watch(now)
                except Exception:
                    # A failure of one camera must not stop the checks of the others.
                    log.exception("a camera could not be watched", camera=camera.id)


def _same_source(old: CameraConfig, new: CameraConfig) -> bool:
    return all(getattr(old, name) == getattr(new, name) for name in _SOURCE_FIELDS)


def _check_loop(url: StreamUrl, config: CameraConfig) -> None:
    if url.kind is UrlKind.FILE and not config.loop:
        raise StreamUrlError(
            "not-looped", "a video file can only be played in a loop: set loop, or post it to /v1/clips"
        )
    if url.kind is not UrlKind.FILE and config.loop:
        raise StreamUrlError("not-a-file", "only a video file can be played in a loop: leave loop out")


def _check_credentials(url: StreamUrl) -> None:
    if url.kind is UrlKind.STREAM and url.text == url.redacted and ("***@" in url.text or "=***" in url.text):
        raise StreamUrlError(
            "userinfo",
            "the credentials in the URL are masked; give the real ones, or the URL of this camera as the API shows it",
        )


def _reason(error: ValidationError | StreamUrlError) -> str:
    if isinstance(error, StreamUrlError):
        return str(error)
    return explain(error)
