"""The page for operators, built with NiceGUI. Only `daflow serve` imports it, because the import is slow."""

from __future__ import annotations

import logging
from typing import Final

from fastapi import FastAPI
from nicegui import app as pages
from nicegui import ui

from service.api.login import PAGES
from service.dashboard import camera, clips, incidents, report, system, wall
from service.dashboard.policy import PagePolicy
from service.dashboard.waiting import PageLimit
from service.dashboard.watch import Watch
from service.runtime import Runtime

_FAVICON: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#0f6b7a"/>'
    '<path d="M6 18h5l3-8 4 14 3-6h5" fill="none" stroke="#fff" stroke-width="2.6" stroke-linejoin="round" '
    'stroke-linecap="round"/></svg>'
)


def mount(app: FastAPI, runtime: Runtime) -> None:
    """Serve the page under `PAGES`. Call it once per process: NiceGUI keeps its state in globals.

    Args:
        app: The application whose public API the page calls.
        runtime: The service; its buses deliver new scores and incidents.
    """
    # The requests of the page to its own process need no log lines.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    watch = Watch(runtime)
    pages.on_startup(watch.start)
    pages.on_shutdown(watch.stop)
    for view in (wall, camera, incidents, report, clips, system):
        view.register(app, runtime, watch)
    pages.add_middleware(PagePolicy)
    pages.add_middleware(PageLimit)
    ui.run_with(
        app,
        title="DA-Flow Live",
        favicon=_FAVICON,
        dark=None,
        language="en-US",
        binding_refresh_interval=None,
        reconnect_timeout=10.0,
        message_history_length=100,
        mount_path=PAGES,
        tailwind=False,
        show_welcome_message=False,
    )
